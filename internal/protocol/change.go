package protocol

import (
	"fmt"

	"github.com/caddy-dns/bestdns/internal/api"
	"github.com/caddy-dns/bestdns/internal/fair"
	"github.com/caddy-dns/bestdns/internal/hosting"
	"github.com/caddy-dns/bestdns/internal/record"
	"github.com/caddy-dns/bestdns/internal/text"
)

// ParseZone reads the zone of a request. The error is a *[hosting.Error].
func ParseZone(zone string) (record.Name, error) {
	name, err := record.ParseName(zone)
	if err != nil {
		return "", hosting.Errorf(api.InvalidRecord, "zone: %w", err)
	}
	return name, nil
}

// Change reads the records of a change in a zone. What is invalid in them is in the change.
func Change(zone record.Name, body api.Change) hosting.Change {
	c := hosting.Change{Zone: zone}
	var records []api.Record
	switch {
	case body.Append != nil:
		c.Op, records = record.Append, body.Append
	case body.Set != nil:
		c.Op, records = record.Set, body.Set
	default:
		c.Op, records = record.Delete, body.Delete
	}
	if len(records) > api.MaxRecords {
		err := hosting.Errorf(api.TooLarge, "%d records in one change, and %d are the most", len(records), api.MaxRecords)
		c.Invalid = &hosting.Invalid{Err: err, Rest: named(zone, records)}
		return c
	}
	var b fair.Breather
	for i := range records {
		b.Breathe()
		if read, err := add(&c, &records[i]); err != nil {
			c.Invalid = new(read)
			c.Invalid.Err, c.Invalid.Rest = hosting.Errorf(api.InvalidRecord, "%w", err), named(zone, records[i:])
			return c
		}
	}
	return c
}

// add adds a record to a change. With an error it returns what could be read.
func add(c *hosting.Change, r *api.Record) (read hosting.Invalid, err error) {
	deletes := c.Op == record.Delete
	if !deletes && (r.Type == "" || r.Data == nil) {
		return read, fmt.Errorf("record at %q: type and data are needed, and may be left out in a delete only", r.Name)
	}
	if r.Type != "" {
		if read.Type, err = record.ParseType(r.Type); err != nil {
			return read, fmt.Errorf("record at %q: %w", r.Name, err)
		}
	}
	if r.TTL != nil && (*r.TTL < 0 || *r.TTL > record.MaxTTL) {
		return read, fmt.Errorf("record at %q: TTL %d: from 0 to %d seconds", r.Name, *r.TTL, record.MaxTTL)
	}
	if read.Owner, err = record.ParseOwner(r.Name, c.Zone); err != nil {
		return read, err
	}
	if deletes {
		return read, addMatch(c, r, read.Owner)
	}
	read.Doubled = record.IsDoubled(r.Name, read.Owner, c.Zone)
	return read, addRecord(c, r, read.Owner, read.Doubled)
}

// addRecord adds a record that is appended or set.
func addRecord(c *hosting.Change, r *api.Record, owner record.Name, doubled bool) error {
	parsed, err := record.At(owner, r.Type, 0, *r.Data)
	if err != nil {
		return err
	}
	parsed.TTL = hosting.DefaultTTL
	if r.TTL != nil {
		parsed.TTL = uint32(*r.TTL)
	}
	if doubled {
		c.Doubled = append(c.Doubled, len(c.Records))
	}
	c.Records = append(c.Records, parsed)
	return nil
}

// addMatch adds what a delete describes.
func addMatch(c *hosting.Change, r *api.Record, owner record.Name) error {
	var ttl *uint32
	if r.TTL != nil {
		ttl = new(uint32(*r.TTL))
	}
	m, err := record.MatchAt(owner, r.Type, ttl, r.Data)
	if err != nil {
		return err
	}
	c.Matches = append(c.Matches, m)
	return nil
}

// named names records by owner and type, as the audit log does, without their data.
func named(zone record.Name, records []api.Record) []string {
	names := make([]string, 0, min(len(records), mostNamed))
	for _, r := range records[:min(len(records), mostNamed)] {
		name := r.Name
		if owner, err := record.ParseOwner(r.Name, zone); err == nil {
			name = owner.String()
		}
		typ := r.Type
		if t, err := record.ParseType(typ); err == nil {
			typ = t.String()
		}
		names = append(names, nameOf(name, typ))
	}
	return names
}

// mostNamed is how many records are named, of which the log shows all but one.
const mostNamed = 21

func nameOf(name, typ string) string { return text.Brief(name+" "+typ, text.MaxName) }

// Records is the answer to a change in a zone, to whose name the others are relative.
func Records(zone record.Name, done hosting.Result) api.Records {
	answer := api.Records{Records: make([]api.Record, len(done.Entries)), Wait: Wait(done)}
	for i, e := range done.Entries {
		answer.Records[i] = e.Record(zone)
	}
	for _, c := range done.CNAMEs {
		answer.CNAMEs = append(answer.CNAMEs, api.CNAME{Name: c.Name.String(), Target: c.Target.String()})
	}
	for _, s := range done.Silenced {
		answer.Silenced = append(answer.Silenced, api.Silenced{Name: s.Name.String(), Wildcard: s.Wildcard.String()})
	}
	return answer
}

// Wait is the answer about the name servers that are not known to serve a change.
func Wait(made hosting.Result) api.Wait {
	return api.Wait{Pending: made.Pending, Silent: made.Silent}
}

// Query reads which records are wanted; name and type are "" for any. What is invalid in these
// is in the query. The error is a *[hosting.Error].
func Query(zone, name, typ string) (want hosting.Query, err error) {
	if want.Zone, err = ParseZone(zone); err != nil {
		return want, err
	}
	if name != "" {
		want.Name, err = record.ParseOwner(name, want.Zone)
	}
	if typ != "" && err == nil {
		want.Type, err = record.ParseType(typ)
	}
	if err != nil {
		want.Invalid = hosting.Errorf(api.InvalidRecord, "%w", err)
	}
	return want, nil
}
