package main

import (
	"archive/tar"
	"archive/zip"
	"compress/gzip"
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"time"
)

// file is one to put into an archive.
type file struct {
	name       string // in the archive, with slashes
	path       string
	executable bool
}

// mode is one of two, whatever the umask of the machine makes of a file.
func (f file) mode() fs.FileMode {
	if f.executable {
		return 0o755
	}
	return 0o644
}

// filesOf returns all files below a folder, in the order of their names.
func filesOf(dir string) ([]file, error) {
	var files []file
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		if !d.Type().IsRegular() {
			return errors.New(path + " is not a regular file")
		}
		name, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		files = append(files, file{filepath.ToSlash(name), path, info.Mode()&0o100 != 0})
		return nil
	})
	return files, err
}

// writeTarGz writes files into an archive, all in one folder and of one time and user.
func writeTarGz(archive, folder string, files []file, at time.Time) error {
	return writeFile(archive, func(w io.Writer) error {
		gz, err := gzip.NewWriterLevel(w, gzip.BestCompression)
		if err != nil {
			return err
		}
		tw := tar.NewWriter(gz)
		for _, f := range files {
			info, err := os.Stat(f.path)
			if err != nil {
				return err
			}
			header := &tar.Header{Name: path.Join(folder, f.name), Mode: int64(f.mode()), Size: info.Size(), ModTime: at, Uname: "root", Gname: "root"}
			if err := tw.WriteHeader(header); err != nil {
				return err
			}
			if err := copyFrom(tw, f.path); err != nil {
				return err
			}
		}
		return errors.Join(tw.Close(), gz.Close())
	})
}

// writeZip does the same as writeTarGz.
func writeZip(archive, folder string, files []file, at time.Time) error {
	return writeFile(archive, func(w io.Writer) error {
		zw := zip.NewWriter(w)
		for _, f := range files {
			header := &zip.FileHeader{Name: path.Join(folder, f.name), Method: zip.Deflate, Modified: at}
			header.SetMode(f.mode())
			entry, err := zw.CreateHeader(header)
			if err != nil {
				return err
			}
			if err := copyFrom(entry, f.path); err != nil {
				return err
			}
		}
		return zw.Close()
	})
}

// gzipFile compresses a file, without its name and time.
func gzipFile(from, to string) error {
	return writeFile(to, func(w io.Writer) error {
		gz, err := gzip.NewWriterLevel(w, gzip.BestCompression)
		if err != nil {
			return err
		}
		return errors.Join(copyFrom(gz, from), gz.Close())
	})
}

func writeFile(name string, write func(io.Writer) error) error {
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	return errors.Join(write(f), f.Close())
}

func copyFrom(w io.Writer, name string) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = io.Copy(w, f)
	return err
}
