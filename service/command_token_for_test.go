package service

import (
	"bytes"
	"encoding/json"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-dns/bestdns/internal/access"
	"github.com/caddy-dns/bestdns/internal/api"
)

// The secrets that the tests have made.
var (
	aToken      = api.NewToken()
	aSecret     = randomSecrets.shared()
	testSecrets = secrets{func() string { return aToken }, func() string { return aSecret }}
)

// runTokenFor runs "caddy bestdns token" with known secrets.
func runTokenFor(t *testing.T, args ...string) (string, error) {
	t.Helper()
	var out bytes.Buffer
	cmd := tokenCommandWith(testSecrets)
	cmd.SetOut(&out)
	cmd.SetErr(&out)
	cmd.SetArgs(args)
	cmd.SilenceUsage = true
	err := cmd.Execute()
	return out.String(), err
}

// tokenFor is runTokenFor with --json.
func tokenFor(t *testing.T, args ...string) (made newToken) {
	t.Helper()
	out, err := runTokenFor(t, append(args, "--json")...)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal([]byte(out), &made); err != nil {
		t.Fatal(err)
	}
	return made
}

// argsOf returns arguments that make the client of a recipe.
func argsOf(r recipe, name string) []string {
	return []string{name, "--" + r.needs.String(), strings.Trim(r.example, `"`), "--for", r.name}
}

// TestTokenFor has the service load what is printed for it, and looks that what is printed for the client has
// the secret and leaves nothing open.
func TestTokenFor(t *testing.T) {
	t.Setenv("XDG_DATA_HOME", t.TempDir())
	for _, r := range recipes {
		t.Run(r.name, func(t *testing.T) {
			args := append(argsOf(r, "Web 1"), "--endpoint", "https://dns.example.net/", "--nameserver", "203.0.113.5")
			out, err := runTokenFor(t, args...)
			if err != nil {
				t.Fatal(err)
			}
			made := tokenFor(t, args...)
			var pasted strings.Builder
			for _, p := range made.Paste {
				pasted.WriteString(p.Text)
				if !strings.Contains(out, "\n"+p.Where+"\n\n"+p.Text) && !strings.HasPrefix(out, p.Where) || !strings.HasSuffix(p.Where, ":") {
					t.Errorf("not printed: %s\n%s", p.Where, p.Text)
				}
			}
			secret := aToken
			if r.way == byUpdate {
				secret = aSecret
			}
			if !strings.Contains(pasted.String(), secret) || strings.Contains(pasted.String(), "{{") {
				t.Errorf("pasted:\n%s", pasted.String())
			}
			for _, not := range []string{noEndpoint, noHost, noServer, "Web 1"} {
				if strings.Contains(pasted.String(), not) {
					t.Errorf("pasted has %q:\n%s", not, pasted.String())
				}
			}
			_, block, _ := strings.Cut(out, "option bestdns:\n\n")
			block, _, _ = strings.Cut(block, "\n\n")
			if strings.Contains(block, aToken) || strings.Contains(block, aSecret) {
				t.Errorf("the configuration has a secret:\n%s", block)
			}
			for variable, value := range made.Environment {
				t.Setenv(variable, value)
			}
			handler := "bestdns"
			if option := r.way.option(); option != "" {
				if made.Handler != option {
					t.Errorf("handler %q, want %q", made.Handler, option)
				}
				handler = "bestdns {\n" + option + "\n}"
			}
			config, err := adapt("{\nbestdns {\nzone example.org {\nns ns1.example.org 203.0.113.5\n}\n" + block + "\n}\n}\ndns.example.net {\n" + handler + "\n}\n")
			if err != nil {
				t.Fatalf("%v in\n%s", err, block)
			}
			if err := caddy.Validate(mustConfig(t, config)); err != nil {
				t.Errorf("%v in\n%s", err, block)
			}
		})
	}
}

