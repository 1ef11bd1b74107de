package check

import (
	"context"
	"fmt"

	"github.com/miekg/dns"

	"github.com/caddy-dns/bestdns/internal/nsquery"
	"github.com/caddy-dns/bestdns/internal/record"
)

// A record below a wildcard takes the names above it from the wildcard (RFC 4592): while
// there is a challenge at _acme-challenge.D, D has no address if only a wildcard gave it one.

// hostTypes are those of which a host is found.
var hostTypes = []uint16{dns.TypeA, dns.TypeAAAA, dns.TypeCNAME}

// masked is a domain whose types are looked at while the probe is there and after it.
type masked struct {
	domain  record.Name
	server  nsquery.Server
	without []uint16 // types of which there was no record beside the probe
}

// findMasked notes what a name server has for the domain while the probe is there.
func (c *checker) findMasked(ctx context.Context, s subject, servers []nsquery.Server) *masked {
	found := &masked{domain: s.domain, server: servers[0]}
	for _, typ := range hostTypes {
		if has, known := c.hasType(ctx, found.server, found.domain, typ); known && !has {
			found.without = append(found.without, typ)
		}
	}
	return found
}

// reportMasked says so if the domain has records of types again that it did not have while
// the probe was there, or has no address still although a wildcard beside it has one.
func (c *checker) reportMasked(ctx context.Context, m *masked) {
	step := Step{Name: "wildcard", Status: Warning}
	for _, typ := range m.without {
		has, _ := c.hasType(ctx, m.server, m.domain, typ)
		if !has && len(m.without) < len(hostTypes) {
			continue // it has an address, if only of another kind
		}
		wildcard := c.wildcardAbove(ctx, m, typ)
		if wildcard == "" {
			continue
		}
		step.Found = fmt.Sprintf("%s has its %s record from the wildcard %s, which does not answer for it while a challenge is there (RFC 4592)",
			m.domain.Plain(), dns.TypeToString[typ], wildcard.Plain())
		step.Do = "give it a record of its own, if it must be found during a challenge too:"
		if !has {
			step.Found = fmt.Sprintf("%s has no address, and the wildcard %s, which has one, does not answer for it: there is a record at that name or below it (RFC 4592), such as a challenge that was left over",
				m.domain.Plain(), wildcard.Plain())
			step.Do = "remove what is below it, or give it a record of its own:"
		}
		step.Lines = []string{fmt.Sprintf("%s %s …", m.domain, dns.TypeToString[typ])}
		c.emit(step)
		return
	}
}

// wildcardAbove returns the wildcard that has a record of the type for a name. What is
// answered for a wildcard may itself be from one further up, if the name that it is below
// has the record too.
func (c *checker) wildcardAbove(ctx context.Context, m *masked, typ uint16) (wildcard record.Name) {
	for above := m.domain.Parent(); above != record.Root; above = above.Parent() {
		below, err := above.Child("*")
		if err != nil {
			return wildcard
		}
		if has, _ := c.hasType(ctx, m.server, below, typ); !has {
			return wildcard
		}
		wildcard = below
		if has, _ := c.hasType(ctx, m.server, above, typ); !has {
			return wildcard
		}
	}
	return wildcard
}

// hasType reports whether a name server has a record of a type at a name itself.
func (c *checker) hasType(ctx context.Context, server nsquery.Server, name record.Name, typ uint16) (has, known bool) {
	answer := c.client.Ask(ctx, server.Address.String(), nsquery.Question{Name: name, Type: typ})
	found := nsquery.Of[dns.RR](answer.Records, name) // or a CNAME, which is an answer too
	return !answer.Failed() && len(found) > 0, !answer.Failed()
}
