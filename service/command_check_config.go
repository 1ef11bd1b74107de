package service

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"

	"github.com/caddyserver/caddy/v2"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/caddyserver/certmagic"

	"github.com/caddy-dns/bestdns"
	"github.com/caddy-dns/bestdns/internal/access"
	"github.com/caddy-dns/bestdns/internal/api"
	"github.com/caddy-dns/bestdns/internal/hosting"
	"github.com/caddy-dns/bestdns/internal/record"
	"github.com/caddy-dns/bestdns/service/check"
)

// checkedConfig is what a configuration file says that a check needs to know. The
// zero value is no file.
type checkedConfig struct {
	file    string
	text    []byte
	clients []configuredClient
	app     *App
	storage json.RawMessage
}

// configuredClient is a dns.providers.bestdns in a configuration, and the names
// for whose certificates it is used; none means any.
type configuredClient struct {
	subjects []string
	provider *bestdns.Provider
}

func readCheckedConfig(file, adapter string) (config checkedConfig, err error) {
	if file == "" {
		return config, nil
	}
	text, _, _, err := caddycmd.LoadConfig(file, adapter)
	if err != nil {
		return config, fmt.Errorf("reading %s: %w", file, err)
	}
	return parseCheckedConfig(file, text)
}

// parseCheckedConfig reads a configuration in JSON. file says where it is from.
func parseCheckedConfig(file string, text []byte) (checkedConfig, error) {
	config := checkedConfig{file: file, text: text}
	var known struct {
		Storage json.RawMessage `json:"storage"`
		Apps    struct {
			BestDNS *App `json:"bestdns"`
			TLS     struct {
				Automation any            `json:"automation"`
				DNS        map[string]any `json:"dns"`
			} `json:"tls"`
		} `json:"apps"`
	}
	if err := json.Unmarshal(config.text, &known); err != nil {
		return config, fmt.Errorf("reading %s: %w", file, err)
	}
	config.app, config.storage = known.Apps.BestDNS, known.Storage
	config.findClients(known.Apps.TLS.Automation, nil)
	// Challenges that name no provider use this one.
	if isClient(known.Apps.TLS.DNS) {
		config.addClient(known.Apps.TLS.DNS, nil)
	}
	return config, nil
}

func isClient(module map[string]any) bool { return module["name"] == "bestdns" }

// findClients looks for the module wherever one may be in automation policies: in
// their issuers, and in what modules other than Caddy's own have in those.
func (c *checkedConfig) findClients(node any, subjects []string) {
	switch node := node.(type) {
	case []any:
		for _, value := range node {
			c.findClients(value, subjects)
		}
	case map[string]any:
		if names, ok := node["subjects"].([]any); ok {
			subjects = nil
			for _, name := range names {
				if text, ok := name.(string); ok {
					subjects = append(subjects, subjectName(text))
				}
			}
		}
		for _, key := range slices.Sorted(maps.Keys(node)) {
			if module, ok := node[key].(map[string]any); ok && key == "provider" && isClient(module) {
				c.addClient(module, subjects)
				continue
			}
			c.findClients(node[key], subjects)
		}
	}
}

// subjectName returns a policy's subject as Caddy has it once it is loaded. One that
// is not a name stays as it is, and matches no domain.
func subjectName(text string) string {
	replaced := caddy.NewReplacer().ReplaceKnown(text, "")
	ascii, err := toASCII(replaced)
	if err != nil {
		return text
	}
	return ascii
}

func (c *checkedConfig) addClient(module map[string]any, subjects []string) {
	text, err := json.Marshal(module)
	if err != nil {
		return
	}
	provider := new(bestdns.Provider)
	if json.Unmarshal(text, provider) == nil {
		c.clients = append(c.clients, configuredClient{subjects, provider})
	}
}

// client returns the module that obtains the domain's certificates, or nil: that of a
// policy for the domain, or of one for all domains, or else the only ones there are.
func (c *checkedConfig) client(domain string) *bestdns.Provider {
	for _, is := range []func(configuredClient) bool{
		func(client configuredClient) bool {
			return slices.ContainsFunc(client.subjects, func(subject string) bool { return certmagic.MatchWildcard(domain, subject) })
		},
		func(client configuredClient) bool { return len(client.subjects) == 0 },
		func(configuredClient) bool { return true },
	} {
		if i := slices.IndexFunc(c.clients, is); i >= 0 {
			return c.clients[i].provider
		}
	}
	return nil
}

// zones returns the zones of the service in the configuration, without their DNS providers.
func (c *checkedConfig) zones() (zones []*hosting.Zone, err error) {
	if c.app == nil {
		return nil, nil
	}
	if err := c.app.checkNulls(); err != nil {
		return nil, fmt.Errorf("reading %s: %w", c.file, err)
	}
	for _, zone := range c.app.Zones {
		read, err := zone.read()
		if err != nil {
			return nil, fmt.Errorf("reading %s: zone %q: %w", c.file, zone.Name, err)
		}
		zones = append(zones, read)
	}
	return zones, nil
}

