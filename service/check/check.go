// Package check is "caddy bestdns check": it checks everything that a DNS-01 challenge
// depends on, step by step, and says of each what is right, what is wrong and what to
// change, with the very record or setting to write.
//
// It knows no Caddy: the command reads configurations and hands in what they say.
package check

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/libdns/libdns"
	"github.com/miekg/dns"

	"github.com/caddy-dns/bestdns/internal/api"
	"github.com/caddy-dns/bestdns/internal/nsquery"
	"github.com/caddy-dns/bestdns/internal/record"
	"github.com/caddy-dns/bestdns/internal/text"
)

// Options say what is checked, and with what.
type Options struct {
	// Domain is the one that a certificate is wanted for, a wildcard included.
	// Empty: the service itself is checked, each of its zones.
	Domain string
	// Resolvers are asked in this order until one answers, as "host:port".
	Resolvers []string
	// CA is the CA's domain name as CAA records have it.
	CA string
	// Accounts are the URIs of the ACME accounts, as far as they are known, and
	// AccountHelp says where to find one.
	Accounts    []string
	AccountHelp string

	// Endpoint is the service's API. Its URL is empty where there is none to ask.
	Endpoint Endpoint
	// HTTPReq is set if the client speaks lego's httpreq to the endpoint.
	HTTPReq bool
	// Account and Updates are a client that is known by other things than a token; then no
	// endpoint is asked. At most one of them is set.
	Account *Account
	Updates *Updates
	// Running is the service in a Caddy on this machine; nil: none is asked.
	Running Running
	// Hosted are the zones of the service, as far as its configuration is at hand.
	Hosted []HostedZone
	// Listen is where the name server listens by the configuration, as "host:port" with a host
	// that may be empty. Empty: not known, or everywhere at port 53.
	Listen []string

	// Before are steps that the caller has found out, which are reported first.
	Before []Step

	// Dial opens the connections to resolvers and name servers; nil: as a
	// [net.Dialer] does.
	Dial nsquery.Dialer
	// Report is called with each step as it ends, one at a time; it may be nil.
	Report func(Step)

	// arrivalTimeout is the time in which a record has to be at every name server.
	arrivalTimeout time.Duration
}

// Service is where records are written and read again.
type Service interface {
	GetRecords(ctx context.Context, zone string) ([]libdns.Record, error)
	Change(ctx context.Context, zone string, change api.Change) (api.Records, error)
}

// Running is a service whose Caddy is asked at its admin endpoint: it may do all
// that the service itself may.
type Running interface {
	Service
	// Hosting returns the zones with their name servers.
	Hosting(ctx context.Context) ([]HostedZone, error)
	// String says which Caddy it is.
	String() string
}

// HostedZone is a zone as the service's configuration has it.
type HostedZone struct {
	// Name is absolute, with its final dot.
	Name string `json:"name"`
	// Provider names the DNS provider module; empty for the built-in name server.
	Provider string `json:"provider,omitempty"`
	// NameServers are those of a built-in zone.
	NameServers []NameServer `json:"ns,omitempty"`
	// Primary are the addresses of the primary name server that has it, Notify those of the
	// secondaries that the service tells of changes, each with its port if that is not 53.
	Primary []string `json:"primary,omitempty"`
	Notify  []string `json:"notify,omitempty"`
	// NotifyKey is the name of the key with which it tells them, without final dot.
	NotifyKey string `json:"notify_key,omitempty"`
	// Servers are those that changes wait for, where the configuration names them.
	Servers []string `json:"servers,omitempty"`
	// Key is the name of the key with which the service changes it at its primary, without
	// final dot.
	Key string `json:"key,omitempty"`
	// NoWait is set where changes are answered before all name servers serve them.
	NoWait bool `json:"no_wait,omitempty"`
	// Listen is where the name server of a built-in zone listens, as [Options.Listen].
	Listen []string `json:"listen,omitempty"`
	// CNAMETarget is set where challenges of domains hosted elsewhere go.
	CNAMETarget bool `json:"cname_target,omitempty"`
}

// NameServer is a name server of a built-in zone. It has addresses if its name
// is in the zone.
type NameServer struct {
	Name      string   `json:"name"`
	Addresses []string `json:"addresses,omitempty"`
}

// Run checks, and returns all steps. It takes away again what it writes, when
// ctx ends too. The error says why it could not begin.
func Run(ctx context.Context, options Options) (*Report, error) {
	c := &checker{Options: options, report: &Report{Domain: text.Brief(options.Domain, mostOfText)}}
	if c.arrivalTimeout == 0 {
		c.arrivalTimeout = defaultArrivalTimeout
	}
	c.client = &nsquery.Client{Dial: c.Dial, AlsoTCP: true}
	c.resolver = &nsquery.Resolver{Client: c.client, Addresses: c.Resolvers}
	subject, err := parseSubject(options.Domain)
	if err != nil {
		return nil, err
	}
	if len(c.Resolvers) == 0 {
		return nil, errors.New("no resolver is known to begin with: name one with --resolver ADDRESS")
	}
	for _, step := range options.Before {
		c.emit(step)
	}
	if c.checkResolver(ctx) {
		if options.Domain == "" {
			c.checkService(ctx)
		} else {
			c.checkDomain(ctx, subject)
		}
	}
	if ctx.Err() != nil {
		c.emit(Step{Name: "interrupted", Status: Unknown, Found: "the check was ended before it was through"})
	}
	if c.report.Outcome = c.report.outcome(); c.unreached {
		c.report.Outcome = Unknown
	}
	return c.report, nil
}

