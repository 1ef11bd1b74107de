package hosting

import (
	"context"
	"errors"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-dns/bestdns/internal/api"
	"github.com/caddy-dns/bestdns/internal/nameserver"
	"github.com/caddy-dns/bestdns/internal/record"
	"github.com/caddy-dns/bestdns/internal/text"
)

const (
	// mostRemembered is how many records are remembered at a time, by all clients.
	mostRemembered = 100_000
	// mostOfClient is how many of them may be one client's: a client that fills the room
	// of all would have the others' left-overs stay.
	mostOfClient = 10_000
)

// leftovers delete challenge records that their clients never remove in zones that DNS providers
// host. The built-in name server knows which of its records expire; a DNS provider does not,
// so each of them is remembered in the storage before it is appended, and forgotten after
// it is deleted. What is still remembered when its time has come is deleted by a sweep, by any
// copy of the service that shares the storage. Nothing else is.
//
// The storage can know more records than there are: after an append that failed, or the death of a copy
// before it had forgotten one. Deleting those does nothing. It knows fewer only where it
// failed at an append: a change is never refused for that.
//
// It is safe for concurrent use.
type leftovers struct {
	service *Service
	storage *guardedStorage
	log     *zap.Logger

	mu sync.Mutex // guards what follows
	// known are the keys of the storage, as far as this process has seen them.
	known map[string]knownKey
	// clients counts known by client, names by zone and name as keys begin.
	clients, names map[string]int
	zones          map[record.Name]zoneRetry // of those that the sweep failed in

	unremembered, failing rareLine
}

// knownKey is what is known of a key of the storage.
type knownKey struct {
	client string
	// at is when the record was appended, due is from when it is a left-over: a lifetime
	// after the key was first seen at most, since the clock of its writer may have been ahead.
	at, due  time.Time
	seen     time.Time // when the key was stored or found
	look     time.Time // before that, there is nothing to do about it
	failures int       // deletions that failed one after the other
}

// newLeftovers returns nil where nothing can be remembered, or no zone needs it.
func newLeftovers(s *Service) *leftovers {
	if s.config.Storage == nil {
		return nil
	}
	for _, zone := range s.zones {
		if !zone.Builtin() {
			return &leftovers{
				service: s, storage: newGuardedStorage(s.config.Storage), log: s.config.Logger,
				known: make(map[string]knownKey), clients: make(map[string]int), names: make(map[string]int), zones: make(map[record.Name]zoneRetry),
			}
		}
	}
	return nil
}

// changeRemembered has a zone's backend make a change, with what is remembered of the zone kept
// true before it and after it.
func (s *Service) changeRemembered(ctx context.Context, zone *Zone, client string, change record.Change) (outcome, error) {
	if zone.Builtin() {
		return zone.backend.change(ctx, client, change)
	}
	if s.leftovers == nil {
		return zone.backend.change(ctx, client, withoutOwn(change))
	}
	change = s.leftovers.resolveOwn(ctx, zone, client, change)
	if err := s.leftovers.refuse(zone, change); err != nil {
		return outcome{}, err
	}
	noted := s.leftovers.before(ctx, zone, client, change)
	done, err := zone.backend.change(ctx, client, change)
	s.leftovers.after(ctx, zone, noted, change, done, err)
	return done, err
}

// mostChallengesOfChange is how many challenges one change may append in a zone that is not built in:
// each is written to the storage by itself, and others wait for that.
const mostChallengesOfChange = 100

