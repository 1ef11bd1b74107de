package owed

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/libdns/libdns"
)

// store is a DNS host whose calls take some time.
type store struct {
	mu      sync.Mutex
	texts   []string // "name value" of the records that are there
	deletes []string // the zones of the calls
	fail    error
	delay   time.Duration
	refuse  string // part of the texts that must not be deleted
}

var errRefused = errors.New("refused")

func (*store) Refused(err error) bool { return errors.Is(err, errRefused) }

func (s *store) put(texts ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.texts = append(s.texts, texts...)
}

func (s *store) DeleteRecords(ctx context.Context, zone string, recs []libdns.Record) ([]libdns.Record, error) {
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-time.After(s.delay):
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.deletes = append(s.deletes, zone)
	if s.fail != nil {
		return nil, s.fail
	}
	var deleted []libdns.Record
	for _, rec := range recs {
		if s.refuse != "" && strings.Contains(textOf(zone, rec), s.refuse) {
			return nil, errRefused
		}
	}
	for _, rec := range recs {
		text := textOf(zone, rec)
		if slices.Contains(s.texts, text) {
			s.texts = slices.DeleteFunc(s.texts, func(other string) bool { return other == text })
			deleted = append(deleted, rec)
		}
	}
	return deleted, nil
}

func textOf(zone string, rec libdns.Record) string {
	return absolute(rec.RR().Name, zone) + " " + rec.RR().Data
}

// challenge is the nth value of a challenge.
func challenge(n int) string { return fmt.Sprintf("%043d", n) }

func txt(name, text string) []libdns.Record {
	return []libdns.Record{libdns.TXT{Name: name, Text: text}}
}

// append has the book follow an append that ends as it is told.
func (s *store) append(t *testing.T, b *Book, zone string, recs []libdns.Record, o Outcome) {
	t.Helper()
	end, err := b.Begin(t.Context(), s, zone, recs)
	if err != nil {
		t.Fatal(err)
	}
	if o == Written {
		for _, rec := range recs {
			s.put(textOf(zone, rec))
		}
	}
	end(o)
}

