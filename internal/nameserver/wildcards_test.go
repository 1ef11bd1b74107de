package nameserver

import (
	"testing"

	"github.com/caddy-dns/bestdns/internal/record"
)

func TestWildcards(t *testing.T) {
	zone := zoneConfig(t, "example.org", "ns1.example.net")
	s := serving(t, zone)
	if z := snapshot(t, s, zone.Name); z.HasWildcards() || z.WildcardAbove(name(t, "a.example.org")) != "" {
		t.Error("a wildcard in an empty zone")
	}
	apply(t, s, zone.Name, appending(rrs(t, zone.Name,
		"*.wild 60 A 192.0.2.1",
		"there.wild 60 A 192.0.2.2",
		"_acme-challenge.ent.wild 0 TXT x",
		"*.deep.wild 60 A 192.0.2.3",
		"x.*.only 60 A 192.0.2.4",
	)...))
	z := snapshot(t, s, zone.Name)
	for _, test := range []struct {
		owner                 string
		above, host, wildcard string // "" for none; all but above relative to example.org
	}{
		{"host.wild", "*.wild", "host.wild", "*.wild"},
		{"_acme-challenge.host.wild", "*.wild", "host.wild", "*.wild"},
		{"_sip._tcp.host.wild", "*.wild", "host.wild", "*.wild"},
		{"there.wild", "*.wild", "", ""},
		{"x.there.wild", "*.wild", "", ""}, // whose closest encloser is no wildcard's parent
		{"ent.wild", "*.wild", "", ""},
		{"_acme-challenge.ent.wild", "*.wild", "", ""},
		{"y.ent.wild", "*.wild", "", ""},
		{"a.deep.wild", "*.deep.wild", "a.deep.wild", "*.deep.wild"},
		{"b.a.deep.wild", "*.deep.wild", "a.deep.wild", "*.deep.wild"},
		{"*.wild", "", "", ""},
		{"x.*.wild", "*.wild", "", ""},
		{"wild", "", "", ""},
		{"other", "", "", ""},
		{"_acme-challenge.other", "", "", ""},
		{"a.only", "", "", ""}, // where the wildcard exists without records
		{"@", "", "", ""},
	} {
		owner, err := record.ParseOwner(test.owner, zone.Name)
		if err != nil {
			t.Fatal(err)
		}
		relative := func(n record.Name) string {
			if n == "" {
				return ""
			}
			return n.Relative(zone.Name)
		}
		host, wildcard := z.Silenced(owner)
		if above := z.WildcardAbove(owner); relative(above) != test.above || relative(host) != test.host || relative(wildcard) != test.wildcard {
			t.Errorf("%s: above it is %q, and it takes %q from %q; want %q, %q, %q",
				test.owner, relative(above), relative(host), relative(wildcard), test.above, test.host, test.wildcard)
		}
	}
	if host, _ := z.Silenced(name(t, "host.wild.example.net")); host != "" {
		t.Errorf("a name of another zone takes %q", host)
	}
}
