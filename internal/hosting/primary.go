package hosting

import (
	"context"
	"errors"
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/caddy-dns/bestdns/internal/api"
	"github.com/caddy-dns/bestdns/internal/record"
	"github.com/caddy-dns/bestdns/internal/rfc2136"
)

// primaryZone is a zone on an external primary name server.
type primaryZone struct{ zone *rfc2136.Zone }

func (z primaryZone) change(ctx context.Context, client string, change record.Change) (outcome, error) {
	// Not in the zone's turn, which all changes of the zone would wait for: the storage is asked.
	if err := lastLook(ctx); err != nil {
		return outcome{}, err
	}
	records, err := z.zone.Change(ctx, client, change, func() { tellBegun(ctx) })
	if err != nil {
		return outcome{}, err
	}
	entries := make([]Entry, len(records))
	for i, r := range records {
		entries[i] = newEntry(r)
	}
	return outcome{entries: entries}, nil
}

func (z primaryZone) list(ctx context.Context, client string, s selection) (iter.Seq[Entry], error) {
	records, err := z.zone.Records(ctx, client)
	if err != nil {
		return nil, err
	}
	records = slices.DeleteFunc(records, func(r record.Record) bool { return !s.wants(r.Name) || s.typ != 0 && s.typ != r.Type })
	slices.SortStableFunc(records, func(a, b record.Record) int { return strings.Compare(a.Name.Key(), b.Name.Key()) })
	return func(yield func(Entry) bool) {
		for _, r := range records {
			if !yield(newEntry(r)) {
				return
			}
		}
	}, nil
}

// primaryFailure is what the caller is told of an error of a zone's primary. Its text is for the
// caller too. What only the configuration of the primary or of this service can change is not
// among the statuses that clients try again.
func primaryFailure(e *rfc2136.Error) *Error {
	kind, retry := api.ProviderFailed, time.Duration(0)
	switch e.Kind {
	case rfc2136.Busy:
		kind, retry = api.Unavailable, time.Second
	case rfc2136.Unreachable:
		kind = api.Unavailable
	case rfc2136.Timeout:
		kind = api.ProviderTimeout
	case rfc2136.KeyRefused, rfc2136.Refused:
		kind = api.PrimaryRefuses
	case rfc2136.Conflict:
		kind = api.Conflict
	case rfc2136.TooLarge:
		kind = api.TooLarge
	}
	failure := Errorf(kind, "%w", e).with(providerError{e}).later(retry)
	failure.Unchanged = e.Unchanged
	if e.Kind == rfc2136.Busy {
		failure.Cause, failure.Quiet = e, !errors.Is(e, context.DeadlineExceeded) // the caller has gone, or Caddy stops
	}
	if kind == api.Conflict || kind == api.TooLarge {
		failure.Cause = e // which is no failure of the primary
	}
	return failure
}
