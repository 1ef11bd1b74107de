package record_test

import (
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"

	"github.com/caddy-dns/bestdns/internal/record"
)

func TestNew(t *testing.T) {
	apex := name(t, "example.org")
	for _, test := range []struct {
		name, owner, typ, data string
		ttl                    uint32
		want                   record.Record
		text                   string
	}{
		{"relative", "www", "A", "192.0.2.1", 60, record.Record{Name: name(t, "www.example.org"), Type: record.TypeA, TTL: 60, Data: "\xc0\x00\x02\x01"},
			"www.example.org. 60 IN A 192.0.2.1"},
		{"apex", "@", "txt", `a"b`, 0, record.Record{Name: apex, Type: record.TypeTXT, Data: "\x03a\"b"},
			`example.org. 0 IN TXT "a\"b"`},
		{"absolute, outside the zone", "www.Example.NET.", "TYPE65280", `\# 1 FF`, record.MaxTTL,
			record.Record{Name: name(t, "www.example.net"), Type: 65280, TTL: record.MaxTTL, Data: "\xff"},
			`www.example.net. 2147483647 IN TYPE65280 \# 1 ff`},
		{"text that is not UTF-8", "x", "TXT", "\xff", 1, record.Record{Name: name(t, "x.example.org"), Type: record.TypeTXT, TTL: 1, Data: "\x01\xff"},
			`x.example.org. 1 IN TYPE16 \# 2 01ff`},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := record.New(apex, test.owner, test.typ, test.ttl, test.data)
			if err != nil {
				t.Fatal(err)
			}
			if diff := gocmp.Diff(test.want, got); diff != "" {
				t.Error(diff)
			}
			if got.String() != test.text {
				t.Errorf("%q, want %q", got, test.text)
			}
			if at, err := record.At(got.Name, test.typ, test.ttl, test.data); err != nil || at != got {
				t.Errorf("At makes %q of the same, %v", at, err)
			}
		})
	}
}

func TestNewRefuses(t *testing.T) {
	for _, test := range []struct {
		name, owner, typ, data string
		ttl                    uint32
		want                   string
	}{
		{"owner", "a b", "A", "192.0.2.1", 60, "name \"a b\""},
		{"zone-file text as owner", "x 60 IN A 192.0.2.66 ;", "A", "192.0.2.1", 60, "not allowed in a name"},
		{"type", "x", "FOO", "192.0.2.1", 60, `record at "x.example.org."`},
		{"no type", "x", "", "192.0.2.1", 60, "not a record type"},
		{"TTL", "x", "A", "192.0.2.1", record.MaxTTL + 1, "not from 0 to 2147483647"},
		{"data", "x", "A", "192.0.2", 60, `record at "x.example.org.": A data "192.0.2"`},
		{"long data", "x", "A", strings.Repeat("1", 1<<16), 60, "…"},
	} {
		t.Run(test.name, func(t *testing.T) {
			r, err := record.New(name(t, "example.org"), test.owner, test.typ, test.ttl, test.data)
			if err == nil {
				t.Fatalf("read as %q", r)
			}
			if r != (record.Record{}) {
				t.Errorf("an error and %q", r)
			}
			if !strings.Contains(err.Error(), test.want) {
				t.Errorf("%v; want %q in it", err, test.want)
			}
			if len(err.Error()) > 300 {
				t.Errorf("an error of %d octets", len(err.Error()))
			}
		})
	}
}

func TestSame(t *testing.T) {
	base := lines(t, "a 60+9 TXT ab")[0]
	for _, test := range []struct {
		name, other string
		want        bool
	}{
		{"itself", "a 60+9 TXT ab", true},
		{"other TTL and expiry", "a 1 TXT ab", true},
		{"name in another case", "A 60 TXT ab", true},
		{"text cut otherwise", `a 60 TYPE16 \# 4 01610162`, true},
		{"other name", "b 60 TXT ab", false},
		{"other data", "a 60 TXT aB", false},
		{"other type with the same octets", `a 60 SPF "ab"`, false},
		{"other type whose strings are other members", `a 60 TYPE99 \# 4 01610162`, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			other := lines(t, test.other)[0]
			if base.Same(other) != test.want || other.Same(base) != test.want {
				t.Errorf("%q and %q: %v and %v", base, other, base.Same(other), other.Same(base))
			}
		})
	}
	// For other types than TXT the strings are the data.
	if lines(t, `a 60 SPF "ab"`)[0].Same(lines(t, `a 60 SPF "a" "b"`)[0]) {
		t.Error("SPF records with other strings are the same")
	}
}

