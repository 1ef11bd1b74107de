package nameserver

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-dns/bestdns/internal/record"
)

// TestTurns: a change waits for one change of each other client, and for its own
// client's before it, however many more there are.
func TestTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		zone := zoneConfig(t, "example.org")
		s := serving(t, zone)
		began, release, _ := pausedCommit(t, s)
		var wg sync.WaitGroup
		wg.Go(func() { s.Apply(context.Background(), zone.Name, appending(rr(t, zone.Name, "first 60 TXT x"))) })
		<-began

		var order []string // of the committer
		waiting := 0
		submit := func(client string) {
			wg.Go(func() {
				err := s.submit(context.Background(), &job{client: client, plan: func(*batch) error {
					order = append(order, client)
					return nil
				}})
				if err != nil {
					t.Error(err)
				}
			})
			waiting++
			waitPooled(t, s, waiting)
		}
		for range 150 {
			submit("busy")
		}
		submit("victim")
		submit("other")
		submit("victim")
		release()
		wg.Wait()
		if want := "[busy victim other busy victim busy]"; len(order) != 153 || fmt.Sprint(order[:6]) != want {
			t.Errorf("%d turns, the first %v, want %s", len(order), order[:min(6, len(order))], want)
		}
	})
}

// TestBatchEnds: what takes its time, or has much to write, does not keep the rest from
// being committed for longer than it takes itself.
func TestBatchEnds(t *testing.T) {
	zone := zoneConfig(t, "example.org")
	for name, costly := range map[string]func(*batch){
		"by time":  func(b *batch) { b.began = b.began.Add(-2 * batchTime) },
		"by bytes": func(b *batch) { b.bytes += batchBytes + 1 },
	} {
		synctest.Test(t, func(t *testing.T) {
			s := serving(t, zone)
			began, release, commits := pausedCommit(t, s)
			var wg sync.WaitGroup
			for i := range 4 {
				wg.Go(func() {
					a := &application{zone: zone.Name, change: appending(rr(t, zone.Name, fmt.Sprintf("n%d 60 TXT x", i)))}
					err := s.submit(context.Background(), &job{client: fmt.Sprint(i), plan: func(b *batch) error {
						costly(b)
						return a.plan(b)
					}})
					if err != nil {
						t.Error(err)
					}
				})
				if i == 0 {
					<-began
				}
			}
			waitPooled(t, s, 3)
			release()
			wg.Wait()
			if n := commits(); n != 4 {
				t.Errorf("%s: %d commits for 4 changes of which each fills one", name, n)
			}
		})
	}
}

// TestPanicOfPlan: a change at which this package fails is refused, and those of the
// same batch are made, once.
func TestPanicOfPlan(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		zone := zoneConfig(t, "example.org")
		s := serving(t, zone)
		s.log = slog.New(slog.DiscardHandler)
		began, release, _ := pausedCommit(t, s)
		var wg sync.WaitGroup
		errs := make([]error, 5)
		for i := range errs {
			wg.Go(func() {
				a := &application{zone: zone.Name, change: appending(rr(t, zone.Name, fmt.Sprintf("n%d 60 TXT x", i)))}
				errs[i] = s.submit(context.Background(), &job{plan: func(b *batch) error {
					err := a.plan(b)
					if i == 2 || i == 4 {
						panic("a bug")
					}
					return err
				}})
			})
			if i == 0 {
				<-began
				continue
			}
			waitPooled(t, s, i)
		}
		release()
		wg.Wait()
		for i, err := range errs {
			there := len(snapshot(t, s, zone.Name).At(name(t, fmt.Sprintf("n%d.example.org", i)))) > 0
			if bad := i == 2 || i == 4; there == bad || errors.Is(err, ErrBug) != bad {
				t.Errorf("change %d: %v, and its record is there: %v", i, err, there)
			}
		}
		apply(t, s, zone.Name, appending(rr(t, zone.Name, "later 60 TXT x")))
		if err := s.Health(); err != nil {
			t.Errorf("health: %v", err)
		}
	})
}

// TestPanicOfPublishing: the store is read back, and what was written is served.
func TestPanicOfPublishing(t *testing.T) {
	zone := zoneConfig(t, "example.org")
	s := serving(t, zone)
	s.log = slog.New(slog.DiscardHandler)
	owner := name(t, "www.example.org")
	err := s.submit(context.Background(), &job{plan: func(b *batch) error {
		d, err := b.known(zone.Name)
		if err != nil {
			return err
		}
		d.put(owner.Key(), packNode([]record.Record{{Name: owner, Type: record.TypeTXT, Data: "\x01x", Expires: time.Now().Add(time.Hour).Unix()}}))
		// Publishing falls over this one, after the first.
		b.drafts = append(b.drafts, &draft{batch: b, base: newSnapshot(zone.Name), next: newSnapshot(zone.Name), owned: true})
		return nil
	}})
	if !errors.Is(err, ErrOutcomeUnknown) {
		t.Errorf("the error is %v", err)
	}
	if s.Health() == nil {
		t.Error("it says that it is healthy")
	}
	apply(t, s, zone.Name, appending(rr(t, zone.Name, "later 60 TXT x")))
	if err := s.Health(); err != nil {
		t.Errorf("health: %v", err)
	}
	if got := snapshot(t, s, zone.Name).At(owner); len(got) != 1 {
		t.Errorf("what was written is served as %v", got)
	}
}

// TestExpiryBesideChanges: where changes never end, what expires goes all the same.
func TestExpiryBesideChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		zone := zoneConfig(t, "example.org")
		s := serving(t, zone)
		setFailing(t, s, func(at step) error {
			if at == stepCommit {
				time.Sleep(2 * time.Millisecond) // as long as a slow disk takes
			}
			return nil
		})
		r := rr(t, zone.Name, "old 60 TXT x")
		r.Expires = time.Now().Add(time.Second).Unix()
		apply(t, s, zone.Name, appending(r))
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		for i := range 8 {
			wg.Go(func() {
				for n := 0; ctx.Err() == nil; n++ {
					r := rr(t, zone.Name, fmt.Sprintf("n%d 60 TXT %d", i, n))
					a := &application{zone: zone.Name, change: record.Change{Op: record.Set, Records: []record.Record{r}}}
					err := s.submit(context.Background(), &job{client: "noisy", plan: func(b *batch) error {
						b.bytes += batchBytes + 1 // so that the others wait
						return a.plan(b)
					}})
					if err != nil {
						t.Error(err)
					}
				}
			})
		}
		defer wg.Wait()
		defer cancel()
		time.Sleep(time.Second)
		// Each time it is even odds whether what expires has its turn, or more changes.
		for rounds := 0; len(snapshot(t, s, zone.Name).At(r.Name)) > 0; rounds++ {
			if rounds == 50 {
				t.Fatal("the record has not expired")
			}
			time.Sleep(commitsInARow)
		}
	})
}
