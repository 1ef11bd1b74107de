package check

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/miekg/dns"

	"github.com/caddy-dns/bestdns/internal/nsquery"
	"github.com/caddy-dns/bestdns/internal/record"
)

// longestChain is how many CNAMEs are followed. CAs follow about as many.
const longestChain = 10

// chain returns the names to which CNAMEs lead from name, name itself first, as
// far as end. It asks the name servers of each zone: a resolver would remember,
// perhaps for hours, that a record about to be created was not there.
func (c *checker) chain(ctx context.Context, name, end record.Name) ([]record.Name, error) {
	names := []record.Name{name}
	for {
		last := names[len(names)-1]
		if last == end && len(names) > 1 {
			return names, nil
		}
		target, err := c.cnameAt(ctx, last)
		if err != nil && len(names) > 1 {
			return names, nil // the zone that it leads to is broken, and checked by itself
		}
		if err != nil || target == "" {
			return names, err
		}
		if slices.Contains(names, target) || len(names) > longestChain {
			return append(names, target), fmt.Errorf("the CNAMEs from %s lead in a circle, or too far, by %s", name.Plain(), target.Plain())
		}
		names = append(names, target)
	}
}

// cnameAt returns the target of the CNAME at a name, "" if there is none.
func (c *checker) cnameAt(ctx context.Context, name record.Name) (record.Name, error) {
	if apex, err := c.resolver.ZoneOf(ctx, name.Parent()); err == nil {
		servers, _ := c.resolver.NameServers(ctx, apex) // without any, the resolver is left
		for _, answer := range c.client.AskAll(ctx, nsquery.OneEach(servers), nsquery.Question{Name: name, Type: dns.TypeCNAME}) {
			switch _, referral := answer.NameServers(); {
			case answer.Failed():
			case answer.Authoritative:
				return answer.CNAME(), nil
			case answer.Rcode == dns.RcodeSuccess && len(answer.Records) == 0 && len(referral) > 0:
				return "", nil // a zone of its own, whose apex can have no CNAME
			}
		}
	}
	answer, err := c.resolver.Find(ctx, name, dns.TypeCNAME)
	return answer.CNAME(), err
}

// destination returns where the challenge has to be found, as far as the service
// or its configuration says: the owner itself where the service hosts it.
func (c *checker) destination(s subject, r *reached, p *probe) (want record.Name, known bool) {
	if p != nil {
		return p.at, true
	}
	if c.Account != nil {
		name, err := record.ParseName(c.Account.Fulldomain)
		return name, err == nil
	}
	zones, marked := c.configured()
	_, hosted := zones.Of(s.owner)
	if !hosted && !r.denied {
		_, hosted = r.zones.Of(s.owner)
	}
	if hosted {
		return s.owner, true
	}
	if marked == "" {
		return "", false
	}
	target, err := record.Challenge{Domain: s.domain}.Target(marked)
	return target, err == nil
}

// configured returns the zones of the configuration at hand, and the one of them
// that takes the challenges of domains hosted elsewhere.
func (c *checker) configured() (zones record.Zones, marked record.Name) {
	zones = record.NewZones()
	for _, z := range c.Hosted {
		apex, err := record.ParseName(z.Name)
		if err != nil {
			continue
		}
		zones[apex] = struct{}{}
		if z.CNAMETarget {
			marked = apex
		}
	}
	return zones, marked
}

