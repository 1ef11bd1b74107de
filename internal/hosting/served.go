package hosting

import (
	"context"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/caddy-dns/bestdns/internal/access"
	"github.com/caddy-dns/bestdns/internal/nsquery"
	"github.com/caddy-dns/bestdns/internal/record"
)

// This file is the waiting until all name servers of a zone serve a change. A CA asks one
// of them, and its first question is to find the answer. That some lag is never an error: the CA
// may ask others, and a server may be away for days.

const (
	// DefaultWait is how long a change waits for the zone's name servers unless caller or
	// configuration say otherwise, together with the time that it took. No client that is known
	// gives up before.
	DefaultWait = 8 * time.Second
	// ZoneWait as a time to wait is that of the zone.
	ZoneWait = -1
	// MostWait is the longest wait that a caller can ask for at a time.
	MostWait = 25 * time.Second
	// LocalWait is how long the modules of the same process wait: nothing between them and the
	// service gives up before.
	LocalWait = 2 * time.Minute

	// oneLook is the time that name servers have to answer one who does not wait.
	oneLook = 500 * time.Millisecond
	// silentFor is how long a server that was silent is not waited for.
	silentFor = time.Minute
	// mostAsked is how many servers are asked at the same time for the changes of one client that
	// wait. Each has a socket.
	mostAsked = 256
	// mostQueued is how many more of them wait until they may wait. What is beyond is answered at
	// once, and can ask again.
	mostQueued = 256
	// mostLargeWaits is how many changes of many records of one client wait.
	mostLargeWaits = 4
	// mostWanted is how many RRsets of a change are asked for: the first and the last ones.
	mostWanted = 20
	// readBack is after how long the contents of a zone are read at its DNS provider if no server
	// has a change: another writer may have made it undone.
	readBack = 2 * time.Second
	// lagNotice is the least time between two lines of the log about the servers of one zone.
	lagNotice = time.Minute
)

// watch is what waiting needs to know of name servers, and who waits.
type watch struct {
	client nsquery.Client
	local  *access.Client // of the modules of the same process
	found  foundServers
	ended  context.Context // ends when no one is to wait any more
	end    context.CancelFunc

	mu      sync.Mutex // guards what follows
	waiting map[*access.Client]rooms
	silent  map[netip.AddrPort]silence
	noticed map[record.Name]time.Time // when the log had a line about a zone
}

func newWatch() *watch {
	ended, end := context.WithCancel(context.Background())
	return &watch{
		found: foundServers{zones: make(map[record.Name]*zoneServers)}, ended: ended, end: end,
		waiting: make(map[*access.Client]rooms), silent: make(map[netip.AddrPort]silence), noticed: make(map[record.Name]time.Time),
	}
}

// EndWaits has all calls of [Service.Served] return at once, and those that come: the
// configuration or the process ends, and does not wait for name servers.
func (s *Service) EndWaits() { s.watch.end() }

// Served waits until all name servers of the zone serve what was appended or set, no longer than
// ctx and within allow, which is counted from the beginning of the change, and notes in the result
// which do not. One that has been silent is not waited for. An error, an *[Error], says that no
// server will ever serve an RRset of it; what was appended there has then been deleted again.
//
// It is to be called after each [Service.Change], outside of whatever others wait for.
func (s *Service) Served(ctx context.Context, who Caller, made *Result, within time.Duration) error {
	zone := made.zone
	if zone == nil || !zone.Waits() || made.change.OnlyDeletes() || len(made.change.Records) == 0 {
		return nil
	}
	if within == ZoneWait {
		within = zone.Wait
	}
	if within <= 0 && !made.before {
		return nil
	}
	// A caller with no time left, after a change that took long, still wants to know how it is.
	within = max(within-time.Since(made.began), oneLook)
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	defer context.AfterFunc(s.watch.ended, cancel)()
	err := s.await(ctx, who, made, within)
	if !made.before && err == nil {
		s.noteWait(zone, made)
	}
	return err
}

