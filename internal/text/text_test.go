package text_test

import (
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/caddy-dns/bestdns/internal/text"
)

func TestVisible(t *testing.T) {
	for _, c := range []struct{ name, in, want string }{
		{"empty", "", ""},
		{"plain", "_acme-challenge.www.example.org. TXT", "_acme-challenge.www.example.org. TXT"},
		{"other scripts", "zürich Ελλάδα 東京 עברית ⟨x⟩ …", "zürich Ελλάδα 東京 עברית ⟨x⟩ …"},
		{"a letter with marks", "e\u0301\u0301\u0301", "e\u0301\u0301\u0301"},
		{"replacement character", "a\uFFFDb", "a\uFFFDb"},
		{"C0", "a\x1b[2Jb\r\n\t", "a⟨U+001B⟩[2Jb⟨U+000D⟩⟨U+000A⟩⟨U+0009⟩"},
		{"DEL", "a\x7fb", "a⟨U+007F⟩b"},
		{"C1", "a\u009b31m\u0085b", "a⟨U+009B⟩31m⟨U+0085⟩b"},
		{"bidi", "a\u202Eb\u2066c\u200F", "a⟨U+202E⟩b⟨U+2066⟩c⟨U+200F⟩"},
		{"blanks", "a\u00A0b\u3000c\u2028", "a⟨U+00A0⟩b⟨U+3000⟩c⟨U+2028⟩"},
		{"invisible", "a\u200Bb\u3164c\uFE0Fd\U000E0041\u034F", "a⟨U+200B⟩b⟨U+3164⟩c⟨U+FE0F⟩d⟨U+E0041⟩⟨U+034F⟩"},
		{"stacked marks", "e" + strings.Repeat("\u0301", 5) + "e\u0301", "e\u0301\u0301\u0301⟨U+0301⟩⟨U+0301⟩e\u0301"},
		{"bytes of no character", "a\x9bb\xff\xe2\x80", "a⟨9B⟩b⟨FF⟩⟨E2⟩⟨80⟩"},
		{"private use", "\uE000", "⟨U+E000⟩"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := text.Visible(c.in)
			if got != c.want {
				t.Errorf("Visible(%q) = %q, want %q", c.in, got, c.want)
			}
			if again := text.Visible(got); again != got {
				t.Errorf("shown a second time it is %q", again)
			}
		})
	}
}

func TestVisibleOfPlainTextAllocatesNothing(t *testing.T) {
	for _, s := range []string{"www.example.org.", "zürich 東京 e\u0301"} {
		if n := testing.AllocsPerRun(100, func() { text.Visible(s) }); n != 0 {
			t.Errorf("Visible(%q): %v allocations", s, n)
		}
	}
}

// Every character there is, and every byte, is seen afterwards.
func TestVisibleOfAll(t *testing.T) {
	for c := range rune(unicode.MaxRune + 1) {
		if shown := text.Visible(string(c)); shown == string(c) || !strings.HasPrefix(shown, "⟨U+") {
			checkVisible(t, shown)
		}
	}
	for b := range 256 {
		checkVisible(t, string([]byte{byte(b)}))
	}
}

func FuzzVisible(f *testing.F) {
	f.Add("a\u202e\x9b\u009b", 3)
	f.Fuzz(func(t *testing.T, s string, most int) {
		checkVisible(t, text.Visible(s))
		most = max(0, most%1000)
		brief := text.Brief(s, most)
		checkVisible(t, brief)
		if len(brief) > most+len("…") {
			t.Errorf("Brief(%q, %d) has %d bytes", s, most, len(brief))
		}
	})
}

func checkVisible(t *testing.T, s string) {
	t.Helper()
	s = text.Visible(s)
	if !utf8.ValidString(s) {
		t.Errorf("%q is not UTF-8", s)
	}
	for _, c := range s {
		if c != ' ' && !unicode.IsPrint(c) || unicode.Is(unicode.Bidi_Control, c) || unicode.Is(unicode.Variation_Selector, c) {
			t.Errorf("%U is in %q", c, s)
		}
	}
}

func TestClip(t *testing.T) {
	for _, c := range []struct {
		in   string
		most int
		want string
	}{
		{"", 0, ""},
		{"abc", 3, "abc"},
		{"abcd", 3, "abc…"},
		{"abü", 3, "ab…"},
		{"aü", 3, "aü"},
		{"東京", 5, "東…"},
		{"東京", 1, "…"},
		{strings.Repeat("\x80", 20), 10, strings.Repeat("\x80", 6) + "…"},
	} {
		if got := text.Clip(c.in, c.most); got != c.want {
			t.Errorf("Clip(%q, %d) = %q, want %q", c.in, c.most, got, c.want)
		}
	}
	if s := text.Clip(strings.Repeat("a", 20), 10); text.Clip(s, 10) != s {
		t.Errorf("clipped a second time, %q is %q", s, text.Clip(s, 10))
	}
}

func BenchmarkVisible(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		text.Visible("_acme-challenge.www.example.org. TXT")
	}
}
