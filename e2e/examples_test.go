package e2e

import (
	"bytes"
	"crypto/x509"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddy-dns/bestdns/e2e/internal/harness"
)

// joined returns the union.
func joined(all ...map[string]string) map[string]string {
	union := make(map[string]string)
	for _, m := range all {
		maps.Copy(union, m)
	}
	return union
}

func TestExampleOneServer(t *testing.T) {
	t.Parallel()
	w := harness.NewWorld(t)
	dir := copyExample(t, w, "one-server", joined(withBuiltin(w), map[string]string{
		"dns bestdns\n": "dns bestdns\n\t\tresolvers " + w.Resolver.Addr + "\n",
	}))
	caddy := harness.StartCaddy(t, harness.CaddyBinary, filepath.Join(dir, "Caddyfile"), w.Env(t))
	for _, name := range []string{"example.com", "*.example.com", "*.example.org"} {
		caddy.WaitCertificates(name)
		harness.AssertServed(t, caddy.HTTPS, strings.Replace(name, "*", "any", 1), w.Pebble, name)
	}
}

func TestExampleFleet(t *testing.T) {
	t.Parallel()
	w := harness.NewWorld(t)
	dir := copyExample(t, w, "fleet", joined(withBuiltin(w), withAPI(t, w, "dns.example.com"), map[string]string{
		"dns bestdns\n":           "dns bestdns\n\t\tresolvers " + w.Resolver.Addr + "\n",
		"https://dns.example.com": endpointOf(w) + "\n\t\tresolvers " + w.Resolver.Addr,
	}))
	service := harness.StartCaddy(t, harness.CaddyBinary, filepath.Join(dir, "bestdns.caddyfile"), w.Env(t))
	service.WaitCertificates("dns.example.com")

	host := harness.StartCaddy(t, harness.ClientBinary, filepath.Join(dir, "host.caddyfile"), w.Env(t), harness.Env{"BESTDNS_API_TOKEN": w.Token})
	host.WaitCertificates("web1.example.com", "*.web1.example.com")
	harness.AssertServed(t, host.HTTPS, "any.web1.example.com", w.Pebble, "*.web1.example.com")

	// How a host is added, as the comment says.
	cmd := exec.Command(harness.CaddyBinary, "bestdns", "token", "web2", "--certificates", "web2.example.com", "--config", "bestdns.caddyfile")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), environ(w.Env(t))...)
	cmd.Env = append(cmd.Env, "ADMIN=off", "HTTP_PORT=80", "HTTPS_PORT=443")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, want := range []string{`(?m)^\s*_acme-challenge\.web2\.example\.com\.\s.*CNAME\s+web2\.example\.com\.acme\.example\.com\.$`, `client web2 {`} {
		if !regexp.MustCompile(want).Match(out) {
			t.Errorf("the command does not say %s:\n%s", want, out)
		}
	}
}

// environ is the form that os/exec has.
func environ(env harness.Env) []string {
	var list []string
	for name, value := range env {
		list = append(list, name+"="+value)
	}
	return list
}

// One of three copies is killed each second, and neither certificates nor a client that
// never tries again notice.
func TestExampleCopies(t *testing.T) {
	t.Parallel()
	w, z := harness.NewWorld(t), newCopiesZone(t)
	replace, addrs, proxy := copiesReplacements(t, w, z, 3)
	dir := copyExample(t, w, "copies", replace)
	c := startCopies(t, w, z, dir, addrs, proxy)

	changes := 0
	obtained, done := make(chan struct{}), make(chan struct{})
	var work sync.WaitGroup
	work.Go(func() { defer close(obtained); c.obtain(t.Context(), numbered(200, "web1.example.com")) })
	work.Go(func() { changes = c.change(obtained) })
	go func() { work.Wait(); close(done) }()
	kills := c.killInTurn(done)
	t.Logf("%d records made and taken back with %d kills", changes, kills)
	if kills < 3 {
		t.Errorf("%d copies were killed, too few to learn anything", kills)
	}
	c.assertNoneLeft()
}

// Changes wait for a name server that lags while one of three copies is killed each second, so
// that each change loses its copy late, and goes on at another.
func TestExampleCopiesLag(t *testing.T) {
	t.Parallel()
	const lag = 7 * time.Second // less than a change waits by default
	w, z := harness.NewWorld(t), harness.NewZone(t, "example.com", 1, 1)
	harness.StartKnotPrimary(t, z)
	harness.StartLaggard(t, z, z.Secondaries[0], lag)
	replace, addrs, proxy := copiesReplacements(t, w, z, 3)
	dir := copyExample(t, w, "copies", replace)
	c := startCopies(t, w, z, dir, addrs, proxy)

	client := &http.Client{Timeout: 20 * time.Second}
	defer client.CloseIdleConnections()
	done := make(chan struct{})
	var work sync.WaitGroup
	for n := range 9 {
		work.Go(func() { c.changeOnce(client, n) })
	}
	go func() { work.Wait(); close(done) }()
	if kills := c.killInTurn(done); kills < 3 {
		t.Errorf("%d copies were killed, too few to learn anything", kills)
	}
	c.assertNoneLeft()
}

