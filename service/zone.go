package service

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"net/netip"
	"slices"
	"time"

	"github.com/caddyserver/caddy/v2"
	"golang.org/x/net/idna"

	"github.com/caddy-dns/bestdns/internal/api"
	"github.com/caddy-dns/bestdns/internal/nameserver"
	"github.com/caddy-dns/bestdns/internal/record"
)

// Zone is a zone whose records the service may change.
type Zone struct {
	// The zone's name. Internationalized names are accepted in either form.
	Name string `json:"name"`

	// The name servers of a built-in zone, at least one. They make the zone's NS
	// records, and the first is the primary in its SOA record. One whose name
	// lies in the zone needs its addresses here.
	NameServers []NameServer `json:"ns,omitempty"`

	// The TTL of records that are appended without one, the answers to challenges
	// excepted. Default: `1m`.
	TTL caddy.Duration `json:"ttl,omitempty"`

	// The TTL that the zone's DNS provider is given for TXT records at names of challenges
	// that are appended without one. A resolver that has seen one of them keeps it that long, and
	// does not see the next one at the same name. With 0, many providers use a default of
	// their own, and others refuse less than a minute. Default: `ttl`. In built-in zones
	// the TTL is always 0.
	ChallengeTTL *caddy.Duration `json:"challenge_ttl,omitempty"`

	// How long a resolver may remember that a name or a type does not exist in the zone. Of
	// names at which challenges are answered it may not at all. Built-in zones only.
	// Default: `0s`, so that an appended record is found at once by those who looked for
	// it before.
	NegativeTTL *caddy.Duration `json:"negative_ttl,omitempty"`

	// How long a record that was written under a `certificates` right stays if
	// its client never removes it. Built-in zones only. Default: `24h`.
	ChallengeLifetime caddy.Duration `json:"challenge_lifetime,omitempty"`

	// Whether the challenges of domains that are hosted elsewhere go to this
	// zone: those of a domain D to the name D below the zone, to which
	// `_acme-challenge.D` must be a CNAME. One zone at most can be marked.
	CNAMETarget bool `json:"cname_target,omitempty"`

	// How many records the zone can have, by any client, with those that the server makes;
	// 0 is no limit. Built-in zones only. Default: no limit.
	MaxRecords *int `json:"max_records,omitempty"`

	// How many bytes these records can have, in wire form and each with its owner name
	// in full; 0 is no limit. Built-in zones only. Default: no limit.
	MaxBytes *int `json:"max_bytes,omitempty"`

	// The DNS provider that hosts the zone. Without one, the built-in name
	// server does.
	ProviderRaw json.RawMessage `json:"provider,omitempty" caddy:"namespace=dns.providers inline_key=name"`

	// Made in provision.
	builtin      bool
	apex         record.Name
	nameServers  []nameserver.NameServer
	ttl          uint32 // seconds
	challengeTTL uint32 // seconds
	negativeTTL  uint32 // seconds
	records      backend
}

// NameServer is a name server of a built-in zone.
type NameServer struct {
	// The name server's own name.
	Name string `json:"name"`

	// Its addresses, where its name lies in the zone.
	Addresses []string `json:"addresses,omitempty"`
}

// backend is where the records of a zone are.
type backend interface {
	// change applies a change of a client and returns what was appended, set or
	// deleted, and the zone's serial where it is known. ctx may end before the change
	// has begun (see begun), which leaves the zone as it is; one that has begun runs to
	// its end or to its own deadline.
	change(ctx context.Context, client string, change record.Change) (result, error)
	// list returns the selected records. The client "" is the service itself.
	list(ctx context.Context, client string, s selection) (iter.Seq[entry], error)
	// check refuses what the backend could not carry.
	check(change record.Change) error
}

// result is what a change did.
type result struct {
	entries  []entry
	serial   uint32         // zero: not known
	silenced []api.Silenced // where it is known
}

// entry is a record on its way out. Its data stays text, since a provider may
// report what cannot be parsed, and one odd record must not hide the others.
type entry struct {
	owner record.Name
	typ   string
	data  string
	ttl   int64 // seconds
}

