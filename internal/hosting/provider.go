package hosting

import (
	"context"
	"errors"
	"iter"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/libdns/libdns"

	"github.com/caddy-dns/bestdns/internal/api"
	"github.com/caddy-dns/bestdns/internal/record"
)

// providerZone is a zone that a DNS provider hosts. The service holds no
// state of it, and it is as atomic as its provider.
type providerZone struct {
	apex     record.Name
	zone     string // apex as providers have it
	provider Provider
	getter   libdns.RecordGetter // nil if the provider cannot
	setter   libdns.RecordSetter // nil if the provider cannot
	log      *slog.Logger        // the process's
}

func newProviderZone(zone *Zone, log *slog.Logger) *providerZone {
	z := &providerZone{apex: zone.Apex, zone: zone.Apex.String(), provider: zone.Provider, log: log}
	z.getter, _ = zone.Provider.(libdns.RecordGetter)
	z.setter, _ = zone.Provider.(libdns.RecordSetter)
	return z
}

// notSupportedError is a call that the zone's provider has no method for.
type notSupportedError struct{ what string }

func (e notSupportedError) Error() string {
	return "the zone's DNS provider cannot " + e.what
}

// providerError is the failure of a provider. What providers say may hold their
// secrets, so it goes to the log and not into an answer.
type providerError struct{ error }

func (e providerError) Unwrap() error { return e.error }

func (z *providerZone) change(ctx context.Context, client string, change record.Change) (outcome, error) {
	if err := z.check(change); err != nil {
		return outcome{}, Errorf(api.InvalidRecord, "%w", err)
	}
	switch {
	case change.Op == record.Set && z.setter == nil:
		return outcome{}, notSupportedError{"set records"}
	case change.Op == record.Update && len(change.Records)+len(change.Matches)+len(change.Prerequisites) == 0:
		return outcome{}, nil
	}
	arrived := time.Now()
	release, err := takeTurn(ctx, z.apex, client, turnTimeout)
	if err != nil {
		return outcome{}, err
	}
	ctx, cancel := begun(ctx, arrived)
	defer cancel()
	entries, err := z.inTurn(ctx, release, func() ([]Entry, error) { return z.apply(ctx, change) })
	return outcome{entries: entries}, err
}

// apply has the provider make a change. It runs in the zone's turn.
func (z *providerZone) apply(ctx context.Context, change record.Change) ([]Entry, error) {
	do, records := z.provider.AppendRecords, z.outgoing(change.Records)
	switch {
	case change.Op == record.Set:
		do = z.setter.SetRecords
	case change.OnlyDeletes():
		var err error
		if records, err = z.resolve(ctx, change.Matches); err != nil || len(records) == 0 {
			return nil, err
		}
		if err := ctx.Err(); err != nil {
			return nil, providerError{err} // it has been given up, and perhaps it is another's turn
		}
		if err := lastLook(ctx); err != nil {
			return nil, err
		}
		do = z.provider.DeleteRecords
	case !change.OnlyAppends():
		return z.update(ctx, change)
	}
	done, err := do(ctx, z.zone, records)
	if err != nil {
		return nil, providerError{err}
	}
	return z.incoming(done), nil
}

// list asks the provider for as long as ctx, which has a deadline. Half of the time is
// for the wait until its turn.
func (z *providerZone) list(ctx context.Context, client string, s selection) (iter.Seq[Entry], error) {
	if z.getter == nil {
		return nil, notSupportedError{"list records"}
	}
	deadline, _ := ctx.Deadline()
	release, err := takeTurn(ctx, z.apex, client, time.Until(deadline)/2)
	if err != nil {
		return nil, err
	}
	entries, err := z.inTurn(ctx, release, func() ([]Entry, error) {
		records, err := z.get(ctx)
		return z.incoming(records), err
	})
	switch {
	case err != nil && errors.Is(ctx.Err(), context.Canceled):
		return nil, busyError{context.Cause(ctx)} // the caller has gone, which is not a failure of the provider
	case err != nil:
		return nil, err
	}
	// A zone holds no record twice (RFC 2181 §5), but a transfer ends with the SOA
	// record that it began with, and a provider may hand on both.
	seen := make(map[Entry]bool, len(entries))
	entries = slices.DeleteFunc(entries, func(e Entry) bool {
		unwanted := seen[e] || !s.wants(e.Owner) || s.typ != 0 && !e.hasType(s.typ)
		seen[e] = true
		return unwanted
	})
	slices.SortStableFunc(entries, func(a, b Entry) int { return strings.Compare(a.Owner.Key(), b.Owner.Key()) })
	return slices.Values(entries), nil
}

