package nameserver

import (
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/miekg/dns"
)

// question returns a query as a client makes it, changed by what is given.
func question(qname string, qtype uint16, change ...func(*dns.Msg)) *dns.Msg {
	m := new(dns.Msg).SetQuestion(qname, qtype)
	for _, c := range change {
		c(m)
	}
	return m
}

// edns adds an OPT record.
func edns(size uint16, change ...func(*dns.OPT)) func(*dns.Msg) {
	return func(m *dns.Msg) {
		opt := &dns.OPT{Hdr: dns.RR_Header{Name: ".", Rrtype: dns.TypeOPT}}
		opt.SetUDPSize(size)
		for _, c := range change {
			c(opt)
		}
		m.Extra = append(m.Extra, opt)
	}
}

func TestEDNS(t *testing.T) {
	s := questionServer(t)
	type seen struct {
		Rcode   string
		OPT     bool
		UDPSize uint16
		Do      bool
		Options int
		AA      bool
	}
	good := seen{Rcode: "NOERROR", AA: true}
	goodEDNS := seen{Rcode: "NOERROR", OPT: true, UDPSize: 1232, AA: true}
	withDo := goodEDNS
	withDo.Do = true
	tests := []struct {
		name   string
		change []func(*dns.Msg)
		want   seen
	}{
		{"none", nil, good},
		{"some", []func(*dns.Msg){edns(4096)}, goodEDNS},
		{"DO", []func(*dns.Msg){edns(4096, func(o *dns.OPT) { o.SetDo() })}, withDo},
		{"unknown option", []func(*dns.Msg){edns(4096, func(o *dns.OPT) { o.Option = append(o.Option, &dns.EDNS0_LOCAL{Code: 65001, Data: []byte("x")}) })}, goodEDNS},
		{"cookie", []func(*dns.Msg){edns(4096, func(o *dns.OPT) {
			o.Option = append(o.Option, &dns.EDNS0_COOKIE{Code: dns.EDNS0COOKIE, Cookie: "0123456789abcdef"})
		})}, goodEDNS},
		{"version 1 (RFC 6891 §6.1.3)", []func(*dns.Msg){edns(4096, func(o *dns.OPT) { o.SetVersion(1) })}, seen{Rcode: "BADVERS", OPT: true, UDPSize: 1232}},
		{"two of them (RFC 6891 §6.1.1)", []func(*dns.Msg){edns(4096), edns(4096)}, seen{Rcode: "FORMERR", OPT: true, UDPSize: 1232}},
	}
	for _, test := range tests {
		for _, udp := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, UDP %v", test.name, udp), func(t *testing.T) {
				m := exchange(t, s, question("text.example.org.", dns.TypeTXT, test.change...), udp)
				got := seen{Rcode: dns.RcodeToString[m.Rcode], AA: m.Authoritative}
				if m.Rcode == dns.RcodeBadVers {
					got.Rcode = "BADVERS" // the library's table has BADSIG there
				}
				if opt := m.IsEdns0(); opt != nil {
					got.OPT, got.UDPSize, got.Do, got.Options = true, opt.UDPSize(), opt.Do(), len(opt.Option)
					if opt.Version() != 0 {
						t.Errorf("version %d in the answer", opt.Version())
					}
				}
				if diff := cmp.Diff(test.want, got); diff != "" {
					t.Errorf("answer (-want +got):\n%s", diff)
				}
			})
		}
	}
}

func TestMessages(t *testing.T) {
	s := questionServer(t)
	class := func(c uint16) func(*dns.Msg) { return func(m *dns.Msg) { m.Question[0].Qclass = c } }
	tests := []struct {
		name string
		q    *dns.Msg
		want string
	}{
		{"no question", question("a.", 1, func(m *dns.Msg) { m.Question = nil }), "FORMERR"},
		{"two questions", question("www.example.org.", 1, func(m *dns.Msg) { m.Question = append(m.Question, m.Question[0]) }), "FORMERR"},
		{"class CH", question("version.bind.", dns.TypeTXT, class(dns.ClassCHAOS)), "REFUSED"},
		{"class CH of a name in the zone", question("text.example.org.", dns.TypeTXT, class(dns.ClassCHAOS)), "REFUSED"},
		{"class ANY", question("text.example.org.", dns.TypeTXT, class(dns.ClassANY)), "REFUSED"},
		{"records where there should be none", question("text.example.org.", dns.TypeTXT, func(m *dns.Msg) {
			m.Answer = append(m.Answer, &dns.A{Hdr: dns.RR_Header{Name: ".", Rrtype: 1, Class: 1}, A: []byte{1, 2, 3, 4}})
		}), "NOERROR"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			m := exchange(t, s, test.q, true)
			if got := dns.RcodeToString[m.Rcode]; got != test.want || m.Id != test.q.Id || !m.Response {
				t.Errorf("got %s, want %s: %v", got, test.want, m)
			}
		})
	}
}

// The header is the client's where it has to be, and ours where it says something
// about us.
func TestHeader(t *testing.T) {
	s := questionServer(t)
	q := question("text.example.org.", dns.TypeTXT)
	q.MsgHdr = dns.MsgHdr{Id: 4711, RecursionDesired: true, CheckingDisabled: true,
		Authoritative: true, Truncated: true, RecursionAvailable: true, Zero: true, AuthenticatedData: true, Rcode: dns.RcodeServerFailure}
	want := dns.MsgHdr{Id: 4711, Response: true, Authoritative: true, RecursionDesired: true, CheckingDisabled: true}
	if diff := cmp.Diff(want, exchange(t, s, q, true).MsgHdr); diff != "" {
		t.Errorf("header (-want +got):\n%s", diff)
	}
}

