package clientfile

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// lockTimeout is how long one command waits for others that change the same configuration. Each takes as long as
// Caddy takes to load it.
const lockTimeout = 30 * time.Second

// Lock keeps other callers of Lock from the files of a Caddyfile until unlock is called or the process ends. (It
// does nothing on Windows.)
func Lock(path string) (unlock func(), err error) {
	path, err = filepath.EvalSymlinks(path)
	if err != nil {
		return nil, err
	}
	dir := filepath.Dir(path)
	for end := time.Now().Add(lockTimeout); ; time.Sleep(20 * time.Millisecond) {
		unlock, taken, err := tryLock(dir)
		if err != nil {
			return nil, fmt.Errorf("taking the lock of %s: %w", dir, err)
		}
		if !taken {
			return unlock, nil
		}
		if time.Now().After(end) {
			return nil, fmt.Errorf("another command has been changing the configuration in %s for %s", dir, lockTimeout)
		}
	}
}

// Write makes an edit, so that a reader sees the file as it was or as it is to be. It fails if the
// file is not as it was when it was read. Callers hold the lock.
func (e Edit) Write() (err error) {
	now, mode, err := e.present()
	if err != nil {
		return err
	}
	if !bytes.Equal(now, e.Before) || (now == nil) != (e.Before == nil) {
		return fmt.Errorf("%s was changed in the meantime: try again", e.Path)
	}
	part := e.Path + ".new"
	if err := os.Remove(part); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err // of a command that was killed
	}
	if err := os.Mkdir(filepath.Dir(e.Path), 0o755); err != nil && !errors.Is(err, fs.ErrExist) { // "clients/", which Git does not keep empty
		return err
	}
	f, err := os.OpenFile(part, os.O_CREATE|os.O_EXCL|os.O_WRONLY, mode)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			f.Close() // the error before it counts
			os.Remove(part)
		}
	}()
	if e.After == nil {
		if err := errors.Join(f.Close(), os.Remove(e.Path)); err != nil {
			return err
		}
		return os.Remove(part)
	}
	if err := keepOwner(f, e.Path, mode); err != nil {
		return err
	}
	if _, err := f.Write(e.After); err != nil {
		return err
	}
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(part, e.Path)
}

// present returns the file as it is, nil if it does not exist, and the mode that it is to have.
func (e Edit) present() ([]byte, fs.FileMode, error) {
	info, err := os.Lstat(e.Path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, 0o644, nil
	}
	if err != nil {
		return nil, 0, err
	}
	if !info.Mode().IsRegular() {
		return nil, 0, fmt.Errorf("%s is not a plain file", e.Path)
	}
	text, err := readFile(e.Path)
	if text == nil {
		text = []byte{}
	}
	return text, info.Mode().Perm(), err
}

// Undo returns the edit that takes this one back.
func (e Edit) Undo() Edit { return Edit{Path: e.Path, Before: e.After, After: e.Before} }
