package record_test

import (
	"bytes"
	"cmp"
	"slices"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"

	"github.com/caddy-dns/bestdns/internal/record"
)

// name reads an absolute name that a test is certain of.
func name(t testing.TB, s string) record.Name {
	t.Helper()
	n, err := record.ParseName(s)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// longName is a name of 255 octets in wire form: three labels of 63 and one of 61.
var longName = strings.Repeat(strings.Repeat("a", 63)+".", 3) + strings.Repeat("b", 61) + "."

func TestParseName(t *testing.T) {
	for _, test := range []struct {
		name, in string
		want     record.Name
	}{
		{"root", ".", "\x00"},
		{"with final dot", "example.org.", "\x07example\x03org\x00"},
		{"without final dot", "example.org", "\x07example\x03org\x00"},
		{"one label", "org", "\x03org\x00"},
		{"upper case", "WWW.Example.ORG", "\x03www\x07example\x03org\x00"},
		{"upper case in decimal", `\087\087W.org`, "\x03www\x03org\x00"},
		{"escaped dot", `a\.b.org`, "\x03a.b\x03org\x00"},
		{"escaped dot at the end", `a\.`, "\x02a.\x00"},
		{"escaped dot at the end, final dot", `a\..`, "\x02a.\x00"},
		{"escaped backslash, final dot", `a\\.`, "\x02a\\\x00"},
		{"decimal dot", `a\046b.org`, "\x03a.b\x03org\x00"},
		{"asterisk", "*.example.org", "\x01*\x07example\x03org\x00"},
		{"underscore", "_acme-challenge.example.org", "\x0f_acme-challenge\x07example\x03org\x00"},
		{"slash of RFC 2317", "0/25.2.0.192.in-addr.arpa", "\x040/25\x012\x010\x03192\x07in-addr\x04arpa\x00"},
		{"escaped specials", `\@\$\;\(\)\"\ .org`, "\x07@$;()\" \x03org\x00"},
		{"decimal octets", `\000\001\255.org`, "\x03\x00\x01\xff\x03org\x00"},
		{"escaped line end", "a\\\nb.org", "\x03a\nb\x03org\x00"},
		{"label of 63", strings.Repeat("x", 63), record.Name("\x3f" + strings.Repeat("x", 63) + "\x00")},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := record.ParseName(test.in)
			if err != nil {
				t.Fatal(err)
			}
			if got != test.want {
				t.Errorf("ParseName(%q) = %q, want %q", test.in, string(got), string(test.want))
			}
		})
	}
}

