package nameserver

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/caddy-dns/bestdns/internal/record"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/miekg/dns"
)

// questionServer serves a zone with one of everything, and a zone below it that
// it does not delegate.
func questionServer(t testing.TB) *Server {
	t.Helper()
	zone := zoneConfig(t, "example.org", "ns1.example.org 192.0.2.53 2001:db8::53", "ns2.example.net 192.0.2.54")
	child := zoneConfig(t, "hosted.example.org", "ns1.example.org")
	s := serving(t, zone, child)
	apply(t, s, zone.Name, appending(rrs(t, zone.Name,
		"@ 60 MX 10 mail.example.org.",
		"www 60 A 192.0.2.1",
		"www 30 A 192.0.2.2",
		"www 60 AAAA 2001:db8::1",
		"mail 60 A 192.0.2.3",
		"text 60 TXT hello",
		"a.b.ent 60 TXT deep",
		"alias 60 CNAME www.example.org.",
		"chain1 60 CNAME chain2.example.org.",
		"chain2 60 CNAME alias.example.org.",
		"loop1 60 CNAME loop2.example.org.",
		"loop2 60 CNAME loop1.example.org.",
		"self 60 CNAME self.example.org.",
		"toout 60 CNAME www.example.net.",
		"tomissing 60 CNAME missing.example.org.",
		"toent 60 CNAME ent.example.org.",
		"towild 60 CNAME x.wild.example.org.",
		"todelegated 60 CNAME host.cut.example.org.",
		"tohosted 60 CNAME www.hosted.example.org.",
		"*.wild 60 TXT any",
		"*.wild 60 MX 10 mail.example.org.",
		"host.wild 60 A 192.0.2.4",
		"a.ent.wild 60 A 192.0.2.5",
		"below.*.wild 60 TXT below",
		"*.wildalias 60 CNAME www.example.org.",
		"below.*.stars 60 TXT below",
		"cut 60 NS ns.cut.example.org.",
		"cut 60 NS ns.other.example.org.",
		"cut 60 NS ns.example.net.",
		"cut 60 DS 1 13 2 00",
		"cut 60 TXT hidden",
		"ns.cut 60 A 192.0.2.6",
		"ns.other 60 A 192.0.2.7",
		"host.cut 60 A 192.0.2.8",
		"deep.below.cut 60 NS ns.example.net.",
		"bare 60 NS ns.example.net.",
		"tomail 60 MX 10 mail.example.org.",
		"tomail 60 MX 20 mx.example.net.",
		"tomail 60 MX 30 host.wild.example.org.",
		"mxwild 60 MX 10 x.v6wild.example.org.",
		"*.v6wild 60 AAAA 2001:db8::9",
		"mxcut 60 MX 10 host.cut.example.org.",
		"_sip._tcp 60 SRV 1 2 5060 mail.example.org.",
		`svc 60 HTTPS 1 . alpn="h2"`,
		"svc 60 A 192.0.2.9",
		"svcalias 60 HTTPS 0 svc.example.org.",
		"svcnone 60 HTTPS 0 .",
		"svcnone 60 A 192.0.2.10",
		`a\.b 60 TXT dot`,
		`sp\032ace\000\001 60 TXT octets`,
		"unknown 60 TYPE65280 \\# 3 010203",
		"caa 60 CAA 0 issue \"ca.example\"",
	)...))
	apply(t, s, child.Name, appending(rrs(t, child.Name, "www 60 A 192.0.2.11")...))
	return s
}

