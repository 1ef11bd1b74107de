package owed

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/libdns/libdns"
)

// Times of a withdrawal.
const (
	withdrawTimeout = 5 * time.Second
	onItsWay        = 2 * time.Second // an append that is still on its way has arrived by then
)

// Withdraw deletes the challenge records of an append that has ended with its outcome
// unknown, and no others: those may have been there before. What is not there it deletes
// once more later. It goes on when ctx ends, but its caller waits no longer than that.
func (b *Book) Withdraw(ctx context.Context, d Deleter, zone string, recs []libdns.Record) {
	b.mu.Lock()
	debts := b.among(d, zone, recs)
	b.mu.Unlock()
	tried := make(chan struct{})
	go func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), withdrawTimeout)
		defer cancel()
		b.withdraw(ctx, debts)
		close(tried)
		select {
		case <-ctx.Done():
		case <-time.After(onItsWay):
			// A failure is of no more use: the caller has the error of the append, and the
			// service lets what is left expire.
			b.withdraw(ctx, debts)
		}
	}()
	select {
	case <-tried:
	case <-ctx.Done():
	}
}

// withdraw tries to delete what is left of records.
func (b *Book) withdraw(ctx context.Context, debts []*debt) {
	b.mu.Lock()
	left := slices.DeleteFunc(slices.Clone(debts), func(d *debt) bool { return d.deleted || d.again })
	b.mu.Unlock()
	if len(left) > 0 {
		b.payTogether(ctx, left)
	}
}

// Rewrite ends the withdrawal of records that are about to be written again. It waits for
// a deletion that is under way, so that none comes after the new record, and fails when
// ctx ends.
func (b *Book) Rewrite(ctx context.Context, d Deleter, zone string, recs []libdns.Record) error {
	for try := b.rewrite(d, zone, recs); try != nil; try = b.rewrite(d, zone, recs) {
		select {
		case <-try:
		case <-ctx.Done():
			return fmt.Errorf("%w, while waiting for the end of a deletion after an append that failed before", ctx.Err())
		}
	}
	return nil
}

// rewrite is Rewrite where no deletion is under way. Otherwise it returns what to wait for.
func (b *Book) rewrite(d Deleter, zone string, recs []libdns.Record) (try chan struct{}) {
	b.mu.Lock()
	defer b.mu.Unlock()
	debts := b.among(d, zone, recs)
	for _, d := range debts {
		if d.try != nil {
			return d.try
		}
	}
	for _, d := range debts {
		d.again = true
	}
	return nil
}
