package protocol

import (
	"errors"
	"fmt"

	"github.com/miekg/dns"

	"github.com/caddy-dns/bestdns/internal/api"
	"github.com/caddy-dns/bestdns/internal/fair"
	"github.com/caddy-dns/bestdns/internal/hosting"
	"github.com/caddy-dns/bestdns/internal/record"
)

// This file is dynamic updates (RFC 2136): what a message wants, and with which RCODE it is answered.

// UpdateError is a message that is not an update which can be made, with the RCODE that says why.
type UpdateError struct {
	Rcode int
	Err   error
}

// Error says what is wrong.
func (e *UpdateError) Error() string { return e.Err.Error() }

// Unwrap returns the reason.
func (e *UpdateError) Unwrap() error { return e.Err }

func updateError(rcode int, format string, args ...any) error {
	return &UpdateError{rcode, fmt.Errorf(format, args...)}
}

// ReadUpdate reads an update out of a message (RFC 2136 §2). What is invalid in its records is in the
// change; the error, an *[UpdateError], is about the message.
func ReadUpdate(message []byte) (hosting.Change, error) {
	if hasCompressedHIP(message) {
		return hosting.Change{}, updateError(dns.RcodeFormatError, "the names of a HIP record are compressed, which they must not be (RFC 8005 section 5)")
	}
	var m dns.Msg
	if err := m.Unpack(message); err != nil {
		return hosting.Change{}, updateError(dns.RcodeFormatError, "the message cannot be read: %w", err)
	}
	if len(m.Question) != 1 || m.Question[0].Qtype != dns.TypeSOA || m.Question[0].Qclass != dns.ClassINET {
		return hosting.Change{}, updateError(dns.RcodeFormatError, "an update is about one zone, of class IN")
	}
	zone, err := record.NameFromLibrary(m.Question[0].Name)
	if err != nil {
		return hosting.Change{}, updateError(dns.RcodeFormatError, "the zone's name cannot be read: %w", err)
	}
	if n := len(m.Answer) + len(m.Ns); n > api.MaxRecords {
		return hosting.Change{}, updateError(dns.RcodeRefused, "%d prerequisites and updates in one message, and %d are the most: send fewer at once", n, api.MaxRecords)
	}
	c := hosting.Change{Zone: zone}
	c.Op = record.Update
	u := updateReader{change: &c}
	for _, rr := range m.Answer {
		if err := u.addPrerequisite(rr); err != nil {
			return hosting.Change{}, err
		}
	}
	for i, rr := range m.Ns {
		u.breather.Breathe()
		header := *rr.Header()
		if err := u.add(rr); err != nil {
			*rr.Header() = header // which reading the record has changed
			var of *UpdateError
			if errors.As(err, &of) {
				return hosting.Change{}, err
			}
			c.Invalid = u.invalid(rr, m.Ns[i:], err)
			break
		}
	}
	return c, nil
}

// updateReader reads the sections of a message.
type updateReader struct {
	change   *hosting.Change
	breather fair.Breather
}

// owner returns the owner name of a record of the message.
func (u *updateReader) owner(rr dns.RR) (record.Name, error) {
	owner, err := record.NameFromLibrary(rr.Header().Name)
	switch {
	case err != nil:
		return "", updateError(dns.RcodeFormatError, "a name cannot be read: %w", err)
	case !owner.In(u.change.Zone):
		return "", updateError(dns.RcodeNotZone, "%q is not in the zone %q of the update", owner, u.change.Zone)
	}
	return owner, nil
}

