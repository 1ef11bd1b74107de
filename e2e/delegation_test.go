package e2e

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddy-dns/bestdns/e2e/internal/harness"
)

// rights is the variable of rights.caddyfile for what the client may do.
func rights(rules ...string) harness.Env {
	return harness.Env{"RIGHTS": strings.Join(rules, "\n\t\t\t")}
}

// certificatesFor is a right to certificates for each of the domains.
func certificatesFor(domains ...string) harness.Env {
	var rules []string
	for _, domain := range domains {
		rules = append(rules, "certificates "+domain)
	}
	return rights(rules...)
}

// delegation is the CNAME that BestDNS asks for where the domain is hosted.
func delegation(domain string) string {
	return "_acme-challenge." + domain + ". 60 IN CNAME " + domain + "." + harness.HostedZone + "."
}

// everyClient runs a test with a Caddy that comes by the API and with one that
// has the service in itself. The client may have certificates for the domains.
func everyClient(t *testing.T, domains []string, test func(t *testing.T, w *harness.World, start func(...harness.Env) *harness.Caddy)) {
	t.Run("by API", func(t *testing.T) {
		t.Parallel()
		w := harness.NewWorld(t)
		harness.StartCaddy(t, harness.CaddyBinary, "rights.caddyfile", w.Env(t), certificatesFor(domains...))
		test(t, w, func(env ...harness.Env) *harness.Caddy {
			return harness.StartCaddy(t, harness.ClientBinary, "client.caddyfile", append([]harness.Env{w.Env(t)}, env...)...)
		})
	})
	t.Run("in process", func(t *testing.T) {
		t.Parallel()
		w := harness.NewWorld(t)
		test(t, w, func(env ...harness.Env) *harness.Caddy {
			return harness.StartCaddy(t, harness.CaddyBinary, "inprocess.caddyfile", append([]harness.Env{w.Env(t)}, env...)...)
		})
	})
}

// One `dns bestdns` serves domains of any parents, those of the service's own
// zone among them, each with its wildcard.
func TestSeveralDomainsElsewhere(t *testing.T) {
	t.Parallel()
	domains := map[string]string{ // and the zones that they are hosted in
		"first.test":       "first.test",
		"a.b.second.co.uk": "second.co.uk",
		harness.Elsewhere:  harness.ElsewhereZone,
		web:                harness.HostedZone,
	}
	var names []string
	for domain := range domains {
		names = append(names, domain, "*."+domain)
	}
	everyClient(t, keys(domains), func(t *testing.T, w *harness.World, start func(...harness.Env) *harness.Caddy) {
		for domain, zone := range domains {
			if domain != web && domain != harness.Elsewhere { // which the world hosts
				w.Resolver.Host(t, zone, delegation(domain))
			}
		}
		caddy := start(sites(names...))
		caddy.WaitCertificates(names...)
		for domain := range domains {
			harness.AssertServed(t, caddy.HTTPS, domain, w.Pebble, domain)
			harness.AssertServed(t, caddy.HTTPS, "any."+domain, w.Pebble, "*."+domain)
		}
		w.AssertNoChallenge(t, harness.HostedZone, keys(domains)...)
	})
}

// The CA cannot find a challenge to which no CNAME leads, and certmagic repeats
// what the CA says. What to do is beside it, at each append.
func TestCNAMEMissingOrWrong(t *testing.T) {
	t.Parallel()
	const missing, wrong = "missing.test", "wrong.test"
	domains := []string{missing, wrong}
	everyClient(t, domains, func(t *testing.T, w *harness.World, start func(...harness.Env) *harness.Caddy) {
		w.Resolver.Host(t, missing)
		w.Resolver.Host(t, wrong, "_acme-challenge."+wrong+". 60 IN CNAME "+wrong+"."+harness.ElsewhereZone+".")
		caddy := start(sites(missing, "*."+missing, wrong, "*."+wrong))
		refused := func(e harness.Entry) bool {
			return e.Message == "will retry" && strings.Contains(e.Error, "urn:ietf:params:acme:error:unauthorized")
		}
		caddy.Accept(func(e harness.Entry) bool {
			return strings.Contains(e.Line, missing) || strings.Contains(e.Line, wrong)
		})
		if err := caddy.Log.Wait(4, harness.ObtainTimeout, refused); err != nil {
			t.Fatalf("waiting for the CA to refuse: %v", err)
		}
		for _, domain := range domains {
			told := caddy.Log.Entries(func(e harness.Entry) bool {
				return strings.Contains(e.Message, "CNAME") && e.Level == "info" &&
					strings.Contains(e.Line, fmt.Sprintf(`"name":"_acme-challenge.%s."`, domain)) &&
					strings.Contains(e.Line, fmt.Sprintf(`"target":"%s.%s."`, domain, harness.HostedZone))
			})
			appends := caddy.Log.Entries(func(e harness.Entry) bool {
				return e.Message == "creating DNS record" && strings.Contains(e.Line, `"dns_name":"_acme-challenge.`+domain+`"`)
			})
			if len(appends) != 2 || len(told) != len(appends) {
				t.Errorf("the log names the CNAME of %s %d times for %d challenges, of which there should be 2", domain, len(told), len(appends))
			}
		}
		w.WaitNoChallenge(t, harness.HostedZone, domains...)
	})
}

