package check

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/caddy-dns/bestdns/internal/access"
	"github.com/caddy-dns/bestdns/internal/api"
	"github.com/caddy-dns/bestdns/internal/record"
)

// reached is the service, as far as it could be asked.
type reached struct {
	// service is nil where there is nothing to write with.
	service Service
	// zones are those that the caller may use, by what the service says.
	zones record.Zones
	// client is the caller's name; empty in the running Caddy itself.
	client string
	// rights are the caller's; nil in the running Caddy itself.
	rights *access.Client
	// why says why nothing is written where there is no service to write with; "" if only that.
	why string
	// denied is set where the rights leave no doubt that nothing can be written.
	denied bool
}

// hostedZone returns what is known of a zone.
func (c *checker) hostedZone(name record.Name) (HostedZone, bool) {
	for _, z := range c.Hosted {
		if z.Name == name.String() {
			return z, true
		}
	}
	return HostedZone{}, false
}

// reachService finds out what there is to write with. The zero subject asks for
// nothing in particular.
func (c *checker) reachService(ctx context.Context, s subject) *reached {
	switch {
	case (c.Account != nil || c.Updates != nil) && s.domain != "":
		return c.checkOther(ctx, s)
	case c.Endpoint.URL != "":
		r := new(reached)
		if c.checkEndpoints(ctx) {
			if c.HTTPReq {
				c.checkHTTPReq(ctx)
			}
			c.unreached = false // by one of several URLs
			c.checkToken(ctx, r)
		} else {
			c.emit(Step{Name: "token", Status: Skipped, Found: "the API does not answer"})
		}
		if r.service != nil && s.domain != "" {
			c.checkRight(r, s)
		}
		return r
	case c.Running != nil:
		return c.askRunning(ctx)
	}
	c.emit(Step{
		Name: "api", Status: Skipped,
		Found: "no service is named, so DNS alone is checked",
		Do:    "for the rest of the chain, give the client's configuration with --config, or --endpoint with the token in BESTDNS_API_TOKEN; on the machine of the service, run it where its Caddy runs",
	})
	return new(reached)
}

// askRunning asks the Caddy on this machine for its zones.
func (c *checker) askRunning(ctx context.Context) *reached {
	ctx, cancel := context.WithTimeout(ctx, endpointTimeout)
	defer cancel()
	zones, err := c.Running.Hosting(ctx)
	if err != nil {
		c.unreached = true
		c.emit(Step{
			Name: "service", Status: Unknown,
			Found: fmt.Sprintf("the service does not answer in %s: %s", c.Running, err),
			Do:    "start Caddy with the service's configuration, or say with --address or --config where its admin endpoint is",
		})
		return new(reached)
	}
	r := &reached{service: c.Running}
	c.Hosted = zones
	r.zones, _ = c.configured()
	names := textsOf(zones, func(z HostedZone) string {
		apex, _ := record.ParseName(z.Name) // the service has written it
		return fmt.Sprintf("%s (%s)", apex.Plain(), cmp.Or(z.Provider, "built in"))
	})
	step := Step{Name: "service", Status: OK, Found: fmt.Sprintf("%s serves %s", c.Running, joinWords(names))}
	if len(names) == 0 {
		step.Status, step.Found = Wrong, fmt.Sprintf("%s has no zone", c.Running)
		step.Do, step.Lines = "give the service one, in its global option bestdns:", zoneLines("acme.example.com")
	}
	c.emit(step)
	return r
}

func zoneLines(zone string) []string {
	return []string{"zone " + zone + " {", "\tns ns1." + zone + " <public address of this machine>", "\tcname_target", "}"}
}

