package service

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/libdns/libdns"

	"github.com/caddy-dns/bestdns/internal/api"
	"github.com/caddy-dns/bestdns/internal/record"
)

// providerZone is a zone that a DNS provider module hosts. The service holds no
// state of it, and it is as atomic as its provider.
type providerZone struct {
	apex     record.Name
	zone     string // apex as providers have it
	provider provider
	getter   libdns.RecordGetter // nil if the provider cannot
	setter   libdns.RecordSetter // nil if the provider cannot
}

// provider is what the service needs of a provider at least.
type provider interface {
	libdns.RecordAppender
	libdns.RecordDeleter
}

func (z *Zone) provisionProvider(ctx caddy.Context) error {
	if len(z.NameServers) > 0 {
		return errors.New("ns lines are for built-in zones; the name servers of this one are its provider's")
	}
	if z.ChallengeLifetime != 0 {
		return errors.New("challenge_lifetime is for built-in zones; records in this one stay until they are deleted")
	}
	if z.NegativeTTL != nil {
		return errors.New("negative_ttl is for built-in zones; in this one it is the minimum of its SOA record")
	}
	z.challengeTTL = z.ttl
	if z.ChallengeTTL != nil {
		var err error
		if z.challengeTTL, err = ttlSeconds("challenge_ttl", *z.ChallengeTTL); err != nil {
			return err
		}
	}
	if z.MaxRecords != nil || z.MaxBytes != nil {
		return errors.New("max_records and max_bytes are for built-in zones; the limits of this one are its provider's")
	}
	if err := refuseSelf(z.ProviderRaw); err != nil {
		return err
	}
	module, err := ctx.LoadModule(z, "ProviderRaw")
	if err != nil {
		return fmt.Errorf("loading its DNS provider: %w", err)
	}
	p, ok := module.(provider)
	if !ok {
		return fmt.Errorf("its DNS provider %T cannot append and delete records, which is the least that is needed", module)
	}
	backend := &providerZone{apex: z.apex, zone: z.apex.String(), provider: p}
	backend.getter, _ = module.(libdns.RecordGetter)
	backend.setter, _ = module.(libdns.RecordSetter)
	z.records = backend
	return nil
}

// refuseSelf refuses the provider that would call this very app: Caddy would
// hand it a half-built one.
func refuseSelf(raw json.RawMessage) error {
	var self struct {
		Name     string `json:"name"`
		Endpoint string `json:"endpoint"`
	}
	if err := json.Unmarshal(raw, &self); err == nil && self.Name == "bestdns" && self.Endpoint == "" {
		return errors.New("provider bestdns without an endpoint is this service itself; name another service's endpoint and token, or leave the provider out for a built-in zone")
	}
	return nil
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

func (z *providerZone) change(ctx context.Context, client string, change record.Change) (result, error) {
	if change.Op == record.Set && z.setter == nil {
		return result{}, notSupportedError{"set records"}
	}
	arrived := time.Now()
	release, err := takeTurn(ctx, z.apex, client, providerPatience)
	if err != nil {
		return result{}, err
	}
	ctx, cancel := begun(ctx, arrived)
	defer cancel()
	entries, err := inTurn(ctx, z.apex, release, func() ([]entry, error) { return z.apply(ctx, change) })
	return result{entries: entries}, err
}

// apply has the provider make a change. It runs in the zone's turn.
func (z *providerZone) apply(ctx context.Context, change record.Change) ([]entry, error) {
	do, records := z.provider.AppendRecords, z.outgoing(change.Records)
	switch change.Op {
	case record.Set:
		do = z.setter.SetRecords
	case record.Delete:
		var err error
		if records, err = z.resolve(ctx, change.Matches); err != nil || len(records) == 0 {
			return nil, err
		}
		if err := ctx.Err(); err != nil {
			return nil, providerError{err} // it has been given up, and perhaps it is another's turn
		}
		do = z.provider.DeleteRecords
	}
	done, err := do(ctx, z.zone, records)
	if err != nil {
		return nil, providerError{err}
	}
	return z.incoming(done), nil
}

// list asks the provider for as long as ctx, which has a deadline. Half of the time is
// for the wait until its turn.
func (z *providerZone) list(ctx context.Context, client string, s selection) (iter.Seq[entry], error) {
	if z.getter == nil {
		return nil, notSupportedError{"list records"}
	}
	deadline, _ := ctx.Deadline()
	release, err := takeTurn(ctx, z.apex, client, time.Until(deadline)/2)
	if err != nil {
		return nil, err
	}
	entries, err := inTurn(ctx, z.apex, release, func() ([]entry, error) {
		records, err := z.get(ctx)
		return z.incoming(records), err
	})
	switch {
	case err != nil && errors.Is(ctx.Err(), context.Canceled):
		return nil, busyError{context.Cause(ctx)} // the caller has gone, which is no failure of the provider
	case err != nil:
		return nil, err
	}
	// A zone holds no record twice (RFC 2181 §5), but a transfer ends with the SOA
	// record that it began with, and a provider may hand on both.
	seen := make(map[entry]bool, len(entries))
	entries = slices.DeleteFunc(entries, func(e entry) bool {
		unwanted := seen[e] || !s.wants(e.owner) || s.typ != 0 && !e.hasType(s.typ)
		seen[e] = true
		return unwanted
	})
	slices.SortStableFunc(entries, func(a, b entry) int { return strings.Compare(a.owner.Key(), b.owner.Key()) })
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
		e := newEntry(r)
		out[i] = e.api(z.apex).Libdns()
	}
	return out
}

