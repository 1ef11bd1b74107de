package nameserver

import (
	"strings"
	"time"
	"unsafe"

	"github.com/caddy-dns/bestdns/internal/record"
	"github.com/miekg/dns"
)

// This file finds the answer to a question: RFC 1034 §4.3.2 with the wildcards of
// RFC 4592. What goes with it is additional.go's, messages are query.go's.
//
// A name that awaits a challenge, or a standing permission, always exists, if only without data, and
// no wildcard stands for it. Clients ask for such a name before they append to it, and caches that
// follow RFC 2308 §5 keep NXDOMAIN for every type, some for a second even where they may
// not at all: the CA behind such a cache would not find the record. That it is not so is
// kept for the type that was asked for, by those who keep it. An answer of a wildcard
// would be kept for the wildcard's TTL.
//
// It takes no lock and, with a lookup that is used again, allocates nothing: keys
// are built in the lookup, names are parts of the packed records. Measured on one
// core of an AMD EPYC (BenchmarkLookup; ns):
//
//	names             100   10,000   100,000   1,000,000
//	hit               124      228       386         768
//	NXDOMAIN          112      184       193         436
//
// A hit costs one look at the hashes of the tree. A miss costs a search of its order
// too, for an empty non-terminal, unless nothing in the zone is deeper; in a zone with
// wildcards it costs that and two more, for the closest encloser and the wildcard; a
// zone with delegations costs one look for each number of labels that its delegations
// have. That is why [Snapshot] counts all three.
//
// Clients decide what is stored, and how often a question leads to another look: so
// each look counts as work, and beyond maxWork no more is begun.

// view is what DNS serves at a moment.
type view struct {
	zones map[record.Name]*zone
	// above has each apex and the names above it. They exist, although the zone that they
	// are in may have no record of them (RFC 8020 §2).
	above map[record.Name]struct{}
	// nested is true if a zone is in another one. Only then are they looked for in above.
	nested  bool
	deepest int   // the most labels that one of them has
	price   int64 // of an answer over UDP, as limiter.charge has it
	// transfers is what secondaries may ask for, nil if there are none.
	transfers *transferRules
	// clients are those with keys, nil if there are none, and claimed the zones hosted elsewhere
	// that they can change here.
	clients Clients
	claimed map[record.Name]*zone
	// now is the clock that answers go by, which tests turn.
	now func() time.Time
}

func newView(price int64) *view {
	return &view{zones: make(map[record.Name]*zone), above: make(map[record.Name]struct{}), price: price, now: time.Now}
}

// add has a zone served.
func (v *view) add(name record.Name, z *zone) {
	if _, below := v.above[name]; below || v.longest(name) != nil {
		v.nested = true
	}
	v.zones[name] = z
	v.deepest = max(v.deepest, name.Labels())
	for n := name; ; n = n.Parent() {
		if _, known := v.above[n]; known {
			return // and so are those above it
		}
		v.above[n] = struct{}{}
		if n == record.Root {
			return
		}
	}
}

// find returns the zone that answers for a name: the longest that holds it, but
// for DS, which is on the parent's side of a cut (RFC 4035 §3.1.4.1).
func (v *view) find(name record.Name, t record.Type) *zone {
	z := v.longest(name)
	if z != nil && t == record.TypeDS && z.name == name && name != record.Root {
		if parent := v.longest(name.Parent()); parent != nil {
			return parent
		}
	}
	return z
}

func (v *view) longest(name record.Name) *zone {
	for extra := name.Labels() - v.deepest; extra > 0; extra-- {
		name = name.Parent() // which costs less than to look for it
	}
	for {
		if z := v.zones[name]; z != nil {
			return z
		}
		if name == record.Root || name == "" {
			return nil
		}
		name = name.Parent()
	}
}

// outcome is how a lookup ended.
type outcome uint8

const (
	refused  outcome = iota // no zone of ours
	found                   // what was asked, or a CNAME out of the zone
	noData                  // the name exists, without such records
	noName                  // the name does not exist
	referral                // the name belongs to a zone that is delegated
)

// maxChain bounds the CNAMEs in an answer. A resolver that follows more asks again.
const maxChain = 16

// The work of a question is counted in looks at the hashes of the tree, which take
// from 50 ns to a microsecond, as much of the tree as is in a cache. maxWork bounds
// what is done beyond the first name's: CNAMEs are followed, and targets looked up,
// for as long as they are certain to stay below it. What a chain of the greatest
// length takes that a wildcard stands for is within it.
const (
	maxWork    = 192
	getWork    = 1
	searchWork = 3 // of the order
)

