package tsig

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// between has the library sign and verify with a key of HMAC-SHA256, and the messages that are
// skipped are signed too.
type between struct {
	key     Key
	mac     string // of the message before
	skipped []byte
}

func (b between) Generate(signed []byte, _ *dns.TSIG) ([]byte, error) {
	n := 0
	if b.mac != "" {
		n = 2 + len(b.mac)/2
	}
	sum := hmac.New(sha256.New, []byte(b.key.secret))
	sum.Write(signed[:n])
	sum.Write(b.skipped)
	sum.Write(signed[n:])
	return sum.Sum(nil), nil
}

func (b between) Verify(signed []byte, r *dns.TSIG) error {
	want, err := b.Generate(signed, r)
	if err != nil || hex.EncodeToString(want) != r.MAC {
		return dns.ErrSig
	}
	return nil
}

// sign has the library sign a message after some that are not signed.
func (b between) sign(t testing.TB, message []byte, later bool, when time.Time) (signed []byte, mac string) {
	t.Helper()
	m := new(dns.Msg)
	if err := m.Unpack(message); err != nil {
		t.Fatal(err)
	}
	m.SetTsig(b.key.Name.String(), b.key.Algorithm, uint16(Fudge/time.Second), when.Unix())
	signed, mac, err := dns.TsigGenerateWithProvider(m, b, b.mac, later)
	if err != nil {
		t.Fatal(err)
	}
	return signed, mac
}

// TestSkip: a signature covers the messages since the one before, in their order (RFC 8945
// §5.3.1).
func TestSkip(t *testing.T) {
	now := time.Now()
	key := testKey(t, "key.", dns.HmacSHA256)
	_, mac := generate(t, key, sample(t, 1, 0), "", false, now, nil)
	one, two, last := sample(t, 1, 1), sample(t, 1, 2), sample(t, 1, 3)
	changed := slices.Clone(two)
	changed[len(changed)-1] ^= 1
	for _, test := range []struct {
		name    string
		skipped [][]byte
		want    error
	}{
		{"as they were", [][]byte{one, two}, nil},
		{"one is missing", [][]byte{one}, ErrMAC},
		{"all are missing", nil, ErrMAC},
		{"in another order", [][]byte{two, one}, ErrMAC},
		{"one is changed", [][]byte{one, changed}, ErrMAC},
		{"one more", [][]byte{one, two, two}, ErrMAC},
	} {
		v := key.NewVerifier(must(t, mac))
		first, firstMAC := generate(t, key, one, mac, false, now, nil)
		r := read(t, first)
		if err := v.Verify(first, &r, now); err != nil {
			t.Fatal(err)
		}
		signed, nextMAC := between{key, firstMAC, slices.Concat(one, two)}.sign(t, last, true, now)
		for _, message := range test.skipped {
			v.Skip(message)
		}
		r = read(t, signed)
		if err := v.Verify(signed, &r, now); !errors.Is(err, test.want) {
			t.Errorf("%s: %v, want %v", test.name, err, test.want)
		}
		if test.want != nil {
			continue
		}
		// Of the next they are no part.
		next, _ := generate(t, key, one, nextMAC, true, now, nil)
		r = read(t, next)
		if err := v.Verify(next, &r, now); err != nil {
			t.Errorf("%s: the message after: %v", test.name, err)
		}
	}
}

// TestVerifierErrors: messages after the first have the errors that requests have.
func TestVerifierErrors(t *testing.T) {
	now := time.Now()
	key := testKey(t, "key.", dns.HmacSHA256)
	other := testKey(t, "other.", dns.HmacSHA256)
	_, mac := generate(t, key, sample(t, 1, 0), "", false, now, nil)
	first, firstMAC := generate(t, key, sample(t, 1, 1), mac, false, now, nil)
	message := sample(t, 1, 2)
	by := func(key Key, mac string, later bool, when time.Time) []byte {
		signed, _ := generate(t, key, message, mac, later, when, nil)
		return signed
	}
	for _, test := range []struct {
		name    string
		message []byte
		want    error
	}{
		{"signed", by(key, firstMAC, true, now), nil},
		{"as if it were the first", by(key, firstMAC, false, now), ErrMAC},
		{"after the request", by(key, mac, true, now), ErrMAC},
		{"after nothing", by(key, "", true, now), ErrMAC},
		{"another key", by(other, firstMAC, true, now), ErrKey},
		{"too early", by(key, firstMAC, true, now.Add(-Fudge-time.Second)), ErrTime},
		{"too late", by(key, firstMAC, true, now.Add(Fudge+2*time.Second)), ErrTime},
	} {
		v := key.NewVerifier(must(t, mac))
		r := read(t, first)
		if err := v.Verify(first, &r, now); err != nil {
			t.Fatal(err)
		}
		r = read(t, test.message)
		if err := v.Verify(test.message, &r, now); !errors.Is(err, test.want) {
			t.Errorf("%s: %v, want %v", test.name, err, test.want)
		}
	}
}

// FuzzVerifier verifies whatever comes after a first message, some of it skipped: as signed
// counts only what the library takes for that too.
func FuzzVerifier(f *testing.F) {
	key := testKey(f, "key.example.", dns.HmacSHA256)
	// The library reads the clock.
	now := time.Now()
	_, mac := generate(f, key, sample(f, 1, 0), "", false, now, nil)
	first, firstMAC := generate(f, key, sample(f, 1, 1), mac, false, now, nil)
	for _, skipped := range [][]byte{nil, sample(f, 1, 2)} {
		signed, _ := between{key, firstMAC, skipped}.sign(f, sample(f, 1, 3), true, now)
		f.Add(skipped, signed)
		f.Add(signed, signed)
	}
	f.Fuzz(func(t *testing.T, skipped, message []byte) {
		v := key.NewVerifier(must(t, mac))
		r := read(t, first)
		if err := v.Verify(first, &r, now); err != nil {
			t.Fatal(err)
		}
		v.Skip(skipped)
		start, ok := Find(message)
		if !ok {
			return
		}
		r, err := Read(message, start)
		if err != nil || v.Verify(message, &r, now) != nil {
			return
		}
		if err := dns.TsigVerifyWithProvider(slices.Clone(message), between{key, firstMAC, skipped}, firstMAC, true); errors.Is(err, dns.ErrSig) {
			t.Errorf("verified, and the library: %v", err)
		}
	})
}
