package nameserver

import (
	"encoding/binary"
	"strings"

	"github.com/caddy-dns/bestdns/internal/record"
	"github.com/miekg/dns"
)

// writer writes an answer straight from packed RRsets, in the octets in which the
// library would pack it: names are compressed where it compresses them (RFC 1035
// §4.1.4, RFC 3597 §4), and only where they agree in letter case too.
type writer struct {
	buf   []byte
	asked record.Name // stands behind the header, in the case in which it was asked
	limit int         // octets, those of the OPT record not among them

	counts struct{ answer, authority, additional uint16 }
	// unreadable is set where RDATA lacks the names of its type.
	unreadable bool

	// suffixes are the names that a later one can end in. That of the question and
	// its own are there once one is looked for: most answers need none of them.
	suffixes []suffix
	started  bool
}

// suffix is where a name of that length stands in the message.
type suffix struct{ at, length uint16 }

// writerBuffer is how long a buffer has to be: an answer of the largest size and,
// until it is seen to be too long, a record of the names that RDATA can consist of.
const writerBuffer = maxUDPSize + rrFixedLen + 3*maxName + 64

// pointerLimit is the first offset that no pointer can have.
const pointerLimit = 1 << 14

// begin starts an answer with room for the header, and the question.
func (w *writer) begin(buf, message []byte, q *plainQuery) {
	w.buf = append(buf[:0], message...)
	w.asked = q.name
	w.limit = q.limit
	if q.edns {
		w.limit -= optLen
	}
	w.counts.answer, w.counts.authority, w.counts.additional = 0, 0, 0
	w.unreadable = false
	w.suffixes, w.started = w.suffixes[:0], false
}

// fill adds what a lookup found as response.truncate does, and tells whether the
// message has to be called truncated.
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
	for i := range l.additional {
		if set := &l.additional[i]; !w.add(set, &w.counts.additional) && set.needed {
			return true
		}
	}
	return false
}

// finish adds the OPT record and fills in the header.
func (w *writer) finish(message []byte, q *plainQuery, flags byte, rcode int) {
	if q.edns {
		do := byte(0)
		if q.do {
			do = flagDO
		}
		w.buf = append(w.buf, 0, 0, byte(dns.TypeOPT), maxUDPSize>>8, maxUDPSize&0xff, 0, 0, do, 0, 0, 0)
		w.counts.additional++
	}
	m := w.buf
	m[2] = flagResponse | flags | message[2]&flagRD
	m[3] = message[3]&flagCD | byte(rcode)
	binary.BigEndian.PutUint16(m[6:], w.counts.answer)
	binary.BigEndian.PutUint16(m[8:], w.counts.authority)
	binary.BigEndian.PutUint16(m[10:], w.counts.additional)
}

// add adds an RRset, all of it or nothing.
func (w *writer) add(set *answerSet, count *uint16) bool {
	length, suffixes, started := len(w.buf), len(w.suffixes), w.started
	if n, ok := w.addRecords(set); ok {
		*count += n
		return true
	}
	w.buf, w.suffixes, w.started = w.buf[:length], w.suffixes[:suffixes], started
	return false
}

// addRecords adds the records of an RRset, all with its lowest TTL, until one does
// not fit.
func (w *writer) addRecords(set *answerSet) (n uint16, ok bool) {
	ttl := set.set.ttl()
	for rest := set.set; rest != ""; n++ {
		var r packedRecord
		r, rest = rest.next()
		if set.owner == w.asked && set.owner != record.Root {
			w.buf = append(w.buf, 0xc0, headerLen)
		} else {
			w.addName(set.owner, true)
		}
		b := binary.BigEndian.AppendUint16(w.buf, uint16(set.typ))
		b = binary.BigEndian.AppendUint16(b, dns.ClassINET)
		b = binary.BigEndian.AppendUint32(b, ttl)
		w.buf = append(b, 0, 0)
		start := len(w.buf)
		if !w.addData(r.data, layoutOf(set.typ)) {
			return 0, false
		}
		binary.BigEndian.PutUint16(w.buf[start-2:], uint16(len(w.buf)-start))
	}
	return n, true
}

