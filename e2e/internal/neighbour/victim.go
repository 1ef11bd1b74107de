package neighbour

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/caddy-dns/bestdns/e2e/internal/harness"
)

// waited is one thing that was waited for.
type waited struct {
	began time.Time
	took  time.Duration
	err   error
}

// samples is what one client measured.
type samples struct {
	mu  sync.Mutex
	all []waited
}

func (s *samples) add(one waited) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all = append(s.all, one)
}

// figures are what is said of samples.
type figures struct {
	count, failed        int
	median, p99, slowest time.Duration
	failure              error // the first
}

// between returns the figures of those that were under way at a time from one moment
// to another: a wait that lasts longer than that is the one that counts.
func (s *samples) between(from, to time.Time) figures {
	s.mu.Lock()
	defer s.mu.Unlock()
	var f figures
	var took []time.Duration
	for _, one := range s.all {
		if !one.began.Before(to) || one.began.Add(one.took).Before(from) {
			continue
		}
		f.count++
		if one.err != nil {
			f.failed++
			if f.failure == nil {
				f.failure = one.err
			}
		}
		took = append(took, one.took)
	}
	f.median, f.p99, f.slowest = quantile(took, 0.5), quantile(took, 0.99), quantile(took, 1)
	return f
}

// quantile returns the value that a share of all do not exceed, 0 of none. It sorts
// them.
func quantile(all []time.Duration, share float64) time.Duration {
	if len(all) == 0 {
		return 0
	}
	slices.Sort(all)
	return all[min(int(share*float64(len(all))), len(all)-1)]
}

// patience is how long the victim waits for one change: it should never have to.
const patience = 60 * time.Second

// obtain adds a challenge and removes it, again and again, until the context ends; a
// change that is under way then is waited for. A change that fails is repeated as a
// client would, on another connection.
func (n *Neighbourhood) obtain(ctx context.Context, to *samples) {
	const record = `[{"name":"_acme-challenge.victim","type":"TXT","ttl":60,"data":"victimvictimvictimvictimvictimvictimvictim0"}]`
	requests := [][]byte{
		patchRequest(n.Victim, []byte(`{"append":`+record+`}`)),
		patchRequest(n.Victim, []byte(`{"delete":`+record+`}`)),
	}
	var conn *httpConn
	defer func() { conn.close() }()
	for i := 0; ctx.Err() == nil; i++ {
		began := time.Now()
		var err error
		if conn == nil {
			conn, err = dialHTTP(context.Background(), n.API)
		}
		if err == nil {
			conn.SetDeadline(began.Add(patience))
			err = conn.exchange(requests[i%len(requests)], http.StatusOK)
		}
		to.add(waited{began, time.Since(began), err})
		if err != nil {
			conn.close()
			conn = nil
			wait(ctx, 20*time.Millisecond)
		}
	}
}

// wait waits for a time, or until the context ends.
func wait(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// httpConn is a connection of HTTP/1.1 that does little more than the protocol asks
// for: the client runs on the cores of the service that it measures.
type httpConn struct {
	net.Conn
	in *bufio.Reader
}

func dialHTTP(ctx context.Context, addr string) (*httpConn, error) {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	return &httpConn{conn, bufio.NewReader(conn)}, nil
}

func (c *httpConn) close() {
	if c != nil {
		c.Close()
	}
}

// read reads the answer to a request with a method, and returns its status.
func (c *httpConn) read(method string) (status int, text []byte, err error) {
	resp, err := http.ReadResponse(c.in, &http.Request{Method: method})
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		if text, err = io.ReadAll(io.LimitReader(resp.Body, 1<<10)); err != nil {
			return resp.StatusCode, text, err
		}
	}
	_, err = io.Copy(io.Discard, resp.Body)
	if err == nil && resp.Close {
		err = errClosing
	}
	return resp.StatusCode, text, err
}

var errClosing = fmt.Errorf("the server closes the connection: %w", io.EOF)

// exchange sends a request, and returns an error unless the answer has the status.
func (c *httpConn) exchange(request []byte, want int) error {
	if _, err := c.Write(request); err != nil {
		return err
	}
	status, text, err := c.read(methodOf(request))
	if err == nil && status != want {
		err = fmt.Errorf("status %d: %s", status, text)
	}
	return err
}

func methodOf(request []byte) string {
	method, _, _ := bytes.Cut(request, []byte(" "))
	return string(method)
}

// httpRequest writes a request of HTTP/1.1.
func httpRequest(method, target, token string, body []byte) []byte {
	head := fmt.Appendf(nil, "%s %s HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer %s\r\n", method, target, token)
	if method == http.MethodPatch {
		head = fmt.Appendf(head, "Content-Type: application/json\r\nContent-Length: %d\r\n", len(body))
	}
	return append(append(head, "\r\n"...), body...)
}

// recordsPath is where changes of the zone are sent.
const recordsPath = "/v1/zones/" + harness.HostedZone + "/records"

func patchRequest(token string, body []byte) []byte {
	return httpRequest(http.MethodPatch, recordsPath, token, body)
}
