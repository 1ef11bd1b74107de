package check

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/miekg/dns"

	"github.com/caddy-dns/bestdns/internal/persist"
	"github.com/caddy-dns/bestdns/internal/record"
	"github.com/caddy-dns/bestdns/internal/text"
)

// What of standing permissions is shown at most: anyone's text may be in these records.
const (
	mostPermissions = 10
	mostOfValue     = 300 // bytes
)

// permission is a TXT record where standing permissions are.
type permission struct {
	domain record.Name // whose record it is
	value  string
	persist.Permission
	err error // it cannot be read
}

// showPermissions shows which ACME accounts can obtain certificates for the domain at any time
// (dns-persist-01). Nothing that it finds is a fault: whether they should is not known here.
func (c *checker) showPermissions(ctx context.Context, s subject) {
	const name = "permission"
	found, err := c.findPermissions(ctx, s)
	if ctx.Err() != nil {
		return
	}
	if err != nil {
		c.emit(Step{Name: name, Status: Note, Found: fmt.Sprintf("standing permissions (dns-persist-01) cannot be looked up, and a CA that cannot look them up either accepts none: %s", err)})
	}
	switch {
	case len(found) > 0 || err != nil:
	case c.unknown != "":
		c.emit(Step{Name: name, Status: Note, Found: "whether there are standing permissions (dns-persist-01) is not known: " + c.unknown})
	default:
		c.emit(Step{Name: name, Status: OK, Found: fmt.Sprintf("there is no standing permission (dns-persist-01) for %s", s.domain.Plain())})
	}
	now := time.Now()
	rank := func(p permission) int { // those in force first: others may not crowd them out
		switch {
		case p.err != nil:
			return 2
		case p.IsExpired(now):
			return 1
		}
		return 0
	}
	slices.SortStableFunc(found, func(a, b permission) int { return rank(a) - rank(b) })
	for i, p := range found {
		if i == mostPermissions {
			c.emit(Step{Name: name, Status: Note, Found: fmt.Sprintf("there are %d more TXT records where standing permissions are", len(found)-i)})
			return
		}
		step := c.describe(p, s, now)
		step.Name, step.Status = name, Note
		c.emit(step)
	}
}

// findPermissions looks up what is at the domain's own name, and what at names above it is for
// their wildcards: the draft lets a CA use that for all names below.
func (c *checker) findPermissions(ctx context.Context, s subject) (found []permission, err error) {
	for at := s.domain; at.IsHostName(); at = at.Parent() {
		owner, err := record.PersistOwner(at)
		if err != nil {
			continue // the name would be too long
		}
		answer, err := c.resolver.Find(ctx, owner, dns.TypeTXT)
		if err != nil {
			return found, err
		}
		for _, value := range answer.Texts() {
			p := permission{domain: at, value: value}
			p.Permission, p.err = persist.Parse(value)
			if at == s.domain || p.Wildcard {
				found = append(found, p)
			}
		}
	}
	return found, nil
}

// describe says what a permission is, and how to revoke it.
func (c *checker) describe(p permission, s subject, now time.Time) (step Step) {
	owner, _ := record.PersistOwner(p.domain) // where it was found
	if p.err != nil {
		step.Found = fmt.Sprintf("a TXT record at %s cannot be read as a standing permission: %s: %q", owner.Plain(), p.err, text.Brief(p.value, mostOfValue))
		return step
	}
	domain := p.domain.Plain()
	names := domain
	if p.Wildcard {
		names = fmt.Sprintf("%s and *.%s, and for names below if the CA allows that,", domain, domain)
	} else if s.wildcard {
		names = fmt.Sprintf("%s, but not for *.%s,", domain, domain)
	}
	account := "the account " + text.Brief(p.Account, mostOfValue)
	if p.Issuer == c.CA && slices.Contains(c.Accounts, p.Account) {
		account += ", which is in use here,"
	}
	may, end := "can obtain certificates", "; it never expires"
	if !p.Until.IsZero() {
		end = " until " + p.Until.Format(time.RFC3339)
	}
	step.Do = "to revoke it, delete its TXT record at " + owner.Plain()
	if p.IsExpired(now) {
		may, step.Do = "could obtain certificates", "it has expired: delete its TXT record at "+owner.Plain()
	}
	step.Found = fmt.Sprintf("%s of %s %s for %s without a challenge%s", account, p.Issuer, may, names, end)
	return step
}
