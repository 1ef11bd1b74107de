package check

import (
	"fmt"
	"slices"

	"github.com/caddy-dns/bestdns/internal/nsquery"
	"github.com/caddy-dns/bestdns/internal/record"
)

// glue compares the addresses that the zone above has for name servers in the zone
// with those that the zone itself, or its configuration, has. All are records.
type glue struct {
	right, missing, foreign []string
}

func compareGlue(d *nsquery.Delegation, view zoneView, hosted HostedZone) (g glue) {
	for _, name := range d.Names {
		if !name.In(d.Zone) {
			continue // its address is found without this zone
		}
		want := slices.Clone(view.addrs[name])
		for _, s := range hosted.servers() {
			if s.Name == name && !slices.Contains(want, s.Addr()) {
				want = append(want, s.Addr())
			}
		}
		for _, addr := range want {
			line := addressRecord(nsquery.At(name, addr))
			if slices.Contains(d.Glue[name], addr) {
				g.right = append(g.right, line)
			} else {
				g.missing = append(g.missing, line)
			}
		}
		for _, addr := range d.Glue[name] {
			if len(want) > 0 && !slices.Contains(want, addr) {
				g.foreign = append(g.foreign, addressRecord(nsquery.At(name, addr)))
			}
		}
		if len(want)+len(d.Glue[name]) == 0 {
			g.missing = append(g.missing, name.String()+" A <public address of "+name.Plain()+">")
		}
	}
	return g
}

// checkGlue reports whether the zone above shows the way to the name servers that
// are in the zone, and the right one.
func (c *checker) checkGlue(d *nsquery.Delegation, view zoneView) {
	if d.SameServers {
		return // it shows no glue, and needs none
	}
	hosted, _ := c.hostedZone(d.Zone)
	g := compareGlue(d, view, hosted)
	step := Step{Name: "glue", Zone: d.Zone.Plain(), Status: OK}
	switch {
	case len(g.foreign) > 0:
		step.Status = Wrong
		step.Found = fmt.Sprintf("the zone above, %s, has an address for its name server that the zone itself does not: %s", d.Parent.Plain(), joinWords(g.foreign))
		step.Do = fmt.Sprintf("replace that glue in %s by these records:", d.Parent.Plain())
		step.Lines = append(g.right, g.missing...)
	case len(g.missing) > 0 && len(g.right) > 0:
		step.Status = Warning
		step.Found = fmt.Sprintf("the zone above, %s, does not have all addresses of its name servers", d.Parent.Plain())
		step.Do, step.Lines = fmt.Sprintf("add this glue in %s:", d.Parent.Plain()), g.missing
	case len(g.missing) > 0:
		step.Status = Wrong
		step.Found = fmt.Sprintf("its name servers are in the zone itself, and the zone above, %s, has no address (glue) for them, so no one finds the way in", d.Parent.Plain())
		step.Do, step.Lines = fmt.Sprintf("add this glue in %s, beside the NS records:", d.Parent.Plain()), g.missing
	case len(g.right) > 0:
		step.Found = "the addresses at the zone above are right: " + joinWords(g.right)
	case slices.ContainsFunc(d.Names, func(name record.Name) bool { return name.In(d.Zone) }):
		step.Status, step.Found = Skipped, "no name server answers, to compare the addresses at the zone above with"
	default:
		step.Found = "its name servers are outside the zone, and need none"
	}
	c.emit(step)
}
