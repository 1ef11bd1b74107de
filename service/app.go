// Package service is the BestDNS service as a Caddy app with an HTTP handler: it
// turns HTTP requests, and the calls of Caddy's own modules, into changes of
// zones that the built-in name server or any libdns provider hosts.
package service

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/caddy-dns/bestdns/internal/access"
	"github.com/caddy-dns/bestdns/internal/hosting"
	"github.com/caddy-dns/bestdns/internal/nameserver"
)

func init() {
	caddy.RegisterModule(new(App))
}

// What outlives configurations.
var (
	// activity is what this process has seen its callers do.
	activity = hosting.NewActivity()
	// statuses is what name servers and DNS providers have told it.
	statuses = hosting.NewStatusCache(64)
)

// App is the BestDNS service: it keeps DNS records for ACME DNS challenges (and
// any others) on behalf of clients that each may change what they need and no more.
//
// The records of a zone are in the built-in authoritative name server, or with
// any DNS provider module. Clients come over HTTP, through the handler
// `http.handlers.bestdns`; the modules of the same Caddy come without HTTP and
// without a token, through `dns.providers.bestdns` with nothing configured.
//
// A complete configuration:
//
//	{
//		"listen": [":53"],
//		"store": "/var/lib/bestdns/records.db",
//		"rate_limit": 200,
//		"limits": {"client_records": 10000, "client_bytes": 16777216, "domain_challenges": 100},
//		"zones": [
//			{
//				"name": "acme.example.com",
//				"ns": [{"name": "ns1.acme.example.com", "addresses": ["203.0.113.5", "2001:db8::5"]}],
//				"ttl": "1m",
//				"challenge_lifetime": "24h",
//				"cname_target": true,
//				"max_records": 1000000
//			},
//			{
//				"name": "example.org",
//				"provider": {
//					"name": "rfc2136", "server": "192.0.2.1:53",
//					"key_name": "bestdns", "key_alg": "hmac-sha256", "key": "{env.TSIG_KEY}"
//				}
//			}
//		],
//		"clients": [
//			{
//				"name": "web1",
//				"description": "the shop, team Harbour",
//				"token": ["sha256:3b64db95cb55c763391c707108489ae18b4112d783300de38e033b4c98c3deaf"],
//				"certificates": ["web1.example.org", "under apps.example.org"],
//				"client_ip": ["10.0.0.0/8"],
//				"expires": "2027-06-30"
//			},
//			{
//				"name": "ops",
//				"token": ["sha256:70b8c6b5b2a5a3c8f4f36d2c6a1d1fdd13b6de4d6b7d2b0f5f5f4a3b2c1d0e9f"],
//				"allow": ["www.example.org A AAAA", "under example.org"],
//				"read": ["under acme.example.com"],
//				"max_records": 100000
//			}
//		]
//	}
//
// Placeholders such as `{env.NAME}` are accepted in every string of it but the names of clients.
type App struct {
	// The addresses on which the built-in name server answers, as Caddy's
	// network addresses. One without a network means both UDP and TCP. Used only
	// when a zone is built in, or a client has a `tsig` key. Default: `:53`.
	Listen []string `json:"listen,omitempty"`

	// The file in which the built-in name server keeps its records. Default:
	// `bestdns/records.db` below Caddy's data directory. One process at a time
	// can have it.
	Store string `json:"store,omitempty"`

	// How many answers over UDP each network (/24 of IPv4, /56 of IPv6 addresses) gets
	// in a second from the built-in name server, so that no one can have it flood
	// others. As many queries more are told to come again over TCP, which
	// resolvers do at once, and the rest gets no answer. 0 is no limit; loopback
	// addresses have none. Default: 200.
	RateLimit *int `json:"rate_limit,omitempty"`

	// The zones whose records the service may change. A zone may be within
	// another one; a record goes to the innermost that holds its name.
	Zones []*Zone `json:"zones,omitempty"`

	// Those who may use the API, and for what.
	Clients []*Client `json:"clients,omitempty"`

	// How much room clients can take in the built-in zones.
	Limits *Limits `json:"limits,omitempty"`

	logger *zap.Logger

	// Made in Provision and not changed afterwards.
	hosting   *hosting.Service
	gates     map[*access.Client]*gates
	listen    []caddy.NetworkAddress
	storePath string // canonical; "" without a built-in zone

	mu sync.Mutex // guards what Start acquires, publish uses and Cleanup releases

	// shared is kept by Cleanup: certmagic cleans up through the instance that
	// began, and what it deletes late must still reach the store.
	shared  *sharedServer
	held    bool      // shared counts this app
	sockets []*socket // kept by Cleanup too, for health, which takes no lock
	live    bool      // among the live apps
}

