package nameserver

import (
	"iter"
	"maps"
	"slices"
	"time"

	"github.com/tidwall/btree"

	"github.com/caddy-dns/bestdns/internal/record"
)

// Contents is how much is in a zone.
type Contents struct {
	Zone record.Name
	// Records are all, those that the server makes included.
	Records int
	// Expiring are those that expire by themselves.
	Expiring int
	// Oldest is when the oldest of them was written or, if it was written again, last
	// renewed; zero without any. One that was in the store before counts from when
	// this process read it.
	Oldest time.Time
}

// Contents returns how much is in each zone that a configuration or the store has,
// in order of names. It takes time in the number of zones and of names with something
// that expires.
func (s *Server) Contents() []Contents {
	zones := *s.zones.Load()
	oldest := make(map[*zone]int64)
	s.copyDeadlines().Scan(func(d deadline) bool {
		if since, known := oldest[d.zone]; !known || d.since < since {
			oldest[d.zone] = d.since
		}
		return true
	})
	list := make([]Contents, 0, len(zones))
	for _, name := range slices.Sorted(maps.Keys(zones)) {
		current := zones[name].current.Load()
		c := Contents{Zone: name, Records: current.records, Expiring: current.expiring}
		if since, ok := oldest[zones[name]]; ok {
			c.Oldest = time.Unix(since, 0)
		}
		if current.config != nil {
			c.Records++ // the SOA is apart
		}
		list = append(list, c)
	}
	return list
}

// Expiry is when the first record at a name expires by itself.
type Expiry struct {
	Zone, Name record.Name
	At         time.Time
	// Written is when the record was written the last time; zero if that was before this process read
	// it from the store, which does not tell.
	Written time.Time
	// Client is the name of the client that wrote it, "" if none did.
	Client string
}

// Expiries yields the names with records that expire, as they are now, in the order in
// which the first record at each does.
func (s *Server) Expiries() iter.Seq[Expiry] {
	waiting := s.copyDeadlines()
	return func(yield func(Expiry) bool) {
		waiting.Scan(func(d deadline) bool {
			return d.last || yield(s.expiryOf(d))
		})
	}
}

func (s *Server) expiryOf(d deadline) Expiry {
	e := Expiry{Zone: d.zone.name, Name: record.NameFromKey(d.key), At: time.Unix(d.at, 0)}
	if !d.stored {
		e.Written = time.Unix(d.since, 0)
	}
	n, _ := d.zone.current.Load().tree.Get(d.key)
	for _, r := range n.records() {
		if r.expires == d.at {
			e.Client = s.ClientName(r.client)
			break
		}
	}
	return e
}

// copyDeadlines returns the deadlines as they are now. It is a copy, made at once, since no
// commit could be published as long as someone read the committer's own.
func (s *Server) copyDeadlines() *btree.BTreeG[deadline] {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.deadlines.order.Copy()
}
