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
	"github.com/caddy-dns/bestdns/internal/hosting"
	"github.com/caddy-dns/bestdns/internal/protocol"
	"github.com/caddy-dns/bestdns/internal/record"
	"github.com/caddy-dns/bestdns/internal/text"
)

// The modules of the same Caddy call the app without HTTP and without a token.
// They have every right in the hosted zones.

func (a *App) localCaller() hosting.Caller {
	return hosting.Caller{Client: a.hosting.Local(), RequestID: uuid.NewString()}
}

// GetRecords returns the records at or below zone. It implements
// [libdns.RecordGetter].
func (a *App) GetRecords(ctx context.Context, zone string) ([]libdns.Record, error) {
	who := a.localCaller()
	found, err := a.localList(ctx, who, zone)
	if err != nil {
		return nil, public(err, who)
	}
	var records []libdns.Record
	for r := range found {
		records = append(records, r.Libdns())
	}
	return records, nil
}

// localList lists records without HTTP, and logs what the answer leaves to the log.
func (a *App) localList(ctx context.Context, who hosting.Caller, zone string) (iter.Seq[api.Record], error) {
	want, err := protocol.Query(zone, "", "")
	var found iter.Seq[hosting.Entry]
	if err == nil {
		found, err = a.hosting.Records(ctx, who.Client, want)
	}
	if err != nil {
		failure := hosting.AsError(err, want.Zone)
		if failure.Status >= 500 && ctx.Err() == nil {
			a.logger.Error("reading failed", zap.String("request_id", who.RequestID), zap.String("zone", text.Brief(zone, text.MaxName)),
				zap.String("reason", failure.Detail), hosting.CauseField(failure.Cause))
		}
		return nil, failure
	}
	return func(yield func(api.Record) bool) {
		for e := range found {
			if !yield(e.Record(want.Zone)) {
				return
			}
		}
	}, nil
}

// public returns an error as callers in the same process get it.
func public(err error, who hosting.Caller) *bestdns.Error {
	e := hosting.AsError(err, "")
	p := protocol.Problem(e, who.RequestID)
	return &bestdns.Error{
		Type: p.Type, Title: p.Title, Detail: p.Detail, Status: p.Status,
		RequestID: p.RequestID, Unchanged: p.Unchanged, Err: e.Cause,
	}
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
	for _, zone := range a.hosting.Zones() {
		zones = append(zones, libdns.Zone{Name: zone.Apex.String()})
	}
	return zones, nil
}

func (a *App) localChange(ctx context.Context, zone string, op record.Op, records []libdns.Record) ([]libdns.Record, error) {
	who := a.localCaller()
	body, err := api.NewChange(op, records)
	if err != nil {
		return nil, public(hosting.Errorf(api.InvalidRecord, "zone %q: %w", zone, err), hosting.Caller{})
	}
	if err := a.hosting.WaitReady(ctx); err != nil {
		return nil, public(err, hosting.Caller{})
	}
	asked, err := protocol.ParseZone(zone)
	if err != nil {
		return nil, public(err, who)
	}
	done, err := a.hosting.ChangeOrLeave(ctx, who, protocol.Change(asked, body))
	if err != nil {
		return nil, public(err, who)
	}
	if err := a.hosting.Served(ctx, who, &done, hosting.LocalWait); err != nil {
		return nil, public(err, who)
	}
	answer := protocol.Records(asked, done)
	if op == record.Delete {
		answer.CNAMEs = nil // no one looks for what is gone
	}
	for _, c := range answer.CNAMEs {
		a.logger.Info(fmt.Sprintf("for this challenge to be found, a CNAME must exist where the domain is hosted: %s CNAME %s", c.Name, c.Target),
			zap.String("name", c.Name), zap.String("target", c.Target))
	}
	return answer.Libdns(), nil
}

// Interface guard: what `dns bestdns` without a token asks for.
var _ bestdns.Service = (*App)(nil)
