// Package nameserver is the built-in authoritative name server: zones in a bbolt
// file, an index of them in memory, and the answers to DNS queries out of it.
//
// A [Server] stays while configurations come and go: it serves the zones of the one that
// it was told of last ([Server.Serve]).
//
// All changes pass through one goroutine, the committer (commit.go). All others read
// snapshots, and wait for no one.
package nameserver

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddy-dns/bestdns/internal/fair"
	"github.com/caddy-dns/bestdns/internal/record"
)

// Errors that say what has become of a change. With all of them but
// ErrOutcomeUnknown the zone is guaranteed to be as it was.
var (
	// ErrUnknownZone: neither a configuration nor the store has the zone.
	ErrUnknownZone = errors.New("no such zone")
	// ErrReadOnly: the store cannot be written. DNS answers go on, and each later
	// change tries again.
	ErrReadOnly = errors.New("the store cannot be written, so nothing was changed")
	// ErrClosed: the server is closed, or was before the change began.
	ErrClosed = errors.New("the name server is closed, so nothing was changed")
	// ErrBug: this package failed, and its log says how. It is to be reported.
	ErrBug = errors.New("the name server failed at this change, so nothing was changed; its log has the cause")
	// ErrOutcomeUnknown: writing failed, and so did reading back what is on disk.
	ErrOutcomeUnknown = errors.New("whether the change is stored could not be found out")
)

// Options say how to open a [Server].
type Options struct {
	// Path of the store. It and its folders are made where they are missing, for
	// the user of this process alone.
	Path string
	// Logger may be nil.
	Logger *slog.Logger
	// LockTimeout is how long to wait for another process to give up the store; zero
	// is 5 s.
	LockTimeout time.Duration
	// Transient is the client that ends with this process: what it has written and an
	// earlier process has left behind, and expires, is deleted by Load. Empty: none.
	Transient string
	// Published, if set, is called for each zone that is replaced by its successor, when DNS
	// serves that: for changes, for what expires, and for what configurations make, but not
	// for what Load reads, nor for a rehearsal. The calls are in the order of the commits.
	// They come from the goroutine that makes all commits, before Apply returns: Published
	// must not block, nor call a method that waits for a commit.
	Published func(Publication)
}

// Publication is a zone whose contents have changed. Its serials differ, unless all that
// has changed is that a configuration has named the zone for the first time.
type Publication struct {
	Zone record.Name
	// Before is nil for a zone that is new.
	Before, After *Snapshot
	// Names yields the owner names whose records differ, other than the SOA, in no order. It
	// is nil where only the snapshots tell: after a commit of which it was not known whether
	// it had failed.
	Names iter.Seq[record.Name]
}

// Server is an authoritative name server on one store. All of its methods may be
// called concurrently.
type Server struct {
	log *slog.Logger

	// view is what DNS serves. zones are all that are known, whether the
	// configuration has them or just the store. The committer alone replaces them.
	view  atomic.Pointer[view]
	zones atomic.Pointer[map[record.Name]*zone]

	// Of answering. All are safe for concurrent use.
	limiter        *limiter
	connections    *connections
	outside        queryCounts // what no zone answered
	transferPlaces *places
	notifier       *notifier
	readers        atomic.Int32 // that have taken a shard of the counters
	updates        updates
	updatePlaces   *places

	// Lines in the log: panics in answering and in the committer, what secondaries were
	// refused, and others who asked for what only those get, and zones that cannot be
	// transferred.
	panics, bugs, refusedSecondaries, strangers, untransferable logLimit

	// unwritable is why the store is not to be written to; nil: it may be. Only the committer
	// stores it.
	unwritable atomic.Pointer[error]
	// refused is why the store last could not be written; nil: it could. Only the
	// committer stores it.
	refused atomic.Pointer[refusal]
	// recovered is when that ended the last time; nil: it never began. Only the committer stores it.
	recovered atomic.Pointer[time.Time]

	// The committer's own, after Load, but that others copy deadlines.
	store  *store
	served *configuration // nil until there is one
	// unfinished is true while zones lack records of it: they could not be stored.
	unfinished bool
	refusals   refusals
	deadlines  deadlines // replaced under mu
	sweep      sweep
	histories  histories
	transient  string            // Options.Transient
	published  func(Publication) // Options.Published

	// ledger is how much is on each account. Load and the committer replace it whole.
	ledger atomic.Pointer[ledger]

	loadMu sync.Mutex // held by Load, and by Close while it ends what Load began
	loaded atomic.Bool

	mu     sync.Mutex       // guards what follows
	pool   fair.Queue[*job] // waits for the committer
	closed bool

	wake  chan struct{} // holds a token when pool or closed have changed
	ended chan struct{} // is closed when the committer has ended
}

