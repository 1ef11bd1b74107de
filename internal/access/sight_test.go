package access

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/caddy-dns/bestdns/internal/record"
)

// clientsOf makes two clients of one configuration.
func clientsOf(t testing.TB, zones record.Zones, rules, others string) (c, other *Client) {
	t.Helper()
	config := func(id, rules string) Config {
		config := Config{Name: id, Digests: []Digest{DigestOf(id)}}
		for _, rule := range splitRules(rules) {
			config.Rules = append(config.Rules, parseRule(t, rule))
		}
		return config
	}
	clients, err := New(zones, name(t, testTarget), []Config{config("one", rules), config("two", others)})
	if err != nil {
		t.Fatal(err)
	}
	return clients.ByDigest(DigestOf("one")), clients.ByDigest(DigestOf("two"))
}

func TestSees(t *testing.T) {
	for _, test := range []struct {
		name, rules, others string
		want                bool
	}{
		{"nothing and nothing", "", "", false},
		{"one without rights", "read under example.org", "", false},
		{"one with idle rights only", "read under example.org", "allow www.example.com", false},
		{"without rights", "", "allow www.example.org", false},
		{"the same name", "read www.example.org", "allow www.example.org", true},
		{"the same name, by types", "allow www.example.org A", "allow www.example.org", true},
		{"another name", "read ftp.example.org", "allow www.example.org", false},
		{"one of two names", "read www.example.org", "allow www.example.org; read ftp.example.org", false},
		{"below", "read under example.org", "allow www.example.org; allow under a.b.example.org A", true},
		{"below, in a nested zone", "read under example.org", "allow www.nested.example.org", false},
		{"the name alone of one with all below", "allow www.example.org", "allow under www.example.org", false},
		{"from below", "read under a.www.example.org", "allow under www.example.org", false},
		{"another zone", "read under example.org", "allow www.example.org; read x.acme.example.com", false},
		{"idle rights aside", "read under example.org", "allow www.example.org; allow www.example.com", true},
		{"delegation", "read under nested.example.org", "allow nested.example.org NS", false},
		{"delegation and zone", "read under nested.example.org; read nested.example.org", "allow nested.example.org NS", true},
		{"NS below, which is nothing at the apex", "allow under example.org NS", "allow under example.org A", false},
		{"NS below both", "allow under example.org NS", "allow under example.org NS", true},
		{"certificate in the zone that is read", "read under example.org", "certificates www.example.org", true},
		{"certificate, its domain read alone", "read under www.example.org", "certificates www.example.org", true},
		{"certificate, without accounts' labels", "read _acme-challenge.www.example.org", "certificates www.example.org", false},
		{"certificate, with accounts' labels", "read under _acme-challenge.www.example.org", "certificates www.example.org", true},
		{"certificates below", "read under example.org", "certificates under apps.example.org", true},
		{"certificates below, one of them", "certificates apps.example.org", "certificates under apps.example.org", false},
		{"certificate of those below", "certificates under apps.example.org", "certificates x.apps.example.org", true},
		{"certificates, and more", "certificates under apps.example.org", "certificates x.apps.example.org; read www.example.org", false},
		{"certificate hosted elsewhere", "read under acme.example.com", "certificates www.example.net", true},
		{"certificate hosted elsewhere, another", "certificates ftp.example.net", "certificates www.example.net", false},
		{"certificate hosted elsewhere, its targets", "read under www.example.net.acme.example.com", "certificates www.example.net", true},
		{"certificates hosted elsewhere, the target of one", "read under www.example.net.acme.example.com", "certificates under example.net", false},
		{"certificate here, targets in use", "read under example.org", "certificates www.example.org; certificates www.example.net", false},
		{"certificate here, targets read too", "read under example.org; read under acme.example.com", "certificates www.example.org; certificates www.example.net", true},
		{"a zone for a challenge", "read under acme.example.com", "certificates delegated.example.net", false},
		{"a zone for a challenge, its apex", "read _acme-challenge.delegated.example.net", "certificates delegated.example.net", false},
		{"a zone for a challenge, all of it", "read under _acme-challenge.delegated.example.net", "certificates delegated.example.net", true},
		{"a zone for a challenge among those below", "read under acme.example.com", "certificates under example.net", false},
		{"a zone for a challenge among those below, too", "read under acme.example.com; read under _acme-challenge.delegated.example.net", "certificates under example.net", true},
		{"a zone for a challenge among those below, its apex", "read under acme.example.com; read _acme-challenge.delegated.example.net", "certificates under example.net", false},
		{"a zone for a challenge, not its delegation", "read under _acme-challenge.a.nested.example.org; read x.nested.example.org", "certificates a.nested.example.org; read x.nested.example.org", false},
		{"a zone for a challenge in a zone that is read", "read under nested.example.org", "certificates a.nested.example.org", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			c, other := clientsOf(t, zones(t, hostedZones...), test.rules, test.others)
			if got := c.Sees(other); got != test.want {
				t.Errorf("%v", got)
			}
			if !c.Sees(c) || !other.Sees(other) {
				t.Error("one does not see itself")
			}
		})
	}
}

