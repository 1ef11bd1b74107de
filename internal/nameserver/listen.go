package nameserver

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"
)

// maxQuery is the longest query that is read whole. It leaves room for EDNS options;
// the 512 octets of RFC 1035 do not.
const maxQuery = 4096

// Socket is a UDP or TCP socket on which DNS is answered, until it is closed,
// whatever happens to it. It outlives the servers that answer: the last that it was told
// of does. All of its methods may be called concurrently.
type Socket struct {
	address string
	reader  reader
	errors  socketErrors

	// current is the server that answers. It is asked for each batch or message anew.
	current atomic.Pointer[Server]

	closing chan struct{} // closed by Close
	done    chan struct{} // closed when reading has ended

	mu      sync.Mutex // guards what follows
	started bool
	closed  bool
}

// reader is what is particular to UDP or TCP.
type reader interface {
	// serve answers what comes, until something fails or the socket is closed. It can
	// be called again.
	serve() error
	// shutdown closes the socket, and waits for what is being answered.
	shutdown()
}

// NewUDPSocket makes a [Socket] of a UDP socket. Queries are answered from the
// address that they came to, on a socket for all addresses too. The address is what
// log lines and errors call it; the logger may be nil.
func NewUDPSocket(conn *net.UDPConn, address string, log *slog.Logger) *Socket {
	s := newSocket(address, log)
	s.reader = &udpListener{conn: conn, socket: s}
	return s
}

// NewTCPSocket is [NewUDPSocket] for a TCP listener.
func NewTCPSocket(listener net.Listener, address string, log *slog.Logger) *Socket {
	s := newSocket(address, log)
	s.reader = newTCPListener(listener, s)
	return s
}

func newSocket(address string, log *slog.Logger) *Socket {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Socket{
		address: address,
		errors:  socketErrors{log: log.With("address", address)},
		closing: make(chan struct{}),
		done:    make(chan struct{}),
	}
}

// Serve has a server answer what is read from now on, instead of the one before. The
// first call begins the reading; what has come before waits for it.
func (s *Socket) Serve(server *Server) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if before := s.current.Swap(server); before != server && !s.closed {
		s.notifyFrom(before, server)
	}
	if !s.started && !s.closed {
		s.started = true
		go s.run()
	}
}

// notifyFrom has a server, and no longer the one before, send NOTIFY from the address of the
// socket, where that is a UDP socket of one address. Either may be nil.
func (s *Socket) notifyFrom(before, server *Server) {
	udp, ok := s.reader.(*udpListener)
	if !ok {
		return
	}
	local, ok := udp.conn.LocalAddr().(*net.UDPAddr)
	if !ok || local.IP.IsUnspecified() {
		return
	}
	addr := plainAddress(local.AddrPort().Addr())
	if before != nil {
		before.notifier.removeSource(addr)
	}
	if server != nil {
		server.notifier.addSource(addr)
	}
}

// Err returns nil while the socket can be read, and otherwise why not. It names the
// address.
func (s *Socket) Err() error {
	if err := s.errors.err(); err != nil {
		return fmt.Errorf("reading DNS queries at %s: %w", s.address, err)
	}
	return nil
}

// Recovered returns when the socket could be read again after it could not; zero if that never was so.
func (s *Socket) Recovered() time.Time {
	s.errors.mu.Lock()
	defer s.errors.mu.Unlock()
	return s.errors.recovered
}

// Errors returns how often reading has failed. What is about one message does not
// count.
func (s *Socket) Errors() uint64 { return s.errors.count.Load() }

// Close closes the socket. It returns when what was being answered has been.
func (s *Socket) Close() {
	s.mu.Lock()
	wasClosed := s.closed
	s.closed = true
	started := s.started
	if !wasClosed {
		s.notifyFrom(s.current.Load(), nil)
	}
	s.mu.Unlock()
	if !wasClosed {
		close(s.closing)
	}
	s.reader.shutdown()
	if started {
		<-s.done
	}
}

// errStopped is what reading ended with that gave no reason.
var errStopped = errors.New("reading has ended without an error")

// run reads the socket until it is closed. Whatever ends the reading before, it is
// begun again.
func (s *Socket) run() {
	defer close(s.done)
	for {
		stop := s.errors.attempt()
		err := s.read()
		stop()
		select {
		case <-s.closing:
			return
		default:
		}
		pause := s.errors.failed(err)
		if errors.Is(err, net.ErrClosed) {
			return // by someone else: it keeps failing until it is opened anew
		}
		select {
		case <-s.closing:
			return
		case <-time.After(pause):
		}
	}
}

// read is the reader's, with an error for all that can end it.
func (s *Socket) read() (err error) {
	defer func() {
		if recovered := recover(); recovered != nil {
			err = &panicError{value: recovered, stack: debug.Stack()}
		}
	}()
	if err := s.reader.serve(); err != nil {
		return err
	}
	return errStopped
}

// panicError is a panic that ended the reading.
type panicError struct {
	value any
	stack []byte
}

func (e *panicError) Error() string { return fmt.Sprintf("panic: %v; please report this", e.value) }
