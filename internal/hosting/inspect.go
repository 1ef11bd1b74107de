package hosting

import (
	"context"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-dns/bestdns/internal/fair"
	"github.com/caddy-dns/bestdns/internal/record"
)

const (
	// inspectInterval is the time from one inspection of a zone to the next, at least.
	inspectInterval = 10 * time.Second
	// readInterval is the same for the records at a DNS provider: they cost more.
	readInterval = time.Minute
	// inspectTimeout ends an inspection, with the answers that have come by then.
	inspectTimeout = 8 * time.Second
	// readTimeout ends reading at a DNS provider, which comes first.
	readTimeout = 5 * time.Second
	// rememberedInspections is how many zones are remembered.
	rememberedInspections = 1024
	// rememberedChallenges is how many names of a zone are remembered that have
	// challenges which do not expire.
	rememberedChallenges = 1000
)

// Unread reports whether the zone's DNS provider did not tell what is in it.
func (f Findings) Unread() bool { return f.stored == nil }

// Challenges are the names in the zone that have challenges which do not expire by themselves.
func (f Findings) Challenges() []record.Name {
	if f.stored == nil {
		return nil
	}
	return f.stored.challenges
}

// Inspector asks name servers and DNS providers about hosted zones, and remembers in bounded
// memory what they last said. It outlives configurations and is shared by all who look, so
// that no one is asked more often because more people look, or one more often.
type Inspector struct {
	slots chan struct{} // one in it for each inspection under way

	mu    sync.Mutex // guards what follows
	zones map[record.Name]*inspection
}

// inspection is what is known of one zone. Its inspector's lock guards it.
type inspection struct {
	begun time.Time     // the last one; zero if none was
	done  chan struct{} // closed when it has ended
	found Findings
}

// Findings are what an inspection has brought. They never change.
type Findings struct {
	Asked   time.Time // zero: not yet
	Servers []ServerFound
	// stored is what is in the zone; nil if its DNS provider did not tell when it was
	// asked last.
	stored *storedFound
	read   time.Time // when the provider was asked last
}

// storedFound is what of the records of a zone counts here.
type storedFound struct {
	// challenges are the names of those that do not expire by themselves; the name
	// server knows the others at any time.
	challenges []record.Name
	// Of a zone with a DNS provider:
	servers   []string                     // of the NS records at the apex
	addresses map[record.Name][]netip.Addr // of those servers in the zone
}

// NewInspector returns an Inspector that inspects so many zones at the same time.
func NewInspector(atOnce int) *Inspector {
	return &Inspector{slots: make(chan struct{}, atOnce), zones: make(map[record.Name]*inspection)}
}

// Inspect returns what is known of zones' name servers, in the order of the zones. It has those
// asked that were not lately, and waits for them as long as the context lives and no longer.
func (s *Service) Inspect(ctx context.Context, zones []*Zone) []Findings {
	return s.config.Inspector.look(ctx, s, zones)
}

// look returns what is known of zones of a service, in their order. It has those asked that
// were not lately, and waits for them as long as the context lives and no longer.
func (q *Inspector) look(ctx context.Context, s *Service, zones []*Zone) []Findings {
	now := time.Now()
	list := make([]*inspection, len(zones))
	waits := make([]<-chan struct{}, len(zones))
	for i, zone := range zones {
		list[i], waits[i] = q.begin(s, zone, now)
	}
	for _, done := range waits {
		select {
		case <-done:
		case <-ctx.Done():
		}
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	found := make([]Findings, len(zones))
	for i, known := range list {
		if known != nil {
			found[i] = known.found
		}
	}
	return found
}

var closedChannel = func() chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}()

