package nameserver

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/caddy-dns/bestdns/internal/record"
	"github.com/miekg/dns"
)

// crowded returns questionServer's zones with RRsets beside that are large, or hold
// names in all the ways in which RDATA can.
func crowded(t testing.TB) *Server {
	t.Helper()
	s := questionServer(t)
	zone := name(t, "example.org")
	text := strings.Repeat("x", 140)
	var lines []string
	for i := range 12 {
		lines = append(lines,
			fmt.Sprintf("manytxt 60 TXT %d%s", i, text),
			fmt.Sprintf("fewtxt 60 TXT %d%s", i, text[:20]),
			fmt.Sprintf("manymx 60 MX %d mail%d.manymx.example.org.", i, i),
			fmt.Sprintf("mail%d.manymx 60 AAAA 2001:db8::%d", i, i),
			fmt.Sprintf("mail%d.manymx 60 A 192.0.2.%d", i, i),
			fmt.Sprintf("manysrv 60 SRV %d 0 1 mail%d.manymx.example.org.", i, i),
			fmt.Sprintf("manyns 60 NS ns%d.manyns.example.org.", i),
			fmt.Sprintf("ns%d.manyns 60 AAAA 2001:db8::%d", i, i),
			fmt.Sprintf("ns%d.manyns 60 A 192.0.2.%d", i, i),
			fmt.Sprintf("far 60 NS ns%d.%s.example.net.", i, strings.Repeat("long", 12)),
		)
	}
	lines = append(lines,
		"tomanytxt 60 CNAME manytxt.example.org.",
		"tofewtxt 60 CNAME fewtxt.example.org.",
		"huge 60 TXT "+strings.Repeat("y", 30_000),
		"tohuge 60 CNAME huge.example.org.",
		"ptr 60 PTR www.example.org.",
		`strange 60 CNAME a\$b\@\"\032\000.example.org.`,
		`a\$b\@\"\032\000 60 MX 10 a\$b\@\"\032\000.example.org.`,
		"tlsa 60 TLSA 3 1 1 00",
		"sshfp 60 SSHFP 1 1 00",
		`svcb 60 SVCB 1 mail0.manymx.example.org. port="53"`,
		"naptr 60 NAPTR 1 1 \"\" \"\" \"\" www.example.org.",
		"hinfo 60 HINFO a b",
		"emptytxt 60 TXT \"\"",
		"soa-like 60 RP hostmaster.example.org. text.example.org.",
	)
	apply(t, s, zone, appending(rrs(t, zone, lines...)...))
	return s
}

// corpus yields queries: each name of the zones, its neighbours and what is below,
// in both letter cases, for many types, with and without EDNS.
func corpus(t testing.TB, s *Server, yield func([]byte)) {
	t.Helper()
	names := []string{".", "org.", "example.net.", "wwwexample.org."}
	for zone := range *s.zones.Load() {
		for r := range snapshot(t, s, zone).Records(zone) {
			names = append(names, r.Name.String())
		}
	}
	slices.Sort(names)
	names = slices.Compact(names)
	types := []uint16{dns.TypeA, dns.TypeAAAA, dns.TypeNS, dns.TypeSOA, dns.TypeCNAME, dns.TypeMX, dns.TypeTXT, dns.TypeCAA, dns.TypeSRV,
		dns.TypeHTTPS, dns.TypeSVCB, dns.TypeDS, dns.TypePTR, dns.TypeDNAME, dns.TypeANY, dns.TypeTLSA, dns.TypeNAPTR, dns.TypeAXFR, dns.TypeOPT, 0, 65280}
	variants := [][]func(*dns.Msg){
		nil,
		{edns(512)},
		{edns(1232, func(o *dns.OPT) { o.SetDo() })},
		{edns(4096, func(o *dns.OPT) {
			o.Option = append(o.Option, &dns.EDNS0_COOKIE{Code: dns.EDNS0COOKIE, Cookie: "0123456789abcdef"})
		})},
		{edns(800, func(o *dns.OPT) {
			o.Option = append(o.Option, &dns.EDNS0_LOCAL{Code: 65001, Data: []byte("x")})
		})},
		{func(m *dns.Msg) { m.RecursionDesired, m.CheckingDisabled = false, true }},
		{func(m *dns.Msg) { m.Truncated, m.Authoritative, m.AuthenticatedData = true, true, true }},
		{edns(1232, func(o *dns.OPT) { o.SetVersion(1) })},
		{func(m *dns.Msg) { m.Question[0].Qclass = dns.ClassCHAOS }},
	}
	random := rand.New(rand.NewPCG(1, 2))
	for _, known := range names {
		for _, qname := range []string{known, mixCase(random, known), "x." + strings.TrimPrefix(known, "."), "a.b.*." + strings.TrimPrefix(known, ".")} {
			for _, qtype := range types {
				for _, change := range variants {
					m := question(qname, qtype, change...)
					packed, err := m.Pack()
					if err != nil {
						continue // too long with what was put before
					}
					yield(packed)
				}
			}
		}
	}
}

