package main

import (
	"context"
	"debug/buildinfo"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
)

// licenseFile matches the files whose text must accompany a program. "go work vendor" copies them.
var licenseFile = regexp.MustCompile(`(?i)^(licen[cs]e|copying|notice|copyright|patents)([-._].*)?$`)

const ownModules = "github.com/caddy-dns/bestdns"

// makeLicenses writes the licences of all modules in a program into a file. A module without a licence is
// an error, because it must not be distributed.
func (b *build) makeLicenses(ctx context.Context, t target, to string) error {
	info, err := buildinfo.ReadFile(b.programs[t])
	if err != nil {
		return err
	}
	root, err := command(ctx, b.source(), nil, "go", "env", "GOROOT")
	if err != nil {
		return err
	}
	var all strings.Builder
	fmt.Fprintf(&all, "BestDNS %s is distributed under the licence in the file LICENSE. The program contains these modules,\nunder the licences that follow each.\n", b.version)
	add := func(module, dir string) error {
		names, err := os.ReadDir(dir)
		if err != nil {
			return err
		}
		found := false
		for _, entry := range names {
			if entry.IsDir() || !licenseFile.MatchString(entry.Name()) {
				continue
			}
			text, err := os.ReadFile(filepath.Join(dir, entry.Name()))
			if err != nil {
				return err
			}
			found = true
			fmt.Fprintf(&all, "\n%s\n%s: %s\n\n%s\n", strings.Repeat("=", 80), module, entry.Name(), strings.TrimSpace(string(text)))
		}
		if !found {
			return fmt.Errorf("%s has no licence: a program that contains it must not be distributed", module)
		}
		return nil
	}
	if err := add("Go "+strings.TrimPrefix(runtime.Version(), "go"), strings.TrimSpace(root)); err != nil {
		return err
	}
	for _, m := range info.Deps {
		if m.Path == ownModules {
			continue
		}
		if err := add(m.Path+" "+m.Version, filepath.Join(b.source(), "vendor", filepath.FromSlash(m.Path))); err != nil {
			return err
		}
	}
	return os.WriteFile(to, []byte(all.String()), 0o644)
}
