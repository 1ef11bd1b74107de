package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/caddy-dns/bestdns/e2e/internal/harness"
)

// This file runs the examples in which the zone is on name servers of others, with all of
// them, behind a resolver that walks down from the root.

// recipe is a world for such an example: example.com is delegated to the two name servers
// that the example names, each at port 53 of an address of its own.
type recipe struct {
	*harness.World
	t   testing.TB
	dir string // the copy of the example
	// net53 is the beginning of the addresses. The example's 192.0.2.1 is net53.1 here.
	net53 string
	// zone has the key that the example shows.
	zone harness.Zone
	// edits are more texts of the copy, and what they are replaced by. NET53 in them is net53.
	edits   map[string]string
	servers []*harness.Process
	service *harness.Caddy
}

// The secrets of the examples' keys.
const (
	exampleSecret          = "hyeEJuA0GRt8Yg+OqIDsE0NAzB/mIJJDPQlGgLuQ+wk="
	exampleSecondarySecret = "0ulkRXUzJDwoR4cBvOKDBudBqOAHX0DPgRSmCOH9WyA="
)

// newRecipe makes the world, in which no name server of the zone runs yet. ns1 is the example's
// 192.0.2.1, or another one that is given by its last number, and ns2 is the next.
func newRecipe(t testing.TB, ns1 int) *recipe {
	t.Helper()
	r := &recipe{World: harness.NewWorld(t), t: t, net53: harness.NewLoopbackNet(t)}
	r.zone = harness.Zone{Name: "example.com", Key: harness.Key{Name: "bestdns", Secret: exampleSecret}}
	for i := range 2 {
		r.zone.Primaries = append(r.zone.Primaries, fmt.Sprintf("%s.%d:53", r.net53, ns1+i))
	}
	root := r.net53 + ".53"
	above := make(harness.Authority)
	above.Host(t, ".", ". 3600 NS root.invalid.", "root.invalid. 3600 A "+root, "com. 3600 NS ns.com.", "ns.com. 3600 A "+root)
	above.Host(t, "com", append(r.zone.Delegation(), "com. 3600 NS ns.com.", "ns.com. 3600 A "+root)...)
	above.Serve(t, root+":53")
	r.Resolver.Addr = harness.Caches[0].Start(t, root, "", "com")
	r.Pebble = harness.NewPebble(t, r.Resolver.Addr)
	return r
}

// copy makes the copy of an example, with more texts replaced than each
// of these examples needs to have replaced.
func (r *recipe) copy(name string, replace map[string]string) {
	r.t.Helper()
	r.dir = copyExample(r.t, r.World, name, joined(withAPI(r.t, r.World, "dns.example.com"), map[string]string{
		"dns bestdns\n":                 "dns bestdns\n\t\tresolvers {$RESOLVER}\n",
		"certificates web1.example.com": "certificates under example.com",
	}, replace))
	for old, new := range r.edits {
		r.edit(strings.ReplaceAll(old, "NET53", r.net53), strings.ReplaceAll(new, "NET53", r.net53))
	}
}

// edit replaces a text in all files of the copy, of which one has to have it.
func (r *recipe) edit(old, new string) {
	r.t.Helper()
	files, err := os.ReadDir(r.dir)
	harness.NoError(r.t, err)
	found := false
	for _, file := range files {
		text, err := os.ReadFile(r.file(file.Name()))
		harness.NoError(r.t, err)
		edited := strings.ReplaceAll(string(text), old, new)
		found = found || edited != string(text)
		harness.NoError(r.t, os.WriteFile(r.file(file.Name()), []byte(edited), 0o600))
	}
	if !found {
		r.t.Fatalf("no file of the example says %q", old)
	}
}

// file returns the path of a file of the copy.
func (r *recipe) file(name string) string { return filepath.Join(r.dir, name) }

// startService runs the example's Caddyfile.
func (r *recipe) startService(env harness.Env) {
	r.t.Helper()
	r.service = harness.StartCaddy(r.t, harness.CaddyBinary, r.file("Caddyfile"), r.Env(r.t), env)
}

// obtain has the service obtain its own certificate, and clients obtain theirs.
func (r *recipe) obtain(n int) {
	r.t.Helper()
	r.service.WaitCertificates("dns.example.com")
	harness.AssertServed(r.t, r.service.HTTPS, "dns.example.com", r.Pebble, "dns.example.com")
	obtainAtFirstTry(r.t.Context(), r.t, r.World, "http://"+r.API, numbered(n, "web1.example.com"))
}

// assertNoneLeft waits until there is no challenge in the zone at a server, as Caddy takes
// away its own after it has the certificate.
func (r *recipe) assertNoneLeft(server string) {
	r.t.Helper()
	deadline := time.After(10 * time.Second)
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		left := slices.DeleteFunc(r.zone.Transfer(r.t, server), func(rr dns.RR) bool { return rr.Header().Rrtype != dns.TypeTXT })
		if len(left) == 0 {
			return
		}
		select {
		case <-tick.C:
		case <-deadline:
			r.t.Errorf("records are left: %v", left)
			return
		}
	}
}

