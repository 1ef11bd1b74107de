package e2e

import (
	"path/filepath"

	"github.com/caddy-dns/bestdns/e2e/internal/harness"
)

// certbotHooks are certbot's arguments for the hooks.
func (r *clientRun) certbotHooks() []string {
	r.t.Helper()
	harness.Debian(r.t, "curl", "curl")
	args := []string{"--manual", "--preferred-challenges", "dns", "--manual-auth-hook"}
	if r.by == byACMEDNS {
		return append(args, harness.Must(filepath.Abs("../examples/certbot/acme-dns.sh"))(r.t))
	}
	hook := harness.Must(filepath.Abs("../examples/certbot/httpreq.sh"))(r.t)
	return append(args, hook+" present", "--manual-cleanup-hook", hook+" cleanup")
}
