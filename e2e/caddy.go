package e2e

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// The programs under test; TestMain sets them.
var (
	// caddyBinary is a Caddy with client and service.
	caddyBinary string
	// clientBinary is a Caddy that needs to have the client only.
	clientBinary string
)

const (
	// startTimeout is how long a Caddy may take until it serves its first config.
	startTimeout = 30 * time.Second
	// stopTimeout is how long it may take to end after SIGTERM.
	stopTimeout = 20 * time.Second
	// obtainTimeout is how long a certificate may take when all goes well; with
	// certmagic's default propagation check it takes three seconds, and after a
	// failure it waits a minute, so a first failure is a failure here.
	obtainTimeout = 45 * time.Second
)

// Caddy is a running Caddy with a home of its own.
type Caddy struct {
	// Home is where everything of it is kept.
	Home string
	// HTTPS is the address at which its sites are served.
	HTTPS string
	// Log is what it wrote.
	Log *Log

	t        testing.TB
	admin    string
	cmd      *exec.Cmd
	ended    chan struct{} // closed when the process is gone
	killed   bool
	accepted []func(Entry) bool
}

// Env are the variables that a Caddyfile of testdata refers to as {$NAME}.
type Env map[string]string

// StartCaddy runs Caddy with a Caddyfile of testdata and waits until it serves
// it. The Caddyfile can import {$HARNESS}, the options that every test needs.
func StartCaddy(t testing.TB, binary, caddyfile string, env ...Env) *Caddy {
	t.Helper()
	c := launchCaddy(t, binary, caddyfile, env...)
	c.waitReady()
	return c
}

// launchCaddy does the same without waiting.
func launchCaddy(t testing.TB, binary, caddyfile string, env ...Env) *Caddy {
	t.Helper()
	c := &Caddy{
		Home:  t.TempDir(),
		HTTPS: freeAddr(t),
		Log:   newLog(),
		t:     t,
		admin: freeAddr(t),
		ended: make(chan struct{}),
	}
	c.cmd = exec.Command(binary, "run", "--adapter", "caddyfile", "--config", testdata(t, caddyfile))
	c.cmd.Dir = filepath.Dir(testdata(t, caddyfile)) // what a reloaded Caddyfile imports is looked up here
	c.cmd.Env = []string{
		"PATH=" + os.Getenv("PATH"),
		"HOME=" + c.Home,
		"XDG_DATA_HOME=" + c.Home,
		"XDG_CONFIG_HOME=" + c.Home,
		"HTTP_PORT=" + port(t, freeAddr(t)),
		"HTTPS_PORT=" + port(t, c.HTTPS),
		"ADMIN=" + c.admin,
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
		c.Log.read(stderr)
		c.cmd.Wait()
		close(c.ended)
	}()
	t.Cleanup(c.stopAndCheck)
	return c
}

func (c *Caddy) waitReady() {
	c.t.Helper()
	if err := c.Log.Wait(1, startTimeout, message("serving initial configuration")); err != nil {
		c.t.Fatalf("Caddy did not start: %v", err)
	}
}

// Accept says that an entry of the level error is no fault in this test.
func (c *Caddy) Accept(match func(Entry) bool) { c.accepted = append(c.accepted, match) }

// WaitCertificates waits until the certificates of these names are served.
func (c *Caddy) WaitCertificates(names ...string) {
	c.t.Helper()
	for _, name := range names {
		served := func(e Entry) bool {
			return e.Message == "added certificate to cache" && slices.Contains(e.Subjects, name)
		}
		if err := c.Log.Wait(1, obtainTimeout, served); err != nil {
			c.t.Fatalf("waiting for the certificate of %s: %v", name, err)
		}
	}
}

// Reload replaces the running config by a Caddyfile of testdata, which may be
// the same, and returns when Caddy has taken it.
func (c *Caddy) Reload(caddyfile string) {
	c.t.Helper()
	config, err := os.Open(testdata(c.t, caddyfile))
	if err != nil {
		c.t.Fatal(err)
	}
	defer config.Close()
	req, err := http.NewRequest(http.MethodPost, "http://"+c.admin+"/load", config)
	if err != nil {
		c.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "text/caddyfile")
	req.Header.Set("Cache-Control", "must-revalidate") // reload even if nothing changed
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		c.t.Fatalf("reloading: %v", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		body, _ := io.ReadAll(resp.Body)
		c.t.Fatalf("reloading: %s: %s", resp.Status, body)
	}
}

// Stop ends Caddy as a service manager does.
func (c *Caddy) Stop() {
	c.t.Helper()
	select {
	case <-c.ended:
	default:
		c.cmd.Process.Signal(syscall.SIGTERM)
	}
	select {
	case <-c.ended:
	case <-time.After(stopTimeout):
		c.cmd.Process.Kill()
		<-c.ended
		c.t.Errorf("Caddy did not end within %s", stopTimeout)
	}
}

// Kill ends Caddy as a crash does.
func (c *Caddy) Kill() {
	c.killed = true
	c.cmd.Process.Kill()
	<-c.ended
}

// stopAndCheck ends Caddy and fails the test for what should not have happened.
func (c *Caddy) stopAndCheck() {
	c.Stop()
	if state := c.cmd.ProcessState; state.ExitCode() != 0 && !c.killed {
		c.t.Errorf("Caddy ended with %s", state)
	}
	checkLog(c.t, c.Log, c.accepted)
	if c.t.Failed() {
		c.t.Logf("Caddy's log:\n%s", c.Log)
	}
}

// testdata returns the absolute path of a file in testdata; an absolute one stays as
// it is.
func testdata(t testing.TB, name string) string {
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

// build builds a program of this module into dir.
func build(dir, program string) (string, error) {
	binary := filepath.Join(dir, filepath.Base(program))
	// Without what debuggers need, as xcaddy and make build it.
	args := []string{"build", "-ldflags", "-s -w", "-o", binary}
	// Not with the race detector: Caddy 2.11.9 itself has a race, between the start of
	// its tls app and the first event of a certificate that somebody subscribes to, as
	// the service does. The unit tests run the service with it.
	out, err := exec.Command("go", append(args, program)...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("go %s: %w\n%s", strings.Join(args, " "), err, out)
	}
	return binary, nil
}
