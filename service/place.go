package service

import (
	"fmt"
	"strings"

	"github.com/caddy-dns/bestdns/internal/access"
	"github.com/caddy-dns/bestdns/internal/api"
	"github.com/caddy-dns/bestdns/internal/record"
)

// place is where a record of a request goes.
type place struct {
	zone  *Zone
	owner record.Name
	// asked is the owner name that the request gave. It differs from owner where
	// the record goes to the target of a CNAME.
	asked record.Name
}

// cname returns the CNAME that must exist for the record to be found.
func (p place) cname() (c api.CNAME, needed bool) {
	if p.asked == p.owner {
		return api.CNAME{}, false
	}
	return api.CNAME{Name: p.asked.String(), Target: p.owner.String()}, true
}

// place decides where a record goes, for every protocol. It follows no CNAME.
//
// The zone is the longest hosted one that holds the owner, whatever zone was
// asked for: clients guess zones from SOA answers, and wrongly behind split
// horizons. A challenge of a domain that no hosted zone holds goes to that
// domain's name below the zone marked cname_target. The answer for a zone in
// which the client has no right is that for a zone that does not exist.
func (a *App) place(client *access.Client, asked, owner record.Name, t record.Type) (place, error) {
	if apex, ok := a.apexes.Of(owner); ok {
		if owner == apex && asked != apex && apex.In(asked) && delegates(t) {
			if parent, ok := a.apexes.Of(apex.Parent()); ok {
				apex = parent
			}
		}
		if !client.MayUse(apex) {
			return place{}, notHosted(owner)
		}
		return place{zone: a.hosted[apex], owner: owner, asked: owner}, nil
	}
	challenge, ok := record.ChallengeOf(owner)
	if !ok || t != record.TypeTXT || a.cnameTarget == "" || !client.MayCertify(challenge.Domain) {
		return place{}, notPlaced(client, owner, t)
	}
	target, err := challenge.Target(a.cnameTarget)
	if err != nil {
		return place{}, newProblem(api.InvalidRecord, "the challenge of %q cannot be answered in zone %q: %w", challenge.Domain, a.cnameTarget, err)
	}
	if holder, _ := a.apexes.Of(target); holder != a.cnameTarget {
		return place{}, newProblem(api.InvalidRecord, "the challenge of %q would go to %q, which lies in zone %q and not in zone %q, to which CNAME targets go: mark another zone as the target", challenge.Domain, target, holder, a.cnameTarget)
	}
	return place{zone: a.hosted[a.cnameTarget], owner: target, asked: owner}, nil
}

// delegates reports whether a record at the apex of a hosted zone is meant for the
// zone above, when the request names that one: its delegation is, and so is a
// delete of whatever is there.
func delegates(t record.Type) bool {
	return t == record.TypeNS || t == record.TypeDS || t == 0
}

// placeZone returns the hosted zone that holds all that is read below name.
func (a *App) placeZone(client *access.Client, name record.Name) (*Zone, error) {
	apex, ok := a.apexes.Of(name)
	if !ok || !client.MayUse(apex) {
		return nil, notHosted(name)
	}
	return a.hosted[apex], nil
}

// notPlaced is for a record at a name that is in no hosted zone and goes to no CNAME's
// target. Who has the right to that challenge is told what is wrong with the record.
func notPlaced(client *access.Client, owner record.Name, t record.Type) error {
	why := client.WhyNotElsewhere(owner, t)
	if why == "" {
		return notHosted(owner)
	}
	return newProblem(api.ZoneNotFound, "no zone that holds %q is hosted here, and as a challenge of a domain hosted elsewhere it cannot be taken: %s", owner, why)
}

func notHosted(name record.Name) error {
	return newProblem(api.ZoneNotFound, "no zone that holds %q is hosted here, or this token has no right in it", name)
}

// placer places the records of one request, which all go to one zone.
type placer struct {
	app    *App
	client *access.Client
	asked  record.Name // the zone of the request

	owners  []record.Name // of the records so far, as the request named them
	doubled []int         // which of those to write are at doubled names (see refuseDoubled)
	zone    *Zone
	cnames  []api.CNAME
	moved   map[record.Name]record.Name // from owner to the name that was asked for
}

// owner parses an owner name, places the record, and returns its owner.
func (p *placer) owner(name string, t record.Type) (record.Name, error) {
	asked, err := record.ParseOwner(name, p.asked)
	if err != nil {
		return "", newProblem(api.InvalidRecord, "%w", err)
	}
	p.owners = append(p.owners, asked)
	placed, err := p.app.place(p.client, p.asked, asked, t)
	if err != nil {
		return "", err
	}
	if p.zone != nil && p.zone != placed.zone {
		return "", newProblem(api.SeveralZones, "%q goes to zone %q and a record before it to zone %q: send one request for each zone", asked, placed.zone.apex, p.zone.apex)
	}
	p.zone = placed.zone
	if c, needed := placed.cname(); needed {
		p.move(placed, c)
	}
	return placed.owner, nil
}

// written is owner for a record that is appended or set.
func (p *placer) written(name string, t record.Type) (record.Name, error) {
	before := len(p.owners)
	owner, err := p.owner(name, t)
	if len(p.owners) == before || !record.IsDoubled(name, p.owners[before], p.asked) {
		return owner, err
	}
	if err != nil { // at the name that is meant it may be none
		return "", doubled(p.owners[before], p.asked)
	}
	p.doubled = append(p.doubled, before)
	return owner, nil
}

func (p *placer) move(placed place, c api.CNAME) {
	if p.moved == nil {
		p.moved = make(map[record.Name]record.Name, 1)
	}
	if _, known := p.moved[placed.owner]; !known {
		p.moved[placed.owner] = placed.asked
		p.cnames = append(p.cnames, c)
	}
}

// answer returns the entries as the request named them: relative to its zone,
// whatever zone they are in.
func (p *placer) answer(entries []entry) []api.Record {
	records := make([]api.Record, len(entries))
	for i := range entries {
		e := &entries[i]
		if asked, ok := p.moved[e.owner]; ok {
			e.owner = asked
		}
		records[i] = e.api(p.asked)
	}
	return records
}

// parseZone reads the zone of a request.
func parseZone(zone string) (record.Name, error) {
	name, err := record.ParseName(zone)
	if err != nil {
		return "", newProblem(api.InvalidRecord, "zone: %w", err)
	}
	return name, nil
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
