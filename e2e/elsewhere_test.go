package e2e

import "testing"

// The zone of the domain is on another DNS server, and nothing of it is ever
// changed: it has the CNAME, and BestDNS has what the CNAME points to.
func TestDomainHostedElsewhere(t *testing.T) {
	t.Parallel()
	const (
		byDomain = "_acme-challenge." + elsewhere + "."
		byTarget = elsewhere + "." + hostedZone + "."
	)

	t.Run("Caddy by API", func(t *testing.T) {
		t.Parallel()
		w := NewWorld(t)
		StartCaddy(t, caddyBinary, "service.caddyfile", w.Env(t))
		client := StartCaddy(t, clientBinary, "client.caddyfile", w.Env(t), sites(elsewhere))
		client.WaitCertificates(elsewhere)
		AssertServed(t, client.HTTPS, elsewhere, w.Pebble, elsewhere)
		w.Recorder.AssertWrites(t, map[string]int{byDomain: 1})
		w.AssertNoChallenge(t, hostedZone, elsewhere)
	})

	t.Run("Caddy in process", func(t *testing.T) {
		t.Parallel()
		w := NewWorld(t)
		caddy := StartCaddy(t, caddyBinary, "inprocess.caddyfile", w.Env(t), sites(elsewhere))
		caddy.WaitCertificates(elsewhere)
		AssertServed(t, caddy.HTTPS, elsewhere, w.Pebble, elsewhere)
		w.AssertNoChallenge(t, hostedZone, elsewhere)
	})

	t.Run("certmagic", func(t *testing.T) {
		t.Parallel()
		w := NewWorld(t)
		StartCaddy(t, caddyBinary, "service.caddyfile", w.Env(t))
		config := w.NewCertmagic(t)
		if err := config.ObtainCertSync(t.Context(), "*."+elsewhere); err != nil {
			t.Fatal(err)
		}
		AssertIssued(t, issued(t, config, "*."+elsewhere), w.Pebble, "*."+elsewhere)
		w.Recorder.AssertWrites(t, map[string]int{byDomain: 1})
		w.AssertNoChallenge(t, hostedZone, elsewhere)
	})

	t.Run("lego", func(t *testing.T) {
		t.Parallel()
		w := NewWorld(t)
		StartCaddy(t, caddyBinary, "service.caddyfile", w.Env(t))
		chain := w.ObtainByLego(t, elsewhere, "*."+elsewhere)
		AssertIssued(t, chain, w.Pebble, elsewhere, "*."+elsewhere)
		// lego follows the CNAME itself and names the same record by its target.
		w.Recorder.AssertWrites(t, map[string]int{byTarget: 2})
		w.AssertNoChallenge(t, hostedZone, elsewhere)
	})
}
