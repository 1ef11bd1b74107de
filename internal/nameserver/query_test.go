package nameserver

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"regexp"
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
		"soa-like 60 RP text.example.org. other.example.org.",
		"old 60 MB www.example.org.",
		"old 60 MB x.old.example.org.",
		"old 60 MD www.example.org.",
		"old 60 MF www.example.org.",
		"old 60 MG www.example.org.",
		"old 60 MR www.example.org.",
		"old 60 MINFO www.example.org. x.www.example.org.",
		"old 60 MINFO x.www.example.org. old.example.org.",
		"old 60 AFSDB 1 x.old.example.org.",
		"old 60 RT 1 x.old.example.org.",
		"old 60 KX 1 x.old.example.org.",
		"old 60 PX 1 x.old.example.org. y.x.old.example.org.",
		`old 60 URI 1 1 "https://old.example.org"`,
		`svcb 60 NULL \# 4 01c00cff`,
		"mixedttl 60 MX 1 www.example.org.",
		"mixedttl 10 MX 2 x.www.example.org.",
		"mixedttl 30 MX 3 x.www.example.org.",
	)
	apply(t, s, zone, appending(rrs(t, zone, lines...)...))
	return s
}

// alike are the hosts of which all are asked for like the first ones.
var alike = regexp.MustCompile(`^(mail|ns)([2-9]|1\d)$`)

