package e2e

import (
	"strings"
	"testing"
	"time"

	"github.com/caddy-dns/bestdns/e2e/internal/harness"
)

// A config is loaded while an ACME client has its record in place and is about
// to tell the CA. Whichever is reloaded, the certificate comes, and every record
// goes away.
func TestReloadDuringIssuance(t *testing.T) {
	t.Parallel()

	t.Run("of the service", func(t *testing.T) {
		t.Parallel()
		w := harness.NewWorld(t)
		service := harness.StartCaddy(t, harness.CaddyBinary, "service.caddyfile", w.Env(t))
		gate := w.Pebble.HoldChallenges()
		client := harness.StartCaddy(t, harness.ClientBinary, "client.caddyfile", w.Env(t), sites(wildcard))
		reloadAt(t, w, gate, service, "service.caddyfile")
		client.WaitCertificates(wildcard)
		harness.AssertServed(t, client.HTTPS, "any."+web, w.Pebble, wildcard)
		w.Recorder.AssertWrites(t, map[string]int{"_acme-challenge." + web + ".": 1})
		w.AssertNoChallenge(t, harness.HostedZone, web)
	})

	t.Run("of the client", func(t *testing.T) {
		t.Parallel()
		w := harness.NewWorld(t)
		harness.StartCaddy(t, harness.CaddyBinary, "service.caddyfile", w.Env(t))
		gate := w.Pebble.HoldChallenges()
		client := harness.StartCaddy(t, harness.ClientBinary, "client.caddyfile", w.Env(t), sites(wildcard))
		client.Accept(cancelled)
		reloadAt(t, w, gate, client, "client.caddyfile")
		client.WaitCertificates(wildcard)
		harness.AssertServed(t, client.HTTPS, "any."+web, w.Pebble, wildcard)
		w.WaitNoChallenge(t, harness.HostedZone, web)
	})

	t.Run("of both in one process", func(t *testing.T) {
		t.Parallel()
		w := harness.NewWorld(t)
		gate := w.Pebble.HoldChallenges()
		caddy := harness.StartCaddy(t, harness.CaddyBinary, "inprocess.caddyfile", w.Env(t), sites(wildcard))
		caddy.Accept(cancelled)
		reloadAt(t, w, gate, caddy, "inprocess.caddyfile")
		caddy.WaitCertificates(wildcard)
		harness.AssertServed(t, caddy.HTTPS, "any."+web, w.Pebble, wildcard)
		w.WaitNoChallenge(t, harness.HostedZone, web)
	})
}

// reloadAt reloads Caddy when a client has come to the gate, and then opens it.
// Before, it makes sure that the record is there.
func reloadAt(t *testing.T, w *harness.World, gate *harness.Gate, caddy *harness.Caddy, caddyfile string) {
	t.Helper()
	defer gate.Open()
	select {
	case <-gate.Reached:
	case <-time.After(harness.ObtainTimeout):
		t.Fatal("no client has come to a challenge")
	}
	if w.ChallengesLeft(t, harness.HostedZone, web) == nil {
		t.Error("the client is at its challenge, but its record is not in the zone")
	}
	caddy.Reload(caddyfile)
}

// cancelled matches what certmagic logs when its config is taken away: it ends
// what it has begun, and the next config begins anew.
func cancelled(e harness.Entry) bool { return strings.Contains(e.Line, "context canceled") }