func TestAnswers(t *testing.T) {
	s := questionServer(t)
	soa := []string{"example.org. 0 SOA"}
	referral := []string{"cut.example.org. 60 NS ns.cut.example.org.", "cut.example.org. 60 NS ns.other.example.org.", "cut.example.org. 60 NS ns.example.net."}
	glue := []string{"ns.cut.example.org. 60 A 192.0.2.6", "ns.other.example.org. 60 A 192.0.2.7"}
	addresses := []string{"www.example.org. 30 A 192.0.2.1", "www.example.org. 30 A 192.0.2.2"}
	noError, noData, noName := "NOERROR", reply{Rcode: "NOERROR", AA: true, Authority: soa}, reply{Rcode: "NXDOMAIN", AA: true, Authority: soa}
	good := func(answer ...string) reply { return reply{Rcode: noError, AA: true, Answer: answer} }

	tests := []struct {
		name         string
		qname, qtype string
		want         reply
	}{
		{"an RRset has its lowest TTL (RFC 2181 §5.2)", "www.example.org", "A", good(addresses...)},
		{"another type of the name", "www.example.org", "AAAA", good("www.example.org. 60 AAAA 2001:db8::1")},
		{"no such type", "www.example.org", "TXT", noData},
		{"no such name", "nope.example.org", "A", noName},
		{"no such name, of another type", "nope.example.org", "CAA", noName},
		{"below a name without wildcard", "x.www.example.org", "A", noName},
		{"apex SOA", "example.org", "SOA", good("example.org. 0 SOA")},
		{"apex NS with the addresses", "example.org", "NS", reply{Rcode: noError, AA: true,
			Answer:     []string{"example.org. 60 NS ns1.example.org.", "example.org. 60 NS ns2.example.net."},
			Additional: []string{"ns1.example.org. 60 A 192.0.2.53", "ns1.example.org. 60 AAAA 2001:db8::53"}}},
		{"a name server's made address", "ns1.example.org", "A", good("ns1.example.org. 60 A 192.0.2.53")},
		{"apex without the type", "example.org", "TXT", noData},
		{"SOA below the apex", "www.example.org", "SOA", noData},
		{"other zone", "example.net", "A", reply{Rcode: "REFUSED"}},
		{"parent of the zone", "org", "NS", reply{Rcode: "REFUSED"}},
		{"root", ".", "NS", reply{Rcode: "REFUSED"}},
		{"a name that only ends alike", "wwwexample.org", "A", reply{Rcode: "REFUSED"}},

		{"empty non-terminal", "ent.example.org", "TXT", noData},
		{"empty non-terminal, deeper", "b.ent.example.org", "A", noData},
		{"beside an empty non-terminal", "c.ent.example.org", "TXT", noName},
		{"name in front of which others sort", "en.example.org", "TXT", noName},

		{"CNAME followed", "alias.example.org", "A", good(append([]string{"alias.example.org. 60 CNAME www.example.org."}, addresses...)...)},
		{"CNAME asked for", "alias.example.org", "CNAME", good("alias.example.org. 60 CNAME www.example.org.")},
		{"CNAME chain", "chain1.example.org", "AAAA", good("chain1.example.org. 60 CNAME chain2.example.org.",
			"chain2.example.org. 60 CNAME alias.example.org.", "alias.example.org. 60 CNAME www.example.org.", "www.example.org. 60 AAAA 2001:db8::1")},
		{"CNAME loop", "loop1.example.org", "A", good("loop1.example.org. 60 CNAME loop2.example.org.", "loop2.example.org. 60 CNAME loop1.example.org.")},
		{"CNAME to itself", "self.example.org", "A", good("self.example.org. 60 CNAME self.example.org.")},
		{"CNAME out of the zone", "toout.example.org", "A", good("toout.example.org. 60 CNAME www.example.net.")},
		{"CNAME to a missing name (RFC 6604)", "tomissing.example.org", "A", reply{Rcode: "NXDOMAIN", AA: true,
			Answer: []string{"tomissing.example.org. 60 CNAME missing.example.org."}, Authority: soa}},
		{"CNAME to an empty non-terminal", "toent.example.org", "A", reply{Rcode: noError, AA: true,
			Answer: []string{"toent.example.org. 60 CNAME ent.example.org."}, Authority: soa}},
		{"CNAME to a wildcard", "towild.example.org", "TXT", good("towild.example.org. 60 CNAME x.wild.example.org.", `x.wild.example.org. 60 TXT "any"`)},
		{"CNAME to a delegated name", "todelegated.example.org", "A", reply{Rcode: noError, AA: true,
			Answer: []string{"todelegated.example.org. 60 CNAME host.cut.example.org."}, Authority: referral, Additional: glue}},
		{"CNAME into another zone of ours", "tohosted.example.org", "A", good("tohosted.example.org. 60 CNAME www.hosted.example.org.")},

		{"wildcard", "x.wild.example.org", "TXT", good(`x.wild.example.org. 60 TXT "any"`)},
		{"wildcard, several labels", "x.y.wild.example.org", "TXT", good(`x.y.wild.example.org. 60 TXT "any"`)},
		{"wildcard without the type", "x.wild.example.org", "A", noData},
		{"wildcard with additional addresses", "x.wild.example.org", "MX", reply{Rcode: noError, AA: true,
			Answer: []string{"x.wild.example.org. 60 MX 10 mail.example.org."}, Additional: []string{"mail.example.org. 60 A 192.0.2.3"}}},
		{"wildcard does not match its own parent", "wild.example.org", "TXT", noData},
		{"wildcard asked for by name", "*.wild.example.org", "TXT", good(`*.wild.example.org. 60 TXT "any"`)},
		{"name below the wildcard itself", "below.*.wild.example.org", "TXT", good(`below.*.wild.example.org. 60 TXT "below"`)},
		{"no wildcard of the wildcard", "other.*.wild.example.org", "TXT", noName},
		{"existing name beside the wildcard", "host.wild.example.org", "TXT", noData},
		{"below an existing name beside the wildcard", "x.host.wild.example.org", "TXT", noName},
		{"below an empty non-terminal beside the wildcard", "x.ent.wild.example.org", "TXT", noName},
		{"empty non-terminal beside the wildcard", "ent.wild.example.org", "TXT", noData},
		{"wildcard CNAME", "x.wildalias.example.org", "AAAA", good("x.wildalias.example.org. 60 CNAME www.example.org.", "www.example.org. 60 AAAA 2001:db8::1")},
		{"wildcard that is an empty non-terminal (RFC 4592 §4.9)", "x.stars.example.org", "TXT", noData},

		{"delegation", "host.cut.example.org", "A", reply{Rcode: noError, Authority: referral, Additional: glue}},
		{"delegation, name that is not there", "nope.cut.example.org", "TXT", reply{Rcode: noError, Authority: referral, Additional: glue}},
		{"delegation at the cut", "cut.example.org", "TXT", reply{Rcode: noError, Authority: referral, Additional: glue}},
		{"delegation, its own NS", "cut.example.org", "NS", reply{Rcode: noError, Authority: referral, Additional: glue}},
		{"delegation, its glue", "ns.cut.example.org", "A", reply{Rcode: noError, Authority: referral, Additional: glue}},
		{"delegation below a delegation", "x.deep.below.cut.example.org", "A", reply{Rcode: noError, Authority: referral, Additional: glue}},
		{"delegation without glue", "x.bare.example.org", "A", reply{Rcode: noError, Authority: []string{"bare.example.org. 60 NS ns.example.net."}}},
		{"DS at a cut (RFC 4035 §3.1.4.1)", "cut.example.org", "DS", good("cut.example.org. 60 DS 1 13 2 00")},
		{"DS below a cut", "x.cut.example.org", "DS", reply{Rcode: noError, Authority: referral, Additional: glue}},
		{"no DS at a cut", "bare.example.org", "DS", noData},
		{"DS of a hosted zone, from its parent", "hosted.example.org", "DS", noData},
		{"DS of a zone whose parent is elsewhere", "example.org", "DS", noData},
		{"the hosted zone below", "www.hosted.example.org", "A", good("www.hosted.example.org. 60 A 192.0.2.11")},
		{"the hosted zone's NXDOMAIN", "x.hosted.example.org", "A", reply{Rcode: "NXDOMAIN", AA: true, Authority: []string{"hosted.example.org. 0 SOA"}}},

		{"MX with the addresses in the zone", "tomail.example.org", "MX", reply{Rcode: noError, AA: true,
			Answer: []string{"tomail.example.org. 60 MX 10 mail.example.org.", "tomail.example.org. 60 MX 20 mx.example.net.",
				"tomail.example.org. 60 MX 30 host.wild.example.org."},
			Additional: []string{"mail.example.org. 60 A 192.0.2.3", "host.wild.example.org. 60 A 192.0.2.4"}}},
		{"MX to a wildcard", "mxwild.example.org", "MX", reply{Rcode: noError, AA: true,
			Answer: []string{"mxwild.example.org. 60 MX 10 x.v6wild.example.org."}, Additional: []string{"x.v6wild.example.org. 60 AAAA 2001:db8::9"}}},
		{"MX below a cut", "mxcut.example.org", "MX", good("mxcut.example.org. 60 MX 10 host.cut.example.org.")},
		{"SRV", "_sip._tcp.example.org", "SRV", reply{Rcode: noError, AA: true,
			Answer: []string{"_sip._tcp.example.org. 60 SRV 1 2 5060 mail.example.org."}, Additional: []string{"mail.example.org. 60 A 192.0.2.3"}}},
		{"HTTPS of the owner itself", "svc.example.org", "HTTPS", reply{Rcode: noError, AA: true,
			Answer: []string{`svc.example.org. 60 HTTPS 1 . alpn="h2"`}, Additional: []string{"svc.example.org. 60 A 192.0.2.9"}}},
		{"HTTPS in AliasMode (RFC 9460 §4.1)", "svcalias.example.org", "HTTPS", reply{Rcode: noError, AA: true,
			Answer:     []string{"svcalias.example.org. 60 HTTPS 0 svc.example.org."},
			Additional: []string{"svc.example.org. 60 A 192.0.2.9", `svc.example.org. 60 HTTPS 1 . alpn="h2"`}}},
		{"HTTPS that there is none (RFC 9460 §2.5.1)", "svcnone.example.org", "HTTPS", good("svcnone.example.org. 60 HTTPS 0 .")},

		{"ANY gets one RRset (RFC 8482)", "www.example.org", "ANY", good(addresses...)},
		{"ANY at the apex", "example.org", "ANY", good("example.org. 60 NS ns1.example.org.", "example.org. 60 NS ns2.example.net.")},
		{"ANY at a CNAME", "alias.example.org", "ANY", good("alias.example.org. 60 CNAME www.example.org.")},
		{"ANY at an empty non-terminal", "ent.example.org", "ANY", noData},
		{"ANY at a missing name", "nope.example.org", "ANY", noName},
		{"ANY at a wildcard", "x.wild.example.org", "ANY", good("x.wild.example.org. 60 MX 10 mail.example.org.")},
		{"ANY at a cut", "bare.example.org", "ANY", reply{Rcode: noError, Authority: []string{"bare.example.org. 60 NS ns.example.net."}}},

		{"case is kept (0x20)", "wWw.ExAmPlE.oRg", "AAAA", good("wWw.ExAmPlE.oRg. 60 AAAA 2001:db8::1")},
		{"case is kept in a chain", "ALIAS.example.org", "AAAA", good("ALIAS.example.org. 60 CNAME www.example.org.", "www.example.org. 60 AAAA 2001:db8::1")},
		{"case is kept by a wildcard", "X.Wild.example.org", "TXT", good(`X.Wild.example.org. 60 TXT "any"`)},
		{"a dot in a label", `a\.b.example.org`, "TXT", good(`a\.b.example.org. 60 TXT "dot"`)},
		{"not the labels that the dot would make", "a.b.example.org", "TXT", noName},
		{"bytes 0, 1 and space in a label", `sp\032ace\000\001.example.org`, "TXT", good(`sp\ ace\000\001.example.org. 60 TXT "octets"`)},
		{"an unknown type", "unknown.example.org", "TYPE65280", good(`unknown.example.org. 60 TYPE65280 \# 3 010203`)},
		{"a type above 255", "caa.example.org", "CAA", good(`caa.example.org. 60 CAA 0 issue "ca.example"`)},
		{"AXFR", "example.org", "AXFR", reply{Rcode: "REFUSED"}},
		{"IXFR", "example.org", "IXFR", reply{Rcode: "REFUSED"}},
	}
	dns.StringToType["TYPE65280"] = 65280
	t.Cleanup(func() { delete(dns.StringToType, "TYPE65280") })
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got := readReply(ask(t, s, test.qname, test.qtype))
			if diff := cmp.Diff(test.want, got, cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("%s %s (-want +got):\n%s", test.qname, test.qtype, diff)
			}
		})
	}
}

