package service

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddy-dns/bestdns/internal/access"
	"github.com/caddy-dns/bestdns/internal/tsig"
	"github.com/caddy-dns/bestdns/service/check"
)

// checked runs "caddy bestdns check" at a service, and returns its steps by name. The name server is the
// resolver too: what comes after the client's own steps is of no interest here.
func (s *service) checked(t *testing.T, args ...string) map[string]check.Step {
	t.Helper()
	var out bytes.Buffer
	cmd := checkCommand()
	cmd.SetOut(&out)
	cmd.SetErr(&out)
	cmd.SetArgs(append(args, "--json", "--resolver", s.dns))
	_ = cmd.Execute() // it fails, for no zone is delegated
	var report check.Report
	if err := json.Unmarshal(out.Bytes(), &report); err != nil {
		t.Fatalf("%v in %s", err, out.String())
	}
	steps := make(map[string]check.Step)
	for _, step := range report.Steps {
		steps[step.Name] = step
	}
	return steps
}

func write(t *testing.T, text string) string {
	t.Helper()
	return writeAs(t, "file", text)
}

// writeAs writes a file with a name by which Caddy knows how to read it.
func writeAs(t *testing.T, name, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// wantStep compares the status of a step and what it says.
func wantStep(t *testing.T, steps map[string]check.Step, name string, status check.Status, says string) {
	t.Helper()
	step, ok := steps[name]
	text := strings.Join(append([]string{step.Found, step.Do}, step.Lines...), "\n")
	if !ok || step.Status != status || !strings.Contains(text, says) {
		t.Errorf("step %s is %q and does not say %q:\n%s", name, step.Status, says, text)
	}
}

// TestCheckUpdates checks clients that send updates, by keys as token --for prints them.
func TestCheckUpdates(t *testing.T) {
	args := []string{"web1", "--certificates", "web1.example.org", "--certificates", "elsewhere.test", "--for", "nsupdate"}
	made := tokenFor(t, args...)
	s := startFor(t, made)
	key := write(t, made.Paste[0].Text)
	for _, domain := range []string{"web1.example.org", "*.elsewhere.test"} {
		steps := s.checked(t, domain, "--tsig-key", key, "--nameserver", s.dns)
		wantStep(t, steps, "update-zone", check.OK, "as of zone")
		wantStep(t, steps, "update", check.OK, "took it away again")
		wantStep(t, steps, "write", check.Skipped, "no challenge is written: the step update has")
	}
	if got := append(s.texts(t, "_acme-challenge.web1.example.org."), s.texts(t, "elsewhere.test.acme.example.com.")...); len(got) > 0 {
		t.Errorf("left: %q", got)
	}
	for name, test := range map[string]struct{ domain, key, step, says string }{
		"another domain":    {"web2.example.org", made.Paste[0].Text, "update", `client "web1" may not append this TXT record`},
		"no zone":           {"absent.test", made.Paste[0].Text, "update-zone", "Unable to determine base domain"},
		"another secret":    {"web1.example.org", strings.Replace(made.Paste[0].Text, aSecret, randomSecrets.shared(), 1), "update", "answers NOTAUTH, BADSIG"},
		"another name":      {"web1.example.org", strings.Replace(made.Paste[0].Text, "web1", "web2", 1), "update", "no client and no transfer of the configuration has the key"},
		"another algorithm": {"web1.example.org", strings.Replace(made.Paste[0].Text, "sha256", "sha512", 1), "update", "tsig web1 hmac-sha512 {env.…}"},
	} {
		t.Run(name, func(t *testing.T) {
			steps := s.checked(t, test.domain, "--tsig-key", write(t, test.key), "--nameserver", s.dns)
			wantStep(t, steps, test.step, check.Wrong, test.says)
		})
	}
	t.Run("nothing there", func(t *testing.T) {
		wantStep(t, s.checked(t, "web1.example.org", "--tsig-key", key, "--nameserver", freeAddress(t)), "update-zone", check.Wrong, "no answer from")
	})
	t.Run("no client with a key", func(t *testing.T) {
		s.load(t, s.standard())
		wantStep(t, s.checked(t, "web1.example.test", "--tsig-key", key, "--nameserver", s.dns), "update", check.Wrong, "no client of the service has a key")
	})
}

// TestCheckUpdatesNotAccepted checks a client that is not let in, whatever its rights are.
func TestCheckUpdatesNotAccepted(t *testing.T) {
	for name, test := range map[string]struct {
		limit Client
		says  []string
	}{
		"from elsewhere": {Client{ClientIP: []string{"192.0.2.0/24"}}, []string{`client "web1" is not accepted from this address: 127.0.0.1 is in none`, "\tclient_ip <address>"}},
		"expired":        {Client{Expires: "2020-01-01"}, []string{`client "web1" has expired: it was accepted until 2020-01-02`, "\texpires 20"}},
	} {
		t.Run(name, func(t *testing.T) {
			made := tokenFor(t, "web1", "--certificates", "web1.example.org", "--for", "nsupdate")
			made.Config.ClientIP, made.Config.Expires = test.limit.ClientIP, test.limit.Expires
			s := startFor(t, made)
			steps := s.checked(t, "web1.example.org", "--tsig-key", write(t, made.Paste[0].Text), "--nameserver", s.dns)
			for _, says := range test.says {
				wantStep(t, steps, "update", check.Wrong, says)
			}
		})
	}
}

// TestCheckAccount checks an account of acme-dns.
func TestCheckAccount(t *testing.T) {
	s := startFor(t, tokenFor(t, "hosts", "--register", "under auth.example.org"))
	s.token["hosts"] = aToken
	a := s.call(t, "hosts", http.MethodPost, "/register", "")
	var account check.Account
	if err := json.Unmarshal([]byte(a.body), &account); err != nil || a.status != http.StatusCreated {
		t.Fatalf("%v: %d %s", err, a.status, a.body)
	}
	account.Server = s.api + "/r/" + aToken // as lego stores it
	run := func(t *testing.T, account check.Account, args ...string) map[string]check.Step {
		t.Helper()
		text, err := json.Marshal(map[string]check.Account{"www.elsewhere.test": account})
		if err != nil {
			t.Fatal(err)
		}
		steps := s.checked(t, append([]string{"*.www.elsewhere.test", "--acme-dns", write(t, string(text))}, args...)...)
		for _, step := range steps {
			if text := fmt.Sprint(step); strings.Contains(text, aToken) || strings.Contains(text, account.Password) {
				t.Errorf("a secret is shown: %s", text)
			}
		}
		return steps
	}
	steps := run(t, account)
	wantStep(t, steps, "acme-dns", check.OK, "which answers challenges at "+account.Fulldomain)
	wantStep(t, steps, "cname", check.Unknown, "_acme-challenge.www.elsewhere.test. CNAME "+account.Fulldomain+".")
	wantStep(t, steps, "write", check.Skipped, "an account of acme-dns cannot remove what it writes")
	if got := s.texts(t, account.Fulldomain+"."); len(got) > 0 {
		t.Errorf("left: %q", got)
	}

	other := account
	other.Password = strings.Repeat("A", len(account.Password))
	wantStep(t, run(t, other), "acme-dns", check.Wrong, "does not accept the account")
	other = account
	other.Server = ""
	wantStep(t, run(t, other, "--endpoint", s.api), "acme-dns", check.OK, "accepts the account")
	other.Server = "http://" + freeAddress(t)
	wantStep(t, run(t, other), "acme-dns", check.Wrong, "start the service")
	other.Server = "ftp://dns.example.net"
	wantStep(t, run(t, other), "acme-dns", check.Wrong, "correct server_url")

	s.load(t, s.standard()) // without acme_dns
	wantStep(t, run(t, account), "acme-dns", check.Wrong, "\tacme_dns")
}

func TestCheckHTTPReq(t *testing.T) {
	s := startFor(t, tokenFor(t, "web1", "--certificates", "web1.example.org"))
	token := write(t, aToken)
	wantStep(t, s.checked(t, "web1.example.org", "--endpoint", s.api, "--token-file", token, "--httpreq"), "httpreq", check.OK, "speaks httpreq")
	if _, ok := s.checked(t, "web1.example.org", "--endpoint", s.api, "--token-file", token)["httpreq"]; ok {
		t.Error("httpreq is checked where no one asked")
	}
	s.load(t, s.standard())
	wantStep(t, s.checked(t, "web1.example.org", "--endpoint", s.api, "--token-file", token, "--httpreq"), "httpreq", check.Wrong, "\thttpreq")
}

func TestCheckOtherBadInput(t *testing.T) {
	key := write(t, `key "web1" { algorithm hmac-sha256; secret "`+aSecret+`"; };`)
	for name, test := range map[string]struct {
		args []string
		want string
	}{
		"no domain":        {[]string{"--tsig-key", key}, "name the domain"},
		"both":             {[]string{"www.example.org", "--tsig-key", key, "--acme-dns", key}, "two clients"},
		"no server":        {[]string{"www.example.org", "--tsig-key", key}, "--nameserver"},
		"a server alone":   {[]string{"www.example.org", "--nameserver", "192.0.2.1"}, "--tsig-key"},
		"a host's name":    {[]string{"www.example.org", "--tsig-key", key, "--nameserver", "dns.example.net"}, "not an IP address"},
		"no file":          {[]string{"www.example.org", "--tsig-key", "/nonexistent/key"}, "/nonexistent/key"},
		"no key":           {[]string{"www.example.org", "--tsig-key", write(t, aSecret)}, "is not a key as tsig-keygen writes it"},
		"no secret":        {[]string{"www.example.org", "--tsig-key", write(t, `key web1 { algorithm hmac-sha256; };`)}, "no algorithm or no secret"},
		"MD5":              {[]string{"www.example.org", "--tsig-key", write(t, `key web1 { algorithm hmac-md5; secret "`+aSecret+`"; };`)}, "hmac-md5 is broken"},
		"no accounts":      {[]string{"www.example.org", "--acme-dns", key}, "is not a client's file of accounts, such as {\"www.example.org\""},
		"the service's":    {[]string{"www.example.org", "--acme-dns", write(t, `{"accounts": [{"username": "u", "password": "$2a$10$x", "subdomain": "s"}]}`)}, "is what import-acme-dns writes for the service"},
		"no URL":           {[]string{"www.example.org", "--acme-dns", write(t, `{"www.example.org": {"username": "u"}}`)}, "has no server_url: give the URL of the service with --endpoint"},
		"no account":       {[]string{"www.example.org", "--acme-dns", write(t, `{}`)}, "it has them for no domain"},
		"another's domain": {[]string{"www.example.org", "--acme-dns", write(t, `{"mail.example.org": {}}`)}, "has no account for www.example.org; it has them for mail.example.org"},
	} {
		t.Run(name, func(t *testing.T) {
			cmd := checkCommand()
			var out bytes.Buffer
			cmd.SetOut(&out)
			cmd.SetErr(&out)
			cmd.SetArgs(append(test.args, "--resolver", "127.0.0.1:1"))
			err := cmd.Execute()
			if err == nil || !strings.Contains(out.String(), test.want) || strings.Contains(out.String(), aSecret) {
				t.Errorf("%v\n%s", err, out.String())
			}
		})
	}
}

// TestReadKeyFile reads what the token command prints, and tsig-keygen.
func TestReadKeyFile(t *testing.T) {
	want, err := tsig.NewKey("web1.example", "hmac-sha512", aSecret)
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{
		"key \"web1.example\" {\n\talgorithm hmac-sha512;\n\tsecret \"" + aSecret + "\";\n};\n",
		"key web1.example. { secret " + aSecret + "; algorithm \"HMAC-SHA512\"; }",
	} {
		if got, err := readKeyFile(write(t, text)); err != nil || got != want {
			t.Errorf("%s: %v %v", text, got, err)
		}
	}
}

// TestCheckUpdatesServer finds the name server's port by the configuration, and says where the flag
// says otherwise.
func TestCheckUpdatesServer(t *testing.T) {
	key := write(t, `key "web1" { algorithm hmac-sha256; secret "`+aSecret+`"; };`)
	config := writeAs(t, "Caddyfile", "{\n\tbestdns {\n\t\tlisten udp/127.0.0.1:22053 tcp/127.0.0.1:22053 :22054\n\t\tzone example.org {\n\t\t\tns ns1.example.org 127.0.0.1\n\t\t}\n\t}\n}\n")
	for want, args := range map[string][]string{
		"127.0.0.1:22053": nil,
		"192.0.2.7:53":    {"--nameserver", "192.0.2.7"},
		"192.0.2.7:5353":  {"--nameserver", "192.0.2.7:5353"},
	} {
		var o checkOptions
		cmd := checkCommand()
		cmd.ResetFlags()
		o.bind(cmd)
		if err := cmd.ParseFlags(append([]string{"--config", config, "--tsig-key", key, "--resolver", "127.0.0.1"}, args...)); err != nil {
			t.Fatal(err)
		}
		o.domain = "www.example.org"
		options, err := o.prepare(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if options.Updates.Server != want {
			t.Errorf("updates are sent to %s, want %s", options.Updates.Server, want)
		}
		if got := strings.Join(options.Listen, " "); got != "127.0.0.1:22053 :22054" {
			t.Errorf("listen %s", got)
		}
	}
}

// TestCheckConfigFaults says of a configuration that it does not load.
func TestCheckConfigFaults(t *testing.T) {
	t.Setenv("BESTDNS_QUOTED", `"`+aSecret+`"`)
	for name, test := range map[string]struct {
		client string
		status check.Status
		says   string
	}{
		"a file that is missing":     {"register under auth.example.org\naccounts /nonexistent/accounts.json", check.Wrong, `does not load: client "web1": accounts: stat /nonexistent/accounts.json`},
		"a variable that is not set": {"tsig web1 hmac-sha256 {env.BESTDNS_ABSENT}\ncertificates web1.example.org", check.Warning, "evaluated placeholder {env.BESTDNS_ABSENT} is empty: Caddy has the variables with which it was started, so restart it with this one"},
		"a file that is not there":   {"tsig web1 hmac-sha256 {file./nonexistent/key}\ncertificates web1.example.org", check.Warning, "the file is missing or empty, or Caddy's user may not read it"},
		"quotes":                     {"tsig web1 hmac-sha256 {env.BESTDNS_QUOTED}\ncertificates web1.example.org", check.Wrong, "remove the quotes around it"},
		"no zone":                    {"register under auth.example.com\naccount_secret " + aSecret, check.Wrong, "no zone of this service holds"},
		"nothing wrong":              {"certificates web1.example.org", "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			config := writeAs(t, "Caddyfile", "{\nbestdns {\nzone example.org {\nns ns1.example.net\n}\nclient web1 {\ntoken "+access.DigestOf(aToken).String()+"\n"+test.client+"\n}\n}\n}\n")
			o := checkOptions{ca: "letsencrypt.org", resolvers: []string{"127.0.0.1"}}
			o.admin.config = config
			options, err := o.prepare(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if test.status == "" {
				if len(options.Before) > 0 {
					t.Errorf("%v", options.Before)
				}
				return
			}
			steps := map[string]check.Step{}
			for _, step := range options.Before {
				steps[step.Name] = step
			}
			wantStep(t, steps, "config", test.status, test.says)
			wantStep(t, steps, "config", test.status, "caddy validate --config "+config)
		})
	}
}
