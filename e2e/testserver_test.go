package e2e

import (
	"testing"

	"github.com/caddyserver/certmagic"

	"github.com/caddy-dns/bestdns/bestdnstest"
	"github.com/caddy-dns/bestdns/e2e/internal/harness"
)

// TestTestServer has certmagic and lego obtain certificates of a real CA through the test server that users have for
// their own tests.
func TestTestServer(t *testing.T) {
	t.Parallel()
	server := bestdnstest.Start(t, harness.HostedZone)
	w := harness.NewWorld(t)
	w.Resolver.Delegate(harness.HostedZone, server.DNS)

	t.Run("certmagic", func(t *testing.T) {
		issuer := w.Issuer()
		issuer.DNS01Solver = &certmagic.DNS01Solver{DNSManager: certmagic.DNSManager{
			DNSProvider:        server.Provider("certificates " + web),
			PropagationTimeout: -1,
			Resolvers:          []string{server.DNS},
		}}
		config := harness.NewCertmagic(t, issuer)
		harness.NoError(t, config.ObtainCertSync(t.Context(), "*."+web))
		harness.AssertIssued(t, harness.Issued(t, config, "*."+web), w.Pebble, "*."+web)
	})
	t.Run("lego", func(t *testing.T) {
		chain, log, err := w.RunLego(t, harness.Env{
			"BESTDNS_ENDPOINT": server.URL, "BESTDNS_API_TOKEN": server.Token("certificates " + web),
		}, web)
		if err != nil {
			t.Fatalf("%v\n%s", err, log)
		}
		harness.AssertIssued(t, chain, w.Pebble, web)
	})
	records, err := server.Provider("read all").GetRecords(t.Context(), harness.HostedZone+".")
	harness.NoError(t, err)
	for _, r := range records {
		if r.RR().Type == "TXT" {
			t.Errorf("left behind: %v", r)
		}
	}
}
