package persist_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/caddy-dns/bestdns/internal/persist"
)

const account = "https://ca.example/acct/123"

var until = time.Date(2027, 6, 30, 23, 59, 59, 0, time.UTC)

func TestValue(t *testing.T) {
	for _, test := range []struct {
		name       string
		permission persist.Permission
		want       string
	}{
		{"the domain alone", persist.Permission{Issuer: "ca.example", Account: account}, "ca.example; accounturi=" + account},
		{"wildcard", persist.Permission{Issuer: "ca.example", Account: account, Wildcard: true}, "ca.example; accounturi=" + account + "; policy=wildcard"},
		{"with an end", persist.Permission{Issuer: "ca.example", Account: account, Until: until}, "ca.example; accounturi=" + account + "; persistUntil=1814399999"},
		{"all", persist.Permission{Issuer: "ca.example", Account: account, Wildcard: true, Until: until}, "ca.example; accounturi=" + account + "; policy=wildcard; persistUntil=1814399999"},
	} {
		t.Run(test.name, func(t *testing.T) {
			value := test.permission.Value()
			if value != test.want {
				t.Errorf("%q, want %q", value, test.want)
			}
			again, err := persist.Parse(value)
			if diff := cmp.Diff(test.permission, again); err != nil || diff != "" {
				t.Errorf("read again: %v\n%s", err, diff)
			}
		})
	}
}

// TestParse has what CAs accept and what they refuse.
func TestParse(t *testing.T) {
	plain := persist.Permission{Issuer: "ca.example", Account: account}
	wildcard, ends := plain, plain
	wildcard.Wildcard, ends.Until = true, until
	ended, endless := plain, plain
	ended.Until, endless.Until = time.Unix(0, 0).UTC(), time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)
	all := wildcard
	all.Until = until
	for _, test := range []struct {
		name, value string
		want        persist.Permission
		err         string
	}{
		{"no blanks", "ca.example;accounturi=" + account, plain, ""},
		{"blanks everywhere", " \tca.example ; accounturi = " + account + "\t; policy = wildcard ; persistUntil = 1814399999 ", all, ""},
		{"case", "CA.Example.; AccountURI=" + account + "; POLICY=WildCard", wildcard, ""},
		{"tag of the end in lower case", "ca.example; accounturi=" + account + "; persistuntil=1814399999", ends, ""},
		{"unknown parameters", "ca.example; x=; accounturi=" + account + "; bad tag=1", plain, ""},
		{"unknown policy", "ca.example; accounturi=" + account + "; policy=everything", plain, ""},
		{"a URI with =", "ca.example; accounturi=" + account + "?a=b", persist.Permission{Issuer: "ca.example", Account: account + "?a=b"}, ""},
		{"an end before 1970", "ca.example; accounturi=" + account + "; persistUntil=-1", ended, ""},
		{"an end beyond all dates", "ca.example; accounturi=" + account + "; persistUntil=9223372036854775807", endless, ""},
		{"a CA of one label", "ca; accounturi=" + account, persist.Permission{Issuer: "ca", Account: account}, ""},

		{"empty", "", persist.Permission{}, "domain name"},
		{"another text", "v=spf1 -all", persist.Permission{}, "domain name"},
		{"no CA", "; accounturi=" + account, persist.Permission{}, "domain name"},
		{"a CA with an underscore", "_ca.example; accounturi=" + account, persist.Permission{}, "domain name"},
		{"a CA with a letter whose lower case is ASCII", "\u212aca.example; accounturi=" + account, persist.Permission{}, "domain name"},
		{"two final dots", "ca.example..; accounturi=" + account, persist.Permission{}, "domain name"},
		{"a CA alone", "ca.example", persist.Permission{}, "names no account"},
		{"no account", "ca.example; policy=wildcard", persist.Permission{}, "names no account"},
		{"empty account", "ca.example; accounturi=", persist.Permission{}, "names no account"},
		{"final semicolon", "ca.example; accounturi=" + account + ";", persist.Permission{}, "tag=value"},
		{"no =", "ca.example; accounturi=" + account + "; wildcard", persist.Permission{}, "tag=value"},
		{"no tag", "ca.example; =" + account, persist.Permission{}, "tag=value"},
		{"twice", "ca.example; accounturi=" + account + "; ACCOUNTURI=" + account, persist.Permission{}, "duplicate"},
		{"an unknown one twice", "ca.example; accounturi=" + account + "; x=1; x=1", persist.Permission{}, "duplicate"},
		{"a blank within", "ca.example; accounturi=" + account + " x", persist.Permission{}, "not allowed"},
		{"a control character", "ca.example; accounturi=" + account + "\x1b", persist.Permission{}, "not allowed"},
		{"beyond ASCII", "ca.example; accounturi=" + account + "\u202e", persist.Permission{}, "not allowed"},
		{"bytes of no character", "ca.example; accounturi=" + account + "\xff", persist.Permission{}, "not allowed"},
		{"no number", "ca.example; accounturi=" + account + "; persistUntil=2027-06-30", persist.Permission{}, "seconds"},
		{"empty end", "ca.example; accounturi=" + account + "; persistUntil=", persist.Permission{}, "seconds"},
		{"too large a number", "ca.example; accounturi=" + account + "; persistUntil=9223372036854775808", persist.Permission{}, "seconds"},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := persist.Parse(test.value)
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if (err == nil) != (test.err == "") || err != nil && !strings.Contains(err.Error(), test.err) {
				t.Errorf("error %v, want %q", err, test.err)
			}
		})
	}
}