// TestTokenForConfig reads where the service is, and what its handler speaks.
func TestTokenForConfig(t *testing.T) {
	const app = "{\n\tbestdns {\n\t\tlisten 203.0.113.5:5353\n\t\tzone example.org {\n\t\t\tns ns0.example.net\n\t\t\tns ns1.example.org 2001:db8::5\n\t\t}\n\t}\n}\n"
	const bare = "{\n\tbestdns {\n\t\tzone example.org {\n\t\t\tns ns1.example.net\n\t\t}\n\t}\n}\n"
	for name, test := range map[string]struct {
		config string
		args   []string
		want   []string
		not    []string
	}{
		"all of it": {
			app + "dns.example.net {\n\tbestdns {\n\t\thttpreq\n\t}\n}\n", []string{"--for", "lego"},
			[]string{"HTTPREQ_ENDPOINT=https://dns.example.net\n"}, []string{"into its site", "CNAME"},
		},
		"another protocol": {
			app + "dns.example.net {\n\tbestdns {\n\t\tacme_dns\n\t}\n}\n", []string{"--for", "lego"},
			[]string{"into its site:\n\n\tbestdns {\n\t\thttpreq\n\t}\n"}, nil,
		},
		"another port, and a route": {
			app + "dns.example.net:8443 {\n\troute /v1/* {\n\t\tbestdns\n\t}\n}\n", []string{"--for", "traefik"},
			[]string{"HTTPREQ_ENDPOINT=https://dns.example.net:8443\n", "\t\thttpreq\n"}, nil,
		},
		"plain HTTP": {
			"{\n\thttp_port 22080\n" + app[1:] + "http://dns.example.net {\n\tbestdns\n}\n", []string{"--for", "lego"},
			[]string{noEndpoint}, nil,
		},
		"plain HTTP at another port": {
			app + "http://dns.example.net:8080 {\n\tbestdns\n}\n", []string{"--for", "lego"},
			[]string{noEndpoint}, nil,
		},
		"HTTPS at another port": {
			"{\n\thttps_port 22443\n" + app[1:] + "dns.example.net {\n\tbestdns\n}\n", []string{"--for", "lego"},
			[]string{"HTTPREQ_ENDPOINT=https://dns.example.net:22443\n"}, nil,
		},
		"two sites": {
			app + "dns1.example.net {\n\tbestdns\n}\ndns2.example.net {\n\tbestdns\n}\n", []string{"--for", "lego"},
			[]string{noEndpoint}, nil,
		},
		"the flag first": {
			app + "dns.example.net {\n\tbestdns\n}\n", []string{"--for", "lego", "--endpoint", "https://one.example.net https://two.example.net"},
			[]string{"HTTPREQ_ENDPOINT=https://one.example.net\n"}, []string{"two.example.net"},
		},
		"for Caddy": {
			app + "dns.example.net {\n\tbestdns\n}\n", nil,
			[]string{"dns bestdns {env.BESTDNS_API_TOKEN} https://dns.example.net\n"}, nil,
		},
		"the name server": {
			app, []string{"--for", "certbot"},
			[]string{"dns_rfc2136_server = 2001:db8::5\ndns_rfc2136_port = 5353\n"}, []string{"into its site"},
		},
		"host and port": {
			app, []string{"--for", "cert-manager"},
			[]string{"nameserver: \"[2001:db8::5]:5353\"\n"}, nil,
		},
		"no address": {
			bare, []string{"--for", "certbot"},
			[]string{"dns_rfc2136_server = " + noServer + "\ndns_rfc2136_port = 53\n"}, nil,
		},
		"the flag's name server first": {
			app, []string{"--for", "certbot", "--nameserver", "192.0.2.7:53"},
			[]string{"dns_rfc2136_server = 192.0.2.7\ndns_rfc2136_port = 53\n"}, nil,
		},
	} {
		t.Run(name, func(t *testing.T) {
			out, err := runTokenFor(t, append([]string{"web1", "--certificates", "web1.example.org", "--config", writeAs(t, "Caddyfile", test.config)}, test.args...)...)
			if err != nil {
				t.Fatal(err)
			}
			wantOutput(t, out, test.want, test.not)
		})
	}
}

