package nameserver

import (
	"time"

	"github.com/caddy-dns/bestdns/internal/record"
	"github.com/tidwall/btree"
)

const (
	// expireAtOnce bounds how many names one commit rids of expired records, so that
	// the changes after it do not wait for long.
	expireAtOnce = 1000
	// expireRetry is the pause after a commit of the expired that failed.
	expireRetry = 30 * time.Second
	// expireCheck is the longest sleep while records will expire: the clock that
	// timers go by does not follow when the one on the wall is set.
	expireCheck = time.Minute
)

// deadline is when the first record at a name expires, and the last, if that is later.
type deadline struct {
	at   int64 // Unix seconds
	zone *zone
	key  string // of the name
	last bool
	// stored is set if the record was in the store before this process read it.
	stored bool
	// since is when the record came, as far as this process has seen it, in Unix seconds.
	// When it expires does not tell: lifetimes differ by configuration and by record.
	since int64
}

// deadlines are the names with records that expire, in the order in which they
// will. Only the committer changes it; it has a lock for those who copy it.
type deadlines struct{ order *btree.BTreeG[deadline] }

func newDeadlines() deadlines {
	return deadlines{btree.NewBTreeGOptions(func(a, b deadline) bool {
		if a.at != b.at {
			return a.at < b.at
		}
		if a.zone != b.zone {
			return a.zone.name < b.zone.name
		}
		return a.key < b.key
	}, btree.Options{})}
}

// move notes that the node at a name is now another.
func (d deadlines) move(z *zone, key string, from, to node) {
	firstFrom, lastFrom := from.expiries()
	firstTo, lastTo := to.expiries()
	if firstFrom == firstTo && lastFrom == lastTo {
		return
	}
	var first, last deadline
	if lastFrom != firstFrom {
		last, _ = d.order.Delete(deadline{at: lastFrom, zone: z, key: key})
	}
	if firstFrom != 0 {
		first, _ = d.order.Delete(deadline{at: firstFrom, zone: z, key: key})
	}
	put := func(at int64, isLast bool) {
		next := deadline{at: at, zone: z, key: key, last: isLast, since: time.Now().Unix()}
		for _, old := range [...]deadline{first, last} {
			broughtDown := at < old.at && old.at != firstTo && old.at != lastTo
			if old.zone != nil && (at == old.at || broughtDown) {
				next.since, next.stored = min(next.since, old.since), next.stored || old.stored
			}
		}
		d.order.Set(next)
	}
	if firstTo != 0 {
		put(firstTo, false)
	}
	if lastTo != firstTo {
		put(lastTo, true)
	}
}

// read notes what was read from the store at a name. Records that were known to the deadlines
// before it are as old as they were.
func (d deadlines) read(z *zone, key string, n node, before deadlines) {
	d.move(z, key, "", n)
	first, last := n.expiries()
	for _, at := range [...]int64{first, last} {
		if at == 0 {
			continue // nothing expires
		}
		now, _ := d.order.Get(deadline{at: at, zone: z, key: key})
		now.stored = true
		if known, ok := before.order.Get(now); ok {
			now.since, now.stored = known.since, known.stored
		}
		d.order.Set(now)
	}
}

// due returns the names with records that have expired, the most overdue first,
// up to a number that one commit can do.
func (d deadlines) due(now time.Time) []deadline {
	var due []deadline
	d.order.Scan(func(next deadline) bool {
		if next.at > now.Unix() || len(due) == expireAtOnce {
			return false
		}
		due = append(due, next)
		return true
	})
	return due
}

// wait returns how long to sleep until something is due.
func (d deadlines) wait(now time.Time) time.Duration {
	next, ok := d.order.Min()
	if !ok {
		return expireCheck
	}
	return min(time.Unix(next.at, 0).Sub(now), expireCheck)
}

// nextExpiry returns how long to sleep until something expires, or is to be looked for
// that expires too late.
func (s *Server) nextExpiry(now time.Time) time.Duration {
	return min(s.deadlines.wait(now), s.sweep.next.Sub(now))
}

// expire takes the records out of the zones whose time has come, by a commit like
// any other, and brings down the time of those whose has been set too late. It returns
// when to come back.
func (s *Server) expire() (again time.Duration) {
	now := time.Now()
	if due := s.deadlines.due(now); len(due) > 0 {
		return s.dropDue(due, now)
	}
	if !now.Before(s.sweep.next) {
		s.capExpiries(now)
		now = time.Now()
	}
	return s.nextExpiry(now)
}

func (s *Server) dropDue(due []deadline, now time.Time) (again time.Duration) {
	var dropped, names int
	keep := func(r *record.Record) bool { return r.Expires == 0 || r.Expires > now.Unix() }
	err := s.commitAlone(func(b *batch) {
		dropped, names = 0, 0
		for _, d := range due {
			dropped += b.draft(d.zone).edit(d.key, keep)
			if names++; b.isFull() {
				return // the rest comes next, after changes that wait
			}
		}
	})
	if err != nil {
		return expireRetry
	}
	s.log.Info("records have expired and are gone", "records", dropped, "names", names)
	return 0
}

// commitAlone commits what the committer itself changes.
func (s *Server) commitAlone(plan func(*batch)) error {
	j := &job{done: make(chan struct{}), plan: func(b *batch) error {
		plan(b)
		return nil
	}}
	s.commit(inTurn(j))
	return j.err
}
