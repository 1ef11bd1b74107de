package nameserver

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/binary"
	"flag"
	"io"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.etcd.io/bbolt"

	"github.com/caddy-dns/bestdns/internal/record"
)

// storesDir has a store as each release writes it, and one as was written before there
// were releases, of format version 1. All have the contents that writeContents writes.
const storesDir = "testdata/stores"

var writeStore = flag.String("write-store", "", "the version of a release, such as v0.2.0: write its store into "+storesDir+", for TestStoresOfReleases")

// The zones of each store, and what is in them two hours after it was written: of three
// challenges, one has expired. The server makes the NS record and the address of ns1.
const (
	generalZone   = "example.org"
	challengeZone = "acme.example.net"
)

var generalLines = []string{
	"_443._tcp.www 300 TLSA 3 1 1 " + strings.Repeat("a1", 32),
	"_acme-challenge.www 0 TXT " + strings.Repeat("L", 43),
	"*.wild 60 A 192.0.2.9",
	"alias 60 CNAME www.example.org.",
	"mail 3600 MX 10 www.example.org.",
	"text 60 TXT " + strings.Repeat("long ", 80),
	"www 300 A 192.0.2.1",
	"www 300 A 192.0.2.2",
	"www 300 AAAA 2001:db8::1",
	"www 300 CAA 0 issue \"ca.example\"",
}

const (
	challengeLine = "web1 0 TXT " + "CCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCC"
	expiredLine   = "_acme-challenge.gone 0 TXT " + "EEEEEEEEEEEEEEEEEEEEEEEEEEEEEEEEEEEEEEEEEEE"
	deletedLine   = "deleted 60 A 192.0.2.7"
)

// writeContents fills a store. It must go on to write the same contents: what has to be tested
// besides in a later format gets a zone of its own.
func writeContents(t testing.TB, s *Server) {
	general, challenges := name(t, generalZone), name(t, challengeZone)
	by := func(client string, zone record.Name, change record.Change) {
		t.Helper()
		if _, err := s.ApplyFor(context.Background(), zone, change, Account{Client: client}); err != nil {
			t.Fatal(err)
		}
	}
	for i, r := range rrs(t, general, generalLines...) {
		switch client := []string{"", "ops"}[i%2]; {
		case strings.HasPrefix(generalLines[i], "_acme-challenge"):
			by("web1", general, appending(expiring(r, 12*time.Hour)))
		default:
			by(client, general, appending(r))
		}
	}
	by("ops", general, appending(rr(t, general, deletedLine)))
	by("ops", general, deleting(rr(t, general, deletedLine)))
	by("web1", general, appending(expiring(rr(t, general, expiredLine), time.Hour)))
	by("web1", challenges, appending(expiring(rr(t, challenges, challengeLine), 12*time.Hour)))
}

// TestStoresOfReleases opens the store of each earlier release, sees all of its records
// served, changes it, and opens it again.
func TestStoresOfReleases(t *testing.T) {
	if *writeStore != "" {
		writeStoreOfRelease(t, *writeStore)
	}
	files, err := filepath.Glob(filepath.Join(storesDir, "*.db.gz"))
	if err != nil {
		t.Fatal(err)
	}
	if len(files) < 2 {
		t.Fatalf("stores of releases: %q", files)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".db.gz"), func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "records.db")
			unzip(t, file, path)
			// The clock of each store was that of such a bubble, which begins at the same time.
			synctest.Test(t, func(t *testing.T) {
				time.Sleep(2 * time.Hour) // of the bubble
				testUpgrade(t, path)
			})
		})
	}
}

