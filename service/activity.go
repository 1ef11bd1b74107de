package service

import (
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-dns/bestdns/internal/access"
	"github.com/caddy-dns/bestdns/internal/api"
	"github.com/caddy-dns/bestdns/internal/record"
	"github.com/caddy-dns/bestdns/internal/text"
)

// seen is what this process has seen its callers do. It outlives configurations, so
// that counters do not go back and clients do not look unused after a reload.
var seen = newActivity()

// activity is what callers did, in bounded memory: one entry for each client and
// each zone of the live configurations, and the last changes.
type activity struct {
	mu      sync.Mutex // guards what follows
	clients map[string]time.Time
	zones   map[record.Name]*zoneActivity
	// refused counts changes that were for no hosted zone.
	refused uint64
	// overLimit counts changes that were over a limit, by limitNames.
	overLimit [len(limitNames)]uint64
	// denied counts requests that were not let in, by reason.
	denied [len(denialLabels)]uint64
	// changes is a ring: next is where the next one goes.
	changes [rememberedChanges]*changeSeen
	next    int
}

func newActivity() *activity {
	return &activity{
		clients: make(map[string]time.Time),
		zones:   make(map[record.Name]*zoneActivity),
	}
}

// exceed counts a change that was over a limit, if the problem is that.
func (a *activity) exceed(p *problem) {
	i := limitOf(p)
	if i < 0 {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.overLimit[i]++
}

// rememberedChanges is how many changes are kept for people to look at.
const rememberedChanges = 100

// zoneActivity is what happened to one zone.
type zoneActivity struct {
	outcomes       [len(outcomeLabels)]uint64
	providerErrors [len(providerErrorLabels)]uint64
	took           latency // of the changes that were made
}

// outcome is what became of a change.
type outcome uint8

const (
	changed outcome = iota
	refused         // for a reason that lies with the caller
	failed          // for one that lies with the service or the zone's provider
)

// outcomeLabels are what the audit log and the metrics call them.
var outcomeLabels = [...]string{"changed", "refused", "failed"}

func (o outcome) String() string { return outcomeLabels[o] }

func outcomeOf(failure *problem) outcome {
	switch {
	case failure == nil:
		return changed
	case failure.Status < 500, failure.quiet:
		return refused
	}
	return failed
}

// changeSeen is a change as it is remembered: who, where, what, and what became of it.
// It holds no data of records.
type changeSeen struct {
	Time      time.Time `json:"time"`
	RequestID string    `json:"request_id"`
	Client    string    `json:"client"`
	Address   string    `json:"remote_ip,omitempty"`
	Zone      string    `json:"zone"`
	// Apex is the hosted zone that it was for, "" if there is none; Zone then is the one
	// that was asked for.
	Apex record.Name `json:"-"`
	Op   string      `json:"op"`
	// Records are owner and type of some of them.
	Records []string `json:"records"`
	Outcome string   `json:"outcome"`
	// Reason is why it was refused or has failed, as the caller was told.
	Reason string `json:"reason,omitempty"`
	Serial uint32 `json:"serial,omitempty"`
}

// change takes note of a change. zone is the hosted one that it was for, nil if
// there is none.
func (a *activity) change(zone *Zone, c changeSeen, what outcome, took time.Duration) {
	c.Outcome = what.String()
	if zone != nil {
		c.Apex = zone.apex
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.changes[a.next] = &c
	a.next = (a.next + 1) % len(a.changes)
	if zone == nil {
		a.refused++
		return
	}
	z := a.zone(zone.apex)
	z.outcomes[what]++
	if what == changed {
		z.took.add(took)
	}
}

// zone returns what happened to a zone. The caller holds the lock.
func (a *activity) zone(apex record.Name) *zoneActivity {
	z := a.zones[apex]
	if z == nil {
		z = new(zoneActivity)
		a.zones[apex] = z
	}
	return z
}

// recent returns the changes that are remembered, the newest first. They are shared
// and not to be changed.
func (a *activity) recent() []*changeSeen {
	a.mu.Lock()
	defer a.mu.Unlock()
	list := []*changeSeen{}
	for i := range a.changes {
		if c := a.changes[(a.next+len(a.changes)-1-i)%len(a.changes)]; c != nil {
			list = append(list, c)
		}
	}
	return list
}

// counted is what was counted, as it is at one moment.
type counted struct {
	zones   map[record.Name]zoneActivity
	refused uint64
	denied  [len(denialLabels)]uint64

	overLimit [len(limitNames)]uint64
}

// counts returns what was counted.
func (a *activity) counts() counted {
	a.mu.Lock()
	defer a.mu.Unlock()
	zones := make(map[record.Name]zoneActivity, len(a.zones))
	for apex, z := range a.zones {
		zones[apex] = *z
	}
	return counted{zones: zones, refused: a.refused, denied: a.denied, overLimit: a.overLimit}
}

// providerErrorLabels are the ways in which a DNS provider fails.
var providerErrorLabels = [...]string{"failed", "timeout", "unreachable"}

// providerError counts the failure of a zone's provider, if the problem is one.
func (a *activity) providerError(zone *Zone, p *problem) {
	if !isProviderError(p) {
		return
	}
	how := 0
	switch p.Kind() {
	case api.ProviderTimeout:
		how = 1
	case api.Unavailable:
		how = 2
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.zone(zone.apex).providerErrors[how]++
}

// denial is why a request was not let in.
type denial uint8

const (
	noToken denial = iota
	wrongTokenGiven
	tooManyWrongTokens
	unknownCertificate
	clientExpired
	clientElsewhere // outside of its networks
	clientBusy      // with more under way than it may have at once
)

// denialLabels are what the metrics call them.
var denialLabels = [...]string{"no_token", "wrong_token", "throttled", "unknown_certificate", "expired", "network", "busy"}

// deny counts a request that was not let in.
func (a *activity) deny(why denial) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.denied[why]++
}

// disuse is after how long a client that comes back is worth a line.
const disuse = 24 * time.Hour

// use notes that a client was let in, and returns when it was before: zero, if
// never since the process started.
func (a *activity) use(client string, now time.Time) time.Time {
	a.mu.Lock()
	defer a.mu.Unlock()
	before := a.clients[client]
	if now.After(before) {
		a.clients[client] = now
	}
	return before
}

// lastUse returns when a client was let in, zero if never since the process started.
func (a *activity) lastUse(client string) time.Time {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.clients[client]
}

// keep forgets the clients and zones that none of these apps has.
func (a *activity) keep(apps []*App) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for name := range a.clients {
		if !slices.ContainsFunc(apps, func(app *App) bool { return app.clients.ByName(name) != nil }) {
			delete(a.clients, name)
		}
	}
	for apex := range a.zones {
		if !slices.ContainsFunc(apps, func(app *App) bool { return app.hosted[apex] != nil }) {
			delete(a.zones, apex)
		}
	}
}

// noteUse notes that a client was let in, and logs the first time since the process
// started and each time after a day or more.
func (a *App) noteUse(client *access.Client, who caller, now time.Time) {
	before := seen.use(client.Name(), now)
	if !before.IsZero() && now.Sub(before) < disuse {
		return
	}
	fields := []zap.Field{
		zap.String("client", text.Visible(client.Name())),
		zap.String("description", text.Visible(client.Description())),
		zap.String("remote_ip", who.address),
		zap.String("request_id", who.requestID),
	}
	if before.IsZero() {
		a.logger.Info("a client is here for the first time since this process started", fields...)
		return
	}
	a.logger.Info("a client is back that was not here for a day or more", append(fields, zap.Time("last_used", before))...)
}
