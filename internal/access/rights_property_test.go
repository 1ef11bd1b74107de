package access

import (
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/caddy-dns/bestdns/internal/record"
)

// tally counts the outcomes, lest all requests be refused for the same reason.
type tally map[string]int

func (c tally) count(question string, ok bool) { c[fmt.Sprintf("%s %v", question, ok)]++ }

// TestRights holds the compiled rights against the naive reading: random rules,
// random requests, the same answers.
func TestRights(t *testing.T) {
	seen := make(tally)
	worlds := uint64(800)
	if testing.Short() {
		worlds = 200
	}
	for seed := range worlds {
		checkWorld(t, seed, seen)
	}
	for _, question := range []string{"write", "challenge", "delete", "delete any", "delete own", "read", "read all", "use", "certify", "watch"} {
		for _, ok := range []bool{true, false} {
			if n := seen[fmt.Sprintf("%s %v", question, ok)]; n < int(worlds)/4 {
				t.Errorf("%s was %v only %d times in %d worlds", question, ok, n, worlds)
			}
		}
	}
	t.Log(seen)
}

func FuzzRights(f *testing.F) {
	f.Add(uint64(1 << 40))
	f.Fuzz(func(t *testing.T, seed uint64) { checkWorld(t, seed, make(tally)) })
}

func checkWorld(t *testing.T, seed uint64, seen tally) {
	t.Helper()
	g := generator{rand.New(rand.NewPCG(seed, 0))}
	w := g.world()
	c := g.client(t, w)
	related := w.related()
	watch := w.anyRule(func(rule naiveRule) bool { return rule.verb == "watch" })
	if c.MayWatch() != watch {
		t.Fatalf("seed %d: watch: %v, want %v", seed, !watch, watch)
	}
	seen.count("watch", watch)
	used := make(map[string]bool)
	for range 24 {
		owner := pick(g, related...)
		if g.chance(45) {
			owner = g.name(related)
		}
		q := question{generator: g, t: t, seed: seed, world: w, client: c, zone: g.zoneFor(w, owner), owner: owner, used: used, seen: seen}
		q.zoneName, q.ownerName = name(t, g.text(q.zone)), name(t, g.text(owner))
		q.write()
		q.delete()
		q.read()
		q.use()
		q.certify(related)
	}
}

// question is one request, put to both readings.
type question struct {
	generator
	t           *testing.T
	seed        uint64
	world       *world
	client      *Client
	zone, owner labels
	// zoneName and ownerName are what the service makes of one of their written forms.
	zoneName, ownerName record.Name
	// used has the zones of the world, joined, in which there is any right by the naive
	// reading: it takes long to find out.
	used map[string]bool
	seen tally
}

func (q question) failf(format string, args ...any) {
	q.t.Helper()
	var rules []string
	for _, rule := range q.client.Rules() {
		rules = append(rules, rule.String())
	}
	q.t.Fatalf("seed %d: %s\nzone  %q\nowner %q\nzones %q, CNAME targets in %q (%v)\nrules %q",
		q.seed, fmt.Sprintf(format, args...), q.zone, q.owner, q.world.zones, q.world.target, q.world.hasCT, rules)
}

var recordTypes = []string{"TXT", "TXT", "TXT", "A", "NS", "SOA", "AAAA", "DS", "CNAME", "TYPE65280"}

// data returns data for a type in one of its forms: the type's name, the text,
// and for TXT what it says.
func (q question) data(typ string) (typeText, data, says string) {
	if typ != "TXT" {
		return typ, map[string]string{
			"A": "192.0.2.1", "AAAA": "2001:db8::1", "NS": "ns.example.", "CNAME": "c.example.", "DS": "1 1 1 00",
			"SOA": "ns.example. h.example. 1 2 3 4 5", "TYPE65280": `\# 1 00`,
		}[typ], ""
	}
	says = q.value()
	if q.chance(60) || says == "" {
		return "TXT", says, says
	}
	// The same text, cut into two strings.
	cut := q.IntN(len(says))
	wire := fmt.Sprintf("%02x%s%02x%s", cut, hex.EncodeToString([]byte(says[:cut])), len(says)-cut, hex.EncodeToString([]byte(says[cut:])))
	return pick(q.generator, "TYPE16", "type16"), fmt.Sprintf(`\# %d %s`, len(wire)/2, wire), says
}

