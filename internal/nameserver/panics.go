package nameserver

import (
	"fmt"
	"runtime/debug"
	"sync"
	"time"
)

const (
	// panicPause is the time between two lines about panics of one kind: a message or a
	// change that makes for one can be sent any number of times.
	panicPause = 10 * time.Second
	// mostOfMessage is how many bytes of the message a line has.
	mostOfMessage = 1024
)

// panics bounds what the log says of panics of one kind. It is safe for concurrent use.
type panics struct {
	mu       sync.Mutex
	last     time.Time // of a line
	unlogged int       // since then
}

// next reports whether a panic is to be logged, and how many were not before it.
func (p *panics) next(now time.Time) (unlogged int, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.last.IsZero() && now.Sub(p.last) < panicPause {
		p.unlogged++
		return 0, false
	}
	unlogged, p.unlogged, p.last = p.unlogged, 0, now
	return unlogged, true
}

// logPanic logs a panic in answering a message, from where it is recovered.
func (s *Server) logPanic(recovered any, message []byte) {
	unlogged, ok := s.panics.next(time.Now())
	if !ok {
		return
	}
	s.log.Error("answering a DNS message failed; please report this", "error", recovered,
		"message", fmt.Sprintf("%x", message[:min(len(message), mostOfMessage)]), "bytes", len(message),
		"unlogged", unlogged, "stack", string(debug.Stack()))
}

// logBug logs a panic that was kept from ending the process, from where it is recovered.
func (s *Server) logBug(doing string, recovered any) {
	if unlogged, ok := s.bugs.next(time.Now()); ok {
		s.log.Error(doing+" failed; please report this", "error", recovered, "unlogged", unlogged, "stack", string(debug.Stack()))
	}
}
