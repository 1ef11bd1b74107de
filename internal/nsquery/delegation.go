package nsquery

import (
	"context"
	"fmt"
	"net/netip"
	"slices"

	"github.com/miekg/dns"

	"github.com/caddy-dns/bestdns/internal/record"
)

// Delegation is what the servers of the zone above say about a zone.
type Delegation struct {
	Zone, Parent record.Name
	// Parents are all addresses of the parent's name servers; Answered are those that
	// answered, one of each.
	Parents, Answered []Server
	// Absent are the servers that know of no delegation, Silent those that did not answer.
	Absent, Silent []Server
	// Names are the name servers that the parent names, Glue their addresses there.
	Names []record.Name
	Glue  map[record.Name][]netip.Addr
	// SameServers is set where the parent's servers serve the zone too, so that they answer
	// from the zone itself and show neither delegation nor glue.
	SameServers bool
}

// mostCuts is how many zones between the one that the resolver shows and the parent are
// followed.
const mostCuts = 5

// Delegation asks the parent's servers. The resolver is asked for the parent alone, so that
// it does not remember a zone as missing that is being set up.
func (r *Resolver) Delegation(ctx context.Context, zone record.Name) (*Delegation, error) {
	parent, err := r.ZoneOf(ctx, zone.Parent())
	if err != nil {
		return nil, fmt.Errorf("finding the zone above %s: %w", zone.Plain(), err)
	}
	servers, err := r.NameServers(ctx, parent)
	if err != nil {
		return nil, fmt.Errorf("finding the name servers of %s, above %s: %w", parent.Plain(), zone.Plain(), err)
	}
	for range mostCuts {
		d := &Delegation{Zone: zone, Parent: parent, Parents: servers, Glue: make(map[record.Name][]netip.Addr)}
		asked := OneEach(servers)
		var between record.Name
		for i, answer := range r.Client.AskAll(ctx, asked, Question{Name: zone, Type: dns.TypeNS}) {
			if cut := d.add(asked[i], answer); cut != "" {
				between = cut
			}
		}
		if between == "" {
			return d, nil
		}
		deeper, err := r.NameServers(ctx, between)
		if err != nil || len(deeper) == 0 {
			return d, nil
		}
		parent, servers = between, deeper
	}
	return nil, fmt.Errorf("the zones above %s refer to one another without end", zone.Plain())
}

// add adds what one of the parent's servers answers. It returns the zone between parent and
// zone to which the server refers, "" if there is none.
func (d *Delegation) add(s Server, answer Answer) (between record.Name) {
	if answer.Failed() {
		d.Silent = append(d.Silent, s)
		return ""
	}
	d.Answered = append(d.Answered, s)
	own, names := answer.NameServers()
	if len(own) > 0 {
		names, d.SameServers = own, true
	}
	between = answer.cutAbove(d.Parent)
	if between == d.Zone {
		between = ""
	}
	if between == "" && len(names) == 0 {
		d.Absent = append(d.Absent, s)
	}
	for _, name := range names {
		if !slices.Contains(d.Names, name) && len(d.Names) < mostNames {
			d.Names = append(d.Names, name)
		}
		for _, addr := range addresses(answer.Additional, name) {
			if !slices.Contains(d.Glue[name], addr) && len(d.Glue[name]) < mostAddresses {
				d.Glue[name] = append(d.Glue[name], addr)
			}
		}
	}
	sortNames(d.Names)
	return between
}
