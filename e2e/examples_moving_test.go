package e2e

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyserver/certmagic"
	"github.com/miekg/dns"

	"github.com/caddy-dns/bestdns"
	"github.com/caddy-dns/bestdns/e2e/internal/harness"
)

// This file moves a zone from the built-in name server to Knot and back, as docs/scale.md
// says, while certificates are obtained and records are asked for.

// movingTTL is that of NS records, above and in the zone.
const movingTTL = time.Second

// moving is a zone on the move.
type moving struct {
	*recipe
	parent atomic.Pointer[harness.Authority]
	// asked are the hosts of the name servers that resolvers may ask.
	mu    sync.Mutex
	asked []int

	env      harness.Env
	httpPort string
	walks    bool // the resolver is the one that walks down from the root

	certificates, answers atomic.Int64
	obtained              chan struct{} // has room for one: there are more certificates
}

// delegate has the zone above name these servers, and those before until the TTL is over.
func (m *moving) delegate(hosts ...int) {
	m.t.Helper()
	above := make(harness.Authority)
	root := m.net53 + ".53"
	above.Host(m.t, ".", ". 3600 NS root.invalid.", "root.invalid. 3600 A "+root)
	for _, host := range hosts {
		above.Host(m.t, ".", fmt.Sprintf("example.com. %d NS ns%d.example.com.", int(movingTTL.Seconds()), host),
			fmt.Sprintf("ns%d.example.com. %d A %s.%d", host, int(movingTTL.Seconds()), m.net53, host))
	}
	m.parent.Store(&above)
	m.setAsked(append(hosts, m.hosts()...)...)
	if m.walks {
		harness.Eventually(m.t, 10*movingTTL, fmt.Sprintf("the resolver asks %v alone", hosts), func() bool { return m.resolved() == fmt.Sprint(hosts) })
	}
	m.setAsked(hosts...)
}

// resolved returns the hosts of the name servers that the resolver knows.
func (m *moving) resolved() string {
	answer, _, err := new(dns.Client).Exchange(new(dns.Msg).SetQuestion("example.com.", dns.TypeNS), m.Resolver.Addr)
	if err != nil {
		return err.Error()
	}
	var hosts []int
	for _, rr := range answer.Answer {
		var host int
		if ns, ok := rr.(*dns.NS); ok {
			_, _ = fmt.Sscanf(ns.Ns, "ns%d.example.com.", &host) // 0 is no host's
			hosts = append(hosts, host)
		}
	}
	slices.Sort(hosts)
	return fmt.Sprint(hosts)
}

func (m *moving) setAsked(hosts ...int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.asked = hosts
}

func (m *moving) hosts() []int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.asked)
}

// ServeDNS answers as the zone above does at that time.
func (m *moving) ServeDNS(w dns.ResponseWriter, query *dns.Msg) { m.parent.Load().ServeDNS(w, query) }

// newMoving runs BestDNS alone, and a resolver and a CA that find it.
func newMoving(t *testing.T) *moving {
	t.Helper()
	w := harness.NewWorld(t)
	m := &moving{recipe: &recipe{World: w, t: t, net53: harness.NewLoopbackNet(t)}, obtained: make(chan struct{}, 1)}
	for _, program := range [][2]string{{"dig", "bind9-dnsutils"}, {"knotc", "knot"}} {
		harness.Debian(t, program[0], program[1])
	}
	knot, peer := t.TempDir(), t.TempDir()
	host := func(n int) string { return fmt.Sprintf("%s.%d", m.net53, n) }
	m.dir = copyExample(t, w, "to-knot", map[string]string{
		"listen: 192.0.2.2@53\n":         "listen: " + host(2) + "@53\n" + strings.ReplaceAll(knotFolders, "DIR", knot),
		"listen: 192.0.2.3@53\n":         "listen: " + host(3) + "@53\n" + strings.ReplaceAll(knotFolders, "DIR", peer),
		`ssh "root@$knot" `:              "knotconf=knot.conf; sh -c ",
		`ssh "root@$peer" `:              "knotconf=peer.conf; sh -c ",
		"knotc ":                         "knotc -c $knotconf ",
		"/etc/knot/":                     "",
		"/var/lib/knot/":                 knot + "/",
		"192.0.2.1@53":                   host(1) + "@53",
		"192.0.2.2@53\n    key":          host(2) + "@53\n    key",
		"192.0.2.3@53\n    key":          host(3) + "@53\n    key",
		"=192.0.2.":                      "=" + m.net53 + ".",
		"listen 192.0.2.1:53\n":          "listen " + host(1) + ":53\n\t\tstore " + w.Store + "\n",
		"ttl 1m\n":                       fmt.Sprintf("ttl %s\n", movingTTL),
		".example.com 192.0.2.":          ".example.com " + m.net53 + ".",
		"transfer 192.0.2.2 192.0.2.3 {": "transfer " + host(2) + " " + host(3) + " {",
		"primary 192.0.2.2 {":            "resolvers {$RESOLVER}\n\t\t\tprimary " + host(2) + " {",
		"notify 192.0.2.3 {":             "notify " + host(3) + " {",
		"dns.example.com {\n\ttls {\n\t\tdns bestdns\n\t\tpropagation_timeout -1\n\t}\n": "http://127.0.0.1:" + harness.Port(t, w.API) + " {\n",
		"certificates web1.example.com": "certificates under example.com",
		webDigest:                       harness.Digest(w.Token),
	})
	for file, addr := range map[string]string{"knot.conf": host(2), "peer.conf": host(3)} {
		m.editFile(file, "address: "+host(1)+"@53\n", "address: "+host(1)+"@53\n    via: "+addr+"\n")
	}
	harness.NoError(t, os.WriteFile(m.file("www.zone"), []byte("www.example.com. 60 IN A 192.0.2.80\n"), 0o600))
	harness.NoError(t, os.Mkdir(m.file("bin"), 0o700))
	harness.NoError(t, os.Symlink(harness.CaddyBinary, m.file("bin/caddy")))
	return m
}

