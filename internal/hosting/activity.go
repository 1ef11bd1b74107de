package hosting

import (
	"errors"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-dns/bestdns/internal/access"
	"github.com/caddy-dns/bestdns/internal/api"
	"github.com/caddy-dns/bestdns/internal/nameserver"
	"github.com/caddy-dns/bestdns/internal/record"
	"github.com/caddy-dns/bestdns/internal/text"
)

// Activity is what callers did, in bounded memory: one entry for each client and
// each zone of the live configurations, and the last changes. It outlives configurations, so
// that counters do not go back and clients do not look unused after a reload. It is safe for
// concurrent use.
type Activity struct {
	mu      sync.Mutex // guards what follows
	clients map[string]time.Time
	zones   map[record.Name]*ZoneActivity
	// refused counts changes that were for no hosted zone.
	refused uint64
	// overLimit counts changes that were over a limit, by LimitNames.
	overLimit [len(LimitNames)]uint64
	// denied counts requests that were not let in, by reason.
	denied  [len(DenialLabels)]uint64
	changes ring[ChangeSeen]
	denials ring[DenialSeen]
}

// ring has the last of what happened.
type ring[T any] struct {
	seen [remembered]*T
	next int // where the next one goes
}

func (r *ring[T]) add(t *T) {
	r.seen[r.next] = t
	r.next = (r.next + 1) % len(r.seen)
}

// list returns them, the newest first.
func (r *ring[T]) list() []*T {
	list := []*T{}
	for i := range r.seen {
		if t := r.seen[(r.next+len(r.seen)-1-i)%len(r.seen)]; t != nil {
			list = append(list, t)
		}
	}
	return list
}

// NewActivity returns an Activity that has seen nothing.
func NewActivity() *Activity {
	return &Activity{
		clients: make(map[string]time.Time),
		zones:   make(map[record.Name]*ZoneActivity),
	}
}

// remembered is how many of a kind are kept for people to look at.
const remembered = 100

// ZoneActivity is what happened to one zone.
type ZoneActivity struct {
	Verdicts       [len(VerdictLabels)]uint64
	ProviderErrors [len(ProviderErrorLabels)]uint64
	Took           Latency // of the changes that were made
	Waits          [len(WaitLabels)]uint64
	Waited         Latency // of changes that were answered when all name servers had them
}

// WaitEnd is how waiting for name servers ended when a change was answered.
type WaitEnd uint8

// The ends.
const (
	WaitServed  WaitEnd = iota // all have it
	WaitSilent                 // all but some that do not answer
	WaitPending                // some that answer do not have it yet
	WaitUnknown                // the name servers were not found
)

// WaitLabels are what the metrics call them.
var WaitLabels = [...]string{"served", "silent", "pending", "unknown"}

// Verdict is what became of a change.
type Verdict uint8

// The verdicts.
const (
	Changed Verdict = iota
	Refused         // because of the caller
	Failed          // because of the service or the zone's provider
)

// VerdictLabels are what the audit log and the metrics call them.
var VerdictLabels = [...]string{"changed", "refused", "failed"}

func (v Verdict) String() string { return VerdictLabels[v] }

func verdictOf(failure *Error) Verdict {
	switch {
	case failure == nil:
		return Changed
	case failure.Status >= 500 && !failure.Quiet:
		return Failed
	}
	return Refused
}

// ChangeSeen is a change as it is remembered: who, where, what, and what became of it.
// It holds no data of records.
type ChangeSeen struct {
	Time      time.Time `json:"time"`
	RequestID string    `json:"request_id"`
	Client    string    `json:"client"`
	Address   string    `json:"remote_ip,omitempty"`
	// Protocol is how it came: "api", "httpreq", "acme-dns", "dyndns2" or "rfc2136"; empty in process.
	Protocol string `json:"protocol,omitempty"`
	// Zone is the hosted zone that it was for, or the one that was asked for if there is none.
	Zone string `json:"zone"`
	Op   string `json:"op"`
	// Records are owner and type of some of them.
	Records []string `json:"records"`
	Outcome string   `json:"outcome"`
	// Reason is why it was refused or has failed, as the caller was told.
	Reason string `json:"reason,omitempty"`
	Serial uint32 `json:"serial,omitempty"`
}

// change takes note of a change. zone is the hosted one that it was for, nil if
// there is none.
func (a *Activity) change(zone *Zone, c ChangeSeen, what Verdict, took time.Duration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.changes.add(&c)
	if zone == nil {
		a.refused++
		return
	}
	z := a.zone(zone.Apex)
	z.Verdicts[what]++
	if what == Changed {
		z.Took.add(took)
	}
}

// wait takes note of how the wait for name servers ended when a change was answered.
func (a *Activity) wait(zone *Zone, end WaitEnd, took time.Duration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	z := a.zone(zone.Apex)
	z.Waits[end]++
	if end == WaitServed {
		z.Waited.add(took)
	}
}

// zone returns what happened to a zone. The caller holds the lock.
func (a *Activity) zone(apex record.Name) *ZoneActivity {
	z := a.zones[apex]
	if z == nil {
		z = new(ZoneActivity)
		a.zones[apex] = z
	}
	return z
}

// Recent returns the changes that are remembered, the newest first. They are shared
// and not to be changed.
func (a *Activity) Recent() []*ChangeSeen {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.changes.list()
}

// Counts is what was counted, as it is at one moment.
type Counts struct {
	Zones map[record.Name]ZoneActivity
	// Refused are the changes that were for no hosted zone.
	Refused   uint64
	Denied    [len(DenialLabels)]uint64
	OverLimit [len(LimitNames)]uint64
}

