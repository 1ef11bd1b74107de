package e2e

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"math/rand/v2"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/libdns/libdns"

	"github.com/caddy-dns/bestdns"
	"github.com/caddy-dns/bestdns/e2e/internal/harness"
	"github.com/caddy-dns/bestdns/internal/api"
)

// noLog is for servers that are to fail.
var noLog = log.New(io.Discard, "", 0)

const (
	html = "<!doctype html><title>Sorry</title>"

	// slack is for a machine that is busy.
	slack = 5 * time.Second
	// errorBound is how long a call may take to fail: tries for five seconds, and
	// where the outcome is unknown the withdrawal of a challenge, for five at most.
	errorBound = 10*time.Second + slack
	// silenceBound is the same where no answer ever comes: the client waits 12 s for
	// one.
	silenceBound = 17*time.Second + slack
	// withdrawalBound is until when a challenge is gone whose append failed.
	withdrawalBound = 5*time.Second + slack
)

// faultKind is a fault and what may be asked of the client in it.
type faultKind struct {
	Fault
	// hopeless says that even one such fault fails a call; harmless that no number
	// of them does.
	hopeless, harmless bool
	bound              time.Duration
}

// faultKinds returns all faults.
func faultKinds() []faultKind {
	drop := (*Exchange).Drop
	silence := func(x *Exchange) { <-x.r.Context().Done() }
	cut := func(x *Exchange) { x.RelayHalf(); x.Drop() }
	answer := func(status int, contentType, body string, header map[string]string) func(*Exchange) {
		return func(x *Exchange) { x.Answer(status, header, contentType, body) }
	}
	retry := func(after string) map[string]string { return map[string]string{"Retry-After": after} }
	soon := func(x *Exchange) {
		x.Answer(http.StatusTooManyRequests, retry(time.Now().Add(2*time.Second).UTC().Format(http.TimeFormat)), "text/plain", "slow down")
	}
	slow := func(x *Exchange) { x.Wait(700 * time.Millisecond); x.Relay() }

	// Those in which the wait is longest come first.
	kinds := []faultKind{
		{Fault: Fault{Name: "silence instead of the service", Strike: silence}, hopeless: true, bound: silenceBound},
		{Fault: Fault{Name: "silence after the service's answer", Forward: true, Strike: silence}, hopeless: true, bound: silenceBound},
		{Fault: Fault{Name: "429 with Retry-After of a second", Strike: answer(429, "text/plain", "slow down", retry("1"))}},
		{Fault: Fault{Name: "429 with Retry-After by date", Strike: soon}},
		{Fault: Fault{Name: "429 with Retry-After of an hour", Strike: answer(429, "text/plain", "slow down", retry("3600"))}, hopeless: true},
		{Fault: Fault{Name: "503 with Retry-After of a second", Strike: answer(503, "text/html", html, retry("1"))}},
		{Fault: Fault{Name: "connection refused", Refuse: true}},
		{Fault: Fault{Name: "connection closed before the request", Strike: drop}},
		{Fault: Fault{Name: "connection closed after the request", Forward: true, Strike: drop}},
		{Fault: Fault{Name: "connection closed in the middle of the answer", Forward: true, Strike: cut}},
		{Fault: Fault{Name: "delay before the request", Strike: slow}, harmless: true},
		{Fault: Fault{Name: "delay after the request", Forward: true, Strike: slow}, harmless: true},
		{Fault: Fault{Name: "HTML with status 200", Strike: answer(200, "text/html", html, nil)}},
		{Fault: Fault{Name: "HTML with status 200 after the request", Forward: true, Strike: answer(200, "text/html", html, nil)}},
		{Fault: Fault{Name: "HTML that is said to be JSON", Forward: true, Strike: answer(200, "application/json", html, nil)}},
		{Fault: Fault{Name: "half of the JSON", Forward: true, Strike: answer(200, "application/json", `{"records":[{"name":`, nil)}},
		{Fault: Fault{Name: "nothing with status 200", Forward: true, Strike: answer(200, "application/json", "", nil)}},
	}
	for _, status := range []int{500, 502, 503, 504} {
		kinds = append(kinds,
			faultKind{Fault: Fault{Name: fmt.Sprint(status), Strike: answer(status, "text/plain", "sorry", nil)}},
			faultKind{Fault: Fault{Name: fmt.Sprint(status, " after the request"), Forward: true, Strike: answer(status, "text/html", html, nil)}},
		)
	}
	return kinds
}

