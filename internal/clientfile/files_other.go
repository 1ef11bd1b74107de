//go:build !unix

package clientfile

import (
	"io/fs"
	"os"
)

func tryLock(string) (unlock func(), taken bool, err error) { return func() {}, false, nil }

func keepOwner(*os.File, string, fs.FileMode) error { return nil }
