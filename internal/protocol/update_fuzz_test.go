package protocol

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"

	"github.com/caddy-dns/bestdns/internal/api"
	"github.com/caddy-dns/bestdns/internal/hosting"
	"github.com/caddy-dns/bestdns/internal/record"
)

// meaning is an update in a form that can be compared.
type meaning struct {
	Zone          record.Name
	Order         []record.Op
	Records       []record.Record
	Matches       []record.Record // of what is deleted; without data where all of a type or of a name is
	Prerequisites []record.Prerequisite
}

func meaningOf(t testing.TB, c hosting.Change) meaning {
	t.Helper()
	m := meaning{Zone: c.Zone, Order: c.Order, Records: c.Records, Prerequisites: c.Prerequisites}
	for _, match := range c.Matches {
		r, whole := match.Record()
		if !whole {
			r = record.Record{Name: match.Name, Type: match.Type}
		}
		if match.TTL != nil || match.Own || !whole && match.Data != nil {
			t.Errorf("an update deletes by more than name, type and data: %+v", match)
		}
		m.Matches = append(m.Matches, r)
	}
	return m
}

// message writes an update anew.
func (m meaning) message(t testing.TB) []byte {
	t.Helper()
	one := func(name record.Name, typ record.Type, class uint16, ttl uint32, data string) dns.RR {
		if typ == 0 {
			typ = record.Type(dns.TypeANY)
		}
		return rrOf(name.String(), class, uint16(typ), ttl, data)
	}
	out := new(dns.Msg)
	out.SetUpdate(m.Zone.String())
	for _, q := range m.Prerequisites {
		class := uint16(dns.ClassANY)
		if !q.Exists {
			class = dns.ClassNONE
		}
		if q.Data == nil {
			out.Answer = append(out.Answer, one(q.Name, q.Type, class, 0, ""))
		}
		for _, data := range q.Data {
			out.Answer = append(out.Answer, one(q.Name, q.Type, dns.ClassINET, 0, data))
		}
	}
	records, matches := m.Records, m.Matches
	for _, op := range m.Order {
		if op == record.Append {
			out.Ns = append(out.Ns, one(records[0].Name, records[0].Type, dns.ClassINET, records[0].TTL, records[0].Data))
			records = records[1:]
			continue
		}
		class := uint16(dns.ClassANY)
		if matches[0].Data != "" {
			class = dns.ClassNONE
		}
		out.Ns = append(out.Ns, one(matches[0].Name, matches[0].Type, class, 0, matches[0].Data))
		matches = matches[1:]
	}
	message, err := out.Pack()
	if err != nil {
		t.Fatalf("%+v: %v", m, err)
	}
	return message
}

// FuzzReadUpdate reads any message. What it reads is in the zone, and means the same when it is
// written anew.
func FuzzReadUpdate(f *testing.F) {
	add := func(change func(*dns.Msg)) {
		m := new(dns.Msg)
		m.SetUpdate("example.org.")
		m.Id = 7
		change(m)
		message, err := m.Pack()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(message)
	}
	read := func(line string) dns.RR {
		r, err := dns.NewRR(line)
		if err != nil {
			f.Fatal(err)
		}
		return r
	}
	value := read(`_acme-challenge.example.org. 60 TXT "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"`)
	other := read("www.example.org. 300 A 192.0.2.1")
	add(func(m *dns.Msg) { m.Insert([]dns.RR{value, other}) })
	add(func(m *dns.Msg) { m.Remove([]dns.RR{value, other}) })
	add(func(m *dns.Msg) { m.RemoveRRset([]dns.RR{value}); m.Insert([]dns.RR{value}) })
	add(func(m *dns.Msg) { m.RemoveName([]dns.RR{other}); m.Compress = true })
	add(func(m *dns.Msg) { m.Used([]dns.RR{value, other}); m.Insert([]dns.RR{other}) })
	add(func(m *dns.Msg) { m.NameUsed([]dns.RR{value}); m.RRsetNotUsed([]dns.RR{other}) })
	add(func(m *dns.Msg) { m.NameNotUsed([]dns.RR{value}); m.RRsetUsed([]dns.RR{other}) })
	for _, line := range []string{
		`a.example.org. 60 CAA 0 issue "ca.example\\;x"`, `a.example.org. 60 SVCB 1 b.example.org. alpn="h2" port="53"`, "a.example.org. 60 MX 10 B.example.org.",
		`a.example.org. 60 TYPE65280 \# 2 0102`, "a.example.org. 60 DNAME b.", `\000\255.example.org. 60 URI 1 1 "a\\b"`, `a.example.org. 4294967295 TXT "" "a"`, "example.org. 60 SOA a. b. 1 2 3 4 5", "other. 60 A 192.0.2.1",
	} {
		add(func(m *dns.Msg) { m.Insert([]dns.RR{read(line)}); m.SetEdns0(1232, false) })
		add(func(m *dns.Msg) { m.Remove([]dns.RR{read(line)}); m.Used([]dns.RR{read(line)}) })
	}
	f.Fuzz(func(t *testing.T, message []byte) {
		c, err := ReadUpdate(message)
		var of *UpdateError
		if err != nil {
			if !errors.As(err, &of) || of.Rcode == dns.RcodeSuccess {
				t.Fatalf("error %v", err)
			}
			return
		}
		if c.Op != record.Update || c.Zone == "" || len(c.Doubled) > 0 || len(c.Order) != len(c.Records)+len(c.Matches) || len(c.Order)+len(c.Prerequisites) > api.MaxRecords {
			t.Fatalf("read %+v", c)
		}
		for name := range c.Names {
			if !name.In(c.Zone) {
				t.Errorf("%q is not in %q", name, c.Zone)
			}
		}
		if c.Invalid != nil && (c.Invalid.Err == nil || !c.Invalid.Owner.In(c.Zone) || len(c.Invalid.Rest) == 0) {
			t.Errorf("invalid: %+v", c.Invalid)
		}
		want := meaningOf(t, c)
		again, err := ReadUpdate(want.message(t))
		if err != nil {
			t.Fatalf("%+v cannot be read again: %v", want, err)
		}
		if diff := cmp.Diff(want, meaningOf(t, again)); diff != "" || again.Invalid != nil {
			t.Errorf("%v (-want +got):\n%s", again.Invalid, diff)
		}
	})
}
