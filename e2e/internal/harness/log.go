package harness

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"
)

// LockedBuffer collects what several goroutines write.
type LockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *LockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *LockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// Entry is a line of Caddy's log. Line has it as it was written, also where it
// is not JSON: a panic, or what the race detector reports.
type Entry struct {
	Level   string `json:"level"`
	Logger  string `json:"logger"`
	Message string `json:"msg"`
	Error   string `json:"error"`
	// Subjects are the names of the certificate that certmagic speaks of.
	Subjects []string `json:"subjects"`
	Line     string   `json:"-"`
}

// bad reports whether the line should not be in the log of a run without faults.
func (e Entry) bad() bool {
	switch e.Level {
	case "error", "dpanic", "panic", "fatal":
		return true
	case "":
		for _, sign := range []string{"DATA RACE", "panic:", "fatal error:"} {
			if strings.Contains(e.Line, sign) {
				return true
			}
		}
	}
	return false
}

// Log is the log of a running Caddy.
type Log struct {
	mu      sync.Mutex
	entries []Entry
	ended   bool
	Changed chan struct{} // closed and replaced at each line and at the end
}

// Read takes lines from r until it ends.
func (l *Log) Read(r io.Reader) {
	lines := bufio.NewReader(r)
	for {
		line, err := lines.ReadString('\n')
		if line = strings.TrimRight(line, "\n"); line != "" {
			e := Entry{}
			if json.Unmarshal([]byte(line), &e) != nil {
				e = Entry{}
			}
			e.Line = line
			l.add(e)
		}
		if err != nil {
			l.end()
			return
		}
	}
}

// NewLog returns a log without a line.
func NewLog() *Log { return &Log{Changed: make(chan struct{})} }

// Write takes lines, of which each comes in one call, as those of [log.Logger] do.
func (l *Log) Write(line []byte) (int, error) {
	l.add(Entry{Line: strings.TrimRight(string(line), "\n")})
	return len(line), nil
}

func (l *Log) add(e Entry) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.entries = append(l.entries, e)
	close(l.Changed)
	l.Changed = make(chan struct{})
}

func (l *Log) end() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ended = true
	close(l.Changed)
	l.Changed = make(chan struct{})
}

// Entries returns the entries for which match says yes.
func (l *Log) Entries(match func(Entry) bool) []Entry {
	l.mu.Lock()
	defer l.mu.Unlock()
	var found []Entry
	for _, e := range l.entries {
		if match(e) {
			found = append(found, e)
		}
	}
	return found
}

// Wait waits until the log has n entries for which match says yes.
func (l *Log) Wait(n int, timeout time.Duration, match func(Entry) bool) error {
	deadline := time.After(timeout)
	for {
		l.mu.Lock()
		changed, ended := l.Changed, l.ended
		l.mu.Unlock()
		found := len(l.Entries(match))
		if found >= n {
			return nil
		}
		if ended {
			return fmt.Errorf("the program ended with %d of %d log entries", found, n)
		}
		select {
		case <-changed:
		case <-deadline:
			return fmt.Errorf("after %s there are %d of %d log entries", timeout, found, n)
		}
	}
}

func (l *Log) String() string {
	var b strings.Builder
	for _, e := range l.Entries(func(Entry) bool { return true }) {
		b.WriteString(e.Line)
		b.WriteByte('\n')
	}
	return b.String()
}

// Message matches entries with this message.
func Message(text string) func(Entry) bool {
	return func(e Entry) bool { return e.Message == text }
}

// CheckLog fails the test for each bad entry that none of the accepted
// functions explains, and for a token in any entry.
func CheckLog(t testing.TB, l *Log, accepted []func(Entry) bool) {
	t.Helper()
	for _, e := range l.Entries(Entry.bad) {
		explained := false
		for _, accept := range accepted {
			explained = explained || accept(e)
		}
		if !explained {
			t.Errorf("in Caddy's log: %s", e.Line)
		}
	}
	AssertNoToken(t, "Caddy's log", l.String())
}

// Tokens is what any token looks like, also one that was cut, and also as the
// base64 of Basic authentication.
var Tokens = regexp.MustCompile(`bestdns_[0-9A-Za-z]{20,}|` +
	strings.TrimRight(base64.StdEncoding.EncodeToString([]byte("bestdns_")), "=")[:10] + `|` +
	base64.StdEncoding.EncodeToString([]byte(":bestdns_")))

// AssertNoToken fails the test if there is a token in the text, whosever it is.
func AssertNoToken(t testing.TB, where, text string) {
	t.Helper()
	for line := range strings.Lines(text) {
		if Tokens.MatchString(line) {
			t.Errorf("%s holds a token: %s", where, line)
		}
	}
}