// badNames are what no name may be, relative or absolute, each with a part of the error.
var badNames = []struct{ name, in, want string }{
	{"empty label", "a..org", "an empty label"},
	{"two final dots", "example.org..", "an empty label"},
	{"leading dot", ".org", "an empty label"},
	{"label of 64", strings.Repeat("x", 64) + ".org", "a label longer than 63"},
	{"255 octets and one more label", "x." + longName, "longer than 255 octets"},
	{"a thousand labels", strings.Repeat("a.", 1000), "longer than 255 octets"},
	{"space", "a b.org", `' ' is not allowed`},
	{"tab", "a\tb.org", `'\t' is not allowed`},
	{"newline", "a\nb.org", `'\n' is not allowed`},
	{"carriage return", "a\rb.org", `'\r' is not allowed`},
	{"NUL", "a\x00b.org", `'\x00' is not allowed`},
	{"delete", "a\x7fb.org", `'\x7f' is not allowed`},
	{"comment", "a;b.org", `';' is not allowed`},
	{"parenthesis", "a(b.org", `'(' is not allowed`},
	{"quote", `"a".org`, `'"' is not allowed`},
	{"at sign within", "a@b.org", `'@' is not allowed`},
	{"$ORIGIN", "$ORIGIN", `'$' is not allowed`},
	{"$INCLUDE and a file", "$INCLUDE /etc/passwd", `'$' is not allowed`},
	{"a whole record", "x 60 IN A 192.0.2.66 ;", `' ' is not allowed`},
	{"a record after a line end", "x\nevil 60 IN A 192.0.2.66", `'\n' is not allowed`},
	{"not ASCII", "bücher.example", "A-label"},
	{"full-width letters", "ｅxample.org", "A-label"},
	{"ideographic full stop", "example。org", "A-label"},
	{"octets that are not UTF-8", "\xff.org", "A-label"},
	{"backslash at the end", `example.org\`, "a backslash comes before"},
	{"decimal too large", `\256.org`, "a backslash comes before"},
	{"decimal too short", `\25.org`, "a backslash comes before"},
	{"decimal at the end", `\25`, "a backslash comes before"},
}

func TestParseNameRefuses(t *testing.T) {
	zone := name(t, "example.net")
	for _, test := range append([]struct{ name, in, want string }{{"nothing", "", "an empty label"}, {"at sign", "@", "'@' is not allowed"}}, badNames...) {
		t.Run(test.name, func(t *testing.T) {
			n, err := record.ParseName(test.in)
			if err == nil {
				t.Fatalf("ParseName(%q) = %q, want an error", test.in, string(n))
			}
			if !strings.Contains(err.Error(), test.want) {
				t.Errorf("ParseName(%q): %v; want %q in it", test.in, err, test.want)
			}
			if len(err.Error()) > 250 {
				t.Errorf("an error of %d octets", len(err.Error()))
			}
		})
	}
	for _, test := range badNames {
		t.Run("owner/"+test.name, func(t *testing.T) {
			n, err := record.ParseOwner(test.in, zone)
			if err == nil {
				t.Fatalf("ParseOwner(%q) = %q, want an error", test.in, string(n))
			}
			if !strings.Contains(err.Error(), test.want) {
				t.Errorf("ParseOwner(%q): %v; want %q in it", test.in, err, test.want)
			}
		})
	}
}

func TestParseOwner(t *testing.T) {
	for _, test := range []struct{ name, in, zone, want string }{
		{"at sign", "@", "example.org", "example.org."},
		{"nothing", "", "example.org", "example.org."},
		{"relative", "www", "example.org", "www.example.org."},
		{"relative in the root zone", "www", ".", "www."},
		{"several labels", "a.b", "example.org", "a.b.example.org."},
		{"absolute within", "www.example.org.", "example.org", "www.example.org."},
		{"absolute elsewhere", "www.example.net.", "example.org", "www.example.net."},
		{"the root", ".", "example.org", "."},
		{"looks absolute without its dot", "www.example.org", "example.org", "www.example.org.example.org."},
		{"escaped dot at the end is relative", `www\.`, "example.org", `www\..example.org.`},
		{"escaped backslash at the end is absolute", `www\\.`, "example.org", `www\\.`},
		{"escaped at sign", `\@`, "example.org", `\@.example.org.`},
		{"suffix by octets, not labels", "notexample.org.", "example.org", "notexample.org."},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := record.ParseOwner(test.in, name(t, test.zone))
			if err != nil {
				t.Fatal(err)
			}
			if got.String() != test.want {
				t.Errorf("ParseOwner(%q, %q) = %q, want %q", test.in, test.zone, got, test.want)
			}
		})
	}
}

func TestIsDoubled(t *testing.T) {
	for _, test := range []struct {
		in, zone string
		want     bool
	}{
		{"www.example.org", "example.org", true},
		{"example.org", "example.org", true},
		{"WWW.Example.ORG", "example.org", true},
		{`www.ex\097mple.org`, "example.org", true},
		{`www.example.org`, "www.example.org", true},
		{"a.example.org.example.org", "example.org", true},
		{"lab", "lab", true},
		{"www.example.org.", "example.org", false},
		{"www.example.org.example.org.", "example.org", false},
		{`www.example.org\.`, "example.org", false},
		{`www.example\.org`, "example.org", false},
		{"wwwexample.org", "example.org", false},
		{"www.example", "example.org", false},
		{"org", "example.org", false},
		{"example.org.www", "example.org", false},
		{"www.example.net", "example.org", false},
		{"@", "example.org", false},
		{"", "example.org", false},
		{"org", "org.org", false},
		{"www", ".", false},
		{"@", ".", false},
		{`x\007example\003org`, "example.org", false}, // the octets agree, the labels do not
	} {
		zone := name(t, test.zone)
		owner, err := record.ParseOwner(test.in, zone)
		if err != nil {
			t.Fatal(err)
		}
		if got := record.IsDoubled(test.in, owner, zone); got != test.want {
			t.Errorf("%q in %q: %v, want %v", test.in, test.zone, got, test.want)
		}
	}
}

func TestNameLength(t *testing.T) {
	long := name(t, longName)
	if len(long) != 255 {
		t.Fatalf("the longest name has %d octets", len(long))
	}
	zone := long.Parent() // 191 octets
	most, tooMuch := strings.Repeat("a", 61)+".b", strings.Repeat("a", 62)+".b"
	if got, err := record.ParseOwner(most, zone); err != nil || len(got) != 255 {
		t.Errorf("ParseOwner of 255 octets: %d, %v", len(got), err)
	}
	if got, err := record.ParseOwner(tooMuch, zone); err == nil {
		t.Errorf("ParseOwner of 256 octets: %q", got)
	}
	b := name(t, "b."+zone.String())
	if got, err := b.Child(strings.Repeat("a", 61)); err != nil || len(got) != 255 {
		t.Errorf("Child of 255 octets: %d, %v", len(got), err)
	}
	if got, err := b.Child(strings.Repeat("a", 62)); err == nil {
		t.Errorf("Child of 256 octets: %q", got)
	}
	if got, err := long.Below(record.Root, name(t, "x")); err == nil {
		t.Errorf("Below of 257 octets: %q", got)
	}
	if got, err := zone.Child(strings.Repeat("a", 64)); err == nil {
		t.Errorf("Child with a label of 64 octets: %q", got)
	}
	if got, err := zone.Child(""); err == nil {
		t.Errorf("Child with an empty label: %q", got)
	}
	if got, err := record.NameFromWire([]byte("\x01b" + string(long))); err == nil {
		t.Errorf("NameFromWire of 257 octets: %q", got)
	}
}

func TestNameParts(t *testing.T) {
	type parts struct {
		Text, Parent, First string
		Labels              int
		Host                bool
	}
	for _, test := range []struct {
		name string
		want parts
	}{
		{"root", parts{".", ".", "", 0, false}},
		{"top level", parts{"org.", ".", "org", 1, false}},
		{"host", parts{"www.example.org.", "example.org.", "www", 3, true}},
		{"digits and hyphens", parts{"1.a-b.xn--p1ai.", "a-b.xn--p1ai.", "1", 3, true}},
		{"leading hyphen", parts{"-a.org.", "org.", "-a", 2, false}},
		{"trailing hyphen", parts{"a-.org.", "org.", "a-", 2, false}},
		{"underscore", parts{"_a.org.", "org.", "_a", 2, false}},
		{"asterisk", parts{"*.example.org.", "example.org.", "*", 3, false}},
		{"asterisk in the middle", parts{"a.*.org.", "*.org.", "a", 3, false}},
		{"dot in a label", parts{`a\.b.org.`, "org.", "a.b", 2, false}},
		{"8-bit", parts{`a\255.org.`, "org.", "a\xff", 2, false}},
	} {
		t.Run(test.name, func(t *testing.T) {
			n := name(t, test.want.Text)
			got := parts{n.String(), n.Parent().String(), n.FirstLabel(), n.Labels(), n.IsHostName()}
			if diff := gocmp.Diff(test.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestIsIPv4(t *testing.T) {
	for text, want := range map[string]bool{
		"192.0.2.1": true, "255.255.255.255.": true, "256.0.2.1": false, "1.2.0.192.in-addr.arpa": false, "0.2.1": false, ".": false,
	} {
		if got := name(t, text).IsIPv4(); got != want {
			t.Errorf("%s: %v", text, got)
		}
	}
}

func TestNameIn(t *testing.T) {
	for _, test := range []struct {
		name, in, zone string
		want           bool
		relative       string
	}{
		{"itself", "example.org", "example.org", true, "@"},
		{"below", "a.b.example.org", "example.org", true, "a.b"},
		{"above", "org", "example.org", false, "org."},
		{"beside", "example.net", "example.org", false, "example.net."},
		{"longer label with the same end", "notexample.org", "example.org", false, "notexample.org."},
		{"everything is in the root", "example.org", ".", true, "example.org"},
		{"the root in itself", ".", ".", true, "@"},
		{"the root elsewhere", ".", "org", false, "."},
		{"other case", "A.EXAMPLE.org", "example.ORG", true, "a"},
		{"label that holds the zone's octets", `x\007example\003org.org`, "example.org", false, `x\007example\003org.org.`},
		{"label that ends in the zone's octets", `x\003org`, "org", false, `x\003org.`},
		{"label that is an at sign", `\@.example.org`, "example.org", true, `\@`},
		{"label that ends in a dot", `a\..example.org`, "example.org", true, `a\.`},
	} {
		t.Run(test.name, func(t *testing.T) {
			n, zone := name(t, test.in), name(t, test.zone)
			if got := n.In(zone); got != test.want {
				t.Errorf("%q in %q: %v", n, zone, got)
			}
			if got := n.Relative(zone); got != test.relative {
				t.Errorf("%q relative to %q: %q, want %q", n, zone, got, test.relative)
			}
		})
	}
}

func TestNameBelow(t *testing.T) {
	n, err := name(t, "a.b.example.org").Below(name(t, "example.org"), name(t, "acme.example.com"))
	if err != nil || n != name(t, "a.b.acme.example.com") {
		t.Errorf("%q, %v", n, err)
	}
}

// badWire is what no name in wire form may be.
var badWire = []string{
	"",
	"\x03org",         // no root
	"\x03org\x00\x00", // something behind the root
	"\x04org\x00",     // label longer than the rest
	"\xc0\x00",        // compression pointer
	"\x40" + strings.Repeat("a", 64) + "\x00", // label of 64
	strings.Repeat("\x01a", 127) + "\x00\x00",
	strings.Repeat("\x01a", 128) + "\x00", // 257 octets
}

func TestNameFromWireRefuses(t *testing.T) {
	for _, wire := range badWire {
		if n, err := record.NameFromWire([]byte(wire)); err == nil {
			t.Errorf("NameFromWire(%q) = %q", wire, n)
		}
	}
}

func FuzzParseName(f *testing.F) {
	for _, s := range []string{".", "example.org", `a\.b.org.`, `\000\255\@.org`, "*.org", longName, "a\\\n.org", `a\..`, "@", ""} {
		f.Add(s)
	}
	for _, test := range badNames {
		f.Add(test.in)
	}
	zone, err := record.ParseName("example.net")
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, s string) {
		checkOwner(t, s, zone)
		n, err := record.ParseName(s)
		if err != nil {
			return
		}
		// miekg/dns is a second reading of the presentation format.
		var buf [256]byte
		end, err := dns.PackDomainName(dns.Fqdn(s), buf[:], 0, nil, false)
		if err != nil {
			t.Fatalf("%q is a name to ParseName, not to miekg/dns: %v", s, err)
		}
		if want := lowerASCII(string(buf[:end])); string(n) != want {
			t.Fatalf("ParseName(%q) = %q, miekg/dns says %q", s, string(n), want)
		}
		checkName(t, n)
	})
}

func FuzzNameFromWire(f *testing.F) {
	f.Add([]byte("\x03WWW\x07example\x03org\x00"))
	f.Add([]byte("\x05@$;()\x02\x00\xff\x00"))
	for _, wire := range badWire {
		f.Add([]byte(wire))
	}
	f.Fuzz(func(t *testing.T, wire []byte) {
		n, err := record.NameFromWire(wire)
		if err != nil {
			return
		}
		if string(n) != lowerASCII(string(wire)) {
			t.Fatalf("NameFromWire(%q) = %q", wire, string(n))
		}
		checkName(t, n)
	})
}

// checkName checks what holds for every name.
func checkName(t *testing.T, n record.Name) {
	t.Helper()
	text := n.String()
	if back, err := record.ParseName(text); err != nil || back != n {
		t.Fatalf("%q is printed as %q and read as %q, %v", string(n), text, string(back), err)
	}
	for _, c := range []byte(text) {
		if c <= ' ' || c >= 0x7f {
			t.Fatalf("%q is printed as %q, with the octet %#x", string(n), text, c)
		}
	}
	if back := record.NameFromKey(n.Key()); back != n {
		t.Fatalf("%q has the key %q, which is that of %q", string(n), n.Key(), string(back))
	}
	if wire, err := record.NameFromWire([]byte(n)); err != nil || wire != n {
		t.Fatalf("%q read from its wire form: %q, %v", string(n), string(wire), err)
	}
	labels := splitLabels(n)
	if n.Labels() != len(labels) {
		t.Fatalf("%q has %d labels, says Labels: %d", text, len(labels), n.Labels())
	}
	for zone := n; ; zone = zone.Parent() {
		if !n.In(zone) {
			t.Fatalf("%q is not in %q", text, zone)
		}
		relative := n.Relative(zone)
		if back, err := record.ParseOwner(relative, zone); err != nil || back != n {
			t.Fatalf("%q relative to %q is %q, which is read as %q, %v", text, zone, relative, back, err)
		}
		if zone != record.Root {
			if back, err := zone.Parent().Child(zone.FirstLabel()); err != nil || back != zone {
				t.Fatalf("%q is made of its parts as %q, %v", zone, back, err)
			}
		} else {
			break
		}
	}
}

// checkOwner holds ParseOwner against ParseName of the text made absolute first.
func checkOwner(t *testing.T, s string, zone record.Name) {
	t.Helper()
	absolute, dangling := false, false
	for i := 0; i < len(s); i++ {
		absolute = s[i] == '.'
		if s[i] == '\\' {
			i++
			dangling = i == len(s)
		}
	}
	whole := s
	switch {
	case s == "" || s == "@":
		whole = zone.String()
	case !absolute:
		whole = s + "." + zone.String()
	}
	want, wantErr := record.ParseName(whole)
	got, err := record.ParseOwner(s, zone)
	if dangling { // in the whole it would escape the dot
		if err == nil {
			t.Fatalf("ParseOwner(%q) = %q", s, got)
		}
		return
	}
	if got != want || (err == nil) != (wantErr == nil) {
		t.Fatalf("ParseOwner(%q) = %q, %v; ParseName(%q) = %q, %v", s, got, err, whole, want, wantErr)
	}
}

func FuzzNameOrder(f *testing.F) {
	// RFC 4034 §6.1 has this order.
	for _, pair := range [][2]string{
		{"example", "a.example"},
		{"a.example", "yljkjljk.a.example"},
		{"yljkjljk.a.example", "Z.a.example"},
		{"Z.a.example", "zABC.a.EXAMPLE"},
		{"zABC.a.EXAMPLE", "z.example"},
		{"z.example", `\001.z.example`},
		{`\001.z.example`, "*.z.example"},
		{"*.z.example", `\200.z.example`},
		{`\000.example`, `\000\000.example`},
		{`a.\000.example`, `\001.example`},
		{`\001\001.example`, `\001\002.example`},
		{".", `\000`},
	} {
		if c := compareCanonical(name(f, pair[0]), name(f, pair[1])); c >= 0 {
			f.Fatalf("the test's own order has %q before %q", pair[1], pair[0])
		}
		f.Add([]byte(name(f, pair[0])), []byte(name(f, pair[1])))
	}
	f.Fuzz(func(t *testing.T, x, y []byte) {
		a, err := record.NameFromWire(x)
		if err != nil {
			return
		}
		b, err := record.NameFromWire(y)
		if err != nil {
			return
		}
		if got, want := cmp.Compare(a.Key(), b.Key()), compareCanonical(a, b); got != want {
			t.Fatalf("%q and %q compare as %d by key, as %d in canonical order", a, b, got, want)
		}
		if got, want := strings.HasPrefix(a.Key(), b.Key()), a.In(b); got != want {
			t.Fatalf("%q in %q is %v, by key %v", a, b, want, got)
		}
		if got, want := a.In(b), inNaively(a, b); got != want {
			t.Fatalf("%q in %q: %v, want %v", a, b, got, want)
		}
		prefixed := a.AppendKey([]byte("prefix"))
		if string(prefixed) != "prefix"+a.Key() {
			t.Fatalf("AppendKey of %q: %q", a, prefixed)
		}
	})
}

// compareCanonical is RFC 4034 §6.1 to the letter: label by label from the
// rightmost, as left-justified octet strings, the absence of an octet first.
func compareCanonical(a, b record.Name) int {
	x, y := splitLabels(a), splitLabels(b)
	slices.Reverse(x)
	slices.Reverse(y)
	return slices.CompareFunc(x, y, bytes.Compare)
}

func inNaively(n, zone record.Name) bool {
	labels, suffix := splitLabels(n), splitLabels(zone)
	if len(labels) < len(suffix) {
		return false
	}
	return slices.EqualFunc(labels[len(labels)-len(suffix):], suffix, bytes.Equal)
}

func splitLabels(n record.Name) (labels [][]byte) {
	for wire := []byte(n); wire[0] != 0; wire = wire[1+wire[0]:] {
		labels = append(labels, wire[1:1+wire[0]])
	}
	return labels
}

func lowerASCII(s string) string {
	lower := []byte(s)
	for i, c := range lower {
		if 'A' <= c && c <= 'Z' {
			lower[i] = c + 'a' - 'A'
		}
	}
	return string(lower)
}

func BenchmarkNameKey(b *testing.B) {
	n := name(b, "_acme-challenge.www.example.org")
	var buf []byte
	b.ReportAllocs()
	for b.Loop() {
		buf = n.AppendKey(buf[:0])
	}
}
