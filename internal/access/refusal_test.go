package access

import (
	"strings"
	"testing"

	"github.com/caddy-dns/bestdns/internal/record"
)

// saysWhy checks one explanation; "" wants none.
func saysWhy(t *testing.T, got, want string) {
	t.Helper()
	if want == "" && got != "" || !strings.Contains(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestWhyNotWrite(t *testing.T) {
	const (
		isValue  = "exactly 43 base64url characters"
		wildcard = "without the *"
		noHost   = "is not a host name"
	)
	for _, test := range []struct {
		name, rules, zone string
		op                record.Op
		owner, typ, data  string
		want              string
	}{
		{"no right", "", "example.org", record.Append, "_acme-challenge.www.example.org", "TXT", "hello", ""},
		{"another domain", "certificates qq.example.org", "example.org", record.Append, "_acme-challenge.www.example.org", "TXT", "hello", ""},
		{"no challenge", "certificates under example.org", "example.org", record.Append, "www.example.org", "TXT", value, ""},
		{"a right to read", "read under example.org", "example.org", record.Append, "_acme-challenge.www.example.org", "TXT", "hello", ""},
		{"value", "certificates www.example.org", "example.org", record.Append, "_acme-challenge.www.example.org", "TXT", "hello", isValue},
		{"value, with a right to another type", "certificates www.example.org; allow under example.org A", "example.org", record.Append, "_acme-challenge.www.example.org", "TXT", "hello", isValue},
		{"value, account", "certificates www.example.org", "example.org", record.Append, "_abcdefghijk23456._acme-challenge.www.example.org", "TXT", "hello", isValue},
		{"value, below", "certificates under example.org", "example.org", record.Append, "_acme-challenge.www.example.org", "TXT", "hello", isValue},
		{"value, beyond the zone", "certificates under example.org", "nested.example.org", record.Append, "_acme-challenge.a.b.nested.example.org", "TXT", "hello", ""},
		{"set", "certificates www.example.org", "example.org", record.Set, "_acme-challenge.www.example.org", "TXT", value, "not set"},
		{"type", "certificates www.example.org", "example.org", record.Set, "_acme-challenge.www.example.org", "A", "192.0.2.1", "TXT records only"},
		{"no host name", "certificates under example.org", "example.org", record.Append, "_acme-challenge.a_b.example.org", "TXT", value, noHost},
		{"no host name, account", "certificates under example.org", "example.org", record.Append, "_abcdefghijk23456._acme-challenge.-a.example.org", "TXT", value, noHost},
		{"no host name, another domain", "certificates under www.example.org", "example.org", record.Append, "_acme-challenge.a_b.example.org", "TXT", value, ""},
		{"no host name, one domain", "certificates example.org", "example.org", record.Append, "_acme-challenge.a_b.example.org", "TXT", value, ""},
		{"wildcard", "certificates qq.example.org", "example.org", record.Append, "_acme-challenge.*.qq.example.org", "TXT", value, wildcard},
		{"wildcard, below", "certificates under example.org", "example.org", record.Append, "_acme-challenge.*.qq.example.org", "TXT", value, wildcard},
		{"wildcard, account", "certificates qq.example.org", "example.org", record.Append, "_abcdefghijk23456._acme-challenge.*.qq.example.org", "TXT", value, `"_abcdefghijk23456._acme-challenge.qq.example.org."`},
		{"wildcard, another domain", "certificates ww.example.org", "example.org", record.Append, "_acme-challenge.*.qq.example.org", "TXT", value, ""},
		{"wildcard of no host name", "certificates under example.org", "example.org", record.Append, "_acme-challenge.*.a_b.example.org", "TXT", value, noHost},
		{"target, value", "certificates www.example.com", "acme.example.com", record.Append, "www.example.com.acme.example.com", "TXT", "hello", isValue},
		{"target, wildcard", "certificates www.example.com", "acme.example.com", record.Append, "*.www.example.com.acme.example.com", "TXT", value, `"www.example.com.acme.example.com."`},
		{"target, no host name", "certificates under example.com", "acme.example.com", record.Append, "a_b.example.com.acme.example.com", "TXT", value, noHost},
		{"target, another domain", "certificates www.example.com", "acme.example.com", record.Append, "qq.example.com.acme.example.com", "TXT", "hello", ""},
		{"target, its apex", "certificates under example.com", "acme.example.com", record.Append, "acme.example.com", "TXT", value, ""},
		{"NS at the apex", "allow example.org", "example.org", record.Append, "example.org", "NS", "ns.example.", "allow example.org NS"},
		{"NS at the apex, below", "allow under example.org NS", "example.org", record.Append, "example.org", "NS", "ns.example.", "allow example.org NS"},
		{"NS at the apex, another type", "allow example.org A", "example.org", record.Append, "example.org", "NS", "ns.example.", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := clientOf(t, splitRules(test.rules)...)
			zone, r := name(t, test.zone), testRecord(t, test.owner, test.typ, test.data)
			if ok, _ := c.MayWrite(zone, test.op, r); ok {
				t.Fatal("it may")
			}
			saysWhy(t, c.WhyNotWrite(zone, test.op, r), test.want)
		})
	}
}

func TestWhyNotDelete(t *testing.T) {
	c := clientOf(t, "certificates www.example.org")
	text := func(s string) *string { return &s }
	for _, test := range []struct {
		name, owner, typ string
		data             *string
		want             string
	}{
		{"no data", "_acme-challenge.www.example.org", "TXT", nil, "needs the type TXT and the challenge's value"},
		{"no type", "_acme-challenge.www.example.org", "", text(value), "needs the type TXT and the challenge's value"},
		{"neither", "_acme-challenge.www.example.org", "", nil, "needs the type TXT and the challenge's value"},
		{"value", "_acme-challenge.www.example.org", "TXT", text("hello"), "exactly 43 base64url characters"},
		{"type", "_acme-challenge.www.example.org", "A", nil, "TXT records only"},
		{"wildcard", "_acme-challenge.*.www.example.org", "TXT", nil, "without the *"},
		{"another name", "_acme-challenge.qq.example.org", "TXT", nil, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			m, err := record.MatchAt(name(t, test.owner), test.typ, nil, test.data)
			if err != nil {
				t.Fatal(err)
			}
			saysWhy(t, c.WhyNotDelete(name(t, "example.org"), m), test.want)
		})
	}
}

