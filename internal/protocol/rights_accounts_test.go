package protocol

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/crypto/bcrypt"

	"github.com/caddy-dns/bestdns/internal/access"
)

// account is one of acme-dns, registered or imported, as its owner knows it.
type account struct {
	registrar                 string
	username, password, label string
	networks                  []netip.Prefix
	imported, revoked         bool
	rules                     *naiveWorld
}

// tokenOf is the token of a client.
func tokenOf(client string) string { return "the token of " + client }

// registers returns the name below which a client may register accounts, nil if it may not.
func (w *rightsWorld) registers(client string) labels {
	for _, rule := range w.naive[client].rules {
		if rule.verb == "register" {
			return rule.name
		}
	}
	return nil
}

func (w *rightsWorld) networks() []netip.Prefix {
	return pick(w, nil, nil, []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")},
		[]netip.Prefix{netip.MustParsePrefix("2001:db8::/32"), netip.MustParsePrefix("::ffff:198.51.100.0/120")})
}

// importAccounts makes the accounts of a client that its configuration has.
func (w *rightsWorld) importAccounts(client string) (config access.Accounts) {
	w.t.Helper()
	under := w.registers(client)
	if under == nil {
		return config
	}
	config.Secret = []byte("the secret of " + client)
	for i := range w.IntN(3) {
		a := &account{
			registrar: client, username: client + "-" + strconv.Itoa(i), password: "password " + strconv.Itoa(i), label: "imported-" + client + "-" + strconv.Itoa(i),
			networks: w.networks(), imported: true, revoked: w.chance(20),
		}
		hash, err := bcrypt.GenerateFromPassword([]byte(a.password), bcrypt.MinCost)
		if err != nil {
			w.t.Fatal(err)
		}
		config.Imported = append(config.Imported, access.ImportedAccount{Username: a.username, Hash: string(hash), Label: a.label, Networks: a.networks})
		if a.revoked {
			config.Revoked = append(config.Revoked, pick(w, a.label, a.username))
		}
		w.addAccount(a)
	}
	return config
}

func (w *rightsWorld) addAccount(a *account) {
	a.rules = &naiveWorld{zones: w.zones, account: append(labels{a.label}, w.registers(a.registrar)...)}
	w.accounts = append(w.accounts, a)
}

// register registers accounts, and has each password seen once: what is known is never too much.
func (w *rightsWorld) register() {
	w.t.Helper()
	for _, client := range w.clients {
		who := w.s.Clients().ByName(client)
		registered, err := who.Register(w.networks())
		if under := w.registers(client); (err == nil) != (under != nil) {
			w.failf(client, "registers an account: %v", err)
		}
		if err == nil {
			w.addAccount(&account{registrar: client, username: registered.Username, password: registered.Password, label: registered.Label, networks: registered.Networks})
		}
	}
	for _, a := range w.accounts {
		client, _, err := w.s.Clients().ByAccount(w.t.Context(), a.username, a.password, a.label, nil)
		if (err != nil) != a.revoked || (client == nil) != a.revoked {
			w.failf(a.registrar, "account %+v: %v, %v", a, client, err)
		}
	}
}

// accepts says whether an account may call from an address.
func (a *account) accepts(from netip.Addr) bool {
	if a.revoked {
		return false
	}
	return len(a.networks) == 0 || slices.ContainsFunc(a.networks, func(p netip.Prefix) bool {
		// A network of mapped addresses is one of IPv4.
		if text, mapped := strings.CutPrefix(p.String(), "::ffff:"); mapped {
			address, bits, _ := strings.Cut(text, "/")
			n, _ := strconv.Atoi(bits)
			p = netip.PrefixFrom(netip.MustParseAddr(address), n-96)
		}
		return p.Contains(from)
	})
}