// refuse returns why a change has more challenges than it may, by itself or with those at its names
// that are remembered: nil if it has not. Name servers refuse zones that have more at one name (BIND
// has 100 records of a type by default), and not the record alone.
func (l *leftovers) refuse(zone *Zone, change record.Change) error {
	if change.OnlyDeletes() {
		return nil
	}
	n := 0
	for _, r := range change.Records {
		if r.Expires == 0 && !zone.isChallenge(r) {
			continue
		}
		if n++; n > mostChallengesOfChange {
			return Errorf(api.TooLarge, "zone %q: a change may have %d challenges there: make several", zone.Apex, mostChallengesOfChange)
		}
	}
	more := make(map[string]int) // by name
	counted := make(map[string]bool)
	l.mu.Lock()
	defer l.mu.Unlock()
	cleared := zone.cleared(change)
	for at := range cleared {
		more[at] = -l.names[at]
	}
	for _, r := range change.Left() {
		if r.Expires == 0 { // it is forgotten that it was one
			continue
		}
		key := writtenKey(zone.Apex, r.Name, record.JoinStrings(r.Data))
		if _, known := l.known[key]; !counted[key] && (!known || cleared[nameOfKey(key)]) {
			more[nameOfKey(key)]++
		}
		counted[key] = true
	}
	for _, key := range keysOfUpdated(zone, change, nil) {
		if _, known := l.known[key]; known && !counted[key] && !cleared[nameOfKey(key)] {
			more[nameOfKey(key)]--
			counted[key] = true
		}
	}
	for _, r := range change.Records {
		at := writtenAt(zone.Apex, r.Name)
		if most := l.service.config.DomainChallenges; most > 0 && more[at] > 0 && l.names[at]+more[at] > most {
			return record.OverLimit(nameserver.LimitChallenges, most, "%q has %d challenges that were not removed", r.Name, l.names[at])
		}
	}
	return nil
}

// notedChange is what the storage was told before a change.
type notedChange struct {
	fresh    []string // keys that are there because of this change
	replaced []string // keys of what it replaces
}

// before remembers what a change appends under a right to certificates. Of what it writes under
// another right it forgets that it was a challenge: that stays.
func (l *leftovers) before(ctx context.Context, zone *Zone, client string, change record.Change) (n notedChange) {
	if !slices.ContainsFunc(change.Records, func(r record.Record) bool { return zone.concerns(change.Op, r) }) && len(zone.cleared(change)) == 0 {
		return notedChange{}
	}
	n, err := askForChange(ctx, l.storage, func(ctx context.Context) (notedChange, error) {
		return l.note(ctx, zone, client, change)
	})
	if err != nil && ctx.Err() == nil {
		l.complain(&l.unremembered, "challenge records are not remembered, so they stay in the zone if their client never removes them",
			err, zap.String("zone", zone.Apex.String()), zap.String("name", text.Brief(firstName(change).String(), text.MaxName)), zap.String("client", text.Visible(client)))
	}
	return n
}

// firstName returns the first name of a change that is about any.
func firstName(c record.Change) record.Name {
	for name := range c.Names {
		return name
	}
	return record.Root
}

// note is before, without its limits of time. It returns what it has done also with an error.
func (l *leftovers) note(ctx context.Context, zone *Zone, client string, change record.Change) (n notedChange, err error) {
	if replaced := zone.cleared(change); len(replaced) > 0 {
		if n.replaced, err = l.keysAt(ctx, zone, replaced); err != nil {
			return n, err
		}
	}
	now := time.Now().UTC().Round(0) // by the clock on the wall, as the storage has it
	for _, r := range change.Records {
		if r.Expires == 0 && !zone.isChallenge(r) {
			continue
		}
		w := written{
			zone: zone.Apex, name: r.Name, text: record.JoinStrings(r.Data), ttl: r.TTL,
			client: client, at: now, expires: time.Unix(r.Expires, 0).UTC(),
		}
		isFresh := false
		if r.Expires == 0 {
			err = l.forget(ctx, w.key())
		} else {
			isFresh, err = l.remember(ctx, w)
		}
		if err != nil {
			return n, err
		}
		if isFresh {
			n.fresh = append(n.fresh, w.key())
		}
	}
	return n, nil
}

// concerns reports whether an append or a set of a record changes what is remembered of the zone.
func (z *Zone) concerns(op record.Op, r record.Record) bool {
	return r.Expires != 0 || z.isChallenge(r) || op == record.Set && r.Type == record.TypeTXT && z.mayHaveChallenges(r.Name)
}

