package service

import (
	"net/netip"
	"sync"
	"time"

	"go.uber.org/zap"
	"golang.org/x/time/rate"

	"github.com/caddy-dns/bestdns/internal/access"
	"github.com/caddy-dns/bestdns/internal/api"
	"github.com/caddy-dns/bestdns/internal/hosting"
	"github.com/caddy-dns/bestdns/internal/text"
)

// Requests that are not let in, and reads that are refused, have a line in the log and a row on the
// page, under the request id that the caller is told. (Refused changes have their audit line.) Who sends
// them decides how many there are, so both are bounded: for each client by itself; for strangers by
// network, and in all.

// denialBounds bound what is logged of strangers.
type denialBounds struct {
	networks *throttle  // by TCP, where an address is that of the sender
	tcp, udp *lineLimit // by UDP, anyone can be named as the sender
}

func newDenialBounds() denialBounds {
	return denialBounds{newThrottle(5, time.Minute), newLineLimit(20, 3*time.Second), newLineLimit(20, 3*time.Second)}
}

// strangers outlives configurations.
var strangers = newDenialBounds()

// newClientLines bounds what is logged of one client.
func newClientLines() *lineLimit { return newLineLimit(5, time.Minute) }

// lineLimit bounds how many lines of a kind are in the log.
type lineLimit struct {
	lines *rate.Limiter

	mu   sync.Mutex
	held int
}

func newLineLimit(burst int, interval time.Duration) *lineLimit {
	return &lineLimit{lines: rate.NewLimiter(rate.Every(interval), burst)}
}

// hold counts a line that is not logged.
func (l *lineLimit) hold() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.held++
}

// next reports whether a line is to be logged, and how many were not before it.
func (l *lineLimit) next(now time.Time) (held int, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.lines.AllowN(now, 1) {
		l.held++
		return 0, false
	}
	held, l.held = l.held, 0
	return held, true
}

// deny counts a request that was not let in, if the error says that it is one, logs it and has the page
// show it.
func (a *App) deny(who hosting.Caller, err error) { a.denyBy(who, err, false) }

// denyBy is deny. spoofable is set if the address of the caller may be made up.
func (a *App) denyBy(who hosting.Caller, err error, spoofable bool) {
	e := hosting.AsError(err, "")
	if e.Denied == nil {
		return
	}
	activity.Deny(e.Denied.Why)
	if e.Denied.Client != nil {
		who.Client = e.Denied.Client
	}
	held, ok := a.denialLine(who, spoofable)
	if !ok {
		return
	}
	seen := hosting.DenialSeen{
		Time: time.Now(), RequestID: who.RequestID, Address: who.Address, Protocol: who.Protocol,
		Why: e.Denied.Why.String(), Reason: e.Detail,
	}
	if who.Client != nil {
		seen.Client = who.Client.Name()
	}
	activity.Denied(seen)
	a.logger.Warn("a request was refused",
		zap.String("client", text.Visible(seen.Client)), zap.String("remote_ip", seen.Address), zap.String("request_id", seen.RequestID),
		zap.String("protocol", seen.Protocol), zap.String("why", seen.Why), zap.String("reason", seen.Reason),
		zap.Int("more_since_the_last_line", held))
}

// denialLine reports whether there is to be a line about a caller.
func (a *App) denialLine(who hosting.Caller, spoofable bool) (held int, ok bool) {
	now := time.Now()
	switch {
	case who.Client != nil && a.gates[who.Client.Registrar()] != nil:
		return a.gates[who.Client.Registrar()].denials.next(now)
	case spoofable:
		return strangers.udp.next(now)
	case strangers.networks.wait(addressOf(who), now) > 0:
		strangers.tcp.hold()
		return 0, false
	}
	return strangers.tcp.next(now)
}

// notAllowed makes of the error about a read one that is noted, if it is that the client has no right.
func notAllowed(err error, client *access.Client) error {
	if e := hosting.AsError(err, ""); client != nil && e.Denied == nil && (e.Kind() == api.Forbidden || e.Kind() == api.ZoneNotFound) {
		return e.NotLetIn(hosting.NoRight, client)
	}
	return err
}

// stranger is the caller of a DNS message whose signer is not known.
func stranger(from netip.Addr) hosting.Caller {
	return hosting.Caller{Address: from.String(), Protocol: "rfc2136"}
}
