package hosting

import (
	"context"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/caddy-dns/bestdns/internal/fair"
	"github.com/caddy-dns/bestdns/internal/record"
)

const (
	// refreshInterval is the least time between two rounds of questions about a zone.
	refreshInterval = 10 * time.Second
	// providerInterval is the same for the records at a DNS provider: they cost more.
	providerInterval = time.Minute
	// refreshTimeout ends a round, with the answers that have come by then.
	refreshTimeout = 8 * time.Second
	// providerTimeout ends reading at a DNS provider, which comes first.
	providerTimeout = 5 * time.Second
	// mostStatuses is how many zones are remembered.
	mostStatuses = 1024
	// mostChallenges is how many names of a zone are remembered that have challenges
	// of whose expiry the built-in name server knows nothing.
	mostChallenges = 1000
)

// StatusCache keeps what name servers and DNS providers last said of zones, in bounded
// memory. It outlives configurations and is shared by all who look, so that nothing is asked
// more often because more people look, or one more often.
type StatusCache struct {
	slots chan struct{} // one in it for each zone that is being asked about

	mu    sync.Mutex // guards what follows, and the entries
	zones map[record.Name]*statusEntry
}

type statusEntry struct {
	begun  time.Time     // the last refresh; zero if there was none
	done   chan struct{} // closed when it has ended
	status ZoneStatus
}

// ZoneStatus is what is known of one zone. It never changes.
type ZoneStatus struct {
	Asked   time.Time // zero: not yet
	Servers []ServerStatus
	// contents is what is in the zone; nil if its DNS provider failed when it was last
	// read.
	contents *zoneContents
	read     time.Time // when the provider was last read
}

// Unread reports whether the zone's DNS provider failed when it was last read.
func (z ZoneStatus) Unread() bool { return z.contents == nil }

// HeldChallenge is a name that has challenges.
type HeldChallenge struct {
	Name record.Name
	// Expires is when the first of them that was remembered is deleted; zero if none was.
	Expires time.Time
	// Written is when that one was written; zero if this is not known.
	Written time.Time
	// Client is the name of the client that wrote it, "" if none did or this is not known.
	Client string
}

// Challenges are the names in the zone that have challenges of which the built-in name server does not
// know when they expire: all of those at a DNS provider, and those that do not expire.
func (z ZoneStatus) Challenges() []HeldChallenge {
	if z.contents == nil {
		return nil
	}
	return z.contents.challenges
}

// zoneContents is what the page needs of the records of a zone.
type zoneContents struct {
	// challenges are those that do not expire in the built-in name server, which knows the
	// others at any time.
	challenges []HeldChallenge
	// Of a zone with a DNS provider:
	servers   []string                     // of the NS records at the apex
	addresses map[record.Name][]netip.Addr // of those servers in the zone
}

// NewStatusCache returns a StatusCache that asks about so many zones at the same time.
func NewStatusCache(atOnce int) *StatusCache {
	return &StatusCache{slots: make(chan struct{}, atOnce), zones: make(map[record.Name]*statusEntry)}
}

// Statuses returns what is known of zones, in their order. It asks about those whose
// status is old, and waits for the answers until the context ends.
func (s *Service) Statuses(ctx context.Context, zones []*Zone) []ZoneStatus {
	return s.config.Statuses.get(ctx, s, zones)
}

