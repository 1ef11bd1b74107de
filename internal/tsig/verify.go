package tsig

import (
	"crypto/hmac"
	"encoding/binary"
	"errors"
	"hash"
	"time"
)

// Errors of [Key.Verify] and [Verifier.Verify], each named after the TSIG error that it is (RFC 8945 §5.2).
var (
	ErrKey   = errors.New("it is signed with another key or algorithm (BADKEY)")
	ErrMAC   = errors.New("the signature is wrong: the secrets differ, or the message was changed (BADSIG)")
	ErrTime  = errors.New("it was signed more than 300 seconds before or after now: one of the two clocks is wrong (BADTIME)")
	ErrShort = errors.New("the signature is truncated (BADTRUNC)")
	// errMalformed is no TSIG error but FORMERR: the MAC has a length that it must not have.
	errMalformed = errors.New("the signature has an invalid length")
)

// Verify verifies that a request is signed with the key, or the answer to the request with a
// MAC; requestMAC is nil for a request. See [Verifier.Verify].
func (k Key) Verify(message []byte, r *Record, requestMAC []byte, now time.Time) error {
	return k.NewVerifier(requestMAC).Verify(message, r, now)
}

// Verifier verifies the messages of an answer one after the other, as [Signer] signs them. It
// is not for concurrent use.
type Verifier struct {
	key   Key
	mac   hash.Hash // of what comes before the next message that is signed
	later bool      // a message was signed
}

// NewVerifier returns the verifier of a request, or of the answer to the request with a MAC.
func (k Key) NewVerifier(requestMAC []byte) *Verifier {
	v := &Verifier{key: k, mac: k.newMAC()}
	writePrior(v.mac, requestMAC)
	return v
}

// Skip takes a message without a signature, which that of a later message covers (RFC 8945
// §5.3.1). Whether the message is as it was sent is not known before that is verified.
func (v *Verifier) Skip(message []byte) { v.mac.Write(message) }

// Verify verifies that the next message is signed with the key, and returns nil if it is. The
// record is the one that Read found in it. The time counts only after the signature (RFC 8945
// §5.2.3), so that after ErrTime and ErrShort it is certain that the key's owner has made it.
// After an error, no further message can be verified.
func (v *Verifier) Verify(message []byte, r *Record, now time.Time) error {
	if r.Key != v.key.Name || r.Algorithm != v.key.algorithm {
		return ErrKey
	}
	size := v.mac.Size()
	if len(r.MAC) > size || len(r.MAC) < max(10, size/2) {
		return errMalformed // RFC 8945 §5.2.2.1
	}
	var head [headerLen]byte
	copy(head[:], message)
	binary.BigEndian.PutUint16(head[:], r.OriginalID)
	binary.BigEndian.PutUint16(head[10:], binary.BigEndian.Uint16(head[10:])-1)
	v.mac.Write(head[:])
	v.mac.Write(message[headerLen:r.start])
	if v.later {
		v.mac.Write(appendTimers(nil, r))
	} else {
		v.mac.Write(appendVariables(nil, v.key.Name, v.key.algorithm, r))
	}
	if !hmac.Equal(v.mac.Sum(nil)[:len(r.MAC)], r.MAC) {
		return ErrMAC
	}
	away := now.Unix() - int64(r.Time)
	if away > int64(r.Fudge) || -away > int64(r.Fudge) || max(away, -away) > int64(Fudge/time.Second) {
		return ErrTime
	}
	if len(r.MAC) < size {
		return ErrShort
	}
	v.later = true
	v.mac.Reset()
	writePrior(v.mac, r.MAC)
	return nil
}
