package harness

import (
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"testing"
)

// postgres is a running PostgreSQL with an empty database, reached by a socket in a folder.
type postgres struct {
	socket, user, name string
	psql               string // the program
}

// startPostgres runs Debian's PostgreSQL, as the user that Debian has for it: it refuses to
// run as root. What it writes is lost with the machine, which spares the disk.
func startPostgres(t testing.TB) *postgres {
	t.Helper()
	initdb, server := postgresProgram(t, "initdb"), postgresProgram(t, "postgres")
	dir, attributes := postgresHome(t)
	p := &postgres{socket: dir, user: "tests", name: "postgres", psql: Debian(t, "psql", "postgresql-client")}

	data := filepath.Join(dir, "data")
	create := exec.Command(initdb, "--no-sync", "--no-locale", "--encoding=UTF8", "--auth=trust", "--username="+p.user, "--pgdata="+data)
	create.Dir, create.SysProcAttr = dir, attributes()
	if out, err := create.CombinedOutput(); err != nil {
		t.Fatalf("making a PostgreSQL database: %v\n%s", err, out)
	}
	startProcess(t, "PostgreSQL", func() *exec.Cmd {
		cmd := exec.Command(server, "-D", data, "-k", dir, "-c", "listen_addresses=", "-c", "fsync=off")
		cmd.Dir, cmd.SysProcAttr = dir, attributes()
		return cmd
	}, p.waitUp)
	return p
}

// waitUp waits until it takes connections.
func (p *postgres) waitUp(t testing.TB, ended <-chan struct{}) {
	t.Helper()
	waitUntil(t, "PostgreSQL", ended, func() error {
		out, err := p.command("-c", "SELECT 1").CombinedOutput()
		if err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		return nil
	})
}

func (p *postgres) command(args ...string) *exec.Cmd {
	return exec.Command(p.psql, append([]string{"-X", "-q", "-v", "ON_ERROR_STOP=1", "-h", p.socket, "-U", p.user, "-d", p.name}, args...)...)
}

// run executes a file of SQL.
func (p *postgres) run(t testing.TB, file string) {
	t.Helper()
	if out, err := p.command("-1", "-f", file).CombinedOutput(); err != nil {
		t.Fatalf("running %s: %v\n%s", file, err, out)
	}
}

// postgresHome makes a folder for it, and returns as whom it is to run.
func postgresHome(t testing.TB) (dir string, attributes func() *syscall.SysProcAttr) {
	t.Helper()
	// Not the test's own folder, which no other user may enter.
	dir, err := os.MkdirTemp("", "bestdns-postgres-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if os.Getuid() != 0 {
		return dir, func() *syscall.SysProcAttr { return new(syscall.SysProcAttr) }
	}
	account, err := user.Lookup("postgres")
	if err != nil {
		Cannot(t, fmt.Sprintf("PostgreSQL does not run as root, and its own user is not here: %v", err))
	}
	uid, gid := numericID(t, account.Uid), numericID(t, account.Gid)
	if err := os.Chown(dir, int(uid), int(gid)); err != nil {
		t.Fatal(err)
	}
	return dir, func() *syscall.SysProcAttr {
		return &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: gid}}
	}
}

func numericID(t testing.TB, id string) uint32 {
	t.Helper()
	n, err := strconv.ParseUint(id, 10, 32)
	if err != nil {
		t.Fatal(err)
	}
	return uint32(n)
}

// postgresProgram returns the path of a program of the newest PostgreSQL here. Debian has
// them in no one's PATH.
func postgresProgram(t testing.TB, program string) string {
	t.Helper()
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/" + program)
	if err != nil {
		t.Fatal(err)
	}
	if len(found) == 0 {
		Cannot(t, program+" is not here: it comes with Debian's package postgresql")
	}
	return slices.Max(found)
}
