package access

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/caddy-dns/bestdns/internal/record"
)

// Hosted in the tables below. The last ones are zones that stand for nothing but
// a challenge.
var (
	hostedZones = []string{"acme.example.com", "example.org", "nested.example.org", "_acme-challenge.delegated.example.net", "_acme-challenge.a.nested.example.org"}
	testTarget  = "acme.example.com"
)

// value is what a CA would ask for.
const value = "LoqXcYV8q5ONbJQxbmR7SCTNo3tiAXDfowyjxAjEuX0"

func zones(t testing.TB, apexes ...string) record.Zones {
	t.Helper()
	z := record.NewZones()
	for _, apex := range apexes {
		z[name(t, apex)] = struct{}{}
	}
	return z
}

// clientOf makes a client with the given rights, each with its verb.
func clientOf(t testing.TB, rules ...string) *Client {
	t.Helper()
	var config Config
	config.Name = "web1"
	config.Digests = []Digest{DigestOf("web1")}
	for _, rule := range rules {
		config.Rules = append(config.Rules, parseRule(t, rule))
	}
	clients, err := New(zones(t, hostedZones...), name(t, testTarget), []Config{config})
	if err != nil {
		t.Fatal(err)
	}
	return clients.ByDigest(DigestOf("web1"))
}

func testRecord(t testing.TB, owner, typ, data string) record.Record {
	t.Helper()
	r, err := record.At(name(t, owner), typ, 60, data)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestMayWrite(t *testing.T) {
	type answer struct{ OK, Challenge bool }
	var (
		no        = answer{}
		yes       = answer{true, false}
		challenge = answer{true, true}
	)
	for _, test := range []struct {
		name, rules, zone string
		op                record.Op
		owner, typ, data  string
		want              answer
	}{
		{"no right", "", "example.org", record.Append, "www.example.org", "A", "192.0.2.1", no},
		{"allow", "allow www.example.org", "example.org", record.Append, "www.example.org", "A", "192.0.2.1", yes},
		{"allow, set", "allow www.example.org", "example.org", record.Set, "www.example.org", "A", "192.0.2.1", yes},
		{"allow, delete is not written", "allow www.example.org", "example.org", record.Delete, "www.example.org", "A", "192.0.2.1", no},
		{"allow, another name", "allow www.example.org", "example.org", record.Append, "a.www.example.org", "A", "192.0.2.1", no},
		{"allow, a name that ends the same", "allow ww.example.org", "example.org", record.Append, "www.example.org", "A", "192.0.2.1", no},
		{"allow, a label that spells the name", "allow www.example.org", "example.org", record.Append, `www\.example.org`, "A", "192.0.2.1", no},
		{"allow a type", "allow www.example.org A", "example.org", record.Append, "www.example.org", "A", "192.0.2.1", yes},
		{"allow a type, another", "allow www.example.org A", "example.org", record.Append, "www.example.org", "AAAA", "::1", no},
		{"union of types", "allow www.example.org A; allow www.example.org AAAA", "example.org", record.Append, "www.example.org", "AAAA", "::1", yes},
		{"below", "allow under example.org", "example.org", record.Append, "a.b.example.org", "A", "192.0.2.1", yes},
		{"below, the name itself", "allow under b.example.org", "example.org", record.Append, "b.example.org", "A", "192.0.2.1", yes},
		{"below, a name that ends the same", "allow under b.example.org", "example.org", record.Append, "ab.example.org", "A", "192.0.2.1", no},
		{"below, within a nested zone", "allow under example.org", "nested.example.org", record.Append, "a.nested.example.org", "A", "192.0.2.1", no},
		{"below, the apex of a nested zone", "allow under example.org", "nested.example.org", record.Append, "nested.example.org", "A", "192.0.2.1", no},
		{"below, the delegation of a nested zone", "allow under example.org", "example.org", record.Append, "nested.example.org", "NS", "ns.example.", yes},
		{"below a nested zone, its delegation", "allow under nested.example.org", "example.org", record.Append, "nested.example.org", "NS", "ns.example.", no},
		{"the name of a nested zone, its delegation", "allow nested.example.org DS", "example.org", record.Append, "nested.example.org", "DS", "1 1 1 00", yes},
		{"below what is not hosted", "allow under org", "example.org", record.Append, "a.example.org", "A", "192.0.2.1", no},
		{"below the root, which is not hosted", "allow under .", "example.org", record.Append, "a.example.org", "A", "192.0.2.1", no},
		{"the wildcard is a label", "allow *.example.org", "example.org", record.Append, "*.example.org", "A", "192.0.2.1", yes},
		{"the wildcard matches nothing else", "allow *.example.org", "example.org", record.Append, "www.example.org", "A", "192.0.2.1", no},
		{"below a wildcard", "allow under *.example.org", "example.org", record.Append, "www.example.org", "A", "192.0.2.1", no},
		{"SOA", "allow example.org", "example.org", record.Append, "example.org", "SOA", "a. b. 1 2 3 4 5", no},
		{"SOA elsewhere", "allow under example.org", "example.org", record.Append, "a.example.org", "SOA", "a. b. 1 2 3 4 5", no},
		{"NS at the apex", "allow example.org", "example.org", record.Append, "example.org", "NS", "ns.example.", no},
		{"NS at the apex, by a rule for all below", "allow under example.org NS", "example.org", record.Append, "example.org", "NS", "ns.example.", no},
		{"NS at the apex, by name", "allow example.org NS", "example.org", record.Append, "example.org", "NS", "ns.example.", yes},
		{"NS below the apex", "allow under example.org", "example.org", record.Append, "a.example.org", "NS", "ns.example.", yes},
		{"read", "read under example.org", "example.org", record.Append, "a.example.org", "A", "192.0.2.1", no},

		{"certificates", "certificates a.example.org", "example.org", record.Append, "_acme-challenge.a.example.org", "TXT", value, challenge},
		{"certificates with an account", "certificates a.example.org", "example.org", record.Append, "_abcdefghijk23456._acme-challenge.a.example.org", "TXT", value, challenge},
		{"certificates, letter case", "certificates A.Example.org", "example.org", record.Append, "_ACME-Challenge.a.example.ORG", "TXT", value, challenge},
		{"certificates, short account", "certificates a.example.org", "example.org", record.Append, "_abcdefghijk2345._acme-challenge.a.example.org", "TXT", value, no},
		{"certificates, account with other digits", "certificates a.example.org", "example.org", record.Append, "_abcdefghijk23451._acme-challenge.a.example.org", "TXT", value, no},
		{"certificates, two accounts", "certificates a.example.org", "example.org", record.Append, "_abcdefghijk23456._abcdefghijk23456._acme-challenge.a.example.org", "TXT", value, no},
		{"certificates, the domain itself", "certificates a.example.org", "example.org", record.Append, "a.example.org", "TXT", value, no},
		{"certificates, set", "certificates a.example.org", "example.org", record.Set, "_acme-challenge.a.example.org", "TXT", value, no},
		{"certificates, another type", "certificates a.example.org", "example.org", record.Append, "_acme-challenge.a.example.org", "CNAME", "a.example.", no},
		{"certificates, another domain", "certificates a.example.org", "example.org", record.Append, "_acme-challenge.b.example.org", "TXT", value, no},
		{"certificates, a domain below", "certificates a.example.org", "example.org", record.Append, "_acme-challenge.x.a.example.org", "TXT", value, no},
		{"certificates, the domain above", "certificates a.example.org", "example.org", record.Append, "_acme-challenge.example.org", "TXT", value, no},
		{"certificates, empty value", "certificates a.example.org", "example.org", record.Append, "_acme-challenge.a.example.org", "TXT", "", no},
		{"certificates, shorter value", "certificates a.example.org", "example.org", record.Append, "_acme-challenge.a.example.org", "TXT", value[1:], no},
		{"certificates, longer value", "certificates a.example.org", "example.org", record.Append, "_acme-challenge.a.example.org", "TXT", value + "A", no},
		{"certificates, value with padding", "certificates a.example.org", "example.org", record.Append, "_acme-challenge.a.example.org", "TXT", value[1:] + "=", no},
		{"certificates, value with a line end", "certificates a.example.org", "example.org", record.Append, "_acme-challenge.a.example.org", "TXT", value[1:] + "\n", no},
		{"certificates, a policy as value", "certificates a.example.org", "example.org", record.Append, "_acme-challenge.a.example.org", "TXT", "v=spf1 include:mail.example -all " + strings.Repeat("x", 10), no},
		{"certificates, in generic form", "certificates a.example.org", "example.org", record.Append, "_acme-challenge.a.example.org", "TYPE16", `\# 4 03616263`, no},
		{"certificates and allow: it expires", "certificates a.example.org; allow under example.org", "example.org", record.Append, "_acme-challenge.a.example.org", "TXT", value, challenge},
		{"certificates and allow, set: it stays", "certificates a.example.org; allow under example.org", "example.org", record.Set, "_acme-challenge.a.example.org", "TXT", value, yes},
		{"allow alone: it stays", "allow under example.org", "example.org", record.Append, "_acme-challenge.a.example.org", "TXT", value, yes},
		{"certificates below", "certificates under example.org", "example.org", record.Append, "_acme-challenge.a.b.example.org", "TXT", value, challenge},
		{"certificates below, the name itself", "certificates under example.org", "example.org", record.Append, "_acme-challenge.example.org", "TXT", value, challenge},
		{"certificates below, within a nested zone", "certificates under example.org", "nested.example.org", record.Append, "_acme-challenge.a.nested.example.org", "TXT", value, no},
		{"certificates below, no host name", "certificates under example.org", "example.org", record.Append, "_acme-challenge._x.example.org", "TXT", value, no},
		{"certificates below, of a wildcard's own name", "certificates under example.org", "example.org", record.Append, "_acme-challenge.*.example.org", "TXT", value, no},
		{"certificates, in the zone that is the challenge", "certificates delegated.example.net", "_acme-challenge.delegated.example.net", record.Append, "_acme-challenge.delegated.example.net", "TXT", value, challenge},
		{"certificates below, in the zone that is the challenge", "certificates under example.net", "_acme-challenge.delegated.example.net", record.Append, "_acme-challenge.delegated.example.net", "TXT", value, challenge},

		{"at the CNAME target", "certificates www.example.net", "acme.example.com", record.Append, "www.example.net.acme.example.com", "TXT", value, challenge},
		{"at the CNAME target, account", "certificates www.example.net", "acme.example.com", record.Append, "_abcdefghijk23456.www.example.net.acme.example.com", "TXT", value, challenge},
		{"at the CNAME target, with its label", "certificates www.example.net", "acme.example.com", record.Append, "_acme-challenge.www.example.net.acme.example.com", "TXT", value, no},
		{"at the CNAME target, another domain", "certificates www.example.net", "acme.example.com", record.Append, "example.net.acme.example.com", "TXT", value, no},
		{"at the CNAME target, another value", "certificates www.example.net", "acme.example.com", record.Append, "www.example.net.acme.example.com", "TXT", "x", no},
		{"at the CNAME target, below", "certificates under example.net", "acme.example.com", record.Append, "a.example.net.acme.example.com", "TXT", value, challenge},
		{"at the CNAME target, its apex", "certificates under example.net", "acme.example.com", record.Append, "acme.example.com", "TXT", value, no},
		{"at what would be the target in another zone", "certificates www.example.net", "example.org", record.Append, "www.example.net.example.org", "TXT", value, no},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := clientOf(t, splitRules(test.rules)...)
			var got answer
			got.OK, got.Challenge = c.MayWrite(name(t, test.zone), test.op, testRecord(t, test.owner, test.typ, test.data))
			if got != test.want {
				t.Errorf("%+v, want %+v", got, test.want)
			}
		})
	}
}

