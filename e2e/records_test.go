package e2e

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/libdns/libdns"
	"github.com/miekg/dns"

	"github.com/caddy-dns/bestdns"
)

// What the suite of libdns leaves out.

// method is one of the three that change a zone.
type method func(*bestdns.Provider, context.Context, string, []libdns.Record) ([]libdns.Record, error)

var (
	appends method = (*bestdns.Provider).AppendRecords
	sets    method = (*bestdns.Provider).SetRecords
	deletes method = (*bestdns.Provider).DeleteRecords
)

// step is one call and what comes of it.
type step struct {
	do   method
	zone string // of the call; empty: the subject's
	recs []libdns.Record
	// want is the answer: nil means recs as they were given.
	want []libdns.Record
	// refused is the status of an error that leaves the zone as it was, unless changes is set.
	refused int
	changes bool
	// left are the records that the zone has afterwards.
	left []libdns.Record
	// serves are TXT records that DNS answers besides, by name relative to the zone.
	serves map[string]string
}

// recordRow is a case of the table: steps in a zone that is empty before and is
// emptied after them.
type recordRow struct {
	name  string
	steps []step
	// atKnot are the steps there where they differ.
	atKnot []step
	// onPrimary are those on a primary of others, and onPowerDNS on PowerDNS.
	onPrimary, onPowerDNS []step
	// challenge puts the row in the zone that is a challenge name.
	challenge bool
}

// none is an answer without records.
var none = []libdns.Record{}

func list(recs ...libdns.Record) []libdns.Record { return recs }

func txt(name, text string) libdns.Record {
	return libdns.TXT{Name: name, TTL: time.Minute, Text: text}
}

func addr(name, ip string) libdns.Record {
	return libdns.Address{Name: name, TTL: time.Minute, IP: netip.MustParseAddr(ip)}
}

func mx(name string, preference uint16, target string) libdns.Record {
	return libdns.MX{Name: name, TTL: time.Minute, Preference: preference, Target: target}
}

func cname(name, target string) libdns.Record {
	return libdns.CNAME{Name: name, TTL: time.Minute, Target: target}
}

func rr(name, typ, data string) libdns.Record {
	return libdns.RR{Name: name, TTL: time.Minute, Type: typ, Data: data}
}

// any describes what is at a name, as far as it is given.
func anyOf(name, typ, data string) libdns.Record { return libdns.RR{Name: name, Type: typ, Data: data} }

// unprocessable is the status for a record that is invalid, or not for that zone.
const unprocessable = http.StatusUnprocessableEntity

func TestLibdnsRecords(t *testing.T) {
	t.Parallel()
	for _, s := range subjects(t) {
		t.Run(s.Name, func(t *testing.T) {
			for _, row := range recordRows(s) {
				t.Run(row.name, func(t *testing.T) { s.run(t, row) })
			}
		})
	}
}

func (s Subject) run(t *testing.T, row recordRow) {
	zone, made, steps := s.Zone, s.Made, row.steps
	if row.challenge {
		zone, made = s.Challenge, s.ChallengeMade
	}
	switch {
	case s.AtKnot && row.atKnot != nil:
		steps = row.atKnot
	case s.PowerDNS && row.onPowerDNS != nil:
		steps = row.onPowerDNS
	case s.OnPrimary && row.onPrimary != nil:
		steps = row.onPrimary
	}
	s.assertRecords(t, zone, made, nil)
	defer func() {
		s.empty(t, zone)
		s.assertRecords(t, zone, made, nil)
	}()
	for i, step := range steps {
		asked := step.zone
		if asked == "" {
			asked = zone
		}
		got, err := step.do(s.Service, t.Context(), asked, step.recs)
		if step.refused != 0 {
			var refused *bestdns.Error
			if !errors.As(err, &refused) || refused.Status != step.refused || !refused.Unchanged && !step.changes {
				t.Fatalf("step %d: got %v and the error %#v, want status %d and an unchanged zone", i, got, err, step.refused)
			}
		} else if err != nil {
			t.Fatalf("step %d: %v", i, err)
		} else {
			want := step.want
			if want == nil {
				want = step.recs
			}
			if diff := cmp.Diff(lines(want), lines(got)); diff != "" {
				t.Errorf("step %d: the answer (-want +got):\n%s", i, diff)
			}
		}
		s.assertRecords(t, zone, made, step.left)
		for name, text := range step.serves {
			q := dns.Question{Name: name + "." + zone, Qtype: dns.TypeTXT, Qclass: dns.ClassINET}
			want := rrsets(t, zone, list(txt(name, text)))
			if got := ask(t, s.DNS, q); !sameRRset(want[q], got) {
				t.Errorf("step %d: DNS has %v at %s, and should have %q", i, got, name, text)
			}
		}
		if t.Failed() {
			t.Fatalf("in step %d", i)
		}
	}
}

