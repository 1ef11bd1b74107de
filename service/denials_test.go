package service

import (
	"fmt"
	"net/http"
	"net/netip"
	"strings"
	"testing"

	"github.com/caddy-dns/bestdns/internal/hosting"
)

// freshDenials has the bounds of lines begin anew: all tests call from one address.
func freshDenials(t *testing.T) {
	t.Helper()
	before := strangers
	strangers = newDenialBounds()
	t.Cleanup(func() {
		strangers = before
		clear(wrongTokens.limiters)
	})
}

// TestDenialsLeaveATrace: of each request that is not let in, the log has a line under the id that the
// caller was told, and the page has it for those who may see it.
func TestDenialsLeaveATrace(t *testing.T) {
	s := protocols(t, "")
	account := s.register(t, "", "")
	freshDenials(t)
	bearer := func(client string) string { return "Authorization: Bearer " + s.token[client] }
	for _, test := range []struct {
		name                  string
		method, path, body    string
		headers               []string
		status                int
		client, why, protocol string
	}{
		{"expired", "GET", "/v1/zones", "", []string{bearer("expired")}, 401, "expired", "expired", "api"},
		{"a change of an expired client", "PATCH", "/v1/zones/example.test/records", `{"append":[]}`, []string{bearer("expired")}, 401, "expired", "expired", "api"},
		{"another network", "GET", "/v1/token", "", []string{bearer("far")}, 401, "far", "network", "api"},
		{"a wrong token", "GET", "/v1/zones", "", []string{bearer("stranger")}, 401, "", "wrong_token", "api"},
		{"no token", "GET", "/v1/zones", "", nil, 401, "", "no_token", "api"},
		{"httpreq", "POST", "/present", `{}`, []string{s.basic("expired")}, 401, "expired", "expired", "httpreq"},
		{"dyndns2", "GET", "/nic/update?hostname=a.example.test", "", []string{s.basic("far")}, 401, "far", "network", "dyndns2"},
		{"acme-dns", "POST", "/update", fmt.Sprintf(`{"subdomain":%q,"txt":%q}`, account.Subdomain, challengeValue),
			[]string{"X-Api-User: " + account.Username, "X-Api-Key: wrong"}, 401, "", "wrong_token", "acme-dns"},
		{"a registration without the right", "POST", "/register", "", []string{bearer("web1")}, 401, "web1", "no_right", "acme-dns"},
		{"records of another zone", "GET", "/v1/zones/secret.test/records", "", []string{bearer("web1")}, 404, "web1", "no_right", "api"},
		{"records of no zone", "GET", "/v1/zones/absent.test/records", "", []string{bearer("web1")}, 404, "web1", "no_right", "api"},
	} {
		t.Run(test.name, func(t *testing.T) {
			a := s.send(t, test.method, test.path, test.body, test.headers...)
			id := a.header.Get("X-Request-Id")
			if a.status != test.status || id == "" {
				t.Fatalf("%d %s, request id %q", a.status, a.body, id)
			}
			var lines []string
			for line := range strings.Lines(s.log(t)) {
				if strings.Contains(line, id) && strings.Contains(line, `"a request was refused"`) {
					lines = append(lines, line)
				}
			}
			want := fmt.Sprintf(`"client":%q,"remote_ip":"127.0.0.1","request_id":%q,"protocol":%q,"why":%q,"reason":`, test.client, id, test.protocol, test.why)
			if len(lines) != 1 || !strings.Contains(lines[0], want) {
				t.Errorf("the log has %q, want one line with %s", lines, want)
			}
			seen := activity.Denials()[0]
			if seen.RequestID != id || seen.Client != test.client || seen.Why != test.why || seen.Protocol != test.protocol || seen.Reason == "" {
				t.Errorf("remembered is %+v", seen)
			}
		})
	}
	s.send(t, http.MethodGet, "/health", "")
	s.assertNoSecret(t, account.Password)
}

// TestDenialsAreBounded: who sends them does not decide how many lines there are.
func TestDenialsAreBounded(t *testing.T) {
	s := startStandard(t)
	freshDenials(t)
	lines := func() int { return strings.Count(s.log(t), "a request was refused") }
	for range 30 {
		s.call(t, "expired", http.MethodGet, "/v1/zones", "")
	}
	if n := lines(); n != 5 {
		t.Errorf("30 requests of an expired client have %d lines, want 5", n)
	}
	for range 30 {
		s.call(t, "stranger", http.MethodGet, "/v1/zones", "")
	}
	if n := lines(); n != 10 {
		t.Errorf("after 30 requests of a stranger there are %d lines, want 10", n)
	}
	if got := activity.Counts().Denied[hosting.Expired]; got < 30 {
		t.Errorf("of 30 requests of an expired client, %d are counted", got)
	}
	app := liveApps.newest(nil)
	refusal := hosting.Errorf("unauthorized", "no").NotLetIn(hosting.WrongToken, nil)
	for i := range 1000 {
		from := netip.AddrFrom4([4]byte{192, 0, 2, byte(i)})
		app.deny(stranger(from), refusal)
		app.denyBy(stranger(from), refusal, true)
	}
	if n := lines(); n > 55 || n < 45 {
		t.Errorf("after 1,000 requests of 256 strangers by TCP and as many by UDP there are %d lines, want about 50", n)
	}
}

// TestDenialsOnThePage: a client sees its own, one with the right watch all of them.
func TestDenialsOnThePage(t *testing.T) {
	s := newService(t)
	s.token["look"] = "of-look"
	s.load(t, s.standard()+fmt.Sprintf("\nclient look {\ntoken %s\nwatch\n}", s.digest("look")))
	freshDenials(t)
	own := s.call(t, "web1", http.MethodGet, "/v1/zones/secret.test/records", "").header.Get("X-Request-Id")
	others := s.call(t, "expired", http.MethodGet, "/v1/zones", "").header.Get("X-Request-Id")
	for client, want := range map[string][2]bool{"look": {true, true}, "web1": {true, false}, "ops": {false, false}} {
		page := s.call(t, client, http.MethodGet, "/", "").body
		if got := [2]bool{strings.Contains(page, own), strings.Contains(page, others)}; got != want {
			t.Errorf("client %s sees its own and others' denials: %v, want %v", client, got, want)
		}
	}
}
