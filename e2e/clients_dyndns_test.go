package e2e

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"github.com/caddy-dns/bestdns/e2e/internal/harness"
)

// dynDNSHost is the host whose address a client of dyndns2 may set, dynDNSOther another one.
const (
	dynDNSHost  = "router.home.example"
	dynDNSOther = "other.home.example"
)

// Clients of dyndns2 set the address of a host, set another one, and are refused another host.
func TestDynDNSClients(t *testing.T) {
	t.Parallel()
	for name, set := range map[string]func(r *clientRun, host, address string) (log string, done bool){"ddclient": ddclient, "inadyn": inadyn} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newClientRun(clientRow{client: name}, 0)
			w := &clientsWorld{dns: harness.FreeAddr(t), api: harness.FreeAddr(t)}
			r.t, r.clientsWorld, r.dir = t, w, t.TempDir()
			w.service = startProtocols(t, w.dns, w.api, fmt.Sprintf("zone home.example {\n\tns ns1.home.example 127.0.0.1\n}\nclient %s {\n\ttoken %s\n\tallow %s A AAAA\n}\n",
				r.id, harness.Digest(r.token), dynDNSHost))
			for _, address := range []string{"192.0.2.10", "192.0.2.11"} {
				if log, done := set(r, dynDNSHost, address); !done {
					t.Fatalf("%s does not set %s to %s:\n%s", name, dynDNSHost, address, log)
				}
				if got := harness.Query(t, r.dns, dynDNSHost, dns.TypeA); !slices.Equal(got, []string{address}) {
					t.Errorf("%s has the addresses %q, and was to have %s", dynDNSHost, got, address)
				}
			}
			log, done := set(r, dynDNSOther, "192.0.2.12")
			if got := harness.Query(t, r.dns, dynDNSOther, dns.TypeA); done || len(got) > 0 {
				t.Errorf("%s sets %s to %q:\n%s", name, dynDNSOther, got, log)
			}
			w.service.Log.AwaitAudit(t, r.id, 1, func(l harness.AuditLine) bool {
				return l.Outcome == "refused" && l.Status == 403 && slices.Contains(l.Records, dynDNSOther+". A")
			})
		})
	}
}

func ddclient(r *clientRun, host, address string) (log string, done bool) {
	r.t.Helper()
	config := r.write("ddclient.conf", fmt.Sprintf("ssl=no\nuse=cmd, cmd='echo %s'\nprotocol=dyndns2\nserver=%s\nlogin=ddclient\npassword='%s'\n%s\n", address, r.api, r.token, host))
	cache := r.dir + "/ddclient.cache." + address // with one cache for both it would wait 30 seconds between changes
	log, err := r.exec(nil, harness.Debian(r.t, "ddclient", "ddclient"), "-file", config, "-cache", cache, "-daemon", "0", "-noquiet", "-pid", r.dir+"/ddclient.pid")
	return log, err == nil && strings.Contains(log, "SUCCESS:") && strings.Contains(log, address)
}

// inadyn runs inadyn once. It ends at once if it was refused.
func inadyn(r *clientRun, host, address string) (log string, done bool) {
	r.t.Helper()
	config := r.write("inadyn.conf", fmt.Sprintf(`
custom bestdns {
	username = inadyn
	password = %s
	ssl = false
	ddns-server = %q
	ddns-path = "/nic/update?hostname=%%h&myip=%%i"
	hostname = %s
	checkip-command = "/bin/echo %s"
}
`, r.token, r.api, host, address))
	log, err := r.exec(nil, harness.Debian(r.t, "inadyn", "inadyn"), "--once", "--foreground", "--force", "--config", config, "--cache-dir", r.dir, "--no-pidfile", "--loglevel", "info")
	return log, err == nil
}