// await is Served once it is clear that there is something to wait for.
func (s *Service) await(ctx context.Context, who Caller, made *Result, within time.Duration) error {
	zone := made.zone
	servers, known := s.watch.serversOf(ctx, s, zone)
	switch {
	case !known:
		made.Pending = []string{"the name servers of " + zone.Apex.Plain()}
		return nil
	case len(servers) == 0:
		made.unknown = true
		return nil
	}
	leave, ok := s.watch.enter(ctx, who.Client.Registrar(), len(servers), isLarge(made.change.Records))
	if !ok {
		made.Pending = namesOfServers(servers)
		return nil
	}
	defer leave()
	wait := waiting{service: s, client: who.bound(), zone: zone.Apex, servers: servers, wanted: wantedOf(zone.Apex, made.change.Records)}
	first := within
	if zone.Provider != nil && !made.before {
		first = min(within, readBack)
	}
	outcomes := wait.until(ctx, first)
	if first < within && ctx.Err() == nil && someLag(outcomes) {
		if isNowhere(outcomes) {
			s.mend(ctx, who, made)
		}
		outcomes = wait.until(ctx, within)
	}
	// What a set replaces may only be late to go.
	if q, why := neverServed(zone.Apex, outcomes); why != "" && made.change.OnlyAppends() {
		return s.notServed(ctx, who, made, q, why)
	}
	made.Pending, made.Silent = pendingOf(outcomes)
	return nil
}

// MayChange reports whether a caller has the right to make a change.
func (s *Service) MayChange(who Caller, c Change) bool {
	_, err := s.Made(who, c)
	return err == nil
}

// Made returns the result of a change that was made before, for [Service.Served] to wait for it.
// It changes nothing. The caller must have the right to make it; the error, if any, is an
// *[Error].
func (s *Service) Made(who Caller, c Change) (Result, error) {
	p := &placement{service: s, client: who.Client, asked: c.Zone}
	err := p.place(&c)
	if err == nil {
		err = authorize(who.Client, p.zone, c.Change)
	}
	if err != nil {
		return Result{}, AsError(err, p.apex())
	}
	return Result{zone: p.zone, change: c.Change, began: time.Now(), before: true}, nil
}

// waiting is the waiting for one change.
type waiting struct {
	service *Service
	client  string
	zone    record.Name
	servers []nsquery.Server
	wanted  []nsquery.Wanted
}

// until asks the servers until all that are waited for have the change, or the time is over.
func (w *waiting) until(ctx context.Context, within time.Duration) []nsquery.Outcome {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	silent := make(map[netip.AddrPort]bool)
	for _, server := range w.servers {
		if w.service.watch.isSilent(server.Address) {
			silent[server.Address] = true
			w.service.lookAgain(server.Address, w.zone)
		}
	}
	isAwaited := func(server nsquery.Server) bool { return !silent[server.Address] }
	if !slices.ContainsFunc(w.servers, isAwaited) {
		ctx, cancel = context.WithTimeout(ctx, oneLook)
		defer cancel()
		isAwaited = nil
	}
	outcomes := w.service.watch.client.Until(ctx, w.client, w.servers, w.wanted, isAwaited)
	for i := range outcomes {
		if o := &outcomes[i]; silent[o.Server.Address] && o.State == nsquery.Lags && o.Last.Err != nil {
			o.State = nsquery.Silent // it had little time to answer, and did not before either
		}
	}
	w.service.watch.note(outcomes)
	return outcomes
}

// wantedOf returns the RRsets of records, each with the values that servers are to have.
func wantedOf(zone record.Name, records []record.Record) (list []nsquery.Wanted) {
	type rrset struct {
		name record.Name
		typ  record.Type
	}
	values := make(map[rrset][]record.Record)
	var order []rrset
	for _, r := range records {
		set := rrset{r.Name, r.Type}
		if values[set] == nil {
			order = append(order, set)
		}
		values[set] = append(values[set], r)
	}
	if len(order) > mostWanted {
		order = append(order[:mostWanted/2], order[len(order)-mostWanted/2:]...)
	}
	for _, set := range order {
		list = append(list, nsquery.Wanted{
			Question: nsquery.Question{Name: set.name, Type: uint16(set.typ)}, Zone: zone,
			Has: func(a nsquery.Answer) bool { return hasAll(a.RRset(), values[set]) },
		})
	}
	return list
}

func hasAll(served, wanted []record.Record) bool {
	return !slices.ContainsFunc(wanted, func(w record.Record) bool {
		return !slices.ContainsFunc(served, w.Same)
	})
}
