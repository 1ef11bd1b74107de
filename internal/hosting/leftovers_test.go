package hosting

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/libdns/libdns"

	"github.com/caddy-dns/bestdns/internal/api"
	"github.com/caddy-dns/bestdns/internal/record"
)

const (
	web1 = "_acme-challenge.web1.example.test"
	web2 = "_acme-challenge.web2.example.test"
)

// in1 and in2 are values as forgetful.expect has them.
func in1(n int) string { return "_acme-challenge.web1 " + value(n) }
func in2(n int) string { return "_acme-challenge.web2 " + value(n) }

// errUnknown is a provider's error after which no one knows what is in the zone, and
// errUnreachable one after which nothing has changed.
var (
	errUnknown     = errors.New("the connection broke")
	errUnreachable = &net.OpError{Op: "dial", Err: errors.New("refused")}
)

// TestLeftovers is what becomes of challenges in a zone with a DNS provider, by what is done
// with them.
func TestLeftovers(t *testing.T) {
	for _, test := range []struct {
		name string
		do   func(f *forgetful, c copyOf)
	}{
		{"a client that never deletes", func(f *forgetful, c copyOf) {
			f.appendTXT(c, "web", web1, value(1))
			f.appendTXT(c, "web", web1, value(2))
			f.expect(2, in1(1), in1(2))
			shown := c.readProvider(f.t.Context(), c.hosted[f.zone]).challenges
			want := []HeldChallenge{{Name: mustName(f.t, web1), Expires: time.Now().Add(challengeLifetime), Written: time.Now(), Client: "web"}}
			if diff := cmp.Diff(want, shown); diff != "" {
				f.t.Errorf("the page shows (-want +got):\n%s", diff)
			}
			time.Sleep(challengeLifetime - time.Second)
			f.expect(2, in1(1), in1(2))
			time.Sleep(sweepInterval + time.Second)
			f.expect(0)
			if n := c.lines("records of challenges have expired"); n != 1 {
				f.t.Errorf("%d lines", n)
			}
			seen := c.config.Activity.Recent()[0]
			if seen.Client != sweeperName || seen.Op != "delete" || seen.Outcome != "changed" || len(seen.Records) != 2 {
				f.t.Errorf("seen last: %+v", seen)
			}
			if line := c.audit.All()[c.audit.Len()-1]; line.Message != "changed" || line.ContextMap()["client"] != sweeperName {
				f.t.Errorf("the last audit line: %v", line)
			}
		}},
		{"a client that deletes", func(f *forgetful, c copyOf) {
			f.appendTXT(c, "web", web1, value(1))
			f.appendTXT(c, "web", web2, value(2))
			if err := c.try("web", record.Delete, web1, "TXT", new(value(1))); err != nil {
				f.t.Error(err)
			}
			f.expect(1, in2(2))
		}},
		{"a delete by name and type", func(f *forgetful, c copyOf) {
			f.appendTXT(c, "web", web2, value(1))
			f.appendTXT(c, "web", web2, value(2))
			if err := c.try("ops", record.Delete, web2, "TXT", nil); err != nil {
				f.t.Error(err)
			}
			f.expect(0)
		}},
		{"a delete by name", func(f *forgetful, c copyOf) {
			f.appendTXT(c, "web", web2, value(1))
			if err := c.try("ops", record.Delete, web2, "", nil); err != nil {
				f.t.Error(err)
			}
			f.expect(0)
		}},
		{"a delete by another copy", func(f *forgetful, c copyOf) {
			f.appendTXT(c, "web", web1, value(1))
			if err := f.start(nil, nil).try("web", record.Delete, web1, "TXT", new(value(1))); err != nil {
				f.t.Error(err)
			}
			f.expect(0)
			for range 20 { // the other copy's sweeps may come first
				time.Sleep(sweepInterval)
			}
			synctest.Wait()
			if len(c.leftovers.known) != 0 || len(c.leftovers.clients) != 0 {
				f.t.Errorf("the first copy still knows %v, of %v", c.leftovers.known, c.leftovers.clients)
			}
		}},
		{"more than a name may have", func(f *forgetful, c copyOf) {
			c.config.DomainChallenges = 3
			for i := range 3 {
				f.appendTXT(c, "web", web1, value(i))
			}
			f.appendTXT(c, "web", web2, value(1)) // which is another name
			f.appendTXT(c, "web", web1, value(1)) // which is there
			failure := AsError(c.try("web", record.Append, web1, "TXT", new(value(3))), f.zone)
			if failure.Kind() != api.OverLimit || !failure.Unchanged || !strings.Contains(failure.Detail, "3 challenges that were not removed") {
				f.t.Errorf("%+v", failure)
			}
			if err := c.try("web", record.Delete, web1, "TXT", new(value(0))); err != nil {
				f.t.Error(err)
			}
			f.appendTXT(c, "web", web1, value(3))
		}},
		{"more than a change may have", func(f *forgetful, c copyOf) {
			change := record.Change{Op: record.Append}
			for i := range mostChallengesOfChange + 1 {
				change.Records = append(change.Records, record.Record{Name: f.zone, Expires: 1, Data: value(i)})
			}
			if failure := AsError(c.leftovers.refuse(c.Zone(f.zone), change), f.zone); failure.Kind() != api.TooLarge || !failure.Unchanged {
				f.t.Errorf("%+v", failure)
			}
			change.Records = change.Records[1:]
			if err := c.leftovers.refuse(c.Zone(f.zone), change); err != nil {
				f.t.Error(err)
			}
		}},
		{"a set by another right replaces", func(f *forgetful, c copyOf) {
			f.appendTXT(c, "web", web2, value(1))
			f.appendTXT(c, "web", web2, value(2))
			if err := c.try("ops", record.Set, web2, "TXT", new(value(2))); err != nil {
				f.t.Error(err)
			}
			f.expect(0, in2(2))
			time.Sleep(2 * challengeLifetime)
			f.expect(0, in2(2))
		}},
		{"an append by another right is to stay", func(f *forgetful, c copyOf) {
			f.appendTXT(c, "web", web2, value(1))
			f.appendTXT(c, "ops", web2, value(1))
			f.appendTXT(c, "ops", web2, value(2))
			time.Sleep(2 * challengeLifetime)
			f.expect(0, in2(1), in2(1), in2(2)) // this provider has records twice
		}},
		{"the same value again", func(f *forgetful, c copyOf) {
			f.appendTXT(c, "web", web2, value(1))
			time.Sleep(challengeLifetime / 2)
			f.appendTXT(c, "web", web2, value(1))
			time.Sleep(challengeLifetime - sweepInterval)
			f.expect(1, in2(1), in2(1))
			time.Sleep(2 * sweepInterval)
			f.expect(0)
		}},
		{"the same value again, by another copy", func(f *forgetful, c copyOf) {
			f.appendTXT(c, "web", web2, value(1))
			time.Sleep(challengeLifetime / 2)
			f.appendTXT(f.start(nil, nil), "web", web2, value(1))
			time.Sleep(challengeLifetime - sweepInterval)
			f.expect(1, in2(1), in2(1))
			time.Sleep(2 * sweepInterval)
			f.expect(0)
		}},
		{"other records are no left-overs", func(f *forgetful, c copyOf) {
			if err := c.try("ops", record.Append, "www.example.test", "TXT", new("v=spf1 -all")); err != nil {
				f.t.Error(err)
			}
			time.Sleep(2 * challengeLifetime)
			f.expect(0, "www v=spf1 -all")
		}},
		{"the copy is replaced by a reload", func(f *forgetful, c copyOf) {
			f.appendTXT(c, "web", web2, value(1))
			next := f.start(nil, nil) // the new configuration begins before the old one ends
			time.Sleep(time.Second)
			c.Close()
			f.appendTXT(c, "web", web2, value(2)) // a client that is late
			time.Sleep(challengeLifetime + 2*sweepInterval)
			f.expect(0)
			if c.lines("have expired") != 0 || next.lines("have expired") == 0 {
				f.t.Error("the old configuration still sweeps")
			}
		}},
		{"the copy was away for long", func(f *forgetful, c copyOf) {
			f.appendTXT(c, "web", web2, value(1))
			c.Close()
			time.Sleep(2 * keptFor)
			f.expect(1, in2(1))
			f.start(nil, nil)
			f.expect(0)
		}},
		{"the clock was ahead", func(f *forgetful, c copyOf) {
			c.Close()
			now := time.Now().Add(365 * challengeLifetime)
			w := written{zone: f.zone, name: mustParse(web2), text: value(1), ttl: 60, client: "web", at: now, expires: now.Add(challengeLifetime)}
			v, err := w.value()
			if err != nil {
				f.t.Fatal(err)
			}
			f.stored.Store(f.t.Context(), w.key(), v)
			f.at.AppendRecords(f.t.Context(), f.zone.String(), []libdns.Record{libdns.TXT{Name: "_acme-challenge.web2", Text: value(1), TTL: time.Minute}})
			f.start(nil, nil)
			time.Sleep(challengeLifetime - sweepInterval)
			f.expect(1, in2(1))
			time.Sleep(2 * sweepInterval)
			f.expect(0)
		}},
		{"a key that cannot be read", func(f *forgetful, c copyOf) {
			const key = writtenPrefix + "/example.test/odd"
			f.stored.Store(f.t.Context(), key, []byte("{}"))
			f.stored.Store(f.t.Context(), writtenPrefix+"/example.test/a/b", []byte("{}")) // not a key of ours at all
			f.appendTXT(c, "web", web2, value(1))
			time.Sleep(challengeLifetime + 2*sweepInterval)
			f.expect(2)
			if n := c.lines("cannot be read"); n < 2 || n > 24*6+1 {
				f.t.Errorf("%d lines in a day", n)
			}
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newForgetful(t)
				test.do(f, f.start(nil, &hookedProvider{f.at, func(context.Context, string, []libdns.Record) error { return nil }}))
			})
		})
	}
}

