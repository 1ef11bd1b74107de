package nameserver

import (
	"context"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"time"

	"github.com/caddy-dns/bestdns/internal/record"
)

// This file is the way of a change from Apply to the disk and into the index.
//
// Changes join the pool and wait. One goroutine, the committer, takes them from it,
// client by client, works out what they do one after the other on drafts of the
// zones, writes the sum in one bbolt transaction, publishes the drafts, and lets the
// waiting go. While it does so the pool fills again, so that there is nothing to
// tune: one client waits for its own commit, and a hundred share one.
//
// A batch ends after a millisecond of work, which is a few hundred usual changes, or
// with as much to write. So a change that has come waits for the commit that is under
// way, and then for one change of each other client, however many more these send.
//
// Measured (BenchmarkApply, AMD EPYC, 2 cores, a commit 0.2 ms), pairs of adding a
// TXT record at a name of its own and removing it, each on disk before it is
// answered, per second:
//
//	clients               1       16      128
//	100 names         2,200   16,800   90,800
//	1,000,000 names   2,000   15,600   75,200
//
// Of the time of 128 clients, half is bbolt's, a sixth is working out the changes,
// an eighth the sync. What a change costs does not grow with the zone, since a draft
// shares all of the tree with what is published but the path to its node.

// job is something that the committer is to do.
type job struct {
	// client is whose turn it takes; "" is the server's own.
	client string
	// plan works out what to do to the drafts of a batch. When it fails, only this job
	// fails, so it must have changed none of them, unless it is alone. It may be called
	// a second time, with another batch.
	plan func(*batch) error
	// published, if there, is called after the batch has been.
	published func()
	// alone makes the job a batch of its own, which succeeds even where nothing can
	// be written, if it needs nothing written.
	alone bool
	// rehearsal, of a job that is alone, has a probe be written instead of what it would
	// have written, and nothing published.
	rehearsal bool

	err  error
	done chan struct{} // is closed when err is final
}

// submit has the committer do a job and waits for its end, or, if ctx ends before
// its begin, withdraws it.
func (s *Server) submit(ctx context.Context, j *job) error {
	if err := ctx.Err(); err != nil {
		return withdrawn(err)
	}
	j.done = make(chan struct{})
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return ErrClosed
	}
	s.pool.Push(j.client, j)
	s.mu.Unlock()
	s.wakeCommitter()

	select {
	case <-j.done:
	case <-ctx.Done():
		if s.withdraw(j) {
			return withdrawn(ctx.Err())
		}
		<-j.done
	}
	return j.err
}

func withdrawn(err error) error {
	return fmt.Errorf("withdrawn before it began, so nothing was changed: %w", err)
}

// withdraw takes a job back, if the committer has not taken it.
func (s *Server) withdraw(j *job) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.pool.Remove(j.client, j)
}

func (s *Server) wakeCommitter() {
	select {
	case s.wake <- struct{}{}:
	default: // there is a token already
	}
}

// runCommitter is the committer. It closes ready when it has dropped what expired
// before it began.
func (s *Server) runCommitter(ready chan<- struct{}) {
	defer close(s.ended)
	s.dropLeftovers()
	again := s.expire()
	for again == 0 {
		again = s.expire()
	}
	timer := time.NewTimer(again)
	defer timer.Stop()
	close(ready)
	for {
		select {
		case <-timer.C:
			s.retry()
			s.finishRevert()
			timer.Reset(s.pause(s.expire()))
		case <-s.wake:
			again := true
			for until := time.Now().Add(commitsInARow); again && time.Now().Before(until); again = s.commit(s.nextJob) {
				s.finishRevert()
				// Goroutines that can run may be about to join: those that have read
				// their request go first. With one client, this costs nothing.
				runtime.Gosched()
			}
			if again {
				s.wakeCommitter()
			} else if s.isClosed() && !s.hasJobs() {
				return
			}
			timer.Reset(s.pause(s.nextExpiry(time.Now())))
		}
	}
}

// pause returns how long the committer may sleep: less while the store has refused
// something, so that a server which is not asked for changes, since it says that it
// can take none, finds out when it can.
func (s *Server) pause(most time.Duration) time.Duration {
	if s.refused.Load() != nil {
		return min(most, max(time.Until(s.refusals.retryAt), 0))
	}
	return most
}

// commitsInARow is how long changes go before what expires, where there are always
// more.
const commitsInARow = 100 * time.Millisecond

// Where a batch ends, at the latest, and with it the wait of those who come meanwhile.
const (
	batchTime  = time.Millisecond
	batchBytes = 512 << 10
)

// nextJob takes the next job for a batch from the pool, nil to begin one. It returns
// nil if no job waits that the batch may take.
func (s *Server) nextJob(b *batch) *job {
	if b != nil && b.isFull() {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	j, ok := s.pool.Peek()
	if !ok || b != nil && j.alone {
		return nil
	}
	s.pool.Pop()
	return j
}

// hasJobs reports whether jobs wait.
func (s *Server) hasJobs() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.pool.Len() > 0
}

