package access

import (
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var (
	someDay    = time.Date(2027, 6, 30, 12, 0, 0, 0, time.UTC)
	anyAddress = netip.MustParseAddr("198.51.100.7")
)

func TestDigest(t *testing.T) {
	// The digest of the empty text, from FIPS 180-4's test values.
	const empty = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
	if got := DigestOf("").String(); got != empty {
		t.Errorf("%s, want %s", got, empty)
	}
	for _, in := range []string{empty, "sha256:" + strings.ToUpper(empty[len("sha256:"):])} {
		if got, err := ParseDigest(in); err != nil || got != DigestOf("") {
			t.Errorf("ParseDigest(%q) = %s, %v", in, got, err)
		}
	}
}

func TestParseDigestRefuses(t *testing.T) {
	const secret = "0123456789abcdefABCDEF0123456789abcdefABCDEF0123456789abcdefABCD"
	for _, test := range []struct{ name, in, want string }{
		{"nothing", "", "64 hexadecimal digits"},
		{"a token", "bestdns_" + secret, "a secret that must not be in the configuration"},
		{"digits alone", secret, "64 hexadecimal digits"},
		{"another hash", "sha512:" + secret, "64 hexadecimal digits"},
		{"prefix in capitals", "SHA256:" + secret, "64 hexadecimal digits"},
		{"one digit too few", "sha256:" + secret[1:], "64 hexadecimal digits"},
		{"one digit too many", "sha256:0" + secret, "64 hexadecimal digits"},
		{"other characters", "sha256:" + secret[1:] + "g", "another character"},
		{"a token after the prefix", "sha256:bestdns_" + secret[8:], "another character"},
		{"blank", "sha256:" + secret[1:] + " ", "another character"},
		{"placeholder", "{env.TOKEN_HASH}", "64 hexadecimal digits"},
	} {
		t.Run(test.name, func(t *testing.T) {
			d, err := ParseDigest(test.in)
			if err == nil {
				t.Fatalf("read as %s", d)
			}
			if d != (Digest{}) {
				t.Errorf("an error, and the digest %s", d)
			}
			if !strings.Contains(err.Error(), test.want) {
				t.Errorf("%v; want %q in it", err, test.want)
			}
			if strings.Contains(err.Error(), secret[8:20]) {
				t.Errorf("%v: holds what may be a secret", err)
			}
		})
	}
}

func FuzzParseDigest(f *testing.F) {
	f.Add(DigestOf("x").String())
	f.Add("bestdns_" + strings.Repeat("A", 49))
	f.Add("sha256:" + strings.Repeat("F", 64))
	f.Fuzz(func(t *testing.T, s string) {
		d, err := ParseDigest(s)
		if err != nil {
			if len(s) > 12 && !strings.Contains("sha256:", s) && strings.Contains(err.Error(), s) {
				t.Fatalf("%v: holds what may be a secret", err)
			}
			return
		}
		if d.String() != strings.ToLower(s) {
			t.Fatalf("ParseDigest(%q) = %s", s, d)
		}
	})
}

func TestNewRefuses(t *testing.T) {
	one := Config{Name: "one", Digests: []Digest{DigestOf("1")}}
	for _, test := range []struct {
		name, target string
		configs      []Config
		want         []string
	}{
		{"two of a name", "", []Config{one, {Name: "one", Digests: []Digest{DigestOf("2")}}}, []string{`client "one"`, "duplicate name"}},
		{"two with one digest", "", []Config{one, {Name: "two", Digests: []Digest{DigestOf("2"), DigestOf("1")}}},
			[]string{`client "two"`, `client "one" has`, DigestOf("1").String()}},
		{"one digest twice", "", []Config{{Name: "one", Digests: []Digest{DigestOf("1"), DigestOf("1")}}}, []string{`client "one"`, "duplicate token hash"}},
		{"no digest", "", []Config{{Name: "one"}}, []string{`client "one"`, "no token"}},
		{"rule that ParseRule would refuse", "", []Config{{Name: "one", Digests: one.Digests, Rules: []Rule{{Verb: Certificates, Name: name(t, "org")}}}},
			[]string{`client "one"`, `"certificates org"`, "two labels"}},
		{"rule without a name", "", []Config{{Name: "one", Digests: one.Digests, Rules: []Rule{{Verb: Read}}}}, []string{"the name is missing"}},
		{"watch with a name", "", []Config{{Name: "one", Digests: one.Digests, Rules: []Rule{{Verb: Watch, Name: name(t, "example.org")}}}}, []string{"watch takes no name"}},
		{"no network", "", []Config{{Name: "one", Digests: one.Digests, Networks: []netip.Prefix{{}}}}, []string{`client "one"`, "network"}},
		{"CNAME target not hosted", "example.com", []Config{one}, []string{"example.com", "not a hosted zone"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := New(zones(t, hostedZones...), name(t, test.target), test.configs)
			if err == nil {
				t.Fatal("accepted")
			}
			for _, want := range test.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%v; want %q in it", err, want)
				}
			}
		})
	}
}

