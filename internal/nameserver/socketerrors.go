package nameserver

import (
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

// Pauses after reading a socket has failed: the first, and the longest; each is twice
// the one before.
const (
	firstPause = 5 * time.Millisecond
	lastPause  = time.Second
)

// readsAgain is how long a read must wait for something to come until the socket
// counts as working again: no one may ask for a long time, and a read that fails does so
// at once.
const readsAgain = time.Second

// socketErrors is what a socket that cannot be read tells about itself.
type socketErrors struct {
	log   *slog.Logger
	count atomic.Uint64 // of failures, ever

	// current is the last failure, nil while reading works. It changes under mu.
	current atomic.Pointer[error]

	mu      sync.Mutex // guards what follows
	pause   time.Duration
	since   time.Time
	notices notices
	// recovered is when reading worked again; zero if it never failed.
	recovered time.Time
}

func (t *socketErrors) err() error {
	if err := t.current.Load(); err != nil {
		return *err
	}
	return nil
}

// failed notes a failure and returns how long to wait before the next attempt.
func (t *socketErrors) failed(err error) (pause time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.count.Add(1)
	now := time.Now()
	t.pause = min(2*t.pause, lastPause)
	if t.current.Load() == nil {
		t.since, t.pause = now, firstPause
	}
	t.current.Store(&err)
	if t.notices.fails(now) {
		attrs := []any{"error", err, "for", now.Sub(t.since), "errors", t.count.Load()}
		if bug := new(panicError); errors.As(err, &bug) {
			attrs = append(attrs, "stack", string(bug.stack))
		}
		t.log.Error("a socket cannot be read, so that DNS queries are lost; it is tried again until it can", attrs...)
	}
	return t.pause
}

// succeeded notes that something was read. It costs next to nothing while there is no
// failure.
func (t *socketErrors) succeeded() {
	if t.current.Load() == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.current.Swap(nil) == nil {
		return
	}
	t.recovered = time.Now()
	if t.notices.over() {
		t.log.Info("a socket can be read again", "after", time.Since(t.since))
	}
}

// attempt begins one to read, which ends the failure when it goes on for long enough. It
// returns what ends the attempt.
func (t *socketErrors) attempt() (stop func()) {
	if t.current.Load() == nil {
		return func() {}
	}
	ended := make(chan struct{})
	timer := time.AfterFunc(readsAgain, func() {
		defer close(ended)
		t.succeeded()
	})
	return func() {
		if !timer.Stop() {
			<-ended // or what comes next would be taken for over
		}
	}
}

// lineEvery is the least time between two lines that say of the same thing that it
// fails.
const lineEvery = time.Minute

// notices bound what is logged of something that fails and works again, however often
// it changes.
type notices struct {
	last time.Time // when a line said that it fails
	told bool      // that it fails, of the failure at hand
}

// fails reports whether to log that it fails, or still does.
func (n *notices) fails(now time.Time) bool {
	if !n.last.IsZero() && now.Sub(n.last) < lineEvery {
		return false
	}
	n.last, n.told = now, true
	return true
}

// over reports whether to log that it works again.
func (n *notices) over() bool {
	told := n.told
	n.told = false
	return told
}
