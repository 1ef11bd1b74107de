package check

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/miekg/dns"
)

// evil is what no log and no terminal should be given: C1, DEL, bidi, an escape, bytes of
// no character, a line end.
const evil = "e\u009b31m\u0085\x7f\u202e\u2066\x1b[2J\xff\n"

// TestHostileTexts has everything that a check asks answer what would command a terminal,
// at a length that would fill a disk.
func TestHostileTexts(t *testing.T) {
	long := strings.Repeat(evil, 10_000)
	problem := func(w http.ResponseWriter, status int) {
		w.Header().Set("Content-Type", "application/problem+json")
		w.WriteHeader(status)
		text, _ := json.Marshal(map[string]any{"type": "urn:bestdns:unavailable" + evil, "title": long[:3000], "detail": long[:3000], "request_id": long[:3000]})
		w.Write(text)
	}
	for name, test := range map[string]struct {
		breakIt func(t *testing.T, s *setup)
		step    string // that has something of it
	}{
		"API's health": {func(t *testing.T, s *setup) {
			s.serve(t, func(w http.ResponseWriter, _ *http.Request) { problem(w, 503) })
		}, "api"},
		"status line": {func(t *testing.T, s *setup) {
			s.serve(t, func(w http.ResponseWriter, _ *http.Request) {
				connection, _, err := http.NewResponseController(w).Hijack()
				if err != nil {
					return
				}
				io.WriteString(connection, "HTTP/1.1 404 "+strings.ReplaceAll(evil, "\n", "")+"\r\nContent-Length: 0\r\n\r\n")
				connection.Close()
			})
		}, "api"},
		"API's refusal": {func(t *testing.T, s *setup) {
			s.serve(t, func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/v1/health" {
					w.Write([]byte(`{"status":"ok"}`))
					return
				}
				problem(w, 403)
			})
		}, "token"},
		"CAA": {func(t *testing.T, s *setup) {
			record := &dns.CAA{Hdr: dns.RR_Header{Name: "example.org.", Rrtype: dns.TypeCAA, Class: dns.ClassINET, Ttl: 60}, Tag: "issue", Value: "ca" + evil}
			s.zones["example.org."].records = append(s.zones["example.org."].records, record)
		}, "caa"},
		"standing permissions": {func(t *testing.T, s *setup) {
			for i := range 5 * mostPermissions {
				value := []string{fmt.Sprint(i) + evil, strings.Repeat(strings.ReplaceAll(evil, "\n", ""), 10)}
				record := &dns.TXT{Hdr: dns.RR_Header{Name: "_validation-persist.www.example.org.", Rrtype: dns.TypeTXT, Class: dns.ClassINET, Ttl: 60}, Txt: value}
				s.zones["example.org."].records = append(s.zones["example.org."].records, record)
			}
		}, "permission"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSetup(t)
			test.breakIt(t, s)
			var printed bytes.Buffer
			printer := &Printer{Out: &printed}
			s.options.Report = printer.Step
			report := s.run(t)
			found := false
			for _, step := range report.Steps {
				found = found || step.Name == test.step && strings.Contains(step.Found, "31m")
			}
			if !found {
				t.Errorf("nothing of it is in step %s: %v", test.step, report.Steps)
			}
			text, err := json.Marshal(report)
			if err != nil {
				t.Fatal(err)
			}
			checkShown(t, string(text))
			checkShown(t, printed.String())
			if len(text) > 100_000 {
				t.Errorf("the report has %d bytes", len(text))
			}
		})
	}
}

func checkShown(t *testing.T, text string) {
	t.Helper()
	if !utf8.ValidString(text) {
		t.Errorf("not UTF-8: %.300q", text)
	}
	if i := strings.IndexFunc(text, func(c rune) bool { return c != '\n' && c != '\t' && !unicode.IsPrint(c) }); i >= 0 {
		t.Errorf("a character that must not be there is in %.300q", text[max(0, i-50):])
	}
}

// serve has the API answered by a function.
func (s *setup) serve(t *testing.T, answer http.HandlerFunc) {
	server := httptest.NewServer(answer)
	t.Cleanup(server.Close)
	s.options.Endpoint.URL = server.URL
}