// checkCNAME reports whether a look-up of the challenge at _acme-challenge.DOMAIN
// arrives where the service writes it, and returns that name.
func (c *checker) checkCNAME(ctx context.Context, s subject, r *reached, p *probe) (target record.Name) {
	owner := s.owner
	want, known := c.destination(s, r, p)
	names, err := c.chain(ctx, owner, want)
	if ctx.Err() != nil {
		return want
	}
	step := Step{Name: "cname", Status: OK}
	end := names[len(names)-1]
	if target = want; !known {
		target = end
	}
	arrives := strings.Join(plainAll(names), " → ")
	switch {
	case err != nil:
		step.Status, step.Found = Unknown, err.Error()
		if len(names) > 1 { // they lead nowhere
			step.Status = Wrong
		}
		if known && want != owner {
			step.Do, step.Lines = "this is the record to create where "+s.domain.Plain()+" is hosted:", []string{cname(owner, want)}
		}
	case !known && len(names) == 1 && c.unknown != "":
		step.Status = Unknown
		step.Found = fmt.Sprintf("whether %s has a CNAME is not known: %s", owner.Plain(), c.unknown)
		step.Do = "ask a resolver that knows the zone with --resolver ADDRESS"
	case !known && len(names) == 1:
		step.Found = fmt.Sprintf("%s has no CNAME: challenges are looked for in the domain's own zone", owner.Plain())
	case !known:
		step.Found = fmt.Sprintf("%s: challenges are looked for there", arrives)
	case end == want && end == owner:
		step.Found = fmt.Sprintf("%s is hosted by the service and needs no CNAME", owner.Plain())
	case end == want:
		step.Found = fmt.Sprintf("%s, where the service writes", arrives)
	case want == owner:
		step.Status = Wrong
		step.Found = fmt.Sprintf("%s: the CA looks there, and the service writes at %s itself", arrives, owner.Plain())
		step.Do, step.Lines = "remove this record, for the service hosts the name:", []string{cname(owner, names[1])}
	case len(names) == 1 && c.unknown != "":
		step.Status = Unknown
		step.Found = fmt.Sprintf("whether %s has a CNAME is not known: %s", owner.Plain(), c.unknown)
		step.Do, step.Lines = "ask a resolver that knows the zone with --resolver ADDRESS; this is the record to create where "+s.domain.Plain()+" is hosted:", []string{cname(owner, want)}
	case len(names) == 1:
		step.Status = Wrong
		step.Found = fmt.Sprintf("%s has no CNAME, so no one finds the challenges that the service writes at %s", owner.Plain(), want.Plain())
		step.Do, step.Lines = "create this record where "+s.domain.Plain()+" is hosted:", []string{cname(owner, want)}
	default:
		step.Status = Wrong
		step.Found = fmt.Sprintf("%s: that is elsewhere than at %s, where the service writes", arrives, want.Plain())
		step.Do, step.Lines = "replace the CNAME, where "+s.domain.Plain()+" is hosted, by:", []string{cname(owner, want)}
	}
	c.emit(step)
	return target
}

// cname is the record that leads from one name to the other.
func cname(owner, target record.Name) string { return owner.String() + " CNAME " + target.String() }

func plainAll(names []record.Name) []string { return textsOf(names, record.Name.Plain) }

// zoneOfTarget returns the zone in which the challenge is looked for.
func (c *checker) zoneOfTarget(ctx context.Context, target record.Name, r *reached) (apex record.Name, ok bool) {
	if apex, ok := r.zones.Of(target); ok {
		return apex, true
	}
	zones, _ := c.configured()
	if apex, ok := zones.Of(target); ok {
		return apex, true
	}
	apex, err := c.resolver.ZoneOf(ctx, target)
	if err != nil {
		if broken, errBroken := c.resolver.ZoneByReferral(ctx, target); errBroken == nil {
			apex, err = broken, nil
		}
	}
	switch {
	case ctx.Err() != nil:
		return "", false
	case err != nil:
		c.emit(Step{Name: "delegation", Status: Unknown, Found: fmt.Sprintf("the zone of %s was not found: %s", target.Plain(), err),
			Do: "ask another resolver with --resolver ADDRESS"})
		return "", false
	case apex.Labels() < 2 && !c.resolver.Exists(ctx, target) && !c.resolver.Exists(ctx, target.Parent()):
		// A zone of one label can hold the domain itself, in a network of one's own.
		c.emit(Step{Name: "delegation", Status: Wrong, Found: fmt.Sprintf("no zone holds %s: the first that exists above it is %s", target.Plain(), apex.Plain()),
			Do: "see that the domain is written right, registered, and delegated to name servers by its registrar"})
		return "", false
	}
	return apex, true
}
