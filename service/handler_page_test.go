package service

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/libdns/libdns"

	"github.com/caddy-dns/bestdns/internal/access"
	"github.com/caddy-dns/bestdns/internal/api"
	"github.com/caddy-dns/bestdns/internal/hosting"
	"github.com/caddy-dns/bestdns/service/page"
)

// forgetStatuses forgets what name servers were asked, which outlives configurations.
func forgetStatuses(t testing.TB, atOnce int) {
	t.Helper()
	old := statuses
	statuses = hosting.NewStatusCache(atOnce)
	t.Cleanup(func() { statuses = old })
}

// sight is what a client sees, a line for each thing.
type sight struct{ Zones, Challenges, Changes, Clients []string }

// sightOf returns what is in a view, but for changes of tests before this one.
func sightOf(v page.View, started time.Time) sight {
	var s sight
	for _, z := range v.Zones {
		s.Zones = append(s.Zones, fmt.Sprintf("%s %s %s", z.Name, z.Provider, z.State.Sign().Text))
	}
	for _, c := range v.Challenges {
		line := fmt.Sprintf("%s in %s", c.Name, c.Zone)
		switch {
		case c.Another:
			line += " by another client"
		case c.Writer != "":
			line += fmt.Sprintf(" by %s", c.Writer)
		}
		s.Challenges = append(s.Challenges, line)
	}
	slices.Sort(s.Challenges)
	for _, c := range v.Changes {
		if c.Time.Before(started) {
			continue
		}
		line := fmt.Sprintf("%s %s in %s: %s by %s", c.Outcome, c.Op, c.Zone, c.Records[0], c.Client)
		if c.Reason != "" {
			line += ", reason told"
		}
		s.Changes = append(s.Changes, line)
	}
	for _, c := range v.Clients {
		line := string(c.Name)
		if c.Visitor {
			line += ", the visitor"
		}
		s.Clients = append(s.Clients, line)
	}
	slices.Sort(s.Clients)
	return s
}

