package service

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"

	"github.com/caddy-dns/bestdns/internal/api"
)

func rec(name, typ string, ttl int64, data string) api.Record {
	return api.Record{Name: name, Type: typ, TTL: &ttl, Data: &data}
}

// TestChallenge is the way of a certificate: append, seen in DNS, delete, gone.
func TestChallenge(t *testing.T) {
	s := startStandard(t)
	const owner = "_acme-challenge.web1.example.test."
	body := fmt.Sprintf(`{"append":[{"name":"_acme-challenge.web1","type":"TXT","data":%q}]}`, challengeValue)

	added := s.must(t, "web1", "example.test.", body)
	want := []api.Record{rec("_acme-challenge.web1", "TXT", 0, challengeValue)}
	if diff := cmp.Diff(want, added.records); diff != "" {
		t.Errorf("appended (-want +got):\n%s", diff)
	}
	if got := s.texts(t, owner); !slices.Equal(got, []string{challengeValue}) {
		t.Errorf("DNS has %q", got)
	}
	// Again: it is there already.
	if again := s.must(t, "web1", "example.test.", body); !cmp.Equal(want, again.records) {
		t.Errorf("appended again: %v", again.records)
	}
	listed := s.call(t, "web1", "GET", "/v1/zones/example.test/records?type=TXT", "")
	if diff := cmp.Diff(want, listed.records); diff != "" {
		t.Errorf("listed (-want +got):\n%s", diff)
	}
	deleted := s.must(t, "web1", "example.test.", strings.Replace(body, "append", "delete", 1))
	if diff := cmp.Diff(want, deleted.records); diff != "" {
		t.Errorf("deleted (-want +got):\n%s", diff)
	}
	reply := s.ask(t, owner, dns.TypeTXT)
	if reply.Rcode != dns.RcodeSuccess || len(reply.Answer) != 0 {
		t.Errorf("after the delete, DNS says %v", reply)
	}
	if again := s.must(t, "web1", "example.test.", strings.Replace(body, "append", "delete", 1)); len(again.records) != 0 {
		t.Errorf("deleted again: %v", again.records)
	}
}

