package bestdns

import (
	"cmp"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"go.uber.org/zap"

	"github.com/caddy-dns/bestdns/internal/api"
	"github.com/caddy-dns/bestdns/internal/owed"
	"github.com/caddy-dns/bestdns/internal/stdlog"
	"github.com/caddy-dns/bestdns/internal/text"
)

func init() {
	stdlog.Restore()
	caddy.RegisterModule((*Provider)(nil))
}

var (
	_ caddy.Provisioner     = (*Provider)(nil)
	_ caddy.CleanerUpper    = (*Provider)(nil)
	_ caddyfile.Unmarshaler = (*Provider)(nil)
)

// CaddyModule returns the Caddy module information.
func (*Provider) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "dns.providers.bestdns",
		New: func() caddy.Module { return new(Provider) },
	}
}

// UnmarshalCaddyfile reads one of three forms. The first uses the app bestdns of
// the same Caddy; the others, a service elsewhere.
//
//	bestdns
//	bestdns <api_token> <endpoint>
//	bestdns {
//		api_token     <api_token>
//		endpoint      <endpoint...>
//		trusted_roots <pem_file...>
//		client_certificate <pem_file> <key_file>
//	}
func (p *Provider) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the name of the module
	seen := make(map[string]bool)
	switch args := d.RemainingArgs(); len(args) {
	case 0:
	case 2:
		seen["api_token"], seen["endpoint"] = true, true
		p.APIToken, p.Endpoint = args[0], args[1]
		if err := cmp.Or(checkTokenArg(p.APIToken), checkEndpointArgs(p.Endpoint)); err != nil {
			return d.WrapErr(err)
		}
	case 1:
		return d.WrapErr(oneArg(args[0]))
	default:
		return d.Err("bestdns: too many arguments: write `bestdns <api_token> <endpoint>`, and several endpoints in a block")
	}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		option := d.Val()
		if seen[option] {
			return d.Errf("bestdns: duplicate option %s", option)
		}
		seen[option] = true
		if err := p.unmarshalOption(d, option); err != nil {
			return err
		}
	}
	return nil
}

func (p *Provider) unmarshalOption(d *caddyfile.Dispenser, option string) error {
	// Not ArgErr and the like: they repeat the arguments, and one is a secret.
	args := d.RemainingArgs()
	switch option {
	case "api_token":
		if len(args) != 1 {
			return d.Err("bestdns: api_token takes one argument: the token, or a placeholder for it")
		}
		p.APIToken = args[0]
		return wrapErr(d, checkTokenArg(p.APIToken))
	case "endpoint":
		if len(args) == 0 {
			return d.Err("bestdns: endpoint takes one or more arguments: the URL of the service, and those of its further copies")
		}
		p.Endpoint = strings.Join(args, " ")
		return wrapErr(d, checkEndpointArgs(args...))
	case "trusted_roots":
		if len(args) == 0 {
			return d.Err("bestdns: trusted_roots takes the names of one or more PEM files")
		}
		p.TrustedRoots = args
		return nil
	case "client_certificate":
		if len(args) != 2 {
			return d.Err("bestdns: client_certificate takes two PEM files: that of the certificate and that of its key")
		}
		p.ClientCertificate, p.ClientKey = args[0], args[1]
		return nil
	}
	if !optionName.MatchString(option) {
		option = "of that name" // it may be a token
	}
	return d.Errf("bestdns: no option %s: there are api_token, endpoint, trusted_roots and client_certificate", option)
}

// optionName is what a mistyped option looks like, and a token does not.
var optionName = regexp.MustCompile(`^[A-Za-z_-]{1,24}$`)

// oneArg is the error for a single argument. A `{$VAR}` of an unset variable
// leaves nothing, so the URL moves to where the token belongs.
func oneArg(arg string) error {
	usage := "write `bestdns <api_token> <endpoint>`"
	switch {
	case arg == "":
		return fmt.Errorf("bestdns: the token is empty and the endpoint missing: %s", usage)
	case strings.Contains(arg, "://"):
		return fmt.Errorf("bestdns: an endpoint, but no token before it: if it is a {$VAR}, the variable is not set, so use {env.VAR}; %s", usage)
	}
	return fmt.Errorf("bestdns: one argument, where there should be two or none: %s", usage)
}

// checkTokenArg judges a token as far as it can be before its placeholders are
// known.
func checkTokenArg(token string) error {
	switch {
	case token == "":
		return errors.New(`bestdns: the token is empty: if it is "{$VAR}", the variable is not set, so use {env.VAR}`)
	case strings.Contains(token, "{") && !strings.Contains(token, "://"):
		return nil
	}
	if err := api.CheckToken(token); err != nil {
		return fmt.Errorf("bestdns: %w", err)
	}
	return nil
}

// checkEndpointArgs does the same for arguments that are endpoints, one or several each.
func checkEndpointArgs(args ...string) error {
	known := slices.DeleteFunc(slices.Clone(args), func(arg string) bool { return strings.Contains(arg, "{") })
	if len(known) == 0 {
		return nil
	}
	if _, err := api.ParseEndpoints(strings.Join(known, " ")); err != nil {
		return fmt.Errorf("bestdns: %w", err)
	}
	return nil
}

// wrapErr adds file and line to an error, if there is one.
func wrapErr(d *caddyfile.Dispenser, err error) error {
	if err == nil {
		return nil
	}
	return d.WrapErr(err)
}

// Provision finds the service: the app of the same Caddy, or the client of the
// one at the endpoint. The exported fields keep their placeholders, so that the
// provider's JSON never holds what they stand for.
func (p *Provider) Provision(ctx caddy.Context) error {
	p.once.Do(func() {
		p.service, p.err = p.provision(ctx)
		p.owes = &owed.Process
	})
	return p.err
}

