package service

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/miekg/dns"
)

// protocols is a service that speaks all protocols, at its root and below a path, with an access log.
func protocols(t *testing.T, more string) *service {
	t.Helper()
	s := newService(t)
	options := s.standard() + fmt.Sprintf(`
		client devices {
			token %s
			register under accounts.example.test
			account_secret {env.ACCOUNT_SECRET}
			%s
		}`, s.digest("devices"), more)
	t.Setenv("ACCOUNT_SECRET", "a secret of more than sixteen bytes")
	const block = "bestdns {\nhttpreq\nacme_dns\ndyndns2\n}\n"
	text := strings.Replace(s.caddyfile(options), "\t\tbestdns\n", "log {\noutput file "+s.accessLog()+"\n}\nhandle_path /below/* {\n"+block+"}\n"+block, 1)
	if err := s.tryLoadText(t, text); err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *service) accessLog() string { return filepath.Join(s.dir, "access.log") }

// send makes a request with some headers, given as "Name: value".
func (s *service) send(t testing.TB, method, path, body string, headers ...string) answer {
	t.Helper()
	request, err := http.NewRequest(method, s.api+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for _, header := range headers {
		name, value, _ := strings.Cut(header, ": ")
		request.Header.Set(name, value)
	}
	return do(t, request)
}

// basic is the header of a client whose token is a password.
func (s *service) basic(client string) string {
	request := &http.Request{Header: make(http.Header)}
	request.SetBasicAuth("anyone", s.token[client])
	return "Authorization: " + request.Header.Get("Authorization")
}

// TestProtocolsAreOff: what is not switched on is for the next handler.
func TestProtocolsAreOff(t *testing.T) {
	s := startStandard(t)
	for _, path := range []string{"/present", "/cleanup", "/update", "/register", "/health", "/nic/update", "/r/token/register"} {
		for _, method := range []string{http.MethodGet, http.MethodPost} {
			if a := s.send(t, method, path, ""); a.status != 299 {
				t.Errorf("%s %s: %d", method, path, a.status)
			}
		}
	}
}

func TestHTTPReq(t *testing.T) {
	s := protocols(t, "")
	const fqdn = "_acme-challenge.web1.example.test."
	plain := fmt.Sprintf(`{"fqdn":%q,"value":%q}`, fqdn, challengeValue)
	raw := `{"domain":"web1.example.test","token":"t","keyAuth":"a key authorization"}`
	const rawValue = "ch9gTzn1PLAmKOS7yaPBA9Wsd9G_hox4c9xVyQziiLg"
	for _, prefix := range []string{"", "/below"} {
		for _, test := range []struct{ body, value string }{{plain, challengeValue}, {raw, rawValue}} {
			a := s.send(t, http.MethodPost, prefix+"/present", test.body, s.basic("web1"))
			if a.status != http.StatusOK || a.header.Get("Content-Type") != "application/json" || a.body != test.body+"\n" {
				t.Fatalf("present %s: %d %s", test.body, a.status, a.body)
			}
			if got := s.texts(t, fqdn); !slices.Equal(got, []string{test.value}) {
				t.Errorf("%s: DNS has %q", test.body, got)
			}
			a = s.send(t, http.MethodPost, prefix+"/cleanup", test.body, s.basic("web1"))
			if a.status != http.StatusOK || a.body != test.body+"\n" {
				t.Errorf("cleanup %s: %d %s", test.body, a.status, a.body)
			}
			if got := s.texts(t, fqdn); len(got) != 0 {
				t.Errorf("%s: DNS still has %q", test.body, got)
			}
		}
	}
	for _, test := range []struct {
		name, body, auth string
		status           int
	}{
		{"another name", strings.Replace(plain, "web1", "web2", 1), s.basic("web1"), http.StatusForbidden},
		{"another value", strings.Replace(plain, challengeValue, "short", 1), s.basic("web1"), http.StatusForbidden},
		{"a wrong token", plain, s.basic("stranger"), http.StatusUnauthorized},
		{"no value", `{"fqdn":"a.example.test."}`, s.basic("web1"), http.StatusBadRequest},
		{"both modes", plain[:len(plain)-1] + "," + raw[1:], s.basic("web1"), http.StatusBadRequest},
		{"no JSON", "x", s.basic("web1"), http.StatusBadRequest},
		{"an invalid name", strings.Replace(plain, "web1", "web1..", 1), s.basic("web1"), http.StatusUnprocessableEntity},
		{"a large body", strings.Repeat(" ", 2<<20) + plain, s.basic("web1"), http.StatusRequestEntityTooLarge},
		{"early data", plain, s.basic("web1") + "\nEarly-Data: 1", http.StatusTooEarly},
	} {
		for _, path := range []string{"/present", "/cleanup"} {
			a := s.send(t, http.MethodPost, path, test.body, strings.Split(test.auth, "\n")...)
			// acme.sh takes the value in quotes for success, whatever the status.
			if a.status != test.status || strings.Contains(a.body, `"`+challengeValue+`"`) {
				t.Errorf("%s: %s: %d %s", path, test.name, a.status, a.body)
			}
		}
	}
	if a := s.send(t, http.MethodGet, "/present", "", s.basic("web1")); a.status != http.StatusMethodNotAllowed || a.header.Get("Allow") != "POST" {
		t.Errorf("GET: %d, Allow %q", a.status, a.header.Get("Allow"))
	}
}

// account is what a client of acme-dns keeps.
type account struct {
	Username, Password, Fulldomain, Subdomain string
	Allowfrom                                 []string
}

func (s *service) register(t testing.TB, prefix, body string) (a account) {
	t.Helper()
	got := s.send(t, http.MethodPost, prefix+"/r/"+s.token["devices"]+"/register", body)
	if got.status != http.StatusCreated {
		t.Fatalf("register %s: %d %s", body, got.status, got.body)
	}
	if err := json.Unmarshal([]byte(got.body), &a); err != nil {
		t.Fatal(err)
	}
	allow, _ := json.Marshal(a.Allowfrom)
	if want := fmt.Sprintf(`{"username":%q,"password":%q,"fulldomain":%q,"subdomain":%q,"allowfrom":%s}`, a.Username, a.Password, a.Fulldomain, a.Subdomain, allow); got.body != want {
		t.Errorf("registered as %s\nnot as acme-dns has it, %s", got.body, want)
	}
	return a
}

func (a account) headers() []string {
	return []string{"X-Api-User: " + a.Username, "X-Api-Key: " + a.Password}
}

func (a account) body(txt string) string {
	return fmt.Sprintf(`{"subdomain": %q, "txt": %q}`, a.Subdomain, txt)
}

func TestACMEDNS(t *testing.T) {
	s := protocols(t, "")
	var values []string
	a := s.register(t, "", "")
	if len(a.Password) != 40 || a.Fulldomain != a.Subdomain+".accounts.example.test" {
		t.Errorf("registered as %+v", a)
	}
	for i := range 3 { // of which acme-dns would keep two
		value := fmt.Sprintf("%043d", i)
		values = append(values, value)
		for range 2 {
			got := s.send(t, http.MethodPost, "/update", a.body(value), a.headers()...)
			if got.status != http.StatusOK || got.body != `{"txt": "`+value+`"}` || got.header.Get("Content-Type") != "application/json" {
				t.Fatalf("update: %d %s", got.status, got.body)
			}
		}
	}
	got := s.texts(t, a.Fulldomain+".")
	slices.Sort(got)
	if !slices.Equal(got, values) {
		t.Errorf("DNS has %q, want %q", got, values)
	}
	reply := s.ask(t, "00000000-0000-4000-8000-000000000000.accounts.example.test.", dns.TypeTXT)
	if reply.Rcode != dns.RcodeSuccess || len(reply.Ns) != 1 || reply.Ns[0].Header().Ttl != 0 {
		t.Errorf("an account without a value: %v", reply)
	}

	bound, elsewhere := s.register(t, "/below", `{"allowfrom":["127.0.0.0/8","2001:db8::/32"]}`), s.register(t, "", `{"allowfrom":["192.0.2.1/32"]}`)
	other := s.register(t, "", "null")
	for _, test := range []struct {
		name, body string
		headers    []string
		status     int
		want       string
	}{
		{"from its networks", bound.body(challengeValue), bound.headers(), 200, `{"txt": "` + challengeValue + `"}`},
		{"from elsewhere", elsewhere.body(challengeValue), elsewhere.headers(), 401, `{"error": "forbidden"}`},
		{"another's subdomain", other.body(challengeValue), a.headers(), 401, `{"error": "forbidden"}`},
		{"another's user name", a.body(challengeValue), []string{other.headers()[0], a.headers()[1]}, 401, `{"error": "forbidden"}`},
		{"another's password", a.body(challengeValue), []string{a.headers()[0], other.headers()[1]}, 401, `{"error": "forbidden"}`},
		{"no password", a.body(challengeValue), a.headers()[:1], 401, `{"error": "forbidden"}`},
		{"networks cut off", bound.body(challengeValue), []string{bound.headers()[0], bound.headers()[1][:len("X-Api-Key: ")+40]}, 401, `{"error": "forbidden"}`},
		{"no JSON", "x", a.headers(), 401, `{"error": "forbidden"}`},
		{"a short value", a.body("short"), a.headers(), 400, `{"error": "bad_txt"}`},
		{"a value in quotes", a.body(`"` + challengeValue[:41] + `"`), a.headers(), 400, `{"error": "bad_txt"}`},
		{"early data", a.body(challengeValue), append(a.headers(), "Early-Data: 1"), 425, `{"error": "too_early"}`},
		{"a client of the configuration", `{"subdomain":"web1.example.test","txt":"` + challengeValue + `"}`, []string{"X-Api-User: web1", "X-Api-Key: " + s.token["web1"]}, 200, `{"txt": "` + challengeValue + `"}`},
		{"its wildcard elsewhere", `{"subdomain":"*.elsewhere.test","txt":"` + challengeValue + `"}`, []string{"X-Api-Key: " + s.token["web1"]}, 200, `{"txt": "` + challengeValue + `"}`},
		{"not for that name", `{"subdomain":"web2.example.test","txt":"` + challengeValue + `"}`, []string{"X-Api-Key: " + s.token["web1"]}, 401, `{"error": "forbidden"}`},
		{"no domain", `{"subdomain":"a..b","txt":"` + challengeValue + `"}`, []string{"X-Api-Key: " + s.token["web1"]}, 400, `{"error": "bad_subdomain"}`},
		{"a large body", strings.Repeat(" ", 5000), a.headers(), 413, `{"error": "too_large"}`},
	} {
		got := s.send(t, http.MethodPost, "/update", test.body, test.headers...)
		if got.status != test.status || got.body != test.want {
			t.Errorf("%s: %d %s, want %d %s", test.name, got.status, got.body, test.status, test.want)
		}
	}
	for _, name := range []string{"_acme-challenge.web1.example.test.", "elsewhere.test.example.test."} {
		if got := s.texts(t, name); !slices.Equal(got, []string{challengeValue}) {
			t.Errorf("%s: DNS has %q", name, got)
		}
	}
	for _, test := range []struct {
		name, path, body string
		status           int
		want             string
	}{
		{"without a credential", "/register", "", 401, `{"error": "forbidden"}`},
		{"with a wrong one", "/r/" + s.token["web1"] + "x/register", "", 401, `{"error": "forbidden"}`},
		{"without the right", "/r/" + s.token["web1"] + "/register", "", 401, `{"error": "forbidden"}`},
		{"no JSON", "/r/" + s.token["devices"] + "/register", "x", 400, `{"error": "malformed_json_payload"}`},
		{"an empty network", "/r/" + s.token["devices"] + "/register", `{"allowfrom":[""]}`, 400, `{"error": "invalid_allowfrom_cidr"}`},
		{"an address", "/r/" + s.token["devices"] + "/register", `{"allowfrom":["192.0.2.1"]}`, 400, `{"error": "invalid_allowfrom_cidr"}`},
	} {
		if got := s.send(t, http.MethodPost, test.path, test.body); got.status != test.status || got.body != test.want {
			t.Errorf("register %s: %d %s, want %d %s", test.name, got.status, got.body, test.status, test.want)
		}
	}
	if got := s.send(t, http.MethodGet, "/health", ""); got.status != 200 || got.body != "" {
		t.Errorf("health: %d %q", got.status, got.body)
	}
	s.assertNoSecret(t, a.Password, bound.Password, other.Password, s.token["devices"], s.token["web1"])
}

// assertNoSecret fails if a log has one of the secrets, or the access log does not have a request that
// it should have.
func (s *service) assertNoSecret(t *testing.T, secrets ...string) {
	t.Helper()
	access, err := os.ReadFile(s.accessLog())
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(access), `"/health"`) {
		t.Errorf("the access log has nothing: %s", access)
	}
	for _, secret := range secrets {
		if strings.Contains(string(access), secret) || strings.Contains(s.log(t), secret) {
			t.Errorf("a log has the secret %s", secret)
		}
	}
}

