package hosting

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/libdns/libdns"
)

// TestLeftoverAppendedAgain has another copy, or this one, append a record again at the
// moments at which a sweep can be. The record stays.
func TestLeftoverAppendedAgain(t *testing.T) {
	for _, test := range []struct {
		name string
		same bool   // the copy that sweeps
		at   string // the call of the sweep before which it happens
	}{
		{"before the list, by another", false, "list"},
		{"before the key is read, by another", false, "load 1"},
		{"before the lock, by another", false, "lock"},
		{"before the zone is read, by another", false, "get"},
		{"before the key is read, by itself", true, "load 1"},
		{"before the zone is read, by itself", true, "get"},
		{"before the last look, by itself", true, "load 2"},
		{"before the deletion, by itself", true, "delete"},
		{"before the key is read for the last time, by itself", true, "load 3"},
		{"before the key is read for the last time, by another", false, "load 3"},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newForgetful(t)
				var mu sync.Mutex
				var again func() // once
				loads := 0
				reach := func(call string) {
					mu.Lock()
					if call == "load" && again != nil {
						loads++
						call = fmt.Sprint("load ", loads)
					}
					do := again
					if call != test.at || do == nil {
						mu.Unlock()
						return
					}
					again = nil
					mu.Unlock()
					do()
				}
				f.at.between = func() { reach("get") }
				other := f.start(nil, nil)
				first := f.start(&hookedStorage{f.stored, func(_ context.Context, call string) error { reach(call); return nil }},
					&hookedProvider{f.at, func(_ context.Context, call string, _ []libdns.Record) error { reach(call); return nil }})
				f.appendTXT(first, "web", web2, value(1))
				other.Close() // it appends, and does not sweep
				time.Sleep(challengeLifetime - time.Second)
				mu.Lock()
				again = func() {
					by := other
					if test.same {
						by = first
					}
					done := make(chan struct{})
					go func() { // it may wait for the zone's turn, which the sweep has
						defer close(done)
						f.appendTXT(by, "web", web2, value(1))
					}()
					select {
					case <-done:
					case <-time.After(100 * time.Millisecond):
					}
				}
				mu.Unlock()
				time.Sleep(challengeLifetime / 2)
				mu.Lock()
				if again != nil {
					t.Fatal("the sweep was not there")
				}
				mu.Unlock()
				synctest.Wait()
				if texts := f.at.texts(f.zone); !strings.Contains(strings.Join(texts, ","), in2(1)) {
					t.Errorf("the record that was appended again is gone: %q", texts)
				}
				if n := len(f.stored.keys()); n != 1 {
					t.Errorf("%d keys remembered", n)
				}
				time.Sleep(challengeLifetime)
				f.expect(0)
			})
		})
	}
}

// TestLeftoversOfManyZones: a provider that is down neither holds up the others nor fills the log,
// and is swept when it is back.
func TestLeftoversOfManyZones(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newForgetful(t)
		var more []*Zone
		var isUp atomic.Bool
		for i := range 3 * zonesAtOnce {
			more = append(more, &Zone{
				Apex: mustName(t, fmt.Sprintf("down%d.test", i)), ChallengeLifetime: challengeLifetime,
				Provider: &hookedProvider{f.at, func(ctx context.Context, call string, _ []libdns.Record) error {
					if call == "delete" && !isUp.Load() {
						<-ctx.Done()
						return ctx.Err()
					}
					return nil
				}},
			})
		}
		c := f.start(nil, nil, more...)
		f.appendTXT(c, "web", web1, value(1))
		for _, zone := range more {
			f.appendTXT(c, "web", "_acme-challenge."+zone.Apex.String(), value(1))
		}
		time.Sleep(challengeLifetime + 2*sweepInterval)
		f.expect(len(more))
		time.Sleep(challengeLifetime)
		perZone := 0
		for _, line := range c.audit.All() {
			if line.ContextMap()["zone"] == "down0.test." && line.ContextMap()["client"] == sweeperName {
				perZone++
			}
		}
		if perZone < 20 || perZone > 40 {
			t.Errorf("%d audit lines in a day of a provider that is down", perZone)
		}
		isUp.Store(true)
		time.Sleep(mostBackoff + 2*sweepInterval)
		f.expect(0)
	})
}

