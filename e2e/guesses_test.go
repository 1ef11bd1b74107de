package e2e

import (
	"fmt"
	"strings"
	"testing"

	"github.com/caddy-dns/bestdns/e2e/internal/harness"
)

// certmagic takes for the zone whatever a resolver has a SOA record for, and some
// have them in strange places. The client then names that zone to the service,
// which must not believe it.
func TestZonesGuessedWrongly(t *testing.T) {
	t.Parallel()
	guesses := []struct {
		name, domain string
		guess        string // a zone of the clients' resolver
		real         string // where the world hosts the domain, if the service does not
	}{
		{"above the zone", "above." + harness.HostedZone, "example", ""},
		{"within the zone", "x.within." + harness.HostedZone, "within." + harness.HostedZone, ""},
		{"the domain itself", "domain." + harness.HostedZone, "domain." + harness.HostedZone, ""},
		{"the challenge's own name", "own." + harness.HostedZone, "_acme-challenge.own." + harness.HostedZone, ""},
		{"a public suffix", "www.shop.co.uk", "co.uk", "shop.co.uk"},
		{"above a zone elsewhere", "www.sub.parent.test", "parent.test", "sub.parent.test"},
		{"split horizon", "www.corp.split.test", "corp.split.test", "split.test"},
		{"the challenge's own name elsewhere", "own.other.test", "_acme-challenge.own.other.test", "other.test"},
	}
	var domains []string
	for _, g := range guesses {
		domains = append(domains, g.domain)
	}
	everyClient(t, domains, func(t *testing.T, w *harness.World, start func(...harness.Env) *harness.Caddy) {
		inside := harness.NewResolver(t)
		for _, g := range guesses {
			inside.Host(t, g.guess)
			if g.real != "" {
				w.Resolver.Host(t, g.real, delegation(g.domain))
			}
		}
		caddy := start(sites(domains...), harness.Env{"RESOLVER": inside.Addr})
		caddy.WaitCertificates(domains...)
		for _, g := range guesses {
			harness.AssertServed(t, caddy.HTTPS, g.domain, w.Pebble, g.domain)
			guessed := caddy.Log.Entries(func(e harness.Entry) bool {
				return e.Message == "creating DNS record" &&
					strings.Contains(e.Line, fmt.Sprintf(`"dns_name":"_acme-challenge.%s"`, g.domain)) &&
					strings.Contains(e.Line, fmt.Sprintf(`"zone":"%s."`, g.guess))
			})
			if len(guessed) != 1 {
				t.Errorf("%s: certmagic did not guess the zone %s, so nothing is proved", g.name, g.guess)
			}
		}
		w.AssertNoChallenge(t, harness.HostedZone, domains...)
	})
}
