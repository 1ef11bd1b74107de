package nameserver

import (
	"encoding/binary"
	"net/netip"

	"github.com/caddy-dns/bestdns/internal/record"
	"github.com/miekg/dns"
)

// This file is the way of a query from its bytes to those of its answer.
//
// A query is read where it is, looked up (lookup.go) and answered from the packed
// RRsets (writer.go), without an allocation and without a lock
// (TestPlainQueriesAllocateNothing). Of what follows the question only the OPT and TSIG
// records say anything; the data of other records is skipped, whatever it is. So no
// message costs more to read than its length. What only secondaries and clients
// with keys ask, transfers and whatever is signed, goes another way (signed.go), and so do updates
// (update.go).

// responder answers messages one after the other. Each goroutine that reads a UDP
// socket has one of its own; those of TCP connections take one for each message.
type responder struct {
	// server may be another one for each message.
	server *Server
	shard  int        // of the counters
	from   netip.Addr // where the message at hand is from
	lookup lookup
	writer writer
	name   [maxName]byte // asked for, in lower case
	stream []byte        // the last answer over TCP
}

const (
	// maxName is the most octets of a name (RFC 1035 §2.3.4).
	maxName = 255
	// maxUDPSize is the largest answer over UDP in bytes, whatever a client takes: it
	// passes everywhere without fragments (DNS flag day 2020).
	maxUDPSize = 1232
)

// answer answers a message that came over UDP with the bytes returned, nil if with
// none. They are in buf or not.
func (r *responder) answer(v *view, message, buf []byte) (answer []byte) {
	defer r.recoverPanic(message, &answer)
	q, ok := r.parse(message)
	if !ok {
		return nil
	}
	if q.isOfPeer(v) {
		return r.answerSigned(v, &q, message, buf)
	}
	if q.rcode == dns.RcodeSuccess {
		r.lookup.find(v, q.name, q.typ)
	}
	return r.write(&q, message, buf)
}

// answerTCP is answer for a message that came over TCP. An answer that is large is made
// only where allowed says so; elsewhere that it is large is all that it returns. The
// bytes are those of the responder, until it answers another message. The answer to a
// transfer is nil: the transfer makes its messages, of which any may be the last.
func (r *responder) answerTCP(message []byte, allowed bool) (answer []byte, large bool, t *transfer) {
	defer r.recoverPanic(message, &answer)
	q, ok := r.parse(message)
	if !ok {
		return nil, false, nil
	}
	v := r.server.view.Load()
	if q.isOfPeer(v) {
		return r.answerSignedTCP(v, &q, message, allowed)
	}
	if q.rcode == dns.RcodeSuccess {
		r.lookup.find(v, q.name, q.typ)
		if large = r.lookup.isLarge(); large && !allowed {
			return nil, true, nil
		}
	}
	q.limit = dns.MaxMsgSize
	r.stream = r.write(&q, message, r.stream)
	return r.stream, large, nil
}

// recoverPanic ends the answer in which there was a panic. A bug in answering one message
// costs that answer, and not the process, in which more than a name server runs.
func (r *responder) recoverPanic(message []byte, answer *[]byte) {
	if recovered := recover(); recovered != nil {
		*answer = nil
		r.server.logPanic(recovered, message)
	}
}

// write answers a query, which was looked up, in buf, or in a new buffer if that is
// too short.
func (r *responder) write(q *query, message, buf []byte) []byte {
	w, l := &r.writer, &r.lookup
	w.begin(buf, message, q)
	if q.rcode != dns.RcodeSuccess {
		w.finish(message, q, 0, q.rcode)
		r.server.count(r.shard, nil, q.typ, q.rcode)
		return w.buf
	}
	truncated := w.fill(l)
	w.finish(message, q, flags(l, truncated), l.rcode())
	r.server.count(r.shard, l.hosted, q.typ, l.rcode())
	return w.buf
}

// flags returns those that an answer has in byte 2 of the header.
func flags(l *lookup, truncated bool) (flags byte) {
	if l.authoritative() {
		flags |= flagAA
	}
	if truncated {
		flags |= flagTC
	}
	return flags
}

// cut returns the answer to a query that says no more than to ask again over TCP, nil
// to a message that has none, or an error.
func (r *responder) cut(message, buf []byte) []byte {
	q, ok := r.parse(message)
	if !ok || q.rcode != dns.RcodeSuccess {
		return nil
	}
	w := &r.writer
	w.begin(buf, message, &q)
	w.finish(message, &q, flagTC, dns.RcodeSuccess)
	return w.buf
}

// query is what a message says.
type query struct {
	name record.Name // of the responder's bytes
	typ  record.Type
	end  int // of the question in the message, of the header if it could not be read
	edns bool
	do   bool
	// transfer is true for AXFR and IXFR. Their rcode is REFUSED, but for secondaries.
	transfer bool
	// reason is why the answer is an error, for people whose client knows EDNS (RFC 8914).
	reason string
	// signature is where the TSIG record is in the message, 0 if there is none.
	signature          uint16
	signatureMisplaced bool // it is not the last record, or not the only one

	limit int // bytes of the answer
	rcode int // that the message gets whatever it asks for; success: what it asks for decides
}

