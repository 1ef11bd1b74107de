package service

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/google/go-cmp/cmp"
	"github.com/libdns/libdns"

	"github.com/caddy-dns/bestdns/internal/access"
)

// foreign is a DNS provider's module that takes a token.
type foreign struct {
	libdns.RecordAppender
	Token string `json:"token,omitempty"`
}

func (foreign) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "dns.providers.foreign_token", New: func() caddy.Module { return new(foreign) }}
}

func (f *foreign) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next()
	d.AllArgs(&f.Token)
	return nil
}

func init() { caddy.RegisterModule(foreign{}) }

// TestInit has Caddy read what is written, for each use.
func TestInit(t *testing.T) {
	t.Setenv("FOREIGN_TOKEN_API_TOKEN", "of the provider")
	for name, test := range map[string]struct {
		args  []string
		files map[string]fs.FileMode
		says  []string
		not   []string
	}{
		"one server": {
			[]string{"--for", "one-server", "--domain", "Bücher.example", "--domain", "*.bücher.example", "--address", "203.0.113.5", "--email", "admin@example.net"},
			map[string]fs.FileMode{"Caddyfile": 0o644},
			[]string{
				"acme.xn--bcher-kva.example.             NS     ns1.acme.xn--bcher-kva.example.",
				"ns1.acme.xn--bcher-kva.example.         A      203.0.113.5",
				"_acme-challenge.xn--bcher-kva.example.  CNAME  xn--bcher-kva.example.acme.xn--bcher-kva.example.",
				"caddy bestdns check xn--bcher-kva.example --config ",
			}, []string{"xn--bcher-kva.example.acme.xn--bcher-kva.example.\n  _acme"},
		},
		"fleet": {
			[]string{"--for", "fleet", "--domain", "web1.example.com", "--zone", "acme.example.net", "--api", "dns.example.com", "--address", "203.0.113.5", "--address", "2001:db8::5", "--listen", ":5353"},
			map[string]fs.FileMode{"Caddyfile": 0o644, "web1.env": 0o600, "clients/web1.caddy": 0o644},
			[]string{
				"ns1.acme.example.net.              AAAA   2001:db8::5",
				"dns.example.com.                   A      203.0.113.5",
				"_acme-challenge.dns.example.com.   CNAME  dns.example.com.acme.example.net.",
				"_acme-challenge.web1.example.com.  CNAME  web1.example.com.acme.example.net.",
				"dns bestdns {env.BESTDNS_API_TOKEN} https://dns.example.com",
			}, nil,
		},
		"fleet, with the API at the name server": {
			[]string{"--for", "fleet", "--domain", "web1.example.com", "--client", "The First", "--address", "203.0.113.5"},
			map[string]fs.FileMode{"Caddyfile": 0o644, "the-first.env": 0o600, "clients/the-first.caddy": 0o644},
			[]string{"https://ns1.acme.example.com"}, []string{"_acme-challenge.ns1"},
		},
		"provider": {
			[]string{"--for", "provider", "--provider", "foreign_token", "--zone", "example.com", "--domain", "web1.example.com", "--address", "203.0.113.5"},
			map[string]fs.FileMode{"Caddyfile": 0o644, "bestdns.env": 0o600, "web1.env": 0o600, "clients/web1.caddy": 0o644},
			[]string{"dns.example.com.  A  203.0.113.5", "--envfile"}, []string{"CNAME", "write the value of"},
		},
		"provider, its line": {
			[]string{"--for", "provider", "--provider", "foreign_token {env.ABSENT_HERE}", "--zone", "example.com", "--domain", "web1.example.com"},
			map[string]fs.FileMode{"Caddyfile": 0o644, "bestdns.env": 0o600, "web1.env": 0o600, "clients/web1.caddy": 0o644},
			[]string{"write the value of ABSENT_HERE into bestdns.env"}, nil,
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "new")
			args := append(test.args, "--output", dir, "--no-check")
			if out, err := runCommand(initCommand(), append(args, "--dry-run")...); err != nil || !strings.Contains(out, "\tbestdns {\n") {
				t.Errorf("dry run: %v\n%s", err, out)
			}
			if _, err := os.Stat(dir); err == nil {
				t.Error("a dry run wrote something")
			}
			out, err := runCommand(initCommand(), args...)
			if err != nil {
				t.Fatal(err)
			}
			wantOutput(t, out, test.says, append(test.not, "bestdns_"))
			if diff := cmp.Diff(test.files, modesIn(t, dir)); diff != "" && runtime.GOOS != "windows" {
				t.Errorf("files (-want +got):\n%s", diff)
			}
			assertLoads(t, dir)
			if _, err := runCommand(initCommand(), args...); err == nil || !strings.Contains(err.Error(), "exists: --output names another folder") {
				t.Errorf("a second time: %v", err)
			}
			if _, err := runCommand(initCommand(), append(args, "--force")...); err != nil {
				t.Errorf("--force: %v", err)
			}
		})
	}
}

