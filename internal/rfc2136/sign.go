package rfc2136

import (
	"errors"
	"fmt"
	"time"

	"github.com/miekg/dns"

	"github.com/caddy-dns/bestdns/internal/nsquery"
	"github.com/caddy-dns/bestdns/internal/tsig"
)

// noKey sends unsigned.
var noKey tsig.Key

// pack returns the wire form of a message, signed with the key, and what verifies its answer.
// If the key is zero, the message is not signed and the verifier is nil.
func pack(m *dns.Msg, key tsig.Key) (wire []byte, answer *tsig.Verifier, err error) {
	wire, err = m.Pack()
	if err != nil || key.IsZero() {
		return wire, nil, err
	}
	signer := key.NewSigner(nil)
	wire = signer.Sign(wire, time.Now())
	return wire, key.NewVerifier(signer.MAC()), nil
}

// What can be wrong with the signature of an answer.
var (
	errUnsigned = errors.New("not signed")
	errSigned   = errors.New("signed, which was not asked for")
)

// tsigError is an error of TSIG that a server reports (RFC 8945 §5.2).
type tsigError int

func (e tsigError) Error() string { return "the server answers " + nsquery.RcodeText(int(e)) }

// verify verifies that an answer, which is m in wire form, is signed as the verifier expects
// it; nil expects it unsigned.
func verify(wire []byte, m *dns.Msg, verifier *tsig.Verifier) error {
	start, signed := tsig.Find(wire)
	switch {
	case verifier == nil && !signed:
		return nil
	case verifier == nil:
		return errSigned
	case !signed:
		return errUnsigned
	}
	signature, err := tsig.Read(wire, start)
	if err == nil && m.Rcode == dns.RcodeNotAuth && signature.Error != dns.RcodeSuccess {
		return tsigError(signature.Error)
	}
	if err == nil {
		err = verifier.Verify(wire, &signature, time.Now())
	}
	if err != nil {
		return fmt.Errorf("not rightly signed: %w", err)
	}
	return nil
}
