// Package owed keeps account of challenge records that were written and have to be
// deleted again: no one else will do it. certmagic forgets a record whose append failed,
// and a process that ends forgets all of them.
package owed

import (
	"crypto/sha256"
	"encoding/base64"
	"strings"

	"github.com/libdns/libdns"
)

// key is a challenge record, and what it was written through. Equal keys are the same
// record.
type key struct {
	deleter    Deleter
	name, text string
}

// keyOf returns the key of a record that answers a DNS-01 challenge: its text is the
// SHA-256 of a key authorization in base64url (RFC 8555 §8.4). The CA makes each of them
// unique, so that no one else can have appended it.
func keyOf(d Deleter, zone string, rec libdns.Record) (k key, ok bool) {
	if rec == nil {
		return key{}, false
	}
	rr := rec.RR()
	digest, err := base64.RawURLEncoding.DecodeString(rr.Data) // which passes over line breaks
	if !strings.EqualFold(rr.Type, "TXT") || err != nil || len(digest) != sha256.Size ||
		len(rr.Data) != base64.RawURLEncoding.EncodedLen(sha256.Size) {
		return key{}, false
	}
	return key{d, strings.ToLower(absolute(rr.Name, zone)), rr.Data}, true
}

// absolute returns a name without its final dot. It need not be right with odd
// escapes: it is compared and goes nowhere.
func absolute(name, zone string) string {
	return strings.TrimSuffix(libdns.AbsoluteName(name, strings.TrimSuffix(zone, ".")+"."), ".")
}
