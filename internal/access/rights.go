package access

import (
	"maps"
	"slices"

	"github.com/caddy-dns/bestdns/internal/record"
)

// hosting is what rights depend on besides what is written in them.
type hosting struct {
	zones record.Zones
	// cnameTarget is the zone that answers challenges of domains hosted
	// elsewhere, "" if there is none.
	cnameTarget record.Name
	// challenges are the hosted zones whose apex is itself the owner name of a
	// challenge: _acme-challenge.D delegated to this service. D need not be
	// hosted here, and is in another zone if it is.
	challenges []record.Name
}

func newHosting(zones record.Zones, cnameTarget record.Name) *hosting {
	h := &hosting{zones: zones, cnameTarget: cnameTarget}
	for apex := range zones {
		if _, ok := record.ChallengeOf(apex); ok {
			h.challenges = append(h.challenges, apex)
		}
	}
	return h
}

// rights are a client's rules compiled into look-ups by name, so that the cost
// of a decision depends on the number of labels and not on that of the rules.
type rights struct {
	*hosting
	// everything is set for the caller in process: it may do all that any rule
	// could allow.
	everything bool
	// exact has what may be done at a name itself.
	exact map[record.Name]grant
	// under has what may be done at a name and below, within grant.zone. Names
	// in no hosted zone are left out: nothing is below them.
	under map[record.Name]grant
	// domains has those that may be certified.
	domains map[record.Name]struct{}
	// domainsUnder has the names whose domains may be certified, that name and
	// those below it, each with the hosted zone that it is in, "" for none: the
	// right ends where another zone begins.
	domainsUnder map[record.Name]record.Name
	// used has the zones in which there is any right at all.
	used record.Zones
	// readAll is set by the rule read all.
	readAll bool
	// watch is set by a watch rule.
	watch bool
	// registers is the name of a register rule, "" without one.
	registers record.Name
	// account is the one name at which an account may answer challenges, whosever they are;
	// "" for clients that are not accounts.
	account record.Name
}

// grant is the union of the allow and read rules for one name.
type grant struct {
	// zone bounds an under grant.
	zone record.Name
	// any is set by a rule without types.
	any bool
	// types are those that rules name.
	types []record.Type
	// read is set by a read rule.
	read bool
}

func (h *hosting) compile(rules []Rule) rights {
	r := rights{
		hosting:      h,
		exact:        make(map[record.Name]grant),
		under:        make(map[record.Name]grant),
		domains:      make(map[record.Name]struct{}),
		domainsUnder: make(map[record.Name]record.Name),
		used:         make(record.Zones),
	}
	for _, rule := range rules {
		k, _ := rule.Verb.kind()
		k.add(&r, rule)
		if k.zones == nil {
			continue
		}
		for _, zone := range k.zones(h, rule) {
			r.used[zone] = struct{}{}
		}
	}
	return r
}

func (r *rights) addDomain(rule Rule) {
	if rule.Under {
		r.domainsUnder[rule.Name], _ = r.zones.Of(rule.Name)
		return
	}
	r.domains[rule.Name] = struct{}{}
}

func (r *rights) addAllow(rule Rule) {
	r.addGrant(rule, func(g *grant) {
		g.any = g.any || len(rule.Types) == 0
		g.types = append(g.types, rule.Types...)
	})
}

func (r *rights) addRead(rule Rule) {
	if rule.All {
		r.readAll = true
		return
	}
	r.addGrant(rule, func(g *grant) { g.read = true })
}

func (r *rights) addWatch(Rule) { r.watch = true }

func (r *rights) addRegister(rule Rule) { r.registers = rule.Name }

func (r *rights) addPersist(rule Rule) {
	owner, _ := record.PersistOwner(rule.Name) // which check has seen
	r.addAllow(Rule{Name: owner, Types: []record.Type{record.TypeTXT}})
}

// addGrant changes the grant of a rule's name.
func (r *rights) addGrant(rule Rule, change func(*grant)) {
	if !rule.Under {
		g := r.exact[rule.Name]
		change(&g)
		r.exact[rule.Name] = g
		return
	}
	if zone, hosted := r.zones.Of(rule.Name); hosted {
		g := r.under[rule.Name]
		g.zone = zone
		change(&g)
		r.under[rule.Name] = g
	}
}

