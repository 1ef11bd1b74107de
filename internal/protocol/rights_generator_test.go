package protocol

import (
	"fmt"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"

	"github.com/caddy-dns/bestdns/internal/api"
)

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
			rules = append(rules, naiveRule{verb: "read", under: true, name: z.name, everywhere: true})
		}
		return rules
	}
	for range 1 + w.IntN(4) {
		rule := naiveRule{verb: pick(w, "certificates", "certificates", "allow", "allow", "allow", "read", "persist"), under: w.chance(50), name: w.name()}
		switch rule.verb {
		case "certificates":
			rule.name = hostName(rule.name)
		case "persist":
			rule.name, rule.under = hostName(rule.name), false
		case "allow":
			rule.types = pick(w, nil, nil, nil, []string{"TXT"}, []string{"A", "NS"}, []string{"NS"}, []string{"CNAME", "TXT"}, []string{"DS"})
		}
		if shared := w.certified(); shared != nil && w.chance(40) { // as hosts of one name do
			rule = *shared
		}
		rules = append(rules, rule)
	}
	if under := w.name(); w.chance(60) && len(under) > 0 && under[0] != "*" && (&naiveWorld{zones: w.zones}).zoneOf(under) != nil {
		rules = append(rules, naiveRule{verb: "register", under: true, name: under})
	}
	return rules
}

// certified returns a right to certificates that a client has, nil if there is none.
func (w *rightsWorld) certified() *naiveRule {
	var all []naiveRule
	for _, client := range w.clients {
		if known := w.naive[client]; known != nil {
			all = append(all, slices.DeleteFunc(slices.Clone(known.rules), func(r naiveRule) bool { return r.verb != "certificates" })...)
		}
	}
	if len(all) == 0 {
		return nil
	}
	return &all[w.IntN(len(all))]
}

// hostName makes of a name one that a host can have.
func hostName(name labels) labels {
	name = slices.DeleteFunc(slices.Clone(name), func(l string) bool { return !naiveLabel.MatchString(l) })
	for len(name) < 2 {
		name = append(labels{"a"}, name...)
	}
	return name
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
			if rule.verb == "persist" {
				near = append(near, rule.meaning().name)
			}
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
		rule := pick(w, w.naive[client].rules...).meaning()
		it.owner = rule.name
		if rule.under && w.chance(50) {
			it.owner = append(labels{pick(w, "a", "b", "x")}, it.owner...)
		}
		if rule.verb == "certificates" {
			it.owner = append(labels{"_acme-challenge"}, it.owner...)
			if w.chance(70) {
				it.typ = "TXT"
			}
		}
		if len(rule.types) > 0 {
			it.typ = pick(w, rule.types...)
		}
	}
	if nested := w.nestedBelow(asked); nested != nil && w.chance(50) { // its delegation
		it.owner, it.typ = nested, pick(w, "NS", "NS", "DS", "A")
	}
	w.nameItem(kind, &it, asked)
	it.plain = plainName.MatchString(strings.Join(it.owner, ".")) && !slices.Contains(it.owner, "a.b")
	if it.typ == "" || w.chance(10) {
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
func (w *rightsWorld) nameItem(kind string, it *item, asked labels) {
	// Relative, it would be taken for a name without its final dot.
	doubled := kind != "delete" && len(asked) > 0 && it.owner.in(asked) && it.owner[:len(it.owner)-len(asked)].in(asked)
	switch {
	case w.chance(6):
		it.valid, it.sent.Name = false, pick(w, noNames...)
	case it.owner.in(asked) && len(it.owner) == len(asked):
		it.sent.Name = "@"
	case it.owner.in(asked) && !doubled && w.chance(80):
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
