package check

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/caddy-dns/bestdns/internal/api"
	"github.com/caddy-dns/bestdns/internal/nsquery"
	"github.com/caddy-dns/bestdns/internal/record"
)

// checkDelegation reports whether the zone above hands the zone over. It returns
// nil where that could not be found out.
func (c *checker) checkDelegation(ctx context.Context, zone record.Name) *nsquery.Delegation {
	step := Step{Name: "delegation", Zone: zone.Plain(), Status: OK}
	d, err := c.resolver.Delegation(ctx, zone)
	if ctx.Err() != nil {
		return nil
	}
	defer func() { c.emit(step) }()
	if err != nil {
		step.Status, step.Found, step.Do = Unknown, err.Error(), "ask another resolver with --resolver ADDRESS"
		return nil
	}
	switch {
	case len(d.Answered) == 0:
		step.Status = Unknown
		step.Found = fmt.Sprintf("none of the name servers of %s answers: %s", d.Parent.Plain(), joinServers(d.Silent))
		step.Do = "try again later, or from where they can be reached"
		return nil
	case len(d.Names) == 0:
		step.Status = Wrong
		step.Found = fmt.Sprintf("the zone above, %s, does not delegate it, so no one finds its name servers", d.Parent.Plain())
		step.Do = fmt.Sprintf("create these records in the zone %s:", d.Parent.Plain())
		step.Lines = c.delegationLines(ctx, zone)
	case len(d.Absent) > 0:
		step.Status = Wrong
		step.Found = fmt.Sprintf("it is delegated to %s, but %s of the zone above, %s, does not know of it", joinWords(plainAll(d.Names)), joinServers(d.Absent), d.Parent.Plain())
		step.Do = fmt.Sprintf("if the delegation is new, wait for it to reach all servers of %s; else see why that one has an old copy of the zone", d.Parent.Plain())
	case d.SameServers:
		step.Found = fmt.Sprintf("the name servers of %s, above, serve it too: %s", d.Parent.Plain(), joinWords(plainAll(d.Names)))
	default:
		step.Found = fmt.Sprintf("%s delegates it to %s", d.Parent.Plain(), joinWords(plainAll(d.Names)))
	}
	return d
}

// delegationLines are the records for the zone above, by what is known of the
// zone's name servers.
func (c *checker) delegationLines(ctx context.Context, zone record.Name) []string {
	hosted, known := c.hostedZone(zone)
	if !known {
		hosted = c.askEndpointHost(ctx, zone)
	}
	if len(hosted.NameServers) == 0 {
		return []string{zone.String() + " NS <name server of the zone, from its ns lines or its DNS provider>"}
	}
	var lines []string
	for _, ns := range hosted.NameServers {
		lines = append(lines, zone.String()+" NS "+ns.Name)
	}
	for _, s := range hosted.servers() {
		lines = append(lines, addressRecord(s))
	}
	return lines
}

// askEndpointHost looks for the zone where the API is: most often the built-in
// name server is the same program.
func (c *checker) askEndpointHost(ctx context.Context, zone record.Name) HostedZone {
	z := HostedZone{Name: zone.String()}
	urls, err := api.ParseEndpoints(c.Endpoint.URL)
	if err != nil {
		return z
	}
	var addrs []netip.Addr
	for _, u := range urls {
		if addr, err := netip.ParseAddr(u.Hostname()); err == nil {
			addrs = append(addrs, addr)
		} else if host, err := record.ParseName(u.Hostname()); err == nil {
			addrs = append(addrs, c.resolver.AddressesOf(ctx, host)...)
		}
	}
	var servers []nsquery.Server
	for _, addr := range addrs {
		servers = append(servers, nsquery.At("", addr))
	}
	view := c.ownView(ctx, zone, c.askServers(ctx, zone, servers))
	for _, name := range view.names {
		ns := NameServer{Name: name.String()}
		for _, addr := range view.addrs[name] {
			ns.Addresses = append(ns.Addresses, addr.String())
		}
		z.NameServers = append(z.NameServers, ns)
	}
	return z
}

// servers returns the name servers of the configuration that have addresses there.
func (z HostedZone) servers() []nsquery.Server {
	var servers []nsquery.Server
	for _, ns := range z.NameServers {
		name, err := record.ParseName(ns.Name)
		if err != nil {
			continue
		}
		for _, text := range ns.Addresses {
			if addr, err := netip.ParseAddr(text); err == nil {
				servers = append(servers, nsquery.At(name, addr.Unmap()))
			}
		}
	}
	slices.SortStableFunc(servers, func(x, y nsquery.Server) int { return strings.Compare(x.Name.String(), y.Name.String()) })
	return servers
}