// TestPlacing checks where records go, and under what names they come back.
func TestPlacing(t *testing.T) {
	txt := func(name string) string {
		return fmt.Sprintf(`{"append":[{"name":%q,"type":"TXT","data":%q}]}`, name, challengeValue)
	}
	tests := []struct {
		name, client, zone, body string
		status                   int
		owner                    string // where DNS has it then
		answered                 string // under which name it comes back
		cnames                   []api.CNAME
	}{
		{"as asked", "web1", "example.test", txt("_acme-challenge.web1"), 200, "_acme-challenge.web1.example.test.", "_acme-challenge.web1", nil},
		{"zone guessed too high", "web1", "test.", txt("_acme-challenge.web1.example"), 200, "_acme-challenge.web1.example.test.", "_acme-challenge.web1.example", nil},
		{"zone guessed too deep", "web1", "web1.example.test.", txt("_acme-challenge"), 200, "_acme-challenge.web1.example.test.", "_acme-challenge", nil},
		{"the owner as zone", "web1", "_acme-challenge.web1.example.test.", txt("@"), 200, "_acme-challenge.web1.example.test.", "@", nil},
		{"absolute name", "web1", "example.test", txt("_acme-challenge.web1.example.test."), 200, "_acme-challenge.web1.example.test.", "_acme-challenge.web1", nil},
		{"upper case", "web1", "EXAMPLE.test", txt("_ACME-Challenge.Web1"), 200, "_acme-challenge.web1.example.test.", "_acme-challenge.web1", nil},
		{"nested zone from above", "ops", "example.test", txt("x.nested"), 200, "x.nested.example.test.", "x.nested", nil},
		{"nested apex", "ops", "example.test", txt("nested"), 200, "nested.example.test.", "nested", nil},
		{
			"hosted elsewhere", "web1", "www.elsewhere.test", txt("_acme-challenge"), 200, "www.elsewhere.test.example.test.", "_acme-challenge",
			[]api.CNAME{{Name: "_acme-challenge.www.elsewhere.test.", Target: "www.elsewhere.test.example.test."}},
		},
		{
			"hosted elsewhere, dns-account-01", "web1", "elsewhere.test", txt("_ujmmovf2vn55tgye._acme-challenge"), 200, "_ujmmovf2vn55tgye.elsewhere.test.example.test.", "_ujmmovf2vn55tgye._acme-challenge",
			[]api.CNAME{{Name: "_ujmmovf2vn55tgye._acme-challenge.elsewhere.test.", Target: "_ujmmovf2vn55tgye.elsewhere.test.example.test."}},
		},
		{"its target, as lego asks", "web1", "www.elsewhere.test.example.test.", txt("@"), 200, "www.elsewhere.test.example.test.", "@", nil},
		{"hosted elsewhere without a right", "web1", "foreign.test", txt("_acme-challenge"), 404, "", "", nil},
		{"hosted elsewhere, no challenge", "web1", "elsewhere.test", txt("www"), 404, "", "", nil},
		{"hosted without a right in it", "web1", "secret.test", txt("_acme-challenge"), 404, "", "", nil},
		{"hosted, right for another name", "web1", "example.test", txt("_acme-challenge.web2"), 403, "", "", nil},
	}
	s := startStandard(t)
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			a := s.patch(t, test.client, test.zone, test.body)
			if a.status != test.status {
				t.Fatalf("status %d, want %d: %s", a.status, test.status, a.body)
			}
			if test.status != http.StatusOK {
				return
			}
			if len(a.records) != 1 || a.records[0].Name != test.answered {
				t.Errorf("came back as %v, want the name %q", a.body, test.answered)
			}
			if diff := cmp.Diff(test.cnames, a.cnames); diff != "" {
				t.Errorf("CNAMEs (-want +got):\n%s", diff)
			}
			if got := s.texts(t, test.owner); !slices.Equal(got, []string{challengeValue}) {
				t.Errorf("DNS has %q at %s", got, test.owner)
			}
			// What came back is what deletes it.
			undo, err := json.Marshal(api.Change{Delete: a.records})
			if err != nil {
				t.Fatal(err)
			}
			if gone := s.must(t, test.client, test.zone, string(undo)); len(gone.records) != 1 {
				t.Errorf("deleted %v", gone.body)
			}
			if got := s.texts(t, test.owner); len(got) != 0 {
				t.Errorf("after the delete DNS has %q", got)
			}
		})
	}
}

// TestDelegationOfNestedZone checks that NS records of a nested zone's apex go to
// the zone above when that one is named.
func TestDelegationOfNestedZone(t *testing.T) {
	s := startStandard(t)
	s.must(t, "ops", "example.test", `{"set":[{"name":"nested","type":"NS","data":"ns9.example.net."}]}`)
	above := s.call(t, "ops", "GET", "/v1/zones/example.test/records?name=nested", "")
	if len(above.records) != 1 || *above.records[0].Data != "ns9.example.net." {
		t.Errorf("the zone above has %s", above.body)
	}
	if refused := s.patch(t, "ops", "nested.example.test", `{"set":[{"name":"@","type":"NS","data":"ns9.example.net."}]}`); refused.status == http.StatusOK {
		t.Errorf("the apex NS records were set by hand: %s", refused.body)
	}
	s.must(t, "ops", "example.test", `{"delete":[{"name":"nested"}]}`)
}

