//go:build unix

package clientfile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// tryLock locks a folder. The lock goes with the process.
func tryLock(dir string) (unlock func(), taken bool, err error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, false, err
	}
	switch err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); {
	case errors.Is(err, syscall.EWOULDBLOCK):
		return nil, true, f.Close()
	case err != nil:
		return nil, false, errors.Join(err, f.Close())
	}
	return func() { f.Close() }, false, nil
}

// keepOwner gives a new file the owner, group and mode of the file that it replaces, or the owner and
// group of its folder if there is none: root may write it, and Caddy's user has to read it.
func keepOwner(f *os.File, path string, mode fs.FileMode) error {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		info, err = os.Stat(filepath.Dir(path))
	}
	if err != nil {
		return err
	}
	if owner, ok := info.Sys().(*syscall.Stat_t); ok {
		created, err := f.Stat()
		if err != nil {
			return err
		}
		own, ok := created.Sys().(*syscall.Stat_t)
		if ok && (own.Uid != owner.Uid || own.Gid != owner.Gid) {
			if err := f.Chown(int(owner.Uid), int(owner.Gid)); err != nil {
				return fmt.Errorf("the file belongs to another user: %w", err)
			}
		}
	}
	return f.Chmod(mode)
}
