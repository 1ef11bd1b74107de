// Package rfc2136 keeps a zone on an external primary name server, such as Knot DNS,
// BIND or PowerDNS: it changes the zone by dynamic update (RFC 2136), reads it by zone
// transfer (RFC 5936), and tells secondaries of changes by NOTIFY (RFC 1996). All of it may
// be signed with a key (TSIG, RFC 8945).
//
// # One connection, one message
//
// Name servers accept few TCP connections at once (Knot and BIND have a queue of 10,
// PowerDNS serves 20), and an update costs them a write to disk, or more. So each [Zone] has
// one connection, and all changes that wait share one UPDATE message: the update section is
// processed in order (RFC 2136 §3.4), and the whole message is applied or nothing of it.
// While it is on its way the next changes gather. See sender.go.
//
// # Fairness
//
// Clients take turns (package fair). A message that is refused is divided until the changes
// at fault are found, so that they alone fail; after that their clients' changes have
// messages of their own for a while (suspects.go).
//
// # What was sent is looked at
//
// Servers answer NOERROR where they have changed nothing: data beside a CNAME is ignored
// (RFC 2136 §3.4.2.2), and what is below a delegation is stored and not served. So what was
// written is asked for afterwards, and what a delete is to take is asked for before. See
// look.go.
package rfc2136

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddy-dns/bestdns/internal/fair"
	"github.com/caddy-dns/bestdns/internal/record"
	"github.com/caddy-dns/bestdns/internal/tsig"
)

const (
	// changeTimeout is the time that a change has from its arrival to its end. It is below
	// the 12 s after which older clients of the service give up.
	changeTimeout = 10 * time.Second
	// turnTimeout is how long a change may wait for its turn. What is left of changeTimeout
	// is for the server: otherwise, once a queue has formed, each message would begin with
	// too little time for its answer.
	turnTimeout = changeTimeout / 2
)

// Config says where a zone is.
type Config struct {
	Zone record.Name
	// Primaries are the addresses at which the zone can be changed, one at least. When one
	// cannot be reached, the next is tried; the one that last worked is tried first.
	Primaries []netip.AddrPort
	// Key signs what is sent to the primaries, and their answers are to be signed with it.
	// The zero value sends unsigned.
	Key tsig.Key
	// Notify are told when the zone has changed.
	Notify []Secondary
	// Log is told what no caller can be told. nil: nothing is logged.
	Log *slog.Logger
}

// Zone is a zone on a primary name server. It is safe for concurrent use.
type Zone struct {
	Config

	dial      func(ctx context.Context, network, address string) (net.Conn, error)
	preferred atomic.Int64 // index of the primary to be tried first
	transfers fair.Locks   // one transfer at a time: each holds the zone in memory
	notifiers []*notifier

	mu      sync.Mutex
	pool    fair.Queue[*job] // as long as there are callers that wait: each has one job
	wanted  int              // how many jobs the sender waits for
	wake    chan struct{}    // has room for one; there are as many jobs as wanted, or it is closed
	running bool             // the sender runs
	closed  bool

	sender // of the goroutine that sends; there is one at most
}

// New returns a zone. It opens no connection and starts no goroutine; a change does.
func New(config Config) *Zone {
	if config.Log == nil {
		config.Log = slog.New(slog.DiscardHandler)
	}
	z := &Zone{
		Config: config,
		dial:   new(net.Dialer).DialContext,
		wake:   make(chan struct{}, 1),
	}
	for _, secondary := range config.Notify {
		z.notifiers = append(z.notifiers, newNotifier(z, secondary))
	}
	return z
}

