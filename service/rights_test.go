package service

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/google/go-cmp/cmp"

	"github.com/caddy-dns/bestdns/internal/api"
)

// TestRightsOverHTTP: random rules and random requests, over HTTP, in zones of both
// kinds. What the service lets through, and what it changes, is what the naive
// reading of the rules lets through; what it shows too.
func TestRightsOverHTTP(t *testing.T) {
	worlds, requests := uint64(40), 150
	if testing.Short() {
		worlds = 4
	}
	seen := make(map[string]int)
	s := newService(t)
	for seed := range worlds {
		w := newRightsWorld(t, s, seed, seen)
		for range requests {
			w.change()
			w.read()
		}
		if len(inMemory.odd) > 0 {
			t.Errorf("seed %d: a provider got %q", seed, inMemory.odd)
		}
	}
	t.Log(seen)
	for _, what := range []string{
		"built-in append by certificates", "built-in append by allow", "built-in set by allow", "built-in delete by allow",
		"provider append by certificates", "provider append by allow", "provider set by allow", "provider delete by allow",
		"moved to a CNAME's target", "delegation of a nested zone", "refused for a right", "refused for a name", "refused for a limit", "read something", "read nothing", "404",
	} {
		if seen[what] < int(worlds)/2 {
			t.Errorf("%s: %d times only, in %d worlds", what, seen[what], worlds)
		}
	}
}

const observer = "observer"

// rightsWorld is a running service and what is known of it.
type rightsWorld struct {
	generator
	t       *testing.T
	s       *service
	seed    uint64
	zones   []naiveZone
	clients []string
	naive   map[string]*naiveWorld // by client
	limits  naiveLimits
	state   map[string]map[string]held
	written []written // in built-in zones
	seen    map[string]int
}

// held is a record as a zone has it.
type held struct {
	owner     labels
	typ, data string
}

func newRightsWorld(t *testing.T, s *service, seed uint64, seen map[string]int) *rightsWorld {
	t.Helper()
	inMemory.clear()
	w := &rightsWorld{
		generator: generator{rand.New(rand.NewPCG(seed, 6))}, t: t, s: s, seed: seed,
		clients: []string{"c0", "c1", "c2"}, naive: make(map[string]*naiveWorld), seen: seen,
	}
	w.makeZones()
	w.limits = naiveLimits{clientRecords: 1 << 20, nameTypes: 1 << 20, rrsetRecords: 1 << 20, domainChallenges: 1 << 20}
	if seed%2 == 1 {
		w.limits = naiveLimits{clientRecords: 4 + w.IntN(8), nameTypes: 3 + w.IntN(2), rrsetRecords: 1 + w.IntN(3), domainChallenges: 1 + w.IntN(2)}
	}
	var config strings.Builder
	config.WriteString(w.limits.config())
	fmt.Fprintf(&config, "listen %s\nstore %q\n", s.dns, filepath.Join(s.dir, fmt.Sprintf("%d.db", seed)))
	for _, z := range w.zones {
		backend := "ns ns.elsewhere.invalid"
		if z.provider {
			backend = "provider test_zones"
		}
		if z.target {
			backend += "\ncname_target"
		}
		fmt.Fprintf(&config, "zone %s {\n%s\n}\n", w.text(z.name), backend)
	}
	for _, client := range append(w.clients, observer) {
		s.token[client] = api.NewToken()
		fmt.Fprintf(&config, "client %s {\ntoken %s\n", client, s.digest(client))
		w.naive[client] = &naiveWorld{zones: w.zones}
		for _, rule := range w.rules(client) {
			w.naive[client].rules = append(w.naive[client].rules, rule)
			under := ""
			if rule.under {
				under = "under "
			}
			fmt.Fprintf(&config, "%s %s`%s` %s\n", rule.verb, under, w.text(rule.name), strings.Join(rule.types, " "))
		}
		config.WriteString("}\n")
	}
	// A world of its own, and no reload: that is not what is tested here.
	if err := caddy.Stop(); err != nil {
		t.Fatal(err)
	}
	s.load(t, config.String())
	w.state = w.look()
	w.account(w.clients[0], "the start", "delete", nil, nil, w.state)
	return w
}

