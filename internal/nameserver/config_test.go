package nameserver

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"
)

func TestSerialFollowsTheConfig(t *testing.T) {
	path := storePath(t)
	zone := zoneConfig(t, "example.org", "ns1.example.org 192.0.2.53")
	more := zoneConfig(t, "example.org", "ns1.example.org 192.0.2.53", "ns2.example.org 2001:db8::2")
	slower := zone
	slower.TTL = 3600

	var last uint32
	step := func(when string, c ZoneConfig, rises bool, records ...string) {
		t.Helper()
		s := open(t, path)
		if err := s.Load(); err != nil {
			t.Fatal(err)
		}
		serve(t, s, c)
		z := snapshot(t, s, zone.Name)
		if rise := int32(z.Serial()-last) > 0; rise != rises || int32(z.Serial()-last) < 0 {
			t.Errorf("%s: serial %d after %d", when, z.Serial(), last)
		}
		if diff := cmp.Diff(records, lines(z)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", when, diff)
		}
		last = z.Serial()
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	ns, a := "example.org. 60 IN NS ns1.example.org.", "ns1.example.org. 60 IN A 192.0.2.53"
	ns2, aaaa := "example.org. 60 IN NS ns2.example.org.", "ns2.example.org. 60 IN AAAA 2001:db8::2"
	last = uint32(time.Now().Unix()) - 1
	step("new", zone, true, ns, a)
	step("again", zone, false, ns, a)
	step("another name server", more, true, ns, ns2, a, aaaa)
	step("again another", more, false, ns, ns2, a, aaaa)
	step("without it", zone, true, ns, a)
	step("another TTL", slower, true, strings.Replace(ns, "60", "3600", 1), strings.Replace(a, "60", "3600", 1))
}

// A config that has to go leaves the one before, and the serial goes on.
func TestRevert(t *testing.T) {
	s := open(t, storePath(t))
	old := zoneConfig(t, "example.org", "ns1.example.org 192.0.2.53")
	serve(t, s, old)
	want := lines(snapshot(t, s, old.Name))
	serve(t, s, zoneConfig(t, "example.org", "ns9.example.org 192.0.2.99"))
	between := snapshot(t, s, old.Name)
	if slices.Equal(want, lines(between)) {
		t.Fatal("the second config has changed nothing")
	}
	s.Revert(Settings{Zones: []ZoneConfig{old}})
	z := snapshot(t, s, old.Name)
	if diff := cmp.Diff(want, lines(z)); diff != "" {
		t.Errorf("after Revert (-want +got):\n%s", diff)
	}
	if int32(z.Serial()-between.Serial()) <= 0 {
		t.Errorf("serial %d after %d", z.Serial(), between.Serial())
	}
}

// Stored records at a name where a config makes some give way, and come back.
func TestMadeRecordsShadowStoredOnes(t *testing.T) {
	zone := zoneConfig(t, "example.org", "ns1.example.org 192.0.2.53")
	other := zoneConfig(t, "example.org", "ns2.example.org 192.0.2.54", "ns3.example.org 192.0.2.55")
	path := storePath(t)
	s := open(t, path)
	serve(t, s, zone)
	apply(t, s, zone.Name, appending(rrs(t, zone.Name, "ns2 60 A 192.0.2.77", "ns2 60 TXT stays", "ns3 60 CNAME ns2.example.org.")...))
	first := lines(snapshot(t, s, zone.Name))

	serve(t, s, other)
	shadowed := []string{
		"example.org. 60 IN NS ns2.example.org.", "example.org. 60 IN NS ns3.example.org.",
		"ns2.example.org. 60 IN A 192.0.2.54", `ns2.example.org. 60 IN TXT "stays"`, "ns3.example.org. 60 IN A 192.0.2.55",
	}
	if diff := cmp.Diff(shadowed, lines(snapshot(t, s, zone.Name))); diff != "" {
		t.Errorf("with the other config (-want +got):\n%s", diff)
	}
	apply(t, s, zone.Name, appending(rr(t, zone.Name, "ns3 60 TXT beside")))
	apply(t, s, zone.Name, deleting(rr(t, zone.Name, "ns3 60 TXT beside")))
	s.Revert(Settings{Zones: []ZoneConfig{zone}})
	if diff := cmp.Diff(first, lines(snapshot(t, s, zone.Name))); diff != "" {
		t.Errorf("back with the first config (-want +got):\n%s", diff)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, path)
	serve(t, s, zone)
	if diff := cmp.Diff(first, lines(snapshot(t, s, zone.Name))); diff != "" {
		t.Errorf("opened again (-want +got):\n%s", diff)
	}
}

// certmagic cleans up through an instance whose config is gone.
func TestLateDelete(t *testing.T) {
	path := storePath(t)
	s := open(t, path)
	zone := zoneConfig(t, "example.org")
	serve(t, s, zone)
	text := rr(t, zone.Name, "www 60 TXT x")
	apply(t, s, zone.Name, appending(text))
	serve(t, s, zoneConfig(t, "other.test"))
	if got := apply(t, s, zone.Name, deleting(text)); len(got.Records) != 1 {
		t.Errorf("deleted: %v", got)
	}
	apply(t, s, zone.Name, appending(text))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, path) // and with a process that never had the config
	if got := apply(t, s, zone.Name, deleting(text)); len(got.Records) != 1 {
		t.Errorf("deleted after opening again: %v", got)
	}
}

func TestServeErrors(t *testing.T) {
	long := strings.Repeat(strings.Repeat("a", 60)+".", 4) + "abcd"
	tests := []struct {
		name  string
		zones []ZoneConfig
		want  string
	}{
		{"no name server", []ZoneConfig{{Name: name(t, "a.test")}}, `zone "a.test.": it has no name server`},
		{"twice", []ZoneConfig{zoneConfig(t, "a.test"), zoneConfig(t, "a.test")}, `zone "a.test.": it is configured twice`},
		{"TTL", []ZoneConfig{{Name: name(t, "a.test"), NameServers: []NameServer{{Name: name(t, "ns.test")}}, TTL: 1 << 31}}, `TTL 2147483648`},
		{"no address in the address", []ZoneConfig{{Name: name(t, "a.test"), NameServers: []NameServer{{Name: name(t, "ns.a.test"), Addresses: make([]netip.Addr, 1)}}}}, "an address is missing"},
		{"no room for the contact", []ZoneConfig{zoneConfig(t, long, "ns.test")}, "contact"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := serving(t, zoneConfig(t, "other.test"))
			err := s.Serve(Settings{Zones: test.zones})
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error: %v", err)
			}
			if m := ask(t, s, "other.test", "SOA"); m.Rcode != dns.RcodeSuccess {
				t.Errorf("the config before: %s", dns.RcodeToString[m.Rcode])
			}
		})
	}
}
