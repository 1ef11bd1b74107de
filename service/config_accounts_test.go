package service

import (
	"bytes"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/caddy-dns/bestdns/internal/access"
)

// bcryptHash is as long as a hash, and of no password.
const bcryptHash = "$2a$10$01234567890123456789012345678901234567890123456789012"

func imported(number string, networks ...string) access.ImportedAccount {
	a := access.ImportedAccount{Username: "user" + number, Hash: bcryptHash, Label: "label" + number}
	for _, network := range networks {
		a.Networks = append(a.Networks, netip.MustParsePrefix(network))
	}
	return a
}

func mustReadAccounts(t *testing.T, file string, want ...access.ImportedAccount) {
	t.Helper()
	got, err := readAccountsFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got, cmpopts.EquateComparable(netip.Prefix{}), cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("accounts in the file (-want +got):\n%s", diff)
	}
}

// TestAccountsFile reads what was written, and nothing that was not.
func TestAccountsFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "accounts.json")
	write := func(t *testing.T, text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for name, accounts := range map[string][]access.ImportedAccount{
		"none":     nil,
		"one":      {imported("1")},
		"several":  {imported("1", "192.0.2.0/24"), imported("2"), imported("3", "2001:db8::/32", "198.51.100.7/32")},
		"any text": {{Username: "\"\\<é\n\u2028\x00", Hash: "'", Label: ""}},
	} {
		t.Run(name, func(t *testing.T) {
			var text bytes.Buffer
			if err := writeAccountsFile(&text, accounts); err != nil {
				t.Fatal(err)
			}
			write(t, text.String())
			mustReadAccounts(t, file, accounts...)
		})
	}
	for name, text := range map[string]string{
		"a misspelled member": `{"accounts": [{"username":"u","password":"p","subdomain":"s","allow_from":["192.0.2.0/24"]}]}`,
		"another case":        `{"accounts": [{"username":"u","password":"p","subdomain":"s","AllowFrom":["192.0.2.0/24"]}]}`,
		"members twice":       `{"accounts": [{"username":"u","password":"p","subdomain":"s","allowfrom":["192.0.2.0/24"],"allowfrom":[]}]}`,
		"two files":           `{"accounts": []}{"accounts": []}`,
	} {
		t.Run(name, func(t *testing.T) {
			write(t, text)
			if got, err := readAccountsFile(file); err == nil {
				t.Errorf("read as %v", got)
			}
		})
	}
	t.Run("too long", func(t *testing.T) {
		var text bytes.Buffer
		err := writeAccountsFile(&text, []access.ImportedAccount{{Username: strings.Repeat("x", mostAccountsFile)}})
		if err == nil || !strings.Contains(err.Error(), "more than 67108864 bytes, which are the most") || text.Len() > 0 {
			t.Errorf("%d bytes written, %v", text.Len(), err)
		}
	})
}