// assertClosed fails the test if a server takes an update, or lets the zone be transferred,
// without a key.
func (r *recipe) assertClosed() {
	r.t.Helper()
	update, transfer := new(dns.Msg).SetUpdate(dns.Fqdn(r.zone.Name)), new(dns.Msg).SetAxfr(dns.Fqdn(r.zone.Name))
	update.Insert([]dns.RR{harness.Must(dns.NewRR("stranger.example.com. 60 IN TXT x"))(r.t)})
	client := &dns.Client{Net: "tcp", Timeout: harness.ExchangeTimeout}
	for _, server := range r.zone.Primaries {
		for _, m := range []*dns.Msg{update, transfer} {
			answer, _, err := client.Exchange(m, server)
			if err != nil || answer.Rcode == dns.RcodeSuccess {
				r.t.Errorf("%s answers without a key: %v, %v", server, answer, err)
			}
		}
	}
}

// startKnotExample runs both Knots of examples/knot.
func (r *recipe) startKnotExample() {
	r.t.Helper()
	rundirs := []string{r.t.TempDir(), r.t.TempDir()}
	folders := func(i int) string { return strings.ReplaceAll(knotFolders, "DIR", rundirs[i]) }
	r.copy("knot", map[string]string{
		"zone example.com {\n":                     "zone example.com {\n\t\t\tresolvers {$RESOLVER}\n",
		"ns1  A    192.0.2.1":                      "ns1 A " + r.net53 + ".1",
		"ns2  A    192.0.2.2":                      "ns2 A " + r.net53 + ".2",
		"listen: [ 127.0.0.1@53, 192.0.2.1@53 ]\n": "listen: " + r.net53 + ".1@53\n" + folders(0),
		"listen: 192.0.2.2@53\n":                   "listen: " + r.net53 + ".2@53\n" + folders(1),
		"address: 192.0.2.1@53":                    "address: " + r.net53 + ".1@53",
		"address: 192.0.2.2@53":                    "address: " + r.net53 + ".2@53",
		"[ 192.0.2.1 ]":                            "[ 127.0.0.1 ]",
		"primary 127.0.0.1:53 {":                   "primary " + r.net53 + ".1:53 {",
		"notify 192.0.2.2\n":                       "notify " + r.net53 + ".2\n",
	})
	moveFile(r.t, r.file("example.com.zone"), rundirs[0])
	r.servers = append(r.servers,
		harness.StartServer(r.t, r.zone.Primaries[0], r.zone.Name, r.dir, "knot", "knotd", "-c", r.file("knot.conf")),
		harness.StartServer(r.t, r.zone.Primaries[1], r.zone.Name, r.dir, "knot", "knotd", "-c", r.file("secondary.conf")),
	)
}

// knotFolders are settings with which Knot runs beside others.
const knotFolders = `
    rundir: "DIR"

database:
    storage: "DIR"

template:
  - id: default
    storage: "DIR"
`

// startBINDExample runs BIND and NSD of examples/bind.
func (r *recipe) startBINDExample() {
	r.t.Helper()
	bind, nsd, listen := r.t.TempDir(), r.t.TempDir(), harness.FreeAddr(r.t)
	// BIND listens only at addresses that an interface has.
	harness.Relay(r.t, r.zone.Primaries[0], listen)
	r.copy("bind", map[string]string{
		"zone example.com {\n":                         "zone example.com {\n\t\t\tresolvers {$RESOLVER}\n",
		"ns1  A    192.0.2.1":                          "ns1 A " + r.net53 + ".1",
		"ns2  A    192.0.2.2":                          "ns2 A " + r.net53 + ".2",
		"options {\n":                                  "controls { };\noptions {\n\tpid-file none;\n\tsession-keyfile none;\n\tlock-file none;\n\tlisten-on-v6 { none; };\n",
		"listen-on port 53 { 127.0.0.1; 192.0.2.1; };": "listen-on port " + harness.Port(r.t, listen) + " { 127.0.0.1; };",
		`"/var/lib/bind"`:                              `"` + bind + `"`,
		"also-notify { 192.0.2.2 ":                     "also-notify { " + r.net53 + ".2 ",
		"ip-address: 192.0.2.2@53\n":                   "ip-address: " + r.net53 + ".2@53" + strings.ReplaceAll(nsdFolders, "DIR", nsd),
		"request-xfr: 192.0.2.1@53":                    "request-xfr: " + r.net53 + ".1@53",
		"allow-notify: 192.0.2.1 ":                     "allow-notify: 127.0.0.1 ",
		"primary 127.0.0.1:53 {":                       "primary " + r.net53 + ".1:53 {",
		"notify 192.0.2.2\n":                           "notify " + r.net53 + ".2\n",
	})
	moveFile(r.t, r.file("example.com.zone"), bind)
	r.servers = append(r.servers,
		harness.StartServer(r.t, listen, r.zone.Name, r.dir, "bind9", "named", "-g", "-n", "1", "-c", r.file("named.conf")),
		harness.StartServer(r.t, r.zone.Primaries[1], r.zone.Name, r.dir, "nsd", "nsd", "-d", "-c", r.file("nsd.conf")),
	)
}

