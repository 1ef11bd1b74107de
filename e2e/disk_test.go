package e2e

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"github.com/google/go-cmp/cmp"

	"github.com/caddy-dns/bestdns/e2e/internal/harness"
	"github.com/caddy-dns/bestdns/internal/api"
)

// fullDisks are ways to take the room from a service, and to give it back.
var fullDisks = []struct {
	name string
	// place puts the store of a service that does not run yet where there is little room.
	place func(*testing.T, *harness.Service)
	fill  func(*testing.T, *harness.Service) (free func())
}{
	{
		name:  "limit of the size of files",
		place: func(*testing.T, *harness.Service) {},
		fill: func(t *testing.T, s *harness.Service) func() {
			info, err := os.Stat(s.Store)
			harness.NoError(t, err)
			limitFileSize(t, s.Cmd.Process.Pid, uint64(info.Size()))
			return func() { limitFileSize(t, s.Cmd.Process.Pid, ^uint64(0)) }
		},
	},
	{
		name:  "file system without room",
		place: func(t *testing.T, s *harness.Service) { s.Store = filepath.Join(smallFileSystem(t), "records.db") },
		fill: func(t *testing.T, s *harness.Service) func() {
			path := filepath.Join(filepath.Dir(s.Store), "ballast")
			f, err := os.Create(path)
			harness.NoError(t, err)
			for err == nil {
				_, err = f.Write(make([]byte, 4096))
			}
			f.Close()
			if !errors.Is(err, syscall.ENOSPC) {
				t.Fatalf("filling the file system: %v", err)
			}
			return func() { harness.NoError(t, os.Remove(path)) }
		},
	},
}

// limitFileSize bounds how large the files can be that a process writes; the limit can
// be raised again.
func limitFileSize(t *testing.T, pid int, bytes uint64) {
	t.Helper()
	limit := syscall.Rlimit{Cur: bytes, Max: ^uint64(0)}
	_, _, errno := syscall.RawSyscall6(syscall.SYS_PRLIMIT64, uintptr(pid), syscall.RLIMIT_FSIZE, uintptr(unsafe.Pointer(&limit)), 0, 0, 0)
	if errno != 0 {
		t.Fatalf("limiting the size of files: %v", errno)
	}
}

// smallFileSystem mounts one of 4 MiB, for which it takes root.
func smallFileSystem(t *testing.T) (folder string) {
	t.Helper()
	folder = t.TempDir()
	if err := syscall.Mount("tmpfs", folder, "tmpfs", 0, "size=4m,mode=700"); err != nil {
		harness.Cannot(t, fmt.Sprintf("a file system cannot be mounted: %v", err))
	}
	t.Cleanup(func() { // after the service has ended, whose cleanup is older
		if err := syscall.Unmount(folder, syscall.MNT_DETACH); err != nil {
			t.Errorf("unmounting: %v", err)
		}
	})
	return folder
}

// refuseMoreZones has a service with a full disk refuse a configuration with new zones.
func refuseMoreZones(t *testing.T, s *harness.Service) {
	t.Helper()
	config := s.Store + "\n"
	for i := range 300 {
		config += fmt.Sprintf("zone more%d.example {\nns ns1.more%d.example 127.0.0.1\n}\n", i, i)
	}
	if answer, err := load(t, s, config); err != nil || !strings.HasPrefix(answer, "400") {
		t.Errorf("a configuration for which there is no room: %.300s %v", answer, err)
	}
}