func (p *Provider) provision(ctx caddy.Context) (Service, error) {
	if p.APIToken == "" && p.Endpoint == "" {
		if len(p.TrustedRoots) > 0 {
			return nil, errors.New("trusted_roots are set, but no endpoint and no api_token")
		}
		if p.ClientCertificate != "" || p.ClientKey != "" {
			return nil, errors.New("a client certificate is set, but no endpoint: set it to the URL of the service")
		}
		return findService(ctx)
	}
	r, err := p.newResolved()
	if err != nil {
		return nil, err
	}
	logger := ctx.Logger()
	r.onCNAME = func(cname api.CNAME) {
		logger.Info("this CNAME record must exist where the domain is hosted, or the CA will not find the challenge",
			zap.String("name", text.Brief(cname.Name, text.MaxName)), zap.String("target", text.Brief(cname.Target, text.MaxName)))
	}
	r.onSilenced = func(s api.Silenced) {
		logger.Warn("a wildcard does not answer any more for a name, as long as there is a record at it or below it (RFC 4592)",
			zap.String("name", text.Brief(s.Name, text.MaxName)), zap.String("wildcard", text.Brief(s.Wildcard, text.MaxName)))
	}
	var silent silences
	r.onLag = func(zone string, lag api.Wait) {
		zone = text.Brief(zone, text.MaxName)
		if len(lag.Pending) > 0 {
			logger.Warn("the record is written, but not all name servers of the zone have it: a CA that asks one of these will not find it",
				zap.String("zone", zone), zap.Strings("servers", shownServers(lag.Pending)))
		}
		if due := silent.due(shownServers(lag.Silent)); len(due) > 0 {
			logger.Warn("name servers of the zone do not answer, so that no one waits for them to have a record",
				zap.String("zone", zone), zap.Strings("servers", due))
		}
	}
	return r, nil
}

// newResolved makes the client with all placeholders resolved.
func (p *Provider) newResolved() (*remote, error) {
	var failed error // the first error
	resolve := func(what, value string) string {
		resolved, err := caddy.NewReplacer().ReplaceFunc(value, api.PlaceholderValue)
		if err != nil && failed == nil {
			failed = fmt.Errorf("%s %w", what, err)
		}
		return resolved
	}
	set := settings{
		token: resolve("the token", p.APIToken), tokenSource: api.PlaceholdersIn(p.APIToken),
		endpoint: resolve("the endpoint", p.Endpoint),
		cert:     resolve("the name of the client certificate", p.ClientCertificate),
		key:      resolve("the name of its key", p.ClientKey),
	}
	for _, file := range p.TrustedRoots {
		set.roots = append(set.roots, resolve("a name in trusted_roots", file))
	}
	if failed != nil {
		return nil, failed
	}
	return newRemote(set)
}

// findService returns the app bestdns of this Caddy.
func findService(ctx caddy.Context) (Service, error) {
	const app = "bestdns"
	if _, err := caddy.GetModule(app); err != nil {
		return nil, errors.New("without token and endpoint, the records are managed by the app bestdns of this Caddy, which is not built in: " +
			"build with `xcaddy build --with github.com/caddy-dns/bestdns/service`, or set api_token and endpoint " +
			"(if they are set to {$VAR}, the variables are not: use {env.VAR})")
	}
	module, err := ctx.AppIfConfigured(app)
	if errors.Is(err, caddy.ErrNotConfigured) {
		return nil, errors.New("without token and endpoint, the records are managed by the app bestdns of this Caddy, which is not configured: " +
			"add the global option `bestdns`, or set api_token and endpoint " +
			"(if they are set to {$VAR}, the variables are not: use {env.VAR})")
	}
	if err != nil {
		return nil, err
	}
	service, ok := module.(Service)
	if !ok {
		return nil, fmt.Errorf("the app bestdns of this Caddy is a %T, which manages no records: is it of another version?", module)
	}
	return service, nil
}

// Cleanup closes the connections that are not in use. Calls may still follow:
// certmagic cleans up through the provider that it began with. When Caddy exits there is no
// time for them, so the challenge records that are left are deleted now.
func (p *Provider) Cleanup() error {
	var err error
	if caddy.Exiting() {
		err = owed.Process.Settle()
	}
	if r, ok := p.service.(*remote); ok {
		r.client.CloseIdleConnections()
	}
	return err
}

// Bounds of what is logged of name servers. The service names them, and could name any.
const (
	mostServers   = 16              // in one line
	silencePeriod = time.Hour       // between two lines about the same silent server
	mostSilent    = 4 * mostServers // servers that are remembered
)

// shownServers makes a list of name servers safe to show.
func shownServers(servers []string) []string {
	shown := make([]string, 0, min(len(servers), mostServers+1))
	for i, server := range servers {
		if i == mostServers {
			return append(shown, fmt.Sprintf("and %d more", len(servers)-i))
		}
		shown = append(shown, text.Brief(server, text.MaxName))
	}
	return shown
}

// silences remembers which silent name servers were logged. The zero value remembers none.
// It is safe for concurrent use.
type silences struct {
	mu     sync.Mutex // guards the following
	logged map[string]time.Time
}

// due returns those of the silent servers that are to be logged now, and remembers them.
// Many changes meet the same one, and it may be silent for long.
func (s *silences) due(servers []string) (due []string) {
	if len(servers) == 0 {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.logged == nil {
		s.logged = make(map[string]time.Time)
	}
	now := time.Now()
	for server, last := range s.logged {
		if now.Sub(last) >= silencePeriod {
			delete(s.logged, server)
		}
	}
	for _, server := range servers {
		if _, known := s.logged[server]; !known && len(s.logged) < mostSilent {
			s.logged[server] = now
			due = append(due, server)
		}
	}
	return due
}
