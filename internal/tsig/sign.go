package tsig

import (
	"crypto/hmac"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/binary"
	"hash"
	"time"

	"github.com/miekg/dns"

	"github.com/caddy-dns/bestdns/internal/record"
)

// Fudge is how far the clocks of two servers may be apart (RFC 8945 §10), both in what is
// signed here and in what is accepted.
const Fudge = 300 * time.Second

// newMAC returns the HMAC of a key.
func (k Key) newMAC() hash.Hash {
	made := sha256.New
	switch k.Algorithm {
	case dns.HmacSHA1:
		made = sha1.New
	case dns.HmacSHA224:
		made = sha256.New224
	case dns.HmacSHA384:
		made = sha512.New384
	case dns.HmacSHA512:
		made = sha512.New
	}
	return hmac.New(made, []byte(k.secret))
}

// writePrior adds the MAC of the message before (RFC 8945 §4.3.1).
func writePrior(mac hash.Hash, prior []byte) {
	if len(prior) > 0 {
		mac.Write(binary.BigEndian.AppendUint16(nil, uint16(len(prior))))
		mac.Write(prior)
	}
}

// appendVariables appends what is signed beside a message (RFC 8945 §4.3.3).
func appendVariables(buf []byte, key, algorithm record.Name, r *Record) []byte {
	buf = append(buf, key...)
	buf = binary.BigEndian.AppendUint16(buf, dns.ClassANY)
	buf = binary.BigEndian.AppendUint32(buf, 0) // TTL
	buf = append(buf, algorithm...)
	buf = appendTimers(buf, r)
	buf = binary.BigEndian.AppendUint16(buf, r.Error)
	buf = binary.BigEndian.AppendUint16(buf, uint16(len(r.Other)))
	return append(buf, r.Other...)
}

func appendTimers(buf []byte, r *Record) []byte {
	buf = binary.BigEndian.AppendUint16(buf, uint16(r.Time>>32))
	buf = binary.BigEndian.AppendUint32(buf, uint32(r.Time))
	return binary.BigEndian.AppendUint16(buf, r.Fudge)
}

// Signer signs a request, or the messages of an answer one after the other. It is not for
// concurrent use.
type Signer struct {
	name, algorithm record.Name
	mac             hash.Hash // nil: the messages get a TSIG record without a signature
	prior           []byte    // the MAC of the message before, or of the request
	later           bool      // a message was signed

	failure Record // Error, Time and Other of the record, if there was an error
	buf     []byte
}

// NewSigner returns the signer of a request, or of the answer to the request with a MAC.
func (k Key) NewSigner(requestMAC []byte) *Signer {
	return &Signer{name: k.Name, algorithm: k.algorithm, mac: k.newMAC(), prior: append([]byte(nil), requestMAC...)}
}

// NewRefusal returns what adds a TSIG record without a signature to the answer to a request
// whose key is unknown (BADKEY) or whose signature is wrong (BADSIG) (RFC 8945 §5.3.2).
func NewRefusal(request *Record, rcode int) *Signer {
	return &Signer{name: request.Key, algorithm: request.Algorithm, failure: Record{Error: uint16(rcode), Time: request.Time}}
}

// Fail has the answer tell an error, signed. With BADTIME it holds the client's time and
// ours (RFC 8945 §5.2.3).
func (s *Signer) Fail(request *Record, rcode int, now time.Time) {
	s.failure = Record{Error: uint16(rcode)}
	if rcode == dns.RcodeBadTime {
		s.failure.Time = request.Time
		unix := uint64(now.Unix())
		s.failure.Other = binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint16(nil, uint16(unix>>32)), uint32(unix))
	}
}

// Size returns how many octets Sign adds to a message.
func (s *Signer) Size() int {
	size := len(s.name) + rrFixedLen + len(s.algorithm) + restLen + len(s.failure.Other)
	if s.mac != nil {
		size += s.mac.Size()
	}
	return size
}

// MAC returns that of the last message.
func (s *Signer) MAC() []byte { return s.prior }

// Sign appends the TSIG record to a message, which must have fewer than 65,535 additional
// records, and returns it. The messages of one answer after the first are signed with the MAC
// of the one before, and of the variables with the timers alone (RFC 8945 §5.3.1).
func (s *Signer) Sign(message []byte, now time.Time) []byte {
	r := s.failure
	r.Fudge = uint16(Fudge / time.Second)
	r.OriginalID = binary.BigEndian.Uint16(message)
	if r.Time == 0 {
		r.Time = uint64(now.Unix())
	}
	if s.mac != nil {
		s.mac.Reset()
		writePrior(s.mac, s.prior)
		s.mac.Write(message)
		if s.later {
			s.buf = appendTimers(s.buf[:0], &r)
		} else {
			s.buf = appendVariables(s.buf[:0], s.name, s.algorithm, &r)
		}
		s.mac.Write(s.buf)
		s.prior = s.mac.Sum(s.prior[:0])
		r.MAC, s.later = s.prior, true
	}
	binary.BigEndian.PutUint16(message[10:], binary.BigEndian.Uint16(message[10:])+1)
	return appendTSIG(message, s.name, s.algorithm, &r)
}

// appendTSIG appends a record to a message.
func appendTSIG(message []byte, key, algorithm record.Name, r *Record) []byte {
	message = append(message, key...)
	message = binary.BigEndian.AppendUint16(message, dns.TypeTSIG)
	message = binary.BigEndian.AppendUint16(message, dns.ClassANY)
	message = binary.BigEndian.AppendUint32(message, 0)
	message = binary.BigEndian.AppendUint16(message, uint16(len(algorithm)+restLen+len(r.MAC)+len(r.Other)))
	message = append(message, algorithm...)
	message = appendTimers(message, r)
	message = binary.BigEndian.AppendUint16(message, uint16(len(r.MAC)))
	message = append(message, r.MAC...)
	message = binary.BigEndian.AppendUint16(message, r.OriginalID)
	message = binary.BigEndian.AppendUint16(message, r.Error)
	message = binary.BigEndian.AppendUint16(message, uint16(len(r.Other)))
	return append(message, r.Other...)
}
