package harness_test

import (
	"errors"
	"net"
	"os"
	"testing"
	"time"

	"github.com/caddy-dns/bestdns/e2e/internal/harness"
)

// A relay ends with its test, and a connection through it with it.
func TestRelayEnds(t *testing.T) {
	t.Parallel()
	server, err := net.Listen("tcp", "127.0.0.1:0")
	harness.NoError(t, err)
	defer server.Close()
	var client, accepted net.Conn
	t.Run("relay", func(t *testing.T) {
		addr := harness.FreeAddr(t)
		harness.Relay(t, addr, server.Addr().String())
		client, err = net.Dial("tcp", addr)
		harness.NoError(t, err)
		accepted, err = server.Accept()
		harness.NoError(t, err)
	})
	defer client.Close()
	defer accepted.Close()
	for name, conn := range map[string]net.Conn{"client": client, "server": accepted} {
		harness.NoError(t, conn.SetReadDeadline(time.Now().Add(10*time.Second)))
		if _, err := conn.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("the connection of the %s is open after the test: %v", name, err)
		}
	}
}