// TestBadRequests sends changes with one mistake each. Each is refused with a
// reason, and leaves the zone as it was.
func TestBadRequests(t *testing.T) {
	record := func(name, typ, data string) string {
		return fmt.Sprintf(`{"append":[{"name":"good","type":"TXT","data":"good"},{"name":%q,"type":%q,"data":%q}]}`, name, typ, data)
	}
	long := strings.Repeat("a", 60)
	tests := []struct {
		name, zone, body string
		status           int
		want             string
	}{
		{"zone not hosted", "foreign.test", record("x", "TXT", "x"), 404, "foreign.test"},
		{"zone that is no name", "a..test", record("x", "TXT", "x"), 422, "empty label"},
		{"two zones", "example.test", record("x.nested", "TXT", "x"), 422, "one request for each zone"},
		{"name outside the zone", "example.test", record("www.example.net.", "TXT", "x"), 404, "www.example.net."},
		{"name too long", "example.test", record(strings.Repeat(long+".", 4)+"a", "TXT", "x"), 422, "longer than 255"},
		{"label too long", "example.test", record(strings.Repeat("a", 64), "TXT", "x"), 422, "label longer than 63"},
		{"name with spaces", "example.test", record("x 60 IN A 192.0.2.66 ;", "TXT", "x"), 422, "not allowed"},
		{"name with a line end", "example.test", record("x\ny", "TXT", "x"), 422, "not allowed"},
		{"name with ;", "example.test", record("x;", "TXT", "x"), 422, "not allowed"},
		{"name $ORIGIN", "example.test", record("$ORIGIN", "TXT", "x"), 422, "not allowed"},
		{"name with a bad escape", "example.test", record(`x\25`, "TXT", "x"), 422, "backslash"},
		{"name in Unicode", "example.test", record("bücher", "TXT", "x"), 422, "A-label"},
		{"unknown type", "example.test", record("x", "NONSENSE", "x"), 422, "NONSENSE"},
		{"type for questions", "example.test", record("x", "ANY", "x"), 422, "ANY"},
		{"DNSSEC by hand", "example.test", record("x", "RRSIG", "x"), 422, "signed"},
		{"SOA by hand", "example.test", record("@", "SOA", "a. b. 1 2 3 4 5"), 422, "made by the server"},
		{"bad address", "example.test", record("x", "A", "192.0.2.256"), 422, "not an IP address"},
		{"IPv6 in A", "example.test", record("x", "A", "2001:db8::1"), 422, "not an IPv4"},
		{"data with a line end", "example.test", record("x", "CNAME", "a.\n$ORIGIN b."), 422, "not allowed"},
		{"data with a comment", "example.test", record("x", "CNAME", "a. ; b"), 422, "not allowed"},
		{"relative name in data", "example.test", record("x", "CNAME", "a"), 422, "not absolute"},
		{"two records in data", "example.test", record("x", "MX", "10 a. 20 b."), 422, "MX"},
		{"generic data of the wrong length", "example.test", record("x", "TYPE65280", `\# 3 0102`), 422, "3 octets"},
		{"text that does not fit", "example.test", record("x", "TXT", strings.Repeat("x", 65400)), 422, "does not fit"},
		{"TTL negative", "example.test", `{"append":[{"name":"x","type":"TXT","ttl":-1,"data":"x"}]}`, 422, "TTL -1"},
		{"TTL too high", "example.test", `{"append":[{"name":"x","type":"TXT","ttl":2147483648,"data":"x"}]}`, 422, "TTL 2147483648"},
		{"TTL that is no integer", "example.test", `{"append":[{"name":"x","type":"TXT","ttl":1.5,"data":"x"}]}`, 400, "ttl"},
		{"no type", "example.test", `{"append":[{"name":"x","data":"x"}]}`, 422, "type and data"},
		{"no data", "example.test", `{"set":[{"name":"x","type":"TXT"}]}`, 422, "type and data"},
		{"CNAME beside other data", "example.test", `{"append":[{"name":"there","type":"CNAME","data":"a."}]}`, 409, "alone"},
		{"CNAME beside other data of the change", "example.test", record("good", "CNAME", "a."), 422, "alone"},
		{"two CNAMEs", "example.test", `{"append":[{"name":"x","type":"CNAME","data":"a."},{"name":"x","type":"CNAME","data":"b."}]}`, 422, "two of them"},
		{"CNAME at the apex", "example.test", record("@", "CNAME", "a."), 422, "alone"},
		{"apex NS by hand", "example.test", record("@", "NS", "a."), 403, "may"},
		{"name server's address by hand", "example.test", record("ns1", "A", "192.0.2.1"), 422, "configuration"},
		{"unknown field", "example.test", `{"append":[{"name":"x","type":"TXT","value":"x"}]}`, 400, "value"},
		{"unknown kind of change", "example.test", `{"replace":[]}`, 400, "replace"},
		{"wrong type", "example.test", `{"append":{"name":"x"}}`, 400, "append"},
		{"two kinds", "example.test", `{"append":[],"delete":[]}`, 400, "exactly one"},
		{"no kind", "example.test", `{}`, 400, "exactly one"},
		{"cut off", "example.test", `{"append":[{"name":"x"`, 400, "unexpected end"},
		{"nothing", "example.test", ``, 400, "unexpected end"},
		{"two bodies", "example.test", `{"delete":[]}{"delete":[]}`, 400, "after top-level value"},
		{"a megabyte too much", "example.test", `{"append":[{"name":"x","type":"TXT","data":"` + strings.Repeat("x", 1<<20) + `"}]}`, 413, "1048576"},
		{"too many records", "example.test", `{"append":[` + strings.TrimSuffix(strings.Repeat(`{"name":"x","type":"A","data":"192.0.2.1"},`, 1001), ",") + `]}`, 413, "1001 records"},
	}
	s := startStandard(t)
	s.must(t, "ops", "example.test", `{"append":[{"name":"there","type":"TXT","data":"x"}]}`)
	before := s.call(t, "ops", "GET", "/v1/zones/example.test/records", "").body
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			a := s.patch(t, "ops", test.zone, test.body)
			if a.status != test.status {
				t.Errorf("status %d, want %d: %s", a.status, test.status, a.body)
			}
			p := a.problem
			if p.Status != a.status || !p.Unchanged || p.RequestID == "" || p.RequestID != a.header.Get("X-Request-Id") || !strings.HasPrefix(p.Type, "urn:bestdns:") {
				t.Errorf("problem %+v", p)
			}
			if !strings.Contains(p.Detail, test.want) {
				t.Errorf("detail %q\ndoes not say %q", p.Detail, test.want)
			}
			if after := s.call(t, "ops", "GET", "/v1/zones/example.test/records", "").body; after != before {
				t.Errorf("the zone has changed:\n%s", after)
			}
		})
	}
	if log := s.log(t); strings.Contains(log, s.token["ops"]) {
		t.Error("the token is in the log")
	}
}