// checkToken asks the service who the caller is and what it may do.
func (c *checker) checkToken(ctx context.Context, r *reached) {
	step := Step{Name: "token", Status: Wrong}
	defer func() { c.emit(step) }()
	where := "put a token where the client reads it (--token-file or the variable BESTDNS_API_TOKEN here), made on the machine of the service by:"
	if c.Endpoint.NoToken != nil {
		step.Status, step.Found, step.Do, step.Lines = Unknown, c.Endpoint.NoToken.Error(), "run this with the variables and files that Caddy has (with systemd, those of its unit), or put the token into a file and name that:", []string{"--token-file FILE"}
		return
	}
	if c.Endpoint.Identity.Token == "" && c.Endpoint.Identity.Certificate == nil {
		step.Status, step.Found = Unknown, "no token is given, so rights and writing are not checked"
		step.Do, step.Lines = where, []string{tokenCommand("CLIENT", c.Domain)}
		return
	}
	client, err := api.NewClient(c.Endpoint.URL, c.Endpoint.Identity, c.Endpoint.Roots)
	if err != nil {
		step.Found, step.Do, step.Lines = err.Error(), where, []string{tokenCommand("CLIENT", c.Domain)}
		return
	}
	client.NoWait = true // the step seen waits, and says for which server
	ctx, cancel := context.WithTimeout(ctx, endpointTimeout)
	defer cancel()
	token, err := client.GetToken(ctx)
	var zones []api.Zone
	if err == nil {
		zones, err = client.ListZones(ctx)
	}
	if err != nil {
		step.Found = err.Error()
		step.Do, step.Lines = tokenAdvice(err, c.Domain)
		return
	}
	r.service, r.client = client, token.Client
	if r.zones, r.rights, err = readRights(token, zones); err != nil {
		step.Status, step.Found = Warning, fmt.Sprintf("the service answers rights that this version cannot read: %s", err)
		return
	}
	step.Status, step.Found = OK, fmt.Sprintf("it is that of client %q, which may: %s", token.Client, joinRights(token.Rights))
	if len(token.ClientIP) > 0 {
		step.Found += "; it is accepted from " + joinWords(token.ClientIP) + " only"
	}
	if token.Expires == "" {
		return
	}
	step.Found += "; it is accepted until " + token.Expires
	if end, err := time.Parse(time.RFC3339, token.Expires); err == nil && time.Until(end) < api.ExpiryNotice {
		step.Status = Warning
		step.Do, step.Lines = renew(token.Client)
	}
}

func tokenCommand(client, domain string) string {
	if domain == "" {
		domain = "DOMAIN"
	}
	return "caddy bestdns token " + client + " --certificates " + domain
}

func tokenAdvice(err error, domain string) (do string, lines []string) {
	var problem *api.Error
	switch {
	case !errors.As(err, &problem) || problem.Kind() != api.Unauthorized:
	case strings.Contains(problem.Detail, access.ErrExpired.Error()):
		return renew("CLIENT")
	case strings.Contains(problem.Detail, access.ErrNetwork.Error()):
		return admit("CLIENT")
	default:
		return "make a new token with the command, put its hash into the client's block of the service's configuration, reload, and give the token to the client:",
			[]string{tokenCommand("CLIENT", domain), "client CLIENT {", "\ttoken sha256:…", "}"}
	}
	return "the API answered before and does not answer this: look into the log of the service", nil
}

// readRights returns the caller's rights as the service would judge by them, as
// far as its answers tell.
func readRights(token api.Token, listed []api.Zone) (record.Zones, *access.Client, error) {
	zones := record.NewZones()
	for _, z := range listed {
		apex, err := record.ParseName(z.Name)
		if err != nil {
			return nil, nil, err
		}
		zones[apex] = struct{}{}
	}
	config := access.Config{Name: token.Client, Users: []string{token.Client}}
	for _, text := range token.Rights {
		rule, err := access.ParseRight(text)
		if err != nil {
			return zones, nil, err
		}
		config.Rules = append(config.Rules, rule)
	}
	clients, err := access.New(zones, "", []access.Config{config})
	if err != nil {
		return zones, nil, err
	}
	return zones, clients.ByUser(token.Client), nil
}

// checkRight reports whether the caller may write the challenge.
func (c *checker) checkRight(r *reached, s subject) {
	if r.rights == nil {
		return
	}
	allowed := r.rights.MayCertify(s.domain)
	if apex, ok := r.zones.Of(s.owner); ok && !allowed {
		allowed = r.mayWrite(apex, s.owner)
	}
	if allowed {
		c.emit(Step{Name: "right", Status: OK, Found: fmt.Sprintf("client %q may write challenges at %s", r.client, s.owner.Plain())})
		return
	}
	r.denied = true
	do, lines := rightAdvice(r.client, s)
	c.emit(Step{
		Name: "right", Status: Wrong,
		Found: fmt.Sprintf("client %q has no right to certificates of %s", r.client, s.domain.Plain()),
		Do:    do, Lines: lines,
	})
}

func rightAdvice(client string, s subject) (do string, lines []string) {
	return "add the right to the client's block in the service's configuration, and reload:",
		[]string{"client " + client + " {", "\tcertificates " + s.domain.Plain(), "}"}
}

func joinRights(rights []string) string {
	const most = 6
	if len(rights) == 0 {
		return "nothing"
	}
	if more := len(rights) - most; more > 0 {
		return strings.Join(rights[:most], "; ") + fmt.Sprintf("; and %d more", more)
	}
	return strings.Join(rights, "; ")
}

func textsOf[T any](list []T, text func(T) string) []string {
	texts := make([]string, len(list))
	for i, item := range list {
		texts[i] = text(item)
	}
	return texts
}

// joinWords makes a list for a sentence.
func joinWords(words []string) string {
	switch n := len(words); n {
	case 0:
		return "none"
	case 1:
		return words[0]
	default:
		return strings.Join(words[:n-1], ", ") + " and " + words[n-1]
	}
}
