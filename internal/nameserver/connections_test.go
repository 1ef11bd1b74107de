package nameserver

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"

	"github.com/caddy-dns/bestdns/internal/record"
)

// tcpClient is a client with a connection from an address of its own.
func tcpClient(t *testing.T, from string, to net.Addr) net.Conn {
	t.Helper()
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
	conn, err := dialer.Dial("tcp", to.String())
	if err != nil {
		cannot(t, "this machine cannot connect from %s: %v", from, err)
	}
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(10 * time.Second))
	return conn
}

func asks(t *testing.T, conn net.Conn) error {
	t.Helper()
	_, _, err := new(dns.Client).ExchangeWithConn(question("text.example.org.", dns.TypeTXT), &dns.Conn{Conn: conn})
	return err
}

func isClosed(conn net.Conn) bool {
	_, err := conn.Read(make([]byte, 1))
	var timeout net.Error
	return err != nil && !(errors.As(err, &timeout) && timeout.Timeout())
}

// The connection that has been idle the longest makes room for a new one.
func TestIdleConnectionsMakeRoom(t *testing.T) {
	tests := []struct {
		name           string
		all, ofOne     int
		clients        []string // in the order in which they connect and ask
		closed, served []int    // of them, after that
		want           LimitCounts
	}{
		{"too many of one address", 10, 2, []string{"127.0.0.1", "127.0.0.2", "127.0.0.2", "127.0.0.2"}, []int{1}, []int{0, 2, 3}, LimitCounts{ClosedConnections: 1}},
		{"too many in all", 3, 2, []string{"127.0.0.1", "127.0.0.2", "127.0.0.3", "127.0.0.4"}, []int{0}, []int{1, 2, 3}, LimitCounts{ClosedConnections: 1}},
		{"as many as may be", 3, 3, []string{"127.0.0.1", "127.0.0.1", "127.0.0.1"}, nil, []int{0, 1, 2}, LimitCounts{}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := questionServer(t)
			s.connections = newConnections(test.all, test.ofOne)
			_, tcp := listen(t, s, "127.0.0.1")
			var conns []net.Conn
			for i, from := range test.clients {
				conns = append(conns, tcpClient(t, from, tcp.Addr()))
				if err := asks(t, conns[i]); err != nil {
					t.Fatalf("client %d: %v", i, err)
				}
				waitAllIdle(t, s.connections)
			}
			for _, i := range test.closed {
				if !isClosed(conns[i]) {
					t.Errorf("client %d is still connected", i)
				}
			}
			for _, i := range test.served {
				if err := asks(t, conns[i]); err != nil {
					t.Errorf("client %d: %v", i, err)
				}
			}
			if diff := cmp.Diff(test.want, s.LimitCounts()); diff != "" {
				t.Errorf("counts (-want +got):\n%s", diff)
			}
		})
	}
}

// waitAllIdle waits until the server waits for queries on each connection: a client has
// its answer a moment before.
func waitAllIdle(t *testing.T, c *connections) {
	t.Helper()
	allIdle := func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.idle.Len() == len(c.open)
	}
	waitUntil(t, "all connections are idle", allIdle)
}

// waitUntil waits for what another goroutine does at any moment.
func waitUntil(t testing.TB, what string, isSo func() bool) {
	t.Helper()
	for began := time.Now(); !isSo(); runtime.Gosched() {
		if time.Since(began) > 10*time.Second {
			t.Fatalf("not so within 10 s: %s", what)
		}
	}
}

// Where no connection is idle, a new one is refused; and there is room again when one goes.
func TestBusyConnectionsStay(t *testing.T) {
	all := newConnections(2, 2)
	var ours []*connection
	connect := func() net.Conn {
		client, server := net.Pipe()
		t.Cleanup(func() { client.Close(); server.Close() })
		c, ok := all.admit(server)
		if ok {
			c.setBusy()
			ours = append(ours, c)
		} else {
			server.Close()
		}
		return client
	}
	connect()
	connect()
	if refused := connect(); !isClosed(refused) || len(ours) != 2 {
		t.Error("a third connection was admitted")
	}
	ours[0].release()
	ours[0].release() // counts once
	connect()
	if connect(); len(ours) != 3 {
		t.Errorf("%d connections were admitted", len(ours))
	}
	ours[1].setIdle()
	if connect(); len(ours) != 4 {
		t.Errorf("%d connections were admitted, although one was idle", len(ours))
	}
	ours[1].setIdle() // too late: it is closed
	if refused, replaced := all.counts(); refused != 2 || replaced != 1 || all.idle.Len() != 0 || len(all.open) != 2 {
		t.Errorf("refused %d, replaced %d, idle %d, open %d", refused, replaced, all.idle.Len(), len(all.open))
	}
}

