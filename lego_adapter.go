package bestdns

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/go-acme/lego/v4/challenge"
	"github.com/go-acme/lego/v4/challenge/dns01"

	"github.com/caddy-dns/bestdns/internal/api"
	"github.com/caddy-dns/bestdns/internal/solver"
)

// EnvNamespace begins the names of all variables that [NewDNSProvider] and
// [NewDefaultConfig] read.
const EnvNamespace = "BESTDNS_"

// Environment variables. Each may be given as a file that holds its value
// instead, by the same name with _FILE after it; a line end that ends the file is
// not part of the value. An invalid number counts as not set.
const (
	EnvAPIToken = EnvNamespace + "API_TOKEN"
	EnvEndpoint = EnvNamespace + "ENDPOINT" // several copies are separated by blanks

	EnvTTL                = EnvNamespace + "TTL"                 // seconds, default DefaultTTL
	EnvPropagationTimeout = EnvNamespace + "PROPAGATION_TIMEOUT" // whole seconds, default 60
	EnvPollingInterval    = EnvNamespace + "POLLING_INTERVAL"    // whole seconds, default 0.1
	EnvHTTPTimeout        = EnvNamespace + "HTTP_TIMEOUT"        // whole seconds, default 30
)

// Defaults that are not lego's own. A challenge's record is needed for seconds, and
// the service answers when it is live: lego's first look finds it.
const (
	defaultPollingInterval = 100 * time.Millisecond
	defaultHTTPTimeout     = 30 * time.Second
)

// DefaultTTL is -1. It leaves the TTL of the TXT records to the service: 0 in a zone of its
// name server, so that no resolver keeps them from the CA that looks for the next one at
// the same name. In a zone with a DNS provider it is the zone's challenge_ttl.
const DefaultTTL = solver.DefaultTTL

// Config configures a [DNSProvider].
type Config struct {
	// APIToken is the token that the service gave to this client.
	APIToken string
	// Endpoint is the URL of the service, or those of several copies with blanks between
	// them, as [Provider] has it.
	Endpoint string
	// TTL of the TXT records in seconds, or [DefaultTTL].
	TTL int
	// PropagationTimeout is how long lego looks for the record at most.
	PropagationTimeout time.Duration
	// PollingInterval is how long lego waits before each look, the first included.
	PollingInterval time.Duration
	// HTTPTimeout limits a call, including retries and the wait for the zone's name servers.
	// That a server still lags when it ends is not an error: lego then looks at each by itself,
	// for up to PropagationTimeout.
	HTTPTimeout time.Duration
}

// Format writes the configuration without the token, for every verb of package fmt.
func (c Config) Format(s fmt.State, _ rune) {
	fmt.Fprintf(s, "bestdns.Config{Endpoint: %s, TTL: %d, PropagationTimeout: %v, PollingInterval: %v, HTTPTimeout: %v}",
		api.ShowEndpoint(c.Endpoint), c.TTL, c.PropagationTimeout, c.PollingInterval, c.HTTPTimeout)
}

// NewDefaultConfig returns the defaults, as far as the environment does not say
// otherwise, without token and endpoint.
func NewDefaultConfig() *Config {
	return &Config{
		TTL:                solver.Int(EnvTTL, DefaultTTL),
		PropagationTimeout: solver.Seconds(EnvPropagationTimeout, dns01.DefaultPropagationTimeout),
		PollingInterval:    solver.Seconds(EnvPollingInterval, defaultPollingInterval),
		HTTPTimeout:        solver.Seconds(EnvHTTPTimeout, defaultHTTPTimeout),
	}
}

// DNSProvider solves lego's DNS-01 challenges through a [Provider]. It is safe
// for concurrent use.
//
// It names the record that lego arrives at after any CNAMEs, and the service finds
// the zone. With LEGO_DISABLE_CNAME_SUPPORT, the service places the record.
type DNSProvider struct {
	redacted

	config Config
	solver *solver.Solver
}

// DNSProviderBestDNS is [DNSProvider] by the name that lego's guide gives it.
type DNSProviderBestDNS = DNSProvider

var _ challenge.ProviderTimeout = (*DNSProvider)(nil)

// NewDNSProvider returns a provider configured by the environment alone.
// BESTDNS_API_TOKEN and BESTDNS_ENDPOINT are required.
func NewDNSProvider() (*DNSProvider, error) {
	token, endpoint, err := solver.Credentials(EnvAPIToken, EnvEndpoint)
	if err != nil {
		return nil, err
	}
	config := NewDefaultConfig()
	config.APIToken, config.Endpoint = token, endpoint
	return NewDNSProviderConfig(config)
}

// NewDNSProviderBestDNS returns a provider with the given token. All else is
// configured by the environment; BESTDNS_ENDPOINT is required.
func NewDNSProviderBestDNS(apiAuthToken string) (*DNSProviderBestDNS, error) {
	endpoint, err := solver.Endpoint(EnvEndpoint)
	if err != nil {
		return nil, err
	}
	config := NewDefaultConfig()
	config.APIToken, config.Endpoint = apiAuthToken, endpoint
	return NewDNSProviderConfig(config)
}

// NewDNSProviderConfig returns a provider with the given configuration.
func NewDNSProviderConfig(config *Config) (*DNSProvider, error) {
	if config == nil {
		return nil, errors.New("bestdns: the configuration of the DNS provider is nil")
	}
	provider := &Provider{APIToken: config.APIToken, Endpoint: config.Endpoint}
	s, err := solver.New(provider, config.TTL, config.HTTPTimeout)
	if err != nil {
		return nil, err
	}
	return &DNSProvider{config: *config, solver: s}, nil
}

// Timeout returns how long lego looks for the record and how often.
func (d *DNSProvider) Timeout() (timeout, interval time.Duration) {
	return d.config.PropagationTimeout, d.config.PollingInterval
}

// Present appends the TXT record of the challenge. It returns when all name servers that
// answer have the record, or at the end of the HTTP timeout. lego presents the names of a
// certificate one after the other, so that each waits.
func (d *DNSProvider) Present(domain, _, keyAuth string) error {
	info := dns01.GetChallengeInfo(domain, keyAuth)
	return d.solver.Append(context.Background(), info.EffectiveFQDN, info.Value)
}

// CleanUp deletes the TXT record of the challenge, and none beside it.
func (d *DNSProvider) CleanUp(domain, _, keyAuth string) error {
	info := dns01.GetChallengeInfo(domain, keyAuth)
	return d.solver.Delete(context.Background(), info.EffectiveFQDN, info.Value)
}