// TestAccountsEnd: what revokes accounts does so with the reload.
func TestAccountsEnd(t *testing.T) {
	s := protocols(t, "")
	a, b := s.register(t, "", ""), s.register(t, "", "")
	works := func(a account) bool {
		return s.send(t, http.MethodPost, "/update", a.body(challengeValue), a.headers()...).status == http.StatusOK
	}
	if !works(a) || !works(b) {
		t.Fatal("new accounts do not work")
	}
	for _, test := range []struct {
		name, options, secret string
		want                  [2]bool
	}{
		{"the token has expired", "expires 2020-01-01", "a secret of more than sixteen bytes", [2]bool{true, true}},
		{"one is revoked by its subdomain", "revoked " + a.Subdomain, "a secret of more than sixteen bytes", [2]bool{false, true}},
		{"one is revoked by its user name", "revoked " + b.Username, "a secret of more than sixteen bytes", [2]bool{true, false}},
		{"there is another secret", "", "another secret of more than sixteen bytes", [2]bool{false, false}},
	} {
		options := s.standard() + fmt.Sprintf("\nclient devices {\ntoken %s\nregister under accounts.example.test\naccount_secret %q\n%s\n}\n", s.digest("devices"), test.secret, test.options)
		if err := s.tryLoadText(t, strings.Replace(s.caddyfile(options), "\t\tbestdns\n", "bestdns {\nacme_dns\n}\n", 1)); err != nil {
			t.Fatal(err)
		}
		if got := [2]bool{works(a), works(b)}; got != test.want {
			t.Errorf("%s: the accounts are accepted: %v, want %v", test.name, got, test.want)
		}
	}
}

