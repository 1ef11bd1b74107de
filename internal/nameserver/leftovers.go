package nameserver

import "github.com/caddy-dns/bestdns/internal/record"

// dropLeftovers takes out of the zones what a client that ends with its process has left of
// an earlier one, which was killed in the middle of challenges: they are of no use to this
// process, which begins new orders. It runs before the first change. What cannot be taken
// out expires.
func (s *Server) dropLeftovers() {
	number := s.ledger.Load().numbers[s.transient] // 0, no one's, if it has none
	if number == 0 {
		return
	}
	gone := func(r record.Record) bool { return r.Expires != 0 && r.Client == number }
	for left := s.deadlines.of(number); len(left) > 0; {
		names, records := left[:min(len(left), expireAtOnce)], 0
		left = left[len(names):]
		err := s.commitAlone(func(b *batch) {
			records = 0
			for _, d := range names {
				records += b.draft(d.zone).drop(d.key, gone)
			}
		})
		if err != nil {
			return // the log has it already
		}
		s.log.Info("records of challenges that an earlier process left behind are gone", "records", records, "names", len(names))
	}
}

// of returns the names at which a client has records that expire, each once.
func (d deadlines) of(client uint32) (names []deadline) {
	d.order.Scan(func(next deadline) bool {
		n, _ := next.zone.current.Load().tree.Get(next.key)
		if !next.last && n.expiresOf(client) {
			names = append(names, next)
		}
		return true
	})
	return names
}

// expiresOf reports whether a client has a record of the node that expires.
func (n node) expiresOf(client uint32) bool {
	for _, r := range n.records() {
		if r.expires != 0 && r.client == client {
			return true
		}
	}
	return false
}
