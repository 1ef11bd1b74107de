package nameserver

import (
	"maps"
	"slices"
	"sync/atomic"

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
