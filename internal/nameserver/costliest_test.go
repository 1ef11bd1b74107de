package nameserver

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"github.com/caddy-dns/bestdns/internal/record"
	"github.com/caddy-dns/bestdns/internal/tsig"
)

// costlyQuestion is a message that costs as much as one can, in a zone to which clients
// may have added what they like.
type costlyQuestion struct {
	name    string
	message []byte
}

// allCostly are the costliest zones that we know of.
var allCostly = []func(*costlyZones){
	(*costlyZones).manyTargets, (*costlyZones).manyNameServers, (*costlyZones).deepNames, (*costlyZones).chains,
	(*costlyZones).largeSets, (*costlyZones).alikeSuffixes, (*costlyZones).oddMessages,
}

// costliest returns a server with costly zones, and what to ask.
func costliest(t testing.TB, zones ...func(*costlyZones)) (*Server, []costlyQuestion) {
	t.Helper()
	d := &costlyZones{t: t, server: open(t, storePath(t))}
	for _, add := range zones {
		add(d)
	}
	serve(t, d.server, d.zones...)
	for i, zone := range d.zones {
		apply(t, d.server, zone.Name, appending(d.records[i]...))
	}
	return d.server, d.questions
}

type costlyZones struct {
	t         testing.TB
	server    *Server
	zones     []ZoneConfig
	records   [][]record.Record // by zone
	questions []costlyQuestion
}

// zone begins a zone.
func (d *costlyZones) zone(name string) record.Name {
	zone := zoneConfig(d.t, name, "ns1.elsewhere.test")
	d.zones = append(d.zones, zone)
	d.records = append(d.records, nil)
	return zone.Name
}

func (d *costlyZones) add(owner record.Name, t uint16, ttl uint32, data string) {
	last := len(d.records) - 1
	d.records[last] = append(d.records[last], record.Record{Name: owner, Type: record.Type(t), TTL: ttl, Data: data})
}

func (d *costlyZones) ask(name string, qname record.Name, qtype uint16) {
	opt := func(options ...dns.EDNS0) func(*dns.Msg) {
		return edns(maxUDPSize, func(o *dns.OPT) { o.Option = options })
	}
	for _, variant := range []struct {
		name string
		opt  func(*dns.Msg)
	}{
		{"", opt()},
		{", unknown option", opt(&dns.EDNS0_LOCAL{Code: 65001, Data: []byte("x")})},
	} {
		d.questions = append(d.questions, costlyQuestion{name + variant.name, packed(d.t, question(qname.String(), qtype, variant.opt))})
	}
}

// below returns a name of that many labels of one byte below another, the one next
// to it being as given.
func (d *costlyZones) below(parent record.Name, next string, labels int) record.Name {
	n, err := parent.Child(next)
	for range labels - 1 {
		if err == nil {
			n, err = n.Child("\x00") // which makes keys long
		}
	}
	if err != nil {
		d.t.Fatal(err)
	}
	return n
}

// deepest returns how many labels of one byte there is room for below a name and a
// label of so many bytes.
func deepest(parent record.Name, next int) int { return 1 + (maxName-len(parent)-next-1)/2 }

const fourOctets, sixteenOctets = "\xc0\x00\x02\x01", "\x20\x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01"

// before is what precedes the target in the data of a type.
var before = map[uint16]string{dns.TypeNS: "", dns.TypeMX: "\x00\x01", dns.TypeSRV: "\x00\x01\x00\x01\x00\x01", dns.TypeHTTPS: "\x00\x01"}

// manyTargets has RRsets of 1,800 records with targets below a wildcard, and of as many
// as an answer over UDP has room for.
func (d *costlyZones) manyTargets() {
	zone := d.zone("t.test")
	wild := d.below(zone, "*", 1)
	d.add(wild, dns.TypeA, 60, fourOctets)
	d.add(wild, dns.TypeAAAA, 60, sixteenOctets)
	d.add(d.below(wild, "below", 2), dns.TypeA, 60, fourOctets)
	for t, data := range before {
		for _, n := range []int{20, 1800} {
			owner := d.below(zone, fmt.Sprintf("%s%d", strings.ToLower(dns.TypeToString[t]), n), 1)
			for i := range n {
				d.add(owner, t, 60, data+string(d.below(zone, fmt.Sprintf("x%04d", i), 1)))
			}
			d.ask(fmt.Sprintf("%d %s below a wildcard", n, dns.TypeToString[t]), owner, t)
		}
	}
}

