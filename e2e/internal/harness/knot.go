package harness

import "testing"

// Knot is a running Knot DNS with one zone, which may be changed and transferred
// with its key.
type Knot struct {
	Addr         string
	KeyName, Key string
}

// StartKnot runs Debian's Knot with the zone, at any free address.
func StartKnot(t testing.TB, zone string) *Knot {
	t.Helper()
	z := Zone{Name: zone, Key: NewKey(), Primaries: []string{FreeAddr(t)}}
	StartKnotPrimary(t, z)
	return &Knot{Addr: z.Primaries[0], KeyName: z.Key.Name, Key: z.Key.Secret}
}
