package hosting

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/miekg/dns"
	"go.uber.org/zap"

	"github.com/caddy-dns/bestdns/internal/api"
	"github.com/caddy-dns/bestdns/internal/nsquery"
	"github.com/caddy-dns/bestdns/internal/record"
	"github.com/caddy-dns/bestdns/internal/text"
)

// This file is what is made of the answers of name servers.

func someLag(outcomes []nsquery.Outcome) bool {
	return slices.ContainsFunc(outcomes, func(o nsquery.Outcome) bool { return o.State == nsquery.Lags })
}

// isNowhere reports whether there are servers that answer, and none of them has the change.
func isNowhere(outcomes []nsquery.Outcome) bool {
	return someLag(outcomes) &&
		!slices.ContainsFunc(outcomes, func(o nsquery.Outcome) bool { return o.State == nsquery.Serves })
}

// neverServed returns why no server will serve a change, if each of those that answer says the
// same: a CNAME or a delegation is in the way. Servers and providers accept such records, and
// tell no one.
func neverServed(zone record.Name, outcomes []nsquery.Outcome) (q nsquery.Question, why string) {
	for _, o := range outcomes {
		if o.State == nsquery.Silent {
			continue
		}
		this := inTheWay(zone, o.Last)
		if o.State == nsquery.Serves || this == "" || why != "" && (why != this || q != o.Last.Question) {
			return q, ""
		}
		q, why = o.Last.Question, this
	}
	return q, why
}

// inTheWay says what keeps an RRset of a zone from being served, by an answer without it; "" if
// nothing does, or that cannot be told. A delegation has NS records and addresses of its own, and an
// old CNAME may only be late to go.
func inTheWay(zone record.Name, a nsquery.Answer) string {
	cut, target := a.Referral(), a.CNAME()
	switch typ := a.Question.Type; {
	case a.Failed(), typ == dns.TypeCNAME:
	case cut != "" && cut != zone && cut.In(zone) && typ != dns.TypeNS && typ != dns.TypeA && typ != dns.TypeAAAA:
		return fmt.Sprintf("it is below %q, which is delegated to other name servers", cut)
	case target != "":
		return fmt.Sprintf("there is a CNAME record to %q, beside which there can be no other records", target)
	}
	return ""
}

// mend appends what a zone's DNS provider does not have any more once again: some read what is
// there, merge and write, and lose what another copy of this service wrote in between.
func (s *Service) mend(ctx context.Context, who Caller, made *Result) {
	if !made.change.OnlyAppends() {
		return
	}
	lost, err := s.lost(ctx, made)
	if err != nil || len(lost) == 0 {
		return // then the servers lag
	}
	started := time.Now()
	again := record.Change{Op: record.Append, Records: lost}
	_, err = s.changeRemembered(ctx, made.zone, who.bound(), again)
	var failure *Error
	if err != nil {
		failure = AsError(err, made.zone.Apex)
	}
	s.note(who, made.zone, ChangeSeen{Zone: made.zone.Apex.String(), Op: "append again", Records: namesOf(&Change{Change: again})}, time.Since(started), failure)
}

// lost returns the records of a change that are not in its zone.
func (s *Service) lost(ctx context.Context, made *Result) (lost []record.Record, err error) {
	ctx, cancel := context.WithTimeout(ctx, ChangeTimeout)
	defer cancel()
	names := make(map[record.Name]bool)
	for _, r := range made.change.Records {
		names[r.Name] = true
	}
	found, err := made.zone.backend.list(ctx, "", selection{under: made.zone.Apex, visible: func(owner record.Name) bool { return names[owner] }})
	if err != nil {
		return nil, err
	}
	there := make(map[record.Record]bool)
	var records []record.Record
	for e := range found {
		if r, err := record.At(e.Owner, e.Type, 0, e.Data); err == nil && !there[r] {
			there[r] = true
			records = append(records, r)
		}
	}
	for _, r := range made.change.Records {
		if !slices.ContainsFunc(records, r.Same) {
			lost = append(lost, r)
		}
	}
	return lost, nil
}

// notServed returns the error of an append of which no name server will serve an RRset, and takes the
// records of that back. Others stay: they may have been there before.
func (s *Service) notServed(ctx context.Context, who Caller, made *Result, q nsquery.Question, why string) error {
	failure := Errorf(api.Conflict, "zone %q accepts the record at %q, and no name server serves it: %s", made.zone.Apex, q.Name, why)
	failure.Unchanged = false
	if made.before {
		return failure
	}
	var matches []record.Match
	for _, r := range made.change.Records {
		if r.Name == q.Name && uint16(r.Type) == q.Type {
			matches = append(matches, record.MatchOf(r))
		}
	}
	_, err := s.changeRemembered(context.WithoutCancel(ctx), made.zone, who.bound(), record.Change{Op: record.Delete, Matches: matches})
	failure.Unchanged = err == nil && len(matches) == len(made.change.Records)
	s.note(who, made.zone, ChangeSeen{Zone: made.zone.Apex.String(), Op: "undo", Records: namesOf(&Change{Change: made.change})}, 0, failure)
	return failure
}

// pendingOf returns the servers that answer without the change, and those that do not answer. An
// address to which this machine has no route is left out where the server has another one.
func pendingOf(outcomes []nsquery.Outcome) (pending, silent []string) {
	reached := make(map[record.Name]bool)
	for _, o := range outcomes {
		reached[o.Server.Name] = reached[o.Server.Name] || o.State == nsquery.Serves
	}
	for _, o := range outcomes {
		switch {
		case o.State == nsquery.Lags:
			pending = append(pending, nameOfServer(o.Server))
		case o.State == nsquery.Silent && !(o.Unreachable && o.Server.Name != "" && reached[o.Server.Name]):
			silent = append(silent, nameOfServer(o.Server))
		}
	}
	return pending, silent
}

func namesOfServers(servers []nsquery.Server) (names []string) {
	for _, s := range servers {
		names = append(names, nameOfServer(s))
	}
	return names
}

// nameOfServer returns how a server is named to people.
func nameOfServer(s nsquery.Server) string {
	switch {
	case s.Name == "":
		return nsquery.AddressText(s.Address)
	case !s.Address.IsValid():
		return s.Name.Plain()
	}
	return s.Name.Plain() + " " + nsquery.AddressText(s.Address)
}

// noteWait counts how a change was answered, and tells the log about servers that lag.
func (s *Service) noteWait(zone *Zone, made *Result) {
	took := time.Since(made.ended)
	end := WaitServed
	switch {
	case made.unknown:
		end = WaitUnknown
	case len(made.Pending) > 0:
		end = WaitPending
	case len(made.Silent) > 0:
		end = WaitSilent
	}
	s.config.Activity.wait(zone, end, took)
	if len(made.Pending) == 0 && len(made.Silent) == 0 || !s.watch.isNews(zone.Apex) {
		return
	}
	s.config.Logger.Warn("some name servers of a zone do not serve a change yet",
		zap.String("zone", zone.Apex.String()), zap.Duration("after", took),
		zap.Strings("pending", visible(made.Pending)), zap.Strings("silent", visible(made.Silent)))
}

func (w *watch) isNews(zone record.Name) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if time.Since(w.noticed[zone]) < lagNotice {
		return false
	}
	w.noticed[zone] = time.Now()
	return true
}

func visible(texts []string) (shown []string) {
	for _, t := range texts {
		shown = append(shown, text.Brief(t, text.MaxName))
	}
	return shown
}
