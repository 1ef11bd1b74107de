package service

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"regexp"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/caddy-dns/bestdns/internal/tsig"
	"github.com/caddy-dns/bestdns/service/check"
)

// otherClient are the flags of "caddy bestdns check" for clients that speak another protocol than the
// API.
type otherClient struct {
	httpreq    bool
	tsigKey    string
	nameserver string
	acmeDNS    string
}

func (o *otherClient) bind(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.BoolVar(&o.httpreq, "httpreq", false, "The client speaks httpreq, as lego, Traefik, acme.sh and Proxmox do")
	flags.StringVar(&o.tsigKey, "tsig-key", "", "The key of a client that sends dynamic updates: a file as tsig-keygen writes it and nsupdate -k reads it")
	flags.StringVar(&o.nameserver, "nameserver", "", "The IP address of the service's name server for --tsig-key, with its port if that is not 53; by default that of --config")
	flags.StringVar(&o.acmeDNS, "acme-dns", "", "The accounts of a client of acme-dns: a file as lego and cert-manager have it")
}

// prepare reads what the flags name. The name server is at an address and port unless a flag says
// otherwise; each is "" if not known.
func (o *otherClient) prepare(options *check.Options, address, port string) (err error) {
	options.HTTPReq = o.httpreq
	if o.tsigKey == "" && o.acmeDNS == "" {
		if o.nameserver != "" {
			return errors.New("--nameserver is for --tsig-key: name the file of the key too")
		}
		return nil
	}
	switch {
	case options.Domain == "":
		return errors.New("name the domain whose certificates the client obtains")
	case o.tsigKey != "" && o.acmeDNS != "":
		return errors.New("--tsig-key and --acme-dns are two clients: check one after the other")
	case o.acmeDNS != "":
		options.Account, err = readAccount(o.acmeDNS, strings.TrimPrefix(options.Domain, "*."), options.Endpoint.URL)
		return err
	}
	options.Updates = new(check.Updates)
	if options.Updates.Key, err = readKeyFile(o.tsigKey); err != nil {
		return err
	}
	options.Updates.Server, err = o.server(address, port)
	return err
}

// server returns where updates are sent, as "host:port".
func (o *otherClient) server(address, port string) (string, error) {
	switch {
	case o.nameserver != "":
		address = o.nameserver
	case address != "" && port != "":
		address = net.JoinHostPort(address, port)
	}
	if address == "" {
		return "", errors.New("where is the service's name server? Give its address with --nameserver, or the service's configuration with --config")
	}
	server, err := parseServerAddress(address)
	if err != nil {
		return "", err
	}
	return server.String(), nil
}

// The parts of a key's file.
var (
	keyFile      = regexp.MustCompile(`(?s)^\s*key\s+"?([^"\s{]+)"?\s*\{(.*)\}\s*;?\s*$`)
	keyAlgorithm = regexp.MustCompile(`algorithm\s+"?([^";\s]+)"?\s*;`)
	keySecret    = regexp.MustCompile(`secret\s+"?([^";\s]+)"?\s*;`)
)

// readKeyFile reads a key as tsig-keygen writes it. Errors do not have the secret.
func readKeyFile(file string) (tsig.Key, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return tsig.Key{}, err
	}
	parts := keyFile.FindSubmatch(text)
	if parts == nil {
		return tsig.Key{}, fmt.Errorf("%s is not a key as tsig-keygen writes it: key \"NAME\" { algorithm hmac-sha256; secret \"…\"; };", file)
	}
	algorithm, secret := keyAlgorithm.FindSubmatch(parts[2]), keySecret.FindSubmatch(parts[2])
	if algorithm == nil || secret == nil {
		return tsig.Key{}, fmt.Errorf("the key in %s has no algorithm or no secret", file)
	}
	key, err := tsig.NewKey(string(parts[1]), string(algorithm[1]), string(secret[1]))
	if err != nil {
		return key, fmt.Errorf("%s: %w", file, err)
	}
	return key, nil
}

// clientsAccounts is how clients of acme-dns store their accounts, by domain.
const clientsAccounts = `such as {"www.example.org": {"username": …, "password": …, "fulldomain": …, "subdomain": …, "server_url": …}}`

// readAccount reads the account for a domain. Its server is the endpoint where the file names none.
func readAccount(file, domain, endpoint string) (*check.Account, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var imported accountsFile
	if json.Unmarshal(text, &imported) == nil && len(imported.Accounts) > 0 {
		return nil, fmt.Errorf("%s is what import-acme-dns writes for the service, with hashes instead of passwords: name the file in which the client has its own accounts, %s", file, clientsAccounts)
	}
	var accounts map[string]*check.Account
	if err := json.Unmarshal(text, &accounts); err != nil {
		return nil, fmt.Errorf("%s is not a client's file of accounts, %s: %w", file, clientsAccounts, err)
	}
	account := accounts[domain]
	if account == nil {
		const most = 10
		names := slices.Sorted(maps.Keys(accounts))
		return nil, fmt.Errorf("%s has no account for %s; it has them for %s", file, domain, cmp.Or(strings.Join(names[:min(len(names), most)], ", "), "no domain"))
	}
	if account.Server = cmp.Or(account.Server, endpoint); account.Server == "" {
		return nil, fmt.Errorf("the account for %s in %s has no server_url: give the URL of the service with --endpoint", domain, file)
	}
	return account, nil
}
