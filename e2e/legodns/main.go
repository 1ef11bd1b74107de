// Command legodns is lego with providers of its own, as its command has them: it obtains a certificate
// for the domains that are its arguments, or renews the one that it has obtained before. lego's own
// command is built with two hundred more providers, which the tests do not need.
//
// Its environment: PROVIDER (acme-dns, httpreq or rfc2136) and what lego reads for that, ACME_CA (the
// URL of the directory), RESOLVER (host and port of a recursive one), CERTIFICATE (the file for the
// chain), and what lego itself reads, such as LEGO_CA_CERTIFICATES.
package main

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/go-acme/lego/v4/certificate"
	"github.com/go-acme/lego/v4/challenge"
	"github.com/go-acme/lego/v4/challenge/dns01"
	"github.com/go-acme/lego/v4/lego"
	"github.com/go-acme/lego/v4/providers/dns/acmedns"
	"github.com/go-acme/lego/v4/providers/dns/httpreq"
	"github.com/go-acme/lego/v4/providers/dns/rfc2136"
	"github.com/go-acme/lego/v4/registration"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// account is a new account with the CA.
type account struct {
	key          crypto.PrivateKey
	registration *registration.Resource
}

func (*account) GetEmail() string                          { return "admin@example.net" }
func (a *account) GetRegistration() *registration.Resource { return a.registration }
func (a *account) GetPrivateKey() crypto.PrivateKey        { return a.key }

// provider returns the provider that the environment names.
func provider() (challenge.Provider, error) {
	switch name := os.Getenv("PROVIDER"); name {
	case "acme-dns":
		return acmedns.NewDNSProvider()
	case "httpreq":
		return httpreq.NewDNSProvider()
	case "rfc2136":
		return rfc2136.NewDNSProvider()
	default:
		return nil, fmt.Errorf("PROVIDER is %q", name)
	}
}

func run(domains []string) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	user := &account{key: key}
	config := lego.NewConfig(user)
	config.CADirURL = os.Getenv("ACME_CA")
	client, err := lego.NewClient(config)
	if err != nil {
		return err
	}
	solver, err := provider()
	if err != nil {
		return err
	}
	// lego would look for the record at the zone's name servers too, which it finds by the
	// system's resolver.
	err = client.Challenge.SetDNS01Provider(solver,
		dns01.AddRecursiveNameservers([]string{os.Getenv("RESOLVER")}),
		dns01.DisableAuthoritativeNssPropagationRequirement())
	if err != nil {
		return err
	}
	user.registration, err = client.Registration.Register(registration.RegisterOptions{TermsOfServiceAgreed: true})
	if err != nil {
		return err
	}
	issued, err := issue(client.Certificate, domains)
	if err != nil {
		return err
	}
	return os.WriteFile(os.Getenv("CERTIFICATE"), issued.Certificate, 0o600)
}

// issue obtains a certificate, or renews the one that was obtained before.
func issue(certifier *certificate.Certifier, domains []string) (*certificate.Resource, error) {
	chain, err := os.ReadFile(os.Getenv("CERTIFICATE"))
	switch {
	case err == nil:
		old := certificate.Resource{Domain: domains[0], Certificate: chain}
		return certifier.RenewWithOptions(old, &certificate.RenewOptions{Bundle: true})
	case errors.Is(err, fs.ErrNotExist):
		return certifier.Obtain(certificate.ObtainRequest{Domains: domains, Bundle: true})
	}
	return nil, err
}
