package access

import (
	"encoding/base64"
	"errors"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/caddy-dns/bestdns/internal/record"
)

const accountSecret = "0123456789abcdef0123456789abcdef"

// registrarConfig returns a client that may register accounts below a name, with changes.
func registrarConfig(t testing.TB, under string, change ...func(*Config)) Config {
	t.Helper()
	c := Config{Name: "registrar", Users: []string{"registrar"}, Rules: []Rule{parseRule(t, "register under "+under)}, Accounts: Accounts{Secret: []byte(accountSecret)}}
	for _, f := range change {
		f(&c)
	}
	return c
}

func clientsOf(t testing.TB, configs ...Config) *Clients {
	t.Helper()
	cs, err := New(record.NewZones(name(t, "example.org"), name(t, "deep.auth.example.org"), name(t, "example.net")), "", configs)
	if err != nil {
		t.Fatal(err)
	}
	return cs
}

func prefixes(texts ...string) (networks []netip.Prefix) {
	for _, text := range texts {
		networks = append(networks, netip.MustParsePrefix(text))
	}
	return networks
}

// goldenLabel is the label of an account that all versions of the service have to accept.
const goldenLabel = "8f3b6c1e-5f0a-4b0e-9d6a-2f6f5c1f0a11"

// TestAccountsStayTheSame: how accounts are derived must never change, since only their owners keep them.
// The values were computed by another program.
func TestAccountsStayTheSame(t *testing.T) {
	cs := clientsOf(t, registrarConfig(t, "auth.example.org"))
	for _, test := range []struct {
		password string
		networks []netip.Prefix
	}{
		{"GcKTvMCQQfKZ5NIN0z5tUHGLx2lH6H_Bqna_LDJu", nil},
		{"RI79XJKHofwMs0Fb48cZs24P7koV5osXzP9qzVc-BBjAAAIAECAgAQ24AAAAAAAAAAAAAAAA", prefixes("192.0.2.0/24", "2001:db8::/32")},
	} {
		want := Account{Username: "e907c57c-300d-4c2e-b500-99faa4f8be63", Password: test.password, Label: goldenLabel, Name: name(t, goldenLabel+".auth.example.org"), Networks: test.networks}
		made, err := cs.registrars[0].make(goldenLabel, test.networks)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, made, cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })); diff != "" {
			t.Errorf("-want +got:\n%s", diff)
		}
		client, account, err := cs.ByAccount(t.Context(), want.Username, want.Password, goldenLabel, nil)
		if err != nil || client == nil {
			t.Fatalf("%+v is not accepted: %v", want, err)
		}
		if client.Name() != "registrar/"+goldenLabel || client.Registrar().Name() != "registrar" || !client.IsAccount() || !slices.Equal(account.Networks, test.networks) {
			t.Errorf("taken for %q, %+v", client.Name(), account)
		}
	}
}

// TestAccountsOfOthers: an account is refused if anything differs from which it is derived.
func TestAccountsOfOthers(t *testing.T) {
	cs := clientsOf(t, registrarConfig(t, "auth.example.org"))
	a, err := cs.ByName("registrar").Register(prefixes("192.0.2.0/24"))
	if err != nil {
		t.Fatal(err)
	}
	b, err := cs.ByName("registrar").Register(nil)
	if err != nil {
		t.Fatal(err)
	}
	accepts := func(cs *Clients, username, password, label string) bool {
		client, account, err := cs.ByAccount(t.Context(), username, password, label, nil)
		if err != nil && !errors.Is(err, ErrAccount) || (client == nil) != (account == nil) {
			t.Fatalf("%v, %v, %v", client, account, err)
		}
		return client != nil
	}
	if !accepts(cs, a.Username, a.Password, a.Label) || !accepts(cs, b.Username, b.Password, b.Label) {
		t.Fatal("its own service does not accept it")
	}
	for _, config := range []Config{
		registrarConfig(t, "auth.example.org", func(c *Config) { c.Accounts.Secret = []byte("another secret of 16 bytes") }),
		registrarConfig(t, "auth.example.org", func(c *Config) { c.Name = "other" }),
		registrarConfig(t, "other.example.org"),
		registrarConfig(t, "auth.example.org", func(c *Config) { c.Accounts.Revoked = []string{a.Label} }),
		registrarConfig(t, "auth.example.org", func(c *Config) { c.Accounts.Revoked = []string{a.Username} }),
		{Name: "registrar", Users: []string{"registrar"}},
	} {
		if accepts(clientsOf(t, config), a.Username, a.Password, a.Label) {
			t.Errorf("accepted by %+v", config)
		}
	}
	all, own := base64.RawURLEncoding.EncodeToString(packNetworks(nil)), a.Password[passwordLen:]
	wider := base64.RawURLEncoding.EncodeToString(packNetworks(prefixes("192.0.0.0/16")))
	for _, test := range []struct{ name, username, password, label string }{
		{"another's user name", b.Username, a.Password, a.Label},
		{"another's password", a.Username, b.Password, a.Label},
		{"another's label", a.Username, a.Password, b.Label},
		{"no networks", a.Username, a.Password[:passwordLen] + all, a.Label},
		{"a wider network", a.Username, a.Password[:passwordLen] + wider, a.Label},
		{"another's password with its networks", a.Username, b.Password + own, a.Label},
		{"a line end", a.Username, a.Password + "\n", a.Label},
		{"a line end within", a.Username, a.Password[:passwordLen+2] + "\n" + a.Password[passwordLen+2:], a.Label},
		{"padding", a.Username, a.Password + "=", a.Label},
		{"other bits at the end", a.Username, a.Password[:len(a.Password)-1] + string(a.Password[len(a.Password)-1]+1), a.Label},
		{"cut short", a.Username, a.Password[:passwordLen-1], a.Label},
		{"a label in capitals", a.Username, a.Password, strings.ToUpper(a.Label)},
		{"a short label", a.Username, a.Password, a.Label[1:]},
		{"nothing", "", "", ""},
	} {
		if accepts(cs, test.username, test.password, test.label) {
			t.Errorf("%s: accepted", test.name)
		}
	}
}

