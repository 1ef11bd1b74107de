package harness

import (
	"fmt"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// failingCalls are a system call that strace has fail.
type failingCalls struct {
	t     *testing.T
	call  string
	cmd   *exec.Cmd
	lines *Log // of strace
	ended chan struct{}
	once  sync.Once
}

// FailSync has each fdatasync of the service fail, or those that strace's expression
// says, until it is told to stop. What is written stays in the system's memory, as on
// a disk that fails.
func (s *Service) FailSync(t *testing.T, when string) *failingCalls {
	t.Helper()
	return s.FailCalls(t, "fdatasync", "EIO"+when)
}

// FailCalls has a system call of the service fail, each time or as strace's expression
// after the error says, until it is told to stop.
func (s *Service) FailCalls(t *testing.T, call, with string) *failingCalls {
	t.Helper()
	f := &failingCalls{t: t, call: call, lines: NewLog(), ended: make(chan struct{})}
	f.cmd = exec.Command(Debian(t, "strace", "strace"), "-f", "-p", fmt.Sprint(s.Cmd.Process.Pid),
		"-e", "trace="+call, "-e", "inject="+call+":error="+with)
	f.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	stderr, err := f.cmd.StderrPipe()
	NoError(t, err)
	NoError(t, f.cmd.Start())
	go func() {
		defer close(f.ended)
		f.lines.Read(stderr)
	}()
	attached := func(e Entry) bool { return strings.Contains(e.Line, "attached") }
	if err := f.lines.Wait(1, 10*time.Second, attached); err != nil {
		_ = f.cmd.Process.Kill()
		<-f.ended
		_ = f.cmd.Wait()
		Cannot(t, fmt.Sprintf("strace cannot have system calls fail: %v: %s", err, f.lines))
	}
	t.Cleanup(f.Stop)
	return f
}

func injected(e Entry) bool { return strings.Contains(e.Line, "(INJECTED)") }

// Wait waits until n calls have failed.
func (f *failingCalls) Wait(n int, timeout time.Duration) {
	f.t.Helper()
	if err := f.lines.Wait(n, timeout, injected); err != nil {
		f.t.Fatalf("%s: %v", f.call, err)
	}
}

func (f *failingCalls) Stop() {
	f.once.Do(func() {
		_ = f.cmd.Process.Signal(syscall.SIGINT)
		<-f.ended
		_ = f.cmd.Wait() // it ends with the signal
		if len(f.lines.Entries(injected)) == 0 {
			f.t.Errorf("no %s has failed", f.call)
		}
	})
}