func TestMatch(t *testing.T) {
	for _, test := range []struct {
		name, record, match string
		want                bool
	}{
		{"name alone", "a 60 TXT x", "a * * *", true},
		{"another name", "a 60 TXT x", "b * * *", false},
		{"a name below", "a.b 60 TXT x", "b * * *", false},
		{"the wildcard is a name like others", "a 60 TXT x", "\\* * * *", false},
		{"type", "a 60 TXT x", "a * TXT *", true},
		{"type by number", "a 60 TXT x", "a * TYPE16 *", true},
		{"another type", "a 60 TXT x", "a * A *", false},
		{"TTL", "a 60 TXT x", "a 60 * *", true},
		{"another TTL", "a 60 TXT x", "a 61 * *", false},
		{"TTL zero is a TTL", "a 60 TXT x", "a 0 * *", false},
		{"data", "a 60 TXT x", "a * TXT x", true},
		{"other data", "a 60 TXT x", "a * TXT y", false},
		{"empty data is data", "a 60 TXT x", "a * TXT ", false},
		{"empty data", "a 60 TXT ", "a * TXT ", true},
		{"data cut otherwise", `a 60 TYPE16 \# 4 01610162`, "a * TXT ab", true},
		{"data without a type, TXT", `a 60 TXT 192.0.2.1`, "a * * 192.0.2.1", true},
		{"data without a type, A", `a 60 A 192.0.2.1`, "a * * 192.0.2.1", true},
		{"data without a type that is none of A", `a 60 A 192.0.2.1`, "a * * x", false},
		{"data without a type, in another form", `a 60 AAAA 2001:db8::1`, "a * * 2001:0DB8::0:1", true},
	} {
		t.Run(test.name, func(t *testing.T) {
			r, m := lines(t, test.record)[0], matches(t, test.match)[0]
			if got := m.Matches(r); got != test.want {
				t.Errorf("%v, want %v", got, test.want)
			}
		})
	}
}

func TestMatchAtRefuses(t *testing.T) {
	for _, test := range []struct{ name, typ, data, want string }{
		{"type", "FOO", "192.0.2.1", "not a record type"},
		{"data", "A", "x", "not an IP address"},
		{"two records", "A", "192.0.2.1\n@ 60 A 192.0.2.2", "not an IP address"},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := record.MatchAt(name(t, "x.example.org"), test.typ, nil, &test.data)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("%v; want %q in it", err, test.want)
			}
		})
	}
}

func TestMatchRecord(t *testing.T) {
	for _, test := range []struct {
		name, match, want string // none if ""
	}{
		{"all given", "a 60 TXT x", "a 60 TXT x"},
		{"no TTL", "a * TXT x", "a 0 TXT x"},
		{"no type", "a 60 * x", ""},
		{"no data", "a 60 TXT *", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			r, ok := matches(t, test.match)[0].Record()
			if ok != (test.want != "") || ok && r != lines(t, test.want)[0] {
				t.Errorf("%q, %v; want %q", r, ok, test.want)
			}
		})
	}
}

func BenchmarkNew(b *testing.B) {
	apex := name(b, "example.org")
	for _, data := range [][2]string{{"TXT", "LoqXcYV8q5ONbJQxbmR7SCTNo3tiAXDfowyjxAjEuX0"}, {"A", "192.0.2.1"}, {"MX", "10 mail.example.org."}, {"HTTPS", "1 . alpn=h2,h3 port=8443"}} {
		b.Run(data[0], func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := record.New(apex, "_acme-challenge.www", data[0], 60, data[1]); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkText(b *testing.B) {
	for _, line := range []string{"a 60 TXT LoqXcYV8q5ONbJQxbmR7SCTNo3tiAXDfowyjxAjEuX0", "a 60 MX 10 mail.example.org.", "a 60 HTTPS 1 . alpn=h2,h3 port=8443", `a 60 CAA 0 issue "ca.example"`} {
		r := lines(b, line)[0]
		b.Run(r.Type.String(), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				r.Text()
			}
		})
	}
}

// BenchmarkFromRR reads records with names in their data and without.
func BenchmarkFromRR(b *testing.B) {
	for _, line := range []string{"a. 60 IN MX 10 mail.example.", "a. 60 IN SRV 1 2 443 target.example.", "a. 60 IN CNAME target.example.", `a. 60 IN CAA 0 issue "ca.example"`, "a. 60 IN A 192.0.2.1"} {
		rr, err := dns.NewRR(line)
		if err != nil {
			b.Fatal(err)
		}
		b.Run(dns.TypeToString[rr.Header().Rrtype], func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := record.FromRR(rr); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