// The service is another process at the end of a challenge than at its
// beginning. What the first one wrote, the second one removes.
func TestCleanUpAfterRestart(t *testing.T) {
	t.Parallel()
	domains := []string{harness.Elsewhere, web}
	w := harness.NewWorld(t)
	service := harness.StartCaddy(t, harness.CaddyBinary, "rights.caddyfile", w.Env(t), certificatesFor(domains...))
	gate := w.Pebble.HoldChallenges()
	client := harness.StartCaddy(t, harness.ClientBinary, "client.caddyfile", w.Env(t), sites("*."+harness.Elsewhere, "*."+web))
	if err := waitWrites(t, w, "append", 2); err != nil {
		t.Fatal(err)
	}
	service.Stop()
	harness.StartCaddy(t, harness.CaddyBinary, "rights.caddyfile", w.Env(t), certificatesFor(domains...))
	if left := w.ChallengesLeft(t, harness.HostedZone, domains...); len(left) != 4 { // each by API and by DNS
		t.Errorf("after the restart there are the challenges %q, want one for each of %q", left, domains)
	}
	gate.Open()
	client.WaitCertificates("*."+harness.Elsewhere, "*."+web)
	w.Recorder.AssertWrites(t, map[string]int{
		"_acme-challenge." + harness.Elsewhere + ".": 1,
		"_acme-challenge." + web + ".":               1,
	})
	w.AssertNoChallenge(t, harness.HostedZone, domains...)
}

// waitWrites waits until clients have made n changes of the kind.
func waitWrites(t testing.TB, w *harness.World, kind string, n int) error {
	t.Helper()
	deadline := time.After(harness.ObtainTimeout)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		found := 0
		for _, req := range w.Recorder.Requests() {
			if k, _ := req.Kind(); k == kind {
				found++
			}
		}
		if found >= n {
			return nil
		}
		select {
		case <-tick.C:
		case <-deadline:
			return fmt.Errorf("after %s there are %d changes of the kind %s, want %d", harness.ObtainTimeout, found, kind, n)
		}
	}
}

// lego follows CNAMEs itself and names the record by their target, unless it is
// told not to; then the service places it. Both ways lead to the same record.
func TestLegoWithAndWithoutCNAMEs(t *testing.T) {
	t.Parallel()
	const missing, wrong = "missing.test", "wrong.test"
	start := func(t *testing.T) *harness.World {
		w := harness.NewWorld(t)
		w.Resolver.Host(t, missing)
		w.Resolver.Host(t, wrong, "_acme-challenge."+wrong+". 60 IN CNAME "+wrong+"."+harness.ElsewhereZone+".")
		harness.StartCaddy(t, harness.CaddyBinary, "rights.caddyfile", w.Env(t), certificatesFor(harness.Elsewhere, missing, wrong))
		return w
	}
	const byDomain, byTarget = "_acme-challenge." + harness.Elsewhere + ".", harness.Elsewhere + "." + harness.HostedZone + "."
	follow := harness.Env{"BESTDNS_PROPAGATION_TIMEOUT": "1"}
	stay := harness.Env{"BESTDNS_PROPAGATION_TIMEOUT": "1", "LEGO_DISABLE_CNAME_SUPPORT": "true"}

	for name, tt := range map[string]struct {
		env   harness.Env
		owner string
	}{
		"follows":         {follow, byTarget},
		"does not follow": {stay, byDomain},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := start(t)
			chain, log, err := w.RunLego(t, tt.env, harness.Elsewhere, "*."+harness.Elsewhere)
			if err != nil {
				t.Fatalf("%v\n%s", err, log)
			}
			harness.AssertIssued(t, chain, w.Pebble, harness.Elsewhere, "*."+harness.Elsewhere)
			w.Recorder.AssertWrites(t, map[string]int{tt.owner: 2})
			w.AssertNoChallenge(t, harness.HostedZone, harness.Elsewhere)
		})
	}

	// Without the CNAME, lego sees for itself that the record cannot be found, and
	// does not trouble the CA.
	for name, tt := range map[string]struct {
		env    harness.Env
		domain string
		want   string
	}{
		"missing, follows":         {follow, missing, "time limit exceeded"},
		"missing, does not follow": {stay, missing, "time limit exceeded"},
		"wrong, follows":           {follow, wrong, `no zone that holds "wrong.test.elsewhere.example." is hosted here`},
		"wrong, does not follow":   {stay, wrong, "time limit exceeded"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := start(t)
			_, log, err := w.RunLego(t, tt.env, tt.domain)
			if err == nil || !strings.Contains(log, tt.want) {
				t.Errorf("lego ends with %v and says\n%swhich does not hold %q", err, log, tt.want)
			}
			w.AssertNoChallenge(t, harness.HostedZone, tt.domain)
		})
	}
}

func keys(m map[string]string) []string {
	var list []string
	for key := range m {
		list = append(list, key)
	}
	slices.Sort(list)
	return list
}
