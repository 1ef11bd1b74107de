package harness

import (
	"encoding/json"
	"strings"
	"testing"
	"time"
)

// AuditLine is a line of the service's audit log.
type AuditLine struct {
	Outcome string `json:"msg"`
	Client  string `json:"client"`
	Zone    string `json:"zone"`
	Op      string `json:"op"`
	// Records are owner and type of some records, as the client named them.
	Records []string `json:"records"`
	Status  int      `json:"status"`
	Reason  string   `json:"reason"`
}

// Audit returns the lines of the audit log about a client, and about the accounts that it has
// registered.
func (l *Log) Audit(client string) (lines []AuditLine) {
	for _, e := range l.Entries(func(e Entry) bool { return e.Logger == "bestdns.audit" }) {
		var line AuditLine
		if json.Unmarshal([]byte(e.Line), &line) == nil && (line.Client == client || strings.HasPrefix(line.Client, client+"/")) {
			lines = append(lines, line)
		}
	}
	return lines
}

// AwaitAudit waits until the audit log has n lines about a client for which match says yes. They are
// written before the client has its answer, and read here at any time.
func (l *Log) AwaitAudit(t testing.TB, client string, n int, match func(AuditLine) bool) {
	t.Helper()
	found := func() (found int) {
		for _, line := range l.Audit(client) {
			if match(line) {
				found++
			}
		}
		return found
	}
	deadline := time.After(10 * time.Second)
	for {
		l.mu.Lock()
		changed := l.Changed
		l.mu.Unlock()
		got := found()
		if got >= n {
			return
		}
		select {
		case <-changed:
		case <-deadline:
			t.Errorf("the audit log has %d of %d lines that were to be about %s: %+v", got, n, client, l.Audit(client))
			return
		}
	}
}