// answerSet is an RRset of an answer.
type answerSet struct {
	owner record.Name
	typ   record.Type
	set   rrset
	// needed is true for the addresses without which a referral leads nowhere
	// (RFC 9471 §2.1): an answer without them has to say that it is cut short.
	needed bool
	// uncacheable is true where no resolver may keep it: its TTL is zero, whatever is stored.
	uncacheable bool
}

// lookup is a question's way to its answer. It can be used again, for one question
// at a time; what it returned is then overwritten.
type lookup struct {
	outcome   outcome
	answer    []answerSet
	authority []answerSet

	view    *view
	hosted  *zone     // that answers, nil if none does
	zone    *Snapshot // of it
	key     []byte    // of the name at hand
	wild    []byte    // of the wildcard that may stand for it
	found   int       // the work that finding the answer was
	work    int       // done for the question so far
	targets targets   // whose records are additional
}

// authoritative reports whether the answer is: that of the name asked for at least
// (RFC 1035 §4.1.1).
func (l *lookup) authoritative() bool {
	return l.outcome != refused && (l.outcome != referral || len(l.answer) > 0)
}

// rcode returns the RCODE that the answer has.
func (l *lookup) rcode() int {
	switch l.outcome {
	case refused:
		return dns.RcodeRefused
	case noName:
		return dns.RcodeNameError
	}
	return dns.RcodeSuccess
}

// isLarge reports whether the answer has more than a few kilobytes, without what is
// additional.
func (l *lookup) isLarge() bool {
	const few = 4096
	size := 0
	for _, section := range [...][]answerSet{l.answer, l.authority} {
		for i := range section {
			size += len(section[i].set)
		}
	}
	return size > few
}

// find answers a question.
func (l *lookup) find(v *view, name record.Name, t record.Type) {
	l.answer, l.authority = l.answer[:0], l.authority[:0]
	l.view, l.work, l.found = v, 0, 0
	l.targets.of = nil
	l.hosted = v.find(name, t)
	if l.hosted == nil && t == record.TypeSOA {
		l.hosted = v.claims(name)
	}
	if l.hosted == nil {
		l.zone, l.outcome = nil, refused
		return
	}
	l.zone = l.hosted.current.Load()
	for {
		target := l.step(name, t)
		if target == "" {
			break
		}
		name = target
	}
	switch l.outcome {
	case noData, noName:
		soa := l.zone.soa.cacheable
		if l.zone.awaits(name) {
			soa = l.zone.soa.uncacheable
		}
		l.authority = append(l.authority, answerSet{owner: l.zone.zone, typ: record.TypeSOA, set: soa})
	case found:
		l.targets.ofAnswer(&l.answer[len(l.answer)-1], t)
	case referral:
		l.targets.ofReferral(&l.authority[0])
	}
	l.found = l.work
}

// step answers for one name of a chain. It returns the next one, "" at the end.
func (l *lookup) step(name record.Name, t record.Type) (target record.Name) {
	at := l.locate(name)
	switch {
	case at.cut != "" && !(at.cut == name && t == record.TypeDS):
		l.outcome = referral
		l.authority = append(l.authority, answerSet{owner: at.cut, typ: record.TypeNS, set: at.node.find(record.TypeNS)})
		return ""
	case !at.exists:
		l.outcome = noName
		if l.view.nested {
			if _, above := l.view.above[name]; above {
				l.outcome = noData // it exists: we host it, only without a delegation
			}
		}
		return ""
	}
	if name == l.zone.zone && t == record.TypeSOA {
		l.add(at, name, t, l.zone.soa.cacheable)
		return ""
	}
	if t == record.Type(dns.TypeANY) && at.node != "" {
		// One RRset, as RFC 8482 §4.1 has it, and not the made-up HINFO of §4.2: it is a
		// true answer, which a cache can use, and what Knot and BIND give too. It is the
		// one with the lowest type, so that the answer is always the same.
		t, set, _ := at.node.next()
		l.add(at, name, t, set)
		return ""
	}
	if set := at.node.find(t); set != "" {
		l.add(at, name, t, set)
		return ""
	}
	alias := at.node.find(record.TypeCNAME)
	if alias == "" {
		l.outcome = noData
		return ""
	}
	l.add(at, name, record.TypeCNAME, alias)
	first, _ := alias.next()
	return l.follow(record.Name(first.data), t)
}

