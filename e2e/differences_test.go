package e2e

import (
	"slices"
	"strings"

	"github.com/miekg/dns"

	"github.com/caddy-dns/bestdns/internal/record"
)

// comparison is an answer of BestDNS and one of another server to one question.
type comparison struct {
	corpusQuestion
	ours, theirs answer
	world        *corpusWorld
}

// corpusWorld is what a comparison has to know of the zones.
type corpusWorld struct {
	zones record.Zones
	cuts  map[string]bool // the names with NS records below an apex
	names map[string]bool // all names with records
}

func newCorpusWorld(zones []corpusZone) *corpusWorld {
	w := &corpusWorld{zones: make(record.Zones), cuts: make(map[string]bool), names: make(map[string]bool)}
	for _, z := range zones {
		w.zones[z.config.Name] = struct{}{}
		for _, r := range z.records {
			w.names[r.Name.String()] = true
			if r.Type == record.TypeNS {
				w.cuts[r.Name.String()] = true
			}
		}
	}
	return w
}

// zoneOf returns the apex of the zone that holds a name, "" for none.
func (w *corpusWorld) zoneOf(name string) string {
	parsed, err := record.ParseName(name)
	if err != nil {
		return ""
	}
	apex, ok := w.zones.Of(parsed)
	if !ok {
		return ""
	}
	return apex.String()
}

// delegated reports whether a name is at or below a cut.
func (w *corpusWorld) delegated(name string) bool {
	for off, end := 0, false; !end; off, end = dns.NextLabel(name, off) {
		if w.cuts[name[off:]] {
			return true
		}
	}
	return false
}

// belowWildcard reports whether there is a wildcard for names above this one.
func (w *corpusWorld) belowWildcard(name record.Name) bool {
	for ; name != record.Root; name = name.Parent() {
		if w.names["*."+name.Parent().String()] {
			return true
		}
	}
	return false
}

// difference is a way in which answers of BestDNS and of others differ, and may.
// docs/name-server.md says why, under the same name.
type difference struct {
	name  string
	peers []string
	// reconcile takes the difference out of both answers, or tells that they have
	// not got it.
	reconcile func(*comparison) bool
}

func (d difference) of(peer string) bool { return slices.Contains(d.peers, peer) }

// agreedDifferences are tried in this order.
var agreedDifferences = []difference{
	{"Extended DNS errors", []string{"Knot", "NSD", "BIND"}, withoutExtendedErrors},
	{"Names that await a challenge", []string{"Knot", "NSD", "BIND"}, awaitedName},
	{"ANY", []string{"Knot", "NSD", "BIND"}, anyRRset},
	{"NS records beside an answer", []string{"NSD"}, withoutApexNS},
	{"Aliases into another zone", []string{"NSD"}, stopAtOtherZone},
	{"Aliases into a zone below", []string{"Knot"}, stopAtZoneBelow},
	{"Records hidden by a zone below", []string{"NSD"}, hiddenNames},
	{"Long chains", []string{"Knot"}, longChain},
	{"Alias loops", []string{"BIND"}, aliasLoop},
	{"Addresses from a wildcard", []string{"Knot", "NSD"}, wildcardOwner},
	{"Repeated records", []string{"Knot", "NSD"}, withoutRepetition},
	{"Types that may be beside a CNAME", []string{"Knot", "NSD", "BIND"}, besideCNAME},
	{"Targets of rarer types", []string{"NSD", "BIND"}, withoutRareTargets},
	{"TTLs within an RRset", []string{"NSD", "BIND"}, lowestTTL},
	{"Sibling glue", []string{"BIND"}, withoutSiblingGlue},
	{"Addresses below a cut", []string{"Knot"}, withoutDelegatedAddresses},
	{"Service binding of the owner", []string{"Knot"}, withoutOwnersAddresses},
	{"Service binding without additional records", []string{"NSD"}, withoutServiceAddresses},
	{"Service binding followed further", []string{"BIND"}, withoutFurtherTargets},
	{"Service binding of the target", []string{"BIND"}, withoutTargetsServices},
}

func withoutExtendedErrors(c *comparison) bool {
	before, _, found := strings.Cut(c.theirs.EDNS, ", option 15 ")
	if found {
		c.theirs.EDNS = before + ";"
	}
	return found
}

