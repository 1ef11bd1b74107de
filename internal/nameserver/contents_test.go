package nameserver

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// TestContents compares what is counted with what was put there, before and after
// the store is opened again.
func TestContents(t *testing.T) {
	path := storePath(t)
	s := open(t, path)
	one, two, empty := zoneConfig(t, "one.example"), zoneConfig(t, "two.example"), zoneConfig(t, "empty.example", "ns.example.net")
	serve(t, s, one, two, empty)
	started := time.Now()
	soon, later := time.Now().Add(time.Hour).Truncate(time.Second), time.Now().Add(2*time.Hour).Truncate(time.Second)
	first := appending(
		expiring(rr(t, one.Name, "www 60 TXT later"), time.Until(later)+time.Second/2),
		expiring(rr(t, one.Name, "www 60 TXT soon"), time.Until(soon)+time.Second/2),
		rr(t, one.Name, "www 60 A 192.0.2.1"), rr(t, one.Name, "@ 60 TXT apex"),
	)
	if _, err := s.ApplyFor(t.Context(), one.Name, first, Account{Client: "first"}); err != nil {
		t.Fatal(err)
	}
	gone := rr(t, two.Name, "gone 60 TXT x")
	apply(t, s, two.Name, appending(
		expiring(gone, time.Minute),
		expiring(rr(t, two.Name, "www 60 TXT x"), time.Until(later)+time.Second/2),
	))
	apply(t, s, two.Name, deleting(gone))

	want := []Contents{
		{Zone: one.Name, Records: 7, Expiring: 2, Oldest: started},
		{Zone: two.Name, Records: 4, Expiring: 1, Oldest: started},
		{Zone: empty.Name, Records: 2}, // SOA, NS
	}
	roughly := cmpopts.EquateApproxTime(10 * time.Second)
	if diff := cmp.Diff(want, s.Contents(), roughly); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	expiries := []Expiry{
		{Zone: one.Name, Name: name(t, "www.one.example"), At: soon, Written: started, Client: "first"},
		{Zone: two.Name, Name: name(t, "www.two.example"), At: later, Written: started},
	}
	if diff := cmp.Diff(expiries, slices.Collect(s.Expiries()), roughly); diff != "" {
		t.Errorf("expiries (-want +got):\n%s", diff)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, path)
	serve(t, s, one, two, empty)
	if diff := cmp.Diff(want, s.Contents(), roughly); diff != "" {
		t.Errorf("opened again (-want +got):\n%s", diff)
	}
	expiries[0].Written, expiries[1].Written = time.Time{}, time.Time{}
	if diff := cmp.Diff(expiries, slices.Collect(s.Expiries()), roughly); diff != "" {
		t.Errorf("expiries, opened again (-want +got):\n%s", diff)
	}
}
