package fair

import (
	"context"
	"fmt"
	"sync"
)

// Locks are locks by key. Those who wait for one get it client by client: a client
// that comes waits for the holder and for one of each other client at most, and the
// holder's own client goes after all who wait when it releases. The zero value is
// ready to use, and safe for concurrent use.
//
// It keeps no memory for a key without holder.
type Locks struct {
	mu   sync.Mutex
	keys map[string]*Queue[*turn] // none is empty; the first in each is the holder
	most int                      // the keys that there were since keys was made
}

// turn is the wish for a lock, and then the lock.
type turn struct{ granted chan struct{} } // closed when it holds the lock

// Acquire waits until the client has the lock of a key, and returns what releases it,
// which may be called any number of times. If ctx ends before, the caller does not
// have the lock, and the error wraps ctx's cause.
func (l *Locks) Acquire(ctx context.Context, key, client string) (release func(), err error) {
	if ctx.Err() != nil {
		return nil, notGranted(ctx)
	}
	t := l.enter(key, client)
	select {
	case <-t.granted:
	case <-ctx.Done():
		l.leave(key, client, t)
		return nil, notGranted(ctx)
	}
	var once sync.Once
	return func() { once.Do(func() { l.leave(key, client, t) }) }, nil
}

func notGranted(ctx context.Context) error {
	return fmt.Errorf("waiting for a turn: %w", context.Cause(ctx))
}

func (l *Locks) enter(key, client string) *turn {
	l.mu.Lock()
	defer l.mu.Unlock()
	turns := l.keys[key]
	if turns == nil {
		if l.keys == nil {
			l.keys = make(map[string]*Queue[*turn])
		}
		turns = new(Queue[*turn])
		l.keys[key] = turns
		l.most = max(l.most, len(l.keys))
	}
	t := &turn{granted: make(chan struct{})}
	turns.Push(client, t)
	if turns.Len() == 1 {
		close(t.granted)
	}
	return t
}

// leave ends a turn, whether it was granted or not. What it has to look at, it looks at
// under the lock: a turn may be granted while its context ends.
func (l *Locks) leave(key, client string, t *turn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	turns := l.keys[key]
	if holder, _ := turns.Peek(); holder != t {
		turns.Remove(client, t)
		return
	}
	turns.Pop()
	if next, ok := turns.Peek(); ok {
		close(next.granted)
		return
	}
	delete(l.keys, key)
	if len(l.keys) == 0 && l.most > fewLines { // a map does not shrink
		l.keys, l.most = nil, 0
	}
}
