package main

import (
	"fmt"
	"math/rand/v2"
	"strings"
)

// zone is what both servers serve: a TXT record at each of many names.
const zone = "acme.example."

func owner(i int) string { return fmt.Sprintf("_acme-challenge.web%07d", i) }

func text(i int) string { return fmt.Sprintf("%043d", i) }

// questions returns questions as dnsperf reads them: 70 % are for TXT records that
// are there, 10 % for the apex, 20 % for names that are not there.
func (r run) questions() []byte {
	const lines = 200_000
	random := rand.New(rand.NewPCG(1, 2))
	var b []byte
	for range lines {
		name, qtype := "", "TXT"
		switch n := random.IntN(10); {
		case n < 7:
			name = owner(random.IntN(r.names)) + "." + zone
		case n < 8:
			name, qtype = zone, [...]string{"SOA", "NS"}[random.IntN(2)]
		default:
			name = fmt.Sprintf("_acme-challenge.gone%07d.", random.IntN(r.names)) + zone
		}
		if r.mixedCase {
			name = mixCase(random, name)
		}
		b = fmt.Appendf(b, "%s %s\n", name, qtype)
	}
	return b
}

func mixCase(random *rand.Rand, name string) string {
	return strings.Map(func(c rune) rune {
		if 'a' <= c && c <= 'z' && random.IntN(2) == 0 {
			return c - 'a' + 'A'
		}
		return c
	}, name)
}
