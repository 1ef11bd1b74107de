package nameserver

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/miekg/dns"

	"github.com/caddy-dns/bestdns/internal/record"
	"github.com/caddy-dns/bestdns/internal/tsig"
)

// This file is the messages of a transfer: AXFR (RFC 5936) and IXFR (RFC 1995). Where its
// records come from is transfersource.go's.
//
// A transfer is made message by message, each when the client has taken the one before, from
// a snapshot, so that it holds up no one however long it takes. It costs the memory of one
// message, and that of a difference costs the list of its RRsets.

// transferMessage is how long a message of a transfer is before no further record is added
// to it, in bytes. Longer ones are hardly faster, and take more memory for each client.
const transferMessage = 32 << 10

// smallTransfer is how many bytes of records a transfer may have that does not wait for
// others: those after a usual change.
const smallTransfer = 4096

// transfer is an answer of any number of messages. It is used by one goroutine at a time.
type transfer struct {
	zone    *zone
	message []byte // the request
	query   query
	signer  *tsig.Signer // nil if the request was not signed
	source  source
	kind    transferKind
	large   bool
	current *Snapshot

	serial    uint32 // of the secondary, if it asked for a difference
	postponed bool   // the difference is large: it is not taken before it may be made

	rest   recordSet // what was taken from the source and is not written yet
	apexAt int       // where the zone's name is in the message at hand, 0 if nowhere
	last   record.Name
	lastAt int // where the last owner is that a pointer can lead to, 0 if nowhere
}

// transferKind is what a transfer counts as.
type transferKind uint8

const (
	transferNothing transferKind = iota // the secondary has all, or has to ask over TCP
	transferWhole
	transferDifference
)

// errNoSerial is what is wrong with a request for an IXFR that does not say which serial the
// secondary has.
var errNoSerial = errors.New("the request for an IXFR has no SOA record in its authority section")

// beginTransfer returns the transfer that a query asks for. If it may not have it, the
// query's RCODE says so.
func (r *responder) beginTransfer(v *view, q *query, message []byte, sig *signature, tcp bool) *transfer {
	z := v.zones[q.name]
	t, err := r.newTransferFor(v, q, message, sig, tcp)
	if err == nil {
		return t
	}
	if errors.Is(err, errNoSerial) {
		q.rcode = dns.RcodeFormatError
	} else {
		q.rcode = dns.RcodeRefused
		if z != nil {
			z.transferred.refused.Add(1)
		}
	}
	r.logRefusal(v, q, sig, err, tcp)
	return nil
}

// newTransferFor returns the transfer to one who may have it, and otherwise why not.
func (r *responder) newTransferFor(v *view, q *query, message []byte, sig *signature, tcp bool) (*transfer, error) {
	z, to := v.zones[q.name], plainAddress(r.from)
	if !sig.ofClient {
		if err := v.transfers.allow(q.name, to, sig.key); err != nil {
			return nil, err
		}
	} else if err := v.clients.Transfer(sig.key.Name, q.name, to); err != nil {
		return nil, err
	}
	switch {
	case z != nil:
		return newTransfer(z, q, message, sig.signer)
	case sig.ofClient && tcp && v.claimed[q.name] != nil:
		return newListing(v, q, message, sig)
	}
	return nil, errNoSecondary // of a zone that is not served
}

// newListing returns the transfer of a zone that is hosted elsewhere, which is always whole: no one
// knows what changes there.
func newListing(v *view, q *query, message []byte, sig *signature) (*transfer, error) {
	ctx, cancel := context.WithTimeout(context.Background(), updateTimeout)
	defer cancel()
	name := record.Name(strings.Clone(string(q.name))) // the other is the responder's
	records, err := v.clients.Records(ctx, sig.key.Name, name)
	if err != nil {
		return nil, err
	}
	z := &zone{name: name}
	z.current.Store(snapshotOf(name, records))
	whole := *q
	whole.typ = record.Type(dns.TypeAXFR)
	return newTransfer(z, &whole, message, sig.signer)
}

