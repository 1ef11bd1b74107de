package service

import (
	"cmp"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"text/template"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-dns/bestdns/internal/access"
	"github.com/caddy-dns/bestdns/internal/api"
	"github.com/caddy-dns/bestdns/internal/record"
)

// Placeholders in the printed lines, for what is not known.
const (
	noEndpoint = "<https://your.service>"
	noHost     = "<your.service>"
	noServer   = "<address of the service>"
)

// secrets makes tokens, and secrets that both sides have, in base64.
type secrets struct{ token, shared func() string }

var randomSecrets = secrets{api.NewToken, func() string {
	secret := make([]byte, 32)
	rand.Read(secret) // never fails since Go 1.24
	return base64.StdEncoding.EncodeToString(secret)
}}

func listRecipes() string {
	var names []string
	for _, r := range recipes {
		names = append(names, r.name)
	}
	return strings.Join(names, ", ")
}

// findRecipe returns the recipe of a name, nil for none.
func findRecipe(name string) (*recipe, error) {
	if name == "" {
		return nil, nil
	}
	i := slices.IndexFunc(recipes, func(r recipe) bool { return r.name == strings.ToLower(name) })
	if i < 0 {
		return nil, fmt.Errorf("there are no lines for %q; there are for %s", name, listRecipes())
	}
	return &recipes[i], nil
}

// make makes what the client is known by, and with it the client's block, which has the secrets
// themselves until hideSecrets.
func (o *tokenOptions) make(r *recipe, h hosted) (t newToken, err error) {
	t.Client, t.Config, t.label = o.client.Name, o.client, h.free(label(o.client.Name))
	if r != nil && len(o.client.written(r.needs)) == 0 {
		return t, fmt.Errorf("%s needs a right %s: give the client one, as in --%s %s", r.title, r.needs, r.needs, r.example)
	}
	if r != nil && r.way == byUpdate {
		t.Config.Keys = []*TSIGKey{{Name: t.label, Algorithm: "hmac-sha256", Secret: o.secrets.shared()}}
	} else {
		t.Token = o.secrets.token()
		t.Config.Tokens = []string{access.DigestOf(t.Token).String()}
	}
	if len(t.Config.Register) > 0 {
		t.Config.AccountSecret = o.secrets.shared()
	}
	return t, nil
}

// hideSecrets has the block refer to secrets by the names of variables.
func (t *newToken) hideSecrets() {
	hide := func(name string, secret *string) {
		if t.Environment == nil {
			t.Environment = make(map[string]string)
		}
		t.Environment[name] = *secret
		*secret = "{env." + name + "}"
	}
	for _, key := range t.Config.Keys {
		hide(variable(tsigVariable, t.label), &key.Secret)
	}
	if t.Config.AccountSecret != "" {
		hide(variable(accountsVariable, t.label), &t.Config.AccountSecret)
	}
}

// label returns a client's name in letters, digits and hyphens, which need no quotes anywhere.
func label(client string) string {
	text := strings.Map(func(c rune) rune {
		if c >= 'a' && c <= 'z' || c >= '0' && c <= '9' {
			return c
		}
		return '-'
	}, strings.ToLower(client))
	if text = strings.Trim(text[:min(len(text), 50)], "-"); text == "" {
		return "client"
	}
	return text
}

// follow adds what a recipe says.
func (t *newToken) follow(r *recipe, o tokenOptions, h hosted, rules []access.Rule) error {
	data, err := o.recipeData(t, h)
	if err != nil {
		return err
	}
	if data.Domains = r.domains(rules); len(data.Domains) == 0 {
		return fmt.Errorf("%s needs a right %s for A or AAAA records: give the client one, as in --%[2]s %s", r.title, r.needs, r.example)
	}
	for _, p := range r.pieces {
		where, err := fillIn(p.Where, data)
		if err != nil {
			return err
		}
		text, err := fillIn(p.Text, data)
		if err != nil {
			return err
		}
		t.Paste = append(t.Paste, piece{where, p.Language, text})
	}
	if option := r.way.option(); !h.speaks[option] {
		t.Handler = option
		if !h.known {
			t.handlerNote = ", if it does not have that yet"
		}
	}
	return nil
}

// domains returns the names of the rights that the client needs.
func (r *recipe) domains(rules []access.Rule) (names []string) {
	for _, rule := range rules {
		name := rule.Name.Plain()
		if rule.Verb != r.needs || slices.Contains(names, name) {
			continue
		}
		// A client of dyndns2 writes addresses and nothing else.
		isAddress := func(t record.Type) bool { return t == record.TypeA || t == record.TypeAAAA }
		if r.way == byDynDNS2 && len(rule.Types) > 0 && !slices.ContainsFunc(rule.Types, isAddress) {
			continue
		}
		names = append(names, name)
	}
	return names
}

