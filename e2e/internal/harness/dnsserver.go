package harness

import (
	"testing"

	"github.com/miekg/dns"
)

// ServeDNS runs servers, whose sockets are open, until the test ends.
func ServeDNS(t testing.TB, servers ...*dns.Server) {
	t.Helper()
	for _, server := range servers {
		started := make(chan struct{})
		server.NotifyStartedFunc = func() { close(started) }
		go server.ActivateAndServe()
		<-started
		t.Cleanup(func() { server.Shutdown() })
	}
}