// manyNameServers has delegations to name servers within.
func (d *costlyZones) manyNameServers() {
	zone := d.zone("servers.test")
	for _, n := range []int{30, 1000} {
		cut := d.below(zone, fmt.Sprintf("cut%d", n), 1)
		for i := range n {
			server := d.below(cut, fmt.Sprintf("ns%d", i), 1)
			d.add(cut, dns.TypeNS, 60, string(server))
			d.add(server, dns.TypeA, 60, fourOctets)
			d.add(server, dns.TypeAAAA, 60, sixteenOctets)
		}
		d.ask(fmt.Sprintf("%d name servers with glue", n), d.below(cut, "www", 1), dns.TypeA)
	}
}

// cuts delegates a name at each depth below a zone, none of which is above another.
func (d *costlyZones) cuts(zone record.Name) {
	for labels := 1; labels <= deepest(zone, 5); labels++ {
		d.add(d.below(zone, fmt.Sprintf("c%04d", labels), labels), dns.TypeNS, 60, "\x02ns\x09elsewhere\x04test\x00")
	}
}

// deepNames has names of as many labels as can be, in zones with cuts at each depth.
func (d *costlyZones) deepNames() {
	zone := d.zone("d.test")
	d.cuts(zone)
	d.add(d.below(zone, "*", 1), dns.TypeTXT, 60, "\x01x")
	d.add(d.below(d.below(zone, "*", 1), "below", 1), dns.TypeTXT, 60, "\x01x")
	d.ask("a deep name, cuts at each depth", d.below(zone, "x", deepest(zone, 1)), dns.TypeTXT)
	d.ask("a deep name, cuts at each depth, other type", d.below(zone, "x", deepest(zone, 1)), dns.TypeA)
	for t, data := range before {
		owner := d.below(zone, strings.ToLower(dns.TypeToString[t]), 1)
		for i := range 13 {
			target := d.below(zone, fmt.Sprintf("t%04d", i), deepest(zone, 5))
			d.add(owner, t, 60, data+string(target))
			d.add(target, dns.TypeA, 60, fourOctets)
		}
		d.ask(fmt.Sprintf("13 deep targets of %s, cuts at each depth", dns.TypeToString[t]), owner, t)
	}
}

// chains has CNAMEs from one deep name to the next.
func (d *costlyZones) chains() {
	for _, kind := range []string{"exact", "wild", "cuts"} {
		zone := d.zone(kind[:1] + ".test")
		if kind == "cuts" {
			d.cuts(zone)
		}
		labels := deepest(zone, 3)
		name := func(i int) record.Name { return d.below(zone, fmt.Sprintf("%c%02d", 'l', i), labels) }
		for i := range 20 {
			owner := name(i)
			if kind == "wild" {
				owner = d.below(d.below(zone, fmt.Sprintf("l%02d", i), 1), "*", 1)
				d.add(d.below(owner, "below", 2), dns.TypeTXT, 60, "\x01x")
			}
			d.add(owner, dns.TypeCNAME, 60, string(name(i+1)))
		}
		d.ask("a chain of deep names, "+kind, name(0), dns.TypeTXT)
	}
}

