package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"

	"github.com/caddy-dns/bestdns/e2e/internal/harness"
	"github.com/caddy-dns/bestdns/internal/api"
)

// This file is the clients that do not run here: what they send, word for word, and what each of them takes
// for success. Each answer is looked at as each client of a protocol does, since a device may have
// any of them.

// answered is an answer as a client looks at it.
type answered struct {
	status int
	body   string
}

func (a answered) is2xx() bool { return a.status/100 == 2 }

// answersWorld is a service for them.
type answersWorld struct {
	t       *testing.T
	dns     string
	api     string
	token   string
	key     harness.Key
	guest   string // the token of a client that has next to no right
	service *harness.Caddy
}

// The names that the client of answersWorld may change, and others.
const (
	answersZone    = "home.example"
	answersDomain  = "web.home.example"
	answersOther   = "other.home.example"
	answersHost    = "router.home.example"
	answersUnknown = "web.unknown.example"
)

func newAnswersWorld(t *testing.T) *answersWorld {
	t.Helper()
	r := newOthersRun(othersRow{}, 0)
	w := &answersWorld{t: t, dns: harness.FreeAddr(t), api: harness.FreeAddr(t), token: r.token, key: r.key, guest: api.NewToken()}
	w.service = startProtocols(t, w.dns, w.api, fmt.Sprintf(`zone %s {
	ns ns1.%[1]s 127.0.0.1
}
client %s {
	token %s
	tsig %s hmac-sha256 %s
	certificates %s
	allow %s A AAAA
	register under auth.%[1]s
	account_secret %[5]s
}
client guest {
	token %[8]s
	read guest.%[1]s
}
`, answersZone, r.id, harness.Digest(r.token), r.key.Name, r.key.Secret, answersDomain, answersHost, harness.Digest(w.guest)))
	return w
}

// send sends a request with headers, each "Name: value".
func (w *answersWorld) send(method, path, body string, headers ...string) answered {
	w.t.Helper()
	req := harness.Must(http.NewRequestWithContext(w.t.Context(), method, "http://"+w.api+path, strings.NewReader(body)))(w.t)
	for _, header := range headers {
		name, value, _ := strings.Cut(header, ": ")
		req.Header.Set(name, value)
	}
	resp := harness.Must(http.DefaultClient.Do(req))(w.t)
	defer resp.Body.Close()
	text := harness.Must(io.ReadAll(resp.Body))(w.t)
	harness.AssertNoToken(w.t, "an answer", string(text))
	return answered{resp.StatusCode, string(text)}
}

// basic is the header of Basic authentication.
func basic(password string) string {
	req := &http.Request{Header: make(http.Header)}
	req.SetBasicAuth("user", password)
	return "Authorization: " + req.Header.Get("Authorization")
}

// texts returns the texts at a name as the name server has them.
func (w *answersWorld) texts(name string) []string {
	w.t.Helper()
	texts, _, err := harness.TextsAt(w.dns, name)
	harness.NoError(w.t, err)
	slices.Sort(texts)
	return texts
}

// httpreqClients are the clients of httpreq and acmeproxy, with what each takes for success.
var httpreqClients = map[string]func(a answered, name, value string) bool{
	"acme.sh, Proxmox, OPNsense, pfSense": func(a answered, _, value string) bool { return strings.Contains(a.body, `"`+value+`"`) },
	"Caddy's acmeproxy": func(a answered, name, value string) bool {
		var got struct{ FQDN, Value string }
		return a.status == http.StatusOK && json.Unmarshal([]byte(a.body), &got) == nil && got.FQDN == name && got.Value == value
	},
	"lego, Traefik": func(a answered, _, _ string) bool { return a.is2xx() },
}

// assertTaken fails the test unless each client of a protocol takes an answer for what it is.
func assertTaken[F any](t *testing.T, clients map[string]F, success bool, what string, a answered, by func(F) bool) {
	t.Helper()
	for client, test := range clients {
		if by(test) != success {
			t.Errorf("%s: %s takes the answer for success: %v. It is %d %s", what, client, !success, a.status, a.body)
		}
	}
}

