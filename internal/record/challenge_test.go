package record_test

import (
	"strings"
	"testing"

	"github.com/caddy-dns/bestdns/internal/record"
)

const account = "_ujmmovf2vn55tgye" // the example of draft-ietf-acme-dns-account-label

func TestChallengeOf(t *testing.T) {
	for _, test := range []struct {
		name, owner     string
		domain, account string // none if ""
	}{
		{"dns-01", "_acme-challenge.www.example.org", "www.example.org", ""},
		{"dns-account-01", account + "._acme-challenge.www.example.org", "www.example.org", account},
		{"capitals", strings.ToUpper(account) + "._ACME-Challenge.WWW.example.org", "www.example.org", account},
		{"top-level domain", "_acme-challenge.org", "", ""},
		{"the label alone", "_acme-challenge", "", ""},
		{"the root", ".", "", ""},
		{"the domain", "www.example.org", "", ""},
		{"a wildcard", "_acme-challenge.*.example.org", "", ""},
		{"an underscore below", "_acme-challenge._tcp.example.org", "", ""},
		{"twice", "_acme-challenge._acme-challenge.example.org", "", ""},
		{"a label before", "x._acme-challenge.www.example.org", "", ""},
		{"account label alone", account + ".www.example.org", "", ""},
		{"two account labels", account + "." + account + "._acme-challenge.www.example.org", "", ""},
		{"account label below", "_acme-challenge." + account + ".www.example.org", "", ""},
		{"account too short", account[:16] + "._acme-challenge.www.example.org", "", ""},
		{"account too long", account + "a._acme-challenge.www.example.org", "", ""},
		{"account with digit 1", "_ujmmovf2vn55tgy1._acme-challenge.www.example.org", "", ""},
		{"account without underscore", "aujmmovf2vn55tgye._acme-challenge.www.example.org", "", ""},
		{"dot in the label", `_acme-challenge\.www.example.org`, "", ""},
		{"hyphen at the end of the domain's label", "_acme-challenge.a-.example.org", "", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			c, ok := record.ChallengeOf(name(t, test.owner))
			if ok != (test.domain != "") {
				t.Fatalf("%+v, %v", c, ok)
			}
			if !ok {
				return
			}
			if want := (record.Challenge{Domain: name(t, test.domain), Account: test.account}); c != want {
				t.Errorf("%+v, want %+v", c, want)
			}
			if owner, err := c.Owner(); err != nil || owner != name(t, test.owner) {
				t.Errorf("Owner is %q, %v", owner, err)
			}
		})
	}
}

func TestChallengeTarget(t *testing.T) {
	target := name(t, "acme.example.com")
	for _, test := range []struct{ name, owner, want string }{
		{"dns-01", "_acme-challenge.www.example.org", "www.example.org.acme.example.com"},
		{"dns-account-01", account + "._acme-challenge.www.example.org", account + ".www.example.org.acme.example.com"},
	} {
		t.Run(test.name, func(t *testing.T) {
			c, ok := record.ChallengeOf(name(t, test.owner))
			if !ok {
				t.Fatal("no challenge")
			}
			at, err := c.Target(target)
			if err != nil || at != name(t, test.want) {
				t.Fatalf("target %q, %v", at, err)
			}
			if back, ok := record.ChallengeAtTarget(at, target); !ok || back != c {
				t.Errorf("%+v at the target, %v; want %+v", back, ok, c)
			}
			if other, ok := record.ChallengeOf(at); ok {
				t.Errorf("the target is the owner of another challenge: %+v", other)
			}
		})
	}
	for _, owner := range []string{
		"acme.example.com", "org.acme.example.com", account + ".acme.example.com", account + ".org.acme.example.com", "www.example.org",
		"_acme-challenge.www.example.org.acme.example.com", "*.example.org.acme.example.com", "x." + account + ".example.org.acme.example.com",
		`www.example\.org.acme.example.com`, "www.example.orgacme.example.com", ".",
	} {
		if c, ok := record.ChallengeAtTarget(name(t, owner), target); ok {
			t.Errorf("%q is the target of %+v", owner, c)
		}
	}
}

func TestChallengeTooLong(t *testing.T) {
	label := strings.Repeat("a", 60) + "."
	// 239 octets: with the label of 16 the owner has 255.
	c := record.Challenge{Domain: name(t, label+label+label+strings.Repeat("b", 54)+".")}
	if owner, err := c.Owner(); err != nil || len(owner) != 255 {
		t.Errorf("an owner of %d octets, %v", len(owner), err)
	}
	if target, err := c.Target(name(t, "acme.example.com")); err == nil {
		t.Errorf("a target of %d octets", len(target))
	}
	c.Account = account
	if owner, err := c.Owner(); err == nil {
		t.Errorf("an owner of %d octets", len(owner))
	}
	c.Domain = name(t, label+label+label+"bb.cc")
	c.Account = ""
	if target, err := c.Target(name(t, strings.Repeat("c", 54)+".example")); err != nil {
		t.Errorf("target of %d octets: %v", len(target), err)
	}
	c.Account = account
	if target, err := c.Target(name(t, strings.Repeat("c", 54)+".example")); err == nil {
		t.Errorf("a target of %d octets", len(target))
	}
}

