package service

import (
	"context"
	"fmt"
	"iter"

	"github.com/google/uuid"
	"github.com/libdns/libdns"
	"go.uber.org/zap"

	"github.com/caddy-dns/bestdns"
	"github.com/caddy-dns/bestdns/internal/api"
	"github.com/caddy-dns/bestdns/internal/record"
	"github.com/caddy-dns/bestdns/internal/text"
)

// The modules of the same Caddy call the app without HTTP and without a token.
// They have every right in the hosted zones.

func (a *App) localCaller() caller {
	return caller{client: a.local, requestID: uuid.NewString()}
}

// GetRecords returns the records at or below zone. It implements
// [libdns.RecordGetter].
func (a *App) GetRecords(ctx context.Context, zone string) ([]libdns.Record, error) {
	found, failure := a.localList(ctx, zone)
	if failure != nil {
		return nil, failure.public()
	}
	var records []libdns.Record
	for r := range found {
		records = append(records, r.Libdns())
	}
	return records, nil
}

// localList lists records without HTTP, and logs what the answer leaves to the log.
func (a *App) localList(ctx context.Context, zone string) (iter.Seq[api.Record], *problem) {
	who := a.localCaller()
	found, failure := a.list(ctx, who, zone, filter{})
	if failure != nil {
		failure.RequestID = who.requestID
		if failure.Status >= 500 && ctx.Err() == nil {
			a.logger.Error("reading failed", zap.String("request_id", who.requestID), zap.String("zone", text.Brief(zone, mostOfName)),
				zap.String("reason", failure.Detail), loggedCause(failure.cause))
		}
	}
	return found, failure
}

// AppendRecords adds records; those that exist already are returned as they are.
// It implements [libdns.RecordAppender], atomically in a built-in zone.
func (a *App) AppendRecords(ctx context.Context, zone string, records []libdns.Record) ([]libdns.Record, error) {
	return a.localChange(ctx, zone, record.Append, records)
}

// SetRecords makes records the only members of their RRsets. It implements
// [libdns.RecordSetter], atomically in a built-in zone.
func (a *App) SetRecords(ctx context.Context, zone string, records []libdns.Record) ([]libdns.Record, error) {
	return a.localChange(ctx, zone, record.Set, records)
}

// DeleteRecords removes the records that agree in everything that is given. It
// implements [libdns.RecordDeleter], atomically in a built-in zone.
func (a *App) DeleteRecords(ctx context.Context, zone string, records []libdns.Record) ([]libdns.Record, error) {
	return a.localChange(ctx, zone, record.Delete, records)
}

// ListZones returns the hosted zones. It implements [libdns.ZoneLister].
func (a *App) ListZones(context.Context) ([]libdns.Zone, error) {
	var zones []libdns.Zone
	for _, zone := range a.zones(a.localCaller()).Zones {
		zones = append(zones, libdns.Zone{Name: zone.Name})
	}
	return zones, nil
}

func (a *App) localChange(ctx context.Context, zone string, op record.Op, records []libdns.Record) ([]libdns.Record, error) {
	body, err := changeOf(op, records)
	if err != nil {
		return nil, newProblem(api.InvalidRecord, "zone %q: %w", zone, err).public()
	}
	if err := a.waitReady(ctx); err != nil {
		return nil, asProblem(notReadyError{err}, "").public()
	}
	answer, err := a.changeUnless(ctx, a.localCaller(), zone, body)
	if err != nil {
		return nil, err
	}
	if op == record.Delete {
		answer.CNAMEs = nil // nobody looks for what is gone
	}
	for _, c := range answer.CNAMEs {
		a.logger.Info(fmt.Sprintf("for this challenge to be found, a CNAME must exist where the domain is hosted: %s CNAME %s", c.Name, c.Target),
			zap.String("name", c.Name), zap.String("target", c.Target))
	}
	outgoing := make([]libdns.Record, len(answer.Records))
	for i, r := range answer.Records {
		outgoing[i] = r.Libdns()
	}
	return outgoing, nil
}

// changeOf writes libdns' records as the body of an API call.
func changeOf(op record.Op, records []libdns.Record) (api.Change, error) {
	body := make([]api.Record, len(records))
	for i, r := range records {
		var err error
		if body[i], err = api.FromLibdns(r); err != nil {
			return api.Change{}, err
		}
		if op != record.Delete && body[i].Type == "TXT" && body[i].Data == nil {
			body[i].Data = new("") // to libdns an empty text is one, except in a delete
		}
	}
	switch op {
	case record.Append:
		return api.Change{Append: body}, nil
	case record.Set:
		return api.Change{Set: body}, nil
	}
	return api.Change{Delete: body}, nil
}

// changeUnless carries out a change, and leaves it to itself when the context ends
// after it has begun: the caller does not wait for what cannot be called back.
func (a *App) changeUnless(ctx context.Context, who caller, zone string, body api.Change) (api.Records, error) {
	type outcome struct {
		answer  api.Records
		failure *problem
	}
	done, begun := make(chan outcome, 1), make(chan struct{}, 1)
	go func() {
		answer, failure := a.change(context.WithValue(ctx, begunKey{}, begun), who, zone, body)
		done <- outcome{answer, failure}
	}()
	var o outcome
	select {
	case o = <-done:
	case <-ctx.Done():
		// A change that has not begun ends with the context, and nothing was sent.
		select {
		case o = <-done:
		case <-begun:
			p := newProblem(api.Unavailable, "zone %q: given up while the change was under way: %w", zone, context.Cause(ctx))
			p.Unchanged, p.RequestID = false, who.requestID
			return api.Records{}, p.public()
		}
	}
	if o.failure != nil {
		return api.Records{}, o.failure.public()
	}
	return o.answer, nil
}

// Interface guard: what `dns bestdns` without a token asks for.
var _ bestdns.Service = (*App)(nil)
