package api

import (
	"crypto/rand"
	"hash/crc32"
	"math/big"
	"strings"
)

// A token is "bestdns_", 43 base62 digits of 32 random bytes, and 6 base62
// digits of the CRC-32 (IEEE) of all that precedes them. The prefix lets secret
// scanners find a leaked one, the check digits tell a mistyped or cut token from
// a wrong one before anything is sent.
const (
	tokenPrefix    = "bestdns_"
	tokenSecretLen = 43
	tokenCheckLen  = 6
	tokenLen       = len(tokenPrefix) + tokenSecretLen + tokenCheckLen

	base62Digits = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
)

// NewToken returns a fresh token. It is the secret itself: show it once and
// keep its digest only.
func NewToken() string {
	secret := make([]byte, 32)
	rand.Read(secret) // never fails since Go 1.24
	body := tokenPrefix + base62(new(big.Int).SetBytes(secret), tokenSecretLen)
	return body + tokenCheck(body)
}

func tokenCheck(body string) string {
	return base62(big.NewInt(int64(crc32.ChecksumIEEE([]byte(body)))), tokenCheckLen)
}

// base62 writes n in base 62, most significant digit first, padded to width digits.
func base62(n *big.Int, width int) string {
	digits := []byte(strings.Repeat("0", width))
	n = new(big.Int).Set(n)
	base, digit := big.NewInt(62), new(big.Int)
	for i := width - 1; n.Sign() > 0; i-- {
		n.DivMod(n, base, digit)
		digits[i] = base62Digits[digit.Int64()]
	}
	return string(digits)
}
