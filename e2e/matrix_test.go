package e2e

import (
	"flag"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/caddy-dns/bestdns/e2e/internal/harness"
	"github.com/caddy-dns/bestdns/internal/api"
)

// matrixWhole has all of the matrix run, and not only pairs.
var matrixWhole = flag.Bool("matrix", false, "run each combination of client, names, resolver and zone, and log the table")

// matrixWorld is one service with all zones of the matrix, and one CA behind each resolver.
// The name servers are found by walking down from a root of its own, at port 53.
type matrixWorld struct {
	root, dns, elsewhere string // addresses
	api                  string
	token                string
	sharedZones          map[string]harness.Zone // on name servers of others, by what the matrix calls them
	transferred          harness.Zone            // built in, with secondaries

	uncached *harness.Resolver
	caches   map[string]string // addresses, by name
	pebbles  map[string]*harness.Pebble
}

// Every certificate comes at the first try, whatever resolver is between the name server
// and the CA, or between everything and everything, and no record is left.
func TestMatrix(t *testing.T) {
	t.Parallel()
	cells := allCells()
	if !*matrixWhole {
		cells = pairwise(cells)
	}
	w := newMatrixWorld(t, cells)
	var (
		mu   sync.Mutex
		good = make(map[cell]bool)
	)
	t.Run("cells", func(t *testing.T) {
		for n, c := range cells {
			t.Run(c.String(), func(t *testing.T) {
				t.Parallel()
				w.run(t, c, n)
				mu.Lock()
				defer mu.Unlock()
				good[c] = !t.Failed()
			})
		}
	})
	t.Logf("%d of %d cells\n%s", countGood(good), len(cells), matrixTable(good))
}

func countGood(good map[cell]bool) (n int) {
	for _, ok := range good {
		if ok {
			n++
		}
	}
	return n
}

// matrixTable has how many zones each combination came through in, as docs/resolvers.md has it.
func matrixTable(good map[cell]bool) string {
	var b strings.Builder
	b.WriteString("| client | names |")
	for _, c := range harness.Caches {
		for _, sharing := range matrixSharing {
			fmt.Fprintf(&b, " %s, %s |", c.Name, sharing)
		}
	}
	b.WriteString("\n|---|---|" + strings.Repeat("---|", len(harness.Caches)*len(matrixSharing)) + "\n")
	for _, client := range matrixClients {
		for _, names := range matrixNames {
			fmt.Fprintf(&b, "| %s | %s |", client, names)
			for _, c := range harness.Caches {
				for _, sharing := range matrixSharing {
					first, tried := 0, 0
					for _, zone := range matrixZones {
						ok, run := good[cell{client, names, c.Name, sharing, zone}]
						if run {
							tried++
						}
						if ok {
							first++
						}
					}
					fmt.Fprintf(&b, " %d of %d |", first, tried)
				}
			}
			b.WriteByte('\n')
		}
	}
	return b.String()
}

func newMatrixWorld(t *testing.T, cells []cell) *matrixWorld {
	t.Helper()
	net53 := harness.NewLoopbackNet(t)
	w := &matrixWorld{
		root: net53 + ".1", dns: net53 + ".2", elsewhere: net53 + ".3", sharedZones: newSharedZones(net53),
		api: harness.FreeAddr(t), token: api.NewToken(),
		uncached: harness.NewResolver(t), caches: make(map[string]string), pebbles: make(map[string]*harness.Pebble),
	}
	w.transferred = newTransferredZone(w.dns, net53)
	w.delegate(t, cells)
	startSharedZones(t, w.sharedZones)
	w.startService(t, cells)
	for _, c := range harness.Caches {
		w.caches[c.Name] = c.Start(t, w.root, w.uncached.Addr, matrixBuiltin)
		w.pebbles[c.Name] = harness.NewPebble(t, w.caches[c.Name])
		w.pebbles[c.Name].AnswerLate()
	}
	return w
}

// delegate makes the root, the zones that are hosted elsewhere, and a resolver that knows
// all of it and keeps nothing.
func (w *matrixWorld) delegate(t *testing.T, cells []cell) {
	t.Helper()
	root, elsewhere := make(harness.Authority), make(harness.Authority)
	root.Host(t, ".", ". 3600 NS root.invalid.", "root.invalid. 3600 A "+w.root)
	for zone, addr := range map[string]string{
		matrixBuiltin: w.dns, matrixTarget: w.dns, matrixDelegates: w.elsewhere, matrixAliases: w.elsewhere,
	} {
		root.Host(t, ".", zone+". 3600 NS ns1."+zone+".", "ns1."+zone+". 3600 A "+addr)
		w.uncached.Delegate(zone, addr+":53")
		if addr == w.elsewhere {
			elsewhere.Host(t, zone, zone+". 3600 NS ns1."+zone+".", "ns1."+zone+". 3600 A "+addr)
		}
	}
	for _, z := range append(slices.Collect(maps.Values(w.sharedZones)), w.transferred) {
		root.Host(t, ".", z.Delegation()...)
		w.uncached.Delegate(z.Name, slices.Concat(z.Primaries, z.Secondaries)...)
	}
	for n, c := range cells {
		for _, host := range c.hosts(n) {
			switch c.zone {
			case ownZone:
				elsewhere.Host(t, matrixDelegates, "_acme-challenge."+host+". 3600 NS ns1."+matrixBuiltin+".")
				w.uncached.Delegate("_acme-challenge."+host, w.dns+":53")
			case cnameTarget:
				elsewhere.Host(t, matrixAliases, "_acme-challenge."+host+". 3600 CNAME "+c.owner(host)+".")
			default:
				continue
			}
			if c.names != bareName {
				elsewhere.Host(t, strings.SplitN(host, ".", 3)[2], host+". 60 A 192.0.2.1")
			}
		}
	}
	root.Serve(t, w.root+":53")
	elsewhere.Serve(t, w.elsewhere+":53")
}