// commit does the jobs that next returns as one batch. It reports whether there was
// one.
func (s *Server) commit(next func(*batch) *job) bool {
	j := next(nil)
	if j == nil {
		return false
	}
	lost := s.ensureWritable()
	b := &batch{server: s, rehearsal: j.rehearsal, began: time.Now()}
	for ; j != nil; j = next(b) {
		b.jobs = append(b.jobs, j)
		if whole := b.plan(j); !whole {
			// The others begin again: this one may have left anything in the drafts.
			close(j.done)
			for others := inTurn(b.jobs[:len(b.jobs)-1]...); s.commit(others); {
			}
			return true
		}
	}
	b.end(lost)
	return true
}

// inTurn returns jobs one after the other, each once.
func inTurn(jobs ...*job) func(*batch) *job {
	return func(*batch) (next *job) {
		if len(jobs) > 0 {
			next, jobs = jobs[0], jobs[1:]
		}
		return next
	}
}

// batch is the jobs of one commit in the making.
type batch struct {
	server    *Server
	began     time.Time
	jobs      []*job
	drafts    []*draft // one for each zone that a job has looked at
	bytes     int      // that the drafts have put
	rehearsal bool

	publications []Publication // once it is published, if someone wants to know

	// What the jobs put on accounts; see ledger.
	used    map[uint32]Use
	domains map[domain]int
}

// isFull reports whether the batch is to take no further job.
func (b *batch) isFull() bool {
	return b.jobs[0].alone || b.bytes > batchBytes || time.Since(b.began) > batchTime
}

// plan plans a job. It returns false if that has ended in a panic, after which the
// drafts may be half changed and the job has failed. What a client sends must not end
// the process, in which more than a name server runs.
func (b *batch) plan(j *job) (whole bool) {
	defer func() {
		if recovered := recover(); recovered != nil {
			b.server.logBug("working out a change", recovered)
			j.err, whole = ErrBug, false
		}
	}()
	j.err = j.plan(b)
	return true
}

// end writes and publishes the batch, and lets those go who wait for its jobs. lost is
// why the store may not be written.
func (b *batch) end(lost error) {
	err := b.finish(lost)
	for _, j := range b.jobs {
		if j.err == nil {
			j.err = err
		}
		if j.err == nil && j.published != nil {
			j.published()
		}
	}
	b.server.tell(b.publications)
	for _, j := range b.jobs {
		close(j.done)
	}
}

// finish writes and publishes the batch.
func (b *batch) finish(lost error) (err error) {
	s, first := b.server, b.jobs[0]
	written := false
	defer func() {
		if recovered := recover(); recovered != nil {
			s.logBug("committing changes", recovered)
			err = ErrBug
			if written { // what is served may not be what is on disk: it is read back
				err = ErrOutcomeUnknown
				s.unwritable.Store(&err)
			}
		}
	}()
	if first.alone && first.err != nil {
		b.drafts = nil // it may have left them half done
	}
	changes := b.changes(time.Now())
	switch {
	case lost != nil && (len(changes) > 0 || !first.alone):
		return fmt.Errorf("%w: %w", ErrReadOnly, lost)
	case len(changes) > 0:
		written = true
		write := func() error { return s.store.write(changes) }
		if b.rehearsal { // as much, with the pages of zones that are new
			size := max(sizeOf(changes), leastProbe) + len(changes)*zonePages
			write, changes = func() error { return s.store.probe(size) }, nil
		}
		if err := write(); err == nil {
			s.written(changes)
		} else if err = s.recoverCommit(changes, err); err != nil {
			return err
		}
	}
	if !b.rehearsal {
		b.publish()
	}
	return nil
}

// known returns the draft of a zone that there is.
func (b *batch) known(name record.Name) (*draft, error) {
	z := (*b.server.zones.Load())[name]
	if z == nil {
		return nil, ErrUnknownZone
	}
	return b.draft(z), nil
}

func (b *batch) draft(z *zone) *draft {
	for _, d := range b.drafts {
		if d.zone == z {
			return d
		}
	}
	d := &draft{batch: b, zone: z, base: z.current.Load()}
	if d.base == nil {
		d.base, d.isNew = newSnapshot(z.name), true
	}
	next := *d.base
	d.next = &next
	b.drafts = append(b.drafts, d)
	return d
}

// configure has the zone, which is made if there is none, hold the records of a
// configuration. The job must be alone.
func (b *batch) configure(name record.Name, records *configRecords) error {
	z := (*b.server.zones.Load())[name]
	if z == nil {
		z = &zone{name: name}
	}
	d := b.draft(z)
	if d.next.config != nil && d.next.config.fingerprint == records.fingerprint && d.next.configured == records.fingerprint {
		return nil
	}
	d.own()
	warn := b.server.warnHidden
	if b.rehearsal { // it warns when it comes
		warn = func(record.Name) {}
	}
	keys, err := d.next.configure(records, b.server.store, warn)
	for _, key := range keys {
		d.touch(key, false)
	}
	return err
}

