// Command lego obtains one certificate for the domains that are its arguments,
// and writes the chain to standard output. It is a program as lego's guide
// describes it, with no more of BestDNS than the lego adapter: the tests run
// it, and weigh it.
//
// Its environment: BESTDNS_API_TOKEN and BESTDNS_ENDPOINT, ACME_CA (the URL of
// the directory), RESOLVER (host and port of a recursive one), KEY_TYPE (2048 for an
// RSA key of so many bits; lego's default if empty), UNCHECKED (if set, lego does not ask
// the resolver for the record before the CA does: it asks without recursion, which one
// that keeps nothing of it cannot answer), and what lego itself reads, such as LEGO_CA_CERTIFICATES.
package main

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"fmt"
	"os"

	"github.com/go-acme/lego/v4/certcrypto"
	"github.com/go-acme/lego/v4/certificate"
	"github.com/go-acme/lego/v4/challenge/dns01"
	"github.com/go-acme/lego/v4/lego"
	"github.com/go-acme/lego/v4/registration"

	"github.com/caddy-dns/bestdns"
)

func main() {
	chain, err := obtain(os.Args[1:])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Stdout.Write(chain)
}

// account is a new account with the CA.
type account struct {
	key          crypto.PrivateKey
	registration *registration.Resource
}

func (*account) GetEmail() string                          { return "admin@example.net" }
func (a *account) GetRegistration() *registration.Resource { return a.registration }
func (a *account) GetPrivateKey() crypto.PrivateKey        { return a.key }

func obtain(domains []string) ([]byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	user := &account{key: key}
	config := lego.NewConfig(user)
	config.CADirURL = os.Getenv("ACME_CA")
	if keyType := os.Getenv("KEY_TYPE"); keyType != "" {
		config.Certificate.KeyType = certcrypto.KeyType(keyType)
	}
	client, err := lego.NewClient(config)
	if err != nil {
		return nil, err
	}

	bestDNS, err := bestdns.NewDNSProviderBestDNS(os.Getenv("BESTDNS_API_TOKEN"))
	if err != nil {
		return nil, err
	}
	// lego would look for the record at the zone's name servers too, always on port 53, and
	// find those by the system's resolver.
	options := []dns01.ChallengeOption{
		dns01.AddRecursiveNameservers([]string{os.Getenv("RESOLVER")}),
		dns01.DisableAuthoritativeNssPropagationRequirement(),
	}
	if os.Getenv("UNCHECKED") == "" {
		options = append(options, dns01.RecursiveNSsPropagationRequirement())
	}
	if err := client.Challenge.SetDNS01Provider(bestDNS, options...); err != nil {
		return nil, err
	}

	user.registration, err = client.Registration.Register(registration.RegisterOptions{TermsOfServiceAgreed: true})
	if err != nil {
		return nil, err
	}
	obtained, err := client.Certificate.Obtain(certificate.ObtainRequest{Domains: domains, Bundle: true})
	if err != nil {
		return nil, err
	}
	return obtained.Certificate, nil
}
