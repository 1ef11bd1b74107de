package nameserver

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"
)

// scripted is a reader whose attempts end as its script says. Each step takes no time,
// and may wait for the socket to be closed.
type scripted struct {
	socket *Socket
	step   func(attempt int) error
	at     []time.Time // when attempts began
	closed chan struct{}
}

func (r *scripted) serve() error {
	r.at = append(r.at, time.Now())
	return r.step(len(r.at))
}

func (r *scripted) shutdown() { close(r.closed) }

// wait is a step in which nothing comes until the socket is closed.
func (r *scripted) wait() error {
	<-r.closed
	return net.ErrClosed
}

// logged is a log in memory.
type logged struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logged) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(b)
}

// lines returns the lines that have a text.
func (l *logged) lines(having string) (lines []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for line := range strings.Lines(l.b.String()) {
		if strings.Contains(line, having) {
			lines = append(lines, line)
		}
	}
	return lines
}

func newScripted(step func(*scripted, int) error) (*scripted, *logged) {
	log := new(logged)
	socket := newSocket("udp/192.0.2.1:53", slog.New(slog.NewTextHandler(log, nil)))
	r := &scripted{socket: socket, closed: make(chan struct{})}
	r.step = func(attempt int) error { return step(r, attempt) }
	socket.reader = r
	return r, log
}

// A socket that cannot be read is tried until it can, ever less often, and says so; then
// the next failure is treated like the first.
func TestSocketIsNotGivenUp(t *testing.T) {
	failures := []struct {
		name string
		end  func() error
		want string
	}{
		{"no memory", func() error { return syscall.ENOBUFS }, syscall.ENOBUFS.Error()},
		{"an error that is not temporary", func() error { return syscall.EINVAL }, syscall.EINVAL.Error()},
		{"a panic", func() error { panic("a bug") }, "a bug"},
		{"no reason", func() error { return nil }, errStopped.Error()},
	}
	for _, failure := range failures {
		t.Run(failure.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const many = 2000
				r, log := newScripted(func(r *scripted, attempt int) error {
					switch {
					case attempt <= many:
						return failure.end()
					case attempt == many+1:
						r.socket.errors.succeeded()
						return failure.end()
					}
					return r.wait()
				})
				r.socket.Serve(new(Server))
				time.Sleep(time.Minute)
				if err := r.socket.Err(); err == nil || !strings.Contains(err.Error(), failure.want) || !strings.Contains(err.Error(), "udp/192.0.2.1:53") {
					t.Errorf("after a minute: %v", err)
				}
				time.Sleep(many * time.Second)
				if err := r.socket.Err(); err != nil {
					t.Errorf("when it works again: %v", err)
				}
				r.socket.Close()
				if n := r.socket.Errors(); n != many+1 {
					t.Errorf("%d errors are counted", n)
				}
				var pauses []time.Duration
				for i := range r.at[1:] {
					pauses = append(pauses, r.at[i+1].Sub(r.at[i]))
				}
				begin := []time.Duration{5, 10, 20, 40, 80, 160, 320, 640, 1000, 1000}
				for i := range begin {
					begin[i] *= time.Millisecond
				}
				if diff := cmp.Diff(begin, pauses[:len(begin)]); diff != "" {
					t.Errorf("pauses (-want +got):\n%s", diff)
				}
				if longest := slices.Max(pauses); longest > time.Second {
					t.Errorf("the longest pause is %v", longest)
				}
				if pauses[many] != firstPause {
					t.Errorf("after it has worked, the pause is %v", pauses[many])
				}
				const minutes = many / 60
				if n := len(log.lines("cannot be read")); n < minutes || n > minutes+2 {
					t.Errorf("in %d minutes, %d lines tell that it fails:\n%s", minutes, n, strings.Join(log.lines(""), ""))
				}
				if n := len(log.lines("can be read again")); n != 1 {
					t.Errorf("%d lines tell that it works again:\n%s", n, strings.Join(log.lines(""), ""))
				}
				if stacks := len(log.lines("stack=")) > 0; stacks != (failure.name == "a panic") {
					t.Errorf("a stack is logged: %v", stacks)
				}
			})
		})
	}
}

// Whether a socket works shows without a query too: a read that fails does so at once.
func TestQuietSocketWorksAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, log := newScripted(func(r *scripted, attempt int) error {
			if attempt == 1 {
				return syscall.ENOMEM
			}
			return r.wait()
		})
		r.socket.Serve(new(Server))
		time.Sleep(readsAgain / 2)
		if err := r.socket.Err(); !errors.Is(err, syscall.ENOMEM) {
			t.Errorf("before it has waited for long: %v", err)
		}
		time.Sleep(readsAgain)
		if err := r.socket.Err(); err != nil {
			t.Errorf("after it has waited: %v", err)
		}
		if lines := log.lines(""); len(lines) != 2 {
			t.Errorf("logged:\n%s", strings.Join(lines, ""))
		}
		r.socket.Close()
	})
}

