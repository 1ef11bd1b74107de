package nameserver

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-dns/bestdns/internal/record"
	"github.com/google/go-cmp/cmp"
	"go.etcd.io/bbolt"
)

var errDisk = errors.New("no space left on device")

// failAt fails the steps of the store in turn: each in the list fails once, when it
// is its turn and the step comes by.
func failAt(t *testing.T, s *Server, steps ...step) {
	setFailing(t, s, func(at step) error {
		if len(steps) > 0 && steps[0] == at {
			steps = steps[1:]
			return errDisk
		}
		return nil
	})
}

// setFailing sets the store's hook where it is read, in the committer.
func setFailing(t *testing.T, s *Server, failing func(step) error) {
	t.Helper()
	set := &job{alone: true, plan: func(*batch) error { return nil }, published: func() { s.store.failing = failing }}
	if err := s.submit(context.Background(), set); err != nil {
		t.Fatal(err)
	}
}

func TestFailingCommits(t *testing.T) {
	tests := []struct {
		name string
		fail []step
		want error // of the change
		// stored reports whether the change is on disk afterwards.
		stored bool
	}{
		{"nothing was written", []step{stepCommit}, ErrReadOnly, false},
		{"all was written, although an error said otherwise", []step{stepCommitted}, nil, true},
		{"nothing was written, and it cannot be read back", []step{stepCommit, stepOpen}, ErrOutcomeUnknown, false},
		{"all was written, but it cannot be read back", []step{stepCommitted, stepOpen}, ErrOutcomeUnknown, true},
		{"all was written, but it cannot be made durable", []step{stepCommitted, stepCommit}, ErrOutcomeUnknown, true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			path := storePath(t)
			s := open(t, path)
			zone := zoneConfig(t, "example.org")
			serve(t, s, zone)
			apply(t, s, zone.Name, appending(rr(t, zone.Name, "old 60 TXT x")))
			serial := snapshot(t, s, zone.Name).Serial()

			failAt(t, s, test.fail...)
			_, err := s.Apply(context.Background(), zone.Name, appending(rr(t, zone.Name, "new 60 TXT x")))
			if !errors.Is(err, test.want) || test.want != nil && !errors.Is(err, errDisk) {
				t.Errorf("error: %v", err)
			}
			// DNS goes on, with what is certain.
			if got := ask(t, s, "old.example.org", "TXT"); len(got.Answer) != 1 {
				t.Errorf("the old record in DNS: %v", got)
			}
			if served := len(ask(t, s, "new.example.org", "TXT").Answer) == 1; served != (test.want == nil) {
				t.Errorf("the new record is served: %v", served)
			}

			// The next change finds the store in order, and the change where it ought to be.
			apply(t, s, zone.Name, appending(rr(t, zone.Name, "later 60 TXT x")))
			z := snapshot(t, s, zone.Name)
			if stored := len(z.At(name(t, "new.example.org"))) == 1; stored != test.stored {
				t.Errorf("the new record is there: %v", stored)
			}
			if int32(z.Serial()-serial) <= 0 {
				t.Errorf("serial %d after %d", z.Serial(), serial)
			}
			want := lines(z)
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			s = open(t, path)
			serve(t, s, zone)
			if diff := cmp.Diff(want, lines(snapshot(t, s, zone.Name))); diff != "" {
				t.Errorf("opened again (-want +got):\n%s", diff)
			}
		})
	}
}

