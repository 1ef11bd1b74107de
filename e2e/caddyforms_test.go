package e2e

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"

	"github.com/caddy-dns/bestdns/e2e/internal/harness"
)

// form is one of the ways to give Caddy a DNS provider, in Caddyfile.
type form struct {
	name string
	// options are global, and blocks sites; $NAME is a variable of the world.
	options, blocks string
	// ttl is that of the challenge's record, 0 for none said.
	ttl int64
	// owner is where the record goes, if not to the challenge of the site.
	owner string
}

// forms has $PROVIDER where Caddy takes a DNS provider.
var forms = []form{
	{
		name:   "tls dns",
		blocks: "$SITE {\n tls {\n dns $PROVIDER\n resolvers $RESOLVER\n propagation_timeout -1\n }\n}",
	},
	{
		name:   "dns_ttl",
		blocks: "$SITE {\n tls {\n dns $PROVIDER\n dns_ttl 7m\n resolvers $RESOLVER\n propagation_timeout -1\n }\n}",
		ttl:    420,
	},
	{
		name:   "issuer",
		blocks: "$SITE {\n tls {\n issuer acme {\n dns $PROVIDER\n dns_ttl 8s\n resolvers $RESOLVER\n propagation_timeout -1\n }\n }\n}",
		ttl:    8,
	},
	{
		name:    "cert_issuer",
		options: "cert_issuer acme {\n dns $PROVIDER\n resolvers $RESOLVER\n propagation_timeout -1\n }",
		blocks:  "$SITE {\n}",
	},
	{
		name:    "acme_dns and tls_resolvers",
		options: "acme_dns $PROVIDER\n tls_resolvers $RESOLVER",
		blocks:  "$SITE {\n}",
	},
	{
		name:    "global dns and bare acme_dns",
		options: "dns $PROVIDER\n acme_dns\n tls_resolvers $RESOLVER",
		blocks:  "$SITE {\n}",
	},
	{
		name:    "global dns and bare dns",
		options: "dns $PROVIDER",
		blocks:  "$SITE {\n tls {\n dns\n resolvers $RESOLVER\n propagation_timeout -1\n }\n}",
	},
	{
		// It is for providers that know nothing of delegated domains, and must not
		// be in the way of those who have it already.
		name:   "dns_challenge_override_domain",
		blocks: "$SITE {\n tls {\n dns $PROVIDER\n dns_challenge_override_domain " + harness.Elsewhere + "." + harness.HostedZone + "\n resolvers $RESOLVER\n propagation_timeout -1\n }\n}",
		owner:  harness.Elsewhere + "." + harness.HostedZone + ".",
	},
}

// Ways to write the provider itself, for the service elsewhere and in the same
// process.
const (
	providerByAPI     = "bestdns {env.TOKEN} $ENDPOINT {\n trusted_roots $ENDPOINT_ROOT\n }"
	providerInProcess = "bestdns"
	serviceOptions    = "bestdns {\n listen $DNS\n store $STORE\n" +
		" zone hosted.example {\n ns ns1.hosted.example 127.0.0.1\n cname_target\n }\n" +
		" client reader {\n token $READER_DIGEST\n read under hosted.example\n }\n }\n"
	serviceSite = "http://127.0.0.1:$API_PORT {\n bestdns\n}\n"
)

// caddyfile is the variables of any.caddyfile for a form.
func (f form) caddyfile(env harness.Env) harness.Env {
	options, blocks := f.options, f.blocks
	if env["PROVIDER"] == providerInProcess {
		options, blocks = serviceOptions+options, serviceSite+blocks
	}
	expand := func(text string) string {
		text = strings.ReplaceAll(text, "$PROVIDER", env["PROVIDER"])
		return os.Expand(text, func(name string) string { return env[name] })
	}
	return harness.Env{"OPTIONS": expand(options), "BLOCKS": expand(blocks)}
}

// Each form obtains a certificate, by the API and in process. The domain is one
// hosted elsewhere, so that the CNAME is in the way too.
func TestCaddyForms(t *testing.T) {
	t.Parallel()
	t.Run("by API", func(t *testing.T) {
		t.Parallel()
		for _, f := range forms {
			t.Run(f.name, func(t *testing.T) {
				w := harness.NewWorld(t)
				harness.StartCaddy(t, harness.CaddyBinary, "rights.caddyfile", w.Env(t), certificatesFor(harness.Elsewhere))
				client := f.start(t, w, harness.ClientBinary, providerByAPI)
				f.assertObtained(t, w, client)

				w.Recorder.AssertWrites(t, map[string]int{f.challenge(): 1})
				var ttl int64
				if got := w.Recorder.Requests()[0].Change.Append[0].TTL; got != nil {
					ttl = *got
				}
				if ttl != f.ttl {
					t.Errorf("the record was sent with the TTL %d, want %d", ttl, f.ttl)
				}
			})
		}
	})
	t.Run("in process", func(t *testing.T) {
		t.Parallel()
		for _, f := range forms {
			t.Run(f.name, func(t *testing.T) {
				w := harness.NewWorld(t)
				f.assertObtained(t, w, f.start(t, w, harness.CaddyBinary, providerInProcess))
			})
		}
	})
}