// TestTokenForNames has the lines for a client name all of its domains, and not the first alone.
func TestTokenForNames(t *testing.T) {
	for client, want := range map[string]string{
		"acme.sh":      "--dnssleep 1 -d a.example.org -d '*.a.example.org' -d b.example.org -d '*.b.example.org'\n",
		"cert-manager": "          dnsZones:\n            - a.example.org\n            - b.example.org\n        dns01:\n",
		"certbot":      "-seconds 0 -d a.example.org -d '*.a.example.org' -d b.example.org -d '*.b.example.org'\n",
		"dehydrated":   "dehydrated --cron -d \"a.example.org *.a.example.org b.example.org *.b.example.org\"\n",
		"lego":         "--dns httpreq -d a.example.org -d '*.a.example.org' -d b.example.org -d '*.b.example.org' run\n",
		"nsupdate":     "zone a.example.org.\nupdate add _acme-challenge.a.example.org. 0 TXT \"" + challengeValue + "\"\nsend\nzone b.example.org.\nupdate add _acme-challenge.b.example.org. 0 TXT \"" + challengeValue + "\"\nsend\nEND\n",
		"proxmox":      " account=default --acmedomain0 domain=a.example.org,plugin=bestdns --acmedomain1 domain=b.example.org,plugin=bestdns\n",
		"ddclient":     "password=" + aToken + "\nhome.example.org\nb.example.org\n",
		"external-dns": "  - --domain-filter=home.example.org\n  - --domain-filter=text.example.org\n  - --domain-filter=b.example.org\n  - --registry=txt\n",
	} {
		out, err := runTokenFor(t, "web1", "--certificates", "a.example.org", "--certificates", "under b.example.org", "--certificates", "*.a.example.org",
			"--allow", "home.example.org A", "--allow", "text.example.org TXT", "--allow", "b.example.org", "--for", client)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(out, want) {
			t.Errorf("%s: not in the output: %s\n%s", client, want, out)
		}
	}
}

func TestTokenForBadInput(t *testing.T) {
	for name, test := range map[string]struct {
		args []string
		want string
	}{
		"unknown":         {[]string{"--certificates", "example.org", "--for", "certmanager"}, `there are no lines for "certmanager"; there are for acme-dns, acme.sh, cert-manager, certbot, ddclient, dehydrated, external-dns, lego, nsupdate, opnsense, proxmox, traefik, win-acme`},
		"another right":   {[]string{"--certificates", "example.org", "--for", "ddclient"}, `ddclient needs a right allow: give the client one, as in --allow "home.example.org A AAAA"`},
		"plain HTTP":      {[]string{"--certificates", "example.org", "--for", "lego", "--endpoint", "http://dns.example.net"}, "over http"},
		"a host's name":   {[]string{"--certificates", "example.org", "--for", "certbot", "--nameserver", "dns.example.net"}, `--nameserver: "dns.example.net" is not an IP address`},
		"no addresses":    {[]string{"--allow", "home.example.org TXT", "--for", "ddclient"}, `ddclient needs a right allow for A or AAAA records: give the client one, as in --allow "home.example.org A AAAA"`},
		"a right of none": {[]string{"--certificates", "localhost", "--for", "certbot"}, "localhost"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := runTokenFor(t, append([]string{"web1"}, test.args...)...)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want it to say %q", err, test.want)
			}
		})
	}
}

// TestTokenRegister has the service know what accounts follow from.
func TestTokenRegister(t *testing.T) {
	out, err := runTokenFor(t, "hosts", "--register", "under auth.example.org")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"\t\taccount_secret {env.BESTDNS_ACCOUNTS_HOSTS}\n", "\tBESTDNS_ACCOUNTS_HOSTS=" + aSecret + "\n"} {
		if !strings.Contains(out, want) {
			t.Errorf("not in the output: %s\n%s", want, out)
		}
	}
}

// startFor runs the service with a client as it was made, in zone example.org.
func startFor(t *testing.T, made newToken) *service {
	t.Helper()
	s := newService(t)
	for variable, value := range made.Environment {
		t.Setenv(variable, value)
	}
	text := s.caddyfile("listen " + s.dns + "\nstore " + s.store + "\nzone example.org {\nns ns1.example.org 127.0.0.1\n}\nzone acme.example.com {\nns ns1.acme.example.com 127.0.0.1\ncname_target\n}\n" + made.Config.caddyfile("\t"))
	text = strings.Replace(text, "\t\tbestdns\n\t\trespond", "\t\tbestdns {\nhttpreq\nacme_dns\ndyndns2\n}\n\t\trespond", 1)
	if err := s.tryLoadText(t, text); err != nil {
		t.Fatal(err)
	}
	return s
}