// awaitedName: a name for challenges exists, and no wildcard matches it.
func awaitedName(c *comparison) bool {
	last, n := c.corpusQuestion.name, len(c.ours.Answer)
	if n > 0 {
		target, err := record.ParseName(c.ours.Answer[n-1].targets()[0])
		if c.ours.Answer[n-1].Type != "CNAME" || err != nil {
			return false
		}
		last = target
	}
	empty := len(c.ours.Authority) == 1 && c.ours.Authority[0].Type == "SOA" && len(c.ours.Additional) == 0
	if !record.AwaitsChallenge(last) || c.world.names[last.String()] || !empty || !strings.HasPrefix(c.ours.Header, "NOERROR QR AA") {
		return false
	}
	missing := strings.Replace(c.ours.Header, "NOERROR", "NXDOMAIN", 1) == c.theirs.Header && len(c.theirs.Answer) == n
	// What follows the wildcard's own answer, if it is an alias, has nothing to do with this.
	wildcard := len(c.theirs.Answer) > n && c.theirs.Answer[n].Owner == last.String() && c.world.belowWildcard(last)
	if !missing && !wildcard || !slices.EqualFunc(c.ours.Answer, c.theirs.Answer[:n], sameSet) {
		return false
	}
	c.theirs = withEDNS(c.ours, c.theirs.EDNS)
	return true
}

// anyRRset: we give one RRset, BIND all (by TCP), the others one too but perhaps
// another.
func anyRRset(c *comparison) bool {
	if c.qtype != dns.TypeANY || len(c.ours.Answer) != 1 || len(c.theirs.Answer) == 0 || !c.positive() {
		return false
	}
	same := func(s rrset) bool { return s.Owner == c.ours.Answer[0].Owner }
	if len(c.theirs.Answer) > 1 {
		text := c.ours.Answer[0].String()
		same = func(s rrset) bool { return s.String() == text }
	}
	if !slices.ContainsFunc(c.theirs.Answer, same) {
		return false
	}
	c.theirs.Answer, c.theirs.Authority, c.theirs.Additional = c.ours.Answer, c.ours.Authority, c.ours.Additional
	return true
}

// positive reports whether both answers are with authority and have what was asked.
func (c *comparison) positive() bool {
	return c.ours.Header == c.theirs.Header && strings.HasPrefix(c.ours.Header, "NOERROR QR AA")
}

// withoutApexNS takes out the zone's NS records and their addresses, which are no
// part of what was asked.
func withoutApexNS(c *comparison) bool {
	if !c.positive() || len(c.ours.Authority) != 0 || len(c.theirs.Answer) == 0 || len(c.theirs.Authority) != 1 {
		return false
	}
	last := c.theirs.Answer[len(c.theirs.Answer)-1]
	ns := c.theirs.Authority[0]
	if ns.Type != "NS" || ns.Owner != c.world.zoneOf(last.Owner) {
		return false
	}
	c.theirs.Authority = nil
	c.theirs.Additional = slices.DeleteFunc(slices.Clone(c.theirs.Additional), func(s rrset) bool {
		return slices.Contains(ns.targets(), s.Owner) && !has(c.ours.Additional, s)
	})
	return true
}

// targets returns the last word of each record: the name, for types that end in one.
func (s rrset) targets() []string {
	var targets []string
	for _, r := range s.Records {
		targets = append(targets, r[strings.LastIndexByte(r, ' ')+1:])
	}
	return targets
}

func has(sets []rrset, s rrset) bool {
	return slices.ContainsFunc(sets, func(other rrset) bool { return other.String() == s.String() })
}

// leads returns the target of the CNAME at the end of our answer and the zones of
// its owner and of its target, if they are two.
func (c *comparison) leads() (from, to string, ok bool) {
	if len(c.ours.Answer) == 0 || len(c.ours.Authority) != 0 {
		return "", "", false
	}
	last := c.ours.Answer[len(c.ours.Answer)-1]
	if last.Type != "CNAME" {
		return "", "", false
	}
	from, to = c.world.zoneOf(last.Owner), c.world.zoneOf(last.targets()[0])
	return from, to, from != to && to != ""
}

func stopAtOtherZone(c *comparison) bool {
	n := len(c.ours.Answer)
	if _, _, ok := c.leads(); !ok || len(c.theirs.Answer) < n || !slices.EqualFunc(c.ours.Answer, c.theirs.Answer[:n], sameSet) {
		return false
	}
	c.theirs = withEDNS(c.ours, c.theirs.EDNS)
	return true
}

func sameSet(a, b rrset) bool { return a.String() == b.String() }

// withEDNS returns an answer with another's EDNS part, which is compared apart.
func withEDNS(a answer, edns string) answer {
	a.EDNS = edns
	return a
}

