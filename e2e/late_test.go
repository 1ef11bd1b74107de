package e2e

import (
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/caddy-dns/bestdns/e2e/internal/harness"
)

// certmagic looks the zone up before it asks for a record to be written, and
// after a failure waits a minute. So its first try must wait for a name server
// that is late, which here is one that cannot have its store yet.
//
// Caddy starts its apps in random order. Where certmagic begins before the name
// server, which is about one start in eight, the name server is two seconds late.
func TestLateNameServerIsWaitedFor(t *testing.T) {
	t.Parallel()
	const (
		lateness = 2 * time.Second
		// An app that is started before the name server says so at once.
		soon = 300 * time.Millisecond
	)
	w := harness.NewWorld(t)
	lock, err := bolt.Open(w.Store, 0o600, nil)
	harness.NoError(t, err)
	caddy := harness.LaunchCaddy(t, harness.CaddyBinary, "inprocess.caddyfile", w.Env(t), sites(wildcard))
	harness.NoError(t, caddy.Log.Wait(1, harness.StartTimeout, harness.Message("adjusted config"))) // all apps are provisioned
	if caddy.Log.Wait(1, soon, harness.Message("obtaining certificate")) == nil {
		<-time.After(lateness)
	}
	harness.NoError(t, lock.Close())
	caddy.WaitCertificates(wildcard)
	harness.AssertServed(t, caddy.HTTPS, "any."+web, w.Pebble, wildcard)
	if n := w.Pebble.Orders(wildcard); n != 1 {
		t.Errorf("the certificate took %d orders", n)
	}
	w.AssertNoChallenge(t, harness.HostedZone, web)
}
