// Package lego5 is a DNS provider for lego v5 that answers ACME challenges through a BestDNS
// service. It has the constructors, environment variables and defaults of package [bestdns],
// whose adapter is for lego v4.
//
// Give what [NewDNSProvider] returns to lego:
//
//	provider, err := lego5.NewDNSProvider() // BESTDNS_API_TOKEN, BESTDNS_ENDPOINT
//	err = client.Challenge.SetDNS01Provider(provider)
//
// # Contexts
//
// lego gives its provider the context of Obtain. When that ends, so does [DNSProvider.Present],
// but [DNSProvider.CleanUp] still deletes the record. Each call also ends after the HTTP timeout.
//
// # What lego looks at
//
// Before it has the CA look, lego v5 itself asks for the record: its resolver, and then each
// name server of the zone. The options dns01.DisableRecursiveNSsPropagationRequirement and
// dns01.DisableAuthoritativeNssPropagationRequirement leave out one or the other. v4 asks its
// resolver only if it is told to.
package lego5

import (
	"context"
	"errors"
	"time"

	"github.com/go-acme/lego/v5/challenge"
	"github.com/go-acme/lego/v5/challenge/dns01"

	"github.com/caddy-dns/bestdns"
	"github.com/caddy-dns/bestdns/internal/solver"
)

// EnvNamespace begins the names of all variables that [NewDNSProvider] and
// [NewDefaultConfig] read.
const EnvNamespace = bestdns.EnvNamespace

// Environment variables, as in package [bestdns]: the same names, files and defaults.
const (
	EnvAPIToken = bestdns.EnvAPIToken
	EnvEndpoint = bestdns.EnvEndpoint

	EnvTTL                = bestdns.EnvTTL
	EnvPropagationTimeout = bestdns.EnvPropagationTimeout
	EnvPollingInterval    = bestdns.EnvPollingInterval
	EnvHTTPTimeout        = bestdns.EnvHTTPTimeout
)

// DefaultTTL is -1. It leaves the TTL of the TXT records to the service.
const DefaultTTL = bestdns.DefaultTTL

// Config configures a [DNSProvider].
type Config = bestdns.Config

// NewDefaultConfig returns the defaults, as far as the environment does not say
// otherwise, without token and endpoint.
func NewDefaultConfig() *Config { return bestdns.NewDefaultConfig() }

// DNSProvider solves lego's DNS-01 challenges through a [bestdns.Provider]. It is safe
// for concurrent use.
//
// It names the record that lego arrives at after any CNAMEs, and the service finds
// the zone. With LEGO_DISABLE_CNAME_SUPPORT, the service places the record.
type DNSProvider struct {
	solver            *solver.Solver // nothing else here has the token, so that package fmt prints none
	timeout, interval time.Duration
}

// DNSProviderBestDNS is [DNSProvider] by the name that lego's guide gives it.
type DNSProviderBestDNS = DNSProvider

var (
	_ challenge.ProviderTimeout    = (*DNSProvider)(nil)
	_ challenge.PersistentProvider = (*DNSProvider)(nil)
)

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
	provider := &bestdns.Provider{APIToken: config.APIToken, Endpoint: config.Endpoint}
	s, err := solver.New(provider, config.TTL, config.HTTPTimeout)
	if err != nil {
		return nil, err
	}
	return &DNSProvider{solver: s, timeout: config.PropagationTimeout, interval: config.PollingInterval}, nil
}

// Timeout returns how long lego looks for the record and how often.
func (d *DNSProvider) Timeout() (timeout, interval time.Duration) {
	return d.timeout, d.interval
}

// Present appends the TXT record of the challenge. It returns when all name servers that
// answer have the record, or at the end of the HTTP timeout. lego presents the names of a
// certificate one after the other, so that each waits.
func (d *DNSProvider) Present(ctx context.Context, domain, _, keyAuth string) error {
	info := dns01.GetChallengeInfo(ctx, domain, keyAuth)
	return d.solver.Append(ctx, info.EffectiveFQDN, info.Value)
}

// CleanUp deletes the TXT record of the challenge, and none beside it, even if ctx has ended.
func (d *DNSProvider) CleanUp(ctx context.Context, domain, _, keyAuth string) error {
	// lego also cleans up when the context of Obtain was cancelled, and looks for CNAMEs with it.
	ctx = context.WithoutCancel(ctx)
	info := dns01.GetChallengeInfo(ctx, domain, keyAuth)
	return d.solver.Delete(ctx, info.EffectiveFQDN, info.Value)
}

// Persist appends a TXT record that answers DNS-PERSIST-01 challenges, and waits as Present
// does. The record stays: neither lego nor the service deletes it.
//
// For fqdn _validation-persist.example.org, the client needs the right
// `persist example.org`, or `allow _validation-persist.example.org TXT`. The right
// `certificates example.org` does not include it.
//
// lego calls it only where a program gives the provider to dnspersist01.NewChallenge, since
// lego's own client takes no provider for this challenge. Both are experimental in lego.
func (d *DNSProvider) Persist(ctx context.Context, fqdn, value string) error {
	return d.solver.Append(ctx, fqdn, value)
}
