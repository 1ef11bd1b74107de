package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
)

// makeSource makes a folder with the files of the commit and all modules, and the archive of it.
func (b *build) makeSource(ctx context.Context) error {
	// With an index of its own: neither the work tree nor the repository's index changes.
	index := []string{"GIT_INDEX_FILE=" + filepath.Join(b.dir, "index")}
	if _, err := command(ctx, ".", index, "git", "read-tree", b.commit); err != nil {
		return err
	}
	if _, err := command(ctx, ".", index, "git", "checkout-index", "--all", "--prefix="+b.source()+"/"); err != nil {
		return err
	}
	if err := b.vendor(ctx); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(b.source(), "BUILDING.txt"), []byte(b.building()), 0o644); err != nil {
		return err
	}
	files, err := filesOf(b.source())
	if err != nil {
		return err
	}
	name := fmt.Sprintf("bestdns_%s_source", b.fileVersion())
	return writeTarGz(filepath.Join(b.out(), name+".tar.gz"), name, files, b.time)
}

// vendor copies all modules into the source, for a workspace of the modules of this repository. Go uses those
// from their own folders. "go mod vendor" would copy the root's packages, and ignore a change of the originals.
func (b *build) vendor(ctx context.Context) error {
	work, err := os.ReadFile(filepath.Join(b.source(), "release", "workspace", "go.work"))
	if err != nil {
		return err
	}
	sums, err := os.ReadFile(filepath.Join(b.source(), "release", "workspace", sumsOfWorkspace))
	if err != nil {
		return err
	}
	work = []byte(strings.NewReplacer("\t../..\n", "\t.\n", "\t../caddy\n", "\t./release/caddy\n").Replace(string(work)))
	if err := os.WriteFile(filepath.Join(b.source(), "go.work"), work, 0o644); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(b.source(), sumsOfWorkspace), sums, 0o644); err != nil {
		return err
	}
	if _, err := command(ctx, b.source(), []string{"GOFLAGS=", "GOWORK="}, "go", "work", "vendor"); err != nil {
		return err
	}
	used, err := os.ReadFile(filepath.Join(b.source(), sumsOfWorkspace))
	if err != nil {
		return err
	}
	if string(used) != string(sums) {
		return errors.New("release/workspace/go.work.sum lacks what a release needs: make tidy, and commit it")
	}
	return nil
}

const sumsOfWorkspace = "go.work.sum"

// building says how the archive of the source is built.
func (r *release) building() string {
	var args []string
	for _, arg := range r.programFlags() {
		if strings.Contains(arg, " ") {
			arg = `"` + arg + `"`
		}
		args = append(args, arg)
	}
	return fmt.Sprintf(`BestDNS %s, commit %s, with the modules that it needs in vendor/.

This builds it without network:

	CGO_ENABLED=0 go build %s -o ../../caddy .

The programs of the release are built this way by %s, with GOOS and GOARCH. The
same version of Go makes the same files, byte for byte, on any machine.
`, r.version, r.commit, strings.Join(args, " "), strings.Replace(runtime.Version(), "go", "Go ", 1))
}
