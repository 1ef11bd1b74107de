package e2e

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddyserver/certmagic"
	"github.com/miekg/dns"

	"github.com/caddy-dns/bestdns"
	"github.com/caddy-dns/bestdns/e2e/internal/harness"
)

// copies are services of one configuration, behind the proxy of examples/copies.
type copies struct {
	t        *testing.T
	w        *harness.World
	zone     harness.Zone
	endpoint string // the proxy's
	dir      string // of the example
	env      []harness.Env
	services []*harness.Caddy
}

// newCopiesZone runs Knot with the example's zone.
func newCopiesZone(t *testing.T) harness.Zone {
	t.Helper()
	z := harness.NewZone(t, "example.com", 1, 0)
	harness.StartKnotPrimary(t, z)
	return z
}

// copiesReplacements are what the example needs to run as n copies on this machine, and
// the addresses of the API of each, and that of the proxy.
func copiesReplacements(t *testing.T, w *harness.World, z harness.Zone, n int) (replace map[string]string, addrs []string, proxy string) {
	t.Helper()
	proxy = harness.FreeAddr(t)
	replace = map[string]string{
		"\ndns.example.com {\n":         "\nhttp://" + proxy + " {\n",
		"http://:8080 {":                "http://:{$API_PORT} {",
		"trusted_proxies static 10.":    "trusted_proxies static 127.0.0.1 10.",
		"primary 10.0.0.53 {\n":         "resolvers " + w.Resolver.Addr + "\n\t\t\tprimary " + z.Primaries[0] + " {\n",
		webDigest:                       harness.Digest(w.Token),
		"certificates web1.example.com": "certificates under example.com",
	}
	for i := range n {
		addrs = append(addrs, harness.FreeAddr(t))
		replace[fmt.Sprintf("10.0.0.%d:8080", 11+i)] = addrs[i]
	}
	return replace, addrs, proxy
}

// startCopies runs what copyExample has made with these replacements.
func startCopies(t *testing.T, w *harness.World, z harness.Zone, dir string, addrs []string, proxy string) *copies {
	t.Helper()
	w.Resolver.Delegate(z.Name, z.Primaries[0])
	c := &copies{t: t, w: w, zone: z, dir: dir, endpoint: "http://" + proxy}
	for _, addr := range addrs {
		c.env = append(c.env, harness.Env{
			"KNOT_KEY": z.Key.Secret, "PRIVATE_ADDRESS": "127.0.0.1", "API_PORT": harness.Port(t, addr),
			"XDG_DATA_HOME": t.TempDir(), // it has its storage again when it is started again
		})
		c.services = append(c.services, nil)
		c.start(len(c.services) - 1)
	}
	harness.StartCaddy(t, harness.CaddyBinary, filepath.Join(dir, "proxy.caddyfile"), w.Env(t))
	return c
}

func (c *copies) start(i int) {
	c.t.Helper()
	c.services[i] = harness.StartCaddy(c.t, harness.CaddyBinary, filepath.Join(c.dir, "bestdns.caddyfile"), c.w.Env(c.t), c.env[i])
}

// killInTurn kills one copy each second and starts it again, until the work is done. It
// returns how many it has killed.
func (c *copies) killInTurn(done <-chan struct{}) (kills int) {
	c.t.Helper()
	return killInTurn(len(c.services), done, func(i int) {
		c.services[i].Kill()
		c.start(i)
	})
}

// killInTurn kills one of n servers each second and starts it again, as restart does, until the
// work is done. It returns how many it has killed.
func killInTurn(n int, done <-chan struct{}, restart func(i int)) (kills int) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			restart(kills % n)
			kills++
		case <-done:
			return kills
		}
	}
}

// obtain has certmagic obtain a certificate for each name, each of which has to come at the
// first try.
func (c *copies) obtain(ctx context.Context, names []string) {
	obtainAtFirstTry(ctx, c.t, c.w, c.endpoint, names)
}

// obtainAtFirstTry has certmagic obtain a certificate for each name through the service at an
// endpoint, some at once, and fails the test if one takes more than one order.
func obtainAtFirstTry(ctx context.Context, t testing.TB, w *harness.World, endpoint string, names []string) {
	const atOnce = 8
	issuer := w.Issuer()
	issuer.DNS01Solver = &certmagic.DNS01Solver{DNSManager: certmagic.DNSManager{
		DNSProvider:        &bestdns.Provider{Endpoint: endpoint, APIToken: w.Token},
		PropagationTimeout: -1,
		Resolvers:          []string{w.Resolver.Addr},
	}}
	config := harness.NewCertmagic(t, issuer)
	next := make(chan string, len(names))
	for _, name := range names {
		next <- name
	}
	close(next)
	var all sync.WaitGroup
	for range atOnce {
		all.Go(func() {
			for name := range next {
				if err := config.ObtainCertSync(ctx, name); err != nil {
					t.Errorf("certmagic, %s: %v", name, err)
				}
			}
		})
	}
	all.Wait()
	for _, name := range names {
		if n := w.Pebble.Orders(name); n != 1 {
			t.Errorf("%d orders for %s", n, name)
		}
	}
}

// change makes and takes back a record, again and again until the work is done, as a
// client that never tries again. It returns how often it has.
func (c *copies) change(done <-chan struct{}) (n int) {
	client := &http.Client{Timeout: 20 * time.Second}
	defer client.CloseIdleConnections()
	for ; ; n++ {
		select {
		case <-done:
			return n
		default:
		}
		if !c.changeOnce(client, n) {
			return n
		}
	}
}

// changeOnce makes and takes back the record with a number, and reports whether it could.
func (c *copies) changeOnce(client *http.Client, n int) bool {
	digest := base64.RawURLEncoding.EncodeToString(make([]byte, sha256.Size)) // what a challenge's value is
	record := fmt.Sprintf(`{"name":"_acme-challenge.plain%d.example.com.","type":"TXT","data":%q}`, n, digest)
	for _, verb := range []string{"append", "delete"} {
		if err := c.patch(client, fmt.Sprintf(`{%q:[%s]}`, verb, record)); err != nil {
			c.t.Errorf("change %d, %s: %v", n, verb, err)
			return false
		}
	}
	return true
}

func (c *copies) patch(client *http.Client, body string) error {
	req, err := http.NewRequest(http.MethodPatch, c.endpoint+"/v1/zones/example.com/records", strings.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+c.w.Token)
	req.Header.Set("Content-Type", "application/json")
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK || !bytes.HasPrefix(answer, []byte(`{"records":[`)) {
		return fmt.Errorf("%s: %s", resp.Status, answer)
	}
	return nil
}

// assertWorked fails the test unless just these copies have changed records.
func (c *copies) assertWorked(want ...int) {
	c.t.Helper()
	var worked []int
	for i, service := range c.services {
		if len(service.Log.Entries(func(e harness.Entry) bool { return e.Logger == "bestdns.audit" })) > 0 {
			worked = append(worked, i)
		}
	}
	if !slices.Equal(worked, want) {
		c.t.Errorf("the copies %v have changed records, and not %v", worked, want)
	}
}

// assertNoneLeft fails the test if there is a challenge in the zone.
func (c *copies) assertNoneLeft() {
	c.t.Helper()
	for _, rr := range c.zone.Transfer(c.t, c.zone.Primaries[0]) {
		if rr.Header().Rrtype == dns.TypeTXT {
			c.t.Errorf("a record is left: %s", rr)
		}
	}
}

// numbered returns so many names of one domain.
func numbered(n int, domain string) (names []string) {
	for i := range n {
		names = append(names, fmt.Sprintf("h%d.%s", i, domain))
	}
	return names
}
