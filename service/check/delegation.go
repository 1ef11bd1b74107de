package check

import (
	"context"
	"fmt"
	"net/netip"
	"net/url"
	"slices"

	"github.com/miekg/dns"
)

// delegation is what the servers of the zone above say about a zone.
type delegation struct {
	zone, parent string
	// parents are all addresses of the parent's name servers; answered are those
	// that answered, one of each.
	parents, answered []server
	// absent are the servers that know of no delegation, silent those that did not
	// answer.
	absent, silent []server
	// names are the name servers that the parent names, glue their addresses there.
	names []string
	glue  map[string][]netip.Addr
	// own is set where the parent's servers serve the zone too, so that they answer
	// from the zone itself and show neither delegation nor glue.
	own bool
}

// referralReply is one parent server's answer.
type referralReply struct {
	err   error
	names []string
	glue  map[string][]netip.Addr
	own   bool
	// between is a zone between parent and zone to which the server refers.
	between string
}

// findDelegation asks the parent's servers. The resolver is asked for the parent
// alone, so that it does not remember a zone as missing that is being set up.
func (w *walker) findDelegation(ctx context.Context, zone string) (*delegation, error) {
	parent, err := w.zoneOf(ctx, parentOf(zone))
	if err != nil {
		return nil, fmt.Errorf("finding the zone above %s: %w", plain(zone), err)
	}
	servers, err := w.nameServers(ctx, parent)
	if err != nil {
		return nil, fmt.Errorf("finding the name servers of %s, above %s: %w", plain(parent), plain(zone), err)
	}
	const deepest = 5 // cuts that the resolver does not show
	for range deepest {
		d := &delegation{zone: zone, parent: parent, parents: servers, glue: make(map[string][]netip.Addr)}
		between := w.askParents(ctx, d)
		if between == "" {
			return d, nil
		}
		deeper, err := w.nameServers(ctx, between)
		if err != nil || len(deeper) == 0 {
			return d, nil
		}
		parent, servers = between, deeper
	}
	return nil, fmt.Errorf("the zones above %s refer to one another without end", plain(zone))
}

// askParents asks one address of each parent server for the zone's NS records.
func (w *walker) askParents(ctx context.Context, d *delegation) (between string) {
	asked := oneEach(d.parents)
	replies := make([]referralReply, len(asked))
	inParallel(len(asked), func(i int) { replies[i] = w.askParent(ctx, asked[i], d) })
	for i, reply := range replies {
		if reply.err != nil {
			d.silent = append(d.silent, asked[i])
			continue
		}
		d.answered = append(d.answered, asked[i])
		switch {
		case reply.between != "":
			between = reply.between
		case len(reply.names) == 0:
			d.absent = append(d.absent, asked[i])
		}
		d.own = d.own || reply.own
		d.names = sorted(append(d.names, reply.names...))
		for name, addrs := range reply.glue {
			for _, addr := range addrs {
				if !slices.Contains(d.glue[name], addr) {
					d.glue[name] = append(d.glue[name], addr)
				}
			}
		}
	}
	return between
}

func (w *walker) askParent(ctx context.Context, s server, d *delegation) (reply referralReply) {
	answer, err := w.dial.ask(ctx, s.address(), query{name: d.zone, typ: dns.TypeNS})
	switch {
	case err != nil:
		return referralReply{err: err}
	case isFailure(answer):
		return referralReply{err: fmt.Errorf("it answers %s", rcode(answer))}
	}
	reply.names = targetsOf(answer.Ns, d.zone)
	if own := targetsOf(answer.Answer, d.zone); len(own) > 0 {
		reply.names, reply.own = own, true
	}
	for _, rr := range answer.Ns {
		owner := dns.CanonicalName(rr.Header().Name)
		if rr.Header().Rrtype == dns.TypeNS && owner != d.zone && owner != d.parent &&
			dns.IsSubDomain(owner, d.zone) && dns.IsSubDomain(d.parent, owner) {
			reply.between = owner
		}
	}
	reply.glue = make(map[string][]netip.Addr)
	for _, rr := range answer.Extra {
		name := dns.CanonicalName(rr.Header().Name)
		if addr, ok := addressOf(rr); ok && slices.Contains(reply.names, name) {
			reply.glue[name] = append(reply.glue[name], addr)
		}
	}
	return reply
}

