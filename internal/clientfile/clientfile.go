// Package clientfile changes the clients in a Caddyfile as its author wrote it: it adds and
// removes lines, and leaves all others as they are. What it makes is for the caller to check, by
// having Caddy adapt it.
package clientfile

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Bounds of what is read.
const (
	mostBytes = 4 << 20 // of a file
	mostFiles = 10_000  // that are imported
)

// Config is a Caddyfile, and the files that its global option bestdns imports.
type Config struct {
	files  []file // the Caddyfile first
	option statement
	// pattern is that of the files in which each new client gets one of its own; "" if there is none.
	pattern string
	clients []client
}

type file struct {
	path string
	text []byte
	// matched is set if a pattern imports it, so that it may be missing.
	matched bool
}

// client is where a client is configured.
type client struct {
	name string
	file int // in files
	at   statement
}

// Edit is what becomes of a file. A text that is nil stands for a file that does not exist.
type Edit struct {
	Path          string
	Before, After []byte
	// Cut are the lines that were removed, of a client that was.
	Cut string
}

// ErrNoOption is that of a file into which no client can be written.
var ErrNoOption = errors.New("the file has no block of the global option bestdns, into which clients are written")

// Read reads a Caddyfile. The error wraps [ErrNoOption] if its global options, or the file itself
// instead of an import, do not have the option bestdns with a block.
func Read(path string) (*Config, error) {
	path, err := filepath.EvalSymlinks(path)
	if err != nil {
		return nil, err
	}
	text, err := readFile(path)
	if err != nil {
		return nil, err
	}
	c := &Config{files: []file{{path: path, text: text}}}
	all, err := parse(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	for len(all) > 0 && all[0].precedesOptions() {
		all = all[1:]
	}
	if len(all) == 0 || len(all[0].words) > 0 { // global options have no name
		return nil, fmt.Errorf("%s: %w", path, ErrNoOption)
	}
	i := slices.IndexFunc(all[0].block, func(s statement) bool { return s.is("bestdns") && s.braces })
	if i < 0 {
		return nil, fmt.Errorf("%s: %w", path, ErrNoOption)
	}
	c.option = all[0].block[i]
	c.find(0, c.option.block)
	return c, c.readImports()
}

func readFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, mostBytes+1))
	if err == nil && len(text) > mostBytes {
		err = fmt.Errorf("%s has more than %d bytes", path, mostBytes)
	}
	return text, err
}

// find notes the clients among statements of a file.
func (c *Config) find(file int, all []statement) {
	for _, s := range all {
		if s.is("client") && len(s.words) == 2 && s.braces {
			c.clients = append(c.clients, client{s.words[1], file, s})
		}
	}
}

// readImports reads the files that the option imports.
func (c *Config) readImports() error {
	for _, s := range c.option.block {
		if !s.is("import") || len(s.words) != 2 {
			continue
		}
		pattern := s.words[1]
		if !filepath.IsAbs(pattern) {
			pattern = filepath.Join(filepath.Dir(c.files[0].path), pattern)
		}
		if c.pattern == "" && strings.Count(filepath.Base(pattern), "*") == 1 && !strings.ContainsAny(pattern, "?[") &&
			!strings.Contains(filepath.Dir(pattern), "*") {
			c.pattern = pattern
		}
		matches, err := filepath.Glob(pattern)
		if err != nil || len(matches)+len(c.files) > mostFiles {
			return fmt.Errorf("%s: %q cannot be imported from here: %w", c.files[0].path, pattern, errors.Join(err, errors.New("too many files")))
		}
		for _, path := range matches {
			if err := c.readImport(path, strings.ContainsAny(pattern, "*?[")); err != nil {
				return err
			}
		}
	}
	return nil
}

func (c *Config) readImport(path string, matched bool) error {
	text, err := readFile(path)
	if err != nil {
		return err
	}
	all, err := parse(text)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	c.files = append(c.files, file{path, text, matched})
	c.find(len(c.files)-1, all)
	return nil
}