// TestLeftoverThatCannotBeDeleted is deleted with the others of its zone tried all the same, and
// forgotten after weeks.
func TestLeftoverThatCannotBeDeleted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newForgetful(t)
		c := f.start(nil, &hookedProvider{f.at, func(_ context.Context, call string, records []libdns.Record) error {
			for _, r := range records {
				if call == "delete" && r.RR().Data == value(7) {
					return errUnknown
				}
			}
			return nil
		}})
		for i := range 2 * deletedAtOnce {
			f.appendTXT(c, "web", web2, value(i))
		}
		time.Sleep(challengeLifetime + 2*sweepInterval)
		f.expect(1, in2(7))
		failures := func() (n int) {
			for _, line := range c.audit.All() {
				if line.Message == "failed" {
					n++
				}
			}
			return n
		}
		first := failures()
		time.Sleep(challengeLifetime)
		if n := failures() - first; n < 20 || n > 40 {
			t.Errorf("%d tries in a day", n)
		}
		f.appendTXT(c, "web", web1, value(1))
		time.Sleep(challengeLifetime + 2*sweepInterval)
		f.expect(1, in2(7))
		time.Sleep(keptFor)
		f.expect(0, in2(7))
		if n := c.lines("could not be deleted for weeks"); n != 1 {
			t.Errorf("%d lines", n)
		}
	})
}

// TestLeftoversOfZoneThatWent: what is left in a zone that is hosted here no more is kept for a
// while, in case the zone comes back, and then forgotten.
func TestLeftoversOfZoneThatWent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newForgetful(t)
		other := &Zone{Apex: f.others, Provider: f.at, ChallengeLifetime: challengeLifetime}
		c := f.start(nil, nil, other)
		f.appendTXT(c, "web", "_acme-challenge.others.test", value(1))
		f.appendTXT(c, "web", "_acme-challenge.b.others.test", value(2))
		c.Close()
		without := f.start(nil, nil)
		time.Sleep(keptFor)
		f.expect(2)
		time.Sleep(challengeLifetime + 2*sweepInterval)
		f.expect(0)
		if n := without.lines("are forgotten"); n != 1 {
			t.Errorf("%d lines", n)
		}
		if texts := f.at.texts(f.others); len(texts) != 2 {
			t.Errorf("in the zone that went: %q", texts)
		}
	})
}

// TestLeftoversHaveRoom: a client that fills its room does not take that of others.
func TestLeftoversHaveRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newForgetful(t)
		f.lifetime = 5 * time.Minute
		c := f.start(nil, nil)
		for i := range mostOfClient + 5 {
			name := fmt.Sprintf("_acme-challenge.h%d.example.test", i)
			f.appendTXT(c, "web", name, value(i))
		}
		f.appendTXT(c, "other", web1, value(1))
		if n := len(f.stored.keys()); n != mostOfClient+1 {
			t.Errorf("%d are remembered, want %d", n, mostOfClient+1)
		}
		if n := c.lines("not remembered"); n != 1 {
			t.Errorf("%d lines", n)
		}
		time.Sleep(2 * f.lifetime)
		if n := len(f.stored.keys()); n != 0 {
			t.Errorf("%d are still remembered", n)
		}
		if n := len(f.at.texts(f.zone)); n != 5+1 {
			t.Errorf("%d records are left, want those that were not remembered and the foreign one", n)
		}
	})
}

// writeOnly is a provider that cannot be read.
type writeOnly struct{ p *mergingProvider }

func (w writeOnly) AppendRecords(ctx context.Context, zone string, r []libdns.Record) ([]libdns.Record, error) {
	return w.p.AppendRecords(ctx, zone, r)
}

func (w writeOnly) DeleteRecords(ctx context.Context, zone string, r []libdns.Record) ([]libdns.Record, error) {
	return w.p.DeleteRecords(ctx, zone, r)
}

func TestLeftoversOfProviderWithoutList(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newForgetful(t)
		f.appendTXT(f.start(nil, writeOnly{f.at}), "web", web1, value(1))
		time.Sleep(challengeLifetime + 2*sweepInterval)
		f.expect(0)
	})
}

// lockOnly is a storage with the least that certmagic asks of one.
type lockOnly struct {
	s    *memoryStorage
	free chan struct{}
}

func (l lockOnly) Store(ctx context.Context, key string, v []byte) error {
	return l.s.Store(ctx, key, v)
}
func (l lockOnly) Load(ctx context.Context, key string) ([]byte, error) { return l.s.Load(ctx, key) }
func (l lockOnly) Delete(ctx context.Context, key string) error         { return l.s.Delete(ctx, key) }
func (l lockOnly) List(ctx context.Context, folder string, recursive bool) ([]string, error) {
	return l.s.List(ctx, folder, recursive)
}

func (l lockOnly) Lock(ctx context.Context, _ string) error {
	select {
	case l.free <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (l lockOnly) Unlock(context.Context, string) error { <-l.free; return nil }

func TestLeftoversAreOneCopysWork(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newForgetful(t)
		storage := lockOnly{f.stored, make(chan struct{}, 1)}
		f.appendTXT(f.start(storage, nil), "web", web1, value(1))
		storage.free <- struct{}{} // another copy sweeps, and hangs
		time.Sleep(challengeLifetime + 10*sweepInterval)
		f.expect(1, in1(1))
		<-storage.free
		time.Sleep(2 * sweepInterval)
		f.expect(0)
		if len(storage.free) != 0 {
			t.Error("the lock is still held")
		}
	})
}
