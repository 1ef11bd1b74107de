package service

import (
	"net/http"
	"strings"
	"testing"
)

// TestTokenInPath keeps what is below /r/, where clients of acme-dns have tokens, from other handlers and from logs.
func TestTokenInPath(t *testing.T) {
	s := newService(t)
	text := strings.Replace(s.caddyfile(s.standard()), "\t\tbestdns\n\t\trespond", "\t\tlog\n\t\tbestdns {\n\t\t\tacme_dns\n\t\t}\n\t\trespond", 1)
	if err := s.tryLoadText(t, text); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"/register", "//register", "/update", "/health", "/other", "/", "", "/%zz", "/register/"} {
		for _, method := range []string{http.MethodGet, http.MethodPost} {
			request, err := http.NewRequest(method, s.api, strings.NewReader("{}"))
			if err != nil {
				t.Fatal(err)
			}
			request.URL.Opaque = strings.TrimPrefix(s.api, "http:") + "/r/" + s.token["web1"] + path
			a := do(t, request)
			if a.status == 299 || strings.Contains(a.body, s.token["web1"]) {
				t.Errorf("%s %s: %d %s", method, path, a.status, a.body)
			}
		}
	}
	if a := s.call(t, "", http.MethodGet, "/elsewhere", ""); a.status != 299 {
		t.Errorf("another path: %d %s", a.status, a.body)
	}
	log := s.log(t)
	if strings.Contains(log, s.token["web1"]) || !strings.Contains(log, "/elsewhere") {
		t.Errorf("the log has the token, or has no other request:\n%s", log)
	}
}