func newEntry(r record.Record) entry {
	typ, data := r.Text()
	return entry{owner: r.Name, typ: typ, data: data, ttl: int64(r.TTL)}
}

// Defaults of a zone.
const (
	defaultTTL               = time.Minute
	defaultChallengeLifetime = 24 * time.Hour
)

func (z *Zone) provision(ctx caddy.Context, repl *caddy.Replacer, app *App) error {
	z.builtin = len(z.ProviderRaw) == 0 // Caddy clears it when the module is loaded
	var err error
	if z.apex, err = parseConfigName(repl, z.Name); err != nil {
		return err
	}
	if z.apex == record.Root {
		return errors.New("the root zone cannot be hosted here")
	}
	if z.apex.FirstLabel() == "*" {
		return fmt.Errorf("a wildcard is a name within a zone: host %q, or the name above it that is a zone", z.apex.Parent())
	}
	if z.TTL == 0 {
		z.TTL = caddy.Duration(defaultTTL)
	}
	if z.ttl, err = ttlSeconds("ttl", z.TTL); err != nil {
		return err
	}
	if err := checkLimits(limit{"max_records", z.MaxRecords}, limit{"max_bytes", z.MaxBytes}); err != nil {
		return err
	}
	if !z.builtin {
		return z.provisionProvider(ctx)
	}
	if z.ChallengeLifetime == 0 {
		z.ChallengeLifetime = caddy.Duration(defaultChallengeLifetime)
	}
	if time.Duration(z.ChallengeLifetime) < time.Second {
		return fmt.Errorf("challenge_lifetime %s: at least one second", time.Duration(z.ChallengeLifetime))
	}
	if z.ChallengeTTL != nil {
		return errors.New("challenge_ttl is for zones with a DNS provider; in built-in zones the answers to challenges have a TTL of 0")
	}
	if z.NegativeTTL != nil {
		if z.negativeTTL, err = ttlSeconds("negative_ttl", *z.NegativeTTL); err != nil {
			return err
		}
	}
	z.records = builtinZone{app: app, apex: z.apex}
	return z.provisionNameServers(repl)
}

func ttlSeconds(option string, value caddy.Duration) (uint32, error) {
	ttl := time.Duration(value)
	if ttl < 0 || ttl > record.MaxTTL*time.Second || ttl%time.Second != 0 {
		return 0, fmt.Errorf("%s %s: whole seconds, at most %ds", option, ttl, record.MaxTTL)
	}
	return uint32(ttl / time.Second), nil
}

// defaultTTL returns the TTL in seconds of a record that is appended or set without one.
// What is at the name of a challenge must not be kept by a resolver, or the CA behind it
// would not see the next one there: that of a wildcard, or of a renewal.
func (z *Zone) defaultTTL(r record.Record) uint32 {
	answers := r.Type == record.TypeTXT && record.AwaitsChallenge(r.Name)
	if r.Type == record.TypeTXT && z.CNAMETarget && !answers {
		_, answers = record.ChallengeAtTarget(r.Name, z.apex)
	}
	if answers {
		return z.challengeTTL
	}
	return z.ttl
}

func (z *Zone) provisionNameServers(repl *caddy.Replacer) error {
	if len(z.NameServers) == 0 {
		return errors.New("a built-in zone needs its name servers: write \"ns ns1." + z.Name + " ADDRESS\" with the public address of this machine, or give the zone a provider")
	}
	for _, ns := range z.NameServers {
		name, err := parseConfigName(repl, ns.Name)
		if err != nil {
			return fmt.Errorf("ns %q: %w", ns.Name, err)
		}
		var addresses []netip.Addr
		for _, text := range ns.Addresses {
			if text, err = replace(repl, text); err != nil {
				return fmt.Errorf("ns %q: %w", ns.Name, err)
			}
			address, err := netip.ParseAddr(text)
			if err != nil || address.Zone() != "" {
				return fmt.Errorf("ns %q: %q is not an IP address", ns.Name, text)
			}
			addresses = append(addresses, address.Unmap())
		}
		switch inZone := name.In(z.apex); {
		case inZone && len(addresses) == 0:
			return fmt.Errorf("ns %q: the name lies in the zone, so nobody else can tell its address: write it behind the name", ns.Name)
		case !inZone && len(addresses) > 0:
			return fmt.Errorf("ns %q: the name lies outside the zone, so its address stands where that name is hosted, not here", ns.Name)
		}
		z.nameServers = append(z.nameServers, nameserver.NameServer{Name: name, Addresses: addresses})
	}
	return nil
}

