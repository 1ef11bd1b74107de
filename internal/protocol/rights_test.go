package protocol

import (
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

// TestRights: random rules and random requests, by each protocol, in zones of both kinds. What the
// service lets through, and what it changes, is what the naive reading of the rules lets through; what
// it shows too.
func TestRights(t *testing.T) {
	worlds, requests := uint64(60), 300
	if testing.Short() {
		worlds = 4
	}
	seen := make(map[string]int)
	for seed := range worlds {
		w := newRightsWorld(t, seed, seen)
		for range requests {
			w.any()
			w.read()
		}
		if len(w.provider.odd) > 0 {
			t.Errorf("seed %d: a provider got %q", seed, w.provider.odd)
		}
	}
	t.Log(seen)
	for _, what := range slices.Concat(everyChange("append by certificates", "append by allow", "set by allow", "delete by certificates", "delete by allow",
		"append by httpreq", "append by httpreq in RAW mode", "delete by httpreq", "delete by httpreq in RAW mode",
		"append by a registered account", "append by an imported account", "append by acme-dns", "set by dyndns2",
		"update: add", "update: add a challenge", "update: delete", "update: delete a challenge", "update: clear", "update: clear what is its own",
		"update: empty", "update: empty what is its own", "update: prerequisites are met", "update: several steps"),
		[]string{
			"moved to a CNAME's target", "delegation of a nested zone", "a standing permission", "refused an account", "dyndns2 has nothing to change",
			"an update has spared what is not the client's", "an update has taken what is the client's",
			"refused for a right", "refused for a name", "refused for a limit", "read something", "read nothing", "404",
			"update refused for a form", "update refused for a message", "update refused for a name outside of the zone", "update refused for a zone", "update refused for two zones",
			"update refused for a right", "update refused for a record that the server makes", "update refused for a look at what is not the client's to see",
			"update refused for a prerequisite", "update refused for a limit", "update refused for a CNAME that is not alone", "update refused for what not every provider can carry",
		}) {
		if seen[what] < int(worlds)/8 {
			t.Errorf("%s: %d times only, in %d worlds", what, seen[what], worlds)
		}
	}
}

// everyChange returns changes in zones of both kinds.
func everyChange(changes ...string) (all []string) {
	for _, change := range changes {
		all = append(all, "built-in "+change, "provider "+change)
	}
	return all
}

// any sends something by one of the protocols.
func (w *rightsWorld) any() {
	w.t.Helper()
	switch w.IntN(10) {
	case 0:
		w.httpreq()
	case 1:
		w.acmeDNS()
	case 2:
		w.dynDNS()
	case 3, 4, 5:
		w.updates()
	default:
		w.change()
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
	// remembered has who has added what is remembered of zones with a provider, if remembers is set.
	remembered map[string]string
	remembers  bool
	storage    *keyStorage
	numbers    map[string]uint32 // of the clients, in built-in zones
	accounts   []*account
	seen       map[string]int
}

// held is a record as a zone has it.
type held struct {
	owner     labels
	typ, data string
	ttl       uint32
}

func newRightsWorld(t *testing.T, seed uint64, seen map[string]int) *rightsWorld {
	t.Helper()
	w := &rightsWorld{
		generator: generator{rand.New(rand.NewPCG(seed, 6))}, t: t, seed: seed, provider: &zonesProvider{records: make(map[string][]libdns.Record)},
		clients: []string{"c0", "c1", "c2"}, naive: make(map[string]*naiveWorld), seen: seen,
		remembered: make(map[string]string), numbers: map[string]uint32{"": 0},
	}
	w.remembers = w.chance(70)
	w.provider.leastTTL = time.Duration(pick(w, 0, 90)) * time.Second
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
			for i := range w.IntN(3) {
				w.provider.records[zone.Apex.String()] = append(w.provider.records[zone.Apex.String()], libdns.RR{Name: "@", Type: "NS", Data: fmt.Sprintf("ns%d.provider.invalid.", i), TTL: time.Hour})
			}
		} else {
			zone.NameServers = []nameserver.NameServer{{Name: w.parse(labels{"ns", "elsewhere", "invalid"})}}
		}
		zone.ChallengeLifetime = 24 * time.Hour
		config.Zones = append(config.Zones, zone)
	}
	if w.remembers {
		w.storage = &keyStorage{values: make(map[string][]byte)}
		config.Storage = w.storage
	}
	for _, client := range append(w.clients, observer) {
		w.naive[client] = &naiveWorld{zones: w.zones, rules: w.rules(client)}
		config.Clients = append(config.Clients, access.Config{
			Name: client, Users: []string{client}, Digests: []access.Digest{access.DigestOf(tokenOf(client))},
			Rules: w.parseRules(w.naive[client].rules), Accounts: w.importAccounts(client),
		})
		config.Room[client] = nameserver.Use{Records: w.limits.clientRecords}
	}
	var err error
	if w.s, err = hosting.New(config); err != nil {
		t.Fatal(err)
	}
	w.serve()
	w.register()
	w.state = w.look()
	w.keepBooks(w.clients[0], "the start", nil, w.state)
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
	w.t.Cleanup(w.s.Close)
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
	if everywhere := !slices.ContainsFunc(naive, func(r naiveRule) bool { return !r.everywhere }); everywhere && w.chance(50) {
		return []access.Rule{{Verb: access.Read, All: true}} // which is the same
	}
	for _, rule := range naive {
		verb, _ := access.ParseVerb(rule.verb)
		under := ""
		if rule.under {
			under = "under "
		}
		parsed, err := access.ParseRule(verb, under+w.text(rule.name)+" "+strings.Join(rule.types, " "))
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
	records []api.Record
	problem api.Problem
}

func answerOf(err error) answer {
	if err == nil {
		return answer{status: http.StatusOK}
	}
	problem := *Problem(hosting.AsError(err, ""), "")
	return answer{status: problem.Status, problem: problem}
}

// patch has a client make a change.
func (w *rightsWorld) patch(client, zone string, body []byte) answer {
	change, err := ReadChange(body)
	if err != nil {
		return answerOf(err)
	}
	asked, err := ParseZone(zone)
	if err != nil {
		return answerOf(err)
	}
	_, err = w.s.Change(w.t.Context(), hosting.Caller{Client: w.s.Clients().ByName(client)}, Change(asked, change))
	return answerOf(err)
}

// get has a client list the records at or below a name.
func (w *rightsWorld) get(client, zone string) answer {
	want, err := Query(zone, "", "")
	if err != nil {
		return answerOf(err)
	}
	found, err := w.s.Records(w.t.Context(), w.s.Clients().ByName(client), want)
	if err != nil {
		return answerOf(err)
	}
	records := []api.Record{}
	for e := range found {
		records = append(records, e.Record(want.Zone))
	}
	return answer{status: http.StatusOK, records: records}
}

func (w *rightsWorld) failf(client string, format string, args ...any) {
	w.t.Helper()
	w.t.Fatalf("seed %d: %s\nzones %+v\nrules of %s: %+v", w.seed, fmt.Sprintf(format, args...), w.zones, client, w.naive[client].rules)
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
		h := held{typ: r.Type, data: *r.Data, ttl: uint32(*r.TTL)}
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
	what := fmt.Sprintf("GET %q: %d", asked, got.status)
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
		if !isSameZone(want, got.held) {
			w.failf(client, "%s\n(-want +got):\n%s", what, cmp.Diff(want, got.held, cmp.AllowUnexported(held{})))
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
		w.failf(client, "%s %s", what, got.problem.Detail)
	}
}
