package e2e

import (
	"testing"

	"github.com/caddy-dns/bestdns/e2e/internal/harness"
)

func TestCertmagicObtains(t *testing.T) {
	t.Parallel()
	w := harness.NewWorld(t)
	harness.StartCaddy(t, harness.CaddyBinary, "service.caddyfile", w.Env(t))
	config := w.NewCertmagic(t)
	for _, name := range []string{wildcard, web} {
		if err := config.ObtainCertSync(t.Context(), name); err != nil {
			t.Fatal(err)
		}
		harness.AssertIssued(t, harness.Issued(t, config, name), w.Pebble, name)
	}
	w.Recorder.AssertWrites(t, map[string]int{"_acme-challenge." + web + ".": 2})
	w.AssertNoChallenge(t, harness.HostedZone, web)
}

// One order for a domain and its wildcard puts two values at one name.
func TestLegoObtainsBothInOneOrder(t *testing.T) {
	t.Parallel()
	for version, binary := range map[string]string{"v4": harness.LegoBinary, "v5": harness.Lego5Binary} {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			w := harness.NewWorld(t)
			harness.StartCaddy(t, harness.CaddyBinary, "service.caddyfile", w.Env(t))
			chain := w.ObtainByLego(t, binary, wildcard, web)

			harness.AssertIssued(t, chain, w.Pebble, wildcard, web)
			w.Recorder.AssertWrites(t, map[string]int{"_acme-challenge." + web + ".": 2})
			w.AssertNoChallenge(t, harness.HostedZone, web)
		})
	}
}