// TestPageSight checks what each client sees of the same service, and that it is all
// that it sees.
func TestPageSight(t *testing.T) {
	forgetStatuses(t, 8)
	memory.reset(libdns.TXT{Name: "_acme-challenge.shop", Text: challengeValue, TTL: time.Minute},
		libdns.TXT{Name: "_acme-challenge.other", Text: challengeValue},
		libdns.NS{Name: "@", Target: "ns1.page.test."})
	s := newService(t)
	clients := []struct{ name, rules string }{
		{"all", "allow under page.test\nallow under inner.page.test\nallow under target-page.test\nallow under hidden-page.test\nallow under provided-page.test"},
		{"web", "certificates web.page.test"},
		{"elsewhere", "certificates www.elsewhere-page.test"},
		{"reader", "read under page.test\nread under target-page.test"},
		{"hidden", "allow under hidden-page.test"},
		{"shop", "certificates shop.provided-page.test"},
		{"nothing", ""},
		{"watcher", "watch"},
	}
	options := fmt.Sprintf(`
		listen %s
		store %q
		zone page.test {
			ns ns1.page.test 127.0.0.1
		}
		zone target-page.test {
			ns ns1.page.test
			cname_target
		}
		zone inner.page.test {
			ns ns1.page.test
		}
		zone hidden-page.test {
			ns ns1.page.test
		}
		zone provided-page.test {
			provider test_memory
		}`, s.dns, s.store)
	for _, client := range clients {
		s.token[client.name] = api.NewToken()
		options += fmt.Sprintf("\nclient %s {\ntoken %s\n%s\n}", client.name, s.digest(client.name), client.rules)
	}
	s.load(t, options)
	app := liveApps.newest(nil)
	started := time.Now()

	challenge := func(name string) string {
		return fmt.Sprintf(`{"append":[{"name":%q,"type":"TXT","data":%q}]}`, name, challengeValue)
	}
	address := func(op, name string) string {
		return fmt.Sprintf(`{%q:[{"name":%q,"type":"A","data":"192.0.2.1"}]}`, op, name)
	}
	s.must(t, "all", "page.test", address("append", "www"))
	s.must(t, "all", "page.test", challenge("_acme-challenge.lasting"))
	s.must(t, "web", "page.test", challenge("_acme-challenge.web"))
	s.must(t, "elsewhere", "www.elsewhere-page.test", challenge("_acme-challenge"))
	s.patch(t, "web", "page.test", address("set", "www"))
	s.patch(t, "web", "hidden-page.test", address("set", "www"))
	s.must(t, "hidden", "hidden-page.test", address("append", "x"))
	s.must(t, "all", "page.test", `{"append":[{"name":"inner","type":"DS","data":"1 13 2 `+strings.Repeat("ab", 32)+`"}]}`)
	var many []string
	for i := range 25 {
		many = append(many, fmt.Sprintf(`{"name":"n%d","type":"A","data":"192.0.2.1"}`, i))
	}
	s.must(t, "all", "page.test", `{"append":[`+strings.Join(many, ",")+`]}`)
	s.patch(t, "hidden", "page.test", address("set", "www"))
	// Where web could answer its challenges, were its domain hosted elsewhere.
	inProcess := func(zone string, r libdns.TXT) {
		if _, err := app.AppendRecords(t.Context(), zone, []libdns.Record{r}); err != nil {
			t.Fatal(err)
		}
	}
	inProcess("target-page.test.", libdns.TXT{Name: "web.page.test", Text: challengeValue})
	inProcess("inner.page.test.", libdns.TXT{Name: "a", Text: "b"})

	const (
		byAll       = "changed append in page.test: www.page.test A by "
		byAllToo    = "changed append in page.test: _acme-challenge.lasting.page.test TXT by "
		byWeb       = "changed append in page.test: _acme-challenge.web.page.test TXT by "
		byElsewhere = "changed append in target-page.test: _acme-challenge.www.elsewhere-page.test TXT by "
		refusal     = "refused set in page.test: www.page.test A by "
		beyond      = "refused set in hidden-page.test: www.hidden-page.test A by "
		byHidden    = "changed append in hidden-page.test: x.hidden-page.test A by "
		delegation  = "changed append in page.test: inner.page.test DS by "
		byMany      = "changed append in page.test: n0.page.test A by "
		local       = "changed append in inner.page.test: a.inner.page.test TXT by (in process)"
		localTarget = "changed append in target-page.test: web.page.test.target-page.test TXT by (in process)"

		pageZone   = "page.test  agree"
		webAnswer  = "_acme-challenge.web.page.test in page.test"
		elseAnswer = "www.elsewhere-page.test.target-page.test in target-page.test"
		target     = "web.page.test.target-page.test in target-page.test"
		targetZone = "target-page.test  agree"
		lasting    = "_acme-challenge.lasting.page.test in page.test"
		otherShop  = "_acme-challenge.other.provided-page.test in provided-page.test"
		another    = " by another client"
		shopAnswer = "_acme-challenge.shop.provided-page.test in provided-page.test"
	)
	for client, want := range map[string]sight{
		"watcher": {
			Zones:      []string{"provided-page.test test_memory name servers failing", "hidden-page.test  agree", "inner.page.test  agree", pageZone, targetZone},
			Challenges: []string{lasting + " by all", otherShop, shopAnswer, webAnswer + " by web", target + " by (in process)", elseAnswer + " by elsewhere"},
			Changes: []string{local, localTarget, refusal + "hidden, reason told", byMany + "all", delegation + "all", byHidden + "hidden", beyond + "web, reason told",
				refusal + "web, reason told", byElsewhere + "elsewhere", byWeb + "web", byAllToo + "all", byAll + "all"},
			Clients: []string{"all", "elsewhere", "hidden", "nothing", "reader", "shop", "watcher, the visitor", "web"},
		},
		// It may read all there is, and yet sees no other client and what none of them did.
		"all": {
			Zones:      []string{"provided-page.test test_memory name servers failing", "hidden-page.test  agree", "inner.page.test  agree", pageZone, targetZone},
			Challenges: []string{lasting + " by all", otherShop, shopAnswer, webAnswer + another, target + another, elseAnswer + another},
			Changes:    []string{byMany + "all", delegation + "all", byAllToo + "all", byAll + "all"},
			Clients:    []string{"all, the visitor"},
		},
		"web": {
			Zones:      []string{pageZone},
			Challenges: []string{webAnswer + " by web"},
			Changes:    []string{beyond + "web, reason told", refusal + "web, reason told", byWeb + "web"},
			Clients:    []string{"web, the visitor"},
		},
		"elsewhere": {
			Zones:      []string{targetZone},
			Challenges: []string{elseAnswer + " by elsewhere"},
			Changes:    []string{byElsewhere + "elsewhere"},
			Clients:    []string{"elsewhere, the visitor"},
		},
		"reader": {
			Zones:      []string{pageZone, targetZone},
			Challenges: []string{lasting + another, webAnswer + another, target + another, elseAnswer + another},
			Clients:    []string{"reader, the visitor"},
		},
		"hidden": {
			Zones:   []string{"hidden-page.test  agree"},
			Changes: []string{refusal + "hidden, reason told", byHidden + "hidden"},
			Clients: []string{"hidden, the visitor"},
		},
		"shop": {
			Zones:      []string{"provided-page.test test_memory name servers failing"},
			Challenges: []string{shopAnswer},
			Clients:    []string{"shop, the visitor"},
		},
		"nothing": {Clients: []string{"nothing, the visitor"}},
	} {
		t.Run(client, func(t *testing.T) {
			visitor := app.hosting.Clients().ByDigest(access.DigestOf(s.token[client]))
			v := app.view(t.Context(), visitor)
			if diff := cmp.Diff(want, sightOf(v, started)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if v.MoreZones+v.MoreChallenges+v.MoreClients != 0 {
				t.Error("there is more")
			}
			for _, c := range v.Changes {
				if (c.Address == "") != (c.Client == access.LocalName) {
					t.Errorf("client %q at %q", c.Client, c.Address)
				}
				if (c.Reason == "") != (c.RequestID == "") {
					t.Errorf("reason %q, request %q", c.Reason, c.RequestID)
				}
			}
		})
	}
	if memory.lists != 1 {
		t.Errorf("the provider was asked for its records %d times, want once for all", memory.lists)
	}
}

// TestPageAnswers checks what a browser gets, with a token and without.
func TestPageAnswers(t *testing.T) {
	forgetStatuses(t, 8)
	s := startStandard(t)
	ask := func(method, password string) answer {
		request, err := http.NewRequest(method, s.api+"/", nil)
		if err != nil {
			t.Fatal(err)
		}
		if password != "" {
			request.SetBasicAuth("anybody", password)
		}
		return do(t, request)
	}
	a := ask(http.MethodGet, s.token["ops"])
	if a.status != http.StatusOK || !strings.Contains(a.body, "nested.") || a.header.Get("Content-Type") != "text/html; charset=utf-8" {
		t.Errorf("%d %s: %s", a.status, a.header.Get("Content-Type"), a.body)
	}
	if strings.Contains(a.body, "secret.") {
		t.Error("a zone is there in which the client has no right")
	}
	if head := ask(http.MethodHead, s.token["ops"]); head.status != http.StatusOK || head.body != "" {
		t.Errorf("HEAD: %d %q", head.status, head.body)
	}
	for name, password := range map[string]string{"no token": "", "a wrong one": api.NewToken(), "an expired one": s.token["expired"]} {
		refused := ask(http.MethodGet, password)
		if refused.status != http.StatusUnauthorized || !strings.Contains(strings.Join(refused.header.Values("WWW-Authenticate"), ";"), "Basic ") {
			t.Errorf("%s: %d, %q", name, refused.status, refused.header.Values("WWW-Authenticate"))
		}
		want := make(http.Header)
		page.SetHeaders(want)
		for key := range want {
			if diff := cmp.Diff(want.Values(key), refused.header.Values(key)); diff != "" {
				t.Errorf("%s: %s (-want +got):\n%s", name, key, diff)
			}
		}
	}
}

// TestPageWaitsNoLonger checks that a page for a client that is gone waits for no name
// server, and has what is known without them.
func TestPageWaitsNoLonger(t *testing.T) {
	forgetStatuses(t, 0) // nothing is ever asked
	startStandard(t)
	app := liveApps.newest(nil)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	v := app.view(ctx, app.hosting.Clients().ByName("ops"))
	if len(v.Zones) != 2 || v.Zones[0].State != page.NotAsked || !v.Zones[0].Asked.IsZero() {
		t.Errorf("%+v", v.Zones)
	}
}