// TestLeftoversOfFailedAppends: what was certainly not written is forgotten, unless it had been
// written before.
func TestLeftoversOfFailedAppends(t *testing.T) {
	for _, test := range []struct {
		name    string
		before  bool // it is written before, by another copy
		failure error
		want    int
	}{
		{"certainly nothing changed", false, errUnreachable, 0},
		{"certainly nothing changed, and it was there", true, errUnreachable, 1},
		{"unknown", false, errUnknown, 1},
		{"the provider panics", false, nil, 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newForgetful(t)
				var there []string
				if test.before {
					f.appendTXT(f.start(nil, nil), "web", web1, value(1))
					there = append(there, in1(1))
				}
				c := f.start(nil, &hookedProvider{f.at, func(_ context.Context, call string, _ []libdns.Record) error {
					if call != "append" {
						return nil
					}
					if test.failure == nil {
						panic("a bug")
					}
					return test.failure
				}})
				if err := c.try("web", record.Append, web1, "TXT", new(value(1))); err == nil {
					t.Error("the append succeeded")
				}
				f.expect(test.want, there...)
				time.Sleep(challengeLifetime + 2*sweepInterval)
				f.expect(0)
			})
		})
	}
}

// TestLeftoversWithoutStorage: changes go on while the storage fails, and the log says so once.
func TestLeftoversWithoutStorage(t *testing.T) {
	for _, test := range []struct {
		name  string
		fail  func(ctx context.Context) error
		took  time.Duration // of the first append
		lines int
	}{
		{"it fails", func(context.Context) error { return errors.New("read-only file system") }, 0, 1},
		{"it is slow", func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }, storageTimeout, 1},
		{"it does not return", func(context.Context) error { time.Sleep(time.Hour); return nil }, storageTimeout, 1},
		{"it panics", func(context.Context) error { panic("a bug") }, 0, 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newForgetful(t)
				var failing atomic.Bool
				failing.Store(true)
				c := f.start(&hookedStorage{f.stored, func(ctx context.Context, call string) error {
					if failing.Load() && call != "list" {
						return test.fail(ctx)
					}
					return nil
				}}, nil)
				began := time.Now()
				f.appendTXT(c, "web", web1, value(1))
				if took := time.Since(began); took != test.took {
					t.Errorf("the first append took %s, want %s", took, test.took)
				}
				began = time.Now()
				for i := range 20 {
					f.appendTXT(c, "web", web1, value(2+i))
				}
				if took := time.Since(began); took > 0 {
					t.Errorf("the next ones took %s", took)
				}
				if n := c.lines("not remembered"); n != test.lines {
					t.Errorf("%d lines, want %d", n, test.lines)
				}
				failing.Store(false)
				time.Sleep(storagePause)
				f.appendTXT(c, "web", web2, value(1))
				if keys := f.stored.keys(); len(keys) != 1 {
					t.Errorf("remembered after it works again: %q", keys)
				}
				c.Close()
				time.Sleep(2 * time.Hour) // until the calls that did not return have
			})
		})
	}
}

