package service

import (
	"bytes"
	"fmt"
	"io"
	"os"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/go-json-experiment/json"

	"github.com/caddy-dns/bestdns/internal/access"
)

// accountsFile is a file of accounts. The command import-acme-dns writes it, and the configuration
// reads it.
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

// writeAccountsFile writes accounts as [readAccountsFile] reads them, each in a line of its own.
func writeAccountsFile(out io.Writer, accounts []access.ImportedAccount) error {
	const before, after = `{"accounts": [`, "\n]}\n"
	var file bytes.Buffer
	file.WriteString(before)
	for i, a := range accounts {
		account := fileAccount{Username: a.Username, Password: a.Hash, Subdomain: a.Label}
		for _, network := range a.Networks {
			account.AllowFrom = append(account.AllowFrom, network.String())
		}
		text, err := json.Marshal(account)
		if err != nil {
			return fmt.Errorf("account %q: %w", a.Username, err)
		}
		if i > 0 {
			file.WriteByte(',')
		}
		file.WriteByte('\n')
		file.Write(text)
		if file.Len()+len(after) > mostAccountsFile {
			return fmt.Errorf("a file of %d accounts has more than %d bytes, which are the most: make a dump for each part of the accounts, and a file of each", len(accounts), mostAccountsFile)
		}
	}
	file.WriteString(after)
	_, err := out.Write(file.Bytes())
	return err
}

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
	// A member that is misspelled would leave an account without its networks.
	if err := json.Unmarshal(text, &file, json.RejectUnknownMembers(true)); err != nil {
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
