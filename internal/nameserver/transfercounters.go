package nameserver

import (
	"maps"
	"net/netip"
	"slices"
	"sync/atomic"
	"time"

	"github.com/caddy-dns/bestdns/internal/record"
)

// transferCounts are those of one zone.
type transferCounts struct {
	whole, difference, refused atomic.Uint64
	notified, unanswered       atomic.Uint64
}

// TransferCount is how often a zone was transferred, and its secondaries notified, since the
// server was opened.
type TransferCount struct {
	Zone record.Name
	// AXFR are transfers of the whole zone, for an IXFR too if what a secondary has is not
	// remembered, and IXFR those of differences. Each counts when its last message is made.
	AXFR, IXFR uint64
	// Refused are requests for the zone that were answered REFUSED.
	Refused uint64
	// Notified are the NOTIFY messages sent, and Unanswered those of them that had no answer
	// within a second.
	Notified, Unanswered uint64
}

// TransferCounts returns the counts of the zones that the configuration gives secondaries, in
// order.
func (s *Server) TransferCounts() []TransferCount {
	rules := s.view.Load().transfers
	if rules == nil {
		return nil
	}
	zones := *s.zones.Load()
	var list []TransferCount
	for _, name := range slices.Sorted(maps.Keys(rules.zones)) {
		z := zones[name]
		if z == nil {
			continue
		}
		c := &z.transferred
		list = append(list, TransferCount{
			Zone: name, AXFR: c.whole.Load(), IXFR: c.difference.Load(), Refused: c.refused.Load(),
			Notified: c.notified.Load(), Unanswered: c.unanswered.Load(),
		})
	}
	return list
}

// SecondaryStatus is what a secondary has answered to NOTIFY of a zone. That it has answered
// says that it knows of a serial, and not that it serves it yet.
type SecondaryStatus struct {
	// Address is the configured one.
	Address netip.AddrPort
	// Acknowledged is the last serial whose NOTIFY it has accepted, if Known.
	Acknowledged uint32
	Known        bool
	// Waiting is since when there is a serial of which it has not accepted NOTIFY; zero if
	// there is none.
	Waiting time.Time
	// Silent is since when it answers no NOTIFY of any zone; zero if it has answered the last.
	Silent time.Time
	// Refused is the RCODE of its last answer if that was not NOERROR, such as "NOTAUTH".
	Refused string
}

// Secondaries returns the status of each of the secondaries that the configuration gives a
// zone, in its order.
func (s *Server) Secondaries(zone record.Name) []SecondaryStatus {
	return s.notifier.status((*s.zones.Load())[zone], s.view.Load().transfers.secondariesOf(zone))
}
