package harness

import (
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
	var relaying sync.WaitGroup
	relaying.Go(func() { relayTCP(tcp, target) })
	relaying.Go(func() { relayUDP(udp, target) })
	t.Cleanup(func() {
		tcp.Close()
		udp.Close()
		relaying.Wait()
	})
}

func relayTCP(listener net.Listener, target string) {
	for {
		client, err := listener.Accept()
		if err != nil {
			return
		}
		go func() {
			defer client.Close()
			server, err := net.Dial("tcp", target)
			if err != nil {
				return
			}
			defer server.Close()
			go func() {
				_, _ = io.Copy(server, client) // what fails here fails for the client too
				server.Close()
			}()
			_, _ = io.Copy(client, server)
		}()
	}
}

// relayUDP has a socket for each client.
func relayUDP(socket *net.UDPConn, target string) {
	var mu sync.Mutex
	servers := make(map[netip.AddrPort]net.Conn)
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
			go func() {
				relayAnswers(socket, client, server)
				mu.Lock()
				defer mu.Unlock()
				delete(servers, client)
			}()
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
