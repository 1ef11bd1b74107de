package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

const licensesFile = "LICENSES-OF-MODULES.txt"

// makeArchive makes the archive of the program for a platform.
func (b *build) makeArchive(ctx context.Context, t target) error {
	dir := filepath.Dir(b.programs[t])
	licenses := filepath.Join(dir, licensesFile)
	if err := b.makeLicenses(ctx, t, licenses); err != nil {
		return err
	}
	files := []file{
		{filepath.Base(b.programs[t]), b.programs[t], true},
		{licensesFile, licenses, false},
	}
	own := []string{"LICENSE", "README.md", "CHANGELOG.md"}
	if isLinux(t) {
		own = append(own, "examples/systemd/bestdns.service")
	}
	for _, name := range own {
		files = append(files, file{filepath.Base(name), filepath.Join(b.source(), name), false})
	}
	name := fmt.Sprintf("bestdns_%s_%s_%s", b.fileVersion(), t.os, t.arch)
	archive := filepath.Join(b.out(), name)
	if t.os == "windows" {
		return writeZip(archive+".zip", name, files, b.time)
	}
	return writeTarGz(archive+".tar.gz", name, files, b.time)
}

// makeDebs makes a Debian package for each Linux.
func (b *build) makeDebs(ctx context.Context) error {
	common := filepath.Join(b.dir, "debian")
	if err := b.stageCommon(ctx, common); err != nil {
		return err
	}
	for _, t := range b.targets {
		if !isLinux(t) {
			continue
		}
		stage := filepath.Join(b.dir, "debian-"+t.arch)
		if err := os.CopyFS(stage, os.DirFS(common)); err != nil {
			return err
		}
		if err := os.Link(b.programs[t], filepath.Join(stage, "caddy")); err != nil {
			return err
		}
		licenses := filepath.Join(filepath.Dir(b.programs[t]), licensesFile)
		if err := gzipFile(licenses, filepath.Join(stage, "doc", licensesFile+".gz")); err != nil {
			return err
		}
		if err := setModes(stage); err != nil {
			return err
		}
		env := append([]string{"DEB_ARCH=" + t.arch, "DEB_VERSION=" + b.debianVersion(), b.epoch()}, toolFlags...)
		deb := fmt.Sprintf("bestdns_%s_%s.deb", b.debianVersion(), t.arch)
		_, err := command(ctx, stage, env, "go", "run", nfpm, "package", "--packager", "deb", "--config", "debian/nfpm.yaml",
			"--target", filepath.Join(b.out(), deb))
		if err != nil {
			return err
		}
	}
	return nil
}

// setModes sets the modes of all files below a folder to those that archives have, so that a package
// does not depend on the umask.
func setModes(dir string) error {
	return filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		return os.Chmod(path, file{executable: info.Mode()&0o100 != 0}.mode())
	})
}

// epoch is the time for programs that would otherwise write the current one.
func (r *release) epoch() string {
	return "SOURCE_DATE_EPOCH=" + strconv.FormatInt(r.time.Unix(), 10)
}

// stageCommon makes a folder with the files that are the same on each platform.
func (b *build) stageCommon(ctx context.Context, stage string) error {
	for _, dir := range []string{"completion", "doc", "man"} {
		if err := os.MkdirAll(filepath.Join(stage, dir), 0o755); err != nil {
			return err
		}
	}
	for from, to := range map[string]string{"release/debian": "debian", "examples": "doc/examples", "docs": "doc/docs"} {
		if err := os.CopyFS(filepath.Join(stage, to), os.DirFS(filepath.Join(b.source(), from))); err != nil {
			return err
		}
	}
	for from, to := range map[string]string{"LICENSE": "doc/copyright", "README.md": "doc/README.md", "SECURITY.md": "doc/SECURITY.md"} {
		text, err := os.ReadFile(filepath.Join(b.source(), from))
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(stage, to), text, 0o644); err != nil {
			return err
		}
	}
	if err := gzipFile(filepath.Join(b.source(), "CHANGELOG.md"), filepath.Join(stage, "doc", "changelog.gz")); err != nil {
		return err
	}
	if err := b.stageUnit(stage); err != nil {
		return err
	}
	return b.stageWritten(ctx, stage)
}

// stageUnit makes the package's unit from that of the examples: the path of the program
// differs, and the package creates the user.
func (b *build) stageUnit(stage string) error {
	text, err := os.ReadFile(filepath.Join(b.source(), "examples", "systemd", "bestdns.service"))
	if err != nil {
		return err
	}
	unit, err := debianUnit(string(text))
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(stage, "bestdns.service"), []byte(unit), 0o644)
}

func debianUnit(unit string) (string, error) {
	_, unit, found := strings.Cut(unit, "[Unit]\n") // the comment before it says how to install it
	if !found {
		return "", errors.New("the unit has no section [Unit]")
	}
	unit = "[Unit]\n" + unit
	for _, change := range [][2]string{
		{"=/usr/local/bin/caddy ", "=/usr/bin/caddy "},
		{"\nDynamicUser=yes\n", "\nUser=bestdns\nGroup=bestdns\n"},
	} {
		if !strings.Contains(unit, change[0]) {
			return "", fmt.Errorf("the unit does not have %q, which the package changes", change[0])
		}
		unit = strings.ReplaceAll(unit, change[0], change[1])
	}
	return unit, nil
}

// stageWritten has the program write its man pages and completions.
func (b *build) stageWritten(ctx context.Context, stage string) error {
	program, err := b.hostProgram(ctx)
	if err != nil {
		return err
	}
	home := filepath.Join(b.dir, "home")
	env := []string{b.epoch(), "HOME=" + home, "XDG_DATA_HOME=" + home, "XDG_CONFIG_HOME=" + home}
	pages := filepath.Join(b.dir, "man")
	if _, err := command(ctx, b.dir, env, program, "manpage", "--directory", pages); err != nil {
		return err
	}
	files, err := filesOf(pages)
	if err != nil {
		return err
	}
	for _, page := range files {
		if err := gzipFile(page.path, filepath.Join(stage, "man", page.name+".gz")); err != nil {
			return err
		}
	}
	for _, shell := range []string{"bash", "zsh", "fish"} {
		text, err := command(ctx, b.dir, env, program, "completion", shell)
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(stage, "completion", shell), []byte(text), 0o644); err != nil {
			return err
		}
	}
	return nil
}
