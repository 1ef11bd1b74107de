package owed

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/libdns/libdns"
)

// Times of a withdrawal.
const (
	withdrawTimeout = 5 * time.Second
	onItsWay        = 2 * time.Second // an append that is still on its way has arrived by then
)

// Withdrawals are the clean-up after appends that failed: those under way. The zero value
// has none. It is safe for concurrent use.
type Withdrawals struct {
	mu   sync.Mutex
	list []*withdrawal
}

// withdrawal is the deletion of the challenge records of one append.
type withdrawal struct {
	zone  string
	texts []libdns.Record

	turn chan struct{} // holds a value while left is in use
	left []libdns.Record
}

// Withdraw deletes the challenge records of an append whose outcome is unknown, and no
// others: those may have been there before. It goes on when ctx ends, but its caller waits
// no longer than that.
func (ws *Withdrawals) Withdraw(ctx context.Context, d libdns.RecordDeleter, zone string, recs []libdns.Record) {
	w := &withdrawal{zone: zone, turn: make(chan struct{}, 1)}
	for _, rec := range recs {
		if isChallenge(rec) {
			w.texts = append(w.texts, rec)
		}
	}
	if len(w.texts) == 0 {
		return
	}
	w.left = slices.Clone(w.texts)
	ws.mu.Lock()
	ws.list = append(ws.list, w)
	ws.mu.Unlock()
	tried := make(chan struct{})
	w.turn <- struct{}{} // for the first try: no one else knows it yet
	go func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), withdrawTimeout)
		defer cancel()
		defer ws.end(w)
		done := w.try(ctx, d)
		close(tried)
		if done {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(onItsWay):
		}
		// A failure is of no more use: the caller has the error of the append, and the
		// service lets what is left behind expire.
		w.turn <- struct{}{}
		w.try(ctx, d)
	}()
	select {
	case <-tried:
	case <-ctx.Done():
	}
}

// try deletes what is to be deleted, in its turn, and ends the turn. It reports
// whether all of it was there.
func (w *withdrawal) try(ctx context.Context, d libdns.RecordDeleter) (done bool) {
	defer func() { <-w.turn }()
	if len(w.left) == 0 {
		return true
	}
	deleted, err := d.DeleteRecords(ctx, w.zone, w.left)
	return err == nil && len(deleted) >= len(w.left)
}

func (ws *Withdrawals) end(w *withdrawal) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	ws.list = slices.DeleteFunc(ws.list, func(other *withdrawal) bool { return other == w })
}

// Spare keeps withdrawals from records that are about to be written again, as
// they are where a caller repeats what failed. It waits for a deletion that is
// under way, so that none comes after the new record. It fails when ctx ends.
func (ws *Withdrawals) Spare(ctx context.Context, zone string, recs []libdns.Record) error {
	ws.mu.Lock()
	list := slices.Clone(ws.list)
	ws.mu.Unlock()
	for _, w := range list {
		again := func(text libdns.Record) bool {
			return slices.ContainsFunc(recs, func(rec libdns.Record) bool { return sameText(text, w.zone, rec, zone) })
		}
		if !slices.ContainsFunc(w.texts, again) {
			continue
		}
		select {
		case w.turn <- struct{}{}:
		case <-ctx.Done():
			return fmt.Errorf("%w, while waiting for the end of a deletion after an append that failed before", ctx.Err())
		}
		w.left = slices.DeleteFunc(w.left, again)
		<-w.turn
	}
	return nil
}
