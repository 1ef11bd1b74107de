package service

import (
	"encoding/json"
	"fmt"
	"os"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-dns/bestdns/internal/access"
)

// accountsFile is a file of accounts as import-acme-dns writes it.
type accountsFile struct {
	Accounts []fileAccount `json:"accounts"`
}

// fileAccount is an account of acme-dns.
type fileAccount struct {
	Username  string   `json:"username"`
	Password  string   `json:"password"` // its bcrypt hash
	Subdomain string   `json:"subdomain"`
	AllowFrom []string `json:"allowfrom,omitempty"`
}

// mostAccountsFile is how long such a file may be in bytes: 200 are an account's.
const mostAccountsFile = 64 << 20

// readAccounts reads what the configuration says of the client's accounts.
func (c *Client) readAccounts() (config access.Accounts, err error) {
	secret, err := replace(c.AccountSecret)
	if err != nil {
		return config, fmt.Errorf("account_secret: %w", err)
	}
	config.Secret = []byte(secret)
	if config.Revoked, err = readEach(c.Revoked, asIs); err != nil {
		return config, fmt.Errorf("revoked: %w", err)
	}
	files, err := readEach(c.Accounts, readAccountsFile)
	if err != nil {
		return config, fmt.Errorf("accounts: %w", err)
	}
	for _, accounts := range files {
		config.Imported = append(config.Imported, accounts...)
	}
	return config, nil
}

func readAccountsFile(name string) ([]access.ImportedAccount, error) {
	info, err := os.Stat(name)
	if err != nil {
		return nil, err
	}
	if info.Size() > mostAccountsFile {
		return nil, fmt.Errorf("%s has %d bytes, and %d are the most", name, info.Size(), mostAccountsFile)
	}
	text, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	var file accountsFile
	if err := json.Unmarshal(text, &file); err != nil {
		return nil, fmt.Errorf("%s is not as \"caddy bestdns import-acme-dns\" writes it: %w", name, err)
	}
	accounts := make([]access.ImportedAccount, len(file.Accounts))
	for i, a := range file.Accounts {
		accounts[i] = access.ImportedAccount{Username: a.Username, Hash: a.Password, Label: a.Subdomain}
		for _, text := range a.AllowFrom {
			network, err := caddyhttp.CIDRExpressionToPrefix(text)
			if err != nil {
				return nil, fmt.Errorf("%s: account %q: %q is not a network in CIDR notation", name, a.Username, text)
			}
			accounts[i].Networks = append(accounts[i].Networks, network)
		}
	}
	return accounts, nil
}
