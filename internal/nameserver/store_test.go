package nameserver

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/caddy-dns/bestdns/internal/record"
	"go.etcd.io/bbolt"
)

func TestOpenMakesTheStoreForItsUserAlone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a", "b", "records.db")
	open(t, path)
	for path, want := range map[string]fs.FileMode{path: 0o600, filepath.Dir(path): 0o700 | fs.ModeDir, filepath.Dir(filepath.Dir(path)): 0o700 | fs.ModeDir} {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode() != want {
			t.Errorf("%s: mode %v, want %v", path, info.Mode(), want)
		}
	}
}

// writeBolt writes a bbolt file that is no store, or none of ours.
func writeBolt(t *testing.T, path, bucket, key string, value []byte) {
	t.Helper()
	db, err := bbolt.Open(path, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	err = db.Update(func(tx *bbolt.Tx) error {
		b, err := tx.CreateBucketIfNotExists([]byte(bucket))
		if err != nil {
			return err
		}
		return b.Put([]byte(key), value)
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestOpenErrors(t *testing.T) {
	tests := []struct {
		name    string
		prepare func(t *testing.T, path string)
		want    string
	}{
		{"held by another process", func(t *testing.T, path string) { open(t, path) }, "another process has held its lock for 10ms: most likely another Caddy"},
		{"newer format", func(t *testing.T, path string) {
			writeBolt(t, path, "meta", "format", binary.BigEndian.AppendUint32(nil, formatVersion+1))
		}, "format has version 3, and this program knows versions up to 2: it was written by a newer BestDNS"},
		{"format of no version", func(t *testing.T, path string) { writeBolt(t, path, "meta", "format", make([]byte, 4)) }, "damaged, or not a store of BestDNS"},
		{"another program's bbolt file", func(t *testing.T, path string) { writeBolt(t, path, "other", "key", nil) }, "damaged, or not a store of BestDNS"},
		{"no bbolt file", func(t *testing.T, path string) { writeFile(t, path, strings.Repeat("text\n", 10_000)) }, "damaged, or not a store of BestDNS"},
		{"a few bytes", func(t *testing.T, path string) { writeFile(t, path, "text") }, "damaged, or not a store of BestDNS"},
		{"a folder", func(t *testing.T, path string) {
			if err := os.Mkdir(path, 0o700); err != nil {
				t.Fatal(err)
			}
		}, "is a directory"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "records.db")
			test.prepare(t, path)
			s, err := Open(Options{Path: path, LockTimeout: 10 * time.Millisecond})
			if err == nil {
				s.Close()
				t.Fatal("it opens")
			}
			if !strings.Contains(err.Error(), test.want) || !strings.Contains(err.Error(), fmt.Sprintf("opening the store %q", path)) {
				t.Errorf("error: %v", err)
			}
		})
	}
}

func writeFile(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestFolderThatIsAFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	writeFile(t, file, "")
	_, err := Open(Options{Path: filepath.Join(file, "records.db")})
	if err == nil || !strings.Contains(err.Error(), "making the folder of the store") {
		t.Errorf("error: %v", err)
	}
}

// The user who runs the tests may be allowed to write any file, so the system's refusal
// is made up.
func TestErrorOfAFileThatCannotBeWritten(t *testing.T) {
	for _, errno := range []error{syscall.EACCES, syscall.EROFS} {
		s := &store{path: filepath.Join(t.TempDir(), "records.db"), failing: func(step) error {
			return &fs.PathError{Op: "open", Path: "records.db", Err: errno}
		}}
		err := s.open()
		if !errors.Is(err, errno) || !strings.Contains(err.Error(), "has to be readable and writable") {
			t.Errorf("error: %v", err)
		}
	}
}

func TestLoadErrors(t *testing.T) {
	zone := name(t, "example.org")
	tests := []struct {
		name   string
		damage func(*bbolt.Bucket) error
	}{
		{"no serial", func(b *bbolt.Bucket) error { return b.Delete(serialKey) }},
		{"short fingerprint", func(b *bbolt.Bucket) error { return b.Put(configKey, []byte("short")) }},
		{"no RRsets", func(b *bbolt.Bucket) error { return b.DeleteBucket(setsBucket) }},
		{"RRset of another zone", func(b *bbolt.Bucket) error {
			return b.Bucket(setsBucket).Put(setKey(name(t, "example.net").Key(), record.TypeTXT), []byte(rrset(appendRecord(nil, record.Record{TTL: 1}))))
		}},
		{"an invalid key", func(b *bbolt.Bucket) error {
			return b.Bucket(setsBucket).Put([]byte(zone.Key()+"x\x01\x03\x00\x00\x00\x10"), []byte(rrset(appendRecord(nil, record.Record{TTL: 1}))))
		}},
		{"an invalid RRset", func(b *bbolt.Bucket) error {
			return b.Bucket(setsBucket).Put(setKey(zone.Key(), record.TypeTXT), []byte("x"))
		}},
		// The ledger would take as much memory as it says.
		{"a client's number far above their count", func(b *bbolt.Bucket) error {
			clients, err := b.Tx().Bucket(metaBucket).CreateBucket(clientsBucket)
			if err != nil {
				return err
			}
			return clients.Put([]byte{0, 0xff, 0xff, 0xff}, []byte("client"))
		}},
		{"a client's number without a client's name", func(b *bbolt.Bucket) error {
			clients, err := b.Tx().Bucket(metaBucket).CreateBucket(clientsBucket)
			if err != nil {
				return err
			}
			_, err = clients.CreateBucket([]byte{0, 0, 0, 1})
			return err
		}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			path := storePath(t)
			s := open(t, path)
			serve(t, s, zoneConfig(t, "example.org"))
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			db, err := bbolt.Open(path, 0o600, nil)
			if err != nil {
				t.Fatal(err)
			}
			if err := db.Update(func(tx *bbolt.Tx) error { return test.damage(tx.Bucket([]byte(zone))) }); err != nil {
				t.Fatal(err)
			}
			if err := db.Close(); err != nil {
				t.Fatal(err)
			}
			s = open(t, path)
			for range 2 { // the error shows again
				if err := s.Load(); !errors.Is(err, errDamaged) || !strings.Contains(err.Error(), path) {
					t.Errorf("error: %v", err)
				}
			}
			if err := s.Serve(Settings{Zones: []ZoneConfig{zoneConfig(t, "example.org")}}); !errors.Is(err, errDamaged) {
				t.Errorf("error of Push: %v", err)
			}
		})
	}
}

// A file damaged anywhere gives an error or works, but never ends the process.
func TestDamagedFiles(t *testing.T) {
	seed := rand.Uint64()
	random := rand.New(rand.NewPCG(seed, 0))
	path := storePath(t)
	s := open(t, path)
	zone := zoneConfig(t, "example.org")
	serve(t, s, zone)
	var records []record.Record
	for i := range 600 {
		records = append(records, rr(t, zone.Name, fmt.Sprintf("name%d 60 TXT %d", i, i)))
	}
	apply(t, s, zone.Name, appending(records...))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	damaged := filepath.Join(t.TempDir(), "damaged.db")
	refused := 0
	for range 300 {
		octets := append([]byte(nil), whole...)
		switch random.IntN(3) {
		case 0: // cut short
			octets = octets[:random.IntN(len(octets))]
		case 1: // a block that never reached the disk
			at := random.IntN(len(octets)/512) * 512
			clear(octets[at : at+512])
		case 2: // flipped bits, most of them where pages begin and keep their structure
			for range 1 + random.IntN(8) {
				at := random.IntN(len(octets)/4096)*4096 + random.IntN(256)
				octets[at] ^= 1 << random.IntN(8)
			}
		}
		writeFile(t, damaged, string(octets))
		if err := useStore(damaged, zone); err != nil {
			refused++
		}
	}
	if refused == 0 {
		t.Errorf("seed %d: nothing was ever noticed", seed)
	}
}

// useStore opens a store, reads and changes it.
func useStore(path string, zone ZoneConfig) error {
	s, err := Open(Options{Path: path, LockTimeout: 10 * time.Millisecond})
	if err != nil {
		return err
	}
	defer s.Close()
	if err := s.Serve(Settings{Zones: []ZoneConfig{zone}}); err != nil {
		return err
	}
	z, _ := s.Snapshot(zone.Name)
	for r := range z.Records(zone.Name) {
		if r.Type != record.TypeTXT {
			continue
		}
		if _, err := s.Apply(context.Background(), zone.Name, record.Change{Op: record.Delete, Matches: []record.Match{{Name: r.Name}}}); err != nil {
			return err
		}
		break
	}
	return nil
}

// FuzzStored reads a key and a value as they might be in a damaged store: either
// they are refused, or all that can be done with them can be.
func FuzzStored(f *testing.F) {
	zone := record.Name("\x07example\x03org\x00")
	f.Add(setKey(zone.Key(), record.TypeTXT), appendRecord(nil, record.Record{TTL: 60, Data: "\x05hello"}))
	f.Add(setKey(zone.Key()+"a\x01\x01\x00", record.TypeA), appendRecord(appendRecord(nil, record.Record{TTL: 60, Expires: 7, Data: "abcd"}), record.Record{TTL: 30, Data: "efgh"}))
	f.Add([]byte(zone.Key()), []byte{})
	f.Fuzz(func(t *testing.T, key, value []byte) {
		owner, typ, err := splitSetKey(key, zone.Key())
		if err == nil {
			n := record.NameFromKey(string(owner))
			if n.Key() != string(owner) || !n.In(zone) {
				t.Errorf("key %q: the name %q has the key %q", key, n, n.Key())
			}
			if back := setKey(string(owner), typ); string(back) != string(key) {
				t.Errorf("key %q comes back as %q", key, back)
			}
		}
		if checkSet(value) != nil {
			return
		}
		n := node(appendSet(nil, record.TypeTXT, rrset(value)))
		records := n.appendRecords(nil, zone)
		if len(records) == 0 {
			t.Fatalf("%q: no record", value)
		}
		if again := packNode(records); again != n {
			t.Errorf("%q comes back as %q", n, again)
		}
		if ttl := n.find(record.TypeTXT).ttl(); ttl > record.MaxTTL {
			t.Errorf("TTL %d", ttl)
		}
		_, _ = n.expiries()
	})
}