// needsProgram skips a test if a program is not installed. Where BESTDNS_PEERS=required says that all that
// tests need is there, it fails.
func needsProgram(t *testing.T, name string) {
	t.Helper()
	_, err := exec.LookPath(name)
	switch {
	case err == nil:
	case os.Getenv("BESTDNS_PEERS") == "required":
		t.Fatal(err)
	default:
		t.Skip(err)
	}
}

// script runs printed lines in a folder, with the arguments that they are given.
func script(t *testing.T, dir, text string, args ...string) string {
	t.Helper()
	cmd := exec.Command("bash", append([]string{"-c", text, "bash"}, args...)...)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s\n%s", err, text, out)
	}
	return string(out)
}

// TestTokenForNsupdate has nsupdate do what is printed, for a domain that is hosted and for one that is
// elsewhere.
func TestTokenForNsupdate(t *testing.T) {
	needsProgram(t, "nsupdate")
	for domain, at := range map[string]string{"web1.example.org": "_acme-challenge.web1.example.org.", "elsewhere.test": "elsewhere.test.acme.example.com."} {
		t.Run(domain, func(t *testing.T) {
			s := startFor(t, tokenFor(t, "web1", "--certificates", domain, "--for", "nsupdate"))
			dir := t.TempDir()
			nsupdate := tokenFor(t, "web1", "--certificates", domain, "--for", "nsupdate", "--nameserver", s.dns)
			if err := os.WriteFile(filepath.Join(dir, "bestdns.key"), []byte(nsupdate.Paste[0].Text), 0o600); err != nil {
				t.Fatal(err)
			}
			script(t, dir, nsupdate.Paste[1].Text)
			if got := s.texts(t, at); len(got) != 1 || got[0] != challengeValue {
				t.Errorf("nsupdate: %q", got)
			}
			script(t, dir, strings.Replace(nsupdate.Paste[1].Text, "update add", "update delete", 1))
			if got := s.texts(t, at); len(got) != 0 {
				t.Errorf("nsupdate, after: %q", got)
			}

			dehydrated := tokenFor(t, "web1", "--certificates", domain, "--for", "dehydrated", "--nameserver", s.dns)
			hook := strings.ReplaceAll(dehydrated.Paste[1].Text, "/etc/dehydrated", dir)
			other := strings.Repeat("A", len(challengeValue))
			script(t, dir, hook, "deploy_challenge", domain, "file", challengeValue, domain, "file", other)
			if got := s.texts(t, at); len(got) != 2 {
				t.Errorf("hook: %q", got)
			}
			script(t, dir, hook, "deploy_cert", domain, "one", "two", "three")
			script(t, dir, hook, "clean_challenge", domain, "file", challengeValue)
			if got := s.texts(t, at); len(got) != 1 || got[0] != other {
				t.Errorf("hook, after: %q", got)
			}
		})
	}
}

// TestTokenForAccounts registers an account as it is printed.
func TestTokenForAccounts(t *testing.T) {
	needsProgram(t, "curl")
	args := []string{"hosts", "--register", "under auth.example.org", "--for", "acme-dns"}
	s := startFor(t, tokenFor(t, args...))
	made := tokenFor(t, append(args, "--endpoint", s.api)...)
	var account struct{ Username, Password, Fulldomain, Subdomain string }
	if err := json.Unmarshal([]byte(script(t, t.TempDir(), strings.Replace(made.Paste[2].Text, "curl", "curl -s", 1))), &account); err != nil {
		t.Fatal(err)
	}
	_, base, _ := strings.Cut(made.Paste[1].Text, "ACMEDNS_BASE_URL=")
	request, err := http.NewRequest(http.MethodPost, strings.TrimSpace(base)+"/update", strings.NewReader(`{"subdomain":"`+account.Subdomain+`","txt":"`+challengeValue+`"}`))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("X-Api-User", account.Username)
	request.Header.Set("X-Api-Key", account.Password)
	if a := do(t, request); a.status != http.StatusOK {
		t.Fatalf("%d %s", a.status, a.body)
	}
	if got := s.texts(t, account.Fulldomain+"."); len(got) != 1 || got[0] != challengeValue {
		t.Errorf("%q at %s", got, account.Fulldomain)
	}
}

