package record_test

import (
	"cmp"
	"errors"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/caddy-dns/bestdns/internal/record"
)

// zone is a zone in memory, with an SOA record, an NS record and the address of
// that name server made by the server.
type zone struct {
	apex    record.Name
	records []record.Record
}

// lines reads records of zone example.org: "name ttl type data", the data of TXT
// being the text itself; "+n" behind the TTL is the expiry.
func lines(t testing.TB, text ...string) (records []record.Record) {
	t.Helper()
	for _, line := range text {
		part := strings.SplitN(line, " ", 4)
		ttlText, expires, _ := strings.Cut(part[1], "+")
		ttl, err := strconv.ParseUint(ttlText, 10, 32)
		if err != nil {
			t.Fatal(err)
		}
		r, err := record.New(name(t, "example.org"), part[0], part[2], uint32(ttl), part[3])
		if err != nil {
			t.Fatal(err)
		}
		if expires != "" {
			if r.Expires, err = strconv.ParseInt(expires, 10, 64); err != nil {
				t.Fatal(err)
			}
		}
		records = append(records, r)
	}
	return records
}

func newZone(t testing.TB, text ...string) *zone {
	t.Helper()
	made := lines(t, "@ 5 SOA ns1.example.org. hostmaster.example.org. 1 2 3 4 5", "@ 60 NS ns1.example.org.", "ns1 60 A 192.0.2.53")
	return &zone{name(t, "example.org"), append(made, lines(t, text...)...)}
}

func (z *zone) At(n record.Name) (at []record.Record) {
	for _, r := range z.records {
		if r.Name == n {
			at = append(at, r)
		}
	}
	return at
}

func (z *zone) Made(n record.Name, t record.Type) bool {
	return n == z.apex && (t == record.TypeSOA || t == record.TypeNS) || t == record.TypeA && n.FirstLabel() == "ns1"
}

// after returns the zone with an effect carried out.
func (z *zone) after(e record.Effect) *zone {
	next := &zone{apex: z.apex, records: slices.Clone(z.records)}
	for _, node := range e.Nodes {
		next.records = slices.DeleteFunc(next.records, func(r record.Record) bool { return r.Name == node.Name })
		next.records = append(next.records, node.Records...)
	}
	return next
}

// stored returns what is in the zone besides the made records, as text.
func (z *zone) stored() []string {
	text := []string{}
	for _, r := range z.records {
		if !z.Made(r.Name, r.Type) {
			text = append(text, line(r))
		}
	}
	slices.Sort(text)
	return text
}

func line(r record.Record) string {
	typ, data := r.Text()
	ttl := strconv.FormatUint(uint64(r.TTL), 10)
	if r.Expires != 0 {
		ttl += "+" + strconv.FormatInt(r.Expires, 10)
	}
	origin := record.Name("\x07example\x03org\x00")
	return r.Name.Relative(origin) + " " + ttl + " " + typ + " " + data
}

func asLines(records []record.Record) []string {
	text := []string{}
	for _, r := range records {
		text = append(text, line(r))
	}
	return text
}

// matches reads descriptions for a delete: "name ttl type data", "*" for any.
func matches(t testing.TB, text ...string) (found []record.Match) {
	t.Helper()
	for _, line := range text {
		part := strings.SplitN(line, " ", 4)
		var ttl *uint32
		if part[1] != "*" {
			n, err := strconv.ParseUint(part[1], 10, 32)
			if err != nil {
				t.Fatal(err)
			}
			ttl = new(uint32)
			*ttl = uint32(n)
		}
		typ := strings.TrimPrefix(part[2], "*")
		var data *string
		if part[3] != "*" {
			data = &part[3]
		}
		owner, err := record.ParseOwner(part[0], name(t, "example.org"))
		if err != nil {
			t.Fatal(err)
		}
		m, err := record.MatchAt(owner, typ, ttl, data)
		if err != nil {
			t.Fatal(err)
		}
		found = append(found, m)
	}
	return found
}

