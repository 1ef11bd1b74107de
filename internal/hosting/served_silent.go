package hosting

import (
	"context"
	"net/netip"
	"time"

	"github.com/miekg/dns"

	"github.com/caddy-dns/bestdns/internal/nsquery"
	"github.com/caddy-dns/bestdns/internal/record"
)

// This file is which name servers are not waited for.

// silence is that of a server: since when, and when it was last looked whether it is over.
type silence struct{ since, looked time.Time }

func (w *watch) isSilent(server netip.AddrPort) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return time.Since(w.silent[server].since) < silentFor
}

// lookAgain has a silent server be asked for the zone, once a second at most, so that it is waited for
// again when it is back.
func (s *Service) lookAgain(server netip.AddrPort, zone record.Name) {
	const between = time.Second
	w := s.watch
	w.mu.Lock()
	defer w.mu.Unlock()
	known := w.silent[server]
	if time.Since(known.looked) < between {
		return
	}
	known.looked = time.Now()
	w.silent[server] = known
	go func() {
		defer s.reportPanic("asking a name server whether it is back")
		ctx, cancel := context.WithTimeout(w.ended, silentFor)
		defer cancel()
		if w.client.Ask(ctx, server.String(), nsquery.Question{Name: zone, Type: dns.TypeSOA}).SOA() != nil {
			w.mu.Lock()
			defer w.mu.Unlock()
			delete(w.silent, server)
		}
	}()
}

// note remembers which servers were silent. Those that were not waited for may have had no time
// to answer.
func (w *watch) note(outcomes []nsquery.Outcome) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, o := range outcomes {
		switch known := w.silent[o.Server.Address]; {
		case o.State != nsquery.Silent:
			delete(w.silent, o.Server.Address)
		case time.Since(known.since) >= silentFor:
			w.silent[o.Server.Address] = silence{since: time.Now()}
		}
	}
	const many = 1000 // more than zones have at a time, as a rule
	if len(w.silent) > many {
		for server, known := range w.silent {
			if time.Since(known.since) >= silentFor {
				delete(w.silent, server)
			}
		}
	}
}