// largeSets has RRsets of as much as an answer can carry.
func (d *costlyZones) largeSets() {
	zone := d.zone("large.test")
	const room = 65000
	owner := d.below(zone, "empty", 1)
	for i := range room / 14 {
		d.add(owner, 262, uint32(100_000-i), string(binary.BigEndian.AppendUint16(nil, uint16(i))))
	}
	d.ask("64 kB of TYPE262, other TTLs", owner, 262)

	owner = d.below(zone, "text", 1)
	for i := range 250 {
		d.add(owner, dns.TypeTXT, 60, "\xf0"+fmt.Sprintf("%0240d", i))
	}
	d.ask("64 kB of TXT", owner, dns.TypeTXT)

	owner = d.below(zone, "types", 1)
	for i := range 2000 {
		d.add(owner, uint16(1000+i), 60, "x")
	}
	d.ask("2,000 types", owner, 2999)

	mx, https := d.below(zone, "mx", 1), d.below(zone, "https", 1)
	for i := range 13 {
		target := d.below(zone, fmt.Sprintf("mail%d", i), 1)
		d.add(mx, dns.TypeMX, 60, before[dns.TypeMX]+string(target))
		for n := range room / 16 {
			d.add(target, dns.TypeA, 60, string(binary.BigEndian.AppendUint32(nil, uint32(n))))
		}
		target = d.below(zone, fmt.Sprintf("svc%d", i), 1)
		d.add(https, dns.TypeHTTPS, 60, before[dns.TypeHTTPS]+string(target))
		for n := range room / 15 { // none fits, by little
			d.add(target, dns.TypeHTTPS, 60, string(binary.BigEndian.AppendUint16(nil, uint16(n)))+"\x00")
		}
	}
	d.ask("13 targets with 64 kB of addresses", mx, dns.TypeMX)
	d.ask("13 targets with 64 kB of HTTPS", https, dns.TypeHTTPS)
}

// alikeSuffixes has names that are hard to compress.
func (d *costlyZones) alikeSuffixes() {
	zone := d.zone("s.test")
	deep, same, many := d.below(zone, "deep", 1), d.below(zone, "same", 1), d.below(zone, "many", 1)
	for i := range 235 {
		d.add(deep, dns.TypeMX, 60, before[dns.TypeMX]+string(d.below(zone, fmt.Sprintf("%03d", i), deepest(zone, 3))))
	}
	d.ask("deep names that differ next to the zone", deep, dns.TypeMX)
	for i := range 235 {
		d.add(same, dns.TypeMX, 60, string(binary.BigEndian.AppendUint16(nil, uint16(i)))+string(d.below(zone, "x", deepest(zone, 1))))
	}
	d.ask("the same deep name again and again", same, dns.TypeMX)
	for i := range 1900 {
		d.add(many, dns.TypeMX, 60, before[dns.TypeMX]+string(d.below(zone, fmt.Sprintf("%04d", i), 4)))
	}
	d.ask("8,000 suffixes", many, dns.TypeMX)
	d.ask("deep names, asked by one", d.below(zone, "nope", deepest(zone, 4)), dns.TypeMX)
}

// oddMessages asks in as many words as there is room for.
func (d *costlyZones) oddMessages() {
	zone := d.zone("odd.test")
	owner := d.below(zone, "x", deepest(zone, 1))
	d.add(owner, dns.TypeTXT, 60, "\x01x")
	ask := func(name string, more []byte, additional int) {
		m := packed(d.t, question(owner.String(), dns.TypeTXT))
		binary.BigEndian.PutUint16(m[10:], uint16(additional))
		d.questions = append(d.questions, costlyQuestion{name, append(m, more...)})
	}
	record := func(owner string, t uint16, data []byte) []byte {
		b := binary.BigEndian.AppendUint16([]byte(owner), t)
		b = append(b, "\x04\xd0\x00\x00\x00\x00"...)
		return append(binary.BigEndian.AppendUint16(b, uint16(len(data))), data...)
	}
	const room = maxQuery - headerLen - maxName - 4 - 20
	ask("4 kB of options", record("\x00", dns.TypeOPT, []byte(strings.Repeat("\xfd\xe9\x00\x00", room/4))), 1)
	ask("4 kB of pointers", record("\x00", dns.TypeHIP, append([]byte("\x01\x02\x00\x01xx"), strings.Repeat("\xc0\x0c", room/2-3)...)), 1)
	ask("4 kB of records", []byte(strings.Repeat(string(record("\xc0\x0c", 1000, nil)), room/12)), room/12)
	ask("4 kB of roots", []byte(strings.Repeat(string(record("\x00", dns.TypeOPT, nil)), room/11)), room/11)
}

