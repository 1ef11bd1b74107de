package bestdns

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/go-acme/lego/v4/challenge"
	"github.com/go-acme/lego/v4/challenge/dns01"
	"github.com/go-acme/lego/v4/platform/config/env"
	"github.com/libdns/libdns"

	"github.com/caddy-dns/bestdns/internal/api"
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

// DefaultTTL leaves the TTL of the TXT records to the service. That is 0 in a zone of its
// name server, so that no resolver keeps them from the CA that looks for the next one at
// the same name. In a zone with a DNS provider it is the zone's challenge_ttl.
const DefaultTTL = -1

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
		TTL:                number(EnvTTL, DefaultTTL, strconv.Atoi),
		PropagationTimeout: number(EnvPropagationTimeout, dns01.DefaultPropagationTimeout, env.ParseSecond),
		PollingInterval:    number(EnvPollingInterval, defaultPollingInterval, env.ParseSecond),
		HTTPTimeout:        number(EnvHTTPTimeout, defaultHTTPTimeout, env.ParseSecond),
	}
}

// number reads a variable. lego's own functions keep the carriage return of a file with
// the line ends of Windows, and would ignore its number.
func number[T any](name string, otherwise T, parse func(string) (T, error)) T {
	value, err := parse(strings.TrimSuffix(env.GetOrFile(name), "\r"))
	if err != nil {
		return otherwise
	}
	return value
}

// DNSProvider solves lego's DNS-01 challenges through a [Provider]. It is safe
// for concurrent use.
//
// It names the record that lego arrives at after any CNAMEs, and the service finds
// the zone. With LEGO_DISABLE_CNAME_SUPPORT, the service places the record.
type DNSProvider struct {
	redacted

	config   Config
	provider *Provider
}

// DNSProviderBestDNS is [DNSProvider] by the name that lego's guide gives it.
type DNSProviderBestDNS = DNSProvider

var _ challenge.ProviderTimeout = (*DNSProvider)(nil)

// NewDNSProvider returns a provider configured by the environment alone.
// BESTDNS_API_TOKEN and BESTDNS_ENDPOINT are required.
func NewDNSProvider() (*DNSProvider, error) {
	token, endpoint := variable{name: EnvAPIToken}, variable{name: EnvEndpoint}
	if err := read(&token, &endpoint); err != nil {
		return nil, fmt.Errorf("bestdns: %w", err)
	}
	// Said here, where it is known which variable it is.
	if err := api.CheckTokenFrom(token.source, token.value); err != nil {
		return nil, fmt.Errorf("bestdns: %w", err)
	}
	config := NewDefaultConfig()
	config.APIToken = token.value
	config.Endpoint = endpoint.value
	return NewDNSProviderConfig(config)
}

// NewDNSProviderBestDNS returns a provider with the given token. All else is
// configured by the environment; BESTDNS_ENDPOINT is required.
func NewDNSProviderBestDNS(apiAuthToken string) (*DNSProviderBestDNS, error) {
	endpoint := variable{name: EnvEndpoint}
	if err := read(&endpoint); err != nil {
		return nil, fmt.Errorf("bestdns: %w", err)
	}
	config := NewDefaultConfig()
	config.APIToken = apiAuthToken
	config.Endpoint = endpoint.value
	return NewDNSProviderConfig(config)
}

// variable is an environment variable that has to be set.
type variable struct {
	name, value string
	source      string // the variable that was read, and its file if it names one
}

// read reads variables, or the files that they name. It replaces lego's env.Get,
// which keeps a carriage return at the end of a file and only logs why a file cannot be
// read.
func read(variables ...*variable) error {
	var missing []string
	for _, v := range variables {
		v.value, v.source = os.Getenv(v.name), v.name
		if file := os.Getenv(v.name + "_FILE"); v.value == "" && file != "" {
			v.source = fmt.Sprintf("%s_FILE (%s)", v.name, file)
			var err error
			if v.value, err = api.ReadValue(file); err != nil {
				return fmt.Errorf("reading the file that %s_FILE names: %w", v.name, err)
			}
		}
		if v.value == "" {
			missing = append(missing, v.name)
		}
	}
	if len(missing) > 0 {
		return fmt.Errorf("some credentials information are missing: %s", strings.Join(missing, ",")) // as lego says it
	}
	return nil
}

// NewDNSProviderConfig returns a provider with the given configuration.
func NewDNSProviderConfig(config *Config) (*DNSProvider, error) {
	switch {
	case config == nil:
		return nil, errors.New("bestdns: the configuration of the DNS provider is nil")
	case config.TTL < DefaultTTL:
		return nil, fmt.Errorf("bestdns: the TTL is %d: it is a number of seconds, or %d for the service's default", config.TTL, DefaultTTL)
	case config.HTTPTimeout <= 0:
		return nil, errors.New("bestdns: the HTTP timeout must be more than zero")
	}
	d := &DNSProvider{
		config:   *config,
		provider: &Provider{APIToken: config.APIToken, Endpoint: config.Endpoint},
	}
	// What is wrong with the token or the endpoint is better said now than at the
	// first challenge.
	if _, err := d.provider.connect(); err != nil {
		return nil, fmt.Errorf("bestdns: %w", err)
	}
	return d, nil
}

// Timeout returns how long lego looks for the record and how often.
func (d *DNSProvider) Timeout() (timeout, interval time.Duration) {
	return d.config.PropagationTimeout, d.config.PollingInterval
}

// Present appends the TXT record of the challenge. It returns when all name servers that
// answer have the record, or at the end of the HTTP timeout. lego presents the names of a
// certificate one after the other, so that each waits.
func (d *DNSProvider) Present(domain, _, keyAuth string) error {
	return d.do(domain, keyAuth, d.ttl(), d.provider.AppendRecords)
}

// CleanUp deletes the TXT record of the challenge, and none beside it.
func (d *DNSProvider) CleanUp(domain, _, keyAuth string) error {
	return d.do(domain, keyAuth, 0, d.provider.DeleteRecords) // a TTL of zero: any
}

// ttl returns the configured TTL as [Provider] takes it.
func (d *DNSProvider) ttl() time.Duration {
	switch d.config.TTL {
	case DefaultTTL:
		return 0
	case 0:
		return time.Nanosecond
	}
	return time.Duration(d.config.TTL) * time.Second
}

type change = func(ctx context.Context, zone string, recs []libdns.Record) ([]libdns.Record, error)

func (d *DNSProvider) do(domain, keyAuth string, ttl time.Duration, change change) error {
	info := dns01.GetChallengeInfo(domain, keyAuth)
	ctx, cancel := context.WithTimeout(context.Background(), d.config.HTTPTimeout)
	defer cancel()
	// The service finds the zone, so the record is the apex of what is named here.
	_, err := change(ctx, info.EffectiveFQDN, []libdns.Record{
		libdns.TXT{Name: "@", TTL: ttl, Text: info.Value},
	})
	if err != nil {
		return fmt.Errorf("bestdns: %w", err)
	}
	return nil
}
