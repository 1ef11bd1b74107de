package access

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/caddy-dns/bestdns/internal/record"
)

// name reads an absolute name that a test is certain of; "" is no name.
func name(t testing.TB, s string) record.Name {
	t.Helper()
	if s == "" {
		return ""
	}
	n, err := record.ParseName(s)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// parseRule reads a right with its verb: "allow under example.org A".
func parseRule(t testing.TB, s string) Rule {
	t.Helper()
	rule, err := ParseRight(s)
	if err != nil {
		t.Fatal(err)
	}
	return rule
}

func TestParseRule(t *testing.T) {
	const (
		web1    = "\x04web1\x07example\x03org\x00"
		example = "\x07example\x03org\x00"
	)
	for _, test := range []struct {
		name string
		verb Verb
		in   string
		want Rule
		text string
	}{
		{"certificates", Certificates, "web1.example.org", Rule{Verb: Certificates, Name: web1}, "certificates web1.example.org"},
		{"certificates of the wildcard", Certificates, "*.web1.example.org", Rule{Verb: Certificates, Name: web1}, "certificates web1.example.org"},
		{"certificates below", Certificates, "under example.org", Rule{Verb: Certificates, Under: true, Name: example}, "certificates under example.org"},
		{"certificates below the wildcard", Certificates, "under *.example.org", Rule{Verb: Certificates, Under: true, Name: example}, "certificates under example.org"},
		{"allow", Allow, "web1.example.org", Rule{Verb: Allow, Name: web1}, "allow web1.example.org"},
		{"allow types", Allow, "web1.example.org A aaaa TYPE65280 type16", Rule{Verb: Allow, Name: web1,
			Types: []record.Type{record.TypeA, record.TypeAAAA, 65280, record.TypeTXT}}, "allow web1.example.org A AAAA TYPE65280 TXT"},
		{"allow below, with a type", Allow, "under example.org TXT", Rule{Verb: Allow, Under: true, Name: example, Types: []record.Type{record.TypeTXT}}, "allow under example.org TXT"},
		{"read", Read, "web1.example.org", Rule{Verb: Read, Name: web1}, "read web1.example.org"},
		{"read below", Read, "under example.org", Rule{Verb: Read, Under: true, Name: example}, "read under example.org"},
		{"final dot and case", Read, "Web1.EXAMPLE.org.", Rule{Verb: Read, Name: web1}, "read web1.example.org"},
		{"blanks", Allow, " \tunder  example.org\t A ", Rule{Verb: Allow, Under: true, Name: example, Types: []record.Type{record.TypeA}}, "allow under example.org A"},
		{"literal wildcard", Allow, "*.example.org", Rule{Verb: Allow, Name: "\x01*" + example}, "allow *.example.org"},
		{"below a literal wildcard", Allow, "under *.example.org", Rule{Verb: Allow, Under: true, Name: "\x01*" + example}, "allow under *.example.org"},
		{"everything", Allow, "under .", Rule{Verb: Allow, Under: true, Name: record.Root}, "allow under ."},
		{"a name that is the keyword", Allow, "under.", Rule{Verb: Allow, Name: "\x05under\x00"}, "allow under."},
		{"below a name that is the keyword", Allow, "under under", Rule{Verb: Allow, Under: true, Name: "\x05under\x00"}, "allow under under."},
		{"a name that is a type", Allow, "A A", Rule{Verb: Allow, Name: "\x01a\x00", Types: []record.Type{record.TypeA}}, "allow a A"},
		{"escapes", Read, `a\.b\032c\\.org`, Rule{Verb: Read, Name: "\x06a.b c\\\x03org\x00"}, `read a\.b\032c\\.org`},
		{"read all", Read, "all", Rule{Verb: Read, All: true}, "read all"},
		{"a name that is all", Read, "all.", Rule{Verb: Read, Name: "\x03all\x00"}, "read all."},
		{"below a name that is all", Allow, "under all.", Rule{Verb: Allow, Under: true, Name: "\x03all\x00"}, "allow under all."},
		{"watch", Watch, "", Rule{Verb: Watch}, "watch"},
		{"watch and blanks", Watch, " \t", Rule{Verb: Watch}, "watch"},
		{"a dot as last byte", Read, `a\.`, Rule{Verb: Read, Name: "\x02a.\x00"}, `read a\.`},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := ParseRule(test.verb, test.in)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Error(diff)
			}
			if got.String() != test.text {
				t.Errorf("printed as %q, want %q", got, test.text)
			}
		})
	}
}

