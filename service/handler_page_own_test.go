package service

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/caddy-dns/bestdns/internal/api"
)

// pageRule is a right of a client of pageWorld, read naively.
type pageRule struct {
	verb  string
	under bool
	name  string
}

func (r pageRule) String() string {
	switch {
	case r.verb == "watch":
		return r.verb
	case r.under:
		return r.verb + " under " + r.name
	}
	return r.verb + " " + r.name
}

// reads: does the rule let its client read at a name?
func (r pageRule) reads(name string) bool {
	if r.verb == "watch" {
		return false
	}
	if r.verb == "certificates" {
		domain, ok := strings.CutPrefix(name, "_acme-challenge.")
		if !ok {
			return false
		}
		name = domain
	}
	return name == r.name || r.under && strings.HasSuffix(name, "."+r.name)
}

// pageWorld is a service with clients that have random rights.
type pageWorld struct {
	*rand.Rand
	t       *testing.T
	s       *service
	clients []string
	rules   map[string][]pageRule
}

// The zones of a pageWorld, the names in it, and the client that makes its challenges.
var (
	pageWorldZones = []string{"one.test", "three.test", "two.test"}
	pageWorldNames = []string{"one.test", "a.one.test", "b.a.one.test", "two.test", "a.two.test", "three.test"}
)

const challenger = "challenger"

func pick[T any](w *pageWorld, from ...T) T { return from[w.IntN(len(from))] }

func (w *pageWorld) chance(percent int) bool { return w.IntN(100) < percent }

func newPageWorld(t *testing.T, s *service, seed uint64) *pageWorld {
	t.Helper()
	w := &pageWorld{Rand: rand.New(rand.NewPCG(seed, 7)), t: t, s: s, rules: make(map[string][]pageRule)}
	config := fmt.Sprintf("listen %s\nstore %q\n", s.dns, fmt.Sprintf("%s/page%d.db", s.dir, seed))
	w.rules[challenger] = nil
	for _, zone := range pageWorldZones {
		config += "zone " + zone + " {\nns ns1.elsewhere.invalid\n}\n"
		w.rules[challenger] = append(w.rules[challenger], pageRule{"certificates", true, zone})
	}
	w.clients = append(w.clients, challenger)
	for i := range 6 {
		client := fmt.Sprintf("w%dc%d", seed, i) // of this world alone, as changes are remembered by client
		w.clients = append(w.clients, client)
		for range w.IntN(4) {
			w.rules[client] = append(w.rules[client], pageRule{pick(w, "certificates", "allow", "read"), w.chance(50), pick(w, pageWorldNames...)})
		}
		if w.chance(25) {
			w.rules[client] = append(w.rules[client], pageRule{verb: "watch"})
		}
	}
	for _, client := range w.clients {
		s.token[client] = api.NewToken()
		config += fmt.Sprintf("client %s {\ntoken %s\n", client, s.digest(client))
		for _, rule := range w.rules[client] {
			config += rule.String() + "\n"
		}
		config += "}\n"
	}
	s.load(t, config)
	return w
}

// watches: does the client see the whole service?
func (w *pageWorld) watches(client string) bool {
	return slices.Contains(w.rules[client], pageRule{verb: "watch"})
}

// own says what a client sees of names, for which it needs a right to one of them.
func (w *pageWorld) own(client string, names []string) (own []string) {
	for _, name := range names {
		if w.watches(client) || slices.ContainsFunc(w.rules[client], func(r pageRule) bool { return r.reads(name) }) {
			own = append(own, name)
		}
	}
	return own
}

