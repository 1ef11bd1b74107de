package record_test

import (
	"testing"

	"github.com/caddy-dns/bestdns/internal/record"
)

func TestZonesOf(t *testing.T) {
	hosted := record.NewZones(name(t, "example.org"), name(t, "nested.example.org"), name(t, "deep.below.example.org"))
	withRoot := record.NewZones(record.Root, name(t, "org"))
	for _, test := range []struct {
		name  string
		zones record.Zones
		of    string
		want  string // none if ""
	}{
		{"apex", hosted, "example.org", "example.org."},
		{"below", hosted, "a.b.example.org", "example.org."},
		{"apex of a nested zone", hosted, "nested.example.org", "nested.example.org."},
		{"within a nested zone", hosted, "A.Nested.example.org", "nested.example.org."},
		{"above a nested zone, not hosted itself", hosted, "below.example.org", "example.org."},
		{"ends the same", hosted, "notnested.example.org", "example.org."},
		{"a label that spells the zone", hosted, `a\.nested.example.org`, "example.org."},
		{"above", hosted, "org", ""},
		{"elsewhere", hosted, "example.net", ""},
		{"ends the same, elsewhere", hosted, "notexample.org", ""},
		{"the root", hosted, ".", ""},
		{"the root, hosted", withRoot, ".", "."},
		{"below the root, hosted", withRoot, "example.net", "."},
		{"below a zone below the root", withRoot, "example.org", "org."},
		{"no zones", nil, "example.org", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			apex, ok := test.zones.Of(name(t, test.of))
			if ok != (test.want != "") || apex.String() != test.want {
				t.Errorf("%q, %v; want %q", apex, ok, test.want)
			}
			if ok && !test.zones.Has(apex) {
				t.Errorf("%q is no zone of the set", apex)
			}
		})
	}
	if apex, ok := withRoot.Of(""); ok {
		t.Errorf("no name is in %q", apex)
	}
}
