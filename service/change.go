package service

import (
	"context"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-dns/bestdns/internal/access"
	"github.com/caddy-dns/bestdns/internal/api"
	"github.com/caddy-dns/bestdns/internal/record"
	"github.com/caddy-dns/bestdns/internal/text"
)

// changeTimeout is the time that a change has at most, whoever waits for it. A
// change that has begun runs to its end even if the caller goes away.
const changeTimeout = 10 * time.Second

// caller is who makes a call, over HTTP or in process.
type caller struct {
	client    *access.Client
	address   string // of the client; empty in process
	requestID string
}

// change carries out a PATCH: from its parsed body to its answer. Its way is the
// same for every protocol: place each record, judge it by the caller's rights,
// have the zone's backend apply all of them at once.
func (a *App) change(ctx context.Context, who caller, zone string, body api.Change) (api.Records, *problem) {
	started := time.Now()
	asked, err := parseZone(zone)
	if err != nil {
		return api.Records{}, asProblem(err, "")
	}
	p := &placer{app: a, client: who.client, asked: asked}
	op, change, err := p.parse(body)
	var done result
	if err == nil {
		done, err = a.applyGuarded(ctx, who, p, change)
	}
	var failure *problem
	if err != nil {
		failure = asProblem(err, p.apex())
		failure.RequestID = who.requestID
	}
	a.logChange(who, p, op, body, done.serial, time.Since(started), failure)
	seen.providerError(p.zone, failure)
	seen.exceed(failure)
	if failure != nil {
		return api.Records{}, failure
	}
	a.warnSilenced(who, done.silenced)
	return api.Records{Records: p.answer(done.entries), CNAMEs: p.cnames, Silenced: done.silenced}, nil
}

// apex returns the zone that the records go to, as far as it is known.
func (p *placer) apex() record.Name {
	if p.zone == nil {
		return p.asked
	}
	return p.zone.apex
}

// parse reads the body, placing each record on the way.
func (p *placer) parse(body api.Change) (op record.Op, change record.Change, err error) {
	records := body.Delete
	switch {
	case body.Append != nil:
		op, records = record.Append, body.Append
	case body.Set != nil:
		op, records = record.Set, body.Set
	default:
		op = record.Delete
	}
	if len(records) > api.MaxRecords {
		return op, change, newProblem(api.TooLarge, "%d records in one change, and %d are the most", len(records), api.MaxRecords)
	}
	change.Op = op
	var b breather
	for i := range records {
		b.breathe()
		if op == record.Delete {
			var m record.Match
			if m, err = p.match(&records[i]); err != nil {
				return op, change, err
			}
			change.Matches = append(change.Matches, m)
			continue
		}
		var r record.Record
		if r, err = p.record(&records[i]); err != nil {
			return op, change, err
		}
		change.Records = append(change.Records, r)
	}
	if p.zone == nil { // no records: the zone's own existence is all there is to check
		p.zone, err = p.app.placeZone(p.client, p.asked)
	}
	return op, change, err
}

// record reads a record that is appended or set.
func (p *placer) record(r *api.Record) (record.Record, error) {
	if r.Type == "" || r.Data == nil {
		return record.Record{}, newProblem(api.InvalidRecord, "record at %q: type and data are needed, and may be left out in a delete only", r.Name)
	}
	t, err := record.ParseType(r.Type)
	if err != nil {
		return record.Record{}, newProblem(api.InvalidRecord, "record at %q: %w", r.Name, err)
	}
	ttl, err := parseTTL(r)
	if err != nil {
		return record.Record{}, err
	}
	owner, err := p.written(r.Name, t)
	if err != nil {
		return record.Record{}, err
	}
	parsed, err := record.At(owner, r.Type, 0, *r.Data)
	if err != nil {
		return record.Record{}, newProblem(api.InvalidRecord, "%w", err)
	}
	if ttl != nil {
		parsed.TTL = *ttl
	} else {
		parsed.TTL = p.zone.defaultTTL(parsed)
	}
	return parsed, nil
}

// match reads what a delete describes.
func (p *placer) match(r *api.Record) (record.Match, error) {
	var t record.Type
	if r.Type != "" {
		var err error
		if t, err = record.ParseType(r.Type); err != nil {
			return record.Match{}, newProblem(api.InvalidRecord, "record at %q: %w", r.Name, err)
		}
	}
	ttl, err := parseTTL(r)
	if err != nil {
		return record.Match{}, err
	}
	owner, err := p.owner(r.Name, t)
	if err != nil {
		return record.Match{}, err
	}
	m, err := record.MatchAt(owner, r.Type, ttl, r.Data)
	if err != nil {
		return record.Match{}, newProblem(api.InvalidRecord, "%w", err)
	}
	return m, nil
}

func parseTTL(r *api.Record) (*uint32, error) {
	if r.TTL == nil {
		return nil, nil
	}
	if *r.TTL < 0 || *r.TTL > record.MaxTTL {
		return nil, newProblem(api.InvalidRecord, "record at %q: TTL %d: from 0 to %d seconds", r.Name, *r.TTL, record.MaxTTL)
	}
	seconds := uint32(*r.TTL)
	return &seconds, nil
}

// applyGuarded is apply, and makes of a panic an error: the goroutine may be one that
// no one else recovers, and the change is to have its line in the log.
func (a *App) applyGuarded(ctx context.Context, who caller, p *placer, change record.Change) (done result, err error) {
	defer func() {
		if recovered := recover(); recovered != nil {
			err = bug(recovered)
		}
	}()
	return a.apply(ctx, who, p, change)
}

