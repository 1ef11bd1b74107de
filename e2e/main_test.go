// Package e2e tests BestDNS from end to end: the real Caddy binary, certmagic
// and lego obtain certificates from a real CA, which looks their challenges up
// in real DNS. It is a module of its own, so that what it needs reaches no user.
package e2e

import (
	"testing"

	"github.com/caddy-dns/bestdns/e2e/internal/harness"
)

func TestMain(m *testing.M) { harness.Main(m) }