func modesIn(t *testing.T, dir string) map[string]fs.FileMode {
	t.Helper()
	found := make(map[string]fs.FileMode)
	err := fs.WalkDir(os.DirFS(dir), ".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		info, err := entry.Info()
		found[path] = info.Mode()
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// assertLoads has Caddy read the Caddyfile in a folder: it is as "caddy fmt" leaves it, and the first client's token is the
// one in its environment.
func assertLoads(t *testing.T, dir string) {
	t.Helper()
	file := filepath.Join(dir, "Caddyfile")
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if formatted := caddyfile.Format(text); !bytes.Equal(formatted, text) {
		t.Errorf("as caddy fmt has it (-written +formatted):\n%s", cmp.Diff(string(text), string(formatted)))
	}
	config, _, _, err := caddycmd.LoadConfig(file, "")
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	t.Setenv("XDG_DATA_HOME", t.TempDir())
	if _, err := readCheckedConfig(file, ""); err != nil {
		t.Error(err)
	}
	environments, _ := filepath.Glob(filepath.Join(dir, "*.env"))
	for _, environment := range environments {
		if filepath.Base(environment) == "bestdns.env" {
			continue // the service's own
		}
		text, err := os.ReadFile(environment)
		if err != nil {
			t.Fatal(err)
		}
		token, _, _ := strings.Cut(strings.TrimPrefix(string(text), "BESTDNS_API_TOKEN="), "\n")
		if !bytes.Contains(config, []byte(access.DigestOf(token).String())) {
			t.Errorf("no client has the token of %s", environment)
		}
	}
}

func TestInitRefuses(t *testing.T) {
	for line, want := range map[string]string{
		"":                                      "--for: what is the service for?",
		"--for everything":                      `not "everything"`,
		"--for one-server":                      "--zone: which name is it?",
		"--for one-server --domain example.com": "--address: which public address",
		"--for one-server --domain example.com --zone example.com --address 192.0.2.1":              "is a whole domain",
		"--for one-server --domain https://example.com/ --address 192.0.2.1":                        "--domain: ",
		"--for one-server --domain example.com --address 192.0.2.1 --acme-ca-root /nonexistent":     "--acme-ca-root: ",
		"--for one-server --domain example.com --address 0.0.0.0":                                   `"0.0.0.0" is not an IP address at which`,
		"--for one-server --domain 192.0.2.1 --address 192.0.2.1":                                   "is not a domain",
		"--for one-server --domain example.com --address 192.0.2.1 --listen 53":                     "--listen",
		"--for fleet --domain example.com --address 192.0.2.1 --api *.example.com":                  "--api: \"*.example.com\" is a wildcard",
		"--for provider --zone example.com --domain web1.example.com":                               "--provider: which DNS provider",
		"--for provider --provider absent --zone example.com --domain web1.example.com":             "xcaddy build --with github.com/caddy-dns/bestdns/service --with github.com/caddy-dns/absent",
		"--for provider --provider foreign_token --zone example.com --domain web1.example.org":      "is not in the zone example.com",
		"--for provider --provider foreign_token --zone example.com --domain a.example.com --api x": "--api",
		"more": "unexpected argument",
	} {
		dir := t.TempDir()
		out, err := runCommand(initCommand(), append(strings.Fields(line), "--output", dir, "--no-check")...)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q\n%s", line, err, want, out)
		}
		if left, _ := os.ReadDir(dir); len(left) != 0 {
			t.Errorf("%s: left behind: %v", line, left)
		}
	}
}

// TestInitAsks: a person is asked for what no flag says, and may leave usual answers to the command.
func TestInitAsks(t *testing.T) {
	for name, test := range map[string]struct {
		given   setup
		answers string
		want    setup
	}{
		"fleet": {
			setup{}, "fleet\nweb1.example.com\n\n203.0.113.5, 2001:db8::5\n\nadmin@example.com\n",
			setup{use: "fleet", domains: []string{"web1.example.com"}, zone: "acme.example.com", addresses: []string{"203.0.113.5", "2001:db8::5"}, api: "ns1.acme.example.com", email: "admin@example.com"},
		},
		"one server": {
			setup{addresses: []string{"203.0.113.5"}}, "\nexample.com *.example.com\nchallenges.example.com\n\n",
			setup{use: "one-server", domains: []string{"example.com", "*.example.com"}, zone: "challenges.example.com", addresses: []string{"203.0.113.5"}},
		},
		"provider": {
			setup{use: "provider", email: "admin@example.com"}, "\nexample.com\nweb1.example.com\n203.0.113.5\n\n",
			setup{use: "provider", provider: "cloudflare", zone: "example.com", domains: []string{"web1.example.com"}, addresses: []string{"203.0.113.5"}, api: "dns.example.com", email: "admin@example.com"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			o := initOptions{setup: test.given}
			if err := o.ask(strings.NewReader(test.answers), new(bytes.Buffer)); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, o.setup, cmp.AllowUnexported(setup{})); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
	var o initOptions
	if err := o.ask(strings.NewReader("fleet\n"), new(bytes.Buffer)); err == nil {
		t.Error("answers that end early are no error")
	}
}
