// Package owed keeps account of challenge records that were written and have to be
// deleted again: no one else will do it. certmagic forgets a record whose append failed
// (see [Withdrawals]), and a process that ends forgets all of them (see [Book]).
package owed

import (
	"crypto/sha256"
	"encoding/base64"
	"strings"

	"github.com/libdns/libdns"
)

// isChallenge reports whether a record answers a DNS-01 challenge: its text is the
// SHA-256 of a key authorization in base64url (RFC 8555 §8.4). The CA makes each of
// them unique, so that no one else can have appended it.
func isChallenge(rec libdns.Record) bool {
	if rec == nil {
		return false
	}
	rr := rec.RR()
	digest, err := base64.RawURLEncoding.DecodeString(rr.Data) // which passes over line breaks
	return strings.EqualFold(rr.Type, "TXT") && err == nil && len(digest) == sha256.Size &&
		len(rr.Data) == base64.RawURLEncoding.EncodedLen(sha256.Size)
}

// sameText reports whether both records, relative to their zones, have the same
// text at the same name.
func sameText(a libdns.Record, zoneA string, b libdns.Record, zoneB string) bool {
	if a == nil || b == nil {
		return false
	}
	x, y := a.RR(), b.RR()
	return strings.EqualFold(x.Type, y.Type) && x.Data == y.Data &&
		strings.EqualFold(absolute(x.Name, zoneA), absolute(y.Name, zoneB))
}

// absolute returns a name without its final dot. It need not be right with odd
// escapes: it is compared and goes nowhere.
func absolute(name, zone string) string {
	return strings.TrimSuffix(libdns.AbsoluteName(name, strings.TrimSuffix(zone, ".")+"."), ".")
}
