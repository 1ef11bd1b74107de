package bestdns

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/libdns/libdns"

	"github.com/caddy-dns/bestdns/internal/api"
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

// AppendRecords adds records and returns them with the TTLs that were stored.
// One that is there already is returned too. In a zone of the built-in name
// server all are added or none.
func (p *Provider) AppendRecords(ctx context.Context, zone string, recs []libdns.Record) ([]libdns.Record, error) {
	s, err := p.connect()
	if err != nil || len(recs) == 0 {
		return nil, err
	}
	if err := p.withdrawals.spare(ctx, zone, recs); err != nil {
		return nil, failed(appending.describe(recs, zone), err)
	}
	appended, err := s.AppendRecords(ctx, zone, recs)
	if err != nil && !certainlyUnchanged(err) {
		p.withdrawals.withdraw(ctx, s, zone, recs)
	}
	return appended, err
}

// SetRecords makes the given records the only ones of their names and types. In
// a zone of the built-in name server all are set or none.
func (p *Provider) SetRecords(ctx context.Context, zone string, recs []libdns.Record) ([]libdns.Record, error) {
	s, err := p.connect()
	if err != nil || len(recs) == 0 {
		return nil, err
	}
	if err := p.withdrawals.spare(ctx, zone, recs); err != nil {
		return nil, failed(setting.describe(recs, zone), err)
	}
	return s.SetRecords(ctx, zone, recs)
}

// DeleteRecords deletes the records that match one of those given and returns
// them. An empty type, a TTL of zero and empty data match any. What is not there
// is no error.
func (p *Provider) DeleteRecords(ctx context.Context, zone string, recs []libdns.Record) ([]libdns.Record, error) {
	s, err := p.connect()
	if err != nil || len(recs) == 0 {
		return nil, err
	}
	return s.DeleteRecords(ctx, zone, recs)
}

// Times of a withdrawal.
const (
	withdrawTimeout = 5 * time.Second
	withdrawAgain   = 2 * time.Second // an append that is still on its way has arrived by then
)

// withdrawals are the clean-up behind appends that failed: those under way.
type withdrawals struct {
	mu   sync.Mutex
	list []*withdrawal
}

// withdrawal is the deletion of the challenge records of one append.
type withdrawal struct {
	zone  string
	texts []libdns.Record

	turn chan struct{} // holds a value while somebody uses left
	left []libdns.Record
}

// withdraw deletes the challenge records of an append whose outcome is unknown,
// exactly those, because nobody else will: certmagic forgets a record whose append
// failed. Other records stay: they may have been there before, and then were lost.
// It goes on when ctx ends, but its caller waits no longer than that.
func (ws *withdrawals) withdraw(ctx context.Context, s Service, zone string, recs []libdns.Record) {
	w := &withdrawal{zone: zone, turn: make(chan struct{}, 1)}
	for _, rec := range recs {
		if isChallenge(rec) {
			w.texts = append(w.texts, rec)
		}
	}
	if len(w.texts) == 0 {
		return
	}
	w.left = slices.Clone(w.texts)
	ws.mu.Lock()
	ws.list = append(ws.list, w)
	ws.mu.Unlock()
	tried := make(chan struct{})
	w.turn <- struct{}{} // for the first try: nobody else knows it yet
	go func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), withdrawTimeout)
		defer cancel()
		defer ws.end(w)
		done := w.try(ctx, s)
		close(tried)
		if done {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(withdrawAgain):
		}
		// A failure is of no more use to anybody: the caller has the error of the
		// append, and the service lets what is left behind expire.
		w.turn <- struct{}{}
		w.try(ctx, s)
	}()
	select {
	case <-tried:
	case <-ctx.Done():
	}
}

// try deletes what is to be deleted, in its turn, and ends the turn. It tells
// whether all of it was there.
func (w *withdrawal) try(ctx context.Context, s Service) (done bool) {
	defer func() { <-w.turn }()
	if len(w.left) == 0 {
		return true
	}
	deleted, err := s.DeleteRecords(ctx, w.zone, w.left)
	return err == nil && len(deleted) >= len(w.left)
}

// isChallenge reports whether a record answers a DNS-01 challenge: its text is the
// SHA-256 of a key authorization in base64url (RFC 8555 §8.4). The CA makes each of
// them unique, so that nobody can have appended it before.
func isChallenge(rec libdns.Record) bool {
	rr := rec.RR()
	digest, err := base64.RawURLEncoding.DecodeString(rr.Data) // which passes over line breaks
	return strings.EqualFold(rr.Type, "TXT") && err == nil && len(digest) == sha256.Size &&
		len(rr.Data) == base64.RawURLEncoding.EncodedLen(sha256.Size)
}

