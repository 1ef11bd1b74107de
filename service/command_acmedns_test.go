package service

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/google/go-cmp/cmp"
)

// dumpOf returns a dump of acme-dns' database with rows of accounts, from line 2 on.
func dumpOf(rows ...string) string {
	dump := "CREATE TABLE records(Username TEXT, Password TEXT, Subdomain TEXT, AllowFrom TEXT);\n"
	for _, row := range rows {
		dump += "INSERT INTO records VALUES(" + row + ");\n"
	}
	return dump
}

func rowOf(number, hash, allowFrom string) string {
	return fmt.Sprintf("'user%s','%s','label%s','%s'", number, hash, number, allowFrom)
}

// runImportAcmeDNS runs "caddy bestdns import-acme-dns" with a dump as its standard input.
func runImportAcmeDNS(dump string, args ...string) (out, told string, err error) {
	var stdout, stderr bytes.Buffer
	cmd := importAcmeDNSCommand()
	cmd.SetIn(strings.NewReader(dump))
	cmd.SetOut(&stdout)
	cmd.SetErr(&stderr)
	cmd.SetArgs(args)
	cmd.SilenceUsage, cmd.SilenceErrors = true, true
	err = cmd.Execute()
	return stdout.String(), stderr.String(), err
}

// TestImportAcmeDNS has the configuration read what the command writes, by the lines that it
// prints.
func TestImportAcmeDNS(t *testing.T) {
	dump := dumpOf(rowOf("1", bcryptHash, "[]"), rowOf("2", bcryptHash, `["192.0.2.1/24","2001:db8::/32"]`))
	file := filepath.Join(t.TempDir(), "the accounts.json")
	out, told, err := runImportAcmeDNS(dump, "-", "--output", file, "--domain", "auth.example.org")
	if err != nil || out != "" {
		t.Fatalf("%q, %v", out, err)
	}
	mustReadAccounts(t, file, imported("1"), imported("2", "192.0.2.0/24", "2001:db8::/32"))
	if info, err := os.Stat(file); err != nil || runtime.GOOS != "windows" && info.Mode() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	want := `Accounts in the dump: 2
Written: 2

The values of challenges (table txt) were not taken over: they are short-lived.

For the service, into its global option bestdns. The user that runs Caddy must be able to read the
file. Leave the zone out if the domain is in one that is there already:

	zone auth.example.org {
		ns <its name server> <address of that>
	}
	client acme-dns {
		register under auth.example.org
		accounts "` + file + `"
	}

For the service, its site; into the one that is there, the option acme_dns:

	auth.example.org {
		bestdns {
			acme_dns
		}
	}

`
	if diff := cmp.Diff(want, told); diff != "" {
		t.Errorf("printed (-want +got):\n%s", diff)
	}
	t.Setenv("XDG_DATA_HOME", t.TempDir())
	_, blocks, _ := strings.Cut(told, "already:\n\n")
	blocks, site, _ := strings.Cut(blocks, "\n\nFor the service")
	_, site, _ = strings.Cut(site, ":\n\n")
	blocks = strings.Replace(blocks, "<its name server> <address of that>", "auth.example.org 198.51.100.1", 1)
	config, err := adapt("{\n\tbestdns {\n" + blocks + "\n\t}\n}\n" + site)
	if err != nil {
		t.Fatal(err)
	}
	if err := caddy.Validate(mustConfig(t, config)); err != nil {
		t.Error(err)
	}

	out, told, err = runImportAcmeDNS(dump, "-")
	if err != nil {
		t.Fatal(err)
	}
	if text, err := os.ReadFile(file); err != nil || out != string(text) {
		t.Errorf("the standard output is %q, and the file %q, %v", out, text, err)
	}
	if want := "\t\tregister under <your acme-dns domain>\n\t\taccounts FILE\n"; !strings.Contains(told, want) {
		t.Errorf("printed %q, want %q in it", told, want)
	}
}

