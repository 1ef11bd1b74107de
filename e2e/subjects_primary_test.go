package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddy-dns/bestdns/e2e/internal/harness"
)

// subjectPrimaries are the kinds of name servers of others that subjects have their zones on.
var subjectPrimaries = []struct {
	name string
	// parent is of the zones of testdata/conformance.caddyfile.
	parent string
	// processes are those that a zone has.
	processes int
	// needs are programs, each with its Debian package.
	needs [][2]string
	start func(t testing.TB, zone, challenge harness.Zone)
}{
	{
		"primary Knot", "primary-knot", 1, [][2]string{{"knotd", "knot"}},
		func(t testing.TB, zone, challenge harness.Zone) {
			harness.StartKnotPrimary(t, zone)
			harness.StartKnotPrimary(t, challenge)
		},
	},
	{
		"primary BIND", "primary-bind", 1, [][2]string{{"named", "bind9"}},
		func(t testing.TB, zone, challenge harness.Zone) {
			harness.StartBINDPrimary(t, zone, 0)
			harness.StartBINDPrimary(t, challenge, 0)
		},
	},
	{
		"two primary PowerDNS", "primary-powerdns", 2, [][2]string{{"pdns_server", "pdns-server"}, {"psql", "postgresql-client"}},
		func(t testing.TB, zone, challenge harness.Zone) { harness.StartPowerDNSPrimaries(t, zone, challenge) },
	},
}

// startSubjectPrimaries runs those that are there, and puts into env a file of a Caddyfile
// with the zones.
func startSubjectPrimaries(t *testing.T, env harness.Env) (subjects []Subject) {
	t.Helper()
	var config strings.Builder
	for _, kind := range subjectPrimaries {
		if !installed(t, kind.needs...) {
			continue
		}
		zone := harness.Zone{Name: kind.parent + ".example", Key: harness.NewKey()}
		challenge := harness.Zone{Name: "_acme-challenge.www." + kind.parent + "-delegated.example", Key: zone.Key}
		made := []string{"@ SOA"}
		for i := range kind.processes {
			zone.Primaries = append(zone.Primaries, harness.FreeAddr(t))
			challenge.Primaries = append(challenge.Primaries, harness.FreeAddr(t))
			made = append(made, "@ NS", fmt.Sprintf("ns%d A", i+1))
		}
		if kind.processes > 1 { // they have all zones in one database
			challenge.Primaries = zone.Primaries
		}
		kind.start(t, zone, challenge)
		for _, z := range []harness.Zone{zone, challenge} {
			fmt.Fprintf(&config, "zone %s {\n\tservers %s\n\t%s}\n", z.Name, strings.Join(z.Primaries, " "), primaryOption(z))
		}
		last := kind.processes - 1 // it is not the one that takes the changes, if there are several
		subjects = append(subjects, Subject{
			Name: kind.name, OnPrimary: true, PowerDNS: kind.parent == "primary-powerdns",
			Zone: zone.Name + ".", DNS: zone.Primaries[last], Made: made,
			Challenge: challenge.Name + ".", ChallengeDNS: challenge.Primaries[last], ChallengeMade: made,
		})
	}
	env["PRIMARIES"] = filepath.Join(t.TempDir(), "primaries.caddyfile")
	harness.NoError(t, os.WriteFile(env["PRIMARIES"], []byte(config.String()), 0o600))
	return subjects
}