// TestTexts checks that every text comes back as it was given, and is in DNS.
func TestTexts(t *testing.T) {
	tests := map[string]string{
		"quotes":      `say "hello"`,
		"backslashes": `a\b\\c\000`,
		"unicode":     "Größe ✓",
		"control":     "tab\tnewline\nnul\x00",
		"empty":       "",
		"256 octets":  strings.Repeat("0123456789abcdef", 16),
		"65000":       strings.Repeat("0123456789", 6500),
		"directive":   "$ORIGIN example.net.",
		"comment":     "v=spf1 ; -all",
		"spaces":      "  two  spaces  ",
	}
	s := startStandard(t)
	for name, text := range tests {
		t.Run(name, func(t *testing.T) {
			body, err := json.Marshal(api.Change{Append: []api.Record{{Name: "text", Type: "TXT", Data: &text}}})
			if err != nil {
				t.Fatal(err)
			}
			s.must(t, "ops", "example.test", string(body))
			want := []api.Record{rec("text", "TXT", 60, text)}
			listed := s.call(t, "ops", "GET", "/v1/zones/example.test/records?name=text", "")
			if diff := cmp.Diff(want, listed.records); diff != "" {
				t.Errorf("listed (-want +got):\n%.500s", diff)
			}
			client := dns.Client{Net: "tcp"}
			reply, _, err := client.Exchange(new(dns.Msg).SetQuestion("text.example.test.", dns.TypeTXT), s.dns)
			if err != nil {
				t.Fatal(err)
			}
			if got := rawText(t, reply); got != text {
				t.Errorf("DNS has %.100q (%d octets), want %.100q (%d)", got, len(got), text, len(text))
			}
			undo, err := json.Marshal(api.Change{Delete: want})
			if err != nil {
				t.Fatal(err)
			}
			if gone := s.must(t, "ops", "example.test", string(undo)); len(gone.records) != 1 {
				t.Errorf("deleted %s", gone.body)
			}
		})
	}
}

