package access

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"iter"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/caddy-dns/bestdns/internal/record"
	"github.com/caddy-dns/bestdns/internal/tsig"
)

// Digest is the SHA-256 of a whole token, all that the service keeps of it. (256
// random bits need neither salt nor a slow hash.)
type Digest [sha256.Size]byte

// DigestOf returns the digest of a token.
func DigestOf(token string) Digest { return sha256.Sum256([]byte(token)) }

const (
	digestPrefix = "sha256:"
	tokenPrefix  = "bestdns_"
)

// ParseDigest reads the form in which a configuration holds a digest: "sha256:"
// and 64 hexadecimal digits. Its errors never hold s, which may be a secret by
// mistake.
func ParseDigest(s string) (Digest, error) {
	if strings.HasPrefix(s, tokenPrefix) {
		return Digest{}, errors.New("this is a token itself: a secret that must not be in the configuration; put the sha256:… of it here, and replace the token, for it has been written down")
	}
	var d Digest
	digits, ok := strings.CutPrefix(s, digestPrefix)
	if !ok || len(digits) != hex.EncodedLen(len(d)) {
		return Digest{}, fmt.Errorf("a hash is %q and %d hexadecimal digits: that of a token as \"caddy bestdns token\" prints it, that of a TLS client certificate over its DER form", digestPrefix, hex.EncodedLen(len(d)))
	}
	if _, err := hex.Decode(d[:], []byte(digits)); err != nil {
		return Digest{}, fmt.Errorf("a hash is %q and %d hexadecimal digits; there is another character among them", digestPrefix, hex.EncodedLen(len(d)))
	}
	return d, nil
}

// String returns the form that ParseDigest reads.
func (d Digest) String() string { return digestPrefix + hex.EncodeToString(d[:]) }

// Config is a client as the configuration describes it.
type Config struct {
	// Name is what logs call the client. It must be the only one of that name.
	Name string
	// Description is for people: whose client it is, what it is for. May be empty.
	Description string
	// Digests are those of its tokens, two while a token is changed.
	Digests []Digest
	// Certificates are the SHA-256 of the TLS client certificates by which it is
	// known, in DER.
	Certificates []Digest
	// Users are the names by which an earlier authentication handler knows it.
	Users []string
	// Keys are the TSIG keys by which DNS messages of the client are known (RFC 8945).
	Keys []tsig.Key
	// Accounts are those that it has registered.
	Accounts Accounts
	// Rules are its rights.
	Rules []Rule
	// Networks are where it may call from. Empty: anywhere.
	Networks []netip.Prefix
	// Expires is the first instant at which it is no longer accepted. Zero: it
	// does not expire.
	Expires time.Time
}

// Clients are the clients of one configuration, found by what they are known by.
type Clients struct {
	inOrder       []*Client
	byName        map[string]*Client
	byDigest      map[Digest]*Client
	byCertificate map[Digest]*Client
	byUser        map[string]*Client
	byKey         map[record.Name]*Client
	keys          map[record.Name]tsig.Key
	registrars    []*accounts
}

// New makes the clients of a configuration in which the given zones are hosted.
// cnameTarget is the one of them that takes the challenges of domains hosted
// elsewhere, "" if none does.
//
// Two clients may share neither a name nor anything else by which a caller is known, and
// each client has to be known by something.
func New(zones record.Zones, cnameTarget record.Name, configs []Config) (*Clients, error) {
	if cnameTarget != "" && !zones.Has(cnameTarget) {
		return nil, fmt.Errorf("the CNAME target %q is not a hosted zone", cnameTarget)
	}
	h := newHosting(maps.Clone(zones), cnameTarget)
	cs := &Clients{
		byName:        make(map[string]*Client, len(configs)),
		byDigest:      make(map[Digest]*Client, len(configs)),
		byCertificate: make(map[Digest]*Client),
		byUser:        make(map[string]*Client),
		byKey:         make(map[record.Name]*Client),
		keys:          make(map[record.Name]tsig.Key),
	}
	for _, config := range configs {
		if cs.ByName(config.Name) != nil {
			return nil, fmt.Errorf("client %q: duplicate name", config.Name)
		}
		c, err := newClient(h, config)
		if err != nil {
			return nil, fmt.Errorf("client %q: %w", config.Name, err)
		}
		cs.inOrder = append(cs.inOrder, c)
		cs.byName[c.name] = c
		if err := cs.know(c, config); err != nil {
			return nil, fmt.Errorf("client %q: %w", config.Name, err)
		}
		if c.accounts != nil {
			cs.registrars = append(cs.registrars, c.accounts)
		}
	}
	return cs, cs.checkRevoked()
}