func (q question) write() {
	typ := pick(q.generator, recordTypes...)
	typeText, data, says := q.data(typ)
	r, err := record.At(q.ownerName, typeText, 60, data)
	if err != nil {
		q.t.Fatal(err)
	}
	op := pick(q.generator, record.Append, record.Append, record.Set)
	ok, challenge := q.client.MayWrite(q.zoneName, op, r)
	wantOK, wantChallenge := q.world.mayWrite(q.zone, op, q.owner, typ, says)
	if ok != wantOK || challenge != wantChallenge {
		q.failf("%s %s %q: %v %v, want %v %v", op, typ, says, ok, challenge, wantOK, wantChallenge)
	}
	if !ok {
		q.refused(q.client.WhyNotWrite(q.zoneName, op, r))
	}
	q.seen.count("write", ok)
	q.seen.count("challenge", challenge)
	if ok && !q.client.MayRead(q.zoneName, q.ownerName) {
		q.failf("may write %s, not read", typ)
	}
	if placed := q.world.zoneOf(q.owner) == q.zone.joined(); ok && placed && !q.client.MayUse(q.zoneName) && !q.hostedTarget() {
		q.failf("may write %s in a zone that it may not use", typ)
	}
}

// refused holds what a refusal says against the rules: the name is not blamed where a
// certificates right covers it, and nothing but the name where there is no right at all.
func (q question) refused(why string) {
	if why == "" && q.world.certifiesAt(q.zone, q.owner) {
		q.failf("refused without a reason at a name with a certificates right")
	}
	if why != "" && len(q.client.Rules()) == 0 {
		q.failf("a client without rights is told %q", why)
	}
	q.seen.count("reason", why != "")
}

// hostedTarget reports whether the owner is the CNAME target of a domain that is
// hosted here. Its challenge needs no CNAME, so it opens no zone by itself.
func (q question) hostedTarget() bool {
	for _, domain := range q.world.challenged(q.zone, q.owner) {
		if q.world.zoneOf(domain.below("_acme-challenge")) != "none" {
			return true
		}
	}
	return false
}

func (q question) delete() {
	typ := pick(q.generator, append(recordTypes, "", "", "")...)
	var typeText, says string
	var data, text *string
	if typ == "" {
		if q.chance(30) {
			value := q.value()
			data = &value
		}
	} else {
		var form string
		typeText, form, says = q.data(typ)
		if q.chance(70) {
			data, text = &form, &says
		}
	}
	var ttl *uint32
	if q.chance(50) {
		ttl = new(uint32)
	}
	m, err := record.MatchAt(q.ownerName, typeText, ttl, data)
	if err != nil {
		q.t.Fatal(err)
	}
	ok, want := q.client.MayDelete(q.zoneName, m), q.world.mayDelete(q.zone, q.owner, typ, text)
	if ok != want {
		q.failf("delete of %q, data %v %q: %v, want %v", typ, text != nil, says, ok, want)
	}
	if !ok {
		q.refused(q.client.WhyNotDelete(q.zoneName, m))
	}
	own := q.client.MayDeleteOwn(q.zoneName, m)
	if want := q.world.mayDeleteOwn(q.zone, q.owner, typ, data != nil); own != want {
		q.failf("delete of its own %q, data %v: %v, want %v", typ, data != nil, own, want)
	}
	q.seen.count("delete own", own)
	if typ == "" {
		q.seen.count("delete any", ok)
	} else {
		q.seen.count("delete", ok)
	}
}

func (q question) read() {
	ok, want := q.client.MayRead(q.zoneName, q.ownerName), q.world.mayRead(q.zone, q.owner)
	if ok != want {
		q.failf("read: %v, want %v", ok, want)
	}
	q.seen.count("read", ok)
	all := q.client.MayReadAll(q.zoneName)
	if want := q.world.mayReadAll(q.zone); all != want {
		q.failf("read all: %v, want %v", all, want)
	}
	q.seen.count("read all", all)
}

func (q question) use() {
	want, known := q.used[q.zone.joined()]
	if !known {
		want = q.world.mayUse(q.zone)
		q.used[q.zone.joined()] = want
	}
	ok := q.client.MayUse(q.zoneName)
	if ok != want {
		q.failf("use: %v, want %v", ok, want)
	}
	q.seen.count("use", ok)
}

func (q question) certify(related []labels) {
	domain := q.hostName(related)
	if q.chance(10) {
		domain = q.owner
	}
	want := hostName.MatchString(domain.joined()) && q.world.anyRule(func(rule naiveRule) bool { return q.world.certifies(rule, domain) })
	if ok := q.client.MayCertify(name(q.t, q.text(domain))); ok != want {
		q.failf("certify %q: %v, want %v", strings.Join(domain, "."), ok, want)
	}
	q.seen.count("certify", want)
}