// With the policy for providers that read, merge and write, one copy does all of the work,
// and the next one as soon as it is gone.
func TestExampleCopiesStandBy(t *testing.T) {
	t.Parallel()
	w, z := harness.NewWorld(t), newCopiesZone(t)
	replace, addrs, proxy := copiesReplacements(t, w, z, 3)
	replace["\t\tlb_policy least_conn\n"] = "\t\tlb_policy first\n"
	dir := copyExample(t, w, "copies", replace)
	c := startCopies(t, w, z, dir, addrs, proxy)

	c.obtain(t.Context(), numbered(20, "web1.example.com"))
	c.assertWorked(0)
	c.services[0].Kill()
	c.obtain(t.Context(), numbered(20, "web2.example.com"))
	c.assertWorked(0, 1)
	c.assertNoneLeft()
}

func TestExampleCloudflare(t *testing.T) {
	t.Parallel()
	w, hosted := harness.NewWorld(t), harness.NewCloudflare(t, "example.com")
	dir := copyExample(t, w, "cloudflare", joined(withAPI(t, w, "dns.example.com"), map[string]string{
		"dns bestdns\n": "dns bestdns\n\t\tresolvers " + w.Resolver.Addr + "\n",
	}))
	w.Resolver.Delegate("example.com", hosted.DNS)
	service := harness.StartCaddy(t, harness.CaddyBinary, filepath.Join(dir, "Caddyfile"), w.Env(t), hosted.Env)
	service.WaitCertificates("dns.example.com")
	harness.AssertServed(t, service.HTTPS, "dns.example.com", w.Pebble, "dns.example.com")
	harness.AssertIssued(t, w.ObtainByLego(t, harness.LegoBinary, "web1.example.com"), w.Pebble, "web1.example.com")
	if left := hosted.Records(); len(left) != 0 {
		t.Errorf("records are left: %v", left)
	}
}

func TestExamplePrivateCA(t *testing.T) {
	t.Parallel()
	w, roots := harness.NewWorld(t), filepath.Join(t.TempDir(), "roots.pem")
	ca := harness.FreeAddr(t)
	dir := copyExample(t, w, "private-ca", joined(withBuiltin(w), withAPI(t, w, "dns.corp.example.com"), map[string]string{
		"\nca.corp.example.com {\n":    "\nlocalhost:" + harness.Port(t, ca) + " {\n",
		"udp/127.0.0.1:53":             "udp/" + w.DNS,
		"https://ca.corp.example.com":  "https://localhost:" + harness.Port(t, ca),
		"https://dns.corp.example.com": w.Recorder.URL,
		"/etc/ssl/corp-root.crt":       roots,
		"\t\tpropagation_timeout -1\n": "\t\tpropagation_timeout -1\n\t\tresolvers " + w.DNS + "\n",
	}))
	service := harness.StartCaddy(t, harness.CaddyBinary, filepath.Join(dir, "ca.caddyfile"), w.Env(t))
	own, err := os.ReadFile(filepath.Join(service.Home, "caddy", "pki", "authorities", "local", "root.crt"))
	harness.NoError(t, err)
	recorder, err := os.ReadFile(w.Recorder.TLSRoot)
	harness.NoError(t, err)
	harness.NoError(t, os.WriteFile(roots, append(own, recorder...), 0o600))

	host := harness.StartCaddy(t, harness.ClientBinary, filepath.Join(dir, "host.caddyfile"), w.Env(t), harness.Env{"BESTDNS_API_TOKEN": w.Token})
	host.WaitCertificates("*.web1.corp.example.com")
	authority := &harness.Pebble{Roots: x509.NewCertPool()}
	authority.Roots.AppendCertsFromPEM(own)
	harness.AssertServed(t, host.HTTPS, "any.web1.corp.example.com", authority, "*.web1.corp.example.com")
}

// The unit is one that systemd takes, and what it leaves open stays small: the sum
// of systemd's own points, from 0 to 100.
func TestExampleSystemd(t *testing.T) {
	t.Parallel()
	analyze := harness.Debian(t, "systemd-analyze", "systemd")
	const most = "16"
	unit, err := os.ReadFile("../examples/systemd/bestdns.service")
	harness.NoError(t, err)
	file := filepath.Join(t.TempDir(), "bestdns.service")
	harness.NoError(t, os.WriteFile(file, bytes.ReplaceAll(unit, []byte("/usr/local/bin/caddy"), []byte(harness.CaddyBinary)), 0o600))
	for _, args := range [][]string{{"verify", file}, {"security", "--no-pager", "--offline=true", "--threshold=" + most, file}} {
		out, err := exec.Command(analyze, args...).CombinedOutput()
		if err != nil || args[0] == "verify" && len(out) > 0 {
			t.Errorf("systemd-analyze %s: %v\n%s", args[0], err, out)
		}
	}
}

// Every example has a test: one of the files about examples has to name it.
func TestExamplesAreTested(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("examples_*test.go")
	harness.NoError(t, err)
	var source strings.Builder
	for _, file := range files {
		text, err := os.ReadFile(file)
		harness.NoError(t, err)
		source.Write(text)
	}
	folders, err := os.ReadDir("../examples")
	harness.NoError(t, err)
	for _, folder := range folders {
		named := regexp.MustCompile(`copyExample\(t, w, "` + folder.Name() + `"|\.copy\("` + folder.Name() + `"|\.\./examples/` + folder.Name() + `/`)
		if folder.IsDir() && !named.MatchString(source.String()) {
			t.Errorf("examples/%s has no test", folder.Name())
		}
	}
}
