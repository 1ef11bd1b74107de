package e2e

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/caddy-dns/bestdns"
	"github.com/caddy-dns/bestdns/e2e/internal/harness"
)

// Fault is what befalls a request on its way to the service or back.
type Fault struct {
	Name string
	// Refuse closes the connection when it comes in. The other fields are for
	// requests.
	Refuse bool
	// Forward has the service answer the request before the fault.
	Forward bool
	// Strike is called instead of an answer. What it leaves open is done by
	// [Exchange.Relay].
	Strike func(*Exchange)
}

// FaultProxy is between one client and the API, and has faults.
type FaultProxy struct {
	server *httptest.Server
	target string
	api    *http.Client       // of the service
	plan   func(n int) *Fault // of the nth request or refused connection; nil for none

	mu     sync.Mutex
	n      int
	healed bool
	ended  chan struct{} // closed and replaced at the end of each request
}

// faultUpstream is for the connections of all of the proxies to services.
var faultUpstream = &http.Transport{MaxIdleConnsPerHost: 64, IdleConnTimeout: 5 * time.Second}

// NewFaultProxy starts a proxy before the API at the address target: with HTTP/2
// over TLS if it is secure, with HTTP/1.1 otherwise.
func NewFaultProxy(t testing.TB, target string, secure bool, plan func(n int) *Fault) *FaultProxy {
	t.Helper()
	p := &FaultProxy{target: target, plan: plan, ended: make(chan struct{}), api: &http.Client{Transport: harness.DefinedTransport(t, faultUpstream)}}
	p.server = httptest.NewUnstartedServer(p)
	p.server.Listener = refusingListener{p.server.Listener, p}
	p.server.Config.ErrorLog = noLog
	p.server.Config.ConnContext = func(ctx context.Context, conn net.Conn) context.Context {
		return context.WithValue(ctx, connKey{}, conn)
	}
	if secure {
		p.server.EnableHTTP2 = true
		p.server.StartTLS()
	} else {
		p.server.Start()
	}
	t.Cleanup(func() {
		p.server.CloseClientConnections()
		p.server.Close()
	})
	return p
}

// NewProvider returns a client of the service behind the proxy.
func (p *FaultProxy) NewProvider(t testing.TB, token string) *bestdns.Provider {
	t.Helper()
	provider := &bestdns.Provider{Endpoint: p.server.URL, APIToken: token}
	if p.server.TLS != nil {
		provider.TrustedRoots = []string{harness.WriteCertificate(t, p.server.Certificate())}
	}
	return provider
}

// Heal ends the faults, but for those that have begun.
func (p *FaultProxy) Heal() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.healed = true
}

// Ended returns a channel that is closed when the next request has been dealt with.
// Callers get the channel first, and then look at what requests have done.
func (p *FaultProxy) Ended() <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.ended
}

func (p *FaultProxy) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	close(p.ended)
	p.ended = make(chan struct{})
}

// next returns the fault of what comes in now: of a connection, or of a request.
func (p *FaultProxy) next(connection bool) *Fault {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.healed {
		return nil
	}
	fault := p.plan(p.n + 1)
	if connection && (fault == nil || !fault.Refuse) {
		return nil // its requests are counted, then
	}
	p.n++
	return fault
}

// refusingListener has the faults of connections.
type refusingListener struct {
	net.Listener
	proxy *FaultProxy
}

func (l refusingListener) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil || l.proxy.next(true) == nil {
			return conn, err
		}
		conn.Close()
	}
}

func (p *FaultProxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	defer p.end()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	x := &Exchange{w: w, r: r, body: body, target: p.target, api: p.api}
	fault := p.next(false)
	if fault == nil {
		x.Relay()
		return
	}
	if fault.Forward {
		x.forward()
	}
	fault.Strike(x)
}

// Exchange is a request and its answer in the hands of a proxy.
type Exchange struct {
	w      http.ResponseWriter
	r      *http.Request
	body   []byte
	target string
	api    *http.Client
	answer *upstreamAnswer
	// forwarded, if not nil, is called when the service has answered, or has not.
	forwarded func()
}

type upstreamAnswer struct {
	status int
	header http.Header
	body   []byte
}

type connKey struct{}

// Drop closes the connection.
func (x *Exchange) Drop() {
	x.r.Context().Value(connKey{}).(net.Conn).Close()
	panic(http.ErrAbortHandler)
}

// forward hands the request to the service, if that was not done yet, and takes
// its answer, also when the client has gone. Without an answer it does what
// becomes of a connection whose other end is closed.
func (x *Exchange) forward() {
	if x.answer != nil {
		return
	}
	if x.forwarded != nil {
		defer x.forwarded()
	}
	ctx := context.WithoutCancel(x.r.Context())
	req, err := http.NewRequestWithContext(ctx, x.r.Method, "http://"+x.target+x.r.URL.EscapedPath(), bytes.NewReader(x.body))
	if err != nil {
		x.Drop()
	}
	req.Header = x.r.Header.Clone()
	resp, err := x.api.Do(req)
	if err != nil {
		x.Drop()
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		x.Drop()
	}
	x.answer = &upstreamAnswer{status: resp.StatusCode, header: resp.Header, body: body}
}

// Relay answers as the service does.
func (x *Exchange) Relay() {
	x.forward()
	x.relayHeader()
	x.w.Write(x.answer.body)
}

// RelayHalf answers with the first half of what the service does, and promises
// all of it.
func (x *Exchange) RelayHalf() {
	x.forward()
	x.relayHeader()
	x.w.Write(x.answer.body[:len(x.answer.body)/2])
	http.NewResponseController(x.w).Flush()
}

func (x *Exchange) relayHeader() {
	header := x.w.Header()
	for name, values := range x.answer.header {
		header[name] = values
	}
	header.Set("Content-Length", strconv.Itoa(len(x.answer.body)))
	x.w.WriteHeader(x.answer.status)
}

// Answer answers in the service's place.
func (x *Exchange) Answer(status int, header map[string]string, contentType, body string) {
	for name, value := range header {
		x.w.Header().Set(name, value)
	}
	x.w.Header().Set("Content-Type", contentType)
	x.w.WriteHeader(status)
	io.WriteString(x.w, body)
}

// Wait waits, but not longer than the client does.
func (x *Exchange) Wait(d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-x.r.Context().Done():
	}
}
