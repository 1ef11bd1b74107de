package service

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestMonitoringPage runs the configurations of docs/monitoring.md.
func TestMonitoringPage(t *testing.T) {
	blocks := fenced(t, "../docs/monitoring.md", "caddyfile")
	if len(blocks) != 2 {
		t.Fatalf("%d blocks, and two are known here", len(blocks))
	}
	t.Run("metrics at an address of their own", func(t *testing.T) {
		s := newService(t)
		address := freeAddress(t)
		site := strings.NewReplacer("metrics.example.net", "http://"+address, "192.0.2.9", "127.0.0.1").Replace(blocks[0])
		s.loadText(t, s.caddyfile(s.standard())+"\n"+site)
		// The same that the admin endpoint has.
		s.admin = address
		if s.metrics(t)["bestdns_healthy"] != 1 {
			t.Error("the service's metrics are not there")
		}
	})
	t.Run("the audit log in a file of its own", func(t *testing.T) {
		s := newService(t)
		audit := filepath.Join(s.dir, "audit.log")
		options := strings.TrimSuffix(strings.TrimPrefix(strings.TrimSpace(blocks[1]), "{"), "}")
		options = strings.NewReplacer(
			"/var/log/caddy/bestdns-audit.log", audit,
			"exclude bestdns.audit", "exclude bestdns.audit\noutput file "+filepath.Join(s.dir, "caddy.log"),
		).Replace(options)
		text := func(more string) string {
			return fmt.Sprintf("{\nadmin off\npersist_config off\nstorage file_system %q\n%s\nbestdns {\n%s\n%s\n}\n}\n%s {\nbind 127.0.0.1\nbestdns\n}\n",
				s.dir, options, s.standard(), more, s.api)
		}
		s.loadText(t, text(""))
		added := s.must(t, "ops", "example.test", `{"append":[{"name":"www","type":"TXT","data":"a value"}]}`)
		s.loadText(t, text("rate_limit 50"))
		refused := s.patch(t, "web1", "example.test", `{"delete":[{"name":"www"}]}`)

		file, err := os.ReadFile(audit)
		if err != nil {
			t.Fatal(err)
		}
		var got [][]string
		for line := range strings.Lines(string(file)) {
			var entry struct {
				Logger    string `json:"logger"`
				Message   string `json:"msg"`
				RequestID string `json:"request_id"`
			}
			if err := json.Unmarshal([]byte(line), &entry); err != nil {
				t.Fatalf("%q: %v", line, err)
			}
			got = append(got, []string{entry.Logger, entry.Message, entry.RequestID})
		}
		want := [][]string{
			{"bestdns.audit", "changed", added.header.Get("X-Request-Id")},
			{"bestdns.audit", "refused", refused.header.Get("X-Request-Id")},
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("the audit log (-want +got):\n%s", diff)
		}
		first := s.logged(t, "a client is here for the first time since this process started", "client")
		if !slices.ContainsFunc(first, func(f []string) bool { return f[0] == "ops" }) {
			t.Errorf("Caddy's own log has only:\n%s", s.log(t))
		}
		if strings.Contains(s.log(t), `"bestdns.audit"`) {
			t.Error("the audit lines are in Caddy's own log too")
		}
	})
}