// api returns the entry as the API has it, its name relative to zone.
func (e entry) api(zone record.Name) api.Record {
	return api.Record{Name: e.owner.Relative(zone), Type: e.typ, TTL: &e.ttl, Data: &e.data}
}

// incoming reads what the provider reports. A record whose name is none is left
// out: nobody could have a right to it.
func (z *providerZone) incoming(records []libdns.Record) []entry {
	entries := make([]entry, 0, len(records))
	for _, r := range records {
		if e, ok := z.entry(r); ok {
			entries = append(entries, e)
		}
	}
	return entries
}

func (z *providerZone) entry(r libdns.Record) (entry, bool) {
	rec, err := api.FromLibdns(r)
	if err != nil {
		rr := r.RR()
		rec = api.Record{Name: rr.Name, Type: rr.Type, Data: &rr.Data}
	}
	owner, err := record.ParseOwner(rec.Name, z.apex)
	if err != nil {
		return entry{}, false
	}
	e := entry{owner: owner, typ: rec.Type}
	if rec.TTL != nil {
		e.ttl = *rec.TTL
	}
	if rec.Data != nil {
		e.data = *rec.Data
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
	var doomed []libdns.Record
	servers, doomedServers := 0, 0
	takes := z.taker(matches)
	for _, rec := range records {
		e, ok := z.entry(rec)
		if !ok || e.typ == "SOA" {
			continue
		}
		apexNS := e.typ == "NS" && e.owner == z.apex
		if apexNS {
			servers++
		}
		if !takes(e, apexNS) {
			continue
		}
		if apexNS {
			doomedServers++
		}
		doomed = append(doomed, rec)
	}
	if doomedServers > 0 && doomedServers == servers {
		return nil, &record.RuleError{
			Rule: record.RuleApexNS, Conflict: true, Name: z.apex, Type: record.TypeNS,
			Reason: "this would delete the zone's last NS record; append the new ones first",
		}
	}
	return doomed, nil
}

// taker returns what reports whether any of the matches takes an entry. The apex's NS
// records are taken only when they are named.
func (z *providerZone) taker(matches []record.Match) func(e entry, apexNS bool) bool {
	typed := slices.DeleteFunc(slices.Clone(matches), func(m record.Match) bool { return m.Type == 0 })
	// An entry that cannot be parsed cannot be compared by data; by name and type it can.
	var names []record.Match
	for _, m := range matches {
		if m.Data == nil {
			names = append(names, m)
		}
	}
	all, named, unparsed := record.NewMatcher(matches), record.NewMatcher(typed), record.NewMatcher(names)
	return func(e entry, apexNS bool) bool {
		r, err := record.At(e.owner, e.typ, uint32(e.ttl), e.data)
		switch {
		case err != nil:
			t, _ := record.ParseType(e.typ) // zero, which no type is, where it is a provider's own
			return unparsed.First(record.Record{Name: e.owner, Type: t, TTL: uint32(e.ttl)}) >= 0
		case apexNS:
			return named.First(r) >= 0
		}
		return all.First(r) >= 0
	}
}

// portableTypes are those that libdns has a type of its own for.
var portableTypes = map[string]bool{
	"A": true, "AAAA": true, "CAA": true, "CNAME": true, "HTTPS": true,
	"MX": true, "NS": true, "SRV": true, "SVCB": true, "TXT": true,
}

// check lets through only what every provider can carry. Some of them paste
// names and values into the text of a master file or of a request, and what has
// a meaning of its own there must never reach one.
func (z *providerZone) check(change record.Change) error {
	for name := range change.Names {
		if !portableName(name) {
			return fmt.Errorf("name %q in zone %q: names in a zone with a DNS provider consist of letters, digits, \"-\", \"_\" and \"*\"", name, z.apex)
		}
	}
	for _, r := range change.Records {
		if r.Type == record.TypeSOA {
			return record.SOAError(r.Name)
		}
		if err := z.portable(r); err != nil {
			return err
		}
	}
	for _, m := range change.Matches {
		if m.Type == record.TypeSOA {
			return record.SOAError(m.Name)
		}
		if r, ok := m.Record(); ok {
			if err := z.portable(r); err != nil {
				return err
			}
		}
	}
	return nil
}

func (z *providerZone) portable(r record.Record) error {
	typ, data := r.Text()
	if !portableTypes[typ] {
		return fmt.Errorf("%s record at %q in zone %q: a zone with a DNS provider takes only A, AAAA, CAA, CNAME, HTTPS, MX, NS, SRV, SVCB, and TXT of UTF-8", typ, r.Name, z.apex)
	}
	switch typ {
	case "TXT":
		if data == "" {
			return fmt.Errorf("TXT record at %q in zone %q: an empty text does not get through every DNS provider, because libdns has it mean any text", r.Name, z.apex)
		}
		if i := strings.IndexFunc(data, notPortableInText); i >= 0 {
			return fmt.Errorf("TXT record at %q in zone %q: the character %q in its text does not get through every DNS provider unchanged; use printable ASCII without quotes and backslashes", r.Name, z.apex, data[i])
		}
	default:
		if i := strings.IndexFunc(data, notPortableInData); i >= 0 {
			return fmt.Errorf("%s record at %q in zone %q: the character %q in its data does not get through every DNS provider unchanged", typ, r.Name, z.apex, data[i])
		}
	}
	// A provider that reads the zone with libdns' parser fails at the first record
	// that it cannot parse, and with it fails every other client of the zone.
	if _, err := (libdns.RR{Name: r.Name.Relative(z.apex), Type: typ, Data: data}).Parse(); err != nil {
		return fmt.Errorf("%s record at %q in zone %q: libdns, and so the zone's DNS provider, could not read it again: %w", typ, r.Name, z.apex, err)
	}
	return nil
}

func notPortableInText(c rune) bool {
	return c < ' ' || c > '~' || c == '"' || c == '\\'
}

// notPortableInData is for data in presentation format, whose quotes are syntax.
// The printed form has no ";" outside of quotes.
func notPortableInData(c rune) bool {
	return c < ' ' || c > '~' || c == '\\'
}

func portableName(n record.Name) bool {
	for i := 0; i < len(n)-1; i += int(n[i]) + 1 {
		for _, c := range []byte(n[i+1 : i+1+int(n[i])]) {
			ok := 'a' <= c && c <= 'z' || '0' <= c && c <= '9' || c == '-' || c == '_' || c == '*'
			if !ok {
				return false
			}
		}
	}
	return true
}
