package service

import (
	"context"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/caddy-dns/bestdns/internal/api"
	"github.com/caddy-dns/bestdns/internal/hosting"
)

// gates bound what one client has under way at once, so that what it asks for waits for
// what it has asked for before, and not others for both. What is beyond them waits.
//
// Changes take their turns once more, at the zone: those of the built-in name server in
// its pool, those of a DNS provider for its one call at a time.
type gates struct {
	// requests are all that the client's token has let in.
	requests *gate
	// bodies are those larger than smallBody that are in memory.
	bodies *gate
	// chunked are bodies of unknown length: their reader finds their end, and a client
	// can have each byte be a piece of its own.
	chunked *gate
	// work is what is done with such bodies. Where one client's took all processors,
	// others' requests would wait for the scheduler.
	work *gate
	// walks are those through the records of zones for an answer.
	walks *gate
	// page is the page that is being made.
	page *gate
	// denials are the lines about its requests that were not let in.
	denials *lineLimit
}

const (
	requestsAtOnce = 256
	bodiesAtOnce   = 4
	walksAtOnce    = 2
	// pagesAtOnce are the pages that are being made, for all clients: each is whole in
	// memory.
	pagesAtOnce = 8
	// smallBody is how long the body of a change may be to be worked on at once.
	// A change of one record has some 150 bytes.
	smallBody = 1024
	// gateTimeout is how long a request waits to be let in: what comes then has to end
	// before the client stops waiting.
	gateTimeout = 5 * time.Second
	// mostWaiting is how many requests of a client wait at one gate. Each keeps some
	// 25 kB, and HTTP/2 lets a client send hundreds by one connection.
	mostWaiting = 512
)

// pages outlives configurations.
var pages = newGate(pagesAtOnce)

func newGates() *gates {
	half := max(1, runtime.GOMAXPROCS(0)/2) // of the processors
	return &gates{
		requests: newGate(requestsAtOnce),
		bodies:   newGate(bodiesAtOnce),
		chunked:  newGate(half),
		work:     newGate(half),
		walks:    newGate(walksAtOnce),
		page:     newGate(1),
		denials:  newClientLines(),
	}
}

// gate lets so many in as it has room for, and so many more wait.
type gate struct {
	room    chan struct{}
	waiting atomic.Int32
}

func newGate(room int) *gate { return &gate{room: make(chan struct{}, room)} }

// enter waits for room, which leave gives back. A caller that has gone is not let in.
func (g *gate) enter(ctx context.Context) error {
	if ctx.Err() != nil {
		return errGone()
	}
	select {
	case g.room <- struct{}{}:
		return nil
	default:
	}
	if g.waiting.Add(1) > mostWaiting {
		g.waiting.Add(-1)
		return errCrowded("this client has %d requests waiting, and no more may: send fewer at once", mostWaiting)
	}
	defer g.waiting.Add(-1)
	timer := time.NewTimer(gateTimeout)
	defer timer.Stop()
	select {
	case g.room <- struct{}{}:
		return nil
	case <-ctx.Done():
		return errGone()
	case <-timer.C:
		return errCrowded("this client has as much under way as it may have at once, and none of it has ended within %s", gateTimeout)
	}
}

func (g *gate) leave() { <-g.room }

// isCrowded reports whether a client has more let in than most ever have.
func (g *gate) isCrowded() bool { return len(g.room) > cap(g.room)/2 }

func errCrowded(format string, args ...any) error {
	e := hosting.Errorf(api.Unavailable, format, args...)
	e.RetryAfter, e.Quiet = time.Second, true
	return e.NotLetIn(hosting.Busy, nil)
}

// errGone is for a caller that does not wait for the answer any more. No one will read
// it.
func errGone() error {
	e := hosting.Errorf(api.Unavailable, "the client has gone")
	e.Quiet = true
	return e
}