func TestParseRuleRefuses(t *testing.T) {
	for _, test := range []struct {
		name string
		verb Verb
		in   string
		want string
	}{
		{"nothing", Allow, "", "the name is missing"},
		{"blanks", Read, " \t ", "the name is missing"},
		{"keyword alone", Certificates, "under", "the name is missing"},
		{"unknown verb", 9, "example.org", "unknown verb 9"},
		{"no verb", 0, "example.org", "unknown verb 0"},
		{"keyword in capitals", Allow, "UNDER example.org", "not a record type"},
		{"two names", Allow, "example.org example.net", "not a record type"},
		{"type before the name", Allow, "A example.org", "not a record type"},
		{"denial", Allow, "!example.org A !AAAA", "not a record type"},
		{"unknown type", Allow, "example.org FOO", "not a record type"},
		{"types with commas", Allow, "example.org A,AAAA", "not a record type"},
		{"two names", Allow, "example.org www.example.org", "a further name needs a right of its own"},
		{"two domains", Certificates, "example.org www.example.org", "a further name needs a right of its own"},
		{"type that no zone holds", Allow, "example.org ANY", "never in a zone"},
		{"SOA", Allow, "example.org A SOA", "no right covers an SOA"},
		{"SOA by its number", Allow, "under example.org TYPE6", "no right covers an SOA"},
		{"type twice", Allow, "example.org A TYPE1", "duplicate type"},
		{"allow all", Allow, "all", "only read can be for all"},
		{"certificates under all", Certificates, "under all", "only read can be for all"},
		{"watch all", Watch, "all", "only read can be for all"},
		{"read under all", Read, "under all", "read all takes no name"},
		{"read all and a name", Read, "all example.org", "nothing follows all"},
		{"watch with a name", Watch, "example.org", "watch takes no name"},
		{"watch with the keyword", Watch, "under", "watch takes no name"},
		{"watch with the root", Watch, "under .", "watch takes no name"},
		{"read with a type", Read, "example.org A", "read takes no types"},
		{"certificates with a type", Certificates, "example.org TXT", "certificates takes no types"},
		{"certificates of an address", Certificates, "192.0.2.1", "no CA validates an address"},
		{"certificates of one label", Certificates, "org", "two labels or more"},
		{"certificates of a top-level wildcard", Certificates, "*.org", "two labels or more"},
		{"certificates of the root", Certificates, "under .", "two labels or more"},
		{"certificates of all", Certificates, "*", "two labels or more"},
		{"certificates with a wildcard within", Certificates, "web.*.example.org", "two labels or more"},
		{"certificates with two wildcards", Certificates, "*.*.example.org", "two labels or more"},
		{"certificates of a challenge name", Certificates, "_acme-challenge.example.org", "two labels or more"},
		{"certificates too long for the challenge", Certificates, strings.Repeat(strings.Repeat("a", 47)+".", 5), "DNS-01"},
		{"relative", Allow, "@", "not allowed in a name"},
		{"empty label", Allow, "a..example.org", "empty label"},
		{"not an A-label", Allow, "bücher.example", "A-label"},
		{"label of 64", Read, strings.Repeat("a", 64) + ".org", "longer than 63"},
		{"zone-file text", Allow, "x 60 IN A 192.0.2.66 ;", "not a record type"},
		{"line end", Allow, "example.org\nA", "not allowed in a name"},
		{"no-break space", Allow, "example.org\u00a0A", "A-label"},
		{"long", Allow, strings.Repeat("a ", 100_000), "duplicate type"},
	} {
		t.Run(test.name, func(t *testing.T) {
			rule, err := ParseRule(test.verb, test.in)
			if err == nil {
				t.Fatalf("read as %q", rule)
			}
			if !strings.Contains(err.Error(), test.want) {
				t.Errorf("%v; want %q in it", err, test.want)
			}
			if len(err.Error()) > 600 {
				t.Errorf("an error of %d bytes", len(err.Error()))
			}
		})
	}
}

func FuzzParseRule(f *testing.F) {
	for verb := range uint8(len(kinds)) {
		for _, text := range []string{"under example.org A AAAA", "*.example.org", `under a\.b\032.org. TYPE65280`, "under", "under .", "*.*.a.b", "under under. SOA", ". NS", ""} {
			f.Add(verb, text)
		}
	}
	f.Fuzz(func(t *testing.T, verb uint8, text string) {
		rule, err := ParseRule(Verb(verb), text)
		if err != nil {
			return
		}
		// What is printed is the same right, and the same text again.
		again := parseRule(t, rule.String())
		if diff := cmp.Diff(rule, again); diff != "" {
			t.Fatalf("%q is printed as %q, which is read as another rule:\n%s", text, rule, diff)
		}
		if again.String() != rule.String() {
			t.Fatalf("%q is printed as %q, then as %q", text, rule, again)
		}
		if rule.Verb == Watch {
			if strings.Trim(text, " \t") != "" || rule.Name != "" || rule.Under || rule.Types != nil {
				t.Fatalf("%q is read as %q", text, rule)
			}
			return
		}
		// It says no more than what is written.
		words := slices.DeleteFunc(strings.Split(strings.ReplaceAll(text, "\t", " "), " "), func(word string) bool { return word == "" })
		if rule.Under != (words[0] == "under") {
			t.Fatalf("%q is read as %q", text, rule)
		}
		if rule.Under {
			words = words[1:]
		}
		if len(rule.Types) != len(words)-1 {
			t.Fatalf("%q is read with %d types", text, len(rule.Types))
		}
		config := Config{Digests: []Digest{{}}, Rules: []Rule{rule}}
		if rule.Verb == Register {
			config.Accounts.Secret = make([]byte, leastAccountSecret)
		}
		if _, err := New(record.NewZones(rule.Name), "", []Config{config}); err != nil {
			t.Fatalf("%q is read, and then refused: %v", text, err)
		}
	})
}
