package hosting

import (
	"context"
	"slices"

	"github.com/libdns/libdns"

	"github.com/caddy-dns/bestdns/internal/record"
)

// This file is an update of a zone with a DNS provider, which has no such call: the zone is read,
// what the update does is worked out, and what differs is appended, set and deleted, each with one
// call. It is as atomic as that: when the last call fails, what the first one has appended is
// deleted again.

// providerContents is a zone as its provider has listed it. It is a [record.Zone].
type providerContents struct {
	apex record.Name
	at   map[record.Name][]record.Record
	// as has each record as the provider has it.
	as map[record.Record]libdns.Record
}

func (c *providerContents) At(name record.Name) []record.Record { return c.at[name] }

// Made reports whether the provider makes an RRset.
func (c *providerContents) Made(name record.Name, t record.Type) bool {
	return t == record.TypeSOA
}

// contents reads the zone. It runs in the zone's turn.
func (z *providerZone) contents(ctx context.Context) (*providerContents, error) {
	records, err := z.get(ctx)
	if err != nil {
		return nil, err
	}
	c := &providerContents{apex: z.apex, at: make(map[record.Name][]record.Record), as: make(map[record.Record]libdns.Record, len(records))}
	for _, rec := range records {
		e, ok := z.entry(rec)
		if !ok {
			continue
		}
		// What cannot be read cannot be compared, and is left alone.
		r, err := record.At(e.Owner, e.Type, uint32(e.TTL), e.Data)
		if _, known := c.as[r]; err != nil || known {
			continue
		}
		c.as[r] = rec
		c.at[r.Name] = append(c.at[r.Name], r)
	}
	return c, nil
}

// update makes an update. It runs in the zone's turn.
func (z *providerZone) update(ctx context.Context, change record.Change) ([]Entry, error) {
	before, err := z.contents(ctx)
	if err != nil {
		return nil, err
	}
	effect, err := record.Plan(before, before.spareServers(change))
	if err != nil {
		return nil, err
	}
	var d difference
	for _, node := range effect.Nodes {
		d.add(before.at[node.Name], node.Records)
	}
	if err := before.keepServers(effect); err != nil {
		return nil, err
	}
	if z.setter == nil { // then what changes within an RRset is appended and deleted, and TTLs stay
		d.appended, d.deleted, d.set = append(d.appended, d.came...), append(d.deleted, d.gone...), nil
	}
	if err := ctx.Err(); err != nil {
		return nil, providerError{err} // it has been given up, and perhaps it is another's turn
	}
	if err := lastLook(ctx); err != nil {
		return nil, err
	}
	return nil, z.applyDifference(ctx, before, d)
}

// difference is what an update changes.
type difference struct {
	appended, deleted []record.Record
	// set are all records of the RRsets of which some go and some come, or have another TTL; came
	// are those of them that come, gone those that go.
	set, came, gone []record.Record
}

// add adds what differs at a name.
func (d *difference) add(before, after []record.Record) {
	var seen []record.Type
	for _, r := range slices.Concat(before, after) {
		if slices.Contains(seen, r.Type) {
			continue
		}
		seen = append(seen, r.Type)
		d.addRRset(ofType(before, r.Type), ofType(after, r.Type))
	}
}

func (d *difference) addRRset(before, after []record.Record) {
	var came, gone []record.Record
	retimed := false
	for _, r := range after {
		i := slices.IndexFunc(before, r.Same)
		if i < 0 {
			came = append(came, r)
			continue
		}
		retimed = retimed || before[i].TTL != r.TTL
	}
	for _, r := range before {
		if !slices.ContainsFunc(after, r.Same) {
			gone = append(gone, r)
		}
	}
	switch {
	case retimed || len(came) > 0 && len(gone) > 0:
		d.set, d.came, d.gone = append(d.set, after...), append(d.came, came...), append(d.gone, gone...)
	case len(came) > 0:
		d.appended = append(d.appended, came...)
	default:
		d.deleted = append(d.deleted, gone...)
	}
}

func ofType(records []record.Record, t record.Type) (of []record.Record) {
	for _, r := range records {
		if r.Type == t {
			of = append(of, r)
		}
	}
	return of
}

// spareServers has a deletion of all at the apex spare its NS records (RFC 2136 §3.4.2.3).
func (c *providerContents) spareServers(change record.Change) record.Change {
	return rewrite(change, func(m record.Match, appended []record.Record) (these []record.Match) {
		if m.Type != 0 || m.Name != c.apex {
			return []record.Match{m}
		}
		seen := []record.Type{record.TypeSOA, record.TypeNS}
		for _, r := range slices.Concat(c.at[c.apex], appended) {
			if r.Name == c.apex && !slices.Contains(seen, r.Type) {
				seen = append(seen, r.Type)
				m.Type = r.Type
				these = append(these, m)
			}
		}
		return these
	})
}

// keepServers refuses an update that leaves the zone without an NS record at its apex.
func (c *providerContents) keepServers(effect record.Effect) error {
	for _, node := range effect.Nodes {
		if node.Name == c.apex && len(ofType(c.at[c.apex], record.TypeNS)) > 0 && len(ofType(node.Records, record.TypeNS)) == 0 {
			return lastServer(c.apex)
		}
	}
	return nil
}

// applyDifference has the provider make what differs: first what comes, so that a failure leaves too much
// rather than too little.
func (z *providerZone) applyDifference(ctx context.Context, before *providerContents, d difference) error {
	if len(d.appended) > 0 {
		if _, err := z.provider.AppendRecords(ctx, z.zone, z.outgoing(d.appended)); err != nil {
			return providerError{err}
		}
	}
	var err error
	if len(d.set) > 0 {
		_, err = z.setter.SetRecords(ctx, z.zone, z.outgoing(d.set))
	}
	if err == nil && len(d.deleted) > 0 {
		deleted := make([]libdns.Record, len(d.deleted))
		for i, r := range d.deleted {
			deleted[i] = before.as[r]
		}
		_, err = z.provider.DeleteRecords(ctx, z.zone, deleted)
	}
	if err == nil {
		return nil
	}
	if len(d.appended) > 0 {
		if _, failed := z.provider.DeleteRecords(ctx, z.zone, z.outgoing(d.appended)); failed != nil {
			z.log.Error("an update of a zone was made in part: its DNS provider has appended records, failed at the rest, and failed to delete them again",
				"zone", z.zone, "error", failed)
		}
	}
	return providerError{err}
}
