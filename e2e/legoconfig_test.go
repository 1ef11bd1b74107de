package e2e

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// runLego runs lego with one order for the domains, with variables beside those
// or in place of those that it needs, and returns the chain and what it logged.
func (w *World) runLego(t testing.TB, env Env, domains ...string) (chain []byte, log string, err error) {
	t.Helper()
	w.Pebble.AnswerLate()
	cmd := exec.CommandContext(t.Context(), legoBinary, domains...)
	cmd.Env = append(os.Environ(),
		"ACME_CA="+w.Pebble.Directory,
		"LEGO_CA_CERTIFICATES="+w.Pebble.TLSRoot,
		"RESOLVER="+w.Resolver.Addr,
		"BESTDNS_API_TOKEN="+w.Token,
		"BESTDNS_ENDPOINT="+w.Recorder.PlainURL,
	)
	for name, value := range env {
		cmd.Env = append(cmd.Env, name+"="+value)
	}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	chain, err = cmd.Output()
	assertNoToken(t, "lego's log", stderr.String())
	return chain, stderr.String(), err
}

// files is the same variables by name with _FILE, and without it empty.
func files(t testing.TB, env Env) Env {
	t.Helper()
	inFiles := make(Env)
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
	set := func(w *World) Env {
		return Env{
			"BESTDNS_ENDPOINT":            w.Recorder.PlainURL,
			"BESTDNS_TTL":                 "7",
			"BESTDNS_PROPAGATION_TIMEOUT": "3",
			"BESTDNS_POLLING_INTERVAL":    "1",
			"BESTDNS_HTTP_TIMEOUT":        "20",
		}
	}
	for name, tt := range map[string]struct {
		env  func(*World) Env
		ttl  *int64
		wait string
	}{
		"defaults":  {func(*World) Env { return nil }, nil, "timeout: 1m0s, interval: 100ms"},
		"variables": {set, new(int64(7)), "timeout: 3s, interval: 1s"},
		"files":     {func(w *World) Env { return files(t, set(w)) }, new(int64(7)), "timeout: 3s, interval: 1s"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := NewWorld(t)
			StartCaddy(t, caddyBinary, "rights.caddyfile", w.Env(t), certificatesFor(web))
			chain, log, err := w.runLego(t, tt.env(w), wildcard)
			if err != nil {
				t.Fatalf("%v\n%s", err, log)
			}
			AssertIssued(t, chain, w.Pebble, wildcard)
			w.AssertNoChallenge(t, hostedZone, web)
			if !strings.Contains(log, tt.wait) {
				t.Errorf("lego's log does not say %q:\n%s", tt.wait, log)
			}
			for _, req := range w.Recorder.Requests() {
				switch kind, recs := req.kind(); {
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
	w := NewWorld(t)
	StartCaddy(t, caddyBinary, "rights.caddyfile", w.Env(t), certificatesFor(web))
	over := make(chan struct{})
	t.Cleanup(func() { close(over) })
	w.Recorder.OnAnswer(func(Request) { <-over })
	start := time.Now()
	_, log, err := w.runLego(t, Env{"BESTDNS_HTTP_TIMEOUT": "1"}, wildcard)
	const want = "before the call's end: context deadline exceeded"
	if err == nil || !strings.Contains(log, want) {
		t.Errorf("lego ends with %v and says\n%swhich does not hold %q", err, log, want)
	}
	// One second for the append and one for the delete that follows.
	if took := time.Since(start); took < 2*time.Second || took > 6*time.Second {
		t.Errorf("it took %s", took)
	}
	w.WaitNoChallenge(t, hostedZone, web)
}

func TestLegoManyDomainsInOneOrder(t *testing.T) {
	t.Parallel()
	const number = 20
	domains := []string{elsewhere, "*." + elsewhere}
	want := map[string]int{elsewhere + "." + hostedZone + ".": 2}
	for i := range number {
		domain := fmt.Sprintf("n%d.many.%s", i, hostedZone)
		domains = append(domains, domain)
		want["_acme-challenge."+domain+"."] = 1
	}
	w := NewWorld(t)
	StartCaddy(t, caddyBinary, "service.caddyfile", w.Env(t))
	chain, log, err := w.runLego(t, nil, domains...)
	if err != nil {
		t.Fatalf("%v\n%s", err, log)
	}
	AssertIssued(t, chain, w.Pebble, domains...)
	w.Recorder.AssertWrites(t, want)
	w.AssertNoChallenge(t, hostedZone, domains[1:]...)
}

// Whoever configured the wrong token for a host sees what that token is for.
func TestLegoTokenThatMayNot(t *testing.T) {
	t.Parallel()
	w := NewWorld(t)
	StartCaddy(t, caddyBinary, "rights.caddyfile", w.Env(t), certificatesFor(web, elsewhere))
	for domain, want := range map[string]string{
		"other." + hostedZone: `bestdns: appending "@" TXT to zone "_acme-challenge.other.hosted.example.": ` +
			`client "web" may not append this TXT record at "_acme-challenge.other.hosted.example." in zone "hosted.example."; ` +
			`it may: certificates web.hosted.example; certificates www.elsewhere.example`,
		"other.test": `bestdns: appending "@" TXT to zone "_acme-challenge.other.test.": ` +
			`no zone that holds "_acme-challenge.other.test." is hosted here, or this token has no right in it`,
	} {
		_, log, err := w.runLego(t, nil, domain)
		if err == nil || !strings.Contains(log, want) {
			t.Errorf("lego ends with %v and says\n%swhich does not hold %q", err, log, want)
		}
	}
	w.AssertNoChallenge(t, hostedZone, "other."+hostedZone)
}
