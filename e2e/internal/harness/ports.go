package harness

import (
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"strconv"
	"sync"
	"testing"
)

// Ports for another process to listen on are taken from below Linux's range of
// ephemeral ports (32768 and up), so that no outgoing connection of a test
// running beside can take one between here and there.
const (
	firstPort = 20000
	lastPort  = 32000
)

var (
	handedOutMu sync.Mutex
	handedOut   = make(map[int]bool)
)

// FreeAddr returns a loopback address on which nothing listens, by TCP or UDP,
// and which no other test of this process was given.
func FreeAddr(t testing.TB) string {
	t.Helper()
	handedOutMu.Lock()
	defer handedOutMu.Unlock()
	for range 1000 {
		port := firstPort + rand.IntN(lastPort-firstPort)
		if handedOut[port] || !isFree(port) {
			continue
		}
		handedOut[port] = true
		return loopback(port)
	}
	t.Fatalf("no port between %d and %d is free", firstPort, lastPort)
	return ""
}

func isFree(port int) bool {
	tcp, err := net.Listen("tcp", loopback(port))
	if err != nil {
		return false
	}
	defer tcp.Close()
	udp, err := net.ListenPacket("udp", loopback(port))
	if err != nil {
		return false
	}
	udp.Close()
	return true
}

func loopback(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }

// splitAddr returns host and port of an address that is one.
func splitAddr(addr string) (host, port string) {
	host, port, _ = net.SplitHostPort(addr)
	return host, port
}

// Port returns the port of addr.
func Port(t testing.TB, addr string) string {
	t.Helper()
	_, p, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(fmt.Errorf("reading the port of %q: %w", addr, err))
	}
	return p
}

var (
	loopbackNetMu sync.Mutex
	loopbackNets  int
)

// NewLoopbackNet returns the beginning of loopback addresses that no other test
// has, also of another process, and at whose port 53 one may listen.
func NewLoopbackNet(t testing.TB) string {
	t.Helper()
	loopbackNetMu.Lock()
	defer loopbackNetMu.Unlock()
	loopbackNets++
	beginning := fmt.Sprintf("127.%d.%d", 64+loopbackNets, 1+os.Getpid()%250)
	listener, err := net.Listen("tcp", beginning+".1:53")
	if err != nil {
		Cannot(t, fmt.Sprintf("name servers are at port 53 of addresses in 127.0.0.0/8, where this user cannot have any: %v", err))
	}
	listener.Close()
	return beginning
}
