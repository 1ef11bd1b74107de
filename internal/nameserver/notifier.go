package nameserver

import (
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddy-dns/bestdns/internal/record"
	"github.com/caddy-dns/bestdns/internal/tsig"
)

// notifier has the secondaries of a server's zones notified of changes (RFC 1996). There is
// one goroutine for each secondary, and another that reads its answers, however many zones
// it has.
type notifier struct {
	log *slog.Logger
	// dial connects a datagram socket. Tests have another.
	dial func(to netip.AddrPort) (net.Conn, error)

	mu          sync.Mutex // guards what follows
	secondaries map[netip.AddrPort]*secondary
	sources     map[netip.Addr]int // the addresses of UDP sockets on which the server answers
	closed      bool

	sourcesChanged atomic.Uint64 // how often

	running sync.WaitGroup // goroutines of secondaries
}

func newNotifier(log *slog.Logger) *notifier {
	n := &notifier{log: log, secondaries: make(map[netip.AddrPort]*secondary), sources: make(map[netip.Addr]int)}
	n.dial = n.dialUDP
	return n
}

// configure has the secondaries of a configuration, and no others, notified of its zones, all
// of which they are told of: one may have been added, or have been set up since. What they
// have answered before stays known. The committer calls it.
func (n *notifier) configure(rules *transferRules, zones map[record.Name]*zone) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return
	}
	wanted := make(map[netip.AddrPort]map[*zone]*notification)
	for name, z := range zones {
		z.notifications = nil
		for _, t := range rules.secondariesOf(name) {
			s := n.secondaries[t.Address]
			if s == nil {
				s = newSecondary(n, t.Address)
				n.secondaries[t.Address] = s
			}
			if wanted[t.Address] == nil {
				wanted[t.Address] = make(map[*zone]*notification)
			}
			told := s.notificationOf(z, t.Key)
			wanted[t.Address][z] = told
			z.notifications = append(z.notifications, told)
		}
	}
	for address, s := range n.secondaries {
		if wanted[address] == nil {
			delete(n.secondaries, address)
			close(s.stopped)
			continue
		}
		s.configure(wanted[address])
		if !s.started {
			s.started = true
			n.running.Go(s.run)
		}
	}
}

// notify has a zone's secondaries notified. It blocks no one; the committer calls it.
func (z *zone) notify() {
	for _, told := range z.notifications {
		told.secondary.changed(told)
	}
}

// close ends all goroutines.
func (n *notifier) close() {
	n.mu.Lock()
	if !n.closed {
		n.closed = true
		for _, s := range n.secondaries {
			close(s.stopped)
		}
	}
	n.mu.Unlock()
	n.running.Wait()
}

// status returns what secondaries have answered about a zone.
func (n *notifier) status(z *zone, of []Transfer) []SecondaryStatus {
	n.mu.Lock()
	defer n.mu.Unlock()
	list := make([]SecondaryStatus, 0, len(of))
	for _, t := range of {
		status := SecondaryStatus{Address: t.Address}
		if s := n.secondaries[t.Address]; s != nil {
			s.describe(z, &status)
		}
		list = append(list, status)
	}
	return list
}

// addSource has NOTIFY sent from an address on which the server answers: secondaries check
// where it comes from.
func (n *notifier) addSource(addr netip.Addr) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.sources[addr]++
	n.sourcesChanged.Add(1)
}

func (n *notifier) removeSource(addr netip.Addr) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.sources[addr]--; n.sources[addr] <= 0 {
		delete(n.sources, addr)
	}
	n.sourcesChanged.Add(1)
}

// notification is what a secondary is to be told of a zone.
type notification struct {
	secondary *secondary
	zone      *zone
	key       tsig.Key // zero: it is not signed

	// What follows is guarded by the secondary's lock.
	state   notificationState
	listed  [notificationStates]bool // it is in the list of that state
	dropped bool                     // the configuration does not have it any more
	// waiting is since when the secondary has not accepted the zone's serial; zero: it has.
	waiting      time.Time
	acknowledged uint32 // the last serial that it accepted, if known
	known        bool
	rcode        int // of its last answer
}

type notificationState uint8

const (
	notificationDone    notificationState = iota // the secondary has accepted the zone's serial
	notificationQueued                           // is to be sent
	notificationSent                             // and not answered yet
	notificationRefused                          // was answered with an error: to be sent again, now and then

	notificationStates
)

// notificationList is what has one state, in the order in which it is to be sent, each once:
// a secondary's answers decide how often one is added. Some have another state by now.
type notificationList struct {
	state notificationState
	all   []*notification
}

// add gives a notification the state of the list.
func (l *notificationList) add(told *notification) {
	told.state = l.state
	if !told.listed[l.state] {
		told.listed[l.state] = true
		l.all = append(l.all, told)
	}
}

// take takes the first one that has the state and is still wanted, and marks it as sent. It
// returns nil if there is none.
func (l *notificationList) take() *notification {
	for len(l.all) > 0 {
		told := l.all[0]
		l.all[0] = nil
		l.all = l.all[1:]
		told.listed[l.state] = false
		if told.state == l.state && !told.dropped {
			told.state = notificationSent
			return told
		}
	}
	return nil
}

func (l *notificationList) clear() {
	for _, told := range l.all {
		told.listed[l.state] = false
	}
	l.all = nil
}
