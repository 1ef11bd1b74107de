package nameserver

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/miekg/dns"
)

const (
	// udpBuffer is how much a UDP socket holds for us in octets, as far as the system
	// lets us: its default loses bursts.
	udpBuffer = 4 << 20
	// udpMaxQuery is the longest query over UDP that is read whole. It leaves room for
	// EDNS options; the standard 512 octets do not.
	udpMaxQuery = 4096
	// tcpIdle is how long a TCP connection may wait between queries (RFC 7766 §6.2.3).
	tcpIdle = 8 * time.Second
	// tcpRead is how long the first query may take to come.
	tcpRead = 2 * time.Second
)

// listener is a socket that is being served.
type listener struct{ dns.Server }

// ServeUDP answers the queries that come to a UDP socket, each from the address
// that it came to, on a socket for all addresses too. It returns nil after the
// socket or the server has been closed, and closes the socket before that. One
// server can serve several sockets.
func (s *Server) ServeUDP(conn *net.UDPConn) error {
	// Where the system does not let us, its own size has to do.
	_ = conn.SetReadBuffer(udpBuffer)
	l := s.newListener(true)
	l.PacketConn = conn
	return s.serve(l, conn.LocalAddr())
}

// ServeTCP answers the queries that come by a TCP listener, otherwise like
// [Server.ServeUDP].
func (s *Server) ServeTCP(socket net.Listener) error {
	l := s.newListener(false)
	l.Listener = &acceptor{Listener: socket, ended: l.shutdown}
	return s.serve(l, socket.Addr())
}

func (s *Server) newListener(udp bool) *listener {
	l := new(listener)
	l.Handler = handler{server: s, udp: udp}
	l.UDPSize = udpMaxQuery
	l.ReadTimeout = tcpRead
	l.IdleTimeout = func() time.Duration { return tcpIdle }
	// A limit would lose the queries that are on the way behind the last one.
	l.MaxTCPQueries = -1
	l.MsgAcceptFunc = accept
	l.DecorateWriter = func(w dns.Writer) dns.Writer { return headerWriter{w} }
	return l
}

// serve serves a socket until it or the server is closed.
func (s *Server) serve(l *listener, addr net.Addr) error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		l.shutdown()
		return ErrClosed
	}
	s.listeners[l] = struct{}{}
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		delete(s.listeners, l)
		s.mu.Unlock()
	}()
	if err := l.ActivateAndServe(); err != nil && !errors.Is(err, net.ErrClosed) {
		return fmt.Errorf("serving DNS on %s %s: %w", addr.Network(), addr, err)
	}
	return nil
}

// shutdown ends serving after the queries that are being answered.
func (l *listener) shutdown() {
	if err := l.Shutdown(); err == nil {
		return
	}
	// It has not begun, or has ended: closing the socket covers both.
	if l.PacketConn != nil {
		l.PacketConn.Close()
	}
	if l.Listener != nil {
		l.Listener.Close()
	}
}

// acceptor is a TCP listener under dns.Server, which goes on with old connections
// when the listener is closed and would spin where accepting fails.
type acceptor struct {
	net.Listener
	ended func()
}

func (a *acceptor) Accept() (net.Conn, error) {
	for pause := 5 * time.Millisecond; ; pause = min(2*pause, time.Second) {
		conn, err := a.Listener.Accept()
		if err == nil {
			return conn, nil
		}
		// Temporary is how net says that the process has too many files open.
		var passing interface{ Temporary() bool }
		if !errors.As(err, &passing) || !passing.Temporary() {
			go a.ended()
			return nil, err
		}
		time.Sleep(pause)
	}
}

// accept judges a message by its header. (Those that it rejects get a header only.)
func accept(h dns.Header) dns.MsgAcceptAction {
	const (
		response = 1 << 15
		opcode   = 0xf << 11
	)
	switch {
	case h.Bits&response != 0:
		return dns.MsgIgnore // answering answers makes loops
	case h.Bits&opcode != dns.OpcodeQuery:
		return dns.MsgRejectNotImplemented
	case h.Qdcount != 1:
		return dns.MsgReject
	}
	return dns.MsgAccept
}

// headerWriter sees to the header of answers that dns.Server makes itself, to
// messages that are rejected: it copies flags of the query that mean something
// else in an answer, TC among them.
type headerWriter struct{ dns.Writer }

func (w headerWriter) Write(m []byte) (int, error) {
	const (
		rcode              = 3 // octet of the header, and RA, Z, AD before the RCODE
		flags              = 2
		authoritative, cut = 1 << 2, 1 << 1
	)
	switch m[rcode] & 0xf {
	case dns.RcodeFormatError, dns.RcodeNotImplemented:
		m = bytes.Clone(m)
		m[flags] &^= authoritative | cut
		m[rcode] &= 0x1f // CD and the RCODE
	}
	return w.Writer.Write(m)
}
