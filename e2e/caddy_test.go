package e2e

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"

	"github.com/caddy-dns/bestdns/e2e/internal/harness"
)

const (
	web      = "web." + harness.HostedZone
	wildcard = "*." + web
)

// sites is the variable of the Caddyfiles for the names that are to be served.
func sites(names ...string) harness.Env { return harness.Env{"SITES": strings.Join(names, ", ")} }

func TestCaddyObtainsByAPI(t *testing.T) {
	t.Parallel()
	w := harness.NewWorld(t)
	harness.StartCaddy(t, harness.CaddyBinary, "service.caddyfile", w.Env(t))
	client := harness.StartCaddy(t, harness.ClientBinary, "client.caddyfile", w.Env(t), sites(web, wildcard))
	client.WaitCertificates(web, wildcard)

	harness.AssertServed(t, client.HTTPS, web, w.Pebble, web)
	harness.AssertServed(t, client.HTTPS, "any."+web, w.Pebble, wildcard)
	w.Recorder.AssertWrites(t, map[string]int{"_acme-challenge." + web + ".": 2})
	w.AssertNoChallenge(t, harness.HostedZone, web)
}

func TestCaddyObtainsInProcess(t *testing.T) {
	t.Parallel()
	for name, timeout := range map[string]string{
		"without propagation check":          "-1",
		"with certmagic's propagation check": "30s",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := harness.NewWorld(t)
			caddy := harness.StartCaddy(t, harness.CaddyBinary, "inprocess.caddyfile", w.Env(t), sites(web, wildcard),
				harness.Env{"PROPAGATION_TIMEOUT": timeout})
			caddy.WaitCertificates(web, wildcard)

			harness.AssertServed(t, caddy.HTTPS, web, w.Pebble, web)
			harness.AssertServed(t, caddy.HTTPS, "any."+web, w.Pebble, wildcard)
			w.AssertNoChallenge(t, harness.HostedZone, web)
		})
	}
}

// certmagic itself lets ten certificates per ten seconds through.
func TestCaddyObtainsTwentyNamesAtOnce(t *testing.T) {
	t.Parallel()
	var names []string
	want := make(map[string]int)
	for i := range 20 {
		name := fmt.Sprintf("n%d.many.%s", i, harness.HostedZone)
		names = append(names, name)
		want["_acme-challenge."+name+"."] = 1
	}
	w := harness.NewWorld(t)
	harness.StartCaddy(t, harness.CaddyBinary, "service.caddyfile", w.Env(t))
	client := harness.StartCaddy(t, harness.ClientBinary, "client.caddyfile", w.Env(t), sites(names...))
	client.WaitCertificates(names...)

	for _, name := range names {
		harness.AssertServed(t, client.HTTPS, name, w.Pebble, name)
	}
	w.Recorder.AssertWrites(t, want)
	w.AssertNoChallenge(t, harness.HostedZone, names...)
}

// The answer to an append goes out when DNS serves the record, and the answer to
// a delete when it no longer does. It shows too that the tests see a challenge
// that is left, where they say that none is.
func TestAnswerComesWhenDNSServesTheChange(t *testing.T) {
	t.Parallel()
	w := harness.NewWorld(t)
	harness.StartCaddy(t, harness.CaddyBinary, "service.caddyfile", w.Env(t))

	var mu sync.Mutex
	got := make(map[string][]int)
	w.Recorder.OnAnswer(func(req harness.Request) {
		kind, _ := req.Kind()
		inAPI := 0
		for _, r := range w.Records(t, harness.HostedZone) {
			if r.Type == "TXT" {
				inAPI++
			}
		}
		inDNS := len(w.Resolver.Query(t, "_acme-challenge."+web, dns.TypeTXT))
		mu.Lock()
		defer mu.Unlock()
		got[kind] = append(got[kind], inAPI, inDNS)
	})
	config := w.NewCertmagic(t)
	if err := config.ObtainCertSync(t.Context(), wildcard); err != nil {
		t.Fatal(err)
	}

	mu.Lock()
	defer mu.Unlock()
	want := map[string][]int{"append": {1, 1}, "delete": {0, 0}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("records in the zone and in DNS when the answer comes (-want +got):\n%s", diff)
	}
}
