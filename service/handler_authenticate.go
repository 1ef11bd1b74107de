package service

import (
	"crypto/sha256"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/caddy-dns/bestdns/internal/access"
	"github.com/caddy-dns/bestdns/internal/api"
	"github.com/caddy-dns/bestdns/internal/hosting"
)

// authenticate returns the client that a request comes from: the user that an
// earlier handler has authenticated, the owner of a token, or that of a TLS client
// certificate.
func (a *App) authenticate(r *http.Request, who hosting.Caller) (*access.Client, error) {
	address := addressOf(who)
	// The user that a handler before this one has authenticated. It is not the name in a
	// Basic authentication of ours, which no one has checked.
	who.Client = a.hosting.Clients().ByUser(placeholder(r, "http.auth.user.id"))
	if who.Client == nil {
		var err error
		if who.Client, err = a.byTokenOrCertificate(r, address); err != nil {
			return nil, err
		}
	}
	return who.Client, a.hosting.Accept(who, address)
}

// addressOf returns the address that a caller is judged by.
func addressOf(who hosting.Caller) netip.Addr {
	address, _ := netip.ParseAddr(who.Address)
	return address.Unmap().WithZone("")
}

func (a *App) byTokenOrCertificate(r *http.Request, address netip.Addr) (*access.Client, error) {
	if len(r.Header.Values("Authorization")) > 1 {
		// A proxy before this server may have looked at the other one.
		return nil, hosting.Errorf(api.Unauthorized, "there are several Authorization headers: send one token").NotLetIn(hosting.WrongToken, nil)
	}
	if token, ok := tokenOf(r); ok {
		// The look-up goes by the digest of all of the token, so its time tells
		// nothing about any part of one.
		if client := a.hosting.Clients().ByDigest(access.DigestOf(token)); client != nil {
			return client, nil
		}
		return nil, wrongToken(token, address)
	}
	if r.TLS != nil && len(r.TLS.PeerCertificates) > 0 {
		if client := a.hosting.Clients().ByCertificate(sha256.Sum256(r.TLS.PeerCertificates[0].Raw)); client != nil {
			return client, nil
		}
		return nil, hosting.Errorf(api.Unauthorized, "no token, and no client of this service is known by your TLS client certificate").NotLetIn(hosting.UnknownCertificate, nil)
	}
	return nil, hosting.Errorf(api.Unauthorized, "no token: send it as \"Authorization: Bearer TOKEN\", or as the password of Basic authentication").NotLetIn(hosting.NoToken, nil)
}

// tokenOf returns what a request has as its token.
func tokenOf(r *http.Request) (string, bool) {
	if _, password, ok := r.BasicAuth(); ok {
		return password, password != ""
	}
	const scheme = "bearer "
	header := r.Header.Get("Authorization")
	if len(header) <= len(scheme) || !strings.EqualFold(header[:len(scheme)], scheme) {
		return "", false
	}
	return strings.TrimSpace(header[len(scheme):]), true
}

// wrongToken says no, and after too many from one place says wait. A right token
// is never throttled: one who guesses must not lock out the neighbours.
func wrongToken(token string, address netip.Addr) error {
	if wait := wrongTokens.wait(address, time.Now()); wait > 0 {
		p := hosting.Errorf(api.TooManyRequests, "too many wrong tokens from your address; a right one is accepted all the while")
		p.RetryAfter = wait
		return p.NotLetIn(hosting.Throttled, nil)
	}
	if err := api.CheckToken(token); err != nil {
		return hosting.Errorf(api.Unauthorized, "the token is not accepted: %w", err).NotLetIn(hosting.WrongToken, nil)
	}
	return hosting.Errorf(api.Unauthorized, "the token is not accepted: no client of this service has it").NotLetIn(hosting.WrongToken, nil)
}

// Throttles outlive configurations: a reload is no pardon.
var (
	// wrongTokens are those that one network may present.
	wrongTokens = newThrottle(20, 3*time.Second)
	// slowHashes are the passwords of accounts that are computed for one network. A right one
	// is computed once.
	slowHashes = newThrottle(100, time.Second)
)

// throttledNetworks is how many networks are remembered.
const throttledNetworks = 4096

// throttle counts what networks do, in bounded memory.
type throttle struct {
	burst    int           // that a network may do at once
	interval time.Duration // after which it may do one more

	mu       sync.Mutex
	limiters map[netip.Prefix]*rate.Limiter
}

func newThrottle(burst int, interval time.Duration) *throttle {
	return &throttle{burst: burst, interval: interval, limiters: make(map[netip.Prefix]*rate.Limiter)}
}

// wait returns zero when the network of an address may do it once more, and else how long until it
// may.
func (t *throttle) wait(address netip.Addr, now time.Time) time.Duration {
	network := networkOf(address)
	t.mu.Lock()
	defer t.mu.Unlock()
	limiter := t.limiters[network]
	if limiter == nil {
		if len(t.limiters) >= throttledNetworks {
			t.forget(now)
		}
		limiter = rate.NewLimiter(rate.Every(t.interval), t.burst)
		t.limiters[network] = limiter
	}
	if limiter.AllowN(now, 1) {
		return 0
	}
	return t.interval
}

// forget makes room: those that have recovered go, and if none has, any one.
func (t *throttle) forget(now time.Time) {
	for network, limiter := range t.limiters {
		if limiter.TokensAt(now) >= float64(t.burst) {
			delete(t.limiters, network)
		}
	}
	for network := range t.limiters {
		if len(t.limiters) < throttledNetworks {
			return
		}
		delete(t.limiters, network)
	}
}

// networkOf returns what one party can be expected to hold: an IPv4 address, or
// the /64 of an IPv6 one.
func networkOf(address netip.Addr) netip.Prefix {
	bits := 64
	if address.Is4() {
		bits = 32
	}
	network, _ := address.Prefix(bits)
	return network
}
