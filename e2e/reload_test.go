package e2e

import (
	"strings"
	"testing"
	"time"
)

// A config is loaded while an ACME client has its record in place and is about
// to tell the CA. Whoever is reloaded, the certificate comes, and every record
// goes away.
func TestReloadDuringIssuance(t *testing.T) {
	t.Parallel()

	t.Run("of the service", func(t *testing.T) {
		t.Parallel()
		w := NewWorld(t)
		service := StartCaddy(t, caddyBinary, "service.caddyfile", w.Env(t))
		gate := w.Pebble.HoldChallenges()
		client := StartCaddy(t, clientBinary, "client.caddyfile", w.Env(t), sites(wildcard))
		w.reloadAt(t, gate, service, "service.caddyfile")
		client.WaitCertificates(wildcard)
		AssertServed(t, client.HTTPS, "any."+web, w.Pebble, wildcard)
		w.Recorder.AssertWrites(t, map[string]int{"_acme-challenge." + web + ".": 1})
		w.AssertNoChallenge(t, hostedZone, web)
	})

	t.Run("of the client", func(t *testing.T) {
		t.Parallel()
		w := NewWorld(t)
		StartCaddy(t, caddyBinary, "service.caddyfile", w.Env(t))
		gate := w.Pebble.HoldChallenges()
		client := StartCaddy(t, clientBinary, "client.caddyfile", w.Env(t), sites(wildcard))
		client.Accept(cancelled)
		w.reloadAt(t, gate, client, "client.caddyfile")
		client.WaitCertificates(wildcard)
		AssertServed(t, client.HTTPS, "any."+web, w.Pebble, wildcard)
		w.WaitNoChallenge(t, hostedZone, web)
	})

	t.Run("of both in one process", func(t *testing.T) {
		t.Parallel()
		w := NewWorld(t)
		gate := w.Pebble.HoldChallenges()
		caddy := StartCaddy(t, caddyBinary, "inprocess.caddyfile", w.Env(t), sites(wildcard))
		caddy.Accept(cancelled)
		w.reloadAt(t, gate, caddy, "inprocess.caddyfile")
		caddy.WaitCertificates(wildcard)
		AssertServed(t, caddy.HTTPS, "any."+web, w.Pebble, wildcard)
		w.WaitNoChallenge(t, hostedZone, web)
	})
}

// reloadAt reloads Caddy when a client has come to the gate, and then opens it.
// Before, it makes sure that the record is there.
func (w *World) reloadAt(t *testing.T, gate *Gate, caddy *Caddy, caddyfile string) {
	t.Helper()
	defer gate.Open()
	select {
	case <-gate.Reached:
	case <-time.After(obtainTimeout):
		t.Fatal("no client has come to a challenge")
	}
	if w.challengesLeft(t, hostedZone, web) == nil {
		t.Error("the client is at its challenge, but its record is not in the zone")
	}
	caddy.Reload(caddyfile)
}

// cancelled matches what certmagic logs when its config is taken away: it ends
// what it has begun, and the next config begins anew.
func cancelled(e Entry) bool { return strings.Contains(e.Line, "context canceled") }
