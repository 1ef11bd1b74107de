package api

import (
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/http"
	"time"
)

// Limits of connections. The service gives a change ten seconds.
const (
	dialTimeout   = 5 * time.Second  // to connect, and again for TLS
	headerTimeout = 12 * time.Second // from a request to the start of its answer
	idleTimeout   = 90 * time.Second // until an unused connection is closed
	pingInterval  = 15 * time.Second // of silence, until an HTTP/2 connection is tried
	maxConns      = 128              // without HTTP/2, where each concurrent call has one
)

func newTransport(roots *x509.CertPool, certificate func(*tls.CertificateRequestInfo) (*tls.Certificate, error)) *http.Transport {
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
		MaxIdleConns:        maxConns,
		MaxIdleConnsPerHost: maxConns,
		IdleConnTimeout:     idleTimeout,
	}
}