func splitRules(rules string) []string {
	if rules == "" {
		return nil
	}
	return strings.Split(rules, "; ")
}

func TestMayDelete(t *testing.T) {
	const anyData = "any"
	for _, test := range []struct {
		name, rules, zone, owner, typ, data string
		want                                bool
	}{
		{"no right", "", "example.org", "www.example.org", "A", anyData, false},
		{"all of a type", "allow www.example.org", "example.org", "www.example.org", "A", anyData, true},
		{"of all types", "allow www.example.org", "example.org", "www.example.org", "", anyData, true},
		{"of all types, given data", "allow www.example.org", "example.org", "www.example.org", "", "192.0.2.1", true},
		{"of all types, by a rule with types", "allow www.example.org A", "example.org", "www.example.org", "", anyData, false},
		{"of all types, by a rule with types, given data", "allow www.example.org A", "example.org", "www.example.org", "", "192.0.2.1", false},
		{"of all types, by a rule for all below", "allow under example.org", "example.org", "www.example.org", "", anyData, true},
		{"of all types at the apex", "allow example.org", "example.org", "example.org", "", anyData, true},
		{"of all types at the apex, by a rule for all below", "allow under example.org", "example.org", "example.org", "", anyData, true},
		{"of all types at the apex, NS alone being named", "allow example.org NS", "example.org", "example.org", "", anyData, false},
		{"a type at the apex", "allow under example.org", "example.org", "example.org", "TXT", anyData, true},
		{"NS at the apex", "allow under example.org", "example.org", "example.org", "NS", anyData, false},
		{"SOA", "allow under example.org; allow example.org", "example.org", "example.org", "SOA", anyData, false},
		{"a challenge", "certificates a.example.org", "example.org", "_acme-challenge.a.example.org", "TXT", value, true},
		{"a challenge, type by number", "certificates a.example.org", "example.org", "_acme-challenge.a.example.org", "TYPE16", `\# 44 2b` + hexOf(value), true},
		{"a challenge at the CNAME target", "certificates a.example.net", "acme.example.com", "a.example.net.acme.example.com", "TXT", value, true},
		{"all challenges", "certificates a.example.org", "example.org", "_acme-challenge.a.example.org", "TXT", anyData, false},
		{"a challenge without the type", "certificates a.example.org", "example.org", "_acme-challenge.a.example.org", "", value, false},
		{"what is no challenge", "certificates a.example.org", "example.org", "_acme-challenge.a.example.org", "TXT", "v=spf1 -all", false},
		{"another type where the challenge is", "certificates a.example.org", "example.org", "_acme-challenge.a.example.org", "CNAME", "b.example.", false},
		{"another's challenge", "certificates a.example.org", "example.org", "_acme-challenge.b.example.org", "TXT", value, false},
		{"read", "read under example.org", "example.org", "a.example.org", "TXT", value, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			data := &test.data
			if test.data == anyData {
				data = nil
			}
			for _, ttl := range []*uint32{nil, new(uint32)} {
				m, err := record.MatchAt(name(t, test.owner), test.typ, ttl, data)
				if err != nil {
					t.Fatal(err)
				}
				if got := clientOf(t, splitRules(test.rules)...).MayDelete(name(t, test.zone), m); got != test.want {
					t.Errorf("%v, want %v", got, test.want)
				}
			}
		})
	}
}

