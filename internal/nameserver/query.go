package nameserver

import (
	"encoding/binary"

	"github.com/caddy-dns/bestdns/internal/record"
	"github.com/miekg/dns"
)

// This file is the way of a query over UDP from its octets to those of its answer.
//
// Plain queries, which is all that resolvers and CAs ask, are read where they lie,
// looked up (lookup.go) and answered from the packed RRsets (writer.go), without an
// allocation and without a lock (TestPlainQueriesAllocateNothing). Everything else is
// handed to the handler (message.go), which takes ten times as long in a small zone and
// four times in one of a million names (BenchmarkAnswer), and stays the truth: what is
// answered here is answered octet for octet as there (FuzzMessage,
// TestPlainIsAsHandler).

// responder answers messages one after the other. Each goroutine that reads a
// socket has one of its own.
type responder struct {
	server *Server
	shard  int // of the counters
	lookup lookup
	writer writer
	name   [maxName]byte // asked for, in lower case
}

// maxName is the most octets of a name (RFC 1035 §2.3.4).
const maxName = 255

// answer answers a message that came over UDP with the octets returned, nil if with
// none. They are in buf or not. A bug in answering one message costs that answer,
// and not the process, in which more than a name server runs.
func (r *responder) answer(v *view, message, buf []byte) (answer []byte) {
	defer func() {
		if recovered := recover(); recovered != nil {
			answer = nil
			r.server.logPanic(recovered, message)
		}
	}()
	if q, ok := r.parse(message); ok {
		if answer, ok = r.answerPlain(v, &q, message, buf); ok {
			return answer
		}
	}
	return handler{server: r.server, udp: true, shard: r.shard}.answer(message)
}

// plainQuery is a query with one question of class IN and at most an OPT record.
type plainQuery struct {
	name     record.Name // of the responder's octets
	typ      record.Type
	question int // where its end is
	edns     bool
	do       bool
	limit    int // octets of the answer
}

const (
	headerLen  = 12
	optLen     = 1 + 2 + 2 + 4 + 2 // without options
	rrFixedLen = 2 + 2 + 4 + 2     // type, class, TTL, length

	flagResponse, opcodeMask, flagAA, flagTC, flagRD = 0x80, 0x78, 0x04, 0x02, 0x01 // octet 2
	flagCD                                           = 0x10                         // octet 3
	flagDO                                           = 0x80                         // in the OPT record
)

// parse reads a message. It returns false for all but plain queries.
func (r *responder) parse(m []byte) (q plainQuery, ok bool) {
	if len(m) < headerLen+1+4 || m[2]&(flagResponse|opcodeMask) != 0 ||
		string(m[4:11]) != "\x00\x01\x00\x00\x00\x00\x00" || m[11] > 1 {
		return q, false
	}
	end := r.parseName(m)
	if end == 0 || len(m) < end+4 || string(m[end+2:end+4]) != "\x00\x01" {
		return q, false
	}
	q.name = record.Name(borrow(r.name[:end-headerLen]))
	q.typ = record.Type(binary.BigEndian.Uint16(m[end:]))
	q.question = end + 4
	q.limit = dns.MinMsgSize
	switch uint16(q.typ) {
	case dns.TypeAXFR, dns.TypeIXFR:
		return q, false
	}
	if rest := m[q.question:]; m[11] == 1 {
		return q, q.parseOPT(rest)
	} else {
		return q, len(rest) == 0
	}
}

// parseName copies the name behind the header in lower case and returns where its
// end is in the message, 0 if it is not one.
func (r *responder) parseName(m []byte) (end int) {
	for i := headerLen; ; {
		n := int(m[i])
		at := i - headerLen
		if n == 0 {
			r.name[at] = 0
			return i + 1
		}
		// What follows is at least another octet.
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
}

// parseOPT reads an OPT record of which rest consists (RFC 6891 §6.1.2). It returns
// false where it has another version, or options that the library examines.
func (q *plainQuery) parseOPT(rest []byte) bool {
	if len(rest) < optLen || string(rest[:3]) != "\x00\x00\x29" || rest[6] != 0 ||
		int(binary.BigEndian.Uint16(rest[9:])) != len(rest)-optLen {
		return false
	}
	q.edns = true
	q.do = rest[7]&flagDO != 0
	q.limit = min(max(int(binary.BigEndian.Uint16(rest[3:])), dns.MinMsgSize), maxUDPSize)
	for options := rest[optLen:]; len(options) > 0; {
		if len(options) < 4 {
			return false
		}
		switch binary.BigEndian.Uint16(options) {
		case dns.EDNS0NSID, dns.EDNS0COOKIE, dns.EDNS0PADDING:
		default:
			return false
		}
		n := 4 + int(binary.BigEndian.Uint16(options[2:]))
		if n > len(options) {
			return false
		}
		options = options[n:]
	}
	return true
}

// answerPlain answers a plain query in buf. It returns false where the answer has
// records that writer leaves to the library.
func (r *responder) answerPlain(v *view, q *plainQuery, message, buf []byte) ([]byte, bool) {
	l, w := &r.lookup, &r.writer
	l.find(v, q.name, q.typ)
	for _, section := range [...][]answerSet{l.answer, l.authority, l.additional} {
		for i := range section {
			if layoutOf(section[i].typ) == layoutUnknown {
				return nil, false
			}
		}
	}
	w.begin(buf, message[:q.question], q)
	truncated := w.fill(l)
	if w.unreadable {
		return nil, false
	}
	w.finish(message, q, flags(l, truncated), l.rcode())
	r.server.count(r.shard, l.hosted, q.typ, l.rcode())
	return w.buf, true
}

// flags returns those that an answer has in octet 2 of the header.
func flags(l *lookup, truncated bool) (flags byte) {
	if l.authoritative() {
		flags |= flagAA
	}
	if truncated {
		flags |= flagTC
	}
	return flags
}

// cut returns the answer to a plain query that says no more than to ask again over
// TCP, nil to any other.
func (r *responder) cut(message, buf []byte) []byte {
	q, ok := r.parse(message)
	if !ok {
		return nil
	}
	w := &r.writer
	w.begin(buf, message[:q.question], &q)
	w.finish(message, &q, flagTC, dns.RcodeSuccess)
	return w.buf
}