// Open takes the store's lock, making the store if there is none. Nothing is
// served or can be changed before [Server.Load] has read it, so that sockets can
// be opened in between.
//
// The error names the file and says who may hold its lock, or that it is damaged,
// not writable, or of a newer version, and what to do.
func Open(o Options) (*Server, error) {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.LockTimeout == 0 {
		o.LockTimeout = 5 * time.Second
	}
	s := &Server{
		log:       o.Logger,
		store:     &store{path: o.Path, lockTimeout: o.LockTimeout},
		deadlines: newDeadlines(),
		transient: o.Transient,
		published: o.Published,

		limiter:     newLimiter(),
		connections: newConnections(maxConnections, maxConnectionsOfOneGroup),

		histories:      histories{most: mostHistory, mostOfZone: mostHistoryOfZone},
		transferPlaces: newPlaces(maxTransfers, maxTransfersOfOne),
		updatePlaces:   newPlaces(largeUpdates, largeUpdatesOfOne),
		notifier:       newNotifier(o.Logger),

		wake:  make(chan struct{}, 1),
		ended: make(chan struct{}),
	}
	s.view.Store(newView(0))
	s.zones.Store(new(map[record.Name]*zone))
	s.ledger.Store(newLedger(nil))
	if err := s.store.open(); err != nil {
		return nil, err
	}
	if s.store.upgraded {
		s.log.Warn("the store has been brought to a newer format: older programs cannot open it any more", "path", o.Path, "format", formatVersion)
	}
	return s, nil
}

// Load reads all zones into memory, once, and drops what has expired in the
// meantime. Callers that need them earlier may call it too, so that an error
// shows again.
func (s *Server) Load() error {
	if s.loaded.Load() {
		return nil
	}
	s.loadMu.Lock()
	defer s.loadMu.Unlock()
	if s.loaded.Load() {
		return nil
	}
	if s.isClosed() {
		return ErrClosed
	}
	if err := s.loadIndex(); err != nil {
		return err
	}
	ready := make(chan struct{})
	go s.runCommitter(ready)
	<-ready
	s.loaded.Store(true)
	return nil
}

func (s *Server) isClosed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.closed
}

// loadIndex reads the zones from disk and publishes them, with what the configuration
// makes in them.
func (s *Server) loadIndex() error {
	loaded, err := s.store.load()
	if err != nil {
		return err
	}
	clients, err := s.store.clients()
	if err != nil {
		return err
	}
	zones := make(map[record.Name]*zone, len(loaded))
	var publications []Publication
	deadlines, ledger := newDeadlines(), newLedger(clients)
	for name, next := range loaded {
		z := (*s.zones.Load())[name]
		if z == nil {
			z = &zone{name: name}
		}
		zones[name] = z
		records := s.served.records(name)
		if before := z.current.Load(); records == nil && before != nil {
			records = before.config // the last that there was
		}
		if records != nil {
			if _, err := next.configure(records, s.store, s.warnHidden); err != nil {
				return err
			}
		}
		// What gives way to the configuration's records counts for nothing, as in a commit.
		next.tree.Scan(func(key string, n node) bool {
			deadlines.read(z, key, n, s.deadlines)
			ledger.add(z, key, n, +1)
			return true
		})
		if before := s.histories.load(z, next); s.loaded.Load() && (before == nil || before.serial != next.serial) {
			publications = append(publications, Publication{Zone: name, Before: before, After: next})
			z.notify()
		}
	}
	s.mu.Lock()
	s.deadlines = deadlines
	s.mu.Unlock()
	s.ledger.Store(ledger)
	s.zones.Store(&zones)
	s.publishView()
	s.tell(publications)
	return nil
}

// tell calls Options.Published.
func (s *Server) tell(publications []Publication) {
	if s.published == nil {
		return
	}
	defer func() {
		if recovered := recover(); recovered != nil {
			s.logBug("telling that zones have changed", recovered)
		}
	}()
	for _, p := range publications {
		s.published(p)
	}
}

// Close ends the committer after what waits for it, and closes the store. Snapshots
// remain readable. Sockets stay open, since others may serve them: their owner closes
// them before.
func (s *Server) Close() error {
	s.mu.Lock()
	wasClosed := s.closed
	s.closed = true
	s.mu.Unlock()

	s.loadMu.Lock()
	defer s.loadMu.Unlock()
	if s.loaded.Load() {
		s.wakeCommitter()
		<-s.ended
	}
	s.notifier.close()
	if wasClosed {
		return nil
	}
	if err := s.store.close(); err != nil {
		return fmt.Errorf("closing the store %q: %w", s.store.path, err)
	}
	return nil
}

// Health returns nil when changes can be taken, and otherwise why not. DNS may be
// answered all the same.
func (s *Server) Health() error {
	switch lost, refused := s.unwritable.Load(), s.refused.Load(); {
	case s.isClosed():
		return ErrClosed
	case !s.loaded.Load():
		return errors.New("the zones have not been read yet")
	case lost != nil:
		return fmt.Errorf("%w: %w", ErrReadOnly, *lost)
	case refused != nil:
		return fmt.Errorf("%w: %w", ErrReadOnly, refused.err)
	}
	return nil
}

