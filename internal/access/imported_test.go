package access

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/crypto/bcrypt"
)

func hashOf(t testing.TB, password string) string {
	t.Helper()
	hash, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	return string(hash)
}

// TestImported: an account of acme-dns is accepted by its user name, password and subdomain together.
func TestImported(t *testing.T) {
	cs := clientsOf(t, registrarConfig(t, "auth.example.org", func(c *Config) {
		c.Accounts.Imported = []ImportedAccount{
			{Username: "anywhere", Hash: hashOf(t, "one"), Label: "a"},
			{Username: "somewhere", Hash: hashOf(t, "two"), Label: "b", Networks: prefixes("192.0.2.0/24", "::ffff:198.51.100.0/120")},
			{Username: "revoked", Hash: hashOf(t, "three"), Label: "c"},
			{Username: "revoked-by-label", Hash: hashOf(t, "four"), Label: "d"},
		}
		c.Accounts.Revoked = []string{"revoked", "d"}
	}))
	for _, test := range []struct {
		username, password, label string
		want                      bool
	}{
		{"anywhere", "one", "a", true}, {"anywhere", "two", "a", false}, {"anywhere", "one", "b", false}, {"anywhere", "", "a", false}, {"Anywhere", "one", "a", true},
		{"somewhere", "two", "b", true}, {"revoked", "three", "c", false}, {"revoked-by-label", "four", "d", false}, {"no one", "one", "a", false},
	} {
		client, account, err := cs.ByAccount(t.Context(), test.username, test.password, test.label, nil)
		if (err == nil) != test.want || err != nil && !errors.Is(err, ErrAccount) || (client != nil) != test.want {
			t.Errorf("%+v: %v, %v", test, client, err)
		}
		if client != nil && (account.Name != name(t, test.label+".auth.example.org") || client.Registrar().Name() != "registrar") {
			t.Errorf("%+v: %+v", test, account)
		}
	}
	client, _, _ := cs.ByAccount(t.Context(), "somewhere", "two", "b", nil)
	for text, want := range map[string]bool{"192.0.2.1": true, "198.51.100.1": true, "203.0.113.1": false, "2001:db8::1": false} {
		if err := client.Accepts(someDay, netip.MustParseAddr(text)); (err == nil) != want {
			t.Errorf("from %s: %v", text, err)
		}
	}
}

// countedCache is a cache that counts how many hashes it computes. The hash of the password "x" is
// "hash of x".
type countedCache struct {
	*passwordCache
	computed atomic.Int64
}

func newCountedCache() *countedCache {
	c := &countedCache{passwordCache: newPasswordCache(time.Now)}
	c.has = func(hash, password string) bool {
		c.computed.Add(1)
		time.Sleep(50 * time.Millisecond)
		return hash == "hash of "+password
	}
	return c
}

// expect sends a password and compares the outcome, and how many hashes were computed so far.
func (c *countedCache) expect(t *testing.T, account, password string, right bool, want error, computed int) {
	t.Helper()
	got, err := c.accept(t.Context(), "hash of "+account, password, nil)
	if got != right || !errors.Is(err, want) {
		t.Errorf("password %q of %q: %t, %v", password, account, got, err)
	}
	if n := int(c.computed.Load()); n != computed {
		t.Errorf("password %q of %q: %d hashes were computed, want %d", password, account, n, computed)
	}
}

// TestPasswordsAreComputedOnce: the right one is computed once, and after it no wrong one of the account is.
func TestPasswordsAreComputedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCountedCache()
		c.expect(t, "a", "wrong", false, nil, 1)
		c.expect(t, "a", "wrong", false, nil, 1)
		c.expect(t, "a", "a", true, nil, 2)
		for i := range 100 {
			c.expect(t, "a", "a", true, nil, 2)
			c.expect(t, "a", fmt.Sprint("wrong", i), false, nil, 2)
		}
		c.expect(t, "b", "a", false, nil, 3) // another account
		c.expect(t, "b", "b", true, nil, 4)
	})
}