func hexOf(s string) string {
	const digits = "0123456789abcdef"
	var b strings.Builder
	for _, c := range []byte(s) {
		b.WriteByte(digits[c>>4])
		b.WriteByte(digits[c&15])
	}
	return b.String()
}

func TestMayRead(t *testing.T) {
	for _, test := range []struct {
		name, rules, zone, owner string
		want                     bool
	}{
		{"no right", "", "example.org", "www.example.org", false},
		{"read", "read www.example.org", "example.org", "www.example.org", true},
		{"read below", "read under example.org", "example.org", "a.b.example.org", true},
		{"read below, in a nested zone", "read under example.org", "nested.example.org", "a.nested.example.org", false},
		{"read below, at the apex", "read under example.org", "example.org", "example.org", true},
		{"allow a type", "allow www.example.org A", "example.org", "www.example.org", true},
		{"allow a type, beside", "allow www.example.org A", "example.org", "example.org", false},
		{"allow NS at the apex", "allow example.org NS", "example.org", "example.org", true},
		{"allow NS below, at the apex", "allow under example.org NS", "example.org", "example.org", false},
		{"allow NS below", "allow under example.org NS", "example.org", "a.example.org", true},
		{"allow NS and more below, at the apex", "allow under example.org NS DS", "example.org", "example.org", true},
		{"certificates", "certificates a.example.org", "example.org", "_acme-challenge.a.example.org", true},
		{"certificates, any account", "certificates a.example.org", "example.org", "_abcdefghijk23456._acme-challenge.a.example.org", true},
		{"certificates, the domain", "certificates a.example.org", "example.org", "a.example.org", false},
		{"certificates, at the CNAME target", "certificates a.example.net", "acme.example.com", "a.example.net.acme.example.com", true},
		{"certificates, another's target", "certificates a.example.net", "acme.example.com", "b.example.net.acme.example.com", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := clientOf(t, splitRules(test.rules)...).MayRead(name(t, test.zone), name(t, test.owner)); got != test.want {
				t.Errorf("%v, want %v", got, test.want)
			}
		})
	}
}

