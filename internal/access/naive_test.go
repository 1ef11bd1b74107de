package access

import (
	"fmt"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/caddy-dns/bestdns/internal/record"
)

// A second reading of the rules, on lists of labels and regular expressions, that
// shares no code with the first: not the parsing of names, not the look-ups.

// labels is a name, leftmost label first, in lower case. The root has none.
type labels []string

func (l labels) equal(other labels) bool { return slices.Equal(l, other) }

func (l labels) within(suffix labels) bool {
	return len(l) >= len(suffix) && slices.Equal(l[len(l)-len(suffix):], suffix)
}

func (l labels) below(label string) labels { return append(labels{label}, l...) }

// joined returns the labels each ended by a slash, which none of them contains.
func (l labels) joined() string {
	if len(l) == 0 {
		return ""
	}
	return strings.Join(l, "/") + "/"
}

// world is what the service hosts, and the rules of one client.
type world struct {
	zones  []labels
	target labels // the zone for CNAME targets
	hasCT  bool
	rules  []naiveRule
}

type naiveRule struct {
	verb  string
	under bool
	all   bool // of read: everywhere
	name  labels
	types []string
}

// meaning returns the rule in terms of names and types: persist is a right to one type at one name.
func (rule naiveRule) meaning() naiveRule {
	if rule.verb == "persist" {
		return naiveRule{verb: "allow", name: rule.name.below("_validation-persist"), types: []string{"TXT"}}
	}
	return rule
}

// zoneOf returns the hosted zone of a name, as text.
func (w *world) zoneOf(n labels) string {
	best := "none"
	length := -1
	for _, z := range w.zones {
		if n.within(z) && len(z) > length {
			best, length = z.joined(), len(z)
		}
	}
	return best
}

// allows: does one rule give the right to one type at one name?
func (w *world) allows(rule naiveRule, zone, owner labels, typ string) bool {
	rule = rule.meaning()
	switch {
	case rule.verb != "allow", typ == "SOA":
		return false
	case len(rule.types) > 0 && !slices.Contains(rule.types, typ):
		return false
	case typ == "NS" && owner.equal(zone):
		return !rule.under && owner.equal(rule.name) && len(rule.types) > 0
	case rule.under:
		return owner.within(rule.name) && w.zoneOf(rule.name) == zone.joined()
	}
	return owner.equal(rule.name)
}

// certifies: does one rule give certificates for a domain?
func (w *world) certifies(rule naiveRule, domain labels) bool {
	switch {
	case rule.verb != "certificates":
		return false
	case rule.under:
		return domain.within(rule.name) && w.zoneOf(domain) == w.zoneOf(rule.name)
	}
	return domain.equal(rule.name)
}

var (
	challengeOwner  = regexp.MustCompile(`^(?:_[a-z2-7]{16}/)?_acme-challenge/((?:[a-z0-9](?:[a-z0-9-]*[a-z0-9])?/){2,})$`)
	challengeTarget = regexp.MustCompile(`^(?:_[a-z2-7]{16}/)?((?:[a-z0-9](?:[a-z0-9-]*[a-z0-9])?/){2,})$`)
	hostName        = regexp.MustCompile(`^(?:[a-z0-9](?:[a-z0-9-]*[a-z0-9])?/){2,}$`)
	challengeValue  = regexp.MustCompile(`^[A-Za-z0-9_-]{43}$`)
)

func splitJoined(joined string) labels {
	return strings.Split(strings.TrimSuffix(joined, "/"), "/")
}

// challenged returns the domains whose challenge can be meant by owner in zone.
func (w *world) challenged(zone, owner labels) (domains []labels) {
	if m := challengeOwner.FindStringSubmatch(owner.joined()); m != nil {
		domains = append(domains, splitJoined(m[1]))
	}
	if w.hasCT && zone.equal(w.target) && owner.within(zone) {
		above := owner[:len(owner)-len(zone)]
		if m := challengeTarget.FindStringSubmatch(above.joined()); m != nil {
			domains = append(domains, splitJoined(m[1]))
		}
	}
	return domains
}

