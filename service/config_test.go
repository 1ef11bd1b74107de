package service

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/libdns/libdns"

	"github.com/caddy-dns/bestdns/internal/api"
	"github.com/caddy-dns/bestdns/internal/nameserver"
)

func init() {
	caddy.RegisterModule(new(deafProvider))
}

// deafProvider is a DNS provider that can only list.
type deafProvider struct{}

func (*deafProvider) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "dns.providers.test_deaf", New: func() caddy.Module { return new(deafProvider) }}
}

func (*deafProvider) UnmarshalCaddyfile(*caddyfile.Dispenser) error { return nil }

func (*deafProvider) GetRecords(context.Context, string) ([]libdns.Record, error) { return nil, nil }

// TestBadConfig loads configurations with one mistake each. Each gets an error
// that names it, in which there is no secret, and nothing is opened.
func TestBadConfig(t *testing.T) {
	const zone = "zone example.test {\nns ns1.example.test 127.0.0.1\n}\n"
	token := api.NewToken()
	hash := "sha256:" + strings.Repeat("ab", 32)
	tests := []struct {
		name    string
		options string
		want    []string
	}{
		{"unknown option", "listne :53", []string{"Caddyfile:11", "unknown option", "listne"}},
		{"unknown option of a zone", "zone example.test {\nns ns1.example.test 127.0.0.1\ncname\n}", []string{"Caddyfile:13", "unknown option", `"cname"`}},
		{"unknown option of a client", "client web1 {\ntokne x\n}", []string{"Caddyfile:12", "unknown option", "tokne"}},
		{"repeated store", "store /a\nstore /b", []string{"Caddyfile:12", "store is given twice"}},
		{"repeated ttl", "zone example.test {\nttl 1m\nttl 2m\n}", []string{"Caddyfile:13", "ttl is given twice"}},
		{"repeated provider", "zone example.test {\nprovider test_deaf\nprovider test_deaf\n}", []string{"provider is given twice"}},
		{"bad ttl", "zone example.test {\nttl fast\n}", []string{"Caddyfile:12", "ttl", "not a duration"}},
		{"negative ttl of challenges", "zone example.test {\nchallenge_ttl -1s\n}", []string{"Caddyfile:12", "challenge_ttl", "not a duration"}},
		{"broken seconds of challenges", "zone example.test {\nchallenge_ttl 1500ms\nprovider test_memory\n}", []string{`zone "example.test"`, "challenge_ttl 1.5s: whole seconds"}},
		{"ttl of challenges in a built-in zone", "zone example.test {\nns ns1.example.net\nchallenge_ttl 1m\n}", []string{"challenge_ttl is for zones with a DNS provider"}},
		{"negative ttl too long", "zone example.test {\nns ns1.example.net\nnegative_ttl 600000h\n}", []string{"negative_ttl", "at most 2147483647s"}},
		{"negative ttl with a provider", "zone example.test {\nnegative_ttl 0\nprovider test_memory\n}", []string{"negative_ttl is for built-in zones"}},
		{"server that is a name", "zone example.test {\nprovider test_memory\nservers ns1.example.net\n}", []string{"servers", `"ns1.example.net" is not an IP address`}},
		{"server with port 0", "zone example.test {\nprovider test_memory\nservers 192.0.2.1:0\n}", []string{"servers", `"192.0.2.1:0" is not`}},
		{"too many servers", "zone example.test {\nprovider test_memory\nservers" + strings.Repeat(" 192.0.2.1", 33) + "\n}", []string{"servers: 33 are given, and 32 are the most"}},
		{"resolver that is a name", "zone example.test {\nprovider test_memory\nresolvers dns.example.net\n}", []string{"resolvers", "not an IP address"}},
		{"servers and resolvers", "zone example.test {\nprovider test_memory\nservers 192.0.2.1\nresolvers 192.0.2.2\n}", []string{"leave one of them out"}},
		{"resolvers of a built-in zone", "zone example.test {\nns ns1.example.net\nresolvers 192.0.2.2\n}", []string{"resolvers are for zones on other name servers"}},
		{"servers and no wait", "zone example.test {\nprovider test_memory\nservers 192.0.2.1\nwait off\n}", []string{"wait is off"}},
		{"wait too short", "zone example.test {\nprovider test_memory\nwait 10ms\n}", []string{"Caddyfile:13", "wait", "from 1s to 25s nor off"}},
		{"wait too long", "zone example.test {\nprovider test_memory\nwait 1m\n}", []string{"Caddyfile:13", "wait", "from 1s to 25s nor off"}},
		{"primary and provider", "zone example.test {\nprovider test_memory\nprimary 192.0.2.1\n}", []string{"a provider or a primary, not both"}},
		{"primary without an address", "zone example.test {\nprimary\n}", []string{"Caddyfile:12"}},
		{"primary that is a name", "zone example.test {\nprimary ns1.example.net\n}", []string{"primary", `"ns1.example.net" is not an IP address`}},
		{"key without an algorithm", "zone example.test {\nprimary 192.0.2.1 {\nkey k " + token + "\n}\n}", []string{"Caddyfile:13", "3 arguments and not 2"}},
		{"key with another algorithm", "zone example.test {\nprimary 192.0.2.1 {\nkey k sha256 " + token + "\n}\n}", []string{"primary", `TSIG key "k"`, `no algorithm "sha256"`}},
		{"key that is no base64", "zone example.test {\nprimary 192.0.2.1 {\nkey k hmac-sha256 " + token + "\n}\n}", []string{"primary", `TSIG key "k"`, "not base64"}},
		{"key of an unset variable", "zone example.test {\nprimary 192.0.2.1 {\nkey k hmac-sha256 {env.BESTDNS_NOT_SET}\n}\n}", []string{"primary", "key", "env.BESTDNS_NOT_SET"}},
		{"unknown option of a primary", "zone example.test {\nprimary 192.0.2.1 {\nsecret x\n}\n}", []string{"Caddyfile:13", `unknown option "secret" of other name servers; there are key`}},
		{"notify without a primary", "zone example.test {\nprovider test_memory\nnotify 192.0.2.1\n}", []string{"notify is for zones with a primary"}},
		{"notify in a built-in zone", "zone example.test {\nns ns1.example.net\nnotify 192.0.2.1\n}", []string{"told by transfer"}},
		{"notify a name", "zone example.test {\nprimary 192.0.2.1\nnotify ns1\n}", []string{"notify", "not an IP address"}},
		{"ns with a primary", "zone example.test {\nns ns1.example.net\nprimary 192.0.2.1\n}", []string{"ns lines are for built-in zones"}},
		{"two keys of one name", "zone example.test {\nns ns1.example.net\ntransfer 192.0.2.1 {\nkey k hmac-sha256 c2l4dGVlbiBvY3RldHMuLg==\n}\ntransfer 192.0.2.2 {\nkey k hmac-sha512 c2l4dGVlbiBvY3RldHMuLg==\n}\n}", []string{`zone "example.test."`, "transfer to 192.0.2.2:53", "another key of that name"}},
		{"transfer to everyone", "zone example.test {\nns ns1.example.net\ntransfer 0.0.0.0\n}", []string{"transfer to 0.0.0.0:53", "address of one secondary"}},
		{"zone name too long for its contact", "zone " + strings.Repeat("abcdefghi.", 24) + "abc {\nns ns1.example.net\n}", []string{"too long for the contact in its SOA record"}},
		{"transfer to a name", "zone example.test {\nns ns1.example.net\ntransfer ns2.example.net\n}", []string{"transfer", "not an IP address"}},
		{"transfer to no one", "zone example.test {\nns ns1.example.net\ntransfer {\nkey a b c\n}\n}", []string{"Caddyfile:13"}},
		{"transfer with a provider", "zone example.test {\nprovider test_memory\ntransfer 192.0.2.1\n}", []string{"transfer is for built-in zones"}},
		{"zone without a name", "zone {\n}", []string{"Caddyfile:11"}},
		{"zone without name servers", "zone example.test", []string{`zone "example.test"`, "needs its name servers"}},
		{"zone twice", zone + "zone EXAMPLE.test. {\nns ns1.example.net\n}", []string{`zone "EXAMPLE.test."`, "configured twice"}},
		{"option of a client in a zone", "zone example.test {\ncertificate x\n}", []string{`unknown option "certificate" of a zone`}},
		{"name of another caller", zone + `client "(in process)" {` + "\ntoken " + hash + "\nread example.test\n}", []string{`client "(in process)"`, "another"}},
		{"wildcard as zone", "zone *.example.test {\nns ns1.example.net\n}", []string{`zone "*.example.test"`, `host "example.test."`}},
		{"root as zone", "zone . {\nns ns1.example.net\n}", []string{"root zone"}},
		{"two targets", "zone a.test {\nns ns1.example.net\ncname_target\n}\nzone b.test {\nns ns1.example.net\ncname_target\n}", []string{"cname_target", `"b.test"`, `"a.test."`}},
		{"name server in the zone without address", "zone example.test {\nns ns1.example.test\n}", []string{"ns1.example.test", "address"}},
		{"name server outside with address", "zone example.test {\nns ns1.example.net 127.0.0.1\n}", []string{"outside the zone"}},
		{"name server with a bad address", "zone example.test {\nns ns1.example.test 127.0.0.256\n}", []string{"127.0.0.256", "not an IP address"}},
		{"zone name too long", "zone " + strings.Repeat("a", 64) + ".test {\nns ns1.example.net\n}", []string{"label longer than 63"}},
		{"not a rate limit", "rate_limit fast\n" + zone, []string{"rate_limit", "fast", "off"}},
		{"rate limit of nothing", "rate_limit 0\n" + zone, []string{"rate_limit", "0", "off"}},
		{"repeated rate limit", "rate_limit off\nrate_limit 5\n" + zone, []string{"rate_limit is given twice"}},
		{"bad listen network", "listen unix//run/dns.sock\n" + zone, []string{"carries no DNS"}},
		{"port without a colon", "listen 53\n" + zone, []string{`"53" is a port without a colon`, "write listen :53"}},
		{"client without token", zone + "client web1 {\ncertificates example.test\n}", []string{`client "web1"`, "no token", "caddy bestdns token web1"}},
		{"certificate, as it was", "client web1 {\ncertificate " + hash + "\n}\n" + zone, []string{"Caddyfile:12", `"certificate"`, "is written tls_client_certificate", "is written certificates"}},
		{"certificate, as it was, of a domain", "client web1 {\ncertificate\n}\n" + zone, []string{"Caddyfile:12", "is written tls_client_certificate"}},
		{"invalid TLS client certificate", zone + "client web1 {\ntls_client_certificate www.example.test\n}", []string{`client "web1"`, "tls_client_certificate: a hash is", "DER"}},
		{"not a hash", zone + "client web1 {\ntoken sha256:abcd\n}", []string{`client "web1"`, "hash"}},
		{"token instead of its hash", zone + "client web1 {\ntoken " + token + "\n}", []string{`client "web1"`, "a secret that must not be in"}},
		{"hash of two clients", zone + "client a {\ntoken " + hash + "\n}\nclient b {\ntoken " + hash + "\n}", []string{`"b"`}},
		{"client twice", zone + "client a {\ntoken " + hash + "\n}\nclient a {\ntoken sha256:" + strings.Repeat("cd", 32) + "\n}", []string{`"a"`}},
		{"not a type", zone + "client a {\ntoken " + hash + "\nallow www.example.test AAAAA\n}", []string{`client "a"`, "AAAAA"}},
		{"right to SOA", zone + "client a {\ntoken " + hash + "\nallow example.test SOA\n}", []string{"SOA"}},
		{"right without a name", "client a {\nread\n}\n" + zone, []string{"Caddyfile:12", "argument"}},
		{"watch with a name", "client a {\nwatch example.test\n}\n" + zone, []string{"Caddyfile:12", "argument"}},
		{"watch twice", "client a {\nwatch\nwatch\n}\n" + zone, []string{"Caddyfile:13", "watch is given twice"}},
		{"unknown option of a client", "client a {\nwrite example.test\n}\n" + zone, []string{"Caddyfile:12", "tsig, certificates, allow, read, watch, register, persist, account_secret"}},
		{"register without a secret", "client a {\ntoken " + hash + "\nregister under example.test\n}\n" + zone, []string{`client "a"`, "needs account_secret"}},
		{"register with a short secret", "client a {\ntoken " + hash + "\nregister under example.test\naccount_secret fifteen.bytes..\n}\n" + zone, []string{`client "a"`, "has 15 bytes, and is to have 16"}},
		{"register where no zone is", "client a {\ntoken " + hash + "\nregister under example.org\naccount_secret 0123456789abcdef\n}\n" + zone, []string{`client "a"`, `no zone of this service holds "example.org."`}},
		{"register two names", "client a {\ntoken " + hash + "\nregister under example.test\nregister under a.example.test\naccount_secret 0123456789abcdef\n}\n" + zone, []string{`client "a"`, "one is the most"}},
		{"register a name itself", "client a {\ntoken " + hash + "\nregister example.test\n}\n" + zone, []string{`client "a"`, "register under NAME"}},
		{"accounts without register", "client a {\ntoken " + hash + "\nrevoked x\n}\n" + zone, []string{`client "a"`, "register under NAME"}},
		{"accounts that are not there", "client a {\nregister under example.test\naccounts /nowhere.json\n}\n" + zone, []string{`client "a"`, "/nowhere.json"}},
		{"persist with a type", "client a {\ntoken " + hash + "\npersist example.test TXT\n}\n" + zone, []string{`client "a"`, "persist takes no types"}},
		{"key with MD5", "client a {\ntsig a hmac-md5 c2VjcmV0IG9mIG1hbnkgYnl0ZXM=\n}\n" + zone, []string{`client "a"`, "tsig 1", "hmac-md5 is broken"}},
		{"key without a secret", "client a {\ntsig a hmac-sha256\n}\n" + zone, []string{"Caddyfile:12", "3 arguments and not 2"}},
		{"key of two clients", "client a {\ntsig k hmac-sha256 c2VjcmV0IG9mIG1hbnkgYnl0ZXM=\n}\nclient b {\ntsig k hmac-sha512 c2VjcmV0IG9mIG1hbnkgYnl0ZXM=\n}\n" + zone, []string{`client "b"`, `client "a" has the TSIG key k. too`}},
		{"key of a secondary", "client a {\ntsig k hmac-sha256 c2VjcmV0IG9mIG1hbnkgYnl0ZXM=\n}\nzone example.test {\nns ns1.example.test 127.0.0.1\ntransfer 192.0.2.1 {\nkey k hmac-sha256 c2VjcmV0IG9mIG1hbnkgYnl0ZXM=\n}\n}\n", []string{`client "a" and a transfer of zone "example.test"`, "give each its own"}},
		{"bad network", zone + "client a {\ntoken " + hash + "\nclient_ip 10.0.0.0/33\n}", []string{"client_ip", "10.0.0.0/33"}},
		{"address with a zone", zone + "client a {\ntoken " + hash + "\nclient_ip fe80::1%eth0\n}", []string{"client_ip", `"fe80::1%eth0" has a zone`, "write fe80::1"}},
		{"network with a zone", zone + "client a {\ntoken " + hash + "\nclient_ip fe80::%eth0/64\n}", []string{"client_ip", `"fe80::%eth0/64" has a zone`, "write fe80::/64"}},
		{"bad day", zone + "client a {\ntoken " + hash + "\nexpires tomorrow\n}", []string{"expires", "tomorrow", "2027-06-30"}},
		{"placeholder of an unset variable", zone + "client a {\ntoken {env.BESTDNS_TEST_UNSET}\n}", []string{`client "a"`, "env.BESTDNS_TEST_UNSET"}},
		{"provider that cannot append", "zone example.test {\nprovider test_deaf\n}", []string{"cannot append and delete"}},
		{"provider that is this service", "zone example.test {\nprovider bestdns\n}", []string{"this service itself"}},
		{"provider with ns", "zone example.test {\nns ns1.example.net\nprovider test_deaf\n}", []string{"ns lines are for built-in zones"}},
		{"unknown provider", "zone example.test {\nprovider test_nowhere\n}", []string{"test_nowhere"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := newService(t)
			options := test.options
			if !strings.Contains(options, "listen ") {
				// Behind the mistake, so that its line is as written.
				options += fmt.Sprintf("\nlisten %s", s.dns)
			}
			config, err := adapt(s.caddyfile(options))
			if err == nil {
				err = caddy.Load(config, true)
				t.Cleanup(func() { caddy.Stop() })
			}
			if err == nil {
				t.Fatal("the configuration was accepted")
			}
			for _, want := range test.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("error %q\ndoes not say %q", err, want)
				}
			}
			if strings.Contains(err.Error(), token) {
				t.Errorf("error %q holds the token", err)
			}
		})
	}
}

