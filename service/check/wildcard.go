package check

import (
	"context"
	"fmt"

	"github.com/miekg/dns"
)

// A record below a wildcard takes the names above it from the wildcard (RFC 4592): while
// there is a challenge at _acme-challenge.D, D has no address if only a wildcard gave it one.

// hostTypes are those of which a host is found.
var hostTypes = []uint16{dns.TypeA, dns.TypeAAAA, dns.TypeCNAME}

// silence is a domain whose types are looked at while the probe is there and after it.
type silence struct {
	domain, server string
	without        []uint16 // types of which there was no record beside the probe
}

// listen notes what a name server has for the domain while the probe is there.
func (c *checker) listen(ctx context.Context, s subject, servers []server) *silence {
	found := &silence{domain: s.domain.String(), server: servers[0].address()}
	for _, typ := range hostTypes {
		if has, known := c.hasType(ctx, found.server, found.domain, typ); known && !has {
			found.without = append(found.without, typ)
		}
	}
	return found
}

// reportSilence says so if the domain has records of types again that it did not have while
// the probe was there, or has no address still although a wildcard beside it has one.
func (c *checker) reportSilence(ctx context.Context, s *silence) {
	step := Step{Name: "wildcard", Status: Warning}
	for _, typ := range s.without {
		has, _ := c.hasType(ctx, s.server, s.domain, typ)
		if !has && len(s.without) < len(hostTypes) {
			continue // it has an address, if only of another kind
		}
		wildcard := c.wildcardAbove(ctx, s, typ)
		if wildcard == "" {
			continue
		}
		step.Found = fmt.Sprintf("%s has its %s record from the wildcard %s, which does not answer for it while a challenge is there (RFC 4592)",
			plain(s.domain), dns.TypeToString[typ], plain(wildcard))
		step.Do = "give it a record of its own, if it must be found during a challenge too:"
		if !has {
			step.Found = fmt.Sprintf("%s has no address, and the wildcard %s, which has one, does not answer for it: there is a record at that name or below it (RFC 4592), such as a challenge that was left behind",
				plain(s.domain), plain(wildcard))
			step.Do = "remove what is below it, or give it a record of its own:"
		}
		step.Lines = []string{fmt.Sprintf("%s %s …", s.domain, dns.TypeToString[typ])}
		c.emit(step)
		return
	}
}

// wildcardAbove returns the wildcard that has a record of the type for a name. What is
// answered for a wildcard may itself be from one further up, if the name that it is below
// has the record too.
func (c *checker) wildcardAbove(ctx context.Context, s *silence, typ uint16) (wildcard string) {
	for above := parentOf(s.domain); above != "."; above = parentOf(above) {
		if has, _ := c.hasType(ctx, s.server, "*."+above, typ); !has {
			return wildcard
		}
		wildcard = "*." + above
		if has, _ := c.hasType(ctx, s.server, above, typ); !has {
			return wildcard
		}
	}
	return wildcard
}

// hasType reports whether a name server has a record of a type at a name itself.
func (c *checker) hasType(ctx context.Context, server, name string, typ uint16) (has, known bool) {
	answer, err := c.Dial.ask(ctx, server, query{name: name, typ: typ})
	if err != nil || isFailure(answer) {
		return false, false
	}
	for _, rr := range answer.Answer {
		if dns.CanonicalName(rr.Header().Name) == name {
			return true, true // or a CNAME, which is an answer too
		}
	}
	return false, true
}
