// Package e2e tests BestDNS from end to end: the real Caddy binary, certmagic
// and lego obtain certificates from a real CA, which looks their challenges up
// in real DNS. It is a module of its own, so that what it needs reaches no user.
package e2e

import (
	"fmt"
	"os"
	"testing"

	"github.com/caddyserver/certmagic"
)

// Variables that put other binaries in the place of those that the tests build:
// a Caddy with client and service, and one with the client.
const (
	envCaddy       = "BESTDNS_CADDY"
	envCaddyClient = "BESTDNS_CADDY_CLIENT"
)

func TestMain(m *testing.M) {
	setPebbleEnv()
	certmagic.RateLimitEventsWindow = 0 // all tests obtain from what is one CA to it
	code, err := runTests(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// runTests builds the programs once, for all tests.
func runTests(m *testing.M) (int, error) {
	dir, err := os.MkdirTemp("", "bestdns-e2e-")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(dir)
	if caddyBinary = os.Getenv(envCaddy); caddyBinary == "" {
		if caddyBinary, err = build(dir, "./caddy"); err != nil {
			return 0, err
		}
	}
	if clientBinary = os.Getenv(envCaddyClient); clientBinary == "" {
		clientBinary = caddyBinary
	}
	if legoBinary, err = build(dir, "./lego"); err != nil {
		return 0, err
	}
	return m.Run(), nil
}