// Too large answers are cut where an RRset ends (RFC 2181 §9).
func TestTruncation(t *testing.T) {
	zone := zoneConfig(t, "example.org")
	s := serving(t, zone)
	text := func(n int) string { return strings.Repeat("x", n) }
	var lines []string
	for i := range 10 {
		lines = append(lines,
			fmt.Sprintf("many 60 TXT %d%s", i, text(90)),
			fmt.Sprintf("more 60 TXT %d%s", i, text(140)),
			fmt.Sprintf("mx 60 MX %d mail%d.example.org.", i, i),
			fmt.Sprintf("mail%d 60 AAAA 2001:db8::%d", i, i),
			fmt.Sprintf("mail%d 60 A 192.0.2.%d", i, i),
			fmt.Sprintf("cut 60 NS ns%d.cut.example.org.", i),
			fmt.Sprintf("ns%d.cut 60 AAAA 2001:db8::%d", i, i),
			fmt.Sprintf("ns%d.cut 60 A 192.0.2.%d", i, i),
			fmt.Sprintf("far 60 NS ns%d.example.net.", i),
		)
	}
	lines = append(lines, "alias 60 CNAME more.example.org.", "fits 60 TXT "+text(400), "huge 60 TXT "+text(30_000), "huge 60 TXT y"+text(30_000))
	apply(t, s, zone.Name, appending(rrs(t, zone.Name, lines...)...))

	type seen struct {
		TC                            bool
		Answer, Authority, Additional int
	}
	tests := []struct {
		name  string
		qname string
		qtype uint16
		udp   bool
		edns  uint16 // 0: no OPT record
		want  seen
	}{
		{"fits without EDNS", "fits", dns.TypeTXT, true, 0, seen{Answer: 1}},
		{"does not fit without EDNS", "many", dns.TypeTXT, true, 0, seen{TC: true}},
		{"does not fit 512", "many", dns.TypeTXT, true, 512, seen{TC: true}},
		{"size below 512 counts as 512", "fits", dns.TypeTXT, true, 10, seen{Answer: 1}},
		{"fits 1232", "many", dns.TypeTXT, true, 1232, seen{Answer: 10}},
		{"does not fit 1232", "more", dns.TypeTXT, true, 1232, seen{TC: true}},
		{"does not fit 1232, whatever the client takes", "more", dns.TypeTXT, true, 4096, seen{TC: true}},
		{"whole over TCP", "more", dns.TypeTXT, false, 0, seen{Answer: 10}},
		{"whole over TCP, whatever EDNS says", "more", dns.TypeTXT, false, 512, seen{Answer: 10}},
		{"60,000 bytes over TCP", "huge", dns.TypeTXT, false, 0, seen{Answer: 2}},
		{"what comes before is kept", "alias", dns.TypeTXT, true, 0, seen{TC: true, Answer: 1}},
		{"addresses that do not fit are not missed", "mx", dns.TypeMX, true, 0, seen{Answer: 10, Additional: 12}},
		{"needed glue that does not fit is", "cut", dns.TypeA, true, 0, seen{TC: true, Authority: 10, Additional: 13}},
		{"needed glue that fits", "cut", dns.TypeA, true, 1232, seen{Authority: 10, Additional: 20}},
		{"a referral without glue", "far", dns.TypeA, true, 0, seen{Authority: 10}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			q := question(test.qname+".example.org.", test.qtype)
			limit := 512
			if test.edns > 0 {
				edns(test.edns)(q)
				limit = min(max(512, int(test.edns)), 1232)
			}
			if !test.udp {
				limit = dns.MaxMsgSize
			}
			m := exchange(t, s, q, test.udp)
			additional := len(m.Extra)
			if m.IsEdns0() != nil {
				additional--
			}
			if diff := cmp.Diff(test.want, seen{m.Truncated, len(m.Answer), len(m.Ns), additional}, cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("answer (-want +got):\n%s", diff)
			}
			packed := exchangePacked(s, packed(t, q), test.udp)
			if len(packed) > limit {
				t.Errorf("%d bytes, %d allowed", len(packed), limit)
			}
			if test.edns > 0 && m.IsEdns0() == nil {
				t.Error("no OPT record")
			}
		})
	}
}

// A bug in answering one message costs that answer, and is logged.
func TestPanicWhileAnswering(t *testing.T) {
	packed, err := question("www.example.org.", dns.TypeA).Pack()
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name   string
		answer func(*Server) []byte
	}{
		{"UDP", func(s *Server) []byte { return (&responder{server: s}).answer(nil, packed, nil) }},
		{"TCP", func(s *Server) []byte { return overTCP(&responder{server: s}, packed) }},
	} {
		t.Run(test.name, func(t *testing.T) {
			var logged strings.Builder
			s := &Server{log: slog.New(slog.NewTextHandler(&logged, nil))} // without a view
			if answer := test.answer(s); answer != nil {
				t.Errorf("an answer: %q", answer)
			}
			if !strings.Contains(logged.String(), "answering a DNS message failed") || !strings.Contains(logged.String(), fmt.Sprintf("%x", packed)) {
				t.Errorf("logged: %q", logged.String())
			}
		})
	}
}
