package nameserver

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.etcd.io/bbolt"

	"github.com/caddy-dns/bestdns/internal/record"
)

// TestUses: what counts against a client is what it has written and is still there,
// until it is deleted, across restarts and in a restored backup.
func TestUses(t *testing.T) {
	zone := zoneConfig(t, "example.org")
	path := storePath(t)
	s := open(t, path)
	serve(t, s, zone)
	by := func(client string, change record.Change) {
		t.Helper()
		if _, err := s.ApplyFor(context.Background(), zone.Name, change, Account{Client: client}); err != nil {
			t.Fatal(err)
		}
	}
	want := func(when string, s *Server, want map[string]Use) {
		t.Helper()
		if got := s.Uses(); !maps.Equal(got, want) {
			t.Errorf("%s: on accounts there are %v, want %v", when, got, want)
		}
	}
	const size = len("\x03www\x07example\x03org\x00") + 10 + 4
	www := rrs(t, zone.Name, "www 60 A 192.0.2.1", "www 60 A 192.0.2.2", "www 60 A 192.0.2.3")
	by("web", appending(www[0], www[1]))
	want("after an append", s, map[string]Use{"web": {2, 2 * size}})
	by("ops", appending(www[1], www[2]))
	want("after another client's, of which one was there", s, map[string]Use{"web": {2, 2 * size}, "ops": {1, size}})
	by("ops", record.Change{Op: record.Set, Records: www[:1]})
	want("after a set", s, map[string]Use{"ops": {1, size}})
	by("", appending(www[2]))
	want("after one of no client", s, map[string]Use{"ops": {1, size}})
	by("web", appending(www[1]))
	backup := filepath.Join(t.TempDir(), "backup.db")
	if err := s.Backup(context.Background(), backup); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	for when, path := range map[string]string{"after a restart": path, "in a backup": backup} {
		s := open(t, path)
		serve(t, s, zone)
		want(when, s, map[string]Use{"ops": {1, size}, "web": {1, size}})
		if _, err := s.ApplyFor(context.Background(), zone.Name, deleting(www...), Account{Client: "third"}); err != nil {
			t.Fatal(err)
		}
		want(when+", all deleted", s, map[string]Use{})
	}
}

// TestAccountLimits: what would be over a limit is refused by its name, with nothing
// changed; what has become less than it was is not.
func TestAccountLimits(t *testing.T) {
	zone := zoneConfig(t, "example.org")
	s := serving(t, zone)
	challenge := func(owner string, i int) record.Record {
		r := rr(t, zone.Name, fmt.Sprintf("%s 60 TXT %043d", owner, i))
		r.Expires = time.Now().Add(time.Hour).Unix()
		return r
	}
	limited := func(a Account, change record.Change) record.Limit {
		t.Helper()
		serial := snapshot(t, s, zone.Name).Serial()
		_, err := s.ApplyFor(context.Background(), zone.Name, change, a)
		var over *record.LimitError
		switch {
		case err == nil:
			return ""
		case !errors.As(err, &over):
			t.Fatal(err)
		case over.Most == 0 || !strings.Contains(err.Error(), fmt.Sprint(over.Most)):
			t.Errorf("the error does not say the limit: %v", err)
		case snapshot(t, s, zone.Name).Serial() != serial:
			t.Errorf("the zone has changed: %v", err)
		}
		return over.Limit
	}
	a := func(name string) record.Change { return appending(rr(t, zone.Name, name+" 60 A 192.0.2.1")) }
	account := "_" + strings.Repeat("a", 16) + "._acme-challenge.www"
	for i, step := range []struct {
		account Account
		change  record.Change
		want    record.Limit
	}{
		{Account{Client: "web", Records: 2}, a("a"), ""},
		{Account{Client: "web", Records: 2}, a("b"), ""},
		{Account{Client: "web", Records: 2}, a("c"), LimitClientRecords},
		{Account{Client: "web", Records: 2}, a("b"), ""}, // it is there
		{Account{Client: "web", Bytes: 64}, a("c"), LimitClientBytes},
		{Account{Client: "web", Bytes: 1000}, a("c"), ""},
		{Account{Client: "web", Records: 1}, a("d"), LimitClientRecords},
		{Account{Client: "web", Records: 1}, deleting(rr(t, zone.Name, "c 60 A 192.0.2.1")), ""},
		{Account{Client: "web", Records: 1}, record.Change{Op: record.Set, Records: rrs(t, zone.Name, "b 60 A 192.0.2.9")}, ""},
		{Account{Client: "ops", Records: 1}, a("d"), ""},
		{Account{Client: "ops", Records: 1}, a("e"), LimitClientRecords},
		{Account{Records: 1}, a("e"), ""}, // of no client
		// The name server's own: NS and an address.
		{Account{Client: "third", ZoneRecords: 6}, a("f"), LimitZoneRecords},
		{Account{Client: "third", ZoneRecords: 7}, a("f"), ""},
		{Account{Client: "third", ZoneBytes: 100}, a("g"), LimitZoneBytes},
		{Account{Client: "third", ZoneBytes: 1000}, a("g"), ""},
		{Account{Client: "third", Challenges: 2}, appending(challenge("_acme-challenge.www", 1), challenge(account, 2)), ""},
		{Account{Client: "third", Challenges: 2}, appending(challenge(account, 3)), LimitChallenges},
		{Account{Client: "web", Challenges: 2}, appending(challenge("_acme-challenge.www", 3)), LimitChallenges},
		{Account{Client: "web", Challenges: 2}, appending(challenge("_acme-challenge.www", 1)), ""}, // renewed
		{Account{Client: "web", Challenges: 2}, appending(challenge("_acme-challenge.other", 1)), ""},
		{Account{Client: "web", Challenges: 2}, deleting(challenge(account, 2)), ""},
		{Account{Client: "web", Challenges: 2}, appending(challenge(account, 3)), ""},
		{Account{Client: "third", Challenges: 2}, appending(rr(t, zone.Name, "_acme-challenge.www 60 TXT durable")), ""},
	} {
		if got := limited(step.account, step.change); got != step.want {
			t.Errorf("step %d: the limit is %q, want %q", i, got, step.want)
		}
	}
}

