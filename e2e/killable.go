package e2e

import (
	"os/exec"
	"path/filepath"
	"testing"
)

// Killable is a service that is killed as by a loss of power, and started again
// over what it left on disk.
type Killable struct {
	// API is the address of its API.
	API string

	t     testing.TB
	env   Env
	logs  []*Log // one of each process
	cmd   *exec.Cmd
	ended chan struct{}
}

// StartKillable runs the Caddy under test with the service of the tests of faults.
func StartKillable(t testing.TB, addr, token string) *Killable {
	t.Helper()
	k := &Killable{API: addr, t: t, env: faultEnv(t, addr, token)}
	home := t.TempDir()
	for name, value := range map[string]string{
		"HOME": home, "XDG_DATA_HOME": home, "XDG_CONFIG_HOME": home,
		"HTTP_PORT": port(t, freeAddr(t)), "HTTPS_PORT": port(t, freeAddr(t)), "ADMIN": freeAddr(t),
	} {
		k.env[name] = value
	}
	k.start()
	t.Cleanup(func() {
		k.Kill()
		for _, log := range k.logs {
			checkLog(t, log, nil)
			if t.Failed() {
				t.Logf("the log of a killed service:\n%s", log)
			}
		}
	})
	k.WaitReady()
	return k
}

func (k *Killable) start() {
	config := testdata(k.t, "faults.caddyfile")
	k.cmd = exec.Command(caddyBinary, "run", "--adapter", "caddyfile", "--config", config)
	k.cmd.Dir = filepath.Dir(config)
	for name, value := range k.env {
		k.cmd.Env = append(k.cmd.Env, name+"="+value)
	}
	stderr, err := k.cmd.StderrPipe()
	if err != nil {
		k.t.Fatal(err)
	}
	if err := k.cmd.Start(); err != nil {
		k.t.Fatal(err)
	}
	log, ended, cmd := newLog(), make(chan struct{}), k.cmd
	k.logs, k.ended = append(k.logs, log), ended
	go func() {
		log.read(stderr)
		cmd.Wait()
		close(ended)
	}()
}

// Kill ends the process without a word (SIGKILL) and returns when it is gone.
func (k *Killable) Kill() {
	k.cmd.Process.Kill()
	<-k.ended
}

// Restart starts the service again.
func (k *Killable) Restart() { k.t.Helper(); k.start() }

// WaitReady waits until the service does its work.
func (k *Killable) WaitReady() {
	k.t.Helper()
	if err := k.logs[len(k.logs)-1].Wait(1, startTimeout, message("serving initial configuration")); err != nil {
		k.t.Fatalf("the service did not start: %v", err)
	}
}
