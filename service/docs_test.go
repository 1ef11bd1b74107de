package service

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/google/go-cmp/cmp"
)

// documents returns the paths of all pages for readers.
func documents(t *testing.T) []string {
	t.Helper()
	var all []string
	for _, pattern := range []string{"../*.md", "../docs/*.md"} {
		found, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, found...)
	}
	return all
}

// TestCaddyfilesAreFormatted: each configuration that a reader may copy is as "caddy fmt" leaves it.
func TestCaddyfilesAreFormatted(t *testing.T) {
	check := func(where string, text []byte) {
		if formatted := caddyfile.Format(text); !bytes.Equal(bytes.TrimSpace(formatted), bytes.TrimSpace(text)) {
			t.Errorf("%s (-written +formatted):\n%s", where, cmp.Diff(string(text), string(formatted)))
		}
	}
	block := regexp.MustCompile("(?s)\n```caddyfile\n(.*?\n)```")
	for _, page := range documents(t) {
		for _, found := range block.FindAllSubmatch(readFile(t, page), -1) {
			check(page, found[1])
		}
	}
	examples := 0
	for _, pattern := range []string{"../examples/*/Caddyfile", "../examples/*/*.caddyfile", "../examples/*/*/*.caddyfile"} {
		found, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, example := range found {
			check(example, readFile(t, example))
			examples++
		}
	}
	if examples < 10 {
		t.Errorf("%d examples were found", examples)
	}
}

func readFile(t *testing.T, path string) []byte {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

var (
	aLink    = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	aHeading = regexp.MustCompile(`(?m)^#+ (.+)$`)
	aFence   = regexp.MustCompile("(?s)\n```.*?\n```")
	noAnchor = regexp.MustCompile(`[^\p{L}\p{N} _-]`)
)

// anchors returns the anchors that GitHub gives to the headings of a page.
func anchors(text []byte) (all []string) {
	for _, m := range aHeading.FindAllSubmatch(aFence.ReplaceAll(text, nil), -1) {
		all = append(all, strings.ReplaceAll(noAnchor.ReplaceAllString(strings.ToLower(string(m[1])), ""), " ", "-"))
	}
	return all
}

// TestLinks: each link within the repository leads somewhere, and the index has all pages.
func TestLinks(t *testing.T) {
	for _, page := range documents(t) {
		for _, m := range aLink.FindAllSubmatch(aFence.ReplaceAll(readFile(t, page), nil), -1) {
			target := string(m[1])
			if strings.Contains(target, "://") || strings.HasPrefix(target, "mailto:") {
				continue
			}
			path, anchor, _ := strings.Cut(target, "#")
			if path = filepath.Join(filepath.Dir(page), path); strings.HasPrefix(target, "#") {
				path = page
			}
			if _, err := os.Stat(path); err != nil {
				t.Errorf("%s: %s leads nowhere", page, target)
				continue
			}
			if anchor != "" && !slices.Contains(anchors(readFile(t, path)), anchor) {
				t.Errorf("%s: %s has no heading %q", page, path, anchor)
			}
		}
	}
	index := string(readFile(t, "../docs/README.md"))
	for _, page := range documents(t) {
		if name := filepath.Base(page); strings.HasPrefix(page, "../docs/") && name != "README.md" && !strings.Contains(index, "]("+name+")") {
			t.Errorf("the index lacks %s", name)
		}
	}
}
