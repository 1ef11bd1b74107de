package hosting

import (
	"context"
	"fmt"
	"runtime/debug"
	"time"

	"github.com/caddy-dns/bestdns/internal/fair"
	"github.com/caddy-dns/bestdns/internal/record"
)

// providerTurns are the turns at the providers of zones, by apex. Most providers with
// an HTTP API read what is there, merge and write: of two such calls at the same time
// one loses what the other wrote. The turns outlive configurations, so that the calls
// from before a reload and after it take turns too.
var providerTurns fair.Locks

const (
	// turnTimeout is how long a change waits for its turn. What is left of
	// ChangeTimeout then is for the call. Were that less, each call would begin with
	// too little time for its end once a queue has formed.
	turnTimeout = ChangeTimeout / 2
	// turnOverrun is how long after its deadline a call may keep its turn if it does
	// not return. It may still write, but one that never returns must not end all
	// changes of its zone.
	turnOverrun = time.Minute
	// mostLeftBehind is how many calls of all zones may have lost their turn without
	// having returned. Beyond, a call keeps its turn, or a provider that never returns
	// would take more room with each.
	mostLeftBehind = 64
)

// leftBehind holds a token for each call that has lost its turn without having returned.
var leftBehind = make(chan struct{}, mostLeftBehind)

// busyError is a call of a provider that was given up before anything was changed.
type busyError struct{ error }

func (e busyError) Unwrap() error { return e.error }

// takeTurn waits until the client may call the provider of a zone, no longer than
// ctx and wait allow.
func takeTurn(ctx context.Context, apex record.Name, client string, wait time.Duration) (release func(), err error) {
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	release, err = providerTurns.Acquire(ctx, string(apex), client)
	if err != nil {
		return nil, busyError{err}
	}
	return release, nil
}

// inTurn calls the provider of a zone, whose turn release ends, and waits no longer
// than ctx allows, which has a deadline: not every provider looks at it. The call is
// then left to itself, and keeps its turn until it returns or is long overdue.
func (z *providerZone) inTurn(ctx context.Context, release func(), call func() ([]Entry, error)) ([]Entry, error) {
	var entries []Entry // of the call, as err, once it has returned
	var err error
	returned := make(chan struct{})
	deadline, _ := ctx.Deadline()
	overdue := time.AfterFunc(time.Until(deadline)+turnOverrun, func() { z.leaveBehind(release, returned) })
	go func() {
		defer func() {
			// Here, where net/http does not see it, a panic would end all of Caddy.
			if r := recover(); r != nil {
				err = providerError{fmt.Errorf("the provider panicked: %v\n%s", r, debug.Stack())}
			}
			overdue.Stop()
			release()
			close(returned)
		}()
		entries, err = call()
	}()
	select {
	case <-returned:
		return entries, err
	case <-ctx.Done():
		return nil, providerError{ctx.Err()}
	}
}

// leaveBehind ends the turn of a call that is long overdue, and keeps account of it until
// it has returned.
func (z *providerZone) leaveBehind(release func(), returned <-chan struct{}) {
	log := z.log.With("zone", z.apex.String())
	select {
	case leftBehind <- struct{}{}:
		log.Error("the DNS provider of a zone does not return from a call; the next ones no longer wait for it")
	default:
		log.Error("the DNS provider of a zone does not return from a call, and neither do many others; the zone's next calls wait until one does")
		select {
		case leftBehind <- struct{}{}:
		case <-returned:
			return
		}
	}
	release()
	<-returned
	<-leftBehind
}
