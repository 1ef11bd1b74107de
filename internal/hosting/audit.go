package hosting

import (
	"time"

	"go.uber.org/zap"

	"github.com/caddy-dns/bestdns/internal/text"
)

// attempt is a change in the words of the audit log, which has no data of records.
type attempt struct {
	zone    string
	op      string
	records []string // owner and type of some of them
	serial  uint32   // zero: not known
}

// Unread writes the audit line of a change that could not be read, unless its error is
// quiet.
func (s *Service) Unread(who Caller, zone string, err error) {
	failure := AsError(err, "")
	if failure.Quiet {
		return
	}
	s.note(who, nil, attempt{zone: text.Brief(zone, text.MaxName), op: "unread", records: []string{}}, 0, failure)
}

// note writes the audit line of what was tried in a zone, nil for one that is not hosted, and
// remembers it. failure is nil if it was done.
func (s *Service) note(who Caller, zone *Zone, a attempt, took time.Duration, failure *Error) {
	c := ChangeSeen{
		Time: time.Now(), RequestID: who.RequestID, Client: who.name(), Address: who.Address,
		Zone: a.zone, Op: a.op, Records: a.records, Serial: a.serial,
	}
	if failure != nil {
		c.Reason = failure.Detail
	}
	s.config.Activity.change(zone, c, verdictOf(failure), took)
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
	audit := s.config.Audit
	if failure == nil {
		audit.Info("changed", append(fields, zap.Uint32("serial", c.Serial))...)
		return
	}
	fields = append(fields, zap.Int("status", failure.Kind.Status), zap.String("reason", failure.Detail), zap.Bool("unchanged", failure.Unchanged))
	if !failure.isFailure() {
		audit.Info("refused", fields...)
		return
	}
	audit.Error("failed", append(fields, CauseField(failure.Cause))...)
}

// namesOf names the records of a change by owner and type, as the caller named them.
func namesOf(c *Change) []string {
	const most = 20
	n := len(c.Records) + len(c.Matches)
	var rest []string
	if c.Invalid != nil {
		rest = c.Invalid.Rest
	}
	names := make([]string, 0, min(n+len(rest), most+1))
	add := func(name string) (more bool) {
		if len(names) == most {
			names = append(names, "…")
			return false
		}
		names = append(names, text.Brief(name, text.MaxName))
		return true
	}
	for i := range c.Records {
		if !add(c.Records[i].Name.String() + " " + c.Records[i].Type.String()) {
			return names
		}
	}
	for _, m := range c.Matches {
		typ := ""
		if m.Type != 0 {
			typ = m.Type.String()
		}
		if !add(m.Name.String() + " " + typ) {
			return names
		}
	}
	for _, name := range rest {
		if !add(name) {
			return names
		}
	}
	return names
}
