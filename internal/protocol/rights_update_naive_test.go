package protocol

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"github.com/miekg/dns"
)

// The naive reading of an update (RFC 2136 §3): the zone is copied, and each step done on the copy.

// verdict is what becomes of an update.
type verdict struct {
	rcodes []int // with one of which it is answered; none: it is made
	why    string
	zone   *naiveZone
	// perhaps is set if it may be refused as well, for a TTL that its zone's provider has chosen.
	perhaps bool
	// asked is set if the zone's backend has been asked, so that what is remembered may differ.
	asked bool
	next  []written // of the zone
}

func refused(why string, rcodes ...int) verdict { return verdict{rcodes: rcodes, why: why} }

// placedStep is a step with the name in the zone to which it goes.
type placedStep struct {
	step
	owner     labels
	challenge bool // it adds or deletes what is the answer to a challenge of the client's
	own       bool // it deletes what the client has added, and nothing else
}

func (w *rightsWorld) judgeUpdate(u naiveUpdate) verdict {
	rules := w.naive[u.client]
	v, bad := u.scan()
	if v.rcodes != nil {
		return v
	}
	steps := u.steps
	if bad >= 0 {
		steps = steps[:bad]
	}
	zone, v := w.placeUpdate(rules, u, steps, bad)
	if v.rcodes != nil {
		return v
	}
	placed, why := w.authorizeUpdate(rules, u, zone, steps)
	if why != "" {
		return refused(why, dns.RcodeRefused)
	}
	s := simulation{world: w, client: u.client, zone: zone, before: w.current(zone)}
	s.now = slices.Clone(s.before)
	v = verdict{zone: zone, asked: true}
	if zone.provider && w.overRememberedBy(s, placed) {
		return refused("a limit", dns.RcodeRefused)
	}
	fail := func(why string, rcode int) verdict {
		v.rcodes, v.why = []int{rcode}, why
		return v
	}
	if zone.provider && !u.isPortable(placed) {
		return fail("what not every provider can carry", dns.RcodeRefused)
	}
	for _, r := range u.requires {
		_, owner := rules.placed(u.zone, r.owner, cmp.Or(r.typ, "TXT"))
		if r.data != nil { // those of one RRset together are all of it (RFC 2136 §2.4.2)
			r.data = nil
			for _, other := range u.requires {
				if other.data != nil && slices.Equal(other.owner, r.owner) && other.typ == r.typ {
					r.data = append(r.data, other.data...)
				}
			}
		}
		if !s.meets(r, owner) {
			return fail("a prerequisite", r.rcode())
		}
	}
	for _, p := range placed {
		s.do(p)
	}
	why, perhaps := s.breaksRule(u, placed)
	if v.perhaps = perhaps; why != "" && !perhaps {
		return fail(why, dns.RcodeRefused)
	}
	if !zone.provider && w.limits.over(w.written, w.replaced(zone, s.now)) != "" {
		return fail("a limit", dns.RcodeRefused)
	}
	v.next = s.now
	return v
}

// scan looks at the forms of what a message has, in order (RFC 2136 §3.2, §3.4.1). bad is the first
// step that is not a valid record, -1 if there is none; what is after it is not looked at.
func (u naiveUpdate) scan() (v verdict, bad int) {
	if u.fault != "" {
		return refused("a message", dns.RcodeFormatError), -1
	}
	for _, r := range u.requires {
		if !r.owner.in(u.zone) {
			return refused("a name outside of the zone", dns.RcodeNotZone), -1
		}
		if r.fault != "" {
			return refused("a form", dns.RcodeFormatError), -1
		}
	}
	for i, s := range u.steps {
		switch {
		case !s.owner.in(u.zone):
			return refused("a name outside of the zone", dns.RcodeNotZone), -1
		case s.fault == formErr:
			return refused("a form", dns.RcodeFormatError), -1
		case s.fault == invalid:
			return v, i
		}
	}
	return v, -1
}

// placeUpdate finds the zone in which all of an update is.
func (w *rightsWorld) placeUpdate(rules *naiveWorld, u naiveUpdate, steps []step, bad int) (zone *naiveZone, v verdict) {
	unsure := false
	place := func(owner labels, typ string) bool {
		z, _ := rules.placed(u.zone, owner, typ)
		unsure = unsure || z != nil && !rules.surelyUses(z)
		switch {
		case z == nil:
			v = refused("a zone", dns.RcodeNotAuth)
			if rules.zoneOf(owner) == nil { // its target may be in another zone than the one for targets
				v.rcodes = append(v.rcodes, dns.RcodeRefused)
			}
		case zone != nil && z != zone:
			v = refused("two zones", dns.RcodeRefused)
		default:
			zone = z
		}
		return v.rcodes == nil
	}
	for _, adds := range []bool{true, false} {
		for _, s := range steps {
			if (s.op == "add") == adds && !place(s.owner, s.typ) {
				return zone, v.unless(unsure)
			}
		}
	}
	for _, r := range u.requires {
		if !place(r.owner, cmp.Or(r.typ, "TXT")) {
			return zone, v.unless(unsure)
		}
	}
	switch {
	case bad >= 0:
		if place(u.steps[bad].owner, u.steps[bad].typ) {
			return zone, refused("a type", dns.RcodeRefused).unless(unsure)
		}
		return zone, v.unless(unsure)
	case len(steps)+len(u.requires) == 0:
		if zone = rules.zoneOf(u.zone); zone == nil {
			return nil, refused("a zone", dns.RcodeNotAuth)
		}
		unsure = !rules.surelyUses(zone)
		fallthrough
	default:
		if unsure && !w.uses(u.client, zone) {
			return zone, refused("a zone", dns.RcodeNotAuth)
		}
	}
	return zone, verdict{}
}

