package nameserver

import (
	"strings"
	"unsafe"

	"github.com/caddy-dns/bestdns/internal/record"
	"github.com/miekg/dns"
)

// This file finds the answer to a question: RFC 1034 §4.3.2 with the wildcards of
// RFC 4592. It knows names and RRsets; messages are message.go's.
//
// It takes no lock and, with a lookup that is used again, allocates nothing: keys
// are built in the lookup, names are parts of the packed records. Measured on one
// core of an AMD EPYC (BenchmarkLookup; ns):
//
//	names             100   10,000   100,000   1,000,000
//	hit               124      228       386         768
//	NXDOMAIN          112      184       193         436
//
// against 2,000 and more for what message.go makes of it, with 27 allocations. A hit
// costs one look at the hashes of the tree. A miss costs a search of its order too, for
// an empty non-terminal, unless nothing in the zone is deeper; in a zone with wildcards
// it costs that and two more, for the closest encloser and the wildcard; a zone with
// delegations costs one look for each label. That is why [Snapshot] counts all three.

// view is what DNS serves at a moment.
type view struct {
	zones map[record.Name]*zone
	price int64 // of an answer over UDP, as limiter.charge has it
}

// find returns the zone that answers for a name: the longest that holds it, but
// for DS, which stands on the parent's side of a cut (RFC 4035 §3.1.4.1).
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

// maxChain bounds the CNAMEs in an answer. Whoever follows more asks again.
const maxChain = 16

// answerSet is an RRset of an answer.
type answerSet struct {
	owner record.Name
	typ   record.Type
	set   rrset
	// needed is true for the addresses without which a referral leads nowhere
	// (RFC 9471 §2.1): an answer without them has to say that it is cut short.
	needed bool
}

// lookup is a question's way to its answer. It can be used again, for one question
// at a time; what it returned is then overwritten.
type lookup struct {
	outcome    outcome
	answer     []answerSet
	authority  []answerSet
	additional []answerSet

	view   *view
	hosted *zone     // that answers, nil if none does
	zone   *Snapshot // of it
	key    []byte    // of the name at hand
	wild   []byte    // of the wildcard that may stand for it
}

// authoritative tells whether the answer is: that of the name asked for at least
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

// find answers a question.
func (l *lookup) find(v *view, name record.Name, t record.Type) {
	l.answer, l.authority, l.additional = l.answer[:0], l.authority[:0], l.additional[:0]
	l.view = v
	if l.hosted = v.find(name, t); l.hosted == nil {
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
		l.authority = append(l.authority, answerSet{owner: l.zone.zone, typ: record.TypeSOA, set: l.zone.soa})
	case found:
		l.addTargets(t)
	}
}

// step answers for one name of a chain. It returns the next one, "" at the end.
func (l *lookup) step(name record.Name, t record.Type) (target record.Name) {
	at := l.locate(name)
	switch {
	case at.cut != "" && !(at.cut == name && t == record.TypeDS):
		l.outcome = referral
		l.refer(at.cut, at.node)
		return ""
	case !at.exists:
		l.outcome = noName
		if t == record.TypeDS && l.view.zones[name] != nil {
			l.outcome = noData // it exists: we host it, only without a delegation
		}
		return ""
	}
	if name == l.zone.zone && t == record.TypeSOA {
		l.add(name, t, l.zone.soa)
		l.outcome = found
		return ""
	}
	if t == record.Type(dns.TypeANY) && at.node != "" {
		// One RRset, as RFC 8482 §4.1 has it, and not the made-up HINFO of §4.2: it is a
		// true answer, which a cache can use, and what Knot and BIND give too. It is the
		// one with the lowest type, so that the answer is always the same.
		t, set, _ := at.node.next()
		l.add(name, t, set)
		l.outcome = found
		return ""
	}
	if set := at.node.find(t); set != "" {
		l.add(name, t, set)
		l.outcome = found
		return ""
	}
	alias := at.node.find(record.TypeCNAME)
	if alias == "" {
		l.outcome = noData
		return ""
	}
	l.add(name, record.TypeCNAME, alias)
	l.outcome = found
	first, _ := alias.next()
	return l.follow(record.Name(first.data), t)
}

// follow returns the target of a CNAME if this zone answers for it and it has not
// been answered yet. (Other zones are left to the resolver: it has to ask there
// anyway, for it cannot know that one server has both.)
func (l *lookup) follow(target record.Name, t record.Type) record.Name {
	if len(l.answer) == maxChain || !target.In(l.zone.zone) || l.view.find(target, t) != l.hosted {
		return ""
	}
	for i := range l.answer {
		if l.answer[i].owner == target {
			return ""
		}
	}
	return target
}

func (l *lookup) add(owner record.Name, t record.Type, set rrset) {
	l.answer = append(l.answer, answerSet{owner: owner, typ: t, set: set})
}

// refer fills in a referral: the NS records at the cut, and all addresses of those
// name servers that are in the zone, below a cut too (glue).
func (l *lookup) refer(cut record.Name, n node) {
	servers := n.find(record.TypeNS)
	l.authority = append(l.authority, answerSet{owner: cut, typ: record.TypeNS, set: servers})
	for servers != "" {
		var r packedRecord
		r, servers = servers.next()
		l.addGlue(record.Name(r.data), cut)
	}
}