// know notes by what a client is known.
func (cs *Clients) know(c *Client, config Config) error {
	for _, d := range config.Digests {
		if err := enter(cs.byDigest, d, c, "token hash"); err != nil {
			return err
		}
	}
	for _, d := range config.Certificates {
		if err := enter(cs.byCertificate, d, c, "TLS client certificate hash"); err != nil {
			return err
		}
	}
	for _, user := range config.Users {
		if user == "" {
			return errors.New("a user's name is empty")
		}
		if err := enter(cs.byUser, user, c, "user"); err != nil {
			return err
		}
	}
	for _, key := range config.Keys {
		if err := enter(cs.byKey, key.Name, c, "TSIG key"); err != nil {
			return err
		}
		cs.keys[key.Name] = key
	}
	return nil
}

// enter registers a client under a key that no other client has.
func enter[K comparable](clients map[K]*Client, key K, c *Client, what string) error {
	if other := clients[key]; other == c {
		return fmt.Errorf("duplicate %s %v", what, key)
	} else if other != nil {
		return fmt.Errorf("client %q has the %s %v too; each client needs one of its own", other.name, what, key)
	}
	clients[key] = c
	return nil
}

func newClient(h *hosting, config Config) (*Client, error) {
	if len(config.Digests)+len(config.Certificates)+len(config.Users)+len(config.Keys)+len(config.Accounts.Imported) == 0 {
		return nil, fmt.Errorf("it has no token, TLS client certificate, TSIG key or user to be known by; make a token with \"caddy bestdns token %s\" and put its hash there", config.Name)
	}
	for _, rule := range config.Rules {
		if err := rule.check(); err != nil {
			return nil, fmt.Errorf("right %q: %w", rule, err)
		}
	}
	c := &Client{
		name:        config.Name,
		description: config.Description,
		rules:       cloneRules(config.Rules),
		expires:     config.Expires,
		rights:      h.compile(config.Rules),
		hasKey:      len(config.Keys) > 0,
	}
	if n := countRules(config.Rules, Register); n > 1 {
		return nil, fmt.Errorf("it has %d rights to register accounts, and one is the most: make a client for each name", n)
	}
	var err error
	if c.accounts, err = newAccounts(c, config.Accounts); err != nil {
		return nil, err
	}
	for _, p := range config.Networks {
		if !p.IsValid() {
			return nil, fmt.Errorf("network %s: not an address and a prefix length", p)
		}
		c.networks = append(c.networks, unmapped(p))
	}
	return c, nil
}

func countRules(rules []Rule, verb Verb) (n int) {
	for _, rule := range rules {
		if rule.Verb == verb {
			n++
		}
	}
	return n
}

// unmapped returns the IPv4 network that an IPv6 one of mapped addresses means,
// since addresses are compared unmapped. Any other network it only clears of
// bits after the prefix.
func unmapped(p netip.Prefix) netip.Prefix {
	const mappedBits = 96
	if p.Addr().Is4In6() && p.Bits() >= mappedBits {
		p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-mappedBits)
	}
	return p.Masked()
}

// ByDigest returns the client that has the token of that digest, nil if none
// has. (A plain look-up: an attacker that could measure how much of a digest
// agrees would learn nothing about the token.)
func (cs *Clients) ByDigest(d Digest) *Client { return cs.byDigest[d] }

// ByCertificate returns the client that is known by the TLS client certificate of
// that SHA-256, nil if none is. That the caller has the certificate's key is for the
// handshake to prove.
func (cs *Clients) ByCertificate(d Digest) *Client { return cs.byCertificate[d] }

// ByUser returns the client that is known by the name of a user, nil if none is.
func (cs *Clients) ByUser(name string) *Client { return cs.byUser[name] }

// ByKey returns the client that is known by the TSIG key of that name, and the key; nil if none is.
// That a message is signed with it is for the caller to verify.
func (cs *Clients) ByKey(name record.Name) (*Client, tsig.Key) { return cs.byKey[name], cs.keys[name] }

