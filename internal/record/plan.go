package record

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
)

// This file works out what a change does. It runs where all changes wait for each
// other, so the time that it takes is linear in the size of the change and of what is
// at its names, which [Limits] bound, and it parses nothing.

// ErrUnresolved is a delete with data and without a type, of which too much would have
// to be parsed: [Change.Resolve] does that beforehand.
var ErrUnresolved = errors.New("data without a type has not been parsed for the types that are there")

// mostParses is how much data without a type Plan parses by itself.
const mostParses = 32

// Plan works out what a change does to a zone, without doing it, or which rule it
// breaks (a *[RuleError]) or limit it exceeds (a *[LimitError]).
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
	p := plan{zone: zone, limits: change.Limits}
	var err error
	switch change.Op {
	case Append:
		err = p.append(change.Records)
	case Set:
		err = p.set(change.Records)
	case Delete:
		err = p.delete(change.Matches, change.Client)
	case Update:
		err = p.update(change)
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
	zone    Zone
	limits  Limits
	touched int  // as Limits.Touched counts
	deletes int  // that were worked out
	setsTTL bool // of records that are there and appended again (RFC 2136 §3.4.2.2)
	nodes   []*planNode
	byName  map[Name]*planNode // only with more than a few names
	answer  []Record

	now, before measure // of the name that is being checked
}

// planNode is a name that a change touches.
type planNode struct {
	Node
	before  []Record // as the zone has them
	changed bool
	owned   bool // Records is our own copy
	deletes int  // the number of the last one that was about it

	searches int
	// index has where in Records each is, once there were many searches.
	index map[memberKey]int
	// cleared are the types that a set has replaced.
	cleared map[Type]bool
}

// memberKey is what tells a record from the others at its name.
type memberKey struct {
	typ  Type
	data string // comparable
}

func (r *Record) memberKey() memberKey { return memberKey{r.Type, comparableData(r.Type, r.Data)} }

// at returns the node of a name, as changed so far.
func (p *plan) at(name Name) (*planNode, error) {
	const few = 8
	if p.byName == nil {
		for _, n := range p.nodes {
			if n.Name == name {
				return n, nil
			}
		}
		if len(p.nodes) >= few {
			p.byName = make(map[Name]*planNode, 2*few)
			for _, n := range p.nodes {
				p.byName[n.Name] = n
			}
		}
	} else if n := p.byName[name]; n != nil {
		return n, nil
	}
	before := p.zone.At(name)
	if err := p.touch(before); err != nil {
		return nil, err
	}
	n := &planNode{Node: Node{Name: name, Records: before}, before: before}
	p.nodes = append(p.nodes, n)
	if p.byName != nil {
		p.byName[name] = n
	}
	return n, nil
}

// touch counts what is at a name of the change.
func (p *plan) touch(records []Record) error {
	if p.limits.Touched == 0 {
		return nil
	}
	for i := range records {
		p.touched += TouchedRecord + len(records[i].Data)
	}
	if p.touched > p.limits.Touched {
		return OverLimit(LimitTouched, p.limits.Touched, "there is more at the names of this change than one may touch (%d bytes): send it in parts, with fewer names each", p.limits.Touched)
	}
	return nil
}

// own makes the node's records safe to change.
func (n *planNode) own(room int) {
	if !n.owned {
		n.Records = append(make([]Record, 0, len(n.Records)+room), n.Records...)
		n.owned = true
	}
	n.changed = true
}

// add adds a record that is not there.
func (n *planNode) add(r Record) {
	n.own(1)
	n.Records = append(n.Records, r)
	if n.index != nil {
		n.index[r.memberKey()] = len(n.Records) - 1
	}
}

// find returns where a record is, or -1.
func (n *planNode) find(r Record) int {
	const few = 16
	if n.index == nil && len(n.Records) > few {
		if n.searches++; n.searches > few {
			n.index = make(map[memberKey]int, 2*len(n.Records))
			for i := range n.Records {
				n.index[n.Records[i].memberKey()] = i
			}
		}
	}
	if n.index != nil {
		if i, ok := n.index[r.memberKey()]; ok {
			return i
		}
		return -1
	}
	for i := range n.Records {
		if n.Records[i].Same(r) {
			return i
		}
	}
	return -1
}

