package nameserver

import (
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/caddy-dns/bestdns/internal/record"
)

// TestBackupUnderLoad backs a store up while it is written to, and opens what
// came of it: one moment of each zone, its serial and expiries included.
func TestBackupUnderLoad(t *testing.T) {
	config := zoneConfig(t, "a.test")
	s := serving(t, config, zoneConfig(t, "b.test"))
	apply(t, s, config.Name, appending(
		rr(t, config.Name, "www 300 A 192.0.2.1"),
		expiring(rr(t, config.Name, "_acme-challenge 60 TXT x"), time.Hour),
	))
	ctx, stop := t.Context(), make(chan struct{})
	var writers sync.WaitGroup
	for w := range 4 {
		writers.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				// Two records in one change: both are in the backup, or none.
				owner := fmt.Sprintf("w%d-%d", w, i)
				change := appending(rr(t, config.Name, owner+" 60 TXT one"), rr(t, config.Name, owner+" 60 TXT two"))
				if _, err := s.Apply(ctx, config.Name, change); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	var files []string
	for i := range 5 {
		file := filepath.Join(t.TempDir(), fmt.Sprint(i))
		if err := s.Backup(ctx, file); err != nil {
			t.Error(err)
		}
		files = append(files, file)
	}
	close(stop)
	writers.Wait()

	var serial uint32
	for _, file := range files {
		restored := open(t, file)
		serve(t, restored, config)
		z := snapshot(t, restored, config.Name)
		if z.Serial() < serial {
			t.Errorf("serial %d after %d", z.Serial(), serial)
		}
		serial = z.Serial()
		texts := make(map[record.Name]int)
		for r := range z.Records(config.Name) {
			switch {
			case r.Type != record.TypeTXT:
			case r.Expires != 0:
				texts["expiring"] = 2
			default:
				texts[r.Name]++
			}
		}
		for name, n := range texts {
			if n != 2 {
				t.Errorf("%d of two records at %q", n, name)
			}
		}
		if texts["expiring"] == 0 {
			t.Error("the expiry is lost")
		}
	}
}

// TestBackupIsTheWhole compares a backup with what it is one of, records out of
// sight because of those of the configuration included.
func TestBackupIsTheWhole(t *testing.T) {
	path := storePath(t)
	s := open(t, path)
	config := zoneConfig(t, "a.test", "ns1.example.net")
	serve(t, s, config)
	apply(t, s, config.Name, appending(rr(t, config.Name, "ns1 300 A 192.0.2.9"), rr(t, config.Name, "www 300 A 192.0.2.1")))
	serve(t, s, zoneConfig(t, "a.test", "ns1.a.test 192.0.2.53")) // hides the first
	file := filepath.Join(t.TempDir(), "backup.db")
	if err := s.Backup(t.Context(), file); err != nil {
		t.Fatal(err)
	}
	if err := s.Backup(t.Context(), "/nonexistent\x00/x"); err == nil {
		t.Error("a backup to nowhere succeeded")
	}
	want, err := s.store.load()
	if err != nil {
		t.Fatal(err)
	}
	got, err := open(t, file).store.load()
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != len(want) {
		t.Fatalf("%d zones, want %d", len(got), len(want))
	}
	for name := range want {
		if diff := cmp.Diff(lines(want[name]), lines(got[name])); diff != "" || got[name].serial != want[name].serial+backupLead || got[name].configured != want[name].configured {
			t.Errorf("zone %q (-store +backup):\n%s", name, diff)
		}
	}
}

func TestReplace(t *testing.T) {
	config := zoneConfig(t, "a.test")
	s := serving(t, config)
	challenge := expiring(rr(t, config.Name, "_acme-challenge 60 TXT x"), time.Hour)
	apply(t, s, config.Name, appending(append(rrs(t, config.Name, "old 300 A 192.0.2.1", "both 300 A 192.0.2.2", "_acme-challenge 300 TXT old"), challenge)...))
	before := snapshot(t, s, config.Name).Serial()

	broken := rrs(t, config.Name, "new 300 CNAME x.", "new 300 A 192.0.2.1")
	var rule *record.RuleError
	if _, err := s.Import(t.Context(), config.Name, broken, Import{Replace: true}); !errors.As(err, &rule) || rule.Rule != record.RuleCNAME {
		t.Errorf("a CNAME beside an address: %v", err)
	}
	if got := snapshot(t, s, config.Name).Serial(); got != before {
		t.Error("what failed has changed the zone")
	}

	after, err := s.Import(t.Context(), config.Name, rrs(t, config.Name, "both 60 A 192.0.2.3", "_acme-challenge 30 TXT new", "_acme-challenge 30 TXT new", "new 60 MX 1 mx.example.net."), Import{Replace: true})
	if err != nil {
		t.Fatal(err)
	}
	if after.Serial() <= before {
		t.Errorf("serial %d after %d", after.Serial(), before)
	}
	want := []string{
		"a.test. 60 IN NS ns1.a.test.",
		`_acme-challenge.a.test. 60 IN TXT "x"`,
		`_acme-challenge.a.test. 30 IN TXT "new"`,
		"both.a.test. 60 IN A 192.0.2.3",
		"new.a.test. 60 IN MX 1 mx.example.net.",
		"ns1.a.test. 60 IN A 192.0.2.53",
	}
	if diff := cmp.Diff(want, lines(snapshot(t, s, config.Name))); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for r := range snapshot(t, s, config.Name).Records(challenge.Name) {
		if want := map[string]int64{challenge.Data: challenge.Expires}[r.Data]; r.Expires != want {
			t.Errorf("%s expires at %d, want %d", r, r.Expires, want)
		}
	}
}
