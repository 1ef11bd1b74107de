package nameserver

import (
	"encoding/binary"

	"github.com/caddy-dns/bestdns/internal/record"
	"github.com/miekg/dns"
)

// writer writes an answer straight from packed RRsets, whose bytes it never changes:
// only names are compressed, where all who read the type can read that (RFC 1035 §4.1.4,
// RFC 3597 §4), and only where they agree in letter case too. It is what the DNS library
// would pack (TestWriterIsAsLibrary).
type writer struct {
	buf   []byte
	asked record.Name // follows the header in the message, in the case in which it was asked
	limit int         // bytes, those of the OPT record not among them

	counts struct{ answer, authority, additional uint16 }

	// suffixes has the names of the question and the writer's own once one is looked
	// for: most answers need none of them.
	suffixes suffixes
	started  bool
}

// writerBuffer is how long a buffer for an answer over UDP has to be: an answer of the
// largest size and, until it is seen to be too long, a record of the names that RDATA
// can consist of.
const writerBuffer = maxUDPSize + rrFixedLen + 3*maxName + 64

// begin starts an answer with room for the header, and the question.
func (w *writer) begin(buf, message []byte, q *query) {
	w.buf = append(buf[:0], message[:q.end]...)
	w.asked = q.name
	w.limit = q.limit
	if q.edns {
		w.limit -= optLen
	}
	w.counts.answer, w.counts.authority, w.counts.additional = 0, 0, 0
	w.suffixes.reset()
	w.started = false
}

// fill fills the message up to its limit with what a lookup found, RRset by RRset (RFC
// 2181 §9): the answer, the authority, then what is additional, of which anything but
// needed glue may be missing. It reports whether the message has to be called truncated;
// if its answer is, nothing is additional. Filling another message with the same lookup
// has the same result.
func (w *writer) fill(l *lookup) (truncated bool) {
	for i := range l.answer {
		if !w.add(&l.answer[i], &w.counts.answer) {
			return true
		}
	}
	for i := range l.authority {
		if !w.add(&l.authority[i], &w.counts.authority) {
			return true
		}
	}
	l.beginAdditional()
	for {
		set := l.additional(w.limit - len(w.buf))
		if set == nil {
			return false
		}
		if !w.add(set, &w.counts.additional) && set.needed {
			return true
		}
	}
}

// finish adds the OPT record and fills in the header.
func (w *writer) finish(message []byte, q *query, flags byte, rcode int) {
	if q.edns {
		do := byte(0)
		if q.do {
			do = flagDO
		}
		w.buf = append(w.buf, 0, 0, byte(dns.TypeOPT), maxUDPSize>>8, maxUDPSize&0xff, byte(rcode>>4), 0, do, 0, 0, 0)
		if q.reason != "" {
			w.addReason(q.reason)
		}
		w.counts.additional++
	}
	questions := uint16(0)
	if q.end > headerLen {
		questions = 1
	}
	m := w.buf
	m[2] = flagResponse | flags | message[2]&(opcodeMask|flagRD)
	m[3] = message[3]&flagCD | byte(rcode&0xf)
	binary.BigEndian.PutUint16(m[4:], questions)
	binary.BigEndian.PutUint16(m[6:], w.counts.answer)
	binary.BigEndian.PutUint16(m[8:], w.counts.authority)
	binary.BigEndian.PutUint16(m[10:], w.counts.additional)
}

// addReason adds the option that says why the answer is an error (RFC 8914) to the OPT record, with
// which the message ends.
func (w *writer) addReason(reason string) {
	const other = 0 // the code for what no other code says
	option := binary.BigEndian.AppendUint16(nil, dns.EDNS0EDE)
	option = binary.BigEndian.AppendUint16(option, uint16(2+len(reason)))
	option = append(binary.BigEndian.AppendUint16(option, other), reason...)
	binary.BigEndian.PutUint16(w.buf[len(w.buf)-2:], uint16(len(option)))
	w.buf = append(w.buf, option...)
}

// mark is how far a message was written.
type mark struct {
	length, suffixes int
	started          bool
}

func (w *writer) mark() mark { return mark{len(w.buf), len(w.suffixes.list), w.started} }

func (w *writer) rewind(to mark) {
	w.buf, w.started = w.buf[:to.length], to.started
	w.suffixes.truncate(to.suffixes)
}

// add adds an RRset, all of it or nothing. Its records have all the lowest of their
// TTLs (RFC 2181 §5.2).
func (w *writer) add(set *answerSet, count *uint16) bool {
	before := w.mark()
	first, _ := set.set.next()
	ttl := first.ttl
	if set.uncacheable {
		ttl = 0
	}
	n, lowest, ok := w.addRecords(set, ttl)
	if ok && lowest != ttl {
		w.rewind(before)
		n, _, ok = w.addRecords(set, lowest)
	}
	if !ok {
		w.rewind(before)
		return false
	}
	*count += n
	return true
}