// A socket that fails and works by turns does not fill the log.
func TestLinesOfUnsteadySocket(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, log := newScripted(func(r *scripted, attempt int) error {
			if attempt > 100_000 {
				return r.wait()
			}
			r.socket.errors.succeeded()
			return syscall.ENOBUFS
		})
		r.socket.Serve(new(Server))
		time.Sleep(10 * time.Minute) // 5 ms an attempt
		if n := len(log.lines("")); n < 2*8 || n > 2*9+2 {
			t.Errorf("%d lines in 8 minutes:\n%s", n, strings.Join(log.lines(""), ""))
		}
		r.socket.Close()
	})
}

// A pause does not hold up who closes the socket.
func TestCloseDuringPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, _ := newScripted(func(*scripted, int) error { return syscall.ENOBUFS })
		r.socket.Serve(new(Server))
		time.Sleep(time.Minute + lastPause/3)
		began := time.Now()
		r.socket.Close()
		if took := time.Since(began); took != 0 {
			t.Errorf("closing took %v", took)
		}
	})
}

// A socket that was closed by someone else goes on failing.
func TestSocketClosedByOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, _ := newScripted(func(*scripted, int) error { return net.ErrClosed })
		r.socket.Serve(new(Server))
		time.Sleep(time.Hour)
		r.socket.Close()
		if err := r.socket.Err(); !errors.Is(err, net.ErrClosed) || len(r.at) != 1 {
			t.Errorf("after %d attempts: %v", len(r.at), err)
		}
	})
}

// interrupted is a flood with errors about one message before each batch.
type interrupted struct {
	flood
	errors []error
	next   int
}

func (f *interrupted) receive() (int, error) {
	if f.next < len(f.errors) {
		f.next++
		return 0, &net.OpError{Op: "read", Err: syscallError(f.errors[f.next-1])}
	}
	f.next = 0
	return f.flood.receive()
}

func syscallError(err error) error { return fmt.Errorf("recvmmsg: %w", err) }

// What reading says about one message, which strangers can cause, is not held against
// the socket.
func TestErrorsAboutOneMessage(t *testing.T) {
	errs := []error{syscall.ECONNREFUSED, syscall.EMSGSIZE, syscall.EHOSTUNREACH, syscall.ENETUNREACH, syscall.ECONNABORTED}
	s := questionServer(t)
	t.Run("UDP", func(t *testing.T) {
		query := packed(t, question("text.example.org.", dns.TypeTXT))
		answers := 0
		socket := newSocket("udp", nil)
		socket.current.Store(s)
		err := socket.answerPackets(&interrupted{errors: slices.Repeat(errs, 100), flood: flood{
			batches: 3,
			query:   func(int) ([]byte, netip.Addr) { return query, netip.MustParseAddr("127.0.0.1") },
			sent:    func(netip.Addr, []byte) { answers++ },
		}})
		if !errors.Is(err, net.ErrClosed) || answers != 3*floodBatch || socket.Errors() != 0 {
			t.Errorf("%d answers, %d errors, then %v", answers, socket.Errors(), err)
		}
	})
	t.Run("TCP", func(t *testing.T) {
		tcp, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		socket := NewTCPSocket(&tired{tcp, slices.Repeat(errs, 100)}, "tcp", nil)
		socket.Serve(s)
		defer socket.Close()
		if err := asks(t, dial(t, "tcp", tcp.Addr().String())); err != nil {
			t.Error(err)
		}
		if n := socket.Errors(); n != 0 {
			t.Errorf("%d errors are counted: %v", n, socket.Err())
		}
	})
}

// tired fails a few times to accept a connection.
type tired struct {
	net.Listener
	failures []error
}

func (l *tired) Accept() (net.Conn, error) {
	if len(l.failures) > 0 {
		err := l.failures[0]
		l.failures = l.failures[1:]
		return nil, &net.OpError{Op: "accept", Err: syscallError(err)}
	}
	return l.Listener.Accept()
}

// telling is a reader that tells when reading has failed.
type telling struct {
	reader
	failed chan<- struct{}
}

func (r *telling) serve() error {
	err := r.reader.serve()
	r.failed <- struct{}{}
	return err
}

