package hosting

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/libdns/libdns"
	"go.uber.org/zap"

	"github.com/caddy-dns/bestdns/internal/access"
	"github.com/caddy-dns/bestdns/internal/api"
	"github.com/caddy-dns/bestdns/internal/record"
)

// serviceOf returns a service of some zones in which each client may do everything.
func serviceOf(t *testing.T, zones []*Zone, clients ...string) *Service {
	t.Helper()
	config := Config{
		Zones: zones, Activity: NewActivity(), Logger: zap.NewNop(), Audit: zap.NewNop(), ProcessLog: slog.New(slog.DiscardHandler),
	}
	for _, name := range clients {
		client := access.Config{Name: name, Users: []string{name}}
		for _, zone := range zones {
			client.Rules = append(client.Rules, access.Rule{Verb: access.Allow, Under: true, Name: zone.Apex})
		}
		config.Clients = append(config.Clients, client)
	}
	s, err := New(config)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func mustName(t *testing.T, text string) record.Name {
	t.Helper()
	name, err := record.ParseName(text)
	if err != nil {
		t.Fatal(err)
	}
	return name
}

// TestProviderTurns has several clients change records at one name at the same time,
// at a provider at which calls in parallel lose some of them.
func TestProviderTurns(t *testing.T) {
	merging := newMergingProvider(func() {
		for range 1000 { // goroutines that can call, do
			runtime.Gosched()
		}
	})
	apex := mustName(t, "example.test")
	s := serviceOf(t, []*Zone{{Apex: apex, Provider: merging}}, "ops", "web1", "far")
	s.Begin(nil)
	callers := []*access.Client{s.Local(), s.Clients().ByName("ops"), s.Clients().ByName("web1"), s.Clients().ByName("far")}
	// all does something with 60 values at the same time, by each caller.
	all := func(do func(who Caller, i int) error) {
		t.Helper()
		errs := make([]error, 60)
		var wait sync.WaitGroup
		for i := range errs {
			wait.Go(func() { errs[i] = do(Caller{Client: callers[i%4]}, i) })
		}
		wait.Wait()
		for i, err := range errs {
			if err != nil {
				t.Errorf("value %d: %v", i, err)
			}
		}
	}
	change := func(who Caller, c record.Change) error {
		_, err := s.Change(t.Context(), who, Change{Zone: apex, Change: c})
		return err
	}
	all(func(who Caller, i int) error {
		if i%10 < 2 {
			if _, err := s.Records(t.Context(), who.Client, Query{Zone: apex}); err != nil {
				return err
			}
		}
		r, err := record.New(apex, "x", "TXT", 60, fmt.Sprint("value ", i))
		if err != nil {
			return err
		}
		return change(who, record.Change{Op: record.Append, Records: []record.Record{r}})
	})
	stored, err := merging.GetRecords(t.Context(), "example.test.")
	if err != nil || len(stored) != 60 {
		t.Errorf("%d of 60 values are there: %v", len(stored), err)
	}
	all(func(who Caller, i int) error {
		var ttl *uint32
		if i%8 < 4 { // nothing left open: no look at the zone
			ttl = new(uint32(60))
		}
		m, err := record.MatchAt("\x01x"+apex, "TXT", ttl, new(fmt.Sprint("value ", i)))
		if err != nil {
			return err
		}
		return change(who, record.Change{Op: record.Delete, Matches: []record.Match{m}})
	})
	if stored, err = merging.GetRecords(t.Context(), "example.test."); err != nil || len(stored) != 0 {
		t.Errorf("%d of 60 values are left: %v", len(stored), err)
	}
	if merging.most != 1 {
		t.Errorf("%d calls were under way at the same time", merging.most)
	}
}

// zoneAt returns a zone that a provider hosts, as a configuration has it.
func zoneAt(t *testing.T, p Provider) *providerZone {
	t.Helper()
	return newProviderZone(&Zone{Apex: mustName(t, "turns.test"), Provider: p}, slog.New(slog.DiscardHandler))
}

// appendTo appends a record at a zone's provider.
func appendTo(ctx context.Context, z *providerZone, client string) error {
	r, err := record.At(z.apex, "TXT", 60, "x")
	if err != nil {
		return err
	}
	_, err = z.change(ctx, client, record.Change{Op: record.Append, Records: []record.Record{r}})
	return err
}

// deleteFrom deletes the records at the apex, for which the zone has to be read.
func deleteFrom(ctx context.Context, z *providerZone, client string) error {
	_, err := z.change(ctx, client, record.Change{Op: record.Delete, Matches: []record.Match{{Name: z.apex, Type: record.TypeTXT}}})
	return err
}

// isBusy reports whether a call was given up before anything was sent, and is said to be.
func isBusy(err error) bool {
	if err == nil {
		return false
	}
	e := AsError(err, "")
	return e.Kind() == api.Unavailable && e.Unchanged && e.RetryAfter > 0 && !isProviderError(e)
}

// TestProviderTurnsAreFair has a client with 150 changes hold up another by one call.
// One of the two came before a reload.
func TestProviderTurnsAreFair(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const pause = 20 * time.Millisecond
		merging := newMergingProvider(func() { time.Sleep(pause) })
		before, after := zoneAt(t, merging), zoneAt(t, merging)
		var wait sync.WaitGroup
		for range 150 {
			wait.Go(func() {
				if err := appendTo(t.Context(), before, "busy"); err != nil {
					t.Error(err)
				}
			})
		}
		synctest.Wait()
		for range 10 {
			began := time.Now()
			if err := appendTo(t.Context(), after, "other"); err != nil {
				t.Fatal(err)
			}
			if took := time.Since(began); took > 2*pause {
				t.Errorf("held up for %s, with calls of %s", took-pause, pause)
			}
		}
		wait.Wait()
		if merging.most != 1 {
			t.Errorf("%d calls were under way at the same time", merging.most)
		}
	})
}

