package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/caddy-dns/bestdns/e2e/internal/harness"
)

// files is the same variables by name with _FILE, and without it empty.
func files(t testing.TB, env harness.Env) harness.Env {
	t.Helper()
	inFiles := make(harness.Env)
	for name, value := range env {
		file := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(file, []byte(value+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		inFiles[name], inFiles[name+"_FILE"] = "", file
	}
	return inFiles
}

// What the variables say arrives: at the service, and at lego, which logs how
// long it is going to look for the record and how often. (That the token can be
// in a file, the tests of the root package show.)
func TestLegoVariables(t *testing.T) {
	t.Parallel()
	set := func(w *harness.World) harness.Env {
		return harness.Env{
			"BESTDNS_ENDPOINT":            w.Recorder.PlainURL,
			"BESTDNS_TTL":                 "7",
			"BESTDNS_PROPAGATION_TIMEOUT": "3",
			"BESTDNS_POLLING_INTERVAL":    "1",
			"BESTDNS_HTTP_TIMEOUT":        "20",
		}
	}
	for name, tt := range map[string]struct {
		env  func(*harness.World) harness.Env
		ttl  *int64
		wait string
	}{
		"defaults":  {func(*harness.World) harness.Env { return nil }, nil, "timeout: 1m0s, interval: 100ms"},
		"variables": {set, new(int64(7)), "timeout: 3s, interval: 1s"},
		"files":     {func(w *harness.World) harness.Env { return files(t, set(w)) }, new(int64(7)), "timeout: 3s, interval: 1s"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := harness.NewWorld(t)
			harness.StartCaddy(t, harness.CaddyBinary, "rights.caddyfile", w.Env(t), certificatesFor(web))
			chain, log, err := w.RunLego(t, tt.env(w), wildcard)
			if err != nil {
				t.Fatalf("%v\n%s", err, log)
			}
			harness.AssertIssued(t, chain, w.Pebble, wildcard)
			w.AssertNoChallenge(t, harness.HostedZone, web)
			if !strings.Contains(log, tt.wait) {
				t.Errorf("lego's log does not say %q:\n%s", tt.wait, log)
			}
			for _, req := range w.Recorder.Requests() {
				switch kind, recs := req.Kind(); {
				case kind == "append" && !cmp.Equal(recs[0].TTL, tt.ttl):
					t.Errorf("the TTL of an append (-want +got):\n%s", cmp.Diff(tt.ttl, recs[0].TTL))
				case kind == "delete" && recs[0].TTL != nil:
					t.Errorf("a delete has a TTL, of %d: it would miss a record that was there with another one", *recs[0].TTL)
				}
			}
		})
	}
}

// The service does as it is asked, but its answers do not arrive. lego gives up
// after the time that it was given, and leaves nothing behind.
func TestLegoHTTPTimeout(t *testing.T) {
	t.Parallel()
	w := harness.NewWorld(t)
	harness.StartCaddy(t, harness.CaddyBinary, "rights.caddyfile", w.Env(t), certificatesFor(web))
	over := make(chan struct{})
	t.Cleanup(func() { close(over) })
	w.Recorder.OnAnswer(func(harness.Request) { <-over })
	start := time.Now()
	_, log, err := w.RunLego(t, harness.Env{"BESTDNS_HTTP_TIMEOUT": "1"}, wildcard)
	const want = "before the call's end: context deadline exceeded"
	if err == nil || !strings.Contains(log, want) {
		t.Errorf("lego ends with %v and says\n%swhich does not hold %q", err, log, want)
	}
	// One second for the append and one for the delete that follows.
	if took := time.Since(start); took < 2*time.Second || took > 6*time.Second {
		t.Errorf("it took %s", took)
	}
	w.WaitNoChallenge(t, harness.HostedZone, web)
}

func TestLegoManyDomainsInOneOrder(t *testing.T) {
	t.Parallel()
	const number = 20
	domains := []string{harness.Elsewhere, "*." + harness.Elsewhere}
	want := map[string]int{harness.Elsewhere + "." + harness.HostedZone + ".": 2}
	for i := range number {
		domain := fmt.Sprintf("n%d.many.%s", i, harness.HostedZone)
		domains = append(domains, domain)
		want["_acme-challenge."+domain+"."] = 1
	}
	w := harness.NewWorld(t)
	harness.StartCaddy(t, harness.CaddyBinary, "service.caddyfile", w.Env(t))
	chain, log, err := w.RunLego(t, nil, domains...)
	if err != nil {
		t.Fatalf("%v\n%s", err, log)
	}
	harness.AssertIssued(t, chain, w.Pebble, domains...)
	w.Recorder.AssertWrites(t, want)
	w.AssertNoChallenge(t, harness.HostedZone, domains[1:]...)
}

// An operator who configured the wrong token for a host sees what that token is for.
func TestLegoTokenThatMayNot(t *testing.T) {
	t.Parallel()
	w := harness.NewWorld(t)
	harness.StartCaddy(t, harness.CaddyBinary, "rights.caddyfile", w.Env(t), certificatesFor(web, harness.Elsewhere))
	for domain, want := range map[string]string{
		"other." + harness.HostedZone: `bestdns: appending "@" TXT to zone "_acme-challenge.other.hosted.example.": ` +
			`client "web" may not append this TXT record at "_acme-challenge.other.hosted.example." in zone "hosted.example."; ` +
			`it may: certificates web.hosted.example; certificates www.elsewhere.example`,
		"other.test": `bestdns: appending "@" TXT to zone "_acme-challenge.other.test.": ` +
			`no zone that holds "_acme-challenge.other.test." is hosted here, or this token has no right in it`,
	} {
		_, log, err := w.RunLego(t, nil, domain)
		if err == nil || !strings.Contains(log, want) {
			t.Errorf("lego ends with %v and says\n%swhich does not hold %q", err, log, want)
		}
	}
	w.AssertNoChallenge(t, harness.HostedZone, "other."+harness.HostedZone)
}
