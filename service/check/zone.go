package check

import (
	"context"
	"fmt"
	"net/netip"
	"slices"

	"github.com/miekg/dns"
)

// checkZone walks the chain of one zone, from the zone above to each of its name
// servers, and returns those that answer for it.
func (c *checker) checkZone(ctx context.Context, zone string) []server {
	d := c.checkDelegation(ctx, zone)
	if ctx.Err() != nil {
		return nil
	}
	servers, nameless := c.zoneServers(ctx, zone, d)
	answers := c.askServers(ctx, zone, servers)
	if ctx.Err() != nil {
		return nil
	}
	view := ownView(ctx, c.Dial, zone, answers)
	if d != nil && len(d.names) > 0 {
		c.checkGlue(d, view)
		c.checkNames(d, view)
	}
	for _, name := range nameless {
		c.emit(Step{
			Name: "server", Zone: plain(zone), Status: Wrong,
			Found: fmt.Sprintf("the name server %s has no address", plain(name)),
			Do:    "create its address record where that name is hosted, or take its NS record out of both zones:",
			Lines: []string{name + " A <address>"},
		})
	}
	c.reportServers(ctx, zone, answers, d)
	c.checkSOA(ctx, zone, answers)
	c.checkRedundancy(zone, servers)
	if d != nil && len(d.names) > 0 && ctx.Err() == nil {
		c.checkDS(ctx, d, answers)
	}
	return authoritative(answers)
}

// zoneServers returns the zone's name servers at each address. A name in the zone
// is where the glue says; where that is missing, the configuration or the resolver
// may know.
func (c *checker) zoneServers(ctx context.Context, zone string, d *delegation) (servers []server, nameless []string) {
	hosted, _ := c.hostedZone(zone)
	if d == nil || len(d.names) == 0 {
		return hosted.servers(), nil
	}
	var unknown []string
	for _, name := range d.names {
		addrs := d.glue[name]
		if len(addrs) == 0 {
			for _, s := range hosted.servers() {
				if s.name == name {
					addrs = append(addrs, s.addr)
				}
			}
		}
		if len(addrs) == 0 {
			unknown = append(unknown, name)
		}
		for _, addr := range addrs {
			servers = append(servers, server{name, addr})
		}
	}
	looked := c.walk.serversOf(ctx, unknown)
	for _, name := range unknown {
		has := func(s server) bool { return s.name == name }
		// Without glue, a name in the zone is what the glue step is about.
		if !slices.ContainsFunc(looked, has) && !dns.IsSubDomain(zone, name) {
			nameless = append(nameless, name)
		}
	}
	return append(servers, looked...), nameless
}

// zoneView is what a zone says of its own name servers.
type zoneView struct {
	known bool
	names []string
	// addrs are the addresses of those names that lie in the zone.
	addrs map[string][]netip.Addr
}

// ownView asks the first server that answers for the zone.
func ownView(ctx context.Context, dial Dialer, zone string, answers []serverAnswer) zoneView {
	for _, s := range authoritative(answers) {
		answer, err := dial.ask(ctx, s.address(), query{name: zone, typ: dns.TypeNS})
		if err != nil {
			continue
		}
		view := zoneView{known: true, names: targetsOf(answer.Answer, zone), addrs: make(map[string][]netip.Addr)}
		for _, name := range view.names {
			if !dns.IsSubDomain(zone, name) {
				continue
			}
			for _, typ := range []uint16{dns.TypeA, dns.TypeAAAA} {
				answer, err := dial.ask(ctx, s.address(), query{name: name, typ: typ})
				if err != nil {
					continue
				}
				for _, rr := range answer.Answer {
					if addr, ok := addressOf(rr); ok && dns.CanonicalName(rr.Header().Name) == name {
						view.addrs[name] = append(view.addrs[name], addr)
					}
				}
			}
		}
		return view
	}
	return zoneView{}
}

// checkNames compares the NS records above the cut with those below it.
func (c *checker) checkNames(d *delegation, view zoneView) {
	if !view.known || d.own {
		return
	}
	step := Step{Name: "ns", Zone: plain(d.zone), Status: OK, Found: "the zone names the same name servers as the zone above"}
	if !slices.Equal(d.names, view.names) {
		step.Status = Warning
		step.Found = fmt.Sprintf("the zone above, %s, names %s, and the zone itself %s", plain(d.parent), joinWords(plainAll(d.names)), joinWords(plainAll(view.names)))
		step.Do = fmt.Sprintf("make the NS records in %s those of the zone (or change the zone's ns lines):", plain(d.parent))
		for _, name := range view.names {
			step.Lines = append(step.Lines, d.zone+" NS "+name)
		}
	}
	c.emit(step)
}

// checkRedundancy warns of the single machine whose end would be the zone's.
func (c *checker) checkRedundancy(zone string, servers []server) {
	if len(servers) == 0 {
		return
	}
	var names, addrs []string
	four, six := 0, 0
	for _, s := range servers {
		names = append(names, s.name)
		if !slices.Contains(addrs, s.addr.String()) {
			addrs = append(addrs, s.addr.String())
			if s.addr.Is4() {
				four++
			} else {
				six++
			}
		}
	}
	names = sorted(names)
	step := Step{Name: "redundancy", Zone: plain(zone), Status: OK, Found: fmt.Sprintf("%d name servers at %d addresses", len(names), len(addrs))}
	if len(names) < 2 || four < 2 && six < 2 {
		step.Status = Warning
		step.Found = fmt.Sprintf("it has a single name server, %s: while that is down, no certificate of it can be had", joinWords(plainAll(names)))
		if len(names) > 1 {
			step.Found = fmt.Sprintf("its name servers %s are one machine: while that is down, no certificate of it can be had", joinWords(plainAll(names)))
		}
		step.Do = "this is enough to begin with; for more, host the zone with DNS servers of which there are two (provider in its block), or add one in both zones:"
		step.Lines = []string{zone + " NS <second name server>"}
	}
	c.emit(step)
}