func (z *Zone) nameServerConfig() nameserver.ZoneConfig {
	return nameserver.ZoneConfig{
		Name: z.apex, NameServers: z.nameServers, TTL: z.ttl, NegativeTTL: z.negativeTTL,
		ChallengeTarget: z.CNAMETarget, ChallengeLifetime: time.Duration(z.ChallengeLifetime),
	}
}

// configIDNA brings the names of a configuration into A-label form. Underscores
// are allowed: _acme-challenge.D can be a zone.
var configIDNA = idna.New(idna.MapForLookup(), idna.BidiRule(), idna.StrictDomainName(false))

// parseConfigName reads an absolute name of the configuration.
func parseConfigName(repl *caddy.Replacer, text string) (record.Name, error) {
	text, err := replace(repl, text)
	if err != nil {
		return "", err
	}
	ascii, err := toASCII(text)
	if err != nil {
		return "", err
	}
	if ascii == "" {
		return "", errors.New("the name is empty")
	}
	return record.ParseName(ascii)
}

// toASCII converts an internationalized name, and leaves others as they are.
func toASCII(name string) (string, error) {
	for i := range len(name) {
		if name[i] >= 0x80 {
			ascii, err := configIDNA.ToASCII(name)
			if err != nil {
				return "", fmt.Errorf("name %q: not an internationalized domain name: %w", name, err)
			}
			return ascii, nil
		}
	}
	return name, nil
}

// builtinZone is a zone in the built-in name server.
type builtinZone struct {
	app  *App
	apex record.Name
}

func (z builtinZone) change(ctx context.Context, client string, change record.Change) (result, error) {
	ctx, cancel := begun(ctx, time.Now())
	defer cancel()
	server, err := z.server(ctx)
	if err != nil {
		return result{}, err
	}
	var taken []api.Silenced
	if snapshot, ok := server.Snapshot(z.apex); ok && snapshot.HasWildcards() {
		shorten(snapshot, change.Records)
		taken = silenced(snapshot, change.Records)
	}
	change.Limits = z.app.nameLimits
	applied, err := server.ApplyFor(ctx, z.apex, change, z.app.account(client, z.app.hosted[z.apex]))
	if err != nil {
		return result{}, err
	}
	done := result{serial: applied.Serial, silenced: taken, entries: make([]entry, len(applied.Records))}
	for i, r := range applied.Records {
		done.entries[i] = newEntry(r)
	}
	return done, nil
}

func (z builtinZone) list(ctx context.Context, _ string, s selection) (iter.Seq[entry], error) {
	server, err := z.server(ctx)
	if err != nil {
		return nil, err
	}
	snapshot, ok := server.Snapshot(z.apex)
	if !ok {
		return nil, fmt.Errorf("zone %q: %w", z.apex, nameserver.ErrUnknownZone)
	}
	records := snapshot.Records(s.under)
	if s.exact {
		records = slices.Values(snapshot.At(s.under))
	}
	return func(yield func(entry) bool) {
		var (
			b      breather
			owner  record.Name // of the record before
			wanted bool
		)
		for r := range records {
			b.breathe()
			if r.Name != owner {
				owner, wanted = r.Name, s.wants(r.Name)
			}
			if wanted && (s.typ == 0 || s.typ == r.Type) && !yield(newEntry(r)) {
				return
			}
		}
	}, nil
}

func (builtinZone) check(record.Change) error { return nil }

// server returns the name server once it serves.
func (z builtinZone) server(ctx context.Context) (*sharedServer, error) {
	if err := z.app.waitReady(ctx); err != nil {
		return nil, notReadyError{err}
	}
	z.app.mu.Lock()
	defer z.app.mu.Unlock()
	return z.app.shared, nil
}

// notReadyError is a call that came before the name server was up and did not
// outwait it.
type notReadyError struct{ error }

func (e notReadyError) Unwrap() error { return e.error }
