package bestdns

import (
	"context"
	"errors"
	"fmt"

	"github.com/libdns/libdns"

	"github.com/caddy-dns/bestdns/internal/api"
	"github.com/caddy-dns/bestdns/internal/owed"
	"github.com/caddy-dns/bestdns/internal/record"
)

var (
	_ Service = (*Provider)(nil)
	_ Service = (*remote)(nil)
)

// ListZones returns the zones in which the token may do something. Their names
// are absolute.
func (p *Provider) ListZones(ctx context.Context) ([]libdns.Zone, error) {
	s, err := p.connect()
	if err != nil {
		return nil, err
	}
	return s.ListZones(ctx)
}

// GetRecords returns the records at or below zone that the token may read.
func (p *Provider) GetRecords(ctx context.Context, zone string) ([]libdns.Record, error) {
	s, err := p.connect()
	if err != nil {
		return nil, err
	}
	return s.GetRecords(ctx, zone)
}

// AppendRecords adds records and returns them with the TTLs that were stored, when the
// zone's name servers have them, as Waiting above says it. One that is there already is
// returned too. In a zone of the built-in name server all are added or none.
func (p *Provider) AppendRecords(ctx context.Context, zone string, recs []libdns.Record) ([]libdns.Record, error) {
	s, err := p.connect()
	if err != nil || len(recs) == 0 {
		return nil, err
	}
	end, err := p.owes.Begin(ctx, owing{s}, zone, recs)
	if err != nil {
		return nil, failed(describe(record.Append, recs, zone), err)
	}
	appended, err := s.AppendRecords(ctx, zone, recs)
	switch {
	case err == nil:
		end(owed.Written)
	case isUnchanged(err):
		end(owed.NotWritten)
	default:
		end(owed.Unknown)
		p.owes.Withdraw(ctx, owing{s}, zone, recs)
	}
	return appended, err
}

// SetRecords makes the given records the only ones of their names and types, and waits as
// AppendRecords does. In a zone of the built-in name server all are set or none.
func (p *Provider) SetRecords(ctx context.Context, zone string, recs []libdns.Record) ([]libdns.Record, error) {
	s, err := p.connect()
	if err != nil || len(recs) == 0 {
		return nil, err
	}
	if err := p.owes.Rewrite(ctx, owing{s}, zone, recs); err != nil {
		return nil, failed(describe(record.Set, recs, zone), err)
	}
	return s.SetRecords(ctx, zone, recs)
}

// DeleteRecords deletes the records that match one of those given and returns
// them. An empty type, a TTL of zero and empty data match any. Deleting a record that does not
// exist is not an error.
func (p *Provider) DeleteRecords(ctx context.Context, zone string, recs []libdns.Record) ([]libdns.Record, error) {
	s, err := p.connect()
	if err != nil || len(recs) == 0 {
		return nil, err
	}
	if p.owes.Paid(owing{s}, zone, recs) {
		return recs, nil
	}
	deleted, err := s.DeleteRecords(ctx, zone, recs)
	if err == nil {
		p.owes.Deleted(owing{s}, zone, recs)
	}
	return deleted, err
}

// owing is the service to which the deletion of records is owed.
type owing struct{ Service }

// Refused reports whether the service has refused a change, and would again.
func (owing) Refused(err error) bool {
	const tooMany = 429
	var e *Error
	return errors.As(err, &e) && e.Status >= 400 && e.Status < 500 && e.Status != tooMany
}

// isUnchanged reports whether err says that the zone is as it was.
func isUnchanged(err error) bool {
	var e *Error
	return errors.As(err, &e) && e.Unchanged
}

// remote is a service reached by its HTTP API. Each method is one API call.
type remote struct {
	client *api.Client
	// onCNAME is told of each CNAME that has to exist for appended or set records
	// to be found. It may be nil.
	onCNAME func(api.CNAME)
	// onSilenced is told of each name that the records have taken from a wildcard. It may
	// be nil.
	onSilenced func(api.Silenced)
	// onLag is told of each append or set that not all name servers of its zone were seen
	// to have. It may be nil.
	onLag func(zone string, lag api.Wait)
}

func (r *remote) ListZones(ctx context.Context) ([]libdns.Zone, error) {
	zones, err := r.client.ListZones(ctx)
	if err != nil {
		return nil, failed("listing zones", err)
	}
	list := make([]libdns.Zone, len(zones))
	for i, z := range zones {
		list[i] = libdns.Zone{Name: z.Name}
	}
	return list, nil
}

func (r *remote) GetRecords(ctx context.Context, zone string) ([]libdns.Record, error) {
	recs, err := r.client.GetRecords(ctx, zone)
	if err != nil {
		return nil, failed(fmt.Sprintf("reading the records of zone %q", zone), err)
	}
	return recs, nil
}

func (r *remote) AppendRecords(ctx context.Context, zone string, recs []libdns.Record) ([]libdns.Record, error) {
	return r.change(ctx, record.Append, zone, recs)
}

func (r *remote) SetRecords(ctx context.Context, zone string, recs []libdns.Record) ([]libdns.Record, error) {
	return r.change(ctx, record.Set, zone, recs)
}

func (r *remote) DeleteRecords(ctx context.Context, zone string, recs []libdns.Record) ([]libdns.Record, error) {
	return r.change(ctx, record.Delete, zone, recs)
}

func (r *remote) change(ctx context.Context, op record.Op, zone string, recs []libdns.Record) ([]libdns.Record, error) {
	change, err := api.NewChange(op, recs)
	if err != nil {
		return nil, failed(describe(op, recs, zone), err)
	}
	answer, err := r.client.Change(ctx, zone, change)
	if err != nil {
		return nil, failed(describe(op, recs, zone), err)
	}
	if op != record.Delete && r.onCNAME != nil {
		for _, cname := range answer.CNAMEs[:min(len(answer.CNAMEs), len(recs))] { // each record has one at most
			r.onCNAME(cname)
		}
	}
	if r.onSilenced != nil {
		for _, s := range answer.Silenced[:min(len(answer.Silenced), len(recs))] { // likewise
			r.onSilenced(s)
		}
	}
	if r.onLag != nil && len(answer.Pending)+len(answer.Silent) > 0 {
		r.onLag(zone, answer.Wait)
	}
	return answer.Libdns(), nil
}

// describe says what is being done, for an error.
func describe(op record.Op, recs []libdns.Record, zone string) string {
	what := "records"
	if recs[0] != nil {
		rr := recs[0].RR()
		what = fmt.Sprintf("%q %s", rr.Name, rr.Type)
	}
	if len(recs) > 1 {
		what += fmt.Sprintf(" and %d more", len(recs)-1)
	}
	format := map[record.Op]string{
		record.Append: "appending %s to zone %q",
		record.Set:    "setting %s in zone %q",
		record.Delete: "deleting %s from zone %q",
	}[op]
	return fmt.Sprintf(format, what, zone)
}

// failed makes an [*Error] of err, which occurred while doing something.
func failed(doing string, err error) error {
	var e *api.Error
	if !errors.As(err, &e) {
		// It never got as far as a request.
		return &Error{doing: doing, Detail: err.Error(), Unchanged: true, Err: err}
	}
	return &Error{
		Type: e.Type, Title: e.Title, Detail: e.Detail, Status: e.Status,
		RequestID: e.RequestID, Unchanged: e.Unchanged, Err: e.Err, doing: doing,
	}
}
