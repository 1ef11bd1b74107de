package e2e

import (
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"
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
	w := NewWorld(t)
	lock, err := bolt.Open(w.Store, 0o600, nil)
	noError(t, err)
	caddy := launchCaddy(t, caddyBinary, "inprocess.caddyfile", w.Env(t), sites(wildcard))
	noError(t, caddy.Log.Wait(1, startTimeout, message("adjusted config"))) // all apps are provisioned
	if caddy.Log.Wait(1, soon, message("obtaining certificate")) == nil {
		<-time.After(lateness)
	}
	noError(t, lock.Close())
	caddy.WaitCertificates(wildcard)
	AssertServed(t, caddy.HTTPS, "any."+web, w.Pebble, wildcard)
	if n := w.Pebble.Orders(wildcard); n != 1 {
		t.Errorf("the certificate took %d orders", n)
	}
	w.AssertNoChallenge(t, hostedZone, web)
}
