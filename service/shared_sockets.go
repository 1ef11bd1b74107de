package service

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"syscall"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-dns/bestdns/internal/nameserver"
)

// openSockets are the sockets, which outlive configurations and stores: opened anew for
// each, they would lose the questions that wait in the old ones.
var openSockets = socketPool{bound: make(map[string]*boundAddress)}

// socketPool counts who uses sockets. As a rule an address has one, and one more for
// each time that a reload found it failing, until those that had it are gone.
type socketPool struct {
	mu    sync.Mutex
	bound map[string]*boundAddress // by socketLabel
}

// boundAddress is what there is at one address.
type boundAddress struct {
	sockets []*socket // the newest last
	errors  uint64    // of those that are closed
}

// socket is a UDP or TCP socket in the pool.
type socket struct {
	*nameserver.Socket
	label string
	owner interface{ Close() error }
	users int // guarded by the pool's lock
}

// socketLabel is how an address is called in the log, in metrics and in answers: like
// "udp/192.0.2.1:53".
func socketLabel(address caddy.NetworkAddress) string {
	return address.Network + "/" + address.JoinHostPort(0)
}

// acquire returns the newest socket at an address that works, or opens one. Should
// that fail where there is one already, which is failing itself, that has to do: a
// configuration is not refused for what it has not changed.
func (p *socketPool) acquire(address caddy.NetworkAddress) (*socket, error) {
	label := socketLabel(address)
	p.mu.Lock()
	defer p.mu.Unlock()
	bound := p.bound[label]
	if bound == nil {
		bound = new(boundAddress)
	}
	for _, s := range slices.Backward(bound.sockets) {
		if s.Err() == nil {
			s.users++
			return s, nil
		}
	}
	s, err := openSocket(label, address)
	switch n := len(bound.sockets); {
	case err == nil:
		bound.sockets = append(bound.sockets, s)
		p.bound[label] = bound
	case n > 0:
		processLog().Error("a socket is failing, and another one cannot be opened in its place", "address", label, "error", err)
		s = bound.sockets[n-1]
	default:
		return nil, err
	}
	s.users++
	return s, nil
}

// release gives up a socket. The last one to do so closes it.
func (p *socketPool) release(s *socket) error {
	if p.leave(s) {
		return s.close()
	}
	return nil
}

// leave counts one user less, and reports whether it was the last.
func (p *socketPool) leave(s *socket) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if s.users--; s.users > 0 {
		return false
	}
	bound := p.bound[s.label]
	bound.errors += s.Errors()
	bound.sockets = slices.DeleteFunc(bound.sockets, func(other *socket) bool { return other == s })
	if len(bound.sockets) == 0 {
		delete(p.bound, s.label)
	}
	return true
}

// errors returns how often reading at an address has failed since it was first listened
// on.
func (p *socketPool) errors(label string) uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	bound := p.bound[label]
	if bound == nil {
		return 0
	}
	n := bound.errors
	for _, s := range bound.sockets {
		n += s.Errors()
	}
	return n
}

func openSocket(label string, address caddy.NetworkAddress) (*socket, error) {
	opened, err := address.Listen(context.Background(), 0, net.ListenConfig{})
	if err != nil {
		return nil, fmt.Errorf("opening %s for DNS: %w%s", address, err, portHint(address, err))
	}
	s := &socket{label: label}
	switch opened := opened.(type) {
	case net.PacketConn:
		s.owner = opened
		// Only the bare socket tells to which of its addresses a question came;
		// a wildcard listener would answer from the wrong one.
		raw := bareUDP(opened)
		if raw == nil {
			opened.Close()
			return nil, fmt.Errorf("opening %s for DNS: not a UDP socket but a %T", address, opened)
		}
		s.Socket = nameserver.NewUDPSocket(raw, label, processLog())
	case net.Listener:
		s.owner = opened
		s.Socket = nameserver.NewTCPSocket(opened, label, processLog())
	default:
		return nil, fmt.Errorf("opening %s for DNS: neither a packet socket nor a listener but a %T", address, opened)
	}
	return s, nil
}

// bareUDP takes off what Caddy has wrapped a socket in.
func bareUDP(conn net.PacketConn) *net.UDPConn {
	for {
		switch c := conn.(type) {
		case *net.UDPConn:
			return c
		case interface{ Unwrap() net.PacketConn }:
			conn = c.Unwrap()
		case interface{ Unwrap() any }:
			inner, ok := c.Unwrap().(net.PacketConn)
			if !ok {
				return nil
			}
			conn = inner
		default:
			return nil
		}
	}
}

// portHint says what to do about an address that cannot be had.
func portHint(address caddy.NetworkAddress, err error) string {
	switch {
	case errors.Is(err, syscall.EADDRINUSE) && address.StartPort == 53:
		return "; another name server has the port, usually systemd-resolved, which holds 127.0.0.53: listen on the machine's public address instead of all of them, or set DNSStubListener=no in /etc/systemd/resolved.conf"
	case errors.Is(err, syscall.EADDRINUSE):
		return "; another process has the port: \"ss -lunpt\" shows which"
	case errors.Is(err, syscall.EACCES):
		return "; a port below 1024 needs the capability CAP_NET_BIND_SERVICE (AmbientCapabilities= in a systemd unit, or \"setcap cap_net_bind_service=+ep\" on the binary)"
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return "; this machine does not have the address"
	}
	return ""
}

// close closes the socket when what was being answered has been.
func (s *socket) close() error {
	s.Close()
	// Caddy's wrapper has more to do. The socket itself is closed already, unless the
	// wrapper only pretends to.
	if err := s.owner.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
		return err
	}
	return nil
}
