package rfc2136

import (
	"context"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"github.com/miekg/dns"

	"github.com/caddy-dns/bestdns/internal/nsquery"
	"github.com/caddy-dns/bestdns/internal/tsig"
)

const (
	// notifyTimeout is how long a secondary has to answer a NOTIFY until it is sent again, or
	// that of the next change instead; notifyTries is how often it is sent at most.
	notifyTimeout = 500 * time.Millisecond
	notifyTries   = 5
	// notifyLog is how often the failures of one secondary are logged at most.
	notifyLog = time.Minute
)

// Secondary is a name server that is told when the zone has changed.
type Secondary struct {
	Address netip.AddrPort
	// Key signs what is sent to it. The zero value sends unsigned.
	Key tsig.Key
}

// notifier tells one secondary of changes (RFC 1996). Primaries take their time for that:
// Knot a second, BIND five. A goroutine runs while there is something to tell; it sends one
// NOTIFY at a time, and after its answer one more for all changes since.
type notifier struct {
	zone *Zone
	Secondary

	mu      sync.Mutex
	running bool
	again   bool // the zone has changed since the last NOTIFY was sent
	closed  bool

	logged time.Time // of the goroutine
}

func newNotifier(z *Zone, s Secondary) *notifier { return &notifier{zone: z, Secondary: s} }

// changed has the secondary be told. It does not wait.
func (n *notifier) changed() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.again = true
	if !n.running {
		n.running = true
		go n.run()
	}
}

// close lets the notifier send what it has to, but no more than once.
func (n *notifier) close() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.closed = true
}

// next reports whether there is something to send. If there is not, the goroutine ends. failed
// is how often what was sent last has not been answered.
func (n *notifier) next(failed int) (send, isNew bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	isNew = n.again
	retry := 0 < failed && failed < notifyTries && !n.closed
	n.again, n.running = false, isNew || retry
	return n.running, isNew
}

func (n *notifier) run() {
	failed := 0
	for {
		send, isNew := n.next(failed)
		if !send {
			return
		}
		if isNew {
			failed = 0
		}
		err := n.notify()
		switch {
		case err == nil:
			failed = 0
		case nsquery.IsTimeout(err):
			failed++
			if failed == notifyTries {
				n.log(err)
			}
		default: // an answer, or no way there
			failed = 0
			n.log(err)
		}
	}
}

// log logs a failure, unless one was logged a short while ago.
func (n *notifier) log(err error) {
	if now := time.Now(); now.Sub(n.logged) >= notifyLog {
		n.logged = now
		n.zone.Log.Warn("a secondary name server has not taken a NOTIFY; it learns of the change from the primary, or at its next refresh",
			"zone", n.zone.Zone.String(), "server", n.Address.String(), "reason", nsquery.Reason(err))
	}
}

// notify sends one NOTIFY and waits for its answer.
func (n *notifier) notify() error {
	ctx, cancel := context.WithTimeout(context.Background(), notifyTimeout)
	defer cancel()
	c, err := n.zone.dial(ctx, "udp", n.Address.String())
	if err != nil {
		return err
	}
	defer c.Close()
	deadline, _ := ctx.Deadline()
	if err := c.SetDeadline(deadline); err != nil {
		return err
	}
	m := new(dns.Msg).SetNotify(n.zone.Zone.String())
	wire, verifier, err := pack(m, n.Key)
	if err != nil {
		return fmt.Errorf("packing a NOTIFY: %w", err)
	}
	if _, err := c.Write(wire); err != nil {
		return err
	}
	buf := make([]byte, 1232)
	for {
		size, err := c.Read(buf)
		if err != nil {
			return err
		}
		answer := new(dns.Msg)
		if answer.Unpack(buf[:size]) != nil || answer.Id != m.Id || !answers(answer, m) {
			continue // not an answer to this one
		}
		if err := verify(buf[:size], answer, verifier); err != nil {
			return fmt.Errorf("its answer is %w", err)
		}
		if answer.Rcode != dns.RcodeSuccess {
			return fmt.Errorf("it answers %s: see whether it allows NOTIFY from here", nsquery.RcodeText(answer.Rcode))
		}
		return nil
	}
}
