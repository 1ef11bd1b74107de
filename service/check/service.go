package check

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/caddy-dns/bestdns/internal/access"
	"github.com/caddy-dns/bestdns/internal/api"
	"github.com/caddy-dns/bestdns/internal/record"
)

// probeLabel is the label below which the records of a zone's own check are.
const probeLabel = "bestdns-check"

// checkService checks each zone of the service.
func (c *checker) checkService(ctx context.Context) {
	r := c.reachService(ctx, subject{})
	zones := r.zones
	if len(zones) == 0 {
		zones, _ = c.configured()
	}
	byName := func(a, b record.Name) int { return strings.Compare(a.String(), b.String()) }
	for _, apex := range slices.SortedFunc(maps.Keys(zones), byName) {
		if ctx.Err() != nil {
			return
		}
		c.checkHosted(ctx, apex, r)
	}
}

// checkHosted checks one zone: its way in from above, its servers, and that it
// takes changes.
func (c *checker) checkHosted(ctx context.Context, apex record.Name, r *reached) {
	servers := c.checkZone(ctx, apex)
	if ctx.Err() != nil {
		return
	}
	p := c.writeTwo(ctx, apex, r)
	if p == nil {
		return
	}
	defer c.remove(ctx, p)
	if ctx.Err() == nil && c.readBack(ctx, p) && ctx.Err() == nil && c.checkSeen(ctx, p, servers, apex) {
		c.checkCache(ctx, p, servers, apex)
	}
}

// writeTwo writes two values at one name, as certificates for a domain and its
// wildcard need them at the same time.
func (c *checker) writeTwo(ctx context.Context, apex record.Name, r *reached) *probe {
	step := Step{Name: "write", Zone: apex.Plain()}
	owner, ok := r.probeOwner(apex)
	if !ok {
		step.Status, step.Found = Skipped, "nothing is written: there is no service to write to"
		if r.service != nil {
			step.Found = fmt.Sprintf("nothing is written: client %q may write challenges nowhere in it", r.client)
			step.Do = "run this on the machine of the service, without a token, for the rest"
		}
		c.emit(step)
		return nil
	}
	p := &probe{
		service: r.service, asked: owner, at: owner,
		values: []string{randomValue(), randomValue()}, step: Step{Zone: apex.Plain()},
	}
	challenge, _ := record.ChallengeOf(owner)
	if !c.append(ctx, p, r, subject{domain: challenge.Domain, owner: owner}, "two values could not be written at one name: ") {
		return nil
	}
	step.Status, step.Found = OK, fmt.Sprintf("two values were written at %s", p.at.Plain())
	c.emit(step)
	return p
}

// probeOwner returns a challenge name in the zone at which the caller may write.
func (r *reached) probeOwner(apex record.Name) (owner record.Name, ok bool) {
	if r.service == nil {
		return "", false
	}
	var domains []record.Name
	if domain, err := apex.Child(probeLabel); err == nil {
		domains = append(domains, domain)
	}
	if r.rights != nil {
		for _, rule := range r.rights.Rules() {
			if rule.Verb == access.Certificates {
				domains = append(domains, rule.Name)
			}
		}
	}
	for _, domain := range domains {
		owner, err := record.Challenge{Domain: domain}.Owner()
		if err != nil {
			continue
		}
		if holder, _ := r.zones.Of(owner); holder == apex && r.mayWrite(apex, owner) {
			return owner, true
		}
	}
	return "", false
}

// mayWrite reports whether the caller may write challenges at an owner name.
func (r *reached) mayWrite(apex, owner record.Name) bool {
	if r.rights == nil {
		return true // the service itself, or rights that only it can read
	}
	challenge, err := record.At(owner, "TXT", 0, randomValue())
	if err != nil {
		return false
	}
	ok, _ := r.rights.MayWrite(apex, record.Append, challenge)
	return ok
}

// readBack reports whether the service reads what it wrote, as far as it can read.
func (c *checker) readBack(ctx context.Context, p *probe) (ok bool) {
	step := p.step
	step.Name, step.Status, step.Found = "read back", OK, "what was written is read again"
	limited, cancel := context.WithTimeout(ctx, changeTimeout)
	defer cancel()
	records, err := p.service.GetRecords(limited, p.asked.String())
	if ctx.Err() != nil {
		return false
	}
	defer func() { c.emit(step) }()
	var problem *api.Error
	switch {
	case errors.As(err, &problem) && problem.Kind() == api.NotSupported:
		step.Status, step.Found = Skipped, "its DNS provider cannot read records, so deletes need to name the data, as certificates' do"
	case err != nil:
		step.Status, step.Found = Wrong, "what was written could not be read: "+err.Error()
		step.Do = "look into the service's log: most often the provider's credentials may write and not read"
		if errors.As(err, &problem) && problem.Kind() == api.PrimaryRefuses {
			zone, _ := record.ParseName(step.Zone)
			step.Do, step.Lines = c.refusalAdvice(zone, allowTransfer)
		}
	case p.count(records) < len(p.values):
		step.Status = Wrong
		step.Found = fmt.Sprintf("of two values at a name, %d can be read", p.count(records))
		step.Do = "its DNS provider replaces one value with the other, so a domain and its wildcard cannot be validated at the same time: update the provider's module, or let the domain's CNAME lead to a zone of the built-in name server:"
		step.Lines = zoneLines("acme." + step.Zone)
	}
	return step.Status != Wrong
}