// newTransfer returns the answer to a request, whose bytes it keeps.
func newTransfer(z *zone, q *query, message []byte, signer *tsig.Signer) (*transfer, error) {
	t := &transfer{zone: z, message: message, query: *q, signer: signer}
	t.query.name = z.name // the other is the responder's
	if signer != nil {
		t.query.limit -= signer.Size()
	}
	if uint16(q.typ) == dns.TypeAXFR {
		t.current = z.current.Load()
		t.whole()
		return t, nil
	}
	var ok bool
	if t.serial, ok = soaSerial(message, q.end); !ok {
		return nil, errNoSerial
	}
	t.difference(smallTransfer)
	return t, nil
}

// whole has the transfer be of the whole zone.
func (t *transfer) whole() {
	t.kind, t.source = transferWhole, &wholeZone{zone: t.current}
	t.large = t.current.bytes > smallTransfer
}

// difference has the transfer be of what has changed since the secondary's serial, if that is
// remembered, and otherwise of the whole zone (RFC 1995 §4). A secondary that has all, or
// more, gets the SOA record (§2). A difference of more than most bytes is postponed.
func (t *transfer) difference(most int) {
	current, pasts, bytes, ok := t.zone.since(t.serial, most)
	t.current, t.postponed = current, false
	switch {
	case int32(t.serial-current.serial) >= 0:
		t.onlySOA()
	case !ok:
		t.whole()
	default:
		t.kind, t.source = transferDifference, &difference{from: pasts, to: current}
		t.large, t.postponed = bytes > smallTransfer, bytes > most
	}
}

// onlySOA has the transfer be the zone's SOA record.
func (t *transfer) onlySOA() {
	t.kind, t.large, t.postponed = transferNothing, false, false
	t.source, t.rest = nil, soaOf(t.current)
}

// soaSerial returns the serial of the SOA record with which the authority section of a message
// begins (RFC 1995 §3). An answer section must be empty.
func soaSerial(message []byte, at int) (serial uint32, ok bool) {
	if binary.BigEndian.Uint16(message[6:]) != 0 || binary.BigEndian.Uint16(message[8:]) == 0 {
		return 0, false
	}
	if at = record.SkipName(message, at); at == 0 || len(message)-at < rrFixedLen || binary.BigEndian.Uint16(message[at:]) != dns.TypeSOA {
		return 0, false
	}
	size := int(binary.BigEndian.Uint16(message[at+8:]))
	at += rrFixedLen
	end := at + size
	if end > len(message) {
		return 0, false
	}
	for range 2 { // MNAME, RNAME
		if at = record.SkipName(message[:end], at); at == 0 {
			return 0, false
		}
	}
	if end-at != 5*4 {
		return 0, false
	}
	return binary.BigEndian.Uint32(message[at:]), true
}

// next makes the next message. It is a nextMessage.
func (t *transfer) next(r *responder, allowed bool) (message []byte, large, more bool) {
	if t.large && !allowed {
		return nil, true, false
	}
	if t.postponed {
		t.difference(math.MaxInt)
	}
	more, err := t.write(r, r.stream)
	if err != nil {
		if unlogged, ok := r.server.untransferable.next(time.Now()); ok {
			r.server.log.Error("a zone cannot be transferred", "zone", t.zone.name.String(), "to", r.from.String(), "error", err, "unlogged", unlogged)
		}
		return nil, t.large, false
	}
	r.stream = t.finish(r)
	if !more {
		t.count(r)
	}
	return r.stream, t.large, more
}

// datagram returns the answer to a request that came over UDP: whole, or the SOA record, from
// which the client sees that it has to ask over TCP (RFC 1995 §2).
func (t *transfer) datagram(r *responder, buf []byte) []byte {
	if t.kind == transferWhole || t.large {
		t.onlySOA()
	}
	if more, err := t.write(r, buf); more || err != nil {
		t.onlySOA()
		if more, err = t.write(r, buf); more || err != nil {
			r.writer.counts.answer = 0
			r.writer.buf = r.writer.buf[:t.query.end]
		}
	}
	t.count(r)
	return t.finish(r)
}

