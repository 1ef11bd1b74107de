package hosting

import (
	"context"
	"errors"
	"io/fs"
	"slices"

	"go.uber.org/zap"

	"github.com/caddy-dns/bestdns/internal/record"
)

// This file is what a client has added itself in a zone that is not built in, which only what is
// remembered tells.

// resolveOwn returns a change in which what takes a client's own records names each of them. Of a
// storage that does not tell, none is taken: they are deleted when they expire.
func (l *leftovers) resolveOwn(ctx context.Context, zone *Zone, client string, change record.Change) record.Change {
	if !hasOwn(change) {
		return change
	}
	own, err := askForChange(ctx, l.storage, func(ctx context.Context) (map[record.Name][]record.Match, error) {
		return l.ownAt(ctx, zone, client, change.Matches)
	})
	if err != nil && ctx.Err() == nil {
		l.complain(&l.failing, "what a client has added is not known, so a deletion of all of it deletes nothing", err, zap.String("zone", zone.Apex.String()))
	}
	return expand(change, func(m record.Match) []record.Match { return own[m.Name] })
}

func hasOwn(change record.Change) bool {
	return slices.ContainsFunc(change.Matches, func(m record.Match) bool { return m.Own })
}

// withoutOwn is resolveOwn where nothing is remembered.
func withoutOwn(change record.Change) record.Change {
	if !hasOwn(change) {
		return change
	}
	return expand(change, func(record.Match) []record.Match { return nil })
}

// expand puts others instead of each match that is about a client's own records, and what the change
// itself has appended before.
func expand(change record.Change, others func(record.Match) []record.Match) record.Change {
	deleted := make(map[record.Name]int) // how many records were appended when all of a name was deleted
	return rewrite(change, func(m record.Match, appended []record.Record) (these []record.Match) {
		if !m.Own {
			return []record.Match{m}
		}
		since, again := deleted[m.Name]
		if !again {
			these = others(m)
		}
		for _, r := range appended[since:] {
			if m.Matches(r) {
				these = append(these, anyTTL(r))
			}
		}
		deleted[m.Name] = len(appended)
		return these
	})
}

// rewrite puts others instead of each match of an update, by what that has appended before.
func rewrite(change record.Change, others func(m record.Match, appended []record.Record) []record.Match) record.Change {
	var matches []record.Match
	var order []record.Op
	appended, next := 0, 0
	for _, op := range change.Order {
		if op != record.Delete {
			order = append(order, op)
			appended++
			continue
		}
		for _, m := range others(change.Matches[next], change.Records[:appended]) {
			order, matches = append(order, record.Delete), append(matches, m)
		}
		next++
	}
	change.Order, change.Matches = order, matches
	return change
}

// anyTTL returns the match of a record, whatever its TTL.
func anyTTL(r record.Record) record.Match {
	m := record.MatchOf(r)
	m.TTL = nil
	return m
}

// ownAt returns what a client has at the names of those matches that are about its own.
func (l *leftovers) ownAt(ctx context.Context, zone *Zone, client string, matches []record.Match) (map[record.Name][]record.Match, error) {
	wanted := make(map[string]bool)
	for _, m := range matches {
		if m.Own {
			wanted[writtenAt(zone.Apex, m.Name)] = true
		}
	}
	keys, err := l.keysAt(ctx, zone, wanted)
	own := make(map[record.Name][]record.Match)
	for _, key := range keys {
		value, err := l.storage.Load(ctx, key)
		if errors.Is(err, fs.ErrNotExist) {
			continue // another copy has deleted it
		}
		if err != nil {
			return own, err
		}
		w, err := readWritten(key, value)
		if err != nil || w.client != client {
			continue
		}
		if m, err := record.MatchAt(w.name, "TXT", zone.ttlToDelete(w), &w.text); err == nil {
			own[w.name] = append(own[w.name], m)
		}
	}
	return own, err
}
