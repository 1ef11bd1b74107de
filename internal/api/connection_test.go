package api

import (
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

func TestNoOneListens(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := ln.Addr().String()
	ln.Close()
	c, waits := newTestClient(t, "http://"+addr, NewToken(), nil)
	_, err = c.Change(t.Context(), "example.org.", Change{Append: sent})
	var e *Error
	if !errors.As(err, &e) || !e.Unchanged || e.Status != 0 {
		t.Fatalf("error %#v", err)
	}
	if want := "cannot connect to " + addr; !strings.Contains(err.Error(), want) {
		t.Errorf("error %q does not say %q", err, want)
	}
	if len(*waits) != defaultRetry.tries-1 {
		t.Errorf("waits %v", *waits)
	}
}

// TestConnections counts the connections of 100 concurrent calls, three times.
// None is answered before all of them are there.
func TestConnections(t *testing.T) {
	const concurrent, rounds = 100, 3
	for _, tt := range []struct {
		name  string
		http2 bool
		most  int32
	}{
		{"HTTP/1.1", false, maxConns},
		{"HTTP/2", true, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := newFakeService()
			srv := httptest.NewUnstartedServer(f)
			srv.EnableHTTP2 = tt.http2
			// Those that brought a request: on a busy machine, a handshake may take too
			// long, and is made again.
			var used sync.Map
			var connections, proto2 atomic.Int32
			srv.Config.ConnState = func(conn net.Conn, s http.ConnState) {
				if s != http.StateActive {
					return
				}
				if _, known := used.LoadOrStore(conn, true); !known {
					connections.Add(1)
				}
			}
			var arrived atomic.Int32
			var all [rounds]chan struct{}
			for i := range all {
				all[i] = make(chan struct{})
			}
			h := srv.Config.Handler
			srv.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.ProtoMajor == 2 {
					proto2.Add(1)
				}
				n := arrived.Add(1)
				round := all[(n-1)/concurrent]
				if n%concurrent == 0 {
					close(round)
				}
				select {
				case <-round:
				case <-r.Context().Done():
				}
				h.ServeHTTP(w, r)
			})
			srv.StartTLS()
			defer srv.Close()
			roots := x509.NewCertPool()
			roots.AddCert(srv.Certificate())
			c, _ := newTestClient(t, srv.URL, f.token, roots)
			for range rounds {
				var wg sync.WaitGroup
				for i := range concurrent {
					wg.Go(func() {
						if err := calls[i%len(calls)].do(t.Context(), c); err != nil {
							t.Error(err)
						}
					})
				}
				wg.Wait()
			}
			if n := connections.Load(); n == 0 || n > tt.most {
				t.Errorf("%d connections, want at most %d", n, tt.most)
			}
			if got := proto2.Load() == concurrent*rounds; got != tt.http2 {
				t.Errorf("%d requests with HTTP/2", proto2.Load())
			}
			t.Logf("%d connections", connections.Load())
		})
	}
}

func TestCertificateNotTrusted(t *testing.T) {
	f := newFakeService()
	srv := httptest.NewTLSServer(f)
	defer srv.Close()
	srv.Config.ErrorLog = nil
	c, waits := newTestClient(t, srv.URL, f.token, x509.NewCertPool())
	_, err := c.Change(t.Context(), "example.org.", Change{Append: sent})
	var e *Error
	if !errors.As(err, &e) || !e.Unchanged || !strings.Contains(err.Error(), "trusted_roots") || len(*waits) != 0 {
		t.Errorf("error %#v, waits %v", err, *waits)
	}
}

// TestNoTLS meets servers that speak something else at once. None is asked twice.
func TestNoTLS(t *testing.T) {
	f := newFakeService()
	plain := httptest.NewServer(f)
	defer plain.Close()
	greeting, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer greeting.Close()
	go func() {
		for {
			conn, err := greeting.Accept()
			if err != nil {
				return
			}
			defer conn.Close()
			io.WriteString(conn, "220 mail.example.net ESMTP\r\n")
		}
	}()
	for name, addr := range map[string]string{"HTTP": plain.Listener.Addr().String(), "SMTP": greeting.Addr().String()} {
		c, waits := newTestClient(t, "https://"+addr, f.token, nil)
		_, err := c.Change(t.Context(), "example.org.", Change{Append: sent})
		var e *Error
		if !errors.As(err, &e) || !e.Unchanged || !strings.Contains(err.Error(), addr+" does not speak TLS") || len(*waits) != 0 {
			t.Errorf("%s: error %#v, waits %v", name, err, *waits)
		}
	}
}
