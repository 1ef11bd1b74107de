package record

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// challengeLabel is the label below which an ACME server looks for the answer to
// a DNS-01 challenge (RFC 8555 §8.4).
const challengeLabel = "_acme-challenge"

// Challenge is what an owner name says about the ACME challenge that is answered there.
type Challenge struct {
	// Domain is the name that is validated: D in _acme-challenge.D.
	Domain Name
	// Account is the first label of dns-account-01, "_" and 16 base32 digits;
	// empty for dns-01.
	Account string
}

// ChallengeOf reads a challenge's owner name: _acme-challenge.D, or for
// dns-account-01 (draft-ietf-acme-dns-account-label) the account's label before it.
// D must be a host name of two labels or more.
func ChallengeOf(owner Name) (c Challenge, ok bool) {
	if c, ok = ChallengeForm(owner); !ok || !c.Domain.IsHostName() {
		return Challenge{}, false
	}
	return c, true
}

// ChallengeForm is [ChallengeOf] for any D: a name that has the form of a challenge's, but
// at which no challenge is answered where D is not a host name.
func ChallengeForm(owner Name) (c Challenge, ok bool) {
	if account := owner.FirstLabel(); IsAccountLabel(account) {
		c.Account = account
		owner = owner.Parent()
	}
	if owner.FirstLabel() != challengeLabel {
		return Challenge{}, false
	}
	c.Domain = owner.Parent()
	return c, true
}

// Owner returns the owner name at which the challenge is looked for.
func (c Challenge) Owner() (Name, error) {
	owner, err := c.Domain.Child(challengeLabel)
	if err != nil || c.Account == "" {
		return owner, err
	}
	return owner.Child(c.Account)
}

// AwaitsChallenge reports whether a name is one at which a CA may look for the answer to
// a challenge: its first label is _acme-challenge, or an account's label before that.
// Unlike [ChallengeOf], it does not ask whether the rest is a host name.
func AwaitsChallenge(owner Name) bool {
	const dns01 = "\x0f" + challengeLabel
	if strings.HasPrefix(string(owner), dns01) {
		return true
	}
	return len(owner) > 1 && strings.HasPrefix(string(owner[1+int(owner[0]):]), dns01) && IsAccountLabel(owner.FirstLabel())
}

// Target returns the name in zone to which the challenge's owner name points by
// CNAME: the owner without its _acme-challenge label, below zone. (The label is
// dropped so that the target is the challenge name of no domain.)
func (c Challenge) Target(zone Name) (Name, error) {
	target, err := c.Domain.Below(Root, zone)
	if err != nil || c.Account == "" {
		return target, err
	}
	return target.Child(c.Account)
}

// ChallengeAtTarget is the inverse of [Challenge.Target].
func ChallengeAtTarget(owner, zone Name) (c Challenge, ok bool) {
	if !owner.In(zone) || owner == zone {
		return Challenge{}, false
	}
	if account := owner.FirstLabel(); IsAccountLabel(account) {
		c.Account = account
		if owner = owner.Parent(); owner == zone {
			return Challenge{}, false
		}
	}
	c.Domain = owner[:len(owner)-len(zone)] + Root
	return c, c.Domain.IsHostName()
}

// persistLabel is the label of a domain's standing permissions.
const persistLabel = "_validation-persist"

// IsForCA reports whether a name is one at which a CA looks whether it may issue: that of a challenge,
// or of standing permissions. A right to a wildcard must not be one to it.
func IsForCA(owner Name) bool {
	return AwaitsChallenge(owner) || strings.HasPrefix(string(owner), "\x13"+persistLabel)
}

// PersistOwner returns the owner name of a domain's standing permissions for ACME accounts
// (dns-persist-01, draft-ietf-acme-dns-persist).
func PersistOwner(domain Name) (Name, error) { return domain.Child(persistLabel) }

// IsAccountLabel reports whether a label, in lower case, is that of an account in
// dns-account-01.
func IsAccountLabel(label string) bool {
	digits, ok := strings.CutPrefix(label, "_")
	return ok && len(digits) == 16 && strings.Trim(digits, "abcdefghijklmnopqrstuvwxyz234567") == ""
}

// IsChallengeValue reports whether the record is a TXT of the only form that
// DNS-01 needs: the unpadded base64url of a SHA-256, 43 characters.
func IsChallengeValue(r Record) bool {
	if r.Type != TypeTXT {
		return false
	}
	if len(r.Data) > mostChallengeData {
		return false
	}
	text := JoinStrings(r.Data)
	return len(text) == challengeValueLen && strings.Trim(text, base64URL) == ""
}

const (
	challengeValueLen = 43
	// mostChallengeData leaves room for a value that is split, and none for empty strings beside it.
	mostChallengeData = challengeValueLen + 8
	base64URL         = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
)

// ChallengeValueFault says why the value of a TXT record is not one for which
// [IsChallengeValue] holds, "" where it is: briefly, however long the value.
func ChallengeValueFault(r Record) string {
	text := JoinStrings(r.Data)
	wrong := strings.IndexFunc(text, func(c rune) bool { return !strings.ContainsRune(base64URL, c) })
	if wrong < 0 && len(text) == challengeValueLen {
		if len(r.Data) > mostChallengeData {
			return "a challenge's value is one string, and this one has many beside it"
		}
		return ""
	}
	fault := fmt.Sprintf("a challenge's value is exactly %d base64url characters (letters, digits, - and _), without quotes, spaces or line breaks, and this one has %d characters",
		challengeValueLen, utf8.RuneCountInString(text))
	if wrong < 0 {
		return fault
	}
	c, _ := utf8.DecodeRuneInString(text[wrong:])
	return fmt.Sprintf("%s, of which number %d is the first wrong one: %q", fault, utf8.RuneCountInString(text[:wrong])+1, c)
}