// addPrerequisite adds a prerequisite (RFC 2136 §2.4, §3.2.5).
func (u *updateReader) addPrerequisite(rr dns.RR) error {
	h := *rr.Header()
	owner, err := u.owner(rr)
	if err != nil {
		return err
	}
	q := record.Prerequisite{Name: owner, Type: record.Type(h.Rrtype), Exists: h.Class != dns.ClassNONE}
	if h.Rrtype == dns.TypeANY {
		q.Type = 0
	}
	switch valueless := h.Rdlength == 0; {
	case isNoType(h.Rrtype), h.Ttl != 0, (h.Class == dns.ClassANY || h.Class == dns.ClassNONE) && !valueless, h.Class == dns.ClassINET && q.Type == 0:
		return updateError(dns.RcodeFormatError, "the prerequisite about %q has none of the forms of RFC 2136 section 2.4", owner)
	case h.Class == dns.ClassANY, h.Class == dns.ClassNONE:
		u.change.Prerequisites = append(u.change.Prerequisites, q)
		return nil
	case h.Class != dns.ClassINET:
		return updateError(dns.RcodeFormatError, "the prerequisite about %q has another class than the zone", owner)
	}
	r, err := record.FromRR(rr)
	if err != nil {
		return updateError(dns.RcodeFormatError, "a prerequisite: %w", err)
	}
	// Those of one RRset together are one.
	for i := range u.change.Prerequisites {
		if p := &u.change.Prerequisites[i]; p.Name == q.Name && p.Type == q.Type && p.Data != nil {
			p.Data = append(p.Data, r.Data)
			return nil
		}
	}
	q.Data = []string{r.Data}
	u.change.Prerequisites = append(u.change.Prerequisites, q)
	return nil
}

// add adds an update (RFC 2136 §2.5, §3.4.1).
func (u *updateReader) add(rr dns.RR) error {
	h := rr.Header()
	owner, err := u.owner(rr)
	if err != nil {
		return err
	}
	c := u.change
	switch {
	case isNoType(h.Rrtype), h.Class == dns.ClassINET && h.Rrtype == dns.TypeANY:
		return updateError(dns.RcodeFormatError, "no record at %q has the type %s", owner, record.Type(h.Rrtype))
	case h.Class == dns.ClassINET:
		r, err := record.WrittenFromRR(rr)
		if err != nil {
			return err
		}
		c.Order, c.Records = append(c.Order, record.Append), append(c.Records, r)
		return nil
	case h.Ttl != 0, h.Class == dns.ClassANY && h.Rdlength != 0, h.Class == dns.ClassNONE && h.Rrtype == dns.TypeANY, h.Class != dns.ClassANY && h.Class != dns.ClassNONE:
		return updateError(dns.RcodeFormatError, "what is to be done at %q has none of the forms of RFC 2136 section 2.5", owner)
	case h.Class == dns.ClassANY:
		m := record.Match{Name: owner, Type: record.Type(h.Rrtype)}
		if h.Rrtype == dns.TypeANY {
			m.Type = 0
		}
		c.Order, c.Matches = append(c.Order, record.Delete), append(c.Matches, m)
		return nil
	}
	h.Class = dns.ClassINET
	r, err := record.FromRR(rr)
	if err != nil {
		return err
	}
	m := record.MatchOf(r)
	m.TTL = nil // RFC 2136 §2.5.4 has none
	c.Order, c.Matches = append(c.Order, record.Delete), append(c.Matches, m)
	return nil
}

// isNoType reports whether a type is one that no record of a zone has (RFC 2136 §3.4.1, RFC 6895 §3.1), and
// not ANY, which updates have for all types.
func isNoType(t uint16) bool {
	return t == 0 || t == dns.TypeOPT || 128 <= t && t < dns.TypeANY
}

// invalid describes a record that could not be read.
func (u *updateReader) invalid(rr dns.RR, rest []dns.RR, err error) *hosting.Invalid {
	owner, _ := record.NameFromLibrary(rr.Header().Name)
	bad := &hosting.Invalid{Owner: owner, Type: record.Type(rr.Header().Rrtype), Err: hosting.Errorf(api.InvalidRecord, "%w", err)}
	for _, rr := range rest[:min(len(rest), mostNamed)] {
		bad.Rest = append(bad.Rest, nameOf(rr.Header().Name, record.Type(rr.Header().Rrtype).String()))
	}
	return bad
}

// UpdateRcode returns the RCODE of the answer to an update by what came of it, nil if it was made.
func UpdateRcode(err error) int {
	var of *UpdateError
	var notMet *record.PrerequisiteError
	switch {
	case err == nil:
		return dns.RcodeSuccess
	case errors.As(err, &of):
		return of.Rcode
	case errors.As(err, &notMet):
		return notMet.Rcode()
	}
	switch e := hosting.AsError(err, ""); {
	case e.Kind() == api.ZoneNotFound:
		return dns.RcodeNotAuth
	case e.Status >= 500:
		return dns.RcodeServerFailure
	}
	return dns.RcodeRefused
}