func TestImportAcmeDNSSkips(t *testing.T) {
	file := filepath.Join(t.TempDir(), "accounts.json")
	dump := dumpOf(
		rowOf("1", bcryptHash, "[]"),
		rowOf("2", bcryptHash, `["192.0.2.0/99"]`),
		strings.Replace(rowOf("3", "a password", "[]"), "user3", "user\x1b[31m3", 1),
		strings.Replace(rowOf("4", bcryptHash, "[]"), "'label4'", "'Label4'", 1),
		rowOf("5", strings.Replace(bcryptHash, "$10$", "$13$", 1), "[]"),
		rowOf("1", bcryptHash, "[]"),
		strings.Replace(rowOf("7", bcryptHash, "[]"), "label7", strings.Repeat("7", 60), 1),
	)
	domain := strings.Repeat("a.", 98) + "example.org"
	_, told, err := runImportAcmeDNS(dump, "-", "--output", file, "--domain", domain)
	if err == nil || err.Error() != "6 of 7 accounts cannot be taken over, so nothing was written; --skip-invalid writes the others" {
		t.Error(err)
	}
	want := `Accounts in the dump: 7
Skipped: 6

	line 3: account "user2": it is bound to "192.0.2.0/99", which is not a network in CIDR notation
	line 4: account "user\x1b[31m3": its password is not a bcrypt hash
	line 5: account "user4": its subdomain "Label4" is not a label of lower-case letters, digits and hyphens
	line 6: account "user5": the bcrypt hash of its password has cost 13, and 12 is the most
	line 7: account "user1": duplicate user name, also in line 2
	line 8: account "user7": label "` + strings.Repeat("7", 60) + `" below "` + domain + `.": the name is longer than 255 octets

`
	if diff := cmp.Diff(want, told); diff != "" {
		t.Errorf("printed (-want +got):\n%s", diff)
	}
	if _, err := os.Lstat(file); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("there is a file: %v", err)
	}
	if _, told, err = runImportAcmeDNS(dump, "-", "--output", file, "--domain", domain, "--skip-invalid"); err != nil {
		t.Fatal(err)
	}
	mustReadAccounts(t, file, imported("1"))
	if !strings.HasPrefix(told, want+"Written: 1\n\nThe values") {
		t.Errorf("printed %q", told)
	}
}

func TestImportAcmeDNSManySkipped(t *testing.T) {
	_, told, err := runImportAcmeDNS(dumpOf(strings.Repeat("1,2,3,4),(", 149)+"1,2,3,4"), "-", "--skip-invalid")
	if err != nil || strings.Count(told, "line 2: account \"\": its user name is written") != 100 || !strings.Contains(told, "\tand 50 more\n") {
		t.Errorf("printed %q, %v", told, err)
	}
}

func TestImportAcmeDNSRefuses(t *testing.T) {
	dir := t.TempDir()
	there := filepath.Join(dir, "accounts.json")
	if err := os.WriteFile(there, []byte("kept"), 0o644); err != nil {
		t.Fatal(err)
	}
	dump := dumpOf(rowOf("1", bcryptHash, "[]"))
	for name, test := range map[string]struct {
		dump string
		args []string
		want string
	}{
		"a file that exists":     {dump, []string{"-", "--output", there}, there + " exists already; --force overwrites it"},
		"a folder that does not": {dump, []string{"-", "--output", filepath.Join(dir, "absent", "x")}, "writing the accounts: "},
		"a dump that does not":   {dump, []string{filepath.Join(dir, "absent.sql")}, "absent.sql"},
		"a folder as dump":       {dump, []string{dir}, "reading the dump: "},
		"something else":         {"CREATE TABLE a(b);", []string{"-"}, "standard input: this is not a dump of acme-dns' database"},
		"a domain":               {dump, []string{"-", "--domain", "bad..example"}, `--domain "bad..example": `},
		"no dump":                {dump, nil, "FILE is missing"},
	} {
		t.Run(name, func(t *testing.T) {
			out, _, err := runImportAcmeDNS(test.dump, test.args...)
			if err == nil || !strings.Contains(err.Error(), test.want) || out != "" {
				t.Errorf("%q, %v, want %s", out, err, test.want)
			}
		})
	}
	if text, err := os.ReadFile(there); err != nil || string(text) != "kept" {
		t.Errorf("%q, %v", text, err)
	}
	if _, _, err := runImportAcmeDNS(dump, "-", "--output", there, "--force"); err != nil {
		t.Fatal(err)
	}
	mustReadAccounts(t, there, imported("1"))
	if left, err := filepath.Glob(filepath.Join(dir, "*")); err != nil || len(left) != 1 {
		t.Errorf("%q, %v", left, err)
	}
	if info, err := os.Stat(there); err != nil || runtime.GOOS != "windows" && info.Mode() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
}