// TestProviderTurnGivenUp ends the wait for a turn: with the caller, and when it has
// taken too long. Nothing is sent then.
func TestProviderTurnGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		calls := 0
		z := zoneAt(t, &scriptedProvider{
			get:    func(context.Context) ([]libdns.Record, error) { calls++; return nil, nil },
			change: func(context.Context) ([]libdns.Record, error) { calls++; return nil, nil },
		})
		release, err := providerTurns.Acquire(t.Context(), string(z.apex), "first")
		if err != nil {
			t.Fatal(err)
		}
		reading := func(ctx context.Context) error {
			ctx, cancel := context.WithTimeout(ctx, ChangeTimeout)
			defer cancel()
			_, err := z.list(ctx, "second", selection{under: z.apex})
			return err
		}
		for name, call := range map[string]func(context.Context) error{
			"append": func(ctx context.Context) error { return appendTo(ctx, z, "second") },
			"delete": func(ctx context.Context) error { return deleteFrom(ctx, z, "second") },
			"list":   reading,
		} {
			began := time.Now()
			if err := call(t.Context()); !isBusy(err) || time.Since(began) != turnTimeout {
				t.Errorf("%s: after %s: %v", name, time.Since(began), err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			began = time.Now()
			if err := call(ctx); !isBusy(err) || time.Since(began) > time.Second {
				t.Errorf("%s whose caller goes: after %s: %v", name, time.Since(began), err)
			}
			cancel()
			if err := call(ctx); !isBusy(err) {
				t.Errorf("%s whose caller is gone: %v", name, err)
			}
		}
		if calls != 0 {
			t.Errorf("the provider was called %d times", calls)
		}
		release()
		if err := deleteFrom(t.Context(), z, "second"); err != nil || calls != 1 {
			t.Errorf("afterwards: %v, %d calls", err, calls)
		}
	})
}

// TestProviderTurnLeft checks that a caller which gives up is told for certain whether its
// change was sent.
func TestProviderTurnLeft(t *testing.T) {
	sent, goOn := make(chan context.Context, 1), make(chan struct{})
	apex := mustName(t, "example.test")
	s := serviceOf(t, []*Zone{{Apex: apex, Provider: &scriptedProvider{change: func(ctx context.Context) ([]libdns.Record, error) {
		sent <- ctx
		<-goOn
		return nil, nil
	}}}})
	s.Begin(nil)
	try := func(ctx context.Context) *Error {
		t.Helper()
		r, err := record.New(apex, "x", "TXT", 60, "x")
		if err != nil {
			t.Fatal(err)
		}
		_, err = s.ChangeOrLeave(ctx, Caller{Client: s.Local()}, Change{Zone: apex, Change: record.Change{Op: record.Append, Records: []record.Record{r}}})
		if e := AsError(err, apex); err != nil && e.Kind() == api.Unavailable {
			return e
		}
		t.Fatalf("error: %v", err)
		return nil
	}
	release, err := providerTurns.Acquire(t.Context(), string(apex), "other")
	if err != nil {
		t.Fatal(err)
	}
	waiting, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if failure := try(waiting); !failure.Unchanged || len(sent) != 0 {
		t.Errorf("given up before it was sent: %v", failure)
	}
	release()

	type key struct{}
	ctx, cancel := context.WithCancel(context.WithValue(t.Context(), key{}, "value"))
	defer cancel()
	var call context.Context
	go func() {
		call = <-sent
		cancel()
	}()
	if failure := try(ctx); failure.Unchanged {
		t.Errorf("given up after it was sent: %v", failure)
	}
	if call.Err() != nil || call.Value(key{}) != "value" {
		t.Errorf("the call's context: %v, value %v", call.Err(), call.Value(key{}))
	}
	close(goOn)
	release, err = providerTurns.Acquire(t.Context(), string(apex), "other") // it has returned
	if err != nil {
		t.Fatal(err)
	}
	release()
}