func (l *lookup) addGlue(server, cut record.Name) {
	if !server.In(l.zone.zone) {
		return
	}
	at := l.locate(server)
	if at.cut != "" { // glue
		at.node, _ = l.zone.tree.Get(borrow(l.key))
	}
	l.addAddresses(server, at.node, cut != "" && server.In(cut))
}

func (l *lookup) addAddresses(owner record.Name, n node, needed bool) {
	for _, t := range [...]record.Type{record.TypeA, record.TypeAAAA} {
		l.addExtra(owner, t, n.find(t), needed)
	}
}

// addExtra adds an RRset to the additional section, unless it is in the message.
func (l *lookup) addExtra(owner record.Name, t record.Type, set rrset, needed bool) {
	if set == "" {
		return
	}
	for _, section := range [...][]answerSet{l.answer, l.additional} {
		for i := range section {
			if section[i].typ == t && section[i].owner == owner {
				return
			}
		}
	}
	l.additional = append(l.additional, answerSet{owner: owner, typ: t, set: set, needed: needed})
}

// addTargets adds what those who ask for a type will ask for next: the addresses
// of the names in NS, MX and SRV records (RFC 1034 §4.3.2, RFC 2782), those and
// the records of the same type for SVCB and HTTPS (RFC 9460 §4.1).
func (l *lookup) addTargets(asked record.Type) {
	last := l.answer[len(l.answer)-1]
	if last.typ != asked {
		return // a CNAME, or the one RRset for ANY, which is to stay small
	}
	skip := 0 // octets before the name
	switch uint16(asked) {
	case dns.TypeNS:
	case dns.TypeMX, dns.TypeSVCB, dns.TypeHTTPS:
		skip = 2
	case dns.TypeSRV:
		skip = 6
	default:
		return
	}
	for set := last.set; set != ""; {
		var r packedRecord
		r, set = set.next()
		if len(r.data) <= skip {
			continue
		}
		l.addTarget(last, r.data[:skip], nameAt(r.data[skip:]))
	}
}

func (l *lookup) addTarget(of answerSet, before string, target record.Name) {
	service := uint16(of.typ) == dns.TypeSVCB || uint16(of.typ) == dns.TypeHTTPS
	switch {
	case uint16(of.typ) == dns.TypeNS:
		l.addGlue(target, "")
		return
	case service && target == record.Root && before != "\x00\x00":
		target = of.owner // "." is the owner itself, but "none" in AliasMode (RFC 9460 §2.5)
	}
	if !target.In(l.zone.zone) {
		return
	}
	at := l.locate(target)
	if at.cut != "" {
		return
	}
	l.addAddresses(target, at.node, false)
	if service {
		l.addExtra(target, of.typ, at.node.find(of.typ), false)
	}
}

// location is what the zone has for a name.
type location struct {
	// cut is the name at or above the one sought where its part of the zone is
	// delegated, and node then that of the cut.
	cut record.Name
	// exists tells whether the name does, or a wildcard stands for it. An empty
	// non-terminal exists without a node.
	exists bool
	node   node
}

// locate finds a name of the zone.
func (l *lookup) locate(name record.Name) location {
	z := l.zone
	l.key = name.AppendKey(l.key[:0])
	if z.cuts > 0 {
		if at := l.firstCut(name); at.cut != "" {
			return at
		}
	}
	if n, ok := z.tree.Get(borrow(l.key)); ok || len(l.key) == len(z.key) {
		return location{exists: true, node: n}
	}
	if z.wildcards == 0 && labelsOf(borrow(l.key)) >= z.depths.deepest {
		return location{}
	}
	after := z.tree.after(borrow(l.key))
	if strings.HasPrefix(after, borrow(l.key)) {
		return location{exists: true} // an empty non-terminal
	}
	if z.wildcards == 0 {
		return location{}
	}
	// The closest encloser is the longest name above that exists, so the longest that
	// this one shares with a neighbour.
	encloser := max(sharedLabels(l.key, after), sharedLabels(l.key, z.tree.before(borrow(l.key))))
	l.wild = append(append(l.wild[:0], l.key[:encloser]...), '*', 0)
	if n, ok := z.tree.Get(borrow(l.wild)); ok {
		return location{exists: true, node: n}
	}
	return location{exists: strings.HasPrefix(z.tree.after(borrow(l.wild)), borrow(l.wild))}
}

// firstCut finds the delegation next to the apex on the way down to a name, whose
// key is in l.key.
func (l *lookup) firstCut(name record.Name) location {
	z := l.zone
	below := name.Labels() - z.zone.Labels()
	for end := len(z.key); end < len(l.key); {
		end += strings.IndexByte(borrow(l.key[end:]), 0) + 1
		below--
		n, _ := z.tree.Get(borrow(l.key[:end]))
		if n.find(record.TypeNS) != "" {
			cut := name
			for range below {
				cut = cut.Parent()
			}
			return location{cut: cut, exists: true, node: n}
		}
	}
	return location{}
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

// borrow returns octets as a string without copying them. The string must not be
// kept: it changes with them.
func borrow(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }
