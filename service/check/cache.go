package check

import (
	"context"
	"crypto/rand"
	"encoding/base32"
	"fmt"
	"strings"
	"time"

	"github.com/miekg/dns"

	"github.com/caddy-dns/bestdns/internal/nsquery"
	"github.com/caddy-dns/bestdns/internal/record"
)

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

// reportThrottled says that servers have a second change late that had the first one at once.
func (c *checker) reportThrottled(p *probe, zone record.Name, late []nsquery.Server, by time.Duration) {
	step := p.step
	step.Name, step.Zone, step.Status = "again", zone.Plain(), Warning
	step.Found = fmt.Sprintf("of two changes right after each other, %s had the second up to %s after the first server", joinServers(late), by.Round(100*time.Millisecond))
	step.Do, step.Lines = "changes wait for that: "+reloadAdvice, []string{reloadLine}
	c.emit(step)
}