// Nothing but the configuration decides what is served: without it, its zone is refused.
func TestAnswersFollowTheConfig(t *testing.T) {
	s := open(t, storePath(t))
	rcode := func(qname string) string { return dns.RcodeToString[ask(t, s, qname, "SOA").Rcode] }
	if got := rcode("a.test"); got != "REFUSED" {
		t.Errorf("without a config: %s", got)
	}
	serve(t, s, zoneConfig(t, "a.test"), zoneConfig(t, "b.test"))
	serve(t, s, zoneConfig(t, "b.test"), zoneConfig(t, "c.test"))
	check := func(when string, a, b, c string) {
		t.Helper()
		if diff := cmp.Diff([]string{a, b, c}, []string{rcode("a.test"), rcode("b.test"), rcode("c.test")}); diff != "" {
			t.Errorf("%s (-want +got):\n%s", when, diff)
		}
	}
	check("after two", "REFUSED", "NOERROR", "NOERROR")
	s.Revert(Settings{Zones: []ZoneConfig{zoneConfig(t, "a.test"), zoneConfig(t, "b.test")}})
	check("after the second has gone", "NOERROR", "NOERROR", "REFUSED")
	serve(t, s, zoneConfig(t, "c.test"))
	check("after a third", "REFUSED", "REFUSED", "NOERROR")
}