// Real sockets that fail are read again when they can be.
func TestFailingSockets(t *testing.T) {
	s := questionServer(t)
	udp, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		network  string
		socket   *Socket
		address  net.Addr
		deadline func(time.Time) error
	}{
		{"udp", NewUDPSocket(udp, "udp", nil), udp.LocalAddr(), udp.SetReadDeadline},
		{"tcp", NewTCPSocket(tcp, "tcp", nil), tcp.Addr(), tcp.(*net.TCPListener).SetDeadline},
	} {
		t.Run(test.network, func(t *testing.T) {
			// A deadline in the past is as good as any error of the system.
			if err := test.deadline(time.Unix(1, 0)); err != nil {
				t.Fatal(err)
			}
			failed := make(chan struct{}, 1000)
			test.socket.reader = &telling{test.socket.reader, failed}
			test.socket.Serve(s)
			defer test.socket.Close()
			conn := dial(t, test.network, test.address.String())
			co := &dns.Conn{Conn: conn}
			if err := co.WriteMsg(question("text.example.org.", dns.TypeTXT)); err != nil {
				t.Fatal(err)
			}
			for range 6 {
				<-failed // which is noted before the next attempt
			}
			if n := test.socket.Errors(); n < 5 || test.socket.Err() == nil {
				t.Errorf("%d errors are counted: %v", n, test.socket.Err())
			}
			if err := test.deadline(time.Time{}); err != nil {
				t.Fatal(err)
			}
			if m, err := co.ReadMsg(); err != nil || len(m.Answer) != 1 {
				t.Errorf("what was asked while reading failed: %v, %v", m, err)
			}
			if err := test.socket.Err(); err != nil {
				t.Errorf("when it can be read again: %v", err)
			}
		})
	}
}

// A socket is answered by the last server that it was told of, and outlives each of
// them; a connection goes on with the next one, and counts as one of its own.
func TestServersOfOneSocket(t *testing.T) {
	newServer := func(data string) *Server {
		s := open(t, storePath(t))
		zone := zoneConfig(t, "example.org")
		serve(t, s, zone)
		apply(t, s, zone.Name, appending(rr(t, zone.Name, "which 60 TXT "+data)))
		return s
	}
	first, second := newServer("first"), newServer("second")
	udp, tcp := sockets(t, first, "127.0.0.1")
	conns := []net.Conn{dialSocket(t, udp), dialSocket(t, tcp)}
	check := func(when string, want *Server, data string) {
		t.Helper()
		for _, conn := range conns {
			m, _, err := new(dns.Client).ExchangeWithConn(question("which.example.org.", dns.TypeTXT), &dns.Conn{Conn: conn})
			if err != nil {
				t.Fatalf("%s: %v", when, err)
			}
			if got := readReply(m).Answer; !slices.Equal(got, []string{`which.example.org. 60 TXT "` + data + `"`}) {
				t.Errorf("%s, by %s: %v", when, conn.LocalAddr().Network(), got)
			}
		}
		for _, s := range []*Server{first, second} {
			if open := openConnections(s); (open == 1) != (s == want) {
				t.Errorf("%s, a server has %d connections", when, open)
			}
		}
	}
	by := func(s *Server) {
		for _, socket := range []*Socket{udp, tcp} {
			socket.Serve(s)
		}
	}
	check("at first", first, "first")
	by(second)
	check("with a second server", second, "second")
	by(first)
	check("with the first again", first, "first")
	by(second)
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	check("after the first was closed", second, "second")
}

func openConnections(s *Server) int {
	s.connections.mu.Lock()
	defer s.connections.mu.Unlock()
	return len(s.connections.open)
}

// Where the next server has no room for a connection, it is closed.
func TestNoRoomWithTheNextServer(t *testing.T) {
	first, second := questionServer(t), questionServer(t)
	second.connections = newConnections(1, 1)
	held, _ := net.Pipe()
	if c, ok := second.connections.admit(held); ok {
		c.setBusy()
	}
	_, tcp := sockets(t, first, "127.0.0.1")
	conn := dialSocket(t, tcp)
	if err := asks(t, conn); err != nil {
		t.Fatal(err)
	}
	tcp.Serve(second)
	if err := asks(t, conn); !errors.Is(err, io.EOF) && !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the connection goes on: %v", err)
	}
	if openConnections(first) != 0 || openConnections(second) != 1 {
		t.Error("a server has the connection")
	}
}

// Closing a socket ends what is idle at once, and leaves the server to others.
func TestClosingSockets(t *testing.T) {
	s := questionServer(t)
	udp, tcp := sockets(t, s, "127.0.0.1")
	idle := dialSocket(t, tcp)
	for _, conn := range []net.Conn{idle, dialSocket(t, udp)} {
		if err := asks(t, conn); err != nil {
			t.Fatal(err)
		}
	}
	began := time.Now()
	for _, socket := range []*Socket{udp, tcp} {
		socket.Close()
		socket.Close()
		if err := socket.Err(); err != nil {
			t.Error(err)
		}
		socket.Serve(s) // too late
	}
	if took := time.Since(began); took > tcpRead {
		t.Errorf("it took %v", took)
	}
	if n, err := idle.Read(make([]byte, 1)); n != 0 || err == nil {
		t.Errorf("the idle connection is still open: %d, %v", n, err)
	}
	if err := s.Health(); err != nil {
		t.Errorf("the server: %v", err)
	}
}
