// Package tsig has the keys that sign DNS messages between servers (RFC 8945), makes such
// signatures and verifies them.
package tsig

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strings"

	"github.com/miekg/dns"

	"github.com/caddy-dns/bestdns/internal/record"
)

// Key is a secret that two servers share. The zero value is no key. It prints without its
// secret.
type Key struct {
	Name record.Name
	// Algorithm is its name as the DNS library has it, such as [dns.HmacSHA256].
	Algorithm string
	algorithm record.Name // as it is in messages
	secret    string      // the octets
}

// algorithms are those that keys may have. MD5 and truncated forms are left out (RFC 8945 §6).
var algorithms = []string{dns.HmacSHA256, dns.HmacSHA384, dns.HmacSHA512, dns.HmacSHA224, dns.HmacSHA1}

// leastSecret is how many octets a secret has at least: with fewer it can be guessed.
const leastSecret = 8

// NewKey returns the key with a secret in base64. The algorithm is one such as
// "hmac-sha256". Errors do not hold the secret.
func NewKey(name, algorithm, secret string) (Key, error) {
	owner, err := record.ParseName(name)
	if err != nil {
		return Key{}, fmt.Errorf("TSIG key: %w", err)
	}
	if owner == record.Root {
		return Key{}, errors.New("TSIG key: the name is empty")
	}
	refuse := func(format string, args ...any) (Key, error) {
		return Key{}, fmt.Errorf("TSIG key %q: "+format, append([]any{owner.Plain()}, args...)...)
	}
	known := ""
	for _, a := range algorithms {
		if dns.CanonicalName(algorithm) == a {
			known = a
		}
	}
	switch {
	case strings.HasPrefix(strings.ToLower(algorithm), "hmac-md5"):
		return refuse("hmac-md5 is broken and not accepted: make a key with hmac-sha256")
	case known == "":
		return refuse("there is no algorithm %q; there are hmac-sha256, hmac-sha384, hmac-sha512, hmac-sha224 and hmac-sha1", algorithm)
	}
	octets, err := base64.StdEncoding.DecodeString(secret)
	switch {
	case err != nil && strings.ContainsAny(secret, `"'`):
		return refuse("the secret is not base64: remove the quotes around it")
	case err != nil:
		return refuse("the secret is not base64")
	case len(octets) < leastSecret:
		return refuse("the secret has %d bytes, and is to have %d at least", len(octets), leastSecret)
	}
	inMessages, err := record.ParseName(known)
	if err != nil {
		return refuse("reading the name of its algorithm: %w", err)
	}
	return Key{Name: owner, Algorithm: known, algorithm: inMessages, secret: string(octets)}, nil
}

// IsZero reports whether it is no key.
func (k Key) IsZero() bool { return k == Key{} }

// Secret returns the secret in base64, as the DNS library takes it.
func (k Key) Secret() string { return base64.StdEncoding.EncodeToString([]byte(k.secret)) }

// String returns name and algorithm.
func (k Key) String() string {
	if k.IsZero() {
		return "no key"
	}
	return k.Name.Plain() + " (" + strings.TrimSuffix(k.Algorithm, ".") + ")"
}

// GoString keeps the secret out of what %#v prints.
func (k Key) GoString() string { return k.String() }
