package access

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"hash"
	"net/netip"
	"strconv"
	"strings"
	"sync"

	"github.com/google/uuid"

	"github.com/caddy-dns/bestdns/internal/record"
	"github.com/caddy-dns/bestdns/internal/text"
)

// This file is the accounts that clients with a register right make, as acme-dns has them.
//
// An account is not kept anywhere: its user name and password follow from its label, by HMAC
// with a secret of the configuration. So a registration takes no room, nothing has to be backed
// up or replicated, and every copy of the service with the same configuration accepts it. The
// networks that an account may call from are a part of its password, since they are nowhere
// else. What acme-dns had is in the configuration too ([ImportedAccount]).

// Accounts is what the configuration says of a client's accounts.
type Accounts struct {
	// Secret is what accounts follow from. Another secret revokes all of them. Empty: none can
	// be registered.
	Secret []byte
	// Imported are accounts of acme-dns.
	Imported []ImportedAccount
	// Revoked are the labels of accounts that are not accepted any more.
	Revoked []string
}

// leastAccountSecret is how many bytes a secret has at least: accounts see what follows from it,
// and can try to guess it.
const leastAccountSecret = 16

// exampleLabel is as long as the label of an account.
const exampleLabel = "00000000-0000-4000-8000-000000000000"

// MostNetworks is how many networks an account can be bound to.
const MostNetworks = 16

// Account is an account as its owner gets it.
type Account struct {
	Username, Password string
	// Label is the account's own, which acme-dns calls the subdomain.
	Label string
	// Name is where it answers challenges: what a CNAME has to lead to.
	Name record.Name
	// Networks are where it may call from; empty: anywhere.
	Networks []netip.Prefix
}

// accounts are those of one client.
type accounts struct {
	of       *Client
	under    record.Name
	macs     *sync.Pool // of the MACs that accounts follow from; nil: no one can register
	imported map[string]*ImportedAccount
	revoked  map[string]bool
}

func newAccounts(c *Client, config Accounts) (*accounts, error) {
	under := c.rights.registers
	a := &accounts{of: c, under: under, imported: make(map[string]*ImportedAccount, len(config.Imported)), revoked: make(map[string]bool)}
	switch given := len(config.Secret)+len(config.Imported)+len(config.Revoked) > 0; {
	case under == "" && given:
		return nil, errors.New("its accounts have no name below which they are: give it a right register under NAME")
	case under == "":
		return nil, nil
	case !c.rights.used.Has(c.ZoneOf(under)):
		return nil, fmt.Errorf("no zone of this service holds %q, below which it may register accounts", under)
	case len(config.Secret) == 0 && len(config.Imported) == 0:
		return nil, errors.New("a right to register accounts needs account_secret, which they follow from")
	case len(config.Secret) > 0 && len(config.Secret) < leastAccountSecret:
		return nil, fmt.Errorf("account_secret has %d bytes, and is to have %d at least: make one with \"openssl rand -base64 32\"", len(config.Secret), leastAccountSecret)
	}
	if len(config.Secret) > 0 {
		key := derive(newMAC(config.Secret), "bestdns account", c.name, string(under))
		a.macs = &sync.Pool{New: func() any { return newMAC(key) }} // one takes longer to make than to use
	}
	for i := range config.Imported {
		account := config.Imported[i]
		if err := account.Check(under); err != nil {
			return nil, fmt.Errorf("account %q: %w", account.Username, err)
		}
		account.Username = strings.ToLower(account.Username)
		if a.imported[account.Username] != nil {
			return nil, fmt.Errorf("account %q: duplicate user name", account.Username)
		}
		a.imported[account.Username] = &account
	}
	for _, account := range config.Revoked {
		if strings.Trim(account, labelCharacters) != "" {
			return nil, fmt.Errorf("revoked %q is neither the user name nor the subdomain of an account", text.Brief(account, text.MaxName))
		}
		a.revoked[account] = true
	}
	return a, nil
}