// TestLeftoversAfterDeath has a copy die at each of its steps: before each call of the storage
// and of the provider that it makes. Another copy deletes what is left, and nothing else.
func TestLeftoversAfterDeath(t *testing.T) {
	var called []string
	for died := 0; len(called) >= died-1; died++ { // until it has lived to the end
		synctest.Test(t, func(t *testing.T) {
			f := newForgetful(t)
			var mu sync.Mutex
			called = nil
			buried := make(chan struct{})
			// live notes a call. In a copy that is dead, it does not return.
			live := func(call string) error {
				mu.Lock()
				isDead := len(called) == died
				if !isDead && call != "list" { // of which there is one a minute
					called = append(called, call)
				}
				mu.Unlock()
				if isDead {
					<-buried
					return errors.New("dead")
				}
				return nil
			}
			first := f.start(&hookedStorage{f.stored, func(_ context.Context, call string) error { return live(call) }},
				&hookedProvider{f.at, func(_ context.Context, call string, _ []libdns.Record) error { return live("provider's " + call) }})
			go func() {
				first.try("web", record.Append, web1, "TXT", new(value(1)))
				first.try("web", record.Append, web1, "TXT", new(value(2)))
				first.try("web", record.Delete, web1, "TXT", new(value(1)))
				time.Sleep(challengeLifetime + sweepInterval) // it deletes the second one, too, if it lives
				first.Close()
			}()
			time.Sleep(2 * challengeLifetime)
			f.start(nil, nil)
			time.Sleep(challengeLifetime)
			f.expect(0)
			close(buried) // what its calls wanted to do fails
			synctest.Wait()
			f.expect(0)
		})
		if t.Failed() {
			t.Fatalf("the copy died after %q", called)
		}
	}
	want := "load store provider's append load store provider's append provider's delete delete load lock load provider's delete load delete unlock"
	if got := strings.Join(called, " "); got != want {
		t.Errorf("its steps were %s, want %s", got, want)
	}
}