// TestProviderThatDoesNotReturn has calls not look at their context. Their turn lasts
// until they return, or long enough.
func TestProviderThatDoesNotReturn(t *testing.T) {
	const overdue = "does not return from a call"
	for _, test := range []struct {
		name    string
		returns time.Duration // 0: never
		next    time.Duration // when the next call can begin
	}{
		{"late", 40 * time.Second, 40 * time.Second},
		{"never", 0, ChangeTimeout + turnOverrun},
	} {
		var log bytes.Buffer
		synctest.Test(t, func(t *testing.T) {
			began, end := time.Now(), make(chan struct{})
			defer close(end)
			var calls atomic.Int32
			z := zoneAt(t, &scriptedProvider{
				get: func(context.Context) ([]libdns.Record, error) { panic("not called") },
				change: func(ctx context.Context) ([]libdns.Record, error) {
					if calls.Add(1) > 1 {
						return nil, ctx.Err()
					}
					if test.returns > 0 {
						time.Sleep(test.returns)
					} else {
						<-end
					}
					return nil, nil
				},
			})
			z.log = slog.New(slog.NewTextHandler(&log, nil))
			err := appendTo(t.Context(), z, "first")
			if e := AsError(err, ""); e.Kind() != api.ProviderTimeout || e.Unchanged || time.Since(began) != ChangeTimeout {
				t.Errorf("%s: after %s: %v", test.name, time.Since(began), err)
			}
			for err = appendTo(t.Context(), z, "second"); isBusy(err); err = appendTo(t.Context(), z, "second") {
				if calls.Load() != 1 {
					t.Fatalf("%s: busy after %d calls", test.name, calls.Load())
				}
			}
			if took := time.Since(began); err != nil || took != test.next {
				t.Errorf("%s: the next call after %s: %v", test.name, took, err)
			}
			time.Sleep(2 * turnOverrun)
		})
		want := 0
		if test.returns == 0 {
			want = 1
		}
		if got := strings.Count(log.String(), overdue); got != want {
			t.Errorf("%s: %d lines in the log, want %d", test.name, got, want)
		}
	}
}

// TestCallsLeftBehind has calls never return. Each loses its turn, until so many have
// that a zone waits for one to return.
func TestCallsLeftBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		defer func(others chan struct{}) { leftBehind = others }(leftBehind)
		leftBehind = make(chan struct{}, 2)
		var mu sync.Mutex
		var calls []chan struct{} // each returns when its channel is closed
		z := zoneAt(t, &scriptedProvider{change: func(context.Context) ([]libdns.Record, error) {
			returns := make(chan struct{})
			mu.Lock()
			calls = append(calls, returns)
			mu.Unlock()
			<-returns
			return nil, nil
		}})
		begun := func() int {
			for {
				time.Sleep(ChangeTimeout + turnOverrun)
				if err := appendTo(t.Context(), z, "client"); !isBusy(err) {
					continue
				}
				mu.Lock()
				defer mu.Unlock()
				return len(calls)
			}
		}
		if n := begun(); n != 3 {
			t.Errorf("%d calls were begun, of which 2 may be left behind", n)
		}
		close(calls[0])
		if n := begun(); n != 4 {
			t.Errorf("%d calls were begun, of which one has returned", n)
		}
		for _, returns := range calls[1:] {
			close(returns)
		}
		synctest.Wait()
		if n := len(leftBehind); n != 0 {
			t.Errorf("%d calls are still left behind", n)
		}
		release, err := providerTurns.Acquire(t.Context(), string(z.apex), "other")
		if err != nil {
			t.Fatal(err)
		}
		release()
	})
}

// TestProviderDeleteGivenUp has the look at the zone take so long that the delete has
// been answered: it must not be sent any more.
func TestProviderDeleteGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		z := zoneAt(t, &scriptedProvider{
			get: func(context.Context) ([]libdns.Record, error) {
				time.Sleep(2 * ChangeTimeout)
				return []libdns.Record{libdns.TXT{Name: "@", Text: "x"}}, nil
			},
			change: func(context.Context) ([]libdns.Record, error) {
				t.Error("sent after the answer")
				return nil, nil
			},
		})
		if e := AsError(deleteFrom(t.Context(), z, "client"), ""); e.Kind() != api.ProviderTimeout {
			t.Error(e)
		}
		time.Sleep(2 * ChangeTimeout)
	})
}

// TestProviderReadGivenUp checks that a caller who goes away while its read is under
// way is not taken for a failure of the provider.
func TestProviderReadGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		z := zoneAt(t, &scriptedProvider{get: func(ctx context.Context) ([]libdns.Record, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		}})
		ctx, cancel := context.WithTimeout(t.Context(), ChangeTimeout)
		time.AfterFunc(time.Second, cancel)
		if _, err := z.list(ctx, "client", selection{under: z.apex}); !isBusy(err) {
			t.Error(err)
		}
		ctx, cancel = context.WithTimeout(t.Context(), ChangeTimeout)
		defer cancel()
		if _, err := z.list(ctx, "client", selection{under: z.apex}); AsError(err, "").Kind() != api.ProviderTimeout {
			t.Error(err)
		}
	})
}
