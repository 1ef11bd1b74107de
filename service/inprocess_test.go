package service

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/google/go-cmp/cmp"
	"github.com/libdns/libdns"

	"github.com/caddy-dns/bestdns"
	"github.com/caddy-dns/bestdns/internal/hosting"
)

// newestApp returns the app of the configuration in force.
func newestApp(t *testing.T) *App {
	t.Helper()
	app := liveApps.newest(nil)
	if app == nil {
		t.Fatal("no app is live")
	}
	return app
}

func TestLocal(t *testing.T) {
	s := startStandard(t)
	app, ctx := newestApp(t), t.Context()
	// certmagic's way: TTL zero, and what comes back is what is deleted.
	challenge := libdns.RR{Name: "_acme-challenge.any.thing", Type: "TXT", Data: challengeValue}
	added, err := app.AppendRecords(ctx, "example.test.", []libdns.Record{challenge})
	if err != nil {
		t.Fatal(err)
	}
	want := []libdns.Record{libdns.TXT{Name: "_acme-challenge.any.thing", Text: challengeValue}}
	if diff := cmp.Diff(want, added); diff != "" {
		t.Errorf("appended (-want +got):\n%s", diff)
	}
	if got := s.texts(t, "_acme-challenge.any.thing.example.test."); !slices.Equal(got, []string{challengeValue}) {
		t.Errorf("DNS has %q", got)
	}
	if gone, err := app.DeleteRecords(ctx, "example.test.", added); err != nil || len(gone) != 1 {
		t.Errorf("deleted %v, %v", gone, err)
	}

	// A domain hosted elsewhere: the CNAME that must exist is in the log.
	if _, err := app.AppendRecords(ctx, "www.foreign.test.", []libdns.Record{libdns.TXT{Name: "_acme-challenge", Text: challengeValue}}); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(s.log(t), "_acme-challenge.www.foreign.test. CNAME www.foreign.test.example.test.") {
		t.Errorf("the CNAME is not in the log:\n%s", s.log(t))
	}
	zones, err := app.ListZones(ctx)
	if diff := cmp.Diff([]libdns.Zone{{Name: "example.test."}, {Name: "nested.example.test."}, {Name: "secret.test."}}, zones); diff != "" || err != nil {
		t.Errorf("zones %v (-want +got):\n%s", err, diff)
	}
	// An error is the client's own type.
	_, err = app.SetRecords(ctx, "foreign.test", []libdns.Record{libdns.TXT{Name: "x", Text: "x"}})
	var failure *bestdns.Error
	if !errors.As(err, &failure) || failure.Status != 404 || !failure.Unchanged || failure.RequestID == "" {
		t.Errorf("a zone that is not hosted: %#v", err)
	}
}

// TestChallengesExpire checks that challenge records, and no others, are given
// an end.
func TestChallengesExpire(t *testing.T) {
	s := startStandard(t)
	s.must(t, "web1", "example.test", fmt.Sprintf(`{"append":[{"name":"_acme-challenge.web1","type":"TXT","data":%q}]}`, challengeValue))
	s.must(t, "ops", "example.test", `{"append":[{"name":"www","type":"TXT","data":"stays"}]}`)
	snapshot, ok := newestApp(t).shared.Snapshot(mustName(t, "example.test"))
	if !ok {
		t.Fatal("no snapshot")
	}
	day := time.Now().Add(24 * time.Hour).Unix()
	for r := range snapshot.Records(mustName(t, "example.test")) {
		switch expires := r.Expires; r.Name {
		case mustName(t, "_acme-challenge.web1.example.test"):
			if expires < day-60 || expires > day+60 {
				t.Errorf("the challenge expires at %d, want %d", expires, day)
			}
		default:
			if expires != 0 {
				t.Errorf("%v expires", r)
			}
		}
	}
}

// TestLocalConcurrent appends and deletes from many goroutines at once.
func TestLocalConcurrent(t *testing.T) {
	s := startStandard(t)
	app := newestApp(t)
	var group sync.WaitGroup
	for i := range 50 {
		group.Go(func() {
			record := []libdns.Record{libdns.TXT{Name: "shared", Text: fmt.Sprintf("value %d", i)}}
			added, err := app.AppendRecords(t.Context(), "example.test", record)
			if err != nil || len(added) != 1 {
				t.Errorf("append %d: %v %v", i, added, err)
			}
			if i%2 == 0 {
				return
			}
			if gone, err := app.DeleteRecords(t.Context(), "example.test", added); err != nil || len(gone) != 1 {
				t.Errorf("delete %d: %v %v", i, gone, err)
			}
		})
	}
	group.Wait()
	if got := s.texts(t, "shared.example.test."); len(got) != 25 {
		t.Errorf("%d values are left", len(got))
	}
}