// count counts the transfer.
func (t *transfer) count(r *responder) {
	r.server.count(r.shard, t.zone, t.query.typ, dns.RcodeSuccess)
	switch t.kind {
	case transferWhole:
		t.zone.transferred.whole.Add(1)
	case transferDifference:
		t.zone.transferred.difference.Add(1)
	}
}

// finish completes the message that write has made.
func (t *transfer) finish(r *responder) []byte {
	w := &r.writer
	w.finish(t.message, &t.query, flagAA, dns.RcodeSuccess)
	if t.signer != nil {
		w.buf = t.signer.Sign(w.buf, time.Now())
	}
	return w.buf
}

// write writes the next records in a message. It reports whether others follow, for which
// there is no room. The error is about a record that no message has room for.
func (t *transfer) write(r *responder, buf []byte) (more bool, err error) {
	w := &r.writer
	w.begin(buf, t.message, &t.query)
	t.apexAt, t.lastAt = 0, 0
	if string(t.message[headerLen:t.query.end-4]) == string(t.zone.name) { // in lower case too
		t.apexAt = headerLen
	}
	for t.takeSet() {
		for t.rest.set != "" {
			one, others := t.rest.set.next()
			if len(w.buf) >= transferMessage && w.counts.answer > 0 || !t.add(w, one.data) {
				if w.counts.answer == 0 {
					return false, fmt.Errorf("a record of %d bytes at %q does not fit in a message; delete it", len(one.data), t.rest.owner)
				}
				return true, nil
			}
			t.rest.set = others
		}
	}
	return false, nil
}

// takeSet reports whether there is anything to be written, taking it from the source if
// necessary.
func (t *transfer) takeSet() bool {
	for t.rest.set == "" {
		if t.source == nil {
			return false
		}
		var ok bool
		if t.rest, ok = t.source.next(); !ok {
			t.source = nil
			return false
		}
	}
	return true
}

// add adds a record of the set at hand, if there is room for it. Of its owner, the zone's
// name is a pointer, and all of it if it is the last record's: to look for more costs more
// time than it saves.
func (t *transfer) add(w *writer, data string) bool {
	owner := t.rest.owner
	start := len(w.buf)
	at := start
	switch own := len(owner) - len(t.zone.name); {
	case t.lastAt > 0 && owner == t.last:
		w.buf = append(w.buf, 0xc0|byte(t.lastAt>>8), byte(t.lastAt))
	case t.apexAt > 0:
		w.buf = append(w.buf, owner[:own]...)
		w.buf = append(w.buf, 0xc0|byte(t.apexAt>>8), byte(t.apexAt))
	default:
		w.buf = append(w.buf, owner...)
		t.apexAt = at + own // the message has only begun
	}
	if owner == t.zone.name {
		at = t.apexAt // and not where a pointer to it is
	}
	if owner != t.last || t.lastAt == 0 {
		t.last, t.lastAt = owner, 0
		if at < pointerLimit {
			t.lastAt = at
		}
	}
	b := binary.BigEndian.AppendUint16(w.buf, uint16(t.rest.typ))
	b = binary.BigEndian.AppendUint16(b, dns.ClassINET)
	b = binary.BigEndian.AppendUint32(b, t.rest.ttl)
	w.buf = append(b, 0, 0)
	dataAt := len(w.buf)
	var l layout
	if t.rest.typ == record.TypeSOA { // over UDP, these few are most of a small difference
		l = layoutOf(t.rest.typ)
	}
	if !w.addData(data, l) {
		w.buf = w.buf[:start]
		return false
	}
	binary.BigEndian.PutUint16(w.buf[dataAt-2:], uint16(len(w.buf)-dataAt))
	w.counts.answer++
	return true
}
