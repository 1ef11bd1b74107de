package rfc2136

import (
	"crypto/hmac"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"time"

	"github.com/miekg/dns"

	"github.com/caddy-dns/bestdns/internal/nsquery"
	"github.com/caddy-dns/bestdns/internal/tsig"
)

// noKey sends unsigned.
var noKey tsig.Key

// fudge is by how many seconds the clocks of both sides may differ (RFC 8945 §10).
const fudge = 300

// pack returns the wire form of a message, signed with the key unless that is zero. mac is the
// signature in hexadecimal.
func pack(m *dns.Msg, key tsig.Key) (wire []byte, mac string, err error) {
	if key.IsZero() {
		wire, err = m.Pack()
		return wire, "", err
	}
	m.SetTsig(key.Name.String(), key.Algorithm, fudge, time.Now().Unix())
	return dns.TsigGenerateWithProvider(m, signer{key: key}, "", false)
}

// What can be wrong with the signature of an answer.
var (
	errUnsigned = errors.New("not signed")
	errOtherKey = errors.New("signed with another key")
	errSigned   = errors.New("signed, which was not asked for")
)

// tsigError is an error of TSIG that a server reports (RFC 8945 §5.2).
type tsigError int

func (e tsigError) Error() string { return "the server answers " + nsquery.RcodeText(int(e)) }

// verify verifies that an answer is signed with the key. mac is that of the question, or of
// the message before in a transfer, of which only the first is not timersOnly; unsigned is
// what came between the two (RFC 8945 §5.3.1). It may change wire.
func verify(wire []byte, m *dns.Msg, key tsig.Key, mac string, timersOnly bool, unsigned []byte) error {
	signature := m.IsTsig()
	switch {
	case key.IsZero() && signature == nil:
		return nil
	case key.IsZero():
		return errSigned
	case signature == nil:
		return errUnsigned
	case m.Rcode == dns.RcodeNotAuth && signature.Error != dns.RcodeSuccess:
		return tsigError(signature.Error)
	case nameOf(signature.Hdr.Name) != key.Name, dns.CanonicalName(signature.Algorithm) != key.Algorithm:
		return errOtherKey
	}
	s := signer{key: key, macSize: 2 + len(mac)/2, unsigned: unsigned, flags: wire[flagsOctet]}
	// The library refuses to verify an answer NOTAUTH, of which not all have an error of TSIG.
	wire[flagsOctet] &^= 0xf
	if err := dns.TsigVerifyWithProvider(wire, s, mac, timersOnly); err != nil {
		return fmt.Errorf("not rightly signed (%w)", err)
	}
	return nil
}

// flagsOctet is the octet of the header that has the response code (RFC 1035 §4.1.1).
const flagsOctet = 3

// signer makes and verifies signatures with a key.
type signer struct {
	key tsig.Key
	// Of an answer: the length of the signature before it in what is signed, the messages
	// between, and what its header has at flagsOctet.
	macSize  int
	unsigned []byte
	flags    byte
}

// Generate implements [dns.TsigProvider].
func (s signer) Generate(signed []byte, t *dns.TSIG) ([]byte, error) {
	sum, err := s.hash()
	if err != nil {
		return nil, err
	}
	sum.Write(signed)
	return sum.Sum(nil), nil
}

// Verify implements [dns.TsigProvider].
func (s signer) Verify(signed []byte, t *dns.TSIG) error {
	sum, err := s.hash()
	if err != nil {
		return err
	}
	mac, err := hex.DecodeString(t.MAC)
	if err != nil {
		return dns.ErrSig
	}
	signed[s.macSize+flagsOctet] = s.flags
	sum.Write(signed[:s.macSize])
	sum.Write(s.unsigned)
	sum.Write(signed[s.macSize:])
	if !hmac.Equal(sum.Sum(nil), mac) {
		return dns.ErrSig
	}
	return nil
}

func (s signer) hash() (hash.Hash, error) {
	secret, err := base64.StdEncoding.DecodeString(s.key.Secret())
	if err != nil {
		return nil, fmt.Errorf("reading the secret of the key %s: not base64", s.key)
	}
	switch s.key.Algorithm {
	case dns.HmacSHA1:
		return hmac.New(sha1.New, secret), nil
	case dns.HmacSHA224:
		return hmac.New(sha256.New224, secret), nil
	case dns.HmacSHA256:
		return hmac.New(sha256.New, secret), nil
	case dns.HmacSHA384:
		return hmac.New(sha512.New384, secret), nil
	case dns.HmacSHA512:
		return hmac.New(sha512.New, secret), nil
	}
	return nil, dns.ErrKeyAlg
}
