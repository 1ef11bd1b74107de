package service

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"

	"github.com/caddy-dns/bestdns/internal/api"
)

// fileService is a service whose configuration is in a file.
type fileService struct {
	*service
	file string
}

// startFromFile writes a Caddyfile with these options of the app, and runs it.
func startFromFile(t *testing.T, options string, imported map[string]string) *fileService {
	t.Helper()
	s := newService(t)
	s.admin = freeAddress(t)
	f := &fileService{s, filepath.Join(t.TempDir(), "Caddyfile")}
	for name, text := range imported {
		path := filepath.Join(filepath.Dir(f.file), name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		f.put(t, path, fmt.Sprintf(text, s.digest("web1")))
	}
	f.put(t, f.file, s.caddyfile(fmt.Sprintf("\n\t\tlisten %s\n\t\tstore %q\n%s", s.dns, s.store, options)))
	f.reload(t)
	return f
}

func (f *fileService) put(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// reload does what "caddy reload" does.
func (f *fileService) reload(t *testing.T) {
	t.Helper()
	config, _, _, err := caddycmd.LoadConfig(f.file, "")
	if err != nil {
		t.Fatal(err)
	}
	if err := caddy.Load(config, true); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := caddy.Stop(); err != nil {
			t.Error(err)
		}
	})
}

// do runs a command with --config, and returns the token that it prints, if any.
func (f *fileService) do(t *testing.T, cmd *cobra.Command, args ...string) (out, token string, err error) {
	t.Helper()
	out, err = runCommand(cmd, append(args, "--config", f.file)...)
	return out, regexp.MustCompile(`\bbestdns_[0-9A-Za-z]+`).FindString(out), err
}

func runCommand(cmd *cobra.Command, args ...string) (string, error) {
	var out strings.Builder
	cmd.SetOut(&out)
	cmd.SetErr(&out)
	cmd.SilenceUsage = true
	cmd.SetArgs(args)
	err := cmd.Execute()
	return out.String(), err
}

func (f *fileService) accepts(t *testing.T, token string) bool {
	t.Helper()
	return f.send(t, http.MethodGet, "/v1/token", "", "Authorization: Bearer "+token).status == http.StatusOK
}