// prompt is a storage whose calls take a while each, and none long.
type prompt struct {
	Storage
	takes time.Duration
}

func (p prompt) Load(context.Context, string) ([]byte, error) {
	time.Sleep(p.takes)
	return nil, fs.ErrNotExist
}

// TestStoragePause pauses a storage that does not answer, and not one of which a single change asks
// much.
func TestStoragePause(t *testing.T) {
	for _, test := range []struct {
		name   string
		takes  time.Duration
		paused bool
	}{{"many calls", storageTimeout / 4, false}, {"one that hangs", 2 * storageTimeout, true}} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newGuardedStorage(prompt{takes: test.takes})
				load := func(ctx context.Context) (struct{}, error) {
					for range 10 {
						if _, _ = s.Load(ctx, "key"); ctx.Err() != nil {
							return struct{}{}, ctx.Err()
						}
					}
					return struct{}{}, nil
				}
				began := time.Now()
				if _, err := askForChange(t.Context(), s, load); err == nil || time.Since(began) != storageTimeout {
					t.Errorf("%v after %s", err, time.Since(began))
				}
				_, err := askForChange(t.Context(), s, func(context.Context) (struct{}, error) { return struct{}{}, nil })
				if errors.Is(err, errStoragePaused) != test.paused {
					t.Errorf("paused: %v", err)
				}
				time.Sleep(10 * storageTimeout) // until the calls that were left to themselves have ended
			})
		})
	}
}