// covers reports whether records of type t may be written. Zero means all
// types at once, which only a rule without types gives.
func (g grant) covers(t record.Type) bool {
	return g.any || slices.Contains(g.types, t)
}

// nameZones returns the hosted zones in which an allow or read rule gives a right.
func (h *hosting) nameZones(rule Rule) []record.Name {
	zone, hosted := h.zones.Of(rule.Name)
	if !hosted {
		return nil
	}
	used := []record.Name{zone}
	if !rule.Under && zone == rule.Name && zone != record.Root {
		// The name of a nested zone belongs to the zone above too, as that of the
		// delegation.
		if above, ok := h.zones.Of(rule.Name.Parent()); ok {
			used = append(used, above)
		}
	}
	return used
}

// readZones returns the hosted zones in which a read rule gives a right.
func (h *hosting) readZones(rule Rule) []record.Name {
	if rule.All {
		return slices.Collect(maps.Keys(h.zones))
	}
	return h.nameZones(rule)
}

// persistZones returns the hosted zone that holds the permission of a persist rule.
func (h *hosting) persistZones(rule Rule) []record.Name {
	owner, _ := record.PersistOwner(rule.Name)
	return h.nameZones(Rule{Name: owner})
}

// challengeZones returns the hosted zones that can hold a challenge of the
// domains of a certificates rule.
func (h *hosting) challengeZones(rule Rule) []record.Name {
	var used []record.Name
	challenge := record.Challenge{Domain: rule.Name}
	first := rule.Name
	if owner, err := challenge.Owner(); err == nil && !rule.Under {
		first = owner
	}
	zone, hosted := h.zones.Of(first)
	if hosted {
		used = append(used, zone)
	} else if h.cnameTarget != "" {
		if _, err := challenge.Target(h.cnameTarget); err == nil {
			used = append(used, h.cnameTarget)
		}
	}
	bound, _ := h.zones.Of(rule.Name)
	for _, apex := range h.challenges {
		delegated, _ := record.ChallengeOf(apex)
		covered := delegated.Domain == rule.Name
		if rule.Under {
			covered = delegated.Domain.In(rule.Name) && h.holds(bound, delegated.Domain)
		}
		if covered {
			used = append(used, apex)
		}
	}
	return used
}

// holds reports whether zone is the hosted zone that name is in; "" is that of
// names which are in none.
func (h *hosting) holds(zone, name record.Name) bool {
	of, _ := h.zones.Of(name)
	return of == zone
}

// MayWrite reports whether the client may append or set r (op says which) in zone,
// the hosted zone to which the record goes.
//
// challenge is true when a certificates right covers the record, whether or not
// an allow right does too: the record then is one that its client may forget,
// and expires by itself. It implies ok.
func (c *Client) MayWrite(zone record.Name, op record.Op, r record.Record) (ok, challenge bool) {
	switch op {
	case record.Append:
		challenge = record.IsChallengeValue(r) && c.rights.answers(zone, r.Name)
		return challenge || c.rights.allows(zone, r.Name, r.Type), challenge
	case record.Set:
		// Never by certificates: it would take the value of a challenge that
		// another client answers at the same name.
		return c.rights.allows(zone, r.Name, r.Type), false
	}
	return false, false
}

// MayDelete reports whether the client may delete what m describes in zone, the
// hosted zone to which m's name goes.
//
// Without a type it takes a rule without types. At the apex of the zone that
// means all but SOA and NS, which no such delete touches (as RFC 2136 §3.4.2.3
// has it), so that the right to those is not asked for.
func (c *Client) MayDelete(zone record.Name, m record.Match) bool {
	if r, ok := m.Record(); ok && record.IsChallengeValue(r) && c.rights.answers(zone, m.Name) {
		return true
	}
	return c.rights.allows(zone, m.Name, m.Type)
}

// MayDeleteOwn reports whether the client may delete what m describes as far as it has added
// that itself: of an RRset without data, the answers to its challenges.
func (c *Client) MayDeleteOwn(zone record.Name, m record.Match) bool {
	return m.Data == nil && (m.Type == 0 || m.Type == record.TypeTXT) && c.rights.answers(zone, m.Name)
}

