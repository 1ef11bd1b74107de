package access

import "github.com/caddy-dns/bestdns/internal/record"

// Sees reports whether the client may read at every name at which other has any right,
// so that nothing about other is news to it. Each client sees itself. One that has no
// right in any hosted zone is seen by nobody else.
//
// Both must be clients of the same configuration. Where a name is so long that none
// can stand below it, the answer may be no though it could be yes.
func (c *Client) Sees(other *Client) bool {
	if c == other {
		return true
	}
	if len(other.rights.used) == 0 {
		return false
	}
	for zone := range other.rights.used {
		if !c.MayUse(zone) {
			return false
		}
	}
	for _, rule := range other.rules {
		if !c.seesRule(other, rule) {
			return false
		}
	}
	return true
}

func (c *Client) seesRule(other *Client, rule Rule) bool {
	switch {
	case rule.Verb == Certificates && rule.Under:
		return c.seesDomainsUnder(other, rule.Name)
	case rule.Verb == Certificates:
		return c.seesDomain(other, rule.Name)
	case rule.Under:
		zone, hosted := c.rights.zones.Of(rule.Name)
		return !hosted || c.readsBelow(zone, rule.Name) && c.readsIf(other, zone, rule.Name)
	}
	for _, zone := range c.rights.nameZones(rule) {
		if !c.MayRead(zone, rule.Name) {
			return false
		}
	}
	return true
}

// seesDomain is about the right to certificates for one domain: the names at which
// its challenges are answered, those with any account's label included.
func (c *Client) seesDomain(other *Client, domain record.Name) bool {
	if c.rights.certifies(domain) {
		return true
	}
	owner, err := record.Challenge{Domain: domain}.Owner()
	if err != nil {
		return true // no challenge, nothing to see
	}
	if zone, hosted := c.rights.zones.Of(owner); hosted {
		if !c.readsBelow(zone, owner) || !c.readsPlaced(other, owner) {
			return false
		}
	}
	return c.seesChallengeZones(other, func(d record.Name) bool { return d == domain }) && c.seesTargets(other, domain)
}

// seesDomainsUnder is about the right to certificates for a domain and those below it,
// as far as its zone reaches.
func (c *Client) seesDomainsUnder(other *Client, domain record.Name) bool {
	if c.rights.certifiesUnder(domain) {
		return true
	}
	bound, hosted := c.rights.zones.Of(domain)
	if hosted && !c.readsBelow(bound, domain) {
		return false
	}
	covered := func(d record.Name) bool { return d.In(domain) && c.rights.holds(bound, d) }
	return c.seesChallengeZones(other, covered) && c.seesTargets(other, domain)
}

// seesChallengeZones is about the zones that stand for nothing but a challenge of one
// of the covered domains, for which other has a certificates right.
func (c *Client) seesChallengeZones(other *Client, covered func(domain record.Name) bool) bool {
	for _, apex := range c.rights.challenges {
		challenge, _ := record.ChallengeOf(apex)
		if !covered(challenge.Domain) || c.rights.certifies(challenge.Domain) {
			continue
		}
		if !c.readsPlaced(other, apex) || challenge.Account == "" && !c.readsBelow(apex, apex) {
			return false
		}
	}
	return true
}

// seesTargets is about the names in the zone for CNAME targets that belong to the
// challenges of a domain and those below it: of them all, or with accounts' labels, there
// is no end.
func (c *Client) seesTargets(other *Client, domain record.Name) bool {
	zone := c.rights.cnameTarget
	if !other.rights.used.Has(zone) {
		return true
	}
	target, err := record.Challenge{Domain: domain}.Target(zone)
	if err != nil {
		return true
	}
	if !c.rights.holds(zone, target) {
		return c.readsPlaced(other, target) // what is below lies in another zone
	}
	return c.readsBelow(zone, target) && c.readsIf(other, zone, target)
}

// readsBelow reports whether the client may read at all names below name in zone,
// whatever their number; name itself is another question.
func (c *Client) readsBelow(zone, name record.Name) bool {
	if c.rights.everything {
		return c.rights.reads(zone, name)
	}
	return c.rights.anyAbove(zone, name, func(grant) bool { return true })
}

// readsPlaced reports whether the client may read at a name, in the zone that holds it
// and as that of a delegation, wherever other may.
func (c *Client) readsPlaced(other *Client, name record.Name) bool {
	zone, hosted := c.rights.zones.Of(name)
	if !hosted {
		return true
	}
	if !c.readsIf(other, zone, name) {
		return false
	}
	above, hosted := c.rights.zones.Of(name.Parent())
	return zone != name || name == record.Root || !hosted || c.readsIf(other, above, name)
}

// readsIf reports whether the client may read at a name in zone if other may.
func (c *Client) readsIf(other *Client, zone, name record.Name) bool {
	return !other.MayUse(zone) || !other.MayRead(zone, name) || c.MayRead(zone, name)
}
