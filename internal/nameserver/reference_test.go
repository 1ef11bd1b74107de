package nameserver

import (
	"encoding/binary"
	"encoding/hex"

	"github.com/caddy-dns/bestdns/internal/record"
	"github.com/miekg/dns"
)

// This file answers messages by way of the DNS library, which parses and packs them: the
// reference that what responder makes of them is compared with, byte for byte
// (TestWriterIsAsLibrary, FuzzMessage).

// handler answers messages as the library reads and writes them.
type handler struct {
	server *Server
	udp    bool
}

// answer returns the answer to a message, nil where it must not have one.
func (h handler) answer(message []byte) []byte {
	if len(message) < headerLen {
		return nil // whatever it is, an answer could only serve to hit someone
	}
	request := new(dns.Msg)
	bits := binary.BigEndian.Uint16(message[2:])
	opcode := int(bits>>11) & 0xf
	questions := binary.BigEndian.Uint16(message[4:])
	switch {
	case bits&(1<<15) != 0:
		return nil // answering answers makes loops
	case opcode != dns.OpcodeQuery:
		return h.reject(message, request, dns.RcodeNotImplemented)
	case questions != 1:
		return h.reject(message, request, dns.RcodeFormatError)
	}
	if err := request.Unpack(message); err != nil || !whole(message, request) {
		return h.reject(message, request, dns.RcodeFormatError)
	}
	return h.respond(request)
}

// whole reports whether a message has all that its header announces: the library takes
// one that ends between two records, or after the name of the question.
func whole(message []byte, m *dns.Msg) bool {
	if _, end, err := dns.UnpackDomainName(message, headerLen); err != nil || end+4 > len(message) {
		m.Question = nil
		return false
	}
	announced := func(at int) int { return int(binary.BigEndian.Uint16(message[at:])) }
	return len(m.Answer) == announced(6) && len(m.Ns) == announced(8) && len(m.Extra) == announced(10)
}

// reject answers a message that is not understood, with as much of its question as
// is: the rest of its header means nothing in an answer.
func (h handler) reject(message []byte, request *dns.Msg, rcode int) []byte {
	var answer dns.Msg
	answer.Id = binary.BigEndian.Uint16(message)
	answer.Response = true
	answer.Opcode = int(message[2]&opcodeMask) >> 3
	answer.RecursionDesired = message[2]&flagRD != 0
	answer.CheckingDisabled = message[3]&flagCD != 0
	answer.Rcode = rcode
	answer.Question = request.Question
	packed, err := answer.Pack()
	if err != nil { // a question that can be read and not written
		answer.Question = nil
		packed, _ = answer.Pack()
	}
	return packed
}

// respond returns the answer to a message, packed.
func (h handler) respond(request *dns.Msg) []byte {
	r := &response{limit: dns.MaxMsgSize}
	if h.udp {
		r.limit = dns.MinMsgSize
	}
	r.msg.SetReply(request)
	r.msg.Compress = true
	r.msg.Rcode = r.examine(request, h.udp)
	if r.msg.Rcode == dns.RcodeSuccess {
		r.lookUp(h.server.view.Load())
	}
	return r.pack()
}

// response is an answer in the making.
type response struct {
	msg    dns.Msg
	opt    *dns.OPT // nil where the client has none
	limit  int      // bytes
	name   record.Name
	lookup lookup
}

// examine checks a message before its question is looked up, and returns the
// RCODE that it gets for what it is.
func (r *response) examine(request *dns.Msg, udp bool) int {
	opts, named := 0, false
	for _, rr := range request.Extra {
		if opt, ok := rr.(*dns.OPT); ok {
			opts++
			named = named || opt.Hdr.Name != "."
			r.answerOPT(opt, udp)
		}
	}
	switch {
	case len(request.Question) != 1, opts > 1, named: // RFC 6891 §6.1
		return dns.RcodeFormatError
	case opts == 1 && request.IsEdns0().Version() != 0:
		return dns.RcodeBadVers
	case request.Question[0].Qclass != dns.ClassINET:
		return dns.RcodeRefused
	}
	switch request.Question[0].Qtype {
	case dns.TypeAXFR, dns.TypeIXFR:
		return dns.RcodeRefused
	}
	var wire [256]byte
	n, err := dns.PackDomainName(request.Question[0].Name, wire[:], 0, nil, false)
	if err == nil {
		r.name, err = record.NameFromWire(wire[:n])
	}
	if err != nil {
		return dns.RcodeFormatError
	}
	return dns.RcodeSuccess
}

