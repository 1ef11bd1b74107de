package nameserver

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/caddy-dns/bestdns/internal/record"
)

// TestNamesThatAwaitChallenges: such a name exists, and nothing that is said of it may be
// kept, since an append can make it untrue at any time.
func TestNamesThatAwaitChallenges(t *testing.T) {
	zone := zoneConfig(t, "example.org", "ns1.example.net")
	zone.NegativeTTL = 300
	target := zoneConfig(t, "target.test", "ns1.example.net")
	target.NegativeTTL, target.Awaiting = 300, []record.Name{target.Name}
	own := zoneConfig(t, "_acme-challenge.example.net", "ns1.example.net")
	own.NegativeTTL = 300
	deep := zoneConfig(t, "_acme-challenge.deep.below.example.org", "ns1.example.net")
	s := serving(t, zone, target, own, deep)
	apply(t, s, zone.Name, appending(rrs(t, zone.Name,
		"www 60 A 192.0.2.1",
		"_acme-challenge.there 0 TXT value",
		"*.wild 60 A 192.0.2.2",
		"*.wildalias 60 CNAME www.example.org.",
		"cut 60 NS ns1.example.net.",
		"alias 60 CNAME _acme-challenge.other.example.org.",
		"_acme-challenge.alias 60 CNAME host.target.test.",
	)...))
	apply(t, s, target.Name, appending(rrs(t, target.Name, "host.example.com 0 TXT value", "*.wild 60 A 192.0.2.3", "*.wild 60 TXT wild", "*.wildalias 60 CNAME host.example.com.target.test.")...))
	const account = "_ujmmovf2vn55tgye."
	uncacheable, lasting := []string{"example.org. 0 SOA"}, []string{"example.org. 300 SOA"}
	nothing := func(soa ...string) reply { return reply{Rcode: "NOERROR", AA: true, Authority: soa} }
	good := func(answer string) reply { return reply{Rcode: "NOERROR", AA: true, Answer: []string{answer}} }
	for _, test := range []struct {
		name         string
		qname, qtype string
		want         reply
	}{
		{"another missing name", "missing.example.org", "TXT", reply{Rcode: "NXDOMAIN", AA: true, Authority: lasting}},
		{"another missing type", "www.example.org", "TXT", nothing(lasting...)},
		{"of a host with records", "_acme-challenge.www.example.org", "TXT", nothing(uncacheable...)},
		{"of a host without", "_acme-challenge.missing.example.org", "TXT", nothing(uncacheable...)},
		{"of a host without, deep", "_acme-challenge.a.b.c.d.e.example.org", "TXT", nothing(uncacheable...)},
		{"what certmagic asks", "_acme-challenge.missing.example.org", "SOA", nothing(uncacheable...)},
		{"what lego asks", "_acme-challenge.missing.example.org", "CNAME", nothing(uncacheable...)},
		{"what resolvers ask on their way", "_acme-challenge.missing.example.org", "NS", nothing(uncacheable...)},
		{"ANY", "_acme-challenge.missing.example.org", "ANY", nothing(uncacheable...)},
		{"of the zone itself", "_acme-challenge.example.org", "TXT", nothing(uncacheable...)},
		{"with an account's label", account + "_acme-challenge.missing.example.org", "TXT", nothing(uncacheable...)},
		{"with another label", "x._acme-challenge.missing.example.org", "TXT", reply{Rcode: "NXDOMAIN", AA: true, Authority: lasting}},
		{"with an account's label below one with a record", account + "_acme-challenge.there.example.org", "TXT", nothing(uncacheable...)},
		{"another label below one with a record", "x._acme-challenge.there.example.org", "TXT", reply{Rcode: "NXDOMAIN", AA: true, Authority: lasting}},
		{"the record", "_acme-challenge.there.example.org", "TXT", good(`_acme-challenge.there.example.org. 0 TXT "value"`)},
		{"another type beside the record", "_acme-challenge.there.example.org", "CNAME", nothing(uncacheable...)},
		{"below a wildcard", "_acme-challenge.host.wild.example.org", "TXT", nothing(uncacheable...)},
		{"beside a wildcard", "_acme-challenge.wild.example.org", "A", nothing(uncacheable...)},
		{"below a wildcard that is an alias", "_acme-challenge.host.wildalias.example.org", "CNAME", nothing(uncacheable...)},
		{"with an account's label below a wildcard", account + "_acme-challenge.host.wild.example.org", "A", nothing(uncacheable...)},
		{"a standing permission below a wildcard", "_validation-persist.host.wild.example.org", "TXT", nothing(uncacheable...)},
		{"a standing permission that is missing", "_validation-persist.other.example.org", "TXT", nothing(uncacheable...)},
		{"the host below a wildcard", "host.wild.example.org", "A", good("host.wild.example.org. 60 A 192.0.2.2")},
		{"below a cut", "_acme-challenge.host.cut.example.org", "TXT", reply{Rcode: "NOERROR", Authority: []string{"cut.example.org. 60 NS ns1.example.net."}}},
		{"at the end of an alias", "alias.example.org", "TXT", reply{Rcode: "NOERROR", AA: true,
			Answer: []string{"alias.example.org. 60 CNAME _acme-challenge.other.example.org."}, Authority: uncacheable}},
		{"an alias to the target", "_acme-challenge.alias.example.org", "TXT", good("_acme-challenge.alias.example.org. 60 CNAME host.target.test.")},
		{"target, missing", "www.example.com.target.test", "TXT", nothing("target.test. 0 SOA")},
		{"target, on the way", "com.target.test", "NS", nothing("target.test. 0 SOA")},
		{"target, another type", "host.example.com.target.test", "CNAME", nothing("target.test. 0 SOA")},
		{"target, a wildcard's", "x.wild.target.test", "A", good("x.wild.target.test. 60 A 192.0.2.3")},
		{"target, a wildcard's text", "x.wild.target.test", "TXT", good(`x.wild.target.test. 0 TXT "wild"`)},
		{"target, the wildcard itself", "*.wild.target.test", "TXT", good(`*.wild.target.test. 60 TXT "wild"`)},
		{"target, a wildcard's alias", "x.wildalias.target.test", "TXT", reply{Rcode: "NOERROR", AA: true, Answer: []string{
			"x.wildalias.target.test. 0 CNAME host.example.com.target.test.", `host.example.com.target.test. 0 TXT "value"`}}},
		{"target, a wildcard's alias for any type", "x.wildalias.target.test", "ANY", good("x.wildalias.target.test. 0 CNAME host.example.com.target.test.")},
		{"above a zone that is not delegated", "deep.below.example.org", "TXT", nothing(lasting...)},
		{"further above it", "below.example.org", "NS", nothing(lasting...)},
		{"beside it", "other.below.example.org", "TXT", reply{Rcode: "NXDOMAIN", AA: true, Authority: lasting}},
		{"at it, from the zone above", "_acme-challenge.deep.below.example.org", "DS", nothing(uncacheable...)},
		{"target, below a wildcard", "_acme-challenge.x.wild.target.test", "A", nothing("target.test. 0 SOA")},
		{"own zone", "_acme-challenge.example.net", "TXT", nothing("_acme-challenge.example.net. 0 SOA")},
		{"own zone, with an account's label", account + "_acme-challenge.example.net", "TXT", nothing("_acme-challenge.example.net. 0 SOA")},
		{"own zone, another name", "x._acme-challenge.example.net", "TXT", reply{Rcode: "NXDOMAIN", AA: true, Authority: []string{"_acme-challenge.example.net. 300 SOA"}}},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := readReply(ask(t, s, test.qname, test.qtype))
			if diff := cmp.Diff(test.want, got, cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("%s %s (-want +got):\n%s", test.qname, test.qtype, diff)
			}
		})
	}
}

// TestTargetIsReconfigured: a zone that is marked or no longer marked as the target is
// answered for as that, and its records stay.
func TestTargetIsReconfigured(t *testing.T) {
	zone := zoneConfig(t, "example.org", "ns1.example.net")
	s := serving(t, zone)
	rcode := func() string { return readReply(ask(t, s, "missing.example.org", "TXT")).Rcode }
	for _, marked := range []bool{true, false, true} {
		if zone.Awaiting = nil; marked {
			zone.Awaiting = []record.Name{zone.Name}
		}
		if err := s.Serve(Settings{Zones: []ZoneConfig{zone}}); err != nil {
			t.Fatal(err)
		}
		if got, want := rcode(), map[bool]string{true: "NOERROR", false: "NXDOMAIN"}[marked]; got != want {
			t.Errorf("marked as the target: %v, the answer is %s, want %s", marked, got, want)
		}
	}
	zone.NegativeTTL = record.MaxTTL + 1
	if err := s.Serve(Settings{Zones: []ZoneConfig{zone}}); err == nil {
		t.Error("a TTL that is too high was accepted")
	}
}