// As long as the store cannot be opened again, changes are refused, one by one, and
// DNS and configs go on.
func TestReadOnlyUntilReadBack(t *testing.T) {
	s := open(t, storePath(t))
	zone := zoneConfig(t, "example.org")
	serve(t, s, zone)
	text := rr(t, zone.Name, "new 60 TXT x")
	setFailing(t, s, func(at step) error {
		if at != stepCommitted {
			return errDisk
		}
		return nil
	})
	if _, err := s.Apply(context.Background(), zone.Name, appending(text)); !errors.Is(err, ErrOutcomeUnknown) {
		t.Errorf("first change: %v", err)
	}
	for range 2 {
		if _, err := s.Apply(context.Background(), zone.Name, appending(text)); !errors.Is(err, ErrReadOnly) || !errors.Is(err, errDisk) {
			t.Errorf("later change: %v", err)
		}
	}
	// Even one that would change nothing: it is not certain what is there.
	if _, err := s.Apply(context.Background(), zone.Name, deleting(text)); !errors.Is(err, ErrReadOnly) {
		t.Errorf("later delete: %v", err)
	}
	serve(t, s, zone)
	if err := s.Serve(Settings{Zones: []ZoneConfig{zone, zoneConfig(t, "new.test")}}); !errors.Is(err, ErrReadOnly) {
		t.Errorf("a config with a new zone: %v", err)
	}
	s.Revert(Settings{Zones: []ZoneConfig{zone}})
	if got := readReply(ask(t, s, "ns1.example.org", "A")); !slices.Equal(got.Answer, []string{"ns1.example.org. 60 A 192.0.2.53"}) {
		t.Errorf("DNS: %v", got)
	}
	setFailing(t, s, nil)
	apply(t, s, zone.Name, appending(text))
	serve(t, s, zone, zoneConfig(t, "new.test"))
}

// A config whose making of zones fails leaves the one before as it was; one that was
// written nevertheless is served.
func TestFailingServe(t *testing.T) {
	s := open(t, storePath(t))
	zone, other := zoneConfig(t, "example.org"), zoneConfig(t, "other.test")
	serve(t, s, zone)
	failAt(t, s, stepCommit)
	if err := s.Serve(Settings{Zones: []ZoneConfig{zone, other}}); !errors.Is(err, ErrReadOnly) {
		t.Fatalf("error: %v", err)
	}
	if _, ok := s.Snapshot(other.Name); ok {
		t.Error("the zone is there")
	}
	if got := readReply(ask(t, s, "other.test", "NS")); got.Rcode != "REFUSED" {
		t.Errorf("the zone in DNS: %v", got)
	}
	failAt(t, s, stepCommitted)
	serve(t, s, zone, other)
	if got := readReply(ask(t, s, "other.test", "NS")); !slices.Equal(got.Answer, []string{"other.test. 60 NS ns1.other.test."}) {
		t.Errorf("the zone in DNS, served again: %v", got)
	}
	apply(t, s, other.Name, appending(rr(t, other.Name, "www 60 TXT x")))
}

// A rehearsal tells what Serve would, and leaves nothing to be seen.
func TestRehearse(t *testing.T) {
	s := open(t, storePath(t))
	zone, other := zoneConfig(t, "example.org", "ns1.example.org 192.0.2.53"), zoneConfig(t, "other.test")
	serve(t, s, zone)
	changed := zoneConfig(t, "example.org", "ns9.example.org 192.0.2.99")
	before := readReply(ask(t, s, "example.org", "SOA"))
	rehearse := func(zones ...ZoneConfig) error { return s.Rehearse(Settings{Zones: zones}) }
	if err := rehearse(changed, other); err != nil {
		t.Fatal(err)
	}
	if err := rehearse(zone, zone); err == nil || !strings.Contains(err.Error(), "twice") {
		t.Errorf("a zone given twice: %v", err)
	}
	failAt(t, s, stepCommit)
	if err := rehearse(changed, other); !errors.Is(err, ErrReadOnly) {
		t.Errorf("with a store that cannot be written: %v", err)
	}
	setFailing(t, s, func(step) error { return errDisk })
	if err := rehearse(zone); err != nil {
		t.Errorf("what needs nothing written: %v", err)
	}
	setFailing(t, s, nil)
	if _, ok := s.Snapshot(other.Name); ok {
		t.Error("the new zone is there")
	}
	if diff := cmp.Diff(before, readReply(ask(t, s, "example.org", "SOA"))); diff != "" {
		t.Errorf("the zone has changed (-before +after):\n%s", diff)
	}
}

