package hosting

import (
	"context"

	"github.com/caddy-dns/bestdns/internal/api"
	"github.com/caddy-dns/bestdns/internal/record"
	"github.com/caddy-dns/bestdns/internal/text"
)

// A relative name that ends in the name of its zone is doubled: "www.example.org" in the
// zone example.org means www.example.org.example.org. Most likely only the final dot is
// missing, and the record would be where no one looks for it, without an error. certmagic
// sends such a name for an override domain with a final dot.

// refuseDoubled refuses records at doubled names, unless the name is meant: it is in use, or
// the zone that holds it is itself called so.
//
// The refusal is the same for a client that has no right to the name, so that it does not
// tell whether the name exists.
func (s *Service) refuseDoubled(ctx context.Context, p *placement, c *Change) error {
	if apex := p.zone.Apex; len(c.Doubled) == 0 || record.IsDoubled(apex.Relative(p.asked), apex, p.asked) {
		return nil
	}
	for _, i := range c.Doubled {
		r := c.Records[i]
		if ok, _ := p.client.MayWrite(p.zone.Apex, c.Op, r); ok {
			used, err := s.inUse(ctx, p.zone, r.Name)
			if err != nil {
				return err
			}
			if used {
				continue
			}
		}
		return doubled(p.named(r.Name), p.asked)
	}
	return nil
}

// inUse reports whether a built-in zone has records at a name or below. That the name
// exists when there are only names below it, DNS tells everyone.
//
// A DNS provider is not asked: that takes a turn among its calls, and up to seconds, to
// allow what is hardly ever meant and can be said with a final dot.
func (s *Service) inUse(ctx context.Context, zone *Zone, name record.Name) (bool, error) {
	if !zone.Builtin() {
		return false, nil
	}
	visible := func(owner record.Name) bool { return s.Holds(zone.Apex, owner) }
	found, err := zone.backend.list(ctx, "", selection{under: name, visible: visible})
	if err != nil {
		return false, err
	}
	for range found {
		return true, nil
	}
	return false, nil
}

// doubled refuses a doubled name and says what to send instead.
func doubled(owner, zone record.Name) error {
	const most = 300 // bytes of a name: five of them fit into a detail
	meant, err := owner.Below(zone, record.Root)
	if err != nil {
		return Errorf(api.InvalidRecord, "%w", err)
	}
	brief := func(name string) string { return text.Brief(name, most) }
	return Errorf(api.InvalidRecord,
		"the name %q has no final dot, so it is relative to the zone %q, whose name it ends in, and means %q: send %q, or %q with its final dot (in Caddy, write dns_challenge_override_domain without a final dot); if the long name is meant, send that with its final dot",
		brief(owner.Relative(zone)), brief(zone.String()), brief(owner.String()), brief(meant.Relative(zone)), brief(meant.String()))
}
