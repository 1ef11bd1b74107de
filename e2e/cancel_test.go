package e2e

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/libdns/libdns"

	"github.com/caddy-dns/bestdns"
	"github.com/caddy-dns/bestdns/e2e/internal/harness"
)

// cancelBound is the time in which a call returns whose context has ended.
const cancelBound = 100 * time.Millisecond

// cancelPoint is where a call is when its context ends.
type cancelPoint struct {
	name string
	// strike is what the proxy does with each request, at tells which of them it is
	// whose arrival ends the context, so much later.
	strike func(*Exchange)
	at     int
	later  time.Duration
	// only leaves out the calls that do not come there.
	only func(libdnsCall) bool
}

func cancelPoints() []cancelPoint {
	silence := func(x *Exchange) { <-x.r.Context().Done() }
	sorry := func(x *Exchange) { x.Answer(503, nil, "text/plain", "sorry") }
	return []cancelPoint{
		{name: "before the request", at: 1, strike: silence},
		{name: "after the request", at: 1, strike: func(x *Exchange) { x.forward(); silence(x) }},
		{name: "in the middle of the answer", at: 1, later: 20 * time.Millisecond,
			strike: func(x *Exchange) { x.RelayHalf(); silence(x) }},
		{name: "in the wait for another try", at: 2, later: 20 * time.Millisecond, strike: sorry},
		{name: "in a wait that the service asked for", at: 1, later: 20 * time.Millisecond,
			strike: func(x *Exchange) { x.Answer(429, map[string]string{"Retry-After": "3"}, "text/plain", "slow down") }},
		// The sixth request is the first of the withdrawal.
		{name: "in a withdrawal", at: 6, later: 20 * time.Millisecond, strike: func(x *Exchange) { x.forward(); sorry(x) },
			only: func(c libdnsCall) bool { return c.challenge }},
	}
}

// This test and the next one measure times, so that they are not parallel to any other.
func TestCancelledCallsReturn(t *testing.T) {
	addr, token := startFaultService(t)
	direct := &bestdns.Provider{Endpoint: "http://" + addr, APIToken: token}
	many := newManyAtOnce()
	measuring := make(chan struct{}, 2)
	zones := 0
	for _, point := range cancelPoints() {
		for protocol, secure := range protocols {
			for _, call := range libdnsCalls() {
				if point.only != nil && !point.only(call) {
					continue
				}
				zones++
				zone := fmt.Sprintf("z%d.faults.example.", zones)
				many.Run(t, point.name+"/"+protocol+"/"+call.name, func(t *testing.T) {
					assertFast(t, func(try int) time.Duration {
						c := &faultCase{call: call, zone: fmt.Sprintf("try%d.%s", try, zone), direct: direct, token: token, bound: errorBound}
						return c.cancelAt(t, addr, secure, point, measuring)
					})
				})
			}
		}
	}
	many.wg.Wait()
}

// assertFast fails the test unless what f measures is within the bound. On a
// machine that does other things too, one try of three has to be.
func assertFast(t *testing.T, f func(try int) time.Duration) {
	t.Helper()
	var took []time.Duration
	for try := range 3 {
		took = append(took, f(try))
		if took[try] <= cancelBound || t.Failed() {
			return
		}
	}
	t.Errorf("it returned %s after the end of its context", took)
}

// cancelAt makes a call, ends its context at the point, and returns how long
// after that it returned.
func (c *faultCase) cancelAt(t *testing.T, addr string, secure bool, point cancelPoint, measuring chan struct{}) time.Duration {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan time.Time, 1)
	c.proxy = NewFaultProxy(t, addr, secure, func(n int) *Fault {
		return &Fault{Strike: func(x *Exchange) {
			if n == point.at {
				time.AfterFunc(point.later, func() { ended <- time.Now(); cancel() })
			}
			point.strike(x)
		}}
	})
	c.prepare(t)
	p := c.proxy.NewProvider(t, c.token)
	measuring <- struct{}{}
	answer, err := c.call.do(ctx, p, c.zone)
	returned := time.Now()
	<-measuring
	var took time.Duration
	select {
	case at := <-ended:
		took = returned.Sub(at)
	default:
		t.Errorf("it returned before its context ended: %v, %v", answer, err)
	}
	// The append that is withdrawn has failed before, for another reason.
	if !errors.Is(err, context.Canceled) && point.only == nil {
		t.Errorf("the error is %v", err)
	}
	c.proxy.Heal()
	c.check(t, answer, err, 0)
	return took
}

// In the same process it is the zone's provider that may not answer.
func TestCancelledCallsReturnInProcess(t *testing.T) {
	LoadCaddy(t, "hung.caddyfile", harness.Env{"HUNG": silentServer(t)})
	p := localProvider(t)
	for _, call := range []struct {
		name string
		do   method
		rec  libdns.Record
	}{
		{"GetRecords", func(p *bestdns.Provider, ctx context.Context, zone string, _ []libdns.Record) ([]libdns.Record, error) {
			return p.GetRecords(ctx, zone)
		}, nil},
		{"AppendRecords of a challenge", appends, txt("_acme-challenge", challengeNew)},
		{"AppendRecords", appends, addr("host", "192.0.2.1")},
		{"SetRecords", sets, addr("host", "192.0.2.1")},
		{"DeleteRecords", deletes, addr("host", "192.0.2.1")},
		{"DeleteRecords by name", deletes, anyOf("host", "", "")},
	} {
		t.Run(call.name, func(t *testing.T) {
			zone := "hung.example."
			if call.name == "AppendRecords" {
				zone = "free.example." // where no call is under way
			}
			assertFast(t, func(n int) time.Duration {
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				ended := make(chan time.Time, 1)
				time.AfterFunc(50*time.Millisecond, func() { ended <- time.Now(); cancel() })
				_, err := call.do(p, ctx, zone, list(call.rec))
				took := time.Since(<-ended)
				var failed *bestdns.Error
				if !errors.Is(err, context.Canceled) || !errors.As(err, &failed) {
					t.Errorf("the error is %#v", err)
				}
				// The first call of a zone reaches its provider, and keeps the turn: one
				// that comes later has not begun when it is given up.
				begun := n == 0 && call.name == "AppendRecords"
				if failed != nil && failed.Unchanged == begun {
					t.Errorf("unchanged: %t", failed.Unchanged)
				}
				return took
			})
		})
	}
}

// silentServer takes connections and what comes in by them, and answers nothing.
func silentServer(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { io.Copy(io.Discard, conn) })
		}
	})
	t.Cleanup(func() { l.Close() })
	return l.Addr().String()
}
