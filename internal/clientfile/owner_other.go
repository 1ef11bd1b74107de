//go:build !unix

package clientfile

import (
	"io/fs"
	"os"
)

func keepOwner(*os.File, string, fs.FileMode) error { return nil }
