package service

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-dns/bestdns/internal/api"
)

// fenced returns the code blocks of a language in a Markdown file.
func fenced(t *testing.T, file, language string) []string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var blocks []string
	for _, part := range strings.Split(string(text), "\n```"+language+"\n")[1:] {
		block, _, ok := strings.Cut(part, "\n```")
		if !ok {
			t.Fatalf("%s: a block of %s is not closed", file, language)
		}
		blocks = append(blocks, block+"\n")
	}
	if len(blocks) == 0 {
		t.Fatalf("%s has no block of %s", file, language)
	}
	return blocks
}

// TestREADME loads, without starting it, each configuration that the README and the pages of reference show.
func TestREADME(t *testing.T) {
	for _, page := range []string{"README.md", "docs/client.md", "docs/service.md"} {
		t.Run(page, func(t *testing.T) { assertConfigurationsLoad(t, "../"+page) })
	}
}

func assertConfigurationsLoad(t *testing.T, page string) {
	dir := t.TempDir()
	t.Setenv("XDG_DATA_HOME", dir)
	t.Setenv("BESTDNS_API_TOKEN", api.NewToken())
	for _, block := range fenced(t, page, "caddyfile") {
		// What is on the reader's disk is on ours.
		secret := filepath.Join(dir, "secret")
		if err := os.WriteFile(secret, []byte(api.NewToken()), 0o600); err != nil {
			t.Fatal(err)
		}
		block = strings.ReplaceAll(block, "/run/secrets/bestdns", secret)
		block = strings.ReplaceAll(block, "/etc/ssl/internal-ca.pem", "testdata/ca.pem")
		usesApp := strings.Contains(block, "dns bestdns\n") || strings.Contains(block, "\n\tbestdns\n")
		if usesApp && !strings.Contains(block, "zone ") { // the Caddy that runs the service
			block = "{\n\tbestdns {\n\t\tzone example.org {\n\t\t\tns ns1.example.net\n\t\t}\n\t}\n}\n" + block
		}
		config, err := adapt(block)
		if err != nil {
			t.Errorf("%v in\n%s", err, block)
			continue
		}
		if err := caddy.Validate(mustConfig(t, config)); err != nil {
			t.Errorf("%v in\n%s", err, block)
		}
	}
	if strings.HasSuffix(page, "service.md") {
		return // which has no JSON
	}
	for _, block := range fenced(t, page, "json") {
		config, err := json.Marshal(map[string]any{"apps": map[string]any{"tls": map[string]any{
			"automation": map[string]any{"policies": []any{map[string]any{
				"subjects": []string{"*.example.org"}, "issuers": []any{json.RawMessage(block)},
			}}},
		}}})
		if err != nil {
			t.Fatal(err)
		}
		if err := caddy.Validate(mustConfig(t, config)); err != nil {
			t.Errorf("%v in\n%s", err, block)
		}
	}
}

// TestREADMEGo holds the README's Go to the package's examples, which compile.
func TestREADMEGo(t *testing.T) {
	text, err := os.ReadFile("../provider_test.go")
	if err != nil {
		t.Fatal(err)
	}
	examples := unindented(string(text))
	for _, page := range []string{"../README.md", "../docs/client.md"} {
		for _, block := range fenced(t, page, "go") {
			if !strings.Contains(examples, unindented(block)) {
				t.Errorf("%s: this is in no example of the package:\n%s", page, block)
			}
		}
	}
}

// unindented returns the lines of a text without the white space around them.
func unindented(text string) string {
	lines := strings.Split(text, "\n")
	for i := range lines {
		lines[i] = strings.TrimSpace(lines[i])
	}
	return strings.Join(lines, "\n")
}