// answerOPT answers a client's OPT record with ours, and takes from it how much
// the client can take. The DO bit is copied (RFC 3225 §3) and means nothing in
// zones that are not signed; options are ignored.
func (r *response) answerOPT(opt *dns.OPT, udp bool) {
	r.opt = &dns.OPT{Hdr: dns.RR_Header{Name: ".", Rrtype: dns.TypeOPT}}
	r.opt.SetUDPSize(maxUDPSize)
	r.opt.SetDo(opt.Do())
	if udp {
		r.limit = min(max(int(opt.UDPSize()), dns.MinMsgSize), maxUDPSize)
	}
}

// lookUp looks the question up and sets the header by what came of it.
func (r *response) lookUp(v *view) {
	r.lookup.find(v, r.name, record.Type(r.msg.Question[0].Qtype))
	r.msg.Authoritative = r.lookup.authoritative()
	r.msg.Rcode = r.lookup.rcode()
}

// pack returns the message in wire form, within the limit.
func (r *response) pack() []byte {
	r.msg.Truncated = !r.fill()
	if r.opt != nil {
		r.msg.Extra = append(r.msg.Extra, r.opt)
	}
	packed, err := r.msg.Pack()
	if err != nil {
		panic(err)
	}
	return packed
}

// fill fills the message up to the limit with whole RRsets (RFC 2181 §9): the
// answer, the authority, then what is additional, of which anything but needed glue
// may be missing without the message being called truncated. There is always room for
// the OPT record.
func (r *response) fill() bool {
	for _, set := range r.lookup.answer {
		if !r.tryAdd(&r.msg.Answer, set) {
			return false
		}
	}
	for _, set := range r.lookup.authority {
		if !r.tryAdd(&r.msg.Ns, set) {
			return false
		}
	}
	if r.lookup.hosted == nil {
		return true
	}
	r.lookup.beginAdditional()
	for {
		set := r.lookup.additional(r.room())
		if set == nil {
			return true
		}
		if !r.tryAdd(&r.msg.Extra, *set) && set.needed {
			return false
		}
	}
}

// room returns how many bytes are left.
func (r *response) room() int {
	room := r.limit - r.msg.Len()
	if r.opt != nil {
		room -= optLen
	}
	return room
}

// tryAdd adds an RRset to a section, if it fits.
func (r *response) tryAdd(section *[]dns.RR, set answerSet) bool {
	before := *section
	*section = r.appendRRs(before, set)
	if r.room() >= 0 {
		return true
	}
	*section = before
	return false
}

// appendRRs appends the records of an RRset, all with its lowest TTL. An owner that
// is the name asked for keeps the case in which it was asked.
func (r *response) appendRRs(list []dns.RR, set answerSet) []dns.RR {
	owner := r.msg.Question[0].Name
	if set.owner != r.name {
		// As the library prints names, since it compresses by what it prints.
		owner, _, _ = dns.UnpackDomainName([]byte(set.owner), 0)
	}
	ttl := set.set.ttl()
	for rest := set.set; rest != ""; {
		var packed packedRecord
		packed, rest = rest.next()
		list = append(list, newRR(owner, set.typ, ttl, packed.data))
	}
	return list
}

func newRR(owner string, t record.Type, ttl uint32, data string) dns.RR {
	header := dns.RR_Header{Name: owner, Rrtype: uint16(t), Class: dns.ClassINET, Ttl: ttl, Rdlength: uint16(len(data))}
	rr, _, err := dns.UnpackRRWithHeader(header, []byte(data), 0)
	if err != nil {
		// Data of a type that has become known since it was stored under its number.
		return &dns.RFC3597{Hdr: header, Rdata: hex.EncodeToString([]byte(data))}
	}
	return rr
}

// ttl returns the lowest TTL in the set: an RRset is served with one TTL (RFC 2181
// §5.2), while each record keeps the one that it was given.
func (s rrset) ttl() uint32 {
	lowest := uint32(record.MaxTTL)
	for s != "" {
		var r packedRecord
		r, s = s.next()
		lowest = min(lowest, r.ttl)
	}
	return lowest
}
