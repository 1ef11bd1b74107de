package e2e

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.etcd.io/bbolt"

	"github.com/caddy-dns/bestdns/internal/api"
)

// patch makes a change that has to succeed.
func (s *Service) patch(t *testing.T, change api.Change) {
	t.Helper()
	if err := s.Patch(context.Background(), change); err != nil {
		t.Fatal(err)
	}
}

func appending(records ...api.Record) api.Change { return api.Change{Append: records} }

// has asks DNS and GET for a text at a name.
func (s *Service) has(t *testing.T, name, text string) {
	t.Helper()
	want := []string{text}
	if diff := cmp.Diff(want, s.TextsByDNS([]string{name})[name]); diff != "" {
		t.Errorf("%s by DNS (-want +got):\n%s", name, diff)
	}
	if diff := cmp.Diff(want, s.Texts()[name]); diff != "" {
		t.Errorf("%s by GET (-want +got):\n%s", name, diff)
	}
}

// badStore is a store that cannot be used.
type badStore struct {
	name string
	// make makes the file; path has a whole store already.
	make func(t *testing.T, path string)
	// want is in the error that the operator sees, beside the path.
	want string
	// asUser has the process lack root's right to write any file.
	asUser bool
}

var badStores = []badStore{
	{
		name: "cut short",
		make: func(t *testing.T, path string) { noError(t, os.Truncate(path, 5000)) },
		want: "the file is damaged, or not a store of BestDNS",
	},
	{
		name: "without its first pages",
		make: func(t *testing.T, path string) {
			f, err := os.OpenFile(path, os.O_WRONLY, 0)
			noError(t, err)
			_, err = f.WriteAt(make([]byte, 8192), 0)
			noError(t, err)
			noError(t, f.Close())
		},
		want: "the file is damaged, or not a store of BestDNS",
	},
	{
		name: "no store at all",
		make: func(t *testing.T, path string) {
			noError(t, os.WriteFile(path, bytes.Repeat([]byte("not a store\n"), 1000), 0o600))
		},
		want: "the file is damaged, or not a store of BestDNS",
	},
	{
		name: "of a newer version",
		make: func(t *testing.T, path string) {
			db, err := bbolt.Open(path, 0o600, nil)
			noError(t, err)
			noError(t, db.Update(func(tx *bbolt.Tx) error {
				return tx.Bucket([]byte("meta")).Put([]byte("format"), binary.BigEndian.AppendUint32(nil, 1000))
			}))
			noError(t, db.Close())
		},
		want: "it was written by a newer BestDNS",
	},
	{
		name:   "read-only",
		make:   func(t *testing.T, path string) { noError(t, os.Chmod(path, 0o400)) },
		want:   "it has to be readable and writable for the user that runs this process",
		asUser: true,
	},
}