// addRecords adds the records of an RRset with a TTL, until one does not fit. It
// returns their number, and the lowest TTL that they have.
func (w *writer) addRecords(set *answerSet, ttl uint32) (n uint16, lowest uint32, ok bool) {
	lowest = ttl
	l := layoutOf(set.typ)
	pointer := 0 // to the owner, 0 for none
	if set.owner == w.asked && set.owner != record.Root {
		pointer = headerLen
	}
	for rest := set.set; rest != ""; n++ {
		var r packedRecord
		r, rest = rest.next()
		lowest = min(lowest, r.ttl)
		if pointer > 0 {
			w.buf = append(w.buf, 0xc0|byte(pointer>>8), byte(pointer))
		} else {
			pointer = w.addOwner(set.owner)
		}
		b := binary.BigEndian.AppendUint16(w.buf, uint16(set.typ))
		b = binary.BigEndian.AppendUint16(b, dns.ClassINET)
		b = binary.BigEndian.AppendUint32(b, ttl)
		w.buf = append(b, 0, 0)
		start := len(w.buf)
		if !w.addData(r.data, l) {
			return 0, 0, false
		}
		binary.BigEndian.PutUint16(w.buf[start-2:], uint16(len(w.buf)-start))
	}
	return n, lowest, true
}

// addOwner adds the owner of a record and returns where it is for those that
// follow, 0 if nothing can point there.
func (w *writer) addOwner(owner record.Name) (pointer int) {
	at := len(w.buf)
	w.addName(owner, true)
	switch {
	case owner == record.Root:
		return 0
	case w.buf[at] >= 0xc0:
		return int(w.buf[at]&0x3f)<<8 | int(w.buf[at+1])
	case at < pointerLimit:
		return at
	}
	return 0
}

// addData adds RDATA, if the message is not too long with it.
func (w *writer) addData(data string, l layout) bool {
	if l.names > 0 {
		before := w.mark()
		if rest, ok := w.addNames(data, l); ok {
			data = rest
		} else {
			w.rewind(before) // written as it is stored
		}
	}
	if len(w.buf)+len(data) > w.limit {
		return false
	}
	w.buf = append(w.buf, data...)
	return true
}

// addNames adds RDATA up to the end of its last name and returns the rest. It returns
// false if the data is not laid out as that of its type.
func (w *writer) addNames(data string, l layout) (rest string, ok bool) {
	if len(data) < int(l.before) {
		return "", false
	}
	w.buf = append(w.buf, data[:l.before]...)
	data = data[l.before:]
	for range l.names {
		name := nameAt(data)
		if name == "" {
			return "", false
		}
		w.addName(name, l.compress)
		data = data[len(name):]
	}
	return data, l.after == anyLength || int(l.after) == len(data)
}

// addName adds a name, compressed where it may be, and remembers what of it a later
// one can end in.
func (w *writer) addName(name record.Name, compress bool) {
	w.start()
	w.suffixes.expect(w.buf, name)
	known, at := w.suffixes.longest(w.buf, string(name))
	if at == 0 || !compress {
		w.suffixes.add(len(w.buf), string(name), known, len(name))
		w.buf = append(w.buf, name...)
		return
	}
	w.suffixes.add(len(w.buf), string(name), known, known)
	w.buf = append(w.buf, name[:known]...)
	w.buf = append(w.buf, 0xc0|byte(at>>8), byte(at))
}

// nameAt returns the name in wire form at the start of data, "" if there is none.
func nameAt(data string) record.Name {
	for i := 0; i < len(data) && i < maxName; i += int(data[i]) + 1 {
		switch {
		case data[i] == 0:
			return record.Name(data[:i+1])
		case data[i] > 63:
			return ""
		}
	}
	return ""
}

// start makes the suffixes of the question known, in the case that they have
// there.
func (w *writer) start() {
	if w.started {
		return
	}
	w.started = true
	w.suffixes.expect(w.buf, w.asked)
	asked := borrow(w.buf[headerLen : headerLen+len(w.asked)])
	w.suffixes.add(headerLen, asked, len(asked)-1, len(asked))
}

// layout says where names are in the RDATA of a type: after some bytes, and before
// some.
type layout struct {
	before, names, after int8
	compress             bool
}

// anyLength is that of bytes of which there can be any number.
const anyLength = -1

// layoutOf returns the layout of a type, none where names need not be known: no name
// in data of other types may be compressed, and none follows that could point there.
func layoutOf(t record.Type) layout {
	if int(t) < len(layouts) {
		return layouts[t]
	}
	return layout{}
}

var (
	layoutName = layout{names: 1, compress: true}
	layoutSVCB = layout{before: 2, names: 1, after: anyLength}
)

// layouts has the types of RFC 1035, whose names all can decompress, and those whose
// targets' records are additional.
var layouts = [256]layout{
	dns.TypeNS:    layoutName,
	dns.TypeMD:    layoutName,
	dns.TypeMF:    layoutName,
	dns.TypeCNAME: layoutName,
	dns.TypeMB:    layoutName,
	dns.TypeMG:    layoutName,
	dns.TypeMR:    layoutName,
	dns.TypePTR:   layoutName,
	dns.TypeSOA:   {names: 2, after: 20, compress: true},
	dns.TypeMINFO: {names: 2, compress: true},
	dns.TypeMX:    {before: 2, names: 1, compress: true},
	dns.TypeSRV:   {before: 6, names: 1},
	dns.TypeSVCB:  layoutSVCB,
	dns.TypeHTTPS: layoutSVCB,
}
