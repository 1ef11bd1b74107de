package e2e

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddy-dns/bestdns"
	"github.com/caddy-dns/bestdns/e2e/internal/harness"
	"github.com/caddy-dns/bestdns/internal/api"
)

// killPoint is where the requests are when the service is killed.
type killPoint struct {
	name string
	// until is what becomes of a request up to there, and then after it.
	until, then func(*Exchange)
	// underWay says that the requests are let go with the kill, and not held.
	underWay bool
	// answered says that a client needs no service after it.
	answered bool
}

func killPoints() []killPoint {
	nothing := func(*Exchange) {}
	points := []killPoint{
		{name: "before the request", until: nothing, then: (*Exchange).Drop},
		{name: "before the request, with a gateway in between", until: nothing,
			then: func(x *Exchange) { x.Answer(502, nil, "text/html", html) }},
		{name: "in a delay before the request", until: nothing, then: (*Exchange).Relay},
		{name: "after the request", until: (*Exchange).forward, then: (*Exchange).Drop},
		{name: "after the request, with a gateway in between", until: (*Exchange).forward,
			then: func(x *Exchange) { x.Answer(504, nil, "text/html", html) }},
		{name: "in the middle of the answer", until: (*Exchange).RelayHalf, then: (*Exchange).Drop},
		{name: "in a delay after the request", until: (*Exchange).forward, then: (*Exchange).Relay, answered: true},
	}
	for i := range 6 {
		points = append(points, killPoint{
			name: fmt.Sprintf("with the request under way, %d", i), until: nothing, then: (*Exchange).Relay, underWay: true,
		})
	}
	return points
}

// The service is killed while the requests of all calls are at one point of their
// way, and started again: at once, so that the tries of the clients find it, or
// when they have given up. Some services share the points, to be done sooner.
func TestFaultsWithKills(t *testing.T) {
	t.Parallel()
	const services = 4
	type round struct {
		point killPoint
		late  bool
	}
	var rounds []round
	for _, point := range killPoints() {
		if !point.underWay {
			rounds = append(rounds, round{point, true})
		}
		rounds = append(rounds, round{point, false})
	}
	next := make(chan int, len(rounds))
	for i := range rounds {
		next <- i
	}
	close(next)
	var wg sync.WaitGroup
	for i := range services {
		wg.Go(func() {
			t.Run(fmt.Sprint("service ", i), func(t *testing.T) {
				addr, token := harness.FreeAddr(t), api.NewToken()
				s := startFaulty(t, addr, token)
				for i := range next {
					r := rounds[i]
					t.Run(fmt.Sprintf("%s/late=%t", r.point.name, r.late), func(t *testing.T) {
						killAt(t, s, r.point, i, r.late)
					})
				}
			})
		})
	}
	wg.Wait()
}

// startFaulty runs the service of the tests of faults, in whose logs there is no
// error however it ends.
func startFaulty(t *testing.T, addr, token string) *harness.Service {
	t.Helper()
	s := harness.NewService(t)
	s.API, s.Token, s.Caddyfile = addr, token, "faults.caddyfile"
	t.Cleanup(func() {
		s.Kill()
		for _, log := range s.Logs {
			harness.CheckLog(t, log, nil)
		}
	})
	s.MustStart()
	return s
}

