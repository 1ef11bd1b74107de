package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/crypto/bcrypt"

	"github.com/caddy-dns/bestdns/e2e/internal/harness"
)

// acmeDNSAccount is an account of acme-dns, as a file of accounts has it.
type acmeDNSAccount struct {
	Username  string   `json:"username"`
	Password  string   `json:"password"`
	Subdomain string   `json:"subdomain"`
	AllowFrom []string `json:"allowfrom"`
}

// acmeDNSAccounts are accounts as acme-dns makes them, and the column AllowFrom of each.
func acmeDNSAccounts(t *testing.T) (accounts []acmeDNSAccount, allowFrom []string) {
	t.Helper()
	for i, networks := range [][]string{nil, {"192.0.2.0/24", "2001:db8::/32"}, nil, {"198.51.100.7/32"}, nil} {
		hash := harness.Must(bcrypt.GenerateFromPassword(fmt.Append(nil, "password", i), bcrypt.MinCost))(t)
		accounts = append(accounts, acmeDNSAccount{
			Username:  fmt.Sprintf("c36f50e8-4632-44f0-83fe-e070fef28a1%d", i),
			Password:  string(hash),
			Subdomain: fmt.Sprintf("8e5700ea-a4bf-41c7-8a77-e990661dcc6%d", i),
			AllowFrom: networks,
		})
	}
	return accounts, []string{`'[]'`, `'["192.0.2.0/24","2001:db8::/32"]'`, `'[""]'`, `'["198.51.100.7/32"]'`, "NULL"}
}

// The tables of acme-dns, with the white space that it has: a dump keeps it.
const (
	acmeDNSTables = `
CREATE TABLE acmedns(Name TEXT, Value TEXT);
CREATE TABLE records(
        Username TEXT UNIQUE NOT NULL PRIMARY KEY,
        Password TEXT UNIQUE NOT NULL,
        Subdomain TEXT UNIQUE NOT NULL,
`
	acmeDNSOldColumns = `        Value   TEXT,
        LastActive INT,
`
	acmeDNSAllowFrom = `		AllowFrom TEXT
    );
`
	acmeDNSTexts = "Subdomain TEXT NOT NULL, Value TEXT NOT NULL DEFAULT '', LastUpdate INT);\n"

	// acmeDNSSQLite and acmeDNSPostgres are those of 2.0.2, acmeDNSOldSQLite those of a database that 0.1 made.
	acmeDNSSQLite    = acmeDNSTables + acmeDNSAllowFrom + "CREATE TABLE txt(" + acmeDNSTexts
	acmeDNSOldSQLite = acmeDNSTables + acmeDNSOldColumns + acmeDNSAllowFrom + "CREATE TABLE txt(" + acmeDNSTexts
	acmeDNSPostgres  = acmeDNSTables + acmeDNSAllowFrom + "CREATE TABLE txt(rowid SERIAL, " + acmeDNSTexts

	acmeDNSIndex = "CREATE INDEX idx_txt_subdomain ON txt (Subdomain);\nINSERT INTO acmedns (Name, Value) VALUES ('db_version', '1');\n"
)

// insertAcmeDNS returns statements that make accounts, with their passwords' hashes in a form.
func insertAcmeDNS(t *testing.T, hashAs string) string {
	t.Helper()
	accounts, allowFrom := acmeDNSAccounts(t)
	statements := acmeDNSIndex
	for i, a := range accounts {
		statements += fmt.Sprintf("INSERT INTO records (Username, Password, Subdomain, AllowFrom) VALUES ('%s', %s, '%s', %s);\n", a.Username, fmt.Sprintf(hashAs, a.Password), a.Subdomain, allowFrom[i])
		statements += fmt.Sprintf("INSERT INTO txt (Subdomain, Value, LastUpdate) VALUES ('%s', 'it''s; a value', 1700000000);\n", a.Subdomain)
	}
	return statements
}

// mustImportAcmeDNS has the real program import a dump, and compares what it writes but for the
// hashes, which are of the passwords.
func mustImportAcmeDNS(t *testing.T, dump string) {
	t.Helper()
	dir := t.TempDir()
	from, to := filepath.Join(dir, "dump.sql"), filepath.Join(dir, "accounts.json")
	harness.NoError(t, os.WriteFile(from, []byte(dump), 0o600))
	if out, err := exec.Command(harness.CaddyBinary, "bestdns", "import-acme-dns", from, "--output", to).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s\n%s", err, out, dump)
	}
	var got struct {
		Accounts []acmeDNSAccount `json:"accounts"`
	}
	harness.NoError(t, json.Unmarshal(harness.Must(os.ReadFile(to))(t), &got))
	want, _ := acmeDNSAccounts(t)
	for i, a := range got.Accounts {
		if err := bcrypt.CompareHashAndPassword([]byte(a.Password), fmt.Append(nil, "password", i)); err != nil {
			t.Errorf("the password of %s: %v", a.Username, err)
		} else if i < len(want) {
			want[i].Password = a.Password // each hash has a salt of its own
		}
	}
	if diff := cmp.Diff(want, got.Accounts); diff != "" {
		t.Errorf("imported (-want +got):\n%s\n%s", diff, dump)
	}
}

// TestImportAcmeDNSFromSQLite imports what sqlite3 dumps. acme-dns has the hashes there as bytes.
func TestImportAcmeDNSFromSQLite(t *testing.T) {
	t.Parallel()
	for name, schema := range map[string]string{"2.0.2": acmeDNSSQLite, "0.1": acmeDNSOldSQLite} {
		for _, option := range []string{".dump", ".dump --preserve-rowids", ".dump records"} {
			t.Run(name+" "+option, func(t *testing.T) {
				t.Parallel()
				dump := harness.DumpSQLite(t, schema+insertAcmeDNS(t, "CAST('%s' AS BLOB)"), option)
				if !strings.Contains(dump, ",X'2432") {
					t.Errorf("the hashes are not dumped as bytes:\n%s", dump)
				}
				mustImportAcmeDNS(t, dump)
			})
		}
	}
}

// TestImportAcmeDNSFromPostgres imports what pg_dump writes.
func TestImportAcmeDNSFromPostgres(t *testing.T) {
	t.Parallel()
	options := []string{"--format=plain", "--inserts", "--column-inserts", "--rows-per-insert=2", "--clean", "--quote-all-identifiers", "--data-only", "--table=records"}
	for option, dump := range harness.DumpPostgres(t, acmeDNSPostgres+insertAcmeDNS(t, "'%s'"), options...) {
		t.Run(option, func(t *testing.T) { mustImportAcmeDNS(t, dump) })
	}
}