func stopAtZoneBelow(c *comparison) bool {
	from, to, ok := c.leads()
	n := len(c.ours.Answer)
	if !ok || !dns.IsSubDomain(from, to) || len(c.theirs.Answer) < n || !slices.EqualFunc(c.ours.Answer, c.theirs.Answer[:n], sameSet) {
		return false
	}
	c.theirs = withEDNS(c.ours, c.theirs.EDNS)
	return true
}

// hiddenNames: the parent's records make names exist in the child zone.
func hiddenNames(c *comparison) bool {
	if !strings.HasPrefix(c.ours.Header, "NXDOMAIN") || len(c.ours.Answer) != 0 || strings.Replace(c.ours.Header, "NXDOMAIN", "NOERROR", 1) != c.theirs.Header {
		return false
	}
	apex, _ := c.world.zones.Of(c.corpusQuestion.name)
	if _, nested := c.world.zones.Of(apex.Parent()); !nested {
		return false
	}
	c.theirs.Header = c.ours.Header
	return true
}

// longChain: Knot follows five aliases, we more.
func longChain(c *comparison) bool {
	const most = 5
	n := len(c.theirs.Answer)
	if n != most || len(c.ours.Answer) <= n || !slices.EqualFunc(c.ours.Answer[:n], c.theirs.Answer, sameSet) || c.theirs.Answer[n-1].Type != "CNAME" {
		return false
	}
	c.theirs = withEDNS(c.ours, c.theirs.EDNS)
	return true
}

// aliasLoop: BIND calls a loop a failure, although it answers what it has.
func aliasLoop(c *comparison) bool {
	n := len(c.ours.Answer)
	if n == 0 || c.theirs.Header != strings.Replace(c.ours.Header, "NOERROR", "SERVFAIL", 1) {
		return false
	}
	target := c.ours.Answer[n-1].targets()[0]
	if !slices.ContainsFunc(c.ours.Answer, func(s rrset) bool { return s.Owner == target && s.Type == "CNAME" }) {
		return false
	}
	c.theirs.Header = c.ours.Header
	return true
}

// withoutRepetition leaves each RRset of a message once, and in it each record.
func withoutRepetition(c *comparison) bool {
	var seen []rrset
	once := func(sets []rrset) []rrset {
		var kept []rrset
		for _, s := range sets {
			s.Records = slices.Compact(slices.Clone(s.Records))
			if !has(seen, s) {
				seen, kept = append(seen, s), append(kept, s)
			}
		}
		return kept
	}
	t := c.theirs
	t.Answer, t.Authority, t.Additional = once(t.Answer), once(t.Authority), once(t.Additional)
	changed := !slices.EqualFunc(t.Answer, c.theirs.Answer, sameSet) || len(t.Additional) != len(c.theirs.Additional)
	c.theirs = t
	return changed
}

// besideCNAME: signatures, keys and proofs may stand beside a CNAME (RFC 4034), and
// each server has types of its own for which it does not follow one.
func besideCNAME(c *comparison) bool {
	switch c.qtype {
	case dns.TypeRRSIG, dns.TypeNSEC, dns.TypeNSEC3, dns.TypeKEY, dns.TypeSIG, dns.TypeNXT:
	default:
		return false
	}
	if len(c.ours.Answer) == 0 || c.ours.Answer[0].Type != "CNAME" || len(c.theirs.Answer) != 0 ||
		len(c.theirs.Authority) != 1 || c.theirs.Authority[0].Type != "SOA" || c.theirs.Authority[0].Owner != c.world.zoneOf(c.ours.Answer[0].Owner) {
		return false
	}
	c.theirs = withEDNS(c.ours, c.theirs.EDNS)
	return true
}

// withoutRareTargets takes out the records of targets that we do not look up.
func withoutRareTargets(c *comparison) bool {
	switch c.qtype {
	case dns.TypeAFSDB, dns.TypeRT, dns.TypeKX, dns.TypeNAPTR:
	default:
		return false
	}
	if !c.positive() || len(c.ours.Additional) != 0 || len(c.theirs.Additional) == 0 {
		return false
	}
	c.theirs.Additional = nil
	return true
}

// lowestTTL takes our TTLs, which are one for each RRset, where they differ in the
// other answer.
func lowestTTL(c *comparison) bool {
	changed := false
	c.theirs.Answer = slices.Clone(c.theirs.Answer)
	for i, s := range c.theirs.Answer {
		if i < len(c.ours.Answer) && !sameSet(s, c.ours.Answer[i]) && sameSet(s.withoutTTL(), c.ours.Answer[i].withoutTTL()) {
			c.theirs.Answer[i], changed = c.ours.Answer[i], true
		}
	}
	return changed
}

func (s rrset) withoutTTL() rrset {
	var records []string
	for _, r := range s.Records {
		_, data, _ := strings.Cut(r, " ")
		records = append(records, data)
	}
	slices.Sort(records)
	s.Records = records
	return s
}