// corpus yields queries: each name of the zones, its neighbours and what is below,
// in both letter cases, for many types, with and without EDNS.
func corpus(t testing.TB, s *Server, yield func([]byte)) {
	t.Helper()
	names := []string{".", "org.", "example.net.", "wwwexample.org."}
	for zone := range *s.zones.Load() {
		for r := range snapshot(t, s, zone).Records(zone) {
			if !alike.MatchString(r.Name.FirstLabel()) {
				names = append(names, r.Name.String())
			}
		}
	}
	slices.Sort(names)
	names = slices.Compact(names)
	types := []uint16{dns.TypeA, dns.TypeAAAA, dns.TypeNS, dns.TypeSOA, dns.TypeCNAME, dns.TypeMX, dns.TypeTXT, dns.TypeCAA, dns.TypeSRV,
		dns.TypeHTTPS, dns.TypeSVCB, dns.TypeDS, dns.TypePTR, dns.TypeDNAME, dns.TypeANY, dns.TypeTLSA, dns.TypeNAPTR, dns.TypeAXFR, dns.TypeOPT, 0, 65280,
		dns.TypeMB, dns.TypeMD, dns.TypeMF, dns.TypeMG, dns.TypeMR, dns.TypeMINFO, dns.TypeAFSDB, dns.TypeRT, dns.TypeKX, dns.TypePX, dns.TypeRP,
		dns.TypeURI, dns.TypeHINFO, dns.TypeNULL}
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
				few := variants // of them all at one name, and for the others those that differ in length
				if qname != known {
					few = variants[:3]
				}
				for _, change := range few {
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

// TestWriterIsAsLibrary compares all answers byte for byte with those that the
// library packs.
func TestWriterIsAsLibrary(t *testing.T) {
	t.Parallel()
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
				got = overTCP(r, query)
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
		unknown := func(o *dns.OPT) { o.Option = append(o.Option, &dns.EDNS0_LOCAL{Code: 65001}) }
		for _, change := range []func(*dns.Msg){func(*dns.Msg) {}, edns(1232), edns(1232, unknown)} {
			query := packed(t, question(q.qname, q.qtype, change))
			if n := testing.AllocsPerRun(100, func() { r.answer(v, query, buf) }); n != 0 {
				t.Errorf("%s %s: %v allocations", q.qname, dns.TypeToString[q.qtype], n)
			}
			if n := testing.AllocsPerRun(100, func() { overTCP(r, query) }); n != 0 {
				t.Errorf("%s %s over TCP: %v allocations", q.qname, dns.TypeToString[q.qtype], n)
			}
		}
	}
}

// What is stored is answered byte for byte, whatever the library takes it for, and
// over UDP and TCP alike.
func TestStoredDataIsAnswered(t *testing.T) {
	zone := zoneConfig(t, "example.org")
	s := serving(t, zone)
	tests := []struct {
		name  string
		qtype uint16
		data  string
	}{
		{"caa", dns.TypeCAA, "\x00\x05issueca.test; x=\\065"},
		{"uri", dns.TypeURI, "\x00\x01\x00\x01https://a.test/\\065\\"},
		{"emptytxt", dns.TypeTXT, "\x00"},
		{"uppermx", dns.TypeMX, "\x00\x01\x01A\x04TEST\x00"},
		{"halfname", dns.TypeCNAME, "\x05ab"},
		{"pointer", dns.TypeNS + 3, "\xc0\x0c"},
		{"longname", dns.TypePTR, "\x01a\x04test\x00more"},
		{"shortsoa", dns.TypeMINFO, "\x01a\x07example\x03org\x00\x05ab"},
		{"shortmx", dns.TypeMX, "\x00"},
		{"type", 262, "\x01\x02\x03"},
	}
	for _, test := range tests {
		owner := name(t, test.name+".example.org")
		apply(t, s, zone.Name, appending(record.Record{Name: owner, Type: record.Type(test.qtype), TTL: 60, Data: test.data}))
		for _, udp := range []bool{true, false} {
			query := packed(t, question(owner.String(), test.qtype))
			answer := exchangePacked(s, query, udp)
			want := "\xc0\x0c" + string(binary.BigEndian.AppendUint16(nil, test.qtype)) + "\x00\x01\x00\x00\x00\x3c" +
				string(binary.BigEndian.AppendUint16(nil, uint16(len(test.data)))) + test.data
			if got := string(answer[len(query):]); got != want {
				t.Errorf("%s, UDP %v: the answer is %q, want %q", test.name, udp, got, want)
			}
		}
	}
}

// Names are compressed as the library does it, however many there are, and on both
// sides of the last offset that a pointer can have.
func TestCompressionOfManyNames(t *testing.T) {
	for seed := range uint64(12) {
		zone := zoneConfig(t, "example.org")
		s := serving(t, zone)
		random := rand.New(rand.NewPCG(seed, 0))
		many := record.Change{Op: record.Append}
		target := zone.Name
		for i := range 1200 {
			if len(target) > 60+int(seed)*15 || random.IntN(3) == 0 {
				target = zone.Name[random.IntN(2)*8:] // example.org or org
			}
			for range 1 + random.IntN(4) {
				child, err := target.Child(string("abcdefgh"[random.IntN(2+int(seed)/2)]) + strings.Repeat("x", random.IntN(2)))
				if err != nil {
					t.Fatal(err)
				}
				target = child
			}
			data := string(binary.BigEndian.AppendUint16(nil, uint16(i))) + string(target)
			many.Records = append(many.Records, record.Record{Name: zone.Name, Type: record.Type(dns.TypeMX), TTL: 60, Data: data})
			if len(many.Records) == 500 && seed%2 == 0 {
				break
			}
		}
		for len(many.Records) > 0 {
			if _, err := s.Apply(t.Context(), zone.Name, many); err == nil {
				break
			}
			many.Records = many.Records[:len(many.Records)-50] // too much for one answer
		}
		query := packed(t, question("example.org.", dns.TypeMX))
		got, want := exchangePacked(s, query, false), handler{server: s}.answer(query)
		if !bytes.Equal(got, want) {
			t.Errorf("seed %d: %d records in %d bytes, by the library in %d", seed, len(many.Records), len(got), len(want))
		}
		if len(got) < 2000 {
			t.Errorf("seed %d: %d bytes", seed, len(got))
		}
	}
}

// Messages that are no queries, or not well made, say so themselves; of what a query
// has beside its question, only the OPT record counts.
func TestUnusualMessages(t *testing.T) {
	s := questionServer(t)
	const asked = "\x04tExt\x07example\x03org\x00\x00\x10\x00\x01"
	const opt = "\x00\x00\x29\x04\xd0\x00\x00\x00\x00\x00\x00"
	const hip = "\xc0\x0c\x00\x37\x00\x01\x00\x00\x00\x00\x00\x08\x01\x02\x00\x01xx\xc0\x0c" // in which names must not be compressed
	type seen struct {
		Flags    uint16
		Sections [4]uint16
	}
	found, rejected, repeated := seen{0x8400, [4]uint16{1, 1}}, seen{0x8001, [4]uint16{}}, seen{0x8001, [4]uint16{1}}
	tests := []struct {
		name   string
		header string // after the ID
		rest   string
		want   seen
	}{
		{"a question", "\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00", asked, found},
		{"bytes after it", "\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00", asked + "more", found},
		{"a record that is not looked at", "\x00\x00\x00\x01\x00\x01\x00\x00\x00\x00", asked + hip, found},
		{"half of it", "\x00\x00\x00\x01\x00\x00\x00\x01\x00\x00", asked + hip[:len(hip)-1], repeated},
		{"a record more announced", "\x00\x00\x00\x01\x00\x01\x00\x01\x00\x00", asked + hip, repeated},
		{"a record of half a name", "\x00\x00\x00\x01\x00\x01\x00\x00\x00\x00", asked + "\xc0", repeated},
		{"a record of an old label type", "\x00\x00\x00\x01\x00\x01\x00\x00\x00\x00", asked + "\x41" + hip, repeated},
		{"an OPT record after others", "\x00\x00\x00\x01\x00\x01\x00\x00\x00\x01", asked + hip + opt, seen{0x8400, [4]uint16{1, 1, 0, 1}}},
		{"an OPT record in the answer", "\x00\x00\x00\x01\x00\x01\x00\x00\x00\x00", asked + opt, found},
		{"an OPT record by a pointer to the root", "\x00\x00\x00\x01\x00\x00\x00\x00\x00\x01", asked + "\xc0\x1d" + opt[1:], seen{0x8001, [4]uint16{1, 0, 0, 1}}},
		{"half an option", "\x00\x00\x00\x01\x00\x00\x00\x00\x00\x01", asked + opt[:9] + "\x00\x03\x00\x0a\x00", repeated},
		{"an option that we do not read (RFC 7871)", "\x00\x00\x00\x01\x00\x00\x00\x00\x00\x01", asked + opt[:9] + "\x00\x05\x00\x08\x00\x01x",
			seen{0x8400, [4]uint16{1, 1, 0, 1}}},
		{"a compressed question", "\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00", "\x04text\xc0\x04\x00\x10\x00\x01", rejected},
		{"a name without an end", "\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00", "\x04text", rejected},
		{"no question", "\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00", "", rejected},
		{"NOTIFY", "\x20\x00\x00\x01\x00\x00\x00\x00\x00\x00", asked, seen{0xa004, [4]uint16{}}},
	}
	for _, test := range tests {
		for _, udp := range []bool{true, false} {
			answer := exchangePacked(s, []byte("id"+test.header+test.rest), udp)
			if len(answer) < headerLen {
				t.Errorf("%s, UDP %v: answer %q", test.name, udp, answer)
				continue
			}
			got := seen{Flags: binary.BigEndian.Uint16(answer[2:])}
			for i := range got.Sections {
				got.Sections[i] = binary.BigEndian.Uint16(answer[4+2*i:])
			}
			if got != test.want {
				t.Errorf("%s, UDP %v: %x, want %x (%x)", test.name, udp, got, test.want, answer)
			}
			if err := new(dns.Msg).Unpack(answer); err != nil {
				t.Errorf("%s, UDP %v: %v (%x)", test.name, udp, err, answer)
			}
		}
	}
}

// What was looked up once can be built into the same answer any number of times.
func TestAnswersAreBuiltTwice(t *testing.T) {
	t.Parallel()
	s, questions := costliest(t, allCostly...)
	r := &responder{server: s}
	for _, limit := range []int{dns.MinMsgSize, maxUDPSize, dns.MaxMsgSize} {
		for _, asked := range questions {
			q, ok := r.parse(asked.message)
			if !ok || q.rcode != dns.RcodeSuccess {
				continue
			}
			q.limit = limit
			r.lookup.find(s.view.Load(), q.name, q.typ)
			first := r.write(&q, asked.message, nil)
			if second := r.write(&q, asked.message, nil); string(second) != string(first) {
				t.Errorf("%s: within %d bytes, first\n%.800s\nthen\n%.800s", asked.name, limit, unpacked(first), unpacked(second))
			}
		}
	}
}
