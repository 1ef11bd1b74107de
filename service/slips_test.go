package service

import (
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"
)

// TestSlips: a mistyped path of a protocol is answered like the right one, or is left to the next handler,
// and is never logged with its secret.
func TestSlips(t *testing.T) {
	s := protocols(t, "")
	a := s.register(t, "", "")
	token := s.token["devices"]
	for _, test := range []struct {
		path   string
		status int
	}{
		{"//update", 200}, {"/update/", 200}, {"/below//update", 200}, {"/r/" + token + "//update", 200},
		// Not the path of any protocol: the next handler answers.
		{"/Update", 299}, {"/%75pdate", 299}, {"/R/" + token + "/update", 299}, {"/r%2F" + token + "/update", 299},
	} {
		got := s.send(t, http.MethodPost, test.path, a.body(challengeValue), a.headers()...)
		if got.status != test.status {
			t.Errorf("%s: %d %s, want %d", test.path, got.status, got.body, test.status)
		}
	}
	if got := s.send(t, http.MethodPost, "//present", fmt.Sprintf(`{"fqdn":"_acme-challenge.web1.example.test.","value":%q}`, challengeValue), s.basic("web1")); got.status != 200 {
		t.Errorf("//present: %d %s", got.status, got.body)
	}
	s.send(t, http.MethodGet, "/health", "")
	s.assertNoSecret(t, a.Password, token)
}

// TestOffIsNotFound: where no other handler serves the path of a protocol that is off, the answer is an
// error: clients would take Caddy's empty 200 for success.
func TestOffIsNotFound(t *testing.T) {
	s := newService(t)
	text := strings.Replace(s.caddyfile(s.standard()), `respond "next" 299`, "log {\noutput file "+s.accessLog()+"\n}", 1)
	if err := s.tryLoadText(t, text); err != nil {
		t.Fatal(err)
	}
	for path, option := range map[string]string{
		"/present": "httpreq", "/cleanup": "httpreq", "/update": "acme_dns", "//update": "acme_dns", "/register": "acme_dns",
		"/r/" + s.token["ops"] + "/register": "acme_dns", "/nic/update": "dyndns2",
	} {
		got := s.send(t, http.MethodPost, path, "{}", "X-Api-Key: "+s.token["web1"])
		if got.status != http.StatusNotFound || !strings.Contains(got.problem.Detail, "write "+option+" in the block") || strings.Contains(got.body, s.token["ops"]) {
			t.Errorf("%s: %d %s", path, got.status, got.body)
		}
	}
	if got := s.send(t, http.MethodGet, "/elsewhere", ""); got.status != 200 || got.body != "" {
		t.Errorf("another path: %d %s", got.status, got.body)
	}
	log, err := os.ReadFile(s.accessLog())
	if err != nil || !strings.Contains(string(log), "/elsewhere") || strings.Contains(string(log), s.token["ops"]) || strings.Contains(string(log), s.token["web1"]) {
		t.Errorf("the access log: %v\n%s", err, log)
	}
}

// TestBrowsersAreRefused: a page of another site can have a browser send a form or open a URL, and the
// browser adds the password that it knows.
func TestBrowsersAreRefused(t *testing.T) {
	s := protocols(t, "")
	form := fmt.Sprintf(`{"fqdn":"_acme-challenge.web1.example.test.","value":%q,"token":"="}`, challengeValue)
	for _, header := range []string{"Origin: https://evil.example", "Origin: null", "Sec-Fetch-Site: cross-site", "Sec-Fetch-Site: none", "Sec-Fetch-Site: same-origin"} {
		if got := s.send(t, http.MethodPost, "/present", form, s.basic("web1"), header); got.status != http.StatusForbidden {
			t.Errorf("/present, %s: %d %s", header, got.status, got.body)
		}
		if got := s.send(t, http.MethodGet, "/nic/update?hostname=www.example.test&myip=192.0.2.66", "", s.basic("ops"), header); got.status != http.StatusForbidden {
			t.Errorf("/nic/update, %s: %d %s", header, got.status, got.body)
		}
	}
	if got := s.send(t, http.MethodHead, "/nic/update?hostname=www.example.test&myip=192.0.2.66", "", s.basic("ops")); got.status != http.StatusMethodNotAllowed {
		t.Errorf("HEAD: %d", got.status)
	}
	if reply := s.ask(t, "www.example.test.", 1); len(reply.Answer) != 0 {
		t.Errorf("www has %v", reply.Answer)
	}
	if got := s.texts(t, "_acme-challenge.web1.example.test."); len(got) != 0 {
		t.Errorf("web1 has %q", got)
	}
}

// TestRefusedAccountsAreLogged: the log says why an account was refused, and the answer does not.
func TestRefusedAccountsAreLogged(t *testing.T) {
	s := protocols(t, "revoked 00000000-0000-4000-8000-000000000000")
	freshDenials(t)
	a := s.register(t, "", "")
	got := s.send(t, http.MethodPost, "/update", a.body(challengeValue), a.headers()[0], "X-Api-Key: "+strings.Repeat("x", 40))
	if got.status != 401 || got.body != `{"error": "forbidden"}` {
		t.Errorf("%d %s", got.status, got.body)
	}
	if log := s.log(t); !strings.Contains(log, a.Username) || !strings.Contains(log, "the password is not that of the account") {
		t.Errorf("the log does not say why: %s", log)
	}
	if got := s.send(t, http.MethodPost, "/update", a.body(challengeValue), a.headers()[0], a.headers()[1]); got.status != 200 {
		t.Errorf("the right one: %d %s", got.status, got.body)
	}
}