func TestPlan(t *testing.T) {
	text := func(lines ...string) []string { return lines }
	for _, test := range []struct {
		name    string
		op      record.Op
		before  []string
		change  []string
		after   []string
		answer  []string
		touched []string // names, relative
	}{
		// Append adds, and changes nothing that is there.
		{"append to nothing", record.Append, nil, text("a 60 A 192.0.2.1"), text("a 60 A 192.0.2.1"), text("a 60 A 192.0.2.1"), text("a")},
		{"append to an RRset", record.Append, text("a 60 A 192.0.2.1"), text("a 30 A 192.0.2.2"),
			text("a 30 A 192.0.2.2", "a 60 A 192.0.2.1"), text("a 30 A 192.0.2.2"), text("a")},
		{"append another type", record.Append, text("a 60 A 192.0.2.1"), text("a 60 TXT x"), text("a 60 A 192.0.2.1", "a 60 TXT x"), text("a 60 TXT x"), text("a")},
		{"append what is there", record.Append, text("a 60 TXT x"), text("a 60 TXT x"), text("a 60 TXT x"), text("a 60 TXT x"), nil},
		{"append what is there with another TTL", record.Append, text("a 60 TXT x"), text("a 5 TXT x"), text("a 60 TXT x"), text("a 60 TXT x"), nil},
		{"append what is there in another form", record.Append, text("a 60 MX 10 mail.example."), text(`A 5 TYPE15 \# 16 000a044d41494c074578616d706c6500`),
			text("a 60 MX 10 mail.example."), text("a 60 MX 10 mail.example."), nil},
		{"append a text cut in other strings", record.Append, text("a 60 TXT ab"), text(`a 60 TYPE16 \# 4 01610162`), text("a 60 TXT ab"), text("a 60 TXT ab"), nil},
		{"append renews an expiry", record.Append, text("a 60+100 TXT x"), text("a 60+200 TXT x"), text("a 60+200 TXT x"), text("a 60+200 TXT x"), text("a")},
		{"append does not shorten an expiry", record.Append, text("a 60+200 TXT x"), text("a 60+100 TXT x"), text("a 60+200 TXT x"), text("a 60+200 TXT x"), nil},
		{"append for good ends an expiry", record.Append, text("a 60+200 TXT x"), text("a 60 TXT x"), text("a 60 TXT x"), text("a 60 TXT x"), text("a")},
		{"append with an expiry to what is there for good", record.Append, text("a 60 TXT x"), text("a 60+200 TXT x"), text("a 60 TXT x"), text("a 60 TXT x"), nil},
		{"append twice the same", record.Append, nil, text("a 60 TXT x", "a 60 TXT x"), text("a 60 TXT x"), text("a 60 TXT x", "a 60 TXT x"), text("a")},
		{"append at several names", record.Append, text("b 60 TXT y"), text("a 60 TXT x", "b 60 TXT x", "@ 60 TXT x"),
			text("@ 60 TXT x", "a 60 TXT x", "b 60 TXT x", "b 60 TXT y"), text("a 60 TXT x", "b 60 TXT x", "@ 60 TXT x"), text("@", "a", "b")},
		{"append nothing", record.Append, text("a 60 TXT x"), nil, text("a 60 TXT x"), nil, nil},
		{"append a CNAME", record.Append, nil, text("a 60 CNAME b.example."), text("a 60 CNAME b.example."), text("a 60 CNAME b.example."), text("a")},
		{"append the CNAME that is there", record.Append, text("a 60 CNAME b.example."), text("a 60 CNAME B.Example."), text("a 60 CNAME b.example."), text("a 60 CNAME b.example."), nil},
		{"append a delegation", record.Append, nil, text("a 60 NS ns.example."), text("a 60 NS ns.example."), text("a 60 NS ns.example."), text("a")},
		{"append an IPv6 address beside a made IPv4 address", record.Append, nil, text("ns1 60 AAAA 2001:db8::1"), text("ns1 60 AAAA 2001:db8::1"), text("ns1 60 AAAA 2001:db8::1"), text("ns1")},
		{"append beside the made records of the apex", record.Append, nil, text("@ 60 A 192.0.2.1"), text("@ 60 A 192.0.2.1"), text("@ 60 A 192.0.2.1"), text("@")},

		// Set replaces whole RRsets: libdns' own examples first.
		{"set, example 1", record.Set, text("@ 3600 A 192.0.2.1", "@ 3600 A 192.0.2.2", "@ 3600 TXT hello world"), text("@ 3600 A 192.0.2.3"),
			text("@ 3600 A 192.0.2.3", "@ 3600 TXT hello world"), text("@ 3600 A 192.0.2.3"), text("@")},
		{"set, example 2", record.Set, text("alpha 3600 AAAA 2001:db8::1", "alpha 3600 AAAA 2001:db8::2", "beta 3600 AAAA 2001:db8::3", "beta 3600 AAAA 2001:db8::4"),
			text("alpha 3600 AAAA 2001:db8::1", "alpha 3600 AAAA 2001:db8::2", "alpha 3600 AAAA 2001:db8::5"),
			text("alpha 3600 AAAA 2001:db8::1", "alpha 3600 AAAA 2001:db8::2", "alpha 3600 AAAA 2001:db8::5", "beta 3600 AAAA 2001:db8::3", "beta 3600 AAAA 2001:db8::4"),
			text("alpha 3600 AAAA 2001:db8::1", "alpha 3600 AAAA 2001:db8::2", "alpha 3600 AAAA 2001:db8::5"), text("alpha")},
		{"set what is there", record.Set, text("a 60 A 192.0.2.1", "a 60 A 192.0.2.2"), text("a 60 A 192.0.2.2", "a 60 A 192.0.2.1"),
			text("a 60 A 192.0.2.1", "a 60 A 192.0.2.2"), text("a 60 A 192.0.2.2", "a 60 A 192.0.2.1"), nil},
		{"set another TTL", record.Set, text("a 60 A 192.0.2.1"), text("a 30 A 192.0.2.1"), text("a 30 A 192.0.2.1"), text("a 30 A 192.0.2.1"), text("a")},
		{"set ends an expiry", record.Set, text("a 60+100 TXT x"), text("a 60 TXT x"), text("a 60 TXT x"), text("a 60 TXT x"), text("a")},
		{"set twice the same", record.Set, nil, text("a 60 TXT x", "a 60 TXT x"), text("a 60 TXT x"), text("a 60 TXT x"), text("a")},
		{"set in an order of names that is mixed", record.Set, text("a 60 TXT 0", "b 60 TXT 0"), text("a 60 TXT 1", "b 60 TXT 2", "a 60 TXT 3"),
			text("a 60 TXT 1", "a 60 TXT 3", "b 60 TXT 2"), text("a 60 TXT 1", "b 60 TXT 2", "a 60 TXT 3"), text("a", "b")},
		{"set another CNAME", record.Set, text("a 60 CNAME b.example."), text("a 60 CNAME c.example."), text("a 60 CNAME c.example."), text("a 60 CNAME c.example."), text("a")},

		// Delete takes what agrees in all that is given.
		{"delete exactly", record.Delete, text("a 60 A 192.0.2.1", "a 60 A 192.0.2.2"), text("a 60 A 192.0.2.1"), text("a 60 A 192.0.2.2"), text("a 60 A 192.0.2.1"), text("a")},
		{"delete with another TTL", record.Delete, text("a 60 A 192.0.2.1"), text("a 61 A 192.0.2.1"), text("a 60 A 192.0.2.1"), nil, nil},
		{"delete with TTL zero", record.Delete, text("a 60 A 192.0.2.1", "a 0 A 192.0.2.2"), text("a 0 A *"), text("a 60 A 192.0.2.1"), text("a 0 A 192.0.2.2"), text("a")},
		{"delete any TTL", record.Delete, text("a 60 A 192.0.2.1"), text("a * A 192.0.2.1"), nil, text("a 60 A 192.0.2.1"), text("a")},
		{"delete any data", record.Delete, text("a 60 A 192.0.2.1", "a 60 A 192.0.2.2", "a 60 TXT x"), text("a * A *"), text("a 60 TXT x"), text("a 60 A 192.0.2.1", "a 60 A 192.0.2.2"), text("a")},
		{"delete any type", record.Delete, text("a 60 A 192.0.2.1", "a 60 TXT x", "b 60 TXT x"), text("a * * *"), text("b 60 TXT x"), text("a 60 A 192.0.2.1", "a 60 TXT x"), text("a")},
		{"delete data of any type", record.Delete, text("a 60 A 192.0.2.1", "a 60 TXT 192.0.2.1", "a 60 TXT x"), text("a * * 192.0.2.1"), text("a 60 TXT x"), text("a 60 A 192.0.2.1", "a 60 TXT 192.0.2.1"), text("a")},
		{"delete the empty text", record.Delete, text("a 60 TXT x", "a 60 TXT "), text("a * TXT "), text("a 60 TXT x"), text("a 60 TXT "), text("a")},
		{"delete by data in another form", record.Delete, text(`a 60 HTTPS 1 . alpn="h2" port="8443"`), text("a * HTTPS 1 . port=8443 alpn=h2"), nil, text(`a 60 HTTPS 1 . alpn="h2" port="8443"`), text("a")},
		{"delete by name in another case", record.Delete, text("a 60 MX 10 mail.example."), text("A * MX 10 MAIL.example."), nil, text("a 60 MX 10 mail.example."), text("a")},
		{"delete what is not there", record.Delete, text("a 60 A 192.0.2.1"), text("a * A 192.0.2.9", "b * A *", "a * TXT *"), text("a 60 A 192.0.2.1"), nil, nil},
		{"delete twice the same", record.Delete, text("a 60 A 192.0.2.1"), text("a * A *", "a * A *"), nil, text("a 60 A 192.0.2.1"), text("a")},
		{"delete one of several challenges", record.Delete, text("a 60+9 TXT x", "a 60+9 TXT y"), text("a * TXT x"), text("a 60+9 TXT y"), text("a 60+9 TXT x"), text("a")},
		{"delete any type at the apex leaves what is made", record.Delete, text("@ 60 TXT x"), text("@ * * *"), nil, text("@ 60 TXT x"), text("@")},
		{"delete any type where an address is made", record.Delete, text("ns1 60 TXT x"), text("ns1 * * *"), nil, text("ns1 60 TXT x"), text("ns1")},
	} {
		t.Run(test.name, func(t *testing.T) {
			z := newZone(t, test.before...)
			before := slices.Clone(z.records)
			change := record.Change{Op: test.op}
			if test.op == record.Delete {
				change.Matches = matches(t, test.change...)
			} else {
				change.Records = lines(t, test.change...)
			}
			e, err := record.Plan(z, change)
			if err != nil {
				t.Fatal(err)
			}
			if diff := gocmp.Diff(before, z.records); diff != "" {
				t.Errorf("Plan changed the zone itself:\n%s", diff)
			}
			next := z.after(e)
			if diff := gocmp.Diff(test.after, next.stored(), cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("zone:\n%s", diff)
			}
			if diff := gocmp.Diff(test.answer, asLines(e.Answer), cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("answer:\n%s", diff)
			}
			if diff := gocmp.Diff(test.touched, touched(e), cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("names touched:\n%s", diff)
			}
			if got := len(next.records) - len(next.stored()); got != 3 {
				t.Errorf("%d of 3 made records are left", got)
			}
		})
	}
}

