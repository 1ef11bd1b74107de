package nameserver

import (
	"fmt"
	"maps"
	"time"

	"github.com/caddy-dns/bestdns/internal/record"
)

// After a commit has failed, neither what bbolt has in memory nor the index is
// certain to be what is on disk. So the file is opened anew, and the serials in it,
// which each commit raises, tell whether the commit is in it. Until that has
// worked, nothing is written; DNS is answered all the while.

// regainRetry is the pause between tries to read the store back when no change asks
// for it.
const regainRetry = 10 * time.Second

// settle finds out what became of a batch whose commit failed: nil means that it is
// on disk nevertheless, and durable.
func (s *Server) settle(changes []zoneChange, cause error) error {
	s.lost.Store(&cause)
	s.log.Error("a change could not be written; reading the store back", "path", s.store.path, "error", cause)
	onDisk, err := s.reread()
	if err != nil {
		return s.unknown(cause, fmt.Errorf("reading it back: %w", err))
	}
	want := s.serials()
	if maps.Equal(onDisk, want) {
		s.lost.Store(nil)
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
	s.lost.Store(nil)
	return nil
}

func (s *Server) unknown(cause, more error) error {
	lost := fmt.Errorf("%w; %w", cause, more)
	s.lost.Store(&lost)
	return fmt.Errorf("%w: %w", ErrOutcomeUnknown, lost)
}

// regain returns nil when the store may be written, after reading it back if it
// must be, and otherwise why it may not.
func (s *Server) regain() error {
	lost := s.lost.Load()
	if lost == nil {
		return nil
	}
	onDisk, err := s.reread()
	if err == nil && !maps.Equal(onDisk, s.serials()) {
		err = s.loadIndex() // a commit with an unknown outcome has come to be
	}
	if err != nil {
		return fmt.Errorf("%w; trying again: %w", *lost, err)
	}
	s.log.Info("the store has been read back and takes changes again", "path", s.store.path)
	s.lost.Store(nil)
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
