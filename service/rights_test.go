package service

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/url"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/google/go-cmp/cmp"
	"github.com/libdns/libdns"

	"github.com/caddy-dns/bestdns/internal/api"
)

func init() { caddy.RegisterModule(new(zonesProvider)) }

// zonesProvider is a DNS provider that keeps the records of several zones, and notes
// what no provider should ever get.
type zonesProvider struct {
	mu      sync.Mutex
	records map[string][]libdns.Record
	odd     []string
}

// inMemory is the one that each zone gets.
var inMemory = &zonesProvider{records: make(map[string][]libdns.Record)}

func (*zonesProvider) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "dns.providers.test_zones", New: func() caddy.Module { return inMemory }}
}

func (*zonesProvider) UnmarshalCaddyfile(*caddyfile.Dispenser) error { return nil }

func (p *zonesProvider) clear() {
	p.mu.Lock()
	defer p.mu.Unlock()
	clear(p.records)
	p.odd = nil
}

var (
	plainName = regexp.MustCompile(`^(?:@|[a-z0-9_*-]+(?:\.[a-z0-9_*-]+)*)$`)
	plainData = regexp.MustCompile(`^[ -~]+$`) // to libdns, no data are any
)

func (p *zonesProvider) look(records []libdns.Record) {
	for _, r := range records {
		rr := r.RR()
		if !plainName.MatchString(rr.Name) || !plainData.MatchString(rr.Data) || strings.ContainsAny(rr.Data, `"\`) {
			p.odd = append(p.odd, fmt.Sprintf("%+v", rr))
		}
	}
}

func (p *zonesProvider) GetRecords(_ context.Context, zone string) ([]libdns.Record, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.records[zone]), nil
}

func (p *zonesProvider) AppendRecords(_ context.Context, zone string, records []libdns.Record) ([]libdns.Record, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.look(records)
	p.records[zone] = append(p.records[zone], records...)
	return records, nil
}

func (p *zonesProvider) SetRecords(ctx context.Context, zone string, records []libdns.Record) ([]libdns.Record, error) {
	p.mu.Lock()
	p.records[zone] = slices.DeleteFunc(p.records[zone], func(old libdns.Record) bool {
		return slices.ContainsFunc(records, func(r libdns.Record) bool {
			return r.RR().Name == old.RR().Name && r.RR().Type == old.RR().Type
		})
	})
	p.mu.Unlock()
	return p.AppendRecords(ctx, zone, records)
}

func (p *zonesProvider) DeleteRecords(_ context.Context, zone string, records []libdns.Record) ([]libdns.Record, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.look(records)
	p.records[zone] = slices.DeleteFunc(p.records[zone], func(old libdns.Record) bool {
		return slices.ContainsFunc(records, func(r libdns.Record) bool { return r.RR() == old.RR() })
	})
	return records, nil
}

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
		"moved to a CNAME's target", "delegation of a nested zone", "refused for a right", "refused for a name", "read something", "read nothing", "404",
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
	state   map[string]map[string]held
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
	var config strings.Builder
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
	return w
}

func (w *rightsWorld) makeZones() {
	for range 2 + w.IntN(3) {
		name := labels{pick(w, "org", "net")}
		if len(w.zones) > 0 && w.chance(60) {
			name = slices.Clone(pick(w, w.zones...).name)
		}
		for len(name) < 2 || w.chance(40) {
			name = append(labels{pick(w, "a", "b", "a", "_acme-challenge")}, name...)
		}
		if !slices.ContainsFunc(w.zones, func(z naiveZone) bool { return slices.Equal(z.name, name) }) {
			w.zones = append(w.zones, naiveZone{name: name, provider: w.chance(50)})
		}
	}
	w.zones[0].target = w.chance(70)
}

// rules makes the rights of a client. The observer sees all.
func (w *rightsWorld) rules(client string) (rules []naiveRule) {
	if client == observer {
		for _, z := range w.zones {
			rules = append(rules, naiveRule{verb: "read", under: true, name: z.name})
		}
		return rules
	}
	for range 1 + w.IntN(4) {
		rule := naiveRule{verb: pick(w, "certificates", "allow", "allow", "read"), under: w.chance(50), name: w.name()}
		switch rule.verb {
		case "certificates":
			rule.name = slices.DeleteFunc(rule.name, func(l string) bool { return !naiveLabel.MatchString(l) })
			for len(rule.name) < 2 {
				rule.name = append(labels{"a"}, rule.name...)
			}
		case "allow":
			rule.types = pick(w, nil, nil, nil, []string{"TXT"}, []string{"A", "NS"}, []string{"NS"}, []string{"CNAME", "TXT"}, []string{"DS"})
		}
		rules = append(rules, rule)
	}
	return rules
}

var naiveLabel = regexp.MustCompile(`^[a-z0-9](?:[a-z0-9-]*[a-z0-9])?$`)

// name makes a name, mostly one that has to do with a zone or a rule.
func (w *rightsWorld) name() labels {
	near := []labels{{"org"}, {"a", "net"}}
	for _, z := range w.zones {
		near = append(near, z.name, z.name)
	}
	for _, client := range w.clients {
		known := w.naive[client]
		if known == nil {
			continue
		}
		for _, rule := range known.rules {
			near = append(near, rule.name)
			if rule.verb == "certificates" {
				near = append(near, append(labels{"_acme-challenge"}, rule.name...), append(labels{"_acme-challenge"}, rule.name...),
					append(slices.Clone(rule.name), w.zones[0].name...))
			}
		}
	}
	name := slices.Clone(pick(w, near...))
	if w.chance(8) && len(name) > 0 {
		name = name[1:]
	}
	for w.chance(35) && len(name) < 8 {
		name = append(labels{pick(w, "a", "b", "*", "_acme-challenge", "_abcdefghijk23456", "xn--bcher-kva", "a.b", "$origin x", ";", "\x00\xff", "org")}, name...)
	}
	return name
}

// generator writes one thing in many forms.
type generator struct{ *rand.Rand }

func pick[T any](g interface{ IntN(int) int }, from ...T) T { return from[g.IntN(len(from))] }

func (g generator) chance(percent int) bool { return g.IntN(100) < percent }

// text writes a name in presentation format, without a final dot.
func (g generator) text(name labels) string {
	if len(name) == 0 {
		return "."
	}
	var text strings.Builder
	for i, label := range name {
		if i > 0 {
			text.WriteByte('.')
		}
		for _, c := range []byte(label) {
			if 'a' <= c && c <= 'z' && g.chance(25) {
				c -= 'a' - 'A'
			}
			switch {
			case c <= ' ' || c >= 0x7f || g.chance(3):
				fmt.Fprintf(&text, `\%03d`, c)
			case strings.IndexByte(`."();@$\`, c) >= 0 || g.chance(3) && (c < '0' || c > '9'):
				text.WriteByte('\\')
				text.WriteByte(c)
			default:
				text.WriteByte(c)
			}
		}
	}
	return text.String()
}

