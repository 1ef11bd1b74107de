package harness

import (
	"os"
	"os/exec"
	"testing"
)

// StartServer runs a name server of others with a configuration that the test has at hand:
// a program of a Debian package with its arguments, in a folder. It returns when the server
// has the zone at addr.
func StartServer(t testing.TB, addr, zone, dir, debianPackage, program string, args ...string) *Process {
	t.Helper()
	binary := Debian(t, program, debianPackage)
	return startProcess(t, program, func() *exec.Cmd {
		cmd := exec.Command(binary, args...)
		cmd.Dir = dir
		return cmd
	}, serves(addr, zone))
}

// RunScript runs a shell script in a folder, with variables besides those of the test.
func RunScript(t testing.TB, script, dir string, env Env) {
	t.Helper()
	if out, err := TryScript(script, dir, env); err != nil {
		t.Fatalf("running %s: %v\n%s", script, err, out)
	}
}

// TryScript does the same, and returns what the script has printed, and how it has failed.
func TryScript(script, dir string, env Env) (out []byte, err error) {
	cmd := exec.Command("/bin/sh", script)
	cmd.Dir, cmd.Env = dir, os.Environ()
	for name, value := range env {
		cmd.Env = append(cmd.Env, name+"="+value)
	}
	return cmd.CombinedOutput()
}
