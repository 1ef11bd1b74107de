// Package persist writes and reads standing permissions for ACME accounts, the values of the TXT
// records of dns-persist-01 (draft-ietf-acme-dns-persist). The names of these records are in
// package record.
package persist

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/caddy-dns/bestdns/internal/text"
)

// Permission lets an ACME account obtain certificates for a domain at any time, without a
// challenge's value.
type Permission struct {
	// Issuer is the domain name of the CA: in A-labels and lower case, without final dot.
	Issuer string
	// Account is the URI by which the CA knows the account: its URL, or from draft -02 on a
	// URI with a hash of that, of the domain and of the account's key.
	Account string
	// Wildcard includes the wildcard of the domain, and all names below it where the CA
	// follows the draft in that.
	Wildcard bool
	// Until is the last second at which it holds; zero: it never expires.
	Until time.Time
}

// The parameters of a value. Their tags are compared in lower case (RFC 8659 §4.2).
const (
	tagAccount = "accounturi"
	tagPolicy  = "policy"
	tagUntil   = "persistUntil"

	policyWildcard = "wildcard"
)

// Value returns the value of the TXT record.
func (p Permission) Value() string {
	value := p.Issuer + "; " + tagAccount + "=" + p.Account
	if p.Wildcard {
		value += "; " + tagPolicy + "=" + policyWildcard
	}
	if !p.Until.IsZero() {
		value += "; " + tagUntil + "=" + strconv.FormatInt(p.Until.Unix(), 10)
	}
	return value
}

// IsExpired reports whether no CA may rely on it any more at a time.
func (p Permission) IsExpired(now time.Time) bool { return !p.Until.IsZero() && now.After(p.Until) }

// Parse reads the value of a TXT record as a CA does: an issue-value of RFC 8659 §4.2 with the
// parameters of the draft. Unknown parameters are ignored, and so is an unknown policy.
func Parse(value string) (Permission, error) {
	name, rest, more := strings.Cut(value, ";")
	issuer, ok := parseDomainName(trimBlanks(name))
	if !ok {
		return Permission{}, errors.New("it does not begin with the domain name of a CA")
	}
	p := Permission{Issuer: issuer}
	seen := make(map[string]bool)
	for more {
		var parameter string
		parameter, rest, more = strings.Cut(rest, ";")
		tag, value, ok := strings.Cut(parameter, "=")
		tag, value = strings.ToLower(trimBlanks(tag)), trimBlanks(value)
		switch {
		case !ok || tag == "":
			return Permission{}, errors.New("a parameter is not written tag=value")
		case seen[tag]:
			return Permission{}, errors.New("it has a duplicate parameter")
		case strings.ContainsFunc(value, isNotInValue):
			return Permission{}, errors.New("a parameter has a character that is not allowed")
		}
		seen[tag] = true
		if err := p.set(tag, value); err != nil {
			return Permission{}, err
		}
	}
	if p.Account == "" {
		return Permission{}, errors.New("it names no account")
	}
	return p, nil
}

// set takes the parameter with a tag in lower case.
func (p *Permission) set(tag, value string) error {
	switch tag {
	case tagAccount:
		p.Account = value
	case tagPolicy:
		p.Wildcard = strings.EqualFold(value, policyWildcard)
	case strings.ToLower(tagUntil):
		seconds, err := strconv.ParseInt(value, 10, 64)
		if err != nil {
			return errors.New("its end is not a number of seconds since 1970")
		}
		p.Until = time.Unix(min(max(seconds, 0), endOfTime), 0).UTC()
	}
	return nil
}

// endOfTime is the last second of the year 9999, beyond which no date has the usual form.
const endOfTime = 253402300799

// trimBlanks cuts off what RFC 8659 allows around the parts of a value.
func trimBlanks(s string) string { return strings.Trim(s, " \t") }

// isNotInValue reports whether the value of a parameter cannot have a character (RFC 8659 §4.2).
func isNotInValue(c rune) bool { return c <= ' ' || c > '~' || c == ';' }

// parseDomainName returns a domain name of letters, digits and hyphens in lower case and without
// final dot. One label is enough, for a CA in a private network.
func parseDomainName(s string) (name string, ok bool) {
	const maxName, maxLabel = 253, 63
	if strings.ContainsFunc(s, isNotInValue) { // some other letters have one of ASCII as their lower case
		return "", false
	}
	name = strings.TrimSuffix(strings.ToLower(s), ".")
	for label := range strings.SplitSeq(name, ".") {
		if label == "" || len(label) > maxLabel || label[0] == '-' || label[len(label)-1] == '-' ||
			strings.Trim(label, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" {
			return "", false
		}
	}
	return name, len(name) <= maxName
}

// ParseIssuer reads the domain name of a CA, in A-labels, into the form that values have.
func ParseIssuer(name string) (string, error) {
	issuer, ok := parseDomainName(name)
	if !ok {
		return "", fmt.Errorf("%q is not the domain name of a CA: give the one that its CAA records have", text.Brief(name, text.MaxName))
	}
	return issuer, nil
}

// CheckAccount returns what is wrong with the URI of an account. It has to be an https URL; http is
// accepted for localhost and addresses, where test CAs are.
func CheckAccount(uri string) error {
	u, err := url.Parse(uri)
	switch {
	case err == nil && u.User != nil, err != nil && strings.Contains(uri, "@"): // neither to be published nor shown
		return errors.New("the URI of an account has no user name and password")
	case err != nil || strings.ContainsFunc(uri, isNotInAccount):
		return accountFault(uri, "is not a URI")
	case u.Scheme != "https" && u.Scheme != "http" || u.Hostname() == "":
		return accountFault(uri, "is not an https URL")
	case u.Scheme == "http" && !isLocal(u.Hostname()):
		return accountFault(uri, "is an http URL, which is accepted for localhost and addresses only")
	}
	return nil
}

func accountFault(uri, fault string) error {
	return fmt.Errorf("the account %q %s: give the URL that the CA has for the account and the ACME client keeps, such as https://acme-v02.api.letsencrypt.org/acme/acct/1234",
		text.Brief(uri, text.MaxName), fault)
}

// isNotInAccount is for characters that no URI has unescaped and some DNS providers damage, too.
func isNotInAccount(c rune) bool { return isNotInValue(c) || strings.ContainsRune(`"\`, c) }

func isLocal(host string) bool {
	_, err := netip.ParseAddr(host)
	return err == nil || strings.EqualFold(host, "localhost")
}