// startService runs the service, and gives the hosts that are to have one an address.
func (w *matrixWorld) startService(t *testing.T, cells []cell) {
	t.Helper()
	var own strings.Builder
	own.WriteString(sharedZonesConfig(w.sharedZones, w.uncached.Addr))
	own.WriteString(transferredZoneConfig(w.transferred))
	for n, c := range cells {
		if c.zone == ownZone {
			for _, host := range c.hosts(n) {
				fmt.Fprintf(&own, "zone _acme-challenge.%s {\n\tns ns1.%s\n}\n", host, matrixBuiltin)
			}
		}
	}
	file := filepath.Join(t.TempDir(), "own.caddyfile")
	if err := os.WriteFile(file, []byte(own.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	harness.StartCaddy(t, harness.CaddyBinary, "matrix.caddyfile", harness.Env{
		"DNS": w.dns, "STORE": filepath.Join(t.TempDir(), "records.db"), "API_PORT": harness.Port(t, w.api),
		"TOKEN_DIGEST": harness.Digest(w.token), "OWN": file,
	})
	startTransferredZone(t, w.transferred)
	withHosts := map[string]string{matrixBuiltin: builtin, matrixTransferred: transferred}
	for of, z := range w.sharedZones {
		withHosts[z.Name] = of
	}
	for zone, of := range withHosts {
		var records []string
		for n, c := range cells {
			if c.zone != of || c.names == bareName {
				continue
			}
			for _, host := range c.hosts(n) {
				records = append(records, fmt.Sprintf(`{"name":"%s.","type":"A","data":"192.0.2.1"}`, host))
			}
		}
		for part := range slices.Chunk(records, 200) {
			w.append(t, zone, `{"append":[`+strings.Join(part, ",")+`]}`)
		}
	}
}

func (w *matrixWorld) append(t *testing.T, zone, body string) {
	t.Helper()
	req, err := http.NewRequest(http.MethodPatch, "http://"+w.api+"/v1/zones/"+zone+"/records", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+w.token)
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("appending to %s: %s", zone, resp.Status)
	}
}

// run obtains the certificates of a cell.
func (w *matrixWorld) run(t *testing.T, c cell, n int) {
	const renewal = 5 * time.Second
	resolver := w.uncached.Addr
	if c.sharing == shared {
		resolver = w.caches[c.resolver]
	}
	pebble := w.pebbles[c.resolver]
	ordered := make(map[string]int)
	for i, names := range c.orders(n) {
		if i > 0 && c.names == again {
			time.Sleep(renewal) // that is what is measured
		}
		client := matrixClient{w: w, pebble: pebble, resolver: resolver, rsa: c.names == rsaAndECDSA && i == 0, delay: c.delay()}
		client.obtain(t, c.client, names)
		for _, name := range names {
			ordered[name]++
		}
	}
	for name, want := range ordered {
		if got := pebble.Orders(name); got != want {
			t.Errorf("%d orders for %s, and %d were to be enough", got, name, want)
		}
	}
	servers := []string{w.dns + ":53"}
	switch {
	case isShared(c.zone):
		z := w.sharedZones[c.zone]
		servers = slices.Concat(z.Primaries, z.Secondaries)
	case c.zone == transferred:
		servers = append(servers, w.transferred.Secondaries...)
	}
	for _, server := range servers {
		for _, host := range c.hosts(n) {
			w.assertGone(t, server, c.owner(host))
		}
	}
}

// assertGone waits until there is no TXT record at a name, for a client that cleans up
// after it has its certificate.
func (w *matrixWorld) assertGone(t *testing.T, server, name string) {
	t.Helper()
	deadline := time.After(10 * time.Second)
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		answer, _, err := new(dns.Client).Exchange(new(dns.Msg).SetQuestion(dns.Fqdn(name), dns.TypeTXT), server)
		if err == nil && len(answer.Answer) == 0 {
			return
		}
		select {
		case <-tick.C:
		case <-deadline:
			t.Errorf("a record is left: %v, %v", answer, err)
			return
		}
	}
}