// ByName returns the client of that name, nil if there is none.
func (cs *Clients) ByName(name string) *Client { return cs.byName[name] }

// All returns the clients in the order of the configuration.
func (cs *Clients) All() iter.Seq[*Client] { return slices.Values(cs.inOrder) }

// Client may call the service.
type Client struct {
	name        string
	description string
	rules       []Rule
	networks    []netip.Prefix
	expires     time.Time
	rights      rights
	hasKey      bool
	accounts    *accounts // that it has registered, nil if it may not
	registrar   *Client   // of an account
}

// LocalName is the name of the client that [Local] returns.
const LocalName = "(in process)"

// Local returns the caller within the same process, which needs no token: it has
// every right in the hosted zones, and certificates for every domain. (It cannot
// change an SOA record either.) Its rules are not listed.
func Local(zones record.Zones, cnameTarget record.Name) *Client {
	return &Client{
		name:   LocalName,
		rights: rights{hosting: newHosting(maps.Clone(zones), cnameTarget), everything: true},
	}
}

// Reasons for which a client's token is not accepted.
var (
	// ErrExpired: the client has expired.
	ErrExpired = errors.New("has expired")
	// ErrNetwork: the call came from outside the client's networks.
	ErrNetwork = errors.New("is not accepted from this address")
)

// RenewAdvice is what to do about a client that has expired or soon will.
const RenewAdvice = `set a later day in its "expires", and reload, or have "caddy bestdns renew" do both; the token stays the same`

// Accepts reports whether the client may call at that time, from that address: nil
// if so, else [ErrExpired] or [ErrNetwork], wrapped with the details. An IPv4
// address mapped into IPv6 counts as the IPv4 address that it is, and an IPv6
// zone does not count.
func (c *Client) Accepts(now time.Time, addr netip.Addr) error {
	if !c.expires.IsZero() && !now.Before(c.expires) {
		return fmt.Errorf("client %q %w: it was accepted until %s; %s",
			c.name, ErrExpired, c.expires.UTC().Format(time.RFC3339), RenewAdvice)
	}
	if len(c.networks) == 0 {
		return nil
	}
	addr = addr.Unmap().WithZone("")
	for _, p := range c.networks {
		if p.Contains(addr) {
			return nil
		}
	}
	return fmt.Errorf("client %q %w: %s is in none of the networks of its client_ip", c.name, ErrNetwork, addr)
}

// Name returns the client's name.
func (c *Client) Name() string { return c.name }

// Description returns the configuration's text for people about the client; it may be
// empty.
func (c *Client) Description() string { return c.description }

// HasKey reports whether the client is known by a TSIG key.
func (c *Client) HasKey() bool { return c.hasKey }

// Certifies returns the domains of the client's rights to certificates, in the order of the
// configuration.
func (c *Client) Certifies() iter.Seq[record.Name] {
	return func(yield func(record.Name) bool) {
		for _, rule := range c.rules {
			if rule.Verb == Certificates && !yield(rule.Name) {
				return
			}
		}
	}
}

// Rules returns the client's rights in the order of the configuration.
func (c *Client) Rules() []Rule { return cloneRules(c.rules) }

func cloneRules(rules []Rule) []Rule {
	rules = slices.Clone(rules)
	for i := range rules {
		rules[i].Types = slices.Clone(rules[i].Types)
	}
	return rules
}

// Networks returns where the client may call from; empty: anywhere.
func (c *Client) Networks() []netip.Prefix { return slices.Clone(c.networks) }

// Expires returns the first instant at which the client is no longer accepted;
// zero: it does not expire.
func (c *Client) Expires() time.Time { return c.expires }

// IdleRules returns those rules that give no right anywhere, because what they
// name is in no hosted zone and, for certificates, there is no zone for CNAME
// targets either. Most likely a name is mistyped or a zone is missing.
func (c *Client) IdleRules() []Rule {
	var idle []Rule
	for _, rule := range c.rules {
		if k, _ := rule.Verb.kind(); k.zones != nil && len(k.zones(c.rights.hosting, rule)) == 0 {
			idle = append(idle, rule)
		}
	}
	return idle
}
