package check

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/caddy-dns/bestdns/internal/api"
)

// brokenService is what is wrong with the API, the token, and what is written.
var brokenService = []breakage{
	{
		name:    "endpoint over plain HTTP",
		breakIt: func(_ *testing.T, s *setup) { s.options.Endpoint.URL = "http://dns.example.net" },
		want: []Step{
			{
				Name: "api", Status: Wrong,
				// The URL as setup.stable has it.
				Found: `the endpoint "https://dns.example.net" is over http, which would send the token in the clear: use https (http is for loopback addresses only)`,
				Do:    "correct it in Caddyfile:",
				Lines: []string{"endpoint https://dns.example.net"},
			},
		},
	},
	{
		name:    "API down",
		breakIt: func(_ *testing.T, s *setup) { s.api.Close() },
		want: []Step{
			{
				Name: "api", Status: Wrong,
				Found: "https://dns.example.net: refused the connection",
				Do:    "start the service, or correct the endpoint's host and port",
			},
		},
	},
	{
		name:    "certificate of a private CA",
		breakIt: func(t *testing.T, s *setup) { s.serveTLS(t, time.Now().Add(time.Hour), "127.0.0.1", false) },
		want: []Step{
			{
				Name: "api", Status: Wrong,
				Found: "https://dns.example.net: its certificate is not accepted: x509: certificate signed by unknown authority",
				Do:    "if the service has its certificate from a private CA, name that CA's root at the client (its module's option, or --trusted-roots here):",
				Lines: []string{"trusted_roots /etc/ssl/private-ca.pem"},
			},
		},
	},
	{
		name:    "certificate of another host",
		breakIt: func(t *testing.T, s *setup) { s.serveTLS(t, time.Now().Add(time.Hour), "192.0.2.1", true) },
		want: []Step{
			{
				Name: "api", Status: Wrong,
				Found: "https://dns.example.net: its certificate is not accepted: x509: certificate is valid for 192.0.2.1, not 127.0.0.1",
				Do:    "the service has to have a site with this very name, or the endpoint one of the names in the certificate; in the service's Caddyfile:",
				Lines: []string{"127.0.0.1 {", "\tbestdns", "}"},
			},
		},
	},
	{
		name:    "certificate expired",
		breakIt: func(t *testing.T, s *setup) { s.serveTLS(t, time.Now().Add(-time.Hour), "127.0.0.1", true) },
		want: []Step{
			{
				Name: "api", Status: Wrong,
				Found: "https://dns.example.net: its certificate is not accepted: x509: certificate has expired or is not yet valid",
				Do:    `the Caddy that serves the API did not renew it (or this machine's clock is wrong): look for "127.0.0.1" in its log`,
			},
		},
	},
	{
		name:    "certificate not renewed",
		breakIt: func(t *testing.T, s *setup) { s.serveTLS(t, time.Now().Add(time.Hour), "127.0.0.1", true) },
		want: []Step{
			{
				Name: "api", Status: Warning,
				Found: "https://dns.example.net answers; its certificate is valid until <time>",
				Do:    `it should have been renewed: look for "renew" in the log of the Caddy that serves it`,
			},
		},
	},
	{
		name: "plain HTTP at the endpoint",
		breakIt: func(_ *testing.T, s *setup) {
			s.options.Endpoint.URL = strings.Replace(s.options.Endpoint.URL, "http:", "https:", 1)
		},
		want: []Step{
			{
				Name: "api", Status: Wrong,
				Found: "https://dns.example.net: it does not speak TLS",
				Do:    "the port serves plain HTTP: name the one that serves HTTPS in the endpoint",
			},
		},
	},
	{
		name:    "another site at the endpoint",
		breakIt: func(_ *testing.T, s *setup) { s.options.Endpoint.URL += "/elsewhere" },
		want: []Step{
			{
				Name: "api", Status: Wrong,
				Found: "https://dns.example.net: what answers there is no BestDNS API (404 Not Found)",
				Do:    "the site has to hand the API's paths to the handler, or the endpoint lacks the path before them; in the service's Caddyfile:",
				Lines: []string{"127.0.0.1 {", "\tbestdns", "}"},
			},
		},
	},
	{
		name:    "service unhealthy",
		breakIt: func(_ *testing.T, s *setup) { s.service.unhealthy = "the store is read-only: disk full" },
		want: []Step{
			{
				Name: "api", Status: Wrong,
				Found: "https://dns.example.net: the store is read-only: disk full",
				Do:    "look into the log of the service: it says why it cannot do its work",
			},
		},
	},
	{
		name:    "no token",
		breakIt: func(_ *testing.T, s *setup) { s.options.Endpoint.Identity = api.Identity{} },
	},
	{
		name: "token not known here",
		breakIt: func(_ *testing.T, s *setup) {
			s.options.Endpoint.Identity = api.Identity{}
			s.options.Endpoint.NoToken = errors.New("the token of Caddyfile is not known here: {env.TOKEN} is empty")
		},
		want: []Step{
			{
				Name: "token", Status: Unknown,
				Found: "the token of Caddyfile is not known here: {env.TOKEN} is empty",
				Do:    "run this with the variables and files that Caddy has (with systemd, those of its unit), or put the token into a file and name that:",
				Lines: []string{"--token-file FILE"},
			},
		},
	},
	{
		name:    "wrong token",
		breakIt: func(_ *testing.T, s *setup) { s.service.token = api.NewToken() },
		want: []Step{
			{
				Name: "token", Status: Wrong,
				Found: "no client has this token",
				Do:    "make a new token with the command, put its hash into the client's block of the service's configuration, reload, and give the token to the client; or add what the message names to that block:",
				Lines: []string{"caddy bestdns token CLIENT --certificates www.example.org", "client CLIENT {", "\ttoken sha256:…", "}"},
			},
		},
	},
	{
		name: "token cut",
		breakIt: func(_ *testing.T, s *setup) {
			s.options.Endpoint.Identity.Token = s.service.token[:20]
			s.options.Endpoint.Identity.TokenSource = "/run/secrets/bestdns"
		},
		want: []Step{
			{
				Name: "token", Status: Wrong,
				Found: "the token from /run/secrets/bestdns: a token has 57 characters, and this one has 20: was it cut, or is there more after it?",
				Do:    "put a token where the client reads it (--token-file or the variable BESTDNS_API_TOKEN here), made on the machine of the service by:",
				Lines: []string{"caddy bestdns token CLIENT --certificates www.example.org"},
			},
		},
	},
	{
		name: "no right",
		breakIt: func(_ *testing.T, s *setup) {
			s.service.who.Rights = []string{"certificates mail.example.org"}
		},
		want: []Step{noRight},
	},
	{
		name: "token expires soon",
		breakIt: func(_ *testing.T, s *setup) {
			s.service.who.Expires = time.Now().UTC().Add(48 * time.Hour).Format(time.RFC3339)
		},
		want: []Step{
			{
				Name: "token", Status: Warning,
				Found: `it is that of client "web", which may: certificates www.example.org; certificates under acme.example.com; it is accepted until <time>`,
				Do:    "give it a later day in the service's configuration:",
				Lines: []string{"client web {", "\texpires <time>", "}"},
			},
		},
	},
	{
		name:    "provider fails",
		breakIt: func(_ *testing.T, s *setup) { s.service.failAppend = api.ProviderFailed },
		want: []Step{
			{
				Name: "write", Status: Wrong,
				Found: `a challenge could not be written: zone "acme.example.com.": its DNS provider failed; the service's log has the cause under this request id`,
				Do:    "the service's log says what its DNS provider or its disk reported, under request id 7b0c; most often the provider's credentials or its zone's name in the service's configuration are wrong",
			},
		},
	},
	{
		name:    "no zone for domains hosted elsewhere",
		breakIt: func(_ *testing.T, s *setup) { s.service.target = "" },
		want: []Step{
			{
				Name: "write", Status: Wrong,
				Found: "a challenge could not be written: no zone that holds _acme-challenge.www.example.org. is hosted here, or this token has no right in it",
				Do:    "the service takes challenges of domains hosted elsewhere when one of its zones is marked for them and the client has the right; or give it the zone itself:",
				Lines: []string{"zone <one of its zones> {", "\tcname_target", "}", "client web {", "\tcertificates www.example.org", "}"},
			},
		},
	},
	{
		name:    "a CNAME in the way",
		breakIt: func(_ *testing.T, s *setup) { s.service.failAppend = api.Conflict },
		want: []Step{
			{
				Name: "write", Status: Wrong,
				Found: `a challenge could not be written: zone "acme.example.com.": its DNS provider failed; the service's log has the cause under this request id`,
				Do:    "remove the record that is in the way at _acme-challenge.www.example.org from the service's zone:",
				Lines: []string{"_acme-challenge.www.example.org. CNAME …"},
			},
		},
	},
	{
		name:    "second server has an old copy",
		breakIt: func(_ *testing.T, s *setup) { s.second.old = true },
		want: []Step{
			{
				Name: "seen", Zone: "acme.example.com", Status: Wrong,
				Found: "what was written is not served by ns2.acme.example.com (192.0.2.6), <time>",
				Do:    "those servers have an old copy of the zone: see that the primary notifies them (NOTIFY) and lets them copy it (AXFR); until then, let clients wait, beside propagation_timeout -1:",
				Lines: []string{"propagation_delay 30s"},
			},
		},
	},
	{
		name:    "all servers have an old copy",
		breakIt: func(_ *testing.T, s *setup) { s.first.old, s.second.old = true, true },
		want: []Step{
			{
				Name: "seen", Zone: "acme.example.com", Status: Wrong,
				Found: "what was written is not served by ns1.acme.example.com (192.0.2.5), ns1.acme.example.com (2001:db8::5) and ns2.acme.example.com (192.0.2.6), <time>",
				Do:    "the service writes to other servers than those to which the zone is delegated, or its provider is slow: compare them; if it is slow, let clients wait, beside propagation_timeout -1:",
				Lines: []string{"propagation_delay 30s"},
			},
		},
	},
	{
		name: "resolver remembers",
		breakIt: func(t *testing.T, s *setup) {
			s.stale["_acme-challenge.www.example.org.TXT"] = nothingFor(t, 3600)
		},
		want: []Step{
			{
				Name: "resolved", Status: Warning,
				Found: "the resolver still remembers an older answer, for 1h0m0s more; a CA's resolver does not",
				Do:    "try again then; if it is so still, this resolver has a view of its own of the domain (split horizon): name others to clients:",
				Lines: []string{"resolvers 1.1.1.1 9.9.9.9"},
			},
		},
	},
	{
		name: "resolver with a view of its own",
		breakIt: func(t *testing.T, s *setup) {
			s.stale["_acme-challenge.www.example.org.TXT"] = nothingFor(t, 0)
		},
		want: []Step{
			{
				Name: "resolved", Status: Wrong,
				Found: "the resolver answers NXDOMAIN for _acme-challenge.www.example.org TXT, and what was written is not in it",
				Do:    "if the CNAME above is right, this resolver has a view of its own of the domain (split horizon): ask another with --resolver, and name it to clients too:",
				Lines: []string{"resolvers 1.1.1.1 9.9.9.9"},
			},
		},
	},
	{
		name: "Caddy is not running",
		breakIt: func(_ *testing.T, s *setup) {
			s.options.Domain, s.options.Endpoint = "", Endpoint{}
			s.options.Running = fakeRunning{s.service, errors.New("connection refused")}
		},
		want: []Step{
			{
				Name: "service", Status: Wrong,
				Found: "the service does not answer in the Caddy at localhost:2019: connection refused",
				Do:    "start Caddy with the service's configuration, or say with --address or --config where its admin endpoint is",
			},
		},
	},
	{
		name: "no zones",
		breakIt: func(_ *testing.T, s *setup) {
			s.local()
			s.options.Domain, s.service.hosted, s.service.target = "", nil, ""
		},
		want: []Step{
			{
				Name: "service", Status: Wrong,
				Found: "the Caddy at localhost:2019 has no zone",
				Do:    "give the service one, in its global option bestdns:",
				Lines: []string{"zone acme.example.com {", "\tns ns1.acme.example.com <public address of this machine>", "\tcname_target", "}"},
			},
		},
	},
	{
		name: "provider with one value at a name",
		breakIt: func(_ *testing.T, s *setup) {
			s.local()
			s.options.Domain, s.service.keepOne, s.service.hosted[0].Provider = "", true, "slowdns"
		},
		want: []Step{
			{
				Name: "read back", Zone: "acme.example.com", Status: Wrong,
				Found: "of two values at a name, 1 can be read",
				Do:    "its DNS provider replaces one value with the other, so a domain and its wildcard cannot be validated at the same time: update the provider's module, or let the domain's CNAME lead to a zone of the built-in name server:",
				Lines: []string{"zone acme.acme.example.com {", "\tns ns1.acme.acme.example.com <public address of this machine>", "\tcname_target", "}"},
			},
		},
	},
	{
		name: "provider that fails",
		breakIt: func(_ *testing.T, s *setup) {
			s.local()
			s.options.Domain, s.service.failAppend = "", api.ProviderFailed
		},
		want: []Step{
			{
				Name: "write", Zone: "acme.example.com", Status: Wrong,
				Found: `two values could not be written at one name: zone "acme.example.com.": its DNS provider failed; the service's log has the cause under this request id`,
				Do:    "the service's log says what its DNS provider or its disk reported, under request id 7b0c; most often the provider's credentials or its zone's name in the service's configuration are wrong",
			},
		},
	},
}
