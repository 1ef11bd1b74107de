package check

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/libdns/libdns"

	"github.com/caddy-dns/bestdns/internal/api"
	"github.com/caddy-dns/bestdns/internal/record"
)

// changeTimeout is the time for one change: the service gives it ten seconds.
const changeTimeout = 12 * time.Second

// probe is what was written to see whether it arrives.
type probe struct {
	service Service
	asked   record.Name // the owner name that the service was asked for
	at      record.Name // the owner name at which the records are
	values  []string
	cnames  []api.CNAME
	step    Step // what the steps about it have in common
	late    bool // for some name servers
	masked  *masked
}

// randomValue is a TXT value of the only form that a challenge has.
func randomValue() string {
	digest := make([]byte, 32)
	rand.Read(digest) // never fails since Go 1.24
	return base64.RawURLEncoding.EncodeToString(digest)
}

// records returns the probe's records, as a change relative to its owner has them. Like
// those of real challenges, they have the TTL that the service gives them.
func (p *probe) records() []api.Record {
	var records []api.Record
	for _, value := range p.values {
		records = append(records, api.Record{Name: "@", Type: "TXT", Data: &value})
	}
	return records
}

// append writes the probe. What an error leaves open is deleted again.
func (p *probe) append(ctx context.Context) error {
	limited, cancel := context.WithTimeout(ctx, changeTimeout)
	defer cancel()
	answer, err := p.service.Change(limited, p.asked.String(), api.Change{Append: p.records()})
	if err != nil {
		var failure *api.Error
		if !errors.As(err, &failure) || !failure.Unchanged {
			p.withdraw(ctx)
		}
		return err
	}
	p.cnames = answer.CNAMEs
	for _, cname := range answer.CNAMEs {
		name, errName := record.ParseName(cname.Name)
		target, err := record.ParseName(cname.Target)
		if err == nil && errName == nil && name == p.asked {
			p.at = target
		}
	}
	return nil
}

// delete deletes the probe, in time of its own: ctx may have ended.
func (p *probe) delete(ctx context.Context) (deleted int, err error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), changeTimeout)
	defer cancel()
	answer, err := p.service.Change(ctx, p.asked.String(), api.Change{Delete: p.records()})
	return len(answer.Records), err
}

// withdraw deletes what may be there, and once more what was still on its way.
func (p *probe) withdraw(ctx context.Context) {
	const onItsWay = 2 * time.Second
	if deleted, err := p.delete(ctx); err == nil && deleted == len(p.values) {
		return
	}
	time.Sleep(onItsWay)
	_, _ = p.delete(ctx) // the append's own error is returned
}

// write writes a challenge-like record for the domain. It returns nil if none is there.
func (c *checker) write(ctx context.Context, r *reached, s subject) *probe {
	if r.service == nil || r.denied {
		why := cmp.Or(r.why, "there is no service to write to")
		if r.denied {
			why = "the service does not accept the token"
		}
		c.emit(Step{Name: "write", Status: Skipped, Found: "no challenge is written: " + why})
		return nil
	}
	p := &probe{service: r.service, asked: s.owner, at: s.owner, values: []string{randomValue()}}
	if !c.append(ctx, p, r, s, "a challenge could not be written: ") {
		return nil
	}
	found := "a challenge was written at " + s.owner.Plain()
	if p.at != s.owner {
		found = fmt.Sprintf("a challenge was written at %s, to which a CNAME has to lead", p.at.Plain())
	}
	c.emit(Step{Name: "write", Status: OK, Found: found})
	return p
}

// append writes the probe, and reports whether it is there.
func (c *checker) append(ctx context.Context, p *probe, r *reached, s subject, failure string) bool {
	err := p.append(ctx)
	if err != nil && ctx.Err() == nil {
		step := p.step
		step.Name, step.Status, step.Found = "write", Wrong, failure+err.Error()
		step.Do, step.Lines = c.writeAdvice(err, r, s)
		c.emit(step)
	}
	return err == nil
}

func (c *checker) writeAdvice(err error, r *reached, s subject) (do string, lines []string) {
	var problem *api.Error
	if !errors.As(err, &problem) {
		return "see that the service stays up while this runs", nil
	}
	switch problem.Kind() {
	case api.Forbidden:
		return rightAdvice(r.client, s)
	case api.ZoneNotFound:
		lines := []string{"zone <one of its zones> {", "\tcname_target", "}"}
		if r.client != "" {
			_, right := rightAdvice(r.client, s)
			lines = append(lines, right...)
		}
		return "the service takes challenges of domains hosted elsewhere when one of its zones is marked for them and the client has the right; or give it the zone itself:", lines
	case api.Conflict:
		return fmt.Sprintf("remove the record that is in the way at %s from the service's zone:", s.owner.Plain()), []string{s.owner.String() + " CNAME …"}
	case api.ProviderFailed, api.ProviderTimeout, api.Unavailable, api.Internal:
		do := "the service's log says what its DNS provider or its disk reported"
		if problem.RequestID != "" {
			do += ", under request id " + problem.RequestID
		}
		return do + "; most often the provider's credentials or its zone's name in the service's configuration are wrong", nil
	case api.PrimaryRefuses:
		zone, _ := r.zones.Of(s.owner)
		return c.refusalAdvice(zone, allowUpdate)
	case "":
		return "the service answered before: look whether it, or a proxy before it, cuts connections", nil
	}
	return "do what the message says, and try again", nil
}

// refusalAdvice says what to do about a primary name server that refuses something, which its
// settings allow to a key.
func (c *checker) refusalAdvice(zone record.Name, allow func(zone record.Name, key string) []string) (do string, lines []string) {
	do = "do what the message says"
	hosted, _ := c.hostedZone(zone)
	if hosted.Key == "" {
		return do + ", and try again", nil
	}
	return do + "; if the primary does not allow it to the key, use the lines for its software:", allow(zone, hosted.Key)
}

// remove deletes the probe and says so.
func (c *checker) remove(ctx context.Context, p *probe) {
	if p == nil {
		return
	}
	step := p.step
	step.Name, step.Status, step.Found = "removed", OK, "what was written is removed again"
	if _, err := p.delete(ctx); err != nil {
		step.Status, step.Found = Wrong, "what was written could not be removed: "+err.Error()
		step.Do = "remove it by hand (the service removes it by itself, after the zone's challenge_lifetime):"
		for _, value := range p.values {
			step.Lines = append(step.Lines, fmt.Sprintf("%s TXT %q", p.at, value))
		}
	}
	c.emit(step)
	if p.masked != nil && step.Status == OK && ctx.Err() == nil {
		c.reportMasked(ctx, p.masked)
	}
}

// count returns how many of the probe's values records have.
func (p *probe) count(records []libdns.Record) (n int) {
	for _, value := range p.values {
		if slices.ContainsFunc(records, func(r libdns.Record) bool { return r.RR().Type == "TXT" && r.RR().Data == value }) {
			n++
		}
	}
	return n
}