const (
	headerLen  = 12
	optLen     = 1 + 2 + 2 + 4 + 2 // without options
	rrFixedLen = 2 + 2 + 4 + 2     // type, class, TTL, length

	flagResponse, opcodeMask, flagAA, flagTC, flagRD = 0x80, 0x78, 0x04, 0x02, 0x01 // byte 2
	flagCD                                           = 0x10                         // byte 3
	flagDO                                           = 0x80                         // in the OPT record
)

// parse reads a message. It returns false for what must not have an answer: that to
// an answer would make a loop, and that to less than a header could only serve to hit
// someone.
func (r *responder) parse(m []byte) (q query, ok bool) {
	if len(m) < headerLen || m[2]&flagResponse != 0 {
		return q, false
	}
	q.end, q.limit = headerLen, dns.MinMsgSize
	switch {
	case m[2]&opcodeMask != 0:
		q.rcode = dns.RcodeNotImplemented
		return q, true
	case m[4] != 0 || m[5] != 1:
		q.rcode = dns.RcodeFormatError
		return q, true
	}
	return r.parseSections(m, q), true
}

// parseSections reads what follows the header, of a query or an update: a zone section looks like
// a question (RFC 2136 §2.3).
func (r *responder) parseSections(m []byte, q query) query {
	end := r.parseName(m)
	if end == 0 || len(m) < end+4 {
		q.rcode = dns.RcodeFormatError
		return q
	}
	q.end = end + 4
	q.name = record.Name(borrow(r.name[:end-headerLen]))
	if m[6]|m[7]|m[8]|m[9]|m[10]|m[11] != 0 && !q.parseRecords(m) {
		q.edns, q.rcode = false, dns.RcodeFormatError
		return q
	}
	q.typ = record.Type(binary.BigEndian.Uint16(m[end:]))
	if q.rcode == dns.RcodeSuccess {
		inet := string(m[end+2:end+4]) == "\x00\x01"
		q.transfer = inet && (uint16(q.typ) == dns.TypeAXFR || uint16(q.typ) == dns.TypeIXFR)
		if !inet || q.transfer {
			q.rcode = dns.RcodeRefused
		}
	}
	return q
}

// parseName copies the name after the header in lower case and returns where its
// end is in the message, 0 if it is not one. There is nothing before it that it could
// be compressed with.
func (r *responder) parseName(m []byte) (end int) {
	for i := headerLen; i < len(m); {
		n := int(m[i])
		at := i - headerLen
		if n == 0 {
			r.name[at] = 0
			return i + 1
		}
		// What follows is at least another byte.
		if n > 63 || i+n+1 >= len(m) || at+n+1 >= maxName {
			return 0
		}
		r.name[at] = byte(n)
		to := r.name[at+1 : at+1+n]
		for j, c := range m[i+1 : i+1+n] {
			if 'A' <= c && c <= 'Z' {
				c += 'a' - 'A'
			}
			to[j] = c
		}
		i += n + 1
	}
	return 0
}

// parseRecords reads the OPT record among those that follow the question, sets the RCODE
// that there is for it, and notes where the TSIG record is. It returns false if not all are
// there that the header announces.
func (q *query) parseRecords(m []byte) bool {
	others := int(binary.BigEndian.Uint16(m[6:])) + int(binary.BigEndian.Uint16(m[8:]))
	all := others + int(binary.BigEndian.Uint16(m[10:]))
	opts, misplaced, version := 0, false, byte(0)
	at := q.end
	for i := range all { // at least 11 bytes each
		owner := at
		if at = record.SkipName(m, at); at == 0 || len(m)-at < rrFixedLen {
			return false
		}
		fixed := m[at : at+rrFixedLen]
		at += rrFixedLen
		data := int(binary.BigEndian.Uint16(fixed[8:]))
		if len(m)-at < data {
			return false
		}
		switch {
		case i < others || fixed[0] != 0:
		case fixed[1] == byte(dns.TypeOPT):
			if !wholeOptions(m[at : at+data]) {
				return false
			}
			opts++
			misplaced = misplaced || m[owner] != 0
			q.edns, q.do, version = true, fixed[6]&flagDO != 0, fixed[5]
			q.limit = min(max(int(binary.BigEndian.Uint16(fixed[2:])), dns.MinMsgSize), maxUDPSize)
		case fixed[1] == byte(dns.TypeTSIG):
			q.signatureMisplaced = q.signature != 0 || i < all-1 // RFC 8945 §5.1
			q.signature = uint16(owner)
		}
		at += data
	}
	switch {
	case opts > 1 || misplaced: // RFC 6891 §6.1
		q.rcode = dns.RcodeFormatError
	case version != 0:
		q.rcode = dns.RcodeBadVers
	}
	return true
}

// wholeOptions reports whether the data of an OPT record consists of options. None is
// known here, and all are ignored (RFC 6891 §6.1.2).
func wholeOptions(data []byte) bool {
	for len(data) >= 4 {
		n := 4 + int(binary.BigEndian.Uint16(data[2:]))
		if n > len(data) {
			return false
		}
		data = data[n:]
	}
	return len(data) == 0
}
