package e2e

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddy-dns/bestdns/e2e/internal/harness"
	"github.com/caddy-dns/bestdns/internal/api"
)

// Clients write as fast as they can while the process is killed, again and again.
// Each time it comes back, what was answered is there, in DNS as in GET; a change
// that was under way is there as a whole, or not at all.
func TestKilledServiceLosesNothing(t *testing.T) {
	t.Parallel()
	const writers = 16
	kills := 50
	if testing.Short() {
		kills = 5
	}
	s := harness.NewService(t)
	s.MustStart()
	var all []*writer
	for i := range writers {
		all = append(all, newWriter(s, i))
	}
	lines := linesOfStart(s)
	answered, lowest := 0, uint32(0)
	for kill := range kills {
		var writing sync.WaitGroup
		enough := newCountdown(1 + rand.IntN(800))
		for _, w := range all {
			writing.Go(func() { w.write(enough) })
		}
		serials := watchSerial(s, enough.over)
		s.Kill()
		writing.Wait()
		if rand.IntN(5) == 0 { // once more, while it starts
			s.Launch()
			waitLines(s, rand.IntN(lines))
			s.Kill()
		}
		s.MustStart()
		serial, err := s.Serial()
		if err != nil {
			t.Fatal(err)
		}
		lowest = later(lowest, serials)
		if later(serial, lowest) != serial {
			t.Errorf("kill %d: the serial was %d and is %d", kill, lowest, serial)
		}
		lowest = serial
		var touched []string
		texts := s.Texts()
		for _, w := range all {
			answered += w.answered
			touched = append(touched, w.check(t, texts)...)
		}
		byDNS := s.TextsByDNS(touched)
		for _, name := range touched {
			if !slices.Equal(texts[name], byDNS[name]) {
				t.Errorf("kill %d: %s is %q by GET and %q by DNS", kill, name, texts[name], byDNS[name])
			}
		}
		if t.Failed() {
			t.FailNow()
		}
	}
	t.Logf("%d kills, %d changes answered", kills, answered)
	if answered < kills*writers {
		t.Errorf("%d changes were answered in all: too few for anything to be shown", answered)
	}
}

// linesOfStart returns how many lines the service has logged until it was up.
func linesOfStart(s *harness.Service) int {
	s.T.Helper()
	up := harness.Message("serving initial configuration")
	if err := s.Log.Wait(1, harness.StartTimeout, up); err != nil {
		s.T.Fatal(err)
	}
	return slices.IndexFunc(s.Log.Entries(func(harness.Entry) bool { return true }), up)
}

// waitLines waits until the service has logged so many lines.
func waitLines(s *harness.Service, n int) {
	s.T.Helper()
	if err := s.Log.Wait(n, harness.StartTimeout, func(harness.Entry) bool { return true }); err != nil {
		s.T.Fatal(err)
	}
}

// countdown is over when it has been counted down to zero.
type countdown struct {
	left atomic.Int64
	over chan struct{}
}

func newCountdown(n int) *countdown {
	c := &countdown{over: make(chan struct{})}
	c.left.Store(int64(n))
	return c
}

func (c *countdown) count() {
	if c.left.Add(-1) == 0 {
		close(c.over)
	}
}

// later returns the later of two serials (RFC 1982).
func later(a, b uint32) uint32 {
	if int32(a-b) > 0 {
		return a
	}
	return b
}

// watchSerial asks for the serial now and then, until something is over, and returns
// the latest.
func watchSerial(s *harness.Service, over <-chan struct{}) uint32 {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	latest := uint32(0)
	for {
		if serial, err := s.Serial(); err == nil {
			if latest != 0 && later(serial, latest) != serial {
				s.T.Errorf("the serial goes back from %d to %d", latest, serial)
			}
			latest = serial
		}
		select {
		case <-tick.C:
		case <-over:
			return latest
		}
	}
}

// writer makes one change after the other. Each changes one of its slots: the same
// text at several names, so that half a change shows.
type writer struct {
	service  *harness.Service
	id       int
	sequence int
	answered int // changes since the last check
	// slots are the texts that are there, "" for none; pending is what the last
	// change was to make of slot, when it was not answered.
	slots   [20]string
	touched map[int]bool
	slot    int
	pending *string
	err     error
}

func newWriter(s *harness.Service, id int) *writer {
	return &writer{service: s, id: id, touched: make(map[int]bool)}
}

// names are those of a slot.
func (w *writer) names(slot int) []string {
	var names []string
	for _, part := range []string{"a", "b.x", "c"} {
		names = append(names, fmt.Sprintf("%s.slot%d.w%d", part, slot, w.id))
	}
	return names
}

// write makes changes until one is not answered, and counts those that are.
func (w *writer) write(enough *countdown) {
	w.answered, w.err = 0, nil
	clear(w.touched)
	for {
		w.slot = rand.IntN(len(w.slots))
		w.touched[w.slot] = true
		w.sequence++
		next := fmt.Sprintf("%d-%d", w.id, w.sequence)
		change := api.Change{}
		switch have := w.slots[w.slot]; {
		case have == "":
			change.Append = w.records(next)
		case rand.IntN(2) == 0:
			change.Set = w.records(next)
		default:
			change.Delete, next = w.records(have), ""
		}
		w.pending = &next
		if err := w.service.Patch(context.Background(), change); err != nil {
			w.err = err
			return
		}
		w.slots[w.slot], w.pending = next, nil
		w.answered++
		enough.count()
	}
}

func (w *writer) records(data string) []api.Record {
	var records []api.Record
	for _, name := range w.names(w.slot) {
		records = append(records, harness.Text(name, data))
	}
	return records
}

// check holds what is there against what was answered, and returns the names that
// were changed since the last check.
func (w *writer) check(t *testing.T, texts map[string][]string) (touched []string) {
	t.Helper()
	if !errors.Is(w.err, harness.ErrUnanswered) {
		t.Errorf("writer %d: its last change was refused: %v", w.id, w.err)
	}
	for slot, want := range w.slots {
		var got []string
		for _, name := range w.names(slot) {
			if w.touched[slot] {
				touched = append(touched, name)
			}
			got = append(got, fmt.Sprint(texts[name]))
		}
		if w.pending != nil && slot == w.slot && is(got, *w.pending) {
			w.slots[slot] = *w.pending
			continue
		}
		if !is(got, want) {
			t.Errorf("writer %d, slot %d: at its names is %q; the last answer made it %q, and a change under way concerned slot %d", w.id, slot, got, want, w.slot)
		}
	}
	w.pending = nil
	return touched
}

// is reports whether each of the names has a text, "" for none, and nothing else.
func is(got []string, text string) bool {
	want := "[" + text + "]"
	return !slices.ContainsFunc(got, func(g string) bool { return g != want })
}