// editFile replaces a text in one file of the copy, which has to have it.
func (m *moving) editFile(name, old, new string) {
	m.t.Helper()
	text, err := os.ReadFile(m.file(name))
	harness.NoError(m.t, err)
	if !strings.Contains(string(text), old) {
		m.t.Fatalf("%s does not say %q", name, old)
	}
	harness.NoError(m.t, os.WriteFile(m.file(name), []byte(strings.ReplaceAll(string(text), old, new)), 0o600))
}

// start runs what there is at first.
func (m *moving) start() {
	m.t.Helper()
	m.setAsked(1)
	root := m.net53 + ".53:53"
	tcp, err := net.Listen("tcp", root)
	harness.NoError(m.t, err)
	udp, err := net.ListenPacket("udp", root)
	harness.NoError(m.t, err)
	m.parent.Store(new(harness.Authority))
	harness.ServeDNS(m.t, &dns.Server{Listener: tcp, Handler: m}, &dns.Server{PacketConn: udp, Handler: m})
	m.httpPort = harness.Port(m.t, harness.FreeAddr(m.t))
	m.env = harness.Env{"TRANSFER_KEY": exampleSecondarySecret, "KNOT_KEY": exampleSecret}
	m.service = harness.StartCaddy(m.t, harness.CaddyBinary, m.file("1-one-server.caddyfile"), m.Env(m.t), m.env)
	m.delegate(1)
	m.Resolver.Addr, m.walks = harness.Caches[0].Start(m.t, m.net53+".53", "", "example.com"), true
	m.Pebble = harness.NewPebble(m.t, m.Resolver.Addr)
}

// reload has BestDNS take another of the example's configurations.
func (m *moving) reload(file string) {
	m.t.Helper()
	m.script("caddy reload --force --config " + file)
}

// script runs what an operator types, or one of the example's scripts.
func (m *moving) script(text string) {
	m.t.Helper()
	harness.NoError(m.t, os.WriteFile(m.file("typed.sh"), []byte(text+"\n"), 0o600))
	began := time.Now()
	harness.RunScript(m.t, "typed.sh", m.dir, m.scriptEnv())
	m.t.Logf("%s: %s", text, time.Since(began).Round(time.Millisecond))
}

// scriptEnv is the environment of the operator's shell.
func (m *moving) scriptEnv() harness.Env {
	m.t.Helper()
	return joined(m.Env(m.t), m.env, map[string]string{
		"PATH": m.file("bin") + ":/usr/sbin:" + os.Getenv("PATH"), "HOME": m.t.TempDir(), "ADMIN": m.service.Admin,
		"HTTP_PORT": m.httpPort, "HTTPS_PORT": harness.Port(m.t, m.service.HTTPS),
	})
}

// startKnot runs Knot and its peer.
func (m *moving) startKnot() {
	m.t.Helper()
	for i, config := range []string{"knot.conf", "peer.conf"} {
		addr := fmt.Sprintf("%s.%d:53", m.net53, 2+i)
		m.servers = append(m.servers, harness.StartServer(m.t, addr, "example.com", m.dir, "knot", "knotd", "-c", m.file(config)))
	}
}

