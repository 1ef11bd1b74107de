package nameserver

import (
	"errors"
	"fmt"
	"net"
)

// maxQuery is the longest query that is read whole. It leaves room for EDNS options;
// the 512 octets of RFC 1035 do not.
const maxQuery = 4096

// listener is a socket that is being served.
type listener interface {
	// serve returns when the socket has been closed, or shutdown called, and all that
	// was begun is done.
	serve() error
	// shutdown closes the socket and lets what is being answered be answered.
	shutdown()
}

// ServeUDP answers the queries that come to a UDP socket, each from the address
// that it came to, on a socket for all addresses too. It returns nil after the
// socket or the server has been closed, and closes the socket before that. One
// server can serve several sockets.
func (s *Server) ServeUDP(conn *net.UDPConn) error {
	return s.serve(&udpListener{conn: conn, server: s}, conn.LocalAddr())
}

// ServeTCP answers the queries that come by a TCP listener, otherwise like
// [Server.ServeUDP].
func (s *Server) ServeTCP(socket net.Listener) error {
	return s.serve(&tcpListener{socket: socket, server: s, conns: make(map[*connection]struct{})}, socket.Addr())
}

// serve serves a socket until it or the server is closed.
func (s *Server) serve(l listener, addr net.Addr) error {
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
	if err := l.serve(); err != nil && !errors.Is(err, net.ErrClosed) {
		return fmt.Errorf("serving DNS on %s %s: %w", addr.Network(), addr, err)
	}
	return nil
}
