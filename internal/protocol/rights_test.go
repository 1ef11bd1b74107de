package protocol

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/libdns/libdns"
	"go.uber.org/zap"

	"github.com/caddy-dns/bestdns/internal/access"
	"github.com/caddy-dns/bestdns/internal/api"
	"github.com/caddy-dns/bestdns/internal/hosting"
	"github.com/caddy-dns/bestdns/internal/nameserver"
	"github.com/caddy-dns/bestdns/internal/record"
)

// TestRights: random rules and random requests, as the API has them, in zones of both
// kinds. What the service lets through, and what it changes, is what the naive
// reading of the rules lets through; what it shows too.
func TestRights(t *testing.T) {
	worlds, requests := uint64(40), 150
	if testing.Short() {
		worlds = 4
	}
	seen := make(map[string]int)
	for seed := range worlds {
		w := newRightsWorld(t, seed, seen)
		for range requests {
			w.change()
			w.read()
		}
		if len(w.provider.odd) > 0 {
			t.Errorf("seed %d: a provider got %q", seed, w.provider.odd)
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

// rightsWorld is a service and what is known of it.
type rightsWorld struct {
	generator
	t        *testing.T
	s        *hosting.Service
	server   *nameserver.Server
	provider *zonesProvider
	seed     uint64
	zones    []naiveZone
	clients  []string
	naive    map[string]*naiveWorld // by client
	limits   naiveLimits
	state    map[string]map[string]held
	written  []written // in built-in zones
	seen     map[string]int
}

// held is a record as a zone has it.
type held struct {
	owner     labels
	typ, data string
}

func newRightsWorld(t *testing.T, seed uint64, seen map[string]int) *rightsWorld {
	t.Helper()
	w := &rightsWorld{
		generator: generator{rand.New(rand.NewPCG(seed, 6))}, t: t, seed: seed, provider: &zonesProvider{records: make(map[string][]libdns.Record)},
		clients: []string{"c0", "c1", "c2"}, naive: make(map[string]*naiveWorld), seen: seen,
	}
	w.makeZones()
	w.limits = naiveLimits{clientRecords: 1 << 20, nameTypes: 1 << 20, rrsetRecords: 1 << 20, domainChallenges: 1 << 20}
	if seed%2 == 1 {
		w.limits = naiveLimits{clientRecords: 4 + w.IntN(8), nameTypes: 3 + w.IntN(2), rrsetRecords: 1 + w.IntN(3), domainChallenges: 1 + w.IntN(2)}
	}
	config := hosting.Config{
		Room:   make(map[string]nameserver.Use),
		Limits: record.Limits{Types: w.limits.nameTypes, Records: w.limits.rrsetRecords}, DomainChallenges: w.limits.domainChallenges,
		Activity: hosting.NewActivity(), Logger: zap.NewNop(), Audit: zap.NewNop(), ProcessLog: slog.New(slog.DiscardHandler),
	}
	for _, z := range w.zones {
		zone := &hosting.Zone{Apex: w.parse(z.name), TTL: 60, CNAMETarget: z.target}
		if z.provider {
			zone.Provider = w.provider
			zone.ChallengeTTL = 60
		} else {
			zone.NameServers = []nameserver.NameServer{{Name: w.parse(labels{"ns", "elsewhere", "invalid"})}}
			zone.ChallengeLifetime = 24 * time.Hour
		}
		config.Zones = append(config.Zones, zone)
	}
	for _, client := range append(w.clients, observer) {
		w.naive[client] = &naiveWorld{zones: w.zones, rules: w.rules(client)}
		config.Clients = append(config.Clients, access.Config{Name: client, Users: []string{client}, Rules: w.parseRules(w.naive[client].rules)})
		config.Room[client] = nameserver.Use{Records: w.limits.clientRecords}
	}
	var err error
	if w.s, err = hosting.New(config); err != nil {
		t.Fatal(err)
	}
	w.serve()
	w.state = w.look()
	w.account(w.clients[0], "the start", "delete", nil, nil, w.state)
	return w
}

// serve opens a name server for the built-in zones, until the test ends.
func (w *rightsWorld) serve() {
	w.t.Helper()
	var err error
	w.server, err = nameserver.Open(nameserver.Options{Path: filepath.Join(w.t.TempDir(), "records.db")})
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { w.server.Close() })
	var settings nameserver.Settings
	for _, zone := range w.s.Zones() {
		if zone.Builtin() {
			settings.Zones = append(settings.Zones, zone.NameServerConfig())
		}
	}
	if err := w.server.Serve(settings); err != nil {
		w.t.Fatal(err)
	}
	w.s.Begin(w.server)
}

// parse reads a name that was written in one of its forms.
func (w *rightsWorld) parse(name labels) record.Name {
	w.t.Helper()
	parsed, err := record.ParseName(w.text(name))
	if err != nil {
		w.t.Fatal(err)
	}
	return parsed
}

func (w *rightsWorld) parseRules(naive []naiveRule) (rules []access.Rule) {
	w.t.Helper()
	verbs := map[string]access.Verb{"certificates": access.Certificates, "allow": access.Allow, "read": access.Read}
	for _, rule := range naive {
		under := ""
		if rule.under {
			under = "under "
		}
		parsed, err := access.ParseRule(verbs[rule.verb], under+w.text(rule.name)+" "+strings.Join(rule.types, " "))
		if err != nil {
			w.t.Fatal(err)
		}
		rules = append(rules, parsed)
	}
	return rules
}

// answer is what the API answers.
type answer struct {
	status  int
	body    string
	records []api.Record
	problem api.Problem
}

func answerOf(body any, err error) answer {
	status := http.StatusOK
	var problem api.Problem
	if err != nil {
		problem = *Problem(hosting.AsError(err, ""), "")
		body, status = problem, problem.Status
	}
	text, err := json.Marshal(body)
	return answer{status: status, body: fmt.Sprintf("%s %v", text, err), problem: problem}
}

// patch has a client make a change.
func (w *rightsWorld) patch(client, zone string, body []byte) answer {
	change, err := ReadChange(body)
	if err != nil {
		return answerOf(nil, err)
	}
	asked, err := ParseZone(zone)
	if err != nil {
		return answerOf(nil, err)
	}
	done, err := w.s.Change(w.t.Context(), hosting.Caller{Client: w.s.Clients().ByName(client)}, Change(asked, change))
	return answerOf(Records(asked, done), err)
}

// get has a client list the records at or below a name.
func (w *rightsWorld) get(client, zone string) answer {
	want, err := Query(zone, "", "")
	if err != nil {
		return answerOf(nil, err)
	}
	found, err := w.s.Records(w.t.Context(), w.s.Clients().ByName(client), want)
	if err != nil {
		return answerOf(nil, err)
	}
	records := []api.Record{}
	for e := range found {
		records = append(records, e.Record(want.Zone))
	}
	a := answerOf(api.Records{Records: records}, nil)
	a.records = records
	return a
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
	answer := w.patch(client, w.text(asked), text)
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
		state[z.name.slashed()] = w.list(observer, z.name).held
	}
	return state
}

// listing is an answer to a GET.
type listing struct {
	answer
	held map[string]held
}

func (w *rightsWorld) list(client string, asked labels) listing {
	w.t.Helper()
	a := w.get(client, w.text(asked))
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
	got := w.list(client, asked)
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
