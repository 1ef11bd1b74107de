package harness

import (
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Process is a server of others that a test may kill and start again. It ends with the
// test, and with this process, however that ends.
type Process struct {
	name string
	// command makes what is run.
	command func() *exec.Cmd
	// up waits until it serves.
	up func(t testing.TB, ended <-chan struct{})
	t  testing.TB

	mu    sync.Mutex
	cmd   *exec.Cmd
	ended chan struct{} // closed when cmd is gone
	log   LockedBuffer
}

// newProcess prepares it. It is yet to be started.
func newProcess(t testing.TB, name string, command func() *exec.Cmd, up func(testing.TB, <-chan struct{})) *Process {
	t.Helper()
	p := &Process{name: name, command: command, up: up, t: t}
	t.Cleanup(func() {
		p.Stop()
		if t.Failed() {
			t.Logf("%s's log:\n%s", name, p.log.String())
		}
	})
	return p
}

// startProcess runs it, and returns when it is up.
func startProcess(t testing.TB, name string, command func() *exec.Cmd, up func(testing.TB, <-chan struct{})) *Process {
	t.Helper()
	p := newProcess(t, name, command, up)
	p.Start()
	return p
}

// Start runs a process that does not run, and waits until it is up.
func (p *Process) Start() {
	p.t.Helper()
	p.up(p.t, p.Launch())
}

// Launch does the same without waiting. The channel is closed when it has ended.
func (p *Process) Launch() (ended <-chan struct{}) {
	p.t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	cmd := p.command()
	cmd.Stdout, cmd.Stderr = &p.log, &p.log
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = new(syscall.SysProcAttr)
	}
	// Some are several processes, which are paused and killed together.
	cmd.SysProcAttr.Setpgid, cmd.SysProcAttr.Pdeathsig = true, syscall.SIGKILL
	if err := cmd.Start(); err != nil {
		p.t.Fatalf("starting %s: %v", p.name, err)
	}
	end := make(chan struct{})
	p.cmd, p.ended = cmd, end
	go func() { _ = cmd.Wait(); close(end) }()
	return end
}

// Kill ends it as a failing machine does, if it runs.
func (p *Process) Kill() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.kill()
}

func (p *Process) kill() {
	if p.cmd == nil {
		return
	}
	p.signalAll(syscall.SIGKILL)
	<-p.ended
	p.cmd = nil
}

// Stop ends it as a service manager does, if it runs.
func (p *Process) Stop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd == nil {
		return
	}
	p.signalAll(syscall.SIGCONT)
	_ = p.cmd.Process.Signal(syscall.SIGTERM) // it may be gone
	select {
	case <-p.ended:
	case <-time.After(stopTimeout):
		p.t.Errorf("%s did not end within %s", p.name, stopTimeout)
	}
	p.kill() // what is left of it
}

// Pause has it do nothing until Resume, if it runs.
func (p *Process) Pause() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.signalAll(syscall.SIGSTOP)
}

// Resume has it go on after Pause, if it runs.
func (p *Process) Resume() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.signalAll(syscall.SIGCONT)
}

// signalAll signals all of its processes, of which none may be left. p.mu is held.
func (p *Process) signalAll(signal syscall.Signal) {
	if p.cmd != nil {
		_ = syscall.Kill(-p.cmd.Process.Pid, signal)
	}
}

// write makes a file that only this user reads, and returns its path.
func write(t testing.TB, dir, file, text string) string {
	t.Helper()
	path := filepath.Join(dir, file)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// serves is for startProcess: it waits until the server at addr is one for the zone.
func serves(addr, zone string) func(testing.TB, <-chan struct{}) {
	return func(t testing.TB, ended <-chan struct{}) {
		t.Helper()
		waitServes(t, addr, zone, ended)
	}
}

// waitUntil waits until a server is up, as try says by returning no error.
func waitUntil(t testing.TB, name string, ended <-chan struct{}, try func() error) {
	t.Helper()
	deadline := time.After(StartTimeout)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		err := try()
		if err == nil {
			return
		}
		select {
		case <-tick.C:
		case <-ended:
			t.Fatalf("%s ended before it was up", name)
		case <-deadline:
			t.Fatalf("%s is not up after %s: %v", name, StartTimeout, err)
		}
	}
}