// The chain is bounded, and what is in the answer is still right.
func TestLongChainIsBounded(t *testing.T) {
	zone := zoneConfig(t, "example.org")
	s := serving(t, zone)
	for i := range 2 * maxChain {
		apply(t, s, zone.Name, appending(rr(t, zone.Name, fmt.Sprintf("c%d 60 CNAME c%d.example.org.", i, i+1))))
	}
	m := ask(t, s, "c0.example.org", "A")
	if m.Rcode != dns.RcodeSuccess || len(m.Answer) != maxChain {
		t.Errorf("%s with %d CNAMEs", dns.RcodeToString[m.Rcode], len(m.Answer))
	}
}

// Further CNAMEs and targets are not looked up where what has been is too much work,
// and what is in the answer is still right.
func TestWorkIsBounded(t *testing.T) {
	s, _ := costliest(t, (*costlyZones).manyTargets, (*costlyZones).manyNameServers, (*costlyZones).deepNames, (*costlyZones).chains)
	deep := func(zone, first string) string {
		d := costlyZones{t: t}
		parent := name(t, zone)
		return d.below(parent, first, deepest(parent, len(first))).String()
	}
	chain := ask(t, s, deep("c.test.", "l00"), "TXT")
	if n := len(chain.Answer); chain.Rcode != dns.RcodeSuccess || n == 0 || n >= maxChain || len(chain.Ns) > 0 {
		t.Errorf("of a chain through a zone with cuts at each depth: %s, %d CNAMEs, %d of authority", dns.RcodeToString[chain.Rcode], n, len(chain.Ns))
	}
	if n := len(ask(t, s, "x.l00.w.test.", "TXT").Answer); n < 12 {
		t.Errorf("of a chain through wildcards: %d CNAMEs", n)
	}
	if n := len(ask(t, s, "mx.d.test.", "MX").Extra); n == 0 || n >= maxTargets {
		t.Errorf("of deep targets in a zone with cuts at each depth: %d additional", n)
	}
	for _, test := range []struct {
		qname, qtype string
		answer       int
		additional   int
	}{
		{"mx20.t.test", "MX", 20, 2 * maxTargets},
		{"srv1800.t.test", "SRV", 1800, 2 * maxTargets},
		{"www.cut1000.servers.test", "A", 0, 2 * (maxWork - 1)}, // glue
	} {
		if m := ask(t, s, test.qname, test.qtype); len(m.Answer) != test.answer || len(m.Extra) != test.additional || m.Truncated {
			t.Errorf("%s %s: %d answers, %d additional, truncated %v", test.qname, test.qtype, len(m.Answer), len(m.Extra), m.Truncated)
		}
	}
}

