package service

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/google/go-cmp/cmp"

	"github.com/caddy-dns/bestdns/internal/nsquery"
)

// TestPeersConfig reads the other name servers of zones, from a Caddyfile and from JSON alike.
func TestPeersConfig(t *testing.T) {
	const secret = "c2l4dGVlbiBvY3RldHMuLg=="
	t.Setenv("BESTDNS_TEST_KEY", secret)
	for _, test := range []struct {
		name, caddyfile, json string
		want                  []string
	}{
		{"secondaries", `ns ns1.example.net
			transfer 192.0.2.1 2001:db8::1 {
				key k.test hmac-sha256 {env.BESTDNS_TEST_KEY}
			}
			transfer 192.0.2.2:5353 [2001:db8::2]:53`,
			`"ns":[{"name":"ns1.example.net"}],"transfers":[
			{"addresses":["192.0.2.1","2001:db8::1"],"key":{"name":"k.test","algorithm":"hmac-sha256","secret":"{env.BESTDNS_TEST_KEY}"}},
			{"addresses":["192.0.2.2:5353","[2001:db8::2]:53"]}]`,
			[]string{
				"transfer 192.0.2.1:53 k.test (hmac-sha256)", "transfer [2001:db8::1]:53 k.test (hmac-sha256)", "transfer 192.0.2.2:5353 no key", "transfer [2001:db8::2]:53 no key",
				"waits for 192.0.2.1", "waits for 2001:db8::1", "waits for 192.0.2.2:5353", "waits for 2001:db8::2",
			}},
		{"secondaries, and others to wait for", `ns ns1.example.net
			transfer 192.0.2.1
			servers 192.0.2.3`,
			`"ns":[{"name":"ns1.example.net"}],"transfers":[{"addresses":["192.0.2.1"]}],"servers":["192.0.2.3"]`,
			[]string{"transfer 192.0.2.1:53 no key", "waits for 192.0.2.3"}},
		{"primary", `primary 192.0.2.1 192.0.2.2:5353 {
				key K.test. hmac-sha512 {env.BESTDNS_TEST_KEY}
			}
			notify 192.0.2.3
			notify 192.0.2.4 {
				key k hmac-sha256 {env.BESTDNS_TEST_KEY}
			}
			resolvers 192.0.2.53`,
			`"primary":{"addresses":["192.0.2.1","192.0.2.2:5353"],"key":{"name":"K.test.","algorithm":"hmac-sha512","secret":"{env.BESTDNS_TEST_KEY}"}},
			"notify":[{"addresses":["192.0.2.3"]},{"addresses":["192.0.2.4"],"key":{"name":"k","algorithm":"hmac-sha256","secret":"{env.BESTDNS_TEST_KEY}"}}],
			"resolvers":["192.0.2.53"]`,
			[]string{
				"primary 192.0.2.1:53 k.test (hmac-sha512)", "primary 192.0.2.2:5353 k.test (hmac-sha512)",
				"notify 192.0.2.3:53 no key", "notify 192.0.2.4:53 k (hmac-sha256)", "asks 192.0.2.53:53",
			}},
	} {
		t.Run(test.name, func(t *testing.T) {
			d := caddyfile.NewTestDispenser("zone example.test {\n" + test.caddyfile + "\n}")
			d.Next()
			written, fromJSON := new(Zone), new(Zone)
			if err := written.unmarshal(d); err != nil {
				t.Fatal(err)
			}
			if err := json.Unmarshal([]byte(`{"name":"example.test",`+test.json+`}`), fromJSON); err != nil {
				t.Fatal(err)
			}
			for _, zone := range []*Zone{written, fromJSON} {
				if diff := cmp.Diff(test.want, peersOf(t, zone, secret)); diff != "" {
					t.Errorf("(-want +got):\n%s", diff)
				}
			}
			if text, err := json.Marshal(written); err != nil || strings.Contains(string(text), secret) {
				t.Errorf("in JSON: %s, %v", text, err)
			}
		})
	}
}

// peersOf reads a zone, and returns its other name servers.
func peersOf(t *testing.T, zone *Zone, secret string) (list []string) {
	t.Helper()
	hosted, err := zone.read()
	if err != nil {
		t.Fatal(err)
	}
	add := func(format string, args ...any) { list = append(list, fmt.Sprintf(format, args...)) }
	for _, transfer := range hosted.NameServerConfig().Transfers {
		add("transfer %s %s", transfer.Address, transfer.Key)
	}
	if hosted.Primary != nil {
		for _, address := range hosted.Primary.Primaries {
			add("primary %s %s", address, hosted.Primary.Key)
		}
		for _, secondary := range hosted.Primary.Notify {
			add("notify %s %s", secondary.Address, secondary.Key)
		}
		if hosted.Primary.Key.Secret() != secret {
			t.Error("the secret is not that of the placeholder")
		}
	}
	for _, server := range hosted.Servers {
		add("waits for %s", nsquery.AddressText(server.Address))
	}
	for _, resolver := range hosted.Resolvers {
		add("asks %s", resolver)
	}
	return list
}
