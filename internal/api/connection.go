package api

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// Limits of connections. The service gives a change ten seconds, and waits for name servers
// for what the change has left of [serviceWait].
const (
	dialTimeout   = 5 * time.Second  // to connect, and again for TLS
	headerTimeout = 12 * time.Second // from a request to the start of its answer
	idleTimeout   = 90 * time.Second // until an unused connection is closed
	pingInterval  = 15 * time.Second // of silence, until an HTTP/2 connection is tried
	maxConns      = 128              // to an endpoint without HTTP/2, where each concurrent call has one
)

// NewTransport returns what connects to the service. roots and certificate are as in
// [NewClient] and [Identity].
func NewTransport(roots *x509.CertPool, certificate func(*tls.CertificateRequestInfo) (*tls.Certificate, error)) *http.Transport {
	dialer := &net.Dialer{Timeout: dialTimeout}
	return &http.Transport{
		Proxy:       http.ProxyFromEnvironment,
		DialContext: dialer.DialContext,
		TLSClientConfig: &tls.Config{
			MinVersion:           tls.VersionTLS12,
			RootCAs:              roots,
			GetClientCertificate: certificate,
		},
		TLSHandshakeTimeout:   dialTimeout,
		ResponseHeaderTimeout: headerTimeout,
		ForceAttemptHTTP2:     true,
		HTTP2:                 &http.HTTP2Config{SendPingTimeout: pingInterval, PingTimeout: dialTimeout},
		// As many are kept as there may be, so that none is closed only to be opened
		// again for the next call.
		MaxConnsPerHost:     maxConns,
		MaxIdleConnsPerHost: maxConns,
		IdleConnTimeout:     idleTimeout,
	}
}

// firstConnection lets one call connect by itself while the others wait, so that
// calls that begin together share its HTTP/2 connection. net/http alone opens
// one for each and throws all but one away: over TLS on loopback, of 64 calls that
// begin together the last is then answered after 0.3 s instead of 0.1 s, and they take
// 90 ms of CPU on both sides instead of 15.
type firstConnection struct {
	turn chan struct{} // holds one value while a call is connecting
	used *atomic.Int64 // Unix time in nanoseconds at which a call last had a connection
}

// firstConnectionWait is how long a call waits for another one to connect. Past
// that the service is slow or away, and each call finds out for itself.
const firstConnectionWait = time.Second

func newFirstConnection() firstConnection {
	return firstConnection{turn: make(chan struct{}, 1), used: new(atomic.Int64)}
}

// connected is to be called when a call has its connection.
func (f *firstConnection) connected() { f.used.Store(time.Now().UnixNano()) }

func (f *firstConnection) exists() bool {
	return time.Now().UnixNano()-f.used.Load() < int64(idleTimeout/2)
}

// wait returns at once when there probably is a connection, or no one is making
// one. What it returns is to be called, at least once, when the caller has its
// connection or has none to expect.
func (f *firstConnection) wait(ctx context.Context) (done func()) {
	if f.exists() {
		return func() {}
	}
	timer := time.NewTimer(firstConnectionWait)
	defer timer.Stop()
	select {
	case f.turn <- struct{}{}:
	case <-timer.C:
		return func() {}
	case <-ctx.Done():
		return func() {}
	}
	done = sync.OnceFunc(func() { <-f.turn })
	if f.exists() {
		done()
	}
	return done
}
