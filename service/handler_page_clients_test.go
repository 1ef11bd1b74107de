package service

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/caddy-dns/bestdns/internal/api"
	"github.com/caddy-dns/bestdns/internal/hosting"
	"github.com/caddy-dns/bestdns/service/page"
)

// TestPageClients checks the order of clients on the page, their rights, and which command is beside
// which.
func TestPageClients(t *testing.T) {
	forgetStatuses(t, 0)
	s := newService(t)
	day := func(days int) string { return time.Now().UTC().AddDate(0, 0, days).Format(time.DateOnly) }
	config := s.standard()
	many := ""
	for i := range pageRights + 3 {
		many += fmt.Sprintf("read r%d.example.test\n", i)
	}
	for _, client := range []struct{ name, options string }{
		{"clook", "watch"},
		{"clater", "expires " + day(100)},
		{"cmany", many},
		{"clong-ago", "expires " + day(-60)},
		{"c next", "expires " + day(2)},
		{"cyesterday", "expires " + day(-2)},
		{"csoon", "expires " + day(10)},
	} {
		s.token[client.name] = "of-" + client.name
		config += fmt.Sprintf("\nclient %q {\ntoken %s\n%s\n}", client.name, s.digest(client.name), client.options)
	}
	config += "\nclient cuser {\nuser cuser\nexpires " + day(5) + "\n}"
	s.load(t, config)
	app := liveApps.newest(nil)
	s.call(t, "cmany", http.MethodGet, "/v1/zones", "")

	type row struct {
		Name   string
		Rights int
		More   int
		Help   page.Command
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel() // no name server is waited for
	seen := func(visitor string) (rows []row) {
		for _, c := range app.view(ctx, app.hosting.Clients().ByName(visitor)).Clients {
			if strings.HasPrefix(string(c.Name), "c") {
				rows = append(rows, row{string(c.Name), len(c.Rights), c.MoreRights, c.Help})
			}
		}
		return rows
	}
	want := []row{
		{Name: "cyesterday", Help: "caddy bestdns renew cyesterday"},
		{Name: "c next", Help: "caddy bestdns renew 'c next'"},
		{Name: "cuser", Help: "caddy bestdns renew cuser"},
		{Name: "csoon", Help: "caddy bestdns renew csoon"},
		{Name: "clong-ago", Help: "caddy bestdns renew clong-ago"},
		{Name: "cmany", Rights: pageRights, More: 3},
		{Name: "clater"},
		{Name: "clook", Rights: 1},
	}
	if diff := cmp.Diff(want, seen("clook")); diff != "" {
		t.Errorf("with the right watch (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]row{{Name: "csoon"}}, seen("csoon")); diff != "" {
		t.Errorf("without it (-want +got):\n%s", diff)
	}
}

// TestPageHealth: anyone sees whether the service is healthy, and with the right watch since when.
func TestPageHealth(t *testing.T) {
	forgetStatuses(t, 0)
	s := newService(t)
	s.token["look"] = "of-look"
	started := time.Now()
	s.load(t, s.standard()+fmt.Sprintf("\nclient look {\ntoken %s\nwatch\n}", s.digest("look")))
	app := liveApps.newest(nil)
	ctx, cancel := context.WithCancel(t.Context())
	cancel() // no name server is waited for
	view := func(client string) page.View { return app.view(ctx, app.hosting.Clients().ByName(client)) }
	if v := view("look"); v.Unhealthy != "" || v.HealthySince.Before(started) || v.HealthySince.After(v.Now) {
		t.Errorf("with the right watch: %q, healthy since %v, and it was started at %v", v.Unhealthy, v.HealthySince, started)
	}
	if v := view("ops"); v.Unhealthy != "" || !v.HealthySince.IsZero() {
		t.Errorf("without it: %q, healthy since %v", v.Unhealthy, v.HealthySince)
	}
	breakSocket(t, newestSocket(t, "udp/"+s.dns))
	for _, client := range []string{"look", "ops"} {
		if v := view(client); !strings.Contains(string(v.Unhealthy), s.dns) || !v.HealthySince.IsZero() {
			t.Errorf("%s sees %q, healthy since %v", client, v.Unhealthy, v.HealthySince)
		}
	}
}

func TestChangeHelp(t *testing.T) {
	startStandard(t)
	app := liveApps.newest(nil)
	for _, test := range []struct {
		zone, outcome, record string
		want                  page.Command
	}{
		{"example.test.", "refused", "_acme-challenge.www.example.test. TXT", "caddy bestdns check www.example.test"},
		{"elsewhere.test.", "refused", "_acme-challenge.www.elsewhere.test. TXT", "caddy bestdns check www.elsewhere.test"},
		{"example.test.", "failed", "www.example.test. A", "caddy bestdns check example.test"},
		{"example.test.", "refused", "www.example.test. A", ""}, // the reason says which right it takes
		{"elsewhere.test.", "failed", "www.elsewhere.test. A", ""},
		{"", "failed", "", ""},
		{"example.test.", "refused", "_acme-challenge.$(x).example.test. TXT", ""},
	} {
		got := app.changeHelp(&hosting.ChangeSeen{Zone: test.zone, Outcome: test.outcome, Records: []string{test.record}, Reason: errors.ErrUnsupported.Error()})
		if got != test.want {
			t.Errorf("%+v: %s", test, got)
		}
	}
}

// TestPageTitle: the host that the visitor asked for is in the title, and the version.
func TestPageTitle(t *testing.T) {
	forgetStatuses(t, 8)
	s := startStandard(t)
	_, title, _ := strings.Cut(s.call(t, "ops", http.MethodGet, "/", "").body, "<title>")
	title, _, _ = strings.Cut(title, "</title>")
	if want := strings.TrimPrefix(s.api, "http://") + " – BestDNS " + api.Version(); !strings.HasSuffix(title, want) {
		t.Errorf("the title is %q, want %q at its end", title, want)
	}
}