func noError(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// wholeStore makes a store with a record in it.
func wholeStore(t *testing.T) (path string) {
	t.Helper()
	s := NewService(t)
	s.MustStart()
	s.patch(t, appending(text("kept", "x")))
	s.Stop()
	return s.Store
}

// A store that cannot be used is left as it is. Who starts with it learns why; who
// is to change over to it goes on without.
func TestBadStores(t *testing.T) {
	whole, err := os.ReadFile(wholeStore(t))
	noError(t, err)
	for _, bad := range badStores {
		t.Run(bad.name, func(t *testing.T) {
			s := NewService(t)
			if bad.asUser {
				s.wrapper = unprivileged(t)
			}
			noError(t, os.WriteFile(s.Store, whole, 0o600))
			bad.make(t, s.Store)
			before, err := os.ReadFile(s.Store)
			noError(t, err)

			started := s.Start()
			if started == nil {
				t.Fatal("it starts")
			}
			for _, want := range []string{bad.want, s.Store} {
				if !strings.Contains(started.Error(), want) {
					t.Errorf("the log does not say %q:\n%v", want, started)
				}
			}
			s.Kill()

			badPath := s.Store
			s.Store = filepath.Join(t.TempDir(), "other.db")
			s.MustStart()
			s.patch(t, appending(text("other", "x")))
			if answer, err := s.load(t, badPath); err != nil {
				t.Errorf("changing over to it: %v", err)
			} else if !strings.Contains(answer, bad.want) {
				t.Errorf("changing over to it: the answer does not say %q: %s", bad.want, answer)
			}
			s.has(t, "other", "x")
			s.patch(t, appending(text("more", "x")))
			s.has(t, "more", "x")

			after, err := os.ReadFile(badPath)
			noError(t, err)
			if !bytes.Equal(before, after) {
				t.Error("the file was changed")
			}
		})
	}
}

// unprivileged returns the command to run another without root's right to write
// any file, where we have that right.
func unprivileged(t *testing.T) []string {
	t.Helper()
	if os.Getuid() != 0 {
		return nil
	}
	// Root may write any file.
	return []string{debian(t, "setpriv", "util-linux"), "--bounding-set", "-dac_override,-dac_read_search", "--inh-caps", "-dac_override,-dac_read_search"}
}

// load has the service change over to a config with another store, and returns what
// it answers.
func (s *Service) load(t *testing.T, store string) (string, error) {
	t.Helper()
	config, err := os.ReadFile(testdata(t, "durable.caddyfile"))
	noError(t, err)
	text := strings.Replace(string(config), "{$STORE}", store, 1)
	resp, err := http.Post("http://"+s.Admin+"/load", "text/caddyfile", strings.NewReader(text))
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	return resp.Status + " " + string(answer), err
}

// Two processes cannot have one store. The second says so, whatever addresses it
// has, and the first notices nothing.
func TestTwoProcessesOnOneStore(t *testing.T) {
	first, second := NewService(t), NewService(t)
	second.Store = first.Store
	first.MustStart()
	first.patch(t, appending(text("first", "x")))
	err := second.Start()
	if err == nil {
		t.Fatal("the second one starts")
	}
	for _, want := range []string{"another process has held its lock", first.Store} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("the log does not say %q:\n%v", want, err)
		}
	}
	first.has(t, "first", "x")
	first.patch(t, appending(text("more", "x")))
	first.has(t, "more", "x")
	first.Kill() // its lock goes with it
	second.MustStart()
	second.has(t, "more", "x")
}

// A file that loses its contents under a running process takes no more changes, and
// the process does not end: DNS has all in memory.
func TestStoreLostUnderneath(t *testing.T) {
	s := NewService(t)
	s.MustStart()
	s.patch(t, appending(text("kept", "x")))
	noError(t, os.Truncate(s.Store, 0))
	var problem *api.Problem
	for range 3 {
		if err := s.Patch(context.Background(), appending(text("lost", "x"))); !errors.As(err, &problem) || problem.Status != http.StatusServiceUnavailable {
			t.Errorf("a change: %v", err)
		}
	}
	s.has(t, "kept", "x")
	select {
	case <-s.ended:
		t.Error("the process has ended")
	default:
	}
}

