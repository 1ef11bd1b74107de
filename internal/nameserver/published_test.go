package nameserver

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestPublished follows what is told of zones that have changed, in order and with what
// has changed.
func TestPublished(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s *Server
		var mu sync.Mutex // guards what follows
		var told []string
		last := make(map[string]*Snapshot)
		published := func(p Publication) {
			mu.Lock()
			defer mu.Unlock()
			zone := p.Zone.String()
			if current := (*s.zones.Load())[p.Zone].current.Load(); current != p.After {
				t.Errorf("%s is told of before it is published", zone)
			}
			if before := last[zone]; before != p.Before {
				t.Errorf("%s was not before as it was told of", zone)
			}
			last[zone] = p.After
			var names []string
			if p.Names != nil {
				for name := range p.Names {
					names = append(names, name.String())
				}
				slices.Sort(names)
			}
			rises := p.Before == nil || int32(p.After.Serial()-p.Before.Serial()) > 0
			told = append(told, fmt.Sprint(zone, names, rises))
		}
		path := storePath(t)
		start := func() {
			var err error
			if s, err = Open(Options{Path: path, Logger: slog.New(slog.DiscardHandler), Published: published}); err != nil {
				t.Fatal(err)
			}
			if err := s.Load(); err != nil {
				t.Fatal(err)
			}
		}
		check := func(what string, want ...string) {
			t.Helper()
			synctest.Wait()
			mu.Lock()
			defer mu.Unlock()
			if diff := cmp.Diff(want, told); diff != "" {
				t.Errorf("%s (-want +got):\n%s", what, diff)
			}
			told = nil
		}
		start()
		zone, other := zoneConfig(t, "example.org"), zoneConfig(t, "other.test")
		settings := Settings{Zones: []ZoneConfig{zone, other}}
		if err := s.Rehearse(settings); err != nil {
			t.Fatal(err)
		}
		check("a rehearsal")
		serve(t, s, zone)
		check("a new zone", "example.org.[example.org. ns1.example.org.] true")
		serve(t, s, zone)
		check("the same again")
		text := expiring(rr(t, zone.Name, "www 60 TXT x"), time.Hour)
		apply(t, s, zone.Name, appending(text, rr(t, zone.Name, "stays 60 TXT x")))
		apply(t, s, zone.Name, appending(rr(t, zone.Name, "stays 60 TXT x")))
		apply(t, s, zone.Name, deleting(rr(t, zone.Name, "stays 60 TXT x")))
		check("two changes, and between them what changes nothing", "example.org.[stays.example.org. www.example.org.] true", "example.org.[stays.example.org.] true")
		time.Sleep(time.Hour + time.Minute)
		check("what expires", "example.org.[www.example.org.] true")
		failAt(t, s, stepCommit)
		if _, err := s.Apply(context.Background(), zone.Name, appending(text)); !errors.Is(err, ErrReadOnly) {
			t.Errorf("error: %v", err)
		}
		check("a commit that failed")
		failAt(t, s, stepCommitted, stepOpen)
		if _, err := s.Apply(context.Background(), zone.Name, appending(rr(t, zone.Name, "stays 60 TXT x"))); !errors.Is(err, ErrOutcomeUnknown) {
			t.Errorf("error: %v", err)
		}
		check("a commit with an unknown outcome")
		apply(t, s, zone.Name, deleting(rr(t, zone.Name, "stays 60 TXT x")))
		check("what was found on disk, and the next change", "example.org.[] true", "example.org.[stays.example.org.] true")
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}

		start()
		check("a restart")
		mu.Lock()
		clear(last)
		last["example.org."] = snapshot(t, s, zone.Name)
		mu.Unlock()
		serve(t, s, zone)
		check("the first configuration after it", "example.org.[example.org. ns1.example.org.] false")
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	})
}

// A panic of who is told costs neither the change nor the process.
func TestPanicOfPublished(t *testing.T) {
	log := new(logged)
	s, err := Open(Options{Path: storePath(t), Logger: slog.New(slog.NewTextHandler(log, nil)), Published: func(Publication) { panic("a bug") }})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	zone := zoneConfig(t, "example.org")
	serve(t, s, zone)
	apply(t, s, zone.Name, appending(rr(t, zone.Name, "www 60 TXT x")))
	if lines := log.lines("a bug"); len(lines) != 1 {
		t.Errorf("%d lines about it", len(lines))
	}
}
