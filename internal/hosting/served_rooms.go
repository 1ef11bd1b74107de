package hosting

import (
	"context"
	"math"
	"sync/atomic"

	"golang.org/x/sync/semaphore"

	"github.com/caddy-dns/bestdns/internal/access"
	"github.com/caddy-dns/bestdns/internal/record"
)

// This file is how much may wait for name servers at the same time.

// isLarge reports whether the records of a change take much memory.
func isLarge(records []record.Record) bool {
	const usual, large = 64, 16 << 10
	size := 0
	for _, r := range records[:min(len(records), usual)] {
		size += len(r.Name) + len(r.Data)
	}
	return len(records) > usual || size > large
}

// room bounds the changes of one client that wait at the same time. It has a place for each server
// that is asked.
type room struct {
	places *semaphore.Weighted
	queued atomic.Int32
	most   int32 // that may be queued
}

// rooms are those of one client.
type rooms struct{ usual, large *room }

// enter waits until one more change of a client may wait for so many servers. It returns false when
// ctx ends, or if too many are queued; of large ones, which keep what is in them in memory, few are
// let in, and none is queued.
func (w *watch) enter(ctx context.Context, client *access.Client, servers int, large bool) (leave func(), ok bool) {
	w.mu.Lock()
	of, known := w.waiting[client]
	if !known { // one for each client of the configuration
		of = rooms{
			usual: &room{places: semaphore.NewWeighted(mostAsked), most: mostQueued},
			large: &room{places: semaphore.NewWeighted(mostLargeWaits)},
		}
		if client == w.local { // which does not ask again
			of.usual.most = math.MaxInt32
		}
		w.waiting[client] = of
	}
	w.mu.Unlock()
	n := int64(min(servers, mostAsked))
	if !large || client == w.local {
		return of.usual.enter(ctx, n)
	}
	leaveLarge, ok := of.large.enter(ctx, 1)
	if !ok {
		return nil, false
	}
	leaveUsual, ok := of.usual.enter(ctx, n)
	if !ok {
		leaveLarge()
		return nil, false
	}
	return func() { leaveUsual(); leaveLarge() }, true
}

// enter takes so many places.
func (r *room) enter(ctx context.Context, n int64) (leave func(), ok bool) {
	leave = func() { r.places.Release(n) }
	if ctx.Err() == nil && r.places.TryAcquire(n) {
		return leave, true
	}
	defer r.queued.Add(-1)
	if r.queued.Add(1) > r.most || r.places.Acquire(ctx, n) != nil {
		return nil, false
	}
	return leave, true
}
