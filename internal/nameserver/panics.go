package nameserver

import (
	"fmt"
	"runtime/debug"
	"time"
)

// mostOfMessage is how many bytes of the message a line about a panic has.
const mostOfMessage = 1024

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
