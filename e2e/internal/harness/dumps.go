package harness

import (
	"os/exec"
	"path/filepath"
	"testing"
)

// DumpSQLite runs statements in a new SQLite database, and returns its dump as sqlite3 writes it.
func DumpSQLite(t testing.TB, statements string, options ...string) string {
	t.Helper()
	sqlite, database := Debian(t, "sqlite3", "sqlite3"), filepath.Join(t.TempDir(), "acme-dns.db")
	if out, err := exec.Command(sqlite, "-bail", database, statements).CombinedOutput(); err != nil {
		t.Fatalf("making an SQLite database: %v\n%s", err, out)
	}
	return output(t, exec.Command(sqlite, append([]string{database}, options...)...))
}

// DumpPostgres runs statements in a new PostgreSQL database, and returns its dump as pg_dump writes
// it with each of some options.
func DumpPostgres(t testing.TB, statements string, options ...string) (dumps map[string]string) {
	t.Helper()
	dump := Debian(t, "pg_dump", "postgresql-client")
	p := startPostgres(t)
	if out, err := p.command("-c", statements).CombinedOutput(); err != nil {
		t.Fatalf("making the tables: %v\n%s", err, out)
	}
	dumps = make(map[string]string)
	for _, option := range options {
		dumps[option] = output(t, exec.Command(dump, "-h", p.socket, "-U", p.user, option, p.name))
	}
	return dumps
}

// output returns what a program writes to its standard output.
func output(t testing.TB, cmd *exec.Cmd) string {
	t.Helper()
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v", cmd, err)
	}
	return string(out)
}
