// Command lego5 obtains one certificate for the domains that are its arguments,
// and writes the chain to standard output. It is the program of the folder lego for lego v5,
// with no more of BestDNS than the adapter for that.
//
// Its environment: BESTDNS_API_TOKEN and BESTDNS_ENDPOINT, ACME_CA (the URL of
// the directory), RESOLVER (host and port of a recursive one), and what lego itself reads,
// such as LEGO_CA_CERTIFICATES.
package main

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"fmt"
	"log/slog"
	"os"

	"github.com/go-acme/lego/v5/acme"
	"github.com/go-acme/lego/v5/certcrypto"
	"github.com/go-acme/lego/v5/certificate"
	"github.com/go-acme/lego/v5/challenge/dns01"
	"github.com/go-acme/lego/v5/lego"
	"github.com/go-acme/lego/v5/log"
	"github.com/go-acme/lego/v5/registration"

	"github.com/caddy-dns/bestdns/lego5"
)

func main() {
	log.SetDefault(slog.New(slog.NewTextHandler(os.Stderr, nil))) // not standard output
	chain, err := obtain(context.Background(), os.Args[1:])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Stdout.Write(chain)
}

// account is a new account with the CA.
type account struct {
	key          crypto.Signer
	registration *acme.ExtendedAccount
}

func (*account) GetEmail() string                         { return "admin@example.net" }
func (a *account) GetRegistration() *acme.ExtendedAccount { return a.registration }
func (a *account) GetPrivateKey() crypto.Signer           { return a.key }

func obtain(ctx context.Context, domains []string) ([]byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	user := &account{key: key}
	config := lego.NewConfig(user)
	config.CADirURL = os.Getenv("ACME_CA")
	client, err := lego.NewClient(config)
	if err != nil {
		return nil, err
	}

	bestDNS, err := lego5.NewDNSProviderBestDNS(os.Getenv("BESTDNS_API_TOKEN"))
	if err != nil {
		return nil, err
	}
	dns01.SetDefaultClient(dns01.NewClient(&dns01.Options{RecursiveNameservers: []string{os.Getenv("RESOLVER")}}))
	// lego would look for the record at the zone's name servers too, always on port 53.
	if err := client.Challenge.SetDNS01Provider(bestDNS, dns01.DisableAuthoritativeNssPropagationRequirement()); err != nil {
		return nil, err
	}

	user.registration, err = client.Registration.Register(ctx, registration.RegisterOptions{TermsOfServiceAgreed: true})
	if err != nil {
		return nil, err
	}
	request := certificate.ObtainRequest{Domains: domains, KeyType: certcrypto.EC256, Bundle: true}
	obtained, err := client.Certificate.Obtain(ctx, request)
	if err != nil {
		return nil, err
	}
	return obtained.Certificate, nil
}
