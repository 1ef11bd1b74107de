package hosting

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"sync"
	"time"

	"github.com/libdns/libdns"
	"go.uber.org/zap"

	"github.com/caddy-dns/bestdns/internal/api"
	"github.com/caddy-dns/bestdns/internal/record"
	"github.com/caddy-dns/bestdns/internal/text"
)

const (
	// sweepInterval is the pause between two sweeps, where no challenge of a zone has a shorter
	// lifetime.
	sweepInterval = time.Minute
	// sweepTimeout ends a sweep. The next one goes on where it ended.
	sweepTimeout = 50 * time.Second
	// zoneTimeout ends the deletions of one zone: no more are begun.
	zoneTimeout = 20 * time.Second
	// sweepCallTimeout is how long a sweep waits for one call of the storage; the list of all keys
	// may take longer.
	sweepCallTimeout = 3 * time.Second
	// zonesAtOnce is how many zones are swept at the same time.
	zonesAtOnce = 8
	// deletedAtOnce is how many left-overs one call deletes: a provider may have to be read
	// for each call.
	deletedAtOnce = 50
	// mostFailures is how many calls for a zone may fail in one sweep, and mostBackoff the
	// longest pause after sweeps that failed.
	mostFailures, mostBackoff = 8, time.Hour
	// keptFor is for how long after its time a left-over is remembered that cannot be deleted.
	keptFor = 30 * 24 * time.Hour
)

// sweepLock is the name of the lock of those who sweep.
const sweepLock = "bestdns_written"

// sweeperName is what the log calls the sweep, as it names clients.
const sweeperName = "challenge_lifetime"

// sweeping is held by the sweep of this process: during a reload there are two configurations,
// and their storages need not be the same.
var sweeping sync.Mutex

// zoneRetry is a zone in which all deletions failed.
type zoneRetry struct {
	failures int // sweeps, one after the other
	again    time.Time
}

// backoff is the pause after so many failures.
func backoff(failures int) time.Duration {
	return min(sweepInterval<<min(failures-1, 10), mostBackoff)
}

// run sweeps now and again until the service is closed.
func (l *leftovers) run() {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		select {
		case <-l.service.closed:
			cancel()
		case <-ctx.Done():
		}
	}()
	interval := sweepInterval
	for _, zone := range l.service.zones {
		if !zone.Builtin() && zone.ChallengeLifetime > 0 {
			interval = min(interval, zone.ChallengeLifetime)
		}
	}
	for {
		l.sweep(ctx)
		timer := time.NewTimer(interval)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return
		}
	}
}

// sweep deletes the left-overs, unless another copy or another configuration is at it.
func (l *leftovers) sweep(ctx context.Context) {
	if !sweeping.TryLock() {
		return
	}
	defer sweeping.Unlock()
	defer l.reportPanic()
	ctx, cancel := context.WithTimeout(ctx, sweepTimeout)
	defer cancel()
	due, err := l.review(ctx)
	if err == nil && len(due) > 0 {
		err = l.deleteAlone(ctx, due)
	}
	if err != nil && ctx.Err() == nil {
		l.complain(&l.failing, "left-over challenges of zones with a DNS provider could not be deleted: the storage of this Caddy fails", err)
	}
}

// reportPanic ends a panic, as no one else does here. It is deferred.
func (l *leftovers) reportPanic() {
	if recovered := recover(); recovered != nil {
		l.log.Error("deleting left-over challenges failed; please report this", zap.Any("panic", recovered), zap.Stack("stack"))
	}
}

// deleteAlone deletes left-overs while no other copy does.
func (l *leftovers) deleteAlone(ctx context.Context, due map[*Zone][]written) error {
	waiting, cancel := context.WithTimeout(ctx, sweepCallTimeout)
	defer cancel()
	release, err := l.storage.lock(waiting, sweepLock)
	if err != nil || release == nil {
		return err
	}
	defer release()
	slots := make(chan struct{}, zonesAtOnce)
	var all sync.WaitGroup
	for zone, list := range due { // in random order: not always the same ones when time is short
		select {
		case slots <- struct{}{}:
		case <-ctx.Done():
			continue
		}
		all.Go(func() {
			defer func() { <-slots }()
			defer l.reportPanic()
			l.sweepZone(ctx, zone, list)
		})
	}
	all.Wait()
	return nil
}

