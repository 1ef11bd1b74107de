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

	"go.etcd.io/bbolt"

	"github.com/caddy-dns/bestdns/e2e/internal/harness"
	"github.com/caddy-dns/bestdns/internal/api"
)

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
		make: func(t *testing.T, path string) { harness.NoError(t, os.Truncate(path, 5000)) },
		want: "the file is damaged, or not a store of BestDNS",
	},
	{
		name: "without its first pages",
		make: func(t *testing.T, path string) {
			f, err := os.OpenFile(path, os.O_WRONLY, 0)
			harness.NoError(t, err)
			_, err = f.WriteAt(make([]byte, 8192), 0)
			harness.NoError(t, err)
			harness.NoError(t, f.Close())
		},
		want: "the file is damaged, or not a store of BestDNS",
	},
	{
		name: "no store at all",
		make: func(t *testing.T, path string) {
			harness.NoError(t, os.WriteFile(path, bytes.Repeat([]byte("not a store\n"), 1000), 0o600))
		},
		want: "the file is damaged, or not a store of BestDNS",
	},
	{
		name: "of a newer version",
		make: func(t *testing.T, path string) {
			db, err := bbolt.Open(path, 0o600, nil)
			harness.NoError(t, err)
			harness.NoError(t, db.Update(func(tx *bbolt.Tx) error {
				return tx.Bucket([]byte("meta")).Put([]byte("format"), binary.BigEndian.AppendUint32(nil, 1000))
			}))
			harness.NoError(t, db.Close())
		},
		want: "it was written by a newer BestDNS",
	},
	{
		name:   "read-only",
		make:   func(t *testing.T, path string) { harness.NoError(t, os.Chmod(path, 0o400)) },
		want:   "it has to be readable and writable for the user that runs this process",
		asUser: true,
	},
}

// wholeStore makes a store with a record in it.
func wholeStore(t *testing.T) (path string) {
	t.Helper()
	s := harness.NewService(t)
	s.MustStart()
	s.MustPatch(t, harness.Appending(harness.Text("kept", "x")))
	s.Stop()
	return s.Store
}

