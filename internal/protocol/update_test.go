package protocol

import (
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"github.com/caddy-dns/bestdns/internal/api"
	"github.com/caddy-dns/bestdns/internal/hosting"
	"github.com/caddy-dns/bestdns/internal/record"
)

// rrOf makes a record with any class, type and data.
func rrOf(owner string, class, typ uint16, ttl uint32, data string) dns.RR {
	return &dns.RFC3597{Hdr: dns.RR_Header{Name: owner, Rrtype: typ, Class: class, Ttl: ttl}, Rdata: hex.EncodeToString([]byte(data))}
}

// updateMessage packs an update of example.org.
func updateMessage(t testing.TB, prerequisites, updates []dns.RR, change ...func(*dns.Msg)) []byte {
	t.Helper()
	m := new(dns.Msg)
	m.SetUpdate("example.org.")
	m.Answer, m.Ns = prerequisites, updates
	for _, f := range change {
		f(m)
	}
	message, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	return message
}

// TestUpdateForms: a prerequisite or an update has one of the forms of RFC 2136, or is an error.
func TestUpdateForms(t *testing.T) {
	const in, none, anyClass, chaos = dns.ClassINET, dns.ClassNONE, dns.ClassANY, dns.ClassCHAOS
	const a, anyType = dns.TypeA, dns.TypeANY
	address := "\xc0\x00\x02\x01"
	for _, test := range []struct {
		class, typ          uint16
		ttl                 uint32
		data                string
		prerequisite, wants string // "" for what is read
	}{
		{in, a, 0, address, "", ""},
		{in, a, 60, address, "FORMERR", ""},
		{in, anyType, 0, "", "FORMERR", "FORMERR"},
		{in, anyType, 60, "", "FORMERR", "FORMERR"},
		{in, 0, 0, "", "FORMERR", "FORMERR"},
		{in, dns.TypeAXFR, 0, "", "FORMERR", "FORMERR"},
		{in, dns.TypeOPT, 0, "", "FORMERR", "FORMERR"},
		{in, a, 1 << 31, address, "FORMERR", "invalid"},
		{in, dns.TypeDNAME, 0, "\x00", "", "invalid"},
		{anyClass, a, 0, "", "", ""},
		{anyClass, anyType, 0, "", "", ""},
		{anyClass, a, 1, "", "FORMERR", "FORMERR"},
		{anyClass, a, 0, address, "FORMERR", "FORMERR"},
		{anyClass, 0, 0, "", "FORMERR", "FORMERR"},
		{anyClass, dns.TypeMAILB, 0, "", "FORMERR", "FORMERR"},
		{none, a, 0, address, "FORMERR", ""},
		{none, a, 0, "", "", "invalid"},
		{none, a, 1, address, "FORMERR", "FORMERR"},
		{none, anyType, 0, "", "", "FORMERR"},
		{none, 0, 0, "", "FORMERR", "FORMERR"},
		{none, 0, 0, "abcd", "FORMERR", "FORMERR"},
		{none, dns.TypeTKEY, 0, "", "FORMERR", "FORMERR"},
		{chaos, a, 0, address, "FORMERR", "FORMERR"},
		{chaos, a, 0, "", "FORMERR", "FORMERR"},
	} {
		rr := rrOf("www.example.org.", test.class, test.typ, test.ttl, test.data)
		for _, prerequisite := range []bool{true, false} {
			want := test.wants
			message := updateMessage(t, nil, []dns.RR{rr})
			if prerequisite {
				want, message = test.prerequisite, updateMessage(t, []dns.RR{rr}, nil)
			}
			c, err := ReadUpdate(message)
			got := ""
			var of *UpdateError
			if errors.As(err, &of) {
				got = dns.RcodeToString[of.Rcode]
			} else if c.Invalid != nil {
				got = "invalid"
			}
			if got != want {
				t.Errorf("prerequisite %t, class %d type %d TTL %d data %q: %q (%v), want %q", prerequisite, test.class, test.typ, test.ttl, test.data, got, err, want)
			}
		}
	}
}