// labelCharacters are those that user names and labels of accounts have.
const labelCharacters = "abcdefghijklmnopqrstuvwxyz0123456789-"

// checkRevoked refuses what would revoke nothing: an account that another client has brought along.
func (cs *Clients) checkRevoked() error {
	for _, a := range cs.registrars {
		for _, other := range cs.registrars {
			for _, imported := range other.imported {
				if other != a && a.isRevoked(imported.Username, imported.Label) {
					return fmt.Errorf("client %q: the account that it revokes, %s, is one of client %q: revoke it there", a.of.name, imported.Username, other.of.name)
				}
			}
		}
	}
	return nil
}

// ZoneOf returns the hosted zone that a name is in, "" if it is in none.
func (c *Client) ZoneOf(name record.Name) record.Name {
	zone, _ := c.rights.zones.Of(name)
	return zone
}

// newMAC returns what derives from a key.
func newMAC(key []byte) hash.Hash { return hmac.New(sha256.New, key) }

// derive returns what follows from the key of a MAC and some texts. The length of each is before it, so
// that no two lists of texts are one message.
func derive(mac hash.Hash, texts ...string) []byte {
	const usual = 64
	message := make([]byte, 0, usual)
	for _, text := range texts {
		message = append(strconv.AppendInt(message, int64(len(text)), 10), ':')
		message = append(message, text...)
	}
	mac.Reset()
	mac.Write(message)
	return mac.Sum(nil)
}

// ErrNoAccounts is that a client may not register accounts.
var ErrNoAccounts = errors.New("this client has no right to register accounts")

// Register makes an account that may call from some networks, or from anywhere without any.
func (c *Client) Register(networks []netip.Prefix) (Account, error) {
	if c.accounts == nil || c.accounts.macs == nil {
		return Account{}, ErrNoAccounts
	}
	if len(networks) > MostNetworks {
		return Account{}, fmt.Errorf("%d networks, and %d are the most", len(networks), MostNetworks)
	}
	return c.accounts.make(uuid.NewString(), networks)
}

// Registers returns the name below which the client may register accounts, "" if it may not.
func (c *Client) Registers() record.Name { return c.rights.registers }

func (a *accounts) make(label string, networks []netip.Prefix) (Account, error) {
	name, err := a.under.Child(label)
	if err != nil {
		return Account{}, err
	}
	packed := packNetworks(networks)
	mac := a.macs.Get().(hash.Hash)
	defer a.macs.Put(mac)
	var id uuid.UUID
	copy(id[:], derive(mac, "user name", label))
	id[6], id[8] = id[6]&0x0f|0x40, id[8]&0x3f|0x80 // version 4, as acme-dns has it
	const passwordBytes = 30                        // 40 characters
	password := derive(mac, "password", label, string(packed))[:passwordBytes]
	return Account{
		Username: id.String(), Password: base64.RawURLEncoding.EncodeToString(append(password, packed...)),
		Label: label, Name: name, Networks: networks,
	}, nil
}

// passwordLen is how many characters a password has without networks.
const passwordLen = 40

// ErrAccount is that an account is not accepted. What follows it says why, for the log: the caller is
// told no more than that.
var ErrAccount = errors.New("the account is not accepted")

var (
	errNoAccount    = fmt.Errorf("%w: no account has that user name and that subdomain; perhaps the secret that it followed from has changed", ErrAccount)
	errPassword     = fmt.Errorf("%w: the password is not that of the account, or not all of it", ErrAccount)
	errOtherAccount = fmt.Errorf("%w: the subdomain is another account's", ErrAccount)
	errRevoked      = fmt.Errorf("%w: it is revoked", ErrAccount)
)

