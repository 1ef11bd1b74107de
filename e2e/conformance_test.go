package e2e

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/libdns/libdns"
	"github.com/libdns/libdns/libdnstest"
)

// The suite of libdns itself, with no type skipped. Its version 1.2.0-alpha.1 has
// no option to expect an empty zone, so that is asserted here.
func TestLibdnsSuite(t *testing.T) {
	t.Parallel()
	for _, s := range subjects(t) {
		t.Run(s.Name, func(t *testing.T) {
			s.assertRecords(t, s.Zone, s.Made, nil)
			libdnstest.NewTestSuite(s.Service, s.Zone).RunTests(t)

			// The suite cleans up at names that begin with "test-", so that it leaves
			// these, and no others.
			left := map[string]libdns.Record{
				"_exampleservice._tcp.test-append-srv SRV": libdns.SRV{
					Service: "exampleservice", Transport: "tcp", Name: "test-append-srv", TTL: 5 * time.Minute,
					Priority: 10, Weight: 20, Port: 443, Target: "service.example.com.",
				},
				"_dns.test-append-svcb SVCB": libdns.ServiceBinding{
					Scheme: "dns", Name: "test-append-svcb", TTL: 5 * time.Minute,
					Priority: 1, Target: ".", Params: libdns.SvcParams{"alpn": {"dot"}},
				},
				"_newservice._tcp.test-set-srv SRV": libdns.SRV{
					Service: "newservice", Transport: "tcp", Name: "test-set-srv", TTL: 10 * time.Minute,
					Priority: 5, Weight: 10, Port: 80, Target: "updated.example.com.",
				},
			}
			var recs []libdns.Record
			for _, rec := range left {
				recs = append(recs, rec)
			}
			s.assertRecords(t, s.Zone, s.Made, recs)
			if _, err := s.Service.DeleteRecords(t.Context(), s.Zone, recs); err != nil {
				t.Fatal(err)
			}
			s.assertRecords(t, s.Zone, s.Made, nil)
		})
	}
}

// A hundred goroutines share one client, at names of their own and at one that is
// everyone's. It is not parallel: that many calls wait for a turn as long as the service
// lets them, and all of them have to get one.
func TestLibdnsConcurrently(t *testing.T) {
	const goroutines = 100
	for _, s := range subjects(t) {
		t.Run(s.Name, func(t *testing.T) {
			shared := libdns.TXT{Name: "shared", TTL: time.Minute, Text: "everybody's"}
			if _, err := s.Service.AppendRecords(t.Context(), s.Zone, []libdns.Record{shared}); err != nil {
				t.Fatal(err)
			}
			var wg sync.WaitGroup
			for i := range goroutines {
				wg.Go(func() {
					if err := s.useZone(t.Context(), i); err != nil {
						t.Errorf("goroutine %d: %v", i, err)
					}
				})
			}
			wg.Wait()
			s.assertRecords(t, s.Zone, s.Made, []libdns.Record{shared})
			if _, err := s.Service.DeleteRecords(t.Context(), s.Zone, []libdns.Record{shared}); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// useZone calls every method and leaves the zone as it was.
func (s Subject) useZone(ctx context.Context, i int) error {
	own := fmt.Sprintf("own-%d", i)
	text := libdns.TXT{Name: "shared", TTL: time.Minute, Text: fmt.Sprintf("of goroutine %d", i)}
	old := libdns.Address{Name: own, TTL: time.Minute, IP: netip.MustParseAddr("192.0.2.1")}
	address := libdns.Address{Name: own, TTL: time.Minute, IP: netip.MustParseAddr("192.0.2.2")}
	steps := []struct {
		what string
		do   func(context.Context, string, []libdns.Record) ([]libdns.Record, error)
		recs []libdns.Record
	}{
		{"append", s.Service.AppendRecords, []libdns.Record{text, old}},
		{"append again", s.Service.AppendRecords, []libdns.Record{text}},
		{"set", s.Service.SetRecords, []libdns.Record{address}},
		{"delete", s.Service.DeleteRecords, []libdns.Record{text, address}},
	}
	for _, step := range steps {
		got, err := step.do(ctx, s.Zone, step.recs)
		if err != nil {
			return fmt.Errorf("%s: %w", step.what, err)
		}
		if diff := cmp.Diff(lines(step.recs), lines(got)); diff != "" {
			return fmt.Errorf("%s: the answer (-want +got):\n%s", step.what, diff)
		}
		found, err := s.Service.GetRecords(ctx, s.Zone)
		if err != nil {
			return fmt.Errorf("reading after %s: %w", step.what, err)
		}
		if n, want := count(found, own), strings.Count(step.what, "delete"); (n == 0) != (want == 1) || n > 1 {
			return fmt.Errorf("after %s, there are %d addresses at %s", step.what, n, own)
		}
	}
	zones, err := s.Service.ListZones(ctx)
	if err == nil && !slices.Contains(zones, libdns.Zone{Name: s.Zone}) {
		err = fmt.Errorf("the zone is not listed in %v", zones)
	}
	return err
}

// A set of several RRsets is seen whole or not at all.
func TestLibdnsSetIsAtomic(t *testing.T) {
	t.Parallel()
	for _, s := range subjects(t) {
		t.Run(s.Name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
			defer cancel()
			generation := func(i int) []libdns.Record {
				data := fmt.Sprint("generation ", i)
				return list(txt("a", data), txt("b", data), txt("b", data+" too"), txt("c.d", data))
			}
			if _, err := s.Service.SetRecords(t.Context(), s.Zone, generation(0)); err != nil {
				t.Fatal(err)
			}
			var wg sync.WaitGroup
			wg.Go(func() {
				defer cancel()
				for i := range 100 {
					if _, err := s.Service.SetRecords(t.Context(), s.Zone, generation(i)); err != nil {
						t.Errorf("set %d: %v", i, err)
						return
					}
				}
			})
			seen := make(map[string]bool)
			for ctx.Err() == nil {
				now := contents(t, s.Again, s.Zone, s.Made)
				var i int
				if len(now) != 4 {
					t.Errorf("the zone has %d records: %q", len(now), now)
					break
				}
				fmt.Sscanf(now[0], `libdns.TXT a 1m0s TXT "generation %d"`, &i)
				if diff := cmp.Diff(lines(generation(i)), now); diff != "" {
					t.Errorf("a mixture (-want +got):\n%s", diff)
					break
				}
				seen[now[0]] = true
			}
			wg.Wait()
			if len(seen) < 2 {
				t.Errorf("%d generations were seen", len(seen))
			}
			s.empty(t, s.Zone)
		})
	}
}

func count(recs []libdns.Record, name string) (n int) {
	for _, rec := range recs {
		if rec.RR().Name == name {
			n++
		}
	}
	return n
}