// A config that has to go, goes, even if its NS records cannot be replaced at once.
func TestRevertOfWhatCannotBeWritten(t *testing.T) {
	s := open(t, storePath(t))
	zone := zoneConfig(t, "example.org", "ns1.example.org 192.0.2.53")
	serve(t, s, zone)
	serve(t, s, zoneConfig(t, "example.org", "ns9.example.org 192.0.2.99"), zoneConfig(t, "other.test"))
	failAt(t, s, stepCommit)
	s.Revert(Settings{Zones: []ZoneConfig{zone}})
	if got := readReply(ask(t, s, "other.test", "NS")); got.Rcode != "REFUSED" {
		t.Errorf("its zone in DNS: %v", got)
	}
	if got := readReply(ask(t, s, "example.org", "NS")); !slices.Equal(got.Answer, []string{"example.org. 60 NS ns9.example.org."}) {
		t.Errorf("NS before they can be written: %v", got)
	}
	apply(t, s, zone.Name, appending(rr(t, zone.Name, "www 60 TXT "+strings.Repeat("x", leastProbe)))) // as large as what failed
	wait := &job{alone: true, plan: func(*batch) error { return nil }}
	if err := s.submit(context.Background(), wait); err != nil {
		t.Fatal(err)
	}
	if got := readReply(ask(t, s, "example.org", "NS")); !slices.Equal(got.Answer, []string{"example.org. 60 NS ns1.example.org."}) {
		t.Errorf("NS when they can be written: %v", got)
	}
}

// A page that bbolt cannot use while it writes makes it panic, its locks held. The
// process goes on without writing.
func TestPanicWhileWriting(t *testing.T) {
	s := open(t, storePath(t))
	zone := zoneConfig(t, "example.org")
	serve(t, s, zone)
	setFailing(t, s, func(at step) error {
		if at == stepCommit {
			panic("a page is damaged")
		}
		return nil
	})
	for _, want := range []error{ErrOutcomeUnknown, ErrReadOnly} {
		if _, err := s.Apply(context.Background(), zone.Name, appending(rr(t, zone.Name, "new 60 TXT x"))); !errors.Is(err, want) || !errors.Is(err, errDamaged) {
			t.Errorf("error: %v", err)
		}
	}
	if got := ask(t, s, "ns1.example.org", "A"); len(got.Answer) != 1 {
		t.Errorf("DNS: %v", got)
	}
	if err := s.Close(); err != nil {
		t.Errorf("closing: %v", err)
	}
}