func TestMayUse(t *testing.T) {
	for _, test := range []struct {
		name, rules string
		want        []string
	}{
		{"no right", "", nil},
		{"allow", "allow www.example.org A", []string{"example.org"}},
		{"read", "read www.nested.example.org", []string{"nested.example.org"}},
		{"below", "allow under example.org", []string{"example.org"}},
		{"below a nested zone", "allow under nested.example.org", []string{"nested.example.org"}},
		{"the name of a nested zone is in both", "allow nested.example.org", []string{"example.org", "nested.example.org"}},
		{"not hosted", "allow www.example.net; read under net", nil},
		{"certificates", "certificates a.example.org", []string{"example.org"}},
		{"certificates hosted elsewhere", "certificates a.example.net", []string{"acme.example.com"}},
		{"certificates in the zone that is the challenge", "certificates delegated.example.net", []string{"_acme-challenge.delegated.example.net"}},
		{"certificates below, hosted elsewhere", "certificates under example.net", []string{"_acme-challenge.delegated.example.net", "acme.example.com"}},
		{"certificates below", "certificates under example.org", []string{"example.org"}},
		{"certificates below a nested zone", "certificates under nested.example.org", []string{"_acme-challenge.a.nested.example.org", "nested.example.org"}},
		{"certificates in a nested zone", "certificates a.nested.example.org", []string{"_acme-challenge.a.nested.example.org"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := clientOf(t, splitRules(test.rules)...)
			var got []string
			for _, zone := range append([]string{"org", "example.net", "www.example.org", "."}, hostedZones...) {
				if c.MayUse(name(t, zone)) {
					got = append(got, zone)
				}
			}
			slices.Sort(got)
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestMayWatch: watch gives no other right, and no other right gives watch.
func TestMayWatch(t *testing.T) {
	c := clientOf(t, "watch")
	if !c.MayWatch() {
		t.Error("it may not watch")
	}
	if idle := c.IdleRules(); len(idle) != 0 {
		t.Errorf("idle: %v", idle)
	}
	for _, zone := range hostedZones {
		zone := name(t, zone)
		challenge := testRecord(t, "_acme-challenge."+zone.String(), "TXT", value)
		for _, r := range []record.Record{challenge, testRecord(t, zone.String(), "A", "192.0.2.1")} {
			write, _ := c.MayWrite(zone, record.Append, r)
			if write || c.MayDelete(zone, record.Match{Name: r.Name, Type: r.Type}) || c.MayRead(zone, r.Name) || c.MayUse(zone) || c.MayCertify(zone) {
				t.Errorf("at %s in %s it may do more than watch", r.Name, zone)
			}
		}
	}
	if clientOf(t, "certificates under example.org", "allow under example.org", "read under .").MayWatch() {
		t.Error("other rights give watch")
	}
}

func TestMayCertify(t *testing.T) {
	for _, test := range []struct {
		name, rules, domain string
		want                bool
	}{
		{"no right", "", "www.example.org", false},
		{"itself", "certificates www.example.org", "www.example.org", true},
		{"itself, by its wildcard", "certificates *.www.example.org", "www.example.org", true},
		{"below without a right to it", "certificates www.example.org", "a.www.example.org", false},
		{"below", "certificates under example.org", "a.b.example.org", true},
		{"below, in a nested zone", "certificates under example.org", "a.nested.example.org", false},
		{"below what is hosted elsewhere", "certificates under example.net", "a.example.net", true},
		{"below what is hosted elsewhere, in a zone hosted here", "certificates under example.com", "a.acme.example.com", false},
		{"allow is no right to certify", "allow under example.org", "a.example.org", false},
		{"no host name", "certificates under example.org", "_acme-challenge.example.org", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := clientOf(t, splitRules(test.rules)...).MayCertify(name(t, test.domain)); got != test.want {
				t.Errorf("%v, want %v", got, test.want)
			}
		})
	}
}

func TestLocal(t *testing.T) {
	c := Local(zones(t, hostedZones...), name(t, testTarget))
	type answer struct{ OK, Challenge bool }
	for _, test := range []struct {
		name, zone       string
		op               record.Op
		owner, typ, data string
		want             answer
	}{
		{"anything", "example.org", record.Set, "a.example.org", "A", "192.0.2.1", answer{true, false}},
		{"NS at the apex", "example.org", record.Append, "example.org", "NS", "ns.example.", answer{true, false}},
		{"SOA", "example.org", record.Append, "example.org", "SOA", "a. b. 1 2 3 4 5", answer{}},
		{"a challenge", "example.org", record.Append, "_acme-challenge.a.example.org", "TXT", value, answer{true, true}},
		{"a challenge that is set", "example.org", record.Set, "_acme-challenge.a.example.org", "TXT", value, answer{true, false}},
		{"a challenge at the CNAME target", "acme.example.com", record.Append, "any.example.net.acme.example.com", "TXT", value, answer{true, true}},
		{"a zone that is not hosted", "example.net", record.Append, "a.example.net", "A", "192.0.2.1", answer{}},
		{"a name outside the zone", "example.org", record.Append, "a.example.net", "A", "192.0.2.1", answer{}},
	} {
		t.Run(test.name, func(t *testing.T) {
			var got answer
			r := testRecord(t, test.owner, test.typ, test.data)
			got.OK, got.Challenge = c.MayWrite(name(t, test.zone), test.op, r)
			if got != test.want {
				t.Errorf("%+v, want %+v", got, test.want)
			}
			if ok := c.MayDelete(name(t, test.zone), record.Match{Name: r.Name, Type: r.Type}); ok != test.want.OK {
				t.Errorf("delete: %v", ok)
			}
		})
	}
	if !c.MayRead(name(t, "example.org"), name(t, "a.example.org")) || c.MayRead(name(t, "example.org"), name(t, "a.example.net")) {
		t.Error("reads not exactly what is in the zone")
	}
	if !c.MayUse(name(t, "example.org")) || c.MayUse(name(t, "example.net")) {
		t.Error("uses not exactly the hosted zones")
	}
	if !c.MayCertify(name(t, "any.example.net")) || c.MayCertify(name(t, "net")) || c.MayCertify(name(t, "*.example.net")) {
		t.Error("certifies not exactly the host names")
	}
	if !c.MayWatch() {
		t.Error("does not see the whole service")
	}
	if err := c.Accepts(someDay, anyAddress); err != nil {
		t.Error(err)
	}
	if len(c.Rules()) != 0 || len(c.Networks()) != 0 || !c.Expires().IsZero() || c.Name() != LocalName {
		t.Error("the caller in process has a configuration")
	}
}

func TestIdleRules(t *testing.T) {
	rules := []string{
		"certificates a.example.org", "certificates a.example.net", "certificates under example.net", "certificates delegated.example.net",
		"certificates under delegated.example.net", "allow under org", "allow www.example.org", "allow www.example.net A", "read under example.org",
	}
	config := Config{Digests: []Digest{{}}}
	for _, rule := range rules {
		config.Rules = append(config.Rules, parseRule(t, rule))
	}
	for _, test := range []struct {
		name, target string
		want         []string
	}{
		{"with a zone for CNAME targets", testTarget, []string{"allow under org", "allow www.example.net A"}},
		{"without", "", []string{"certificates a.example.net", "allow under org", "allow www.example.net A"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			clients, err := New(zones(t, hostedZones...), name(t, test.target), []Config{config})
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, rule := range clients.ByDigest(Digest{}).IdleRules() {
				got = append(got, rule.String())
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestTargetTooLong(t *testing.T) {
	long := strings.Repeat("a", 60) + "." + strings.Repeat("b", 60) + "." + strings.Repeat("c", 60) + "." + strings.Repeat("d", 50) + ".net"
	c := clientOf(t, "certificates "+long)
	if got := c.IdleRules(); len(got) != 1 {
		t.Errorf("a domain whose CNAME target would be too long: %v", got)
	}
	if c.MayUse(name(t, testTarget)) {
		t.Error("it opens the zone for CNAME targets")
	}
}

// BenchmarkMayWrite has a client with many rights, as a decision's cost must not
// depend on their number.
func BenchmarkMayWrite(b *testing.B) {
	var rules []string
	for c := 'a'; c <= 'z'; c++ {
		for d := 'a'; d <= 'z'; d++ {
			rules = append(rules, "certificates "+string(c)+string(d)+".example.org", "allow "+string(c)+string(d)+".example.org A AAAA")
		}
	}
	c := clientOf(b, append(rules, "allow under apps.example.org", "certificates under apps.example.org", "certificates under example.net")...)
	benchmarks := map[string]struct {
		zone string
		r    record.Record
	}{
		"challenge":               {"example.org", testRecord(b, "_acme-challenge.zz.example.org", "TXT", value)},
		"challenge by under":      {"example.org", testRecord(b, "_acme-challenge.a.b.apps.example.org", "TXT", value)},
		"challenge at a target":   {"acme.example.com", testRecord(b, "www.example.net.acme.example.com", "TXT", value)},
		"address":                 {"example.org", testRecord(b, "zz.example.org", "A", "192.0.2.1")},
		"address by under":        {"example.org", testRecord(b, "a.b.apps.example.org", "A", "192.0.2.1")},
		"refused without a trace": {"example.org", testRecord(b, "_acme-challenge.www.example.org", "TXT", value)},
	}
	for _, title := range slices.Sorted(maps.Keys(benchmarks)) {
		request := benchmarks[title]
		zone := name(b, request.zone)
		b.Run(title, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				c.MayWrite(zone, record.Append, request.r)
			}
		})
	}
}
