package api

import (
	"errors"
	"io/fs"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestNewToken(t *testing.T) {
	seen := make(map[string]bool)
	for range 1000 {
		token := NewToken()
		if err := CheckToken(token); err != nil {
			t.Fatalf("%s: %v", token, err)
		}
		if seen[token] {
			t.Fatalf("%s twice", token)
		}
		seen[token] = true
	}
}

// TestTokenForm holds the form to values that were computed by other means.
func TestTokenForm(t *testing.T) {
	for _, tt := range []struct {
		n     *big.Int
		width int
		want  string
	}{
		{big.NewInt(0), 6, "000000"},
		{big.NewInt(61), 2, "0z"},
		{big.NewInt(62), 2, "10"},
		{big.NewInt(1<<32 - 1), 6, "4gfFC3"},
		{new(big.Int).Sub(new(big.Int).Lsh(big.NewInt(1), 256), big.NewInt(1)), 43, ""},
	} {
		got := base62(tt.n, tt.width)
		if tt.want != "" && got != tt.want || len(got) != tt.width {
			t.Errorf("base62(%v, %d) = %q, want %q", tt.n, tt.width, got, tt.want)
		}
	}
	token := "bestdns_" + strings.Repeat("0", 42) + "1"
	token += tokenCheck(token)
	if err := CheckToken(token); err != nil {
		t.Error(err)
	}
}

func TestCheckToken(t *testing.T) {
	token := NewToken()
	at := 20
	for token[at] == token[at+1] {
		at++
	}
	swapped := token[:at] + token[at+1:at+2] + token[at:at+1] + token[at+2:]
	for _, tt := range []struct {
		name, token string
		want        error
	}{
		{"whole", token, nil},
		{"empty", "", ErrTokenEmpty},
		{"a URL", "https://dns.example.net", ErrTokenURL},
		{"a placeholder", "{env.BESTDNS_API_TOKEN}", ErrTokenBraces},
		{"in braces", "{" + token + "}", ErrTokenBraces},
		{"another kind", "glpat-0123456789", ErrTokenPrefix},
		{"a placeholder with the name of a token", "{env.bestdns_token}", ErrTokenBraces},
		{"cut after its name", "BESTDNS_API_TOKEN=" + token[:40], ErrTokenPrefix},
		{"prefix in upper case", strings.ToUpper(token), ErrTokenPrefix},
		{"cut", token[:len(token)-1], ErrTokenLength},
		{"with a line break", token + "\n", ErrTokenLength},
		{"mistyped", mistype(token), ErrTokenChecksum},
		{"swapped", swapped, ErrTokenChecksum},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := CheckToken(tt.token)
			if !errors.Is(err, tt.want) {
				t.Errorf("error %v, want %v", err, tt.want)
			}
			if err != nil && strings.Contains(err.Error(), token[:20]) {
				t.Errorf("error %q holds the token", err)
			}
		})
	}
}

