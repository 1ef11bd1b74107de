package service

import (
	"testing"
	"time"

	"github.com/caddy-dns/bestdns/internal/hosting"
	"github.com/caddy-dns/bestdns/service/page"
)

func TestState(t *testing.T) {
	good, other := hosting.ServerStatus{Serial: 1}, hosting.ServerStatus{Serial: 2}
	bad, unreachable := hosting.ServerStatus{Fault: "no answer"}, hosting.ServerStatus{Fault: "cannot be reached from here", Unreachable: true}
	asked := time.Now()
	for _, test := range []struct {
		name  string
		found hosting.ZoneStatus
		want  page.State
	}{
		{"not asked", hosting.ZoneStatus{}, page.NotAsked},
		{"none", hosting.ZoneStatus{Asked: asked}, page.Unknown},
		{"one", hosting.ZoneStatus{Asked: asked, Servers: []hosting.ServerStatus{good}}, page.Agree},
		{"two", hosting.ZoneStatus{Asked: asked, Servers: []hosting.ServerStatus{good, good}}, page.Agree},
		{"two serials", hosting.ZoneStatus{Asked: asked, Servers: []hosting.ServerStatus{good, other}}, page.Differ},
		{"one silent", hosting.ZoneStatus{Asked: asked, Servers: []hosting.ServerStatus{good, bad}}, page.Faulty},
		{"one silent among two serials", hosting.ZoneStatus{Asked: asked, Servers: []hosting.ServerStatus{good, other, bad}}, page.Faulty},
		{"no way to one", hosting.ZoneStatus{Asked: asked, Servers: []hosting.ServerStatus{unreachable, good}}, page.Agree},
		{"no way to any", hosting.ZoneStatus{Asked: asked, Servers: []hosting.ServerStatus{unreachable}}, page.Faulty},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := stateOf(test.found); got != test.want {
				t.Errorf("%v, want %v", got, test.want)
			}
		})
	}
}
