package nameserver

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-dns/bestdns/internal/record"
)

// TestOldest follows the age of the oldest record that expires, which no lifetime has a part
// in: neither one that a configuration changes nor one of a record's own.
func TestOldest(t *testing.T) {
	const hour = time.Hour
	path := storePath(t)
	synctest.Test(t, func(t *testing.T) {
		s := open(t, path)
		zone, other := zoneConfig(t, "one.test"), zoneConfig(t, "two.test")
		zone.ChallengeLifetime, other.ChallengeLifetime = 24*hour, 24*hour
		serve(t, s, zone, other)
		wait := func(d time.Duration) {
			time.Sleep(d)
			synctest.Wait()
		}
		want := func(what string, ages ...time.Duration) {
			t.Helper()
			for i, c := range s.Contents() {
				got := time.Duration(-1)
				if !c.Oldest.IsZero() {
					got = time.Since(c.Oldest).Round(10 * time.Second)
				}
				if got != ages[i] {
					t.Errorf("%s, the oldest of %s is %v old, want %v", what, c.Zone, got, ages[i])
				}
			}
		}
		const none = -1
		written := func(text string, lifetime time.Duration) record.Record {
			return expiring(rr(t, zone.Name, text), lifetime)
		}
		want("in the beginning", none, none)
		apply(t, s, zone.Name, appending(written("a 0 TXT left", 24*hour), written("a 0 TXT beside", 23*hour)))
		wait(10 * time.Minute)
		apply(t, s, zone.Name, appending(written("a 0 TXT short", 5*time.Minute), written("b 0 TXT short", 5*time.Minute)))
		want("with records that expire soon", 10*time.Minute, none)
		wait(10 * time.Minute)
		want("when those have expired", 20*time.Minute, none)
		apply(t, s, zone.Name, deleting(written("a 0 TXT beside", 0)))

		// A longer lifetime, and then one so short that all are brought down.
		zone.ChallengeLifetime = 7 * 24 * hour
		serve(t, s, zone, other)
		want("with a longer lifetime", 20*time.Minute, none)
		apply(t, s, zone.Name, appending(written("c 0 TXT left", 7*24*hour)))
		wait(10 * time.Minute)
		zone.ChallengeLifetime = 3 * hour
		serve(t, s, zone, other)
		wait(10 * time.Minute)
		want("with a shorter lifetime", 40*time.Minute, none)
		if expiries := expiriesOf(snapshot(t, s, zone.Name)); len(expiries) != 2 || expiries[rr(t, zone.Name, "a 0 TXT left").String()] > 3*hour {
			t.Fatalf("they were not brought down: %v", expiries)
		}

		// The older one goes; then the other one is written again.
		apply(t, s, zone.Name, deleting(written("a 0 TXT left", 0)))
		want("without the older one", 20*time.Minute, none)
		wait(10 * time.Minute)
		apply(t, s, zone.Name, appending(written("c 0 TXT left", 3*hour)))
		want("when it is written again", 0, none)

		// What was there before the process counts from its start, and only once.
		wait(10 * time.Minute)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		s = open(t, path)
		serve(t, s, zone, other)
		want("after a restart", 0, none)
		wait(10 * time.Minute)
		reload := &job{alone: true, plan: func(*batch) error { return s.loadIndex() }} // where the committer does
		if err := s.submit(t.Context(), reload); err != nil {
			t.Fatal(err)
		}
		want("when the store is read again", 10*time.Minute, none)
		wait(4 * hour)
		want("when all have expired", none, none)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	})
}

// TestDeadlinesReadAgain: a record that was the last at its name to expire, and is the only
// one when the store is read again, is as old as it was and the first.
func TestDeadlinesReadAgain(t *testing.T) {
	z := &zone{name: name(t, "example.org")}
	soon, late := rr(t, z.name, "a 0 TXT soon"), rr(t, z.name, "a 0 TXT late")
	soon.Expires, late.Expires = 1000, 2000
	key := soon.Name.Key()
	before, after := newDeadlines(), newDeadlines()
	before.move(z, key, "", packNode([]record.Record{soon, late}))
	before.order.Set(deadline{at: 2000, zone: z, key: key, last: true, since: 5})
	after.read(z, key, packNode([]record.Record{late}), before)
	if got, want := after.order.Items(), (deadline{at: 2000, zone: z, key: key, since: 5}); len(got) != 1 || got[0] != want {
		t.Errorf("%+v, want %+v", got, want)
	}
}
