package clientfile

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const block = "client new {\n\ttoken sha256:aa\n}\n"

// inFolder writes files into a folder, and returns the path of the one called Caddyfile.
func inFolder(t testing.TB, files map[string]string) string {
	t.Helper()
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o640); err != nil {
			t.Fatal(err)
		}
	}
	return filepath.Join(dir, "Caddyfile")
}

func TestEdits(t *testing.T) {
	add := func(c *Config) (Edit, error) { return c.Add("new", block) }
	tokens := func(c *Config) (Edit, error) { return c.Set("web1", "token", []string{"sha256:bb", "sha256:cc"}) }
	remove := func(c *Config) (Edit, error) { return c.Remove("web1") }
	for name, test := range map[string]struct {
		edit         func(*Config) (Edit, error)
		before, want string
	}{
		"add": {
			add,
			"{\n\tbestdns {\n\t\tlisten :53\n\t}\n}\n:80 {\n\tbestdns\n}\n",
			"{\n\tbestdns {\n\t\tlisten :53\n\t\tclient new {\n\t\t\ttoken sha256:aa\n\t\t}\n\t}\n}\n:80 {\n\tbestdns\n}\n",
		},
		"add below snippets": {
			add,
			"import snippets\n(s) {\n\theader X a\n}\n{\n\tbestdns {\n\t}\n}\n",
			"import snippets\n(s) {\n\theader X a\n}\n{\n\tbestdns {\n\t\tclient new {\n\t\t\ttoken sha256:aa\n\t\t}\n\t}\n}\n",
		},
		"add, CRLF and blanks": {
			add,
			"{\r\n  bestdns {\r\n  }\r\n}\r\n",
			"{\r\n  bestdns {\r\n  \tclient new {\r\n  \t\ttoken sha256:aa\r\n  \t}\r\n  }\r\n}\r\n",
		},
		"add behind braces that are none": {
			add,
			"# {\n{\n\temail \"}\"\n\tbestdns {\n\t\tzone a.test {\n\t\t\tns {$NS} {env.ADDRESS}\n\t\t}\n\t\t# }\n\t}\n}",
			"# {\n{\n\temail \"}\"\n\tbestdns {\n\t\tzone a.test {\n\t\t\tns {$NS} {env.ADDRESS}\n\t\t}\n\t\t# }\n\t\tclient new {\n\t\t\ttoken sha256:aa\n\t\t}\n\t}\n}",
		},
		"tokens": {
			tokens,
			"{\n\tbestdns {\n\t\tclient \"web1\" {\n\t\t\tdescription `a\nb`\n\t\t\ttoken sha256:aa # the old one\n\t\t\t# a comment\n\t\t\ttoken sha256:dd\n\t\t\twatch\n\t\t}\n\t}\n}\n",
			"{\n\tbestdns {\n\t\tclient \"web1\" {\n\t\t\tdescription `a\nb`\n\t\t\ttoken sha256:bb\n\t\t\ttoken sha256:cc\n\t\t\t# a comment\n\t\t\twatch\n\t\t}\n\t}\n}\n",
		},
		"tokens of a client without": {
			tokens,
			"{\n\tbestdns {\n\t\tclient web1 {\n\t\t\twatch\n\t\t}\n\t}\n}\n",
			"{\n\tbestdns {\n\t\tclient web1 {\n\t\t\ttoken sha256:bb\n\t\t\ttoken sha256:cc\n\t\t\twatch\n\t\t}\n\t}\n}\n",
		},
		"remove": {
			remove,
			"{\n\tbestdns {\n\t\tclient a {\n\t\t\twatch\n\t\t}\n\t\tclient web1 {\n\t\t\twatch\n\t\t}\n\t\t# after\n\t}\n}\n",
			"{\n\tbestdns {\n\t\tclient a {\n\t\t\twatch\n\t\t}\n\t\t# after\n\t}\n}\n",
		},
	} {
		t.Run(name, func(t *testing.T) {
			c, err := Read(inFolder(t, map[string]string{"Caddyfile": test.before}))
			if err != nil {
				t.Fatal(err)
			}
			edit, err := test.edit(c)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, string(edit.After)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestReadRefuses(t *testing.T) {
	for text, want := range map[string]string{
		"":                                      ErrNoOption.Error(),
		":80 {\n\tbestdns\n}\n":                 ErrNoOption.Error(),
		"{\n\temail a@b.test\n}\n":              ErrNoOption.Error(),
		"{\n\tbestdns\n}\n":                     ErrNoOption.Error(),
		"{\n\timport bestdns.caddy\n}\n":        ErrNoOption.Error(),
		"{\n\tbestdns {\n\t}\n":                 "braces",
		"{\n\tbestdns {\n\t}\n}\n}\n":           "braces",
		strings.Repeat("a {\n", 2*mostDepth):    "braces",
		"{\n\tbestdns {\n\timport [*\n\t}\n}\n": "cannot be imported",
	} {
		_, err := Read(inFolder(t, map[string]string{"Caddyfile": text}))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
}

// TestImports finds clients in the files that the option imports, and gives a new one a file of its own.
func TestImports(t *testing.T) {
	path := inFolder(t, map[string]string{
		"Caddyfile":           "{\n\tbestdns {\n\t\timport more.caddy\n\t\timport one.caddy\n\t\timport clients/*.caddy\n\t}\n}\n",
		"more.caddy":          "client a {\n\twatch\n}\nclient b {\n\twatch\n}\n",
		"clients/web1.caddy":  "client web1 {\n\twatch\n}\n",
		"one.caddy":           "client only {\n\twatch\n}\n",
		"clients/new.caddy":   "",
		"clients/ignored.txt": "client web1 {",
	})
	dir := filepath.Dir(path)
	c, err := Read(path)
	if err != nil {
		t.Fatal(err)
	}
	added, err := c.Add("new", block)
	if diff := cmp.Diff(Edit{Path: dir + "/clients/new-2.caddy", After: []byte(block)}, added); diff != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	removed, err := c.Remove("web1")
	if err != nil || removed.After != nil {
		t.Errorf("%v: %q stays of a file without another client", err, removed.After)
	}
	removed, err = c.Remove("only")
	if err != nil || removed.After == nil || len(removed.After) != 0 {
		t.Errorf("%v: of a file that is imported by its name there is %q", err, removed.After)
	}
	removed, err = c.Remove("b")
	if err != nil || removed.Path != dir+"/more.caddy" || string(removed.After) != "client a {\n\twatch\n}\n" {
		t.Errorf("%v: %q", err, removed)
	}
	if _, err := c.Remove("c"); err == nil {
		t.Error("a client that is not there was removed")
	}
	for _, edit := range []Edit{added, removed, added.Undo(), removed.Undo()} {
		if err := edit.Write(); err != nil {
			t.Error(err)
		}
	}
	if _, err := os.Stat(added.Path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("undone, the file is there: %v", err)
	}
	info, err := os.Stat(dir + "/more.caddy")
	if err != nil || info.Mode().Perm() != 0o640 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
}

func TestWriteRefuses(t *testing.T) {
	path := inFolder(t, map[string]string{"Caddyfile": "before"})
	if err := (Edit{Path: path, Before: []byte("earlier"), After: []byte("after")}).Write(); err == nil || !strings.Contains(err.Error(), "in the meantime") {
		t.Errorf("a file that was changed: %v", err)
	}
	if err := (Edit{Path: path, After: []byte("after")}).Write(); err == nil {
		t.Error("a file that was not there is there now, and was overwritten")
	}
	if text, err := os.ReadFile(path); string(text) != "before" || err != nil {
		t.Errorf("%q, %v", text, err)
	}
	// What a command left that was killed.
	if err := os.WriteFile(path+".new", []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := (Edit{Path: path, Before: []byte("before"), After: []byte("after")}).Write(); err != nil {
		t.Error(err)
	}
	if text, err := os.ReadFile(path); string(text) != "after" || err != nil {
		t.Errorf("%q, %v", text, err)
	}
}

// FuzzEdits adds a client to whatever can be read, and removes it again.
func FuzzEdits(f *testing.F) {
	f.Add([]byte("{\n\tbestdns {\n\t\tclient web1 {\n\t\t\ttoken sha256:aa\n\t\t}\n\t}\n}\n"))
	f.Add([]byte("{\r\n bestdns {\r\n token \\\r\n a\r\n }\r\n}"))
	f.Add([]byte("{\n\tbestdns {\n\t\ta <<E\n\t\t}\n\t\tE\n\t}\n}\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		if bytes.Contains(text, []byte("import")) {
			return // it may import itself
		}
		path := inFolder(t, map[string]string{"Caddyfile": string(text)})
		c, err := Read(path)
		if err != nil {
			return
		}
		if _, err := c.locate("new"); err == nil {
			return
		}
		edit, err := c.Add("new", block)
		if err != nil {
			return
		}
		if err := edit.Write(); err != nil {
			t.Fatal(err)
		}
		if c, err = Read(path); err != nil {
			t.Fatalf("%q cannot be read: %v", edit.After, err)
		}
		if edit, err = c.Remove("new"); err != nil || !bytes.Equal(edit.After, text) {
			t.Fatalf("%v: removed again, it is %q", err, edit.After)
		}
	})
}
