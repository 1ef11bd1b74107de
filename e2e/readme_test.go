package e2e

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// A user who looks for a message in the page on troubleshooting finds
// it there only while the programs say it in these words.
func TestTroubleshootingQuotesMessages(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../docs/troubleshooting.md")
	if err != nil {
		t.Fatal(err)
	}
	messages := regexp.MustCompile("\\*\\*`([^`]+)`\\*\\*").FindAllStringSubmatch(string(page), -1)
	if len(messages) < 10 {
		t.Fatalf("the page has %d messages, which is fewer than it should have", len(messages))
	}

	said := []string{syscall.EADDRINUSE.Error()}
	for _, dir := range []string{
		"..", "../service", "../internal/api", "../internal/access", "../internal/hosting", "../internal/nameserver", "../internal/record", "../internal/tsig",
		moduleDir(t, "github.com/caddyserver/caddy/v2") + "/modules/caddytls",
		moduleDir(t, "github.com/caddyserver/certmagic"),
		moduleDir(t, "github.com/go-acme/lego/v4") + "/platform/wait",
	} {
		said = append(said, literals(t, dir)...)
	}
	// What the error is about, where a verb stands for that.
	all := strings.ReplaceAll(strings.Join(said, "\n"), "is empty: there", "the token is empty: there")
	gaps := regexp.MustCompile(`"?…"?|\{env\.`)
	for _, m := range messages {
		message := strings.Join(strings.Fields(m[1]), " ")
		for _, piece := range gaps.Split(message, -1) {
			if !strings.Contains(all, strings.TrimSpace(piece)) {
				t.Errorf("nothing says %q, of the message %q", piece, message)
			}
		}
	}
}

// literals returns the texts in the Go files of a folder, added up where they
// are added up there. Tests are left out.
func literals(t *testing.T, dir string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil || len(files) == 0 {
		t.Fatalf("there are no Go files in %s (%v)", dir, err)
	}
	var texts []string
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(parsed, func(n ast.Node) bool {
			expr, ok := n.(ast.Expr)
			if !ok {
				return true
			}
			text, ok := literal(expr)
			if ok {
				texts = append(texts, text)
			}
			return !ok
		})
	}
	return texts
}

// literal returns the text of an expression of nothing but texts.
func literal(expr ast.Expr) (string, bool) {
	switch expr := expr.(type) {
	case *ast.BasicLit:
		text, err := strconv.Unquote(expr.Value)
		return text, err == nil && expr.Kind == token.STRING
	case *ast.BinaryExpr:
		x, okX := literal(expr.X)
		y, okY := literal(expr.Y)
		return x + y, okX && okY && expr.Op == token.ADD
	}
	return "", false
}

// moduleDir returns where the source of a module is.
func moduleDir(t *testing.T, module string) string {
	t.Helper()
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", module).Output()
	if err != nil {
		t.Fatalf("looking for the source of %s: %v", module, err)
	}
	return strings.TrimSpace(string(out))
}
