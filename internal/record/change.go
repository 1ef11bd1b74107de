package record

import (
	"fmt"
	"slices"
)

// Op is what a change does with its records.
type Op uint8

// The kinds of change: three as libdns defines them, and that of RFC 2136, which appends and
// deletes.
const (
	Append Op = iota + 1
	Set
	Delete
	Update
)

// String returns the verb.
func (op Op) String() string {
	return [...]string{"none", "append", "set", "delete", "update"}[op]
}

// Change is one change of one zone. It is applied wholly or not at all.
type Change struct {
	Op Op
	// Records are those to append or to set. What they expire at is theirs.
	Records []Record
	// Matches say what to delete.
	Matches []Match
	// Order says of an Update whether the next of Records is appended or what the next of
	// Matches says is deleted: it has an Append or a Delete for each of them.
	Order []Op
	// Prerequisites are what the zone must have for an Update to be made.
	Prerequisites []Prerequisite
	// Client is the number of the client whose change it is, as in [Record].
	Client uint32
	// Limits are what it must keep to.
	Limits Limits
}

// Limits bound what a change may leave at a name, and how much of a zone it may touch.
// Zero is no limit. What is over a limit already may stay and shrink.
type Limits struct {
	// Types is how many RRsets a name may have.
	Types int
	// Records is how many records an RRset may have.
	Records int
	// Bytes is how large the records at a name may be together: 12 bytes and the
	// RDATA of each, as an answer has them.
	Bytes int
	// Touched is how large all that is at the names of one change may be together,
	// with [TouchedRecord] bytes and the RDATA for each record. It bounds the time in
	// which a change is worked out, and what of the store is written anew.
	Touched int
}

// TouchedRecord is what a record counts for [Limits.Touched] beside its RDATA.
const TouchedRecord = 64

// Limit is a limit that a change would exceed.
type Limit string

// The limits of [Limits].
const (
	LimitTypes   Limit = "name-types"
	LimitRecords Limit = "rrset-records"
	LimitBytes   Limit = "name-bytes"
	LimitTouched Limit = "change-bytes"
)

// LimitError is a change that would exceed a limit.
type LimitError struct {
	Limit Limit
	Most  int
	// Reason says what would be over the limit, and what to do.
	Reason string
}

// OverLimit returns a *[LimitError] with a reason.
func OverLimit(limit Limit, most int, format string, args ...any) error {
	return &LimitError{Limit: limit, Most: most, Reason: fmt.Sprintf(format, args...)}
}

// Error says what would be over the limit.
func (e *LimitError) Error() string { return e.Reason }

// Names calls yield for the owner name of each record, match or prerequisite, in order and
// with repetitions.
func (c Change) Names(yield func(Name) bool) {
	for _, r := range c.Records {
		if !yield(r.Name) {
			return
		}
	}
	for _, m := range c.Matches {
		if !yield(m.Name) {
			return
		}
	}
	for _, q := range c.Prerequisites {
		if !yield(q.Name) {
			return
		}
	}
}

// Resolve returns the change with its data parsed as that of the types that there are
// at each name, where a delete gives data without a type (see [ErrUnresolved]).
func (c Change) Resolve(types func(Name) []Type) Change {
	matches := slices.Clone(c.Matches)
	for i, m := range matches {
		if m.untyped() {
			matches[i] = m.Resolve(types(m.Name))
		}
	}
	c.Matches = matches
	return c
}

// Rule is a rule of DNS, or of the zone, that a change would break.
type Rule string

// The rules.
const (
	// RuleCNAME: a CNAME is alone at its name (RFC 1034 §3.6.2, RFC 2181 §10.1).
	RuleCNAME Rule = "cname"
	// RuleSOA: the SOA record is made by the server.
	RuleSOA Rule = "soa"
	// RuleApexNS: the NS records at the apex, and the addresses of name servers
	// within the zone, are made out of the configuration.
	RuleApexNS Rule = "apex-ns"
	// RuleSize: an RRset has to fit a DNS message.
	RuleSize Rule = "rrset-size"
)

// RuleError is a change that breaks a rule.
type RuleError struct {
	Rule Rule
	// Conflict is true when the change would be valid in a zone with other contents.
	Conflict bool
	Name     Name
	Type     Type
	Reason   string
}

// Error names the record and the reason.
func (e *RuleError) Error() string {
	return fmt.Sprintf("%s at %q: %s", e.Type, e.Name, e.Reason)
}

// Zone is what [Plan] has to know of a zone.
type Zone interface {
	// At returns all records at a name, the made ones included. Plan does not
	// change what it is given.
	At(Name) []Record
	// Made reports whether an RRset is made by the server (SOA, the NS records and
	// server addresses of the configuration) and so out of a change's reach.
	Made(Name, Type) bool
}

// Effect is what a change does.
type Effect struct {
	// Nodes are the names whose records differ afterwards, in no order.
	Nodes []Node
	// Answer are the records that were appended, set or deleted, as libdns
	// defines each: what an append found there already is in it, what a delete
	// did not find is not.
	Answer []Record
}

// Node is a name with all records at it.
type Node struct {
	Name    Name
	Records []Record
}