// changes finishes the drafts and returns what of them has to be written.
func (b *batch) changes(now time.Time) []zoneChange {
	var changes []zoneChange
	for _, d := range b.drafts {
		if sets := d.changedSets(); len(sets) > 0 || d.reconfigured() {
			d.finish(now)
			changes = append(changes, zoneChange{zone: d.zone.name, serial: d.next.serial, config: d.next.configured, sets: sets})
		}
	}
	return changes
}

// publish publishes the drafts.
func (b *batch) publish() {
	s := b.server
	ledger := s.ledger.Load()
	ledger.mu.Lock()
	defer ledger.mu.Unlock()
	for _, d := range b.drafts {
		if !d.owned {
			continue
		}
		for key := range d.touched {
			before, _ := d.base.tree.Get(key)
			after, _ := d.next.tree.Get(key)
			s.deadlines.move(d.zone, key, before, after)
			ledger.move(d.zone, key, before, after)
		}
		s.histories.replace(d, len(d.zone.notifications) > 0)
		if d.next.serial != d.base.serial {
			d.zone.notify()
		}
		if zones := *s.zones.Load(); zones[d.zone.name] != d.zone {
			more := maps.Clone(zones)
			more[d.zone.name] = d.zone
			s.zones.Store(&more)
		}
		if s.published != nil {
			b.publications = append(b.publications, d.publication())
		}
	}
	s.histories.trim()
}

// draft is a zone as it will be after the commit.
type draft struct {
	batch *batch
	zone  *zone
	base  *Snapshot // as published
	next  *Snapshot // ours, its tree only if owned
	isNew bool      // base is not published: there is no such zone yet
	// owned is set with the first change: until then both share one tree.
	owned bool
	// touched are the keys of the nodes set so far; true where the store has to
	// follow, false where only what a configuration makes has changed.
	touched map[string]bool
}

func (d *draft) publication() Publication {
	p := Publication{Zone: d.zone.name, Before: d.base, After: d.next}
	if d.isNew {
		p.Before = nil
	}
	p.Names = func(yield func(record.Name) bool) {
		for key := range d.touched {
			before, _ := d.base.tree.Get(key)
			if after, _ := d.next.tree.Get(key); before != after && !yield(record.NameFromKey(key)) {
				return
			}
		}
	}
	return p
}

func (d *draft) own() {
	if !d.owned {
		d.next.tree = d.base.tree.Copy()
		d.owned = true
	}
}

func (d *draft) touch(key string, stored bool) {
	if d.touched == nil {
		d.touched = make(map[string]bool)
	}
	d.touched[key] = d.touched[key] || stored
}

// apply takes over what a change has left at the names that it changed, whose keys are
// given beside them.
func (d *draft) apply(nodes []record.Node, keys []string) {
	for i, n := range nodes {
		// The SOA is apart from the tree.
		rest := slices.DeleteFunc(n.Records, func(r record.Record) bool { return r.Type == record.TypeSOA })
		d.put(keys[i], packNode(rest))
	}
}

func (d *draft) put(key string, n node) {
	d.own()
	d.next.put(key, n)
	d.touch(key, true)
	d.batch.bytes += len(n)
}

// edit has the records at a name changed, or taken out where keep is false, and returns the
// number of those.
func (d *draft) edit(key string, edit func(r *record.Record) (keep bool)) (edited int) {
	n, _ := d.next.tree.Get(key)
	all := n.appendRecords(nil, record.NameFromKey(key))
	left := make([]record.Record, 0, len(all))
	for _, r := range all {
		before := r
		keep := edit(&r)
		if keep {
			left = append(left, r)
		}
		if !keep || r != before {
			edited++
		}
	}
	if edited > 0 {
		d.put(key, packNode(left))
	}
	return edited
}

// changedSets returns the RRsets of the store that the draft changes.
func (d *draft) changedSets() []setChange {
	var sets []setChange
	for key, stored := range d.touched {
		if !stored {
			continue
		}
		before, _ := d.base.tree.Get(key)
		after, _ := d.next.tree.Get(key)
		diffSets(before, after, func(t record.Type, set rrset) {
			sets = append(sets, setChange{owner: key, typ: t, set: set})
		})
	}
	return sets
}

// reconfigured reports whether the store has to learn of another configuration, or
// of the zone itself.
func (d *draft) reconfigured() bool {
	return d.next.config != nil && d.next.config.fingerprint != d.next.configured
}

// finish raises the serial.
func (d *draft) finish(now time.Time) {
	d.next.serial = nextSerial(d.base.serial, now)
	if c := d.next.config; c != nil {
		d.next.configured = c.fingerprint
		d.next.soa = c.soa(d.next.serial)
	}
}

// nextSerial returns the later of the serial's successor and the Unix time, in the
// arithmetic of RFC 1982. The time lets a zone that was restored from a backup
// overtake what secondaries have of it.
func nextSerial(last uint32, now time.Time) uint32 {
	next, unix := last+1, uint32(now.Unix())
	if int32(unix-next) > 0 {
		return unix
	}
	return next
}