// TestAccountsWithinBatch: changes of one commit count together.
func TestAccountsWithinBatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		zone := zoneConfig(t, "example.org")
		s := serving(t, zone)
		began, release, commits := pausedCommit(t, s)
		done := make(chan error)
		for i := range 21 {
			go func() {
				r := rr(t, zone.Name, fmt.Sprintf("_acme-challenge.www 60 TXT %043d", i))
				r.Expires = time.Now().Add(time.Hour).Unix()
				_, err := s.ApplyFor(context.Background(), zone.Name, appending(r), Account{Client: fmt.Sprint(i % 2), Records: 4, Challenges: 7})
				done <- err
			}()
			if i == 0 {
				<-began
			}
		}
		waitPooled(t, s, 20)
		release()
		over := make(map[record.Limit]int)
		for range 21 {
			var e *record.LimitError
			switch err := <-done; {
			case errors.As(err, &e):
				over[e.Limit]++
			case err != nil:
				t.Error(err)
			}
		}
		if got := len(snapshot(t, s, zone.Name).At(name(t, "_acme-challenge.www.example.org"))); got != 7 || over[LimitChallenges]+over[LimitClientRecords] != 14 || commits() > 3 {
			t.Errorf("%d records, over the limits %v, in %d commits", got, over, commits())
		}
	})
}

// TestUpgrade opens a store of version 1, whose records are no client's, and which had
// wider times.
func TestUpgrade(t *testing.T) {
	zone := zoneConfig(t, "example.org")
	path := storePath(t)
	s := open(t, path)
	serve(t, s, zone)
	soon := time.Now().Add(time.Hour).Unix()
	r := rr(t, zone.Name, "www 60 TXT x")
	r.Expires = soon
	apply(t, s, zone.Name, appending(r, rr(t, zone.Name, "www 60 TXT y")))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	key := setKey(r.Name.Key(), r.Type)
	db, err := bbolt.Open(path, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	err = db.Update(func(tx *bbolt.Tx) error {
		sets := tx.Bucket([]byte(zone.Name)).Bucket(setsBucket)
		set := append([]byte(nil), sets.Get(key)...)
		if binary.BigEndian.Uint64(set[4:]) != uint64(soon) {
			return errors.New("a record of no client is not as in version 1")
		}
		late := binary.BigEndian.AppendUint64(appendRecord(nil, record.Record{TTL: 60})[:4], 1<<32+5)
		late = append(binary.BigEndian.AppendUint16(late, 2), "\x01z"...)
		if err := sets.Put(key, append(set, late...)); err != nil {
			return err
		}
		return tx.Bucket(metaBucket).Put(formatKey, binary.BigEndian.AppendUint32(nil, 1))
	})
	if err := errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second finds an upgraded one
		s = open(t, path)
		if err := s.Load(); err != nil { // without a configuration, so that no time is brought down
			t.Fatal(err)
		}
		var got []string
		for _, r := range snapshot(t, s, zone.Name).At(r.Name) {
			got = append(got, fmt.Sprint(r.Data, r.Client, r.Expires == soon, r.Expires == math.MaxUint32))
		}
		if want := fmt.Sprint([]string{"\x01x0 true false", "\x01y0 false false", "\x01z0 false true"}); fmt.Sprint(got) != want {
			t.Errorf("records %q, want %q", got, want)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
