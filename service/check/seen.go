package check

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/miekg/dns"

	"github.com/caddy-dns/bestdns/internal/nsquery"
	"github.com/caddy-dns/bestdns/internal/record"
)

// How long a record may take to every server and resolver. A failure of the resolver
// is remembered by it for a while (RFC 9520), so there is less time for that.
const (
	defaultArrivalTimeout = 10 * time.Second
	resolverPause         = 300 * time.Millisecond
	failureTimeout        = 2 * time.Second
)

// checkSeen reports whether every name server has what was written. It waits a
// little: a DNS provider needs time to carry a record to its servers.
func (c *checker) checkSeen(ctx context.Context, p *probe, servers []nsquery.Server, zone record.Name) bool {
	step := p.step
	step.Name, step.Zone = "seen", zone.Plain()
	if len(servers) == 0 {
		step.Status, step.Found = Skipped, "no name server answers for the zone, so none was asked for what was written"
		c.emit(step)
		return false
	}
	hosted, _ := c.hostedZone(zone)
	servers = hosted.withWaited(servers)
	began := time.Now()
	outcomes := c.untilIn(ctx, p, servers)
	if ctx.Err() != nil {
		return false
	}
	missing, took := notServing(outcomes), time.Since(began)
	if len(missing) > 0 {
		step.Status = Wrong
		step.Found = fmt.Sprintf("what was written is not served by %s, %s later", joinServers(missing), took.Round(time.Second))
		step.Do, step.Lines = notSeenAdvice(hosted, missing, len(missing) == len(servers))
		c.emit(step)
		return false
	}
	step.Status = OK
	step.Found = fmt.Sprintf("every name server has what was written (%d addresses)", len(servers))
	if late, by := lateServers(outcomes); len(late) > 0 {
		p.late = true
		step.Found += fmt.Sprintf(", but %s up to %s after the first", joinServers(late), by.Round(100*time.Millisecond))
		step.Do, step.Lines = notifyAdvice(hosted, late)
		if step.Status = Warning; step.Do == "" {
			step.Status = OK
			step.Found += ", for which changes wait"
		}
	}
	c.emit(step)
	return true
}

// withWaited adds the servers that changes wait for to those that the zone is delegated to.
func (z HostedZone) withWaited(servers []nsquery.Server) []nsquery.Server {
	servers = slices.Clone(servers)
	for _, text := range z.Servers {
		address, err := netip.ParseAddrPort(text)
		if err != nil {
			address = netip.AddrPortFrom(addressOf(text), nsquery.Port)
		}
		if address.IsValid() && !slices.ContainsFunc(servers, func(s nsquery.Server) bool { return s.Address == address }) {
			servers = append(servers, nsquery.Server{Address: address})
		}
	}
	return servers
}

func addressesOf(servers []nsquery.Server) []string {
	return textsOf(servers, func(s nsquery.Server) string { return nsquery.AddressText(s.Address) })
}

// untilIn asks the servers until they have the probe, or have had the time for it.
func (c *checker) untilIn(ctx context.Context, p *probe, servers []nsquery.Server) []nsquery.Outcome {
	ctx, cancel := context.WithTimeout(ctx, c.arrivalTimeout)
	defer cancel()
	return c.client.Until(ctx, "", servers, []nsquery.Wanted{{Question: nsquery.Question{Name: p.at, Type: dns.TypeTXT}, Has: p.isIn}}, nil)
}

func notServing(outcomes []nsquery.Outcome) (missing []nsquery.Server) {
	for _, o := range outcomes {
		if o.State != nsquery.Serves {
			missing = append(missing, o.Server)
		}
	}
	return missing
}

// notable is how long after the first server another one may have a record without a word about
// it: a primary that tells its secondaries at once has them follow in some milliseconds, on this
// side of the world in a few hundred.
const notable = 500 * time.Millisecond

// lateServers returns the servers that had a record notably later than the first one, and how much
// later the last of them.
func lateServers(outcomes []nsquery.Outcome) (late []nsquery.Server, by time.Duration) {
	first := slices.MinFunc(outcomes, func(a, b nsquery.Outcome) int { return cmp.Compare(a.Took, b.Took) }).Took
	for _, o := range outcomes {
		if after := o.Took - first; after >= notable {
			late, by = append(late, o.Server), max(by, after)
		}
	}
	return late, by
}

