package harness

import "testing"

// StartBestDNSPrimary runs the service itself as the primary of a zone, which may be changed and
// transferred with the zone's key.
func StartBestDNSPrimary(t testing.TB, z Zone) *Service {
	t.Helper()
	s := NewService(t)
	s.DNS = z.Primaries[0]
	s.Caddyfile = "primary.caddyfile"
	s.Env = []string{"ZONE=" + z.Name, "TSIG_NAME=" + z.Key.Name, "TSIG_SECRET=" + z.Key.Secret}
	s.MustStart()
	return s
}
