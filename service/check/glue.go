package check

import (
	"fmt"
	"slices"

	"github.com/miekg/dns"
)

// glue compares the addresses that the zone above has for name servers in the zone
// with those that the zone itself, or its configuration, has. All are records.
type glue struct {
	right, missing, foreign []string
}

func compareGlue(d *delegation, view zoneView, hosted HostedZone) (g glue) {
	for _, name := range d.names {
		if !dns.IsSubDomain(d.zone, name) {
			continue // its address is found without this zone
		}
		want := slices.Clone(view.addrs[name])
		for _, s := range hosted.servers() {
			if s.name == name && !slices.Contains(want, s.addr) {
				want = append(want, s.addr)
			}
		}
		for _, addr := range want {
			record := server{name, addr}.addressRecord()
			if slices.Contains(d.glue[name], addr) {
				g.right = append(g.right, record)
			} else {
				g.missing = append(g.missing, record)
			}
		}
		for _, addr := range d.glue[name] {
			if len(want) > 0 && !slices.Contains(want, addr) {
				g.foreign = append(g.foreign, server{name, addr}.addressRecord())
			}
		}
		if len(want)+len(d.glue[name]) == 0 {
			g.missing = append(g.missing, name+" A <public address of "+plain(name)+">")
		}
	}
	return g
}

// checkGlue reports whether the zone above shows the way to the name servers that
// lie in the zone, and the right one.
func (c *checker) checkGlue(d *delegation, view zoneView) {
	if d.own {
		return // it shows no glue, and needs none
	}
	hosted, _ := c.hostedZone(d.zone)
	g := compareGlue(d, view, hosted)
	step := Step{Name: "glue", Zone: plain(d.zone), Status: OK}
	switch {
	case len(g.foreign) > 0:
		step.Status = Wrong
		step.Found = fmt.Sprintf("the zone above, %s, has an address for its name server that the zone itself does not: %s", plain(d.parent), joinWords(g.foreign))
		step.Do = fmt.Sprintf("replace that glue in %s by these records:", plain(d.parent))
		step.Lines = append(g.right, g.missing...)
	case len(g.missing) > 0 && len(g.right) > 0:
		step.Status = Warning
		step.Found = fmt.Sprintf("the zone above, %s, does not have all addresses of its name servers", plain(d.parent))
		step.Do, step.Lines = fmt.Sprintf("add this glue in %s:", plain(d.parent)), g.missing
	case len(g.missing) > 0:
		step.Status = Wrong
		step.Found = fmt.Sprintf("its name servers lie in the zone itself, and the zone above, %s, has no address (glue) for them, so nobody finds the way in", plain(d.parent))
		step.Do, step.Lines = fmt.Sprintf("add this glue in %s, beside the NS records:", plain(d.parent)), g.missing
	case len(g.right) > 0:
		step.Found = "the addresses at the zone above are right: " + joinWords(g.right)
	case slices.ContainsFunc(d.names, func(name string) bool { return dns.IsSubDomain(d.zone, name) }):
		step.Status, step.Found = Skipped, "no name server answers, to compare the addresses at the zone above with"
	default:
		step.Found = "its name servers lie outside the zone, and need none"
	}
	c.emit(step)
}
