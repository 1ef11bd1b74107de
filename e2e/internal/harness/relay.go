package harness

import (
	"context"
	"io"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"
)

// relayIdle is after what time without an answer a UDP client's socket is closed.
const relayIdle = 10 * time.Second

// Relay passes what comes to addr by UDP and TCP on to a server at target, until the test
// ends. BIND needs it: it listens only at addresses that an interface has, and of
// 127.0.0.0/8 that is one.
func Relay(t testing.TB, addr, target string) {
	t.Helper()
	tcp, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	udp, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.MustParseAddrPort(addr)))
	if err != nil {
		tcp.Close()
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var relaying sync.WaitGroup
	relaying.Go(func() { relayTCP(ctx, tcp, target) })
	relaying.Go(func() { relayUDP(udp, target) })
	t.Cleanup(func() {
		cancel()
		tcp.Close()
		udp.Close()
		relaying.Wait()
	})
}

// relayTCP returns when the listener is closed and all connections are, which the end of ctx
// closes.
func relayTCP(ctx context.Context, listener net.Listener, target string) {
	var connections sync.WaitGroup
	defer connections.Wait()
	for {
		client, err := listener.Accept()
		if err != nil {
			return
		}
		connections.Go(func() { relayConnection(ctx, client, target) })
	}
}

func relayConnection(ctx context.Context, client net.Conn, target string) {
	defer client.Close()
	server, err := new(net.Dialer).DialContext(ctx, "tcp", target)
	if err != nil {
		return
	}
	var asking sync.WaitGroup
	defer asking.Wait()
	closeBoth := func() { client.Close(); server.Close() }
	defer closeBoth()
	defer context.AfterFunc(ctx, closeBoth)()
	asking.Go(func() {
		_, _ = io.Copy(server, client) // what fails here fails for the client too
		server.Close()
	})
	_, _ = io.Copy(client, server)
}

// relayUDP has a socket for each client. It returns when its own is closed, and all are.
func relayUDP(socket *net.UDPConn, target string) {
	var mu sync.Mutex
	servers := make(map[netip.AddrPort]net.Conn)
	var answering sync.WaitGroup
	defer func() {
		mu.Lock()
		for _, server := range servers {
			server.Close()
		}
		mu.Unlock()
		answering.Wait()
	}()
	buf := make([]byte, 65536)
	for {
		n, client, err := socket.ReadFromUDPAddrPort(buf)
		if err != nil {
			return
		}
		mu.Lock()
		server := servers[client]
		if server == nil {
			if server, err = net.Dial("udp", target); err != nil {
				mu.Unlock()
				continue
			}
			servers[client] = server
			answering.Go(func() {
				relayAnswers(socket, client, server)
				mu.Lock()
				defer mu.Unlock()
				delete(servers, client)
			})
		}
		_, _ = server.Write(buf[:n]) // as a packet may be lost on its way
		mu.Unlock()
	}
}

func relayAnswers(socket *net.UDPConn, client netip.AddrPort, server net.Conn) {
	defer server.Close()
	buf := make([]byte, 65536)
	for {
		_ = server.SetReadDeadline(time.Now().Add(relayIdle)) // it never fails
		n, err := server.Read(buf)
		if err != nil {
			return
		}
		if _, err := socket.WriteToUDPAddrPort(buf[:n], client); err != nil {
			return
		}
	}
}
