package service

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/google/go-cmp/cmp"
	"github.com/libdns/libdns"
	"github.com/spf13/cobra"

	"github.com/caddy-dns/bestdns"
	"github.com/caddy-dns/bestdns/internal/api"
	"github.com/caddy-dns/bestdns/service/check"
)

// asked is what a check would ask, as far as it can be compared.
type asked struct {
	Domain, URL, Token, TokenSource, NoToken, Source, Running string
	Hosted                                                    []check.HostedZone
}

// TestCheckOptions decides between flags, configuration and environment.
func TestCheckOptions(t *testing.T) {
	token, other := api.NewToken(), api.NewToken()
	dir := t.TempDir()
	write := func(name, text string) string {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	tokenFile, blankFile, absent := write("token", other+"\r\n"), write("blank", " "+other+"\n"), filepath.Join(dir, "absent")
	client := write("client.caddyfile", `{
		admin localhost:2999
	}
	www.example.org {
		tls {
			dns bestdns {env.CHECK_TOKEN} https://one.example.net
		}
	}
	mail.example.org {
		tls {
			dns bestdns {env.CHECK_OTHER} https://two.example.net
		}
	}`)
	global := write("global.caddyfile", `{
		dns bestdns {env.CHECK_TOKEN} https://five.example.net
	}
	www.example.org {
		tls {
			dns
		}
	}
	mail.example.org {
		tls {
			dns bestdns {env.CHECK_OTHER} https://two.example.net
		}
	}`)
	both := write("both.caddyfile", `{
		dns bestdns {env.CHECK_TOKEN} https://five.example.net
		acme_dns bestdns {env.CHECK_OTHER} https://six.example.net
	}
	www.example.org {
	}
	mail.example.org {
		tls {
			dns bestdns {env.CHECK_OTHER} https://two.example.net
		}
	}`)
	service := write("service.caddyfile", `{
		admin localhost:2998
		bestdns {
			zone acme.example.com {
				ns ns1.acme.example.com 192.0.2.5
				cname_target
			}
			zone bücher.example {
				ns ns.example.net
			}
		}
	}
	www.example.org {
		tls {
			dns bestdns
		}
	}`)
	inFront := write("infront.caddyfile", `{
		bestdns {
			zone hosted.example {
				provider bestdns {env.CHECK_TOKEN} https://seven.example.net
			}
		}
	}
	www.example.org {
	}`)
	written := write("written.json", `{"apps": {"tls": {"automation": {"policies": [
		{"subjects": ["first.example"], "issuers": [{"module": "acme", "challenges": {"dns": {"provider": {"name": "bestdns", "api_token": "{env.CHECK_OTHER}", "endpoint": "https://one.example.net"}}}}]},
		{"subjects": ["bücher.example", "*.Example.ORG", "{env.CHECK_SITE}"], "issuers": [{"module": "acme", "challenges": {"dns": {"provider": {"name": "bestdns", "api_token": "{env.CHECK_TOKEN}", "endpoint": "https://two.example.net"}}}}]}
	]}}}}`)
	hosted := []check.HostedZone{
		{Name: "acme.example.com.", CNAMETarget: true, NameServers: []check.NameServer{{Name: "ns1.acme.example.com.", Addresses: []string{"192.0.2.5"}}}},
		{Name: "xn--bcher-kva.example.", NameServers: []check.NameServer{{Name: "ns.example.net."}}},
	}
	for name, test := range map[string]struct {
		args []string
		env  map[string]string
		want asked
	}{
		"the client of the domain": {
			[]string{"www.example.org", "--config", client}, map[string]string{"CHECK_TOKEN": token},
			asked{Domain: "www.example.org", URL: "https://one.example.net", Token: token, TokenSource: "{env.CHECK_TOKEN}", Source: client},
		},
		"the client of another domain": {
			[]string{"Mail.Example.org.", "--config", client}, map[string]string{"CHECK_OTHER": token},
			asked{Domain: "mail.example.org", URL: "https://two.example.net", Token: token, TokenSource: "{env.CHECK_OTHER}", Source: client},
		},
		"a variable that Caddy has and this shell does not": {
			[]string{"www.example.org", "--config", client}, nil,
			asked{Domain: "www.example.org", URL: "https://one.example.net", TokenSource: "{env.CHECK_TOKEN}", Source: client, NoToken: "the token of " + client + " is not known here"},
		},
		"that, with a token in the environment": {
			[]string{"www.example.org", "--config", client}, map[string]string{"BESTDNS_API_TOKEN": other},
			asked{Domain: "www.example.org", URL: "https://one.example.net", Token: other, TokenSource: "BESTDNS_API_TOKEN", Source: client},
		},
		"the global option": {
			[]string{"www.example.org", "--config", global}, map[string]string{"CHECK_TOKEN": token},
			asked{Domain: "www.example.org", URL: "https://five.example.net", Token: token, TokenSource: "{env.CHECK_TOKEN}", Source: global},
		},
		"a client beside the global option": {
			[]string{"mail.example.org", "--config", global}, map[string]string{"CHECK_OTHER": token},
			asked{Domain: "mail.example.org", URL: "https://two.example.net", Token: token, TokenSource: "{env.CHECK_OTHER}", Source: global},
		},
		"the client of all domains, before the global option": {
			[]string{"www.example.org", "--config", both}, map[string]string{"CHECK_OTHER": token},
			asked{Domain: "www.example.org", URL: "https://six.example.net", Token: token, TokenSource: "{env.CHECK_OTHER}", Source: both},
		},
		"the client of an internationalized name": {
			[]string{"bücher.example", "--config", written}, map[string]string{"CHECK_TOKEN": token},
			asked{Domain: "xn--bcher-kva.example", URL: "https://two.example.net", Token: token, TokenSource: "{env.CHECK_TOKEN}", Source: written},
		},
		"the client of a name in capitals": {
			[]string{"www.example.org", "--config", written}, map[string]string{"CHECK_TOKEN": token},
			asked{Domain: "www.example.org", URL: "https://two.example.net", Token: token, TokenSource: "{env.CHECK_TOKEN}", Source: written},
		},
		"the client of a name in a variable": {
			[]string{"shop.example", "--config", written}, map[string]string{"CHECK_TOKEN": token, "CHECK_SITE": "shop.example"},
			asked{Domain: "shop.example", URL: "https://two.example.net", Token: token, TokenSource: "{env.CHECK_TOKEN}", Source: written},
		},
		"flags before the configuration": {
			[]string{"www.example.org", "--config", client, "--endpoint", "https://three.example.net", "--token-file", tokenFile}, map[string]string{"CHECK_TOKEN": token},
			asked{Domain: "www.example.org", URL: "https://three.example.net", Token: other, TokenSource: tokenFile, Source: "--endpoint"},
		},
		"the environment alone": {
			[]string{"*.bücher.example"}, map[string]string{"BESTDNS_API_TOKEN": token, "BESTDNS_ENDPOINT": "https://four.example.net"},
			asked{Domain: "*.xn--bcher-kva.example", URL: "https://four.example.net", Token: token, TokenSource: "BESTDNS_API_TOKEN", Source: "BESTDNS_ENDPOINT"},
		},
		"a file that is not there": {
			[]string{"www.example.org", "--endpoint", "https://three.example.net", "--token-file", absent}, nil,
			asked{Domain: "www.example.org", URL: "https://three.example.net", TokenSource: absent, Source: "--endpoint", NoToken: "reading the token"},
		},
		"a file with a blank before the token": {
			[]string{"www.example.org", "--endpoint", "https://three.example.net", "--token-file", blankFile}, nil,
			asked{Domain: "www.example.org", URL: "https://three.example.net", Token: " " + other, TokenSource: blankFile, Source: "--endpoint"},
		},
		"in the process of the service": {
			[]string{"www.example.org", "--config", service}, map[string]string{"BESTDNS_ENDPOINT": "https://four.example.net"},
			asked{Domain: "www.example.org", Running: "the Caddy at localhost:2998", Hosted: hosted},
		},
		"the provider of the service's own zone is no client": {
			[]string{"www.example.org", "--config", inFront}, nil,
			asked{Domain: "www.example.org", Running: "the Caddy at localhost:2019", Hosted: []check.HostedZone{{Name: "hosted.example.", Provider: "bestdns"}}},
		},
		"the service": {
			[]string{"--config", service}, nil,
			asked{Running: "the Caddy at localhost:2998", Hosted: hosted},
		},
		"the service, elsewhere": {
			[]string{"--address", "localhost:2997"}, nil,
			asked{Running: "the Caddy at localhost:2997"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			for _, variable := range []string{"BESTDNS_API_TOKEN", "BESTDNS_ENDPOINT", "CHECK_TOKEN", "CHECK_OTHER", "CHECK_SITE"} {
				t.Setenv(variable, test.env[variable])
			}
			cmd := new(cobra.Command)
			var options checkOptions
			options.bind(cmd)
			if err := cmd.ParseFlags(append(test.args, "--resolver", "192.0.2.53")); err != nil {
				t.Fatal(err)
			}
			if rest := cmd.Flags().Args(); len(rest) > 0 {
				options.domain = rest[0]
			}
			prepared, err := options.prepare(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			got := asked{
				Domain: prepared.Domain, URL: prepared.Endpoint.URL, Token: prepared.Endpoint.Identity.Token,
				TokenSource: prepared.Endpoint.Identity.TokenSource,
				Source:      prepared.Endpoint.Source, Hosted: prepared.Hosted,
			}
			if prepared.Running != nil {
				got.Running = prepared.Running.String()
			}
			if err := prepared.Endpoint.NoToken; err != nil {
				got.NoToken, _, _ = strings.Cut(err.Error(), ": ")
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// TestCheckSecret prints no token that someone has put into braces.
func TestCheckSecret(t *testing.T) {
	token := api.NewToken()
	e, _ := new(checkedConfig).endpoint(&bestdns.Provider{APIToken: "{" + token + "}"})
	if e.NoToken == nil || strings.Contains(e.NoToken.Error(), token) {
		t.Error(e.NoToken)
	}
	empty := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(empty, []byte("\r\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if token, err := readToken(empty); err == nil || token != "" || !strings.Contains(err.Error(), "is empty") {
		t.Errorf("%q, %v", token, err)
	}
}

func TestResolverAddresses(t *testing.T) {
	got, err := resolverAddresses([]string{"192.0.2.1", "192.0.2.1:5353", "2001:db8::1", "[2001:db8::1]", "[2001:db8::1]:5353", "dns.example.net"})
	want := []string{"192.0.2.1:53", "192.0.2.1:5353", "[2001:db8::1]:53", "[2001:db8::1]:53", "[2001:db8::1]:5353", "dns.example.net:53"}
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
}

// TestCheckAccounts finds the accounts of the CA in Caddy's storage, and those
// only.
func TestCheckAccounts(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"acme/acme-v02.api.letsencrypt.org-directory/users/a@example.org/a.json":               `{"status":"valid","location":"https://acme-v02.api.letsencrypt.org/acme/acct/1"}`,
		"acme/acme-v02.api.letsencrypt.org-directory/users/a@example.org/a.key":                `a key`,
		"acme/acme-v02.api.letsencrypt.org-directory/users/b@example.org/b.json":               `{"status":"deactivated","location":"https://acme-v02.api.letsencrypt.org/acme/acct/2"}`,
		"acme/acme-v02.api.letsencrypt.org-directory/users/c@example.org/c.json":               `no JSON`,
		"acme/acme-staging-v02.api.letsencrypt.org-directory/users/a@example.org/a.json":       `{"status":"valid","location":"https://acme-staging-v02.api.letsencrypt.org/acme/acct/3"}`,
		"acme/acme.zerossl.com-v2-dv90/users/a@example.org/a.json":                             `{"status":"valid","location":"https://acme.zerossl.com/v2/DV90/account/4"}`,
		"certificates/acme-v02.api.letsencrypt.org-directory/www.example.org/www.example.json": `{"status":"valid","location":"https://acme-v02.api.letsencrypt.org/acme/acct/5"}`,
	} {
		file := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	storage, err := json.Marshal(map[string]string{"module": "file_system", "root": dir})
	if err != nil {
		t.Fatal(err)
	}
	config := checkedConfig{storage: storage}
	got, help := config.accounts(t.Context(), "letsencrypt.org")
	if diff := cmp.Diff([]string{"https://acme-v02.api.letsencrypt.org/acme/acct/1"}, got); diff != "" || !strings.Contains(help, "--account-uri") {
		t.Errorf("%q (-want +got):\n%s", help, diff)
	}
	for _, storage := range []string{`{"module":"file_system","root":"/nonexistent"}`, `{"module":"absent"}`, `[]`} {
		config := checkedConfig{storage: json.RawMessage(storage)}
		if got, help := config.accounts(t.Context(), "letsencrypt.org"); got != nil || help == "" {
			t.Errorf("%s: %q %q", storage, got, help)
		}
	}
}

// TestRunningService asks a running Caddy at its admin endpoint.
func TestRunningService(t *testing.T) {
	s := startWithAdmin(t)
	running := runningService{s.admin}
	ctx := t.Context()
	zones, err := running.Hosting(ctx)
	listen := []string{s.dns}
	want := []check.HostedZone{
		{Name: "example.test.", CNAMETarget: true, NameServers: []check.NameServer{{Name: "ns1.example.test.", Addresses: []string{"127.0.0.1"}}}, Listen: listen},
		{Name: "nested.example.test.", NameServers: []check.NameServer{{Name: "ns1.example.test."}}, Listen: listen},
		{Name: "secret.test.", NameServers: []check.NameServer{{Name: "ns1.secret.test.", Addresses: []string{"127.0.0.1"}}}, Listen: listen},
	}
	if diff := cmp.Diff(want, zones); diff != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}

	const owner = "_acme-challenge.www.elsewhere.test."
	appended, err := running.Change(ctx, owner, api.Change{Append: []api.Record{{Name: "@", Type: "TXT", Data: new(challengeValue)}}})
	cname := []api.CNAME{{Name: owner, Target: "www.elsewhere.test.example.test."}}
	if diff := cmp.Diff(cname, appended.CNAMEs); diff != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	records, err := running.GetRecords(ctx, "www.elsewhere.test.example.test.")
	if len(records) != 1 || err != nil || records[0].RR().Data != challengeValue {
		t.Errorf("records: %v %v", records, err)
	}
	if _, ok := records[0].(libdns.TXT); !ok {
		t.Errorf("it is a %T", records[0])
	}
	deleted, err := running.Change(ctx, owner, api.Change{Delete: []api.Record{{Name: "@", Type: "TXT", Data: new(challengeValue)}}})
	if len(deleted.Records) != 1 || err != nil {
		t.Errorf("deleted: %v %v", deleted, err)
	}

	_, err = running.Change(ctx, "www.absent.test.", api.Change{Append: []api.Record{{Name: "@", Type: "TXT", Data: new(challengeValue)}}})
	var problem *api.Error
	if !errors.As(err, &problem) || problem.Kind() != api.ZoneNotFound || !problem.Unchanged || problem.RequestID == "" {
		t.Errorf("a zone that is not hosted: %v", err)
	}
	caddy.Stop()
	if _, err := running.Hosting(ctx); err == nil {
		t.Error("a stopped Caddy answers")
	}
}

// TestCheckCommandExit ends with 2 where nothing could be checked.
func TestCheckCommandExit(t *testing.T) {
	for name, test := range map[string]struct {
		args []string
		want string
	}{
		"unknown flag":    {[]string{"--bogus"}, "--bogus"},
		"no domain":       {[]string{"localhost", "--resolver", "127.0.0.1:1"}, "two labels"},
		"empty domain":    {[]string{"", "--resolver", "127.0.0.1:1"}, "is not a domain"},
		"dot":             {[]string{".", "--resolver", "127.0.0.1:1"}, "is not a domain"},
		"missing file":    {[]string{"www.example.org", "--config", "/nonexistent/Caddyfile"}, "/nonexistent/Caddyfile"},
		"CA's directory":  {[]string{"www.example.org", "--ca", "https://acme-v02.api.letsencrypt.org/directory", "--resolver", "127.0.0.1:1"}, "--ca letsencrypt.org"},
		"no CA":           {[]string{"www.example.org", "--ca", "", "--resolver", "127.0.0.1:1"}, "--ca letsencrypt.org"},
		"silent resolver": {[]string{"www.example.org", "--resolver", "127.0.0.1:1", "--endpoint", "https://127.0.0.1:1"}, "no answer from 127.0.0.1:1"},
		"too many":        {[]string{"www.example.org", "www.example.net"}, "at most 1"},
	} {
		t.Run(name, func(t *testing.T) {
			cmd := checkCommand()
			var out bytes.Buffer
			cmd.SetOut(&out)
			cmd.SetErr(&out)
			cmd.SetArgs(test.args)
			err := cmd.Execute()
			if err == nil || err.Error() != "exiting with status 2" || !strings.Contains(out.String(), test.want) {
				t.Errorf("%v\n%s", err, out.String())
			}
		})
	}
}