// checkDelegation reports whether the zone above hands the zone over. It returns
// nil where that could not be found out.
func (c *checker) checkDelegation(ctx context.Context, zone string) *delegation {
	step := Step{Name: "delegation", Zone: plain(zone), Status: OK}
	d, err := c.walk.findDelegation(ctx, zone)
	if ctx.Err() != nil {
		return nil
	}
	defer func() { c.emit(step) }()
	if err != nil {
		step.Status, step.Found, step.Do = Unknown, err.Error(), "ask another resolver with --resolver ADDRESS"
		return nil
	}
	switch {
	case len(d.answered) == 0:
		step.Status = Unknown
		step.Found = fmt.Sprintf("none of the name servers of %s answers: %s", plain(d.parent), joinServers(d.silent))
		step.Do = "try again later, or from where they can be reached"
		return nil
	case len(d.names) == 0:
		step.Status = Wrong
		step.Found = fmt.Sprintf("the zone above, %s, does not delegate it, so nobody finds its name servers", plain(d.parent))
		step.Do = fmt.Sprintf("create these records in the zone %s:", plain(d.parent))
		step.Lines = c.delegationLines(ctx, zone)
	case len(d.absent) > 0:
		step.Status = Wrong
		step.Found = fmt.Sprintf("it is delegated to %s, but %s of the zone above, %s, does not know of it", joinWords(plainAll(d.names)), joinServers(d.absent), plain(d.parent))
		step.Do = fmt.Sprintf("if the delegation is new, wait for it to reach all servers of %s; else see why that one has an old copy of the zone", plain(d.parent))
	case d.own:
		step.Found = fmt.Sprintf("the name servers of %s, above, serve it too: %s", plain(d.parent), joinWords(plainAll(d.names)))
	default:
		step.Found = fmt.Sprintf("%s delegates it to %s", plain(d.parent), joinWords(plainAll(d.names)))
	}
	return d
}

// delegationLines are the records for the zone above, by what is known of the
// zone's name servers.
func (c *checker) delegationLines(ctx context.Context, zone string) []string {
	hosted, known := c.hostedZone(zone)
	if !known {
		hosted = c.askEndpointHost(ctx, zone)
	}
	if len(hosted.NameServers) == 0 {
		return []string{zone + " NS <name server of the zone, from its ns lines or its DNS provider>"}
	}
	var lines []string
	for _, ns := range hosted.NameServers {
		lines = append(lines, zone+" NS "+ns.Name)
	}
	for _, s := range hosted.servers() {
		lines = append(lines, s.addressRecord())
	}
	return lines
}

// askEndpointHost looks for the zone where the API is: most often the built-in
// name server is the same program.
func (c *checker) askEndpointHost(ctx context.Context, zone string) HostedZone {
	z := HostedZone{Name: zone}
	u, err := url.Parse(c.Endpoint.URL)
	if err != nil || u.Hostname() == "" {
		return z
	}
	var servers []server
	if addr, err := netip.ParseAddr(u.Hostname()); err == nil {
		servers = []server{{addr: addr}}
	} else {
		servers = c.walk.serversOf(ctx, []string{dns.CanonicalName(u.Hostname())})
	}
	view := ownView(ctx, c.Dial, zone, c.askServers(ctx, zone, servers))
	for _, name := range view.names {
		ns := NameServer{Name: name}
		for _, addr := range view.addrs[name] {
			ns.Addresses = append(ns.Addresses, addr.String())
		}
		z.NameServers = append(z.NameServers, ns)
	}
	return z
}

// servers returns the name servers of the configuration that have addresses there.
func (z HostedZone) servers() []server {
	var servers []server
	for _, ns := range z.NameServers {
		for _, text := range ns.Addresses {
			if addr, err := netip.ParseAddr(text); err == nil {
				servers = append(servers, server{dns.CanonicalName(ns.Name), addr.Unmap()})
			}
		}
	}
	return servers
}

func joinServers(servers []server) string {
	texts := make([]string, len(servers))
	for i, s := range servers {
		texts[i] = s.String()
	}
	return joinWords(texts)
}