// transports are the ways of a message to its answer.
var transports = []struct {
	name   string
	answer func(r *responder, message, buf []byte) []byte
}{
	{"UDP", func(r *responder, message, buf []byte) []byte { return r.answer(r.server.view.Load(), message, buf) }},
	{"TCP", func(r *responder, message, _ []byte) []byte { return overTCP(r, message) }},
}

// BenchmarkCostliestQuestions is how long the costliest questions take that we know of. None
// may take more than 100 µs over UDP, or 1 ms for each 64 kB of answer over TCP.
func BenchmarkCostliestQuestions(b *testing.B) {
	s, questions := costliest(b, allCostly...)
	for _, transport := range transports {
		for _, q := range questions {
			b.Run(transport.name+"/"+q.name, func(b *testing.B) {
				r, buf := &responder{server: s}, make([]byte, 0, writerBuffer)
				size := 0
				for b.Loop() {
					size = len(transport.answer(r, q.message, buf))
				}
				b.ReportMetric(float64(size), "bytes")
			})
		}
	}
	b.Run("UDP/IXFR of all that is remembered", func(b *testing.B) {
		zone := zoneConfig(b, "example.org")
		zone.Transfers = transfers(b, tsig.Key{}, secondaryPort)
		s := serving(b, zone)
		first := snapshot(b, s, zone.Name).serial
		for i := range mostHistoryOfZone / 340 { // nearly as many as are remembered
			apply(b, s, zone.Name, record.Change{Op: record.Set, Records: []record.Record{challengeAt(zone.Name, i)}})
		}
		c := client{server: s, from: secondaryAddress}
		request, _ := c.request(b, zone.Name, dns.TypeIXFR, first)
		r, buf := &responder{server: s, from: netip.MustParseAddr(c.from)}, make([]byte, 0, writerBuffer)
		b.ReportAllocs()
		for b.Loop() {
			r.answer(s.view.Load(), request, buf)
		}
		z := (*s.zones.Load())[zone.Name]
		if _, _, bytes, ok := z.since(first, 0); !ok || bytes < mostHistoryOfZone/2 {
			b.Errorf("%d bytes are remembered since then", bytes)
		}
		b.ReportMetric(float64(len(z.history.pasts)), "remembered")
	})
}

// No question is more work than it may be, is answered otherwise than the library would
// from the same look-ups, or has memory allocated.
func TestCostliestQuestions(t *testing.T) {
	s, questions := costliest(t, allCostly...)
	r, buf := &responder{server: s}, make([]byte, 0, writerBuffer)
	for _, transport := range transports {
		udp, limit := transport.name == "UDP", dns.MaxMsgSize
		if udp {
			limit = maxUDPSize
		}
		for _, q := range questions {
			t.Run(transport.name+"/"+q.name, func(t *testing.T) {
				answer := transport.answer(r, q.message, buf)
				if len(answer) > limit {
					t.Errorf("%d bytes", len(answer))
				}
				// What is written in vain is seen to be work when it is done.
				if most := maxWork + limit/128; r.lookup.work > most {
					t.Errorf("%d looks, want at most %d", r.lookup.work, most)
				}
				if r.lookup.targets.n > maxTargets {
					t.Errorf("%d targets", r.lookup.targets.n)
				}
				want := handler{server: s, udp: udp}.answer(q.message)
				if string(answer) != string(want) && readsAlike(q.message, answer) {
					t.Errorf("an answer of %d bytes\n%.800s\nby the library of %d\n%.800s", len(answer), unpacked(answer), len(want), unpacked(want))
				}
				if n := testing.AllocsPerRun(3, func() { transport.answer(r, q.message, buf) }); n != 0 {
					t.Errorf("%v allocations", n)
				}
			})
		}
	}
}
