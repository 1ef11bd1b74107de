package service

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/libdns/libdns"

	"github.com/caddy-dns/bestdns"
	"github.com/caddy-dns/bestdns/internal/record"
)

// TestProviderTurns has several clients change records at one name at the same time,
// at a provider at which calls in parallel lose some of them.
func TestProviderTurns(t *testing.T) {
	s := newService(t)
	merging.reset(func() {
		for range 1000 { // goroutines that can call, do
			runtime.Gosched()
		}
	})
	clients := []string{"ops", "web1", "far"}
	options := "zone example.test {\nprovider test_merging\n}\n"
	for _, client := range clients {
		options += fmt.Sprintf("client %s {\ntoken %s\nallow under example.test\n}\n", client, s.digest(client))
	}
	s.load(t, options)
	app := newestApp(t)
	// all does something with 60 values at the same time: by each client over HTTP
	// and, when client is "", in process.
	all := func(do func(client string, i int) error) {
		t.Helper()
		errs := make([]error, 60)
		var wait sync.WaitGroup
		for i := range errs {
			wait.Go(func() { errs[i] = do(append(clients, "")[i%4], i) })
		}
		wait.Wait()
		for i, err := range errs {
			if err != nil {
				t.Errorf("value %d: %v", i, err)
			}
		}
	}
	list := func(client string) (err error) {
		if client == "" {
			_, err = app.GetRecords(t.Context(), "example.test.")
		} else if a := s.call(t, client, http.MethodGet, "/v1/zones/example.test/records", ""); a.status != http.StatusOK {
			err = fmt.Errorf("%s: %d %s", client, a.status, a.body)
		}
		return err
	}
	patch := func(client, op string, i int, ttl string) error {
		a := s.patch(t, client, "example.test", fmt.Sprintf(`{%q:[{"name":"x","type":"TXT"%s,"data":"value %d"}]}`, op, ttl, i))
		if a.status != http.StatusOK {
			return fmt.Errorf("%s: %d %s", client, a.status, a.body)
		}
		return nil
	}
	text := func(i int) []libdns.Record {
		return []libdns.Record{libdns.TXT{Name: "x", TTL: time.Minute, Text: fmt.Sprint("value ", i)}}
	}
	all(func(client string, i int) (err error) {
		if i%10 < 2 {
			if err := list(client); err != nil {
				return err
			}
		}
		if client == "" {
			_, err = app.AppendRecords(t.Context(), "example.test.", text(i))
			return err
		}
		return patch(client, "append", i, "")
	})
	stored, err := merging.GetRecords(t.Context(), "example.test.")
	if err != nil || len(stored) != 60 {
		t.Errorf("%d of 60 values are there: %v", len(stored), err)
	}
	all(func(client string, i int) (err error) {
		switch {
		case client == "":
			_, err = app.DeleteRecords(t.Context(), "example.test.", text(i))
			return err
		case i%8 < 4: // nothing left open: no look at the zone
			return patch(client, "delete", i, `,"ttl":60`)
		}
		return patch(client, "delete", i, "")
	})
	if stored, err = merging.GetRecords(t.Context(), "example.test."); err != nil || len(stored) != 0 {
		t.Errorf("%d of 60 values are left: %v", len(stored), err)
	}
	if merging.most != 1 {
		t.Errorf("%d calls were under way at the same time", merging.most)
	}
}

// zoneAt returns a zone that a provider hosts, as a configuration has it.
func zoneAt(t *testing.T, p interface {
	provider
	libdns.RecordGetter
}) *providerZone {
	t.Helper()
	apex := mustName(t, "turns.test")
	return &providerZone{apex: apex, zone: apex.String(), provider: p, getter: p}
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
	p := asProblem(err, "")
	return p.Status == http.StatusServiceUnavailable && p.Unchanged && p.retryAfter > 0 && !isProviderError(p)
}