func (ws *withdrawals) end(w *withdrawal) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	ws.list = slices.DeleteFunc(ws.list, func(other *withdrawal) bool { return other == w })
}

// spare keeps withdrawals from records that are about to be written again, as
// they are where a caller repeats what failed. It waits for a deletion that is
// under way, so that none comes in behind the new record.
func (ws *withdrawals) spare(ctx context.Context, zone string, recs []libdns.Record) error {
	ws.mu.Lock()
	list := slices.Clone(ws.list)
	ws.mu.Unlock()
	for _, w := range list {
		again := func(text libdns.Record) bool {
			return slices.ContainsFunc(recs, func(rec libdns.Record) bool { return sameText(text, w.zone, rec, zone) })
		}
		if !slices.ContainsFunc(w.texts, again) {
			continue
		}
		select {
		case w.turn <- struct{}{}:
		case <-ctx.Done():
			return fmt.Errorf("%w, while waiting for the end of a deletion behind an append that failed before", ctx.Err())
		}
		w.left = slices.DeleteFunc(w.left, again)
		<-w.turn
	}
	return nil
}

// sameText reports whether both records, relative to their zones, have the same
// text at the same name.
func sameText(a libdns.Record, zoneA string, b libdns.Record, zoneB string) bool {
	if a == nil || b == nil {
		return false
	}
	x, y := a.RR(), b.RR()
	return strings.EqualFold(x.Type, y.Type) && x.Data == y.Data &&
		strings.EqualFold(absolute(x.Name, zoneA), absolute(y.Name, zoneB))
}

// absolute returns a name without its final dot. It need not be right with odd
// escapes: it is compared and goes nowhere.
func absolute(name, zone string) string {
	return strings.TrimSuffix(libdns.AbsoluteName(name, strings.TrimSuffix(zone, ".")+"."), ".")
}

// certainlyUnchanged reports whether err says that the zone is as it was.
func certainlyUnchanged(err error) bool {
	var e *Error
	return errors.As(err, &e) && e.Unchanged
}

// remote is a service behind its HTTP API. Each method is one API call.
type remote struct {
	client *api.Client
	// onCNAME is told of each CNAME that has to exist for appended or set records
	// to be found. It may be nil.
	onCNAME func(api.CNAME)
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
	return r.change(ctx, appending, zone, recs)
}

func (r *remote) SetRecords(ctx context.Context, zone string, recs []libdns.Record) ([]libdns.Record, error) {
	return r.change(ctx, setting, zone, recs)
}

func (r *remote) DeleteRecords(ctx context.Context, zone string, recs []libdns.Record) ([]libdns.Record, error) {
	return r.change(ctx, deleting, zone, recs)
}

// action is one of the three kinds of change: a format for what is being done, to
// which records and zone.
type action string

const (
	appending action = "appending %s to zone %q"
	setting   action = "setting %s in zone %q"
	deleting  action = "deleting %s from zone %q"
)

func (r *remote) change(ctx context.Context, act action, zone string, recs []libdns.Record) ([]libdns.Record, error) {
	sent := make([]api.Record, len(recs))
	for i, rec := range recs {
		var err error
		if sent[i], err = api.FromLibdns(rec); err != nil {
			return nil, failed(act.describe(recs, zone), err)
		}
		if act != deleting && sent[i].Type == "TXT" && sent[i].Data == nil {
			sent[i].Data = new("") // to libdns, an empty text is one, except in a delete
		}
	}
	var change api.Change
	switch act {
	case appending:
		change.Append = sent
	case setting:
		change.Set = sent
	case deleting:
		change.Delete = sent
	}
	answer, err := r.client.Change(ctx, zone, change)
	if err != nil {
		return nil, failed(act.describe(recs, zone), err)
	}
	if act != deleting && r.onCNAME != nil {
		for _, cname := range answer.CNAMEs[:min(len(answer.CNAMEs), len(recs))] { // each record has one at most
			r.onCNAME(cname)
		}
	}
	out := make([]libdns.Record, len(answer.Records))
	for i, rec := range answer.Records {
		out[i] = rec.Libdns()
	}
	return out, nil
}

// describe says what is done, for an error.
func (act action) describe(recs []libdns.Record, zone string) string {
	what := "records"
	if recs[0] != nil {
		rr := recs[0].RR()
		what = fmt.Sprintf("%q %s", rr.Name, rr.Type)
	}
	if len(recs) > 1 {
		what += fmt.Sprintf(" and %d more", len(recs)-1)
	}
	return fmt.Sprintf(string(act), what, zone)
}

// failed makes an [*Error] of err, which came up while doing something.
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
