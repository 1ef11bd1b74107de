package nameserver

import (
	"time"

	"github.com/tidwall/btree"
)

const (
	// expireAtOnce bounds how many names one commit rids of expired records, so that
	// the changes behind it do not wait for long.
	expireAtOnce = 1000
	// expireRetry is the pause after a commit of the expired that failed.
	expireRetry = 30 * time.Second
	// expireCheck is the longest sleep while records will expire: the clock that
	// timers go by does not follow when the one on the wall is set.
	expireCheck = time.Minute
)

// deadline is when the first record at a name expires.
type deadline struct {
	at   int64 // Unix seconds
	zone *zone
	key  string // of the name
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

// move notes that the first expiry at a name is now another; 0 is never.
func (d deadlines) move(z *zone, key string, from, to int64) {
	if from == to {
		return
	}
	if from != 0 {
		d.order.Delete(deadline{from, z, key})
	}
	if to != 0 {
		d.order.Set(deadline{to, z, key})
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

// expire takes the records out of the zones whose time has come, by a commit like
// any other, and tells when to come back.
func (s *Server) expire() (again time.Duration) {
	now := time.Now()
	due := s.deadlines.due(now)
	if len(due) == 0 {
		return s.deadlines.wait(now)
	}
	var dropped int
	j := &job{done: make(chan struct{}), plan: func(b *batch) error {
		dropped = 0
		for _, d := range due {
			dropped += b.draft(d.zone).dropExpired(d.key, now.Unix())
		}
		return nil
	}}
	if s.commit(only(j)); j.err != nil {
		return expireRetry
	}
	s.log.Info("records have expired and are gone", "records", dropped, "names", len(due))
	return 0
}

// only returns the one job of a batch.
func only(j *job) func(*batch) *job {
	return func(b *batch) *job {
		if b != nil {
			return nil
		}
		return j
	}
}
