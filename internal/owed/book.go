package owed

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/libdns/libdns"
)

const (
	// SettleTimeout is how long [Book.Settle] takes at most.
	SettleTimeout = 3 * time.Second

	// mostDebts bounds a book. A deletion that fails leaves its debt in it, so the oldest
	// goes when there are more; the service lets the record expire.
	mostDebts = 1000
	// mostCalls is how many deletions of a settlement are under way at the same time.
	mostCalls = 16
	// settlePause is the pause before a deletion is tried again. It doubles up to mostPause.
	settlePause = 100 * time.Millisecond
	mostPause   = 200 * time.Millisecond
)

// Process is the book of this process.
var Process Book

// ErrEnding is the error of an append in a process that ends: no one would delete the
// record again.
var ErrEnding = errors.New("the process ends, and would leave the record behind")

// Outcome is how an append ended.
type Outcome int

// The outcomes of an append.
const (
	Unknown Outcome = iota // it may have happened, or may yet
	Written
	NotWritten
)

// Book has the challenge records that were written and not deleted yet. The zero value has
// none. It is safe for concurrent use.
type Book struct {
	mu      sync.Mutex // guards the following
	debts   []*debt    // the oldest first
	appends int        // under way
	idle    chan struct{}
	settled chan struct{} // made when the settlement begins, closed at its end
	paid    map[key]bool  // by the settlement
}

// Deleter is what the records were written through. It is comparable.
type Deleter interface {
	libdns.RecordDeleter
	// Refused reports whether an error of a deletion is a refusal, which comes again
	// however often it is tried.
	Refused(error) bool
}

// debt is a challenge record that has to be deleted.
type debt struct {
	key
	zone    string
	rec     libdns.Record
	certain bool // that the record is there
	refused bool // for good
	deleted bool
	// again is set where the record is written again, so that no withdrawal deletes it.
	again bool
	// ended is when an append ended whose outcome is unknown.
	ended time.Time
	// try is closed when the deletion that is under way ends; nil: none is.
	try chan struct{}
}

// Begin notes an append that is about to be sent. The caller calls end with its outcome.
// It waits for deletions as [Book.Rewrite] does, and fails with [ErrEnding] once Settle
// was called.
func (b *Book) Begin(ctx context.Context, d Deleter, zone string, recs []libdns.Record) (end func(Outcome), err error) {
	if err := b.Rewrite(ctx, d, zone, recs); err != nil {
		return nil, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.settled != nil {
		return nil, ErrEnding
	}
	var noted []*debt
	for _, rec := range recs {
		if k, ok := keyOf(d, zone, rec); ok {
			b.remove(k) // it may be there from an earlier try
			noted = append(noted, &debt{key: k, zone: zone, rec: rec})
		}
	}
	b.debts = append(b.debts, noted...)
	b.debts = b.debts[max(0, len(b.debts)-mostDebts):]
	b.appends++
	return func(o Outcome) { b.end(noted, o) }, nil
}

func (b *Book) end(noted []*debt, o Outcome) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, n := range noted {
		n.certain, n.ended = o == Written, time.Now()
	}
	if o == NotWritten {
		b.debts = slices.DeleteFunc(b.debts, func(other *debt) bool { return slices.Contains(noted, other) })
	}
	if b.appends--; b.appends == 0 && b.idle != nil {
		close(b.idle)
		b.idle = nil
	}
}

// Deleted notes that records were deleted.
func (b *Book) Deleted(d Deleter, zone string, recs []libdns.Record) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, rec := range recs {
		if k, ok := keyOf(d, zone, rec); ok {
			b.remove(k)
		}
	}
}

func (b *Book) remove(k key) {
	b.debts = slices.DeleteFunc(b.debts, func(d *debt) bool { return d.key == k })
}

// among returns what is owed of these records. The caller has the lock.
func (b *Book) among(d Deleter, zone string, recs []libdns.Record) (found []*debt) {
	for _, rec := range recs {
		if k, ok := keyOf(d, zone, rec); ok {
			if i := slices.IndexFunc(b.debts, func(d *debt) bool { return d.key == k }); i >= 0 {
				found = append(found, b.debts[i])
			}
		}
	}
	return found
}