func TestWhyNotElsewhere(t *testing.T) {
	c := clientOf(t, "certificates www.example.net", "certificates under b.example.net")
	for _, test := range []struct {
		owner string
		typ   record.Type
		want  string
	}{
		{"_acme-challenge.www.example.net", record.TypeNS, "TXT records only"},
		{"_acme-challenge.www.example.net", 0, "needs the type TXT and the challenge's value"},
		{"_acme-challenge.*.www.example.net", record.TypeTXT, "without the *"},
		{"_acme-challenge.a_b.b.example.net", record.TypeNS, "is not a host name"},
		{"_acme-challenge.www.example.net", record.TypeTXT, ""}, // it is placed
		{"_acme-challenge.qq.example.net", record.TypeNS, ""},
		{"_acme-challenge.a_b.example.net", record.TypeTXT, ""},
		{"_acme-challenge.*.example.net", record.TypeTXT, ""},
		{"_acme-challenge", record.TypeTXT, ""},
		{"www.example.net", record.TypeNS, ""},
	} {
		t.Run(test.owner, func(t *testing.T) {
			saysWhy(t, c.WhyNotElsewhere(name(t, test.owner), test.typ), test.want)
		})
	}
	local := Local(zones(t, "example.org"), "")
	saysWhy(t, local.WhyNotElsewhere(name(t, "_acme-challenge.www.example.net"), record.TypeTXT), "no zone is marked cname_target")
}
