package record

import "strings"

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
	if account := owner.FirstLabel(); IsAccountLabel(account) {
		c.Account = account
		owner = owner.Parent()
	}
	if owner.FirstLabel() != challengeLabel {
		return Challenge{}, false
	}
	c.Domain = owner.Parent()
	if !c.Domain.IsHostName() {
		return Challenge{}, false
	}
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

// IsAccountLabel reports whether a label, in lower case, is that of an account in
// dns-account-01.
func IsAccountLabel(label string) bool {
	digits, ok := strings.CutPrefix(label, "_")
	return ok && len(digits) == 16 && strings.Trim(digits, "abcdefghijklmnopqrstuvwxyz234567") == ""
}

// IsChallengeValue reports whether the record is a TXT of the only form that
// DNS-01 needs: the unpadded base64url of a SHA-256, 43 characters.
func IsChallengeValue(r Record) bool {
	const digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	if r.Type != TypeTXT {
		return false
	}
	text := joinStrings(r.Data)
	return len(text) == 43 && strings.Trim(text, digits) == ""
}
