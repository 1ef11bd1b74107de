package main

import (
	"context"
	"crypto/sha512"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
)

const (
	versionVariable = "github.com/caddy-dns/bestdns/internal/api.version"

	cyclonedx = "github.com/CycloneDX/cyclonedx-gomod/cmd/cyclonedx-gomod@v1.10.0"
	nfpm      = "github.com/goreleaser/nfpm/v2/cmd/nfpm@v2.45.2"
)

// toolFlags are Go's flags for these tools. The SBOM has the hash of the tool that made it.
var toolFlags = []string{"GOFLAGS=-trimpath -buildvcs=false", "GOWORK=off"}

// build is one build of a release, in a folder of its own.
type build struct {
	*release
	dir      string
	ownCache string // where compiled packages are kept while they are needed, if not in Go's own cache
	step     func(what string)

	programs map[target]string
	files    map[string]string // the SHA-512 of each file in out, by its name
}

func (b *build) source() string { return filepath.Join(b.dir, "source") }
func (b *build) out() string    { return filepath.Join(b.dir, "files") }

// run makes all files.
func (b *build) run(ctx context.Context) error {
	b.programs, b.files = make(map[target]string), make(map[string]string)
	if err := os.MkdirAll(b.out(), 0o755); err != nil {
		return err
	}
	b.step("source and modules")
	if err := b.makeSource(ctx); err != nil {
		return err
	}
	for _, t := range b.targets {
		b.step(t.String())
		if err := b.makeProgram(ctx, t); err != nil {
			return err
		}
		if err := b.makeArchive(ctx, t); err != nil {
			return err
		}
		if err := b.makeSBOM(ctx, t); err != nil {
			return err
		}
	}
	if slices.ContainsFunc(b.targets, isLinux) {
		b.step("Debian packages")
		if err := b.makeDebs(ctx); err != nil {
			return err
		}
	}
	return b.sum()
}

func isLinux(t target) bool { return t.os == "linux" }

// programFlags are those of "go build" for the program, which BUILDING.txt has too.
func (r *release) programFlags() []string {
	return []string{"-C", "release/caddy", "-mod=vendor", "-trimpath", "-buildvcs=false", "-ldflags",
		"-s -w -buildid= -X " + versionVariable + "=" + r.version}
}

// makeProgram builds the program for a platform from the source with its modules, without
// network.
func (b *build) makeProgram(ctx context.Context, t target) error {
	if b.programs[t] != "" {
		return nil
	}
	program := filepath.Join(b.dir, "programs", t.os+"_"+t.arch, "caddy")
	if t.os == "windows" {
		program += ".exe"
	}
	env := []string{"CGO_ENABLED=0", "GOOS=" + t.os, "GOARCH=" + t.arch, "GOAMD64=v1", "GOARM64=v8.0", "GOEXPERIMENT=",
		"GOFLAGS=", "GOPROXY=off", "GOWORK="}
	if b.ownCache != "" {
		// Half a gigabyte for each platform.
		defer os.RemoveAll(b.ownCache)
		env = append(env, "GOCACHE="+b.ownCache)
	}
	args := slices.Concat([]string{"build"}, b.programFlags(), []string{"-o", program, "."})
	if _, err := command(ctx, b.source(), env, "go", args...); err != nil {
		return err
	}
	b.programs[t] = program
	return nil
}

// hostProgram returns the program for this machine, which writes its own man pages and completions.
func (b *build) hostProgram(ctx context.Context) (string, error) {
	t := target{runtime.GOOS, runtime.GOARCH}
	err := b.makeProgram(ctx, t)
	return b.programs[t], err
}

// makeSBOM lists the modules in a program.
func (b *build) makeSBOM(ctx context.Context, t target) error {
	file := filepath.Join(b.out(), fmt.Sprintf("bestdns_%s_%s_%s.cdx.json", b.fileVersion(), t.os, t.arch))
	// A serial number and a time would differ each time.
	_, err := command(ctx, b.dir, toolFlags, "go", "run", cyclonedx, "bin", "-json", "-std", "-noserial", "-notimestamp",
		"-version", b.version, "-output", file, b.programs[t])
	if err != nil {
		return err
	}
	list, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	// Go knows no version of the modules that are in this repository.
	return os.WriteFile(file, []byte(strings.ReplaceAll(string(list), "(devel)", b.version)), 0o644)
}

const sumsFile = "SHA512SUMS"

// sum hashes all files, and writes the hashes into one more.
func (b *build) sum() error {
	names, err := os.ReadDir(b.out())
	if err != nil {
		return err
	}
	var sums strings.Builder
	for _, entry := range names {
		hash, err := hashOf(filepath.Join(b.out(), entry.Name()))
		if err != nil {
			return err
		}
		b.files[entry.Name()] = hash
		fmt.Fprintf(&sums, "%s  %s\n", hash, entry.Name())
	}
	return os.WriteFile(filepath.Join(b.out(), sumsFile), []byte(sums.String()), 0o644)
}

func hashOf(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	hash := sha512.New()
	if _, err := io.Copy(hash, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(hash.Sum(nil)), nil
}

// compare fails if two builds made different files.
func compare(first, second map[string]string) error {
	all := maps.Clone(first)
	maps.Copy(all, second)
	var different []error
	for _, name := range slices.Sorted(maps.Keys(all)) {
		switch a, b := first[name], second[name]; {
		case a == "" || b == "":
			different = append(different, fmt.Errorf("only one of two builds made %s", name))
		case a != b:
			different = append(different, fmt.Errorf("two builds made different files %s", name))
		}
	}
	return errors.Join(different...)
}