// MayRead reports whether the client may see the records at name in the hosted
// zone: those of all types wherever it has any right, since Caddy's ECH, for
// one, has to see what is there before it writes.
func (c *Client) MayRead(zone, name record.Name) bool {
	return c.rights.reads(zone, name) || c.rights.answers(zone, name)
}

// MayUse reports whether the client has any right in the hosted zone. Where it has
// none, the zone has to look like one that does not exist.
func (c *Client) MayUse(zone record.Name) bool {
	if c.rights.everything {
		return c.rights.zones.Has(zone)
	}
	return c.rights.used.Has(zone)
}

// MayCertify reports whether the client has the certificates right for a domain,
// hosted here or not.
func (c *Client) MayCertify(domain record.Name) bool { return c.rights.certifies(domain) }

// MayReadAll reports whether the client may see all records of the hosted zone, so that it may
// have it transferred.
func (c *Client) MayReadAll(zone record.Name) bool {
	if c.rights.everything || c.rights.readAll {
		return c.rights.zones.Has(zone)
	}
	return c.rights.anyAbove(zone, zone, func(g grant) bool { return g.read || g.any })
}

// MayWatch reports whether the client may see the whole service on the page: all zones,
// challenges, changes and clients. It says nothing about records, which [Client.MayRead]
// decides alone.
func (c *Client) MayWatch() bool { return c.rights.everything || c.rights.watch }

// allows reports whether an allow rule covers records of type t at owner, going to
// zone; t zero is all types.
func (r *rights) allows(zone, owner record.Name, t record.Type) bool {
	if t == record.TypeSOA {
		return false
	}
	if r.everything {
		return r.zones.Has(zone) && owner.In(zone)
	}
	exact := r.exact[owner]
	if owner == zone && t == record.TypeNS {
		return slices.Contains(exact.types, record.TypeNS)
	}
	if exact.covers(t) {
		return true
	}
	return r.anyAbove(zone, owner, func(g grant) bool { return g.covers(t) })
}

// reads reports whether there is an allow or read right at name.
func (r *rights) reads(zone, name record.Name) bool {
	hosted := r.zones.Has(zone) && name.In(zone)
	if r.everything || r.readAll && hosted {
		return hosted
	}
	if _, ok := r.exact[name]; ok {
		return true
	}
	apex := name == zone
	return r.anyAbove(zone, name, func(g grant) bool {
		if g.read || g.any {
			return true
		}
		// At an apex "under … NS" gives nothing.
		return slices.ContainsFunc(g.types, func(t record.Type) bool { return !apex || t != record.TypeNS })
	})
}

// anyAbove reports whether one of the under grants that reach owner in zone is
// good. Such grants are between owner and the zone's apex.
func (r *rights) anyAbove(zone, owner record.Name, good func(grant) bool) bool {
	if len(r.under) == 0 {
		return false
	}
	for n := owner; n != ""; n = n.Parent() {
		if g, ok := r.under[n]; ok && g.zone == zone && good(g) {
			return true
		}
		if n == zone || n == record.Root {
			break
		}
	}
	return false
}

// answers reports whether owner, going to zone, is a name at which the challenge
// of a domain is answered for which there is a certificates right.
func (r *rights) answers(zone, owner record.Name) bool {
	if r.account != "" {
		return owner == r.account
	}
	if c, ok := record.ChallengeOf(owner); ok && r.certifies(c.Domain) {
		return true
	}
	if zone != r.cnameTarget || zone == "" {
		return false
	}
	c, ok := record.ChallengeAtTarget(owner, zone)
	return ok && r.certifies(c.Domain)
}

func (r *rights) certifies(domain record.Name) bool {
	if r.everything {
		return domain.IsHostName()
	}
	if _, ok := r.domains[domain]; ok {
		return true
	}
	return domain.IsHostName() && r.certifiesUnder(domain)
}

// certifiesUnder reports whether there is a certificates right for a domain and for all
// below it in the same zone.
func (r *rights) certifiesUnder(domain record.Name) bool {
	if r.everything {
		return true
	}
	if len(r.domainsUnder) == 0 {
		return false
	}
	of, _ := r.zones.Of(domain)
	for n := domain; n != record.Root; n = n.Parent() {
		if zone, ok := r.domainsUnder[n]; ok && zone == of {
			return true
		}
	}
	return false
}
