package service

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"regexp"
	"slices"
	"strings"
	"text/template"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-dns/bestdns/internal/access"
	"github.com/caddy-dns/bestdns/internal/record"
)

// This file works out what "caddy bestdns init" writes: a first configuration.

// What a service is set up for.
const (
	forOneServer = "one-server"
	forFleet     = "fleet"
	forProvider  = "provider"
)

// setup is what is asked of the user, as it was written.
type setup struct {
	use       string
	domains   []string
	zone      string
	addresses []string
	api       string
	client    string
	provider  string
	listen    []string
	email     string
	acmeCA    string
	acmeRoot  string
}

// plan is what is made of it.
type plan struct {
	Use        string
	Zone       record.Name
	Addresses  []netip.Addr
	Sites      []string // as Caddy has them, for forOneServer
	API        record.Name
	Provider   string // the line of the zone's block
	Listen     []string
	Email      string
	ACMECA     string
	ACMERoot   string
	NameServer record.Name // "" if the zone is at a provider

	rules  []access.Rule
	client *newToken // nil for forOneServer
	// variables are those to which the configuration refers for secrets.
	variables []string
}

// plan reads what the user wants. The error names the flag.
func (s setup) plan(secrets secrets) (p plan, err error) {
	if !slices.Contains([]string{forOneServer, forFleet, forProvider}, s.use) {
		return p, fmt.Errorf("--for: what is the service for? It is %s, %s or %s (--help explains), and not %q", forOneServer, forFleet, forProvider, s.use)
	}
	p = plan{Use: s.use, Listen: s.listen, Email: s.email, ACMECA: s.acmeCA, ACMERoot: s.acmeRoot}
	for _, text := range s.domains {
		if _, _, err := parseSubject(text); err != nil {
			return p, fmt.Errorf("--domain: %w", err)
		}
	}
	if p.Zone, err = parseHost("--zone", s.zone); err != nil {
		return p, err
	}
	if s.use != forProvider && p.Zone.Labels() < 3 {
		return p, fmt.Errorf("--zone: %s is a whole domain: to delegate it to this machine would take all of its other records out of DNS; give challenges a zone below, such as acme.%[1]s", p.Zone.Plain())
	}
	if s.acmeRoot != "" {
		if _, err := os.Stat(s.acmeRoot); err != nil {
			return p, fmt.Errorf("--acme-ca-root: %w", err)
		}
	}
	if p.Addresses, err = readEach(s.addresses, parsePublic); err != nil {
		return p, fmt.Errorf("--address: %w", err)
	}
	slices.SortFunc(p.Addresses, netip.Addr.Compare) // IPv4 first
	p.Addresses = slices.Compact(p.Addresses)
	for _, text := range s.listen {
		if _, err := parseListen(text); err != nil {
			return p, fmt.Errorf("--listen: %w", err)
		}
	}
	if s.use == forProvider {
		err = p.readProvider(s.provider)
	} else if p.NameServer, err = record.ParseName("ns1." + p.Zone.String()); err == nil && len(p.Addresses) == 0 {
		err = errors.New("--address: which public address does this machine have? Resolvers and CAs ask its port 53")
	}
	if err != nil {
		return p, err
	}
	if err := p.readDomains(s.domains); err != nil {
		return p, err
	}
	if s.use == forOneServer {
		return p, nil
	}
	if p.API, err = parseHost("--api", s.api); err != nil {
		return p, err
	}
	return p, p.makeClient(s, secrets)
}

func parseHost(flag, text string) (record.Name, error) {
	if text == "" {
		return "", fmt.Errorf("%s: which name is it?", flag)
	}
	name, wildcard, err := parseSubject(text)
	if err == nil && wildcard {
		err = fmt.Errorf("%q is a wildcard, and one name is asked for", text)
	}
	if err != nil {
		return "", fmt.Errorf("%s: %w", flag, err)
	}
	return name, nil
}

func parsePublic(text string) (netip.Addr, error) {
	address, err := netip.ParseAddr(text)
	if err != nil || address.Zone() != "" || address.IsUnspecified() || address.IsMulticast() {
		return address, fmt.Errorf("%q is not an IP address at which this machine can be reached", text)
	}
	return address.Unmap(), nil
}