func touched(e record.Effect) (names []string) {
	for _, node := range e.Nodes {
		names = append(names, node.Name.Relative("\x07example\x03org\x00"))
	}
	slices.Sort(names)
	return names
}

func TestPlanRefuses(t *testing.T) {
	text := func(lines ...string) []string { return lines }
	// Text of 33,000 and 32,212 octets makes data of 33,130 and 32,339; with two
	// records, the name of 15 octets, header, question and OPT that is an answer of
	// 65,535.
	one, other := strings.Repeat("x", 33000), strings.Repeat("y", 32212)
	if _, err := record.Plan(newZone(t, "a 60 TXT "+one), record.Change{Op: record.Append, Records: lines(t, "a 60 TXT "+other)}); err != nil {
		t.Errorf("an RRset that just fits: %v", err)
	}
	for _, test := range []struct {
		name           string
		op             record.Op
		before, change []string
		want           record.RuleError // without the reason
	}{
		{"CNAME beside other data", record.Append, text("a 60 TXT x"), text("a 60 CNAME b.example."), record.RuleError{Rule: record.RuleCNAME, Conflict: true, Name: name(t, "a.example.org"), Type: record.TypeCNAME}},
		{"other data beside a CNAME", record.Append, text("a 60 CNAME b.example."), text("a 60 TXT x"), record.RuleError{Rule: record.RuleCNAME, Conflict: true, Name: name(t, "a.example.org"), Type: record.TypeCNAME}},
		{"a second CNAME", record.Append, text("a 60 CNAME b.example."), text("a 60 CNAME c.example."), record.RuleError{Rule: record.RuleCNAME, Conflict: true, Name: name(t, "a.example.org"), Type: record.TypeCNAME}},
		{"two CNAMEs in one append", record.Append, nil, text("a 60 CNAME b.example.", "a 60 CNAME c.example."), record.RuleError{Rule: record.RuleCNAME, Name: name(t, "a.example.org"), Type: record.TypeCNAME}},
		{"two CNAMEs in one set", record.Set, text("a 60 CNAME b.example."), text("a 60 CNAME c.example.", "a 60 CNAME d.example."), record.RuleError{Rule: record.RuleCNAME, Name: name(t, "a.example.org"), Type: record.TypeCNAME}},
		{"CNAME and other data in one append", record.Append, nil, text("a 60 CNAME b.example.", "a 60 TXT x"), record.RuleError{Rule: record.RuleCNAME, Name: name(t, "a.example.org"), Type: record.TypeCNAME}},
		{"CNAME set beside other data", record.Set, text("a 60 TXT x"), text("a 60 CNAME b.example."), record.RuleError{Rule: record.RuleCNAME, Conflict: true, Name: name(t, "a.example.org"), Type: record.TypeCNAME}},
		{"CNAME at the apex", record.Append, nil, text("@ 60 CNAME b.example."), record.RuleError{Rule: record.RuleCNAME, Name: name(t, "example.org"), Type: record.TypeCNAME}},
		{"CNAME beside a made address", record.Append, nil, text("ns1 60 CNAME b.example."), record.RuleError{Rule: record.RuleCNAME, Name: name(t, "ns1.example.org"), Type: record.TypeCNAME}},
		{"SOA appended", record.Append, nil, text("@ 60 SOA a. b. 1 2 3 4 5"), record.RuleError{Rule: record.RuleSOA, Name: name(t, "example.org"), Type: record.TypeSOA}},
		{"SOA set", record.Set, nil, text("@ 60 SOA a. b. 1 2 3 4 5"), record.RuleError{Rule: record.RuleSOA, Name: name(t, "example.org"), Type: record.TypeSOA}},
		{"SOA deleted", record.Delete, nil, text("@ * SOA *"), record.RuleError{Rule: record.RuleSOA, Name: name(t, "example.org"), Type: record.TypeSOA}},
		{"SOA below the apex", record.Append, nil, text("a 60 SOA a. b. 1 2 3 4 5"), record.RuleError{Rule: record.RuleSOA, Name: name(t, "a.example.org"), Type: record.TypeSOA}},
		{"NS at the apex appended", record.Append, nil, text("@ 60 NS ns.example."), record.RuleError{Rule: record.RuleApexNS, Name: name(t, "example.org"), Type: record.TypeNS}},
		{"NS at the apex set", record.Set, nil, text("@ 60 NS ns.example."), record.RuleError{Rule: record.RuleApexNS, Name: name(t, "example.org"), Type: record.TypeNS}},
		{"the last NS deleted", record.Delete, nil, text("@ * NS ns1.example.org."), record.RuleError{Rule: record.RuleApexNS, Name: name(t, "example.org"), Type: record.TypeNS}},
		{"address of the name server set", record.Set, nil, text("ns1 60 A 192.0.2.66"), record.RuleError{Rule: record.RuleApexNS, Name: name(t, "ns1.example.org"), Type: record.TypeA}},
		{"address of the name server deleted", record.Delete, nil, text("ns1 * A *"), record.RuleError{Rule: record.RuleApexNS, Name: name(t, "ns1.example.org"), Type: record.TypeA}},
		{"RRset that no answer can carry", record.Append, text("a 60 TXT " + one), text("a 60 TXT y" + other), record.RuleError{Rule: record.RuleSize, Conflict: true, Name: name(t, "a.example.org"), Type: record.TypeTXT}},
		{"RRset that no answer can carry, at once", record.Set, nil, text("a 60 TXT "+one, "a 60 TXT y"+other), record.RuleError{Rule: record.RuleSize, Name: name(t, "a.example.org"), Type: record.TypeTXT}},
		{"the last of several breaks a rule", record.Append, nil, text("b 60 TXT x", "c 60 TXT x", "@ 60 NS ns.example."), record.RuleError{Rule: record.RuleApexNS, Name: name(t, "example.org"), Type: record.TypeNS}},
	} {
		t.Run(test.name, func(t *testing.T) {
			z := newZone(t, test.before...)
			before := slices.Clone(z.records)
			change := record.Change{Op: test.op}
			if test.op == record.Delete {
				change.Matches = matches(t, test.change...)
			} else {
				change.Records = lines(t, test.change...)
			}
			e, err := record.Plan(z, change)
			if err == nil {
				t.Fatalf("planned: %q", asLines(e.Answer))
			}
			broken := (*record.RuleError)(nil)
			if !errors.As(err, &broken) {
				t.Fatal(err)
			}
			if diff := gocmp.Diff(test.want, *broken, cmpopts.IgnoreFields(record.RuleError{}, "Reason")); diff != "" {
				t.Error(diff)
			}
			if text := err.Error(); !strings.Contains(text, broken.Name.String()) || !strings.Contains(text, broken.Type.String()) {
				t.Errorf("%v: does not name the record", err)
			}
			if diff := gocmp.Diff(record.Effect{}, e); diff != "" {
				t.Errorf("an error and an effect:\n%s", diff)
			}
			if diff := gocmp.Diff(before, z.records); diff != "" {
				t.Errorf("an error, and the zone is another:\n%s", diff)
			}
		})
	}
	if _, err := record.Plan(newZone(t), record.Change{Op: 9}); err == nil {
		t.Error("an unknown kind of change is planned")
	}
}