// TestPageShowsOwn: whatever the rights of clients, each sees on the page exactly the
// zones in which it has a right, the challenges at names that it may read, its own
// changes, and itself; and with the right watch, everything.
func TestPageShowsOwn(t *testing.T) {
	forgetStatuses(t, 0) // no name server is asked
	s := newService(t)
	watchers, others := 0, 0
	for seed := range uint64(8) {
		w := newPageWorld(t, s, seed)
		app := liveApps.newest(nil)
		started := time.Now()
		var challenges, changes []string // the newest change first
		for range 8 {
			name := "_acme-challenge." + pick(w, pageWorldNames...)
			s.must(t, challenger, name, fmt.Sprintf(`{"append":[{"name":"@","type":"TXT","data":%q}]}`, challengeValue))
			changes = slices.Insert(changes, 0, fmt.Sprintf("changed append in %s: %s TXT by %s", zoneOfPage(name), name, challenger))
			if !slices.Contains(challenges, name) {
				challenges = append(challenges, name)
			}
		}
		for range 30 {
			client, name := pick(w, w.clients...), pick(w, pageWorldNames...)
			outcome, reason := "changed", ""
			if a := s.patch(t, client, name, `{"set":[{"name":"@","type":"A","data":"192.0.2.1"}]}`); a.status != http.StatusOK {
				outcome, reason = "refused", ", reason told"
			}
			zone := zoneOfPage(name)
			if !w.uses(client, zone) {
				zone = name // what was asked for, as if it was not hosted
			}
			changes = slices.Insert(changes, 0, fmt.Sprintf("%s set in %s: %s A by %s%s", outcome, zone, name, client, reason))
		}
		for _, client := range w.clients {
			var want sight
			for _, zone := range pageWorldZones {
				if w.watches(client) || w.uses(client, zone) {
					want.Zones = append(want.Zones, zone+"  not asked yet")
				}
			}
			for _, name := range w.own(client, challenges) {
				by := " by another client"
				if w.watches(client) || client == challenger {
					by = " by " + challenger
				}
				want.Challenges = append(want.Challenges, name+" in "+zoneOfPage(name)+by)
			}
			slices.Sort(want.Challenges)
			for _, change := range changes {
				if by := strings.TrimSuffix(change, ", reason told"); w.watches(client) || strings.HasSuffix(by, " by "+client) {
					want.Changes = append(want.Changes, change)
				}
			}
			want.Clients = []string{client + ", the visitor"}
			if w.watches(client) {
				watchers++
				want.Clients = append(want.Clients, slices.DeleteFunc(slices.Clone(w.clients), func(other string) bool { return other == client })...)
				slices.Sort(want.Clients)
			} else {
				others++
			}
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			v := app.view(ctx, app.hosting.Clients().ByName(client))
			if diff := cmp.Diff(want, sightOf(v, started)); diff != "" {
				t.Fatalf("seed %d, client %s with the rights %q (-want +got):\n%s", seed, client, w.rules[client], diff)
			}
			if v.Watches != w.watches(client) {
				t.Errorf("seed %d: the page of %s says that it watches: %v", seed, client, v.Watches)
			}
		}
	}
	if watchers < 8 || others < 20 {
		t.Errorf("only %d watchers and %d others", watchers, others)
	}
}

// uses: has the client a right in the zone?
func (w *pageWorld) uses(client, zone string) bool {
	return slices.ContainsFunc(w.rules[client], func(r pageRule) bool { return r.name != "" && zoneOfPage(r.name) == zone })
}

func zoneOfPage(name string) string {
	labels := strings.Split(name, ".")
	return strings.Join(labels[len(labels)-2:], ".")
}

// TestWatchGivesNothingElse checks that a client with the right watch alone sees others on
// the page and can neither read nor change a record, by whatever request.
func TestWatchGivesNothingElse(t *testing.T) {
	forgetStatuses(t, 8)
	s := newService(t)
	s.token["watcher"] = api.NewToken()
	s.load(t, s.standard()+fmt.Sprintf("\nclient watcher {\ntoken %s\nwatch\n}\n", s.digest("watcher")))
	s.must(t, "ops", "example.test", `{"append":[{"name":"seen-on-the-page","type":"TXT","data":"secret data"}]}`)

	token := s.call(t, "watcher", http.MethodGet, "/v1/token", "")
	if !strings.Contains(token.body, `"rights":["watch"]`) {
		t.Errorf("GET /v1/token: %s", token.body)
	}
	if zones := s.call(t, "watcher", http.MethodGet, "/v1/zones", ""); strings.TrimSpace(zones.body) != `{"zones":[]}` {
		t.Errorf("GET /v1/zones: %d %s", zones.status, zones.body)
	}
	for _, zone := range []string{"example.test", "seen-on-the-page.example.test", "test"} {
		if a := s.call(t, "watcher", http.MethodGet, "/v1/zones/"+zone+"/records", ""); a.status != http.StatusNotFound {
			t.Errorf("GET %s: %d %s", zone, a.status, a.body)
		}
		for _, change := range []string{
			`{"append":[{"name":"a","type":"A","data":"192.0.2.1"}]}`, `{"set":[{"name":"a","type":"A","data":"192.0.2.1"}]}`, `{"delete":[{"name":"seen-on-the-page"}]}`,
			fmt.Sprintf(`{"append":[{"name":"_acme-challenge","type":"TXT","data":%q}]}`, challengeValue),
		} {
			if a := s.patch(t, "watcher", zone, change); a.status != http.StatusNotFound {
				t.Errorf("PATCH %s %s: %d %s", zone, change, a.status, a.body)
			}
		}
	}
	page := s.call(t, "watcher", http.MethodGet, "/", "")
	html := strings.ReplaceAll(page.body, "<wbr>", "")
	for _, want := range []string{"the whole service", "secret.test", "web1", "seen-on-the-page.example.test"} {
		if !strings.Contains(html, want) {
			t.Errorf("%q is not on the page: %d", want, page.status)
		}
	}
	if strings.Contains(html, "secret data") {
		t.Error("the data of a record is on the page")
	}
}
