package nameserver

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/miekg/dns"

	"github.com/caddy-dns/bestdns/internal/record"
	"github.com/caddy-dns/bestdns/internal/tsig"
)

// This file answers what only secondaries and clients with keys ask: requests that are signed (RFC
// 8945), and transfers. A server whose configuration has neither never gets here.

// signature is what the TSIG record of a request has come to.
type signature struct {
	key tsig.Key // it was signed with; zero if with none that is known
	// ofClient is set if the key is a client's, and not a secondary's.
	ofClient bool
	mac      string
	signer   *tsig.Signer // of the answer, nil if that has no TSIG record
	rcode    int          // of the answer, if it is not RcodeSuccess
	err      error        // why
}

// key returns the key of that name, and whether a client or a secondary has it.
func (v *view) key(name record.Name) (key tsig.Key, ofClient, known bool) {
	if v.transfers != nil {
		if key, known = v.transfers.keys[name]; known {
			return key, false, true
		}
	}
	if v.clients != nil {
		key, known = v.clients.Key(name)
	}
	return key, true, known
}

// verify verifies the signature of a request, if it has one. Only one by a key that the
// configuration has is worth computing.
func (v *view) verify(q *query, message []byte, now time.Time) signature {
	if q.signature == 0 {
		return signature{}
	}
	r, err := tsig.Read(message, int(q.signature))
	if q.signatureMisplaced || err != nil {
		return signature{rcode: dns.RcodeFormatError, err: errors.New("its TSIG record cannot be read, or is not the last one")}
	}
	say := func(err error) error { return &keyError{q.name, r.Key, r.Algorithm, err} }
	refuse := func(rcode int, err error) signature {
		return signature{signer: tsig.NewRefusal(&r, rcode), rcode: dns.RcodeNotAuth, err: say(err)}
	}
	key, ofClient, known := v.key(r.Key)
	switch {
	case isMD5(r.Algorithm):
		return refuse(dns.RcodeBadKey, errMD5)
	case !known:
		return refuse(dns.RcodeBadKey, errUnknownKey)
	}
	signer := key.NewSigner(r.MAC)
	switch err := key.Verify(message, &r, nil, now); {
	case err == nil:
		return signature{key: key, signer: signer, ofClient: ofClient, mac: string(r.MAC)}
	case errors.Is(err, tsig.ErrKey):
		return refuse(dns.RcodeBadKey, err)
	case errors.Is(err, tsig.ErrMAC):
		return refuse(dns.RcodeBadSig, err)
	case errors.Is(err, tsig.ErrTime):
		signer.Fail(&r, dns.RcodeBadTime, now)
		return signature{signer: signer, rcode: dns.RcodeNotAuth, err: say(err)}
	case errors.Is(err, tsig.ErrShort):
		signer.Fail(&r, dns.RcodeBadTrunc, now)
		return signature{signer: signer, rcode: dns.RcodeNotAuth, err: say(err)}
	default:
		return signature{rcode: dns.RcodeFormatError, err: err}
	}
}

// keyError says of a message which zone it is about, and with which key it is signed. Anyone can send
// any number of them: its text is made when it is needed. It must not outlive the message's answer,
// whose name it has.
type keyError struct {
	zone, key, algorithm record.Name
	why                  error
}

func (e *keyError) Error() string {
	return fmt.Sprintf("zone %q, key %q (%s): %v", e.zone, e.key, strings.TrimSuffix(e.algorithm.String(), "."), e.why)
}

func (e *keyError) Unwrap() error { return e.why }

// Why a key is not accepted.
var (
	errUnknownKey = errors.New("no client and no transfer of the configuration has the key that it is signed with (BADKEY)")
	// errMD5 names the setting of each client, most of which use HMAC-MD5 unless they are told otherwise.
	errMD5 = errors.New("it is signed with HMAC-MD5, which is broken and not accepted (BADKEY): set the algorithm to HMAC-SHA256 " +
		"in the client (certbot: dns_rfc2136_algorithm = HMAC-SHA256; cert-manager: tsigAlgorithm: HMACSHA256; lego and Traefik: RFC2136_TSIG_ALGORITHM=hmac-sha256.; " +
		"nsupdate: -y hmac-sha256:NAME:SECRET; external-dns: --rfc2136-tsig-secret-alg=hmac-sha256; Posh-ACME: DDNSAlgorithm; Kea: algorithm)")
)

// isMD5 reports whether an algorithm is HMAC-MD5.
func isMD5(algorithm record.Name) bool { return strings.EqualFold(algorithm.FirstLabel(), "hmac-md5") }

// isOfPeer reports whether a query is of the kind that only secondaries and clients with keys send.
// Where the configuration has neither, signatures are ignored and transfers refused.
func (q *query) isOfPeer(v *view) bool {
	return (q.signature != 0 || q.transfer) && (v.transfers != nil || v.clients != nil) && q.rcode != dns.RcodeFormatError
}

// answerSigned is answer for such a query.
func (r *responder) answerSigned(v *view, q *query, message, buf []byte) []byte {
	sig := v.verify(q, message, time.Now())
	switch {
	case sig.err != nil:
		r.logRefusal(v, q, &sig, sig.err, false)
		q.rcode = sig.rcode
	case q.transfer:
		t := r.beginTransfer(v, q, message, &sig, false)
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

// answerSignedTCP is answerTCP for such a query. It returns the transfer that
// the answer is, or nil and the answer.
func (r *responder) answerSignedTCP(v *view, q *query, message []byte, allowed bool) (answer []byte, large bool, t *transfer) {
	sig := v.verify(q, message, time.Now())
	q.limit = dns.MaxMsgSize
	switch {
	case sig.err != nil:
		r.logRefusal(v, q, &sig, sig.err, true)
		q.rcode = sig.rcode
	case q.transfer:
		if t := r.beginTransfer(v, q, message, &sig, true); t != nil {
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
// from those of secondaries. Of clients, others keep account.
func (r *responder) logRefusal(v *view, q *query, sig *signature, err error, tcp bool) {
	s, from := r.server, plainAddress(r.from)
	known := v.transfers != nil && v.transfers.addresses[from]
	if !known && v.clients != nil && (sig.err != nil || sig.ofClient) {
		v.clients.Refuse(from, tcp, err)
		return
	}
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