// TestUpdateMessages: what is wrong with a message as such.
func TestUpdateMessages(t *testing.T) {
	add := rrOf("www.example.org.", dns.ClassINET, dns.TypeA, 60, "\xc0\x00\x02\x01")
	elsewhere := rrOf("www.example.net.", dns.ClassINET, dns.TypeA, 0, "\xc0\x00\x02\x01")
	many := make([]dns.RR, api.MaxRecords+1)
	for i := range many {
		many[i] = add
	}
	for _, test := range []struct {
		name    string
		message []byte
		want    int
	}{
		{"an update", updateMessage(t, nil, []dns.RR{add}), dns.RcodeSuccess},
		{"of nothing", updateMessage(t, nil, nil), dns.RcodeSuccess},
		{"as many as may be", updateMessage(t, nil, many[1:]), dns.RcodeSuccess},
		{"one more", updateMessage(t, nil, many), dns.RcodeRefused},
		{"one more prerequisite", updateMessage(t, []dns.RR{rrOf("www.example.org.", dns.ClassANY, dns.TypeA, 0, "")}, many[1:]), dns.RcodeRefused},
		{"two zones", updateMessage(t, nil, nil, func(m *dns.Msg) { m.Question = append(m.Question, m.Question[0]) }), dns.RcodeFormatError},
		{"no zone", updateMessage(t, nil, nil, func(m *dns.Msg) { m.Question = nil }), dns.RcodeFormatError},
		{"a zone of another type", updateMessage(t, nil, nil, func(m *dns.Msg) { m.Question[0].Qtype = dns.TypeANY }), dns.RcodeFormatError},
		{"of another class", updateMessage(t, nil, nil, func(m *dns.Msg) { m.Question[0].Qclass = dns.ClassNONE }), dns.RcodeFormatError},
		{"a name outside of the zone", updateMessage(t, nil, []dns.RR{add, elsewhere}), dns.RcodeNotZone},
		{"a prerequisite outside of it", updateMessage(t, []dns.RR{elsewhere}, nil), dns.RcodeNotZone},
		{"the zone in capitals", updateMessage(t, nil, []dns.RR{add}, func(m *dns.Msg) { m.Question[0].Name = "EXAMPLE.org." }), dns.RcodeSuccess},
		{"cut short", updateMessage(t, nil, []dns.RR{add})[:40], dns.RcodeFormatError},
	} {
		_, err := ReadUpdate(test.message)
		if got := UpdateRcode(err); got != test.want {
			t.Errorf("%s: %s (%v), want %s", test.name, dns.RcodeToString[got], err, dns.RcodeToString[test.want])
		}
	}
}

// TestUpdateNamesWhatIsInvalid: the first record that cannot be read is the one that the change is
// refused for, under its own name, whatever reading it has changed.
func TestUpdateNamesWhatIsInvalid(t *testing.T) {
	good := rrOf("www.example.org.", dns.ClassINET, dns.TypeA, 60, "\xc0\x00\x02\x01")
	for _, bad := range []dns.RR{
		rrOf("bad.example.org.", dns.ClassINET, dns.TypeDNAME, 60, "\x00"),
		rrOf("BAD.example.org.", dns.ClassINET, dns.TypeDNAME, 1<<31, "\x00"),
		rrOf("bad.example.org.", dns.ClassNONE, dns.TypeDNAME, 0, ""),
	} {
		c, err := ReadUpdate(updateMessage(t, nil, []dns.RR{good, bad, good}))
		if err != nil || c.Invalid == nil {
			t.Errorf("%v: %v, %v", bad, c.Invalid, err)
			continue
		}
		if c.Invalid.Owner.String() != "bad.example.org." || c.Invalid.Type != record.Type(dns.TypeDNAME) || len(c.Order) != 1 {
			t.Errorf("%v: %+v", bad, c.Invalid)
		}
		if rest := fmt.Sprint(c.Invalid.Rest); !strings.EqualFold(rest, "[bad.example.org. DNAME www.example.org. A]") {
			t.Errorf("%v: %s", bad, rest)
		}
	}
}

func TestUpdateRcode(t *testing.T) {
	q := func(typ record.Type, exists bool) error {
		return hosting.AsError(&record.PrerequisiteError{Prerequisite: record.Prerequisite{Name: record.Root, Type: typ, Exists: exists}}, record.Root)
	}
	for _, test := range []struct {
		err  error
		want int
	}{
		{nil, dns.RcodeSuccess},
		{q(0, true), dns.RcodeNameError}, {q(0, false), dns.RcodeYXDomain}, {q(record.TypeTXT, true), dns.RcodeNXRrset}, {q(record.TypeTXT, false), dns.RcodeYXRrset},
		{hosting.Errorf(api.ZoneNotFound, "x"), dns.RcodeNotAuth}, {hosting.Errorf(api.Forbidden, "x"), dns.RcodeRefused}, {hosting.Errorf(api.OverLimit, "x"), dns.RcodeRefused},
		{hosting.Errorf(api.InvalidRecord, "x"), dns.RcodeRefused}, {hosting.Errorf(api.Unauthorized, "x"), dns.RcodeRefused}, {hosting.Errorf(api.TooManyRequests, "x"), dns.RcodeRefused},
		{hosting.Errorf(api.Internal, "x"), dns.RcodeServerFailure}, {hosting.Errorf(api.Unavailable, "x"), dns.RcodeServerFailure}, {hosting.Errorf(api.ProviderFailed, "x"), dns.RcodeServerFailure},
		{errors.New("x"), dns.RcodeServerFailure},
	} {
		if got := UpdateRcode(test.err); got != test.want {
			t.Errorf("%v: %s, want %s", test.err, dns.RcodeToString[got], dns.RcodeToString[test.want])
		}
	}
}