// A store that cannot be used is left as it is. Who starts with it learns why; who
// is to change over to it goes on without.
func TestBadStores(t *testing.T) {
	t.Parallel()
	whole, err := os.ReadFile(wholeStore(t))
	harness.NoError(t, err)
	for _, bad := range badStores {
		t.Run(bad.name, func(t *testing.T) {
			t.Parallel()
			s := harness.NewService(t)
			if bad.asUser {
				s.Wrapper = unprivileged(t)
			}
			harness.NoError(t, os.WriteFile(s.Store, whole, 0o600))
			bad.make(t, s.Store)
			before, err := os.ReadFile(s.Store)
			harness.NoError(t, err)

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
			s.MustPatch(t, harness.Appending(harness.Text("other", "x")))
			if answer, err := load(t, s, badPath); err != nil {
				t.Errorf("changing over to it: %v", err)
			} else if !strings.Contains(answer, bad.want) {
				t.Errorf("changing over to it: the answer does not say %q: %s", bad.want, answer)
			}
			s.Has(t, "other", "x")
			s.MustPatch(t, harness.Appending(harness.Text("more", "x")))
			s.Has(t, "more", "x")

			after, err := os.ReadFile(badPath)
			harness.NoError(t, err)
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
	return []string{harness.Debian(t, "setpriv", "util-linux"), "--bounding-set", "-dac_override,-dac_read_search", "--inh-caps", "-dac_override,-dac_read_search"}
}

// load has the service change over to a config with another store, and returns what
// it answers.
func load(t *testing.T, s *harness.Service, store string) (string, error) {
	t.Helper()
	config, err := os.ReadFile(harness.Testdata(t, "durable.caddyfile"))
	harness.NoError(t, err)
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
	t.Parallel()
	first, second := harness.NewService(t), harness.NewService(t)
	second.Store = first.Store
	first.MustStart()
	first.MustPatch(t, harness.Appending(harness.Text("first", "x")))
	err := second.Start()
	if err == nil {
		t.Fatal("the second one starts")
	}
	for _, want := range []string{"another process has held its lock", first.Store} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("the log does not say %q:\n%v", want, err)
		}
	}
	first.Has(t, "first", "x")
	first.MustPatch(t, harness.Appending(harness.Text("more", "x")))
	first.Has(t, "more", "x")
	first.Kill() // its lock goes with it
	second.MustStart()
	second.Has(t, "more", "x")
}

// A file that loses its contents under a running process takes no more changes, and
// the process does not end: DNS has all in memory.
func TestStoreLostUnderneath(t *testing.T) {
	t.Parallel()
	s := harness.NewService(t)
	s.MustStart()
	s.MustPatch(t, harness.Appending(harness.Text("kept", "x")))
	harness.NoError(t, os.Truncate(s.Store, 0))
	var problem *api.Problem
	for range 3 {
		if err := s.Patch(context.Background(), harness.Appending(harness.Text("lost", "x"))); !errors.As(err, &problem) || problem.Status != http.StatusServiceUnavailable {
			t.Errorf("a change: %v", err)
		}
	}
	s.Has(t, "kept", "x")
	select {
	case <-s.Ended:
		t.Error("the process has ended")
	default:
	}
}

// A slow reader holds up no writer, and reads one state of the zone.
func TestSlowReaders(t *testing.T) {
	t.Parallel()
	const (
		records = 30_000 // more than fits the buffers on the way
		changes = 200
	)
	s := harness.NewService(t)
	s.MustStart()
	var file bytes.Buffer
	for i := range records {
		fmt.Fprintf(&file, "n%05d 60 TXT %q\n", i, strings.Repeat("x", 200))
	}
	admin := "http://" + s.Admin
	resp, err := http.Post(admin+"/bestdns/zones/"+harness.HostedZone, "text/dns", &file)
	harness.NoError(t, err)
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("import: %s", resp.Status)
	}
	tests := []struct {
		name, addr, path string
		// count returns the records of the import in what was read.
		count func(t *testing.T, body []byte) int
	}{
		{"GET", s.API, "/v1/zones/" + harness.HostedZone + "/records?type=TXT", func(t *testing.T, body []byte) int {
			var answer api.Records
			harness.NoError(t, json.Unmarshal(body, &answer))
			n := 0
			for _, r := range answer.Records {
				if r.Name[0] == 'n' {
					n++
				}
			}
			return n
		}},
		{"export", s.Admin, "/bestdns/zones/" + harness.HostedZone, func(_ *testing.T, body []byte) int {
			return bytes.Count(body, []byte("\nn"+"0")) + bytes.Count(body, []byte("\nn1")) + bytes.Count(body, []byte("\nn2"))
		}},
		{"backup", s.Admin, "/bestdns/backup", func(t *testing.T, body []byte) int {
			path := filepath.Join(t.TempDir(), "copy.db")
			harness.NoError(t, os.WriteFile(path, body, 0o600))
			copied := harness.NewService(t)
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
			harness.NoError(t, err)
			defer conn.Close()
			harness.NoError(t, conn.SetDeadline(time.Now().Add(time.Minute)))
			fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer %s\r\nConnection: close\r\n\r\n", test.path, test.addr, s.Token)
			in := bufio.NewReaderSize(conn, 4096)
			if _, err := in.Peek(1); err != nil { // it has begun
				t.Fatal(err)
			}

			slowest := time.Duration(0)
			for i := range changes {
				began := time.Now()
				s.MustPatch(t, harness.Appending(harness.Text(fmt.Sprintf("z%d-%s", i, test.name), strings.Repeat("y", 5000))))
				slowest = max(slowest, time.Since(began))
			}
			t.Logf("the slowest of %d changes took %v", changes, slowest)
			if limit := 2 * time.Second; slowest > limit {
				t.Errorf("a change took %v beside a slow reader, more than %v", slowest, limit)
			}

			answer, err := http.ReadResponse(in, nil)
			harness.NoError(t, err)
			body, err := io.ReadAll(answer.Body)
			harness.NoError(t, err)
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

// The serial never goes back: not by a restart, and not by a backup from which the
// store is restored, once it is changed again.
func TestSerialNeverGoesBack(t *testing.T) {
	t.Parallel()
	s := harness.NewService(t)
	s.MustStart()
	serial := func() uint32 {
		t.Helper()
		n, err := s.Serial()
		harness.NoError(t, err)
		return n
	}
	s.MustPatch(t, harness.Appending(harness.Text("one", "x")))
	s.Stop()
	copied, err := os.ReadFile(s.Store)
	harness.NoError(t, err)

	s.MustStart()
	began := serial()
	const changes = 4
	for i := range changes {
		s.MustPatch(t, harness.Appending(harness.Text(fmt.Sprintf("later%d", i), "x")))
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
	harness.NoError(t, os.WriteFile(s.Store, copied, 0o600))
	waitClock(latest)
	s.MustStart()
	s.MustPatch(t, harness.Appending(harness.Text("restored", "x")))
	if got := serial(); later(got, latest) != got || got == latest {
		t.Errorf("after a copy was restored and changed, the serial is %d, not after %d", got, latest)
	}

	// A backup does not, even where serials have run ahead of it.
	backup := filepath.Join(t.TempDir(), "backup.db")
	s.MustCommand(t, "backup", backup)
	for i := range 200 {
		s.MustPatch(t, harness.Appending(harness.Text(fmt.Sprintf("ahead%d", i), "x")))
	}
	latest = serial()
	if later(latest, uint32(time.Now().Unix())) != latest {
		t.Fatalf("the serial %d is not ahead of the clock", latest)
	}
	s.Stop()
	harness.NoError(t, os.Rename(backup, s.Store))
	s.MustStart()
	restored := serial()
	if later(restored, latest) != restored || restored == latest {
		t.Errorf("after a backup was restored, the serial is %d, not after %d", restored, latest)
	}
	s.MustPatch(t, harness.Appending(harness.Text("last", "x")))
	if got := serial(); got != restored+1 {
		t.Errorf("a change makes %d of the serial %d", got, restored)
	}
}

// waitClock waits until the clock has passed a serial: each change raises it, so that
// many in a second have it run ahead.
func waitClock(serial uint32) {
	<-time.After(time.Until(time.Unix(int64(serial)+1, 0)))
}