// forgetUnlessMoved forgets a record, unless it was appended again since it was read.
func (l *leftovers) forgetUnlessMoved(ctx context.Context, w written) error {
	if err := l.unmoved(ctx, w); errors.Is(err, errMoved) {
		return nil
	} else if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, sweepCallTimeout)
	defer cancel()
	_, err := ask(ctx, l.storage, func(ctx context.Context) (struct{}, error) { return struct{}{}, l.forget(ctx, w.key()) })
	if err != nil {
		return fmt.Errorf("deleting the key %q: %w", w.key(), err)
	}
	return nil
}

// errMoved is a record that is no longer a left-over: it was appended again, or deleted.
var errMoved = errors.New("the record was appended again or deleted since it was found to be left over")

// unmoved returns errMoved unless a record is remembered as it was read.
func (l *leftovers) unmoved(ctx context.Context, w written) error {
	value, err := l.loadKey(ctx, w.key())
	if errors.Is(err, fs.ErrNotExist) {
		return errMoved
	}
	if err != nil {
		return fmt.Errorf("reading the key %q: %w", w.key(), err)
	}
	now, err := readWritten(w.key(), value)
	if err != nil || !now.at.Equal(w.at) {
		return errMoved
	}
	return nil
}

// sweepZone deletes the left-overs of a zone. Where one of many makes a call fail, it finds
// that one by halves.
func (l *leftovers) sweepZone(ctx context.Context, zone *Zone, due []written) {
	ctx, cancel := context.WithTimeout(ctx, zoneTimeout)
	defer cancel()
	var batches [][]written
	for len(due) > 0 {
		n := min(deletedAtOnce, len(due))
		batches, due = append(batches, due[:n]), due[n:]
	}
	deleted, failed, reachable := 0, 0, true
	for len(batches) > 0 && failed < mostFailures && reachable && ctx.Err() == nil {
		batch := batches[0]
		batches = batches[1:]
		failure, err := l.deleteBatch(ctx, zone, batch)
		switch {
		case err != nil: // the storage does not say that they are still left over
			if !errors.Is(err, errMoved) {
				l.complain(&l.failing, "left-over challenges of a zone could not be deleted: the storage of this Caddy fails", err, zap.String("zone", zone.Apex.String()))
			}
		case failure == nil:
			deleted += len(batch)
			l.forgetDeleted(ctx, batch)
		case failure.Kind() == api.Unavailable || failure.Kind() == api.ProviderTimeout:
			failed, reachable = failed+1, false
		case len(batch) > 1:
			failed++
			batches = append(batches, batch[:len(batch)/2], batch[len(batch)/2:])
		default:
			failed++
			l.postpone(ctx, batch[0])
		}
	}
	l.retryLater(zone, deleted == 0 && failed > 0)
	if deleted > 0 {
		l.log.Info("records of challenges have expired and are gone", zap.String("zone", zone.Apex.String()), zap.Int("records", deleted))
	}
}

// retryLater notes whether all deletions in a zone have failed: the pauses between sweeps of it
// become longer then.
func (l *leftovers) retryLater(zone *Zone, hasFailed bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !hasFailed {
		delete(l.zones, zone.Apex)
		return
	}
	failures := l.zones[zone.Apex].failures + 1
	l.zones[zone.Apex] = zoneRetry{failures: failures, again: time.Now().Add(backoff(failures))}
}

