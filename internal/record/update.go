package record

import (
	"errors"
	"fmt"
	"slices"

	"github.com/miekg/dns"
)

// This file is what an Update does beside appending and deleting (RFC 2136 §3).

// Prerequisite is what a zone must have for an Update to be made (RFC 2136 §2.4).
type Prerequisite struct {
	Name Name
	// Type is that of an RRset; zero is about the name, which is in use if there is any record.
	Type Type
	// Exists is whether the RRset exists, or the name is in use.
	Exists bool
	// Data is all that the RRset has, if it matters; nil: anything.
	Data []string
}

// PrerequisiteError is a prerequisite that is not met.
type PrerequisiteError struct{ Prerequisite }

// Error says what is not as it was to be.
func (e *PrerequisiteError) Error() string {
	what := "records"
	if e.Type != 0 {
		what = e.Type.String() + " records"
	}
	switch {
	case e.Data != nil:
		return fmt.Sprintf("the prerequisite of the update is not met: the %s at %q are others", what, e.Name)
	case e.Exists:
		return fmt.Sprintf("the prerequisite of the update is not met: there are no %s at %q", what, e.Name)
	}
	return fmt.Sprintf("the prerequisite of the update is not met: there are %s at %q", what, e.Name)
}

// Rcode returns the RCODE that says that the prerequisite is not met.
func (q Prerequisite) Rcode() int {
	switch {
	case q.Type == 0 && q.Exists:
		return dns.RcodeNameError
	case q.Type == 0:
		return dns.RcodeYXDomain
	case q.Exists:
		return dns.RcodeNXRrset
	}
	return dns.RcodeYXRrset
}

// isMet reports whether a prerequisite is met by the records at its name.
func (q Prerequisite) isMet(at []Record) bool {
	if q.Type == 0 {
		return len(at) > 0 == q.Exists
	}
	var have []string
	for _, r := range at {
		if r.Type == q.Type {
			have = append(have, comparableData(r.Type, r.Data))
		}
	}
	if len(have) > 0 != q.Exists {
		return false
	}
	if q.Data == nil {
		return true
	}
	var want []string
	for _, data := range q.Data {
		want = append(want, comparableData(q.Type, data))
	}
	slices.Sort(have)
	slices.Sort(want)
	return slices.Equal(have, slices.Compact(want))
}

// errOrder is an Update whose Order does not fit what it has.
var errOrder = errors.New("the order of an update does not fit its records and matches")

func (p *plan) update(change Change) error {
	for _, q := range change.Prerequisites {
		at := p.zone.At(q.Name)
		if err := p.touch(at); err != nil {
			return err
		}
		if !q.isMet(at) {
			return &PrerequisiteError{q}
		}
	}
	p.setsTTL = true
	return change.steps(p.append, func(matches []Match) error { return p.delete(matches, change.Client) })
}

// steps calls append and delete for what follows each other of a kind.
func (c Change) steps(append func([]Record) error, delete func([]Match) error) error {
	records, matches := c.Records, c.Matches
	for order := c.Order; len(order) > 0; {
		op, n := order[0], 1
		for n < len(order) && order[n] == op {
			n++
		}
		order = order[n:]
		var err error
		switch {
		case op == Append && n <= len(records):
			err = append(records[:n])
			records = records[n:]
		case op == Delete && n <= len(matches):
			err = delete(matches[:n])
			matches = matches[n:]
		default:
			err = errOrder
		}
		if err != nil {
			return err
		}
	}
	if len(records)+len(matches) > 0 {
		return errOrder
	}
	return nil
}

// OnlyAppends reports whether a change does nothing but append.
func (c Change) OnlyAppends() bool {
	return c.Op == Append || c.Op == Update && len(c.Matches)+len(c.Prerequisites) == 0
}

// OnlyDeletes reports whether a change does nothing but delete.
func (c Change) OnlyDeletes() bool {
	return c.Op == Delete || c.Op == Update && len(c.Records)+len(c.Prerequisites) == 0
}

// Left returns the records that a change has appended or set, without those that it has then
// deleted again.
func (c Change) Left() []Record {
	if c.Op != Update || len(c.Matches) == 0 {
		return c.Records
	}
	var left []Record
	_ = c.steps(func(records []Record) error {
		left = append(left, records...)
		return nil
	}, func(matches []Match) error {
		matcher := NewMatcher(matches)
		left = slices.DeleteFunc(left, func(r Record) bool {
			return matcher.First(r) >= 0 || slices.ContainsFunc(matches, func(m Match) bool { return m.Own && m.Matches(r) })
		})
		return nil
	})
	return left
}
