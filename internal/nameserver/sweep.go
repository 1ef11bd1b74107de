package nameserver

import (
	"time"

	"github.com/caddy-dns/bestdns/internal/record"
)

// A record gets its expiry from the clock at the time when it is written. One that was
// written while the clock was years ahead would stay for years, so the committer looks for
// those that expire later than any that is written now, and brings them down.

const (
	// defaultLifetime is how far ahead records may expire in a zone of which the
	// configuration does not say it.
	defaultLifetime = 24 * time.Hour
	// sweepSlack is how much further they may, lest each small step of the clock cost a
	// commit.
	sweepSlack = time.Minute
	// sweepAtOnce bounds how many deadlines are looked at before changes get their turn,
	// and sweepPause is the time in between. One commit brings down expireAtOnce.
	sweepAtOnce = 10_000
	sweepPause  = 100 * time.Millisecond
)

// sweep is how far the committer has looked for records that expire too late: from the last
// deadline backward. The zero value is one that is to begin at once.
type sweep struct {
	next time.Time // when to look, by the clock that cannot be set
	from *deadline // where to go on; nil: at the last
}

// capExpiries looks once, and notes when to look again.
func (s *Server) capExpiries(now time.Time) {
	far, from := s.expiringTooLate(now)
	s.sweep.from, s.sweep.next = from, now.Add(expireCheck)
	if from != nil {
		s.sweep.next = now.Add(sweepPause)
	}
	if len(far) == 0 {
		return
	}
	var records int
	err := s.commitAlone(func(b *batch) {
		records = 0
		for _, d := range far {
			latest := now.Add(s.lifetime(d.zone.name)).Unix()
			records += b.draft(d.zone).edit(d.key, func(r *record.Record) bool {
				r.Expires = min(r.Expires, latest)
				return true
			})
		}
	})
	if err != nil { // the log has it already
		s.sweep = sweep{next: now.Add(expireRetry)}
		return
	}
	s.log.Warn("records were to expire later than any challenge does, so the clock was ahead when they were written, or a challenge_lifetime is shorter now; they expire in time",
		"records", records, "names", len(far))
}

// expiringTooLate returns deadlines that are too late, of no more than one commit can bring
// down, and where to go on; nil when there are no more.
func (s *Server) expiringTooLate(now time.Time) (far []deadline, from *deadline) {
	if s.served == nil {
		return nil, nil // the lifetimes are not known yet
	}
	latest := func(lifetime time.Duration) int64 { return now.Add(lifetime + sweepSlack).Unix() }
	end := latest(s.shortestLifetime())
	visited := 0
	visit := func(d deadline) bool {
		if d.at <= end {
			return false
		}
		if visited == sweepAtOnce || len(far) == expireAtOnce {
			from = &d
			return false
		}
		visited++
		if d.at > latest(s.lifetime(d.zone.name)) {
			far = append(far, d)
		}
		return true
	}
	if s.sweep.from == nil {
		s.deadlines.order.Reverse(visit)
	} else {
		s.deadlines.order.Descend(*s.sweep.from, visit)
	}
	return far, from
}

// lifetime returns how far ahead the records of a zone may expire.
func (s *Server) lifetime(zone record.Name) time.Duration {
	if lifetime := s.served.lifetimes[zone]; lifetime > 0 {
		return lifetime
	}
	return defaultLifetime
}

// shortestLifetime returns the shortest of any zone.
func (s *Server) shortestLifetime() time.Duration {
	shortest := defaultLifetime
	for _, lifetime := range s.served.lifetimes {
		if lifetime > 0 {
			shortest = min(shortest, lifetime)
		}
	}
	return shortest
}