func mixCase(random *rand.Rand, s string) string {
	b := []byte(s)
	for i := range b {
		if 'a' <= b[i] && b[i] <= 'z' && random.IntN(2) == 0 {
			b[i] -= 'a' - 'A'
		}
	}
	return string(b)
}

// TestWriterIsAsLibrary compares all answers octet for octet with those that the
// library packs.
func TestWriterIsAsLibrary(t *testing.T) {
	s := crowded(t)
	r := &responder{server: s}
	buf := make([]byte, 0, writerBuffer)
	all, differing := 0, 0
	corpus(t, s, func(query []byte) {
		for _, udp := range []bool{true, false} {
			all++
			var got []byte
			if udp {
				got = r.answer(s.view.Load(), query, buf)
			} else {
				got = r.answerTCP(query)
			}
			if want := (handler{server: s, udp: udp}).answer(query); !bytes.Equal(got, want) && differing < 10 {
				differing++
				t.Errorf("the answer to\n%v\nis\n%v\nand by the library\n%v\n(%x and %x)", unpacked(query), unpacked(got), unpacked(want), got, want)
			}
		}
	})
	if t.Logf("%d queries", all); all < 40_000 {
		t.Errorf("%d queries", all)
	}
}

func unpacked(b []byte) *dns.Msg {
	m := new(dns.Msg)
	_ = m.Unpack(b)
	return m
}

// What resolvers and CAs ask must not cost an allocation.
func TestPlainQueriesAllocateNothing(t *testing.T) {
	s := crowded(t)
	r := &responder{server: s}
	buf := make([]byte, 0, writerBuffer)
	v := s.view.Load()
	for _, q := range []struct {
		qname string
		qtype uint16
	}{
		{"tExt.example.org.", dns.TypeTXT},
		{"example.org.", dns.TypeSOA},
		{"example.org.", dns.TypeNS},
		{"missing.example.org.", dns.TypeTXT},
		{"www.example.org.", dns.TypeCAA},
		{"x.wild.example.org.", dns.TypeTXT},
		{"chain1.example.org.", dns.TypeA},
		{"host.cut.example.org.", dns.TypeA},
		{"manymx.example.org.", dns.TypeMX},
		{"huge.example.org.", dns.TypeTXT},
		{"svc.example.org.", dns.TypeHTTPS},
		{"text.example.org.", dns.TypeANY},
		{"example.net.", dns.TypeA},
	} {
		for _, change := range []func(*dns.Msg){func(*dns.Msg) {}, edns(1232)} {
			query, err := question(q.qname, q.qtype, change).Pack()
			if err != nil {
				t.Fatal(err)
			}
			if n := testing.AllocsPerRun(100, func() { r.answer(v, query, buf) }); n != 0 {
				t.Errorf("%s %s: %v allocations", q.qname, dns.TypeToString[q.qtype], n)
			}
		}
	}
}

// Data in which the names of its type are missing is left to the library.
func TestPlainLeavesUnreadableData(t *testing.T) {
	zone := zoneConfig(t, "example.org")
	s := serving(t, zone)
	owner := name(t, "bad.example.org")
	apply(t, s, zone.Name, appending(record.Record{Name: owner, Type: record.TypeCNAME, TTL: 60, Data: "\x05ab"}))
	query, err := question("bad.example.org.", dns.TypeCNAME).Pack()
	if err != nil {
		t.Fatal(err)
	}
	r := &responder{server: s}
	got := r.answer(s.view.Load(), query, make([]byte, 0, writerBuffer))
	if want := (handler{server: s, udp: true}).answer(query); !bytes.Equal(got, want) {
		t.Errorf("got %x, want %x", got, want)
	}
}
