package hosting

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-dns/bestdns/internal/text"
)

const (
	// reviewTimeout ends reading the storage, so that there is time to delete.
	reviewTimeout = 20 * time.Second
	// mostLoads is how many keys of a zone are read in one sweep, and mostDue how many left-overs
	// are found in all zones: the next sweep goes on.
	mostLoads, mostDue = 5_000, 10_000
	// mostUnreadable is how many keys may fail to be read in one sweep: the storage may be
	// down. unreadableAgain is when such a key is read again.
	mostUnreadable, unreadableAgain = 20, 10 * time.Minute
)

// review reads the keys whose time may have come, and returns the left-overs among them.
func (l *leftovers) review(ctx context.Context) (map[*Zone][]written, error) {
	ctx, cancel := context.WithTimeout(ctx, reviewTimeout)
	defer cancel()
	began := time.Now()
	keys, err := ask(ctx, l.storage, func(ctx context.Context) ([]string, error) { return l.storage.List(ctx, writtenPrefix, true) })
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("listing the keys in %q: %w", writtenPrefix, err)
	}
	r := review{leftovers: l, due: make(map[*Zone][]written)}
	for _, folder := range l.toRead(keys, began) {
		r.read(ctx, folder)
	}
	r.report()
	return r.due, nil
}

// toRead returns the keys that have to be read now, by zone, the zones in random order. It drops
// what was known of keys that are not among these any more.
func (l *leftovers) toRead(keys []string, began time.Time) [][]string {
	l.mu.Lock()
	defer l.mu.Unlock()
	isThere := make(map[string]bool, len(keys))
	byFolder := make(map[string][]string)
	for _, key := range keys {
		isThere[key] = true
		folder, file, _ := strings.Cut(strings.TrimPrefix(key, writtenPrefix+"/"), "/")
		if file == "" || strings.Contains(file, "/") || began.Before(l.known[key].look) || len(byFolder[folder]) == mostLoads {
			continue
		}
		byFolder[folder] = append(byFolder[folder], key)
	}
	for key, k := range l.known {
		if !isThere[key] && k.seen.Before(began) {
			l.drop(key)
		}
	}
	list := make([][]string, 0, len(byFolder))
	for _, folder := range byFolder {
		list = append(list, folder)
	}
	rand.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	return list
}

// review is the part of a sweep that reads the storage.
type review struct {
	*leftovers
	due   map[*Zone][]written
	found int // in due
	// What is worth a line: how many, and an example.
	unreadable, forgotten int
	unreadableKey         string
	unreadableErr         error
	forgottenOf           written
}

// read reads keys of one zone. What is not read in time, the next sweep reads.
func (r *review) read(ctx context.Context, keys []string) {
	for _, key := range keys {
		if r.found == mostDue || r.unreadable == mostUnreadable || ctx.Err() != nil {
			return
		}
		value, err := r.loadKey(ctx, key)
		if errors.Is(err, fs.ErrNotExist) || ctx.Err() != nil {
			continue // deleted since, or no time is left
		}
		var w written
		if err == nil {
			w, err = readWritten(key, value)
		}
		if err == nil {
			err = r.judge(ctx, key, w)
		}
		if err != nil {
			r.unreadable, r.unreadableKey, r.unreadableErr = r.unreadable+1, key, err
			r.know(key, knownKey{look: time.Now().Add(unreadableAgain)})
		}
	}
}

func (l *leftovers) loadKey(ctx context.Context, key string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, sweepCallTimeout)
	defer cancel()
	return ask(ctx, l.storage, func(ctx context.Context) ([]byte, error) { return l.storage.Load(ctx, key) })
}

// judge decides what becomes of a record that is remembered.
func (r *review) judge(ctx context.Context, key string, w written) error {
	now := time.Now()
	k := knownKey{client: w.client, at: w.at}
	zone := r.service.hosted[w.zone]
	if zone == nil || zone.Builtin() {
		if k.look = w.expires.Add(keptFor); now.Before(k.look) {
			r.know(key, k)
			return nil
		}
		r.forgotten, r.forgottenOf = r.forgotten+1, w
		return r.forgetUnlessMoved(ctx, w)
	}
	r.mu.Lock()
	before, again := r.known[key], r.zones[w.zone].again
	r.mu.Unlock()
	switch latest := now.Add(zone.ChallengeLifetime); {
	case before.at.Equal(w.at) && !before.due.IsZero():
		k.due, k.failures = before.due, before.failures
	case latest.Before(w.expires):
		k.due = latest
	default:
		k.due = w.expires
	}
	k.look = k.due
	if isDue := !now.Before(k.due); isDue && now.Before(again) {
		k.look = again
	} else if isDue {
		r.found++
		r.due[zone] = append(r.due[zone], w)
	}
	r.know(key, k)
	return nil
}

// report logs what people should know.
func (r *review) report() {
	if r.unreadable > 0 {
		r.log.Warn("keys of remembered challenges in the storage of this Caddy cannot be read; they are left alone, and may be deleted by hand",
			zap.Int("keys", r.unreadable), zap.String("last", text.Brief(r.unreadableKey, text.MaxName)), CauseField(r.unreadableErr))
	}
	if r.forgotten > 0 {
		r.log.Warn("left-over challenges of zones that are not hosted with a DNS provider here any more are forgotten; if they are still there, delete them by hand",
			zap.Int("records", r.forgotten), zap.String("zone", r.forgottenOf.zone.String()), zap.String("last", text.Brief(r.forgottenOf.name.String(), text.MaxName)))
	}
}