func TestGroups(t *testing.T) {
	tests := []struct{ addr, want string }{
		{"192.0.2.1:1", "192.0.2.1"},
		{"[::ffff:192.0.2.1]:1", "192.0.2.1"},
		{"[2001:db8:1:2:3:4:5:6]:1", "2001:db8:1:2::"},
		{"[fe80::1%1]:1", "fe80::"},
	}
	for _, test := range tests {
		addr, err := net.ResolveTCPAddr("tcp", test.addr)
		if err != nil {
			t.Fatal(err)
		}
		if got := groupOf(addr.AddrPort().Addr()).String(); got != test.want {
			t.Errorf("%s: %s, want %s", test.addr, got, test.want)
		}
	}
}

// A client that sends slowly, nothing, or too much is not waited for.
func TestConnectionsThatWaste(t *testing.T) {
	s := questionServer(t)
	_, tcp := listen(t, s, "127.0.0.1")
	tests := []struct {
		name, send string
	}{
		{"nothing", ""},
		{"half a query", "\x00\x40\x12\x34"},
		{"a query that is too long", "\xff\xff\x12\x34"},
		{"no query", "\x00\x00"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			conn := dial(t, "tcp", tcp.Addr().String())
			if _, err := io.WriteString(conn, test.send); err != nil {
				t.Fatal(err)
			}
			if !isClosed(conn) {
				t.Error("it is still connected")
			}
		})
	}
}

// TestEvictedLeaveTheQueue: a connection that waits to have a large answer made and has
// to make room for another waits no longer, so that those that wait are no more than
// there may be connections.
func TestEvictedLeaveTheQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		zone := zoneConfig(t, "example.org")
		s := serving(t, zone)
		var records []record.Record
		for i := range 1000 {
			records = append(records, rr(t, zone.Name, fmt.Sprintf("large 60 TXT %d", i)))
		}
		apply(t, s, zone.Name, appending(records...))
		defer func(others chan struct{}) { largeAnswers = others }(largeAnswers)
		largeAnswers = make(chan struct{}) // has no room, and is of the bubble
		all := newConnections(1, 1)
		here, there := net.Pipe()
		defer there.Close()
		first, _ := all.admit(here)
		first.setBusy()
		answered := make(chan []byte)
		query := packed(t, question("large.example.org.", dns.TypeTXT))
		next := func(r *responder, allowed bool) (message []byte, large, more bool) {
			message, large, _ = r.answerTCP(query, allowed)
			return message, large, false
		}
		go func() {
			answer, _ := first.makeMessage(s, next, nil)
			answered <- answer
		}()
		if synctest.Wait(); first.waiting == nil {
			t.Fatal("while it waits, it does not count as idle")
		}
		if _, ok := all.admit(there); !ok {
			t.Fatal("it makes no room")
		}
		if answer := <-answered; len(answer) > 0 {
			t.Errorf("%d bytes of an answer were made", len(answer))
		}
	})
}

// countedDeadlines counts how often a connection was given a time to take something.
type countedDeadlines struct {
	net.Conn
	n int
}

func (c *countedDeadlines) SetWriteDeadline(t time.Time) error {
	c.n++
	return c.Conn.SetWriteDeadline(t)
}

// TestAnswerOfSeveralMessages sends several messages for one query: each has a length and
// a deadline of its own, and a large one is made in its turn. The last one is not sent,
// since the socket is closed before.
func TestAnswerOfSeveralMessages(t *testing.T) {
	s := questionServer(t)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	socket := NewTCPSocket(listener, "tcp", nil)
	l := socket.reader.(*tcpListener)
	client := dial(t, "tcp", listener.Addr().String())
	accepted, err := listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	counted := &countedDeadlines{Conn: accepted}
	c, _ := s.connections.admit(counted)
	defer c.release()
	c.setBusy()

	sizes := []int{20, 0xffff, 30, 5000, 40}
	made := 0
	next := func(r *responder, allowed bool) (message []byte, large, more bool) {
		if r.server != s {
			t.Error("a responder of another server")
		}
		if large = sizes[made] > 4096; large != allowed {
			if allowed || len(largeAnswers) != 0 {
				t.Errorf("message %d is made as a large one", made)
			}
			return nil, large, false
		}
		if large && len(largeAnswers) != 1 {
			t.Errorf("message %d is made beside others", made)
		}
		message = bytes.Repeat([]byte{byte(made)}, sizes[made])
		if made++; made == len(sizes)-1 {
			socket.Close()
		}
		return message, large, true
	}
	ended := make(chan error)
	go func() {
		_, err := l.answer(c, s, next, nil)
		ended <- err
	}()
	for i, size := range sizes[:len(sizes)-1] {
		if message := readTCP(t, client); len(message) != size || message[0] != byte(i) {
			t.Errorf("message %d has %d bytes and begins %x, want %d", i, len(message), message[:1], size)
		}
	}
	if err := <-ended; !errors.Is(err, net.ErrClosed) {
		t.Errorf("it ended with %v", err)
	}
	if counted.n != len(sizes)-1 {
		t.Errorf("%d deadlines for %d messages", counted.n, len(sizes)-1)
	}
	if made != len(sizes)-1 {
		t.Errorf("%d messages were made", made)
	}
}