func (z *Zone) mayHaveChallenges(name record.Name) bool {
	return record.AwaitsChallenge(name) || z.CNAMETarget || z.isAccount(name)
}

// cleared returns the names, as their keys begin, at which a set or an update replaces texts that it
// does not have. What a change that only deletes has deleted, it says afterwards.
func (z *Zone) cleared(change record.Change) map[string]bool {
	names := make(map[string]bool)
	add := func(name record.Name) {
		if z.mayHaveChallenges(name) {
			names[writtenAt(z.Apex, name)] = true
		}
	}
	switch {
	case change.Op == record.Set:
		for _, r := range change.Records {
			if r.Type == record.TypeTXT {
				add(r.Name)
			}
		}
	case change.Op == record.Update && !change.OnlyDeletes():
		for _, m := range change.Matches {
			if m.Data == nil && (m.Type == 0 || m.Type == record.TypeTXT) {
				add(m.Name)
			}
		}
	}
	return names
}

// errFull is that no more records can be remembered.
var errFull = errors.New("as many are remembered as there is room for, of this client or in all; they are forgotten when clients delete them, or when they expire")

// remember puts a record into the storage, and reports whether it was not there before.
func (l *leftovers) remember(ctx context.Context, w written) (isFresh bool, err error) {
	key := w.key()
	if !l.hasRoom(key, w.client) {
		return false, errFull
	}
	value, err := w.value()
	if err != nil {
		return false, err
	}
	// Without this look, an append that changed nothing would have an earlier one of
	// the same record forgotten, perhaps by another copy, which did.
	if _, err = l.storage.Load(ctx, key); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, err
	}
	isFresh = err != nil
	if err := l.storage.Store(ctx, key, value); err != nil {
		return false, err
	}
	l.know(key, knownKey{client: w.client, at: w.at, due: w.expires, look: w.expires})
	return isFresh, nil
}

// hasRoom reports whether a client may have one more key.
func (l *leftovers) hasRoom(key, client string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, isKnown := l.known[key]; isKnown {
		return true
	}
	return len(l.known) < mostRemembered && l.clients[client] < mostOfClient
}

// know notes what is known of a key, if there is room for it.
func (l *leftovers) know(key string, k knownKey) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.drop(key)
	if len(l.known) < mostRemembered {
		k.seen = time.Now()
		l.known[key] = k
		l.clients[k.client]++
		l.names[nameOfKey(key)]++
	}
}

// drop ends what is known of a key. The caller holds the lock.
func (l *leftovers) drop(key string) {
	k, isKnown := l.known[key]
	if !isKnown {
		return
	}
	delete(l.known, key)
	if l.names[nameOfKey(key)]--; l.names[nameOfKey(key)] == 0 {
		delete(l.names, nameOfKey(key))
	}
	if l.clients[k.client]--; l.clients[k.client] == 0 {
		delete(l.clients, k.client)
	}
}

// nameOfKey returns what the keys of one name have in common.
func nameOfKey(key string) string { return key[:strings.LastIndexByte(key, '-')+1] }

// forget takes a key out of the storage.
func (l *leftovers) forget(ctx context.Context, key string) error {
	if err := l.storage.Delete(ctx, key); err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.drop(key)
	return nil
}

// find returns what is known of a record that a DNS provider has listed; nothing if it is not
// known to be remembered.
func (l *leftovers) find(zone *Zone, e Entry) knownKey {
	if l == nil {
		return knownKey{}
	}
	r, err := record.At(e.Owner, e.Type, 0, e.Data)
	if err != nil {
		return knownKey{}
	}
	key := writtenKey(zone.Apex, r.Name, record.JoinStrings(r.Data))
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.known[key]
}

