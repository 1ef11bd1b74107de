package check

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/miekg/dns"

	"github.com/caddy-dns/bestdns/internal/record"
)

// longestChain is how many CNAMEs are followed. CAs follow about as many.
const longestChain = 10

// chain returns the names to which CNAMEs lead from name, name itself first, as
// far as end. It asks the name servers of each zone: a resolver would remember,
// perhaps for hours, that a record about to be created was not there.
func (c *checker) chain(ctx context.Context, name, end string) ([]string, error) {
	names := []string{dns.CanonicalName(name)}
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
			return append(names, target), fmt.Errorf("the CNAMEs from %s lead in a circle, or too far, by %s", plain(name), plain(target))
		}
		names = append(names, target)
	}
}

// cnameAt returns the target of the CNAME at a name, "" if there is none.
func (c *checker) cnameAt(ctx context.Context, name string) (string, error) {
	q := query{name: name, typ: dns.TypeCNAME}
	if apex, err := c.walk.zoneOf(ctx, parentOf(name)); err == nil {
		servers, _ := c.walk.nameServers(ctx, apex) // without any, the resolver is left
		servers = oneEach(servers)
		answers := make([]*dns.Msg, len(servers))
		inParallel(len(servers), func(i int) {
			if answer, err := c.Dial.ask(ctx, servers[i].address(), q); err == nil && !isFailure(answer) {
				answers[i] = answer
			}
		})
		for _, answer := range answers {
			switch {
			case answer == nil:
			case answer.Authoritative:
				return cnameIn(answer, name), nil
			case isReferral(answer, name):
				return "", nil // a zone of its own, whose apex can be no alias
			}
		}
	}
	answer, err := c.walk.found(ctx, name, dns.TypeCNAME)
	if err != nil {
		return "", err
	}
	return cnameIn(answer, name), nil
}

func cnameIn(answer *dns.Msg, name string) string {
	for _, rr := range answer.Answer {
		if cname, ok := rr.(*dns.CNAME); ok && dns.CanonicalName(cname.Hdr.Name) == name {
			return dns.CanonicalName(cname.Target)
		}
	}
	return ""
}

// isReferral reports whether the answer refers to the name servers of name itself.
func isReferral(answer *dns.Msg, name string) bool {
	return answer.Rcode == dns.RcodeSuccess && len(answer.Answer) == 0 && len(targetsOf(answer.Ns, name)) > 0
}

// destination returns where the challenge has to be found, as far as the service
// or its configuration tells: the owner itself where the service hosts it.
func (c *checker) destination(s subject, r *reached, p *probe) (want string, known bool) {
	if p != nil {
		return p.at, true
	}
	zones, marked := c.configured()
	_, hosted := zones.Of(s.owner)
	if !hosted && !r.denied {
		_, hosted = r.zones.Of(s.owner)
	}
	if hosted {
		return s.owner.String(), true
	}
	if marked == "" {
		return "", false
	}
	target, err := record.Challenge{Domain: s.domain}.Target(marked)
	return target.String(), err == nil
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

// checkCNAME reports whether who looks for the challenge at _acme-challenge.DOMAIN
// arrives where the service writes it, and returns that name.
func (c *checker) checkCNAME(ctx context.Context, s subject, r *reached, p *probe) (target string) {
	owner := s.owner.String()
	want, known := c.destination(s, r, p)
	names, err := c.chain(ctx, owner, want)
	if ctx.Err() != nil {
		return want
	}
	step := Step{Name: "cname", Status: OK}
	defer func() { c.emit(step) }()
	end := names[len(names)-1]
	arrives := strings.Join(plainAll(names), " → ")
	switch {
	case err != nil:
		step.Status, step.Found = Unknown, err.Error()
		if len(names) > 1 { // they lead nowhere
			step.Status = Wrong
		}
		if known && want != owner {
			step.Do, step.Lines = "this is the record to create where "+plain(s.domain.String())+" is hosted:", []string{owner + " CNAME " + want}
		}
	case !known && len(names) == 1:
		step.Found = fmt.Sprintf("%s is no alias: challenges are looked for in the domain's own zone", plain(owner))
		return end
	case !known:
		step.Found = fmt.Sprintf("%s: challenges are looked for there", arrives)
		return end
	case end == want && end == owner:
		step.Found = fmt.Sprintf("%s is hosted by the service and needs no CNAME", plain(owner))
	case end == want:
		step.Found = fmt.Sprintf("%s, where the service writes", arrives)
	case want == owner:
		step.Status = Wrong
		step.Found = fmt.Sprintf("%s: the CA looks there, and the service writes at %s itself", arrives, plain(owner))
		step.Do, step.Lines = "remove this record, for the service hosts the name:", []string{owner + " CNAME " + names[1]}
	case len(names) == 1:
		step.Status = Wrong
		step.Found = fmt.Sprintf("%s is no alias, so nobody finds the challenges that the service writes at %s", plain(owner), plain(want))
		step.Do, step.Lines = "create this record where "+plain(s.domain.String())+" is hosted:", []string{owner + " CNAME " + want}
	default:
		step.Status = Wrong
		step.Found = fmt.Sprintf("%s: that is elsewhere than at %s, where the service writes", arrives, plain(want))
		step.Do, step.Lines = "replace the CNAME, where "+plain(s.domain.String())+" is hosted, by:", []string{owner + " CNAME " + want}
	}
	if !known {
		return end
	}
	return want
}

func plainAll(names []string) []string {
	texts := make([]string, len(names))
	for i, name := range names {
		texts[i] = plain(name)
	}
	return texts
}

// zoneOfTarget returns the zone in which the challenge is looked for.
func (c *checker) zoneOfTarget(ctx context.Context, target string, r *reached) (apex string, ok bool) {
	name, err := record.ParseName(target)
	if err == nil {
		if apex, ok := r.zones.Of(name); ok {
			return apex.String(), true
		}
		zones, _ := c.configured()
		if apex, ok := zones.Of(name); ok {
			return apex.String(), true
		}
	}
	if apex, err = c.walk.zoneOf(ctx, target); err != nil {
		if broken, errBroken := c.walk.brokenZone(ctx, target); errBroken == nil {
			apex, err = broken, nil
		}
	}
	switch {
	case ctx.Err() != nil:
		return "", false
	case err != nil:
		c.emit(Step{Name: "delegation", Status: Unknown, Found: fmt.Sprintf("the zone of %s was not found: %s", plain(target), err),
			Do: "ask another resolver with --resolver ADDRESS"})
		return "", false
	case dns.CountLabel(apex) < 2 && !c.walk.exists(ctx, target) && !c.walk.exists(ctx, parentOf(target)):
		// A zone of one label can hold the domain itself, in a network of one's own.
		c.emit(Step{Name: "delegation", Status: Wrong, Found: fmt.Sprintf("no zone holds %s: the first that exists above it is %s", plain(target), plain(apex)),
			Do: "see that the domain is written right, registered, and delegated to name servers by its registrar"})
		return "", false
	}
	return apex, true
}