func (w *rightsWorld) failf(client string, format string, args ...any) {
	w.t.Helper()
	w.t.Fatalf("seed %d: %s\nzones %+v\nrules of %s: %+v", w.seed, fmt.Sprintf(format, args...), w.zones, client, w.naive[client].rules)
}

// change makes a random change and holds what becomes of it against the rules.
func (w *rightsWorld) change() {
	w.t.Helper()
	client := pick(w, w.clients...)
	rules := w.naive[client]
	kind := pick(w, "append", "append", "append", "set", "delete", "delete")
	asked := w.name()
	if nested := w.nestedBelow(nil); nested != nil && w.chance(15) {
		asked = nested[1:]
	}
	items := []item{w.item(client, kind, asked)}
	for w.chance(15) {
		items = append(items, w.item(client, kind, asked))
	}
	body := map[string][]api.Record{}
	for _, it := range items {
		body[kind] = append(body[kind], it.sent)
	}
	text, err := json.Marshal(body)
	if err != nil {
		w.t.Fatal(err)
	}
	answer := w.s.patch(w.t, client, w.text(asked), string(text))
	after := w.look()
	defer func() { w.state = after }()

	zone, may, why := w.judge(rules, kind, asked, items)
	what := fmt.Sprintf("PATCH %q %s: %d %s", asked, text, answer.status, answer.body)
	overLimit := answer.problem.Kind() == api.OverLimit
	if overLimit && may {
		why = "a limit"
	}
	switch {
	case answer.status == http.StatusOK && !may:
		w.failf(client, "%s\nlet through, and there is no right to it: %s", what, why)
	case overLimit && (!may || zone.provider || w.limits.over(w.written, w.wouldBe(client, kind, asked, items)) == ""):
		w.failf(client, "%s\nrefused for a limit, and it would not be over one", what)
	case answer.status != http.StatusOK && may && !overLimit && !w.otherwise(answer, zone, items):
		w.failf(client, "%s\nrefused, and there is a right to it", what)
	case answer.status != http.StatusOK:
		w.seen["refused for "+why]++
		if diff := cmp.Diff(w.state, after, cmp.AllowUnexported(held{})); diff != "" {
			w.failf(client, "%s\nrefused, and yet (-before +after):\n%s", what, diff)
		}
		return
	}
	w.checkChanged(client, what, kind, asked, items, after)
	w.account(client, what, kind, asked, items, after)
	by, where := "certificates", "built-in "
	for _, it := range items {
		z, owner := rules.placed(asked, it.owner, it.typ)
		if rules.allowed(z, owner, it.typ) {
			by = "allow"
		}
		if z.provider {
			where = "provider "
		}
		if !slices.Equal(owner, it.owner) {
			w.seen["moved to a CNAME's target"]++
		}
		if rules.zoneOf(owner) != z {
			w.seen["delegation of a nested zone"]++
		}
	}
	w.seen[where+kind+" by "+by]++
}

// judge says whether the naive reading lets a change through, and if not, why.
func (w *rightsWorld) judge(rules *naiveWorld, kind string, asked labels, items []item) (zone *naiveZone, may bool, why string) {
	for _, it := range items {
		if !it.valid {
			return nil, false, "a name" // or a type or a value
		}
		z, owner := rules.placed(asked, it.owner, it.typ)
		switch {
		case z == nil:
			return nil, false, "a zone"
		case zone != nil && zone != z:
			return nil, false, "two zones"
		case !rules.may(kind, z, owner, it.typ, it.says):
			return nil, false, "a right"
		}
		zone = z
	}
	return zone, true, "another reason"
}

// otherwise reports whether a change to which there is a right was refused for what
// has nothing to do with rights.
func (w *rightsWorld) otherwise(a answer, zone *naiveZone, items []item) bool {
	byRule := strings.Contains(a.problem.Detail, `rule "`) // on SOA, NS and CNAME
	odd := slices.ContainsFunc(items, func(it item) bool { return !it.plain })
	switch a.problem.Kind() {
	case api.Conflict:
		return byRule
	case api.InvalidRecord:
		return byRule || zone.provider && odd
	case api.ZoneNotFound:
		// The target for a domain that is hosted here opens no zone: no CNAME leads there.
		return zone.target && slices.ContainsFunc(items, func(it item) bool {
			if !it.owner.in(zone.name) {
				return false
			}
			m := naiveTarget.FindStringSubmatch(it.owner[:len(it.owner)-len(zone.name)].slashed())
			return m != nil && (&naiveWorld{zones: w.zones}).zoneOf(append(labels{"_acme-challenge"}, splitSlashed(m[2])...)) != nil
		})
	}
	return false
}