func TestClients(t *testing.T) {
	configs := []Config{
		{Name: "two", Digests: []Digest{DigestOf("2"), DigestOf("2, new")}, Expires: someDay,
			Networks: []netip.Prefix{netip.MustParsePrefix("10.1.2.3/8"), netip.MustParsePrefix("::ffff:192.0.2.0/120"), netip.MustParsePrefix("2001:db8::/32")},
			Rules:    []Rule{parseRule(t, "allow www.example.org A"), parseRule(t, "certificates a.example.org")}},
		{Name: "one", Digests: []Digest{DigestOf("1")}},
	}
	clients, err := New(zones(t, hostedZones...), "", configs)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for c := range clients.All() {
		names = append(names, c.Name())
	}
	if !slices.Equal(names, []string{"two", "one"}) {
		t.Errorf("all clients: %q", names)
	}
	two := clients.ByDigest(DigestOf("2"))
	if two == nil || two.Name() != "two" || two != clients.ByDigest(DigestOf("2, new")) {
		t.Fatal("the client is not found by both of its tokens")
	}
	for _, other := range []string{"", "3", "two"} {
		if c := clients.ByDigest(DigestOf(other)); c != nil {
			t.Errorf("token %q is that of %q", other, c.Name())
		}
	}
	if diff := cmp.Diff(configs[0].Rules, two.Rules()); diff != "" {
		t.Error(diff)
	}
	var networks []string
	for _, network := range two.Networks() {
		networks = append(networks, network.String())
	}
	if want := []string{"10.0.0.0/8", "192.0.2.0/24", "2001:db8::/32"}; !slices.Equal(networks, want) {
		t.Errorf("networks %q, want %q", networks, want)
	}
	if !two.Expires().Equal(someDay) {
		t.Errorf("expires %s", two.Expires())
	}
}

// TestZonesAreCopied changes what New was given, which must not change a right.
func TestZonesAreCopied(t *testing.T) {
	hosted := zones(t, "example.org")
	rules := []Rule{parseRule(t, "allow under example.org A")}
	clients, err := New(hosted, "", []Config{{Digests: []Digest{{}}, Rules: rules}})
	if err != nil {
		t.Fatal(err)
	}
	local := Local(hosted, "")
	hosted[name(t, "net")] = struct{}{}
	rules[0].Types[0] = 2
	c := clients.ByDigest(Digest{})
	ok, _ := c.MayWrite(name(t, "example.org"), 1, testRecord(t, "a.example.org", "A", "192.0.2.1"))
	if !ok || local.MayUse(name(t, "net")) || c.Rules()[0].String() != "allow under example.org A" {
		t.Error("a client changed after it was made")
	}
}

func TestAccepts(t *testing.T) {
	prefixes := func(texts ...string) (p []netip.Prefix) {
		for _, text := range texts {
			p = append(p, netip.MustParsePrefix(text))
		}
		return p
	}
	for _, test := range []struct {
		name     string
		expires  time.Time
		networks []netip.Prefix
		now      time.Time
		from     string
		want     error
	}{
		{"no bounds", time.Time{}, nil, someDay, "192.0.2.1", nil},
		{"before the end", someDay, nil, someDay.Add(-1), "192.0.2.1", nil},
		{"at the end", someDay, nil, someDay, "192.0.2.1", ErrExpired},
		{"after the end", someDay, nil, someDay.AddDate(1, 0, 0), "192.0.2.1", ErrExpired},
		{"the end in another zone of time", someDay.In(time.FixedZone("", 7200)), nil, someDay.Add(-1), "192.0.2.1", nil},
		{"inside", time.Time{}, prefixes("10.0.0.0/8", "192.0.2.0/24"), someDay, "192.0.2.1", nil},
		{"outside", time.Time{}, prefixes("10.0.0.0/8", "192.0.2.0/24"), someDay, "192.0.3.1", ErrNetwork},
		{"inside, mapped", time.Time{}, prefixes("192.0.2.0/24"), someDay, "::ffff:192.0.2.1", nil},
		{"outside, mapped", time.Time{}, prefixes("192.0.2.0/24"), someDay, "::ffff:192.0.3.1", ErrNetwork},
		{"network of mapped addresses", time.Time{}, prefixes("::ffff:192.0.2.0/120"), someDay, "192.0.2.1", nil},
		{"network of mapped addresses, outside", time.Time{}, prefixes("::ffff:192.0.2.0/120"), someDay, "192.0.3.1", ErrNetwork},
		{"all of IPv4 holds no IPv6", time.Time{}, prefixes("0.0.0.0/0"), someDay, "2001:db8::1", ErrNetwork},
		{"all of IPv6 holds no IPv4", time.Time{}, prefixes("::/0"), someDay, "192.0.2.1", ErrNetwork},
		{"IPv6 with a zone", time.Time{}, prefixes("fe80::/10"), someDay, "fe80::1%eth0", nil},
		{"bits after the prefix", time.Time{}, prefixes("10.1.2.3/8"), someDay, "10.9.9.9", nil},
		{"expired and outside", someDay, prefixes("10.0.0.0/8"), someDay, "192.0.2.1", ErrExpired},
		{"no address", time.Time{}, prefixes("0.0.0.0/0", "::/0"), someDay, "", ErrNetwork},
		{"no address, no networks", time.Time{}, nil, someDay, "", nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			clients, err := New(nil, "", []Config{{Name: "web1", Digests: []Digest{{}}, Networks: test.networks, Expires: test.expires}})
			if err != nil {
				t.Fatal(err)
			}
			var from netip.Addr
			if test.from != "" {
				from = netip.MustParseAddr(test.from)
			}
			got := clients.ByDigest(Digest{}).Accepts(test.now, from)
			if !errors.Is(got, test.want) || (got == nil) != (test.want == nil) {
				t.Errorf("%v, want %v", got, test.want)
			}
			if got != nil && !strings.Contains(got.Error(), `client "web1"`) {
				t.Errorf("%v: does not name the client", got)
			}
		})
	}
}
