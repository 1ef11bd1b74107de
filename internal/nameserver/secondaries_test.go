package nameserver

import (
	"slices"
	"testing"

	"github.com/miekg/dns"

	"github.com/caddy-dns/bestdns/internal/tsig"
)

// TestWhoMayTransfer: who may not gets REFUSED, whatever else there is; what is wrong with a
// signature is said as RFC 8945 §5.2 has it.
func TestWhoMayTransfer(t *testing.T) {
	one, two, unknown, none := tsigKey(t, "one.key", "one"), tsigKey(t, "two.key", "two"), tsigKey(t, "unknown.key", "x"), tsig.Key{}
	wrong := tsigKey(t, "one.key", "wrong")
	zone := zoneConfig(t, "example.org")
	zone.Transfers = slices.Concat(
		transfers(t, one, "127.0.2.1:9", "127.0.2.3:9"),
		transfers(t, two, "127.0.2.2:9", "127.0.2.3:9"),
		transfers(t, none, "127.0.2.4:9", "[::1]:9"))
	other, plain := zoneConfig(t, "other.test"), zoneConfig(t, "plain.test")
	other.Transfers = transfers(t, two, "127.0.2.1:9")
	s := serving(t, zone, other, plain)
	for _, test := range []struct {
		name, zone, from string
		key              tsig.Key
		want             string
	}{
		{"the key of the address", "example.org", "127.0.2.1", one, "NOERROR"},
		{"not signed", "example.org", "127.0.2.1", none, "REFUSED"},
		{"another one's key", "example.org", "127.0.2.1", two, "REFUSED"},
		{"either key", "example.org", "127.0.2.3", one, "NOERROR"},
		{"or the other", "example.org", "127.0.2.3", two, "NOERROR"},
		{"no key is needed", "example.org", "127.0.2.4", none, "NOERROR"},
		{"and one that is known does no harm", "example.org", "127.0.2.4", two, "NOERROR"},
		{"one that is not does", "example.org", "127.0.2.4", unknown, "NOTAUTH BADKEY"},
		{"IPv6", "example.org", "::1", none, "NOERROR"},
		{"IPv4 by an IPv6 socket", "example.org", "::ffff:127.0.2.4", none, "NOERROR"},
		{"another address", "example.org", "127.0.2.9", none, "REFUSED"},
		{"another address with a key", "example.org", "127.0.2.9", one, "REFUSED"},
		{"another zone's", "other.test", "127.0.2.4", none, "REFUSED"},
		{"another zone's key", "other.test", "127.0.2.1", one, "REFUSED"},
		{"a zone without secondaries", "plain.test", "127.0.2.4", none, "REFUSED"},
		{"a zone that is not here", "nowhere.test", "127.0.2.4", none, "REFUSED"},
		{"a name in the zone", "ns1.example.org", "127.0.2.4", none, "REFUSED"},
		{"an unknown key", "example.org", "127.0.2.1", unknown, "NOTAUTH BADKEY"},
		{"a wrong secret", "example.org", "127.0.2.1", wrong, "NOTAUTH BADSIG"},
	} {
		for _, qtype := range []uint16{dns.TypeAXFR, dns.TypeIXFR} {
			for _, udp := range []bool{false, true} {
				c := client{s, test.from, test.key}
				request, _ := c.request(t, name(t, test.zone), qtype, 1)
				want := test.want
				if udp && qtype == dns.TypeAXFR && want == "NOERROR" {
					want = "REFUSED" // RFC 5936 §4.2
				}
				if got := c.outcome(t, request, udp); got != want {
					t.Errorf("%s, type %d, UDP %v: %s, want %s", test.name, qtype, udp, got, want)
				}
			}
		}
	}
	counts := s.TransferCounts()
	if len(counts) != 2 || counts[1].Zone != zone.Name || counts[1].Refused != 23 || counts[1].AXFR == 0 {
		t.Errorf("counts: %+v", counts)
	}
	if got := (client{serving(t, plain), "127.0.2.4", none}).outcome(t, packed(t, question("plain.test.", dns.TypeAXFR)), false); got != "REFUSED" {
		t.Errorf("without any secondary: %s", got)
	}
}

// TestTransfersChangeNoZone: another secondary is no change of a zone, and asks for no commit.
func TestTransfersChangeNoZone(t *testing.T) {
	zone := zoneConfig(t, "example.org")
	s := serving(t, zone)
	before := snapshot(t, s, zone.Name)
	zone.Transfers = transfers(t, tsig.Key{}, "127.0.0.1:9")
	serve(t, s, zone)
	if after := snapshot(t, s, zone.Name); after != before {
		t.Errorf("the zone was replaced, serial %d by %d", before.serial, after.serial)
	}
}