func (p *plan) readDomains(domains []string) error {
	if len(domains) == 0 {
		return errors.New("--domain: which domain is to have certificates?")
	}
	for _, text := range domains {
		domain, wildcard, err := parseSubject(text)
		if err != nil {
			return fmt.Errorf("--domain: %w", err)
		}
		if p.Use == forProvider && !domain.In(p.Zone) {
			return fmt.Errorf("--domain: %s is not in the zone %s, which is the one at the provider", domain.Plain(), p.Zone.Plain())
		}
		site := domain.Plain()
		if wildcard {
			site = "*." + site
		}
		if !slices.Contains(p.Sites, site) {
			p.Sites = append(p.Sites, site)
		}
		rule := access.Rule{Verb: access.Certificates, Name: domain}
		if !slices.ContainsFunc(p.rules, func(r access.Rule) bool { return r.Name == domain }) {
			p.rules = append(p.rules, rule)
		}
	}
	return nil
}

// aVariable is a secret of a provider's line.
var aVariable = regexp.MustCompile(`\{env\.([A-Za-z_][A-Za-z0-9_]*)\}`)

// readProvider reads the name of a DNS provider's module and what follows it: by default a variable with its token.
func (p *plan) readProvider(text string) error {
	name, rest, hasRest := strings.Cut(strings.TrimSpace(text), " ")
	if name == "" {
		return errors.New("--provider: which DNS provider hosts the zone? Give the name of its module, such as cloudflare")
	}
	if _, err := caddy.GetModule("dns.providers." + name); err != nil || name == "bestdns" {
		return fmt.Errorf("--provider: this Caddy has no module dns.providers.%s: build one that has, by \"xcaddy build --with github.com/caddy-dns/bestdns/service --with github.com/caddy-dns/%s\"", name, name)
	}
	if !hasRest {
		rest = "{env." + strings.ToUpper(strings.ReplaceAll(name, "-", "_")) + "_API_TOKEN}"
	}
	p.Provider = name + " " + strings.TrimSpace(rest)
	for _, match := range aVariable.FindAllStringSubmatch(p.Provider, -1) {
		p.variables = append(p.variables, match[1])
	}
	return nil
}

// makeClient makes the first client and its token.
func (p *plan) makeClient(s setup, secrets secrets) error {
	o := tokenOptions{client: Client{Name: cmp.Or(s.client, p.rules[0].Name.FirstLabel())}, endpoint: p.endpoint(), secrets: secrets}
	for _, rule := range p.rules {
		o.client.Certificates = append(o.client.Certificates, rule.Name.Plain())
	}
	made, err := o.make(nil, hosted{})
	if err != nil {
		return err
	}
	p.client = &made
	_, err = made.Config.access()
	return err
}

// endpoint is the API's URL.
func (p *plan) endpoint() string {
	if p.API == "" {
		return ""
	}
	return "https://" + p.API.Plain()
}

// parentRecord is a record to create where a domain is hosted.
type parentRecord struct{ Name, Type, Data string }

// parents returns the records to create at other DNS hosts.
func (p *plan) parents() (records []parentRecord, err error) {
	h := hosted{known: true, zones: record.NewZones(p.Zone), target: p.Zone}
	if p.NameServer != "" {
		records = append(records, parentRecord{p.Zone.String(), "NS", p.NameServer.String()})
		records = append(records, p.addressRecords(p.NameServer)...)
	}
	rules := p.rules
	if p.API != "" && p.API != p.NameServer {
		records = append(records, p.addressRecords(p.API)...)
		if p.Use == forFleet && !slices.ContainsFunc(rules, func(r access.Rule) bool { return r.Name == p.API }) {
			rules = append([]access.Rule{{Verb: access.Certificates, Name: p.API}}, rules...)
		}
	}
	cnames, _, err := h.cnames(rules)
	for _, c := range cnames {
		records = append(records, parentRecord{c.Name, "CNAME", c.Target})
	}
	return records, err
}