func TestLabel(t *testing.T) {
	for client, want := range map[string]string{
		"web1": "web1", "Web 1": "web-1", "--": "client", "bücher": "b-cher", strings.Repeat("a", 60): strings.Repeat("a", 50),
	} {
		if got := label(client); got != want {
			t.Errorf("%q: %q, want %q", client, got, want)
		}
	}
}

// TestRecipesNeedVerbs keeps what the recipes say of rights to what there is.
func TestRecipesNeedVerbs(t *testing.T) {
	for _, r := range recipes {
		if _, err := access.ParseRule(r.needs, strings.Trim(r.example, `"`)); err != nil {
			t.Errorf("%s: %v", r.name, err)
		}
	}
}

// TestTokenWarnings warns of what the configuration has that does not go with the client.
func TestTokenWarnings(t *testing.T) {
	config := writeAs(t, "Caddyfile", `{
	bestdns {
		zone example.org {
			ns ns1.example.net
			transfer 192.0.2.1 {
				key peer hmac-sha256 `+aSecret+`
			}
		}
		client web-1 {
			tsig web-1 hmac-sha256 {env.BESTDNS_TSIG_WEB_1}
			certificates web-1.example.org
		}
		client hosts {
			register under auth.example.org
			account_secret {env.BESTDNS_ACCOUNTS_HOSTS}
		}
	}
}
`)
	for name, test := range map[string]struct {
		args []string
		want []string
		not  []string
	}{
		"nothing":         {[]string{"web2", "--certificates", "web2.example.org", "--allow", "under sub.example.org", "--persist", "example.org"}, nil, []string{"Warning:"}},
		"for a CNAME":     {[]string{"web2", "--certificates", "web2.example.com"}, []string{"none is marked cname_target"}, []string{"Warning:"}},
		"allow":           {[]string{"web2", "--allow", "h.elsewhere.net A AAAA"}, []string{"Warning: no zone of the configuration holds the name of this right, which can never be used: allow h.elsewhere.net A AAAA.\n"}, nil},
		"persist":         {[]string{"web2", "--persist", "x.elsewhere.net"}, []string{"Warning: no zone", `never be used: persist x.elsewhere.net; create the record that "caddy bestdns persist x.elsewhere.net" prints`}, nil},
		"register":        {[]string{"web2", "--register", "under nozone.example"}, []string{`Warning: Caddy will refuse this: client "web2": no zone of this service holds "nozone.example."`}, nil},
		"the same name":   {[]string{"hosts", "--register", "under auth.example.org"}, []string{`Warning: the configuration has a client "hosts" already`, "keep its account_secret", "BESTDNS_ACCOUNTS_HOSTS_2="}, nil},
		"the same key":    {[]string{"web.1", "--certificates", "web.1.example.org", "--for", "nsupdate"}, []string{"tsig web-1-2 hmac-sha256 {env.BESTDNS_TSIG_WEB_1_2}", "\tBESTDNS_TSIG_WEB_1_2=", "key \"web-1-2\" {"}, []string{"Warning:"}},
		"a key of a peer": {[]string{"peer", "--certificates", "peer.example.org", "--for", "nsupdate"}, []string{"tsig peer-2 hmac-sha256 {env.BESTDNS_TSIG_PEER_2}"}, []string{"Warning:"}},
	} {
		t.Run(name, func(t *testing.T) {
			out, err := runTokenFor(t, append(test.args, "--config", config)...)
			if err != nil {
				t.Fatal(err)
			}
			wantOutput(t, out, test.want, test.not)
		})
	}
	out, err := runTokenFor(t, "web2", "--persist", "example.org", "--endpoint", "https://dns.example.net")
	if want := "\tcaddy bestdns persist example.org --account <URI of the ACME account> --endpoint https://dns.example.net --write\n"; err != nil || !strings.Contains(out, want) {
		t.Errorf("not in the output: %s\n%s%v", want, out, err)
	}
}