func TestHTTPReqAnswers(t *testing.T) {
	t.Parallel()
	w := newAnswersWorld(t)
	value, owner := challengeValue("v"), "_acme-challenge."+answersDomain+"."
	bodies := map[string]func(name, value string) string{
		"acme.sh": func(name, value string) string { return fmt.Sprintf(`{"fqdn": "%s", "value": "%s"}`, name, value) },
		"others":  func(name, value string) string { return fmt.Sprintf("{\"fqdn\":%q,\"value\":%q}\n", name, value) },
	}
	for of, body := range bodies {
		for _, step := range []struct {
			path string
			want []string
		}{{"/present", []string{value}}, {"/present", []string{value}}, {"/cleanup", nil}, {"/cleanup", nil}} { // each may be repeated
			a := w.send("POST", step.path, body(owner, value), basic(w.token), "Accept: application/json", "Content-Type: application/json")
			assertTaken(t, httpreqClients, true, of+" "+step.path, a, func(test func(answered, string, string) bool) bool { return test(a, owner, value) })
			if diff := cmp.Diff(step.want, w.texts(owner)); diff != "" {
				t.Errorf("after %s %s (-want +got):\n%s", of, step.path, diff)
			}
		}
	}
	for _, path := range []string{"/present", "/cleanup"} {
		for _, test := range []struct{ what, method, name, value, header, body string }{
			{what: "a wrong token", header: basic("wrong")},
			{what: "no token", header: "Accept: application/json"},
			{what: "another domain", name: "_acme-challenge." + answersOther + "."},
			{what: "a domain of no zone", name: "_acme-challenge." + answersUnknown + "."},
			{what: "the domain itself", name: answersDomain + "."},
			{what: "no name of DNS", name: "_acme-challenge.." + answersDomain + "."},
			{what: "no value of a challenge", value: "value"},
			{what: "a value of 42 characters", value: value[1:]},
			{what: "an empty value", value: " "},
			{what: "no JSON", body: owner + " " + value},
			{what: "a value alone", body: `{"value":"` + value + `"}`},
			{what: "both modes", body: `{"fqdn":"` + owner + `","value":"` + value + `","domain":"` + answersDomain + `","keyAuth":"x"}`},
			{what: "a list", body: `[{"fqdn":"` + owner + `","value":"` + value + `"}]`},
			{what: "GET", method: "GET"},
		} {
			name, sent := owner, value
			if test.name != "" {
				name = test.name
			}
			if test.value != "" {
				sent = test.value
			}
			body, header, method := bodies["acme.sh"](name, sent), basic(w.token), "POST"
			if test.body != "" {
				body = test.body
			}
			if test.header != "" {
				header = test.header
			}
			if test.method != "" {
				method = test.method
			}
			a := w.send(method, path, body, header, "Content-Type: application/json")
			assertTaken(t, httpreqClients, false, path+" with "+test.what, a, func(test func(answered, string, string) bool) bool { return test(a, name, sent) })
		}
	}
	for _, name := range []string{owner, answersDomain, "_acme-challenge." + answersOther} {
		if got := w.texts(name); got != nil {
			t.Errorf("%s has %q", name, got)
		}
	}
}

// acmeDNSClients are the clients of acme-dns, with what each takes for the success of an update.
var acmeDNSClients = map[string]func(a answered, value string) bool{
	"acme.sh, Proxmox":                     func(a answered, value string) bool { return strings.Contains(a.body, `"`+value+`"`) },
	"cert-manager, Traefik, lego":          func(a answered, _ string) bool { return a.is2xx() },
	"Caddy's acmedns, win-acme":            func(a answered, _ string) bool { return a.status == http.StatusOK },
	"one that compares the answer to that": func(a answered, value string) bool { return a == answered{200, `{"txt": "` + value + `"}`} },
}

