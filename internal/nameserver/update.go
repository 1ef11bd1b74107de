package nameserver

import (
	"context"
	"errors"
	"net/netip"
	"sync"
	"time"

	"github.com/miekg/dns"

	"github.com/caddy-dns/bestdns/internal/text"
	"github.com/caddy-dns/bestdns/internal/tsig"
)

// This file is the way of an update (RFC 2136) from its bytes to those of its answer. What it does
// is for [Clients] to know.
//
// The goroutine that reads a socket verifies the signature, which takes a microsecond or two, and has
// the rest done by another: a change takes as long as it takes. What is rightly signed is not charged to the
// network that it is from, which over UDP anyone can name.

const (
	// updateTimeout is how long an update may take. The change within has a time of its own.
	updateTimeout = 30 * time.Second
	// mostUpdates is how many updates that came over UDP are under way, by all clients; mostUpdatesOfKey how
	// many by one. What is beyond gets no answer, and is sent again.
	mostUpdates, mostUpdatesOfKey = 512, 64
	// largeUpdates is how many updates longer than a query are being read, largeUpdatesOfOne how
	// many of them by one address.
	largeUpdates, largeUpdatesOfOne = 256, 4
	// maxReason is how many bytes of the reason of an error go into its answer.
	maxReason = 300
)

func isUpdate(m []byte) bool {
	return len(m) >= headerLen && m[2]&(flagResponse|opcodeMask) == dns.OpcodeUpdate<<3
}

// parseUpdate reads an update, of which only zone, EDNS and signature matter here.
func (r *responder) parseUpdate(m []byte) (q query) {
	q.end, q.limit = headerLen, dns.MinMsgSize
	if m[4] != 0 || m[5] != 1 {
		q.rcode = dns.RcodeFormatError
		return q
	}
	if q = r.parseSections(m, q); q.rcode == dns.RcodeSuccess && uint16(q.typ) != dns.TypeSOA {
		q.rcode = dns.RcodeFormatError // RFC 2136 §3.1.1
	}
	return q
}

// errNoUpdateKey is what is wrong with an update of someone who has no right to any.
var errNoUpdateKey = errors.New("an update has to be signed with the TSIG key of a client (RFC 8945)")

// acceptUpdate returns the signature of an update that is to be made. The answer to any other is
// made at once; it is nil if there is to be none.
func (r *responder) acceptUpdate(v *view, message, buf []byte, tcp bool) (accepted *signature, answer []byte) {
	defer r.recoverPanic(message, &answer)
	q := r.parseUpdate(message)
	if q.rcode != dns.RcodeSuccess {
		return nil, r.finishUpdate(&q, message, buf, nil)
	}
	sig := v.verify(&q, message, time.Now())
	if sig.err == nil && !sig.ofClient {
		sig.err, sig.rcode = errNoUpdateKey, dns.RcodeRefused
	}
	if sig.err == nil {
		return &sig, nil
	}
	if !v.clients.Refuse(r.from, tcp, sig.err) {
		return nil, nil
	}
	if q.rcode = sig.rcode; tcp { // over UDP the answer may go to someone else, and is to be short
		q.reason = sig.err.Error()
	}
	return nil, r.finishUpdate(&q, message, buf, sig.signer)
}

// finishUpdate makes the answer to an update: its RCODE, and the reason if the client knows EDNS.
func (r *responder) finishUpdate(q *query, message, buf []byte, signer *tsig.Signer) []byte {
	w := &r.writer
	w.begin(buf, message, q)
	const option = 2 + 2 + 2 // before the reason (RFC 8914 §2)
	room := w.limit - len(w.buf) - option
	if signer != nil {
		room -= signer.Size()
	}
	const ellipsis = 3
	if room = min(room, maxReason) - ellipsis; room < ellipsis {
		q.reason = ""
	}
	q.reason = text.Clip(q.reason, max(0, room))
	w.finish(message, q, 0, q.rcode)
	r.server.countUpdate(r.shard, q.rcode)
	if signer == nil {
		return w.buf
	}
	return signer.Sign(w.buf, time.Now())
}

// makeUpdate has an update made, and returns the answer, nil if there is none.
func (s *Server) makeUpdate(v *view, message []byte, sig *signature, from netip.Addr) (answer []byte) {
	defer func() {
		if recovered := recover(); recovered != nil {
			answer = nil
			s.logPanic(recovered, message)
		}
	}()
	ctx, cancel := context.WithTimeout(context.Background(), updateTimeout)
	defer cancel()
	rcode, reason := v.clients.Update(ctx, Update{Message: message, Key: sig.key.Name, From: plainAddress(from)})
	r := responders.Get().(*responder)
	defer responders.Put(r)
	r.server, r.from = s, from
	defer func() { r.server = nil }()
	q := r.parseUpdate(message)
	q.rcode, q.reason = rcode, reason
	return append([]byte(nil), r.finishUpdate(&q, message, r.stream, sig.signer)...)
}

// updates are those under way that came over UDP. The zero value has none.
type updates struct {
	mu    sync.Mutex
	all   int
	byKey map[string]int
	// underWay has the signatures, by which a message is known that is sent again.
	underWay map[string]bool
}

// begin reports whether an update may begin: not one that is under way already, nor too many.
func (u *updates) begin(sig *signature) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.byKey == nil {
		u.byKey, u.underWay = make(map[string]int), make(map[string]bool)
	}
	key, mac := string(sig.key.Name), sig.mac
	if u.underWay[mac] || u.all >= mostUpdates || u.byKey[key] >= mostUpdatesOfKey {
		return false
	}
	u.underWay[mac] = true
	u.all++
	u.byKey[key]++
	return true
}

func (u *updates) end(sig *signature) {
	u.mu.Lock()
	defer u.mu.Unlock()
	key := string(sig.key.Name)
	delete(u.underWay, sig.mac)
	u.all--
	if u.byKey[key]--; u.byKey[key] == 0 {
		delete(u.byKey, key)
	}
}

// datagram is where the answer to a message that came over UDP goes.
type datagram struct {
	to      netip.AddrPort
	control []byte // has it leave from the address that the message came to
}

// updateByUDP answers an update that came over UDP: at once with the answer returned, if any, or
// later by send.
func (r *responder) updateByUDP(v *view, message, buf []byte, to func() datagram, send func([]byte, datagram)) []byte {
	sig, answer := r.acceptUpdate(v, message, buf, false)
	if sig == nil || !r.server.updates.begin(sig) {
		return answer
	}
	server, from, message, back := r.server, r.from, append([]byte(nil), message...), to()
	go func() {
		defer server.updates.end(sig)
		if answer := server.makeUpdate(v, message, sig, from); answer != nil {
			send(answer, back)
		}
	}()
	return nil
}

// updateByTCP answers an update that came over TCP, with nothing if it has no answer.
func (s *Server) updateByTCP(message []byte, from netip.Addr) (answer []byte) {
	v := s.view.Load()
	r := responders.Get().(*responder)
	r.server, r.from = s, from
	sig, answer := r.acceptUpdate(v, message, r.stream, true)
	answer = append([]byte(nil), answer...)
	r.server = nil
	responders.Put(r)
	if sig != nil {
		return s.makeUpdate(v, message, sig, from)
	}
	return answer
}
