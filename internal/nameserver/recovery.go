package nameserver

import (
	"crypto/rand"
	"fmt"
	"maps"
	"time"

	"github.com/caddy-dns/bestdns/internal/record"
	"go.etcd.io/bbolt"
)

// After a commit has failed, neither what bbolt has in memory nor the index is
// certain to be what is on disk. So the file is opened anew, and the serials in it,
// which each commit raises, tell whether the commit is in it. Until that has
// worked, nothing is written; DNS is answered all the while.
//
// When it has worked, each later change tries to be written. But that the store can be
// read back says nothing of room on the disk, so that the server is unhealthy until
// something as large as what failed has been written: a change, or a probe, since a
// server that says that it can take no changes may be asked for none.

// writeRetry is the pause between attempts to write the store when no change makes one.
const writeRetry = 10 * time.Second

// probeEvery is the least time between two probes, the second of which comes early
// because a change has been written that was smaller than what failed.
const probeEvery = time.Second

// Bytes of a probe: bbolt writes whole pages, and more than the most would keep
// changes waiting.
const (
	leastProbe = 4 << 10
	mostProbe  = 2 << 20
)

// refusal is a store that could not be written the last time.
type refusal struct {
	err  error
	size int // the most that failed, between leastProbe and mostProbe
}

// refusals are what the committer knows of the store's refusals, but for the last one.
type refusals struct {
	retryAt, probed time.Time
	notices         notices
}

// refuse notes that changes could not be written. It is logged when it begins, and not
// for each change, since clients decide how many there are.
func (s *Server) refuse(changes []zoneChange, cause error) {
	now := time.Now()
	size := min(max(sizeOf(changes), leastProbe), mostProbe)
	if before := s.refused.Load(); before != nil {
		size = max(size, before.size)
	} else {
		s.refusals.retryAt = now.Add(writeRetry)
	}
	s.refused.Store(&refusal{cause, size})
	if notices := &s.refusals.notices; !notices.told && notices.fails(now) {
		s.log.Error("the store cannot be written: changes are refused until it can", "path", s.store.path, "error", cause)
	}
}

// written notes that changes could be written.
func (s *Server) written(changes []zoneChange) {
	refused := s.refused.Load()
	if refused == nil {
		return
	}
	if len(changes) == 0 || max(sizeOf(changes), leastProbe) < refused.size {
		if soon := s.refusals.probed.Add(probeEvery); soon.Before(s.refusals.retryAt) {
			s.refusals.retryAt = soon
		}
		return
	}
	s.accept()
}

// accept notes that the store takes what it refused.
func (s *Server) accept() {
	now := time.Now()
	s.recovered.Store(&now)
	s.refused.Store(nil)
	if s.refusals.notices.over() {
		s.log.Info("the store can be written again", "path", s.store.path)
	}
}

// sizeOf returns about how many bytes changes write.
func sizeOf(changes []zoneChange) (size int) {
	for i := range changes {
		for j := range changes[i].sets {
			size += len(changes[i].sets[j].owner) + setKeyTail + len(changes[i].sets[j].set)
		}
	}
	return size
}

// retry finds out whether a store that has refused something takes it now, when it is
// time to.
func (s *Server) retry() {
	now := time.Now()
	refused := s.refused.Load()
	if refused == nil || now.Before(s.refusals.retryAt) {
		return
	}
	s.refusals.retryAt = now.Add(writeRetry)
	if s.ensureWritable() != nil { // who changes something hears why not
		return
	}
	s.refusals.probed = now
	if err := s.store.probe(refused.size); err != nil {
		_ = s.recoverCommit(nil, err) // which has noted it
		return
	}
	s.accept()
}

// zonePages is how many bytes of pages a new zone takes, beside its records.
const zonePages = 4 << 10

// probeKey is where a probe is, in the bucket of what is about the store itself. One
// that could not be deleted is replaced by the next.
var probeKey = []byte("probe")

// probe writes a value and deletes it again. It is random, since some file systems have
// room for any number of zeros.
func (s *store) probe(size int) error {
	value := make([]byte, size)
	rand.Read(value)
	err := s.update(func(tx *bbolt.Tx) error { return tx.Bucket(metaBucket).Put(probeKey, value) })
	if err != nil {
		return err
	}
	return s.update(func(tx *bbolt.Tx) error { return tx.Bucket(metaBucket).Delete(probeKey) })
}

// recoverCommit finds out what became of a batch whose commit failed: nil means that it is
// on disk nevertheless, and durable.
func (s *Server) recoverCommit(changes []zoneChange, cause error) error {
	s.unwritable.Store(&cause)
	s.refuse(changes, cause)
	onDisk, err := s.reread()
	if err != nil {
		return s.unknown(cause, fmt.Errorf("reading it back: %w", err))
	}
	want := s.serials()
	if maps.Equal(onDisk, want) {
		s.unwritable.Store(nil)
		return fmt.Errorf("%w: %w", ErrReadOnly, cause)
	}
	for i := range changes {
		want[changes[i].zone] = changes[i].serial
	}
	if !maps.Equal(onDisk, want) {
		return s.unknown(cause, fmt.Errorf("what was read back is neither as before nor as it was to be"))
	}
	// What can be read need not be on disk: after a failed sync there may be pages in
	// memory that the system will never write. Writing the same again writes new ones.
	if err := s.store.write(changes); err != nil {
		return s.unknown(cause, fmt.Errorf("it was read back, but could not be made durable: %w", err))
	}
	s.unwritable.Store(nil)
	s.written(changes)
	return nil
}

func (s *Server) unknown(cause, more error) error {
	lost := fmt.Errorf("%w; %w", cause, more)
	s.unwritable.Store(&lost)
	return fmt.Errorf("%w: %w", ErrOutcomeUnknown, lost)
}

// ensureWritable returns nil when the store may be written, after reading it back if it
// must be, and otherwise why it may not.
func (s *Server) ensureWritable() error {
	lost := s.unwritable.Load()
	if lost == nil {
		return nil
	}
	onDisk, err := s.reread()
	if err == nil && !maps.Equal(onDisk, s.serials()) {
		err = s.loadIndex() // a commit with an unknown outcome was made
	}
	if err != nil {
		return fmt.Errorf("%w; trying again: %w", *lost, err)
	}
	s.unwritable.Store(nil)
	return nil
}

// reread opens the file anew and returns the serials of the zones in it.
func (s *Server) reread() (map[record.Name]uint32, error) {
	if err := s.store.reopen(); err != nil {
		return nil, err
	}
	return s.store.serials()
}

// serials returns those of the zones in the index.
func (s *Server) serials() map[record.Name]uint32 {
	serials := make(map[record.Name]uint32)
	for name, z := range *s.zones.Load() {
		serials[name] = z.current.Load().serial
	}
	return serials
}
