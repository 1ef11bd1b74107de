package e2e

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/libdns/libdns"

	"github.com/caddy-dns/bestdns"
	"github.com/caddy-dns/bestdns/e2e/internal/harness"
	"github.com/caddy-dns/bestdns/internal/api"
)

const servedZone = "served.example"

// startServed runs the service for a zone on its primary, with more options, and returns its
// client.
func startServed(t testing.TB, z harness.Zone, options ...string) *bestdns.Provider {
	t.Helper()
	resolver := harness.NewResolver(t)
	resolver.Host(t, servedZone, z.Delegation()...)
	token, address := api.NewToken(), harness.FreeAddr(t)
	options = append(options, "resolvers "+resolver.Addr,
		fmt.Sprintf("primary %s {\nkey %s hmac-sha256 {env.KEY}\n}", strings.Join(z.Primaries, " "), z.Key.Name))
	harness.StartCaddy(t, harness.CaddyBinary, "served.caddyfile", harness.Env{
		"ZONE": servedZone, "OPTIONS": strings.Join(options, "\n"), "KEY": z.Key.Secret,
		"API_PORT": harness.Port(t, address), "TOKEN_DIGEST": harness.Digest(token),
	})
	return &bestdns.Provider{Endpoint: "http://" + address, APIToken: token}
}

// What the service has answered, all name servers serve: whatever they are, and however late
// their primary tells them.
func TestAnsweredIsServed(t *testing.T) {
	t.Parallel()
	knotAndNSD := func(t testing.TB, z harness.Zone) {
		harness.StartKnotPrimary(t, z)
		harness.StartKnotSecondary(t, z.Secondary(0))
		harness.StartNSDSecondary(t, z.Secondary(1), time.Second)
	}
	for _, test := range []struct {
		name                   string
		primaries, secondaries int
		start                  func(t testing.TB, z harness.Zone)
		notify                 bool
		changes                int
	}{
		{"Knot, Knot and NSD, told at once", 1, 2, knotAndNSD, true, 10},
		{"Knot, Knot and NSD, told by Knot", 1, 2, knotAndNSD, false, 3},
		{"BIND and Knot, told at once", 1, 1, func(t testing.TB, z harness.Zone) {
			harness.StartBINDPrimary(t, z, 5*time.Second)
			harness.StartKnotSecondary(t, z.Secondary(0))
		}, true, 10},
		{"BIND and Knot, told by BIND after 5 s", 1, 1, func(t testing.TB, z harness.Zone) {
			harness.StartBINDPrimary(t, z, 5*time.Second)
			harness.StartKnotSecondary(t, z.Secondary(0))
		}, false, 2},
		{"PowerDNS twice", 2, 0, func(t testing.TB, z harness.Zone) { harness.StartPowerDNSPrimaries(t, z) }, false, 10},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			z := harness.NewZone(t, servedZone, test.primaries, test.secondaries)
			test.start(t, z)
			var options []string
			if test.notify {
				var hosts []string
				for _, server := range z.Secondaries {
					hosts = append(hosts, strings.TrimSuffix(server, ":53"))
				}
				options = append(options, "notify "+strings.Join(hosts, " "))
			}
			p := startServed(t, z, options...)
			for i := range test.changes {
				name, value := fmt.Sprintf("_acme-challenge.h%d", i/2), fmt.Sprintf("value %d", i)
				began := time.Now()
				_, err := p.AppendRecords(t.Context(), servedZone+".", []libdns.Record{libdns.TXT{Name: name, Text: value}})
				if err != nil {
					t.Fatal(err)
				}
				t.Logf("change %d: %s", i, time.Since(began))
				for _, server := range slices.Concat(z.Primaries, z.Secondaries) {
					if texts, _, err := harness.TextsAt(server, name+"."+servedZone); err != nil || !slices.Contains(texts, value) {
						t.Errorf("change %d: %s serves %q, %v", i, server, texts, err)
					}
				}
			}
		})
	}
}

// BenchmarkServed tells how much later a change is answered than the slowest server has it.
func BenchmarkServed(b *testing.B) {
	for _, test := range []struct {
		name   string
		notify bool
	}{{"notified by Knot", false}, {"notified at once", true}} {
		b.Run(test.name, func(b *testing.B) {
			z := harness.NewZone(b, servedZone, 1, 2)
			harness.StartKnotPrimary(b, z)
			harness.StartKnotSecondary(b, z.Secondary(0))
			harness.StartKnotSecondary(b, z.Secondary(1))
			var options []string
			if test.notify {
				options = append(options, "notify "+strings.ReplaceAll(strings.Join(z.Secondaries, " "), ":53", ""))
			}
			p := startServed(b, z, options...)
			var late, took []time.Duration
			for i := 0; b.Loop(); i++ {
				name := fmt.Sprintf("_acme-challenge.h%d", i)
				var seen [2]time.Time
				var servers sync.WaitGroup
				for j, server := range z.Secondaries {
					servers.Go(func() {
						harness.WaitTexts(b, server, name+"."+servedZone, 1, 30*time.Second)
						seen[j] = time.Now()
					})
				}
				began := time.Now()
				if _, err := p.AppendRecords(b.Context(), servedZone+".", []libdns.Record{libdns.TXT{Name: name, Text: "value"}}); err != nil {
					b.Fatal(err)
				}
				answered := time.Now()
				servers.Wait()
				last := slices.MaxFunc(seen[:], time.Time.Compare)
				late, took = append(late, answered.Sub(last)), append(took, answered.Sub(began))
			}
			slices.Sort(late)
			slices.Sort(took)
			ms := func(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
			b.ReportMetric(ms(late[len(late)/2]), "ms-late-p50")
			b.ReportMetric(ms(late[len(late)*99/100]), "ms-late-p99")
			b.ReportMetric(ms(took[len(took)/2]), "ms-took-p50")
		})
	}
}
