package service

import (
	"encoding/json"
	goflag "flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

var update = goflag.Bool("update", false, "write what is printed into the pages of docs")

const clientsPage = "../docs/clients.md"

// TestClientsPage has docs/clients.md show what the command prints, and its configuration know the clients that are
// made there.
func TestClientsPage(t *testing.T) {
	text, err := os.ReadFile(clientsPage)
	if err != nil {
		t.Fatal(err)
	}
	page := string(text)
	t.Setenv("XDG_DATA_HOME", t.TempDir())
	config := fenced(t, clientsPage, "caddyfile")[0]
	adapted, err := adapt(config)
	if err != nil {
		t.Fatal(err)
	}
	commands := regexp.MustCompile("(?s)```sh\ncaddy bestdns token ([^\n]*)\n```\n\n<!-- what it prints for the client -->\n(.*?)<!-- end -->").FindAllStringSubmatchIndex(page, -1)
	if len(commands) != len(recipes) {
		t.Errorf("%d commands, and there are %d recipes", len(commands), len(recipes))
	}
	var written strings.Builder
	last := 0
	for _, at := range commands {
		command := page[at[2]:at[3]]
		args := argumentsOf(t, command)
		file := withoutClient(t, adapted, args[0]) // which has not been added yet
		made := tokenFor(t, argumentsOf(t, strings.Replace(command, "--config Caddyfile", "--config "+file, 1))...)
		if len(made.CNAMEs) > 0 || made.Handler != "" {
			t.Errorf("%s: needs the CNAMEs %v, the handler %q", command, made.CNAMEs, made.Handler)
		}
		if want := unindented(withoutToken(made.Config.caddyfile("\t"))); !strings.Contains(unindented(withoutToken(config)), want) {
			t.Errorf("%s: not in the configuration:\n%s", command, want)
		}
		for variable, value := range made.Environment {
			t.Setenv(variable, value)
		}
		var b strings.Builder
		for _, p := range made.Paste {
			fmt.Fprintf(&b, "%s\n\n```%s\n%s```\n\n", p.Where, p.Language, p.Text)
		}
		want := strings.NewReplacer(aToken, "TOKEN", aSecret, "SECRET").Replace(b.String())
		written.WriteString(page[last:at[4]] + want)
		last = at[5]
		if got := page[at[4]:at[5]]; got != want && !*update {
			t.Errorf("%s prints\n%s\nand the page has\n%s\nRun this test with -update.", command, want, got)
		}
	}
	if *update {
		if err := os.WriteFile(clientsPage, []byte(written.String()+page[last:]), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := caddy.Validate(mustConfig(t, adapted)); err != nil {
		t.Error(err)
	}
}

// withoutClient writes a configuration without one of the clients into a file.
func withoutClient(t *testing.T, adapted []byte, name string) (file string) {
	t.Helper()
	var config map[string]any
	if err := json.Unmarshal(adapted, &config); err != nil {
		t.Fatal(err)
	}
	app := config["apps"].(map[string]any)["bestdns"].(map[string]any)
	app["clients"] = slices.DeleteFunc(app["clients"].([]any), func(client any) bool { return client.(map[string]any)["name"] == name })
	text, err := json.Marshal(config)
	if err != nil {
		t.Fatal(err)
	}
	return writeAs(t, "config.json", string(text))
}

// argumentsOf splits a command line, in which arguments may be in double quotes.
func argumentsOf(t *testing.T, line string) (args []string) {
	t.Helper()
	tokens, err := caddyfile.Tokenize([]byte(line), "")
	if err != nil {
		t.Fatal(err)
	}
	for _, token := range tokens {
		args = append(args, token.Text)
	}
	return args
}

// withoutToken returns a configuration without the lines that have a token's hash.
func withoutToken(config string) string {
	return regexp.MustCompile("(?m)^\t*token .*\n").ReplaceAllString(config, "")
}

// TestClientsPageCurl runs the page's own lines for curl.
func TestClientsPageCurl(t *testing.T) {
	needsProgram(t, "curl")
	s := startFor(t, tokenFor(t, "web1", "--certificates", "web1.example.org"))
	t.Setenv("BESTDNS_API_TOKEN", aToken)
	for _, block := range fenced(t, clientsPage, "sh") {
		if !strings.Contains(block, "/present") {
			continue
		}
		block = strings.ReplaceAll(block, "https://dns.example.net", s.api)
		script(t, t.TempDir(), block)
		if got := s.texts(t, "_acme-challenge.web1.example.org."); len(got) != 1 || got[0] != challengeValue {
			t.Errorf("%q", got)
		}
		script(t, t.TempDir(), strings.Replace(block, "/present", "/cleanup", 1))
		if got := s.texts(t, "_acme-challenge.web1.example.org."); len(got) != 0 {
			t.Errorf("after: %q", got)
		}
		return
	}
	t.Error("the page has no lines for curl")
}

// TestMovingPage takes accounts along as docs/moving-from-acme-dns.md says, and loads the configurations that it shows.
func TestMovingPage(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("XDG_DATA_HOME", dir)
	t.Setenv("BESTDNS_ACCOUNTS_HOSTS", aSecret)
	accounts := filepath.Join(dir, "acme-dns.json")
	// The password is that of acme-dns' own example.
	dump := write(t, `CREATE TABLE records(
        Username TEXT UNIQUE NOT NULL PRIMARY KEY,
        Password TEXT UNIQUE NOT NULL,
        Subdomain TEXT UNIQUE NOT NULL,
		AllowFrom TEXT
    );
INSERT INTO records VALUES('c36f50e8-4632-44f0-83fe-e070fef28a10','$2a$10$8JEFVNYYhLoBysjAxe2yBuXrkDojBQBkVpXEQgyQyjn43SvJ4vL36','8e5700ea-a4bf-41c7-8a77-e990661dcc6a','[]');
`)
	imported := false
	for _, block := range fenced(t, "../docs/moving-from-acme-dns.md", "sh") {
		if line, ok := strings.CutPrefix(block, "caddy bestdns import-acme-dns "); ok {
			line = strings.NewReplacer("dump.sql", dump, "/etc/bestdns/acme-dns.json", accounts).Replace(strings.TrimSpace(line))
			cmd := importAcmeDNSCommand()
			cmd.SetArgs(argumentsOf(t, line))
			if err := cmd.Execute(); err != nil {
				t.Fatal(err)
			}
			imported = true
		}
	}
	if !imported {
		t.Fatal("the page has no import")
	}
	for _, block := range fenced(t, "../docs/moving-from-acme-dns.md", "caddyfile") {
		config, err := adapt(strings.ReplaceAll(block, "/etc/bestdns/acme-dns.json", accounts))
		if err != nil {
			t.Errorf("%v in\n%s", err, block)
			continue
		}
		if err := caddy.Validate(mustConfig(t, config)); err != nil {
			t.Errorf("%v in\n%s", err, block)
		}
	}
}