// unless makes a refusal one for a zone too, where it is not certain that the client has any right in it.
func (v verdict) unless(unsure bool) verdict {
	if unsure && !slices.Contains(v.rcodes, dns.RcodeNotAuth) {
		v.rcodes = append(v.rcodes, dns.RcodeNotAuth)
	}
	return v
}

// surelyUses: is there a right to something in a zone, without having to look for it?
func (w *naiveWorld) surelyUses(z *naiveZone) bool {
	return slices.ContainsFunc(w.rules, func(r naiveRule) bool {
		r = r.meaning()
		return r.verb != "certificates" && w.zoneOf(r.name) == z
	})
}

// uses is what the service says of rights in a zone; the test of package access has its naive reading.
func (w *rightsWorld) uses(client string, z *naiveZone) bool {
	return w.s.Clients().ByName(client).MayUse(w.parse(z.name))
}

// authorizeUpdate says why a client may not make an update, and otherwise what each step is about.
func (w *rightsWorld) authorizeUpdate(rules *naiveWorld, u naiveUpdate, zone *naiveZone, steps []step) (placed []placedStep, why string) {
	for _, s := range steps {
		p := placedStep{step: s}
		_, p.owner = rules.placed(u.zone, s.owner, s.typ)
		text := &s.data
		if s.op == "clear" || s.op == "empty" {
			text = nil
		}
		p.challenge = s.typ == "TXT" && text != nil && naiveValue.MatchString(s.data) && rules.challenge(zone, p.owner)
		kind := "append"
		if s.op != "add" {
			kind = "delete"
		}
		switch {
		case s.typ == "SOA":
			return nil, "a record that the server makes"
		case rules.may(kind, zone, p.owner, s.typ, text):
		case text == nil && (s.typ == "TXT" || s.typ == "") && rules.challenge(zone, p.owner):
			p.own = true
		default:
			return nil, "a right"
		}
		placed = append(placed, p)
	}
	for _, r := range u.requires {
		if _, owner := rules.placed(u.zone, r.owner, cmp.Or(r.typ, "TXT")); !rules.reads(zone, owner) {
			return nil, "a look at what is not the client's to see"
		}
	}
	return placed, ""
}