// recipeData returns what templates can use, but for the domains.
func (o *tokenOptions) recipeData(t *newToken, h hosted) (data recipeData, err error) {
	data = recipeData{Name: t.label, Token: t.Token, Endpoint: noEndpoint, Host: noHost}
	for _, key := range t.Config.Keys {
		data.Secret = key.Secret
	}
	if o.endpoint != "" {
		urls, err := api.ParseEndpoints(o.endpoint)
		if err != nil {
			return data, err
		}
		data.Endpoint, data.Host = strings.TrimRight(urls[0].String(), "/"), urls[0].Host
	}
	data.Server, data.Port = cmp.Or(h.server, noServer), cmp.Or(h.port, "53")
	if o.nameserver != "" {
		address, err := parseServerAddress(o.nameserver)
		if err != nil {
			return data, fmt.Errorf("--nameserver: %w", err)
		}
		data.Server = address.Addr().String()
		if _, err := netip.ParseAddr(o.nameserver); err != nil {
			data.Port = fmt.Sprint(address.Port())
		}
	}
	data.Address = net.JoinHostPort(data.Server, data.Port)
	return data, nil
}

func fillIn(text string, data recipeData) (string, error) {
	t, err := template.New("").Parse(text)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	err = t.Execute(&b, data)
	return b.String(), err
}

// handlersIn returns what a configuration says of the handler of the API: its URL, "" if it is not plain, and the
// options that are on in any of them.
func handlersIn(config []byte) (endpoint string, on map[string]bool) {
	var known struct {
		Apps struct {
			HTTP struct {
				HTTPPort int                  `json:"http_port"`
				Servers  map[string]apiServer `json:"servers"`
			} `json:"http"`
		} `json:"apps"`
	}
	on = make(map[string]bool)
	if json.Unmarshal(config, &known) != nil {
		return "", on
	}
	var urls []string
	for _, server := range known.Apps.HTTP.Servers {
		findHandlers(server.Routes, nil, func(handler map[string]any, hosts []string) {
			for option, value := range handler {
				if value == true {
					on[option] = true
				}
			}
			for _, host := range hosts {
				urls = append(urls, server.urlOf(host, cmp.Or(known.Apps.HTTP.HTTPPort, caddyhttp.DefaultHTTPPort)))
			}
		})
	}
	if len(urls) == 1 {
		endpoint = urls[0]
	}
	return endpoint, on
}

// apiServer is a server of Caddy's, as far as it says at which URLs it is.
type apiServer struct {
	Listen []string          `json:"listen"`
	Routes any               `json:"routes"`
	TLS    []json.RawMessage `json:"tls_connection_policies"`
	Auto   struct {
		Disabled bool     `json:"disable"`
		Skip     []string `json:"skip"`
	} `json:"automatic_https"`
}

// urlOf returns the URL of a site, "" if that needs more to be known, or if the site is over plain HTTP.
func (s apiServer) urlOf(host string, httpPort int) string {
	if _, err := record.ParseName(host); err != nil || strings.ContainsAny(host, "*{") || len(s.Listen) != 1 {
		return ""
	}
	if len(s.TLS) == 0 && (s.Auto.Disabled || slices.Contains(s.Auto.Skip, host)) {
		return ""
	}
	switch _, port, err := net.SplitHostPort(s.Listen[0]); {
	case err != nil || port == strconv.Itoa(httpPort):
		return ""
	case port == strconv.Itoa(caddyhttp.DefaultHTTPSPort):
		return "https://" + host
	default:
		return "https://" + net.JoinHostPort(host, port)
	}
}

// findHandlers calls found with each handler of the API, and the hosts for which it is.
func findHandlers(node any, hosts []string, found func(handler map[string]any, hosts []string)) {
	switch node := node.(type) {
	case []any:
		for _, value := range node {
			findHandlers(value, hosts, found)
		}
	case map[string]any:
		if node["handler"] == "bestdns" {
			found(node, hosts)
			return
		}
		if matched := hostsOf(node["match"]); len(matched) > 0 {
			hosts = matched
		}
		for key, value := range node {
			if key != "match" {
				findHandlers(value, hosts, found)
			}
		}
	}
}

// hostsOf returns the hosts that the matchers of a route name.
func hostsOf(match any) (hosts []string) {
	text, err := json.Marshal(match)
	if err != nil {
		return nil
	}
	var sets []struct {
		Host []string `json:"host"`
	}
	if json.Unmarshal(text, &sets) != nil {
		return nil
	}
	for _, set := range sets {
		hosts = append(hosts, set.Host...)
	}
	return hosts
}
