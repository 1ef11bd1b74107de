package e2e

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddyserver/certmagic"

	"github.com/caddy-dns/bestdns"
	"github.com/caddy-dns/bestdns/e2e/internal/harness"
)

// matrixClient is what the ACME clients of a cell are told.
type matrixClient struct {
	w        *matrixWorld
	pebble   *harness.Pebble
	resolver string // that the client asks
	rsa      bool   // the kind of the certificate's key
	delay    time.Duration
}

// obtain has a client obtain certificates for all of the names at the same time, at the
// first try.
func (m matrixClient) obtain(t *testing.T, client string, names []string) {
	t.Helper()
	switch client {
	case "Caddy":
		m.byCaddy(t, names)
	case "certmagic":
		m.byCertmagic(t, names)
	case "lego":
		m.byLego(t, names)
	default:
		t.Fatalf("no client %q", client)
	}
}

func (m matrixClient) byCaddy(t *testing.T, names []string) {
	t.Helper()
	key := "p256"
	if m.rsa {
		key = "rsa2048"
	}
	caddy := harness.StartCaddy(t, harness.ClientBinary, "matrixclient.caddyfile", sites(names...), harness.Env{
		"ACME_CA": m.pebble.Directory, "ACME_CA_ROOT": m.pebble.TLSRoot, "TOKEN": m.w.token,
		"ENDPOINT": "http://" + m.w.api, "RESOLVER": m.resolver, "KEY_TYPE": key, "DELAY": m.delay.String(),
	})
	caddy.WaitCertificates(names...)
	caddy.Stop()
}

func (m matrixClient) byCertmagic(t *testing.T, names []string) {
	t.Helper()
	config := harness.NewCertmagic(t, certmagic.ACMEIssuer{
		CA: m.pebble.Directory, TrustedRoots: m.pebble.TLSRoots, Email: "admin@example.net", Agreed: true,
		DNS01Solver: &certmagic.DNS01Solver{DNSManager: certmagic.DNSManager{
			DNSProvider:        &bestdns.Provider{Endpoint: "http://" + m.w.api, APIToken: m.w.token},
			PropagationTimeout: -1,
			PropagationDelay:   m.delay,
			Resolvers:          []string{m.resolver},
		}},
	})
	if m.rsa {
		config.KeySource = certmagic.StandardKeyGenerator{KeyType: certmagic.RSA2048}
	}
	var all sync.WaitGroup
	for _, name := range names {
		all.Go(func() {
			if err := config.ObtainCertSync(t.Context(), name); err != nil {
				t.Errorf("certmagic, %s: %v", name, err)
			}
		})
	}
	all.Wait()
}

func (m matrixClient) byLego(t *testing.T, names []string) {
	t.Helper()
	orders := [][]string{names} // a name and its wildcard are one
	if len(names) > 2 {
		orders = nil
		for _, name := range names {
			orders = append(orders, []string{name})
		}
	}
	var all sync.WaitGroup
	for _, order := range orders {
		all.Go(func() {
			cmd := exec.CommandContext(t.Context(), harness.LegoBinary, order...)
			cmd.Env = append(os.Environ(),
				"ACME_CA="+m.pebble.Directory, "LEGO_CA_CERTIFICATES="+m.pebble.TLSRoot, "RESOLVER="+m.resolver,
				"UNCHECKED=yes", "BESTDNS_API_TOKEN="+m.w.token, "BESTDNS_ENDPOINT=http://"+m.w.api)
			if m.rsa {
				cmd.Env = append(cmd.Env, "KEY_TYPE=2048")
			}
			if m.delay > 0 { // lego's wait before its first look
				cmd.Env = append(cmd.Env, fmt.Sprintf("BESTDNS_POLLING_INTERVAL=%d", int(m.delay.Seconds())))
			}
			var log bytes.Buffer
			cmd.Stderr = &log
			if err := cmd.Run(); err != nil {
				t.Errorf("lego, %s: %v\n%s", strings.Join(order, ", "), err, log.Bytes())
			}
		})
	}
	all.Wait()
}
