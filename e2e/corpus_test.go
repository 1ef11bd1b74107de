package e2e

import (
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"github.com/caddy-dns/bestdns/internal/nameserver"
	"github.com/caddy-dns/bestdns/internal/record"
)

// This file makes the zones and the questions by which name servers are compared.

// corpusZone is a zone of the corpus: its configuration, and its records without
// those that come from there.
type corpusZone struct {
	config  nameserver.ZoneConfig
	records []record.Record
}

// corpusTTL is that of the records that configurations make.
const corpusTTL = 60

// corpusZones returns the zones of testdata/zones, and those that are made by
// chance out of a seed: few labels and many kinds of records, so that wildcards,
// cuts, aliases and empty non-terminals meet in ways that no one thought of.
func corpusZones(t testing.TB, seed uint64) []corpusZone {
	t.Helper()
	var zones []corpusZone
	files, err := fs.Glob(os.DirFS("testdata/zones"), "*.zone")
	if err != nil || len(files) == 0 {
		t.Fatalf("looking for zones: %d files, %v", len(files), err)
	}
	for _, file := range files {
		text, err := os.ReadFile(filepath.Join("testdata/zones", file))
		if err != nil {
			t.Fatal(err)
		}
		zones = append(zones, newCorpusZone(t, strings.TrimSuffix(file, ".zone"), string(text)))
	}
	random := rand.New(rand.NewPCG(seed, 0))
	for i := range randomZones {
		name := fmt.Sprintf("r%d.test", i)
		zones = append(zones, newCorpusZone(t, name, randomZone(random, name)))
	}
	return zones
}

// randomZones is the number of zones made by chance.
const randomZones = 2

