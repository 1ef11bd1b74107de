package hosting

import (
	"context"
	"fmt"
	"math"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/miekg/dns"

	"github.com/caddy-dns/bestdns/internal/access"
	"github.com/caddy-dns/bestdns/internal/api"
	"github.com/caddy-dns/bestdns/internal/nsquery"
	"github.com/caddy-dns/bestdns/internal/record"
	"github.com/caddy-dns/bestdns/internal/text"
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

// silence is that of a server: since when, and when it was last looked whether it is over.
type silence struct{ since, looked time.Time }

func newWatch() *watch {
	ended, end := context.WithCancel(context.Background())
	return &watch{
		found: newFoundServers(), ended: ended, end: end,
		waiting: make(map[*access.Client]rooms), silent: make(map[netip.AddrPort]silence), noticed: make(map[record.Name]time.Time),
	}
}

// EndWaits has all calls of [Service.Served] return at once, and those that come: the
// configuration or the process ends, and does not wait for name servers.
func (s *Service) EndWaits() { s.watch.end() }

// Served waits until all name servers of the zone serve what was appended or set, no longer than
// ctx and within allow, which is counted from the beginning of the change, and notes in the result
// which do not. One that has been silent is not waited for. An error, an *[Error], says that no server will ever serve it; what was appended
// has then been deleted again.
//
// It is to be called after each [Service.Change], outside of whatever others wait for.
func (s *Service) Served(ctx context.Context, who Caller, made *Result, within time.Duration) error {
	zone := made.zone
	if zone == nil || !zone.Waits() || made.change.Op == record.Delete || len(made.change.Records) == 0 {
		return nil
	}
	if within == ZoneWait {
		within = zone.Wait
	}
	if within <= 0 && !made.before {
		return nil
	}
	// Who has no time left, after a change that took long, still wants to know how it is.
	within = max(within-time.Since(made.began), oneLook)
	began := time.Now()
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	defer context.AfterFunc(s.watch.ended, cancel)()
	servers, known := s.watch.serversOf(ctx, s, zone)
	switch {
	case !known:
		made.Pending = []string{"the name servers of " + zone.Apex.Plain()}
		return nil
	case len(servers) == 0:
		s.config.Activity.waitUnknown(zone)
		return nil
	}
	leave, ok := s.watch.enter(ctx, who.Client, len(servers), isLarge(made.change.Records))
	if !ok {
		made.Pending = namesOfServers(servers)
		return nil
	}
	defer leave()
	wait := waiting{watch: s.watch, client: who.name(), zone: zone.Apex, servers: servers, wanted: wantedOf(zone.Apex, made.change.Records)}
	outcomes := wait.until(ctx, min(within, readBack))
	if ctx.Err() == nil && someLag(outcomes) {
		if !made.before && isNowhere(outcomes) {
			s.mend(ctx, who, made)
		}
		outcomes = wait.until(ctx, within)
	}
	// What a set replaces may only be late to go.
	if q, why := neverServed(zone.Apex, outcomes); why != "" && made.change.Op == record.Append {
		return s.notServed(ctx, who, made, q, why)
	}
	made.Pending, made.Silent = pendingOf(outcomes)
	s.noteWait(zone, made, time.Since(began))
	return nil
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

// isLarge reports whether the records of a change take much memory.
func isLarge(records []record.Record) bool {
	const usual, large = 64, 16 << 10
	size := 0
	for _, r := range records[:min(len(records), usual)] {
		size += len(r.Name) + len(r.Data)
	}
	return len(records) > usual || size > large
}

// room bounds the changes of one client that wait at the same time.
type room struct {
	places chan struct{} // one for each server that is asked
	turn   chan struct{} // held by who takes places
	queued atomic.Int32
	most   int32 // that may be queued
}

func newRoom(places int, most int32) *room {
	return &room{places: make(chan struct{}, places), turn: make(chan struct{}, 1), most: most}
}

// rooms are those of one client.
type rooms struct{ usual, large *room }

// enter waits until one more change of a client may wait for so many servers. It returns false when
// ctx ends, or if too many are queued; of large ones, which keep what is in them in memory, few are
// let in, and none is queued.
func (w *watch) enter(ctx context.Context, client *access.Client, servers int, large bool) (leave func(), ok bool) {
	w.mu.Lock()
	of, known := w.waiting[client]
	if !known { // one for each client of the configuration
		of = rooms{usual: newRoom(mostAsked, mostQueued), large: newRoom(mostLargeWaits, 0)}
		if client == w.local { // which does not ask again
			of.usual.most = math.MaxInt32
		}
		w.waiting[client] = of
	}
	w.mu.Unlock()
	if !large || client == w.local {
		return of.usual.enter(ctx, min(servers, mostAsked))
	}
	leaveLarge, ok := of.large.enter(ctx, 1)
	if !ok {
		return nil, false
	}
	leaveUsual, ok := of.usual.enter(ctx, min(servers, mostAsked))
	if !ok {
		leaveLarge()
		return nil, false
	}
	return func() { leaveUsual(); leaveLarge() }, true
}

// enter takes so many places.
func (r *room) enter(ctx context.Context, n int) (leave func(), ok bool) {
	defer r.queued.Add(-1)
	if r.queued.Add(1) > r.most && len(r.places)+n > cap(r.places) {
		return nil, false
	}
	select {
	case r.turn <- struct{}{}:
	case <-ctx.Done():
		return nil, false
	}
	defer func() { <-r.turn }()
	for taken := range n {
		select {
		case r.places <- struct{}{}:
		case <-ctx.Done():
			r.free(taken)
			return nil, false
		}
	}
	return func() { r.free(n) }, true
}

func (r *room) free(n int) {
	for range n {
		<-r.places
	}
}

// waiting is the waiting for one change.
type waiting struct {
	watch   *watch
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
		if w.watch.isSilent(server.Address) {
			silent[server.Address] = true
			w.watch.lookAgain(server.Address, w.zone)
		}
	}
	isAwaited := func(server nsquery.Server) bool { return !silent[server.Address] }
	if !slices.ContainsFunc(w.servers, isAwaited) {
		ctx, cancel = context.WithTimeout(ctx, oneLook)
		defer cancel()
		isAwaited = nil
	}
	outcomes := w.watch.client.Until(ctx, w.client, w.servers, w.wanted, isAwaited)
	for i := range outcomes {
		if o := &outcomes[i]; silent[o.Server.Address] && o.State == nsquery.Lags && o.Last.Err != nil {
			o.State = nsquery.Silent // it had little time to answer, and did not before either
		}
	}
	w.watch.note(outcomes)
	return outcomes
}

func (w *watch) isSilent(server netip.AddrPort) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return time.Since(w.silent[server].since) < silentFor
}