func testUpgrade(t *testing.T, path string) {
	zones := []ZoneConfig{zoneConfig(t, generalZone), zoneConfig(t, challengeZone)}
	format, serials := readStore(t, path, zones)

	s := open(t, path)
	serve(t, s, zones...)
	synctest.Wait() // until what has expired is gone
	assertLines(t, s, zones[0].Name, generalLines)
	assertLines(t, s, zones[1].Name, []string{challengeLine})
	for _, z := range zones {
		if serial := snapshot(t, s, z.Name).Serial(); int32(serial-serials[z.Name]) < 0 {
			t.Errorf("the serial of %s is %d, and was %d before", z.Name, serial, serials[z.Name])
		}
	}
	uses := make(map[string]int)
	for client, use := range s.Uses() {
		uses[client] = use.Records
	}
	wantUses := map[string]int{"ops": 4, "web1": 2}
	if format == 1 {
		clear(wantUses) // it does not know whose a record is
	}
	if !maps.Equal(uses, wantUses) {
		t.Errorf("clients have %v records, want %v", uses, wantUses)
	}
	for _, question := range []struct{ name, typ, want string }{
		{"alias.example.org", "A", "alias.example.org.\t60\tIN\tCNAME\twww.example.org."},
		{"any.wild.example.org", "A", "any.wild.example.org.\t60\tIN\tA\t192.0.2.9"},
		{"web1.acme.example.net", "TXT", "web1.acme.example.net.\t0\tIN\tTXT\t\"" + strings.Repeat("C", 43) + "\""},
	} {
		answer := ask(t, s, question.name, question.typ).Answer
		if len(answer) == 0 || answer[0].String() != question.want {
			t.Errorf("%s %s is answered %q, want %q", question.name, question.typ, answer, question.want)
		}
	}

	added := "new 60 A 192.0.2.8"
	apply(t, s, zones[0].Name, appending(rr(t, zones[0].Name, added)))
	apply(t, s, zones[1].Name, deleting(rr(t, zones[1].Name, challengeLine)))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if format, _ := readStore(t, path, zones); format != formatVersion {
		t.Errorf("the store has format version %d afterwards, want %d", format, formatVersion)
	}
	s = open(t, path)
	serve(t, s, zones...)
	assertLines(t, s, zones[0].Name, append([]string{added}, generalLines...))
	assertLines(t, s, zones[1].Name, nil)
}

// assertLines compares a zone with the records of lines and those that the server makes.
func assertLines(t *testing.T, s *Server, zone record.Name, wantLines []string) {
	t.Helper()
	empty := serving(t, zoneConfig(t, zone.String()))
	apply(t, empty, zone, appending(rrs(t, zone, wantLines...)...))
	if diff := cmp.Diff(lines(snapshot(t, empty, zone)), lines(snapshot(t, s, zone))); diff != "" {
		t.Errorf("records of %s (-want +got):\n%s", zone, diff)
	}
}

// readStore returns what a closed store has: its format version, and the serials of zones.
func readStore(t *testing.T, path string, zones []ZoneConfig) (format uint32, serials map[record.Name]uint32) {
	t.Helper()
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{ReadOnly: true, Timeout: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	serials = make(map[record.Name]uint32)
	err = db.View(func(tx *bbolt.Tx) error {
		format = binary.BigEndian.Uint32(tx.Bucket(metaBucket).Get(formatKey))
		for _, z := range zones {
			serials[z.Name] = binary.BigEndian.Uint32(tx.Bucket([]byte(z.Name)).Get(serialKey))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return format, serials
}

func writeStoreOfRelease(t *testing.T, version string) {
	path := filepath.Join(t.TempDir(), "records.db")
	synctest.Test(t, func(t *testing.T) {
		s := open(t, path)
		serve(t, s, zoneConfig(t, generalZone), zoneConfig(t, challengeZone))
		writeContents(t, s)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	})
	store, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var zipped bytes.Buffer
	z := gzip.NewWriter(&zipped)
	if _, err := z.Write(store); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(storesDir, version+".db.gz"), zipped.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
}

// unzip writes the content of a zipped file to path.
func unzip(t *testing.T, file, path string) {
	t.Helper()
	zipped, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer zipped.Close()
	z, err := gzip.NewReader(zipped)
	if err != nil {
		t.Fatal(err)
	}
	content, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
}