// A target that several records have is looked up once.
func TestTargetsAreLookedUpOnce(t *testing.T) {
	zone := zoneConfig(t, "example.org")
	s := serving(t, zone)
	var lines []string
	for i := range 30 {
		lines = append(lines, fmt.Sprintf("@ 60 MX %d a.example.org.", i))
	}
	apply(t, s, zone.Name, appending(rrs(t, zone.Name, append(lines, "@ 60 MX 30 b.example.org.", "a 60 A 192.0.2.1", "b 60 A 192.0.2.2")...)...))
	got := readReply(ask(t, s, "example.org", "MX")).Additional
	if diff := cmp.Diff([]string{"a.example.org. 60 A 192.0.2.1", "b.example.org. 60 A 192.0.2.2"}, got); diff != "" {
		t.Errorf("additional (-want +got):\n%s", diff)
	}
}

// A lookup that is used again allocates nothing, whatever the outcome: a loop that
// answers plain questions itself relies on it.
func TestLookupDoesNotAllocate(t *testing.T) {
	s := questionServer(t)
	v := s.view.Load()
	l := new(lookup)
	for _, test := range []struct {
		qname string
		qtype uint16
		want  outcome
	}{
		{"text.example.org", dns.TypeTXT, found},
		{"chain1.example.org", dns.TypeA, found},
		{"x.wild.example.org", dns.TypeMX, found},
		{"nope.example.org", dns.TypeA, noName},
		{"host.cut.example.org", dns.TypeA, referral},
		{"example.com", dns.TypeA, refused},
	} {
		qname := name(t, test.qname)
		l.find(v, qname, record.Type(test.qtype))
		if allocs := testing.AllocsPerRun(100, func() { l.find(v, qname, record.Type(test.qtype)) }); allocs != 0 {
			t.Errorf("%s: %v allocations", test.qname, allocs)
		}
		if l.outcome != test.want {
			t.Errorf("%s: outcome %d, want %d", test.qname, l.outcome, test.want)
		}
	}
}

