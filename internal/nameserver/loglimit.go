package nameserver

import (
	"sync"
	"time"
)

// logPause is the time between two lines of one kind in the log: a client can send what makes for
// one any number of times.
const logPause = 10 * time.Second

// logLimit bounds how many lines of one kind the log gets. It is safe for concurrent use.
type logLimit struct {
	mu       sync.Mutex
	last     time.Time // of a line
	unlogged int       // since then
}

// next reports whether a line is to be logged, and how many were not before it.
func (l *logLimit) next(now time.Time) (unlogged int, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.last.IsZero() && now.Sub(l.last) < logPause {
		l.unlogged++
		return 0, false
	}
	unlogged, l.unlogged, l.last = l.unlogged, 0, now
	return unlogged, true
}