// TestLateDelete checks that what certmagic deletes through an instance whose
// configuration has gone reaches the store.
func TestLateDelete(t *testing.T) {
	s := startStandard(t)
	old := newestApp(t)
	added, err := old.AppendRecords(t.Context(), "example.test", []libdns.Record{libdns.TXT{Name: "_acme-challenge.x", Text: challengeValue}})
	if err != nil {
		t.Fatal(err)
	}
	s.load(t, s.standard()+"\n# changed")
	if newestApp(t) == old {
		t.Fatal("the configuration was not replaced")
	}
	if gone, err := old.DeleteRecords(t.Context(), "example.test", added); err != nil || len(gone) != 1 {
		t.Errorf("deleted %v, %v", gone, err)
	}
	if got := s.texts(t, "_acme-challenge.x.example.test."); len(got) != 0 {
		t.Errorf("left: %q", got)
	}
}

// TestFailedReload checks that a configuration which fails leaves the old one in
// force, its zones never served.
func TestFailedReload(t *testing.T) {
	s := startStandard(t)
	broken := s.standard() + "\nzone new.test {\nns ns1.new.test 127.0.0.1\n}\nlisten 192.0.2.1:53\n"
	if err := s.tryLoad(t, broken); err == nil {
		t.Fatal("an address of another machine could be listened on")
	} else if !strings.Contains(err.Error(), "does not have the address") {
		t.Errorf("error: %v", err)
	}
	if reply := s.ask(t, "new.test.", 6); reply.Rcode != 5 {
		t.Errorf("the failed configuration's zone: %v", reply)
	}
	s.must(t, "ops", "example.test", `{"append":[{"name":"still","type":"TXT","data":"here"}]}`)
	if got := s.texts(t, "still.example.test."); len(got) != 1 {
		t.Errorf("DNS has %q", got)
	}
}

// TestStoreHeldElsewhere checks the error for a store that another process has.
// The lock is per open file, so this process can play the other one.
func TestStoreHeldElsewhere(t *testing.T) {
	s := newService(t)
	release := lockStore(t, s.store)
	started := time.Now()
	err := s.tryLoad(t, s.standard())
	if err == nil {
		t.Fatal("the store was opened twice")
	}
	for _, want := range []string{s.store, "process"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("error %q\ndoes not say %q", err, want)
		}
	}
	if waited := time.Since(started); waited < time.Second {
		t.Errorf("it gave up after %s", waited)
	}
	release()
	s.load(t, s.standard())
}

// TestPortTaken checks the error for a port that another name server has.
func TestPortTaken(t *testing.T) {
	s := newService(t)
	defer occupy(t, s.dns)()
	err := s.tryLoad(t, s.standard())
	if err == nil || !strings.Contains(err.Error(), s.dns) || !strings.Contains(err.Error(), "another process has the port") {
		t.Errorf("error: %v", err)
	}
	if _, held := servers.References(s.store); held {
		t.Error("the store is still held")
	}
}

// TestCancelled checks that a caller whose context ends does not wait on.
func TestCancelled(t *testing.T) {
	s, err := hosting.New(hosting.Config{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.WaitReady(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("waiting: %v", err)
	}
}

// TestSocketsAreShared checks that reloads open no further sockets, and that the
// last configuration closes them.
func TestSocketsAreShared(t *testing.T) {
	s := startStandard(t)
	for i := range 20 {
		s.load(t, s.standard()+fmt.Sprintf("\n# %d", i))
		if got := s.ask(t, "example.test.", 6); len(got.Answer) != 1 {
			t.Fatalf("after reload %d: %v", i, got)
		}
	}
	if open := socketsOpen(); len(open) != 2 {
		t.Errorf("%q are open, want 2", open)
	}
	if err := caddy.Stop(); err != nil {
		t.Fatal(err)
	}
	if open := socketsOpen(); len(open) != 0 {
		t.Errorf("%q are still open", open)
	}
	servers.Range(func(key, _ any) bool { t.Errorf("%v is still open", key); return true })
}