// lookAgain has a silent server be asked for the zone, once a second at most, so that it is waited for
// again when it is back.
func (w *watch) lookAgain(server netip.AddrPort, zone record.Name) {
	const between = time.Second
	w.mu.Lock()
	defer w.mu.Unlock()
	known := w.silent[server]
	if time.Since(known.looked) < between {
		return
	}
	known.looked = time.Now()
	w.silent[server] = known
	go func() {
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

func someLag(outcomes []nsquery.Outcome) bool {
	return slices.ContainsFunc(outcomes, func(o nsquery.Outcome) bool { return o.State == nsquery.Lags })
}

// isNowhere reports whether there are servers that answer, and none of them has the change.
func isNowhere(outcomes []nsquery.Outcome) bool {
	return someLag(outcomes) &&
		!slices.ContainsFunc(outcomes, func(o nsquery.Outcome) bool { return o.State == nsquery.Serves })
}

// neverServed returns why no server will serve a change, if each of those that answer says the
// same: a CNAME or a delegation is in the way. Servers and providers accept such records, and
// tell no one.
func neverServed(zone record.Name, outcomes []nsquery.Outcome) (q nsquery.Question, why string) {
	for _, o := range outcomes {
		if o.State == nsquery.Silent {
			continue
		}
		this := inTheWay(zone, o.Last)
		if o.State == nsquery.Serves || this == "" || why != "" && (why != this || q != o.Last.Question) {
			return q, ""
		}
		q, why = o.Last.Question, this
	}
	return q, why
}

// inTheWay says what keeps an RRset of a zone from being served, by an answer without it; "" if
// nothing does, or that cannot be told. A delegation has NS records and addresses of its own, and an
// old CNAME may only be late to go.
func inTheWay(zone record.Name, a nsquery.Answer) string {
	cut, target := a.Referral(), a.CNAME()
	switch typ := a.Question.Type; {
	case a.Failed(), typ == dns.TypeCNAME:
	case cut != "" && cut != zone && cut.In(zone) && typ != dns.TypeNS && typ != dns.TypeA && typ != dns.TypeAAAA:
		return fmt.Sprintf("it is below %q, which is delegated to other name servers", cut)
	case target != "":
		return fmt.Sprintf("there is a CNAME record to %q, beside which there can be no other records", target)
	}
	return ""
}

// mend appends what a zone's DNS provider does not have any more once again: some read what is
// there, merge and write, and lose what another copy of this service wrote in between.
func (s *Service) mend(ctx context.Context, who Caller, made *Result) {
	if made.zone.Builtin() || made.change.Op != record.Append {
		return
	}
	lost, err := s.lost(ctx, made)
	if err != nil || len(lost) == 0 {
		return // then the servers lag
	}
	again := record.Change{Op: record.Append, Records: lost}
	_, err = made.zone.backend.change(ctx, who.Client.Name(), again)
	s.config.Logger.Warn("records that a zone's DNS provider had accepted were not there any more, and were appended once again: does anything else write to the zone at the same time?",
		zap.String("zone", made.zone.Apex.String()), zap.String("request_id", who.RequestID), zap.Int("records", len(lost)), CauseField(err))
}

// lost returns the records of a change that are not in its zone.
func (s *Service) lost(ctx context.Context, made *Result) (lost []record.Record, err error) {
	ctx, cancel := context.WithTimeout(ctx, ChangeTimeout)
	defer cancel()
	names := make(map[record.Name]bool)
	for _, r := range made.change.Records {
		names[r.Name] = true
	}
	found, err := made.zone.backend.list(ctx, "", selection{under: made.zone.Apex, visible: func(owner record.Name) bool { return names[owner] }})
	if err != nil {
		return nil, err
	}
	there := make(map[record.Record]bool)
	var records []record.Record
	for e := range found {
		if r, err := record.At(e.Owner, e.Type, 0, e.Data); err == nil && !there[r] {
			there[r] = true
			records = append(records, r)
		}
	}
	for _, r := range made.change.Records {
		if !slices.ContainsFunc(records, r.Same) {
			lost = append(lost, r)
		}
	}
	return lost, nil
}

// notServed returns the error of an append of which no name server will serve an RRset, and takes the
// records of that back. Others stay: they may have been there before.
func (s *Service) notServed(ctx context.Context, who Caller, made *Result, q nsquery.Question, why string) error {
	failure := Errorf(api.Conflict, "zone %q accepts the record at %q, and no name server serves it: %s", made.zone.Apex, q.Name, why)
	failure.Unchanged = false
	if made.before {
		return failure
	}
	var matches []record.Match
	for _, r := range made.change.Records {
		if r.Name == q.Name && uint16(r.Type) == q.Type {
			matches = append(matches, record.MatchOf(r))
		}
	}
	_, err := s.changeRemembered(context.WithoutCancel(ctx), made.zone, who.Client.Name(), record.Change{Op: record.Delete, Matches: matches})
	failure.Unchanged = err == nil && len(matches) == len(made.change.Records)
	s.note(who, made.zone, ChangeSeen{Zone: made.zone.Apex.String(), Op: "undo", Records: namesOf(&Change{Change: made.change})}, 0, failure)
	return failure
}

// pendingOf returns the servers that answer without the change, and those that do not answer. An
// address to which this machine has no route is left out where the server has another one.
func pendingOf(outcomes []nsquery.Outcome) (pending, silent []string) {
	reached := make(map[record.Name]bool)
	for _, o := range outcomes {
		reached[o.Server.Name] = reached[o.Server.Name] || o.State == nsquery.Serves
	}
	for _, o := range outcomes {
		switch {
		case o.State == nsquery.Lags:
			pending = append(pending, nameOfServer(o.Server))
		case o.State == nsquery.Silent && !(o.Unreachable && o.Server.Name != "" && reached[o.Server.Name]):
			silent = append(silent, nameOfServer(o.Server))
		}
	}
	return pending, silent
}

func namesOfServers(servers []nsquery.Server) (names []string) {
	for _, s := range servers {
		names = append(names, nameOfServer(s))
	}
	return names
}

// nameOfServer returns how a server is named to people: by name and address, and the port if it
// is not that of all the world.
func nameOfServer(s nsquery.Server) string {
	address := s.Addr().String()
	if s.Address.Port() != nsquery.Port {
		address = s.Address.String()
	}
	if s.Name == "" {
		return address
	}
	if !s.Address.IsValid() {
		return s.Name.Plain()
	}
	return s.Name.Plain() + " " + address
}

// noteWait counts a wait, and tells the log about servers that lag.
func (s *Service) noteWait(zone *Zone, made *Result, took time.Duration) {
	s.config.Activity.wait(zone, made, took)
	if len(made.Pending) == 0 && len(made.Silent) == 0 || !s.watch.isNews(zone.Apex) {
		return
	}
	s.config.Logger.Warn("some name servers of a zone do not serve a change yet",
		zap.String("zone", zone.Apex.String()), zap.Duration("after", took),
		zap.Strings("pending", visible(made.Pending)), zap.Strings("silent", visible(made.Silent)))
}

func (w *watch) isNews(zone record.Name) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if time.Since(w.noticed[zone]) < lagNotice {
		return false
	}
	w.noticed[zone] = time.Now()
	return true
}

func visible(texts []string) (shown []string) {
	for _, t := range texts {
		shown = append(shown, text.Brief(t, text.MaxName))
	}
	return shown
}