func TestDynDNS(t *testing.T) {
	s := protocols(t, "")
	for _, test := range []struct {
		query, auth string
		status      int
		want        string
	}{
		{"hostname=h.example.test&myip=192.0.2.1", "ops", 200, "good 192.0.2.1\n"},
		{"hostname=h.example.test&myip=192.0.2.1", "ops", 200, "nochg 192.0.2.1\n"},
		{"hostname=H.example.test&myipv6=2001:db8::1&system=dyndns", "ops", 200, "good 2001:db8::1\n"},
		{"hostname=h.example.test&myip=192.0.2.1,2001:db8::1", "ops", 200, "nochg 192.0.2.1,2001:db8::1\n"},
		{"hostname=h.example.test,g.example.test,&myip=192.0.2.2,&myipv6=", "ops", 200, "good 192.0.2.2\ngood 192.0.2.2\n"},
		{"hostname=i.example.test", "ops", 200, "good 127.0.0.1\n"},
		{"hostname=h.example.test&myip=192.0.2.9", "", 401, "badauth\n"},
		{"hostname=h.example.test&myip=192.0.2.9", "stranger", 401, "badauth\n"},
		{"hostname=h.example.test&myip=192.0.2.9", "web1", 403, "nohost\n"},
		{"hostname=h.example.test&myip=192.0.2.2", "web1", 403, "nohost\n"}, // also if it is so already
		{"hostname=g.example.test,h.nowhere.test&myip=192.0.2.3", "ops", 404, "good 192.0.2.3\nnohost\n"},
		{"myip=192.0.2.9", "ops", 400, "notfqdn\n"},
		{"hostname=example&myip=192.0.2.9", "ops", 422, "notfqdn\n"},
		{"hostname=h.example.test&myip=192.0.2.900", "ops", 422, "dnserr\n"},
		{"hostname=h.example.test&myip=192.0.2.1,192.0.2.2", "ops", 422, "dnserr\n"},
		{"hostname=" + strings.Repeat("h.example.test,", 21) + "&myip=192.0.2.9", "ops", 400, "numhost\n"},
		{"hostname=%zz", "ops", 400, "911\n"},
	} {
		var headers []string
		if test.auth != "" {
			headers = append(headers, s.basic(test.auth))
		}
		a := s.send(t, http.MethodGet, "/nic/update?"+test.query, "", headers...)
		if a.status != test.status || a.body != test.want || !strings.HasPrefix(a.header.Get("Content-Type"), "text/plain") {
			t.Errorf("%s by %q: %d %q, want %d %q", test.query, test.auth, a.status, a.body, test.status, test.want)
		}
	}
	for name, want := range map[string]string{"h": "192.0.2.2", "g": "192.0.2.3", "i": "127.0.0.1"} {
		reply := s.ask(t, name+".example.test.", dns.TypeA)
		if len(reply.Answer) != 1 || reply.Answer[0].(*dns.A).A.String() != want {
			t.Errorf("%s: %v, want %s", name, reply.Answer, want)
		}
	}
	if reply := s.ask(t, "h.example.test.", dns.TypeAAAA); len(reply.Answer) != 1 {
		t.Errorf("the other family was not left alone: %v", reply.Answer)
	}
}