// rawText returns the octets of the only TXT record of an answer.
func rawText(t *testing.T, reply *dns.Msg) string {
	t.Helper()
	if len(reply.Answer) != 1 {
		t.Fatalf("%d records", len(reply.Answer))
	}
	buf := make([]byte, 1<<17)
	end, err := dns.PackRR(reply.Answer[0], buf, 0, nil, false)
	if err != nil {
		t.Fatal(err)
	}
	wire := buf[len("\x04text\x07example\x04test\x00")+10 : end]
	text := ""
	for len(wire) > 0 {
		n := int(wire[0])
		text += string(wire[1 : 1+n])
		wire = wire[1+n:]
	}
	return text
}

// TestOctets checks that text which is not UTF-8 travels in the form of RFC 3597.
func TestOctets(t *testing.T) {
	s := startStandard(t)
	const body = `{"append":[{"name":"x","type":"TYPE16","ttl":60,"data":"\\# 4 03ff0080"}]}`
	a := s.must(t, "ops", "example.test", body)
	want := []api.Record{rec("x", "TYPE16", 60, `\# 4 03ff0080`)}
	if diff := cmp.Diff(want, a.records); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if got := rawTextAt(t, s, "x.example.test."); got != "\xff\x00\x80" {
		t.Errorf("DNS has %q", got)
	}
}

// rawTextAt returns the octets of the first string of the only TXT record at a name.
func rawTextAt(t *testing.T, s *service, name string) string {
	t.Helper()
	answer := s.ask(t, name, dns.TypeTXT).Answer
	if len(answer) != 1 {
		t.Fatalf("%d records at %s", len(answer), name)
	}
	buf := make([]byte, 1<<16)
	end, err := dns.PackRR(answer[0], buf, 0, nil, false)
	if err != nil {
		t.Fatal(err)
	}
	return string(buf[len(name)+1+10+1 : end])
}

// TestUnknownType checks that a type without a name is kept as it is.
func TestUnknownType(t *testing.T) {
	s := startStandard(t)
	a := s.must(t, "ops", "example.test", `{"append":[{"name":"x","type":"TYPE65280","data":"\\# 3 010203"}]}`)
	if diff := cmp.Diff([]api.Record{rec("x", "TYPE65280", 60, `\# 3 010203`)}, a.records); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	reply := s.ask(t, "x.example.test.", 65280)
	if len(reply.Answer) != 1 || reply.Answer[0].(*dns.RFC3597).Rdata != "010203" {
		t.Errorf("DNS has %v", reply.Answer)
	}
}