func TestACMEDNSAnswers(t *testing.T) {
	t.Parallel()
	w := newAnswersWorld(t)
	var account othersAccount
	for _, body := range []string{"", "null", "{}", `{"allowfrom":["127.0.0.0/8","2001:db8::/32"]}`} {
		a := w.send("POST", "/r/"+w.token+"/register", body, "Content-Type: application/json")
		// acme.sh reads it by sed, so that it has to be one line.
		form := `^\{"username":"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}","password":"[A-Za-z0-9_-]{40,}","fulldomain":"([0-9a-f-]{36})\.auth\.home\.example","subdomain":"([0-9a-f-]{36})","allowfrom":\[.*\]\}$`
		found := regexp.MustCompile(form).FindStringSubmatch(a.body)
		if a.status != http.StatusCreated || found == nil || found[2] != found[3] {
			t.Fatalf("registration with %q: %d %q", body, a.status, a.body)
		}
		harness.NoError(t, json.Unmarshal([]byte(a.body), &account))
		w.updateAccount(account)
	}
	for _, test := range []struct {
		what, path, body string
		headers          []string
		want             answered
	}{
		{"no right", "/r/" + w.guest + "/register", "", nil, answered{401, `{"error": "forbidden"}`}}, // the first, whose line is in the log
		{"no token", "/register", "", nil, answered{401, `{"error": "forbidden"}`}},
		{"a wrong token", "/r/wrong/register", "", nil, answered{401, `{"error": "forbidden"}`}},
		{"networks that are none", "/r/" + w.token + "/register", `{"allowfrom":[""]}`, nil, answered{400, `{"error": "invalid_allowfrom_cidr"}`}},
		{"an address", "/r/" + w.token + "/register", `{"allowfrom":["192.0.2.1"]}`, nil, answered{400, `{"error": "invalid_allowfrom_cidr"}`}},
		{"no JSON", "/r/" + w.token + "/register", `{`, nil, answered{400, `{"error": "malformed_json_payload"}`}},
	} {
		if got := w.send("POST", test.path, test.body, test.headers...); got != test.want {
			t.Errorf("registration with %s: %+v, want %+v", test.what, got, test.want)
		}
	}
	harness.NoError(t, w.service.Log.Wait(1, 10*time.Second, func(e harness.Entry) bool {
		return e.Message == "a request of acme-dns' protocol was refused" && strings.Contains(e.Line, "no right to register accounts")
	}))
	if got := w.send("GET", "/health", ""); got != (answered{200, ""}) {
		t.Errorf("health: %+v", got)
	}
	w.refuseUpdates(account)
	var elsewhere othersAccount
	harness.NoError(t, json.Unmarshal([]byte(w.send("POST", "/register", `{"allowfrom":["192.0.2.0/24"]}`, "Authorization: Bearer "+w.token).body), &elsewhere))
	got := w.send("POST", "/update", fmt.Sprintf(`{"subdomain":%q,"txt":%q}`, elsewhere.Subdomain, challengeValue("e")), "X-Api-User: "+elsewhere.Username, "X-Api-Key: "+elsewhere.Password)
	if got != (answered{401, `{"error": "forbidden"}`}) {
		t.Errorf("an update from elsewhere: %+v", got)
	}
}

// updateAccount has clients update an account's value.
func (w *answersWorld) updateAccount(account othersAccount) {
	w.t.Helper()
	var want []string // acme-dns would have two of them at most
	for i, form := range []string{`{"subdomain":%q,"txt":%q}`, `{"subdomain":%q, "txt": %q}`, `{"txt":%[2]q,"subdomain":%[1]q,"allowfrom":[]}`} {
		value := challengeValue(string(rune('a' + i)))
		a := w.send("POST", "/update", fmt.Sprintf(form, account.Subdomain, value), "X-Api-User: "+account.Username, "X-Api-Key: "+account.Password)
		assertTaken(w.t, acmeDNSClients, true, "an update", a, func(test func(answered, string) bool) bool { return test(a, value) })
		want = append(want, value)
		if diff := cmp.Diff(want, w.texts(account.Fulldomain)); diff != "" {
			w.t.Errorf("after an update (-want +got):\n%s", diff)
		}
	}
}