func (p *plan) append(records []Record) error {
	for _, r := range records {
		n, err := p.toWrite(r)
		if err != nil {
			return err
		}
		if i := n.find(r); i >= 0 {
			renewed := n.Records[i]
			renewed.Expires = laterExpiry(renewed.Expires, r.Expires)
			if p.setsTTL {
				renewed.TTL = r.TTL
			}
			if renewed != n.Records[i] {
				n.own(0)
				n.Records[i] = renewed
			}
			p.answer = append(p.answer, n.Records[i])
			continue
		}
		n.add(r)
		p.answer = append(p.answer, r)
	}
	return nil
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
	for _, r := range records {
		n, err := p.toWrite(r)
		if err != nil {
			return err
		}
		if n.cleared == nil {
			n.cleared = make(map[Type]bool, 1)
		}
		n.cleared[r.Type] = true
	}
	for _, n := range p.nodes {
		n.keep(func(old Record) bool { return !n.cleared[old.Type] })
	}
	for _, r := range records {
		n, err := p.at(r.Name)
		if err != nil {
			return err
		}
		if n.find(r) >= 0 { // given twice
			continue
		}
		n.add(r)
		p.answer = append(p.answer, r)
	}
	return nil
}

func (p *plan) delete(matches []Match, client uint32) error {
	var nodes []*planNode // of the matches, each once
	p.deletes++
	for _, m := range matches {
		if m.Type == TypeSOA || m.Type != 0 && p.zone.Made(m.Name, m.Type) {
			return p.madeError(m.Name, m.Type)
		}
		n, err := p.at(m.Name)
		if err != nil {
			return err
		}
		if n.deletes == p.deletes {
			continue
		}
		n.deletes = p.deletes
		nodes = append(nodes, n)
		if p.deletes > 1 { // each looks at all that is there
			if err := p.touch(n.Records); err != nil {
				return err
			}
		}
	}
	matcher := newMatcher(matches, mostParses)
	matcher.client = client
	type taken struct {
		match int
		Record
	}
	var all []taken
	for _, n := range nodes {
		var failed error
		n.keep(func(r Record) bool {
			if p.zone.Made(r.Name, r.Type) {
				return true
			}
			i, err := matcher.first(r)
			if err != nil {
				failed = err
			}
			if i >= 0 {
				all = append(all, taken{i, r})
			}
			return i < 0
		})
		if failed != nil {
			return failed
		}
	}
	// As if each match had taken its own, one after the other.
	slices.SortStableFunc(all, func(a, b taken) int { return cmp.Compare(a.match, b.match) })
	for i := range all {
		p.answer = append(p.answer, all[i].Record)
	}
	return nil
}

// keep removes the records for which kept says no.
func (n *planNode) keep(kept func(Record) bool) {
	for i := range n.Records {
		if kept(n.Records[i]) {
			continue
		}
		left := make([]Record, i, len(n.Records))
		copy(left, n.Records)
		for _, r := range n.Records[i+1:] {
			if kept(r) {
				left = append(left, r)
			}
		}
		n.Records, n.owned, n.changed = left, true, true
		n.index, n.searches = nil, 0
		return
	}
}

