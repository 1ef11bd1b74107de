package service

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
)

// loadText runs Caddy with a whole Caddyfile, until the test ends.
func (s *service) loadText(t testing.TB, caddyfile string) {
	t.Helper()
	if err := s.tryLoadText(t, caddyfile); err != nil {
		t.Fatal(err)
	}
}

// tryLoadText is loadText for a Caddyfile that may be refused. Where it replaces
// another one, it returns when no server of that one accepts connections any more:
// Caddy itself does not wait for that, and a request that comes to a server on its
// way out is dropped before any handler sees it.
func (s *service) tryLoadText(t testing.TB, caddyfile string) error {
	t.Helper()
	config, err := adapt(caddyfile)
	if err != nil {
		return err
	}
	t.Cleanup(func() { caddy.Stop() })
	ended := []<-chan struct{}{endOfServer(t, s.api+"/elsewhere")}
	if s.admin != "off" {
		ended = append(ended, endOfServer(t, "http://"+s.admin))
	}
	if err := caddy.Load(config, true); err != nil {
		return err
	}
	for _, ended := range ended {
		select {
		case <-ended:
		case <-time.After(30 * time.Second):
			t.Fatal("a server of the configuration before still runs")
		}
	}
	// Idle connections to those servers are closed, or about to be.
	http.DefaultClient.CloseIdleConnections()
	return nil
}

// endOfServer returns what is closed when the server at url has closed its listener.
// A server that shuts down closes that first and then its idle connections, so one
// of these is watched. It is closed already if nothing listens at url, which is
// none of the service's own: those are counted and logged.
func endOfServer(t testing.TB, url string) <-chan struct{} {
	t.Helper()
	ended := make(chan struct{})
	transport := &http.Transport{
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true},
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			conn, err := new(net.Dialer).DialContext(ctx, network, address)
			if err != nil {
				return nil, err
			}
			return &watchedConn{Conn: conn, closed: ended}, nil
		},
	}
	response, err := (&http.Client{Transport: transport}).Get(url)
	if err != nil {
		none := make(chan struct{})
		close(none)
		return none
	}
	defer response.Body.Close()
	if _, err := io.Copy(io.Discard, response.Body); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(transport.CloseIdleConnections)
	return ended
}

// watchedConn tells when it is closed, which its transport does when the server has
// closed it.
type watchedConn struct {
	net.Conn
	once   sync.Once
	closed chan<- struct{}
}

func (c *watchedConn) Close() error {
	c.once.Do(func() { close(c.closed) })
	return c.Conn.Close()
}