func (f *fileService) text(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

const aZone = "\t\tzone example.test {\n\t\t\tns ns1.example.test 127.0.0.1\n\t\t}\n"

// TestClientsLifeInTheCaddyfile adds a client, gives it new tokens and removes it. After each, the running Caddy and
// the file say the same, and in the end the file is what it was.
func TestClientsLifeInTheCaddyfile(t *testing.T) {
	f := startFromFile(t, aZone+"\t\t# the last line\n\t", nil)
	before := f.text(t, f.file)
	out, first, err := f.do(t, tokenCommand(), "web 7", "--certificates", "web7.example.test", "--description", "rack 7", "--write")
	if err != nil || !f.accepts(t, first) {
		t.Fatalf("%v: %s", err, out)
	}
	wantOutput(t, out, []string{"Written to " + f.file + ". The running Caddy has it.", "BESTDNS_ENDPOINT=", "lego --dns httpreq", "/v1/token"}, []string{"For the service, into its global option"})
	wantOutput(t, f.text(t, f.file), []string{"\t\t# the last line\n\t\n\t\t\tclient \"web 7\" {\n\t\t\t\tdescription \"rack 7\"\n\t\t\t\ttoken sha256:"}, nil)

	if out, err := runCommand(tokenCommand(), "web 7", "--certificates", "web7.example.test", "--write", "--config", f.file); err == nil || !strings.Contains(err.Error(), `"caddy bestdns rotate 'web 7'" gives it a new token`) {
		t.Errorf("a second client of the name: %v: %s", err, out)
	}

	out, second, err := f.do(t, rotateCommand(), "web 7")
	if err != nil || !f.accepts(t, first) || !f.accepts(t, second) {
		t.Fatalf("rotate: %v: %s", err, out)
	}
	if out, _, err = f.do(t, rotateCommand(), "web 7", "--finish"); err != nil || f.accepts(t, first) || !f.accepts(t, second) {
		t.Fatalf("finish: %v: %s", err, out)
	}
	out, third, err := f.do(t, rotateCommand(), "web 7", "--now")
	if err != nil || f.accepts(t, second) || !f.accepts(t, third) {
		t.Fatalf("now: %v: %s", err, out)
	}
	if out, _, err := f.do(t, renewCommand(), "web 7"); err == nil || !strings.Contains(err.Error(), "does not expire") {
		t.Errorf("renewing one that does not expire: %v: %s", err, out)
	}
	f.reload(t)
	if !f.accepts(t, third) {
		t.Error("the file does not have what the running Caddy had")
	}
	if out, _, err = f.do(t, revokeCommand(), "web 7"); err != nil || f.accepts(t, third) {
		t.Fatalf("revoke: %v: %s", err, out)
	}
	wantOutput(t, out, []string{"Removed:\n\n\t\t\tclient \"web 7\" {\n", "certificates web7.example.test"}, nil)
	if after := f.text(t, f.file); after != before {
		t.Errorf("after all:\n%s\nbefore:\n%s", after, before)
	}
}

// TestClientsInTheirFolder: where each client has a file of its own, so has a new one.
func TestClientsInTheirFolder(t *testing.T) {
	f := startFromFile(t, aZone+"\t\timport clients/*.caddy\n\t", map[string]string{
		"clients/web1.caddy": "client web1 {\n\ttoken %s\n\tcertificates web1.example.test\n}\n",
	})
	main := f.text(t, f.file)
	for _, name := range []string{"a7", "z7"} { // before and after the one that is there
		out, token, err := f.do(t, tokenCommand(), name, "--certificates", "web7.example.test", "--write")
		if err != nil || !f.accepts(t, token) || !strings.Contains(out, "The running Caddy has it.") {
			t.Fatalf("%v: %s", err, out)
		}
		if text := f.text(t, filepath.Join(filepath.Dir(f.file), "clients", name+".caddy")); !strings.HasPrefix(text, "client "+name+" {\n\ttoken sha256:") {
			t.Errorf("its file: %s", text)
		}
	}
	if f.text(t, f.file) != main {
		t.Error("the Caddyfile has changed")
	}
	out, token, err := f.do(t, rotateCommand(), "web1")
	if err != nil || !f.accepts(t, token) || !f.accepts(t, f.token["web1"]) {
		t.Errorf("rotate: %v: %s", err, out)
	}
	if out, _, err := f.do(t, revokeCommand(), "a7"); err != nil || !strings.Contains(out, "a7.caddy is removed. The running Caddy has it.") {
		t.Errorf("revoke: %v: %s", err, out)
	}
	if names, _ := filepath.Glob(filepath.Join(filepath.Dir(f.file), "clients", "*")); len(names) != 2 {
		t.Errorf("files of clients: %q", names)
	}
}

// TestClientsAtOnce: commands that run at the same time wait for each other.
func TestClientsAtOnce(t *testing.T) {
	f := startFromFile(t, aZone+"\t", nil)
	const n = 8
	errs := make(chan error, n)
	for i := range n {
		go func() {
			out, err := runCommand(tokenCommand(), fmt.Sprint("web", i), "--certificates", "web.example.test", "--write", "--config", f.file)
			if err == nil && !strings.Contains(out, "The running Caddy has it.") {
				err = errors.New(out)
			}
			errs <- err
		}()
	}
	for range n {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	if found := f.activity(t).Clients; len(found) != n {
		t.Errorf("the running Caddy has %d clients", len(found))
	}
	if found := strings.Count(f.text(t, f.file), "client web"); found != n {
		t.Errorf("the file has %d clients", found)
	}
}

// TestRenew: a client that has expired goes on with the token that it has.
func TestRenew(t *testing.T) {
	f := startFromFile(t, aZone+"\t\timport clients/*.caddy\n\t", map[string]string{
		"clients/web1.caddy": "client web1 {\n\ttoken %s\n\texpires 2020-01-01\n\tcertificates web1.example.test\n}\n",
	})
	if f.accepts(t, f.token["web1"]) {
		t.Fatal("a client that has expired is accepted")
	}
	if out, _, err := f.do(t, renewCommand(), "web1", "--expires", "2020-02-01"); err == nil || !strings.Contains(err.Error(), "has passed") {
		t.Errorf("a day that has passed: %v: %s", err, out)
	}
	out, _, err := f.do(t, renewCommand(), "web1")
	if err != nil || !f.accepts(t, f.token["web1"]) || !strings.Contains(out, "The last day of web1 was 2020-01-01, and is 2") {
		t.Errorf("%v: %s", err, out)
	}
}

// TestClientChangesRefused leaves file and service as they were.
func TestClientChangesRefused(t *testing.T) {
	f := startFromFile(t, aZone+"\t", nil)
	before := f.text(t, f.file)
	for name, test := range map[string]struct {
		cmd  *cobra.Command
		args []string
		want string
	}{
		"a right that cannot be": {tokenCommand(), []string{"web7", "--register", "under auth.example.org", "--write"}, "--write cannot give the running Caddy the variable BESTDNS_ACCOUNTS_WEB7"},
		"an expiry in the past":  {tokenCommand(), []string{"web7", "--certificates", "web7.example.test", "--expires", "2026-01-01", "--write"}, "2026-01-01 has passed"},
		"no such client":         {rotateCommand(), []string{"web7"}, `there is no client "web7"; "caddy bestdns clients" lists them`},
		"to revoke no client":    {revokeCommand(), []string{"web7"}, `there is no client "web7"`},
	} {
		if out, _, err := f.do(t, test.cmd, test.args...); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v: %s, want %q", name, err, out, test.want)
		}
		if f.text(t, f.file) != before {
			t.Fatalf("%s: the file has changed", name)
		}
	}

	// A file that is newer than what runs: the running Caddy gets the client, and nothing else of it.
	f.put(t, f.file, strings.Replace(before, "127.0.0.1\n\t\t}\n", "127.0.0.1\n\t\t\tttl 5m\n\t\t}\n", 1))
	out, _, err := f.do(t, tokenCommand(), "web7", "--certificates", "web7.example.test", "--write")
	if err != nil || !strings.Contains(out, "The running Caddy has it.") || len(f.activity(t).Clients) != 1 {
		t.Errorf("a newer file: %v: %s", err, out)
	}
	if out, _, err := f.do(t, revokeCommand(), "web7"); err != nil || len(f.activity(t).Clients) != 0 {
		t.Errorf("revoked: %v: %s", err, out)
	}

	// Another service runs at that endpoint.
	f.put(t, f.file, strings.ReplaceAll(before, "example.test", "other.test"))
	out, _, err = f.do(t, tokenCommand(), "web7", "--certificates", "web7.other.test", "--write")
	if err != nil || !strings.Contains(out, "runs another configuration, with none of these zones, and was left as it is.") || len(f.activity(t).Clients) != 0 {
		t.Errorf("another service: %v: %s", err, out)
	}
}

// TestClientRefusedByTheRunningCaddy: the file is taken back when the service does not load the change.
func TestClientRefusedByTheRunningCaddy(t *testing.T) {
	f := startFromFile(t, aZone+"\t", nil)
	before := f.text(t, f.file)
	edit := clientEdit{"web7", func(*Client) (*Client, error) {
		return &Client{Name: "web7", Watch: true, Tokens: []string{api.NewToken()}}, nil
	}}
	if _, err := edit.apply(adminFlags{config: f.file}); err == nil {
		t.Error("a client with a token instead of its hash was accepted")
	}
	unreadable := clientEdit{"web7", func(*Client) (*Client, error) {
		return &Client{Name: "web7", Watch: true, Users: []string{"web7"}}, nil // caddyfile does not write users
	}}
	if _, err := unreadable.apply(adminFlags{config: f.file}); err == nil || !strings.Contains(err.Error(), "which is left as it was") {
		t.Errorf("lines that say something else: %v", err)
	}
	if f.text(t, f.file) != before {
		t.Error("the file has changed")
	}
	if left, _ := filepath.Glob(f.file + "*"); len(left) != 1 {
		t.Errorf("left behind: %q", left)
	}
}

// TestClientsOfTheRunningCaddy: without a file, the running configuration alone is changed, and the command says so.
func TestClientsOfTheRunningCaddy(t *testing.T) {
	s := startWithAdmin(t)
	t.Chdir(t.TempDir())
	out, err := runCommand(tokenCommand(), "web7", "--certificates", "web7.example.test", "--write", "--address", s.admin)
	if err != nil || !strings.Contains(out, "No file was changed") {
		t.Fatalf("%v: %s", err, out)
	}
	out, err = s.run(t, clientsCommand(), "")
	if err != nil {
		t.Fatal(err)
	}
	wantOutput(t, out, []string{"CLIENT", "web7", "certificates web7.example.test", "expired 2020-01-01"}, nil)
}

// TestClientsCommand: "may host7 do this?"
func TestClientsCommand(t *testing.T) {
	s := startWithAdmin(t)
	for question, want := range map[string]string{
		"append _acme-challenge.web1.example.test TXT":      "web1 ops expired far",
		"append _acme-challenge.web1.example.test":          "web1 ops expired far",
		"append _acme-challenge.a.elsewhere.test TXT":       "web1",
		"append _acme-challenge.bücher.elsewhere.test TXT":  "web1",
		"set _acme-challenge.web1.example.test TXT":         "ops expired far",
		"delete _acme-challenge.web1.example.test TXT":      "web1 ops expired far",
		"append www.example.test A":                         "ops expired far",
		"read www.nested.example.test":                      "ops",
		"append _acme-challenge.host7.example.org TXT":      "",
		"append _acme-challenge.host7.secret.test":          "",
		"read _acme-challenge.web1.example.test TXT":        "web1 ops expired far",
		"append _acme-challenge.nested.example.test. a":     "ops",
		"append _acme-challenge.web1.example.test TYPE16":   "web1 ops expired far",
		"delete _acme-challenge.absent.elsewhere.test. TXT": "web1",
	} {
		out, err := s.run(t, clientsCommand(), "", append([]string{"--json", "--may"}, strings.Fields(question)...)...)
		if (err != nil) != (want == "") {
			t.Errorf("%s: %v: %s", question, err, out)
			continue
		}
		var found []clientSeen
		var names []string
		if err := json.NewDecoder(strings.NewReader(out)).Decode(&found); err != nil {
			t.Fatalf("%s: %v: %s", question, err, out)
		}
		for _, c := range found {
			names = append(names, c.Client)
		}
		if got := strings.Join(names, " "); got != want {
			t.Errorf("%s: %s, want %s", question, got, want)
		}
	}
	for line, want := range map[string]string{
		"--may frobnicate www.example.test": "is not one of read, append, set, delete",
		"--may append":                      "NAME is missing",
		"--may append www.example.test NO":  "NO",
		"web1":                              "unexpected argument",
	} {
		if out, err := s.run(t, clientsCommand(), "", strings.Fields(line)...); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v: %s, want %q", line, err, out, want)
		}
	}
}
