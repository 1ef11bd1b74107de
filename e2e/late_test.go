package e2e

import (
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"
)

// certmagic looks the zone up before it asks for a record to be written, and
// after a failure waits a minute. So its first try must wait for a name server
// that is late, which here is one that cannot have its store for two seconds.
//
// Caddy starts its apps in random order, and only where certmagic has begun
// before the name server is there anything to wait for: about one start in eight.
// The test starts Caddy until it was so once.
func TestLateNameServerIsWaitedFor(t *testing.T) {
	t.Parallel()
	const starts = 80 // enough to fail by chance once in forty thousand runs
	for range starts {
		if startsWithLateNameServer(t) || t.Failed() {
			return
		}
	}
	t.Fatalf("in none of %d starts did certmagic begin before the name server", starts)
}

// startsWithLateNameServer obtains a certificate with a name server that comes
// up late, and reports whether certmagic had begun before.
func startsWithLateNameServer(t *testing.T) (certmagicFirst bool) {
	t.Helper()
	const (
		lateness = 2 * time.Second
		// An app that is started before the name server says so at once. On a busy
		// machine this may be too short: then there is another start.
		patience = 300 * time.Millisecond
	)
	w := NewWorld(t)
	lock, err := bolt.Open(w.Store, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	caddy := launchCaddy(t, caddyBinary, "inprocess.caddyfile", w.Env(t), sites(wildcard))
	if err := caddy.Log.Wait(1, startTimeout, message("adjusted config")); err != nil {
		t.Fatal(err) // all apps are provisioned
	}
	if caddy.Log.Wait(1, patience, message("obtaining certificate")) == nil {
		certmagicFirst = true
		timer := time.NewTimer(lateness)
		defer timer.Stop()
		<-timer.C
	}
	if err := lock.Close(); err != nil {
		t.Fatal(err)
	}
	caddy.WaitCertificates(wildcard)
	AssertServed(t, caddy.HTTPS, "any."+web, w.Pebble, wildcard)
	if n := w.Pebble.Orders(wildcard); n != 1 {
		t.Errorf("the certificate took %d orders", n)
	}
	w.AssertNoChallenge(t, hostedZone, web)
	caddy.Stop()
	return certmagicFirst
}