// empty takes out of the zone whatever a test has put there, as it comes out of
// GetRecords.
func (s Subject) empty(t *testing.T, zone string) {
	t.Helper()
	recs, err := s.Service.GetRecords(t.Context(), zone)
	if err != nil {
		t.Fatal(err)
	}
	recs = slices.DeleteFunc(recs, func(rec libdns.Record) bool {
		r := rec.RR()
		return slices.Contains(s.Made, r.Name+" "+r.Type)
	})
	if _, err := s.Service.DeleteRecords(t.Context(), zone, recs); err != nil {
		t.Fatal(err)
	}
}

func recordRows(s Subject) []recordRow {
	zone := s.Zone
	bare := strings.TrimSuffix(zone, ".")
	https := libdns.ServiceBinding{
		Scheme: "https", Name: "svc", TTL: time.Minute, Priority: 1, Target: ".",
		Params: libdns.SvcParams{
			"alpn": {"h2", "h3"}, "port": {"8443"}, "ipv4hint": {"192.0.2.1", "192.0.2.2"},
			"ipv6hint": {"2001:db8::1"}, "ech": {"AEX+DQBBpQAgACB/"}, "mandatory": {"alpn", "port"},
		},
	}
	odd := list(
		rr("odd", "TYPE65280", `\# 3 ABCDEF`),
		rr("odd", "SVCB", "1 . alpn=h2"), // libdns needs a scheme for it
		rr("odd", "SRV", "1 2 3 target.example."),
		rr("odd", "LOC", "52 22 23.000 N 4 53 32.000 E -2.00m 1.00m 10000.00m 10.00m"),
		rr("odd", "SSHFP", "4 2 123456789abcdef67890123456789abcdef67890123456789abcdef123456789"),
	)
	oddBack := list(
		rr("odd", "TYPE65280", `\# 3 abcdef`),
		rr("odd", "SVCB", `1 . alpn="h2"`),
		libdns.SRV{Name: "odd", TTL: time.Minute, Priority: 1, Weight: 2, Port: 3, Target: "target.example."},
		rr("odd", "LOC", "52 22 23.000 N 04 53 32.000 E -2m 1m 10000m 10m"),
		rr("odd", "SSHFP", "4 2 123456789ABCDEF67890123456789ABCDEF67890123456789ABCDEF123456789"),
	)
	good := list(txt("odd", "a good one"), addr("good", "192.0.2.1"))

	apex := list(
		addr("@", "192.0.2.1"), addr("@", "2001:db8::1"), txt("@", "v=spf1 -all"), mx("@", 10, "mail.example."),
		libdns.CAA{Name: "@", TTL: time.Minute, Tag: "issue", Value: "ca.example"},
		libdns.ServiceBinding{Scheme: "https", Name: "@", TTL: time.Minute, Priority: 1, Target: ".", Params: libdns.SvcParams{"alpn": {"h3"}}},
	)
	several := list(addr("many", "192.0.2.1"), addr("many", "192.0.2.2"), addr("many", "192.0.2.3"))
	mixed := list(txt("del", "one"), txt("del", "two"), addr("del", "192.0.2.1"), mx("del", 5, "mail.example."))
	neighbours := list(txt("sub.del", "one"), txt("xdel", "one"))
	before := list(addr("a", "192.0.2.1"), addr("a", "192.0.2.2"), txt("a", "kept"), txt("b", "old"), cname("c", "old.example."))
	after := list(addr("a", "192.0.2.3"), txt("b", "new"), txt("b", "newer"), cname("c", "new.example."), mx("d", 1, "mail.example."))
	texts := list(
		txt("len", strings.Repeat("a", 255)), txt("len", strings.Repeat("b", 256)),
		txt("len", strings.Repeat("c", 510)), txt("len", strings.Repeat("0123456789", 200)),
	)
	bytes := list(
		txt("bytes", `"quoted" and \ and \097`), txt("bytes", "semi;colon (and) more "),
		txt("bytes", "Grüße, 世界"), txt("bytes", "not UTF-8: \xff\x00\x7f"), txt("bytes", "line\nbreak"),
	)

	return []recordRow{
		{
			name: "records at the apex",
			steps: []step{
				{do: appends, recs: apex, left: apex},
				{do: deletes, recs: list(anyOf("@", "A", "")), want: apex[:1], left: apex[1:]},
				{do: sets, recs: list(txt("@", "v=spf1 mx -all")), left: append(list(txt("@", "v=spf1 mx -all"), apex[1]), apex[3:]...)},
				// By name alone: all but SOA and NS, which no delete takes.
				{do: deletes, recs: list(anyOf("@", "", "")), want: append(list(txt("@", "v=spf1 mx -all"), apex[1]), apex[3:]...)},
			},
		},
		{
			name: "wildcards as owner names",
			steps: []step{
				{do: appends, recs: list(txt("*", "any"), txt("*.deep", "any below"), txt("x.deep", "x")),
					left:   list(txt("*", "any"), txt("*.deep", "any below"), txt("x.deep", "x")),
					serves: map[string]string{"other": "any", "y.deep": "any below"}},
				// A "*" is a label and no pattern.
				{do: deletes, recs: list(anyOf("*.deep", "", "")), want: list(txt("*.deep", "any below")),
					left: list(txt("*", "any"), txt("x.deep", "x")), serves: map[string]string{"other": "any"}},
				{do: deletes, recs: list(anyOf("*", "TXT", "")), want: list(txt("*", "any")), left: list(txt("x.deep", "x"))},
			},
		},
		{
			name: "names with escapes",
			// PowerDNS does not serve all of the characters that names may have.
			onPowerDNS: []step{
				{do: appends, recs: list(txt(`a\.b.esc`, "a dot"), txt(`a.b.esc`, "two labels")),
					left: list(txt(`a\.b.esc`, "a dot"), txt(`a.b.esc`, "two labels"))},
				{do: deletes, recs: list(anyOf(`a\046b.esc`, "TXT", "")), want: list(txt(`a\.b.esc`, "a dot")),
					left: list(txt(`a.b.esc`, "two labels"))},
			},
			steps: []step{
				{do: appends, recs: list(txt(`a\.b.esc`, "a dot"), txt(`a.b.esc`, "two labels"), txt(`\097\032\;\(\034\\.esc`, "odd ones")),
					want: list(txt(`a\.b.esc`, "a dot"), txt(`a.b.esc`, "two labels"), txt(`a\032\;\(\"\\.esc`, "odd ones")),
					left: list(txt(`a\.b.esc`, "a dot"), txt(`a.b.esc`, "two labels"), txt(`a\032\;\(\"\\.esc`, "odd ones"))},
				{do: deletes, recs: list(anyOf(`a\046b.esc`, "TXT", "")), want: list(txt(`a\.b.esc`, "a dot")),
					left: list(txt(`a.b.esc`, "two labels"), txt(`a\032\;\(\"\\.esc`, "odd ones"))},
			},
			atKnot: []step{
				{do: appends, recs: list(txt(`a\.b.esc`, "a dot")), refused: unprocessable},
				{do: appends, recs: list(txt("esc", "good"), txt(`x\032TXT\032y\059`, "z")), refused: unprocessable},
				{do: deletes, recs: list(anyOf(`a\.b.esc`, "", "")), refused: unprocessable},
				{do: appends, recs: list(txt(`\097.esc`, "an escape too many")), want: list(txt("a.esc", "an escape too many")),
					left: list(txt("a.esc", "an escape too many"))},
			},
		},
		{
			name: "names in upper case",
			steps: []step{
				{do: appends, recs: list(txt("Upper.CASE", "Text Keeps Its Case"), cname("C", "Target.EXAMPLE.")),
					want: list(txt("upper.case", "Text Keeps Its Case"), cname("c", "target.example.")),
					left: list(txt("upper.case", "Text Keeps Its Case"), cname("c", "target.example."))},
				{do: appends, recs: list(txt("uPPER.cASE", "Text Keeps Its Case")), want: list(txt("upper.case", "Text Keeps Its Case")),
					left: list(txt("upper.case", "Text Keeps Its Case"), cname("c", "target.example."))},
				{do: sets, recs: list(txt("UPPER.CASE", "text keeps its case")), want: list(txt("upper.case", "text keeps its case")),
					left: list(txt("upper.case", "text keeps its case"), cname("c", "target.example."))},
				{do: deletes, recs: list(txt("Upper.Case", "text keeps its case"), cname("C", "TARGET.example.")),
					want: list(txt("upper.case", "text keeps its case"), cname("c", "target.example."))},
			},
		},
		{
			name: "absolute names",
			steps: []step{
				{do: appends, recs: list(txt("abs."+zone, "one"), txt(zone, "at the apex")), want: list(txt("abs", "one"), txt("@", "at the apex")),
					left: list(txt("abs", "one"), txt("@", "at the apex"))},
				{do: sets, recs: list(txt("ABS."+zone, "two")), want: list(txt("abs", "two")), left: list(txt("abs", "two"), txt("@", "at the apex"))},
				{do: deletes, recs: list(anyOf("abs."+zone, "", ""), anyOf(zone, "TXT", "")), want: list(txt("abs", "two"), txt("@", "at the apex"))},
				// Without its final dot, it would be a name below the zone's own.
				{do: appends, recs: list(txt("abs."+bare, "one")), refused: http.StatusUnprocessableEntity},
				{do: appends, recs: list(txt("abs.elsewhere.invalid.", "one")), refused: http.StatusNotFound},
			},
		},
		{
			name: "several values at a name",
			steps: []step{
				{do: appends, recs: several[:2], left: several[:2]},
				{do: appends, recs: several[1:], left: several}, // one is there already
				{do: appends, recs: append(several[:1:1], several[0]), left: several},
				{do: deletes, recs: several[1:2], left: list(several[0], several[2])},
				{do: sets, recs: several[1:], left: several[1:]},
			},
			// An update has each record once, and so has the answer.
			onPrimary: []step{
				{do: appends, recs: several[:2], left: several[:2]},
				{do: appends, recs: several[1:], left: several},
				{do: appends, recs: append(several[:1:1], several[0]), want: several[:1], left: several},
				{do: deletes, recs: several[1:2], left: list(several[0], several[2])},
				{do: sets, recs: several[1:], left: several[1:]},
			},
		},
		{
			name: "deletion by name alone",
			steps: []step{
				{do: appends, recs: append(mixed[:4:4], neighbours...), left: append(mixed[:4:4], neighbours...)},
				{do: deletes, recs: list(anyOf("del", "", "")), want: mixed, left: neighbours},
				{do: deletes, recs: list(anyOf("del", "", "")), want: none, left: neighbours},
			},
		},
		{
			name: "deletion by name and type",
			steps: []step{
				{do: appends, recs: append(mixed[:4:4], neighbours...), left: append(mixed[:4:4], neighbours...)},
				{do: deletes, recs: list(anyOf("del", "TXT", "")), want: mixed[:2], left: append(mixed[2:4:4], neighbours...)},
				{do: deletes, recs: list(libdns.Address{Name: "del"}), want: mixed[2:3], left: append(mixed[3:4:4], neighbours...)},
				{do: deletes, recs: list(libdns.MX{Name: "del"}), want: mixed[3:], left: neighbours},
			},
		},
		{
			name: "deletion by name and value",
			steps: []step{
				{do: appends, recs: mixed, left: mixed},
				{do: deletes, recs: list(anyOf("del", "", "two")), want: mixed[1:2], left: list(mixed[0], mixed[2], mixed[3])},
				{do: deletes, recs: list(anyOf("del", "", "192.0.2.1")), want: mixed[2:3], left: list(mixed[0], mixed[3])},
			},
		},
		{
			name: "deletion with another TTL",
			steps: []step{
				{do: appends, recs: mixed, left: mixed},
				{do: deletes, recs: list(libdns.TXT{Name: "del", TTL: time.Hour, Text: "one"}), want: none, left: mixed},
				{do: deletes, recs: list(libdns.RR{Name: "del", TTL: time.Hour}), want: none, left: mixed},
				{do: deletes, recs: list(libdns.RR{Name: "del", TTL: time.Minute, Type: "TXT"}), want: mixed[:2], left: mixed[2:]},
				{do: deletes, recs: list(libdns.RR{Name: "del", Type: "A", Data: "192.0.2.1"}), want: mixed[2:3], left: mixed[3:]},
			},
			// A whole record is handed on as it is, and an update deletes whatever TTL
			// the record has (RFC 2136 §2.5.4).
			atKnot: []step{
				{do: appends, recs: mixed, left: mixed},
				{do: deletes, recs: list(libdns.TXT{Name: "del", TTL: time.Hour, Text: "one"}), left: mixed[1:]},
				{do: deletes, recs: list(libdns.RR{Name: "del", TTL: time.Hour}), want: none, left: mixed[1:]},
				{do: deletes, recs: list(libdns.RR{Name: "del", TTL: time.Minute, Type: "TXT"}), want: mixed[1:2], left: mixed[2:]},
				{do: deletes, recs: list(libdns.RR{Name: "del", Type: "A", Data: "192.0.2.1"}), want: mixed[2:3], left: mixed[3:]},
			},
			// The same, but that it is known what was there.
			onPrimary: []step{
				{do: appends, recs: mixed, left: mixed},
				{do: deletes, recs: list(libdns.TXT{Name: "del", TTL: time.Hour, Text: "one"}), want: mixed[:1], left: mixed[1:]},
				{do: deletes, recs: list(libdns.RR{Name: "del", TTL: time.Hour}), want: none, left: mixed[1:]},
				{do: deletes, recs: list(libdns.RR{Name: "del", TTL: time.Minute, Type: "TXT"}), want: mixed[1:2], left: mixed[2:]},
				{do: deletes, recs: list(libdns.RR{Name: "del", Type: "A", Data: "192.0.2.1"}), want: mixed[2:3], left: mixed[3:]},
			},
		},
		{
			name: "deletion of one of two values",
			steps: []step{
				{do: appends, recs: mixed[:2], left: mixed[:2]},
				{do: deletes, recs: mixed[:1], left: mixed[1:2]},
				{do: deletes, recs: mixed[:1], want: none, left: mixed[1:2]},
			},
			// The provider does not look what was there.
			atKnot: []step{
				{do: appends, recs: mixed[:2], left: mixed[:2]},
				{do: deletes, recs: mixed[:1], left: mixed[1:2]},
				{do: deletes, recs: mixed[:1], left: mixed[1:2]},
			},
		},
		{
			name: "set of several RRsets at once",
			steps: []step{
				{do: appends, recs: before, left: before},
				{do: sets, recs: after, left: append(after[:5:5], before[2])},
				{do: sets, recs: after, left: append(after[:5:5], before[2])},
			},
		},
		{
			name: "set of several RRsets, one of which is not valid",
			steps: []step{
				{do: appends, recs: before, left: before},
				{do: sets, recs: append(after[:5:5], rr("e", "A", "192.0.2.256")), refused: unprocessable, left: before},
				{do: sets, recs: append(after[:5:5], rr("@", "SOA", "a. b. 1 2 3 4 5")), refused: unprocessable, left: before},
			},
		},
		{
			name: "set of several RRsets, one of which breaks a rule",
			steps: []step{
				{do: appends, recs: before, left: before},
				{do: sets, recs: list(txt("b", "new"), cname("a", "other.example.")), refused: http.StatusConflict, left: before},
				{do: appends, recs: list(txt("new", "new"), cname("c", "second.example.")), refused: http.StatusConflict, left: before},
			},
			// A server leaves out silently what an update may not add (RFC 2136 §3.4.2.2),
			// and the provider reports what it sent.
			atKnot: []step{
				{do: appends, recs: before, left: before},
				{do: sets, recs: list(txt("b", "new"), cname("a", "other.example.")), left: list(before[0], before[1], before[2], txt("b", "new"), before[4])},
				{do: appends, recs: list(txt("new", "new"), cname("c", "second.example.")), left: list(before[0], before[1], before[2], txt("b", "new"), cname("c", "second.example."), txt("new", "new"))},
			},
			// PowerDNS refuses all of an update.
			onPowerDNS: []step{
				{do: appends, recs: before, left: before},
				{do: sets, recs: list(txt("b", "new"), cname("a", "other.example.")), refused: http.StatusConflict, left: before},
				{do: appends, recs: list(txt("new", "new"), txt("c", "beside a CNAME")), refused: http.StatusConflict, left: before},
			},
			// What the server leaves out is found, and what was appended is taken back. What a
			// set has replaced is gone.
			onPrimary: []step{
				{do: appends, recs: before, left: before},
				{do: sets, recs: list(txt("b", "new"), cname("a", "other.example.")), refused: http.StatusConflict, changes: true,
					left: list(before[0], before[1], before[2], txt("b", "new"), before[4])},
				{do: appends, recs: list(txt("new", "new"), txt("c", "beside a CNAME")), refused: http.StatusConflict,
					left: list(before[0], before[1], before[2], txt("b", "new"), before[4])},
			},
		},
		{
			name: "parameters of HTTPS in any order",
			steps: []step{
				{do: appends, recs: list(rr("svc", "HTTPS", `1 . port=8443 ech="AEX+DQBBpQAgACB/" alpn=h2,h3 mandatory=port,alpn ipv6hint=2001:db8:0::1 ipv4hint=192.0.2.1,192.0.2.2`)),
					want: list(https), left: list(https)},
				{do: appends, recs: list(https), left: list(https)},
				{do: deletes, recs: list(rr("svc", "HTTPS", `1 . ipv6hint=2001:db8::1 mandatory=alpn,port ipv4hint=192.0.2.1,192.0.2.2 alpn="h2,h3" ech=AEX+DQBBpQAgACB/ port=8443`)),
					want: list(https)},
			},
		},
		{
			name: "texts of more than 255 octets",
			steps: []step{
				{do: appends, recs: texts, left: texts},
				{do: appends, recs: texts[1:2], left: texts},
				{do: deletes, recs: texts[1:3], left: list(texts[0], texts[3])},
				{do: deletes, recs: list(txt("len", strings.Repeat("a", 254)+"b")), want: none, left: list(texts[0], texts[3])},
				{do: sets, recs: texts[2:3], left: texts[2:3]},
			},
			atKnot: []step{
				{do: appends, recs: texts, left: texts},
				{do: appends, recs: texts[1:2], left: texts},
				{do: deletes, recs: texts[1:3], left: list(texts[0], texts[3])},
				{do: sets, recs: texts[2:3], left: texts[2:3]},
			},
		},
		{
			name: "texts of any bytes",
			steps: []step{
				{do: appends, recs: bytes, left: bytes},
				{do: appends, recs: bytes, left: bytes},
				{do: deletes, recs: bytes[:2], left: bytes[2:]},
				{do: deletes, recs: bytes[3:4], left: list(bytes[2], bytes[4])},
			},
			atKnot: []step{
				{do: appends, recs: bytes[:1], refused: unprocessable},
				{do: appends, recs: bytes[1:2], left: bytes[1:2]},
				{do: appends, recs: bytes[2:3], refused: unprocessable, left: bytes[1:2]},
				{do: appends, recs: bytes[3:4], refused: unprocessable, left: bytes[1:2]},
				{do: appends, recs: bytes[4:5], refused: unprocessable, left: bytes[1:2]},
			},
		},
		{
			name: "an empty text",
			steps: []step{
				{do: appends, recs: list(txt("empty", ""), txt("empty", "text")), left: list(txt("empty", ""), txt("empty", "text"))},
				// In a delete, it is any text.
				{do: deletes, recs: list(txt("empty", "")), want: list(txt("empty", ""), txt("empty", "text"))},
			},
			atKnot: []step{
				{do: appends, recs: list(txt("empty", "text")), left: list(txt("empty", "text"))},
				{do: appends, recs: list(txt("empty", "")), refused: unprocessable, left: list(txt("empty", "text"))},
				{do: sets, recs: list(txt("empty", "")), refused: unprocessable, left: list(txt("empty", "text"))},
				{do: deletes, recs: list(txt("empty", "")), want: list(txt("empty", "text"))},
			},
		},
		{
			name:      "a zone that is a challenge name",
			challenge: true,
			steps:     challengeSteps(s.Challenge),
		},
		{
			name: "records that libdns cannot parse beside good ones",
			steps: []step{
				{do: appends, recs: append(good[:2:2], odd...), want: append(good[:2:2], oddBack...), left: append(good[:2:2], oddBack...)},
				{do: deletes, recs: odd[:3], want: oddBack[:3], left: append(good[:2:2], oddBack[3:]...)},
				{do: deletes, recs: oddBack[3:], left: good},
			},
			// PowerDNS takes no type that it does not know.
			onPowerDNS: []step{
				{do: appends, recs: append(good[:2:2], odd[1:]...), want: append(good[:2:2], oddBack[1:]...), left: append(good[:2:2], oddBack[1:]...)},
				{do: deletes, recs: odd[1:3], want: oddBack[1:3], left: append(good[:2:2], oddBack[3:]...)},
				{do: deletes, recs: oddBack[3:], left: good},
			},
			// What the provider could not read again would keep it from reading the zone.
			atKnot: []step{
				{do: appends, recs: append(good[:2:2], odd[0]), refused: unprocessable},
				{do: appends, recs: append(good[:2:2], odd[1]), refused: unprocessable},
				{do: appends, recs: append(good[:2:2], odd[2]), refused: unprocessable},
				{do: appends, recs: append(good[:2:2], odd[3]), refused: unprocessable},
				{do: appends, recs: good, left: good},
			},
		},
		{
			name: "ProviderData of another provider",
			steps: []step{
				{do: appends, recs: list(libdns.TXT{Name: "pd", TTL: time.Minute, Text: "one", ProviderData: 17}, txt("pd", "two")),
					want: list(txt("pd", "one"), txt("pd", "two")), left: list(txt("pd", "one"), txt("pd", "two"))},
				{do: deletes, recs: list(libdns.TXT{Name: "pd", TTL: time.Minute, Text: "two", ProviderData: struct{ ID string }{"of another process"}}),
					want: list(txt("pd", "two")), left: list(txt("pd", "one"))},
				{do: deletes, recs: list(libdns.TXT{Name: "pd", TTL: time.Minute, Text: "one", ProviderData: make(chan int)}), want: list(txt("pd", "one"))},
			},
		},
		{
			name: "the zone without its dot and in upper case",
			steps: []step{
				{do: appends, zone: bare, recs: list(txt("dot", "one")), left: list(txt("dot", "one"))},
				{do: appends, zone: strings.ToUpper(zone), recs: list(txt("dot", "one")), left: list(txt("dot", "one"))},
				{do: sets, zone: strings.ToUpper(bare), recs: list(txt("dot", "two")), left: list(txt("dot", "two"))},
				{do: deletes, zone: bare, recs: list(txt("dot", "two"))},
			},
		},
		{
			name: "a zone guessed too high or too deep",
			steps: []step{
				{do: appends, zone: "example.", recs: list(txt("guess."+strings.TrimSuffix(bare, ".example"), "one")), left: list(txt("guess", "one"))},
				{do: appends, zone: "deep.guess." + zone, recs: list(txt("@", "two")), left: list(txt("guess", "one"), txt("deep.guess", "two"))},
				{do: deletes, zone: "guess." + zone, recs: list(anyOf("@", "", ""), anyOf("deep", "", "")), want: list(txt("@", "one"), txt("deep", "two"))},
			},
		},
		{
			name: "no records",
			steps: []step{
				{do: appends, recs: none}, {do: sets, recs: nil}, {do: deletes, recs: none},
			},
		},
	}
}

// challengeSteps come from the ways in which clients find the zone: by SOA, or
// by cutting names.
func challengeSteps(zone string) []step {
	domain := strings.TrimPrefix(zone, "_acme-challenge.")
	parent := strings.TrimPrefix(domain, "www.")
	value := func(n int) string { return strings.Repeat(fmt.Sprint(n), 43) }
	all := list(txt("@", value(1)), txt("@", value(2)), txt("@", value(3)))
	return []step{
		{do: appends, recs: all[:1], left: all[:1]},
		{do: appends, zone: domain, recs: list(txt("_acme-challenge", value(2))), left: all[:2]},
		{do: appends, zone: parent, recs: list(txt("_acme-challenge.www", value(3))), left: all},
		{do: deletes, zone: parent, recs: list(txt("_acme-challenge.www", value(1))), left: all[1:]},
		{do: deletes, zone: domain, recs: list(txt("_acme-challenge", value(3))), left: all[1:2]},
		{do: deletes, zone: zone, recs: list(txt(zone, value(2))), want: all[1:2]},
	}
}