// CaddyModule returns the Caddy module information.
func (*App) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "bestdns",
		New: func() caddy.Module { return new(App) },
	}
}

// Provision reads the configuration. It opens nothing: "caddy validate"
// provisions too.
func (a *App) Provision(ctx caddy.Context) error {
	a.logger = ctx.Logger()
	if err := a.provisionHosting(ctx); err != nil {
		return err
	}
	a.gates = make(map[*access.Client]*gates)
	for client := range a.hosting.Clients().All() {
		a.gates[client] = newGates()
	}
	if err := ctx.GetMetricsRegistry().Register(collector{a}); err != nil {
		return fmt.Errorf("registering metrics: %w", err)
	}
	return a.subscribe(ctx)
}

// provisionHosting makes what the configuration hosts, and for whom.
func (a *App) provisionHosting(ctx caddy.Context) error {
	config := hosting.Config{
		Activity: activity, Statuses: statuses, Logger: a.logger, Audit: a.logger.Named("audit"), ProcessLog: processLog(),
	}
	if err := a.checkNulls(); err != nil {
		return err
	}
	for _, zone := range a.Zones {
		if err := zone.provision(ctx); err != nil {
			return fmt.Errorf("zone %q: %w", zone.Name, err)
		}
		config.Zones = append(config.Zones, zone.hosted)
	}
	for _, client := range a.Clients {
		c, err := client.access()
		if err != nil {
			return fmt.Errorf("client %q: %w", client.Name, err)
		}
		config.Clients = append(config.Clients, c)
	}
	if slices.ContainsFunc(a.Zones, func(z *Zone) bool { return z != nil && !z.isBuiltin() }) {
		config.Storage = ctx.Storage() // of which nothing is asked before the app begins
	}
	if err := a.provisionLimits(&config); err != nil {
		return err
	}
	if a.hasServer() {
		if err := a.provisionListeners(); err != nil {
			return err
		}
		config.Port = listenPort(a.listen)
	}
	var err error
	if a.hosting, err = hosting.New(config); err != nil {
		return err
	}
	if err := a.checkKeys(a.hosting.Clients()); err != nil {
		return err
	}
	if err := a.nameServerSettings().Validate(); err != nil {
		return err
	}
	for client := range a.hosting.Clients().All() {
		for _, rule := range client.IdleRules() {
			why := "this right can never be used: its name is in no zone of this service"
			if rule.Verb == access.Certificates {
				why = "this right can never be used: its domain is in no zone of this service, and no zone is marked cname_target"
			}
			a.logger.Warn(why,
				zap.String("client", client.Name()), zap.String("right", rule.String()))
		}
	}
	return nil
}

// checkNulls refuses null, which JSON can have instead of a zone or a client.
func (a *App) checkNulls() error {
	if i := slices.Index(a.Zones, nil); i >= 0 {
		return fmt.Errorf("zone %d is null", i+1)
	}
	if i := slices.Index(a.Clients, nil); i >= 0 {
		return fmt.Errorf("client %d is null", i+1)
	}
	return nil
}

// defaultListen is where a name server is looked for.
const defaultListen = ":53"

func (a *App) provisionListeners() error {
	listen := a.Listen
	if len(listen) == 0 {
		listen = []string{defaultListen}
	}
	for _, text := range listen {
		text, err := replace(text)
		if err != nil {
			return fmt.Errorf("listen: %w", err)
		}
		addresses, err := parseListen(text)
		if err != nil {
			return fmt.Errorf("listen address %q: %w", text, err)
		}
		a.listen = append(a.listen, addresses...)
	}
	if a.RateLimit != nil && *a.RateLimit < 0 {
		return fmt.Errorf("rate_limit %d: it is a number of answers per second, 0 for no limit", *a.RateLimit)
	}
	store, err := replace(a.Store)
	if err != nil {
		return fmt.Errorf("store: %w", err)
	}
	a.storePath, err = canonicalStorePath(store)
	return err
}

