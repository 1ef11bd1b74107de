package api

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

// TestHostileServer has a server answer what would command a terminal, at a length that
// would fill a log.
func TestHostileServer(t *testing.T) {
	const evil = "e\u009b31m\u0085\x7f\u202e\u2066\x1b[2J"
	raw := func(head string) fault {
		return func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
			connection, _, err := http.NewResponseController(w).Hijack()
			if err != nil {
				return
			}
			defer connection.Close()
			_, _ = io.WriteString(connection, head+"\r\nContent-Length: 0\r\n\r\n")
		}
	}
	for name, fault := range map[string]fault{
		"problem": func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
			long := strings.Repeat(evil+"\xff\n", 500)
			w.Header().Set("Content-Type", ProblemContentType)
			w.WriteHeader(http.StatusForbidden)
			_ = json.NewEncoder(w).Encode(Problem{Type: "urn:bestdns:" + long, Title: long, Detail: long, RequestID: long})
		},
		"temporary problem": func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
			w.Header().Set("Content-Type", ProblemContentType)
			w.WriteHeader(http.StatusServiceUnavailable)
			_ = json.NewEncoder(w).Encode(Problem{Type: "urn:bestdns:unavailable", Detail: evil, RequestID: evil})
		},
		"redirect":    raw("HTTP/1.1 302 Found\r\nLocation: https://" + strings.Repeat("\u202e\u009b", 5000) + "/"),
		"status line": raw("HTTP/1.1 404 \u009b\u202e\r\nContent-Type: text/\u009b\u202e"),
		"no HTTP":     raw("\u009b\u202e\x7f"),
		"number": func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
			w.Header().Set("Content-Type", "application/json")
			_, _ = io.WriteString(w, `{"zones":[{"name":`+strings.Repeat("7", 1<<20)+`}]}`)
		},
		"text": func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
			w.Header().Set("Content-Type", "application/json")
			_, _ = io.WriteString(w, `"`+strings.Repeat("\u202e\u0085", 1<<18)+`"`)
		},
	} {
		t.Run(name, func(t *testing.T) {
			c, _ := startHTTP(t, newFakeService(fault))
			_, zones := c.ListZones(t.Context())
			_, records := c.GetRecords(t.Context(), "example.org")
			for _, err := range []error{zones, records} {
				var e *Error
				if !errors.As(err, &e) {
					t.Fatalf("%T %v", err, err)
				}
				for what, text := range map[string]string{"type": e.Type, "title": e.Title, "detail": e.Detail, "request id": e.RequestID, "error": e.Error()} {
					if len(text) > mostOfDetail+10 {
						t.Errorf("%s of %d bytes", what, len(text))
					}
					if !utf8.ValidString(text) || strings.ContainsFunc(text, func(c rune) bool { return !unicode.IsPrint(c) }) {
						t.Errorf("%s %.200q", what, text)
					}
				}
			}
		})
	}
}