// TestCheckTokenShows: an error shows what surrounds the token, which is easily
// overlooked in a file, and nothing of the token or of other secrets.
func TestCheckTokenShows(t *testing.T) {
	token, other := NewToken(), NewToken()
	long := strings.Repeat("é, ", 100)
	for _, tt := range []struct{ name, given, want string }{
		{"byte order mark", "\ufeff" + token, `a token begins with "bestdns_": what precedes it is "\ufeff", a byte order mark, which editors do not show; remove that`},
		{"blank", " " + token, `a token begins with "bestdns_": what precedes it is " "; remove that`},
		{"variable", "BESTDNS_API_TOKEN=" + token, `a token begins with "bestdns_": what precedes it is "BESTDNS_API_TOKEN="; remove that`},
		{"variable in lower case", "bestdns_token=" + token, `a token begins with "bestdns_": what precedes it is "bestdns_token="; remove that`},
		{"quotes", `"` + token + `"`, `a token begins with "bestdns_" and ends after 57 characters: what precedes it is "\"", and what follows it is "\""; remove both`},
		{"JSON", `{"token":"` + token + `"}`, `a token begins with "bestdns_" and ends after 57 characters: what precedes it is "{\"token\":\"", and what follows it is "\"}"; remove both`},
		{"after a secret's line", "PASSWORD=hunter2\nTOKEN=" + token, `a token begins with "bestdns_": it is in line 2, after "TOKEN="; remove that`},
		{"another secret in front", "glpat-0123456789abcdefghij " + token, `a token begins with "bestdns_": what precedes it is 27 bytes; remove that`},
		{"another token in front", other + "," + token, `a token has 57 characters: 58 bytes follow it; remove that`},
		{"a cut token in front", other[:30] + " " + token, `a token begins with "bestdns_": what precedes it is 31 bytes; remove that`},
		{"a part of it in front", token[40:] + token, `a token begins with "bestdns_": what precedes it is 17 bytes; remove that`},
		{"a part of it after", token + token[50:], `a token has 57 characters: 7 bytes follow it; remove that`},
		{"a password in front", "machine x password hunter2 account " + token, `a token begins with "bestdns_": what precedes it is 35 bytes; remove that`},
		{"most of another token after", token + " # the old one: " + other[:56], `a token has 57 characters: 72 bytes follow it; remove that`},
		{"most of another token in front", other[:56] + " # replaced by " + token, `a token begins with "bestdns_": what precedes it is 71 bytes; remove that`},
		{"quote after", token + `"`, `a token has 57 characters: what follows it is "\""; remove that`},
		{"line break after", token + "\n", `a token has 57 characters: what follows it is "\n"; remove that`},
		{"more lines after", token + "\r\n" + "PASSWORD=hunter2", `a token has 57 characters: 18 bytes follow it; remove that`},
		{"one after", token + "x", `a token has 57 characters: 1 byte follows it; remove that`},
		{"one in front", "x" + token, `a token begins with "bestdns_": what precedes it is 1 byte; remove that`},
		{"much after", token + long, `a token has 57 characters: 400 bytes follow it; remove that`},
		{"much in front", long + token, `a token begins with "bestdns_": what precedes it is 400 bytes; remove that`},
		{"mistyped, and a blank", " " + mistype(token), `a token begins with "bestdns_": what precedes it is " "; remove that`},
		{"cut", token[:50], `a token has 57 characters, and this one has 50: was it cut, or is there more after it?`},
		{"no token", "hunter2", `a token begins with "bestdns_", which is nowhere in these 7 bytes`},
		{"UTF-16", "\xff\xfeb\x00e\x00", `a token begins with "bestdns_", and these 6 bytes are text in UTF-16, as some editors and PowerShell's > write it: save it as UTF-8 without a byte order mark`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := CheckTokenFrom("/run/secrets/bestdns", tt.given)
			if want := "the token from /run/secrets/bestdns: " + tt.want; err == nil || err.Error() != want {
				t.Errorf("error\n%v, want\n%s", err, want)
			}
			for i := len(tokenPrefix); err != nil && i+6 <= len(token); i++ {
				if strings.Contains(err.Error(), token[i:i+6]) || strings.Contains(err.Error(), other[i:i+6]) {
					t.Fatalf("error %q holds a part of a token", err)
				}
			}
		})
	}
	if err := CheckTokenFrom("a file", token); err != nil {
		t.Error(err)
	}
}

func TestPlaceholdersIn(t *testing.T) {
	for setting, want := range map[string]string{
		"{file./run/secrets/bestdns}": "{file./run/secrets/bestdns}",
		"x{env.A}y{env.B}":            "{env.A} and {env.B}",
		"{" + NewToken() + "}":        "",
		"bestdns_secret":              "",
		"{env.}":                      "",
	} {
		if got := PlaceholdersIn(setting); got != want {
			t.Errorf("%q: %q, want %q", setting, got, want)
		}
	}
}

// TestReadValue: a value ends before the line end that ends its file, and nothing else
// is taken off.
func TestReadValue(t *testing.T) {
	name := filepath.Join(t.TempDir(), "value")
	for content, want := range map[string]string{
		"":          "",
		"a":         "a",
		"a\n":       "a",
		"a\r\n":     "a",
		"a\n\n":     "a\n",
		" a \n":     " a ",
		"\ufeffa":   "\ufeffa",
		"a\r\n\r\n": "a\r\n",
	} {
		if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := ReadValue(name); got != want || err != nil {
			t.Errorf("%q: %q, %v, want %q", content, got, err, want)
		}
	}
	if err := os.WriteFile(name, make([]byte, mostOfValue+1), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadValue(name); err == nil || !strings.Contains(err.Error(), "larger") {
		t.Errorf("a large file: %v", err)
	}
	if _, err := ReadValue(name + "x"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
}