// follow returns the target of a CNAME if this zone answers for it and it has not
// been answered yet. (Other zones are left to the resolver: it has to ask there
// anyway, for it cannot know that one server has both.) Where the chain is too long, or
// has been too much work, the resolver has to ask for the rest of it.
func (l *lookup) follow(target record.Name, t record.Type) record.Name {
	if len(l.answer) == maxChain || !l.affords(target) || !target.In(l.zone.zone) || l.view.find(target, t) != l.hosted {
		return ""
	}
	for i := range l.answer {
		if l.answer[i].owner == target {
			return ""
		}
	}
	return target
}

// add adds an RRset to the answer. That of a wildcard must not be kept for a name at which a
// challenge may be answered at any time: the wildcard then does not stand for it any more.
func (l *lookup) add(at location, owner record.Name, t record.Type, set rrset) {
	uncacheable := at.wildcard && (t == record.TypeTXT || t == record.TypeCNAME) && l.zone.awaits(owner)
	l.answer = append(l.answer, answerSet{owner: owner, typ: t, set: set, uncacheable: uncacheable})
	l.outcome = found
}

// affords reports whether the zone can be looked through for another name, whatever
// it has for it, within the work that a question may take.
func (l *lookup) affords(name record.Name) bool {
	z := l.zone
	work := l.work + getWork + searchWork
	if z.wildcards > 0 {
		work += 2*searchWork + getWork
	}
	if z.cuts.deepest > 0 {
		work += getWork * z.cuts.between(z.zone.Labels(), name.Labels())
	}
	return work <= maxWork
}

// location is what the zone has for a name.
type location struct {
	// cut is the name at or above the one sought where its part of the zone is
	// delegated, and node then that of the cut.
	cut record.Name
	// exists reports whether the name does, or a wildcard stands for it. An empty
	// non-terminal exists without a node.
	exists bool
	node   node
	// wildcard is true if the node is that of a wildcard.
	wildcard bool
}

// locate finds a name of the zone.
func (l *lookup) locate(name record.Name) location {
	z := l.zone
	l.key = name.AppendKey(l.key[:0])
	if z.cuts.deepest > 0 {
		if at := l.firstCut(name); at.cut != "" {
			return at
		}
	}
	if n, ok := l.get(l.key); ok || len(l.key) == len(z.key) {
		return location{exists: true, node: n}
	}
	if z.wildcards == 0 && labelsOf(borrow(l.key)) >= z.depths.deepest {
		return location{exists: z.awaits(name)}
	}
	after := l.after(l.key)
	if strings.HasPrefix(after, borrow(l.key)) {
		return location{exists: true} // an empty non-terminal
	}
	if z.wildcards == 0 || record.IsForCA(name) {
		return location{exists: z.awaits(name)}
	}
	// The closest encloser is the longest name above that exists, so the longest that
	// this one shares with a neighbour.
	encloser := max(sharedLabels(l.key, after), sharedLabels(l.key, l.before(l.key)))
	l.wild = append(append(l.wild[:0], l.key[:encloser]...), '*', 0)
	if n, ok := l.get(l.wild); ok {
		return location{exists: true, node: n, wildcard: true}
	}
	return location{exists: strings.HasPrefix(l.after(l.wild), borrow(l.wild)) || z.awaits(name)}
}

// firstCut finds the delegation next to the apex on the way down to a name, whose
// key is in l.key. It looks only where there are names with as many labels that are
// delegated.
func (l *lookup) firstCut(name record.Name) location {
	z := l.zone
	labels, depth := name.Labels(), z.zone.Labels()
	for end := len(z.key); end < len(l.key) && depth < z.cuts.deepest; {
		end += strings.IndexByte(borrow(l.key[end:]), 0) + 1
		if depth++; z.cuts.names[depth] == 0 {
			continue
		}
		n, _ := l.get(l.key[:end])
		if n.find(record.TypeNS) != "" {
			cut := name
			for range labels - depth {
				cut = cut.Parent()
			}
			return location{cut: cut, exists: true, node: n}
		}
	}
	return location{}
}

func (l *lookup) get(key []byte) (node, bool) {
	l.work += getWork
	return l.zone.tree.Get(borrow(key))
}

func (l *lookup) after(key []byte) string {
	l.work += searchWork
	return l.zone.tree.after(borrow(key))
}

func (l *lookup) before(key []byte) string {
	l.work += searchWork
	return l.zone.tree.before(borrow(key))
}

// sharedLabels returns how long the labels are that both keys begin with.
func sharedLabels(a []byte, b string) int {
	shared := 0
	for i := 0; i < len(a) && i < len(b) && a[i] == b[i]; i++ {
		if a[i] == 0 {
			shared = i + 1
		}
	}
	return shared
}

// borrow returns bytes as a string without copying them. The string must not be
// kept: it changes with them.
func borrow(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }
