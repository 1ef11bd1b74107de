package hosting

import (
	"cmp"
	"context"
	"math"
	"time"

	"github.com/caddy-dns/bestdns/internal/access"
	"github.com/caddy-dns/bestdns/internal/api"
	"github.com/caddy-dns/bestdns/internal/record"
)

// ChangeTimeout is the time that a change has at most, also if no one waits for it. A
// change that has begun runs to its end even if the caller goes away.
const ChangeTimeout = 10 * time.Second

// DefaultTTL as the TTL of a record to write means that of its zone.
const DefaultTTL = math.MaxUint32

// Caller is who makes a call, over whatever protocol or in process.
type Caller struct {
	Client *access.Client
	// Address is the client's; empty in process.
	Address string
	// RequestID is what the caller is told to look for in the log.
	RequestID string
	// Name is what the log calls a caller that is not a client.
	Name string
	// Protocol is how it called, for the log; empty in process.
	Protocol string
}

func (c Caller) name() string {
	if c.Client == nil {
		return c.Name
	}
	return c.Client.Name()
}

// bound returns the client whose turns and room a call takes: that of an account is the one that
// has registered it.
func (c Caller) bound() string {
	if c.Client == nil {
		return c.Name
	}
	return c.Client.Registrar().Name()
}

// Change is what a caller wants to have changed, with names as the caller has them: the
// service decides in which zone they are.
type Change struct {
	// Zone is the one that the caller takes for the zone of the names. It decides at the
	// apex of a nested zone alone.
	Zone record.Name
	// Change has the records. [Service.Change] changes them.
	record.Change
	// Doubled are the indexes of the records whose names, as they were sent, are doubled (see
	// [record.IsDoubled]).
	Doubled []int
	// Invalid is the first record that could not be read, nil if all could. Those after it are
	// not in the change.
	Invalid *Invalid
}

// Invalid is a record that could not be read, for which the change is refused. Where it
// would go is found out nevertheless: who has no right there learns nothing else.
type Invalid struct {
	// Owner is "" where that could not be read.
	Owner   record.Name
	Type    record.Type
	Doubled bool
	Err     error
	// Rest are owner and type of this record and those after it, for the audit log.
	Rest []string
}

// Result is what a change did.
type Result struct {
	// Entries are the records that were appended, set or deleted, at the names that were asked
	// for.
	Entries []Entry
	// CNAMEs must exist for the records to be found.
	CNAMEs []CNAME
	// Silenced are known for built-in zones.
	Silenced []Silenced
	// Pending are the name servers that answer, and do not serve the change yet; Silent are those
	// that do not answer. [Service.Served] finds them out.
	Pending, Silent []string

	zone   *Zone // nil where nothing was changed
	change record.Change
	// When the change began, and when it was made.
	began, ended time.Time
	unknown      bool // the name servers are not known, so none was waited for
	before       bool // made by an earlier call, so that nothing is mended or undone
}

// CNAME is a record that the user has to create once, where the domain is hosted.
type CNAME struct{ Name, Target record.Name }

// Change makes a change: it places each record, judges it by the caller's rights, and has
// the zone's backend apply all of them at once. It is wholly done or not at all in a
// built-in zone; elsewhere that is the provider's. When ctx ends before the change has
// begun, nothing is changed; one that has begun runs to its end. [Service.Served] then waits
// until name servers serve it.
//
// The error, if any, is an *[Error]. Either way the audit log has a line.
func (s *Service) Change(ctx context.Context, who Caller, c Change) (Result, error) {
	started := time.Now()
	p := &placement{service: s, client: who.Client, asked: c.Zone}
	tried := ChangeSeen{Op: opOf(c.Change), Records: namesOf(&c)}
	done, err := s.apply(ctx, who, p, &c)
	var failure *Error
	if err != nil {
		failure = AsError(err, p.apex())
	}
	tried.Zone, tried.Serial = p.apex().String(), done.serial
	s.note(who, p.zone, tried, time.Since(started), failure)
	s.config.Activity.providerError(p.zone, failure)
	s.config.Activity.exceed(failure)
	if failure != nil {
		return Result{}, failure
	}
	s.warnSilenced(who, done.silenced)
	for i := range done.entries {
		done.entries[i].Owner = p.named(done.entries[i].Owner)
	}
	return Result{Entries: done.entries, CNAMEs: p.cnames, Silenced: done.silenced, zone: p.zone, change: left(c.Change), began: started, ended: time.Now()}, nil
}

// opOf returns what the log calls a change: an update that does one thing is called by that.
func opOf(c record.Change) string {
	switch {
	case c.OnlyAppends() && c.Op == record.Update && len(c.Records) > 0:
		return record.Append.String()
	case c.OnlyDeletes() && c.Op == record.Update && len(c.Matches) > 0:
		return record.Delete.String()
	}
	return c.Op.String()
}

// left returns a change with the records only that it has left behind: those that name servers
// are to serve.
func left(c record.Change) record.Change {
	c.Records = c.Left()
	return c
}

// apply judges a change by the caller's rights and has the zone's backend do it. It makes of a
// panic an error: the goroutine may be one that no one else recovers, and the change is to have
// its line in the log.
func (s *Service) apply(ctx context.Context, who Caller, p *placement, c *Change) (done outcome, err error) {
	defer func() {
		if recovered := recover(); recovered != nil {
			err = Recovered(recovered)
		}
	}()
	if err := p.place(c); err != nil {
		return outcome{}, err
	}
	if err := s.refuseDoubled(ctx, p, c); err != nil {
		return outcome{}, err
	}
	if err := authorize(who.Client, p.zone, c.Change); err != nil {
		return outcome{}, err
	}
	if len(c.Records)+len(c.Matches)+len(c.Prerequisites) == 0 {
		return outcome{}, nil
	}
	return s.changeRemembered(ctx, p.zone, who.bound(), c.Change)
}

// place puts the records of a change where they go.
func (p *placement) place(c *Change) (err error) {
	doubledNames := c.Doubled
	for i := range c.Records {
		r := &c.Records[i]
		isDoubled := len(doubledNames) > 0 && doubledNames[0] == i
		if isDoubled {
			doubledNames = doubledNames[1:]
		}
		if r.Name, err = p.written(r.Name, r.Type, isDoubled); err != nil {
			return err
		}
		if r.TTL == DefaultTTL {
			r.TTL = p.zone.defaultTTL(*r)
		}
	}
	for i := range c.Matches {
		m := &c.Matches[i]
		if m.Name, err = p.owner(m.Name, m.Type); err != nil {
			return err
		}
	}
	for i := range c.Prerequisites {
		q := &c.Prerequisites[i]
		if q.Name, err = p.owner(q.Name, cmp.Or(q.Type, record.TypeTXT)); err != nil {
			return err
		}
	}
	if bad := c.Invalid; bad != nil {
		if bad.Owner != "" {
			if _, err := p.written(bad.Owner, bad.Type, bad.Doubled); err != nil {
				return err
			}
		}
		return bad.Err
	}
	if p.zone == nil { // no records: the zone's own existence is all there is to check
		p.zone, err = p.service.placeZone(p.client, p.asked)
	}
	return err
}

// written is owner for a record that is appended or set. A doubled name that cannot be placed
// is told to be doubled.
func (p *placement) written(asked record.Name, t record.Type, isDoubled bool) (record.Name, error) {
	owner, err := p.owner(asked, t)
	if err != nil && isDoubled {
		return "", doubled(asked, p.asked)
	}
	return owner, err
}

// ChangeOrLeave is [Service.Change] for a caller that does not wait for what cannot be called
// back: when ctx ends after the change has begun, it goes on by itself, and the error is that
// it is under way.
func (s *Service) ChangeOrLeave(ctx context.Context, who Caller, c Change) (Result, error) {
	var made Result
	var failure error
	done, begun := make(chan struct{}), make(chan struct{}, 1)
	go func() {
		defer close(done)
		made, failure = s.Change(context.WithValue(ctx, begunKey{}, begun), who, c)
	}()
	select {
	case <-done:
	case <-ctx.Done():
		// A change that has not begun ends with the context, and nothing was sent.
		select {
		case <-done:
		case <-begun:
			e := Errorf(api.Unavailable, "zone %q: given up while the change was under way: %w", c.Zone, context.Cause(ctx))
			e.Unchanged = false
			return Result{}, e
		}
	}
	return made, failure
}

// begunKey is the key of a context's value by which a caller learns that its change
// has begun: a channel with room for one.
type begunKey struct{}

// begun returns the context of a change that begins now: with the values of its
// caller's, and a deadline of its own instead of the caller's end.
func begun(ctx context.Context, arrived time.Time) (context.Context, context.CancelFunc) {
	tellBegun(ctx)
	return context.WithDeadline(context.WithoutCancel(ctx), arrived.Add(ChangeTimeout))
}

// tellBegun tells the caller that its change begins now.
func tellBegun(ctx context.Context) {
	if tell, ok := ctx.Value(begunKey{}).(chan struct{}); ok {
		select {
		case tell <- struct{}{}:
		default: // it knows
		}
	}
}

// authorize refuses what the client may not do, and gives challenge records their expiry. An update
// that deletes all at a name of challenges, as many clients do, deletes what is the client's own.
func authorize(client *access.Client, zone *Zone, change record.Change) error {
	for i := range change.Records {
		r := &change.Records[i]
		if r.Type == record.TypeSOA {
			return record.SOAError(r.Name) // no right would help
		}
		op := change.Op
		if op == record.Update {
			op = record.Append
		}
		ok, challenge := client.MayWrite(zone.Apex, op, *r)
		if !ok {
			return forbidden(client, op, r.Type, r.Name, zone.Apex, client.WhyNotWrite(zone.Apex, op, *r))
		}
		if challenge {
			r.Expires = time.Now().Add(zone.lifetimeFor(client)).Unix()
			if change.Op == record.Update { // whose clients have to give a TTL, and mean nothing by it
				r.TTL = zone.defaultTTL(*r)
			}
		}
	}
	for i := range change.Matches {
		m := &change.Matches[i]
		if m.Type == record.TypeSOA {
			return record.SOAError(m.Name)
		}
		switch {
		case client.MayDelete(zone.Apex, *m):
		case change.Op == record.Update && client.MayDeleteOwn(zone.Apex, *m):
			m.Own, m.Type = true, record.TypeTXT
		default:
			return forbidden(client, record.Delete, m.Type, m.Name, zone.Apex, client.WhyNotDelete(zone.Apex, *m))
		}
	}
	for _, q := range change.Prerequisites {
		if !client.MayRead(zone.Apex, q.Name) { // or it would tell what is there
			return Errorf(api.Forbidden, "client %q may not ask what is at %q in zone %q, which a prerequisite of the update does; it may: %s", client.Name(), q.Name, zone.Apex, rightsOf(client))
		}
	}
	return nil
}

// forbidden refuses a record. why is what is wrong with it beside its name, "" where it is
// the name: that no right covers.
func forbidden(client *access.Client, op record.Op, t record.Type, name, zone record.Name, why string) *Error {
	what := "records of every type"
	if t != 0 {
		what = "this " + t.String() + " record"
	}
	if why != "" {
		why = ": " + why
	}
	return Errorf(api.Forbidden, "client %q may not %s %s at %q in zone %q%s; it may: %s", client.Name(), op, what, name, zone, why, rightsOf(client))
}
