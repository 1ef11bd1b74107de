package e2e

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/caddy-dns/bestdns/internal/api"
)

// Clients write as fast as they can while the process is killed, again and again.
// Each time it comes back, what was answered is there, in DNS as in GET; a change
// that was under way is there as a whole, or not at all.
func TestKilledServiceLosesNothing(t *testing.T) {
	const writers = 16
	kills := 50
	if testing.Short() {
		kills = 5
	}
	s := NewService(t)
	s.MustStart()
	var all []*writer
	for i := range writers {
		all = append(all, newWriter(s, i))
	}
	answered, lowest := 0, uint32(0)
	for kill := range kills {
		var writing sync.WaitGroup
		for _, w := range all {
			writing.Go(w.write)
		}
		serials := watchSerial(s, time.Duration(5+rand.IntN(250))*time.Millisecond)
		s.Kill()
		writing.Wait()
		if rand.IntN(5) == 0 { // once more, while it starts
			s.Launch()
			time.Sleep(time.Duration(rand.IntN(200)) * time.Millisecond)
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

// later returns the later of two serials (RFC 1982).
func later(a, b uint32) uint32 {
	if int32(a-b) > 0 {
		return a
	}
	return b
}

// watchSerial returns the latest serial that DNS has answered within a time.
func watchSerial(s *Service, d time.Duration) uint32 {
	latest := uint32(0)
	for end := time.Now().Add(d); time.Now().Before(end); {
		if serial, err := s.Serial(); err == nil {
			if latest != 0 && later(serial, latest) != serial {
				s.t.Errorf("the serial goes back from %d to %d", latest, serial)
			}
			latest = serial
		}
		time.Sleep(5 * time.Millisecond)
	}
	return latest
}

// writer makes one change after the other. Each changes one of its slots: the same
// text at several names, so that half a change shows.
type writer struct {
	service  *Service
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

func newWriter(s *Service, id int) *writer {
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

// write makes changes until one is not answered.
func (w *writer) write() {
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
	}
}

func (w *writer) records(data string) []api.Record {
	var records []api.Record
	for _, name := range w.names(w.slot) {
		records = append(records, text(name, data))
	}
	return records
}

// check holds what is there against what was answered, and returns the names that
// were changed since the last check.
func (w *writer) check(t *testing.T, texts map[string][]string) (touched []string) {
	t.Helper()
	if !errors.Is(w.err, errUnanswered) {
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

// is tells whether each of the names has a text, "" for none, and nothing else.
func is(got []string, text string) bool {
	want := "[" + text + "]"
	return !slices.ContainsFunc(got, func(g string) bool { return g != want })
}