func (p *plan) addressRecords(name record.Name) (records []parentRecord) {
	for _, address := range p.Addresses {
		typ := "A"
		if address.Is6() {
			typ = "AAAA"
		}
		records = append(records, parentRecord{name.String(), typ, address.String()})
	}
	return records
}

// plannedFile is a file to write.
type plannedFile struct {
	name string
	mode os.FileMode
	text string
	// what says for whom it is; "" for the configuration.
	what string
}

// files returns the files, that with the Caddyfile last: it refers to the others.
func (p *plan) files() (files []plannedFile, err error) {
	if len(p.variables) > 0 {
		var b strings.Builder
		for _, name := range p.variables {
			fmt.Fprintf(&b, "%s=%s\n", name, os.Getenv(name))
		}
		files = append(files, plannedFile{"bestdns.env", 0o600, b.String(), "secrets of the service, for its environment"})
	}
	if p.client != nil {
		label := p.client.label
		env := fmt.Sprintf("BESTDNS_API_TOKEN=%s\nBESTDNS_ENDPOINT=%s\n", p.client.Token, p.endpoint())
		files = append(files,
			plannedFile{label + ".env", 0o600, env, "the token of " + p.client.Client + ", for that host's environment alone"},
			plannedFile{"clients/" + label + ".caddy", 0o644, p.client.Config.caddyfile(""), "what " + p.client.Client + " may do"})
	}
	var b bytes.Buffer
	if err := firstCaddyfile.Execute(&b, p); err != nil {
		return nil, err
	}
	return append(files, plannedFile{"Caddyfile", 0o644, b.String(), "the service's configuration"}), nil
}

// ZoneText is the zone's name in the configuration.
func (p *plan) ZoneText() string { return p.Zone.Plain() }

// ServerText is the line of the zone's name server.
func (p *plan) ServerText() string {
	words := []string{p.NameServer.Plain()}
	for _, address := range p.Addresses {
		words = append(words, address.String())
	}
	return strings.Join(words, " ")
}

// APIText is the name of the API's site.
func (p *plan) APIText() string { return p.API.Plain() }

// firstCaddyfile is as "caddy fmt" leaves it.
var firstCaddyfile = template.Must(template.New("").Funcs(template.FuncMap{"quote": quote, "join": strings.Join}).Parse(`{
{{- with .Email}}
	email {{quote .}}
{{- end}}
{{- with .ACMECA}}
	acme_ca {{quote .}}
{{- end}}
{{- with .ACMERoot}}
	acme_ca_root {{quote .}}
{{- end}}
	bestdns {
{{- with .Listen}}
		listen {{join . " "}}
{{- end}}
		zone {{.ZoneText}} {
{{- if .Provider}}
			provider {{.Provider}}
{{- else}}
			ns {{.ServerText}}
			cname_target
{{- end}}
		}
{{- if .API}}
		import clients/*.caddy
{{- end}}
	}
}

{{if .API -}}
# The API, which clients call.
{{.APIText}} {
	tls {
		dns bestdns
		propagation_timeout -1
	}
	bestdns
}
{{- else -}}
{{join .Sites ", "}} {
	tls {
		dns bestdns
		propagation_timeout -1
	}
	respond "hello from {host}"
}
{{- end}}
`))

// forClient is what the client's Caddy has in its configuration.
func (p *plan) forClient() string {
	return fmt.Sprintf("%s {\n\ttls {\n\t\tdns bestdns {env.BESTDNS_API_TOKEN} %s\n\t\tpropagation_timeout -1\n\t}\n\trespond \"hello from {host}\"\n}\n",
		strings.Join(p.Sites, ", "), p.endpoint())
}

// check judges what is written as the service does when it loads it.
func (p *plan) check() error {
	var configs []access.Config
	if p.client != nil {
		config, err := p.client.Config.access()
		if err != nil {
			return err
		}
		configs = append(configs, config)
	}
	target := p.Zone
	if p.Use == forProvider {
		target = ""
	}
	_, err := access.New(record.NewZones(p.Zone), target, configs)
	return err
}
