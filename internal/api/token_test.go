package api

import (
	"errors"
	"math/big"
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
