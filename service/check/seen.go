package check

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/base32"
	"fmt"
	"net/netip"
	"slices"
	"strings"
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

// notSeenAdvice says what may be wrong where servers do not have what was written.
func notSeenAdvice(zone HostedZone, missing []nsquery.Server, all bool) (do string, lines []string) {
	const old = "those servers have an old copy of the zone: see that the primary lets them copy it (AXFR), and "
	switch {
	case all:
		do = "the service writes to other servers than those to which the zone is delegated, or its provider is slow: compare them; "
	case len(zone.Notify) > 0:
		do = old + "that they accept NOTIFY from it and from this machine"
		if zone.NotifyKey != "" {
			do += " with the key, which has the same secret on both sides"
		}
		return do + "; use the lines for their software:", acceptNotify(zone.Primary, zone.NotifyKey)
	case len(zone.Primary) > 0:
		return old + "have the service tell them of changes, by this line in its block of the zone; they have to accept NOTIFY from its address:",
			[]string{"notify " + strings.Join(addressesOf(missing), " ")}
	default:
		do = old + "tells them of changes (NOTIFY); "
	}
	if !zone.NoWait {
		return do + "changes wait eight seconds for that, and clients of BestDNS two minutes; other clients are to wait by themselves", nil
	}
	return do + "until then, let clients wait, beside propagation_timeout -1:", []string{"propagation_delay 30s"}
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

// notifyAdvice says how late servers are told of changes at once; "" where the reader cannot change
// that.
func notifyAdvice(zone HostedZone, late []nsquery.Server) (do string, lines []string) {
	addresses := addressesOf(late)
	told := !slices.ContainsFunc(addresses, func(address string) bool { return !slices.Contains(zone.Notify, address) })
	switch {
	case zone.Provider != "" && zone.Provider != "rfc2136" && len(zone.Primary) == 0 && !zone.NoWait:
		return "", nil
	case told:
		do, lines = "changes wait for that. They are told at once, and take their time: "+reloadAdvice, []string{reloadLine}
	case zone.Name != "" && zone.Provider == "":
		do = "changes wait for that. Nothing tells them (NOTIFY): have the service do so, by this line in its block of the zone, and let them accept NOTIFY from its address:"
		lines = []string{"transfer " + strings.Join(addresses, " ")}
	case len(zone.Primary) == 0:
		do = "changes wait for that. Their primary tells them late (NOTIFY): Knot waits 1 s after a change, BIND 5 s. With BIND, write into its options:"
		lines = []string{"notify-delay 0;"}
	default:
		do = "changes wait for that. Their primary tells them late (NOTIFY): have the service do so, by this line in its block of the zone, and let them accept NOTIFY from its address:"
		lines = []string{"notify " + strings.Join(addresses, " ")}
	}
	if zone.NoWait {
		do = strings.Replace(do, "changes wait for that", "changes do not wait for that, since the zone has wait off, and certificates fail at the first try", 1)
	}
	return do, lines
}

// checkCache reports servers before which, or in which, there is a cache: what was asked for before
// it was written is missing there for a while. It is for servers that the built-in one is not.
func (c *checker) checkCache(ctx context.Context, p *probe, servers []nsquery.Server, zone record.Name) {
	hosted, known := c.hostedZone(zone)
	if !known || hosted.Provider == "" && len(hosted.Notify) == 0 {
		return
	}
	fresh, ok := p.fresh()
	if !ok {
		return
	}
	c.client.AskAll(ctx, servers, nsquery.Question{Name: fresh.at, Type: dns.TypeTXT}) // what a cache keeps is that it is not there
	if fresh.append(ctx) != nil || ctx.Err() != nil {
		return // what that is about, the step write has said
	}
	defer func() {
		if _, err := fresh.delete(ctx); err != nil {
			c.remove(ctx, fresh) // once more, and it says so
		}
	}()
	within, cancel := context.WithTimeout(ctx, cacheTimeout)
	defer cancel()
	outcomes := c.untilIn(within, fresh, servers)
	if ctx.Err() != nil {
		return
	}
	missing := notServing(outcomes)
	if late, by := lateServers(outcomes); len(missing) == 0 && len(late) > 0 && len(hosted.Notify) > 0 && !p.late {
		c.reportThrottled(p, zone, late, by)
	}
	step := p.step
	step.Name, step.Zone, step.Status = "cache", zone.Plain(), OK
	step.Found = "a name that was asked for before it was written is served like any other"
	if len(missing) > 0 {
		step.Status = Wrong
		step.Found = fmt.Sprintf("%s had what was written, but not at a name that it was asked for before: there is a cache, in the server or before it", joinServers(missing))
		step.Do = "have nothing cached there; with PowerDNS, write into pdns.conf of each server:"
		step.Lines = []string{"cache-ttl=0", "query-cache-ttl=0", "negquery-cache-ttl=0"}
	}
	c.emit(step)
}

// reportThrottled says that servers have a second change late that had the first one at once.
func (c *checker) reportThrottled(p *probe, zone record.Name, late []nsquery.Server, by time.Duration) {
	step := p.step
	step.Name, step.Zone, step.Status = "again", zone.Plain(), Warning
	step.Found = fmt.Sprintf("of two changes right after each other, %s had the second up to %s after the first server", joinServers(late), by.Round(100*time.Millisecond))
	step.Do, step.Lines = "changes wait for that: "+reloadAdvice, []string{reloadLine}
	c.emit(step)
}

// cacheTimeout is how long a server that has had one record may take for the next one. Caches keep
// what they keep longer.
const cacheTimeout = 5 * time.Second

// fresh returns a probe at a name that no one has asked for: that of a challenge of one account
// (dns-account-01), which may be written by all who may write the challenge itself.
func (p *probe) fresh() (*probe, bool) {
	challenge, ok := record.ChallengeOf(p.at)
	if !ok || p.at != p.asked {
		return nil, false
	}
	label := make([]byte, 10)
	rand.Read(label) // never fails since Go 1.24
	challenge.Account = "_" + strings.ToLower(base32.StdEncoding.EncodeToString(label))
	owner, err := challenge.Owner()
	if err != nil {
		return nil, false
	}
	return &probe{service: p.service, asked: owner, at: owner, values: []string{randomValue()}, step: p.step}, true
}

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