// withoutSiblingGlue takes addresses out of our referral whose owners are not below
// the cut.
func withoutSiblingGlue(c *comparison) bool {
	if len(c.ours.Authority) != 1 || c.ours.Authority[0].Type != "NS" {
		return false
	}
	cut, before := c.ours.Authority[0].Owner, len(c.ours.Additional)
	c.ours.Additional = slices.DeleteFunc(slices.Clone(c.ours.Additional), func(s rrset) bool {
		return !dns.IsSubDomain(cut, s.Owner) && !has(c.theirs.Additional, s)
	})
	return len(c.ours.Additional) != before
}

// withoutDelegatedAddresses takes glue out of an answer that is no referral.
func withoutDelegatedAddresses(c *comparison) bool {
	if !c.positive() || len(c.theirs.Answer) == 0 {
		return false
	}
	before := len(c.theirs.Additional)
	c.theirs.Additional = slices.DeleteFunc(slices.Clone(c.theirs.Additional), func(s rrset) bool {
		return c.world.delegated(s.Owner) && !has(c.ours.Additional, s)
	})
	return len(c.theirs.Additional) != before
}

// wildcardOwner gives the additional records that a wildcard has for the name
// that they are for, and not the wildcard's or a part of both.
func wildcardOwner(c *comparison) bool {
	meant := append(slices.Clone(c.ours.Additional), c.ours.Answer...)
	changed := false
	c.theirs.Additional = slices.Clone(c.theirs.Additional)
	for i, s := range c.theirs.Additional {
		for _, want := range meant {
			moved := rrset{Owner: want.Owner, Type: s.Type, Records: s.Records}
			if !c.world.names[want.Owner] && sameSet(want, moved) && !has(c.ours.Additional, s) && !has(c.theirs.Additional, want) {
				c.theirs.Additional[i], changed = want, true
				break
			}
		}
	}
	slices.SortFunc(c.theirs.Additional, compareSets)
	return changed
}

func (c *comparison) isService() bool { return c.qtype == dns.TypeHTTPS || c.qtype == dns.TypeSVCB }

// withoutOwnersAddresses takes the addresses out of our answer that "." stands for.
func withoutOwnersAddresses(c *comparison) bool {
	if !c.isService() || !c.positive() || len(c.ours.Answer) == 0 {
		return false
	}
	before := len(c.ours.Additional)
	owner := c.ours.Answer[len(c.ours.Answer)-1].Owner
	c.ours.Additional = slices.DeleteFunc(slices.Clone(c.ours.Additional), func(s rrset) bool {
		return s.Owner == owner && !has(c.theirs.Additional, s)
	})
	return len(c.ours.Additional) != before
}

func withoutServiceAddresses(c *comparison) bool {
	if !c.isService() || !c.positive() || len(c.theirs.Additional) != 0 || len(c.ours.Additional) == 0 {
		return false
	}
	c.ours.Additional = nil
	return true
}

// withoutFurtherTargets takes out what the additional section has because of what
// else is in it: targets of aliases in either form.
func withoutFurtherTargets(c *comparison) bool {
	if !c.isService() || !c.positive() {
		return false
	}
	var further []string
	for _, s := range c.theirs.Additional {
		switch s.Type {
		case "CNAME":
			further = append(further, s.Owner, s.targets()[0])
		case "HTTPS", "SVCB":
			for _, r := range s.Records {
				further = append(further, strings.Fields(r)[3]) // after TTL, class and priority
			}
		}
	}
	before := len(c.theirs.Additional)
	c.theirs.Additional = slices.DeleteFunc(slices.Clone(c.theirs.Additional), func(s rrset) bool {
		return slices.Contains(further, s.Owner) && !has(c.ours.Additional, s)
	})
	return len(c.theirs.Additional) != before
}

// withoutTargetsServices takes out of our answer the targets' own service bindings,
// and addresses beside a wildcard's.
func withoutTargetsServices(c *comparison) bool {
	if !c.isService() || !c.positive() || len(c.ours.Answer) == 0 {
		return false
	}
	owner, before := c.ours.Answer[len(c.ours.Answer)-1].Owner, len(c.ours.Additional)
	c.ours.Additional = slices.DeleteFunc(slices.Clone(c.ours.Additional), func(s rrset) bool {
		return (s.Type == "HTTPS" || s.Type == "SVCB" || s.Owner == owner || strings.HasPrefix(s.Owner, "*.")) && !has(c.theirs.Additional, s)
	})
	return len(c.ours.Additional) != before
}