// item is one record of a request: what is sent and what it means.
type item struct {
	sent  api.Record
	valid bool
	owner labels
	typ   string // "" is any
	says  *string
	plain bool // every provider can carry it
}

// Names, types and values that are none, and may become one where they are pasted
// into something.
var (
	noNames = []string{
		"x 60 IN A 192.0.2.66 ;", "x\n60 IN A 192.0.2.66", "$ORIGIN net.", "x\n$ORIGIN net.", "a..b", ".a", "a;b", `"a"`, "(a", "a b",
		`a\`, `a\25`, `a\256`, "bücher", "a\u3002b", "a\x00", "a\tb", "_acme-challenge\r\n", strings.Repeat("a", 64), strings.Repeat("a.", 130), "..", "@.@",
	}
	noTypes = []string{"A 192.0.2.66", "TXT\n", "TXT;", "ANY", "*", "AXFR", "TYPE", "TYPE0", "TYPE65536", "RRSIG", "NONSENSE", "IN", " TXT"}
	noData  = map[string][]string{
		"A":     {"192.0.2.1\nx A 192.0.2.2", "192.0.2.1 ; x", "192.0.2.1 192.0.2.2", "2001:db8::1", "192.0.2.01", "", "\"192.0.2.1\""},
		"CNAME": {"a b.", "a.\n$ORIGIN b.", "a", "a. ; b", "", "a. b.", `a\.`},
		"NS":    {"ns", "ns.\nx NS y.", ""},
		"DS":    {"1 1 1 zz", "1 1", "1 1 1 00 ; x"},
	}
)

func (w *rightsWorld) item(client, kind string, asked labels) item {
	it := item{valid: true, owner: w.name()}
	if w.chance(60) { // what the client may do, or close to it
		rule := pick(w, w.naive[client].rules...)
		it.owner = rule.name
		if rule.under && w.chance(50) {
			it.owner = append(labels{pick(w, "a", "b", "x")}, it.owner...)
		}
		if rule.verb == "certificates" {
			it.owner = append(labels{"_acme-challenge"}, it.owner...)
		}
		if len(rule.types) > 0 {
			it.typ = pick(w, rule.types...)
		}
	}
	if nested := w.nestedBelow(asked); nested != nil && w.chance(50) { // its delegation
		it.owner, it.typ = nested, pick(w, "NS", "NS", "DS", "A")
	}
	w.nameItem(&it, asked)
	it.plain = plainName.MatchString(strings.Join(it.owner, ".")) && !slices.Contains(it.owner, "a.b")
	if it.typ == "" || w.chance(20) {
		it.typ = pick(w, "TXT", "TXT", "TXT", "TXT", "A", "NS", "CNAME", "DS", "SOA", "TYPE65280")
	}
	if kind == "delete" && w.chance(25) {
		it.typ = ""
	}
	w.value(kind, &it)
	if w.chance(30) {
		it.sent.TTL = new(pick(w, int64(0), 60, 300))
	}
	return it
}

// nestedBelow returns a zone that lies within another one and below the name, nil if
// there is none.
func (w *rightsWorld) nestedBelow(name labels) labels {
	known := naiveWorld{zones: w.zones}
	for _, z := range w.zones {
		if known.zoneOf(z.name[1:]) != nil && z.name[1:].in(name) {
			return z.name
		}
	}
	return nil
}

// nameItem writes the owner of an item in one of its forms, or what is no name.
func (w *rightsWorld) nameItem(it *item, asked labels) {
	switch {
	case w.chance(6):
		it.valid, it.sent.Name = false, pick(w, noNames...)
	case it.owner.in(asked) && len(it.owner) == len(asked):
		it.sent.Name = "@"
	case it.owner.in(asked) && w.chance(80):
		it.sent.Name = w.text(it.owner[:len(it.owner)-len(asked)])
	default:
		it.sent.Name = strings.TrimSuffix(w.text(it.owner), ".") + "."
	}
}

// value gives an item its type and data.
func (w *rightsWorld) value(kind string, it *item) {
	numbers := map[string]string{"TXT": "TYPE16", "A": "TYPE1", "NS": "TYPE2", "CNAME": "TYPE5", "DS": "TYPE43", "SOA": "TYPE6"}
	it.sent.Type = it.typ
	data := map[string]string{
		"A": fmt.Sprintf("192.0.2.%d", w.IntN(4)), "NS": "ns.example.", "CNAME": "target.example.", "DS": "1 1 1 0000000000000000000000000000000000000000",
		"SOA": "ns.example. h.example. 1 2 3 4 5", "TYPE65280": `\# 1 00`,
	}[it.typ]
	if it.typ == "TXT" {
		data = w.says()
		it.says = &data
		it.plain = it.plain && plainData.MatchString(data) && !strings.ContainsAny(data, `"\`)
	}
	if it.typ == "DS" || it.typ == "TYPE65280" {
		it.plain = false
	}
	open := kind == "delete" && (it.typ == "" || w.chance(40))
	switch {
	case it.typ == "":
		if w.chance(20) {
			it.sent.Data = new(w.says())
		}
		return
	case open:
		it.says = nil
	case len(noData[it.typ]) > 0 && w.chance(6):
		it.valid, it.sent.Data = false, new(pick(w, noData[it.typ]...))
	case it.typ == "TXT" && len(data) < 256 && w.chance(10):
		wire := fmt.Sprintf("%02x%x", len(data), data)
		it.sent.Type, it.sent.Data = pick(w, "TYPE16", "type16", "TYPE0016"), new(fmt.Sprintf(`\# %d %s`, len(wire)/2, wire))
		return
	default:
		it.sent.Data = &data
	}
	switch {
	case w.chance(3):
		it.valid, it.sent.Type = false, pick(w, noTypes...)
	case open && numbers[it.typ] != "" && w.chance(20):
		it.sent.Type = numbers[it.typ]
	case w.chance(20):
		it.sent.Type = strings.ToLower(it.typ)
	}
}

// says makes a text, mostly one that answers a challenge.
func (w *rightsWorld) says() string {
	const digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	if w.chance(15) {
		return pick(w, "", "a", `x 60 IN A 192.0.2.66 ;`, "a\n$ORIGIN net.", `"a" "b"`, `\065`, "ü", "v=spf1 -all")
	}
	value := []byte(strings.Repeat("A", pick(w, 43, 43, 43, 43, 42, 44)))
	value[0] = digits[w.IntN(3)] // few values, so that a delete meets one
	if w.chance(12) {
		value[w.IntN(len(value))] = pick(w, byte('='), '+', '/', ' ', '"', '.', '\n')
	}
	return string(value)
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
	switch {
	case answer.status == http.StatusOK && !may:
		w.failf(client, "%s\nlet through, and there is no right to it: %s", what, why)
	case answer.status != http.StatusOK && may && !w.otherwise(answer, zone, items):
		w.failf(client, "%s\nrefused, and there is a right to it", what)
	case answer.status != http.StatusOK:
		w.seen["refused for "+why]++
		if diff := cmp.Diff(w.state, after, cmp.AllowUnexported(held{})); diff != "" {
			w.failf(client, "%s\nrefused, and yet (-before +after):\n%s", what, diff)
		}
		return
	}
	w.checkChanged(client, what, kind, asked, items, after)
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

// otherwise tells whether a change to which there is a right was refused for what
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

// TestHiddenZoneToTheByte: whatever is asked of a zone in which the client has no
// right, the answer is the one for a zone that does not exist, headers included, but
// for the request's id.
func TestHiddenZoneToTheByte(t *testing.T) {
	inMemory.clear()
	s := newService(t)
	s.load(t, s.standard()+"\nzone hosted.test {\nprovider test_zones\n}\n")
	long := strings.Repeat("x", 64)
	requests := []struct{ name, method, path, body string }{
		{"list", "GET", "/v1/zones/ZONE/records", ""},
		{"list below", "GET", "/v1/zones/a.b.ZONE/records", ""},
		{"list with a name", "GET", "/v1/zones/ZONE/records?name=a&type=TXT", ""},
		{"list with no name", "GET", "/v1/zones/ZONE/records?name=a..b", ""},
		{"list with no type", "GET", "/v1/zones/ZONE/records?type=NONE", ""},
		{"list, upper case and dot", "GET", "/v1/zones/ZONE./records", ""},
		{"append", "PATCH", "/v1/zones/ZONE/records", `{"append":[{"name":"a","type":"TXT","data":"x"}]}`},
		{"challenge", "PATCH", "/v1/zones/ZONE/records", `{"append":[{"name":"_acme-challenge","type":"TXT","data":"` + challengeValue + `"}]}`},
		{"apex", "PATCH", "/v1/zones/ZONE/records", `{"set":[{"name":"@","type":"NS","data":"a."}]}`},
		{"delegation", "PATCH", "/v1/zones/test/records", `{"set":[{"name":"ZONE.","type":"NS","data":"a."}]}`},
		{"absolute, in another zone", "PATCH", "/v1/zones/example.test/records", `{"append":[{"name":"a.ZONE.","type":"A","data":"192.0.2.1"}]}`},
		{"behind a right one", "PATCH", "/v1/zones/example.test/records", `{"append":[{"name":"_acme-challenge.web1","type":"TXT","data":"` + challengeValue + `"},{"name":"a.ZONE.","type":"A","data":"192.0.2.1"}]}`},
		{"delete all", "PATCH", "/v1/zones/ZONE/records", `{"delete":[{"name":"@"}]}`},
		{"nothing to do", "PATCH", "/v1/zones/ZONE/records", `{"delete":[]}`},
		{"SOA", "PATCH", "/v1/zones/ZONE/records", `{"delete":[{"name":"@","type":"SOA"}]}`},
		{"bad name", "PATCH", "/v1/zones/ZONE/records", `{"append":[{"name":"a..b","type":"TXT","data":"x"}]}`},
		{"long label", "PATCH", "/v1/zones/ZONE/records", `{"append":[{"name":"` + long + `","type":"TXT","data":"x"}]}`},
		{"bad type", "PATCH", "/v1/zones/ZONE/records", `{"append":[{"name":"a","type":"NONE","data":"x"}]}`},
		{"bad data", "PATCH", "/v1/zones/ZONE/records", `{"append":[{"name":"a","type":"A","data":"x"}]}`},
		{"bad TTL", "PATCH", "/v1/zones/ZONE/records", `{"append":[{"name":"a","type":"A","ttl":-1,"data":"192.0.2.1"}]}`},
		{"bad JSON", "PATCH", "/v1/zones/ZONE/records", `{"append":`},
		{"another method", "PUT", "/v1/zones/ZONE/records", ""},
	}
	const missing = "absent.test" // as long as the others, so that Content-Length agrees
	for _, hidden := range []string{"secret.test", "hosted.test"} {
		for _, request := range requests {
			t.Run(hidden+" "+request.name, func(t *testing.T) {
				ask := func(zone string) string {
					in := strings.NewReplacer("ZONE", zone)
					a := s.call(t, "web1", request.method, in.Replace(request.path), in.Replace(request.body))
					if a.status < 400 {
						t.Fatalf("%d %s", a.status, a.body)
					}
					id := a.header.Get("X-Request-Id")
					a.header.Del("Date")
					a.header.Del("X-Request-Id")
					return strings.NewReplacer(zone, "ZONE", id, "ID").Replace(fmt.Sprint(a.status, a.header, a.body))
				}
				if diff := cmp.Diff(ask(missing), ask(hidden)); diff != "" {
					t.Errorf("(-not there +hidden):\n%s", diff)
				}
			})
		}
	}
}
