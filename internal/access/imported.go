package access

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/netip"
	"runtime"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/bcrypt"

	"github.com/caddy-dns/bestdns/internal/record"
)

// This file is the accounts that come from acme-dns. It keeps a hash of each password that is
// slow to compute, bcrypt, so that it is computed once per account and process, and how often wrong
// ones are computed is bounded.

// ImportedAccount is an account of acme-dns.
type ImportedAccount struct {
	Username string
	// Hash is that of its password, by bcrypt.
	Hash string
	// Label is what acme-dns calls its subdomain.
	Label string
	// Networks are where it may call from; empty: anywhere.
	Networks []netip.Prefix
}

// mostCost is the highest cost of a hash that is accepted: each step doubles the time. acme-dns
// has 10, which takes some 50 ms.
const mostCost = 12

// Check returns why the account cannot be accepted below a name, nil if it can.
func (a *ImportedAccount) Check(under record.Name) error {
	if a.Username == "" || a.Label == "" {
		return errors.New("it has no user name or no subdomain")
	}
	if _, err := under.Child(a.Label); err != nil {
		return err
	}
	if strings.Trim(a.Label, labelCharacters) != "" {
		return fmt.Errorf("its subdomain %q is not a label of lower-case letters, digits and hyphens", a.Label)
	}
	const hashLen = 60
	cost, err := bcrypt.Cost([]byte(a.Hash))
	switch {
	case err != nil:
		return errors.New("its password is not a bcrypt hash")
	case len(a.Hash) != hashLen:
		return fmt.Errorf("the bcrypt hash of its password has %d characters, and is to have %d", len(a.Hash), hashLen)
	case cost > mostCost:
		return fmt.Errorf("the bcrypt hash of its password has cost %d, and %d is the most", cost, mostCost)
	}
	return nil
}

// ErrTooManyPasswords is that so many passwords wait to be verified, or so many wrong ones were sent
// for an account, that no more are looked at for now.
var ErrTooManyPasswords = errors.New("too many passwords of accounts were sent that are wrong or not known yet")

// passwords outlive configurations: a hash stays computed, and a reload is no pardon.
var passwords = newPasswordCache(time.Now)

const (
	// mostPasswords is how many accounts are remembered.
	mostPasswords = 100_000
	// wrongPasswords is how many wrong passwords an account may be sent at once, and
	// wrongPasswordPause the time after which one more is computed.
	wrongPasswords     = 10
	wrongPasswordPause = 10 * time.Second
	// passwordsWaiting is how many wait until their hash can be computed.
	passwordsWaiting = 256
)

// passwordsAtOnce is how many hashes are computed at a time: each keeps a processor busy.
var passwordsAtOnce = max(1, runtime.GOMAXPROCS(0)/2)

// passwordCache knows which password has which hash. It is safe for concurrent use.
type passwordCache struct {
	now   func() time.Time
	has   func(hash, password string) bool // which is slow
	key   [32]byte                         // what passwords are remembered by cannot be computed elsewhere
	slots chan struct{}
	queue chan struct{} // one in it for each that waits for a slot or has one

	mu    sync.Mutex // guards what follows
	known map[string]*knownPassword
}

// knownPassword is what is known of an account, by its hash.
type knownPassword struct {
	right  [sha256.Size]byte // of the password, if found
	found  bool
	wrong  [wrongPasswords][sha256.Size]byte // the last wrong ones, which a client repeats
	next   int                               // of wrong
	paidAt time.Time                         // when all wrong ones will be forgotten
}

func newPasswordCache(now func() time.Time) *passwordCache {
	c := &passwordCache{now: now, has: hasHash, slots: make(chan struct{}, passwordsAtOnce), queue: make(chan struct{}, passwordsWaiting), known: make(map[string]*knownPassword)}
	_, _ = rand.Read(c.key[:]) // which never fails
	return c
}

func hasHash(hash, password string) bool {
	return bcrypt.CompareHashAndPassword([]byte(hash), []byte(password)) == nil
}

// accept reports whether a password has a hash. The error is [ErrTooManyPasswords], or that of ctx.
func (c *passwordCache) accept(ctx context.Context, hash, password string, mayHash func() bool) (bool, error) {
	sum := [sha256.Size]byte(derive(newMAC(c.key[:]), hash, password))
	if right, known, err := c.lookUp(hash, sum); known || err != nil {
		return right, err
	}
	if mayHash != nil && !mayHash() {
		return false, ErrTooManyPasswords
	}
	select {
	case c.queue <- struct{}{}:
		defer func() { <-c.queue }()
	default:
		return false, ErrTooManyPasswords
	}
	select {
	case c.slots <- struct{}{}:
		defer func() { <-c.slots }()
	case <-ctx.Done():
		return false, ctx.Err()
	}
	if right, known, err := c.lookUp(hash, sum); known || err != nil { // others may have sent it too
		return right, err
	}
	right := c.has(hash, password)
	c.note(hash, sum, right)
	return right, nil
}

// lookUp returns whether a password is right, if that is known; otherwise whether it may be
// computed.
func (c *passwordCache) lookUp(hash string, sum [sha256.Size]byte) (right, known bool, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	k := c.known[hash]
	if k == nil {
		return false, false, nil
	}
	if k.found { // then every other one is wrong
		return k.right == sum, true, nil
	}
	for i := range k.wrong {
		if k.wrong[i] == sum {
			return false, true, nil
		}
	}
	if k.paidAt.Sub(c.now()) > (wrongPasswords-1)*wrongPasswordPause {
		return false, false, ErrTooManyPasswords
	}
	return false, false, nil
}

func (c *passwordCache) note(hash string, sum [sha256.Size]byte, right bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	k := c.known[hash]
	if k == nil {
		if len(c.known) >= mostPasswords {
			for any := range c.known {
				delete(c.known, any)
				break
			}
		}
		k = new(knownPassword)
		c.known[hash] = k
	}
	if right {
		*k = knownPassword{right: sum, found: true}
		return
	}
	k.wrong[k.next] = sum
	k.next = (k.next + 1) % len(k.wrong)
	now := c.now()
	if k.paidAt.Before(now) {
		k.paidAt = now
	}
	k.paidAt = k.paidAt.Add(wrongPasswordPause)
}
