package page

import (
	"strings"
	"testing"

	"golang.org/x/net/idna"
)

// ascii returns a name as DNS has it, whatever is in it.
func ascii(t *testing.T, name string) string {
	t.Helper()
	out, err := idna.Punycode.ToASCII(name)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestNamesInClear(t *testing.T) {
	for _, name := range []string{
		"bücher.example", "_acme-challenge.bücher.example", "ελλάδα.example", "россия.example", "書店.example", "東京ラーメン.example",
		"한국.example", "ספר.example", "شبكة.example", "ไทย.example", "bücher.書店", "a.bücher.example",
	} {
		a := Text(ascii(t, name))
		if got := strings.Join(a.Pieces(), ""); got != name || a.ASCII() != string(a) {
			t.Errorf("%s is shown as %q (%q), want %s", a, got, a.ASCII(), name)
		}
	}
	for _, name := range []string{
		"аррӏе.example",     // Cyrillic that looks Latin
		"раypal.example",    // two scripts
		"bücher-ру.example", // two scripts
		"αβγx.example",      // two scripts
		"b\u200dücher.test", // invisible
		"BÜCHER.example",    // not as it would be registered
		"a\u0301bc.example", // not normalized
		"\u0301bc.example",  // begins with a mark
		"ω.example",         // looks like another
		"☃.example",         // not a letter
		"x\u202ey.example",  // turns the direction
	} {
		a := Text(ascii(t, name))
		if got := strings.Join(a.Pieces(), ""); got != string(a) || a.ASCII() != "" {
			t.Errorf("%q, that is %s, is shown as %q (%q)", name, a, got, a.ASCII())
		}
	}
	for _, text := range []string{"xn--", "xn--a.example", "xn--bcher-kva\x00", "a.xn--0.test", "plain.example", "", "xn--" + strings.Repeat("a", 400)} {
		if got := Text(text).ASCII(); got != "" {
			t.Errorf("%q is shown as %q too", text, got)
		}
	}
	record := Text("xn--bcher-kva.example TXT")
	if got := strings.Join(record.Pieces(), "|"); got != "bücher.|example TXT" {
		t.Errorf("the name in a record is shown as %q", got)
	}
}
