package e2e

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"

	"github.com/caddy-dns/bestdns/e2e/internal/harness"
	"github.com/caddy-dns/bestdns/internal/api"
)

// This file has the clients that the tests cannot run: what they send, word for word, and what each of
// them takes for success. Each answer is read as every client of its protocol would read it.

// answered is an answer as a client looks at it.
type answered struct {
	status int
	body   string
}

// success reports whether a client takes an answer for the success of its request, which was about a name
// and a value.
type success func(a answered, name, value string) bool

// anyOf2xx is the client that looks at the status only.
func anyOf2xx(a answered, _, _ string) bool { return a.status/100 == 2 }

// echoed is the client that looks for the value in the answer.
func echoed(a answered, _, value string) bool { return strings.Contains(a.body, `"`+value+`"`) }

// assertRead fails the test unless every client of a protocol takes an answer for a success, or, if want is
// false, no client does.
func assertRead(t *testing.T, clients map[string]success, want bool, what string, a answered, name, value string) {
	t.Helper()
	for client, reads := range clients {
		if got := reads(a, name, value); got != want {
			t.Errorf("%s: %s takes the answer for success: %v, want %v. It is %d %s", what, client, got, want, a.status, a.body)
		}
	}
}

// answersWorld is a service for them.
type answersWorld struct {
	t       *testing.T
	dns     string
	api     string
	token   string
	key     harness.Key
	guest   string // the token of a client that may only read one name
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
	r := newClientRun(clientRow{}, 0)
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

// httpreqClients are the clients of httpreq and acmeproxy.
var httpreqClients = map[string]success{
	"acme.sh, Proxmox, OPNsense, pfSense": echoed,
	"Caddy's acmeproxy": func(a answered, name, value string) bool {
		var got struct{ FQDN, Value string }
		return a.status == http.StatusOK && json.Unmarshal([]byte(a.body), &got) == nil && got.FQDN == name && got.Value == value
	},
	"lego, Traefik": anyOf2xx,
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
			assertRead(t, httpreqClients, true, of+" "+step.path, a, owner, value)
			if diff := gocmp.Diff(step.want, w.texts(owner)); diff != "" {
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
			{what: "an invalid name", name: "_acme-challenge.." + answersDomain + "."},
			{what: "a value that is not a challenge's", value: "value"},
			{what: "a value of 42 characters", value: value[1:]},
			{what: "a blank value", value: " "},
			{what: "an empty value", body: `{"fqdn":"` + owner + `","value":""}`},
			{what: "invalid JSON", body: owner + " " + value},
			{what: "a value alone", body: `{"value":"` + value + `"}`},
			{what: "both modes", body: `{"fqdn":"` + owner + `","value":"` + value + `","domain":"` + answersDomain + `","keyAuth":"x"}`},
			{what: "a list", body: `[{"fqdn":"` + owner + `","value":"` + value + `"}]`},
			{what: "GET", method: "GET"},
		} {
			name, sent := cmp.Or(test.name, owner), cmp.Or(test.value, value)
			body := cmp.Or(test.body, bodies["acme.sh"](name, sent))
			a := w.send(cmp.Or(test.method, "POST"), path, body, cmp.Or(test.header, basic(w.token)), "Content-Type: application/json")
			assertRead(t, httpreqClients, false, path+" with "+test.what, a, name, sent)
		}
	}
	for _, name := range []string{owner, answersDomain, "_acme-challenge." + answersOther} {
		if got := w.texts(name); got != nil {
			t.Errorf("%s has %q", name, got)
		}
	}
}

// acmeDNSClients are the clients of acme-dns, when they update.
var acmeDNSClients = map[string]success{
	"acme.sh, Proxmox":            echoed,
	"cert-manager, Traefik, lego": anyOf2xx,
	"Caddy's acmedns, win-acme":   func(a answered, _, _ string) bool { return a.status == http.StatusOK },
	"one that compares the answer with that of acme-dns": func(a answered, _, value string) bool {
		return a == answered{200, `{"txt": "` + value + `"}`}
	},
}

func TestACMEDNSAnswers(t *testing.T) {
	t.Parallel()
	w := newAnswersWorld(t)
	var account storedAccount
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
		{"an empty network", "/r/" + w.token + "/register", `{"allowfrom":[""]}`, nil, answered{400, `{"error": "invalid_allowfrom_cidr"}`}},
		{"an address", "/r/" + w.token + "/register", `{"allowfrom":["192.0.2.1"]}`, nil, answered{400, `{"error": "invalid_allowfrom_cidr"}`}},
		{"invalid JSON", "/r/" + w.token + "/register", `{`, nil, answered{400, `{"error": "malformed_json_payload"}`}},
	} {
		if got := w.send("POST", test.path, test.body, test.headers...); got != test.want {
			t.Errorf("registration with %s: %+v, want %+v", test.what, got, test.want)
		}
	}
	harness.NoError(t, w.service.Log.Wait(1, 10*time.Second, func(e harness.Entry) bool {
		return e.Message == "a request was refused" && strings.Contains(e.Line, "no right to register accounts")
	}))
	if got := w.send("GET", "/health", ""); got != (answered{200, ""}) {
		t.Errorf("health: %+v", got)
	}
	w.refuseUpdates(account)
	var elsewhere storedAccount
	harness.NoError(t, json.Unmarshal([]byte(w.send("POST", "/register", `{"allowfrom":["192.0.2.0/24"]}`, "Authorization: Bearer "+w.token).body), &elsewhere))
	got := w.send("POST", "/update", fmt.Sprintf(`{"subdomain":%q,"txt":%q}`, elsewhere.Subdomain, challengeValue("e")), "X-Api-User: "+elsewhere.Username, "X-Api-Key: "+elsewhere.Password)
	if got != (answered{401, `{"error": "forbidden"}`}) {
		t.Errorf("an update from elsewhere: %+v", got)
	}
}