// TestRenamedInJSON: what was renamed is refused in JSON with its new name, and what is
// unknown is refused as it is everywhere in Caddy.
func TestRenamedInJSON(t *testing.T) {
	for _, test := range []struct{ field, want string }{
		{"certificate", "is written tls_client_certificate"},
		{"certificat", `unknown field "certificat"`},
	} {
		config := fmt.Sprintf(`{"apps": {"bestdns": {"clients": [{"name": "web1", %q: ["sha256:%s"]}]}}}`, test.field, strings.Repeat("ab", 32))
		if err := caddy.Validate(mustConfig(t, []byte(config))); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v\ndoes not say %q", test.field, err, test.want)
		}
	}
}

func TestArgumentOfBlock(t *testing.T) {
	_, err := adapt("{\n\tbestdns extra {\n\t}\n}\n")
	if err == nil || !strings.Contains(err.Error(), "Caddyfile:2") || !strings.Contains(err.Error(), `"extra" has no meaning`) {
		t.Errorf("an argument: %v", err)
	}
}

func TestSecondBlock(t *testing.T) {
	_, err := adapt("{\n\tbestdns {\n\t}\n\tbestdns {\n\t}\n}\n")
	if err == nil || !strings.Contains(err.Error(), "Caddyfile:4") || !strings.Contains(err.Error(), "second bestdns block") {
		t.Errorf("a second block: %v", err)
	}
}

