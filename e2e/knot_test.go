package e2e

import (
	"errors"
	"net/http"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/libdns/libdns"
	"github.com/miekg/dns"

	"github.com/caddy-dns/bestdns"
	"github.com/caddy-dns/bestdns/e2e/internal/harness"
)

const knotZoneName = "knot.example"

// newKnotWorld starts Knot with a zone and a service that keeps the zone there.
func newKnotWorld(t *testing.T) *harness.World {
	t.Helper()
	knot := harness.StartKnot(t, knotZoneName)
	w := harness.NewWorld(t)
	w.Resolver.Delegate(knotZoneName, knot.Addr)
	harness.StartCaddy(t, harness.CaddyBinary, "knot.caddyfile", w.Env(t), harness.Env{
		"KNOT":          knot.Addr,
		"KNOT_KEY_NAME": knot.KeyName,
		"KNOT_KEY":      knot.Key,
	})
	return w
}

func TestKnotZoneObtains(t *testing.T) {
	t.Parallel()
	const domain = "web." + knotZoneName
	w := newKnotWorld(t)
	client := harness.StartCaddy(t, harness.ClientBinary, "client.caddyfile", w.Env(t), sites("*."+domain))
	client.WaitCertificates("*." + domain)

	harness.AssertServed(t, client.HTTPS, "any."+domain, w.Pebble, "*."+domain)
	w.Recorder.AssertWrites(t, map[string]int{"_acme-challenge." + domain + ".": 1})
	w.AssertNoChallenge(t, knotZoneName, domain)
}

// Every libdns method, each checked by what it returns and by what Knot serves.
func TestKnotZoneKeepsTheAPIHonest(t *testing.T) {
	t.Parallel()
	const (
		zone = knotZoneName + "."
		host = "host." + knotZoneName
	)
	w := newKnotWorld(t)
	p := &bestdns.Provider{Endpoint: w.Recorder.URL, APIToken: w.Reader, TrustedRoots: []string{w.Recorder.TLSRoot}}
	address := func(ip string) libdns.Record {
		return libdns.Address{Name: "host", TTL: time.Minute, IP: netip.MustParseAddr(ip)}
	}
	text := libdns.TXT{Name: "host", TTL: time.Minute, Text: "printable, with spaces; and more"}

	steps := []struct {
		name string
		do   func() ([]libdns.Record, error)
		want []libdns.Record
		// What Knot serves afterwards.
		a, txt []string
	}{
		{
			name: "append",
			do: func() ([]libdns.Record, error) {
				return p.AppendRecords(t.Context(), zone, []libdns.Record{address("192.0.2.1"), text})
			},
			want: []libdns.Record{address("192.0.2.1"), text},
			a:    []string{"192.0.2.1"},
			txt:  []string{`"printable, with spaces; and more"`},
		},
		{
			name: "append a second value",
			do: func() ([]libdns.Record, error) {
				return p.AppendRecords(t.Context(), zone, []libdns.Record{address("192.0.2.2")})
			},
			want: []libdns.Record{address("192.0.2.2")},
			a:    []string{"192.0.2.1", "192.0.2.2"},
			txt:  []string{`"printable, with spaces; and more"`},
		},
		{
			name: "set",
			do: func() ([]libdns.Record, error) {
				return p.SetRecords(t.Context(), zone, []libdns.Record{address("192.0.2.3")})
			},
			want: []libdns.Record{address("192.0.2.3")},
			a:    []string{"192.0.2.3"},
			txt:  []string{`"printable, with spaces; and more"`},
		},
		{
			name: "delete what is there by name and type",
			do: func() ([]libdns.Record, error) {
				return p.DeleteRecords(t.Context(), zone, []libdns.Record{libdns.RR{Name: "host", Type: "A"}})
			},
			want: []libdns.Record{address("192.0.2.3")},
			txt:  []string{`"printable, with spaces; and more"`},
		},
		{
			// The answer is the provider's, and this one never looks what was there.
			name: "delete what is there no more",
			do: func() ([]libdns.Record, error) {
				return p.DeleteRecords(t.Context(), zone, []libdns.Record{address("192.0.2.3")})
			},
			want: []libdns.Record{address("192.0.2.3")},
			txt:  []string{`"printable, with spaces; and more"`},
		},
		{
			name: "delete the text",
			do: func() ([]libdns.Record, error) {
				return p.DeleteRecords(t.Context(), zone, []libdns.Record{text})
			},
			want: []libdns.Record{text},
		},
	}
	unordered := []cmp.Option{
		cmpopts.EquateEmpty(),
		cmpopts.EquateComparable(netip.Addr{}),
		cmpopts.SortSlices(func(a, b string) bool { return a < b }),
		cmpopts.SortSlices(func(a, b libdns.Record) bool { return a.RR().Data < b.RR().Data }),
		cmpopts.IgnoreFields(libdns.Address{}, "ProviderData"),
		cmpopts.IgnoreFields(libdns.TXT{}, "ProviderData"),
	}
	for _, step := range steps {
		got, err := step.do()
		if err != nil {
			t.Fatalf("%s: %v", step.name, err)
		}
		if diff := cmp.Diff(step.want, got, unordered...); diff != "" {
			t.Errorf("%s: the answer (-want +got):\n%s", step.name, diff)
		}
		if diff := cmp.Diff(step.a, w.Resolver.Query(t, host, dns.TypeA), unordered...); diff != "" {
			t.Errorf("%s: A at Knot (-want +got):\n%s", step.name, diff)
		}
		if diff := cmp.Diff(step.txt, w.Resolver.Query(t, host, dns.TypeTXT), unordered...); diff != "" {
			t.Errorf("%s: TXT at Knot (-want +got):\n%s", step.name, diff)
		}
	}

	// The provider's own code would make another text of this one.
	mangled := libdns.TXT{Name: "host", TTL: time.Minute, Text: `"quoted"`}
	_, err := p.AppendRecords(t.Context(), zone, []libdns.Record{mangled})
	var refused *bestdns.Error
	if !errors.As(err, &refused) || refused.Status != http.StatusUnprocessableEntity || !refused.Unchanged {
		t.Errorf("a text that the provider cannot carry: got %v, want status 422 and an unchanged zone", err)
	}
	if got := w.Resolver.Query(t, host, dns.TypeTXT); got != nil {
		t.Errorf("a text that the provider cannot carry is at Knot: %q", got)
	}

	zones, err := p.ListZones(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]libdns.Zone{{Name: zone}}, zones); diff != "" {
		t.Errorf("the zones (-want +got):\n%s", diff)
	}
	records, err := p.GetRecords(t.Context(), zone)
	if err != nil {
		t.Fatal(err)
	}
	var types []string
	for _, r := range records {
		types = append(types, r.RR().Name+" "+r.RR().Type)
	}
	slices.Sort(types)
	types = slices.Compact(types) // a transfer begins and ends with the SOA
	if diff := cmp.Diff([]string{"@ NS", "@ SOA", "ns1 A"}, types); diff != "" {
		t.Errorf("the records (-want +got):\n%s", diff)
	}
}