// When the disk is full, changes are refused, with certainty and without harm; all
// else goes on, and changes too when there is room again.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	for _, disk := range fullDisks {
		t.Run(disk.name, func(t *testing.T) {
			t.Parallel()
			s := harness.NewService(t)
			disk.place(t, s)
			s.MustStart()
			s.MustPatch(t, harness.Appending(harness.Text("before", "x")))
			s.WantHealth(t, "before", "")
			free := disk.fill(t, s)

			filler := strings.Repeat("x", 60_000)
			var refused error
			accepted := 0
			for ; refused == nil && accepted < 1000; accepted++ {
				refused = s.Patch(context.Background(), harness.Appending(harness.Text(fmt.Sprintf("filler%d", accepted), filler)))
			}
			accepted--
			wantUnchanged(t, fmt.Sprintf("after %d changes", accepted), refused)
			wantUnchanged(t, "a later change", s.Patch(context.Background(), harness.Appending(harness.Text("refused", filler))))
			importIsRefused(t, s, "refused TXT"+strings.Repeat(` "`+strings.Repeat("x", 250)+`"`, 240)+"\n")
			check := func(when string) {
				t.Helper()
				s.Has(t, "before", "x")
				texts := s.Texts()
				if _, there := texts["refused"]; there {
					t.Errorf("%s, a change is there that was refused", when)
				}
				for i := range accepted {
					if name := fmt.Sprintf("filler%d", i); len(texts[name]) != 1 {
						t.Errorf("%s, %s is not there", when, name)
					}
				}
				if name := fmt.Sprintf("filler%d", accepted); texts[name] != nil {
					t.Errorf("%s, %s is there, which was refused", when, name)
				}
			}
			check("with a full disk")
			s.WantHealth(t, "with a full disk", s.Store)
			refuseMoreZones(t, s)
			check("after a configuration for which there is no room")

			// It recovers when there is room, without being asked for a change, and not before.
			const ended = "the store can be written again"
			if !testing.Short() {
				if s.Log.Wait(1, harness.Probes, harness.Message(ended)) == nil {
					t.Error("with a full disk, it says that the store can be written")
				}
				s.WantHealth(t, "still with a full disk", s.Store)
			}
			free()
			s.WaitHealthy(t, ended)
			for _, line := range []string{"the store cannot be written: changes are refused until it can", ended} {
				if got := s.Log.Entries(harness.Message(line)); len(got) != 1 {
					t.Errorf("%d lines %q in the log, want 1", len(got), line)
				}
			}
			s.MustPatch(t, harness.Appending(harness.Text("after", "x")))
			check("with room again")
			s.Kill()
			s.MustStart()
			check("after a restart")
			s.Has(t, "after", "x")
		})
	}
}

// importIsRefused holds an import to the reason that there is no room, which is no fault of
// the file.
func importIsRefused(t *testing.T, s *harness.Service, file string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "zone")
	harness.NoError(t, os.WriteFile(path, []byte(file), 0o600))
	_, err := s.Command("import", harness.HostedZone, path)
	if err == nil || !strings.Contains(err.Error(), "takes no changes now") || !strings.Contains(err.Error(), "the store cannot be written") {
		t.Errorf("an import on a full disk: %v", err)
	}
}

// A backup for which there is no room fails with a reason and leaves nothing behind.
func TestBackupOnFullDisk(t *testing.T) {
	t.Parallel()
	disk := fullDisks[1]
	s := harness.NewService(t)
	disk.place(t, s)
	s.MustStart()
	s.MustPatch(t, harness.Appending(harness.Text("before", strings.Repeat("x", 50_000))))
	free := disk.fill(t, s)
	target := filepath.Join(t.TempDir(), "backup.db")
	if _, err := s.Command("backup", target); err == nil || !strings.Contains(err.Error(), syscall.ENOSPC.Error()) {
		t.Errorf("a backup on a full disk: %v", err)
	}
	free()
	for _, folder := range []string{filepath.Dir(target), filepath.Dir(s.Store)} {
		entries, err := os.ReadDir(folder)
		harness.NoError(t, err)
		for _, entry := range entries {
			if entry.Name() != filepath.Base(s.Store) {
				t.Errorf("%s was left in %s", entry.Name(), folder)
			}
		}
	}
	s.MustCommand(t, "backup", target)
}

// wantUnchanged holds a refusal to what it has to say when nothing can be written.
func wantUnchanged(t *testing.T, when string, err error) {
	t.Helper()
	var problem *api.Problem
	if !errors.As(err, &problem) || problem.Status != http.StatusServiceUnavailable || !problem.Unchanged {
		t.Errorf("%s: %v (%+v)", when, err, problem)
	}
}

