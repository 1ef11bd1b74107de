package check

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/miekg/dns"
)

// Patience with servers and resolvers until a record is there. A failure of the
// resolver is remembered by it for a while (RFC 9520), so there is less for that.
const (
	arrivalTime = 10 * time.Second
	arrivalWait = 300 * time.Millisecond
	failureTime = 2 * time.Second
)

// checkSeen reports whether every name server has what was written. It waits a
// little: a DNS provider needs time to carry a record to its servers.
func (c *checker) checkSeen(ctx context.Context, p *probe, servers []server, zone string) bool {
	step := p.step
	step.Name, step.Zone = "seen", zone
	if len(servers) == 0 {
		step.Status, step.Found = Skipped, "no name server answers for the zone, so none was asked for what was written"
		c.emit(step)
		return false
	}
	began := time.Now()
	missing := servers
	for {
		missing = c.missing(ctx, p, missing)
		if ctx.Err() != nil {
			return false
		}
		if len(missing) == 0 || time.Since(began) > c.patience || !sleep(ctx, arrivalWait) {
			break
		}
	}
	took := time.Since(began)
	if len(missing) > 0 {
		step.Status = Wrong
		step.Found = fmt.Sprintf("what was written is not served by %s, %s later", joinServers(missing), took.Round(time.Second))
		if len(missing) < len(servers) {
			step.Do = "those servers have an old copy of the zone: see that the primary notifies them (NOTIFY) and lets them copy it (AXFR); until then, let clients wait, beside propagation_timeout -1:"
		} else {
			step.Do = "the service writes to other servers than those to which the zone is delegated, or its provider is slow: compare them; if it is slow, let clients wait, beside propagation_timeout -1:"
		}
		step.Lines = []string{"propagation_delay 30s"}
		c.emit(step)
		return false
	}
	step.Status = OK
	step.Found = fmt.Sprintf("every name server has what was written (%d addresses)", len(servers))
	if took > 2*time.Second {
		step.Status = Warning
		step.Found += fmt.Sprintf(", after %s", took.Round(100*time.Millisecond))
		step.Do, step.Lines = "let clients wait for that, beside propagation_timeout -1:", []string{fmt.Sprintf("propagation_delay %s", (2 * took).Round(time.Second))}
	}
	c.emit(step)
	return true
}

// missing returns the servers that do not have all of the probe.
func (c *checker) missing(ctx context.Context, p *probe, servers []server) (missing []server) {
	has := make([]bool, len(servers))
	inParallel(len(servers), func(i int) {
		answer, err := c.Dial.ask(ctx, servers[i].address(), query{name: p.at, typ: dns.TypeTXT})
		has[i] = err == nil && len(p.textsIn(answer)) == len(p.values)
	})
	for i, ok := range has {
		if !ok {
			missing = append(missing, servers[i])
		}
	}
	return missing
}

// textsIn returns those of the probe's values that an answer has.
func (p *probe) textsIn(answer *dns.Msg) (found []string) {
	for _, rr := range answer.Answer {
		if txt, ok := rr.(*dns.TXT); ok {
			if text := strings.Join(txt.Txt, ""); slices.Contains(p.values, text) {
				found = append(found, text)
			}
		}
	}
	return sorted(found)
}

// checkSeenByResolver asks as a CA does: for the challenge's own name, through
// whatever CNAMEs there are.
func (c *checker) checkSeenByResolver(ctx context.Context, s subject, p *probe) {
	q := query{name: s.owner.String(), typ: dns.TypeTXT, recurse: true}
	broken := c.report.count(Wrong) > 0 // then there is nothing to wait for
	for began := time.Now(); ; {
		answer, err := c.walk.resolve(ctx, q)
		waited := time.Since(began)
		switch {
		case ctx.Err() != nil:
			return
		case err == nil && len(p.textsIn(answer)) == len(p.values):
			c.emit(Step{Name: "resolved", Status: OK, Found: fmt.Sprintf("a resolver finds it at %s, as a CA would", plain(q.name))})
			return
		// It is not waited for what it remembers for longer than that.
		case !broken && waited < c.patience && (err != nil || remembers(answer) <= c.patience && (!isFailure(answer) || waited < failureTime)):
			if !sleep(ctx, arrivalWait) {
				return
			}
			continue
		}
		c.emit(c.notResolved(ctx, q, answer, err, broken))
		return
	}
}

// notResolved says why a resolver may not find what every name server has.
func (c *checker) notResolved(ctx context.Context, q query, answer *dns.Msg, err error, broken bool) Step {
	step := Step{Name: "resolved", Status: Wrong}
	switch {
	case err != nil:
		step.Status, step.Found = Unknown, "the resolver did not answer: "+err.Error()
	case answer.Rcode == dns.RcodeServerFailure:
		step.Found = fmt.Sprintf("the resolver answers SERVFAIL for %s", q)
		step.Do = "mend what is wrong above; if nothing is, look at the zone's name servers from where the resolver is"
		q.unchecked = true
		if again, err := c.walk.resolve(ctx, q); err == nil && again.Rcode == dns.RcodeSuccess {
			step.Found += ", and an answer where it is told not to validate: DNSSEC is broken on the way there"
			step.Do = "if the step ds is right, it is another zone on that way, such as the domain's own: find it, and have its DS record removed or its keys mended; this shows where it breaks:"
			step.Lines = []string{"delv +vtrace " + plain(q.name) + " TXT"}
		}
	case broken:
		step.Found = fmt.Sprintf("the resolver answers %s for %s, and what was written is not in it", rcode(answer), q)
		step.Do = "mend what is wrong above, from which this follows"
	case remembers(answer) > 0:
		step.Status = Warning
		step.Found = fmt.Sprintf("the resolver still remembers an older answer, for %s more; a CA's resolver does not", remembers(answer))
		step.Do = "try again then; if it is so still, this resolver has a view of its own of the domain (split horizon): name others to clients:"
		step.Lines = []string{"resolvers 1.1.1.1 9.9.9.9"}
	default:
		step.Found = fmt.Sprintf("the resolver answers %s for %s, and what was written is not in it", rcode(answer), q)
		step.Do = "if the CNAME above is right, this resolver has a view of its own of the domain (split horizon): ask another with --resolver, and name it to clients too:"
		step.Lines = []string{"resolvers 1.1.1.1 9.9.9.9"}
	}
	return step
}

// isFailure reports whether a resolver could not find out.
func isFailure(answer *dns.Msg) bool {
	return answer.Rcode != dns.RcodeSuccess && answer.Rcode != dns.RcodeNameError
}

// remembers returns how long a resolver keeps this answer: the TTL that is left of
// its records, or of the SOA record where there are none (RFC 2308 §5).
func remembers(answer *dns.Msg) time.Duration {
	least := time.Duration(-1)
	for _, rr := range slices.Concat(answer.Answer, answer.Ns) {
		switch rr.Header().Rrtype {
		case dns.TypeTXT, dns.TypeSOA, dns.TypeCNAME:
			if ttl := time.Duration(rr.Header().Ttl) * time.Second; least < 0 || ttl < least {
				least = ttl
			}
		}
	}
	return max(least, 0)
}