// TestProviderTurnsAreFair has a client with 150 changes hold up another by one call.
// One of the two came before a reload.
func TestProviderTurnsAreFair(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const pause = 20 * time.Millisecond
		merging.reset(func() { time.Sleep(pause) })
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
			ctx, cancel := context.WithTimeout(ctx, changeTimeout)
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
			if err := call(t.Context()); !isBusy(err) || time.Since(began) != providerPatience {
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

// TestProviderTurnInProcess checks that a caller in process which gives up is told for
// certain whether its change was sent.
func TestProviderTurnInProcess(t *testing.T) {
	startWithProvider(t, "test_scripted")
	app := newestApp(t)
	sent, goOn := make(chan context.Context, 1), make(chan struct{})
	scripted.change = func(ctx context.Context) ([]libdns.Record, error) {
		sent <- ctx
		<-goOn
		return nil, nil
	}
	try := func(ctx context.Context) *bestdns.Error {
		t.Helper()
		_, err := app.AppendRecords(ctx, "example.test.", []libdns.Record{libdns.TXT{Name: "x", Text: "x"}})
		var failure *bestdns.Error
		if !errors.As(err, &failure) || failure.Status != http.StatusServiceUnavailable {
			t.Fatalf("error: %v", err)
		}
		return failure
	}
	apex := string(mustName(t, "example.test"))
	release, err := providerTurns.Acquire(t.Context(), apex, "other")
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
	release, err = providerTurns.Acquire(t.Context(), apex, "other") // it has returned
	if err != nil {
		t.Fatal(err)
	}
	release()
}

// TestProviderThatDoesNotReturn has calls not look at their context. Their turn lasts
// until they return, or long enough.
func TestProviderThatDoesNotReturn(t *testing.T) {
	s := startWithProvider(t, "test_memory") // for its log
	const overdue = "does not return from a call"
	for _, test := range []struct {
		name    string
		returns time.Duration // 0: never
		next    time.Duration // when the next call can begin
	}{
		{"late", 40 * time.Second, 40 * time.Second},
		{"never", 0, changeTimeout + providerOverrun},
	} {
		before := strings.Count(s.log(t), overdue)
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
			err := appendTo(t.Context(), z, "first")
			if p := asProblem(err, ""); p.Status != http.StatusGatewayTimeout || p.Unchanged || time.Since(began) != changeTimeout {
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
			time.Sleep(2 * providerOverrun)
		})
		want := 0
		if test.returns == 0 {
			want = 1
		}
		if got := strings.Count(s.log(t), overdue) - before; got != want {
			t.Errorf("%s: %d lines in the log, want %d", test.name, got, want)
		}
	}
}

// TestCallsLeftBehind has calls never return. Each loses its turn, until so many have
// that a zone waits for one to return.
func TestCallsLeftBehind(t *testing.T) {
	startWithProvider(t, "test_memory") // for its log
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
				time.Sleep(changeTimeout + providerOverrun)
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
				time.Sleep(2 * changeTimeout)
				return []libdns.Record{libdns.TXT{Name: "@", Text: "x"}}, nil
			},
			change: func(context.Context) ([]libdns.Record, error) {
				t.Error("sent after the answer")
				return nil, nil
			},
		})
		if p := asProblem(deleteFrom(t.Context(), z, "client"), ""); p.Status != http.StatusGatewayTimeout {
			t.Error(p)
		}
		time.Sleep(2 * changeTimeout)
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
		ctx, cancel := context.WithTimeout(t.Context(), changeTimeout)
		time.AfterFunc(time.Second, cancel)
		if _, err := z.list(ctx, "client", selection{under: z.apex}); !isBusy(err) {
			t.Error(err)
		}
		ctx, cancel = context.WithTimeout(t.Context(), changeTimeout)
		defer cancel()
		if _, err := z.list(ctx, "client", selection{under: z.apex}); asProblem(err, "").Status != http.StatusGatewayTimeout {
			t.Error(err)
		}
	})
}

// TestProviderReportsNothing has a provider report records that are none, which must
// not end Caddy where no server's guard stands around the call: for the page and for
// callers in process.
func TestProviderReportsNothing(t *testing.T) {
	startWithProvider(t, "test_scripted")
	none := func(context.Context) ([]libdns.Record, error) { return []libdns.Record{nil}, nil }
	scripted.get, scripted.change = none, none
	app := newestApp(t)
	record := []libdns.Record{libdns.TXT{Name: "x", Text: "x"}}
	_, appendErr := app.AppendRecords(t.Context(), "example.test.", record)
	_, deleteErr := app.DeleteRecords(t.Context(), "example.test.", record)
	_, getErr := app.GetRecords(t.Context(), "example.test.")
	for _, err := range []error{appendErr, deleteErr, getErr} {
		var failure *bestdns.Error
		if !errors.As(err, &failure) || failure.Status != http.StatusBadGateway {
			t.Errorf("error: %v", err)
		}
	}
	if found := readStored(t.Context(), app.Zones[0]); found != nil {
		t.Errorf("the page found %v", found)
	}
}