func (w *world) anyRule(holds func(naiveRule) bool) bool {
	return slices.ContainsFunc(w.rules, holds)
}

func (w *world) certifiesAt(zone, owner labels) bool {
	return w.anyRule(func(rule naiveRule) bool {
		return slices.ContainsFunc(w.challenged(zone, owner), func(d labels) bool { return w.certifies(rule, d) })
	})
}

func (w *world) mayWrite(zone labels, op record.Op, owner labels, typ, text string) (ok, challenge bool) {
	challenge = op == record.Append && typ == "TXT" && challengeValue.MatchString(text) && w.certifiesAt(zone, owner)
	allowed := w.anyRule(func(rule naiveRule) bool { return w.allows(rule, zone, owner, typ) })
	return challenge || allowed, challenge
}

// mayDelete takes "" for any type, and nil for any data.
func (w *world) mayDelete(zone, owner labels, typ string, text *string) bool {
	if typ == "TXT" && text != nil && challengeValue.MatchString(*text) && w.certifiesAt(zone, owner) {
		return true
	}
	if typ != "" {
		return w.anyRule(func(rule naiveRule) bool { return w.allows(rule, zone, owner, typ) })
	}
	// All types are meant, those that no rule names too, but the apex's SOA and NS.
	return w.anyRule(func(rule naiveRule) bool {
		return len(rule.types) == 0 && w.allows(rule, zone, owner, "TYPE65399")
	})
}

// mayDeleteOwn takes "" for any type.
func (w *world) mayDeleteOwn(zone, owner labels, typ string, hasData bool) bool {
	return !hasData && (typ == "" || typ == "TXT") && w.certifiesAt(zone, owner)
}

// mayReadAll is a right to all that is in a zone.
func (w *world) mayReadAll(zone labels) bool {
	return w.readsAll(zone) || w.anyRule(func(rule naiveRule) bool {
		return rule.under && rule.name.equal(zone) && w.zoneOf(zone) == zone.joined() && (rule.verb == "read" || rule.verb == "allow" && len(rule.types) == 0)
	})
}

// readsAll is the right read all, in a hosted zone.
func (w *world) readsAll(zone labels) bool {
	return slices.ContainsFunc(w.zones, zone.equal) && w.anyRule(func(rule naiveRule) bool { return rule.verb == "read" && rule.all })
}

func (w *world) mayRead(zone, owner labels) bool {
	if w.readsAll(zone) && owner.within(zone) {
		return true
	}
	for _, rule := range w.rules {
		rule = rule.meaning()
		for _, typ := range append([]string{"TYPE65399"}, rule.types...) {
			if w.allows(rule, zone, owner, typ) {
				return true
			}
		}
		if rule.verb == "read" && !rule.all {
			as := rule
			as.verb, as.types = "allow", nil
			if w.allows(as, zone, owner, "TYPE65399") {
				return true
			}
		}
	}
	return w.certifiesAt(zone, owner)
}

// mayUse looks for one name at which a rule gives a right and which is placed in
// the zone, trying all that can make a difference.
func (w *world) mayUse(zone labels) bool {
	at := zone.joined()
	for _, rule := range w.rules {
		rule = rule.meaning()
		if rule.verb == "watch" {
			continue
		}
		if rule.all {
			return slices.ContainsFunc(w.zones, zone.equal)
		}
		if rule.verb != "certificates" {
			if w.zoneOf(rule.name) == at {
				return true
			}
			// An exact name that is a nested zone's apex is that of its delegation too.
			apex := w.zoneOf(rule.name) == rule.name.joined()
			if !rule.under && apex && len(rule.name) > 0 && w.zoneOf(rule.name[1:]) == at {
				return true
			}
			continue
		}
		domains := []labels{rule.name, rule.name.below("somewhere")}
		accounts := []string{"_aaaaaaaaaaaaaaaa"}
		for _, z := range w.zones {
			if len(z) > 0 {
				accounts = append(accounts, z[0])
			}
			for i := range z {
				domains = append(domains, z[i:])
			}
		}
		for _, domain := range domains {
			if !hostName.MatchString(domain.joined()) || !w.certifies(rule, domain) {
				continue
			}
			owners := []labels{domain.below("_acme-challenge")}
			if w.zoneOf(owners[0]) == "none" && w.hasCT && at == w.target.joined() {
				return true
			}
			for _, account := range accounts {
				owners = append(owners, owners[0].below(account))
			}
			for _, owner := range owners {
				if challengeOwner.MatchString(owner.joined()) && w.zoneOf(owner) == at {
					return true
				}
			}
		}
	}
	return false
}

