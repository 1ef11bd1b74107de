package nameserver

import (
	"errors"
	"net"
	"net/netip"
	"syscall"
	"time"
)

// This file is the sockets by which NOTIFY is sent, and its answers come.

// notifyRedial is after how long a socket is replaced by another if no answer comes by it:
// addresses of this machine come and go.
const notifyRedial = 30 * time.Second

// notifySocket is a socket that is connected to a secondary.
type notifySocket struct {
	net.Conn
	opened  time.Time
	sources uint64        // notifier.sourcesChanged then
	ended   chan struct{} // closed when it is not read any more
}

// write sends a message, by another socket if there is none that works.
func (s *secondary) write(message []byte, now time.Time) error {
	sources := s.notifier.sourcesChanged.Load()
	if s.conn != nil && (s.conn.sources != sources || s.conn.isStale(now, s.silentSince())) {
		s.hangUp()
	}
	if s.conn == nil {
		conn, err := s.notifier.dial(s.address)
		if err != nil {
			return err
		}
		opened := &notifySocket{Conn: conn, opened: now, sources: sources, ended: make(chan struct{})}
		s.conn = opened
		s.notifier.running.Go(func() { s.read(opened) })
	}
	_, err := s.conn.Write(message)
	if errors.Is(err, syscall.ECONNREFUSED) { // said of an earlier message; this one was not sent
		_, err = s.conn.Write(message)
	}
	if err != nil && !errors.Is(err, syscall.ECONNREFUSED) {
		s.hangUp()
	}
	return err
}

// isStale reports whether a socket is to be replaced, of a secondary that has not answered
// since then.
func (c *notifySocket) isStale(now, silent time.Time) bool {
	select {
	case <-c.ended:
		return true
	default:
	}
	return !silent.IsZero() && now.Sub(c.opened) > notifyRedial
}

func (s *secondary) silentSince() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.silent
}

func (s *secondary) hangUp() {
	if s.conn != nil {
		s.conn.Close()
		s.conn = nil
	}
}

// read reads answers until the socket is closed, or does not work any more.
func (s *secondary) read(conn *notifySocket) {
	defer close(conn.ended)
	buf := make([]byte, maxQuery)
	for {
		n, err := conn.Read(buf)
		if errors.Is(err, syscall.ECONNREFUSED) {
			continue // said once of each message that was sent
		}
		if err != nil {
			return
		}
		select {
		case s.answers <- append([]byte(nil), buf[:n]...):
		case <-s.stopped:
			return
		}
	}
}

// dialUDP connects a socket to a secondary, from an address on which the server answers if
// there is one that can reach it, and otherwise from the one that the routes say.
func (n *notifier) dialUDP(to netip.AddrPort) (net.Conn, error) {
	conn, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(to))
	var usual netip.Addr
	if err == nil {
		usual = plainAddress(conn.LocalAddr().(*net.UDPAddr).AddrPort().Addr())
	}
	from := n.source(usual, to.Addr())
	if !from.IsValid() {
		return conn, err
	}
	bound, boundErr := net.DialUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(from, 0)), net.UDPAddrFromAddrPort(to))
	if boundErr != nil {
		return conn, err
	}
	if err == nil {
		conn.Close()
	}
	return bound, nil
}

// source returns the address to send from, if it is another than the usual one.
func (n *notifier) source(usual, to netip.Addr) (from netip.Addr) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.sources[usual] > 0 {
		return netip.Addr{}
	}
	for addr := range n.sources {
		fits := addr.Is4() == to.Is4() && addr.IsLoopback() == to.IsLoopback() && addr.IsLinkLocalUnicast() == to.IsLinkLocalUnicast()
		if fits && (!from.IsValid() || addr.Less(from)) { // the same one each time
			from = addr
		}
	}
	return from
}
