package fair

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
)

// TestLocksTurns has one client wait 150 times and another come then.
func TestLocksTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l Locks
		var got []string // guarded by the lock that is tested
		release, err := l.Acquire(t.Context(), "zone", "busy")
		if err != nil {
			t.Fatal(err)
		}
		var all sync.WaitGroup
		wait := func(client string) {
			all.Go(func() {
				release, err := l.Acquire(t.Context(), "zone", client)
				if err != nil {
					t.Error(err)
					return
				}
				got = append(got, client)
				release()
			})
			synctest.Wait()
		}
		for range 150 {
			wait("busy")
		}
		wait("new")
		wait("newer")
		wait("new")
		if other, err := l.Acquire(t.Context(), "other zone", "new"); err != nil {
			t.Error(err)
		} else {
			other()
		}
		release()
		release() // once more is nothing
		all.Wait()
		if want := "[new newer busy new busy]"; len(got) != 153 || fmt.Sprint(got[:5]) != want {
			t.Errorf("%d turns, the first %v, want %s", len(got), got[:min(len(got), 5)], want)
		}
		if len(l.keys) != 0 {
			t.Errorf("%d keys left", len(l.keys))
		}
	})
}

func TestLocksGiveUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l Locks
		cause := errors.New("the caller is gone")
		ctx, cancel := context.WithCancelCause(t.Context())
		release, err := l.Acquire(ctx, "zone", "a")
		if err != nil {
			t.Fatal(err)
		}
		failed := make(chan error)
		go func() {
			_, err := l.Acquire(ctx, "zone", "b")
			failed <- err
		}()
		synctest.Wait()
		cancel(cause)
		if err := <-failed; !errors.Is(err, cause) {
			t.Errorf("gave up with %v", err)
		}
		if l.keys["zone"].Len() != 1 {
			t.Error("who gave up still waits")
		}
		release()
		if _, err := l.Acquire(ctx, "zone", "a"); !errors.Is(err, cause) {
			t.Errorf("after the end: %v", err)
		}
		if len(l.keys) != 0 {
			t.Errorf("%d keys left", len(l.keys))
		}
	})
}

// TestLocksRace has contexts end while locks are granted: no two hold one lock, none
// waits for ever, and nothing is left.
func TestLocksRace(t *testing.T) {
	var l Locks
	var holders [3]atomic.Int32
	var granted, refused atomic.Int32
	var all sync.WaitGroup
	for worker := range 32 {
		all.Go(func() {
			random := rand.New(rand.NewPCG(uint64(worker), 0))
			for range 500 {
				key := random.IntN(len(holders))
				ctx, cancel := context.WithCancel(t.Context())
				if random.IntN(2) == 0 {
					go cancel()
				}
				release, err := l.Acquire(ctx, fmt.Sprint(key), fmt.Sprint(worker%5))
				if err != nil {
					refused.Add(1)
					cancel()
					continue
				}
				granted.Add(1)
				if holders[key].Add(1) != 1 {
					t.Error("two hold one lock")
				}
				holders[key].Add(-1)
				if random.IntN(4) == 0 {
					all.Go(release)
				}
				release()
				cancel()
			}
		})
	}
	all.Wait()
	if granted.Load() == 0 || refused.Load() == 0 {
		t.Errorf("%d granted, %d refused: no race", granted.Load(), refused.Load())
	}
	if len(l.keys) != 0 {
		t.Errorf("left: %v", l.keys)
	}
}

// TestLocksGrantedAndEnded is the one order of that race which is rare: the lock is
// granted, and then its waiter sees the end of its context first.
func TestLocksGrantedAndEnded(t *testing.T) {
	var l Locks
	first := l.enter("zone", "a")
	second := l.enter("zone", "b")
	third := l.enter("zone", "c")
	l.leave("zone", "a", first)
	<-second.granted
	l.leave("zone", "b", second)
	<-third.granted
	l.leave("zone", "c", third)
	if len(l.keys) != 0 {
		t.Errorf("left: %v", l.keys)
	}
}

func BenchmarkLocks(b *testing.B) {
	var l Locks
	b.ReportAllocs()
	for b.Loop() {
		release, err := l.Acquire(b.Context(), "zone", "client")
		if err != nil {
			b.Fatal(err)
		}
		release()
	}
}
