package record

import (
	"errors"
	"fmt"
	"slices"
)

// Op is what a change does with its records.
type Op uint8

// The three kinds of change, as libdns defines them.
const (
	Append Op = iota + 1
	Set
	Delete
)

// String returns the verb.
func (op Op) String() string {
	return [...]string{"none", "append", "set", "delete"}[op]
}

// Change is one change of one zone. It is applied wholly or not at all.
type Change struct {
	Op Op
	// Records are those to append or to set. What they expire at is theirs.
	Records []Record
	// Matches say what to delete.
	Matches []Match
}

// Names calls yield for the owner name of each record or match, in order and
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
}

// Rule is a rule of DNS, or of the zone, that a change would break.
type Rule string

// The rules.
const (
	// RuleCNAME: a CNAME stands alone at its name (RFC 1034 §3.6.2, RFC 2181 §10.1).
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
	// Made tells whether an RRset is made by the server (SOA, the NS records and
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

// Plan works out what a change does to a zone, without doing it, or which rule
// it breaks.
func Plan(zone Zone, change Change) (Effect, error) {
	e, err := planIn(zone, change)
	if broken := (*RuleError)(nil); errors.As(err, &broken) && broken.Conflict {
		_, alone := planIn(bareZone{zone}, change)
		broken.Conflict = alone == nil
	}
	return e, err
}

// bareZone is a zone with nothing in it but what the server makes.
type bareZone struct{ Zone }

func (z bareZone) At(name Name) []Record {
	return slices.DeleteFunc(slices.Clone(z.Zone.At(name)), func(r Record) bool { return !z.Made(r.Name, r.Type) })
}

func planIn(zone Zone, change Change) (Effect, error) {
	p := plan{zone: zone}
	var err error
	switch change.Op {
	case Append:
		err = p.append(change.Records)
	case Set:
		err = p.set(change.Records)
	case Delete:
		err = p.delete(change.Matches)
	default:
		return Effect{}, fmt.Errorf("unknown kind of change %d", change.Op)
	}
	if err != nil {
		return Effect{}, err
	}
	return p.effect()
}

// plan is a change in the making: the names touched so far, and their records.
type plan struct {
	zone   Zone
	nodes  []*node
	byName map[Name]*node // only with more than a few names
	answer []Record
}

type node struct {
	Node
	before  []Record // as the zone has them
	changed bool
	owned   bool // Records is our own copy
}

// at returns the node of a name, as changed so far.
func (p *plan) at(name Name) *node {
	const few = 8
	if p.byName == nil {
		for _, n := range p.nodes {
			if n.Name == name {
				return n
			}
		}
		if len(p.nodes) >= few {
			p.byName = make(map[Name]*node, 2*few)
			for _, n := range p.nodes {
				p.byName[n.Name] = n
			}
		}
	} else if n := p.byName[name]; n != nil {
		return n
	}
	before := p.zone.At(name)
	n := &node{Node: Node{Name: name, Records: before}, before: before}
	p.nodes = append(p.nodes, n)
	if p.byName != nil {
		p.byName[name] = n
	}
	return n
}

// own makes the node's records safe to change.
func (n *node) own(room int) {
	if !n.owned {
		n.Records = append(make([]Record, 0, len(n.Records)+room), n.Records...)
		n.owned = true
	}
	n.changed = true
}

func (p *plan) append(records []Record) error {
	for _, r := range records {
		if err := p.writable(r); err != nil {
			return err
		}
		n := p.at(r.Name)
		if i := n.find(r); i >= 0 {
			if renewed := laterExpiry(n.Records[i].Expires, r.Expires); renewed != n.Records[i].Expires {
				n.own(0)
				n.Records[i].Expires = renewed
			}
			p.answer = append(p.answer, n.Records[i])
			continue
		}
		n.own(1)
		n.Records = append(n.Records, r)
		p.answer = append(p.answer, r)
	}
	return nil
}

func (n *node) find(r Record) int {
	for i := range n.Records {
		if n.Records[i].Same(r) {
			return i
		}
	}
	return -1
}

// laterExpiry merges the expiry of a record with that of its repetition: the
// later one, where never (zero) is the latest.
func laterExpiry(a, b int64) int64 {
	if a == 0 || b == 0 {
		return 0
	}
	return max(a, b)
}

func (p *plan) set(records []Record) error {
	type rrset struct {
		name Name
		typ  Type
	}
	cleared := make(map[rrset]bool, len(records))
	for _, r := range records {
		if err := p.writable(r); err != nil {
			return err
		}
		n := p.at(r.Name)
		if key := (rrset{r.Name, r.Type}); !cleared[key] {
			cleared[key] = true
			n.remove(func(old Record) bool { return old.Type == r.Type })
		}
		if i := n.find(r); i >= 0 { // given twice
			continue
		}
		n.own(1)
		n.Records = append(n.Records, r)
		p.answer = append(p.answer, r)
	}
	return nil
}

func (p *plan) delete(matches []Match) error {
	for _, m := range matches {
		if m.Type == TypeSOA || m.Type != 0 && p.zone.Made(m.Name, m.Type) {
			return p.madeError(m.Name, m.Type)
		}
		n := p.at(m.Name)
		n.remove(func(r Record) bool {
			if !m.Matches(r) || p.zone.Made(r.Name, r.Type) {
				return false
			}
			p.answer = append(p.answer, r)
			return true
		})
	}
	return nil
}

// remove takes the records out for which gone says so.
func (n *node) remove(gone func(Record) bool) {
	kept := make([]Record, 0, len(n.Records))
	for _, r := range n.Records {
		if !gone(r) {
			kept = append(kept, r)
		}
	}
	if len(kept) != len(n.Records) {
		n.Records, n.owned, n.changed = kept, true, true
	}
}

// writable refuses records that the server makes itself.
func (p *plan) writable(r Record) error {
	if r.Type == TypeSOA || p.zone.Made(r.Name, r.Type) {
		return p.madeError(r.Name, r.Type)
	}
	return nil
}

func (p *plan) madeError(name Name, t Type) error {
	if t == TypeSOA {
		return SOAError(name)
	}
	return &RuleError{
		Rule: RuleApexNS, Name: name, Type: t,
		Reason: "this RRset is made out of the zone's configuration; change its ns lines there",
	}
}

// SOAError is what a change of an SOA record by hand gets.
func SOAError(name Name) *RuleError {
	return &RuleError{
		Rule: RuleSOA, Name: name, Type: TypeSOA,
		Reason: "the SOA record is made by the server and raised at each change",
	}
}

// effect checks the rules over what the change leaves behind, so that one change
// can replace a CNAME by other data.
func (p *plan) effect() (Effect, error) {
	e := Effect{Answer: p.answer}
	for _, n := range p.nodes {
		if !n.changed || n.isAsBefore() {
			continue
		}
		if err := checkNode(n.Node); err != nil {
			return Effect{}, err
		}
		e.Nodes = append(e.Nodes, n.Node)
	}
	return e, nil
}

// isAsBefore tells whether a set has put back the very records that it took out.
// Their order has no meaning.
func (n *node) isAsBefore() bool {
	if len(n.Records) != len(n.before) {
		return false
	}
	before := make(map[Record]struct{}, len(n.before))
	for _, r := range n.before {
		before[r] = struct{}{}
	}
	for _, r := range n.Records {
		if _, ok := before[r]; !ok {
			return false
		}
	}
	return true
}

func checkNode(n Node) error {
	cnames := 0
	for i := range n.Records {
		if n.Records[i].Type == TypeCNAME {
			cnames++
		}
	}
	if cnames > 1 {
		return &RuleError{
			Rule: RuleCNAME, Conflict: true, Name: n.Name, Type: TypeCNAME,
			Reason: "there would be two of them, and a name has one at most; to replace one, set it",
		}
	}
	if cnames == 1 && len(n.Records) > 1 {
		return &RuleError{
			Rule: RuleCNAME, Conflict: true, Name: n.Name, Type: TypeCNAME,
			Reason: "a CNAME stands alone at its name; delete the CNAME or the other records first",
		}
	}
	return checkSize(n)
}

// checkSize refuses an RRset that no answer could carry: header, question, OPT
// record, and each record with a compressed owner, in 65,535 octets (RFC 1035 §4.2.2).
func checkSize(n Node) error {
	fixed := 12 + len(n.Name) + 4 + 11
	for i := range n.Records {
		size := fixed
		for j := range n.Records {
			if n.Records[j].Type == n.Records[i].Type {
				if j < i {
					size = 0 // counted when the first of its type came by
					break
				}
				size += 12 + len(n.Records[j].Data)
			}
		}
		if size > 65535 {
			return &RuleError{
				Rule: RuleSize, Conflict: true, Name: n.Name, Type: n.Records[i].Type,
				Reason: fmt.Sprintf("the RRset would need an answer of %d octets, and a DNS message has 65,535 at most", size),
			}
		}
	}
	return nil
}
