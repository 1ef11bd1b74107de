package e2e

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/caddy-dns/bestdns/e2e/internal/harness"
)

// firstCertificateTimeout is how long all commands may take together.
const firstCertificateTimeout = 60 * time.Second

// newcomer is someone who sets up a service, on a machine whose ports are those of the test.
type newcomer struct {
	*harness.World
	t     *testing.T
	dir   string
	admin string
	https string
}

func newNewcomer(t *testing.T) *newcomer {
	return &newcomer{harness.NewWorld(t), t, t.TempDir(), harness.FreeAddr(t), harness.FreeAddr(t)}
}

// caddy runs the program to its end.
func (n *newcomer) caddy(args ...string) string {
	n.t.Helper()
	ctx, cancel := context.WithTimeout(n.t.Context(), firstCertificateTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, harness.CaddyBinary, args...)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + n.dir, "XDG_DATA_HOME=" + n.dir, "XDG_CONFIG_HOME=" + n.dir}
	out, err := cmd.CombinedOutput()
	if err != nil {
		n.t.Fatalf("caddy %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

func (n *newcomer) file(name string) string { return filepath.Join(n.dir, name) }

// setUp runs "caddy bestdns init", and creates the records that it prints where the domain is hosted.
func (n *newcomer) setUp(parent, zone string, args ...string) {
	n.t.Helper()
	out := n.caddy(append([]string{
		"bestdns", "init", "--zone", zone, "--address", "127.0.0.1", "--listen", n.DNS, "--email", "admin@" + parent,
		"--acme-ca", n.Pebble.Directory, "--acme-ca-root", n.Pebble.TLSRoot, "--output", n.dir, "--resolver", n.Resolver.Addr,
	}, args...)...)
	printed, _, _ := strings.Cut(out, "\nLet ") // what check says comes later
	var records []string
	for _, r := range regexp.MustCompile(`(?m)^\s+(\S+\.)\s+(NS|A|CNAME)\s+(\S+)$`).FindAllStringSubmatch(printed, -1) {
		if strings.HasSuffix(r[1], "."+parent+".") {
			records = append(records, fmt.Sprintf("%s 60 IN %s %s", r[1], r[2], r[3]))
		}
	}
	if len(records) < 3 {
		n.t.Fatalf("of the records to create, %q are printed:\n%s", records, out)
	}
	n.Resolver.Host(n.t, parent, records...)
	n.Resolver.Delegate(zone, n.DNS)
	n.onThisMachine()
}

// onThisMachine gives the configuration what another one would not need: free ports, and the test's resolver.
func (n *newcomer) onThisMachine() {
	n.t.Helper()
	path := n.file("Caddyfile")
	text, err := os.ReadFile(path)
	harness.NoError(n.t, err)
	own := fmt.Sprintf(`{
	admin %s
	persist_config off
	skip_install_trust
	auto_https disable_redirects
	http_port %s
	https_port %s
	default_bind 127.0.0.1
	tls_resolvers %s
	log {
		output stderr
		format json
		level DEBUG
	}
`, n.admin, harness.Port(n.t, harness.FreeAddr(n.t)), harness.Port(n.t, n.https), n.Resolver.Addr)
	harness.NoError(n.t, os.WriteFile(path, []byte(own+strings.TrimPrefix(string(text), "{\n")), 0o644))
}

// TestFirstCertificate goes from a built program to a certificate, by what the commands print.
func TestFirstCertificate(t *testing.T) {
	t.Parallel()
	n := newNewcomer(t)
	started := time.Now()
	n.setUp("first.example", "acme.first.example", "--for", "one-server", "--domain", "first.example", "--domain", "*.first.example")
	caddy := harness.StartCaddy(t, harness.CaddyBinary, n.file("Caddyfile"))
	caddy.WaitCertificates("first.example", "*.first.example")
	if took := time.Since(started); took > firstCertificateTimeout {
		t.Errorf("the first certificate took %s", took)
	} else {
		t.Logf("the first certificates took %s", took.Round(time.Millisecond))
	}
	harness.AssertServed(t, n.https, "first.example", n.Pebble, "first.example")
	harness.AssertServed(t, n.https, "any.first.example", n.Pebble, "*.first.example")
}

// TestFirstFleet sets up a service for other hosts; its first client comes with the token from the file, and a second one is
// added while it runs, with a new token, and is taken out again.
func TestFirstFleet(t *testing.T) {
	t.Parallel()
	n := newNewcomer(t)
	n.setUp("fleet.example", "acme.fleet.example", "--for", "fleet", "--domain", "web1.fleet.example")
	caddy := harness.StartCaddy(t, harness.CaddyBinary, n.file("Caddyfile"))
	const host = "ns1.acme.fleet.example"
	caddy.WaitCertificates(host)

	environment, err := os.ReadFile(n.file("web1.env"))
	harness.NoError(t, err)
	if got := n.status(host, aTokenIn(string(environment))); got != http.StatusOK {
		t.Errorf("the first client gets %d", got)
	}
	config := []string{"--config", n.file("Caddyfile")}
	command := func(args ...string) string {
		return n.caddy(append(append([]string{"bestdns"}, args...), config...)...)
	}
	first := aTokenIn(command("token", "web2", "--certificates", "web2.fleet.example", "--write"))
	second := aTokenIn(command("rotate", "web2"))
	for _, token := range []string{first, second} {
		if got := n.status(host, token); got != http.StatusOK {
			t.Errorf("the second client gets %d", got)
		}
	}
	if out := command("clients", "--may", "append", "_acme-challenge.web2.fleet.example"); !strings.Contains(out, "web2") || strings.Contains(out, "web1") {
		t.Errorf("who may do what web2 may: %s", out)
	}
	command("rotate", "web2", "--finish")
	if got := n.status(host, first); got != http.StatusUnauthorized {
		t.Errorf("the old token gets %d", got)
	}
	command("revoke", "web2")
	if got := n.status(host, second); got != http.StatusUnauthorized {
		t.Errorf("the client that was revoked gets %d", got)
	}
}

func aTokenIn(text string) string { return regexp.MustCompile(`bestdns_[0-9A-Za-z]+`).FindString(text) }

// status is that of the answer to a client that asks who it is.
func (n *newcomer) status(host, token string) int {
	n.t.Helper()
	transport := &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: n.Pebble.Roots},
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, n.https)
		},
	}
	defer transport.CloseIdleConnections()
	request, err := http.NewRequestWithContext(n.t.Context(), http.MethodGet, "https://"+host+"/v1/token", nil)
	harness.NoError(n.t, err)
	request.Header.Set("Authorization", "Bearer "+token)
	response, err := (&http.Client{Transport: transport}).Do(request)
	harness.NoError(n.t, err)
	response.Body.Close()
	return response.StatusCode
}