// Paid reports whether the settlement has deleted all of these records, for callers that
// are about to delete them. It waits for a settlement that is under way.
func (b *Book) Paid(d Deleter, zone string, recs []libdns.Record) bool {
	b.mu.Lock()
	settled := b.settled
	b.mu.Unlock()
	if settled == nil {
		return false
	}
	<-settled
	b.mu.Lock()
	defer b.mu.Unlock()
	return !slices.ContainsFunc(recs, func(rec libdns.Record) bool {
		k, _ := keyOf(d, zone, rec)
		return !b.paid[k]
	})
}

// Settle deletes all that is owed, since the process ends, and returns when that is done
// or has taken [SettleTimeout]; the error then says how much is left. From now on no append
// is begun. Further calls wait for the first one, which alone fails.
func (b *Book) Settle() error {
	b.mu.Lock()
	if under := b.settled; under != nil {
		b.mu.Unlock()
		<-under
		return nil
	}
	b.settled, b.paid = make(chan struct{}), make(map[key]bool)
	defer close(b.settled)
	idle := make(chan struct{})
	if b.appends == 0 {
		close(idle)
	} else {
		b.idle = idle
	}
	b.mu.Unlock()

	ctx, cancel := context.WithTimeout(context.Background(), SettleTimeout)
	defer cancel()
	began := time.Now()
	// A deletion that came before its append would find nothing.
	select {
	case <-idle:
	case <-time.After(SettleTimeout / 3):
	}
	pause := time.Duration(0)
	for groups := b.byZone(); len(groups) > 0 && ctx.Err() == nil; groups = b.byZone() {
		select {
		case <-ctx.Done():
		case <-time.After(min(pause, mostPause)):
		}
		b.pay(ctx, groups)
		pause = max(2*pause, settlePause)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.debts) > 0 {
		return fmt.Errorf("%d challenge records could not be deleted in %s, and are left to expire (the first is %q in zone %q)",
			len(b.debts), time.Since(began).Round(100*time.Millisecond), b.debts[0].rec.RR().Name, b.debts[0].zone)
	}
	return nil
}

// pay tries to delete all that is owed, each group by one call. A record of an append whose outcome is unknown is
// gone only when it was seen to be there, or has had the time to arrive.
func (b *Book) pay(ctx context.Context, groups [][]*debt) {
	var all sync.WaitGroup
	calls := make(chan struct{}, mostCalls)
	for _, debts := range groups {
		calls <- struct{}{}
		all.Go(func() {
			defer func() { <-calls }()
			if b.payTogether(ctx, debts) && len(debts) > 1 {
				// Of several, one may be refused, or they are in several zones of the service.
				for i := range debts {
					b.payTogether(ctx, debts[i:i+1])
				}
			}
		})
	}
	all.Wait()
}

// payTogether tries to delete records by one call, and reports whether that is refused.
func (b *Book) payTogether(ctx context.Context, debts []*debt) (refused bool) {
	began, try := time.Now(), make(chan struct{})
	defer close(try)
	deleter, zone := debts[0].deleter, debts[0].zone
	recs := make([]libdns.Record, len(debts))
	b.mu.Lock()
	for i, d := range debts {
		recs[i], d.try = d.rec, try
	}
	b.mu.Unlock()
	gone, err := deleter.DeleteRecords(ctx, zone, recs)
	refused = err != nil && deleter.Refused(err)
	b.mu.Lock()
	defer b.mu.Unlock()
	settling := b.settled != nil
	for _, d := range debts {
		d.refused, d.try = refused && settling && len(debts) == 1, nil
		seen := slices.ContainsFunc(gone, func(rec libdns.Record) bool { k, _ := keyOf(deleter, zone, rec); return k == d.key })
		arrived := !d.ended.IsZero() && began.Sub(d.ended) > onItsWay
		if err != nil || !seen && !d.certain && !arrived {
			continue
		}
		d.deleted = true
		b.debts = slices.DeleteFunc(b.debts, func(other *debt) bool { return other == d })
		if settling {
			b.paid[d.key] = true
		}
	}
	return refused
}

// byZone returns what can be deleted by one call each.
func (b *Book) byZone() [][]*debt {
	b.mu.Lock()
	defer b.mu.Unlock()
	var groups [][]*debt
	for _, d := range b.debts {
		if d.refused {
			continue
		}
		i := slices.IndexFunc(groups, func(g []*debt) bool { return g[0].deleter == d.deleter && g[0].zone == d.zone })
		if i < 0 {
			i, groups = len(groups), append(groups, nil)
		}
		groups[i] = append(groups[i], d)
	}
	return groups
}
