package access

import (
	"fmt"
	"strings"

	"github.com/caddy-dns/bestdns/internal/record"
)

// What follows is asked only once something was refused: what it costs, a change that
// is allowed does not pay. Each answer follows from the request and from the client's own
// rights, so that it tells the client nothing about names at which it has none.

const (
	onlyTXT     = "a certificates right covers TXT records only, with the values of challenges: another type needs an allow right"
	wholeDelete = "a delete by a certificates right needs the type TXT and the challenge's value as data, since other clients may have challenges at the same name"
	notSet      = "challenges are appended and deleted, not set: a set would remove those of other clients at the same name"
	noTarget    = "it would go to the target of a CNAME, and no zone is marked cname_target: mark one"
)

// WhyNotWrite says what a client that may not append or set r in zone has to change, where
// a right covers the name and something else is wrong; "" where it is the name.
func (c *Client) WhyNotWrite(zone record.Name, op record.Op, r record.Record) string {
	return c.rights.whyNot(zone, op, r)
}

// WhyNotDelete is [Client.WhyNotWrite] for what a delete describes.
func (c *Client) WhyNotDelete(zone record.Name, m record.Match) string {
	r, whole := m.Record()
	switch {
	case whole:
		return c.rights.whyNot(zone, record.Delete, r)
	case (m.Type == 0 || m.Type == record.TypeTXT) && c.rights.answers(zone, m.Name):
		return wholeDelete
	}
	return c.rights.whyNot(zone, record.Delete, record.Record{Name: m.Name, Type: m.Type})
}

// WhyNotElsewhere says why a record at a name that is in no hosted zone does not go to the
// target of a CNAME, where the client has a right to the challenge that the name asks for;
// "" where it has none. The type zero is any.
func (c *Client) WhyNotElsewhere(owner record.Name, t record.Type) string {
	challenge, ok := record.ChallengeForm(owner)
	if !ok {
		return ""
	}
	why := c.rights.whyNotDomain(challenge, "")
	if why == "" && !c.rights.certifies(challenge.Domain) {
		return ""
	}
	switch {
	case c.rights.cnameTarget == "":
		return noTarget
	case why != "":
		return why
	case t == 0:
		return wholeDelete
	case t != record.TypeTXT:
		return onlyTXT
	}
	return ""
}

func (r *rights) whyNot(zone record.Name, op record.Op, rr record.Record) string {
	switch {
	case rr.Type == record.TypeNS && rr.Name == zone && r.reachesApex(zone):
		return "the NS records of a zone's apex need a right that names the type: allow " + strings.TrimSuffix(zone.String(), ".") + " NS"
	case !r.answers(zone, rr.Name):
		return r.whyNotName(zone, rr.Name)
	case rr.Type != record.TypeTXT:
		return onlyTXT
	case op == record.Set:
		return notSet
	}
	return record.ChallengeValueFault(rr)
}

// reachesApex reports whether an allow right would cover NS records at the apex of a zone,
// if those did not need one of their own.
func (r *rights) reachesApex(zone record.Name) bool {
	covers := func(g grant) bool { return g.covers(record.TypeNS) }
	return covers(r.exact[zone]) || r.anyAbove(zone, zone, covers)
}

// whyNotName is about a name that no certificates right covers: as that of a challenge, or
// in the zone for CNAME targets as the target of one.
func (r *rights) whyNotName(zone, name record.Name) string {
	if challenge, ok := record.ChallengeForm(name); ok {
		return r.whyNotDomain(challenge, "")
	}
	if zone != r.cnameTarget || zone == "" {
		return ""
	}
	challenge, _ := record.ChallengeAtTarget(name, zone)
	return r.whyNotDomain(challenge, zone)
}

// whyNotDomain says what is wrong with a domain that a certificates right would cover if it
// were a host name. target is the zone in which the challenge's name is a target, or "".
func (r *rights) whyNotDomain(c record.Challenge, target record.Name) string {
	if c.Domain == "" || c.Domain.IsHostName() {
		return ""
	}
	if above := c.Domain.Parent(); c.Domain.FirstLabel() == "*" && r.certifies(above) {
		c.Domain = above
		return "the challenge of a wildcard is answered at the name without the *" + at(c, target)
	}
	if !r.certifiesUnder(c.Domain) {
		return ""
	}
	return "the domain of this challenge is not a host name: each label has letters, digits and hyphens only, and no hyphen at either end"
}

// at names where a challenge is answered, for a sentence that says so.
func at(c record.Challenge, target record.Name) string {
	owner, err := c.Owner()
	if target != "" {
		owner, err = c.Target(target)
	}
	if err != nil {
		return ""
	}
	return fmt.Sprintf(", %q", owner)
}
