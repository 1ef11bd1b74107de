package hosting

import (
	"fmt"
	"strings"

	"github.com/caddy-dns/bestdns/internal/access"
	"github.com/caddy-dns/bestdns/internal/api"
	"github.com/caddy-dns/bestdns/internal/record"
)

// place decides in which zone a record goes, and to which name there, for every protocol. It
// follows no CNAME.
//
// The zone is the longest hosted one that holds the owner, whatever zone was
// asked for: clients guess zones from SOA answers, and wrongly with split
// horizons. A challenge of a domain that no hosted zone holds goes to that
// domain's name below the zone marked cname_target. The answer for a zone in
// which the client has no right is that for a zone that does not exist.
func (s *Service) place(client *access.Client, asked, owner record.Name, t record.Type) (*Zone, record.Name, error) {
	if apex, ok := s.apexes.Of(owner); ok {
		if owner == apex && asked != apex && apex.In(asked) && delegates(t) {
			if parent, ok := s.apexes.Of(apex.Parent()); ok {
				apex = parent
			}
		}
		if !client.MayUse(apex) {
			return nil, "", notHosted(owner)
		}
		return s.hosted[apex], owner, nil
	}
	challenge, ok := record.ChallengeOf(owner)
	if !ok || t != record.TypeTXT || s.cnameTarget == "" || !client.MayCertify(challenge.Domain) {
		return nil, "", notPlaced(client, owner, t)
	}
	target, err := challenge.Target(s.cnameTarget)
	if err != nil {
		return nil, "", Errorf(api.InvalidRecord, "the challenge of %q cannot be answered in zone %q: %w", challenge.Domain, s.cnameTarget, err)
	}
	if holder, _ := s.apexes.Of(target); holder != s.cnameTarget {
		return nil, "", Errorf(api.InvalidRecord, "the challenge of %q would go to %q, which is in zone %q and not in zone %q, to which CNAME targets go: mark another zone as the target", challenge.Domain, target, holder, s.cnameTarget)
	}
	return s.hosted[s.cnameTarget], target, nil
}

// delegates reports whether a record at the apex of a hosted zone is meant for the
// zone above, when the request names that one: its delegation is, and so is a
// delete of whatever is there.
func delegates(t record.Type) bool {
	return t == record.TypeNS || t == record.TypeDS || t == 0
}

// placeZone returns the hosted zone that holds all that is read below name.
func (s *Service) placeZone(client *access.Client, name record.Name) (*Zone, error) {
	apex, ok := s.apexes.Of(name)
	if !ok || !client.MayUse(apex) {
		return nil, notHosted(name)
	}
	return s.hosted[apex], nil
}

// notPlaced is for a record at a name that is in no hosted zone and goes to no CNAME's
// target. Who has the right to that challenge is told what is wrong with the record.
func notPlaced(client *access.Client, owner record.Name, t record.Type) error {
	why := client.WhyNotElsewhere(owner, t)
	if why == "" {
		return notHosted(owner)
	}
	return Errorf(api.ZoneNotFound, "no zone that holds %q is hosted here, and as a challenge of a domain hosted elsewhere it cannot be taken: %s", owner, why)
}

func notHosted(name record.Name) error {
	return Errorf(api.ZoneNotFound, "no zone that holds %q is hosted here, or this token has no right in it", name)
}

// placement is where the records of one change go, which all go to one zone.
type placement struct {
	service *Service
	client  *access.Client
	asked   record.Name // the zone of the change

	zone   *Zone                       // nil before the first record
	cnames []CNAME                     // that must exist
	moved  map[record.Name]record.Name // from owner to the name that was asked for
}

// apex returns the zone that the records go to, as far as it is known.
func (p *placement) apex() record.Name {
	if p.zone == nil {
		return p.asked
	}
	return p.zone.Apex
}

// owner places a record, and returns its owner.
func (p *placement) owner(asked record.Name, t record.Type) (record.Name, error) {
	zone, owner, err := p.service.place(p.client, p.asked, asked, t)
	if err != nil {
		return "", err
	}
	if p.zone != nil && p.zone != zone {
		return "", Errorf(api.SeveralZones, "%q goes to zone %q and a record before it to zone %q: send one request for each zone", asked, zone.Apex, p.zone.Apex)
	}
	p.zone = zone
	if _, known := p.moved[owner]; owner != asked && !known {
		if p.moved == nil {
			p.moved = make(map[record.Name]record.Name, 1)
		}
		p.moved[owner] = asked
		p.cnames = append(p.cnames, CNAME{Name: asked, Target: owner})
	}
	return owner, nil
}

// named returns the name that was asked for, of one to which a record goes.
func (p *placement) named(owner record.Name) record.Name {
	if asked, ok := p.moved[owner]; ok {
		return asked
	}
	return owner
}

// rightsOf says what a client may do, for the one who just tried something else.
func rightsOf(client *access.Client) string {
	const most = 8
	rules := client.Rules()
	if len(rules) == 0 {
		return "nothing"
	}
	var texts []string
	for _, rule := range rules[:min(most, len(rules))] {
		texts = append(texts, rule.String())
	}
	if more := len(rules) - most; more > 0 {
		texts = append(texts, fmt.Sprintf("and %d more", more))
	}
	return strings.Join(texts, "; ")
}