// TestSeesTargetInAnotherZone is about a CNAME target whose name another hosted zone
// has: what is left in the zone for targets is the name of its delegation.
func TestSeesTargetInAnotherZone(t *testing.T) {
	for _, test := range []struct {
		name, rules string
		want        bool
	}{
		{"another name", "read x.acme.example.com", false},
		{"the delegation", "read under acme.example.com", true},
		{"the zone", "read under www.example.net.acme.example.com; read x.acme.example.com", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			hosted := zones(t, testTarget, "www.example.net."+testTarget)
			if c, other := clientsOf(t, hosted, test.rules, "certificates www.example.net"); c.Sees(other) != test.want {
				t.Errorf("%v", !test.want)
			}
		})
	}
}

func TestLocalIsSeenByNobody(t *testing.T) {
	c, other := clientsOf(t, zones(t, hostedZones...), "read under example.org; read under acme.example.com", "certificates www.example.org")
	local := Local(zones(t, hostedZones...), name(t, testTarget))
	if c.Sees(local) {
		t.Error("seen")
	}
	if !local.Sees(other) || !local.Sees(local) {
		t.Error("it does not see everybody")
	}
}

// TestSight holds Sees against its definition, read naively: of all names that could
// make a difference, there is none at which the other may read and the client may not.
func TestSight(t *testing.T) {
	seen := make(tally)
	worlds := uint64(4000)
	if testing.Short() {
		worlds = 400
	}
	for seed := range worlds {
		checkSight(t, seed, seen)
	}
	for _, question := range []string{"sees true", "sees false"} {
		if n := seen[question]; n < int(worlds)/8 {
			t.Errorf("%s only %d times in %d worlds", question, n, worlds)
		}
	}
	t.Log(seen)
}

func FuzzSight(f *testing.F) {
	f.Add(uint64(1 << 40))
	f.Fuzz(func(t *testing.T, seed uint64) { checkSight(t, seed, make(tally)) })
}

func checkSight(t *testing.T, seed uint64, seen tally) {
	t.Helper()
	g := generator{rand.New(rand.NewPCG(seed, 1))}
	mine := g.world()
	if rule := pick(g, mine.rules...); mine.hasCT && rule.verb == "certificates" && g.chance(40) {
		// A zone where a target would be, which then is in another zone.
		if zone := slices.Concat(rule.name, mine.target); !slices.ContainsFunc(mine.zones, zone.equal) {
			mine.zones = append(mine.zones, zone)
		}
	}
	others := *mine
	others.rules = g.rulesBeside(mine)
	c, other := g.clients(t, mine, &others)
	places := places(mine, &others)
	hidden := slices.IndexFunc(places, func(p naivePlace) bool { return others.effectively(p) && !mine.effectively(p) })
	used := slices.DeleteFunc(slices.Clone(mine.zones), func(zone labels) bool { return !others.mayUse(zone) })
	want := hidden < 0 && len(used) > 0 && !slices.ContainsFunc(used, func(zone labels) bool { return !mine.mayUse(zone) })
	got := c.Sees(other)
	if got != want {
		why := "all that the other may read"
		if hidden >= 0 {
			why = "not zone " + g.text(places[hidden].zone) + " name " + g.text(places[hidden].owner)
		}
		t.Fatalf("seed %d: sees %v, want %v: %s\nzones %q, CNAME targets in %q (%v)\nrules  %q\nothers %q",
			seed, got, want, why, mine.zones, mine.target, mine.hasCT, ruleTexts(c), ruleTexts(other))
	}
	seen.count("sees", got)
}