// find returns an account by what its owner sends. The error says why there is none.
func (a *accounts) find(ctx context.Context, username, password, label string, mayHash func() bool) (*Account, error) {
	if imported := a.imported[username]; imported != nil {
		switch {
		case a.isRevoked(username, imported.Label):
			return nil, errRevoked
		case imported.Label != label:
			return nil, errOtherAccount
		}
		ok, err := passwords.accept(ctx, imported.Hash, password, mayHash)
		switch {
		case err != nil:
			return nil, err
		case !ok:
			return nil, errPassword
		}
		name, err := a.under.Child(label)
		return &Account{Username: username, Label: label, Name: name, Networks: imported.Networks}, err
	}
	account, err := a.derived(username, password, label)
	if err == nil && a.isRevoked(username, label) {
		return nil, errRevoked
	}
	return account, err
}

func (a *accounts) isRevoked(username, label string) bool {
	return a.revoked[username] || a.revoked[label]
}

// derived is find for an account that was registered.
func (a *accounts) derived(username, password, label string) (*Account, error) {
	if a.macs == nil || len(label) != len(exampleLabel) {
		return nil, errNoAccount
	}
	var networks []netip.Prefix
	if len(password) > passwordLen {
		packed, err := base64.RawURLEncoding.DecodeString(password[passwordLen:])
		if err == nil {
			networks, _ = unpackNetworks(packed)
		}
	}
	account, err := a.make(label, networks)
	switch {
	case err != nil || account.Username != username:
		return nil, errNoAccount
	case !hmac.Equal([]byte(account.Password), []byte(password)):
		return nil, errPassword
	}
	return &account, nil
}

// packNetworks writes networks as a part of a password: of each the length of an address, that
// of the prefix, and the address.
func packNetworks(networks []netip.Prefix) (packed []byte) {
	for _, network := range networks {
		address := network.Masked().Addr()
		packed = append(packed, byte(address.BitLen()/8), byte(network.Bits()))
		packed = append(packed, address.AsSlice()...)
	}
	return packed
}

func unpackNetworks(packed []byte) (networks []netip.Prefix, ok bool) {
	for len(packed) > 0 {
		if len(networks) == MostNetworks || len(packed) < 2 || len(packed) < 2+int(packed[0]) {
			return nil, false
		}
		address, isAddress := netip.AddrFromSlice(packed[2 : 2+packed[0]])
		network := netip.PrefixFrom(address, int(packed[1]))
		if !isAddress || !network.IsValid() {
			return nil, false
		}
		networks = append(networks, network)
		packed = packed[2+packed[0]:]
	}
	return networks, true
}

// ByAccount returns the client that has an account, as which it may answer challenges at the
// account's name and do nothing else. Where a hash would have to be computed that is slow, mayHash is
// asked before; nil is yes. The error wraps [ErrAccount] or [ErrTooManyPasswords], or is that of ctx.
func (cs *Clients) ByAccount(ctx context.Context, username, password, label string, mayHash func() bool) (*Client, *Account, error) {
	username = strings.ToLower(username) // acme-dns reads it as a UUID
	for _, a := range cs.registrars {
		account, err := a.find(ctx, username, password, label, mayHash)
		switch {
		case err == nil:
			return a.client(account), account, nil
		case !errors.Is(err, errNoAccount):
			return nil, nil, err
		}
	}
	return nil, nil, errNoAccount
}

// client returns an account as a client.
func (a *accounts) client(account *Account) *Client {
	h := a.of.rights.hosting
	return &Client{
		name:      a.of.name + "/" + account.Label,
		registrar: a.of,
		networks:  unmappedAll(account.Networks),
		rights:    rights{hosting: h, account: account.Name, used: record.Zones{a.of.ZoneOf(account.Name): {}}},
	}
}

func unmappedAll(networks []netip.Prefix) (list []netip.Prefix) {
	for _, network := range networks {
		list = append(list, unmapped(network))
	}
	return list
}

// Registrar returns the client that has registered this one, if it is an account; otherwise the
// client itself. What is bounded by client is bounded for both together: a client decides how
// many accounts it has.
func (c *Client) Registrar() *Client {
	if c.registrar != nil {
		return c.registrar
	}
	return c
}

// IsAccount reports whether the client is an account.
func (c *Client) IsAccount() bool { return c.registrar != nil }
