package harness

import (
	"encoding/json"
	"strings"
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