func newCorpusZone(t testing.TB, zone, masterFile string) corpusZone {
	t.Helper()
	name := func(s string) record.Name {
		n, err := record.ParseName(s)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	z := corpusZone{config: nameserver.ZoneConfig{
		Name: name(zone),
		TTL:  corpusTTL,
		NameServers: []nameserver.NameServer{
			{Name: name("ns1." + zone), Addresses: []netip.Addr{netip.MustParseAddr("192.0.2.53"), netip.MustParseAddr("2001:db8::53")}},
			{Name: name("ns2.elsewhere.example")},
		},
	}}
	var err error
	if z.records, err = record.ReadMasterFile(strings.NewReader(masterFile), zone, z.config.Name, corpusTTL, nil); err != nil {
		t.Fatal(err)
	}
	return z
}

// randomZone makes a master file.
func randomZone(random *rand.Rand, zone string) string {
	pick := func(of ...string) string { return of[random.IntN(len(of))] }
	name := func() string {
		n := zone + "."
		for range 1 + random.IntN(4) {
			n = pick("a", "b", "c", "*", "ns1") + "." + n
		}
		return n
	}
	target := func() string {
		if random.IntN(12) == 0 {
			return pick("www.elsewhere.example.", "www.other.test.", "a.r0.test.", "b.a.r1.test.", "*.r2.test.", zone+".")
		}
		return name()
	}
	var file strings.Builder
	alias, other := make(map[string]bool), make(map[string]bool)
	for range 70 {
		owner := name()
		if owner == "ns1."+zone+"." { // that is the configuration's
			continue
		}
		var data string
		switch kind := random.IntN(20); {
		case kind < 4:
			if other[owner] || alias[owner] {
				continue
			}
			alias[owner] = true
			fmt.Fprintf(&file, "%s 60 CNAME %s\n", owner, target())
			continue
		case kind < 6 && !strings.HasPrefix(owner, "*."):
			data = "NS " + target()
			if random.IntN(2) == 0 { // DS records are at cuts only
				data += "\n" + owner + " 60 DS 1 13 2 0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
			}
		case kind < 9:
			data = "MX 10 " + target()
		case kind < 10:
			data = "SRV 1 2 3 " + target()
		case kind < 12:
			data = fmt.Sprintf("HTTPS %d %s", random.IntN(2), pick(".", target(), target()))
		case kind < 13:
			data = "AAAA 2001:db8::" + pick("1", "2", "3")
		case kind < 15:
			data = "TXT " + pick("x", "y")
		default:
			data = "A 192.0.2." + pick("1", "2", "3")
		}
		if alias[owner] {
			continue
		}
		other[owner] = true
		fmt.Fprintf(&file, "%s 60 %s\n", owner, data)
	}
	return file.String()
}

// corpusQuestion is a question to ask of each server.
type corpusQuestion struct {
	name  record.Name
	wire  string // the name as it is asked: its letters may be in upper case
	qtype uint16
	edns  bool
	do    bool
	rd    bool
}

// String returns name and type as in a log line.
func (q corpusQuestion) String() string {
	return q.name.String() + " " + record.Type(q.qtype).String()
}

// message returns the question as a message.
func (q corpusQuestion) message(id uint16) []byte {
	m := []byte{byte(id >> 8), byte(id), 0, 0, 0, 1, 0, 0, 0, 0, 0, 0}
	if q.rd {
		m[2] |= 1
	}
	m = append(m, q.wire...)
	m = append(m, byte(q.qtype>>8), byte(q.qtype), 0, dns.ClassINET)
	if q.edns {
		m[11] = 1
		flags := byte(0)
		if q.do {
			flags = 0x80
		}
		m = append(m, 0, 0, byte(dns.TypeOPT), 1232>>8, 1232&0xff, 0, 0, flags, 0, 0, 0)
	}
	return m
}

// The types that are asked for at each name, and those that are asked for at
// some: all that have a name, and some that have none.
var commonTypes = []uint16{
	dns.TypeA, dns.TypeNS, dns.TypeCNAME, dns.TypeSOA, dns.TypeMX, dns.TypeTXT, dns.TypeAAAA,
	dns.TypeSRV, dns.TypeDS, dns.TypeHTTPS, dns.TypeCAA, dns.TypeANY, 65280,
}

func allTypes() []uint16 {
	types := []uint16{1234, 4000, 32770, 65279, 65281, 65534}
	for t := range dns.TypeToString {
		if !isMetaType(t) {
			types = append(types, t)
		}
	}
	slices.Sort(types)
	return slices.Compact(types)
}

// isMetaType reports whether a type asks for something else than records of a name
// (RFC 6895 §3.1): transfers, and what is never in a question. ANY, which does,
// is in the corpus.
func isMetaType(t uint16) bool {
	return t == dns.TypeNone || t == dns.TypeOPT || t == dns.TypeReserved || t >= 128 && t <= 254
}

// Where all types are asked for: a name for each thing that a name can be.
var allTypesAt = []string{
	"rfc.test", "www.rfc.test", "info.rfc.test", "missing.rfc.test", "ent.rfc.test", "x.wild.rfc.test",
	"alias.rfc.test", "x.wildalias.rfc.test", "toout.rfc.test", "tomissing.rfc.test",
	"cut.rfc.test", "host.cut.rfc.test", "child.rfc.test", "delegated.rfc.test", "elsewhere.example",
}

// corpusQuestions returns the questions on zones: each name that is in them,
// as owner or in data, its parents, and names around it; the commonTypes of each,
// those that it has, and all types of some.
func corpusQuestions(t testing.TB, zones []corpusZone) []corpusQuestion {
	t.Helper()
	types := make(map[record.Name][]uint16)
	for _, z := range zones {
		for _, r := range z.records {
			types[r.Name] = append(types[r.Name], uint16(r.Type))
		}
	}
	for _, text := range allTypesAt {
		name, err := record.ParseName(text)
		if err != nil {
			t.Fatal(err)
		}
		types[name] = allTypes()
	}
	var questions []corpusQuestion
	for _, name := range corpusNames(zones) {
		ask := append(slices.Clone(commonTypes), types[name]...)
		slices.Sort(ask)
		for _, typ := range slices.Compact(ask) {
			n := len(questions)
			q := corpusQuestion{name: name, wire: string(name), qtype: typ, rd: n%5 == 0, edns: n%3 > 0, do: n%3 == 2}
			if n%4 == 1 {
				q.wire = mixCase(name, n)
			}
			questions = append(questions, q)
		}
	}
	return questions
}

// mixCase puts some letters of a name in upper case.
func mixCase(name record.Name, salt int) string {
	b := []byte(name)
	for i := 0; i < len(b); i += int(b[i]) + 1 {
		for j := i + 1; j <= i+int(b[i]); j++ {
			if 'a' <= b[j] && b[j] <= 'z' && (j*7+salt)%3 == 0 {
				b[j] -= 'a' - 'A'
			}
		}
	}
	return string(b)
}

// corpusNames returns the names to ask for, in order and without repetitions.
func corpusNames(zones []corpusZone) []record.Name {
	var names []record.Name
	add := func(n record.Name, err error) {
		if err == nil { // else it is too long, and no one can ask for it
			names = append(names, n)
		}
	}
	for _, z := range zones {
		owners := []record.Name{z.config.Name, z.config.NameServers[0].Name}
		for _, r := range z.records {
			for n := r.Name; n != z.config.Name; n = n.Parent() {
				owners = append(owners, n)
			}
			if target := targetOf(r); target != "" {
				owners = append(owners, target)
			}
		}
		slices.Sort(owners)
		for _, n := range slices.Compact(owners) {
			names = append(names, n)
			if n == record.Root {
				continue
			}
			parent, first := n.Parent(), n.FirstLabel()
			add(n.Child("x"))
			add(n.Child("*"))
			add(n.Child("_acme-challenge"))
			if below, err := n.Child("y"); err == nil {
				add(below.Child("x"))
			}
			add(parent.Child(first + "\x00"))
			add(parent.Child(first[:len(first)-1] + string(first[len(first)-1]-1)))
			add(parent.Child("*"))
			if len(first) > 1 {
				add(parent.Child(first[:len(first)-1]))
			}
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// targetOf returns the first name in a record's data, "" if its type has none.
func targetOf(r record.Record) record.Name {
	skip := 0
	switch uint16(r.Type) {
	case dns.TypeNS, dns.TypeCNAME, dns.TypePTR:
	case dns.TypeMX, dns.TypeHTTPS, dns.TypeSVCB:
		skip = 2
	case dns.TypeSRV:
		skip = 6
	default:
		return ""
	}
	for i := skip; i < len(r.Data); i += int(r.Data[i]) + 1 {
		if r.Data[i] == 0 {
			return record.Name(r.Data[skip : i+1])
		}
	}
	return ""
}