// killAt makes each call with each protocol, waits until all of the requests are
// at the point, kills, and judges what the calls have come to.
func killAt(t *testing.T, s *harness.Service, point killPoint, round int, late bool) {
	direct := &bestdns.Provider{Endpoint: "http://" + s.API, APIToken: s.Token}
	var arrived, returned, checked sync.WaitGroup
	killed, up := make(chan struct{}), make(chan struct{})
	calls := len(protocols) * len(libdnsCalls())
	answered := make(chan struct{}, calls)
	fault := &Fault{Strike: func(x *Exchange) {
		point.until(x)
		arrived.Done()
		<-killed
		x.forwarded = func() { answered <- struct{}{} }
		point.then(x)
	}}
	for protocol, secure := range protocols {
		for i, call := range libdnsCalls() {
			c := &faultCase{
				call: call, direct: direct, token: s.Token, bound: errorBound, away: late,
				zone: fmt.Sprintf("p%d-%d-%s.faults.example.", round, i, protocol[len(protocol)-1:]),
			}
			c.proxy = NewFaultProxy(t, s.API, secure, func(n int) *Fault {
				if n == 1 {
					return fault
				}
				return nil
			})
			c.prepare(t)
			p := c.proxy.NewProvider(t, s.Token)
			arrived.Add(1)
			returned.Add(1)
			checked.Go(func() {
				started := time.Now()
				answer, err := call.do(t.Context(), p, c.zone)
				took := time.Since(started)
				returned.Done()
				<-up
				t.Run(c.call.name+" "+c.zone, func(t *testing.T) {
					if c.check(t, answer, err, took) && late && !point.answered {
						t.Error("succeeded without a service")
					}
				})
			})
		}
	}
	arrived.Wait()
	if point.underWay {
		close(killed)
		for range rand.IntN(calls) { // the others are under way, or have yet to come
			<-answered
		}
		s.Kill()
	} else {
		s.Kill()
		close(killed)
	}
	if late {
		returned.Wait()
	}
	s.MustStart()
	close(up)
	checked.Wait()
}

// Clients without a proxy call on and on while the service is killed at any time.
func TestFaultsWithKillsAtAnyTime(t *testing.T) {
	t.Parallel()
	const kills = 6
	addr, token := harness.FreeAddr(t), api.NewToken()
	s := startFaulty(t, addr, token)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var up sync.RWMutex       // is held to write while the service is down
	var underWay sync.RWMutex // is held to read while a call is, of those without a withdrawal
	var failures atomic.Int64
	var clients sync.WaitGroup
	made := make(chan struct{}, 1000) // a call was; more than that need not be told
	late := make(chan chan struct{})  // has one of those without a withdrawal begin when the channel is closed
	for i, call := range libdnsCalls() {
		p := &bestdns.Provider{Endpoint: "http://" + addr, APIToken: token}
		direct := &bestdns.Provider{Endpoint: "http://" + addr, APIToken: token}
		clients.Go(func() {
			for round := 0; ctx.Err() == nil && !t.Failed(); round++ {
				c := &faultCase{call: call, direct: direct, token: token, bound: errorBound, zone: fmt.Sprintf("k%d-%d.faults.example.", i, round)}
				up.RLock()
				c.prepare(t)
				up.RUnlock()
				if !call.challenge {
					underWay.RLock()
					select {
					case killed := <-late:
						<-killed
					default:
					}
				}
				started := time.Now()
				answer, err := call.do(t.Context(), p, c.zone)
				took := time.Since(started)
				if !call.challenge {
					underWay.RUnlock()
				}
				if err != nil {
					failures.Add(1)
				}
				select {
				case made <- struct{}{}:
				default:
				}
				up.RLock()
				c.check(t, answer, err, took)
				up.RUnlock()
			}
		})
	}
	gone := make(chan struct{})
	go func() { clients.Wait(); close(gone) }()
	for i := range kills {
		for range 100 + rand.IntN(100) {
			select {
			case <-made:
			case <-gone:
				t.Fatal("the clients have given up")
			}
		}
		killed := make(chan struct{})
		over := i%3 == 2 // starts again only when the tries of the clients are over
		if over {
			select {
			case late <- killed: // or there may be none to try
			case <-gone:
				t.Fatal("the clients have given up")
			}
		}
		up.Lock()
		s.Kill()
		close(killed)
		if over {
			underWay.Lock()
			s.Launch()
			underWay.Unlock()
			harness.NoError(t, s.WaitUp())
		} else {
			s.MustStart()
		}
		up.Unlock()
	}
	cancel()
	<-gone
	if n := failures.Load(); n < kills/3 {
		t.Errorf("%d calls failed, want one for each of the %d kills that outlast their tries", n, kills/3)
	}
}