// addData adds RDATA, if the message is not too long with it.
func (w *writer) addData(data string, l layout) bool {
	before, names, compress := l.parts()
	before = min(before, len(data))
	w.buf = append(w.buf, data[:before]...)
	data = data[before:]
	for ; names > 0; names-- {
		name := nameAt(data)
		if name == "" {
			w.unreadable = true
			return false
		}
		w.addName(name, compress)
		data = data[len(name):]
	}
	if len(w.buf)+len(data) > w.limit {
		return false
	}
	w.buf = append(w.buf, data...)
	return true
}

// addName adds a name, compressed where it may be, and remembers what of it a later
// one can end in.
func (w *writer) addName(name record.Name, compress bool) {
	w.start()
	for name != record.Root {
		at, known := w.find(string(name))
		switch {
		case known && compress:
			w.buf = append(w.buf, 0xc0|byte(at>>8), byte(at))
			return
		case !known && len(w.buf) < pointerLimit:
			w.suffixes = append(w.suffixes, suffix{uint16(len(w.buf)), uint16(len(name))})
		}
		label := int(name[0]) + 1
		w.buf = append(w.buf, name[:label]...)
		name = name[label:]
	}
	w.buf = append(w.buf, 0)
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

// start makes the suffixes of the question known.
func (w *writer) start() {
	if w.started {
		return
	}
	w.started = true
	for at, name := headerLen, w.asked; name != record.Root; name = name.Parent() {
		w.suffixes = append(w.suffixes, suffix{uint16(at), uint16(len(name))})
		at += int(name[0]) + 1
	}
}

// find returns where a name already stands in the message.
func (w *writer) find(name string) (at int, ok bool) {
	for _, s := range w.suffixes {
		if int(s.length) == len(name) && w.standsAt(int(s.at), name) {
			return int(s.at), true
		}
	}
	return 0, false
}

// standsAt compares a name with one of the same length in the message.
func (w *writer) standsAt(at int, name string) bool {
	for {
		c := w.buf[at]
		if c >= 0xc0 {
			at = int(c&0x3f)<<8 | int(w.buf[at+1])
			continue
		}
		if c == 0 {
			return name[0] == 0
		}
		end := int(c) + 1
		if !strings.HasPrefix(name, borrow(w.buf[at:at+end])) {
			return false
		}
		at, name = at+end, name[end:]
	}
}

// layout says where names are in the RDATA of a type.
type layout uint8

const (
	layoutUnknown layout = iota // to be packed by the library
	layoutOctets                // none
	layoutName                  // a name
	layoutMX                    // two octets, a name
	layoutSOA                   // two names, 20 octets
	layoutSRV                   // six octets, a name not to be compressed
	layoutSVCB                  // two octets, a name not to be compressed, more octets
)

func (l layout) parts() (before, names int, compress bool) {
	switch l {
	case layoutName:
		return 0, 1, true
	case layoutMX:
		return 2, 1, true
	case layoutSOA:
		return 0, 2, true
	case layoutSRV:
		return 6, 1, false
	case layoutSVCB:
		return 2, 1, false
	}
	return 0, 0, false
}

func layoutOf(t record.Type) layout {
	if int(t) < len(layouts) {
		return layouts[t]
	}
	if uint16(t) == dns.TypeCAA {
		return layoutOctets
	}
	return layoutUnknown
}

// layouts are those of the types up to 255.
var layouts = [256]layout{
	dns.TypeA:     layoutOctets,
	dns.TypeAAAA:  layoutOctets,
	dns.TypeTXT:   layoutOctets,
	dns.TypeSSHFP: layoutOctets,
	dns.TypeTLSA:  layoutOctets,
	dns.TypeDS:    layoutOctets,
	dns.TypeNS:    layoutName,
	dns.TypeCNAME: layoutName,
	dns.TypePTR:   layoutName,
	dns.TypeMX:    layoutMX,
	dns.TypeSOA:   layoutSOA,
	dns.TypeSRV:   layoutSRV,
	dns.TypeSVCB:  layoutSVCB,
	dns.TypeHTTPS: layoutSVCB,
}
