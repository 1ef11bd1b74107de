package service

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"sync"
	"syscall"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-dns/bestdns/internal/nameserver"
)

// What outlives a configuration: one name server per store, one set of sockets
// per address. (Sockets opened anew for each configuration lose the questions
// that wait in the old ones.)
var (
	servers     = caddy.NewUsagePool() // by store path: *sharedServer
	openSockets = caddy.NewUsagePool() // by socketKey: *socket
)

// sharedServer is a name server in the pool.
type sharedServer struct{ *nameserver.Server }

// Destruct closes the store when the last configuration has gone.
func (s *sharedServer) Destruct() error { return s.Close() }

// canonicalStorePath returns one path for one file, however it is written.
func canonicalStorePath(path string) (string, error) {
	if path == "" {
		path = filepath.Join(caddy.AppDataDir(), "bestdns", "records.db")
	}
	path, err := filepath.Abs(path)
	if err != nil {
		return "", fmt.Errorf("store %q: %w", path, err)
	}
	if real, err := filepath.EvalSymlinks(path); err == nil {
		return real, nil
	}
	// The file is yet to be made: its folder decides, where there is one.
	if dir, err := filepath.EvalSymlinks(filepath.Dir(path)); err == nil {
		return filepath.Join(dir, filepath.Base(path)), nil
	}
	return path, nil
}

// acquireServer opens the store, or joins those who have it open.
func acquireServer(path string) (*sharedServer, error) {
	value, _, err := servers.LoadOrNew(path, func() (caddy.Destructor, error) {
		server, err := nameserver.Open(nameserver.Options{
			Path:   path,
			Logger: processLog(),
		})
		if err != nil {
			return nil, err
		}
		return &sharedServer{server}, nil
	})
	if err != nil {
		return nil, err
	}
	return value.(*sharedServer), nil
}

func releaseServer(path string) error {
	_, err := servers.Delete(path)
	return err
}

// socket is a UDP or TCP socket in the pool, and the loop that reads it.
type socket struct {
	key       string
	address   caddy.NetworkAddress
	packets   *net.UDPConn // nil for TCP
	listener  net.Listener // nil for UDP
	owner     interface{ Close() error }
	startOnce sync.Once
	done      chan struct{} // closed when the reading loop has ended
	started   bool
}

// parseListen reads a listen address; one without a network stands for UDP and TCP.
func parseListen(text string) ([]caddy.NetworkAddress, error) {
	const defaultPort = 53
	var networks []string
	network, _, _, err := caddy.SplitNetworkAddress(text)
	if err != nil {
		return nil, err
	}
	switch network {
	case "":
		networks = []string{"udp", "tcp"}
	case "udp", "udp4", "udp6", "tcp", "tcp4", "tcp6", "fd", "fdgram":
		networks = []string{network}
	default:
		return nil, fmt.Errorf("the network %q carries no DNS; use udp, tcp, fd or fdgram, or none for UDP and TCP", network)
	}
	var addresses []caddy.NetworkAddress
	for _, network := range networks {
		address, err := caddy.ParseNetworkAddressWithDefaults(text, network, defaultPort)
		if err != nil {
			return nil, err
		}
		if address.IsFdNetwork() {
			addresses = append(addresses, address)
			continue
		}
		addresses = append(addresses, address.Expand()...)
	}
	return addresses, nil
}

// acquireSocket opens a socket, or joins those who have it open for the same
// store: a socket is read by one name server.
func acquireSocket(storePath string, address caddy.NetworkAddress) (*socket, error) {
	key := storePath + "|" + address.Network + "|" + address.String()
	value, _, err := openSockets.LoadOrNew(key, func() (caddy.Destructor, error) {
		return openSocket(key, address)
	})
	if err != nil {
		return nil, err
	}
	return value.(*socket), nil
}

func releaseSocket(key string) error {
	_, err := openSockets.Delete(key)
	return err
}

func openSocket(key string, address caddy.NetworkAddress) (*socket, error) {
	opened, err := address.Listen(context.Background(), 0, net.ListenConfig{})
	if err != nil {
		return nil, fmt.Errorf("opening %s for DNS: %w%s", address, err, portHint(address, err))
	}
	s := &socket{key: key, address: address, done: make(chan struct{})}
	switch opened := opened.(type) {
	case net.PacketConn:
		s.owner = opened
		// Only the bare socket tells to which of its addresses a question came;
		// a wildcard listener would answer from the wrong one.
		if s.packets = bareUDP(opened); s.packets == nil {
			opened.Close()
			return nil, fmt.Errorf("opening %s for DNS: not a UDP socket but a %T", address, opened)
		}
	case net.Listener:
		s.owner, s.listener = opened, opened
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

// serve begins to read the socket, once.
func (s *socket) serve(server *nameserver.Server) {
	s.startOnce.Do(func() {
		s.started = true
		go func() {
			defer close(s.done)
			var err error
			if s.packets != nil {
				err = server.ServeUDP(s.packets)
			} else {
				err = server.ServeTCP(s.listener)
			}
			if err != nil && !errors.Is(err, net.ErrClosed) {
				processLog().Error("the name server stopped reading a socket", "address", s.address.String(), "error", err)
			}
		}()
	})
}

// Destruct closes the socket and waits for its reading loop.
func (s *socket) Destruct() error {
	err := s.owner.Close()
	if s.packets != nil {
		// Closing Caddy's wrapper may leave the socket open; the loop must end.
		s.packets.Close()
	}
	if s.started {
		<-s.done
	}
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}