// Health says when no change can be taken, and when one can again, which the server
// finds out by itself.
func TestHealth(t *testing.T) {
	s := open(t, storePath(t))
	if err := s.Health(); err == nil {
		t.Error("healthy before the zones were read")
	}
	zone := zoneConfig(t, "example.org")
	serve(t, s, zone)
	if err := s.Health(); err != nil {
		t.Errorf("unhealthy from the beginning: %v", err)
	}
	if at := s.Recovered(); !at.IsZero() {
		t.Errorf("recovered at %v, before anything failed", at)
	}
	failed := time.Now()
	failAt(t, s, stepCommit, stepOpen)
	if _, err := s.Apply(context.Background(), zone.Name, appending(rr(t, zone.Name, "new 60 TXT x"))); !errors.Is(err, ErrOutcomeUnknown) {
		t.Errorf("error: %v", err)
	}
	if err := s.Health(); !errors.Is(err, ErrReadOnly) || !errors.Is(err, errDisk) {
		t.Errorf("health of a store that cannot be read: %v", err)
	}
	if got := s.pause(expireCheck); got > writeRetry {
		t.Errorf("the committer sleeps for %v", got)
	}
	apply(t, s, zone.Name, appending(rr(t, zone.Name, "later 60 TXT x")))
	if err := s.Health(); err != nil {
		t.Errorf("unhealthy after a change: %v", err)
	}
	if at := s.Recovered(); at.Before(failed) || at.After(time.Now()) {
		t.Errorf("recovered at %v, and it failed at %v", at, failed)
	}
	if got := s.pause(expireCheck); got != expireCheck {
		t.Errorf("the committer sleeps for %v", got)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := s.Health(); !errors.Is(err, ErrClosed) {
		t.Errorf("health of a closed server: %v", err)
	}
}

// retryNow has the committer find out now whether the store can be written.
func retryNow(t *testing.T, s *Server) {
	t.Helper()
	j := &job{alone: true, plan: func(*batch) error { return nil }, published: func() { s.refusals.retryAt = time.Time{} }}
	if err := s.submit(context.Background(), j); err != nil {
		t.Fatal(err)
	}
}

// A full disk leaves the store readable, and as it was. The server is unhealthy until
// something as large as what failed has been written, and finds out by itself; the log
// has a line when it begins and one when it is over.
func TestHealthOfFullDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := new(logged)
		path := storePath(t)
		s, err := Open(Options{Path: path, Logger: slog.New(slog.NewTextHandler(log, nil))})
		if err != nil {
			t.Fatal(err)
		}
		zone := zoneConfig(t, "example.org")
		serve(t, s, zone)
		var writes, room atomic.Int64 // room is how many writes there is room for
		setFailing(t, s, func(at step) error {
			if at != stepCommit {
				return nil
			}
			writes.Add(1)
			if room.Add(-1) < 0 {
				return errDisk
			}
			return nil
		})
		text := func(name string, length int) record.Record {
			return rr(t, zone.Name, name+" 60 TXT "+strings.Repeat("x", length))
		}
		refuses := func(change record.Change) {
			t.Helper()
			if _, err := s.Apply(context.Background(), zone.Name, change); !errors.Is(err, ErrReadOnly) || !errors.Is(err, errDisk) {
				t.Errorf("a change on a full disk: %v", err)
			}
		}
		unhealthy := func(when string) {
			t.Helper()
			if err := s.Health(); !errors.Is(err, ErrReadOnly) || !errors.Is(err, errDisk) {
				t.Errorf("%s: health: %v", when, err)
			}
		}
		probed := func() {
			t.Helper()
			before := writes.Load()
			retryNow(t, s)
			if synctest.Wait(); writes.Load() == before {
				t.Fatal("the committer has not tried to write")
			}
		}

		const large = 50_000
		refuses(appending(text("small", 10)))
		if got := s.refused.Load().size; got != leastProbe {
			t.Errorf("a probe has %d bytes", got)
		}
		refuses(appending(text("large", large)))
		for i := range 20 {
			refuses(appending(text(fmt.Sprintf("more%d", i), 10)))
		}
		if got := s.refused.Load().size; got < large || got > large+large/10 {
			t.Errorf("a probe has %d bytes, where %d failed", got, large)
		}
		unhealthy("after changes")
		probed()
		unhealthy("after a probe that failed")

		// What is smaller can be written, and says nothing of what failed.
		room.Store(1)
		before := writes.Load()
		apply(t, s, zone.Name, appending(text("fits", 10)))
		unhealthy("after a smaller change")
		time.Sleep(probeEvery)
		if synctest.Wait(); writes.Load() == before+1 {
			t.Error("a smaller change does not have it probed soon")
		}
		probed()
		unhealthy("after another probe that failed")

		// A probe has to be deleted too.
		room.Store(1)
		probed()
		unhealthy("after a probe that could not be deleted")

		room.Store(1 << 30)
		unhealthy("with room that it has not found yet")
		probed()
		if err := s.Health(); err != nil {
			t.Errorf("after a probe: %v", err)
		}
		for text, want := range map[string]int{"cannot be written": 1, "can be written again": 1} {
			if got := log.lines(text); len(got) != want {
				t.Errorf("%d lines say that the store %s, want %d:\n%s", len(got), text, want, strings.Join(got, ""))
			}
		}

		// A change as large ends it as well.
		room.Store(0)
		refuses(appending(text("large", large)))
		unhealthy("on a disk that is full again")
		room.Store(1 << 30)
		apply(t, s, zone.Name, appending(text("large", large+100)))
		if err := s.Health(); err != nil {
			t.Errorf("after a change as large: %v", err)
		}

		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		db, err := bbolt.Open(path, 0o600, nil)
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		_ = db.View(func(tx *bbolt.Tx) error {
			return tx.Bucket(metaBucket).ForEach(func(key, _ []byte) error {
				if string(key) != string(formatKey) {
					t.Errorf("%q is left in the store", key)
				}
				return nil
			})
		})
	})
}

// A probe is no larger than what keeps changes waiting for a moment only.
func TestProbeIsBounded(t *testing.T) {
	s := open(t, storePath(t))
	set := rrset(strings.Repeat("x", 60_000))
	s.refuse([]zoneChange{{sets: slices.Repeat([]setChange{{set: set}}, 100)}}, errDisk)
	if got := s.refused.Load().size; got != mostProbe {
		t.Errorf("a probe has %d bytes", got)
	}
}