// Who reads slowly holds up nobody who writes, and reads one state of the zone.
func TestSlowReaders(t *testing.T) {
	const (
		records = 30_000 // more than fits the buffers on the way
		changes = 200
	)
	s := NewService(t)
	s.MustStart()
	var file bytes.Buffer
	for i := range records {
		fmt.Fprintf(&file, "n%05d 60 TXT %q\n", i, strings.Repeat("x", 200))
	}
	admin := "http://" + s.Admin
	resp, err := http.Post(admin+"/bestdns/zones/"+hostedZone, "text/dns", &file)
	noError(t, err)
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("import: %s", resp.Status)
	}
	tests := []struct {
		name, addr, path string
		// count returns the records of the import in what was read.
		count func(t *testing.T, body []byte) int
	}{
		{"GET", s.API, "/v1/zones/" + hostedZone + "/records?type=TXT", func(t *testing.T, body []byte) int {
			var answer api.Records
			noError(t, json.Unmarshal(body, &answer))
			n := 0
			for _, r := range answer.Records {
				if r.Name[0] == 'n' {
					n++
				}
			}
			return n
		}},
		{"export", s.Admin, "/bestdns/zones/" + hostedZone, func(_ *testing.T, body []byte) int {
			return bytes.Count(body, []byte("\nn"+"0")) + bytes.Count(body, []byte("\nn1")) + bytes.Count(body, []byte("\nn2"))
		}},
		{"back-up", s.Admin, "/bestdns/backup", func(t *testing.T, body []byte) int {
			path := filepath.Join(t.TempDir(), "copy.db")
			noError(t, os.WriteFile(path, body, 0o600))
			copied := NewService(t)
			copied.Store = path
			copied.MustStart()
			defer copied.Stop()
			n := 0
			for name := range copied.Texts() {
				if name[0] == 'n' {
					n++
				}
			}
			return n
		}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			conn, err := net.Dial("tcp", test.addr)
			noError(t, err)
			defer conn.Close()
			noError(t, conn.SetDeadline(time.Now().Add(time.Minute)))
			fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer %s\r\nConnection: close\r\n\r\n", test.path, test.addr, s.Token)
			in := bufio.NewReaderSize(conn, 4096)
			if _, err := in.Peek(1); err != nil { // it has begun
				t.Fatal(err)
			}

			slowest := time.Duration(0)
			for i := range changes {
				began := time.Now()
				s.patch(t, appending(text(fmt.Sprintf("z%d-%s", i, test.name), strings.Repeat("y", 5000))))
				slowest = max(slowest, time.Since(began))
			}
			t.Logf("the slowest of %d changes took %v", changes, slowest)
			if limit := 2 * time.Second; slowest > limit {
				t.Errorf("a change took %v beside a slow reader, more than %v", slowest, limit)
			}

			answer, err := http.ReadResponse(in, nil)
			noError(t, err)
			body, err := io.ReadAll(answer.Body)
			noError(t, err)
			if answer.StatusCode != http.StatusOK {
				t.Fatalf("%s: %s", answer.Status, body)
			}
			if got := test.count(t, body); got != records {
				t.Errorf("%d records were read, not %d", got, records)
			}
			if bytes.Contains(body, []byte(fmt.Sprintf("z%d-%s", changes-1, test.name))) {
				t.Error("what was read has a change that came after the reading began")
			}
		})
	}
}

// The serial never goes back: not by a restart, and not by a back-up from which the
// store is restored, once it is changed again.
func TestSerialNeverGoesBack(t *testing.T) {
	s := NewService(t)
	s.MustStart()
	serial := func() uint32 {
		t.Helper()
		n, err := s.Serial()
		noError(t, err)
		return n
	}
	s.patch(t, appending(text("one", "x")))
	s.Stop()
	copied, err := os.ReadFile(s.Store)
	noError(t, err)

	s.MustStart()
	began := serial()
	const changes = 4
	for i := range changes {
		s.patch(t, appending(text(fmt.Sprintf("later%d", i), "x")))
	}
	latest := serial()
	if later(began+changes-1, latest) == began+changes-1 {
		t.Errorf("%d changes make %d of the serial %d", changes, latest, began)
	}
	s.Kill()
	s.MustStart()
	if got := serial(); got != latest {
		t.Errorf("a restart makes %d of the serial %d", got, latest)
	}
	s.Stop()

	// A copy of the file relies on the clock.
	noError(t, os.WriteFile(s.Store, copied, 0o600))
	waitClock(latest)
	s.MustStart()
	s.patch(t, appending(text("restored", "x")))
	if got := serial(); later(got, latest) != got || got == latest {
		t.Errorf("after a copy was restored and changed, the serial is %d, not after %d", got, latest)
	}

	// A back-up does not, even where serials have run ahead of it.
	backup := filepath.Join(t.TempDir(), "backup.db")
	s.mustCommand(t, "backup", backup)
	for i := range 200 {
		s.patch(t, appending(text(fmt.Sprintf("ahead%d", i), "x")))
	}
	latest = serial()
	if later(latest, uint32(time.Now().Unix())) != latest {
		t.Fatalf("the serial %d is not ahead of the clock", latest)
	}
	s.Stop()
	noError(t, os.Rename(backup, s.Store))
	s.MustStart()
	restored := serial()
	if later(restored, latest) != restored || restored == latest {
		t.Errorf("after a back-up was restored, the serial is %d, not after %d", restored, latest)
	}
	s.patch(t, appending(text("last", "x")))
	if got := serial(); got != restored+1 {
		t.Errorf("a change makes %d of the serial %d", got, restored)
	}
}

// waitClock waits until the clock has passed a serial: each change raises it, so that
// many in a second have it run ahead.
func waitClock(serial uint32) {
	<-time.After(time.Until(time.Unix(int64(serial)+1, 0)))
}