// Recovered returns when the store could be written again after it could not; zero if that never was so.
func (s *Server) Recovered() time.Time {
	if at := s.recovered.Load(); at != nil {
		return *at
	}
	return time.Time{}
}

// Snapshot returns a zone as it is now, if the configuration or the store has it.
func (s *Server) Snapshot(zone record.Name) (*Snapshot, bool) {
	z := (*s.zones.Load())[zone]
	if z == nil {
		return nil, false
	}
	return z.current.Load(), true
}

// Result is what a change did.
type Result struct {
	// Records are those appended, set or deleted, as libdns defines each.
	Records []record.Record
	// Serial is the SOA's after the change.
	Serial uint32
}

// Apply makes a change in a zone, wholly or not at all. When it returns, the change
// is on disk and DNS serves it. The zone may be one that only the store has: clients
// clean up late.
//
// When ctx ends while the change still waits for others, it is withdrawn; once
// begun, it is waited for. An error wraps one of this package's, a
// *[record.RuleError], a *[record.LimitError], or that of ctx; after all but
// [ErrOutcomeUnknown] the zone is as it was.
func (s *Server) Apply(ctx context.Context, zone record.Name, change record.Change) (Result, error) {
	return s.ApplyFor(ctx, zone, change, Account{})
}

// ApplyFor is Apply on the account of a client: the records that are appended or set
// belong to it. The change takes its turn among those of other clients.
func (s *Server) ApplyFor(ctx context.Context, zone record.Name, change record.Change, account Account) (Result, error) {
	a := &application{zone: zone, change: change, account: account}
	if err := s.apply(ctx, a); err != nil {
		return Result{}, fmt.Errorf("%s in zone %q: %w", change.Op, zone, err)
	}
	return Result{Records: a.answer, Serial: a.used.next.serial}, nil
}

// Import says how records are imported.
type Import struct {
	// Replace has them be the only ones of the zone, beside those that the server makes itself and
	// those that expire: they are challenges that a client is waiting for, and stay beside records
	// of the same name and type.
	Replace bool
	// Rehearse has nothing be changed: zone and error are those that there would be.
	Rehearse bool
}

// Import appends records to a zone, in one commit, and returns the zone after it. It fails as
// [Server.Apply] does.
func (s *Server) Import(ctx context.Context, zone record.Name, records []record.Record, how Import) (*Snapshot, error) {
	a := &application{zone: zone, change: record.Change{Op: record.Append, Records: records}, Import: how}
	if err := s.apply(ctx, a); err != nil {
		return nil, fmt.Errorf("importing records into zone %q: %w", zone, err)
	}
	return a.used.next, nil
}

func (s *Server) apply(ctx context.Context, a *application) error {
	err := checkNames(a.zone, a.change)
	if err == nil {
		err = s.Load()
	}
	change := a.change
	for try := 0; err == nil; try++ {
		err = s.submit(ctx, &job{client: a.account.Client, plan: a.plan, alone: a.Rehearse, rehearsal: a.Rehearse})
		if err == nil {
			return nil
		}
		if !errors.Is(err, record.ErrUnresolved) || try == mostResolves {
			break
		}
		if snapshot, ok := s.Snapshot(a.zone); ok {
			a.change, err = change.Resolve(snapshot.types), nil
		}
	}
	return err
}

// mostResolves is how often data without a type is parsed anew, outside of the
// committer, since types have come to its names in between.
const mostResolves = 5

// application is a change on its way into a zone. The caller of ApplyFor waits while
// the committer has it.
type application struct {
	zone    record.Name
	change  record.Change
	account Account
	Import

	answer []record.Record
	used   *draft
}

func (a *application) plan(b *batch) error {
	d, err := b.known(a.zone)
	if err != nil {
		return err
	}
	number := b.server.number(a.account.Client)
	a.change.Client = number
	for i := range a.change.Records {
		a.change.Records[i].Client = number
	}
	effect, err := a.effect(d.next)
	if err != nil {
		return err
	}
	keys := make([]string, len(effect.Nodes))
	for i := range effect.Nodes {
		keys[i] = effect.Nodes[i].Name.Key()
	}
	if a.account != (Account{}) {
		if err := b.charge(d, effect.Nodes, keys, a.account, number); err != nil {
			return err
		}
	}
	if a.Replace {
		d.clear()
	}
	d.apply(effect.Nodes, keys)
	a.answer, a.used = effect.Answer, d
	return nil
}

// effect returns what the change does to a zone.
func (a *application) effect(z *Snapshot) (record.Effect, error) {
	if a.Replace {
		return record.Plan(cleared{z}, a.change)
	}
	return record.Plan(z, a.change)
}

func checkNames(zone record.Name, change record.Change) error {
	for name := range change.Names {
		if !name.In(zone) {
			return fmt.Errorf("the name %q is not in the zone", name)
		}
	}
	return nil
}