func TestWho(t *testing.T) {
	s := startStandard(t)
	tests := []struct {
		name          string
		header, value string
		status        int
		want          string
	}{
		{"no token", "", "", 401, "no token"},
		{"another scheme", "Authorization", "Digest x", 401, "no token"},
		{"wrong token", "Authorization", "Bearer " + api.NewToken(), 401, "no client"},
		{"cut token", "Authorization", "Bearer " + s.token["ops"][:50], 401, "cut"},
		{"mistyped token", "Authorization", "Bearer " + mistype(s.token["ops"]), 401, "mistyped"},
		{"expired token", "Authorization", "Bearer " + s.token["expired"], 401, "expired"},
		{"from outside its networks", "Authorization", "Bearer " + s.token["far"], 401, "127.0.0.1"},
		{"lower-case scheme", "Authorization", "bearer " + s.token["ops"], 200, ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			request, err := http.NewRequest("GET", s.api+"/v1/token", nil)
			if err != nil {
				t.Fatal(err)
			}
			if test.header != "" {
				request.Header.Set(test.header, test.value)
			}
			a := do(t, request)
			if a.status != test.status || !strings.Contains(a.problem.Detail, test.want) {
				t.Errorf("%d %s", a.status, a.body)
			}
			if a.status == 401 && len(a.header.Values("WWW-Authenticate")) != 2 {
				t.Errorf("WWW-Authenticate: %q", a.header.Values("WWW-Authenticate"))
			}
		})
	}
	t.Run("basic", func(t *testing.T) {
		request, err := http.NewRequest("GET", s.api+"/v1/token", nil)
		if err != nil {
			t.Fatal(err)
		}
		request.SetBasicAuth("anyone", s.token["web1"])
		a := do(t, request)
		var token api.Token
		if err := json.Unmarshal([]byte(a.body), &token); err != nil {
			t.Fatalf("%v: %s", err, a.body)
		}
		want := api.Token{Client: "web1", Rights: []string{"certificates web1.example.test", "certificates under elsewhere.test"}}
		if diff := cmp.Diff(want, token); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
}

// mistype changes a letter within the secret.
func mistype(token string) string {
	b := []byte(token)
	if b[20]++; b[20] == 'z'+1 || b[20] == 'Z'+1 || b[20] == '9'+1 {
		b[20] = 'a'
	}
	return string(b)
}

// TestGuessing checks that wrong tokens are slowed down, and right ones are not.
func TestGuessing(t *testing.T) {
	s := startStandard(t)
	t.Cleanup(func() { clear(wrongTokens.limiters) })
	throttled := false
	for range 2 * wrongTokens.burst {
		request, err := http.NewRequest("GET", s.api+"/v1/zones", nil)
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Authorization", "Bearer "+api.NewToken())
		a := do(t, request)
		if a.status == http.StatusTooManyRequests {
			throttled = true
			if a.header.Get("Retry-After") == "" {
				t.Error("429 without Retry-After")
			}
		}
		if right := s.call(t, "ops", "GET", "/v1/zones", ""); right.status != http.StatusOK {
			t.Fatalf("a right token got %d", right.status)
		}
	}
	if !throttled {
		t.Error("no wrong token got 429")
	}
}

func TestZones(t *testing.T) {
	s := startStandard(t)
	for client, want := range map[string]string{
		"ops":  `{"zones":[{"name":"example.test."},{"name":"nested.example.test."}]}`,
		"web1": `{"zones":[{"name":"example.test."}]}`,
	} {
		if got := strings.TrimSpace(s.call(t, client, "GET", "/v1/zones", "").body); got != want {
			t.Errorf("%s sees %s, want %s", client, got, want)
		}
	}
}

func TestRoutes(t *testing.T) {
	s := startStandard(t)
	tests := []struct {
		method, path string
		status       int
		want         string
	}{
		{"GET", "/v1/health", 200, `{"status":"ok"}`},
		{"GET", "/v1/openapi.yaml", 200, "openapi: 3.1"},
		{"DELETE", "/v1/zones", 405, "method-not-allowed"},
		{"POST", "/v1/zones/example.test/records", 405, "method-not-allowed"},
		{"HEAD", "/v1/zones/example.test/records", 200, ""},
		{"HEAD", "/", 200, ""},
		{"GET", "/v1/zones/example.test%2E/records", 200, "records"},
		{"GET", "/v1/zones/0%2F25.2.0.192.in-addr.arpa/records", 404, "0/25.2.0.192.in-addr.arpa"},
		{"GET", "/v1/zones/example.test/records?colour=blue", 400, "colour"},
		{"GET", "/v1/zones/a/b/records", 404, "the API has nothing at /v1/zones/a/b/records"},
		{"GET", "/v1/zones//records", 404, "the API has nothing"},
		{"DELETE", "/v1/tokens", 404, "the API has nothing at /v1/tokens"},
		{"GET", "/v1/", 404, "the API has nothing"},
		{"GET", "/v1", 299, "next"},
		{"GET", "/v2/zones", 299, "next"},
		{"POST", "/", 299, "next"},
		{"PATCH", "/", 299, "next"},
		{"GET", "//", 299, "next"},
		{"GET", "/index.html", 299, "next"},
	}
	for _, test := range tests {
		a := s.call(t, "ops", test.method, test.path, "")
		if a.status != test.status || !strings.Contains(a.body, test.want) {
			t.Errorf("%s %s: %d %s, want %d %s", test.method, test.path, a.status, a.body, test.status, test.want)
		}
	}
	for path, want := range map[string]string{
		"/v1/zones":                      "GET, HEAD",
		"/v1/health":                     "GET, HEAD",
		"/v1/zones/example.test/records": "GET, HEAD, PATCH",
	} {
		if a := s.call(t, "ops", "DELETE", path, ""); !slices.Equal(a.header.Values("Allow"), []string{want}) {
			t.Errorf("Allow of %s: %q, want %q", path, a.header.Values("Allow"), want)
		}
	}
}

// TestEarlyData checks that a change in TLS early data is refused: it could be
// replayed after the record was deleted.
func TestEarlyData(t *testing.T) {
	s := startStandard(t)
	request, err := http.NewRequest("PATCH", s.api+"/v1/zones/example.test/records", strings.NewReader(`{"append":[]}`))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+s.token["ops"])
	request.Header.Set("Early-Data", "1")
	if a := do(t, request); a.status != http.StatusTooEarly || !a.problem.Unchanged {
		t.Errorf("%d %s", a.status, a.body)
	}
}