// A name exists if it has records or a name below it has, and no other does, while
// names come and go at any depth.
func TestWhichNamesExist(t *testing.T) {
	zone := zoneConfig(t, "example.org", "ns1.example.net")
	s := serving(t, zone)
	seed := rand.Uint64()
	random := rand.New(rand.NewPCG(seed, 0))
	names := []record.Name{zone.Name}
	for depth := 0; depth < len(names) && names[depth].Labels() < zone.Name.Labels()+4; depth++ {
		for _, label := range []string{"a", "b", "\x00"} {
			child, err := names[depth].Child(label)
			if err != nil {
				t.Fatal(err)
			}
			names = append(names, child)
		}
	}
	owners := make(map[record.Name]bool)
	l := new(lookup)
	for range 60 {
		owner := names[1+random.IntN(len(names)-1)]
		if len(owners) > 0 && random.IntN(3) > 0 { // so that zones stay small, and get empty
			for owner = range owners {
				break
			}
			delete(owners, owner)
			apply(t, s, zone.Name, record.Change{Op: record.Delete, Matches: []record.Match{{Name: owner}}})
		} else {
			owners[owner] = true
			apply(t, s, zone.Name, appending(record.Record{Name: owner, Type: record.TypeTXT, TTL: 60, Data: "\x01x"}))
		}
		deepest := 0
		for owner := range owners {
			deepest = max(deepest, owner.Labels())
		}
		if got := snapshot(t, s, zone.Name).depths.deepest; got != deepest {
			t.Errorf("seed %d: with %v, names have up to %d labels, want %d", seed, owners, got, deepest)
		}
		for _, name := range names[1:] {
			want := noName
			for owner := range owners {
				if owner.In(name) {
					want = noData
				}
			}
			if owners[name] {
				want = found
			}
			if l.find(s.view.Load(), name, record.TypeTXT); l.outcome != want {
				t.Fatalf("seed %d: with %v, the outcome for %s is %d, want %d", seed, owners, name, l.outcome, want)
			}
		}
	}
}

// TestAllNeededGlue: a referral has the addresses of all name servers within the
// delegated zone, however many they are, or says that it is cut short (RFC 9471 §2.1).
func TestAllNeededGlue(t *testing.T) {
	const servers = 40
	zone := zoneConfig(t, "example.org")
	s := serving(t, zone)
	var records []record.Record
	for i := range servers {
		records = append(records, rr(t, zone.Name, fmt.Sprintf("cut 60 NS ns%d.cut.example.org.", i)), rr(t, zone.Name, fmt.Sprintf("ns%d.cut 60 A 192.0.2.%d", i, i)))
		// Others do not take their place.
		records = append(records, rr(t, zone.Name, fmt.Sprintf("cut 60 NS a%d.example.org.", i)), rr(t, zone.Name, fmt.Sprintf("a%d 60 A 192.0.2.%d", i, 100+i)))
	}
	apply(t, s, zone.Name, appending(records...))
	q := new(dns.Msg).SetQuestion("www.cut.example.org.", dns.TypeA)
	glue := 0
	for _, rr := range exchange(t, s, q, false).Extra {
		if dns.IsSubDomain("cut.example.org.", rr.Header().Name) {
			glue++
		}
	}
	if glue != servers {
		t.Errorf("over TCP there are the addresses of %d name servers of %d", glue, servers)
	}
	if m := exchange(t, s, q, true); !m.Truncated {
		t.Errorf("over UDP the answer does not say that it is cut short: %v", m)
	}
}
