package service

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/libdns/libdns"
)

// remembered returns the files of the storage that remember a challenge.
func (s *service) remembered(t *testing.T) (files []string) {
	t.Helper()
	err := filepath.WalkDir(filepath.Join(s.dir, "bestdns", "written"), func(path string, entry fs.DirEntry, err error) error {
		if err == nil && !entry.IsDir() {
			files = append(files, path)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// waitFor waits until something is so.
func waitFor(t *testing.T, what string, isSo func() bool) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(time.Minute)
	for !isSo() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("not so within a minute: %s", what)
		}
	}
}

// TestLeftoversInStorage has Caddy's storage of files remember challenges in a zone with a DNS
// provider across a stop of Caddy, and "caddy validate" leave it alone.
func TestLeftoversInStorage(t *testing.T) {
	s := newService(t)
	memory.reset(libdns.TXT{Name: "_acme-challenge.web1", TTL: time.Minute, Text: challengeValue[1:] + "x"}) // another's
	options := func(lifetime string) string {
		return fmt.Sprintf("zone example.test {\nprovider test_memory\nchallenge_lifetime %s\n}\nclient web1 {\ntoken %s\ncertificates web1.example.test\n}\n", lifetime, s.digest("web1"))
	}
	record := func(text string) string {
		return `[{"name":"_acme-challenge.web1","type":"TXT","data":"` + text + `"}]`
	}
	s.load(t, options("24h"))
	s.must(t, "web1", "example.test", `{"append":`+record(challengeValue)+`}`)
	files := s.remembered(t)
	if len(files) != 1 {
		t.Fatalf("remembered: %q", files)
	}
	text, err := os.ReadFile(files[0])
	if err != nil || !strings.Contains(string(text), `"client":"web1"`) {
		t.Errorf("remembered is %s, %v", text, err)
	}
	s.must(t, "web1", "example.test", `{"delete":`+record(challengeValue)+`}`)
	if files := s.remembered(t); len(files) != 0 {
		t.Errorf("remembered after the delete: %q", files)
	}

	s.must(t, "web1", "example.test", `{"append":`+record(challengeValue)+`}`)
	caddy.Stop()
	short, err := adapt(s.caddyfile(options("1s")))
	if err != nil {
		t.Fatal(err)
	}
	var config caddy.Config
	if err := caddy.StrictUnmarshalJSON(short, &config); err != nil {
		t.Fatal(err)
	}
	if err := caddy.Validate(&config); err != nil {
		t.Fatal(err)
	}
	if files := s.remembered(t); len(files) != 1 {
		t.Errorf("remembered after it was validated: %q", files)
	}
	s.load(t, options("1s")) // which is shorter now, and counts from when the key is found
	waitFor(t, "the left-over is forgotten", func() bool { return len(s.remembered(t)) == 0 })
	memory.mu.Lock()
	defer memory.mu.Unlock()
	if len(memory.records) != 1 || memory.records[0].RR().Data != challengeValue[1:]+"x" {
		t.Errorf("in the zone is %v, want the record of another", memory.records)
	}
}
