package service

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
)

// TestRevocationOnOpenConnections begins a change, reloads, and then sends the rest of
// it on the same connection, which the old server still has. A client that the new
// configuration does not know is not let in.
func TestRevocationOnOpenConnections(t *testing.T) {
	for name, test := range map[string]struct {
		ops    string // what the new configuration has of the client
		status int
	}{
		"kept":          {"token DIGEST\nallow under example.test", http.StatusOK},
		"another token": {"token sha256:" + strings.Repeat("ab", 32) + "\nallow under example.test", http.StatusUnauthorized},
		"expired":       {"token DIGEST\nallow under example.test\nexpires 2020-01-01", http.StatusUnauthorized},
		"other rights":  {"token DIGEST\nallow other.example.test", http.StatusForbidden},
	} {
		t.Run(name, func(t *testing.T) {
			s := startStandard(t)
			conn, err := net.Dial("tcp", strings.TrimPrefix(s.api, "http://"))
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			const body = `{"append":[{"name":"www","type":"A","data":"192.0.2.1"}]}`
			fmt.Fprintf(conn, "PATCH /v1/zones/example.test/records HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: %d\r\nAuthorization: Bearer %s\r\n\r\n%s", len(body), s.token["ops"], body[:10])
			waitUntil(t, "the client was let in", func() bool { return !activity.LastUse("ops").IsZero() })

			old := liveApps.newest(nil)
			config, err := adapt(s.caddyfile(fmt.Sprintf(`
				listen %s
				store %q
				zone example.test {
					ns ns1.example.test 127.0.0.1
				}
				client ops {
					%s
				}`, s.dns, s.store, strings.ReplaceAll(test.ops, "DIGEST", s.digest("ops")))))
			if err != nil {
				t.Fatal(err)
			}
			loaded := make(chan error, 1)
			go func() { loaded <- caddy.Load(config, true) }() // it may wait for this very request
			waitUntil(t, "the new configuration is in force", func() bool { return liveApps.newest(nil) != old })
			if _, err := io.WriteString(conn, body[10:]); err != nil {
				t.Fatal(err)
			}
			response, err := http.ReadResponse(bufio.NewReader(conn), nil)
			if err != nil {
				t.Fatal(err)
			}
			defer response.Body.Close()
			if answer, _ := io.ReadAll(response.Body); response.StatusCode != test.status {
				t.Errorf("%d %s, want %d", response.StatusCode, answer, test.status)
			}
			if err := <-loaded; err != nil {
				t.Fatal(err)
			}
			outcome := "refused"
			if test.status == http.StatusOK {
				outcome = "changed"
			}
			if lines := s.logged(t, outcome, "client"); len(lines) != 1 || lines[0][0] != "ops" {
				t.Errorf("lines %q in the audit log: %q", outcome, lines)
			}
			there := len(s.ask(t, "www.example.test.", 1).Answer) == 1
			if there != (test.status == http.StatusOK) {
				t.Errorf("the record is there: %v", there)
			}
		})
	}
}