func FuzzChallenge(f *testing.F) {
	for _, owner := range []string{"_acme-challenge.www.example.org", account + "._acme-challenge.a.b", "_acme-challenge.org", account + ".a.b"} {
		f.Add([]byte(name(f, owner)), []byte(name(f, "acme.example.com")))
		f.Add([]byte(name(f, owner+".acme.example.com")), []byte(name(f, "acme.example.com")))
	}
	f.Fuzz(func(t *testing.T, ownerWire, zoneWire []byte) {
		owner, err := record.NameFromWire(ownerWire)
		if err != nil {
			return
		}
		zone, err := record.NameFromWire(zoneWire)
		if err != nil {
			return
		}
		if c, ok := record.ChallengeOf(owner); ok {
			if back, err := c.Owner(); err != nil || back != owner {
				t.Fatalf("%q is read as %+v, whose owner is %q, %v", owner, c, back, err)
			}
			if target, err := c.Target(zone); err == nil && zone != record.Root {
				if back, ok := record.ChallengeAtTarget(target, zone); !ok || back != c {
					t.Fatalf("%+v has the target %q, read as %+v, %v", c, target, back, ok)
				}
			}
		}
		if c, ok := record.ChallengeAtTarget(owner, zone); ok {
			if back, err := c.Target(zone); err != nil || back != owner {
				t.Fatalf("%q in %q is read as %+v, whose target is %q, %v", owner, zone, c, back, err)
			}
			if other, ok := record.ChallengeOf(owner); ok {
				t.Fatalf("%q in %q is the target of %+v and the owner of %+v", owner, zone, c, other)
			}
			if !c.Domain.IsHostName() {
				t.Fatalf("%q in %q is the target of %q", owner, zone, c.Domain)
			}
		}
	})
}

func TestIsChallengeValue(t *testing.T) {
	const value = "LoqXcYV8q5ONbJQxbmR7SCTNo3tiAXDfowyjxAjEuX0"
	for _, test := range []struct {
		name, typ, data string
		want            bool
	}{
		{"as a CA asks for", "TXT", value, true},
		{"all special digits", "TXT", strings.Repeat("-_", 21) + "A", true},
		{"empty", "TXT", "", false},
		{"42 characters", "TXT", value[1:], false},
		{"44 characters", "TXT", value + "0", false},
		{"padded", "TXT", value[1:] + "=", false},
		{"base64, not base64url", "TXT", "+/" + value[2:], false},
		{"blank within", "TXT", value[:20] + " " + value[21:], false},
		{"line end", "TXT", value[1:] + "\n", false},
		{"NUL", "TXT", value[1:] + "\x00", false},
		{"8-bit", "TXT", value[1:] + "\xff", false},
		{"full-width digit", "TXT", value[3:] + "０", false},
		{"in two strings", "TYPE16", `\# 45 01` + hexOf(value[:1]) + "2a" + hexOf(value[1:]), true},
		{"43 characters of two strings and more", "TYPE16", `\# 46 01` + hexOf(value[:1]) + "2b" + hexOf(value), false},
		{"another type", "SPF", `"` + value + `"`, false},
		{"a CNAME", "CNAME", value + ".", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := record.IsChallengeValue(make1(t, test.typ, test.data)); got != test.want {
				t.Errorf("%v, want %v", got, test.want)
			}
		})
	}
}

func TestChallengeValueFault(t *testing.T) {
	const value = "LoqXcYV8q5ONbJQxbmR7SCTNo3tiAXDfowyjxAjEuX0"
	for _, test := range []struct{ name, typ, data, want string }{
		{"as a CA asks for", "TXT", value, ""},
		{"in two strings", "TYPE16", `\# 45 01` + hexOf(value[:1]) + "2a" + hexOf(value[1:]), ""},
		{"empty", "TXT", "", "this one has 0 characters"},
		{"44 characters", "TXT", value + "0", "this one has 44 characters"},
		{"padded", "TXT", value + "=", "44 characters, of which number 44 is the first wrong one: '='"},
		{"quoted", "TXT", `"` + value + `"`, `45 characters, of which number 1 is the first wrong one: '"'`},
		{"line end", "TXT", value + "\n", `44 characters, of which number 44 is the first wrong one: '\n'`},
		{"full-width digit", "TXT", value[1:] + "０", "43 characters, of which number 43 is the first wrong one: '０'"},
		{"8-bit", "TYPE16", `\# 2 01ff`, "1 characters, of which number 1 is the first wrong one: '\ufffd'"},
		{"long", "TXT", strings.Repeat("/", 60_000), "60000 characters, of which number 1 is the first wrong one: '/'"},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := make1(t, test.typ, test.data)
			got := record.ChallengeValueFault(r)
			if !strings.HasSuffix(got, test.want) || (got == "") != (test.want == "") || len(got) > 300 {
				t.Errorf("%q, want %q", got, test.want)
			}
			if (got == "") != record.IsChallengeValue(r) {
				t.Errorf("%q, and IsChallengeValue is %v", got, record.IsChallengeValue(r))
			}
		})
	}
}

func TestAwaitsChallenge(t *testing.T) {
	for _, test := range []struct {
		owner string
		want  bool
	}{
		{"_acme-challenge.www.example.org", true},
		{"_ACME-Challenge.example.org", true},
		{"_acme-challenge.org", true},
		{"_acme-challenge", true},
		{"_acme-challenge._tcp.example.org", true},
		{account + "._acme-challenge.www.example.org", true},
		{account + "._acme-challenge", true},
		{account + ".www.example.org", false},
		{account, false},
		{"x._acme-challenge.www.example.org", false},
		{account + "." + account + "._acme-challenge.www.example.org", false},
		{"_acme-challenges.www.example.org", false},
		{"_acme-challeng.www.example.org", false},
		{`_acme-challenge\.www.example.org`, false},
		{"*._acme-challenge.example.org", false},
		{"www.example.org", false},
		{".", false},
	} {
		if got := record.AwaitsChallenge(name(t, test.owner)); got != test.want {
			t.Errorf("%s: %v, want %v", test.owner, got, test.want)
		}
	}
}
