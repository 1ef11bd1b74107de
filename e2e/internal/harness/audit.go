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
	// Protocol is how the change came: api, httpreq, acme-dns, dyndns2 or rfc2136.
	Protocol string `json:"protocol"`
	Zone     string `json:"zone"`
	// Op is append, set, delete or, of a dynamic update that does more than one of them, update.
	Op string `json:"op"`
	// Records are owner and type of some records, as the client named them.
	Records []string `json:"records"`
	Status  int      `json:"status"`
	Reason  string   `json:"reason"`
}

// Audit returns the lines of the audit log about a client, and about the accounts that it has
// registered.
func (l *Log) Audit(client string) (lines []AuditLine) {
	for _, e := range l.Entries(func(Entry) bool { return true }) {
		if line, about := e.audit(client); about {
			lines = append(lines, line)
		}
	}
	return lines
}

// audit reports whether the entry is an audit line about a client.
func (e Entry) audit(client string) (line AuditLine, about bool) {
	if e.Logger != "bestdns.audit" || json.Unmarshal([]byte(e.Line), &line) != nil {
		return AuditLine{}, false
	}
	return line, line.Client == client || strings.HasPrefix(line.Client, client+"/")
}

// AwaitAudit waits until the audit log has n lines about a client that match. The service writes them
// before it answers the client, but they may be read here later than the answer.
func (l *Log) AwaitAudit(t testing.TB, client string, n int, match func(AuditLine) bool) {
	t.Helper()
	err := l.Wait(n, 10*time.Second, func(e Entry) bool {
		line, about := e.audit(client)
		return about && match(line)
	})
	if err != nil {
		t.Errorf("the audit lines about %s: %v: %+v", client, err, l.Audit(client))
	}
}