// TestPlanAdvisesOnCNAME: what the server makes cannot be deleted, so no one is told to.
func TestPlanAdvisesOnCNAME(t *testing.T) {
	for _, test := range []struct{ name, before, change, want string }{
		{"apex", "", "@ 60 CNAME b.example.", "the apex of a zone cannot be an alias"},
		{"apex with more", "@ 60 A 192.0.2.1", "@ 60 CNAME b.example.", "HTTPS record in AliasMode"},
		{"name server", "", "ns1 60 CNAME b.example.", "a name server cannot be an alias"},
		{"name with data", "a 60 A 192.0.2.1", "a 60 CNAME b.example.", "delete the CNAME or the other records first"},
		{"name with another", "a 60 CNAME a.example.", "a 60 CNAME b.example.", "to replace one, set it"},
	} {
		for _, op := range []record.Op{record.Append, record.Set} {
			if op == record.Set && test.name == "name with another" {
				continue // which is what a set is for
			}
			t.Run(test.name+"/"+op.String(), func(t *testing.T) {
				z := newZone(t)
				if test.before != "" {
					z = newZone(t, test.before)
				}
				_, err := record.Plan(z, record.Change{Op: op, Records: lines(t, test.change)})
				if err == nil || !strings.Contains(err.Error(), test.want) {
					t.Errorf("%v does not say %q", err, test.want)
				}
				if made := !strings.HasPrefix(test.name, "name with"); err != nil && made && strings.Contains(err.Error(), "delete") {
					t.Errorf("%v: it advises to delete what cannot be", err)
				}
			})
		}
	}
}