// toWrite returns the node of a record that is to be written. Records that the server
// makes itself are refused.
func (p *plan) toWrite(r Record) (*planNode, error) {
	if r.Type == TypeSOA || p.zone.Made(r.Name, r.Type) {
		return nil, p.madeError(r.Name, r.Type)
	}
	return p.at(r.Name)
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

// effect checks the rules and limits over what the change leaves behind, so that one
// change can replace a CNAME by other data.
func (p *plan) effect() (Effect, error) {
	e := Effect{Answer: p.answer}
	for _, n := range p.nodes {
		if !n.changed || n.isAsBefore() {
			continue
		}
		if err := p.check(n); err != nil {
			return Effect{}, err
		}
		e.Nodes = append(e.Nodes, n.Node)
	}
	return e, nil
}

// isAsBefore reports whether a set has put back the very records that it took out.
// Their order has no meaning.
func (n *planNode) isAsBefore() bool {
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

// fixedAnswer is what an answer has beside its records and the name asked for:
// header, type and class of the question, OPT record (RFC 1035 §4.1, RFC 6891 §6.1.2).
const fixedAnswer = 12 + 4 + 11

// recordInAnswer is what a record takes in an answer beside its RDATA, with its owner
// name compressed (RFC 1035 §4.1.3, §4.1.4).
const recordInAnswer = 12

// measure is how much is at a name.
type measure struct {
	sets   []setMeasure
	byType map[Type]int // where in sets, once there are more than a few
	bytes  int
}

// setMeasure is how much is in an RRset.
type setMeasure struct {
	typ            Type
	records, bytes int
}

// set returns the measure of an RRset.
func (m *measure) set(t Type) *setMeasure {
	const few = 16
	if last := len(m.sets) - 1; last >= 0 && m.sets[last].typ == t {
		return &m.sets[last] // records of a type mostly follow each other
	}
	if i := m.index(t); i >= 0 {
		return &m.sets[i]
	}
	m.sets = append(m.sets, setMeasure{typ: t})
	if m.byType != nil {
		m.byType[t] = len(m.sets) - 1
	} else if len(m.sets) > few {
		m.byType = make(map[Type]int, 2*few)
		for i := range m.sets {
			m.byType[m.sets[i].typ] = i
		}
	}
	return &m.sets[len(m.sets)-1]
}

func (m *measure) index(t Type) int {
	if m.byType == nil {
		return slices.IndexFunc(m.sets, func(s setMeasure) bool { return s.typ == t })
	}
	if i, ok := m.byType[t]; ok {
		return i
	}
	return -1
}

// take measures the records at a name.
func (m *measure) take(records []Record) {
	m.sets, m.byType, m.bytes = m.sets[:0], nil, 0
	for i := range records {
		size := recordInAnswer + len(records[i].Data)
		s := m.set(records[i].Type)
		s.records++
		s.bytes += size
		m.bytes += size
	}
}

// check checks what is at a name now.
func (p *plan) check(n *planNode) error {
	if len(n.Records) == 0 || len(n.Records) == 1 && p.surelyFits(n) {
		return nil
	}
	now := &p.now
	now.take(n.Records)
	for i := range now.sets {
		s := &now.sets[i]
		if s.typ == TypeCNAME {
			if err := p.checkCNAME(n, s.records); err != nil {
				return err
			}
		}
		// An RRset that no answer could carry (RFC 1035 §4.2.2).
		if size := fixedAnswer + len(n.Name) + s.bytes; size > 65535 {
			return &RuleError{
				Rule: RuleSize, Conflict: true, Name: n.Name, Type: s.typ,
				Reason: fmt.Sprintf("the RRset would need an answer of %d bytes, and a DNS message has 65,535 at most", size),
			}
		}
	}
	return p.checkLimits(n)
}

// surelyFits spares a name with one record, which most are, the measuring.
func (p *plan) surelyFits(n *planNode) bool {
	size := recordInAnswer + len(n.Records[0].Data)
	return fixedAnswer+len(n.Name)+size <= 65535 && (p.limits.Bytes == 0 || size <= p.limits.Bytes)
}

// checkCNAME has a CNAME be alone at its name, and says what can be changed.
func (p *plan) checkCNAME(n *planNode, cnames int) error {
	reason := "a CNAME must be alone at its name; delete the CNAME or the other records first"
	switch {
	case p.zone.Made(n.Name, TypeNS): // only those of the apex are made
		reason = "the apex of a zone cannot be an alias: it has SOA and NS records, and a CNAME must be alone at its name " +
			"(RFC 1034 section 3.6.2, RFC 2181 section 10.1); write A and AAAA records there, or for browsers an HTTPS record in AliasMode (0 TARGET)"
	case slices.ContainsFunc(n.Records, func(r Record) bool { return p.zone.Made(r.Name, r.Type) }):
		reason = "the name is one of the zone's name servers, whose addresses the configuration sets, and a name server cannot be an alias (RFC 2181 section 10.3)"
	case cnames > 1:
		reason = "there would be two of them, and a name has one at most; to replace one, set it"
	case len(n.Records) == 1:
		return nil
	}
	return &RuleError{Rule: RuleCNAME, Conflict: true, Name: n.Name, Type: TypeCNAME, Reason: reason}
}

// checkLimits refuses what is over a limit and more than it was before.
func (p *plan) checkLimits(n *planNode) error {
	limits, now, before := &p.limits, &p.now, &p.before
	if *limits == (Limits{}) {
		return nil
	}
	before.take(n.before)
	over := func(most, is, was int) bool { return most > 0 && is > most && is > was }
	switch {
	case over(limits.Types, len(now.sets), len(before.sets)):
		return OverLimit(LimitTypes, limits.Types, "the name %q would have RRsets of %d types, and a name may have %d: delete some first", n.Name, len(now.sets), limits.Types)
	case over(limits.Bytes, now.bytes, before.bytes):
		return OverLimit(LimitBytes, limits.Bytes, "the records at %q would have %d bytes, and a name may have %d: delete some first", n.Name, now.bytes, limits.Bytes)
	}
	for _, s := range now.sets {
		if limits.Records > 0 && s.records > limits.Records && s.records > before.set(s.typ).records {
			return OverLimit(LimitRecords, limits.Records, "there would be %d %s records at %q, and an RRset may have %d: delete some first", s.records, s.typ, n.Name, limits.Records)
		}
	}
	return nil
}
