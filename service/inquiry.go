package service

import (
	"context"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-dns/bestdns/internal/record"
)

// inquiries are what name servers and DNS providers last said of the hosted zones. They
// outlive configurations and are shared by all who look, so that nobody is asked more
// often because more people look, or one more often.
var inquiries = newInquirer()

const (
	// inquiryInterval is the time from one inquiry about a zone to the next, at least.
	inquiryInterval = 10 * time.Second
	// readInterval is the same for the records at a DNS provider: they cost more.
	readInterval = time.Minute
	// inquiryTimeout ends an inquiry, with the answers that have come by then.
	inquiryTimeout = 8 * time.Second
	// readTimeout ends reading at a DNS provider, which comes first.
	readTimeout = 5 * time.Second
	// rememberedInquiries is how many zones are remembered.
	rememberedInquiries = 1024
	// inquiriesAtOnce is how many zones are inquired about at the same time.
	inquiriesAtOnce = 64
	// rememberedChallenges is how many names of a zone are remembered that have
	// challenges which do not expire.
	rememberedChallenges = 1000
)

// inquirer asks, and remembers, in bounded memory.
type inquirer struct {
	slots chan struct{} // one in it for each inquiry under way

	mu    sync.Mutex // guards what follows
	zones map[record.Name]*inquiry
}

// inquiry is what is known of one zone. Its inquirer's lock guards it.
type inquiry struct {
	begun time.Time     // the last one; zero if none was
	done  chan struct{} // closed when it has ended
	found findings
}

// findings are what an inquiry has brought. They never change.
type findings struct {
	asked   time.Time // zero: not yet
	servers []serverFound
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

func newInquirer() *inquirer {
	return &inquirer{slots: make(chan struct{}, inquiriesAtOnce), zones: make(map[record.Name]*inquiry)}
}

// look returns what is known of zones of an app, in their order. It has those asked that
// were not lately, and waits for them as long as the context lives and no longer.
func (q *inquirer) look(ctx context.Context, app *App, zones []*Zone) []findings {
	now := time.Now()
	list := make([]*inquiry, len(zones))
	waits := make([]<-chan struct{}, len(zones))
	for i, zone := range zones {
		list[i], waits[i] = q.begin(app, zone, now)
	}
	for _, done := range waits {
		select {
		case <-done:
		case <-ctx.Done():
		}
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	found := make([]findings, len(zones))
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

// begin begins an inquiry about a zone if the last one is old, and returns what is
// known with what to wait for. It returns nil if there is no room for another zone.
func (q *inquirer) begin(app *App, zone *Zone, now time.Time) (*inquiry, <-chan struct{}) {
	q.mu.Lock()
	defer q.mu.Unlock()
	known := q.zones[zone.apex]
	if known == nil {
		if len(q.zones) >= rememberedInquiries && !q.forget(now) {
			return nil, closedChannel
		}
		known = new(inquiry)
		q.zones[zone.apex] = known
	}
	if now.Sub(known.begun) >= inquiryInterval {
		known.begun, known.done = now, make(chan struct{})
		go q.inquire(app, zone, known, known.found, known.done)
	}
	return known, known.done
}

// forget makes room, by the zones that nobody has looked at for a while.
func (q *inquirer) forget(now time.Time) bool {
	for apex, known := range q.zones {
		if now.Sub(known.begun) >= inquiryInterval {
			delete(q.zones, apex)
		}
	}
	return len(q.zones) < rememberedInquiries
}

func (q *inquirer) inquire(app *App, zone *Zone, known *inquiry, before findings, done chan struct{}) {
	defer close(done)
	defer guard(app, "asking the name servers of zone "+zone.apex.String())
	ctx, cancel := context.WithTimeout(context.Background(), inquiryTimeout)
	defer cancel()
	select {
	case q.slots <- struct{}{}:
		defer func() { <-q.slots }()
	case <-ctx.Done():
		return
	}
	found := findings{stored: before.stored, read: before.read}
	if now := time.Now(); zone.builtin {
		found.stored = app.readBuiltin(zone)
	} else if now.Sub(found.read) >= readInterval {
		found.stored, found.read = readStored(ctx, zone), now
	}
	found.asked = time.Now()
	found.servers = app.askServers(ctx, zone, found.stored)
	q.mu.Lock()
	defer q.mu.Unlock()
	known.found = found
}

// guard, deferred, logs a panic and ends it. It is for goroutines that no one else
// recovers.
func guard(app *App, doing string) {
	if recovered := recover(); recovered != nil {
		app.logger.Error(doing+" failed; please report this", zap.Any("panic", recovered), zap.Stack("stack"))
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
func (a *App) readBuiltin(zone *Zone) *storedFound {
	found := new(storedFound)
	server := a.nameServer()
	if server == nil {
		return found
	}
	snapshot, ok := server.Snapshot(zone.apex)
	if !ok {
		return found
	}
	var b breather
	for r := range snapshot.Records(zone.apex) {
		b.breathe()
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
func readStored(ctx context.Context, zone *Zone) *storedFound {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	entries, err := zone.records.list(ctx, "", selection{under: zone.apex})
	if err != nil {
		seen.providerError(zone, asProblem(err, zone.apex))
		return nil
	}
	found := &storedFound{addresses: make(map[record.Name][]netip.Addr)}
	for e := range entries {
		switch {
		case e.typ == "NS" && e.owner == zone.apex:
			found.servers = append(found.servers, e.data)
		case e.typ == "A" || e.typ == "AAAA":
			if address, err := netip.ParseAddr(e.data); err == nil {
				found.addresses[e.owner] = append(found.addresses[e.owner], address)
			}
		case zone.holdsChallenge(e):
			found.addChallenge(e.owner)
		}
	}
	// This is remembered, and most addresses in a zone are not those of name servers.
	maps.DeleteFunc(found.addresses, func(name record.Name, _ []netip.Addr) bool {
		return !slices.Contains(found.servers, name.String())
	})
	return found
}

// holdsChallenge reports whether an entry of the zone looks like the answer to a challenge.
func (z *Zone) holdsChallenge(e entry) bool {
	if e.typ != "TXT" {
		return false
	}
	r, err := record.At(e.owner, e.typ, 0, e.data)
	return err == nil && z.isChallenge(r)
}

// isChallenge reports whether a record of the zone looks like the answer to a challenge.
func (z *Zone) isChallenge(r record.Record) bool {
	if r.Type != record.TypeTXT {
		return false
	}
	_, ok := record.ChallengeOf(r.Name)
	if !ok && z.CNAMETarget {
		_, ok = record.ChallengeAtTarget(r.Name, z.apex)
	}
	return ok && record.IsChallengeValue(r)
}
