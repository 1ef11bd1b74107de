package check

import (
	"context"
	"fmt"
	"net/netip"
	"slices"

	"github.com/miekg/dns"

	"github.com/caddy-dns/bestdns/internal/nsquery"
	"github.com/caddy-dns/bestdns/internal/record"
)

// checkZone checks one zone, from the delegation above to each of its name
// servers, and returns those that answer for it.
func (c *checker) checkZone(ctx context.Context, zone record.Name) []nsquery.Server {
	d := c.checkDelegation(ctx, zone)
	if ctx.Err() != nil {
		return nil
	}
	servers, nameless := c.zoneServers(ctx, zone, d)
	answers := c.askServers(ctx, zone, servers)
	if ctx.Err() != nil {
		return nil
	}
	view := c.ownView(ctx, zone, answers)
	if d != nil && len(d.Names) > 0 {
		c.checkGlue(d, view)
		c.checkNames(d, view)
	}
	for _, name := range nameless {
		c.emit(Step{
			Name: "server", Zone: zone.Plain(), Status: Wrong,
			Found: fmt.Sprintf("the name server %s has no address", name.Plain()),
			Do:    "create its address record where that name is hosted, or take its NS record out of both zones:",
			Lines: []string{name.String() + " A <address>"},
		})
	}
	c.reportServers(ctx, zone, answers, d)
	c.checkSOA(ctx, zone, answers)
	c.checkRedundancy(zone, servers)
	if d != nil && len(d.Names) > 0 && ctx.Err() == nil {
		c.checkDS(ctx, d, answers)
	}
	return authoritative(answers)
}

// zoneServers returns the zone's name servers at each address. A name in the zone
// is where the glue says; where that is missing, the configuration or the resolver
// may know.
func (c *checker) zoneServers(ctx context.Context, zone record.Name, d *nsquery.Delegation) (servers []nsquery.Server, nameless []record.Name) {
	hosted, _ := c.hostedZone(zone)
	if d == nil || len(d.Names) == 0 {
		return hosted.servers(), nil
	}
	found := nsquery.Servers(ctx, d.Names, func(ctx context.Context, name record.Name) []netip.Addr {
		addrs := d.Glue[name]
		if len(addrs) == 0 {
			for _, s := range hosted.servers() {
				if s.Name == name {
					addrs = append(addrs, s.Addr())
				}
			}
		}
		if len(addrs) == 0 {
			addrs = c.resolver.AddressesOf(ctx, name)
		}
		return addrs
	})
	for _, s := range found {
		switch {
		case s.Address.IsValid():
			servers = append(servers, s)
		case !s.Name.In(zone): // without glue, a name in the zone is what the glue step is about
			nameless = append(nameless, s.Name)
		}
	}
	return servers, nameless
}

// zoneView is what a zone says of its own name servers.
type zoneView struct {
	known bool
	names []record.Name
	// addrs are the addresses of those names that are in the zone.
	addrs map[record.Name][]netip.Addr
}

// ownView returns what the first server says that answers.
func (c *checker) ownView(ctx context.Context, zone record.Name, answers []serverAnswer) zoneView {
	servers := authoritative(answers)
	for i, answer := range c.client.AskAll(ctx, servers, nsquery.Question{Name: zone, Type: dns.TypeNS}) {
		if answer.Err != nil {
			continue
		}
		view := zoneView{known: true, addrs: make(map[record.Name][]netip.Addr)}
		view.names, _ = answer.NameServers()
		inside := slices.DeleteFunc(slices.Clone(view.names), func(name record.Name) bool { return !name.In(zone) })
		for _, s := range nsquery.Servers(ctx, inside, func(ctx context.Context, name record.Name) []netip.Addr {
			return c.client.AddressesOf(ctx, servers[i], name)
		}) {
			if s.Address.IsValid() {
				view.addrs[s.Name] = append(view.addrs[s.Name], s.Addr())
			}
		}
		return view
	}
	return zoneView{}
}

// checkNames compares the NS records above the cut with those below it.
func (c *checker) checkNames(d *nsquery.Delegation, view zoneView) {
	if !view.known || d.SameServers {
		return
	}
	step := Step{Name: "ns", Zone: d.Zone.Plain(), Status: OK, Found: "the zone names the same name servers as the zone above"}
	if !slices.Equal(d.Names, view.names) {
		step.Status = Warning
		step.Found = fmt.Sprintf("the zone above, %s, names %s, and the zone itself %s", d.Parent.Plain(), joinWords(plainAll(d.Names)), joinWords(plainAll(view.names)))
		step.Do = fmt.Sprintf("make the NS records in %s those of the zone (or change the zone's ns lines):", d.Parent.Plain())
		for _, name := range view.names {
			step.Lines = append(step.Lines, d.Zone.String()+" NS "+name.String())
		}
	}
	c.emit(step)
}

// checkRedundancy warns of the single machine whose end would be the zone's.
func (c *checker) checkRedundancy(zone record.Name, servers []nsquery.Server) {
	if len(servers) == 0 {
		return
	}
	var names []record.Name
	var addrs []netip.Addr
	four, six := 0, 0
	for _, s := range servers {
		if !slices.Contains(names, s.Name) {
			names = append(names, s.Name)
		}
		if !slices.Contains(addrs, s.Addr()) {
			addrs = append(addrs, s.Addr())
			if s.Addr().Is4() {
				four++
			} else {
				six++
			}
		}
	}
	step := Step{Name: "redundancy", Zone: zone.Plain(), Status: OK, Found: fmt.Sprintf("%d name servers at %d addresses", len(names), len(addrs))}
	if len(names) < 2 || four < 2 && six < 2 {
		step.Status = Warning
		step.Found = fmt.Sprintf("it has a single name server, %s: while that is down, no certificate of it can be had", joinWords(plainAll(names)))
		if len(names) > 1 {
			step.Found = fmt.Sprintf("its name servers %s are one machine: while that is down, no certificate of it can be had", joinWords(plainAll(names)))
		}
		step.Do = "this is enough to begin with; for more, host the zone with DNS servers of which there are two (provider in its block), or add one in both zones:"
		step.Lines = []string{zone.String() + " NS <second name server>"}
	}
	c.emit(step)
}