// Values of challenges.
var (
	challengeThere = strings.Repeat("A", 43)
	challengeNew   = strings.Repeat("B", 43)
)

// libdnsCall is a call of a client in a zone that has the records of faultZone.
type libdnsCall struct {
	name string
	do   func(context.Context, *bestdns.Provider, string) ([]string, error)
	// want is the answer without a fault, and after the zone's contents then.
	want  []string
	after []libdns.Record
	// deletes says that a repetition may report fewer records; challenge that none
	// is left behind by a failure.
	deletes, challenge bool
}

var faultZone = []libdns.Record{
	txt("_acme-challenge", challengeThere), addr("host", "192.0.2.1"), txt("host", "old"), mx("@", 10, "mail.example."),
}

func libdnsCalls() []libdnsCall {
	change := func(do method, recs []libdns.Record) func(context.Context, *bestdns.Provider, string) ([]string, error) {
		return func(ctx context.Context, p *bestdns.Provider, zone string) ([]string, error) {
			got, err := do(p, ctx, zone, recs)
			return lines(got), err
		}
	}
	challenge := list(txt("_acme-challenge", challengeNew))
	addresses := list(addr("host", "192.0.2.2"), addr("new", "192.0.2.3"))
	set := list(addr("host", "192.0.2.4"), txt("host", "new"), txt("host", "newer"))
	return []libdnsCall{
		{
			name: "ListZones",
			do: func(ctx context.Context, p *bestdns.Provider, _ string) ([]string, error) {
				zones, err := p.ListZones(ctx)
				var names []string
				for _, z := range zones {
					names = append(names, z.Name)
				}
				return names, err
			},
			want: []string{"faults.example."}, after: faultZone,
		},
		{
			name: "GetRecords",
			do: func(ctx context.Context, p *bestdns.Provider, zone string) ([]string, error) {
				got, err := p.GetRecords(ctx, zone)
				return lines(got), err
			},
			want: lines(faultZone), after: faultZone,
		},
		{
			name: "AppendRecords of a challenge", do: change(appends, challenge), want: lines(challenge),
			after: append(challenge, faultZone...), challenge: true,
		},
		{
			name: "AppendRecords of addresses", do: change(appends, addresses), want: lines(addresses),
			after: append(addresses[:2:2], faultZone...),
		},
		{
			name: "AppendRecords of a text that is there", do: change(appends, list(txt("host", "old"))), want: lines(list(txt("host", "old"))),
			after: faultZone,
		},
		{
			name: "SetRecords", do: change(sets, set), want: lines(set),
			after: append(set[:3:3], faultZone[0], faultZone[3]),
		},
		{
			name: "DeleteRecords", do: change(deletes, list(faultZone[0], anyOf("host", "", ""))), want: lines(faultZone[:3]),
			after: faultZone[3:], deletes: true,
		},
	}
}

// faultCase is one call through a proxy in a zone of its own.
type faultCase struct {
	call  libdnsCall
	zone  string
	proxy *FaultProxy
	// direct is a client of the service with nothing in between.
	direct *bestdns.Provider
	token  string
	bound  time.Duration
	// away says that there was no service for longer than a withdrawal takes. Then
	// only the service's own expiry removes what is left.
	away bool
}

// prepare fills the zone.
func (c *faultCase) prepare(t testing.TB) {
	t.Helper()
	if _, err := c.direct.AppendRecords(t.Context(), c.zone, faultZone); err != nil {
		t.Fatal(err)
	}
}