// reloadAdvice is for servers that take their time with changes of which they are told at once.
const reloadAdvice = "with NSD, which reloads once a second, write into its server section; look into the log of others, which may not accept NOTIFY from this machine:"

// reloadLine has NSD serve what it was told without that.
const reloadLine = "xfrd-reload-timeout: 0"

// isIn reports whether an answer has all of the probe's values.
func (p *probe) isIn(answer nsquery.Answer) bool {
	texts := answer.Texts()
	return !slices.ContainsFunc(p.values, func(value string) bool { return !slices.Contains(texts, value) })
}

// checkSeenByResolver asks as a CA does: for the challenge's own name, through
// whatever CNAMEs there are.
func (c *checker) checkSeenByResolver(ctx context.Context, s subject, p *probe) {
	q := nsquery.Question{Name: s.owner, Type: dns.TypeTXT}
	broken := c.report.count(Wrong) > 0 // then there is nothing to wait for
	for began := time.Now(); ; {
		answer := c.resolver.Ask(ctx, q)
		waited := time.Since(began)
		switch {
		case ctx.Err() != nil:
			return
		case answer.Err == nil && p.isIn(answer):
			c.emit(Step{Name: "resolved", Status: OK, Found: fmt.Sprintf("a resolver finds it at %s, as a CA would", q.Name.Plain())})
			return
		// What it remembers for longer than that is not waited for.
		case !broken && waited < c.arrivalTimeout && (answer.Err != nil || remembers(answer) <= c.arrivalTimeout && (!answer.Failed() || waited < failureTimeout)):
			if !nsquery.Sleep(ctx, resolverPause) {
				return
			}
			continue
		}
		c.emit(c.notResolved(ctx, q, answer, broken))
		return
	}
}

// notResolved says why a resolver may not find what every name server has.
func (c *checker) notResolved(ctx context.Context, q nsquery.Question, answer nsquery.Answer, broken bool) Step {
	step := Step{Name: "resolved", Status: Wrong}
	switch {
	case answer.Err != nil:
		step.Status, step.Found = Unknown, "the resolver did not answer: "+answer.Err.Error()
	case answer.Rcode == dns.RcodeServerFailure:
		step.Found = fmt.Sprintf("the resolver answers SERVFAIL for %s", q)
		step.Do = "mend what is wrong above; if nothing is, look at the zone's name servers from where the resolver is"
		q.NoValidation = true
		if again := c.resolver.Ask(ctx, q); again.Err == nil && again.Rcode == dns.RcodeSuccess {
			step.Found += ", and an answer where it is told not to validate: DNSSEC is broken on the way there"
			step.Do = "if the step ds is right, it is another zone on that way, such as the domain's own: find it, and have its DS record removed or its keys mended; this shows where it breaks:"
			step.Lines = []string{"delv +vtrace " + q.Name.Plain() + " TXT"}
		}
	case broken:
		step.Found = fmt.Sprintf("the resolver %s for %s, and what was written is not in it", answer.Failure(), q)
		step.Do = "mend what is wrong above, from which this follows"
	case remembers(answer) > 0:
		step.Status = Warning
		step.Found = fmt.Sprintf("the resolver still remembers an older answer, for %s more; a CA's resolver does not", remembers(answer))
		step.Do = "try again then; if it is so still, this resolver has a view of its own of the domain (split horizon): name others to clients:"
		step.Lines = []string{"resolvers 1.1.1.1 9.9.9.9"}
	default:
		step.Found = fmt.Sprintf("the resolver %s for %s, and what was written is not in it", answer.Failure(), q)
		step.Do = "if the CNAME above is right, this resolver has a view of its own of the domain (split horizon): ask another with --resolver, and name it to clients too:"
		step.Lines = []string{"resolvers 1.1.1.1 9.9.9.9"}
	}
	return step
}

// remembers returns how long a resolver keeps this answer: the TTL that is left of
// its records, or of the SOA record where there are none (RFC 2308 §5).
func remembers(answer nsquery.Answer) time.Duration {
	least := time.Duration(-1)
	for _, rr := range slices.Concat(answer.Records, answer.Authority) {
		switch rr.Header().Rrtype {
		case dns.TypeTXT, dns.TypeSOA, dns.TypeCNAME:
			if ttl := time.Duration(rr.Header().Ttl) * time.Second; least < 0 || ttl < least {
				least = ttl
			}
		}
	}
	return max(least, 0)
}
