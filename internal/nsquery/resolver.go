package nsquery

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/miekg/dns"

	"github.com/caddy-dns/bestdns/internal/record"
)

// Resolver finds zones and their name servers through resolvers.
type Resolver struct {
	Client *Client
	// Addresses are asked in this order until one answers, as "host:port".
	Addresses []string
}

// Ask asks the resolvers. An answer that there is nothing is an answer.
func (r *Resolver) Ask(ctx context.Context, q Question) Answer {
	q.Recurse = true
	var errs []error
	for _, address := range r.Addresses {
		answer := r.Client.Ask(ctx, address, q)
		if answer.Err == nil {
			return answer
		}
		errs = append(errs, fmt.Errorf("resolver %s: %s: %s", address, q, Reason(answer.Err)))
	}
	return Answer{Question: q, Err: errors.Join(errs...)}
}

// Find asks for what either exists or does not: that the resolver fails is an error.
func (r *Resolver) Find(ctx context.Context, name record.Name, typ uint16) (Answer, error) {
	answer := r.Ask(ctx, Question{Name: name, Type: typ})
	if answer.Err == nil && answer.Failed() {
		answer.Err = fmt.Errorf("the resolver %s for %s", answer.Failure(), answer.Question)
	}
	return answer, answer.Err
}

// errNoZone: the resolver knows no zone above a name.
var errNoZone = errors.New("the resolver found no parent zone")

// ZoneOf returns the zone that holds name: the first above it, or at it, with a SOA record.
func (r *Resolver) ZoneOf(ctx context.Context, name record.Name) (record.Name, error) {
	for at := name; ; at = at.Parent() {
		answer, err := r.Find(ctx, at, dns.TypeSOA)
		if err != nil {
			return "", err
		}
		if zone := answer.zone(); zone != "" {
			return zone, nil
		}
		if at == record.Root {
			return "", errNoZone
		}
	}
}

// ZoneByReferral returns the zone that holds name where the resolver fails below it: the
// servers of the last zone that it can find say to whom they delegate.
func (r *Resolver) ZoneByReferral(ctx context.Context, name record.Name) (record.Name, error) {
	const mostFailures = 10 // each may take the resolver's time to give up
	failures := 0
	for at := name.Parent(); at != record.Root && failures < mostFailures; at = at.Parent() {
		above, err := r.ZoneOf(ctx, at)
		if err != nil {
			failures++
			continue
		}
		servers, err := r.NameServers(ctx, above)
		if err != nil {
			return "", err
		}
		for _, answer := range r.Client.AskAll(ctx, OneEach(servers), Question{Name: name, Type: dns.TypeSOA}) {
			if cut := answer.cutAbove(above); cut != "" {
				return cut, nil
			}
		}
		return "", fmt.Errorf("the servers of %s delegate nothing above %s", above.Plain(), name.Plain())
	}
	return "", errNoZone
}

// Exists reports whether the resolver knows of a name, or of any below it.
func (r *Resolver) Exists(ctx context.Context, name record.Name) bool {
	answer, err := r.Find(ctx, name, dns.TypeSOA)
	return err == nil && answer.Rcode == dns.RcodeSuccess
}

// NameServers returns the name servers of a zone that have an address, as the resolver has
// them.
func (r *Resolver) NameServers(ctx context.Context, zone record.Name) ([]Server, error) {
	answer, err := r.Find(ctx, zone, dns.TypeNS)
	if err != nil {
		return nil, err
	}
	names, _ := answer.NameServers()
	if len(names) == 0 {
		return nil, fmt.Errorf("the resolver shows no NS records of %s", zone.Plain())
	}
	servers := Servers(ctx, names, r.AddressesOf)
	return slices.DeleteFunc(servers, func(s Server) bool { return !s.Address.IsValid() }), nil
}

// AddressesOf looks up the addresses of a name, IPv4 first.
func (r *Resolver) AddressesOf(ctx context.Context, name record.Name) []netip.Addr {
	return addressesOf(name, "", func(q Question) Answer { return r.Ask(ctx, q) })
}

// AddressesOf asks a name server for the addresses that it has at a name itself.
func (c *Client) AddressesOf(ctx context.Context, s Server, name record.Name) []netip.Addr {
	return addressesOf(name, name, func(q Question) Answer { return c.Ask(ctx, s.Address.String(), q) })
}

func addressesOf(name, owner record.Name, ask func(Question) Answer) []netip.Addr {
	types := []uint16{dns.TypeA, dns.TypeAAAA}
	found := make([][]netip.Addr, len(types))
	parallel(len(types), func(i int) {
		if answer := ask(Question{Name: name, Type: types[i]}); !answer.Failed() {
			found[i] = addresses(answer.Records, owner)
		}
	})
	return slices.Concat(found...)
}
