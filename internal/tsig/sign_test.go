package tsig

import (
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
)

func testKey(t testing.TB, name, algorithm string) Key {
	t.Helper()
	key, err := NewKey(name, algorithm, base64.StdEncoding.EncodeToString([]byte("a secret of many octets for "+algorithm)))
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// sample returns a message as packed.
func sample(t testing.TB, id uint16, records int) []byte {
	t.Helper()
	m := new(dns.Msg).SetQuestion("Example.org.", dns.TypeAXFR)
	m.Id = id
	for i := range records {
		rr, err := dns.NewRR(fmt.Sprintf("n%d.example.org. 60 TXT %s", i, strings.Repeat("x", 200)))
		if err != nil {
			t.Fatal(err)
		}
		m.Answer = append(m.Answer, rr)
	}
	m.SetEdns0(1232, false)
	packed, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	return packed
}

// generate has the library sign a message.
func generate(t testing.TB, key Key, message []byte, requestMAC string, later bool, when time.Time, change func(*dns.TSIG)) (signed []byte, mac string) {
	t.Helper()
	m := new(dns.Msg)
	if err := m.Unpack(message); err != nil {
		t.Fatal(err)
	}
	m.SetTsig(key.Name.String(), key.Algorithm, uint16(Fudge/time.Second), when.Unix())
	if change != nil {
		change(m.IsTsig())
	}
	signed, mac, err := dns.TsigGenerate(m, key.Secret(), requestMAC, later)
	if err != nil {
		t.Fatal(err)
	}
	return signed, mac
}

func read(t testing.TB, message []byte) Record {
	t.Helper()
	start, ok := Find(message)
	if !ok {
		t.Fatalf("no TSIG record is found in %x", message)
	}
	r, err := Read(message, start)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// TestAsLibrary signs and verifies requests and answers of several messages with every
// algorithm as the DNS library does.
func TestAsLibrary(t *testing.T) {
	now := time.Now()
	for _, algorithm := range algorithms {
		t.Run(algorithm, func(t *testing.T) {
			key := testKey(t, "Key.Example.", algorithm)
			request := sample(t, 4711, 0)
			signer := key.NewSigner(nil)
			size := len(request) + signer.Size()
			signed := signer.Sign(slices.Clone(request), now)
			theirs, mac := generate(t, key, request, "", false, now, nil)
			if string(signed) != string(theirs) || hex.EncodeToString(signer.MAC()) != mac || len(signed) != size {
				t.Fatalf("a request is signed\n%x, not\n%x", signed, theirs)
			}
			r := read(t, signed)
			if err := key.Verify(signed, &r, nil, now); err != nil {
				t.Errorf("the request is not verified: %v", err)
			}
			verifier := key.NewVerifier(must(t, mac))
			answers := key.NewSigner(r.MAC)
			for i := range 3 {
				answer := sample(t, 4711, 100*(2-i))
				signed := answers.Sign(slices.Clone(answer), now)
				theirs, next := generate(t, key, answer, mac, i > 0, now, nil)
				if string(signed) != string(theirs) {
					t.Fatalf("message %d is signed otherwise than by the library", i)
				}
				if err := dns.TsigVerify(slices.Clone(signed), key.Secret(), mac, i > 0); err != nil {
					t.Errorf("message %d: %v", i, err)
				}
				r := read(t, signed)
				if err := verifier.Verify(signed, &r, now); err != nil {
					t.Errorf("message %d of the answer is not verified: %v", i, err)
				}
				mac = next
			}
		})
	}
}

func must(t testing.TB, mac string) []byte {
	t.Helper()
	octets, err := hex.DecodeString(mac)
	if err != nil {
		t.Fatal(err)
	}
	return octets
}

func TestVerify(t *testing.T) {
	now := time.Now()
	key, other := testKey(t, "key.", dns.HmacSHA256), testKey(t, "other.", dns.HmacSHA256)
	secret, err := NewKey("key.", dns.HmacSHA256, base64.StdEncoding.EncodeToString([]byte("another secret")))
	if err != nil {
		t.Fatal(err)
	}
	message := sample(t, 1, 3)
	by := func(key Key, when time.Time, change func(*dns.TSIG)) []byte {
		signed, _ := generate(t, key, message, "", false, when, change)
		return signed
	}
	shortened := func(to int) []byte {
		signed, mac := generate(t, key, message, "", false, now, nil)
		m := new(dns.Msg)
		if err := m.Unpack(signed); err != nil {
			t.Fatal(err)
		}
		m.IsTsig().MAC, m.IsTsig().MACSize = (mac + mac)[:2*to], uint16(to)
		signed, err := m.Pack()
		if err != nil {
			t.Fatal(err)
		}
		return signed
	}
	renumbered := by(key, now, nil)
	renumbered[0] ^= 0xff // as a forwarder does: the original ID is in the record
	changed := by(key, now, nil)
	changed[len(message)-20] ^= 1
	for _, test := range []struct {
		name    string
		message []byte
		want    error
	}{
		{"signed", by(key, now, nil), nil},
		{"with another ID", renumbered, nil},
		{"at the end of the time", by(key, now.Add(-Fudge), nil), nil},
		{"too early", by(key, now.Add(-Fudge-time.Second), nil), ErrTime},
		{"too late", by(key, now.Add(Fudge+2*time.Second), nil), ErrTime},
		{"beyond its own fudge", by(key, now.Add(-time.Minute), func(r *dns.TSIG) { r.Fudge = 30 }), ErrTime},
		{"with a fudge of a day", by(key, now.Add(-time.Hour), func(r *dns.TSIG) { r.Fudge = 65535 }), ErrTime},
		{"another key", by(other, now, nil), ErrKey},
		{"another algorithm", by(testKey(t, "key.", dns.HmacSHA512), now, nil), ErrKey},
		{"another secret", by(secret, now, nil), ErrMAC},
		{"changed", changed, ErrMAC},
		{"truncated to half", shortened(16), ErrShort},
		{"truncated further", shortened(15), errMalformed},
		{"too long", shortened(33), errMalformed},
		{"without a MAC", shortened(0), errMalformed},
	} {
		r := read(t, test.message)
		if err := key.Verify(test.message, &r, nil, now); !errors.Is(err, test.want) {
			t.Errorf("%s: %v, want %v", test.name, err, test.want)
		}
		if err := key.Verify(test.message, &r, []byte("the MAC of a request"), now); err == nil {
			t.Errorf("%s: verified as an answer", test.name)
		}
	}
}

// TestErrors: an answer that tells of an error is as the library reads it (RFC 8945 §5.3.2).
func TestErrors(t *testing.T) {
	now, then := time.Now(), time.Now().Add(-time.Hour)
	key := testKey(t, "key.", dns.HmacSHA256)
	request, mac := generate(t, key, sample(t, 7, 0), "", false, then, nil)
	r := read(t, request)
	signer := key.NewSigner(r.MAC)
	signer.Fail(&r, dns.RcodeBadTime, now)
	answer := sample(t, 7, 0)
	size := len(answer) + signer.Size()
	answer = signer.Sign(answer, now)
	if len(answer) != size {
		t.Errorf("%d octets, and not %d", len(answer), size)
	}
	got := read(t, answer)
	ours := uint64(got.Other[0])<<40 | uint64(got.Other[1])<<32 | uint64(got.Other[2])<<24 | uint64(got.Other[3])<<16 | uint64(got.Other[4])<<8 | uint64(got.Other[5])
	if got.Error != dns.RcodeBadTime || got.Time != uint64(then.Unix()) || ours != uint64(now.Unix()) {
		t.Errorf("BADTIME: %+v", got)
	}
	if err := key.Verify(answer, &got, must(t, mac), then); err != nil {
		t.Errorf("BADTIME is not signed: %v", err)
	}
	if err := dns.TsigVerify(slices.Clone(answer), key.Secret(), mac, false); !errors.Is(err, dns.ErrTime) {
		t.Errorf("the library: %v", err)
	}

	refusal := NewRefusal(&r, dns.RcodeBadKey)
	answer = sample(t, 7, 0)
	size = len(answer) + refusal.Size()
	answer = refusal.Sign(answer, now)
	m := new(dns.Msg)
	if err := m.Unpack(answer); err != nil || len(answer) != size {
		t.Fatalf("BADKEY: %d octets, not %d, %v", len(answer), size, err)
	}
	if got := m.IsTsig(); got == nil || got.Error != dns.RcodeBadKey || got.MACSize != 0 || got.Hdr.Name != "key." || got.Algorithm != dns.HmacSHA256 {
		t.Errorf("BADKEY: %v", got)
	}
}

func TestFind(t *testing.T) {
	key := testKey(t, "key.", dns.HmacSHA256)
	signed, _ := generate(t, key, sample(t, 1, 3), "", false, time.Now(), nil)
	twice := key.NewSigner(nil).Sign(slices.Clone(signed), time.Now())
	elsewhere := slices.Clone(signed)
	elsewhere[9], elsewhere[11] = elsewhere[11], 0 // in the authority section
	compressed := sample(t, 1, 0)                  // whose question is its key's name
	compressedStart := len(compressed)
	compressed = append(compressed, 0xc0, headerLen)
	compressed = append(compressed, key.NewSigner(nil).Sign(make([]byte, headerLen), time.Now())[headerLen+len(key.Name):]...)
	compressed[11]++
	for _, test := range []struct {
		name    string
		message []byte
		want    bool
	}{
		{"signed", signed, true},
		{"not signed", sample(t, 1, 3), false},
		{"twice", twice, false},
		{"in another section", elsewhere, false},
		{"cut short", signed[:len(signed)-1], false},
		{"nothing", nil, false},
		{"a header", make([]byte, headerLen), false},
	} {
		if _, ok := Find(test.message); ok != test.want {
			t.Errorf("%s: %v", test.name, ok)
		}
	}
	if r, err := Read(compressed, compressedStart); err != nil || r.Key.String() != "example.org." {
		t.Errorf("a compressed name: %q, %v", r.Key, err)
	}
}

// FuzzRead reads whatever comes. What it reads as signed with the key was signed with it.
func FuzzRead(f *testing.F) {
	key := testKey(f, "key.example.", dns.HmacSHA256)
	now := time.Unix(1_800_000_000, 0)
	signed, _ := generate(f, key, sample(f, 1, 2), "", false, now, nil)
	f.Add(signed)
	f.Add(sample(f, 1, 2))
	f.Fuzz(func(t *testing.T, message []byte) {
		start, ok := Find(message)
		if !ok {
			return
		}
		r, err := Read(message, start)
		if err != nil {
			return
		}
		if err := key.Verify(message, &r, nil, now); err == nil {
			if m := new(dns.Msg); m.Unpack(message) != nil {
				return // the library reads fewer
			}
			again := key.NewSigner(nil)
			unsigned := slices.Clone(message[:start])
			unsigned[11]--
			if message[11] == 0 {
				unsigned[10]--
			}
			copy(unsigned, []byte{byte(r.OriginalID >> 8), byte(r.OriginalID)})
			if again.Sign(unsigned, now); string(again.MAC()) != string(r.MAC) && r.Time == uint64(now.Unix()) && r.Fudge == uint16(Fudge/time.Second) && r.Error == 0 && len(r.Other) == 0 {
				t.Errorf("verified, but the signature is %x", again.MAC())
			}
		}
	})
}

func BenchmarkSign(b *testing.B) {
	key := testKey(b, "key.example.", dns.HmacSHA256)
	for _, size := range []int{100, 32 << 10} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			message := make([]byte, size, size+200)
			signer := key.NewSigner(nil)
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for b.Loop() {
				signer.Sign(message, time.Now())
			}
		})
	}
}
