package harness

import (
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"
)

const (
	// StartTimeout is how long a Caddy may take until it serves its first config.
	StartTimeout = 30 * time.Second
	// stopTimeout is how long it may take to end after SIGTERM.
	stopTimeout = 20 * time.Second
	// ObtainTimeout is how long a certificate may take when all goes well; with
	// certmagic's default propagation check it takes three seconds, and after a
	// failure it waits a minute, so a first failure is a failure here.
	ObtainTimeout = 45 * time.Second
)

// Caddy is a running Caddy with a home of its own.
type Caddy struct {
	// Home is where everything of it is kept.
	Home string
	// HTTPS is the address at which its sites are served.
	HTTPS string
	// Log is what it wrote.
	Log *Log

	T        testing.TB
	Admin    string
	cmd      *exec.Cmd
	Ended    chan struct{} // closed when the process is gone
	killed   bool
	accepted []func(Entry) bool
}

// Env are the variables that a Caddyfile of testdata refers to as {$NAME}.
type Env map[string]string

// StartCaddy runs Caddy with a Caddyfile of testdata and waits until it serves
// it. The Caddyfile can import {$HARNESS}, the options that every test needs.
func StartCaddy(t testing.TB, binary, caddyfile string, env ...Env) *Caddy {
	t.Helper()
	c := LaunchCaddy(t, binary, caddyfile, env...)
	c.waitReady()
	return c
}

// LaunchCaddy does the same without waiting.
func LaunchCaddy(t testing.TB, binary, caddyfile string, env ...Env) *Caddy {
	t.Helper()
	c := &Caddy{
		Home:  t.TempDir(),
		HTTPS: FreeAddr(t),
		Log:   NewLog(),
		T:     t,
		Admin: FreeAddr(t),
		Ended: make(chan struct{}),
	}
	c.cmd = exec.Command(binary, "run", "--adapter", "caddyfile", "--config", Testdata(t, caddyfile))
	c.cmd.Dir = filepath.Dir(Testdata(t, caddyfile)) // what a reloaded Caddyfile imports is looked up here
	c.cmd.Env = []string{
		"PATH=" + os.Getenv("PATH"),
		"HOME=" + c.Home,
		"XDG_DATA_HOME=" + c.Home,
		"XDG_CONFIG_HOME=" + c.Home,
		"HTTP_PORT=" + Port(t, FreeAddr(t)),
		"HTTPS_PORT=" + Port(t, c.HTTPS),
		"ADMIN=" + c.Admin,
	}
	for _, vars := range env {
		for name, value := range vars {
			c.cmd.Env = append(c.cmd.Env, name+"="+value)
		}
	}
	stderr, err := c.cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.cmd.Start(); err != nil {
		t.Fatalf("starting %s: %v", binary, err)
	}
	go func() {
		c.Log.Read(stderr)
		c.cmd.Wait()
		close(c.Ended)
	}()
	t.Cleanup(c.stopAndCheck)
	return c
}

func (c *Caddy) waitReady() {
	c.T.Helper()
	if err := c.Log.Wait(1, StartTimeout, Message("serving initial configuration")); err != nil {
		c.T.Fatalf("Caddy did not start: %v", err)
	}
}

// Accept says that an entry of the level error is no fault in this test.
func (c *Caddy) Accept(match func(Entry) bool) { c.accepted = append(c.accepted, match) }

// WaitCertificates waits until the certificates of these names are served.
func (c *Caddy) WaitCertificates(names ...string) {
	c.T.Helper()
	for _, name := range names {
		served := func(e Entry) bool {
			return e.Message == "added certificate to cache" && slices.Contains(e.Subjects, name)
		}
		if err := c.Log.Wait(1, ObtainTimeout, served); err != nil {
			c.T.Fatalf("waiting for the certificate of %s: %v", name, err)
		}
	}
}

// Reload replaces the running config by a Caddyfile of testdata, which may be
// the same, and returns when Caddy has taken it.
func (c *Caddy) Reload(caddyfile string) {
	c.T.Helper()
	config, err := os.Open(Testdata(c.T, caddyfile))
	if err != nil {
		c.T.Fatal(err)
	}
	defer config.Close()
	req, err := http.NewRequest(http.MethodPost, "http://"+c.Admin+"/load", config)
	if err != nil {
		c.T.Fatal(err)
	}
	req.Header.Set("Content-Type", "text/caddyfile")
	req.Header.Set("Cache-Control", "must-revalidate") // reload even if nothing changed
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		c.T.Fatalf("reloading: %v", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		body, _ := io.ReadAll(resp.Body)
		c.T.Fatalf("reloading: %s: %s", resp.Status, body)
	}
}

// Stop ends Caddy as a service manager does.
func (c *Caddy) Stop() {
	c.T.Helper()
	select {
	case <-c.Ended:
	default:
		c.cmd.Process.Signal(syscall.SIGTERM)
	}
	select {
	case <-c.Ended:
	case <-time.After(stopTimeout):
		c.cmd.Process.Kill()
		<-c.Ended
		c.T.Errorf("Caddy did not end within %s", stopTimeout)
	}
}

// Kill ends Caddy as a crash does.
func (c *Caddy) Kill() {
	c.killed = true
	c.cmd.Process.Kill()
	<-c.Ended
}

// stopAndCheck ends Caddy and fails the test for what should not have happened.
func (c *Caddy) stopAndCheck() {
	c.Stop()
	if state := c.cmd.ProcessState; state.ExitCode() != 0 && !c.killed {
		c.T.Errorf("Caddy ended with %s", state)
	}
	CheckLog(c.T, c.Log, c.accepted)
	if c.T.Failed() {
		c.T.Logf("Caddy's log:\n%s", c.Log)
	}
}

// Testdata returns the absolute path of a file in testdata; an absolute one stays as
// it is.
func Testdata(t testing.TB, name string) string {
	t.Helper()
	if filepath.IsAbs(name) {
		return name
	}
	path, err := filepath.Abs(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); err != nil {
		t.Fatal(err)
	}
	return path
}