// Change makes a change of a client, and returns when the primary has answered and, after an
// append or a set, has been asked for the records. It returns the records that were appended,
// set or deleted, as libdns defines each: what an append found there already is among them,
// what a delete did not find is not.
//
// Until the change is sent it waits for its turn; if ctx ends while it does, it is withdrawn.
// When it is about to be sent, begun is called once, if it is not nil; it must not block.
// From then on the change runs to its end, or to 10 s after its arrival, whatever ctx does.
//
// An append adds to what is there, and its TTL becomes that of the RRset. A set replaces the
// RRsets of its records. A delete takes what its matches do (see [record.Match]), and of those
// that give type and data just that record, whatever its TTL: the server has one TTL for the
// RRset, which any append changes. SOA records are not changed, and neither are records that
// a server makes when it signs a zone. A delete without types, or of more than questions can
// tell, reads the zone by zone transfer.
//
// The change is wholly done or not at all, but see [Error.Unchanged]. The error is an *[Error],
// or a *[record.RuleError] for a change that no server would make.
func (z *Zone) Change(ctx context.Context, client string, change record.Change, begun func()) ([]record.Record, error) {
	arrived := time.Now()
	j, err := z.prepare(client, change, arrived.Add(changeTimeout))
	if err != nil {
		return nil, err
	}
	if j.begun = begun; !j.needsTransfer {
		err = z.submit(ctx, j, arrived)
		if !errors.Is(err, errNeedsTransfer) {
			return j.records, err
		}
		// It has begun, so that it no longer ends with ctx.
		ctx, begun = context.WithoutCancel(ctx), nil
	}
	if j, err = z.readForDelete(ctx, j, arrived); err != nil {
		return nil, err
	}
	j.begun = begun
	err = z.submit(ctx, j, arrived)
	return j.records, err
}

// submit has the sender send a job, and waits for its end.
func (z *Zone) submit(ctx context.Context, j *job, arrived time.Time) error {
	if j.isEmpty() {
		return nil
	}
	if ctx.Err() != nil {
		return z.withdrawn(ctx)
	}
	if !z.join(j) {
		return z.busy("it is no longer used: the configuration has changed", nil)
	}
	timer := time.NewTimer(time.Until(arrived.Add(turnTimeout)))
	defer timer.Stop()
	select {
	case <-j.done:
		return j.err
	case <-ctx.Done():
		if z.leave(j) {
			return z.withdrawn(ctx)
		}
	case <-timer.C:
		if z.leave(j) {
			return z.busy("the primary name server is busy with earlier changes; try again", context.DeadlineExceeded)
		}
	}
	<-j.done
	return j.err
}

// join puts a job into the pool, and reports whether the zone takes any.
func (z *Zone) join(j *job) bool {
	z.mu.Lock()
	defer z.mu.Unlock()
	if z.closed {
		return false
	}
	z.pool.Push(j.client, j)
	switch {
	case !z.running:
		z.running = true
		go z.run()
	case z.pool.Len() >= z.wanted:
		z.wakeSender()
	}
	return true
}

func (z *Zone) wakeSender() {
	select {
	case z.wake <- struct{}{}:
	default: // it has been woken already
	}
}

// leave takes a job back, and reports whether it had not been taken yet.
func (z *Zone) leave(j *job) bool {
	z.mu.Lock()
	defer z.mu.Unlock()
	return z.pool.Remove(j.client, j)
}

// Close ends the zone's use. Changes that have not begun fail; those that have run to their
// end, as do transfers. Secondaries that have not answered a NOTIFY are sent it once more at
// most. It does not wait for any of these.
func (z *Zone) Close() {
	z.mu.Lock()
	z.closed = true
	var left []*job
	for j, ok := z.pool.Pop(); ok; j, ok = z.pool.Pop() {
		left = append(left, j)
	}
	z.mu.Unlock()
	z.wakeSender()
	for _, j := range left {
		j.finish(z.busy("it is no longer used: the configuration has changed", nil))
	}
	for _, n := range z.notifiers {
		n.close()
	}
}

// primaries returns the primaries in the order in which they are to be tried.
func (z *Zone) primaries() []netip.AddrPort {
	i := int(z.preferred.Load())
	return slices.Concat(z.Primaries[i:], z.Primaries[:i])
}

// prefer has a primary be tried first.
func (z *Zone) prefer(server netip.AddrPort) {
	z.preferred.Store(int64(max(0, slices.Index(z.Primaries, server))))
}

// avoid has a primary be tried last.
func (z *Zone) avoid(server netip.AddrPort) {
	i := slices.Index(z.Primaries, server)
	z.preferred.Store(int64((i + 1) % len(z.Primaries)))
}
