package nameserver

import (
	"slices"

	"github.com/caddy-dns/bestdns/internal/record"
)

// dropLeftovers takes out of the zones what a client that ends with its process has left of
// an earlier one, which was killed in the middle of challenges: they are of no use to this
// process, which begins new orders. It runs before the first change. What cannot be taken
// out expires.
func (s *Server) dropLeftovers() {
	number := s.ledger.Load().numbers[s.transient] // 0, no one's, if it has none
	if number == 0 {
		return
	}
	keep := func(r *record.Record) bool { return r.Expires == 0 || r.Client != number }
	for expiring := range slices.Chunk(s.deadlines.order.Items(), expireAtOnce) {
		var records, names int
		err := s.commitAlone(func(b *batch) {
			records, names = 0, 0
			for _, d := range expiring {
				if dropped := b.draft(d.zone).edit(d.key, keep); dropped > 0 {
					records += dropped
					names++
				}
			}
		})
		if err != nil {
			return // the log has it already
		}
		if names > 0 {
			s.log.Info("records of challenges that an earlier process left behind are gone", "records", records, "names", names)
		}
	}
}