// apply judges a change by the caller's rights and has the zone's backend do it.
func (a *App) apply(ctx context.Context, who caller, p *placer, change record.Change) (result, error) {
	if err := a.refuseDoubled(ctx, who.client, p, change); err != nil {
		return result{}, err
	}
	if err := judge(who.client, p.zone, change); err != nil {
		return result{}, err
	}
	if err := p.zone.records.check(change); err != nil {
		return result{}, checkProblem(err, p.zone.apex)
	}
	if len(change.Records)+len(change.Matches) == 0 {
		return result{}, nil
	}
	return p.zone.records.change(ctx, who.client.Name(), change)
}

// begunKey is the key of a context's value by which a caller learns that its change
// has begun: a channel with room for one.
type begunKey struct{}

// begun returns the context of a change that begins now: with the values of its
// caller's, and a deadline of its own in place of the caller's end.
func begun(ctx context.Context, arrived time.Time) (context.Context, context.CancelFunc) {
	if tell, ok := ctx.Value(begunKey{}).(chan struct{}); ok {
		select {
		case tell <- struct{}{}:
		default: // it knows
		}
	}
	return context.WithDeadline(context.WithoutCancel(ctx), arrived.Add(changeTimeout))
}

// checkProblem is for what a backend cannot carry; that a rule forbids it says more.
func checkProblem(err error, zone record.Name) *problem {
	if p := asProblem(err, zone); p.Kind() != api.Internal {
		return p
	}
	return newProblem(api.InvalidRecord, "%w", err)
}

// judge refuses what the client may not do, and gives challenge records their expiry.
func judge(client *access.Client, zone *Zone, change record.Change) error {
	for i := range change.Records {
		r := &change.Records[i]
		if r.Type == record.TypeSOA {
			return record.SOAError(r.Name) // no right would help
		}
		ok, challenge := client.MayWrite(zone.apex, change.Op, *r)
		if !ok {
			return forbidden(client, change.Op, r.Type, r.Name, zone.apex, client.WhyNotWrite(zone.apex, change.Op, *r))
		}
		if challenge && zone.builtin {
			r.Expires = time.Now().Add(time.Duration(zone.ChallengeLifetime)).Unix()
		}
	}
	for _, m := range change.Matches {
		if m.Type == record.TypeSOA {
			return record.SOAError(m.Name)
		}
		if !client.MayDelete(zone.apex, m) {
			return forbidden(client, change.Op, m.Type, m.Name, zone.apex, client.WhyNotDelete(zone.apex, m))
		}
	}
	return nil
}

// forbidden refuses a record. why is what is wrong with it beside its name, "" where it is
// the name: that no right covers.
func forbidden(client *access.Client, op record.Op, t record.Type, name, zone record.Name, why string) *problem {
	what := "records of every type"
	if t != 0 {
		what = "this " + t.String() + " record"
	}
	if why != "" {
		why = ": " + why
	}
	return newProblem(api.Forbidden, "client %q may not %s %s at %q in zone %q%s; it may: %s", client.Name(), op, what, name, zone, why, rightsOf(client))
}

// logChange writes the audit line of a change, refused or not.
func (a *App) logChange(who caller, p *placer, op record.Op, body api.Change, serial uint32, took time.Duration, failure *problem) {
	a.logOutcome(p.zone, changeSeen{
		RequestID: who.requestID, Client: who.client.Name(), Address: who.address,
		Zone: p.apex().String(), Op: op.String(), Records: p.auditRecords(body), Serial: serial,
	}, took, failure)
}

// logUnread writes the audit line of a change that no one got to read.
func (a *App) logUnread(who caller, zone string, failure *problem) {
	a.logOutcome(nil, changeSeen{
		RequestID: who.requestID, Client: who.client.Name(), Address: who.address,
		Zone: text.Brief(zone, mostOfName), Op: "unread", Records: []string{},
	}, 0, failure)
}

// logOutcome writes the audit line of what was tried in a zone, nil for one that is
// not hosted, and remembers it.
func (a *App) logOutcome(zone *Zone, c changeSeen, took time.Duration, failure *problem) {
	c.Time, c.Reason = time.Now(), failure.reason()
	seen.change(zone, c, outcomeOf(failure), took)
	const most = 11 // fields of a line
	fields := append(make([]zap.Field, 0, most),
		zap.String("request_id", c.RequestID),
		zap.String("client", text.Visible(c.Client)),
		zap.String("remote_ip", c.Address),
		zap.String("zone", c.Zone),
		zap.String("op", c.Op),
		zap.Strings("records", c.Records),
		zap.Duration("duration", took),
	)
	if failure == nil {
		a.audit.Info("changed", append(fields, zap.Uint32("serial", c.Serial))...)
		return
	}
	fields = append(fields, zap.Int("status", failure.Status), zap.String("reason", failure.Detail), zap.Bool("unchanged", failure.Unchanged))
	if failure.Status < 500 || failure.quiet {
		a.audit.Info("refused", fields...)
		return
	}
	a.audit.Error("failed", append(fields, loggedCause(failure.cause))...)
}

// moreRecords stands behind those of a change that are named.
const moreRecords = "…"

// auditRecords names the records of a change by owner and type, without their data.
func (p *placer) auditRecords(body api.Change) []string {
	const most = 20
	records := body.Append
	switch {
	case body.Set != nil:
		records = body.Set
	case body.Delete != nil:
		records = body.Delete
	}
	names := make([]string, 0, min(len(records), most+1))
	for i, r := range records {
		if i == most {
			return append(names, moreRecords)
		}
		name := r.Name
		if i < len(p.owners) {
			name = p.owners[i].String()
		} else if owner, err := record.ParseOwner(r.Name, p.asked); err == nil {
			name = owner.String() // behind the one for which the change was refused
		}
		names = append(names, text.Brief(name+" "+r.Type, mostOfName))
	}
	return names
}
