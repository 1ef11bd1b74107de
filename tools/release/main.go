// Command release builds the files of a release from the commit that is checked out: programs,
// Debian packages, SBOMs, and the source with its modules. It builds all of them twice, in two
// folders, and fails if a file differs. "make release" runs it; CONTRIBUTING.md
// says how a release is made.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// options are the flags.
type options struct {
	snapshot    bool
	targets     string
	out         string
	sharedCache bool
}

func main() {
	var o options
	flag.BoolVar(&o.snapshot, "snapshot", false, "rehearse: build a commit that has no tag, with a version that says so")
	flag.StringVar(&o.targets, "targets", "", "the platforms, such as linux/amd64,windows/amd64; by default all")
	flag.StringVar(&o.out, "out", "dist", "the `folder` for the files; it is replaced")
	flag.BoolVar(&o.sharedCache, "shared-cache", false, "let the second build use the packages that the first has compiled: quicker, "+
		"but it does not notice if the compiler itself is not reproducible")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, o, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "release:", err)
		os.Exit(1)
	}
}

// release is what is built.
type release struct {
	version string // such as v0.1.0
	commit  string
	time    time.Time // of the commit: the time of all files
	targets []target
}

func run(ctx context.Context, o options, args []string) error {
	if len(args) > 0 {
		return fmt.Errorf("unexpected argument %q", args[0])
	}
	targets, err := parseTargets(o.targets)
	if err != nil {
		return err
	}
	r, err := releaseOfHead(ctx, o.snapshot)
	if err != nil {
		return err
	}
	r.targets = targets
	temp, err := os.MkdirTemp("", "bestdns-release-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(temp)

	begin := time.Now()
	step := func(what string) { fmt.Printf("%4.0f s  %s\n", time.Since(begin).Seconds(), what) }
	step(fmt.Sprintf("%s of commit %s, with %s", r.version, r.commit, runtime.Version()))
	first := &build{release: r, dir: filepath.Join(temp, "first"), step: step}
	if err := first.run(ctx); err != nil {
		return err
	}
	step("the same again, in another folder")
	// Paths of another length, too.
	second := &build{release: r, dir: filepath.Join(temp, "and", "the", "second"), step: step}
	if !o.sharedCache {
		second.ownCache = filepath.Join(temp, "cache")
	}
	if err := second.run(ctx); err != nil {
		return err
	}
	if err := compare(first.files, second.files); err != nil {
		return err
	}
	if err := os.RemoveAll(o.out); err != nil {
		return err
	}
	if err := os.CopyFS(o.out, os.DirFS(first.out())); err != nil {
		return err
	}
	step(fmt.Sprintf("%d files are in %s, and were the same both times", len(first.files), o.out))
	if o.snapshot {
		fmt.Println("This is a rehearsal, not a release: its version is", r.version)
	}
	return nil
}

// target is a platform.
type target struct{ os, arch string }

func (t target) String() string { return t.os + "/" + t.arch }

// allTargets are those of a release.
var allTargets = []target{
	{"linux", "amd64"},
	{"linux", "arm64"},
	{"darwin", "amd64"},
	{"darwin", "arm64"},
	{"windows", "amd64"},
}

// parseTargets reads a list of platforms. An empty one is all of them.
func parseTargets(list string) ([]target, error) {
	if list == "" {
		return allTargets, nil
	}
	var targets []target
	for platform := range strings.SplitSeq(list, ",") {
		found := false
		for _, t := range allTargets {
			if t.String() == platform {
				targets, found = append(targets, t), true
			}
		}
		if !found {
			return nil, fmt.Errorf("unknown platform %q; the platforms are %v", platform, allTargets)
		}
	}
	return targets, nil
}
