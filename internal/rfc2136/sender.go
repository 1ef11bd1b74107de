package rfc2136

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"runtime"
	"runtime/debug"
	"time"

	"github.com/miekg/dns"

	"github.com/caddy-dns/bestdns/internal/record"
)

// This file takes changes out of the pool and sends them: what waits, in one message, and
// the next while that is answered there is time for more to come. There is nothing to tune
// but for closed loops: clients that got their answers together come again together, a little
// later, and a message sent for the first of them has the others wait for two. So the sender
// waits for as many as there were, for gatherTime at most; with one client it never does.

const (
	// mostChanges is how many changes share a message. It bounds what one that is refused
	// costs: about twice as many messages.
	mostChanges = 128
	// gatherTime is how long the sender waits for changes to share a message.
	gatherTime = 2 * time.Millisecond
)

// sender is what belongs to the goroutine that sends. There is one at a time; each begins
// after the end of the one before.
type sender struct {
	conn     *conn // nil: not connected
	last     int   // how many changes the last message that could be shared had
	signs    signing
	suspects suspects
}

// run sends until there was nothing to do for a while.
func (z *Zone) run() {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		pause := z.pause()
		switch {
		case pause < 0:
			return
		case pause > 0:
			timer.Reset(pause)
			select {
			case <-z.wake:
			case <-timer.C:
				if z.rest() {
					return
				}
			}
		}
		// Goroutines that can run may be about to join.
		runtime.Gosched()
		z.send(z.take())
	}
}

// pause returns how long the sender is to wait for changes before it takes them; negative if
// it is to end.
func (z *Zone) pause() time.Duration {
	z.mu.Lock()
	defer z.mu.Unlock()
	select {
	case <-z.wake: // for what has been seen, or is seen now
	default:
	}
	switch n := z.pool.Len(); {
	case n == 0 && z.closed:
		z.end()
		return -1
	case n == 0 && z.last <= 1:
		z.wanted = 1
		return idleTimeout
	case n < z.last:
		z.wanted = z.last
		return gatherTime
	}
	return 0
}

// rest ends the sender if there was nothing to do, and reports whether it did. After the last
// message was shared, it has waited for more changes only for a moment.
func (z *Zone) rest() bool {
	z.mu.Lock()
	defer z.mu.Unlock()
	if z.pool.Len() > 0 || z.last > 1 {
		return false
	}
	z.end()
	return true
}

// end is called with the lock: the next sender may begin as soon as it is released, and is to
// find what belongs to it as this one leaves it.
func (z *Zone) end() {
	z.disconnect()
	z.running = false
}

// take takes from the pool what goes into the next message.
func (z *Zone) take() []*job {
	jobs := z.pop()
	for _, j := range jobs {
		if j.begun != nil {
			j.begun()
		}
	}
	return jobs
}

func (z *Zone) pop() (jobs []*job) {
	z.mu.Lock()
	defer z.mu.Unlock()
	now := time.Now()
	size, questions := 0, 0
	for len(jobs) < mostChanges {
		j, ok := z.pool.Peek()
		if !ok {
			break
		}
		alone := j.apexNS || j.op == record.Update || z.suspects.has(j.client, now)
		size += j.size
		questions += len(j.before) + len(j.after)
		if len(jobs) > 0 && (alone || size > updateRoom || questions > mostQuestions) {
			break
		}
		z.pool.Pop()
		jobs = append(jobs, j)
		if alone {
			return jobs // what others send together stays as it is
		}
	}
	z.last = len(jobs)
	return jobs
}

// send does jobs, and ends each of them.
func (z *Zone) send(jobs []*job) {
	if len(jobs) == 0 {
		return
	}
	defer func() {
		// A panic would end the process, and those who wait would wait for ever.
		if recovered := recover(); recovered != nil {
			z.Log.Error("changing a zone panicked", "zone", z.Zone.String(), "panic", fmt.Sprint(recovered), "stack", string(debug.Stack()))
			z.disconnect()
			finishAll(jobs, &Error{Kind: Failed, Zone: z.Zone, Reason: "changing it failed here; the log has the cause: please report it" + unknownOutcome})
		}
	}()
	z.do(jobs)
}

// exchange sends requests to a primary, connecting to one first if need be, and returns the
// answers. Where a kept connection turns out to be closed, they are sent once more: what is
// sent here can be done twice. An error says whether the zone is certainly unchanged.
func (z *Zone) exchange(deadline time.Time, requests ...request) ([]reply, netip.AddrPort, error) {
	var lost error // of the first try
	for {
		if err := z.ensureConnected(deadline); err != nil {
			if lost != nil {
				err = lost
			}
			return nil, netip.AddrPort{}, err
		}
		c := z.conn
		replies, err := c.exchange(deadline, requests)
		if err == nil {
			if !c.proven {
				c.proven = true
				z.prefer(c.server)
			}
			return replies, c.server, nil
		}
		z.disconnect()
		if lost == nil && c.proven && !c.heard && isClosed(err) {
			lost = z.unanswered(c.server, err)
			continue
		}
		z.avoid(c.server)
		return nil, c.server, z.unanswered(c.server, err)
	}
}

// ensureConnected opens a connection if there is none.
func (z *Zone) ensureConnected(deadline time.Time) error {
	if z.conn != nil {
		return nil
	}
	ctx, cancel := context.WithDeadline(context.Background(), deadline)
	defer cancel()
	c, err := z.connect(ctx)
	z.conn = c
	return err
}

func (z *Zone) disconnect() {
	if z.conn != nil {
		z.conn.Close()
		z.conn = nil
	}
}

// sendUpdate sends the updates of some jobs in one message. The error, if any, is why nothing
// of it, or perhaps nothing, was changed.
func (z *Zone) sendUpdate(deadline time.Time, jobs []*job) error {
	if !time.Now().Before(deadline) {
		return &Error{
			Kind: Timeout, Zone: z.Zone, Unchanged: true,
			Reason: "no time was left after others' changes, which were refused; nothing was sent: try again",
		}
	}
	m := new(dns.Msg).SetUpdate(z.Zone.String())
	m.Compress = true
	for _, j := range jobs {
		m.Answer = append(m.Answer, j.required...)
		m.Ns = append(m.Ns, j.update...)
	}
	if len(m.Answer) > 0 {
		// A kept connection may turn out to be closed, and what was made could not be made again.
		z.disconnect()
	}
	replies, server, err := z.exchange(deadline, request{m, z.Key})
	if err != nil {
		var e *Error
		if errors.As(err, &e) && !e.Unchanged {
			e.Reason += unknownOutcome
		}
		return err
	}
	answer := replies[0]
	if answer.Rcode != dns.RcodeSuccess || answer.invalid != nil {
		return z.refused(server, forUpdate, answer.Msg, answer.invalid)
	}
	for _, n := range z.notifiers {
		n.changed()
	}
	return nil
}