// obtainUntil has certificates obtained until the context ends, each of which has to come at
// the first try.
func (m *moving) obtainUntil(ctx context.Context, worker int) {
	issuer := m.Issuer()
	issuer.DNS01Solver = &certmagic.DNS01Solver{DNSManager: certmagic.DNSManager{
		DNSProvider:        &bestdns.Provider{Endpoint: "http://" + m.API, APIToken: m.Token},
		PropagationTimeout: -1,
		Resolvers:          []string{m.Resolver.Addr},
	}}
	config := harness.NewCertmagic(m.t, issuer)
	for n := 0; ctx.Err() == nil; n++ {
		name := fmt.Sprintf("h%d.worker%d.example.com", n, worker)
		if err := config.ObtainCertSync(context.WithoutCancel(ctx), name); err != nil {
			m.t.Errorf("%s: %v", name, err)
			return
		}
		if orders := m.Pebble.Orders(name); orders != 1 {
			m.t.Errorf("%d orders for %s", orders, name)
		}
		m.certificates.Add(1)
		select {
		case m.obtained <- struct{}{}:
		default:
		}
	}
}

// askUntil asks each server that resolvers may ask for a record that is always there, until
// the context ends.
func (m *moving) askUntil(ctx context.Context) {
	client := &dns.Client{Timeout: harness.ExchangeTimeout}
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for ctx.Err() == nil {
		for _, host := range m.hosts() {
			server := fmt.Sprintf("%s.%d:53", m.net53, host)
			answer, _, err := client.Exchange(new(dns.Msg).SetQuestion("www.example.com.", dns.TypeA), server)
			if err != nil || !answer.Authoritative || len(answer.Answer) != 1 || !strings.HasSuffix(answer.Answer[0].String(), "\t192.0.2.80") {
				m.t.Errorf("%s: %v, %v", server, answer, err)
			}
			m.answers.Add(1)
		}
		<-tick.C
	}
}

// waitCertificates waits until so many more were obtained.
func (m *moving) waitCertificates(n int64) {
	m.t.Helper()
	want, deadline := m.certificates.Load()+n, time.After(harness.ObtainTimeout)
	for m.certificates.Load() < want {
		select {
		case <-m.obtained:
		case <-deadline:
			m.t.Fatalf("%d certificates were obtained, want %d", m.certificates.Load(), want)
		}
	}
}

func TestExampleToKnot(t *testing.T) {
	t.Parallel()
	m := newMoving(t)
	m.start()
	m.script("caddy bestdns import example.com www.zone --config 1-one-server.caddyfile")

	ctx, end := context.WithCancel(t.Context())
	var load sync.WaitGroup
	for worker := range 3 {
		load.Go(func() { m.obtainUntil(ctx, worker) })
	}
	load.Go(func() { m.askUntil(ctx) })
	defer load.Wait()
	defer end()

	m.waitCertificates(5)
	m.reload("2-secondaries.caddyfile")
	m.startKnot()
	m.waitCertificates(5)
	m.reload("3-three-servers.caddyfile")
	m.delegate(1, 2, 3)
	m.reload("4-hidden.caddyfile")
	m.delegate(2, 3)
	m.waitCertificates(5)
	m.script("sh to-knot.sh")
	m.waitCertificates(20)

	m.script("sh back.sh")
	m.waitCertificates(20)
	m.reload("3-three-servers.caddyfile")
	m.delegate(1, 2, 3)
	m.reload("2-secondaries.caddyfile")
	m.delegate(1)
	m.reload("1-one-server.caddyfile")
	for _, server := range m.servers {
		server.Kill()
	}
	m.waitCertificates(5)
	end()
	load.Wait()
	t.Logf("%d certificates, %d answers", m.certificates.Load(), m.answers.Load())
	m.waitExportedWithout("TXT")
}

// Where Knot or its peer does not have the zone, the scripts change nothing, and the API is
// open after them.
func TestExampleToKnotNotReady(t *testing.T) {
	t.Parallel()
	m := newMoving(t)
	m.start()
	m.reload("4-hidden.caddyfile")
	m.startKnot()
	assertFails := func(script string) {
		t.Helper()
		out, err := harness.TryScript(script, m.dir, m.scriptEnv())
		if err == nil || !strings.Contains(string(out), "nothing was changed") {
			t.Errorf("%s: %v\n%s", script, err, out)
		}
		resp, err := http.Get("http://" + m.API + "/v1/health")
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			t.Errorf("after %s, the API answers %s", script, resp.Status)
		}
	}
	m.servers[1].Kill()
	assertFails("to-knot.sh")
	// It answers, but does not get changes any more.
	m.editFile("peer.conf", "address: ", "address: 127.0.0.9 # ")
	m.servers[1].Start()
	m.script("caddy bestdns import example.com www.zone --config 4-hidden.caddyfile")
	assertFails("to-knot.sh")
	m.servers[0].Kill()
	assertFails("back.sh")
}