// checkChanged: nothing has changed but what the items name.
func (w *rightsWorld) checkChanged(client, what, kind string, asked labels, items []item, after map[string]map[string]held) {
	w.t.Helper()
	rules := w.naive[client]
	for _, z := range w.zones {
		old, now := w.state[z.name.slashed()], after[z.name.slashed()]
		for key := range union(old, now) {
			if _, was := old[key]; was {
				if _, is := now[key]; is {
					continue
				}
			}
			changed := old[key]
			if changed.typ == "" {
				changed = now[key]
			}
			named := slices.ContainsFunc(items, func(it item) bool {
				to, owner := rules.placed(asked, it.owner, it.typ)
				if !slices.Equal(to.name, z.name) || !slices.Equal(owner, changed.owner) || it.typ != "" && it.typ != changed.typ {
					return false
				}
				return rules.allowed(to, owner, it.typ) || it.says != nil && *it.says == changed.data
			})
			if !named {
				w.failf(client, "%s\nchanged in %q: %+v", what, z.name, changed)
			}
		}
	}
}

func union[V any](a, b map[string]V) map[string]V {
	all := maps.Clone(a)
	maps.Copy(all, b)
	return all
}

// look returns what the zones hold, by zone and record; SOA records, whose serial
// every change raises, left out.
func (w *rightsWorld) look() map[string]map[string]held {
	w.t.Helper()
	state := make(map[string]map[string]held)
	for _, z := range w.zones {
		state[z.name.slashed()] = w.list(observer, z.name, "").held
	}
	return state
}

// listing is an answer to a GET.
type listing struct {
	answer
	held map[string]held
}

func (w *rightsWorld) list(client string, asked labels, query string) listing {
	w.t.Helper()
	a := w.s.call(w.t, client, http.MethodGet, "/v1/zones/"+url.PathEscape(w.text(asked))+"/records"+query, "")
	l := listing{answer: a, held: make(map[string]held)}
	for _, r := range a.records {
		h := held{typ: r.Type, data: *r.Data}
		switch {
		case r.Name == "@":
			h.owner = asked
		default:
			h.owner = append(unescaped(r.Name), asked...)
		}
		if r.Type != "SOA" {
			l.held[fmt.Sprintf("%s %s %d %s", h.owner.slashed(), r.Type, *r.TTL, h.data)] = h
		}
	}
	return l
}

// read makes a random GET and holds it against what is there and the rules.
func (w *rightsWorld) read() {
	w.t.Helper()
	client := pick(w, w.clients...)
	rules := w.naive[client]
	asked := w.name()
	got := w.list(client, asked, "")
	what := fmt.Sprintf("GET %q: %d %s", asked, got.status, got.body)
	zone := rules.zoneOf(asked)
	want := make(map[string]held)
	if zone != nil {
		for key, h := range w.state[zone.name.slashed()] {
			if h.owner.in(asked) && rules.reads(zone, h.owner) {
				want[key] = h
			}
		}
	}
	switch got.status {
	case http.StatusOK:
		if diff := cmp.Diff(want, got.held, cmp.AllowUnexported(held{})); diff != "" {
			w.failf(client, "%s\n(-want +got):\n%s", what, diff)
		}
		if len(want) > 0 {
			w.seen["read something"]++
		} else {
			w.seen["read nothing"]++
		}
	case http.StatusNotFound:
		for _, h := range want {
			if _, allowed := rules.placed(asked, h.owner, h.typ); allowed == nil || !rules.challenge(zone, h.owner) {
				w.failf(client, "%s\nand there is %+v to read", what, h)
			}
		}
		w.seen["404"]++
	default:
		w.failf(client, "%s", what)
	}
}