// checker is one run.
type checker struct {
	Options
	report   *Report
	client   *nsquery.Client
	resolver *nsquery.Resolver
	// unknown is why nothing is known of the domain's records, once [checker.lookFor] has asked; "" if
	// its zone was found.
	unknown string
	// unreached is set where the service could not be asked.
	unreached bool
}

// lookFor finds out whether the resolver finds the zone that the domain is in. Where it does not, as
// in a network whose zones it is not told of, or before a delegation is there, it says of every record that
// it does not exist.
func (c *checker) lookFor(ctx context.Context, domain record.Name) {
	apex, err := c.resolver.ZoneOf(ctx, domain)
	switch {
	case err != nil:
		c.unknown = err.Error()
	case apex.Labels() < 2 && !c.resolver.Exists(ctx, domain):
		c.unknown = fmt.Sprintf("the resolver finds no zone of %s: the first above it is %s", domain.Plain(), apex.Plain())
	}
}

// emit reports a step.
func (c *checker) emit(s Step) {
	s = s.shown()
	c.report.Steps = append(c.report.Steps, s)
	if c.Report != nil {
		c.Report(s)
	}
}

// subject is the domain that is checked.
type subject struct {
	domain   record.Name // without a leading "*"
	wildcard bool
	owner    record.Name // of the challenge
}

func parseSubject(text string) (s subject, err error) {
	if text == "" {
		return s, nil
	}
	base, wildcard := strings.CutPrefix(text, "*.")
	s.wildcard = wildcard
	if _, err := netip.ParseAddr(base); err == nil {
		return s, fmt.Errorf("%q is an address, and no CA validates one by DNS-01", text)
	}
	if s.domain, err = record.ParseName(base); err != nil {
		return s, err
	}
	if challenge, ok := record.ChallengeOf(s.domain); ok {
		return s, fmt.Errorf("%q is where the challenge of a domain is: give the domain, %q", text, challenge.Domain.Plain())
	}
	if !s.domain.IsHostName() {
		return s, fmt.Errorf("%q is no domain that a certificate can be had for: it needs two labels or more, of letters, digits and hyphens", text)
	}
	s.owner, err = record.Challenge{Domain: s.domain}.Owner()
	return s, err
}

// checkResolver reports whether any resolver answers: without one there is nothing
// to begin with.
func (c *checker) checkResolver(ctx context.Context) bool {
	for i, resolver := range c.Resolvers {
		if answer := c.client.Ask(ctx, resolver, nsquery.Question{Name: record.Root, Type: dns.TypeNS, Recurse: true}); answer.Err == nil {
			// One that is silent would cost its time with each question.
			c.resolver.Addresses = c.Resolvers[i:]
			c.emit(Step{Name: "resolver", Status: OK, Found: fmt.Sprintf("%s answers", resolver)})
			return true
		}
	}
	if ctx.Err() != nil {
		return false
	}
	c.emit(Step{
		Name: "resolver", Status: Unknown,
		Found: fmt.Sprintf("no answer from %s", joinWords(c.Resolvers)),
		Do:    "name a resolver that this machine can reach with --resolver ADDRESS",
	})
	return false
}

// checkDomain checks everything that the challenge of one domain depends on. The challenge record is written
// before any resolver is asked for it, so that none remembers that it was not there.
func (c *checker) checkDomain(ctx context.Context, s subject) {
	service := c.reachService(ctx, s)
	probe := c.write(ctx, service, s)
	defer c.remove(ctx, probe)
	c.lookFor(ctx, s.domain)
	if ctx.Err() != nil {
		return
	}
	target := c.checkCNAME(ctx, s, service, probe)
	if ctx.Err() != nil {
		return
	}
	c.checkCAA(ctx, s)
	if ctx.Err() != nil {
		return
	}
	c.showPermissions(ctx, s)
	if ctx.Err() != nil {
		return
	}
	if zone, ok := c.zoneOfTarget(ctx, target, service); ok && ctx.Err() == nil {
		servers := c.checkZone(ctx, zone)
		if _, hosted := c.hostedZone(zone); hosted && probe != nil && s.domain == zone && ctx.Err() == nil {
			probe.step.Zone = zone.Plain()
			c.readBack(ctx, probe)
		}
		if probe != nil && ctx.Err() == nil && c.checkSeen(ctx, probe, servers, zone) {
			c.checkCache(ctx, probe, servers, zone)
			probe.masked = c.findMasked(ctx, s, servers)
			c.checkSeenByResolver(ctx, s, probe)
		}
	}
	if ctx.Err() == nil {
		c.showAccount(s)
	}
}