func TestHandlerWithoutApp(t *testing.T) {
	config, err := adapt("{\n\tadmin off\n\tauto_https off\n}\nhttp://" + freeAddress(t) + " {\n\tbestdns\n}\n")
	if err != nil {
		t.Fatal(err)
	}
	if err := caddy.Validate(mustConfig(t, config)); err == nil || !strings.Contains(err.Error(), `global option "bestdns`) {
		t.Errorf("a handler without its app: %v", err)
	}
}

func TestHandlerTakesNoArguments(t *testing.T) {
	for _, directive := range []string{"bestdns {\nzone x\n}", "bestdns extra", "bestdns {\nhttpreq on\n}", "bestdns {\nacme_dns\nacme_dns\n}"} {
		_, err := adapt("http://localhost {\n" + directive + "\n}\n")
		if err == nil || !strings.Contains(err.Error(), "Caddyfile:2") && !strings.Contains(err.Error(), "Caddyfile:3") && !strings.Contains(err.Error(), "Caddyfile:4") {
			t.Errorf("%s: %v", directive, err)
		}
	}
}

// TestIdleRightWarns checks that a right which can never be used is announced.
func TestIdleRightWarns(t *testing.T) {
	s := newService(t)
	s.load(t, fmt.Sprintf("listen %s\nstore %q\nzone example.test {\nns ns1.example.test 127.0.0.1\n}\nclient web1 {\ntoken %s\ncertificates www.elsewhere.test\n}",
		s.dns, s.store, s.digest("web1")))
	if log := s.log(t); !strings.Contains(log, "can never be used") || !strings.Contains(log, "www.elsewhere.test") {
		t.Errorf("no warning in the log:\n%s", log)
	}
}