func ruleTexts(c *Client) (texts []string) {
	for _, rule := range c.Rules() {
		texts = append(texts, rule.String())
	}
	return texts
}

// rulesBeside makes the rules of another client in the world: often the same, or
// within them.
func (g generator) rulesBeside(w *world) []naiveRule {
	var rules []naiveRule
	for range 1 + g.IntN(2) {
		rule := pick(g, w.rules...)
		if g.chance(25) {
			rule = pick(g, g.worldOf(w.zones).rules...)
		}
		if g.chance(40) {
			rule.name = g.name([]labels{rule.name})
			rule.under = g.chance(30)
		}
		if g.chance(40) {
			rule.verb = pick(g, "certificates", "allow", "read")
		}
		if rule.verb == "certificates" && !hostName.MatchString(rule.name.joined()) {
			rule.verb = "read"
		}
		if rule.verb != "allow" {
			rule.types = nil
		}
		rules = append(rules, rule)
	}
	return rules
}

// worldOf makes a world whose rules are about these zones.
func (g generator) worldOf(zones []labels) *world {
	w := g.world()
	for i := range w.rules {
		if g.chance(70) && w.rules[i].verb != "certificates" {
			w.rules[i].name = g.name(zones)
		}
	}
	return w
}

func (g generator) clients(t testing.TB, mine, others *world) (c, other *Client) {
	t.Helper()
	apexes := record.NewZones()
	for _, zone := range mine.zones {
		apexes[name(t, g.text(zone))] = struct{}{}
	}
	var target record.Name
	if mine.hasCT {
		target = name(t, g.text(mine.target))
	}
	configs := []Config{{Name: "mine", Digests: []Digest{{1}}}, {Name: "other's", Digests: []Digest{{2}}}}
	for i, w := range []*world{mine, others} {
		for _, rule := range w.rules {
			parsed, err := ParseRule(verbs[rule.verb], g.ruleText(rule))
			if err != nil {
				t.Fatal(err)
			}
			configs[i].Rules = append(configs[i].Rules, parsed)
		}
	}
	clients, err := New(apexes, target, configs)
	if err != nil {
		t.Fatal(err)
	}
	return clients.ByDigest(Digest{1}), clients.ByDigest(Digest{2})
}

// naivePlace is a name as one of a zone in which it can be.
type naivePlace struct{ zone, owner labels }

// effectively: can a client of the world read at the place?
func (w *world) effectively(p naivePlace) bool {
	return w.mayUse(p.zone) && w.mayRead(p.zone, p.owner)
}

// places returns all places at which two clients of a world could differ: the names
// of zones and rules, those of challenges, and for the endless rest names with labels
// that stand in no rule.
func places(mine, others *world) []naivePlace {
	const unheard, unknownAccount = "unheard", "_unheardunheardun"
	seen := make(map[string]bool)
	var found []naivePlace
	add := func(owner labels) {
		if seen[owner.joined()] || wireLen(owner) > 255 {
			return
		}
		seen[owner.joined()] = true
		for _, z := range mine.zones {
			at := mine.zoneOf(owner)
			apex := len(owner) > 0 && at == owner.joined()
			if at == z.joined() || apex && mine.zoneOf(owner[1:]) == z.joined() {
				found = append(found, naivePlace{z, owner})
			}
		}
	}
	for _, base := range slices.Concat(mine.related(), others.related()) {
		for _, n := range []labels{base, base.below(unheard)} {
			names := []labels{n, n.below(unknownAccount), n.below("_acme-challenge"), n.below("_acme-challenge").below(unknownAccount), n.below("_acme-challenge").below(account)}
			for _, name := range names {
				add(name)
				if mine.hasCT {
					add(slices.Concat(name, mine.target))
				}
			}
		}
	}
	return found
}

// wireLen returns the octets that a name takes in a message.
func wireLen(n labels) int {
	length := 1
	for _, label := range n {
		length += 1 + len(label)
	}
	return length
}
