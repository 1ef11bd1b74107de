package harness

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/caddyserver/certmagic"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest"

	"github.com/caddy-dns/bestdns"
)

// ObtainByLego runs LegoBinary or Lego5Binary with one order for the domains and returns the chain.
func (w *World) ObtainByLego(t testing.TB, binary string, domains ...string) []byte {
	t.Helper()
	chain, log, err := w.runLego(t, binary, nil, domains...)
	if err != nil {
		t.Fatalf("%s: %v\n%s", filepath.Base(binary), err, log)
	}
	return chain
}

// NewCertmagic returns certmagic with nothing of Caddy, which proves domains
// through the client of the root package, a plain Go value.
func (w *World) NewCertmagic(t testing.TB) *certmagic.Config {
	t.Helper()
	issuer := w.Issuer()
	issuer.DNS01Solver = &certmagic.DNS01Solver{DNSManager: certmagic.DNSManager{
		DNSProvider: &bestdns.Provider{
			Endpoint:     w.Recorder.URL,
			APIToken:     w.Token,
			TrustedRoots: []string{w.Recorder.TLSRoot},
		},
		PropagationTimeout: -1,
		Resolvers:          []string{w.Resolver.Addr},
	}}
	return NewCertmagic(t, issuer)
}

// Issuer returns an account with the CA, with no way yet to prove anything.
func (w *World) Issuer() certmagic.ACMEIssuer {
	return certmagic.ACMEIssuer{
		CA:           w.Pebble.Directory,
		TrustedRoots: w.Pebble.TLSRoots,
		Email:        "admin@example.net",
		Agreed:       true,
	}
}

// NewCertmagic returns certmagic with a storage of its own.
func NewCertmagic(t testing.TB, issuer certmagic.ACMEIssuer) *certmagic.Config {
	t.Helper()
	logger := zaptest.NewLogger(t, zaptest.Level(zap.WarnLevel))
	var config *certmagic.Config
	cache := certmagic.NewCache(certmagic.CacheOptions{
		GetConfigForCert: func(certmagic.Certificate) (*certmagic.Config, error) { return config, nil },
		Logger:           logger,
	})
	t.Cleanup(cache.Stop)
	config = certmagic.New(cache, certmagic.Config{
		Storage: &certmagic.FileStorage{Path: t.TempDir()},
		Logger:  logger,
	})
	issuer.Logger = logger
	config.Issuers = []certmagic.Issuer{certmagic.NewACMEIssuer(config, issuer)}
	return config
}

// Issued returns the chain that config keeps for the domain.
func Issued(t testing.TB, config *certmagic.Config, domain string) []byte {
	t.Helper()
	key := certmagic.StorageKeys.SiteCert(config.Issuers[0].IssuerKey(), domain)
	chain, err := config.Storage.Load(t.Context(), key)
	if err != nil {
		t.Fatalf("the certificate of %s is not stored: %v", domain, err)
	}
	return chain
}

// Provider is the client of the root package with the world's token.
func (w *World) Provider(endpoint string) *bestdns.Provider {
	return &bestdns.Provider{Endpoint: endpoint, APIToken: w.Token, TrustedRoots: []string{w.Recorder.TLSRoot}}
}

// RunLego runs lego with one order for the domains, with variables beside those
// or in place of those that it needs, and returns the chain and what it logged.
func (w *World) RunLego(t testing.TB, env Env, domains ...string) (chain []byte, log string, err error) {
	t.Helper()
	return w.runLego(t, LegoBinary, env, domains...)
}

func (w *World) runLego(t testing.TB, binary string, env Env, domains ...string) (chain []byte, log string, err error) {
	t.Helper()
	w.Pebble.AnswerLate()
	cmd := exec.CommandContext(t.Context(), binary, domains...)
	cmd.Env = append(os.Environ(),
		"ACME_CA="+w.Pebble.Directory,
		"LEGO_CA_CERTIFICATES="+w.Pebble.TLSRoot,
		"RESOLVER="+w.Resolver.Addr,
		"BESTDNS_API_TOKEN="+w.Token,
		"BESTDNS_ENDPOINT="+w.Recorder.PlainURL,
	)
	for name, value := range env {
		cmd.Env = append(cmd.Env, name+"="+value)
	}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	chain, err = cmd.Output()
	AssertNoToken(t, "lego's log", stderr.String())
	return chain, stderr.String(), err
}
