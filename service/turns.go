package service

import (
	"context"
	"runtime"
	"time"

	"github.com/caddy-dns/bestdns/internal/access"
	"github.com/caddy-dns/bestdns/internal/api"
)

// turns bound what one client has under way at once, so that what it asks for waits for
// what it has asked for before, and not others for both. What is beyond them waits.
//
// Changes take their turns once more, at the zone: those of the built-in name server in
// its pool, those of a DNS provider for its one call at a time.
type turns struct {
	// requests are all that the client's token has let in.
	requests semaphore
	// bodies are those larger than smallBody that are in memory.
	bodies semaphore
	// work is what is done with such bodies. Where one client's took all processors,
	// others' requests would wait for the scheduler.
	work semaphore
	// walks are those through the records of zones for an answer.
	walks semaphore
	// page is the page that is being made.
	page semaphore
}

const (
	requestsAtOnce = 256
	bodiesAtOnce   = 4
	walksAtOnce    = 2
	// pagesAtOnce are the pages that are being made, for all clients: each is whole in
	// memory.
	pagesAtOnce = 8
	// smallBody is how long the body of a change may be to be worked on without a turn.
	// A change of one record has some 150 bytes.
	smallBody = 1024
	// turnPatience is how long a request waits for its turn.
	turnPatience = 10 * time.Second
)

// pages outlives configurations.
var pages = make(semaphore, pagesAtOnce)

func newTurns() *turns {
	return &turns{
		requests: make(semaphore, requestsAtOnce),
		bodies:   make(semaphore, bodiesAtOnce),
		work:     make(semaphore, max(1, runtime.GOMAXPROCS(0)/2)),
		walks:    make(semaphore, walksAtOnce),
		page:     make(semaphore, 1),
	}
}

// provisionTurns makes the turns of each client.
func (a *App) provisionTurns() {
	a.turns = make(map[*access.Client]*turns)
	for client := range a.clients.All() {
		a.turns[client] = newTurns()
	}
}

// semaphore lets so many in as it has room for.
type semaphore chan struct{}

// enter waits for room, and returns what gives it back.
func (s semaphore) enter(ctx context.Context) (leave func(), p *problem) {
	select {
	case s <- struct{}{}:
		return s.leave, nil
	default:
	}
	timer := time.NewTimer(turnPatience)
	defer timer.Stop()
	select {
	case s <- struct{}{}:
		return s.leave, nil
	case <-ctx.Done():
	case <-timer.C:
	}
	p = newProblem(api.Unavailable, "this client has as much under way as it may have at once, and none of it has ended for some time; send this again later")
	p.retryAfter = time.Second
	return nil, p
}

func (s semaphore) leave() { <-s }

// breather gives way to other requests now and then, in what takes long.
type breather int

// breathe is called once for each of many small steps.
func (b *breather) breathe() {
	const often = 128
	if *b++; *b%often == 0 {
		runtime.Gosched()
	}
}