func (f form) start(t *testing.T, w *harness.World, binary, provider string) *harness.Caddy {
	t.Helper()
	env := w.Env(t)
	env["SITE"], env["PROVIDER"] = harness.Elsewhere, provider
	return harness.StartCaddy(t, binary, "any.caddyfile", env, f.caddyfile(env))
}

// challenge returns the name of the record that the form leads to.
func (f form) challenge() string {
	if f.owner != "" {
		return f.owner
	}
	return "_acme-challenge." + harness.Elsewhere + "."
}

func (f form) assertObtained(t *testing.T, w *harness.World, caddy *harness.Caddy) {
	t.Helper()
	caddy.WaitCertificates(harness.Elsewhere)
	harness.AssertServed(t, caddy.HTTPS, harness.Elsewhere, w.Pebble, harness.Elsewhere)
	if w.Resolver.Asked(f.challenge(), dns.TypeSOA) == 0 {
		t.Error("certmagic did not look for the zone where it was told to")
	}
	w.AssertNoChallenge(t, harness.HostedZone, harness.Elsewhere)
}

// The same in Caddy's own language, with the provider in the issuer, and in the
// TLS app for an issuer that names none. The running config shows no token.
func TestCaddyFormsInJSON(t *testing.T) {
	t.Parallel()
	w := harness.NewWorld(t)
	harness.StartCaddy(t, harness.CaddyBinary, "rights.caddyfile", w.Env(t), certificatesFor(web, harness.Elsewhere))
	client := harness.StartCaddy(t, harness.ClientBinary, "any.caddyfile", w.Env(t), harness.Env{"OPTIONS": "", "BLOCKS": ""})

	type object = map[string]any
	provider := object{
		"name":          "bestdns",
		"api_token":     "{env.TOKEN}",
		"endpoint":      "{env.ENDPOINT}",
		"trusted_roots": []string{"{env.ENDPOINT_ROOT}"},
	}
	policy := func(domain string, challenge object) object {
		challenge["resolvers"], challenge["propagation_timeout"] = []string{w.Resolver.Addr}, -1
		return object{
			"subjects": []string{domain},
			"issuers": []object{{
				"module":                  "acme",
				"email":                   "admin@example.net", // without one, certmagic may take "default" for one that the other has registered
				"ca":                      w.Pebble.Directory,
				"trusted_roots_pem_files": []string{w.Pebble.TLSRoot},
				"challenges":              object{"dns": challenge},
			}},
		}
	}
	loadJSON(client, object{
		"admin": object{"listen": client.Admin, "config": object{"persist": false}},
		"logging": object{"logs": object{"default": object{
			"level": "DEBUG", "encoder": object{"format": "json"}, "writer": object{"output": "stderr"},
		}}},
		"apps": object{
			"http": object{"servers": object{"sites": object{
				"listen":                  []string{client.HTTPS},
				"tls_connection_policies": []object{{}},
				"automatic_https":         object{"disable_redirects": true},
				"routes":                  []object{{"match": []object{{"host": []string{web, harness.Elsewhere}}}}},
			}}},
			"tls": object{
				"dns": provider,
				"automation": object{"policies": []object{
					policy(web, object{"provider": provider}),
					policy(harness.Elsewhere, object{}),
				}},
			},
		},
	})
	client.WaitCertificates(web, harness.Elsewhere)
	harness.AssertServed(t, client.HTTPS, web, w.Pebble, web)
	harness.AssertServed(t, client.HTTPS, harness.Elsewhere, w.Pebble, harness.Elsewhere)
	w.Recorder.AssertWrites(t, map[string]int{
		"_acme-challenge." + web + ".":               1,
		"_acme-challenge." + harness.Elsewhere + ".": 1,
	})
	w.AssertNoChallenge(t, harness.HostedZone, web, harness.Elsewhere)

	var running struct {
		Apps struct{ TLS struct{ DNS any } }
	}
	if err := json.Unmarshal(config(client), &running); err != nil {
		t.Fatal(err)
	}
	want := object{
		"name": "bestdns", "api_token": "{env.TOKEN}", "endpoint": "{env.ENDPOINT}", "trusted_roots": []any{"{env.ENDPOINT_ROOT}"},
	}
	if diff := cmp.Diff(any(want), running.Apps.TLS.DNS); diff != "" {
		t.Errorf("the provider in the running config (-want +got):\n%s", diff)
	}
}

// loadJSON replaces the running config by one in Caddy's own language.
func loadJSON(c *harness.Caddy, config any) {
	c.T.Helper()
	body, err := json.Marshal(config)
	if err != nil {
		c.T.Fatal(err)
	}
	resp, err := http.Post("http://"+c.Admin+"/load", "application/json", bytes.NewReader(body))
	if err != nil {
		c.T.Fatalf("loading JSON: %v", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		answer, _ := io.ReadAll(resp.Body)
		c.T.Fatalf("loading JSON: %s: %s", resp.Status, answer)
	}
}

// config returns the running config as the admin endpoint shows it.
func config(c *harness.Caddy) []byte {
	c.T.Helper()
	resp, err := http.Get("http://" + c.Admin + "/config/")
	if err != nil {
		c.T.Fatalf("reading the config: %v", err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		c.T.Fatalf("reading the config: %s, %v", resp.Status, err)
	}
	return body
}