// keysAt returns the keys of all that is remembered at some names, given as keys begin.
func (l *leftovers) keysAt(ctx context.Context, zone *Zone, names map[string]bool) (found []string, err error) {
	keys, err := l.storage.List(ctx, writtenFolder(zone.Apex), false)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	for _, key := range keys {
		if i := strings.LastIndexByte(key, '-'); names[key[:i+1]] {
			found = append(found, key)
		}
	}
	return found, err
}

// after forgets what a change has deleted or replaced, and what it certainly has not appended.
// A failure to do so costs no more than a deletion of what is not there.
func (l *leftovers) after(ctx context.Context, zone *Zone, n notedChange, change record.Change, done outcome, failure error) {
	var keys []string
	switch {
	case failure != nil:
		if AsError(failure, zone.Apex).Unchanged {
			keys = n.fresh
		}
	case change.Op == record.Set:
		keys = n.replaced
	case change.OnlyDeletes():
		keys = keysOfDeleted(zone, change.Matches, done.entries)
	case change.Op == record.Update:
		keys = keysOfUpdated(zone, change, n.replaced)
	}
	if len(keys) == 0 {
		return
	}
	// The caller may be gone, and what was changed is changed.
	_, err := askForChange(context.WithoutCancel(ctx), l.storage, func(ctx context.Context) (struct{}, error) {
		for _, key := range keys {
			if err := l.forget(ctx, key); err != nil {
				return struct{}{}, err
			}
		}
		return struct{}{}, nil
	})
	if err != nil {
		l.complain(&l.failing, "a challenge record that is gone stays in the storage of this Caddy until it expires", err, zap.String("zone", zone.Apex.String()))
	}
}

// keysOfDeleted returns the keys of what a delete took. Not every provider returns a record as it
// was written, so the matches count if it returned one for each of them.
func keysOfDeleted(zone *Zone, matches []record.Match, deleted []Entry) []string {
	keys := make(map[string]bool, len(deleted))
	for _, e := range deleted {
		if r, err := record.At(e.Owner, e.Type, 0, e.Data); err == nil && record.IsChallengeValue(r) {
			keys[writtenKey(zone.Apex, r.Name, record.JoinStrings(r.Data))] = true
		}
	}
	if len(deleted) >= len(matches) {
		for _, m := range matches {
			if r, ok := m.Record(); ok && record.IsChallengeValue(r) {
				keys[writtenKey(zone.Apex, r.Name, record.JoinStrings(r.Data))] = true
			}
		}
	}
	return slices.Collect(maps.Keys(keys))
}

// keysOfUpdated returns the keys of what an update deleted, by its data or as all that there was or
// that it had added, and has not added again.
func keysOfUpdated(zone *Zone, change record.Change, replaced []string) (keys []string) {
	left := make(map[string]bool)
	for _, r := range change.Left() {
		left[writtenKey(zone.Apex, r.Name, record.JoinStrings(r.Data))] = true
	}
	for _, m := range change.Matches {
		if r, ok := m.Record(); ok && record.IsChallengeValue(r) {
			replaced = append(replaced, writtenKey(zone.Apex, r.Name, record.JoinStrings(r.Data)))
		}
	}
	for _, r := range change.Records {
		if r.Expires != 0 {
			replaced = append(replaced, writtenKey(zone.Apex, r.Name, record.JoinStrings(r.Data)))
		}
	}
	for _, key := range replaced {
		if !left[key] {
			keys = append(keys, key)
		}
	}
	return keys
}

// rareLine lets one line a minute into the log, and counts those that it holds back.
type rareLine struct {
	last time.Time
	held int
}

// complain logs a failure of the storage.
func (l *leftovers) complain(rare *rareLine, message string, err error, fields ...zap.Field) {
	now := time.Now()
	l.mu.Lock()
	if !rare.last.IsZero() && now.Sub(rare.last) < time.Minute {
		rare.held++
		l.mu.Unlock()
		return
	}
	held := rare.held
	rare.last, rare.held = now, 0
	l.mu.Unlock()
	l.log.Warn(message, append(fields, zap.Int("more_since_the_last_line", held), CauseField(err))...)
}