// get reads the zone. It runs in the zone's turn.
func (z *providerZone) get(ctx context.Context) ([]libdns.Record, error) {
	if z.getter == nil {
		return nil, notSupportedError{"list records"}
	}
	records, err := z.getter.GetRecords(ctx, z.zone)
	if err != nil {
		return nil, providerError{err}
	}
	return records, nil
}

// outgoing renders records for the provider, out of their parsed form.
func (z *providerZone) outgoing(records []record.Record) []libdns.Record {
	out := make([]libdns.Record, len(records))
	for i, r := range records {
		out[i] = newEntry(r).Record(z.apex).Libdns()
	}
	return out
}

// incoming reads what the provider reports. A record with an invalid name is left
// out: no one could have a right to it.
func (z *providerZone) incoming(records []libdns.Record) []Entry {
	entries := make([]Entry, 0, len(records))
	for _, r := range records {
		if e, ok := z.entry(r); ok {
			entries = append(entries, e)
		}
	}
	return entries
}

func (z *providerZone) entry(r libdns.Record) (Entry, bool) {
	rec, err := api.FromLibdns(r)
	if err != nil {
		rr := r.RR()
		rec = api.Record{Name: rr.Name, Type: rr.Type, Data: &rr.Data}
	}
	owner, err := record.ParseOwner(rec.Name, z.apex)
	if err != nil {
		return Entry{}, false
	}
	e := Entry{Owner: owner, Type: rec.Type}
	if rec.TTL != nil {
		e.TTL = *rec.TTL
	}
	if rec.Data != nil {
		e.Data = *rec.Data
	}
	return e, true
}

// resolve turns what a delete describes into records as the provider has them.
// A description that leaves nothing open needs no look at the zone.
func (z *providerZone) resolve(ctx context.Context, matches []record.Match) ([]libdns.Record, error) {
	var whole []record.Record
	for _, m := range matches {
		r, ok := m.Record()
		if !ok || m.TTL == nil || r.Type == record.TypeNS && m.Name == z.apex {
			return z.lookUp(ctx, matches)
		}
		whole = append(whole, r)
	}
	return z.outgoing(whole), nil
}

// lookUp finds the records of the zone that a delete takes, and keeps it from
// the last NS record of the apex.
func (z *providerZone) lookUp(ctx context.Context, matches []record.Match) ([]libdns.Record, error) {
	records, err := z.get(ctx)
	if err != nil {
		return nil, err
	}
	var deleted []libdns.Record
	servers, deletedServers := 0, 0
	takes := z.taker(matches)
	for _, rec := range records {
		e, ok := z.entry(rec)
		if !ok || e.Type == "SOA" {
			continue
		}
		apexNS := e.Type == "NS" && e.Owner == z.apex
		if apexNS {
			servers++
		}
		if !takes(e, apexNS) {
			continue
		}
		if apexNS {
			deletedServers++
		}
		deleted = append(deleted, rec)
	}
	if deletedServers > 0 && deletedServers == servers {
		return nil, lastServer(z.apex)
	}
	return deleted, nil
}

// lastServer refuses a change that would leave a zone without an NS record at its apex.
func lastServer(apex record.Name) error {
	return &record.RuleError{
		Rule: record.RuleApexNS, Conflict: true, Name: apex, Type: record.TypeNS,
		Reason: "this would delete the zone's last NS record; append the new ones first",
	}
}

// taker returns what reports whether any of the matches takes an entry. The apex's NS
// records are taken only when they are named.
func (z *providerZone) taker(matches []record.Match) func(e Entry, apexNS bool) bool {
	typed := slices.DeleteFunc(slices.Clone(matches), func(m record.Match) bool { return m.Type == 0 })
	// An entry that cannot be parsed cannot be compared by data; by name and type it can.
	var names []record.Match
	for _, m := range matches {
		if m.Data == nil {
			names = append(names, m)
		}
	}
	all, named, unparsed := record.NewMatcher(matches), record.NewMatcher(typed), record.NewMatcher(names)
	return func(e Entry, apexNS bool) bool {
		r, err := record.At(e.Owner, e.Type, uint32(e.TTL), e.Data)
		switch {
		case err != nil:
			t, _ := record.ParseType(e.Type) // zero, which no type is, where it is a provider's own
			return unparsed.First(record.Record{Name: e.Owner, Type: t, TTL: uint32(e.TTL)}) >= 0
		case apexNS:
			return named.First(r) >= 0
		}
		return all.First(r) >= 0
	}
}
