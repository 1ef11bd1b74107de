package service

import (
	"encoding/json"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyevents"
)

func init() { caddy.RegisterModule(new(earlyApp)) }

// earlyApp is an app that wants a certificate as soon as it starts, as certmagic does.
type earlyApp struct {
	ctx    caddy.Context
	events *caddyevents.App
	ours   *App
}

// wanted gets whether records were accepted when a certificate was wanted, and when Caddy had
// told all that it is.
var wanted = make(chan [2]bool, 1)

func (*earlyApp) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "test_early", New: func() caddy.Module { return new(earlyApp) }}
}

func (a *earlyApp) Provision(ctx caddy.Context) error {
	a.ctx = ctx
	events, err := ctx.App("events")
	if err != nil {
		return err
	}
	ours, err := ctx.App("bestdns")
	if err != nil {
		return err
	}
	a.events, a.ours = events.(*caddyevents.App), ours.(*App)
	return nil
}

// Start wants a certificate. No app's Start waits for one.
func (a *earlyApp) Start() error {
	before := a.ours.hosting.Ready()
	go func() {
		a.events.Emit(a.ctx, "cert_obtaining", nil)
		wanted <- [2]bool{before, a.ours.hosting.Ready()}
	}()
	return nil
}

func (*earlyApp) Stop() error { return nil }

// TestCertificateWaitsForNameServer: a certificate that is wanted while Caddy starts waits
// until the name server serves. certmagic looks the zone up before it asks for a record to
// be written, and after a failure waits a minute.
func TestCertificateWaitsForNameServer(t *testing.T) {
	s := newService(t)
	text, err := adapt(s.caddyfile(s.standard()))
	if err != nil {
		t.Fatal(err)
	}
	var config map[string]any
	if err := json.Unmarshal(text, &config); err != nil {
		t.Fatal(err)
	}
	config["apps"].(map[string]any)["test_early"] = map[string]any{}
	if text, err = json.Marshal(config); err != nil {
		t.Fatal(err)
	}
	if err := caddy.Load(text, true); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { caddy.Stop() })
	if got := <-wanted; got != [2]bool{false, true} {
		t.Errorf("records were accepted before and after: %v", got)
	}
}
