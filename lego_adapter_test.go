package bestdns_test

import (
	"fmt"
	"strings"
	"testing"

	legochallenge "github.com/go-acme/lego/v4/challenge"

	"github.com/caddy-dns/bestdns"
	"github.com/caddy-dns/bestdns/internal/api"
	"github.com/caddy-dns/bestdns/internal/clienttest"
)

var _ legochallenge.ProviderTimeout = (*bestdns.DNSProviderBestDNS)(nil)

func TestLegoAdapter(t *testing.T) {
	type provider = clienttest.LegoProvider
	clienttest.LegoAdapter{
		NewDefaultConfig:      bestdns.NewDefaultConfig,
		NewDNSProvider:        func() (provider, error) { return bestdns.NewDNSProvider() },
		NewDNSProviderBestDNS: func(token string) (provider, error) { return bestdns.NewDNSProviderBestDNS(token) },
		NewDNSProviderConfig:  func(c *bestdns.Config) (provider, error) { return bestdns.NewDNSProviderConfig(c) },
	}.Test(t)
}

func TestLegoVariables(t *testing.T) {
	for _, tt := range []struct{ got, want string }{
		{bestdns.EnvNamespace, "BESTDNS_"},
		{bestdns.EnvAPIToken, "BESTDNS_API_TOKEN"},
		{bestdns.EnvEndpoint, "BESTDNS_ENDPOINT"},
		{bestdns.EnvTTL, "BESTDNS_TTL"},
		{bestdns.EnvPropagationTimeout, "BESTDNS_PROPAGATION_TIMEOUT"},
		{bestdns.EnvPollingInterval, "BESTDNS_POLLING_INTERVAL"},
		{bestdns.EnvHTTPTimeout, "BESTDNS_HTTP_TIMEOUT"},
	} {
		if tt.got != tt.want {
			t.Errorf("%s, want %s", tt.got, tt.want)
		}
	}
}

// TestConfigHidesSecrets: the endpoint may have a password in it by mistake.
func TestConfigHidesSecrets(t *testing.T) {
	c := bestdns.Config{APIToken: api.NewToken(), Endpoint: "https://user:hunter2@dns.example.net"}
	if got := fmt.Sprintf("%+v", c); strings.Contains(got, "hunter2") || strings.Contains(got, c.APIToken) || !strings.Contains(got, "@dns.example.net") {
		t.Error(got)
	}
}