// postpone has a left-over that cannot be deleted tried again later, and in the end forgotten.
func (l *leftovers) postpone(ctx context.Context, w written) {
	now := time.Now()
	if now.After(w.expires.Add(keptFor)) {
		l.log.Warn("a left-over challenge that could not be deleted for weeks is forgotten; if it is still there, delete it by hand",
			zap.String("zone", w.zone.String()), zap.String("name", text.Brief(w.name.String(), text.MaxName)))
		if err := l.forgetUnlessMoved(ctx, w); err != nil {
			l.complain(&l.failing, "a left-over challenge could not be forgotten: the storage of this Caddy fails", err)
		}
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if k, isKnown := l.known[w.key()]; isKnown && k.at.Equal(w.at) {
		k.failures++
		k.look = now.Add(backoff(k.failures))
		l.known[w.key()] = k
	}
}

// forgetDeleted forgets records that are deleted. What cannot be forgotten is deleted once more.
func (l *leftovers) forgetDeleted(ctx context.Context, batch []written) {
	ctx = context.WithoutCancel(ctx) // it is done, and each call has a timeout
	for _, w := range batch {
		if err := l.forgetUnlessMoved(ctx, w); err != nil {
			l.complain(&l.failing, "a left-over challenge that is deleted could not be forgotten: the storage of this Caddy fails", err, zap.String("zone", w.zone.String()))
			return
		}
	}
}

// deleteBatch has the zone's backend delete left-overs, as a client would. The error is that
// they are no left-overs any more, or that the storage does not say so; nothing was deleted then.
func (l *leftovers) deleteBatch(ctx context.Context, zone *Zone, batch []written) (failure *Error, err error) {
	change := Change{Zone: zone.Apex, Change: record.Change{Op: record.Delete}}
	for _, w := range batch {
		m, err := record.MatchAt(w.name, "TXT", zone.ttlToDelete(w), &w.text)
		if err != nil {
			return nil, err
		}
		change.Matches = append(change.Matches, m)
	}
	ctx = context.WithValue(ctx, lastLookKey{}, func(ctx context.Context) error {
		for _, w := range batch {
			if err := l.unmoved(ctx, w); err != nil {
				return notLeftOverError{err}
			}
		}
		return nil
	})
	started := time.Now()
	tried := ChangeSeen{Zone: zone.Apex.String(), Op: change.Op.String(), Records: namesOf(&change)}
	done, err := zone.changeRecovered(ctx, sweeperName, change.Change)
	var notLeftOver notLeftOverError
	if errors.As(err, &notLeftOver) {
		return nil, notLeftOver.error
	}
	if err != nil {
		failure = AsError(err, zone.Apex)
	}
	tried.Serial = done.serial
	l.service.note(Caller{Name: sweeperName}, zone, tried, time.Since(started), failure)
	l.service.config.Activity.providerError(zone, failure)
	return failure, nil
}

// changeRecovered has the backend make a change, and makes of a panic an error.
func (z *Zone) changeRecovered(ctx context.Context, client string, change record.Change) (done outcome, err error) {
	defer func() {
		if recovered := recover(); recovered != nil {
			err = Recovered(recovered)
		}
	}()
	return z.backend.change(ctx, client, change)
}

// ttlToDelete returns the TTL with which a left-over is deleted: none where the zone can be
// read, since the provider may have given the record another one.
func (z *Zone) ttlToDelete(w written) *uint32 {
	if _, canRead := z.Provider.(libdns.RecordGetter); canRead || z.Provider == nil {
		return nil
	}
	return &w.ttl
}

// lastLookKey is the key of a context's value by which a delete looks once more whether it is
// still wanted.
type lastLookKey struct{}

// notLeftOverError is why a last look has ended a delete.
type notLeftOverError struct{ error }

func (e notLeftOverError) Unwrap() error { return e.error }

// lastLook returns why a delete is no longer wanted, nil if it is. Backends call it as near to the
// deletion as they can: where that is in the zone's turn, as at DNS providers, a record that was
// appended again in this process is never deleted. In a zone on a primary it may still be appended
// while the deletion waits for its message, and by another copy in the time that any deletion takes.
func lastLook(ctx context.Context) error {
	look, ok := ctx.Value(lastLookKey{}).(func(context.Context) error)
	if !ok {
		return nil
	}
	return look(ctx)
}