// nsdFolders are settings with which NSD runs as any user, and beside others.
const nsdFolders = `
    server-count: 1
    username: ""
    chroot: ""
    database: ""
    pidfile: ""
    zonesdir: "DIR"
    xfrdfile: "DIR/xfrd.state"
    xfrdir: "DIR"
    zonelistfile: "DIR/zone.list"

remote-control:
    control-enable: no

server:
`

// startPowerDNSExample runs both PowerDNS of examples/powerdns.
func (r *recipe) startPowerDNSExample() {
	r.t.Helper()
	database := harness.StartPowerDNSDatabase(r.t)
	r.copy("powerdns", map[string]string{
		"zone example.com {\n": "zone example.com {\n\t\t\tresolvers {$RESOLVER}\n",
		"ns1  A    192.0.2.1":  "ns1 A " + r.net53 + ".1",
		"ns2  A    192.0.2.2":  "ns2 A " + r.net53 + ".2",
		"gpgsql-host=192.0.2.30\ngpgsql-dbname=pdns\ngpgsql-user=pdns\n": database + "\nsecurity-poll-suffix=\n",
		"allow-dnsupdate-from=192.0.2.10":                                "allow-dnsupdate-from=127.0.0.1",
		"primary 192.0.2.1 192.0.2.2 {":                                  "primary " + r.net53 + ".1 " + r.net53 + ".2 {",
		"pdnsutil ":                                                      "pdnsutil --config-dir=. ",
	})
	harness.Debian(r.t, "pdnsutil", "pdns-server")
	harness.RunScript(r.t, "zone.sh", r.dir, harness.Env{"POWERDNS_KEY": exampleSecret})
	for _, addr := range r.zone.Primaries {
		r.servers = append(r.servers, harness.StartServer(r.t, addr, r.zone.Name, r.dir, "pdns-server", "pdns_server",
			"--config-dir=.", "--local-address="+strings.TrimSuffix(addr, ":53"), "--socket-dir="+r.t.TempDir(),
			"--daemon=no", "--guardian=no", "--disable-syslog", "--write-pid=no"))
	}
}

func moveFile(t testing.TB, file, dir string) {
	t.Helper()
	harness.NoError(t, os.Rename(file, filepath.Join(dir, filepath.Base(file))))
}

func TestExampleKnot(t *testing.T) {
	t.Parallel()
	r := newRecipe(t, 1)
	r.startKnotExample()
	r.startService(harness.Env{"KNOT_KEY": exampleSecret})
	r.obtain(20)
	r.assertNoneLeft(r.zone.Primaries[0])
	r.assertClosed()
	// lego asks its resolver without recursion, which one that keeps nothing cannot answer.
	chain, log, err := r.RunLego(t, harness.Env{"UNCHECKED": "1"}, "web1.example.com")
	if err != nil {
		t.Fatalf("lego: %v\n%s", err, log)
	}
	harness.AssertIssued(t, chain, r.Pebble, "web1.example.com")
}

func TestExampleBIND(t *testing.T) {
	t.Parallel()
	r := newRecipe(t, 1)
	r.startBINDExample()
	r.startService(harness.Env{"BIND_KEY": exampleSecret})
	r.obtain(20)
	r.assertNoneLeft(r.zone.Primaries[0])
	r.assertClosed()
}

// One of both PowerDNS is killed each second, and certificates do not notice.
func TestExamplePowerDNS(t *testing.T) {
	t.Parallel()
	r := newRecipe(t, 1)
	r.startPowerDNSExample()
	r.startService(harness.Env{"POWERDNS_KEY": exampleSecret})
	// What a server was about to do when it was killed, its client asks for once more.
	r.service.Accept(func(e harness.Entry) bool { return e.Logger == "bestdns.audit" && e.Message == "failed" })
	r.service.WaitCertificates("dns.example.com")

	done := make(chan struct{})
	go func() {
		defer close(done)
		obtainAtFirstTry(t.Context(), t, r.World, "http://"+r.API, numbered(100, "web1.example.com"))
	}()
	kills := killInTurn(len(r.servers), done, func(i int) {
		r.servers[i].Kill()
		r.servers[i].Start()
	})
	t.Logf("%d kills", kills)
	if kills < 3 {
		t.Errorf("PowerDNS was killed %d times, too few to learn anything", kills)
	}
	r.assertNoneLeft(r.zone.Primaries[0])
	r.assertClosed()
}
