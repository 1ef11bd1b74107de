package hosting

import (
	"time"

	"go.uber.org/zap"

	"github.com/caddy-dns/bestdns/internal/text"
)

// Unread writes the audit line of a change that could not be read, unless its error is
// quiet.
func (s *Service) Unread(who Caller, zone string, err error) {
	failure := AsError(err, "")
	if failure.Quiet {
		return
	}
	s.note(who, nil, ChangeSeen{Zone: text.Brief(zone, text.MaxName), Op: "unread", Records: []string{}}, 0, failure)
}

// note writes the audit line of what was tried in a zone, nil for one that is not hosted, and
// remembers it. Of c it needs zone, operation, records and serial. failure is nil if it was done.
func (s *Service) note(who Caller, zone *Zone, c ChangeSeen, took time.Duration, failure *Error) {
	verdict := verdictOf(failure)
	c.Time, c.RequestID, c.Client, c.Address, c.Outcome = time.Now(), who.RequestID, who.name(), who.Address, verdict.String()
	c.Protocol = who.Protocol
	if failure != nil {
		c.Reason = failure.Detail
	}
	s.config.Activity.change(zone, c, verdict, took)
	const most = 12 // fields of a line
	fields := append(make([]zap.Field, 0, most),
		zap.String("request_id", c.RequestID),
		zap.String("client", text.Visible(c.Client)),
		zap.String("remote_ip", c.Address),
		zap.String("protocol", c.Protocol),
		zap.String("zone", c.Zone),
		zap.String("op", c.Op),
		zap.Strings("records", c.Records),
		zap.Duration("duration", took),
	)
	audit := s.config.Audit
	if failure == nil {
		audit.Info(c.Outcome, append(fields, zap.Uint32("serial", c.Serial))...)
		return
	}
	fields = append(fields, zap.Int("status", failure.Status), zap.String("reason", failure.Detail), zap.Bool("unchanged", failure.Unchanged))
	if verdict == Refused {
		audit.Info(c.Outcome, fields...)
		return
	}
	audit.Error(c.Outcome, append(fields, CauseField(failure.Cause))...)
}

// namesOf names some records of a change by type and the owner that the caller asked for.
func namesOf(c *Change) []string {
	const most = 20
	var rest []string
	if c.Invalid != nil {
		rest = c.Invalid.Rest
	}
	names := make([]string, 0, min(len(c.Records)+len(c.Matches)+len(rest), most+1))
	add := func(name string) { names = append(names, text.Brief(name, text.MaxName)) }
	for _, r := range c.Records[:min(len(c.Records), most+1)] {
		add(r.Name.String() + " " + r.Type.String())
	}
	for _, m := range c.Matches[:min(len(c.Matches), most+1)] {
		typ := ""
		if m.Type != 0 {
			typ = m.Type.String()
		}
		add(m.Name.String() + " " + typ)
	}
	for _, name := range rest {
		add(name)
	}
	if len(names) > most {
		names = append(names[:most], "…")
	}
	return names
}
