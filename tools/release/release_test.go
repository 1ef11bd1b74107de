package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestReleaseVersion(t *testing.T) {
	for _, test := range []struct {
		name, changelog, tags, want, fails string
	}{
		{"tagged", "# Changelog\n\n## 0.2.0 (2027-01-05)\n\n### Added\n\n## 0.1.0 (2026-11-30)\n", "latest v0.2.0", "v0.2.0", ""},
		{"another tag", "## 0.2.0 (2027-01-05)\n\n## 0.1.0 (2026-11-30)\n", "v0.1.0", "", "has no tag v0.2.0"},
		{"no tag", "## 0.2.0 (2027-01-05)\n", "", "", "has no tag v0.2.0"},
		{"changes since", "## Unreleased\n\n## 0.1.0 (2026-11-30)\n", "v0.1.0", "", `"Unreleased"`},
		{"no date", "## 0.1.0\n", "v0.1.0", "", `"0.1.0", not`},
		{"no heading", "# Changelog\n", "v0.1.0", "", "no heading"},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := releaseVersion(test.changelog, strings.Fields(test.tags))
			assertVersion(t, got, err, test.want, test.fails)
		})
	}
}

func TestSnapshotVersion(t *testing.T) {
	for _, test := range []struct {
		name, changelog, want, fails string
	}{
		{"before a release", "## 0.2.0 (2027-01-05)\n\n## 0.1.0 (2026-11-30)\n", "v0.2.0-snapshot+0123456789ab", ""},
		{"after a release", "## Unreleased\n\n## 0.1.9 (2026-11-30)\n", "v0.1.10-snapshot+0123456789ab", ""},
		{"before any", "## Unreleased\n", "", "no heading of a version"},
		{"a slip", "## 0.2.0 - 2027-01-05\n", "", `"0.2.0 - 2027-01-05"`},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := snapshotVersion(test.changelog, "0123456789abcdef")
			assertVersion(t, got, err, test.want, test.fails)
		})
	}
}

func assertVersion(t *testing.T, got string, err error, want, fails string) {
	t.Helper()
	if fails != "" {
		if err == nil || !strings.Contains(err.Error(), fails) {
			t.Errorf("it returned %q and %v, want an error with %q", got, err, fails)
		}
		return
	}
	if err != nil || got != want {
		t.Errorf("it returned %q and %v, want %q", got, err, want)
	}
}

// In Debian's order, ~ sorts before everything.
func TestDebianVersion(t *testing.T) {
	for version, want := range map[string]string{
		"v0.1.0":                       "0.1.0",
		"v0.1.0-snapshot+0123456789ab": "0.1.0~snapshot+0123456789ab",
	} {
		if got := (&release{version: version}).debianVersion(); got != want {
			t.Errorf("%s is %s for Debian, want %s", version, got, want)
		}
	}
}

// TestDebianUnit: the package changes lines of the examples' unit, which must have them.
func TestDebianUnit(t *testing.T) {
	text, err := os.ReadFile("../../examples/systemd/bestdns.service")
	if err != nil {
		t.Fatal(err)
	}
	got, err := debianUnit(string(text))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(got, "[Unit]\n") || strings.Contains(got, "/usr/local") || strings.Contains(got, "DynamicUser") {
		t.Errorf("the unit of the package:\n%s", got)
	}
	for _, line := range []string{
		"ExecStart=/usr/bin/caddy run --config /etc/bestdns/Caddyfile",
		"EnvironmentFile=-/etc/bestdns/bestdns.env",
		"User=bestdns", "Group=bestdns", "StateDirectory=bestdns", "ProtectSystem=strict",
	} {
		if !strings.Contains(got, "\n"+line+"\n") {
			t.Errorf("the unit of the package has no %q:\n%s", line, got)
		}
	}
	if _, err := debianUnit(strings.Replace(string(text), "DynamicUser=yes", "User=caddy", 1)); err == nil {
		t.Error("a unit without what is to be changed is no error")
	}
}

// TestArchivesAreReproducible: an archive depends on the files' names, contents and executable bits only.
func TestArchivesAreReproducible(t *testing.T) {
	at := time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)
	archives := func(umask os.FileMode, written time.Time) (hashes []string) {
		dir := t.TempDir()
		for name, mode := range map[string]os.FileMode{"b/program": 0o777, "a.txt": 0o666} {
			path := filepath.Join(dir, "files", name)
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, []byte(name), 0o644); err != nil {
				t.Fatal(err)
			}
			if err := os.Chmod(path, mode&^umask); err != nil {
				t.Fatal(err)
			}
			if err := os.Chtimes(path, written, written); err != nil {
				t.Fatal(err)
			}
		}
		files, err := filesOf(filepath.Join(dir, "files"))
		if err != nil {
			t.Fatal(err)
		}
		want := []string{"a.txt -rw-r--r--", "b/program -rwxr-xr-x"}
		var got []string
		for _, f := range files {
			got = append(got, f.name+" "+f.mode().String())
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("files (-want +got):\n%s", diff)
		}
		for name, write := range map[string]func(string) error{
			"1.tar.gz": func(name string) error { return writeTarGz(name, "folder", files, at) },
			"2.zip":    func(name string) error { return writeZip(name, "folder", files, at) },
			"3.gz":     func(name string) error { return gzipFile(files[0].path, name) },
		} {
			name = filepath.Join(dir, name)
			if err := write(name); err != nil {
				t.Fatal(err)
			}
		}
		for _, name := range []string{"1.tar.gz", "2.zip", "3.gz"} {
			hash, err := hashOf(filepath.Join(dir, name))
			if err != nil {
				t.Fatal(err)
			}
			hashes = append(hashes, hash)
		}
		return hashes
	}
	if diff := cmp.Diff(archives(0o022, at), archives(0o077, at.Add(time.Hour))); diff != "" {
		t.Errorf("two archives of the same differ:\n%s", diff)
	}
}

func TestCompare(t *testing.T) {
	first := map[string]string{"a": "1", "b": "2", "c": "3"}
	if err := compare(first, map[string]string{"a": "1", "b": "2", "c": "3"}); err != nil {
		t.Error(err)
	}
	err := compare(first, map[string]string{"a": "1", "b": "other", "d": "4"})
	want := "two builds made different files b\nonly one of two builds made c\nonly one of two builds made d"
	if err == nil || err.Error() != want {
		t.Errorf("it returned %v, want %s", err, want)
	}
}

func TestParseTargets(t *testing.T) {
	if got, err := parseTargets("linux/arm64,windows/amd64"); err != nil || !cmp.Equal(got, []target{{"linux", "arm64"}, {"windows", "amd64"}}, cmp.AllowUnexported(target{})) {
		t.Errorf("it returned %v and %v", got, err)
	}
	if got, err := parseTargets(""); err != nil || len(got) != len(allTargets) {
		t.Errorf("without a list it returned %v and %v", got, err)
	}
	if got, err := parseTargets("linux/amd64,plan9/386"); err == nil || !strings.Contains(err.Error(), `unknown platform "plan9/386"`) {
		t.Errorf("it returned %v and %v", got, err)
	}
}
