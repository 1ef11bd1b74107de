package demo

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"text/template"

	"github.com/caddyserver/caddy/v2/caddyconfig"
	_ "github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile" // the adapter of the Caddyfile
)

// caddyfile is the whole configuration: what a service has, what a CA has, and
// what a user of both has.
var caddyfile = template.Must(template.New("Caddyfile").Parse(`{
	admin              off
	persist_config     off
	skip_install_trust
	auto_https         disable_redirects
	email              demo@example.test # one for all, or two issuers race for the first account
	storage            file_system "{{.Dir}}/storage"
	log {
		output file "{{.Log}}"
	}
	pki {
		ca local {
			root {
				cert "{{.Root}}"
				key  "{{.RootKey}}"
			}
		}
	}

	bestdns {
		listen 127.0.0.1:{{.NameServerPort}}
		store  "{{.Dir}}/records.db"
		zone {{.Zone}} {
			ns ns1.{{.Zone}} 127.0.0.1
			cname_target
		}
{{range .Clients}}
		client {{.Client}} {
			token        {{.Digest}}
			certificates {{.Domain}}
		}
{{end}}	}
}

# the API
https://localhost:{{.APIPort}} {
	bind 127.0.0.1
	tls internal
	bestdns
}

# the CA
https://localhost:{{.CAPort}} {
	bind 127.0.0.1
	tls internal
	acme_server {
		challenges dns-01
		resolvers  udp/127.0.0.1:{{.ResolverPort}}
		allow_wildcard_names
	}
}
{{range .Sites}}
https://*.{{.Domain}}:{{$.SitePort}} {
	bind 127.0.0.1
	tls {
		ca                  https://localhost:{{$.CAPort}}/acme/local/directory
		ca_root             "{{$.Root}}"
		resolvers           127.0.0.1:{{$.ResolverPort}}
		propagation_timeout -1
		dns bestdns {
			api_token     {{.Token}}
			endpoint      {{$.Endpoint}}
			trusted_roots "{{$.Root}}"
		}
	}
	respond "hello from {host}"
}
{{end}}`))

// siteTLS is what of a site's configuration is about its certificate, as a user
// with a public CA would write it.
func siteTLS(endpoint string) []string {
	return []string{"dns bestdns {env.BESTDNS_API_TOKEN} " + endpoint, "propagation_timeout -1"}
}

// config writes the Caddyfile with the given sites and returns it as JSON.
func (d *demo) config(sites []site) ([]byte, error) {
	var text bytes.Buffer
	err := caddyfile.Execute(&text, map[string]any{
		"Dir": d.dir, "Log": d.logFile(), "Root": d.rootFile(), "RootKey": d.rootKeyFile(),
		"NameServerPort": d.ports.nameServer, "ResolverPort": d.ports.resolver,
		"APIPort": d.ports.api, "CAPort": d.ports.ca[len(sites)], "SitePort": d.ports.site,
		"Zone": hostedZone, "Endpoint": d.endpoint(), "Clients": d.sites, "Sites": sites,
	})
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(d.caddyfilePath(), text.Bytes(), 0o600); err != nil {
		return nil, err
	}
	config, _, err := caddyconfig.GetAdapter("caddyfile").Adapt(text.Bytes(), map[string]any{"filename": "Caddyfile"})
	if err != nil {
		return nil, fmt.Errorf("reading the demonstration's Caddyfile: %w", err)
	}
	return config, nil
}

// freePorts returns ports that are free for UDP and TCP. All are held until each
// is found, so that none is found twice.
func freePorts() (ports, error) {
	var p ports
	for _, port := range []*int{&p.nameServer, &p.resolver, &p.ca[0], &p.ca[1], &p.ca[2], &p.api, &p.site} {
		tcp, udp, err := freePort()
		if err != nil {
			return ports{}, err
		}
		defer tcp.Close()
		defer udp.Close()
		*port = tcp.Addr().(*net.TCPAddr).Port
	}
	return p, nil
}

// freePort opens a port for both transports.
func freePort() (net.Listener, net.PacketConn, error) {
	const tries = 20
	var lastErr error
	for range tries {
		tcp, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, nil, err
		}
		udp, err := net.ListenPacket("udp", tcp.Addr().String())
		if err == nil {
			return tcp, udp, nil
		}
		tcp.Close()
		lastErr = err
	}
	return nil, nil, lastErr
}