// Add adds a client: its block, not indented, that ends in a line end. label names its file, if clients have
// files of their own.
func (c *Config) Add(label, block string) (Edit, error) {
	if c.pattern != "" {
		return Edit{Path: c.freePath(label), After: []byte(block)}, nil
	}
	main := c.files[0]
	lines := splitLines(main.text)
	closing := c.option.end - 1
	if strings.TrimSpace(lines[closing]) != "}" {
		return Edit{}, fmt.Errorf("%s, line %d: the brace that closes bestdns is not on a line of its own", main.path, c.option.end)
	}
	indent := leadingSpace(lines[closing]) + "\t"
	var added []string
	for line := range strings.Lines(block) {
		added = append(added, indent+strings.TrimSuffix(line, "\n")+lineEnd(main.text))
	}
	return main.with(slices.Insert(lines, closing, added...)), nil
}

// freePath returns the path of a file of its own for a client.
func (c *Config) freePath(label string) string {
	taken := func(path string) bool {
		_, err := os.Lstat(path)
		return !errors.Is(err, os.ErrNotExist) && err == nil
	}
	dir, base := filepath.Split(c.pattern)
	path := dir + strings.Replace(base, "*", label, 1)
	for n := 2; taken(path); n++ {
		path = dir + strings.Replace(base, "*", fmt.Sprintf("%s-%d", label, n), 1)
	}
	return path
}

// locate finds the only client of a name.
func (c *Config) locate(name string) (client, error) {
	i := slices.IndexFunc(c.clients, func(k client) bool { return k.name == name })
	if i < 0 {
		return client{}, fmt.Errorf("the client %q is not among those written in %s and the files that its option bestdns imports", name, c.files[0].path)
	}
	return c.clients[i], nil
}

// Set gives an option of a client these values, each on a line of its own, instead of those that it has.
func (c *Config) Set(name, option string, values []string) (Edit, error) {
	k, err := c.locate(name)
	if err != nil {
		return Edit{}, err
	}
	f := c.files[k.file]
	lines := splitLines(f.text)
	at, indent := k.at.line, leadingSpace(lines[k.at.line-1])+"\t"
	first := true
	for _, s := range slices.Backward(k.at.block) {
		if !s.is(option) {
			continue
		}
		if first {
			indent, first = leadingSpace(lines[s.line-1]), false
		}
		lines = slices.Delete(lines, s.line-1, s.end)
		at = s.line - 1
	}
	var added []string
	for _, value := range values {
		added = append(added, indent+option+" "+value+lineEnd(f.text))
	}
	return f.with(slices.Insert(lines, at, added...)), nil
}

// Remove removes a client, and with the last one in it a file that a pattern imports.
func (c *Config) Remove(name string) (Edit, error) {
	k, err := c.locate(name)
	if err != nil {
		return Edit{}, err
	}
	f := c.files[k.file]
	lines := splitLines(f.text)
	cut := strings.Join(lines[k.at.line-1:k.at.end], "")
	edit := f.with(slices.Delete(lines, k.at.line-1, k.at.end))
	edit.Cut = cut
	if f.matched && len(bytes.TrimSpace(edit.After)) == 0 {
		edit.After = nil
	}
	return edit, nil
}

func (f file) with(lines []string) Edit {
	return Edit{Path: f.path, Before: f.text, After: []byte(strings.Join(lines, ""))}
}

// splitLines returns the lines of a text with their ends.
func splitLines(text []byte) []string { return strings.SplitAfter(string(text), "\n") }

func leadingSpace(line string) string { return line[:len(line)-len(strings.TrimLeft(line, " \t"))] }

// lineEnd returns the line end that a file has.
func lineEnd(text []byte) string {
	if bytes.Contains(text, []byte("\r\n")) {
		return "\r\n"
	}
	return "\n"
}