// While writes cannot be made durable, no change is answered as made, all else goes on,
// and changes do too when they can. A commit has two syncs: where the first one fails,
// nothing was changed; where the second does and the same cannot be written again,
// what the disk has is not known, and the answer claims nothing.
func TestFailingSync(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, when string
		// want reports whether there was what the row is to show.
		want func(answers) bool
	}{
		{"each", "", func(a answers) bool { return len(a.made)+len(a.unknown) == 0 && len(a.unchanged) > 0 }},
		{"every second of a thread", ":when=2+2", func(a answers) bool { return len(a.unknown) > 0 }},
		{"every third of a thread", ":when=2+3", func(a answers) bool { return len(a.made) > 0 && len(a.unchanged) > 0 }},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := harness.NewService(t)
			s.MustStart()
			s.MustPatch(t, harness.Appending(harness.Text("before", "x")))
			stop := s.FailSync(t, test.when).Stop
			given := appendMany(t, s, 8, time.Second)
			s.Has(t, "before", "x")
			stop()
			summary := fmt.Sprintf("%d changes were made, %d refused and unchanged, %d unknown", len(given.made), len(given.unchanged), len(given.unknown))
			t.Log(summary)
			if !test.want(given) {
				t.Errorf("%s: the row does not show what it is for", summary)
			}
			s.MustPatch(t, harness.Appending(harness.Text("after", "x")))
			given.check(t, s, "when the disk works again")
			texts := s.Texts()
			s.Kill()
			s.MustStart()
			if diff := cmp.Diff(texts, s.Texts()); diff != "" {
				t.Errorf("a restart changes what is there (-before +after):\n%s", diff)
			}
			given.check(t, s, "after a restart")
			s.Has(t, "before", "x")
			s.Has(t, "after", "x")
		})
	}
}

// answers are what was answered to changes, by the name that each adds.
type answers struct{ made, unchanged, unknown []string }

// appendMany has clients append a text at a name of its own, again and again.
func appendMany(t *testing.T, s *harness.Service, clients int, d time.Duration) (all answers) {
	var (
		mu    sync.Mutex
		group sync.WaitGroup
	)
	for client := range clients {
		group.Go(func() {
			end := time.Now().Add(d)
			for i := 0; time.Now().Before(end); i++ {
				name := fmt.Sprintf("n%d.client%d", i, client)
				err := s.Patch(context.Background(), harness.Appending(harness.Text(name, "x")))
				var problem *api.Problem
				if err != nil && (!errors.As(err, &problem) || problem.Status != http.StatusServiceUnavailable) {
					t.Errorf("a change while the disk fails: %v", err)
				}
				mu.Lock()
				switch {
				case err == nil:
					all.made = append(all.made, name)
				case problem != nil && problem.Unchanged:
					all.unchanged = append(all.unchanged, name)
				default:
					all.unknown = append(all.unknown, name)
				}
				mu.Unlock()
			}
		})
	}
	group.Wait()
	return all
}

// check holds what is there, by GET and by DNS, to what was answered.
func (a *answers) check(t *testing.T, s *harness.Service, when string) {
	t.Helper()
	all := slices.Concat(a.made, a.unchanged, a.unknown)
	byGET, byDNS := s.Texts(), s.TextsByDNS(all)
	for _, name := range a.made {
		if byGET[name] == nil {
			t.Errorf("%s, %s is not there, whose change was answered", when, name)
		}
	}
	for _, name := range a.unchanged {
		if byGET[name] != nil {
			t.Errorf("%s, %s is there, and the answer was that nothing was changed", when, name)
		}
	}
	for _, name := range all {
		if diff := cmp.Diff(byGET[name], byDNS[name]); diff != "" {
			t.Errorf("%s, %s (-GET +DNS):\n%s", when, name, diff)
		}
	}
}