// isPortable: can every provider carry what an update has?
func (u naiveUpdate) isPortable(placed []placedStep) bool {
	name := func(owner labels) bool {
		return plainName.MatchString(strings.Join(owner, ".")) && !slices.Contains(owner, "a.b")
	}
	for _, p := range placed {
		whole := p.op == "add" || p.op == "delete"
		switch {
		case p.own: // which becomes what there is, or nothing
			continue
		case !name(p.owner), whole && (p.typ == "DS" || p.typ == "TYPE65280"):
			return false
		case whole && p.typ == "TXT" && (!plainData.MatchString(p.data) || strings.ContainsAny(p.data, `"\`)):
			return false
		}
	}
	return !slices.ContainsFunc(u.requires, func(r requirement) bool { return !name(r.owner) })
}

// current returns what is in a zone.
func (w *rightsWorld) current(z *naiveZone) (list []written) {
	if !z.provider {
		for _, r := range w.written {
			if r.zone == z.name.slashed() {
				list = append(list, r)
			}
		}
		return list
	}
	for _, h := range w.state[z.name.slashed()] {
		r := written{zone: z.name.slashed(), owner: h.owner.slashed(), typ: h.typ, data: h.data}
		if h.typ == "TXT" {
			r.client, r.expires = w.remembered[rememberedKey(z.name, h.owner, h.data)]
		}
		list = append(list, r)
	}
	return list
}

// replaced returns what is in all built-in zones, with one of them as it would be.
func (w *rightsWorld) replaced(z *naiveZone, next []written) []written {
	all := slices.DeleteFunc(slices.Clone(w.written), func(r written) bool { return r.zone == z.name.slashed() })
	return append(all, next...)
}

// overRememberedBy: would more be remembered at a name of a zone with a provider than may be?
func (w *rightsWorld) overRememberedBy(s simulation, placed []placedStep) bool {
	s.now = slices.Clone(s.before)
	for _, p := range placed {
		s.do(p)
	}
	return w.limits.overRemembered(w.remembered, w.rememberedAfter(s.zone, s.now)) != ""
}

// rememberedAfter returns what is remembered of all zones when one with a provider has some records.
func (w *rightsWorld) rememberedAfter(zone *naiveZone, now []written) map[string]string {
	next := maps.Clone(w.remembered)
	maps.DeleteFunc(next, func(key, _ string) bool { return strings.HasPrefix(key, zone.name.slashed()+" ") })
	for _, r := range now {
		if w.remembers && r.typ == "TXT" && r.expires {
			next[zone.name.slashed()+" "+r.owner+" "+r.data] = r.client
		}
	}
	return next
}

// simulation is a zone on which an update is tried.
type simulation struct {
	world       *rightsWorld
	client      string
	zone        *naiveZone
	before, now []written
}

// meets: is a prerequisite met?
func (s *simulation) meets(r requirement, owner labels) bool {
	var data []string
	there := false
	for _, have := range s.before {
		if have.owner != owner.slashed() || r.typ != "" && have.typ != r.typ {
			continue
		}
		there = true
		data = append(data, have.data)
	}
	if s.zone.provider && r.typ == "SOA" {
		there = false // of which the providers here tell nothing
	}
	if r.data == nil || !there {
		return there == r.exists
	}
	want := slices.Compact(slices.Sorted(slices.Values(r.data)))
	slices.Sort(data)
	return slices.Equal(data, want)
}

// rcode is what says that a prerequisite is not met.
func (r requirement) rcode() int {
	switch {
	case r.typ == "" && r.exists:
		return dns.RcodeNameError
	case r.typ == "":
		return dns.RcodeYXDomain
	case r.exists:
		return dns.RcodeNXRrset
	}
	return dns.RcodeYXRrset
}

// do does a step.
func (s *simulation) do(p placedStep) {
	one := written{zone: s.zone.name.slashed(), owner: p.owner.slashed(), typ: p.typ, data: p.data, ttl: p.ttl, client: s.client, expires: p.challenge}
	if p.op == "add" {
		if p.challenge || s.zone.provider {
			one.ttl = 0
		}
		i := slices.IndexFunc(s.now, one.sameRecord)
		if i < 0 {
			s.now = append(s.now, one)
			return
		}
		if !s.zone.provider {
			s.now[i].ttl = one.ttl
		}
		s.now[i].expires = s.now[i].expires && one.expires
		if s.zone.provider { // the client that adds it last is remembered
			s.now[i].client, s.now[i].expires = s.client, p.challenge
		}
		return
	}
	apex := slices.Equal(p.owner, s.zone.name)
	s.now = slices.DeleteFunc(s.now, func(r written) bool {
		switch {
		case r.owner != one.owner, r.typ == "SOA":
			return false
		case p.own:
			return s.mine(r)
		case p.op == "delete":
			return r.sameRecord(one)
		case p.op == "clear":
			return r.typ == p.typ
		}
		return !apex || r.typ != "NS"
	})
}

// mine: has the client of the update added a text?
func (s *simulation) mine(r written) bool {
	return r.typ == "TXT" && r.client == s.client
}

// breaksRule returns which rule of DNS a zone breaks as it has become, or perhaps does.
func (s *simulation) breaksRule(u naiveUpdate, placed []placedStep) (why string, perhaps bool) {
	apex := s.zone.name.slashed()
	count := func(list []written, owner, typ string) (n int) {
		for _, r := range list {
			if r.owner == owner && (typ == "" || r.typ == typ) {
				n++
			}
		}
		return n
	}
	if s.zone.provider {
		if count(s.before, apex, "NS") > 0 && count(s.now, apex, "NS") == 0 {
			return "the last NS record", false
		}
		adds := slices.ContainsFunc(placed, func(p placedStep) bool { return p.op == "add" })
		if !adds && len(u.requires) == 0 || s.onlyAdds(u, placed) {
			return "", false // the rest is the provider's
		}
	} else if slices.ContainsFunc(placed, func(p placedStep) bool { return p.typ == "NS" && p.owner.slashed() == apex }) {
		return "the NS records of the apex", false
	}
	for _, p := range placed {
		owner := p.owner.slashed()
		if count(s.now, owner, "CNAME") == 0 || count(s.now, owner, "") == 1 {
			continue
		}
		if same := sameAt(s.before, s.now, owner); !same || s.zone.provider {
			return "a CNAME that is not alone", same
		}
	}
	return "", false
}

// onlyAdds reports whether a provider is sent what is added and nothing else.
func (s *simulation) onlyAdds(u naiveUpdate, placed []placedStep) bool {
	added := make(map[string]bool) // names of texts
	for _, p := range placed {
		owner := p.owner.slashed()
		switch {
		case p.op == "add":
			added[owner] = added[owner] || p.typ == "TXT"
		case !p.own, added[owner], slices.ContainsFunc(s.before, func(r written) bool { return r.owner == owner && s.mine(r) }):
			return false
		}
	}
	return len(u.requires) == 0
}

// sameAt: has nothing changed at a name? (Of a zone with a provider, TTLs are not known.)
func sameAt(before, after []written, owner string) bool {
	at := func(list []written) map[written]bool {
		found := make(map[written]bool)
		for _, r := range list {
			if r.owner == owner {
				r.client, r.expires = "", false
				found[r] = true
			}
		}
		return found
	}
	return maps.Equal(at(before), at(after))
}
