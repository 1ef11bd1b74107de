package nameserver

import (
	"errors"
	"net/netip"
	"time"

	"github.com/miekg/dns"

	"github.com/caddy-dns/bestdns/internal/tsig"
)

// This file answers what only secondaries ask: requests that are signed (RFC 8945), and
// transfers. A server whose configuration has no secondary never gets here.

// signature is what the TSIG record of a request has come to.
type signature struct {
	key    tsig.Key     // it was signed with; zero if with none that is known
	signer *tsig.Signer // of the answer, nil if that has no TSIG record
	rcode  int          // of the answer, if it is not RcodeSuccess
	err    error        // why
}

// verify verifies the signature of a request, if it has one. Only one by a key that the
// configuration has is worth computing.
func (rules *transferRules) verify(q *query, message []byte, now time.Time) signature {
	if q.signature == 0 {
		return signature{}
	}
	r, err := tsig.Read(message, int(q.signature))
	if q.signatureMisplaced || err != nil {
		return signature{rcode: dns.RcodeFormatError, err: errors.New("its TSIG record cannot be read, or is not the last one")}
	}
	refuse := func(rcode int, err error) signature {
		return signature{signer: tsig.NewRefusal(&r, rcode), rcode: dns.RcodeNotAuth, err: err}
	}
	key, known := rules.keys[r.Key]
	if !known {
		return refuse(dns.RcodeBadKey, errors.New("no transfer of the configuration has the key that it is signed with (BADKEY)"))
	}
	signer := key.NewSigner(r.MAC)
	switch err := key.Verify(message, &r, nil, now); {
	case err == nil:
		return signature{key: key, signer: signer}
	case errors.Is(err, tsig.ErrKey):
		return refuse(dns.RcodeBadKey, err)
	case errors.Is(err, tsig.ErrMAC):
		return refuse(dns.RcodeBadSig, err)
	case errors.Is(err, tsig.ErrTime):
		signer.Fail(&r, dns.RcodeBadTime, now)
		return signature{signer: signer, rcode: dns.RcodeNotAuth, err: err}
	case errors.Is(err, tsig.ErrShort):
		signer.Fail(&r, dns.RcodeBadTrunc, now)
		return signature{signer: signer, rcode: dns.RcodeNotAuth, err: err}
	default:
		return signature{rcode: dns.RcodeFormatError, err: err}
	}
}

// isFromSecondary reports whether a query is of the kind that only secondaries send. Where the
// configuration has none, signatures are ignored and transfers refused.
func (q *query) isFromSecondary(v *view) bool {
	return (q.signature != 0 || q.transfer) && v.transfers != nil && q.rcode != dns.RcodeFormatError
}

// answerSecondary is answer for a query of a secondary.
func (r *responder) answerSecondary(v *view, q *query, message, buf []byte) []byte {
	sig := v.transfers.verify(q, message, time.Now())
	switch {
	case sig.err != nil:
		r.server.logRefusal(v, q, r.from, sig.err)
		q.rcode = sig.rcode
	case q.transfer:
		t := r.beginTransfer(v, q, message, &sig)
		if t != nil && uint16(q.typ) != dns.TypeAXFR {
			return t.datagram(r, buf)
		}
		if t != nil { // a whole zone is transferred over TCP only (RFC 5936 §4.2)
			q.rcode = dns.RcodeRefused
			t.zone.transferred.refused.Add(1)
		}
	case q.rcode == dns.RcodeSuccess:
		r.lookup.find(v, q.name, q.typ)
	}
	return r.writeSigned(q, message, buf, sig.signer)
}

// answerSecondaryTCP is answerTCP for a query of a secondary. It returns the transfer that
// the answer is, or nil and the answer.
func (r *responder) answerSecondaryTCP(v *view, q *query, message []byte, allowed bool) (answer []byte, large bool, t *transfer) {
	sig := v.transfers.verify(q, message, time.Now())
	q.limit = dns.MaxMsgSize
	switch {
	case sig.err != nil:
		r.server.logRefusal(v, q, r.from, sig.err)
		q.rcode = sig.rcode
	case q.transfer:
		if t := r.beginTransfer(v, q, message, &sig); t != nil {
			return nil, false, t
		}
	case q.rcode == dns.RcodeSuccess:
		r.lookup.find(v, q.name, q.typ)
		if large = r.lookup.isLarge(); large && !allowed {
			return nil, true, nil
		}
	}
	r.stream = r.writeSigned(q, message, r.stream, sig.signer)
	return r.stream, large, nil
}

// writeSigned is write with the TSIG record of a signer, if there is one. An answer that does
// not fit with it has nothing but the question (RFC 8945 §5.3).
func (r *responder) writeSigned(q *query, message, buf []byte, signer *tsig.Signer) []byte {
	if signer == nil {
		return r.write(q, message, buf)
	}
	q.limit -= signer.Size()
	answer := r.write(q, message, buf)
	if answer[2]&flagTC != 0 {
		w := &r.writer
		w.begin(answer, message, q)
		w.finish(message, q, flagTC, dns.RcodeSuccess)
		answer = w.buf
	}
	return signer.Sign(answer, time.Now())
}

// logRefusal logs that a secondary did not get what it asked for, and what to do. Anyone can
// ask, over UDP in the name of others, so that there are few lines, and a stranger's are apart
// from those of secondaries.
func (s *Server) logRefusal(v *view, q *query, from netip.Addr, err error) {
	from = plainAddress(from)
	known := v.transfers.addresses[from]
	bound := &s.strangers
	if known {
		bound = &s.refusedSecondaries
	}
	unlogged, ok := bound.next(time.Now())
	if !ok {
		return
	}
	log := s.log.Debug
	if known {
		log = s.log.Warn
	}
	log("a secondary's request was refused; give both servers the same addresses, keys and time", "name", q.name.String(), "from", from.String(), "error", err, "unlogged", unlogged)
}