func TestIsExpired(t *testing.T) {
	if (persist.Permission{}).IsExpired(until) {
		t.Error("one without an end is expired")
	}
	p := persist.Permission{Until: until}
	if p.IsExpired(until) || !p.IsExpired(until.Add(time.Second)) {
		t.Error("it does not hold through its last second, or holds longer")
	}
}

func TestParseIssuer(t *testing.T) {
	for in, want := range map[string]string{
		"letsencrypt.org": "letsencrypt.org", "LetsEncrypt.ORG.": "letsencrypt.org", "xn--bcher-kva.example": "xn--bcher-kva.example", "ca": "ca",
		"": "", ".": "", "ca.example; x": "", "https://ca.example": "", "bücher.example": "", "-ca.example": "", strings.Repeat("a.", 127) + "a": "", strings.Repeat("a", 64) + ".example": "",
	} {
		if got, err := persist.ParseIssuer(in); got != want || (err == nil) != (want != "") {
			t.Errorf("%q: %q, %v", in, got, err)
		}
	}
}

func TestCheckAccount(t *testing.T) {
	for uri, want := range map[string]string{
		account:                                         "",
		"https://localhost:14000/my-account/1":          "",
		"http://localhost:4001/acct/1":                  "",
		"http://127.0.0.1/acct/1":                       "",
		"http://[::1]:4001/acct/1":                      "",
		"https://ca.example/account-hash/sha-256/5SQm7": "",
		"":                               "not an https URL",
		"1234":                           "not an https URL",
		"https://":                       "not an https URL",
		"mailto:a@ca.example":            "not an https URL",
		"http://ca.example/acct/1":       "an http URL",
		"https://ca.example/a;b":         "not a URI",
		"https://ca.example/a b":         "not a URI",
		"https://ca.example/\"":          "not a URI",
		"https://ca.example/ä":           "not a URI",
		"https://ca.example:x":           "not a URI",
		"https://me:secret@ca.example/":  "no user name and password",
		"https://me:secret@ca.example:x": "no user name and password",
	} {
		err := persist.CheckAccount(uri)
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) || err != nil && strings.Contains(err.Error(), "secret") {
			t.Errorf("%q: %v, want %q", uri, err, want)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add("ca.example; accounturi=" + account + "; policy=wildcard; persistUntil=1814399999")
	f.Add(" CA.example.;x=;accounturi=a;persistuntil=-1 ")
	f.Add("v=spf1 -all")
	f.Fuzz(func(t *testing.T, value string) {
		p, err := persist.Parse(value)
		if err != nil {
			if p != (persist.Permission{}) {
				t.Errorf("%q: %v beside %v", value, p, err)
			}
			return
		}
		again, err := persist.Parse(p.Value())
		if err != nil || !again.Until.Equal(p.Until) || again != p {
			t.Errorf("%q is read as %+v, and that as %+v, %v", value, p, again, err)
		}
		if issuer, err := persist.ParseIssuer(p.Issuer); err != nil || issuer != p.Issuer {
			t.Errorf("the issuer %q: %q, %v", p.Issuer, issuer, err)
		}
	})
}
