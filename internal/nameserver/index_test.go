package nameserver

import (
	"fmt"
	"testing"

	"github.com/caddy-dns/bestdns/internal/record"
	"github.com/google/go-cmp/cmp"
)

func TestRecordsUnderAName(t *testing.T) {
	zone := zoneConfig(t, "example.org")
	s := serving(t, zone)
	apply(t, s, zone.Name, appending(rrs(t, zone.Name,
		"a 60 TXT a", "a 60 A 192.0.2.1", "b.a 60 TXT b.a", "c.b.a 60 TXT c.b.a", "z.a 60 TXT z.a",
		"aa 60 TXT aa", "ent.deep 60 TXT ent", `\000.a 60 TXT nul`, "B 60 CAA 0 issue \"x\"")...))
	made := []string{"example.org. NS", "ns1.example.org. A"}
	a := []string{"a.example.org. A", "a.example.org. TXT", `\000.a.example.org. TXT`, "b.a.example.org. TXT", "c.b.a.example.org. TXT", "z.a.example.org. TXT"}
	tests := []struct {
		name, under string
		want        []string
	}{
		{"whole zone", "example.org", append(append([]string{"example.org. SOA", made[0]}, a...), "aa.example.org. TXT", "b.example.org. CAA", "ent.deep.example.org. TXT", made[1])},
		{"name with others below", "a.example.org", a},
		{"empty non-terminal", "deep.example.org", []string{"ent.deep.example.org. TXT"}},
		{"single name", "aa.example.org", []string{"aa.example.org. TXT"}},
		{"no such name", "missing.example.org", nil},
		{"outside", "example.net", nil},
		{"above", "org", nil},
	}
	z := snapshot(t, s, zone.Name)
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var got []string
			for r := range z.Records(name(t, test.under)) {
				got = append(got, r.Name.String()+" "+r.Type.String())
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("records (-want +got):\n%s", diff)
			}
			for most := range got { // who stops early gets no more
				n := 0
				for range z.Records(name(t, test.under)) {
					if n++; n > most {
						break
					}
				}
				if n != most+1 {
					t.Errorf("%d records, asked for %d", n, most+1)
				}
			}
		})
	}
}

func TestAtHasTheMadeRecords(t *testing.T) {
	zone := zoneConfig(t, "example.org", "ns1.example.org 192.0.2.53 ::ffff:192.0.2.54 192.0.2.53 2001:db8::1", "ns1.example.org")
	s := serving(t, zone)
	z := snapshot(t, s, zone.Name)
	soa := record.Record{Name: zone.Name, Type: record.TypeSOA}
	at := z.At(zone.Name)
	if len(at) != 2 || at[0].Name != soa.Name || at[0].Type != soa.Type || at[0].TTL != soa.TTL {
		t.Fatalf("at the apex: %v", at)
	}
	typ, data := at[0].Text()
	if want := fmt.Sprintf("ns1.example.org. hostmaster.example.org. %d 3600 600 1209600 0", z.Serial()); typ != "SOA" || data != want {
		t.Errorf("SOA: %s %s, want %s", typ, data, want)
	}
	want := rrs(t, zone.Name, "ns1 60 A 192.0.2.53", "ns1 60 A 192.0.2.54", "ns1 60 AAAA 2001:db8::1")
	if diff := cmp.Diff(want, z.At(name(t, "ns1.example.org"))); diff != "" {
		t.Errorf("at the name server (-want +got):\n%s", diff)
	}
	for _, test := range []struct {
		name string
		typ  record.Type
		want bool
	}{
		{"example.org", record.TypeSOA, true},
		{"example.org", record.TypeNS, true},
		{"example.org", record.TypeTXT, false},
		{"ns1.example.org", record.TypeA, true},
		{"ns1.example.org", record.TypeTXT, false},
		{"www.example.org", record.TypeNS, false},
	} {
		if got := z.Made(name(t, test.name), test.typ); got != test.want {
			t.Errorf("%s %s is made: %v", test.name, test.typ, got)
		}
	}
}
