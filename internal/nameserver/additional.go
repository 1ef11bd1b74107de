package nameserver

import (
	"slices"

	"github.com/caddy-dns/bestdns/internal/record"
	"github.com/miekg/dns"
)

// This file finds what those who asked will ask for next: the addresses of the names
// in NS, MX and SRV records (RFC 1034 §4.3.2, RFC 2782), those and the records of the
// same type for SVCB and HTTPS (RFC 9460 §4.1), and the addresses of the name servers in
// a referral (RFC 9471).
//
// One RRset has up to some thousand targets. So they are looked up one by one, when the
// answer is written, and only while it has room for their records. Each time that it is
// written, this begins anew, so that it is the same each time.

// maxTargets is how many names are looked up for the additional section of an answer,
// as many as there are root servers (and as BIND has it). The name servers of a referral
// that are in the zone which they serve do not count: their addresses are needed.
const maxTargets = 13

// leastRecord is the least that an address takes in a message, in bytes: its owner may
// be the root.
const leastRecord = 1 + rrFixedLen + 4

// targets are the names that the records of an RRset lead to.
type targets struct {
	of      *answerSet  // nil if there are none
	skip    int         // bytes of the records' data before the target
	service bool        // they are SVCB or HTTPS records
	cut     record.Name // of a referral, "" of an answer

	rest rrset                   // of the records, those whose targets have not been looked at
	seen [maxTargets]record.Name // those looked up
	n    int

	// found are RRsets of the last one of them, and next the number of the first that
	// has not been returned.
	found [3]answerSet
	next  int
	sets  int
	// room is what the message had when one was returned, and given how many bytes of
	// that were tried.
	room, given int
}

// begin goes back to the first target.
func (t *targets) begin() {
	t.rest, t.n, t.next, t.sets, t.given = "", 0, 0, 0, 0
	if t.of != nil {
		t.rest = t.of.set
	}
}

// ofAnswer has records added for an answer's last RRset, if it is of the type that was
// asked for: not for a CNAME, nor for the one RRset for ANY, which is to stay small.
func (t *targets) ofAnswer(of *answerSet, asked record.Type) {
	if of.typ != asked {
		return
	}
	t.service = false
	switch uint16(asked) {
	case dns.TypeNS:
		t.skip = 0
	case dns.TypeMX:
		t.skip = 2
	case dns.TypeSVCB, dns.TypeHTTPS:
		t.skip, t.service = 2, true
	case dns.TypeSRV:
		t.skip = 6
	default:
		return
	}
	t.of, t.cut = of, ""
}

// ofReferral has the addresses of name servers added that are in the zone, below a cut
// too (glue).
func (t *targets) ofReferral(of *answerSet) {
	t.of, t.cut, t.skip, t.service = of, of.owner, 0, false
}

// beginAdditional has additional return the first RRset next.
func (l *lookup) beginAdditional() {
	l.work = l.found
	l.targets.begin()
}

// additional returns the next RRset for the additional section, nil at its end. room
// is how many bytes the message has left: none is looked up that cannot be added, but
// for the addresses without which a referral leads nowhere. What was returned before
// must have been added if it fits. It is overwritten by the next call.
func (l *lookup) additional(room int) *answerSet {
	t := &l.targets
	if room == t.room {
		l.work += t.given / 128 // that took as long as a look, and is not in the message
	}
	for {
		for t.next < t.sets {
			set := &t.found[t.next]
			t.next++
			if set.needed || room >= leastSize(set.set) {
				t.room, t.given = room, min(room, len(set.set))
				return set
			}
		}
		if !l.nextTarget(room) {
			return nil
		}
	}
}

// leastSize returns the least that an RRset takes in a message, in bytes, when the
// names in it are not compressed.
func leastSize(set rrset) int {
	records := len(set) / recordHeader // at most
	return len(set) - records*(recordHeader-1-rrFixedLen)
}

// nextTarget looks the next target up that has records to be added. It returns false
// if there is no more that is to be looked up.
func (l *lookup) nextTarget(room int) bool {
	t := &l.targets
	for t.rest != "" && (t.cut != "" || t.n < maxTargets && room >= leastRecord) {
		var r packedRecord
		r, t.rest = t.rest.next()
		target := t.name(r.data)
		needed := t.cut != "" && target.In(t.cut)
		switch {
		case !target.In(l.zone.zone):
			continue
		case needed && l.work >= maxWork, !needed && !l.affords(target):
			return false
		case needed: // of which an RRset has none twice
		case t.n == maxTargets, room < leastRecord, slices.Contains(t.seen[:t.n], target):
			continue
		default:
			t.seen[t.n] = target
			t.n++
		}
		t.next, t.sets = 0, 0
		if l.lookUpTarget(target, needed); t.sets > 0 {
			return true
		}
	}
	return false
}

// name returns the target in the data of a record, "" if it has no target.
func (t *targets) name(data string) record.Name {
	if len(data) <= t.skip {
		return ""
	}
	target := nameAt(data[t.skip:])
	if t.service && target == record.Root && data[:2] != "\x00\x00" {
		return t.of.owner // "." is the owner itself, but "none" in AliasMode (RFC 9460 §2.5)
	}
	return target
}

// lookUpTarget finds the RRsets of a target that are to be added.
func (l *lookup) lookUpTarget(target record.Name, needed bool) {
	n, ok := l.targetNode(target, needed)
	if !ok {
		return
	}
	t := &l.targets
	t.add(target, record.TypeA, n, needed)
	t.add(target, record.TypeAAAA, n, needed)
	if t.service && target != t.of.owner {
		t.add(target, t.of.typ, n, false)
	}
}

// targetNode returns what is at a target. Of what is below a cut only the addresses of
// name servers are ours to tell.
func (l *lookup) targetNode(target record.Name, needed bool) (node, bool) {
	if needed { // so below the cut at which the question ended
		l.key = target.AppendKey(l.key[:0])
		return l.get(l.key)
	}
	at := l.locate(target)
	if at.cut == "" {
		return at.node, at.exists
	}
	if l.targets.of.typ != record.TypeNS {
		return "", false
	}
	return l.get(l.key)
}

func (t *targets) add(owner record.Name, typ record.Type, n node, needed bool) {
	if set := n.find(typ); set != "" {
		t.found[t.sets] = answerSet{owner: owner, typ: typ, set: set, needed: needed}
		t.sets++
	}
}
