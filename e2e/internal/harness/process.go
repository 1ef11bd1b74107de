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

// startProcess runs it, and returns when it is up.
func startProcess(t testing.TB, name string, command func() *exec.Cmd, up func(testing.TB, <-chan struct{})) *Process {
	t.Helper()
	p := &Process{name: name, command: command, up: up, t: t}
	t.Cleanup(func() {
		p.end(syscall.SIGTERM)
		if t.Failed() {
			t.Logf("%s's log:\n%s", name, p.log.String())
		}
	})
	p.Start()
	return p
}

// Start runs a process that was killed, and waits until it is up.
func (p *Process) Start() {
	p.t.Helper()
	p.up(p.t, p.launch())
}

func (p *Process) launch() (ended <-chan struct{}) {
	p.t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	cmd := p.command()
	cmd.Stdout, cmd.Stderr = &p.log, &p.log
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = new(syscall.SysProcAttr)
	}
	cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
	if err := cmd.Start(); err != nil {
		p.t.Fatalf("starting %s: %v", p.name, err)
	}
	end := make(chan struct{})
	p.cmd, p.ended = cmd, end
	go func() { _ = cmd.Wait(); close(end) }()
	return end
}

// Kill ends it as a failing machine does.
func (p *Process) Kill() { p.end(syscall.SIGKILL) }

func (p *Process) end(signal syscall.Signal) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd == nil {
		return
	}
	_ = p.cmd.Process.Signal(signal) // it may be gone
	<-p.ended
	p.cmd = nil
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
