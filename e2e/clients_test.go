package e2e

import "testing"

func TestCertmagicObtains(t *testing.T) {
	t.Parallel()
	w := NewWorld(t)
	StartCaddy(t, caddyBinary, "service.caddyfile", w.Env(t))
	config := w.NewCertmagic(t)
	for _, name := range []string{wildcard, web} {
		if err := config.ObtainCertSync(t.Context(), name); err != nil {
			t.Fatal(err)
		}
		AssertIssued(t, issued(t, config, name), w.Pebble, name)
	}
	w.Recorder.AssertWrites(t, map[string]int{"_acme-challenge." + web + ".": 2})
	w.AssertNoChallenge(t, hostedZone, web)
}

// One order for a domain and its wildcard puts two values at one name.
func TestLegoObtainsBothInOneOrder(t *testing.T) {
	t.Parallel()
	w := NewWorld(t)
	StartCaddy(t, caddyBinary, "service.caddyfile", w.Env(t))
	chain := w.ObtainByLego(t, wildcard, web)

	AssertIssued(t, chain, w.Pebble, wildcard, web)
	w.Recorder.AssertWrites(t, map[string]int{"_acme-challenge." + web + ".": 2})
	w.AssertNoChallenge(t, hostedZone, web)
}
