package nameserver

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/caddy-dns/bestdns/internal/record"
)

// expiriesOf returns when each record that expires does, after now, roughly.
func expiriesOf(z *Snapshot) map[string]time.Duration {
	expiries := make(map[string]time.Duration)
	for r := range z.Records(z.zone) {
		if r.Expires != 0 {
			expiries[r.String()] = time.Until(time.Unix(r.Expires, 0)).Round(5 * time.Minute)
		}
	}
	return expiries
}

// TestExpiryIsBounded has records that were written with a clock years ahead.
func TestExpiryIsBounded(t *testing.T) {
	const years, hour = 10 * 365 * 24 * time.Hour, time.Hour
	path := storePath(t)
	synctest.Test(t, func(t *testing.T) {
		s := open(t, path)
		long, short, other := zoneConfig(t, "long.test"), zoneConfig(t, "short.test"), zoneConfig(t, "other.test")
		long.ChallengeLifetime, short.ChallengeLifetime = 7*24*hour, hour
		serve(t, s, long, short, other)
		for _, zone := range []ZoneConfig{long, short, other} {
			apply(t, s, zone.Name, appending(
				expiring(rr(t, zone.Name, "a 60 TXT far"), years),
				expiring(rr(t, zone.Name, "a 60 TXT near"), hour/2),
				expiring(rr(t, zone.Name, "b 60 TXT far"), years),
				expiring(rr(t, zone.Name, "b 60 TXT farther"), 2*years),
				rr(t, zone.Name, "b 60 TXT stays"),
			))
		}
		apply(t, s, long.Name, appending(expiring(rr(t, long.Name, "c 60 TXT right"), 6*24*hour)))

		// While it runs, as after a clock that is set back.
		time.Sleep(expireCheck)
		synctest.Wait()
		for zone, lifetime := range map[record.Name]time.Duration{long.Name: 7 * 24 * hour, short.Name: hour, other.Name: defaultLifetime} {
			want := make(map[string]time.Duration)
			for text, expires := range map[string]time.Duration{"a 60 TXT far": lifetime, "a 60 TXT near": hour / 2, "b 60 TXT far": lifetime, "b 60 TXT farther": lifetime} {
				want[rr(t, zone, text).String()] = expires
			}
			if zone == long.Name {
				want[rr(t, zone, "c 60 TXT right").String()] = 6 * 24 * hour
			}
			if diff := cmp.Diff(want, expiriesOf(snapshot(t, s, zone))); diff != "" {
				t.Errorf("zone %s (-want +got):\n%s", zone, diff)
			}
		}
		serial := snapshot(t, s, short.Name).Serial()
		time.Sleep(3 * expireCheck)
		synctest.Wait()
		if got := snapshot(t, s, short.Name).Serial(); got != serial {
			t.Errorf("brought down again: serial %d after %d", got, serial)
		}

		// It is on disk, and not done again where no configuration says how far.
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		s = open(t, path)
		if err := s.Load(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * expireCheck)
		synctest.Wait()
		got := expiriesOf(snapshot(t, s, long.Name))
		if far := got[rr(t, long.Name, "a 60 TXT far").String()]; far < 6*24*hour || far > 7*24*hour {
			t.Errorf("after a restart one expires after %s", far)
		}

		// Another configuration has it sooner.
		long.ChallengeLifetime = 2 * hour
		serve(t, s, long)
		synctest.Wait()
		for text, expires := range expiriesOf(snapshot(t, s, long.Name)) {
			if expires > 2*hour {
				t.Errorf("after a reload, %s expires after %s", text, expires)
			}
		}
	})
}

// TestExpiryIsBoundedAtStart has the clock put right while no one runs.
func TestExpiryIsBoundedAtStart(t *testing.T) {
	path := storePath(t)
	synctest.Test(t, func(t *testing.T) {
		s := open(t, path)
		zone := zoneConfig(t, "example.org")
		serve(t, s, zone)
		var records []record.Record
		for i := range 2*expireAtOnce + 10 {
			owner, err := zone.Name.Child(string([]byte{'n', 'a' + byte(i/676), 'a' + byte(i/26%26), 'a' + byte(i%26)}))
			if err != nil {
				t.Fatal(err)
			}
			records = append(records, expiring(record.Record{Name: owner, Type: record.TypeTXT, TTL: 60, Data: "\x01x"}, 10*365*24*time.Hour))
		}
		apply(t, s, zone.Name, appending(records...))
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		s = open(t, path)
		serve(t, s, zone)
		time.Sleep(time.Second)
		synctest.Wait()
		for text, expires := range expiriesOf(snapshot(t, s, zone.Name)) {
			if expires != defaultLifetime {
				t.Fatalf("%s expires after %s", text, expires)
			}
		}
		time.Sleep(defaultLifetime + time.Minute)
		synctest.Wait()
		if left := len(expiriesOf(snapshot(t, s, zone.Name))); left != 0 {
			t.Errorf("%d are left", left)
		}
	})
}