// TestRegister: accounts look like those of acme-dns, and no two are the same.
func TestRegister(t *testing.T) {
	cs := clientsOf(t, registrarConfig(t, "auth.example.org"), Config{Name: "other", Users: []string{"other"}, Rules: []Rule{parseRule(t, "certificates example.org")}})
	uuid4 := regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`)
	seen := make(map[string]bool)
	for range 50 {
		a, err := cs.ByName("registrar").Register(nil)
		if err != nil {
			t.Fatal(err)
		}
		if !uuid4.MatchString(a.Username) || !uuid4.MatchString(a.Label) || len(a.Password) != passwordLen || strings.Trim(a.Password, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_") != "" {
			t.Errorf("account %+v", a)
		}
		for _, text := range []string{a.Username, a.Label, a.Password} {
			if seen[text] {
				t.Errorf("%q twice", text)
			}
			seen[text] = true
		}
	}
	if _, err := cs.ByName("other").Register(nil); !errors.Is(err, ErrNoAccounts) {
		t.Errorf("a client without the right: %v", err)
	}
	imported := registrarConfig(t, "auth.example.org", func(c *Config) {
		c.Accounts = Accounts{Imported: []ImportedAccount{{Username: "a", Label: "a", Hash: hashOf(t, "a")}}}
	})
	if _, err := clientsOf(t, imported).ByName("registrar").Register(nil); !errors.Is(err, ErrNoAccounts) {
		t.Errorf("a client without a secret: %v", err)
	}
}

// TestAccountRights: an account has a right to its own name and nothing else.
func TestAccountRights(t *testing.T) {
	cs := clientsOf(t, registrarConfig(t, "auth.example.org", func(c *Config) {
		c.Rules = append(c.Rules, parseRule(t, "allow under example.org"), parseRule(t, "certificates example.org"))
	}))
	a, err := cs.ByName("registrar").Register(nil)
	if err != nil {
		t.Fatal(err)
	}
	client, _, err := cs.ByAccount(t.Context(), a.Username, a.Password, a.Label, nil)
	if err != nil || client == nil {
		t.Fatal(client, err)
	}
	zone, value, other := name(t, "example.org"), strings.Repeat("A", 43), "other"
	at := func(owner, typ, data string) record.Record {
		r, err := record.At(name(t, owner), typ, 60, data)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	own := a.Name.String()
	for _, test := range []struct {
		op   record.Op
		r    record.Record
		want bool
	}{
		{record.Append, at(own, "TXT", value), true},
		{record.Set, at(own, "TXT", value), false},
		{record.Append, at(own, "TXT", other), false},
		{record.Append, at(own, "A", "192.0.2.1"), false},
		{record.Append, at("auth.example.org", "TXT", value), false},
		{record.Append, at("x."+own, "TXT", value), false},
		{record.Append, at("_acme-challenge."+own, "TXT", value), false},
		{record.Append, at("_acme-challenge.example.org", "TXT", value), false},
		{record.Append, at("another.auth.example.org", "TXT", value), false},
	} {
		ok, challenge := client.MayWrite(zone, test.op, test.r)
		if ok != test.want || challenge != test.want {
			t.Errorf("%s %s: %t, %t", test.op, test.r, ok, challenge)
		}
		if test.op == record.Append && client.MayDelete(zone, record.MatchOf(test.r)) != test.want {
			t.Errorf("delete %s: not %t", test.r, test.want)
		}
		if got := client.MayRead(zone, test.r.Name); got != (test.r.Name == a.Name) {
			t.Errorf("reads %s: %t", test.r.Name, got)
		}
	}
	if !client.MayUse(zone) || client.MayUse(name(t, "example.net")) || client.MayReadAll(zone) || client.MayWatch() || client.MayCertify(name(t, "example.org")) {
		t.Error("it may use another zone, or may not use its own")
	}
	if client.Registers() != "" || len(client.Rules()) > 0 {
		t.Errorf("it registers below %q, by %v", client.Registers(), client.Rules())
	}
	if _, err := client.Register(nil); !errors.Is(err, ErrNoAccounts) {
		t.Errorf("it registers another one: %v", err)
	}
}

// TestAccountNetworks: the networks of an account are a part of its password, and are read from it.
func TestAccountNetworks(t *testing.T) {
	cs := clientsOf(t, registrarConfig(t, "auth.example.org"))
	registrar := cs.ByName("registrar")
	var sixteen []netip.Prefix
	for i := range MostNetworks {
		sixteen = append(sixteen, netip.PrefixFrom(netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, byte(i)}), 128-i))
	}
	for _, test := range []struct {
		name     string
		networks []netip.Prefix
		in, out  string // addresses that are accepted, and refused
	}{
		{"anywhere", nil, "192.0.2.1 2001:db8::1", ""},
		{"IPv4", prefixes("192.0.2.0/24"), "192.0.2.1 ::ffff:192.0.2.1", "192.0.3.1 2001:db8::1"},
		{"with bits after the prefix", prefixes("192.0.2.77/24"), "192.0.2.1", "192.0.3.1"},
		{"one address", prefixes("192.0.2.7/32", "2001:db8::7/128"), "192.0.2.7 2001:db8::7", "192.0.2.8 2001:db8::8"},
		{"all of a family", prefixes("0.0.0.0/0"), "192.0.2.7", "2001:db8::8"},
		{"all of the other", prefixes("::/0"), "2001:db8::8", "192.0.2.7"},
		{"mapped", prefixes("::ffff:192.0.2.0/120"), "192.0.2.7 ::ffff:192.0.2.7", "192.0.3.7 2001:db8::1"},
		{"sixteen", sixteen, "2001:db8::0 2001:db8:0100::", "192.0.2.1 2001:db9::"},
	} {
		a, err := registrar.Register(test.networks)
		if err != nil {
			t.Fatal(err)
		}
		client, account, err := cs.ByAccount(t.Context(), a.Username, a.Password, a.Label, nil)
		if err != nil || client == nil || len(account.Networks) != len(test.networks) {
			t.Fatalf("%s: %v, %+v, %v", test.name, client, account, err)
		}
		for _, text := range strings.Fields(test.in) {
			if err := client.Accepts(someDay, netip.MustParseAddr(text)); err != nil {
				t.Errorf("%s: %s: %v", test.name, text, err)
			}
		}
		for _, text := range strings.Fields(test.out) {
			if err := client.Accepts(someDay, netip.MustParseAddr(text)); err == nil {
				t.Errorf("%s: %s is accepted", test.name, text)
			}
		}
	}
	if _, err := registrar.Register(append(sixteen, sixteen[0])); err == nil {
		t.Error("seventeen networks are accepted")
	}
	// A password with more is invalid, even in the right form.
	seventeen := packNetworks(append(sixteen, sixteen[0]))
	if _, ok := unpackNetworks(seventeen); ok {
		t.Error("seventeen networks are read")
	}
	for _, packed := range []string{"\x04", "\x04\x18", "\x04\x18\xc0\x00\x02", "\x05\x18\xc0\x00\x02\x00\x00", "\x04\x21\xc0\x00\x02\x00", "\x10\x81" + strings.Repeat("a", 16), "\x00\x00", "\xff"} {
		if networks, ok := unpackNetworks([]byte(packed)); ok {
			t.Errorf("%q is read as %v", packed, networks)
		}
	}
}

// TestAccountConfigs: a configuration of accounts is refused for each of its possible mistakes.
func TestAccountConfigs(t *testing.T) {
	hash := hashOf(t, "password")
	imported := func(accounts ...ImportedAccount) func(*Config) {
		return func(c *Config) { c.Accounts.Imported = accounts }
	}
	for _, test := range []struct {
		config Config
		want   string // in the error; "" for none
	}{
		{registrarConfig(t, "auth.example.org"), ""},
		{registrarConfig(t, "auth.example.org", func(c *Config) { c.Rules = nil }), "register under NAME"},
		{registrarConfig(t, "auth.example.org", func(c *Config) { c.Rules, c.Accounts = nil, Accounts{} }), ""},
		{registrarConfig(t, "auth.elsewhere.org"), "no zone"},
		{registrarConfig(t, "auth.example.org", func(c *Config) { c.Accounts.Secret = nil }), "account_secret"},
		{registrarConfig(t, "auth.example.org", func(c *Config) { c.Accounts.Secret = []byte("fifteen bytes !") }), "15 bytes"},
		{registrarConfig(t, "auth.example.org", func(c *Config) { c.Accounts.Secret = []byte("sixteen bytes !!") }), ""},
		{registrarConfig(t, "auth.example.org", func(c *Config) { c.Rules = append(c.Rules, c.Rules[0]) }), "2 rights"},
		{registrarConfig(t, "auth.example.org", imported(ImportedAccount{"u", hash, "l", nil})), ""},
		{registrarConfig(t, "auth.example.org", imported(ImportedAccount{"u", hash, "l", nil}, ImportedAccount{"u", hash, "m", nil})), "duplicate user name"},
		{registrarConfig(t, "auth.example.org", imported(ImportedAccount{"", hash, "l", nil})), "no user name"},
		{registrarConfig(t, "auth.example.org", imported(ImportedAccount{"u", hash, "", nil})), "no subdomain"},
		{registrarConfig(t, "auth.example.org", imported(ImportedAccount{"u", hash, "L", nil})), "lower-case"},
		{registrarConfig(t, "auth.example.org", imported(ImportedAccount{"u", hash, "a.b", nil})), "lower-case"},
		{registrarConfig(t, "auth.example.org", imported(ImportedAccount{"u", hash, strings.Repeat("a", 64), nil})), "63"},
		{registrarConfig(t, "auth.example.org", imported(ImportedAccount{"u", "password", "l", nil})), "not a bcrypt hash"},
		{registrarConfig(t, "auth.example.org", imported(ImportedAccount{"u", strings.Replace(hash, "$04$", "$13$", 1), "l", nil})), "cost 13"},
		{registrarConfig(t, "auth.example.org", imported(ImportedAccount{"u", strings.Replace(hash, "$04$", "$12$", 1), "l", nil})), ""},
	} {
		_, err := New(record.NewZones(name(t, "example.org")), "", []Config{test.config})
		if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
			t.Errorf("%+v: %v, want %q", test.config, err, test.want)
		}
		if err != nil && strings.Contains(err.Error(), "fifteen bytes !") {
			t.Errorf("the error has the secret: %v", err)
		}
	}
}

// FuzzAccount sends any credentials. Those that are accepted belong to an account that can be made.
func FuzzAccount(f *testing.F) {
	cs := clientsOf(f, registrarConfig(f, "auth.example.org"))
	for _, networks := range [][]netip.Prefix{nil, prefixes("192.0.2.0/24"), prefixes("2001:db8::/32", "::ffff:1.2.3.0/120")} {
		a, err := cs.registrars[0].make(goldenLabel, networks)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(a.Username, a.Password, a.Label)
		f.Add(a.Username, a.Password+"AAAA", a.Label)
	}
	f.Fuzz(func(t *testing.T, username, password, label string) {
		client, account, err := cs.ByAccount(t.Context(), username, password, label, nil)
		if err != nil && !errors.Is(err, ErrAccount) {
			t.Fatal(err)
		}
		if len(password) >= passwordLen {
			if packed, err := base64.RawURLEncoding.DecodeString(password[passwordLen:]); err == nil {
				if networks, ok := unpackNetworks(packed); ok {
					again, ok := unpackNetworks(packNetworks(networks))
					if len(networks) > MostNetworks || !ok || len(again) != len(networks) {
						t.Errorf("networks %v, again %v", networks, again)
					}
				}
			}
		}
		if client == nil {
			return
		}
		made, err := cs.registrars[0].make(label, account.Networks)
		if err != nil || made.Username != username || made.Password != password || account.Name != made.Name || client.Registrar().Name() != "registrar" {
			t.Errorf("%q %q %q is accepted as %+v", username, password, label, account)
		}
	})
}
