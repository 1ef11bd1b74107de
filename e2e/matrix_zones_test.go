package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/caddy-dns/bestdns/e2e/internal/harness"
)

// This file has the zones of the matrix that are on name servers of others.

// matrixLag is how far one of them is behind the others.
const matrixLag = 5 * time.Second

var sharedZoneNames = map[string]string{
	onKnot: "knot.example", lagging: "lagging.example", onBIND: "bind.example", onPowerDNS: "powerdns.example",
}

// isShared reports whether a zone of the matrix is on name servers of others.
func isShared(zone string) bool { return sharedZoneNames[zone] != "" }

// newSharedZones returns them by what the matrix calls them, at port 53 of addresses that
// begin like this.
func newSharedZones(net53 string) map[string]harness.Zone {
	zones := make(map[string]harness.Zone)
	host := 10
	for _, z := range []struct {
		of                     string
		primaries, secondaries int
	}{{onKnot, 1, 0}, {lagging, 1, 2}, {onBIND, 1, 1}, {onPowerDNS, 2, 0}} {
		zone := harness.Zone{Name: sharedZoneNames[z.of], Key: harness.NewKey()}
		for i := range z.primaries + z.secondaries {
			addr := fmt.Sprintf("%s.%d:53", net53, host)
			host++
			if i < z.primaries {
				zone.Primaries = append(zone.Primaries, addr)
			} else {
				zone.Secondaries = append(zone.Secondaries, addr)
			}
		}
		zones[z.of] = zone
	}
	return zones
}

// startSharedZones runs their name servers.
func startSharedZones(t *testing.T, zones map[string]harness.Zone) {
	t.Helper()
	harness.StartKnotPrimary(t, zones[onKnot])

	z := zones[lagging]
	harness.StartKnotPrimary(t, z)
	harness.StartKnotSecondary(t, z.Secondary(0))
	harness.StartLaggard(t, z, z.Secondaries[1], matrixLag)

	z = zones[onBIND]
	harness.StartBINDPrimary(t, z, harness.NotifyDelay)
	harness.StartKnotSecondary(t, z.Secondary(0))

	harness.StartPowerDNSPrimaries(t, zones[onPowerDNS])
}

// newTransferredZone returns the built-in zone with two secondaries, of the service at this
// address.
func newTransferredZone(dns, net53 string) harness.Zone {
	return harness.Zone{
		Name: matrixTransferred, Key: harness.NewKey(), Primaries: []string{dns + ":53"},
		Secondaries: []string{net53 + ".100:53", net53 + ".101:53"},
	}
}

// startTransferredZone runs the secondaries, when the service is up.
func startTransferredZone(t *testing.T, z harness.Zone) {
	t.Helper()
	harness.StartKnotSecondary(t, z.Secondary(0))
	harness.StartNSDSecondary(t, z.Secondary(1), harness.NSDReload)
}

// transferredZoneConfig returns it as the service's Caddyfile has it.
func transferredZoneConfig(z harness.Zone) string {
	var c strings.Builder
	fmt.Fprintf(&c, "zone %s {\n", z.Name)
	for _, server := range z.NameServers() {
		fmt.Fprintf(&c, "\tns %s %s\n", server.Name, server.Host)
	}
	fmt.Fprintf(&c, "\ttransfer %s {\n\t\tkey %s hmac-sha256 %s\n\t}\n}\n", strings.Join(z.Secondaries, " "), z.Key.Name, z.Key.Secret)
	return c.String()
}

// sharedZonesConfig returns the zones as the service's Caddyfile has them. Where a secondary
// lags, nothing of ours makes it faster.
func sharedZonesConfig(zones map[string]harness.Zone, resolver string) string {
	var c strings.Builder
	for of, z := range zones {
		fmt.Fprintf(&c, "zone %s {\n\tresolvers %s\n\t%s", z.Name, resolver, primaryOption(z))
		if of == onBIND {
			fmt.Fprintf(&c, "\tnotify %s\n", z.Secondaries[0])
		}
		c.WriteString("}\n")
	}
	return c.String()
}

// primaryOption is what a Caddyfile says of the primaries of a zone.
func primaryOption(z harness.Zone) string {
	return fmt.Sprintf("primary %s {\n\tkey %s hmac-sha256 %s\n}\n", strings.Join(z.Primaries, " "), z.Key.Name, z.Key.Secret)
}