// apexes returns the names of zones, and that of the zone marked cname_target, "" if there is none.
func apexes(zones []*hosting.Zone) (all record.Zones, target record.Name) {
	all = record.NewZones()
	for _, zone := range zones {
		all[zone.Apex] = struct{}{}
		if zone.CNAMETarget {
			target = zone.Apex
		}
	}
	return all, target
}

// nameServer returns where the service's name server is, as far as the configuration says: the
// first address of a zone's name servers, and the port at which it listens, each "" if not known.
func (c *checkedConfig) nameServer(zones []*hosting.Zone) (address, port string, err error) {
	if c.app == nil {
		return "", "", nil
	}
	listen, err := readEach(c.app.Listen, parseListen)
	if err != nil {
		return "", "", fmt.Errorf("reading %s: listen: %w", c.file, err)
	}
	if n := listenPort(slices.Concat(listen...)); n != 0 {
		port = fmt.Sprint(n)
	}
	for _, zone := range zones {
		for _, ns := range hostedZone(zone).NameServers {
			if len(ns.Addresses) > 0 {
				return ns.Addresses[0], port, nil
			}
		}
	}
	return "", port, nil
}

// listens returns the addresses of the name server as "host:port", without those of sockets that
// another program opens.
func (c *checkedConfig) listens() (addresses []string) {
	if c.app == nil {
		return nil
	}
	listen, err := readEach(c.app.Listen, parseListen)
	if err != nil {
		return nil // nameServer says so
	}
	return hostPorts(slices.Concat(listen...))
}

// hostPorts returns network addresses as "host:port", each once.
func hostPorts(listen []caddy.NetworkAddress) (addresses []string) {
	for _, address := range listen {
		if !address.IsFdNetwork() && !slices.Contains(addresses, address.JoinHostPort(0)) {
			addresses = append(addresses, address.JoinHostPort(0))
		}
	}
	return addresses
}

// faults returns steps about clients with which the configuration does not load. A Caddy that runs has an
// earlier configuration then.
func (c *checkedConfig) faults(zones []*hosting.Zone) (steps []check.Step) {
	if c.app == nil {
		return nil
	}
	fault := func(err error) {
		step := check.Step{
			Name: "config", Status: check.Wrong, Found: fmt.Sprintf("%s does not load: %s", c.file, err),
			Do: "correct it, and see that it loads by the command below; a Caddy that runs has an earlier configuration until then, which is what the rest is about:",
		}
		var unset placeholderError
		if errors.As(err, &unset) || errors.Is(err, fs.ErrPermission) {
			step.Status, step.Found = check.Warning, fmt.Sprintf("%s does not load with the variables of this shell and as this user: %s", c.file, err)
			step.Do = "see that it loads by this command, with the variables and as the user that Caddy has (with systemd, those of its unit):"
		}
		step.Lines = []string{"caddy validate --config " + shellQuote(c.file)}
		steps = append(steps, step)
	}
	hosted, target := apexes(zones)
	var clients []access.Config
	for _, client := range c.app.Clients {
		config, err := client.access()
		if err != nil {
			fault(fmt.Errorf("client %q: %w", client.Name, err))
			continue
		}
		clients = append(clients, config)
	}
	if _, err := access.New(hosted, target, clients); err != nil {
		fault(err)
	}
	return steps
}

// endpoint returns the API as a client's module has it configured.
func (c *checkedConfig) endpoint(p *bestdns.Provider) (e check.Endpoint, err error) {
	e.Source = c.file
	e.Identity.TokenSource = api.PlaceholdersIn(p.APIToken)
	if e.URL, err = replace(p.Endpoint); err != nil {
		return e, fmt.Errorf("the endpoint in %s: %w", c.file, err)
	}
	if e.Identity.Token, err = caddy.NewReplacer().ReplaceFunc(p.APIToken, api.PlaceholderValue); err != nil {
		// Caddy may well have a variable that this shell does not.
		e.Identity.Token, e.NoToken = "", fmt.Errorf("the token of %s is not known here: it %w", c.file, err)
	}
	roots, err := readEach(p.TrustedRoots, asIs)
	if err != nil {
		return e, fmt.Errorf("trusted_roots in %s: %w", c.file, err)
	}
	if e.Roots, err = api.ReadRoots(roots); err != nil || p.ClientCertificate == "" {
		return e, err
	}
	files, err := readEach([]string{p.ClientCertificate, p.ClientKey}, asIs)
	if err != nil {
		return e, fmt.Errorf("client_certificate in %s: %w", c.file, err)
	}
	e.Identity.Certificate = api.CertificateIn(files[0], files[1])
	return e, nil
}
