package hosting

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"
)

// Storage keeps what has to outlive this process. Copies of the service that share one act for
// each other. It is the part of certmagic's Storage that is needed, and a storage that has
// certmagic's TryLock too is locked by it. Its methods are called concurrently; a call that does not
// return when its context ends is left to itself.
type Storage interface {
	// Store puts a value at a key, whose parts are separated by slashes.
	Store(ctx context.Context, key string, value []byte) error
	// Load returns the value at a key, and [io/fs.ErrNotExist] if there is none.
	Load(ctx context.Context, key string) ([]byte, error)
	// Delete removes a key. That there is none is not an error.
	Delete(ctx context.Context, key string) error
	// List returns the keys in a folder, those in its folders too if recursive; folders may be
	// among them. The error for a folder that does not exist may be [io/fs.ErrNotExist].
	List(ctx context.Context, folder string, recursive bool) ([]string, error)
	// Lock waits for the lock of a name among all who share the storage.
	Lock(ctx context.Context, name string) error
	Unlock(ctx context.Context, name string) error
}

// tryLocker is a storage of which a lock can be had without waiting for its holder.
type tryLocker interface {
	TryLock(ctx context.Context, name string) (bool, error)
}

const (
	// storageTimeout is how long a change waits for the storage in all, before it is made
	// and after it.
	storageTimeout = time.Second
	// storagePause is how long changes go on without a storage that did not answer in time.
	storagePause = 10 * time.Second
	// mostAsking is how many ask at the same time, those that were left to themselves
	// included.
	mostAsking = 64
)

// errStoragePaused is what changes get of the storage after a call that was too slow.
var errStoragePaused = errors.New("it did not answer in time, and is not asked for some seconds")

// guardedStorage is a storage that holds no one up, whatever it does. It is safe for
// concurrent use.
type guardedStorage struct {
	Storage
	slots chan struct{} // one in it for each ask under way
	// pausedUntil and answered, when a call last returned in time, are in Unix nanoseconds.
	pausedUntil, answered atomic.Int64
}

// The calls that changes make, each noted when it returns in time.

func (s *guardedStorage) Store(ctx context.Context, key string, value []byte) error {
	defer s.note(ctx)
	return s.Storage.Store(ctx, key, value)
}

func (s *guardedStorage) Load(ctx context.Context, key string) ([]byte, error) {
	defer s.note(ctx)
	return s.Storage.Load(ctx, key)
}

func (s *guardedStorage) Delete(ctx context.Context, key string) error {
	defer s.note(ctx)
	return s.Storage.Delete(ctx, key)
}

// note notes that a call has returned. One that returns because its time is over is not an answer.
func (s *guardedStorage) note(ctx context.Context) {
	if ctx.Err() == nil {
		s.answered.Store(time.Now().UnixNano())
	}
}

func newGuardedStorage(s Storage) *guardedStorage {
	return &guardedStorage{Storage: s, slots: make(chan struct{}, mostAsking)}
}

// ask makes calls of the storage, and waits no longer than ctx allows. They may go on after that, so
// they must not share variables with the caller.
func ask[T any](ctx context.Context, s *guardedStorage, calls func(context.Context) (T, error)) (T, error) {
	var value T // of the calls, as err, once they have returned
	var err error
	var none T
	select {
	case s.slots <- struct{}{}:
	case <-ctx.Done():
		return none, fmt.Errorf("waiting for the end of earlier calls: %w", ctx.Err())
	}
	returned := make(chan struct{})
	go func() {
		defer func() {
			// Here, where net/http does not see it, a panic would end all of Caddy.
			if r := recover(); r != nil {
				err = fmt.Errorf("it panicked: %v", r)
			}
			<-s.slots
			close(returned)
		}()
		value, err = calls(ctx)
	}()
	select {
	case <-returned:
		return value, err
	case <-ctx.Done():
		return none, ctx.Err()
	}
}

// lock takes a lock if no other copy holds it, and returns what releases it; nil if another does.
func (s *guardedStorage) lock(ctx context.Context, name string) (release func(), err error) {
	var settled atomic.Bool // the lock is the caller's, or the caller has given up
	locked, err := ask(ctx, s, func(ctx context.Context) (bool, error) {
		locked, err := s.lockNow(ctx, name)
		if locked && !settled.CompareAndSwap(false, true) {
			return false, s.Unlock(context.WithoutCancel(ctx), name)
		}
		return locked, err
	})
	if err != nil && !settled.CompareAndSwap(false, true) {
		locked, err = true, nil // it came at the last moment
	}
	if err != nil || !locked {
		return nil, err
	}
	return func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), sweepCallTimeout)
		defer cancel()
		// An error has no use: a lock whose holder is gone ends by itself.
		_, _ = ask(ctx, s, func(ctx context.Context) (struct{}, error) { return struct{}{}, s.Unlock(ctx, name) })
	}, nil
}

func (s *guardedStorage) lockNow(ctx context.Context, name string) (bool, error) {
	if locker, ok := s.Storage.(tryLocker); ok {
		return locker.TryLock(ctx, name)
	}
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	err := s.Lock(ctx, name)
	if errors.Is(err, context.DeadlineExceeded) {
		return false, nil
	}
	return err == nil, err
}

// askForChange makes calls of the storage that a change waits for, for a short time in all. After a
// time in which none was answered, it makes none for a while: every change would wait for as long. That one
// change makes many is no reason for it.
func askForChange[T any](ctx context.Context, s *guardedStorage, calls func(context.Context) (T, error)) (T, error) {
	var none T
	if time.Now().UnixNano() < s.pausedUntil.Load() {
		return none, errStoragePaused
	}
	began := time.Now().UnixNano()
	limited, cancel := context.WithTimeout(ctx, storageTimeout)
	defer cancel()
	value, err := ask(limited, s, calls)
	if err != nil && limited.Err() != nil && ctx.Err() == nil && s.answered.Load() < began {
		s.pausedUntil.Store(time.Now().Add(storagePause).UnixNano())
	}
	return value, err
}
