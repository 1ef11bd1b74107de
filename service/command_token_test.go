package service

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/caddy-dns/bestdns/internal/access"
	"github.com/caddy-dns/bestdns/internal/api"
)

// runToken runs "caddy bestdns token" with the given arguments.
func runToken(t *testing.T, args ...string) (string, error) {
	t.Helper()
	var out bytes.Buffer
	cmd := tokenCommand()
	cmd.SetOut(&out)
	cmd.SetErr(&out)
	cmd.SetArgs(args)
	cmd.SilenceUsage = true
	err := cmd.Execute()
	return out.String(), err
}

// wantOutput looks in what a command has printed for texts that have to be there, and for those
// that may not.
func wantOutput(t *testing.T, out string, want, not []string) {
	t.Helper()
	for _, want := range want {
		if !strings.Contains(out, want) {
			t.Errorf("not in the output: %s", want)
		}
	}
	for _, not := range not {
		if strings.Contains(out, not) {
			t.Errorf("in the output: %s", not)
		}
	}
	if t.Failed() {
		t.Log(out)
	}
}

func TestTokenCommand(t *testing.T) {
	config := writeAs(t, "Caddyfile", "{\n\tbestdns {\n\t\tzone acme.example.com {\n\t\t\tns ns1.acme.example.com 203.0.113.5\n\t\t\tcname_target\n\t\t}\n\t}\n}\n")
	tests := []struct {
		name string
		args []string
		want []string
		not  []string
	}{
		{
			"hosted elsewhere", []string{"web1", "--certificates", "web1.example.org", "--config", config, "--endpoint", "https://dns.example.net"},
			[]string{"client web1 {", "certificates web1.example.org", "dns bestdns {env.BESTDNS_API_TOKEN} https://dns.example.net", "propagation_timeout -1", "_acme-challenge.web1.example.org. CNAME web1.example.org.acme.example.com."},
			[]string{"<your zone>"},
		},
		{
			"hosted here", []string{"web1", "--certificates", "web1.acme.example.com", "--config", config},
			[]string{"certificates web1.acme.example.com"}, []string{"CNAME"},
		},
		{
			"zones not known", []string{"web1", "--certificates", "web1.example.org"},
			[]string{"_acme-challenge.web1.example.org. CNAME web1.example.org.<your zone>.", "--config"}, nil,
		},
		{
			"all of it", []string{"ops team", "--allow", "under example.org", "--read", "example.net", "--client-ip", "10.0.0.0/8", "--expires", "2027-06-30", "--description", `the "ops" team`},
			[]string{`client "ops team" {`, `description "the \"ops\" team"`, "allow under example.org", "read example.net", "client_ip 10.0.0.0/8", "expires 2027-06-30"},
			[]string{"CNAME", "propagation_timeout"},
		},
		{
			"the page alone", []string{"look", "--watch"},
			[]string{"client look {", "\t\twatch\n"}, []string{"CNAME", "propagation_timeout"},
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			out, err := runToken(t, test.args...)
			if err != nil {
				t.Fatal(err)
			}
			token := out[strings.Index(out, "bestdns_"):]
			token = token[:strings.IndexByte(token, '\n')]
			if err := api.CheckToken(token); err != nil {
				t.Errorf("token: %v", err)
			}
			if strings.Count(out, token) != 1 {
				t.Error("the token is not shown once")
			}
			wantOutput(t, out, append(test.want, access.DigestOf(token).String()), test.not)
		})
	}
}

func TestTokenCommandJSON(t *testing.T) {
	out, err := runToken(t, "web1", "--certificates", "web1.example.org", "--json")
	if err != nil {
		t.Fatal(err)
	}
	var made newToken
	if err := json.Unmarshal([]byte(out), &made); err != nil {
		t.Fatal(err)
	}
	if made.Config.Tokens[0] != access.DigestOf(made.Token).String() || len(made.CNAMEs) != 1 {
		t.Errorf("%s", out)
	}
}

func TestTokenCommandBadInput(t *testing.T) {
	for name, test := range map[string]struct {
		args []string
		want string
	}{
		"no rights":    {[]string{"web1"}, "may do nothing is of no use: give it rights, with the flags --certificates, --allow, --read, --watch"},
		"no client":    {nil, "CLIENT is missing"},
		"bad domain":   {[]string{"web1", "--certificates", "localhost"}, "localhost"},
		"bad type":     {[]string{"web1", "--allow", "www.example.org AAAAA"}, "AAAAA"},
		"bad day":      {[]string{"web1", "--certificates", "example.org", "--expires", "soon"}, "soon"},
		"missing file": {[]string{"web1", "--certificates", "example.org", "--config", "/nonexistent/Caddyfile"}, "/nonexistent/Caddyfile"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := runToken(t, test.args...)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want it to say %q", err, test.want)
			}
		})
	}
}

// TestTokenInAFile has the standard output be a file, as with "caddy bestdns token web1 > token".
func TestTokenInAFile(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("modes mean nothing here")
	}
	run := func(t *testing.T, out *os.File) string {
		t.Helper()
		var warnings bytes.Buffer
		cmd := tokenCommand()
		cmd.SetOut(out)
		cmd.SetErr(&warnings)
		cmd.SetArgs([]string{"web1", "--certificates", "web1.example.org"})
		if err := cmd.Execute(); err != nil {
			t.Fatal(err)
		}
		return warnings.String()
	}
	for name, test := range map[string]struct {
		file string
		mode os.FileMode
		want string // in place of DIR, the file's folder
	}{
		"others may read":    {"token", 0o644, "(mode 0644). To keep them out:\n\n\tchmod 600 DIR/token\n"},
		"the group may read": {"token", 0o640, "(mode 0640). To keep them out:\n\n\tchmod 600 DIR/token\n"},
		"no one else may":    {"token", 0o600, ""},
		"a name with blanks": {"it's a token", 0o604, "(mode 0604). To keep them out:\n\n\tchmod 600 'DIR/it'\\''s a token'\n"},
	} {
		t.Run(name, func(t *testing.T) {
			dir, err := filepath.EvalSymlinks(t.TempDir())
			if err != nil {
				t.Fatal(err)
			}
			file, err := os.Create(filepath.Join(dir, test.file))
			if err != nil {
				t.Fatal(err)
			}
			defer file.Close()
			if err := file.Chmod(test.mode); err != nil {
				t.Fatal(err)
			}
			got := run(t, file)
			want := strings.ReplaceAll(test.want, "DIR", dir)
			if want == "" && got != "" || !strings.HasSuffix(got, want) {
				t.Errorf("warned %q, want %q at its end", got, want)
			}
			if text, err := os.ReadFile(file.Name()); err != nil || !strings.Contains(string(text), "bestdns_") {
				t.Errorf("the file has no token: %q, %v", text, err)
			}
		})
	}
	t.Run("a pipe", func(t *testing.T) {
		reader, writer, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		defer reader.Close()
		defer writer.Close()
		if got := run(t, writer); got != "" {
			t.Errorf("warned %q", got)
		}
	})
}