// TestValidateOpensNothing checks that "caddy validate" works beside a running
// service, whose store and port it must not touch.
func TestValidateOpensNothing(t *testing.T) {
	s := startStandard(t)
	config, err := adapt(s.caddyfile(s.standard()))
	if err != nil {
		t.Fatal(err)
	}
	if err := caddy.Validate(mustConfig(t, config)); err != nil {
		t.Error(err)
	}
}

func mustConfig(t *testing.T, text []byte) *caddy.Config {
	t.Helper()
	config := new(caddy.Config)
	if err := caddy.StrictUnmarshalJSON(text, config); err != nil {
		t.Fatal(err)
	}
	return config
}

func TestRateLimit(t *testing.T) {
	tests := []struct {
		option string
		want   int
	}{
		{"", nameserver.DefaultRateLimit},
		{"rate_limit 1000", 1000},
		{"rate_limit off", 0},
	}
	for _, test := range tests {
		t.Run(test.option, func(t *testing.T) {
			app := new(App)
			d := caddyfile.NewTestDispenser("bestdns {\n" + test.option + "\n}")
			d.Next()
			if err := app.unmarshal(d); err != nil {
				t.Fatal(err)
			}
			if got := app.nameServerSettings().RateLimit; got != test.want {
				t.Errorf("%d answers a second, want %d", got, test.want)
			}
		})
	}
}

// TestNullInConfig: JSON can have null where a zone or a client should be.
func TestNullInConfig(t *testing.T) {
	for config, want := range map[string]string{
		`{"zones":[null]}`:                         "zone 1 is null",
		`{"clients":[{"name":"x","tsig":[null]}]}`: `client "x": tsig 1 is null`,
		`{"clients":[null]}`:                       "client 1 is null",
	} {
		var app App
		if err := json.Unmarshal([]byte(config), &app); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := caddy.NewContext(caddy.Context{Context: t.Context()})
		defer cancel()
		if err := app.Provision(ctx); err == nil || err.Error() != want {
			t.Errorf("%s: %v", config, err)
		}
	}
}