// TestAudit checks that a change and a refusal each have a line, with the
// request's id and without any value.
func TestAudit(t *testing.T) {
	s := startStandard(t)
	body := fmt.Sprintf(`{"append":[{"name":"_acme-challenge.web1","type":"TXT","data":%q}]}`, challengeValue)
	done := s.must(t, "web1", "example.test", body)
	refused := s.patch(t, "web1", "example.test", `{"set":[{"name":"www","type":"A","data":"192.0.2.1"}]}`)
	unread := s.patch(t, "web1", "example.test", `{"append":`)
	lines := make(map[string]map[string]any)
	for line := range strings.Lines(s.log(t)) {
		var entry map[string]any
		if json.Unmarshal([]byte(line), &entry) == nil && entry["logger"] == "bestdns.audit" {
			lines[entry["request_id"].(string)] = entry
		}
	}
	if line := lines[done.header.Get("X-Request-Id")]; line["msg"] != "changed" || line["client"] != "web1" || line["zone"] != "example.test." || line["serial"] == nil {
		t.Errorf("the change: %v", line)
	}
	if line := lines[refused.problem.RequestID]; line["msg"] != "refused" || line["status"] != 403.0 {
		t.Errorf("the refusal: %v", line)
	}
	if line := lines[unread.problem.RequestID]; line["msg"] != "refused" || line["status"] != 400.0 || line["client"] != "web1" || line["op"] != "unread" {
		t.Errorf("what could not be read: %v", line)
	}
	if strings.Contains(s.log(t), challengeValue) || strings.Contains(s.log(t), s.token["web1"]) {
		t.Error("a value or a token is in the log")
	}
}