// TestTooManyPasswords: after too many wrong ones, passwords of an account whose right one is not known yet
// are rarely computed; other accounts are not affected.
func TestTooManyPasswords(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCountedCache()
		c.expect(t, "known", "known", true, nil, 1)
		n := 1
		for i := range wrongPasswords {
			n++
			c.expect(t, "a", fmt.Sprint("wrong", i), false, nil, n)
		}
		c.expect(t, "a", "wrong", false, ErrTooManyPasswords, n)
		c.expect(t, "a", "a", false, ErrTooManyPasswords, n)
		for i := range wrongPasswords { // those that were computed are known to be wrong
			c.expect(t, "a", fmt.Sprint("wrong", i), false, nil, n)
		}
		c.expect(t, "known", "known", true, nil, n)
		c.expect(t, "b", "b", true, nil, n+1)
		n++
		time.Sleep(wrongPasswordPause)
		c.expect(t, "a", "one more", false, nil, n+1)
		n++
		c.expect(t, "a", "and another", false, ErrTooManyPasswords, n)
		time.Sleep(wrongPasswordPause)
		c.expect(t, "a", "a", true, nil, n+1)
		n++
		// Once it is known, no number of wrong ones keeps its owner out.
		for i := range 100 {
			c.expect(t, "a", fmt.Sprint("still wrong", i), false, nil, n)
		}
		c.expect(t, "a", "a", true, nil, n)
	})
}

// TestWrongPasswordsAreForgotten: wrong ones of long ago no longer count.
func TestWrongPasswordsAreForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCountedCache()
		n := 0
		for range 3 {
			for i := range wrongPasswords {
				n++
				c.expect(t, "a", fmt.Sprint("wrong", n, i), false, nil, n)
			}
			c.expect(t, "a", "one more", false, ErrTooManyPasswords, n)
			time.Sleep(wrongPasswords * wrongPasswordPause)
		}
	})
}

// TestPasswordsAtOnce: the right password sent many times at once is computed once for each slot at most,
// and of those that wait only so many do.
func TestPasswordsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCountedCache()
		var all sync.WaitGroup
		var accepted, refused atomic.Int64
		for range passwordsWaiting + 100 {
			all.Go(func() {
				switch ok, err := c.accept(context.Background(), "hash of a", "a", nil); {
				case ok:
					accepted.Add(1)
				case errors.Is(err, ErrTooManyPasswords):
					refused.Add(1)
				default:
					t.Errorf("%t, %v", ok, err)
				}
			})
		}
		all.Wait()
		if accepted.Load() != passwordsWaiting || refused.Load() != 100 {
			t.Errorf("%d were accepted, %d refused", accepted.Load(), refused.Load())
		}
		if n := c.computed.Load(); n > int64(passwordsAtOnce) {
			t.Errorf("%d hashes were computed", n)
		}
		c.expect(t, "a", "a", true, nil, int(c.computed.Load()))
		if len(c.queue)+len(c.slots) > 0 {
			t.Errorf("%d wait, %d are being computed", len(c.queue), len(c.slots))
		}
	})
}

// TestWrongPasswordsAtOnce: many different wrong ones at once are bounded like those one after the other.
func TestWrongPasswordsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCountedCache()
		var all sync.WaitGroup
		for i := range 200 {
			all.Go(func() {
				if ok, _ := c.accept(context.Background(), "hash of a", fmt.Sprint("wrong", i), nil); ok {
					t.Error("accepted")
				}
			})
		}
		all.Wait()
		if n := int(c.computed.Load()); n < wrongPasswords || n > wrongPasswords+passwordsAtOnce {
			t.Errorf("%d hashes were computed", n)
		}
	})
}

// TestPasswordsGivenUp: a caller whose context ends does not keep its place in the queue.
func TestPasswordsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCountedCache()
		for range passwordsAtOnce {
			c.slots <- struct{}{}
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if ok, err := c.accept(ctx, "hash of a", "a", nil); ok || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%t, %v", ok, err)
		}
		if len(c.queue) > 0 || c.computed.Load() > 0 {
			t.Errorf("%d wait, %d were computed", len(c.queue), c.computed.Load())
		}
	})
}

// TestMostPasswords: what is known is bounded, and what is forgotten is computed again.
func TestMostPasswords(t *testing.T) {
	const accounts = mostPasswords + 10
	c := newPasswordCache(time.Now)
	computed := 0
	c.has = func(hash, password string) bool {
		computed++
		return hash == password
	}
	accept := func(text string) {
		t.Helper()
		if ok, err := c.accept(t.Context(), text, text, nil); !ok || err != nil {
			t.Fatal(ok, err)
		}
	}
	for i := range accounts {
		accept(fmt.Sprint(i))
	}
	if len(c.known) != mostPasswords || computed != accounts {
		t.Errorf("%d are known, %d were computed", len(c.known), computed)
	}
	for i := range accounts {
		text := fmt.Sprint(i)
		if _, known := c.known[text]; !known {
			accept(text)
			break
		}
	}
	if len(c.known) != mostPasswords || computed != accounts+1 {
		t.Errorf("after one that was forgotten, %d are known, %d were computed", len(c.known), computed)
	}
}