// get is [Service.Statuses].
func (c *StatusCache) get(ctx context.Context, s *Service, zones []*Zone) []ZoneStatus {
	now := time.Now()
	list := make([]*statusEntry, len(zones))
	waits := make([]<-chan struct{}, len(zones))
	for i, zone := range zones {
		list[i], waits[i] = c.entry(s, zone, now)
	}
	for _, done := range waits {
		select {
		case <-done:
		case <-ctx.Done():
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	statuses := make([]ZoneStatus, len(zones))
	for i, known := range list {
		if known != nil {
			statuses[i] = known.status
		}
	}
	return statuses
}

var closedChannel = func() chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}()

// entry returns the entry of a zone and what to wait for, and begins to refresh it if it is
// old. It returns nil if there is no room for another zone.
func (c *StatusCache) entry(s *Service, zone *Zone, now time.Time) (*statusEntry, <-chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	known := c.zones[zone.Apex]
	if known == nil {
		if len(c.zones) >= mostStatuses && !c.makeRoom(now) {
			return nil, closedChannel
		}
		known = new(statusEntry)
		c.zones[zone.Apex] = known
	}
	if now.Sub(known.begun) >= refreshInterval {
		known.begun, known.done = now, make(chan struct{})
		go c.refresh(s, zone, known, known.status, known.done)
	}
	return known, known.done
}

// makeRoom forgets the zones that no one has asked for in a while.
func (c *StatusCache) makeRoom(now time.Time) bool {
	for apex, known := range c.zones {
		if now.Sub(known.begun) >= refreshInterval {
			delete(c.zones, apex)
		}
	}
	return len(c.zones) < mostStatuses
}

func (c *StatusCache) refresh(s *Service, zone *Zone, known *statusEntry, before ZoneStatus, done chan struct{}) {
	defer close(done)
	defer s.reportPanic("asking the name servers of zone " + zone.Apex.String())
	ctx, cancel := context.WithTimeout(context.Background(), refreshTimeout)
	defer cancel()
	select {
	case c.slots <- struct{}{}:
		defer func() { <-c.slots }()
	case <-ctx.Done():
		return
	}
	status := ZoneStatus{contents: before.contents, read: before.read}
	if now := time.Now(); zone.Builtin() {
		status.contents = s.readBuiltin(zone)
	} else if now.Sub(status.read) >= providerInterval {
		status.contents, status.read = s.readProvider(ctx, zone), now
	}
	status.Asked = time.Now()
	status.Servers = s.askServers(ctx, zone, status.contents)
	c.mu.Lock()
	defer c.mu.Unlock()
	known.status = status
}

// addChallenge adds a name. Records come in the order of names, so one that was found is
// the last.
func (f *zoneContents) addChallenge(c HeldChallenge) {
	n := len(f.challenges)
	if n > 0 && f.challenges[n-1].Name == c.Name {
		last := &f.challenges[n-1]
		if !c.Expires.IsZero() && (last.Expires.IsZero() || c.Expires.Before(last.Expires)) {
			*last = c
		}
		return
	}
	if n < mostChallenges {
		f.challenges = append(f.challenges, c)
	}
}

// readBuiltin finds challenges that do not expire: a client that may write more than them
// need not have said that they are some.
func (s *Service) readBuiltin(zone *Zone) *zoneContents {
	found := new(zoneContents)
	snapshot := s.snapshot(zone.Apex)
	if snapshot == nil {
		return found
	}
	var b fair.Breather
	for r := range snapshot.Records(zone.Apex) {
		b.Breathe()
		if r.Expires == 0 && zone.isChallenge(r) {
			found.addChallenge(HeldChallenge{Name: r.Name, Client: s.server.ClientName(r.Client)})
		}
		if len(found.challenges) == mostChallenges {
			break
		}
	}
	return found
}

// readProvider reads a zone at its DNS provider; nil if that fails.
func (s *Service) readProvider(ctx context.Context, zone *Zone) *zoneContents {
	ctx, cancel := context.WithTimeout(ctx, providerTimeout)
	defer cancel()
	entries, err := zone.backend.list(ctx, "", selection{under: zone.Apex})
	if err != nil {
		s.config.Activity.providerError(zone, AsError(err, zone.Apex))
		return nil
	}
	found := &zoneContents{addresses: make(map[record.Name][]netip.Addr)}
	for e := range entries {
		switch {
		case e.Type == "NS" && e.Owner == zone.Apex:
			found.servers = append(found.servers, e.Data)
		case e.Type == "A" || e.Type == "AAAA":
			if address, err := netip.ParseAddr(e.Data); err == nil {
				found.addresses[e.Owner] = append(found.addresses[e.Owner], address)
			}
		case zone.holdsChallenge(e):
			known := s.leftovers.find(zone, e)
			found.addChallenge(HeldChallenge{Name: e.Owner, Expires: known.due, Written: known.at, Client: known.client})
		}
	}
	// This is remembered, and most addresses in a zone are not those of name servers.
	maps.DeleteFunc(found.addresses, func(name record.Name, _ []netip.Addr) bool {
		return !slices.Contains(found.servers, name.String())
	})
	return found
}

// holdsChallenge reports whether an entry of the zone looks like the answer to a challenge.
func (z *Zone) holdsChallenge(e Entry) bool {
	if e.Type != "TXT" {
		return false
	}
	r, err := record.At(e.Owner, e.Type, 0, e.Data)
	return err == nil && z.isChallenge(r)
}
