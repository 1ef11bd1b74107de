package hosting

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"time"

	"github.com/caddy-dns/bestdns/internal/access"
	"github.com/caddy-dns/bestdns/internal/fair"
	"github.com/caddy-dns/bestdns/internal/nameserver"
	"github.com/caddy-dns/bestdns/internal/record"
)

// builtinZone is a zone in the built-in name server.
type builtinZone struct {
	service *Service
	zone    *Zone
}

func (z *builtinZone) change(ctx context.Context, client string, change record.Change) (outcome, error) {
	ctx, cancel := begun(ctx, time.Now())
	defer cancel()
	server, err := z.server(ctx)
	if err != nil {
		return outcome{}, err
	}
	var taken []Silenced
	if snapshot, ok := server.Snapshot(z.zone.Apex); ok && snapshot.HasWildcards() {
		shorten(snapshot, change.Records)
		taken = silenced(snapshot, change.Records)
	}
	change.Limits = z.service.config.Limits
	applied, err := server.ApplyFor(ctx, z.zone.Apex, change, z.account(client))
	if err != nil {
		return outcome{}, err
	}
	done := outcome{serial: applied.Serial, silenced: taken, entries: make([]Entry, len(applied.Records))}
	for i, r := range applied.Records {
		done.entries[i] = newEntry(r)
	}
	return done, nil
}

// account is that of a client for changes of the zone. The modules of the same process have
// one without limits of their own.
func (z *builtinZone) account(client string) nameserver.Account {
	room := z.service.config.Room[client]
	if client == access.LocalName {
		room = nameserver.Use{}
	}
	return nameserver.Account{
		Client:  client,
		Records: room.Records, Bytes: room.Bytes,
		ZoneRecords: z.zone.MaxRecords, ZoneBytes: z.zone.MaxBytes,
		Challenges: z.service.config.DomainChallenges,
	}
}

func (z *builtinZone) list(ctx context.Context, _ string, s selection) (iter.Seq[Entry], error) {
	server, err := z.server(ctx)
	if err != nil {
		return nil, err
	}
	snapshot, ok := server.Snapshot(z.zone.Apex)
	if !ok {
		return nil, fmt.Errorf("zone %q: %w", z.zone.Apex, nameserver.ErrUnknownZone)
	}
	records := snapshot.Records(s.under)
	if s.exact {
		records = slices.Values(snapshot.At(s.under))
	}
	return func(yield func(Entry) bool) {
		var (
			b      fair.Breather
			owner  record.Name // of the record before
			wanted bool
		)
		for r := range records {
			b.Breathe()
			if r.Name != owner {
				owner, wanted = r.Name, s.wants(r.Name)
			}
			if wanted && (s.typ == 0 || s.typ == r.Type) && !yield(newEntry(r)) {
				return
			}
		}
	}, nil
}

// server returns the name server once it serves.
func (z *builtinZone) server(ctx context.Context) (*nameserver.Server, error) {
	if err := z.service.WaitReady(ctx); err != nil {
		return nil, err
	}
	return z.service.server, nil
}