// generator makes worlds and requests out of few labels, so that they meet.
type generator struct{ *rand.Rand }

func pick[T any](g generator, from ...T) T { return from[g.IntN(len(from))] }

func (g generator) chance(percent int) bool { return g.IntN(100) < percent }

const (
	account      = "_abcdefghijk23456"
	otherAccount = "_zzzzzzzzzzzzzzzz"
)

// name makes a name, mostly one related to those given.
func (g generator) name(related []labels) labels {
	n := labels{pick(g, "org", "net")}
	if len(related) > 0 && g.chance(85) {
		n = slices.Clone(pick(g, related...))
	}
	for g.chance(10) && len(n) > 0 {
		n = n[1:]
	}
	for g.chance(55) && len(n) < 8 {
		n = n.below(pick(g, "a", "b", "a", "b", "x-1", "*", "_acme-challenge", "_acme-challenge", account, otherAccount, "xa", "a.b", "org", "under", "_x", "\x00\xff", "@ ;$\n"))
	}
	return n
}

// hostName makes a name of letter-digit-hyphen labels, two at least.
func (g generator) hostName(related []labels) labels {
	for range 20 {
		n := g.name(related)
		n = slices.DeleteFunc(n, func(label string) bool { return !hostName.MatchString("a/" + label + "/") })
		if len(n) >= 2 {
			return n
		}
	}
	return labels{"a", "org"}
}

func (g generator) types() []string {
	if g.chance(50) {
		return nil
	}
	return [][]string{{"A"}, {"TXT"}, {"NS"}, {"A", "AAAA"}, {"NS", "DS"}, {"TYPE65280", "TXT"}, {"CNAME"}}[g.IntN(7)]
}

func (g generator) world() *world {
	w := &world{}
	for range 1 + g.IntN(4) {
		zone := g.name(w.zones)
		if len(zone) == 0 && g.chance(80) {
			continue // the root holds everything; seldom
		}
		if !slices.ContainsFunc(w.zones, zone.equal) {
			w.zones = append(w.zones, zone)
		}
	}
	if g.chance(35) {
		zone := g.hostName(w.zones).below("_acme-challenge")
		if g.chance(30) {
			zone = zone.below(account)
		}
		if !slices.ContainsFunc(w.zones, zone.equal) {
			w.zones = append(w.zones, zone)
		}
	}
	if len(w.zones) > 0 && g.chance(60) {
		w.target, w.hasCT = pick(g, w.zones...), true
	}
	for range 1 + g.IntN(4) {
		rule := naiveRule{verb: pick(g, "certificates", "certificates", "certificates", "allow", "allow", "allow", "read", "watch", "persist")}
		rule.under = rule.verb != "watch" && rule.verb != "persist" && g.chance(45)
		switch rule.verb {
		case "watch":
		case "read":
			if rule.all = g.chance(15); rule.all {
				rule.under = false
				break
			}
			rule.name = g.name(w.zones)
		case "certificates", "persist":
			rule.name = g.hostName(w.zones)
		case "allow":
			rule.types = g.types()
			fallthrough
		default:
			rule.name = g.name(w.zones)
		}
		w.rules = append(w.rules, rule)
	}
	if under := g.name(w.zones); g.chance(20) && len(under) > 0 && under[0] != "*" && w.zoneOf(under) != "none" {
		w.rules = append(w.rules, naiveRule{verb: "register", under: true, name: under})
	}
	return w
}

