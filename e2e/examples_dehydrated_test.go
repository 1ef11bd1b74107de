package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/caddy-dns/bestdns/e2e/internal/harness"
)

// dehydratedObtain runs dehydrated with the hook.
func dehydratedObtain(r *clientRun, names ...string) (chains [][]byte, log string, err error) {
	r.t.Helper()
	dehydrated := harness.Debian(r.t, "dehydrated", "dehydrated")
	harness.Debian(r.t, "nsupdate", "bind9-dnsutils")
	domain := strings.TrimPrefix(names[0], "*.")
	hook := harness.Must(filepath.Abs("../examples/dehydrated/hook.sh"))(r.t)
	config := r.write("config", fmt.Sprintf("CA=%s\nCURL_OPTS='--cacert %s'\nCHALLENGETYPE=dns-01\nHOOK=%s\nBASEDIR=%s\nKEY_ALGO=prime256v1\nKEYSIZE=2048\n",
		r.pebble.Directory, r.pebble.TLSRoot, hook, r.dir))
	env := harness.Env{
		"BESTDNS_SERVER": r.dns,
		"BESTDNS_KEY":    r.write("bestdns.key", fmt.Sprintf("key %q { algorithm hmac-sha256; secret %q; };\n", r.key.Name, r.key.Secret)),
	}
	if _, err := os.Stat(filepath.Join(r.dir, "accounts")); err != nil {
		if log, err := r.exec(env, dehydrated, "--config", config, "--register", "--accept-terms"); err != nil {
			return nil, log, err
		}
	}
	args := []string{"--config", config, "--cron", "--force", "--alias", domain}
	for _, name := range names {
		args = append(args, "--domain", name)
	}
	if log, err = r.exec(env, dehydrated, args...); err != nil {
		return nil, log, err
	}
	return read(filepath.Join(r.dir, "certs", domain, "fullchain.pem"), log)
}