// Counts returns what was counted.
func (a *Activity) Counts() Counts {
	a.mu.Lock()
	defer a.mu.Unlock()
	zones := make(map[record.Name]ZoneActivity, len(a.zones))
	for apex, z := range a.zones {
		zones[apex] = *z
	}
	return Counts{Zones: zones, Refused: a.refused, Denied: a.denied, OverLimit: a.overLimit}
}

// ProviderErrorLabels are the ways in which a DNS provider fails.
var ProviderErrorLabels = [...]string{"failed", "timeout", "unreachable"}

// providerError counts the failure of a zone's provider, if the error is one.
func (a *Activity) providerError(zone *Zone, e *Error) {
	if !isProviderError(e) {
		return
	}
	how := 0
	switch e.Kind() {
	case api.ProviderTimeout:
		how = 1
	case api.Unavailable:
		how = 2
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.zone(zone.Apex).ProviderErrors[how]++
}

// Denial is why a request was not let in.
type Denial uint8

// The reasons.
const (
	NoToken Denial = iota
	WrongToken
	Throttled // after too many wrong tokens
	UnknownCertificate
	Expired
	Elsewhere // outside of the client's networks
	Busy      // a client with more under way than it may have at once
	NoRight   // a read, or a registration, that no right of the client covers
)

// DenialLabels are what the metrics call them.
var DenialLabels = [...]string{"no_token", "wrong_token", "throttled", "unknown_certificate", "expired", "network", "busy", "no_right"}

func (d Denial) String() string { return DenialLabels[d] }

// DenialSeen is a request that was not let in, as it is remembered.
type DenialSeen struct {
	Time      time.Time `json:"time"`
	RequestID string    `json:"request_id,omitempty"`
	// Client is empty if it is not known who it was from.
	Client   string `json:"client,omitempty"`
	Address  string `json:"remote_ip,omitempty"`
	Protocol string `json:"protocol,omitempty"`
	// Why is one of [DenialLabels], Reason the same in words.
	Why    string `json:"why"`
	Reason string `json:"reason"`
}

// Denied remembers a request that was not let in. How many there are is for the caller to bound.
func (a *Activity) Denied(d DenialSeen) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.denials.add(&d)
}

// Denials returns the requests that were not let in and are remembered, the newest first. They are
// shared and not to be changed.
func (a *Activity) Denials() []*DenialSeen {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.denials.list()
}

// Deny counts a request that was not let in.
func (a *Activity) Deny(why Denial) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.denied[why]++
}

// disuse is after how long a client that comes back is worth a line.
const disuse = 24 * time.Hour

// use notes that a client was let in, and returns when it was before: zero, if
// never since the process started.
func (a *Activity) use(client string, now time.Time) time.Time {
	a.mu.Lock()
	defer a.mu.Unlock()
	before := a.clients[client]
	if now.After(before) {
		a.clients[client] = now
	}
	return before
}

// LastUse returns when a client was let in, zero if never since the process started.
func (a *Activity) LastUse(client string) time.Time {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.clients[client]
}

// Remembered returns how many clients and zones are remembered.
func (a *Activity) Remembered() (clients, zones int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.clients), len(a.zones)
}

// Keep forgets the clients and zones that none of these services has.
func (a *Activity) Keep(services []*Service) {
	a.mu.Lock()
	defer a.mu.Unlock()
	maps.DeleteFunc(a.clients, func(name string, _ time.Time) bool {
		return !slices.ContainsFunc(services, func(s *Service) bool { return s.clients.ByName(name) != nil })
	})
	maps.DeleteFunc(a.zones, func(apex record.Name, _ *ZoneActivity) bool {
		return !slices.ContainsFunc(services, func(s *Service) bool { return s.hosted[apex] != nil })
	})
}

// Accept lets a client in, if it may call now and from there: its error is an *[Error]. The
// first time since the process started, and each time after a day or more, has a line in the
// log.
func (s *Service) Accept(who Caller, address netip.Addr) error {
	return s.accept(who, address, time.Now())
}

func (s *Service) accept(who Caller, address netip.Addr, now time.Time) error {
	if err := who.Client.Accepts(now, address); err != nil {
		why := Elsewhere
		if errors.Is(err, access.ErrExpired) {
			why = Expired
		}
		return Errorf(api.Unauthorized, "%w", err).NotLetIn(why, who.Client)
	}
	before := s.config.Activity.use(who.bound(), now)
	if !before.IsZero() && now.Sub(before) < disuse {
		return nil
	}
	fields := []zap.Field{
		zap.String("client", text.Visible(who.Client.Name())),
		zap.String("description", text.Visible(who.Client.Description())),
		zap.String("remote_ip", who.Address),
		zap.String("request_id", who.RequestID),
	}
	if before.IsZero() {
		s.config.Logger.Info("a client is here for the first time since this process started", fields...)
		return nil
	}
	s.config.Logger.Info("a client is back that was not here for a day or more", append(fields, zap.Time("last_used", before))...)
	return nil
}

// LimitNames are those that a refusal and the metrics have.
var LimitNames = [...]record.Limit{
	nameserver.LimitClientRecords, nameserver.LimitClientBytes, nameserver.LimitZoneRecords, nameserver.LimitZoneBytes,
	record.LimitTypes, record.LimitRecords, record.LimitBytes, nameserver.LimitChallenges, record.LimitTouched,
}

// exceed counts a change that was over a limit, if the error is that.
func (a *Activity) exceed(e *Error) {
	var over *record.LimitError
	if e == nil || !errors.As(e.Cause, &over) {
		return
	}
	if i := slices.Index(LimitNames[:], over.Limit); i >= 0 {
		a.mu.Lock()
		defer a.mu.Unlock()
		a.overLimit[i]++
	}
}