// related are the names that a request in the world is built on.
func (w *world) related() []labels {
	related := slices.Clone(w.zones)
	for _, rule := range w.rules {
		if rule.verb == "watch" || rule.all {
			continue
		}
		rule = rule.meaning()
		related = append(related, rule.name, rule.name)
		if rule.verb == "certificates" {
			related = append(related, rule.name.below("_acme-challenge"), rule.name.below("_acme-challenge").below(account))
			if w.hasCT {
				under := slices.Concat(rule.name, w.target)
				related = append(related, under, under.below(account))
			}
		}
	}
	return related
}

// zoneFor chooses the zone that a request's name goes to: mostly the right one.
func (g generator) zoneFor(w *world, owner labels) labels {
	if g.chance(25) && len(w.zones) > 0 {
		return pick(g, w.zones...)
	}
	at := w.zoneOf(owner)
	for _, z := range w.zones {
		if z.joined() == at {
			return z
		}
	}
	return owner
}

func (g generator) value() string {
	const digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	value := make([]byte, pick(g, 43, 43, 43, 43, 42, 44, 0, 86))
	for i := range value {
		value[i] = digits[g.IntN(len(digits))]
	}
	if g.chance(25) && len(value) > 0 {
		value[g.IntN(len(value))] = pick(g, byte('='), '+', '/', ' ', '"', '\\', '.', '\n', 0, 0xff)
	}
	return string(value)
}

// text writes a name in one of its many presentation forms, absolute.
func (g generator) text(n labels) string {
	if len(n) == 0 {
		return "."
	}
	var text strings.Builder
	for i, label := range n {
		if i > 0 {
			text.WriteByte('.')
		}
		for _, c := range []byte(label) {
			text.WriteString(g.char(c))
		}
	}
	if g.chance(50) {
		text.WriteByte('.')
	}
	return text.String()
}

func (g generator) char(c byte) string {
	if 'a' <= c && c <= 'z' && g.chance(30) {
		c -= 'a' - 'A'
	}
	special := strings.IndexByte(`."();@$\`, c) >= 0
	switch {
	case c <= ' ' || c >= 0x7f || g.chance(4):
		return fmt.Sprintf(`\%03d`, c)
	case special || (c < '0' || c > '9') && g.chance(4):
		return `\` + string(rune(c))
	}
	return string(rune(c))
}

// ruleText writes a rule as a configuration has it, without its verb.
func (g generator) ruleText(rule naiveRule) string {
	if rule.verb == "watch" {
		return ""
	}
	if rule.all {
		return "all"
	}
	var words []string
	if rule.under {
		words = append(words, "under")
	}
	text := g.text(rule.name)
	if rule.verb == "certificates" && g.chance(30) {
		text = "*." + text
	}
	if text == "under" {
		text += "."
	}
	words = append(words, text)
	for _, typ := range rule.types {
		if g.chance(30) {
			typ = strings.ToLower(typ)
		}
		words = append(words, typ)
	}
	return strings.Join(words, pick(g, " ", "  ", "\t"))
}

// client makes of the world what the package under test makes of it.
func (g generator) client(t testing.TB, w *world) *Client {
	t.Helper()
	apexes := make([]record.Name, len(w.zones))
	for i, zone := range w.zones {
		apexes[i] = name(t, g.text(zone))
	}
	var target record.Name
	if w.hasCT {
		target = name(t, g.text(w.target))
	}
	config := Config{Digests: []Digest{{}}}
	for _, rule := range w.rules {
		verb, ok := ParseVerb(rule.verb)
		if !ok {
			t.Fatalf("no verb %q", rule.verb)
		}
		parsed, err := ParseRule(verb, g.ruleText(rule))
		if err != nil {
			t.Fatal(err)
		}
		config.Rules = append(config.Rules, parsed)
		if verb == Register {
			config.Accounts.Secret = []byte(accountSecret)
		}
	}
	clients, err := New(record.NewZones(apexes...), target, []Config{config})
	if err != nil {
		t.Fatal(err)
	}
	return clients.ByDigest(Digest{})
}