// begin begins an inspection of a zone if the last one is old, and returns what is
// known with what to wait for. It returns nil if there is no room for another zone.
func (q *Inspector) begin(s *Service, zone *Zone, now time.Time) (*inspection, <-chan struct{}) {
	q.mu.Lock()
	defer q.mu.Unlock()
	known := q.zones[zone.Apex]
	if known == nil {
		if len(q.zones) >= rememberedInspections && !q.forget(now) {
			return nil, closedChannel
		}
		known = new(inspection)
		q.zones[zone.Apex] = known
	}
	if now.Sub(known.begun) >= inspectInterval {
		known.begun, known.done = now, make(chan struct{})
		go q.inspect(s, zone, known, known.found, known.done)
	}
	return known, known.done
}

// forget makes room, by the zones that no one has looked at for a while.
func (q *Inspector) forget(now time.Time) bool {
	for apex, known := range q.zones {
		if now.Sub(known.begun) >= inspectInterval {
			delete(q.zones, apex)
		}
	}
	return len(q.zones) < rememberedInspections
}

func (q *Inspector) inspect(s *Service, zone *Zone, known *inspection, before Findings, done chan struct{}) {
	defer close(done)
	defer guard(s, "asking the name servers of zone "+zone.Apex.String())
	ctx, cancel := context.WithTimeout(context.Background(), inspectTimeout)
	defer cancel()
	select {
	case q.slots <- struct{}{}:
		defer func() { <-q.slots }()
	case <-ctx.Done():
		return
	}
	found := Findings{stored: before.stored, read: before.read}
	if now := time.Now(); zone.Builtin() {
		found.stored = s.readBuiltin(zone)
	} else if now.Sub(found.read) >= readInterval {
		found.stored, found.read = s.readStored(ctx, zone), now
	}
	found.Asked = time.Now()
	found.Servers = s.askServers(ctx, zone, found.stored)
	q.mu.Lock()
	defer q.mu.Unlock()
	known.found = found
}

// guard, deferred, logs a panic and ends it. It is for goroutines that no one else
// recovers.
func guard(s *Service, doing string) {
	if recovered := recover(); recovered != nil {
		s.config.Logger.Error(doing+" failed; please report this", zap.Any("panic", recovered), zap.Stack("stack"))
	}
}

// addChallenge adds a name. Records come in the order of names, so one that was found is
// the last.
func (f *storedFound) addChallenge(name record.Name) {
	if n := len(f.challenges); n < rememberedChallenges && (n == 0 || f.challenges[n-1] != name) {
		f.challenges = append(f.challenges, name)
	}
}

// readBuiltin finds challenges that do not expire: a client that may write more than them
// need not have said that they are some.
func (s *Service) readBuiltin(zone *Zone) *storedFound {
	found := new(storedFound)
	server := s.NameServer()
	if server == nil {
		return found
	}
	snapshot, ok := server.Snapshot(zone.Apex)
	if !ok {
		return found
	}
	var b fair.Breather
	for r := range snapshot.Records(zone.Apex) {
		b.Breathe()
		if r.Expires == 0 && zone.isChallenge(r) {
			found.addChallenge(r.Name)
		}
		if len(found.challenges) == rememberedChallenges {
			break
		}
	}
	return found
}

// readStored reads a zone at its DNS provider; nil if that fails.
func (s *Service) readStored(ctx context.Context, zone *Zone) *storedFound {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	entries, err := zone.backend.list(ctx, "", selection{under: zone.Apex})
	if err != nil {
		s.config.Activity.providerError(zone, AsError(err, zone.Apex))
		return nil
	}
	found := &storedFound{addresses: make(map[record.Name][]netip.Addr)}
	for e := range entries {
		switch {
		case e.Type == "NS" && e.Owner == zone.Apex:
			found.servers = append(found.servers, e.Data)
		case e.Type == "A" || e.Type == "AAAA":
			if address, err := netip.ParseAddr(e.Data); err == nil {
				found.addresses[e.Owner] = append(found.addresses[e.Owner], address)
			}
		case zone.holdsChallenge(e):
			found.addChallenge(e.Owner)
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