func TestSettle(t *testing.T) {
	for _, test := range []struct {
		name    string
		do      func(t *testing.T, b *Book, s *store)
		left    []string // records
		deletes []string
		took    time.Duration
		err     string
	}{
		{name: "nothing", do: func(*testing.T, *Book, *store) {}},
		{
			name: "what was written",
			do: func(t *testing.T, b *Book, s *store) {
				s.append(t, b, "example.org.", txt("_acme-challenge.a", challenge(1)), Written)
				s.append(t, b, "example.org.", txt("_acme-challenge.a", challenge(2)), Written)
				s.append(t, b, "example.net.", txt("_acme-challenge", challenge(3)), Written)
				s.put("_acme-challenge.a.example.org " + challenge(4)) // another's
			},
			left:    []string{"_acme-challenge.a.example.org " + challenge(4)},
			deletes: []string{"example.net.", "example.org."},
		},
		{
			name: "but what was deleted",
			do: func(t *testing.T, b *Book, s *store) {
				s.append(t, b, "example.org.", txt("_acme-challenge.a", challenge(1)), Written)
				b.Deleted(s, "a.example.org", txt("_ACME-challenge", challenge(1))) // the same name
			},
			left: []string{"_acme-challenge.a.example.org " + challenge(1)},
		},
		{
			name: "but what is no challenge",
			do: func(t *testing.T, b *Book, s *store) {
				s.append(t, b, "example.org.", txt("www", "durable"), Written)
				s.append(t, b, "example.org.", []libdns.Record{libdns.CNAME{Name: "alias", Target: challenge(1)}}, Written)
			},
			left: []string{"www.example.org durable", "alias.example.org " + challenge(1)},
		},
		{
			name: "but what was certainly not written",
			do: func(t *testing.T, b *Book, s *store) {
				s.append(t, b, "example.org.", txt("_acme-challenge.a", challenge(1)), NotWritten)
			},
		},
		{
			name: "what arrives late",
			do: func(t *testing.T, b *Book, s *store) {
				s.append(t, b, "example.org.", txt("_acme-challenge.a", challenge(1)), Unknown)
				time.AfterFunc(250*time.Millisecond, func() { s.put("_acme-challenge.a.example.org " + challenge(1)) })
			},
			deletes: []string{"example.org.", "example.org.", "example.org."},
			took:    300 * time.Millisecond,
		},
		{
			name: "what never arrives",
			do: func(t *testing.T, b *Book, s *store) {
				s.delay = 400 * time.Millisecond
				s.append(t, b, "example.org.", txt("_acme-challenge.a", challenge(1)), Unknown)
			},
			deletes: slices.Repeat([]string{"example.org."}, 5),
			took:    2700 * time.Millisecond,
		},
		{
			name: "what never arrived, long ago",
			do: func(t *testing.T, b *Book, s *store) {
				s.append(t, b, "example.org.", txt("_acme-challenge.a", challenge(1)), Unknown)
				time.Sleep(onItsWay + time.Second)
			},
			deletes: []string{"example.org."},
		},
		{
			name: "an append under way",
			do: func(t *testing.T, b *Book, s *store) {
				end, err := b.Begin(t.Context(), s, "example.org.", txt("_acme-challenge.a", challenge(1)))
				if err != nil {
					t.Fatal(err)
				}
				time.AfterFunc(200*time.Millisecond, func() {
					s.put("_acme-challenge.a.example.org " + challenge(1))
					end(Written)
				})
			},
			deletes: []string{"example.org."},
			took:    200 * time.Millisecond,
		},
		{
			name: "an append that does not end",
			do: func(t *testing.T, b *Book, s *store) {
				if _, err := b.Begin(t.Context(), s, "example.org.", txt("_acme-challenge.a", challenge(1))); err != nil {
					t.Fatal(err)
				}
				s.put("_acme-challenge.a.example.org " + challenge(1))
			},
			deletes: []string{"example.org."},
			took:    time.Second,
		},
		{
			name: "many zones at the same time",
			do: func(t *testing.T, b *Book, s *store) {
				s.delay = time.Second
				for i := range 2 * mostCalls {
					s.append(t, b, fmt.Sprintf("z%02d.test", i), txt("_acme-challenge", challenge(1)), Written)
				}
			},
			deletes: func() (zones []string) {
				for i := range 2 * mostCalls {
					zones = append(zones, fmt.Sprintf("z%02d.test", i))
				}
				return zones
			}(),
			took: 2 * time.Second,
		},
		{
			name: "a host that fails",
			do: func(t *testing.T, b *Book, s *store) {
				s.fail, s.delay = errors.New("down"), 650*time.Millisecond
				s.append(t, b, "example.org.", txt("_acme-challenge.a", challenge(1)), Written)
			},
			left:    []string{"_acme-challenge.a.example.org " + challenge(1)},
			deletes: slices.Repeat([]string{"example.org."}, 3),
			took:    3 * time.Second,
			err:     `1 challenge records could not be deleted in 3s, and are left to expire (the first is "_acme-challenge.a" in zone "example.org.")`,
		},
		{
			name: "one that is refused, beside others",
			do: func(t *testing.T, b *Book, s *store) {
				s.refuse = "bad"
				for i, name := range []string{"a", "bad", "c"} {
					s.append(t, b, "example.org.", txt("_acme-challenge."+name, challenge(i)), Written)
				}
			},
			left:    []string{"_acme-challenge.bad.example.org " + challenge(1)},
			deletes: slices.Repeat([]string{"example.org."}, 4),
			err:     `1 challenge records could not be deleted in 0s, and are left to expire (the first is "_acme-challenge.bad" in zone "example.org.")`,
		},
		{
			name: "no more than a book holds",
			do: func(t *testing.T, b *Book, s *store) {
				for i := range mostDebts + 1 {
					s.append(t, b, "example.org.", txt("_acme-challenge.a", challenge(i)), Written)
				}
			},
			left:    []string{"_acme-challenge.a.example.org " + challenge(0)},
			deletes: []string{"example.org."},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b, s := new(Book), new(store)
				test.do(t, b, s)
				began := time.Now()
				errs := make(chan error, 2)
				for range cap(errs) { // each module of a configuration does
					go func() { errs <- b.Settle() }()
				}
				err := errors.Join(<-errs, <-errs)
				if took := time.Since(began); took != test.took {
					t.Errorf("it took %s, want %s", took, test.took)
				}
				if text := fmt.Sprint(err); err == nil && test.err != "" || err != nil && text != test.err {
					t.Errorf("error %v, want %q", err, test.err)
				}
				slices.Sort(s.deletes)
				if diff := cmp.Diff(test.deletes, s.deletes); diff != "" {
					t.Errorf("zones of the deletions (-want +got):\n%s", diff)
				}
				if diff := cmp.Diff(strings.Join(test.left, "\n"), strings.Join(s.texts, "\n")); diff != "" {
					t.Errorf("records that are left (-want +got):\n%s", diff)
				}
			})
		})
	}
}

// TestAfterSettling: a caller that comes to delete what is deleted already is told so, and no
// append is begun any more.
func TestAfterSettling(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, s := new(Book), &store{delay: time.Second}
		one, other := txt("_acme-challenge.a", challenge(1)), txt("_acme-challenge.a", challenge(2))
		s.append(t, b, "example.org.", one, Written)
		if b.Paid(s, "example.org.", one) {
			t.Error("paid before the settlement")
		}
		go b.Settle()
		synctest.Wait()
		if !b.Paid(s, "a.example.org.", txt("_acme-challenge", challenge(1))) {
			t.Error("not paid after the settlement that was under way")
		}
		if b.Paid(s, "example.org.", other) || b.Paid(s, "example.org.", append(other, one...)) || b.Paid(new(store), "example.org.", one) {
			t.Error("paid, and it was not in the book")
		}
		if _, err := b.Begin(t.Context(), s, "example.org.", other); !errors.Is(err, ErrEnding) {
			t.Errorf("an append after the settlement: %v", err)
		}
	})
}