// check judges how a call ended, and returns whether it succeeded.
func (c *faultCase) check(t testing.TB, answer []string, err error, took time.Duration) (succeeded bool) {
	t.Helper()
	before, after := lines(faultZone), lines(c.call.after)
	now := contents(t, c.direct, c.zone, nil)
	if err == nil {
		if diff := cmp.Diff(c.call.want, answer); diff != "" && !(c.call.deletes && isSubset(answer, c.call.want)) {
			t.Errorf("the answer (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff(after, now); diff != "" {
			t.Errorf("the zone after success (-want +got):\n%s", diff)
		}
		return true
	}
	var failed *bestdns.Error
	if !errors.As(err, &failed) {
		t.Errorf("the error %v is a %T", err, err)
		return false
	}
	if took > c.bound {
		t.Errorf("it took %s to fail, and may take %s: %v", took, c.bound, err)
	}
	if strings.Contains(err.Error(), c.token) || strings.Contains(fmt.Sprintf("%#v", failed), c.token) {
		t.Errorf("the error has the token in it: %v", err)
	}
	if failed.Unchanged {
		if diff := cmp.Diff(before, now); diff != "" {
			t.Errorf("the zone, said to be unchanged (-want +got):\n%s", diff)
		}
	} else if !slices.Equal(now, before) && !slices.Equal(now, after) {
		t.Errorf("the zone is half changed (-before +now):\n%s", cmp.Diff(before, now))
	}
	if c.call.challenge && !c.away {
		c.waitWithdrawn(t)
	}
	return false
}

// waitWithdrawn fails the test if the challenge does not go away.
func (c *faultCase) waitWithdrawn(t testing.TB) {
	t.Helper()
	deadline := time.After(withdrawalBound)
	for {
		request := c.requestEnded()
		diff := cmp.Diff(lines(faultZone), contents(t, c.direct, c.zone, nil))
		if diff == "" {
			return
		}
		select {
		case <-request:
		case <-deadline:
			t.Errorf("a challenge is left behind (-want +got):\n%s", diff)
			return
		}
	}
}

// requestEnded tells of the next request of the client. Without a proxy no one sees
// it, and it is time to look again after a while.
func (c *faultCase) requestEnded() <-chan struct{} {
	if c.proxy != nil {
		return c.proxy.Ended()
	}
	again := make(chan struct{})
	time.AfterFunc(50*time.Millisecond, func() { close(again) })
	return again
}

func isSubset(part, all []string) bool {
	for _, s := range part {
		if !slices.Contains(all, s) {
			return false
		}
	}
	return true
}

// startFaultService runs a service and returns the address of its API and a
// token for it.
func startFaultService(t *testing.T) (addr, token string) {
	t.Helper()
	addr, token = harness.FreeAddr(t), api.NewToken()
	harness.StartCaddy(t, harness.CaddyBinary, "faults.caddyfile", faultEnv(t, addr, token))
	return addr, token
}

func faultEnv(t testing.TB, addr, token string) harness.Env {
	return harness.Env{
		"DNS": harness.FreeAddr(t), "STORE": filepath.Join(t.TempDir(), "records.db"),
		"API_PORT": harness.Port(t, addr), "TOKEN_DIGEST": harness.Digest(token),
	}
}

// manyAtOnce runs subtests that mostly wait. They do not count as parallel tests,
// of which there are as many as processors.
type manyAtOnce struct {
	wg   sync.WaitGroup
	room chan struct{}
}

func newManyAtOnce() *manyAtOnce { return &manyAtOnce{room: make(chan struct{}, 64)} }

func (m *manyAtOnce) Run(t *testing.T, name string, f func(*testing.T)) {
	m.room <- struct{}{}
	m.wg.Go(func() {
		defer func() { <-m.room }()
		t.Run(name, f)
	})
}

// protocols of a proxy, as the value for secure.
var protocols = map[string]bool{"HTTP 1.1": false, "HTTP 2": true}

// Each fault in each call: once, at every try, and in random company.
func TestFaults(t *testing.T) {
	t.Parallel()
	addr, token := startFaultService(t)
	direct := &bestdns.Provider{Endpoint: "http://" + addr, APIToken: token}
	kinds := faultKinds()
	many := newManyAtOnce()
	zones := 0
	for _, kind := range kinds {
		for protocol, secure := range protocols {
			for _, call := range libdnsCalls() {
				for _, always := range []bool{false, true} {
					zones++
					zone := fmt.Sprintf("z%d.faults.example.", zones)
					name := fmt.Sprintf("%s/%s/%s/always=%t", kind.Name, protocol, call.name, always)
					many.Run(t, name, func(t *testing.T) {
						c := &faultCase{call: call, zone: zone, direct: direct, token: token, bound: max(kind.bound, errorBound)}
						c.proxy = NewFaultProxy(t, addr, secure, func(n int) *Fault {
							if n == 1 || always {
								return &kind.Fault
							}
							return nil
						})
						succeeded := c.run(t)
						expected := kind.harmless || !always && !kind.hopeless
						if succeeded != expected {
							t.Errorf("succeeded: %t, and should: %t", succeeded, expected)
						}
					})
				}
			}
		}
	}
	for seed := range uint64(20) {
		for protocol, secure := range protocols {
			for _, call := range libdnsCalls() {
				zones++
				zone := fmt.Sprintf("z%d.faults.example.", zones)
				many.Run(t, fmt.Sprintf("random %d/%s/%s", seed, protocol, call.name), func(t *testing.T) {
					random := rand.New(rand.NewPCG(seed, 0))
					c := &faultCase{call: call, zone: zone, direct: direct, token: token, bound: silenceBound}
					c.proxy = NewFaultProxy(t, addr, secure, func(int) *Fault {
						if random.IntN(4) == 0 {
							return nil
						}
						return &kinds[random.IntN(len(kinds))].Fault
					})
					c.run(t)
				})
			}
		}
	}
	many.wg.Wait()
}

// A caller may do at once again what failed, with the same value: an ACME server
// gives the same challenge for an authorization that is still pending. What the
// client withdraws after the failure must not be that.
func TestFaultsThenTheSameAgain(t *testing.T) {
	t.Parallel()
	addr, token := startFaultService(t)
	direct := &bestdns.Provider{Endpoint: "http://" + addr, APIToken: token}
	many := newManyAtOnce()
	zones := 0
	for _, do := range []struct {
		name string
		method
	}{{"append", appends}, {"set", sets}} {
		for _, ended := range []bool{false, true} {
			for _, forward := range []bool{false, true} {
				zones++
				zone := fmt.Sprintf("z%d.faults.example.", zones)
				many.Run(t, fmt.Sprintf("%s/forward=%t/context ended=%t", do.name, forward, ended), func(t *testing.T) {
					fault := Fault{Forward: forward, Strike: (*Exchange).Drop}
					proxy := NewFaultProxy(t, addr, true, func(int) *Fault { return &fault })
					p := proxy.NewProvider(t, token)
					ctx, cancel := context.WithCancel(t.Context())
					defer cancel()
					if ended {
						fault.Strike = func(x *Exchange) { cancel(); x.Drop() }
					}
					recs := list(txt("_acme-challenge", challengeNew))
					if _, err := p.AppendRecords(ctx, zone, recs); err == nil {
						t.Fatal("no fault")
					}
					proxy.Heal()
					if _, err := do.method(p, t.Context(), zone, recs); err != nil {
						t.Fatal(err)
					}
					// What could take it away again is over by then, and comes by the proxy.
					over := time.After(withdrawalBound)
					for watching := true; watching; {
						request := proxy.Ended()
						if diff := cmp.Diff(lines(recs), contents(t, direct, zone, nil)); diff != "" {
							t.Fatalf("the zone (-want +got):\n%s", diff)
						}
						select {
						case <-request:
						case <-over:
							watching = false
						}
					}
					if diff := cmp.Diff(lines(recs), contents(t, direct, zone, nil)); diff != "" {
						t.Fatalf("the zone in the end (-want +got):\n%s", diff)
					}
				})
			}
		}
	}
	many.wg.Wait()
}

// run makes the call and judges it.
func (c *faultCase) run(t *testing.T) (succeeded bool) {
	t.Helper()
	c.prepare(t)
	p := c.proxy.NewProvider(t, c.token)
	started := time.Now()
	answer, err := c.call.do(t.Context(), p, c.zone)
	took := time.Since(started)
	c.proxy.Heal()
	return c.check(t, answer, err, took)
}
