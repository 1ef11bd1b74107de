package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/libdns/libdns"
	"github.com/miekg/dns"

	"github.com/caddy-dns/bestdns"
	"github.com/caddy-dns/bestdns/e2e/internal/harness"
	"github.com/caddy-dns/bestdns/internal/api"
)

// This file has the world in which third-party clients change zones: one service that speaks their
// protocols, with zones of each kind, and a CA that uses a resolver with a cache.

// Its zones.
const (
	clientsBuiltin  = "built.example"
	clientsAccounts = "auth.example"   // built in; what is written there expires soon
	clientsTarget   = "target.example" // built in; of the CNAMEs
	clientsAliases  = "aliases.example"
	clientsKnot     = "knot.example"
	clientsModule   = "module.example" // on Knot too, by a module of Caddy's
)

// clientsLifetime is the challenge_lifetime of clientsAccounts: longer than an order takes on a machine
// with other things to do.
const clientsLifetime = 40 * time.Second

type clientsWorld struct {
	dns          string // the host of the service's name server, at port 53
	api          string
	operator     *bestdns.Provider // of a client that may change all
	service      *harness.Caddy
	knot, module harness.Zone
	resolver     string
	pebble       *harness.Pebble
}

// newClientsWorld runs it, with these clients in the service's configuration. Domains in clientsAliases
// have a CNAME.
func newClientsWorld(t *testing.T, clients string, aliases []string) *clientsWorld {
	t.Helper()
	net53 := harness.NewLoopbackNet(t)
	w := &clientsWorld{
		dns: net53 + ".2", api: harness.FreeAddr(t),
		knot:   harness.Zone{Name: clientsKnot, Key: harness.NewKey(), Primaries: []string{net53 + ".4:53"}},
		module: harness.Zone{Name: clientsModule, Key: harness.NewKey(), Primaries: []string{net53 + ".5:53"}},
	}
	w.operator = &bestdns.Provider{Endpoint: "http://" + w.api, APIToken: api.NewToken()}
	uncached := harness.NewResolver(t)
	root, elsewhere := make(harness.Authority), make(harness.Authority)
	root.Host(t, ".", ". 3600 NS root.invalid.", "root.invalid. 3600 A "+net53+".1")
	for zone, host := range map[string]string{clientsBuiltin: w.dns, clientsAccounts: w.dns, clientsTarget: w.dns, clientsAliases: net53 + ".3"} {
		root.Host(t, ".", zone+". 3600 NS ns1."+zone+".", "ns1."+zone+". 3600 A "+host)
		uncached.Delegate(zone, host+":53")
	}
	for _, zone := range []harness.Zone{w.knot, w.module} {
		root.Host(t, ".", zone.Delegation()...)
		uncached.Delegate(zone.Name, zone.Primaries...)
		harness.StartKnotPrimary(t, zone)
	}
	elsewhere.Host(t, clientsAliases, clientsAliases+". 3600 NS ns1."+clientsAliases+".", "ns1."+clientsAliases+". 3600 A "+net53+".3")
	for _, domain := range aliases {
		elsewhere.Host(t, clientsAliases, "_acme-challenge."+domain+". 3600 CNAME "+domain+"."+clientsTarget+".")
	}
	root.Serve(t, net53+".1:53")
	elsewhere.Serve(t, net53+".3:53")
	w.service = startProtocols(t, w.dns, w.api, w.zones(uncached.Addr)+clients)

	for _, c := range harness.Caches {
		if c.Name == "unbound" {
			w.resolver = c.Start(t, net53+".1", uncached.Addr, clientsBuiltin)
		}
	}
	w.pebble = harness.NewPebble(t, w.resolver)
	w.pebble.AnswerLate()
	return w
}

// startProtocols runs the service with zones and clients.
func startProtocols(t *testing.T, dns, api, config string) *harness.Caddy {
	t.Helper()
	file := filepath.Join(t.TempDir(), "own.caddyfile")
	harness.NoError(t, os.WriteFile(file, []byte(config), 0o600))
	return harness.StartCaddy(t, harness.CaddyBinary, "protocols.caddyfile", harness.Env{
		"DNS": dns, "STORE": filepath.Join(t.TempDir(), "records.db"), "API_PORT": harness.Port(t, api), "OWN": file,
	})
}

// zones are those of the world, and its operator.
func (w *clientsWorld) zones(resolver string) string {
	var c strings.Builder
	fmt.Fprintf(&c, "zone %[1]s {\n\tns ns1.%[1]s %[2]s\n}\n", clientsBuiltin, w.dns)
	fmt.Fprintf(&c, "zone %[1]s {\n\tns ns1.%[1]s %[2]s\n\tchallenge_lifetime %[3]s\n}\n", clientsAccounts, w.dns, clientsLifetime)
	fmt.Fprintf(&c, "zone %[1]s {\n\tns ns1.%[1]s %[2]s\n\tcname_target\n}\n", clientsTarget, w.dns)
	fmt.Fprintf(&c, "zone %s {\n\tresolvers %s\n\t%s}\n", clientsKnot, resolver, primaryOption(w.knot))
	fmt.Fprintf(&c, "zone %s {\n\tresolvers %s\n\tchallenge_ttl 0\n\tprovider rfc2136 {\n\t\tserver %s\n\t\tkey_name %s\n\t\tkey_alg hmac-sha256\n\t\tkey %s\n\t}\n}\n",
		clientsModule, resolver, w.module.Primaries[0], w.module.Key.Name, w.module.Key.Secret)
	fmt.Fprintf(&c, "client operator {\n\ttoken %s\n", harness.Digest(w.operator.APIToken))
	for _, zone := range clientsZones {
		fmt.Fprintf(&c, "\tallow under %s\n", zone)
	}
	c.WriteString("}\n")
	return c.String()
}

// clientsZones are those of the service.
var clientsZones = []string{clientsBuiltin, clientsAccounts, clientsTarget, clientsKnot, clientsModule}

// server is where the zone of a name is asked for.
func (w *clientsWorld) server(name string) string {
	for _, zone := range []harness.Zone{w.knot, w.module} {
		if dns.IsSubDomain(dns.Fqdn(zone.Name), dns.Fqdn(name)) {
			return zone.Primaries[0]
		}
	}
	return w.dns + ":53"
}

// alias has a CNAME lead from one name of clientsBuiltin, absolute, to another.
func (w *clientsWorld) alias(t *testing.T, from, to string) {
	t.Helper()
	zone := dns.Fqdn(clientsBuiltin)
	cname := libdns.CNAME{Name: libdns.RelativeName(dns.Fqdn(from), zone), TTL: time.Minute, Target: dns.Fqdn(to)}
	harness.Must(w.operator.AppendRecords(t.Context(), zone, []libdns.Record{cname}))(t)
}

// textNames returns the names in a zone that have TXT records.
func (w *clientsWorld) textNames(t *testing.T, zone string) (names []string) {
	t.Helper()
	hasSOA := false
	for _, record := range harness.Must(w.operator.GetRecords(t.Context(), dns.Fqdn(zone)))(t) {
		rr := record.RR()
		hasSOA = hasSOA || rr.Type == "SOA"
		if rr.Type == "TXT" {
			names = append(names, libdns.AbsoluteName(rr.Name, zone))
		}
	}
	if !hasSOA {
		t.Fatalf("the API answers no SOA record for zone %s, so no one knows what else it leaves out", zone)
	}
	return names
}
