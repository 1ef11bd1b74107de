package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/caddy-dns/bestdns/e2e/internal/harness"
)

// startSecondariesExample runs BestDNS, Knot and NSD of examples/secondaries. The site of
// BestDNS comes last: it needs a certificate, and that the secondaries.
func (r *recipe) startSecondariesExample() {
	r.t.Helper()
	knot, nsd := r.t.TempDir(), r.t.TempDir()
	host := func(n int) string { return fmt.Sprintf("%s.%d", r.net53, n) }
	r.copy("secondaries", map[string]string{
		"listen: 192.0.2.2@53\n":         "listen: " + host(2) + "@53\n" + strings.ReplaceAll(knotFolders, "DIR", knot),
		"address: 192.0.2.1@53\n":        "address: " + host(1) + "@53\n    via: " + host(2) + "\n",
		"address: 192.0.2.1\n":           "address: " + host(1) + "\n",
		"ip-address: 192.0.2.3@53\n":     "ip-address: " + host(3) + "@53" + strings.ReplaceAll(nsdFolders, "DIR", nsd),
		"request-xfr: 192.0.2.1@53":      "outgoing-interface: " + host(3) + "\n    request-xfr: " + host(1) + "@53",
		"allow-notify: 192.0.2.1 ":       "allow-notify: " + host(1) + " ",
		"listen 192.0.2.1:53\n":          "listen " + host(1) + ":53\n\t\tstore " + r.Store + "\n",
		"ns1.example.com 192.0.2.2\n":    "ns1.example.com " + host(2) + "\n",
		"ns2.example.com 192.0.2.3\n":    "ns2.example.com " + host(3) + "\n",
		"transfer 192.0.2.2 192.0.2.3 {": "transfer " + host(2) + " " + host(3) + " {",
	})
	config, err := os.ReadFile(r.file("Caddyfile"))
	harness.NoError(r.t, err)
	withoutSite := strings.Replace(string(config), siteOfExamples, "", 1)
	harness.NoError(r.t, os.WriteFile(r.file("first.caddyfile"), []byte(withoutSite), 0o600))
	r.service = harness.StartCaddy(r.t, harness.CaddyBinary, r.file("first.caddyfile"), r.Env(r.t), harness.Env{"TRANSFER_KEY": exampleSecondarySecret})
	r.servers = append(r.servers,
		harness.StartServer(r.t, r.zone.Primaries[0], r.zone.Name, r.dir, "knot", "knotd", "-c", r.file("knot.conf")),
		harness.StartServer(r.t, r.zone.Primaries[1], r.zone.Name, r.dir, "nsd", "nsd", "-d", "-c", r.file("nsd.conf")),
	)
	if withoutSite != string(config) {
		r.service.Reload(r.file("Caddyfile"))
	}
}

// The hidden primary is killed after some certificates, and the secondaries answer.
func TestExampleSecondaries(t *testing.T) {
	t.Parallel()
	r := newRecipe(t, 2)
	r.startSecondariesExample()
	r.obtain(20)
	report, code := r.check(harness.Env{"TRANSFER_KEY": exampleSecondarySecret})
	if code != 0 {
		t.Errorf("check ends with %d: %v", code, report)
	}
	r.assertClosed()
	r.waitExportedWithout("TXT")
	r.service.Kill()
	for _, server := range r.zone.Primaries {
		answer, _, err := new(dns.Client).Exchange(new(dns.Msg).SetQuestion("ns1.example.com.", dns.TypeA), server)
		if err != nil || len(answer.Answer) != 1 || !answer.Authoritative {
			t.Errorf("without the primary, %s answers: %v, %v", server, answer, err)
		}
	}
}

// waitExportedWithout waits until the zone has no record of a type, as "caddy bestdns export"
// has it.
func (r *recipe) waitExportedWithout(typ string) {
	r.t.Helper()
	deadline := time.After(10 * time.Second)
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		out, err := exec.Command(harness.CaddyBinary, "bestdns", "export", "example.com", "--address", r.service.Admin).CombinedOutput()
		if err == nil && strings.Contains(string(out), "SOA") && !strings.Contains(string(out), typ) {
			return
		}
		select {
		case <-tick.C:
		case <-deadline:
			r.t.Errorf("exporting: %v\n%s", err, out)
			return
		}
	}
}