// updateAccount has clients update an account's value.
func (w *answersWorld) updateAccount(account storedAccount) {
	w.t.Helper()
	var want []string // acme-dns would have two of them at most
	for i, form := range []string{`{"subdomain":%q,"txt":%q}`, `{"subdomain":%q, "txt": %q}`, `{"txt":%[2]q,"subdomain":%[1]q,"allowfrom":[]}`} {
		value := challengeValue(string(rune('a' + i)))
		a := w.send("POST", "/update", fmt.Sprintf(form, account.Subdomain, value), "X-Api-User: "+account.Username, "X-Api-Key: "+account.Password)
		assertRead(w.t, acmeDNSClients, true, "an update", a, account.Fulldomain, value)
		want = append(want, value)
		if diff := gocmp.Diff(want, w.texts(account.Fulldomain)); diff != "" {
			w.t.Errorf("after an update (-want +got):\n%s", diff)
		}
	}
}

// refuseUpdates tries updates whose answers no client may take for success.
func (w *answersWorld) refuseUpdates(account storedAccount) {
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
		{what: "no password", key: " ", want: forbidden}, // HTTP trims it
		{what: "a wrong user", user: "00000000-0000-4000-8000-000000000000", want: forbidden},
		{what: "another subdomain", subdomain: "00000000-0000-4000-8000-000000000000", want: forbidden},
		{what: "an empty subdomain", body: `{"txt":"` + value + `"}`, want: forbidden},
		{what: "invalid JSON", body: "txt=" + value, want: forbidden},
		{what: "no text", body: `{"subdomain":"` + account.Subdomain + `"}`, want: answered{400, `{"error": "bad_txt"}`}},
		{what: "42 characters", body: `{"subdomain":"` + account.Subdomain + `","txt":"` + value[1:] + `"}`, want: answered{400, `{"error": "bad_txt"}`}},
		{what: "text of other characters", body: `{"subdomain":"` + account.Subdomain + `","txt":"` + value[1:] + `=\""}`, want: answered{400, `{"error": "bad_txt"}`}},
		{what: "a domain for which the client has no right", key: w.token, subdomain: answersOther, want: forbidden},
		{what: "a domain of no zone", key: w.token, subdomain: answersUnknown, want: forbidden},
		{what: "a subdomain that is not a domain name", key: w.token, subdomain: "a..b", want: answered{400, `{"error": "bad_subdomain"}`}},
	} {
		subdomain := cmp.Or(test.subdomain, account.Subdomain)
		body := cmp.Or(test.body, fmt.Sprintf(`{"subdomain":%q,"txt":%q}`, subdomain, value))
		a := w.send("POST", "/update", body, "X-Api-User: "+cmp.Or(test.user, account.Username), "X-Api-Key: "+cmp.Or(test.key, account.Password))
		if a != test.want {
			w.t.Errorf("an update with %s: %+v, want %+v", test.what, a, test.want)
		}
		assertRead(w.t, acmeDNSClients, false, "an update with "+test.what, a, subdomain, value)
	}
	for _, name := range []string{account.Fulldomain, "_acme-challenge." + answersOther} {
		if got := w.texts(name); slices.Contains(got, value) {
			w.t.Errorf("%s has %q", name, got)
		}
	}
}

// dynDNSClients are the clients of dyndns2.
var dynDNSClients = map[string]success{
	"inadyn, UniFi": func(a answered, _, _ string) bool {
		return strings.Contains(a.body, "good") || strings.Contains(a.body, "nochg")
	},
	"OPNsense": anyOf2xx,
	"ddclient, FRITZ!Box": func(a answered, _, _ string) bool {
		words := strings.Fields(a.body)
		return len(words) > 0 && (words[0] == "good" || words[0] == "nochg")
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
		{"one in capitals", "/nic/update?hostname=" + strings.ToUpper(answersHost) + "&myip=192.0.2.6", "good 192.0.2.6", "192.0.2.6", "2001:db8::5"},
	} {
		a := w.send("GET", step.path, "", basic(w.token), "User-Agent: "+step.client)
		if a != (answered{200, step.says + "\n"}) {
			t.Errorf("%s: %+v, want %s", step.client, a, step.says)
		}
		assertRead(t, dynDNSClients, true, step.path, a, answersHost, step.says)
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
		assertRead(t, dynDNSClients, false, test.what, a, answersHost, test.word)
	}
	w.assertAddresses("all that was refused", "192.0.2.6", "2001:db8::5")
}

func (w *answersWorld) assertAddresses(after, ipv4, ipv6 string) {
	w.t.Helper()
	for qtype, want := range map[uint16]string{dns.TypeA: ipv4, dns.TypeAAAA: ipv6} {
		if diff := gocmp.Diff([]string{want}, harness.Query(w.t, w.dns, answersHost, qtype)); diff != "" {
			w.t.Errorf("after %s (-want +got):\n%s", after, diff)
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
		if diff := gocmp.Diff(step.want, w.texts(owner)); diff != "" {
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
