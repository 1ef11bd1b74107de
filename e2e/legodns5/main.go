// Command legodns5 is the program of the folder legodns for lego v5.
//
// Its environment: PROVIDER (acme-dns, httpreq or rfc2136) and what lego reads for that, ACME_CA (the
// URL of the directory), RESOLVER (host and port of a recursive one), CERTIFICATE (the file for the
// chain), and what lego itself reads, such as LEGO_CA_CERTIFICATES.
package main

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/go-acme/lego/v5/acme"
	"github.com/go-acme/lego/v5/certcrypto"
	"github.com/go-acme/lego/v5/certificate"
	"github.com/go-acme/lego/v5/challenge"
	"github.com/go-acme/lego/v5/challenge/dns01"
	"github.com/go-acme/lego/v5/lego"
	"github.com/go-acme/lego/v5/providers/dns/acmedns"
	"github.com/go-acme/lego/v5/providers/dns/dnsupdate"
	"github.com/go-acme/lego/v5/providers/dns/httpreq"
	"github.com/go-acme/lego/v5/registration"
)

func main() {
	if err := run(context.Background(), os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// account is a new account with the CA.
type account struct {
	key          crypto.Signer
	registration *acme.ExtendedAccount
}

func (*account) GetEmail() string                         { return "admin@example.net" }
func (a *account) GetRegistration() *acme.ExtendedAccount { return a.registration }
func (a *account) GetPrivateKey() crypto.Signer           { return a.key }

// provider returns the provider that the environment names.
func provider() (challenge.Provider, error) {
	switch name := os.Getenv("PROVIDER"); name {
	case "acme-dns":
		return acmedns.NewDNSProvider()
	case "httpreq":
		return httpreq.NewDNSProvider()
	case "rfc2136":
		return dnsupdate.NewDNSProvider()
	default:
		return nil, fmt.Errorf("PROVIDER is %q", name)
	}
}

func run(ctx context.Context, domains []string) error {
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
	dns01.SetDefaultClient(dns01.NewClient(&dns01.Options{RecursiveNameservers: []string{os.Getenv("RESOLVER")}}))
	// lego would look for the record at the zone's name servers too, which it finds by the
	// system's resolver.
	if err := client.Challenge.SetDNS01Provider(solver, dns01.DisableAuthoritativeNssPropagationRequirement()); err != nil {
		return err
	}
	user.registration, err = client.Registration.Register(ctx, registration.RegisterOptions{TermsOfServiceAgreed: true})
	if err != nil {
		return err
	}
	issued, err := issue(ctx, client.Certificate, domains)
	if err != nil {
		return err
	}
	return os.WriteFile(os.Getenv("CERTIFICATE"), issued.Certificate, 0o600)
}

// issue obtains a certificate, or renews the one that was obtained before.
func issue(ctx context.Context, certifier *certificate.Certifier, domains []string) (*certificate.Resource, error) {
	chain, err := os.ReadFile(os.Getenv("CERTIFICATE"))
	switch {
	case err == nil:
		old := certificate.Resource{Domains: domains, Certificate: chain, KeyType: certcrypto.EC256}
		return certifier.Renew(ctx, old, &certificate.RenewOptions{Bundle: true})
	case errors.Is(err, fs.ErrNotExist):
		return certifier.Obtain(ctx, certificate.ObtainRequest{Domains: domains, KeyType: certcrypto.EC256, Bundle: true})
	}
	return nil, err
}
