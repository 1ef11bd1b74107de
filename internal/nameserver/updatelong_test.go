package nameserver

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/miekg/dns"

	"github.com/caddy-dns/bestdns/internal/tsig"
)

// This file tests updates that are longer than a query may be, which come over TCP.

// longUpdate returns a signed update of so many bytes, and the MAC.
func longUpdate(t testing.TB, key tsig.Key, size int) (message []byte, mac string) {
	t.Helper()
	m := new(dns.Msg)
	m.SetUpdate("example.org.")
	pad := func(n int) dns.RR { // a record that takes n bytes, 30 at least
		const fixed = 1 + 10
		return &dns.RFC3597{Hdr: dns.RR_Header{Name: ".", Rrtype: 65280, Class: dns.ClassINET}, Rdata: strings.Repeat("00", n-fixed)}
	}
	empty, _ := signed(t, m, key, time.Now())
	for left := size - len(empty); left > 0; {
		n := min(left, 8000)
		if left-n > 0 && left-n < 30 {
			n -= 30
		}
		m.Ns = append(m.Ns, pad(n))
		left -= n
	}
	if message, mac = signed(t, m, key, time.Now()); len(message) != size {
		t.Fatalf("%d bytes, want %d", len(message), size)
	}
	return message, mac
}

// TestLongUpdates: over TCP an update may be as long as a message can be; the next message of the
// connection may be anything.
func TestLongUpdates(t *testing.T) {
	key := tsigKey(t, "client.example", "one")
	clients := &fakeClients{keys: []tsig.Key{key}}
	s := servingClients(t, clients)
	_, tcp := listen(t, s, "127.0.0.1")
	conn := dial(t, "tcp", tcp.Addr().String())
	for i, size := range []int{1000, maxQuery, maxQuery + 1, 20_000, dns.MaxMsgSize, 1000, dns.MaxMsgSize} {
		message, mac := longUpdate(t, key, size)
		answer := exchangeBy(t, conn, message)
		if err := verifies(answer, key, mac, time.Now()); err != nil {
			t.Errorf("%d bytes: %v", size, err)
		}
		if got := string(clients.taken()[i].Message); got != string(message) {
			t.Errorf("%d bytes were read as %d others", size, len(got))
		}
		assertNoPlaces(t, s, conn)
	}
	// Signed by no client, it is refused like a short one.
	message, _ := longUpdate(t, tsigKey(t, "stranger.example", "two"), 30_000)
	answer := new(dns.Msg)
	if err := answer.Unpack(exchangeBy(t, conn, message)); err != nil || answer.Rcode != dns.RcodeNotAuth {
		t.Errorf("%v, %v", answer, err)
	}
	assertNoPlaces(t, s, conn)
}

// assertNoPlaces fails if a long update that was sent over a connection still has its place when the next
// message is answered.
func assertNoPlaces(t *testing.T, s *Server, conn net.Conn) {
	t.Helper()
	exchangeBy(t, conn, packed(t, question("example.org.", dns.TypeSOA)))
	if n := s.updatePlaces.count(); n > 0 {
		t.Errorf("%d places are still taken", n)
	}
}

// TestOtherLongMessages: nothing else may be so long, and where no one has a key no update either.
func TestOtherLongMessages(t *testing.T) {
	key := tsigKey(t, "client.example", "one")
	update, _ := longUpdate(t, key, maxQuery+1)
	query, answer := append([]byte(nil), update...), append([]byte(nil), update...)
	query[2] &^= opcodeMask
	answer[2] |= flagResponse
	for _, test := range []struct {
		name    string
		clients Clients
		message []byte
	}{
		{"a query", &fakeClients{keys: []tsig.Key{key}}, query},
		{"an answer", &fakeClients{keys: []tsig.Key{key}}, answer},
		{"an update without clients", nil, update},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, tcp := listen(t, servingClients(t, test.clients), "127.0.0.1")
			conn := dial(t, "tcp", tcp.Addr().String())
			_, _ = conn.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(test.message))), test.message[:100]...))
			if n, err := conn.Read(make([]byte, 1)); n > 0 || err == nil {
				t.Errorf("%d bytes, %v", n, err)
			}
		})
	}
}

// pipes is a listener of connections that are pipes.
type pipes struct {
	conns chan net.Conn
}

func (p pipes) Accept() (net.Conn, error) {
	c, ok := <-p.conns
	if !ok {
		return nil, net.ErrClosed
	}
	return c, nil
}

func (p pipes) Close() error {
	close(p.conns)
	return nil
}

func (p pipes) Addr() net.Addr { return &net.TCPAddr{} }

// dial connects, as from an address.
func (p pipes) dial(t testing.TB, from string) net.Conn {
	ours, theirs := net.Pipe()
	t.Cleanup(func() { ours.Close() })
	p.conns <- pipeFrom{theirs, &net.TCPAddr{IP: net.ParseIP(from)}}
	return ours
}

type pipeFrom struct {
	net.Conn
	from net.Addr
}

func (p pipeFrom) RemoteAddr() net.Addr { return p.from }

// TestPlacesOfLongUpdates: the number of long updates that are read at a time is bounded, for each address
// and in all. The others wait until one is made, and a client that stops sending loses its place.
func TestPlacesOfLongUpdates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		key := tsigKey(t, "client.example", "one")
		clients := &fakeClients{keys: []tsig.Key{key}}
		s := servingClients(t, clients)
		listener := pipes{make(chan net.Conn)}
		socket := NewTCPSocket(listener, "tcp", nil)
		socket.Serve(s)
		defer socket.Close()
		message, _ := longUpdate(t, key, 20_000)
		length := binary.BigEndian.AppendUint16(nil, uint16(len(message)))
		begin := func(from string) net.Conn {
			conn := listener.dial(t, from)
			go conn.Write(append(append([]byte(nil), length...), message[:100]...))
			synctest.Wait()
			return conn
		}
		var begun []net.Conn
		for i := range largeUpdatesOfOne {
			begun = append(begun, begin("192.0.2.1"))
			if n := s.updatePlaces.count(); n != i+1 {
				t.Fatalf("%d places are taken, want %d", n, i+1)
			}
		}
		waiting := begin("192.0.2.1")
		if n := s.updatePlaces.count(); n != largeUpdatesOfOne {
			t.Errorf("%d places are taken by one address", n)
		}
		other := begin("192.0.2.2")
		if n := s.updatePlaces.count(); n != largeUpdatesOfOne+1 {
			t.Errorf("%d places are taken with another address", n)
		}
		finish := func(conn net.Conn) {
			t.Helper()
			go conn.Write(message[100:])
			answer := make([]byte, 2)
			if _, err := io.ReadFull(conn, answer); err != nil {
				t.Fatal(err)
			}
			go io.Copy(io.Discard, conn)
			synctest.Wait()
		}
		finish(begun[0])
		if n := s.updatePlaces.count(); n != largeUpdatesOfOne+1 {
			t.Errorf("%d places are taken after one update was made", n)
		}
		finish(waiting)
		finish(other)
		if n := s.updatePlaces.count(); n != largeUpdatesOfOne-1 || clients.made() != 3 {
			t.Errorf("%d places are taken, %d updates made", n, clients.made())
		}
		time.Sleep(tcpRead)
		synctest.Wait()
		if n := s.updatePlaces.count(); n != 0 {
			t.Errorf("%d places are taken by those who send no more", n)
		}
		if n, err := begun[1].Read(make([]byte, 1)); n > 0 || !errors.Is(err, io.EOF) {
			t.Errorf("%d bytes, %v", n, err)
		}
	})
}