func TestChangeNames(t *testing.T) {
	c := record.Change{Records: lines(t, "a 60 TXT x", "b 60 TXT x"), Matches: matches(t, "c * * *", "a * * *")}
	var got []string
	for n := range c.Names {
		got = append(got, n.FirstLabel())
	}
	if want := []string{"a", "b", "c", "a"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	for range c.Names {
		break // must not go on
	}
	for n := range c.Names {
		if n.FirstLabel() == "c" {
			break
		}
	}
}

// TestPlanAgainstModel makes random changes and compares with a model that knows
// no names, only a set of records.
func TestPlanAgainstModel(t *testing.T) {
	t.Parallel()
	for seed := range uint64(100) {
		g := rand.New(rand.NewPCG(seed, 1))
		z := newZone(t)
		for range 30 {
			change := randomChange(t, g)
			before := slices.Clone(z.records)
			e, err := record.Plan(z, change)
			if diff := gocmp.Diff(before, z.records); diff != "" {
				t.Fatalf("seed %d: Plan changed the zone itself:\n%s", seed, diff)
			}
			want, answer, ok := model(z, change)
			if ok != (err == nil) {
				t.Fatalf("seed %d: %v: error %v, the model says %v", seed, change.Op, err, ok)
			}
			if err != nil {
				if len(e.Nodes) > 0 || len(e.Answer) > 0 {
					t.Fatalf("seed %d: an error and an effect", seed)
				}
				continue
			}
			next := z.after(e)
			if diff := gocmp.Diff(want, next.stored()); diff != "" {
				t.Fatalf("seed %d: %v of %q:\n%s", seed, change.Op, asLines(change.Records), diff)
			}
			if diff := gocmp.Diff(answer, sorted(asLines(e.Answer))); diff != "" {
				t.Fatalf("seed %d: %v: answer:\n%s", seed, change.Op, diff)
			}
			checkTouched(t, z, next, e)
			// A repetition, as after a lost answer, changes nothing more.
			again, err := record.Plan(next, change)
			if err != nil || len(again.Nodes) > 0 {
				t.Fatalf("seed %d: %v once more: touches %q, %v", seed, change.Op, touched(again), err)
			}
			z = next
		}
	}
}

// checkTouched checks that the effect has exactly the names whose records differ.
func checkTouched(t *testing.T, before, after *zone, e record.Effect) {
	t.Helper()
	differ := map[string]bool{}
	for _, z := range [][2]*zone{{before, after}, {after, before}} {
		for _, r := range z[0].records {
			if !slices.Contains(z[1].records, r) {
				differ[r.Name.Relative(before.apex)] = true
			}
		}
	}
	if diff := gocmp.Diff(slices.Sorted(maps.Keys(differ)), touched(e)); diff != "" {
		t.Fatalf("names touched:\n%s", diff)
	}
}

func sorted(text []string) []string {
	slices.Sort(text)
	return text
}

func randomChange(t testing.TB, g *rand.Rand) record.Change {
	t.Helper()
	pick := func(from ...string) string { return from[g.IntN(len(from))] }
	owner := func() string { return pick("a", "a", "b", "b", "c", "@", "ns1") }
	c := record.Change{Op: record.Op(1 + g.IntN(3))}
	several, many := 1+g.IntN(3), g.IntN(5) == 0
	if many { // and no rule to break
		several = 40
		owner = func() string { return "n" + strconv.Itoa(g.IntN(16)) }
	}
	for range several {
		ttl, typ := pick("60", "60", "0"), pick("TXT", "TXT", "A", "CNAME", "MX")
		if many {
			typ = "TXT"
		} else if g.IntN(40) == 0 {
			typ = pick("NS", "SOA")
		}
		data := map[string]string{
			"TXT": pick("x", "y", "z"), "A": pick("192.0.2.1", "192.0.2.2"), "CNAME": pick("a.example.", "b.example."), "MX": pick("1 a.", "1 b."),
			"NS": "ns.example.", "SOA": "a. b. 1 2 3 4 5",
		}[typ]
		if c.Op != record.Delete {
			expires := pick("", "", "+7", "+9")
			c.Records = append(c.Records, lines(t, owner()+" "+ttl+expires+" "+typ+" "+data)...)
			continue
		}
		if g.IntN(2) == 0 {
			ttl = "*"
		}
		if g.IntN(3) == 0 {
			data = "*"
		}
		if g.IntN(4) == 0 {
			typ = "*"
		}
		c.Matches = append(c.Matches, matches(t, owner()+" "+ttl+" "+typ+" "+data)...)
	}
	return c
}

// model carries a change out on plain lists. ok is false where a rule is broken.
func model(z *zone, c record.Change) (after, answer []string, ok bool) {
	records := slices.Clone(z.records)
	answered := []record.Record{}
	for _, m := range c.Matches {
		if m.Type == record.TypeSOA || m.Type != 0 && z.Made(m.Name, m.Type) {
			return nil, nil, false
		}
		var kept []record.Record
		for _, r := range records {
			if m.Matches(r) && !z.Made(r.Name, r.Type) {
				answered = append(answered, r)
			} else {
				kept = append(kept, r)
			}
		}
		records = kept
	}
	if c.Op == record.Set {
		for _, r := range c.Records {
			records = slices.DeleteFunc(records, func(old record.Record) bool { return old.Name == r.Name && old.Type == r.Type })
		}
	}
	for _, r := range c.Records {
		if r.Type == record.TypeSOA || z.Made(r.Name, r.Type) {
			return nil, nil, false
		}
		i := slices.IndexFunc(records, r.Same)
		switch {
		case i < 0:
			records = append(records, r)
			i = len(records) - 1
		case c.Op == record.Set:
			continue
		case r.Expires == 0 || records[i].Expires != 0 && r.Expires > records[i].Expires:
			records[i].Expires = r.Expires
		}
		answered = append(answered, records[i])
	}
	for _, r := range records {
		if r.Type == record.TypeCNAME && slices.ContainsFunc(records, func(other record.Record) bool { return other.Name == r.Name && other != r }) {
			return nil, nil, false
		}
	}
	result := &zone{z.apex, records}
	return result.stored(), sorted(asLines(answered)), true
}

func BenchmarkPlan(b *testing.B) {
	z := newZone(b)
	one := record.Change{Op: record.Append, Records: lines(b, "a 60 TXT x")}
	var thousand record.Change
	thousand.Op = record.Append
	for i := range 1000 {
		thousand.Records = append(thousand.Records, lines(b, "n"+strconv.Itoa(i)+" 60 TXT x")...)
	}
	slices.SortFunc(thousand.Records, func(a, b record.Record) int { return cmp.Compare(a.Name, b.Name) })
	for title, change := range map[string]record.Change{"one record": one, "a thousand names": thousand} {
		b.Run(title, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := record.Plan(z, change); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
