package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// releaseOfHead returns the release of the commit that is checked out.
func releaseOfHead(ctx context.Context, snapshot bool) (*release, error) {
	git := func(args ...string) (string, error) {
		out, err := command(ctx, ".", nil, "git", args...)
		return strings.TrimSpace(out), err
	}
	changed, err := git("status", "--porcelain")
	if err != nil {
		return nil, err
	}
	if changed != "" {
		return nil, fmt.Errorf("a release is made from a commit, and the work tree has other changes:\n%s", changed)
	}
	commit, err := git("rev-parse", "HEAD")
	if err != nil {
		return nil, err
	}
	tags, err := git("tag", "--points-at", "HEAD")
	if err != nil {
		return nil, err
	}
	seconds, err := git("show", "--no-patch", "--format=%ct", "HEAD")
	if err != nil {
		return nil, err
	}
	at, err := strconv.ParseInt(seconds, 10, 64)
	if err != nil {
		return nil, err
	}
	changelog, err := os.ReadFile("CHANGELOG.md")
	if err != nil {
		return nil, err
	}
	r := &release{commit: commit, time: time.Unix(at, 0).UTC()}
	if snapshot {
		r.version, err = snapshotVersion(string(changelog), commit)
		return r, err
	}
	if r.version, err = releaseVersion(string(changelog), strings.Fields(tags)); err != nil {
		return nil, err
	}
	// The next release's test of an upgrade needs what this one writes.
	store := "internal/nameserver/testdata/stores/" + r.version + ".db.gz"
	if _, err := os.Stat(store); err != nil {
		return nil, fmt.Errorf("%s is missing: go test ./internal/nameserver -run TestStoresOfReleases -write-store %s makes it", store, r.version)
	}
	return r, nil
}

var (
	headingLine    = regexp.MustCompile(`(?m)^## (.*)$`)
	releaseHeading = regexp.MustCompile(`^([0-9]+)\.([0-9]+)\.([0-9]+) \([0-9]{4}-[0-9]{2}-[0-9]{2}\)$`)
)

const unreleased = "Unreleased"

// releaseVersion returns the version that a changelog has as the newest, if the commit has its tag.
func releaseVersion(changelog string, tags []string) (string, error) {
	heading := headingLine.FindStringSubmatch(changelog)
	if heading == nil {
		return "", errors.New("CHANGELOG.md has no heading of a version")
	}
	m := releaseHeading.FindStringSubmatch(heading[1])
	if m == nil {
		return "", fmt.Errorf(`the newest heading of CHANGELOG.md is %q, not that of a release, such as "0.1.0 (2026-11-30)"; SNAPSHOT=1 rehearses`, heading[1])
	}
	version := "v" + strings.Join(m[1:4], ".")
	if !slices.Contains(tags, version) {
		return "", fmt.Errorf("the commit has no tag %s, the newest version of CHANGELOG.md: git tag -s %s, or SNAPSHOT=1 to rehearse", version, version)
	}
	return version, nil
}

// snapshotVersion returns the version of a commit that is not a release. It sorts before the
// release that will have the changelog's newest changes, and after the previous release.
func snapshotVersion(changelog, commit string) (string, error) {
	var above bool // there are changes above the newest release
	for _, heading := range headingLine.FindAllStringSubmatch(changelog, -1) {
		if heading[1] == unreleased {
			above = true
			continue
		}
		m := releaseHeading.FindStringSubmatch(heading[1])
		if m == nil {
			return "", fmt.Errorf("CHANGELOG.md has a heading %q, which is neither %q nor that of a release", heading[1], unreleased)
		}
		patch, err := strconv.Atoi(m[3])
		if err != nil {
			return "", err
		}
		if above {
			patch++
		}
		return fmt.Sprintf("v%s.%s.%d-snapshot+%.12s", m[1], m[2], patch, commit), nil
	}
	return "", errors.New("CHANGELOG.md has no heading of a version")
}

// fileVersion is the version in names of files.
func (r *release) fileVersion() string { return strings.TrimPrefix(r.version, "v") }

// debianVersion is the version as Debian orders versions.
func (r *release) debianVersion() string { return strings.Replace(r.fileVersion(), "-", "~", 1) }

// command runs a program in dir, with more variables, and returns what it printed. Its error has
// what it said.
func command(ctx context.Context, dir string, env []string, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), env...)
	var said strings.Builder
	cmd.Stderr = &said
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%s %s: %w\n%s%s", name, strings.Join(args, " "), err, said.String(), out)
	}
	return string(out), nil
}