// listenPort returns the port of the first address that has one, zero if none has.
func listenPort(addresses []caddy.NetworkAddress) uint16 {
	for _, address := range addresses {
		if address.StartPort != 0 && !address.IsFdNetwork() {
			return uint16(address.StartPort)
		}
	}
	return 0
}

// hasServer reports whether the built-in name server is needed: for zones, or for clients that
// send it updates.
func (a *App) hasServer() bool {
	return slices.ContainsFunc(a.Zones, (*Zone).isBuiltin) || a.hasKeys()
}

// Start acquires all that is needed, so that what can fail fails here. Served it is
// by publish: Caddy starts a new configuration before it stops the old one, and
// goes back to that when an app after this one fails.
//
// The store comes first, since its lock is what keeps a second process out (sockets it
// could share without an error); then the sockets, in which questions wait from now on;
// then the index.
func (a *App) Start() error {
	if !a.hasServer() {
		return nil
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	shared, err := acquireServer(a.storePath)
	if err != nil {
		return err
	}
	a.shared, a.held = shared, true
	for _, address := range a.listen {
		s, err := openSockets.acquire(address)
		if err != nil {
			return err
		}
		a.sockets = append(a.sockets, s)
	}
	return shared.Rehearse(a.nameServerSettings())
}

func (a *App) nameServerSettings() nameserver.Settings {
	settings := nameserver.Settings{RateLimit: nameserver.DefaultRateLimit}
	if a.RateLimit != nil {
		settings.RateLimit = *a.RateLimit
	}
	if a.hasKeys() {
		settings.Clients, settings.Claimed = dnsClients{a}, a.hosting.Claimed()
	}
	for _, zone := range a.Zones {
		if zone.isBuiltin() {
			settings.Zones = append(settings.Zones, zone.hosted.NameServerConfig())
		}
	}
	return settings
}

// Stop does nothing: what the app holds is released in Cleanup, which Caddy
// calls after a failed start too.
func (*App) Stop() error { return nil }

// Cleanup releases what Start acquired. The last configuration to go closes it. What Caddy's
// own modules have written and not deleted yet goes before that, if Caddy exits (see deleteOwed).
func (a *App) Cleanup() error {
	a.deleteOwed()
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.hosting != nil {
		a.hosting.Close()
	}
	if a.live {
		a.stopServing()
		activity.Keep(liveApps.services())
		a.live = false
	}
	if !a.held {
		return nil
	}
	a.held = false
	var errs []error
	for _, s := range a.sockets {
		errs = append(errs, openSockets.release(s))
	}
	_, err := servers.Delete(a.storePath)
	return errors.Join(append(errs, err)...)
}

// replace resolves the placeholders of a setting; one that is unknown or empty is
// an error, since what it was to say would silently be missing.
func replace(s string) (string, error) {
	if !strings.Contains(s, "{") {
		return s, nil
	}
	replaced, err := caddy.NewReplacer().ReplaceOrErr(s, true, true)
	if err != nil {
		return "", placeholderError{err}
	}
	return replaced, nil
}

// placeholderError is that a placeholder has no value in this process.
type placeholderError struct{ error }

// Error says what it takes for the placeholder to have a value.
func (e placeholderError) Error() string {
	message := e.error.Error()
	switch {
	case strings.Contains(message, " {env."):
		return message + ": Caddy has the variables with which it was started, so restart it with this one"
	case strings.Contains(message, " {file."):
		return message + ": the file is missing or empty, or Caddy's user may not read it"
	}
	return message
}

func (e placeholderError) Unwrap() error { return e.error }

// readEach resolves the placeholders of texts, and reads each of them.
func readEach[T any](texts []string, read func(text string) (T, error)) (list []T, err error) {
	for _, text := range texts {
		if text, err = replace(text); err != nil {
			return nil, err
		}
		value, err := read(text)
		if err != nil {
			return nil, err
		}
		list = append(list, value)
	}
	return list, nil
}

// asIs is for texts that readEach has only placeholders to resolve in.
func asIs(text string) (string, error) { return text, nil }

// Interface guards
var (
	_ caddy.App          = (*App)(nil)
	_ caddy.Provisioner  = (*App)(nil)
	_ caddy.CleanerUpper = (*App)(nil)
)
