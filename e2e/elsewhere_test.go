package e2e

import (
	"testing"

	"github.com/caddy-dns/bestdns/e2e/internal/harness"
)

// The zone of the domain is on another DNS server, and nothing of it is ever
// changed: it has the CNAME, and BestDNS has what the CNAME points to.
func TestDomainHostedElsewhere(t *testing.T) {
	t.Parallel()
	const (
		byDomain = "_acme-challenge." + harness.Elsewhere + "."
		byTarget = harness.Elsewhere + "." + harness.HostedZone + "."
	)

	t.Run("Caddy by API", func(t *testing.T) {
		t.Parallel()
		w := harness.NewWorld(t)
		harness.StartCaddy(t, harness.CaddyBinary, "service.caddyfile", w.Env(t))
		client := harness.StartCaddy(t, harness.ClientBinary, "client.caddyfile", w.Env(t), sites(harness.Elsewhere))
		client.WaitCertificates(harness.Elsewhere)
		harness.AssertServed(t, client.HTTPS, harness.Elsewhere, w.Pebble, harness.Elsewhere)
		w.Recorder.AssertWrites(t, map[string]int{byDomain: 1})
		w.AssertNoChallenge(t, harness.HostedZone, harness.Elsewhere)
	})

	t.Run("Caddy in process", func(t *testing.T) {
		t.Parallel()
		w := harness.NewWorld(t)
		caddy := harness.StartCaddy(t, harness.CaddyBinary, "inprocess.caddyfile", w.Env(t), sites(harness.Elsewhere))
		caddy.WaitCertificates(harness.Elsewhere)
		harness.AssertServed(t, caddy.HTTPS, harness.Elsewhere, w.Pebble, harness.Elsewhere)
		w.AssertNoChallenge(t, harness.HostedZone, harness.Elsewhere)
	})

	t.Run("certmagic", func(t *testing.T) {
		t.Parallel()
		w := harness.NewWorld(t)
		harness.StartCaddy(t, harness.CaddyBinary, "service.caddyfile", w.Env(t))
		config := w.NewCertmagic(t)
		if err := config.ObtainCertSync(t.Context(), "*."+harness.Elsewhere); err != nil {
			t.Fatal(err)
		}
		harness.AssertIssued(t, harness.Issued(t, config, "*."+harness.Elsewhere), w.Pebble, "*."+harness.Elsewhere)
		w.Recorder.AssertWrites(t, map[string]int{byDomain: 1})
		w.AssertNoChallenge(t, harness.HostedZone, harness.Elsewhere)
	})

	for name, binary := range map[string]string{"lego": harness.LegoBinary, "lego v5": harness.Lego5Binary} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := harness.NewWorld(t)
			harness.StartCaddy(t, harness.CaddyBinary, "service.caddyfile", w.Env(t))
			chain := w.ObtainByLego(t, binary, harness.Elsewhere, "*."+harness.Elsewhere)
			harness.AssertIssued(t, chain, w.Pebble, harness.Elsewhere, "*."+harness.Elsewhere)
			// lego follows the CNAME itself and names the same record by its target.
			w.Recorder.AssertWrites(t, map[string]int{byTarget: 2})
			w.AssertNoChallenge(t, harness.HostedZone, harness.Elsewhere)
		})
	}
}