// refuseUpdates tries updates that no client may take for success.
func (w *answersWorld) refuseUpdates(account othersAccount) {
	w.t.Helper()
	value := challengeValue("z")
	forbidden := answered{401, `{"error": "forbidden"}`}
	for _, test := range []struct {
		what                 string
		user, key, subdomain string
		body                 string
		want                 answered
	}{
		{what: "a wrong password", key: challengeValue("w"), want: forbidden},
		{what: "no password", key: "-", want: forbidden},
		{what: "a wrong user", user: "00000000-0000-4000-8000-000000000000", want: forbidden},
		{what: "another subdomain", subdomain: "00000000-0000-4000-8000-000000000000", want: forbidden},
		{what: "an empty subdomain", body: `{"txt":"` + value + `"}`, want: forbidden},
		{what: "no JSON", body: "txt=" + value, want: forbidden},
		{what: "no text", body: `{"subdomain":"` + account.Subdomain + `"}`, want: answered{400, `{"error": "bad_txt"}`}},
		{what: "42 characters", body: `{"subdomain":"` + account.Subdomain + `","txt":"` + value[1:] + `"}`, want: answered{400, `{"error": "bad_txt"}`}},
		{what: "text of other characters", body: `{"subdomain":"` + account.Subdomain + `","txt":"` + value[1:] + `=\""}`, want: answered{400, `{"error": "bad_txt"}`}},
		{what: "a domain for which the client has no right", key: w.token, subdomain: answersOther, want: forbidden},
		{what: "a domain of no zone", key: w.token, subdomain: answersUnknown, want: forbidden},
		{what: "a subdomain that is no domain", key: w.token, subdomain: "a..b", want: answered{400, `{"error": "bad_subdomain"}`}},
	} {
		user, key, subdomain := account.Username, account.Password, account.Subdomain
		if test.user != "" {
			user = test.user
		}
		if test.key != "" {
			key = strings.TrimPrefix(test.key, "-")
		}
		if test.subdomain != "" {
			subdomain = test.subdomain
		}
		body := fmt.Sprintf(`{"subdomain":%q,"txt":%q}`, subdomain, value)
		if test.body != "" {
			body = test.body
		}
		a := w.send("POST", "/update", body, "X-Api-User: "+user, "X-Api-Key: "+key)
		if a != test.want {
			w.t.Errorf("an update with %s: %+v, want %+v", test.what, a, test.want)
		}
		assertTaken(w.t, acmeDNSClients, false, "an update with "+test.what, a, func(test func(answered, string) bool) bool { return test(a, value) })
	}
	for _, name := range []string{account.Fulldomain, "_acme-challenge." + answersOther} {
		if got := w.texts(name); slices.Contains(got, value) {
			w.t.Errorf("%s has %q", name, got)
		}
	}
}

// dynDNSClients are the clients of dyndns2, with what each takes for success.
var dynDNSClients = map[string]func(a answered) bool{
	"inadyn, UniFi": func(a answered) bool { return strings.Contains(a.body, "good") || strings.Contains(a.body, "nochg") },
	"OPNsense":      func(a answered) bool { return a.is2xx() },
	"ddclient, FRITZ!Box": func(a answered) bool {
		word, _, _ := strings.Cut(strings.Fields(a.body)[0], " ")
		return word == "good" || word == "nochg"
	},
}

func TestDynDNSAnswers(t *testing.T) {
	t.Parallel()
	w := newAnswersWorld(t)
	const update = "/nic/update?hostname=" + answersHost
	for _, step := range []struct{ client, path, says, ipv4, ipv6 string }{
		{"FRITZ!Box", update + "&myip=192.0.2.1,2001:db8::1", "good 192.0.2.1,2001:db8::1", "192.0.2.1", "2001:db8::1"},
		{"FRITZ!Box without IPv6", update + "&myip=192.0.2.2,", "good 192.0.2.2", "192.0.2.2", "2001:db8::1"},
		{"FRITZ!Box with two fields", update + "&myip=192.0.2.2&myipv6=", "nochg 192.0.2.2", "192.0.2.2", "2001:db8::1"},
		{"UniFi", update + "&myip=192.0.2.2", "nochg 192.0.2.2", "192.0.2.2", "2001:db8::1"},
		{"OPNsense", update + "&myip=192.0.2.3", "good 192.0.2.3", "192.0.2.3", "2001:db8::1"},
		{"ddclient", "/nic/update?system=dyndns&hostname=" + answersHost + "&myip=192.0.2.4&myipv6=2001:db8::4", "good 192.0.2.4,2001:db8::4", "192.0.2.4", "2001:db8::4"},
		{"OPNsense with IPv6", update + "&myip=2001:db8::5", "good 2001:db8::5", "192.0.2.4", "2001:db8::5"},
		{"one without an address", update + "&myip=", "good 127.0.0.1", "127.0.0.1", "2001:db8::5"},
		{"one in capitals", strings.ToUpper(update[len("/nic/update?hostname="):]) + "&myip=192.0.2.6", "good 192.0.2.6", "192.0.2.6", "2001:db8::5"},
	} {
		if !strings.HasPrefix(step.path, "/") {
			step.path = "/nic/update?hostname=" + step.path
		}
		a := w.send("GET", step.path, "", basic(w.token), "User-Agent: "+step.client)
		if a != (answered{200, step.says + "\n"}) {
			t.Errorf("%s: %+v, want %s", step.client, a, step.says)
		}
		assertTaken(t, dynDNSClients, true, step.path, a, func(test func(answered) bool) bool { return test(a) })
		w.assertAddresses(step.client, step.ipv4, step.ipv6)
	}
	many := strings.Repeat(answersHost+",", 21)
	for _, test := range []struct{ what, path, token, word string }{
		{"a wrong token", update + "&myip=192.0.2.9", "wrong", "badauth"},
		{"another host", "/nic/update?hostname=" + answersOther + "&myip=192.0.2.9", w.token, "nohost"},
		{"a host of no zone", "/nic/update?hostname=" + answersUnknown + "&myip=192.0.2.9", w.token, "nohost"},
		{"no host", "/nic/update?myip=192.0.2.9", w.token, "notfqdn"},
		{"a host without its domain", "/nic/update?hostname=good&myip=192.0.2.9", w.token, "notfqdn"},
		{"too many hosts", "/nic/update?hostname=" + many + "&myip=192.0.2.9", w.token, "numhost"},
		{"no address", update + "&myip=good", w.token, "dnserr"},
		{"two addresses", update + "&myip=192.0.2.8,192.0.2.9", w.token, "dnserr"},
	} {
		a := w.send("GET", test.path, "", basic(test.token))
		if a.body != test.word+"\n" {
			t.Errorf("%s: %+v, want %s", test.what, a, test.word)
		}
		assertTaken(t, dynDNSClients, false, test.what, a, func(test func(answered) bool) bool { return test(a) })
	}
	w.assertAddresses("all that was refused", "192.0.2.6", "2001:db8::5")
}

func (w *answersWorld) assertAddresses(after, ipv4, ipv6 string) {
	w.t.Helper()
	for qtype, want := range map[uint16]string{dns.TypeA: ipv4, dns.TypeAAAA: ipv6} {
		answer, _, err := new(dns.Client).Exchange(new(dns.Msg).SetQuestion(answersHost+".", qtype), w.dns)
		harness.NoError(w.t, err)
		if len(answer.Answer) != 1 || !strings.HasSuffix(answer.Answer[0].String(), "\t"+want) {
			w.t.Errorf("after %s: %v, want %s", after, answer.Answer, want)
		}
	}
}

// cert-manager adds and removes a value over UDP by the DNS library that this test uses too. It takes the
// RCODE for the outcome, and the library verifies the answer's signature if there is one.
func TestCertManagerAnswers(t *testing.T) {
	t.Parallel()
	w := newAnswersWorld(t)
	send := func(name, value string, change func(*dns.Msg, []dns.RR)) int {
		m := new(dns.Msg).SetUpdate(answersZone + ".")
		change(m, []dns.RR{&dns.TXT{Hdr: dns.RR_Header{Name: name, Rrtype: dns.TypeTXT, Class: dns.ClassINET, Ttl: 60}, Txt: []string{value}}})
		m.SetTsig(w.key.Name+".", dns.HmacSHA256, 300, time.Now().Unix())
		client := &dns.Client{TsigSecret: map[string]string{w.key.Name + ".": w.key.Secret}}
		answer, _, err := client.Exchange(m, w.dns)
		harness.NoError(t, err)
		if answer.IsTsig() == nil {
			t.Errorf("the answer is not signed: %v", answer)
		}
		return answer.Rcode
	}
	owner, value, first := "_acme-challenge."+answersDomain+".", challengeValue("c"), challengeValue("b")
	for _, step := range []struct {
		value  string
		change func(*dns.Msg, []dns.RR)
		want   []string
	}{{first, (*dns.Msg).Insert, []string{first}}, {value, (*dns.Msg).Insert, []string{first, value}}, {first, (*dns.Msg).Remove, []string{value}}, {value, (*dns.Msg).Remove, nil}} {
		if rcode := send(owner, step.value, step.change); rcode != dns.RcodeSuccess {
			t.Errorf("%s", dns.RcodeToString[rcode])
		}
		if diff := cmp.Diff(step.want, w.texts(owner)); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
	for i, name := range []string{"_acme-challenge." + answersOther + ".", answersDomain + ".", "_acme-challenge." + answersUnknown + "."} {
		if rcode := send(name, value, (*dns.Msg).Insert); rcode == dns.RcodeSuccess {
			t.Errorf("%s is changed", name)
		}
		w.service.Log.AwaitAudit(t, w.key.Name, i+1, func(l harness.AuditLine) bool { return l.Outcome == "refused" })
	}
}
