package service

import (
	"fmt"

	"github.com/caddy-dns/bestdns/internal/hosting"
	"github.com/caddy-dns/bestdns/internal/nameserver"
	"github.com/caddy-dns/bestdns/internal/record"
)

// Limits are how much room clients can take in the built-in zones. They protect the
// clients from each other, and are more than a user needs. What would be over one is
// refused with 409 and the limit's name, and nothing is changed. What is over one
// already, since it was lowered, stays and may shrink. 0 is no limit.
//
// The records of zones that a DNS provider hosts do not count: that provider has limits
// of its own. Neither does what `caddy bestdns import` reads, nor, for the limits of
// clients, what the modules of the same Caddy write.
type Limits struct {
	// How many records a client can have in all zones together: those that it has
	// written and that are not deleted yet, across restarts. A client's
	// `max_records` goes before it. Default: 10000.
	ClientRecords *int `json:"client_records,omitempty"`

	// How many bytes these records can have, in wire form and each with its owner name
	// in full. A client's `max_bytes` goes before it. Default: 16 MiB.
	ClientBytes *int `json:"client_bytes,omitempty"`

	// How many record types a name can have. Default: 64.
	NameTypes *int `json:"name_types,omitempty"`

	// How many bytes the records at a name can have, as an answer has them: 12 and the
	// data of each. Default: 65535, which is what a DNS message can carry.
	NameBytes *int `json:"name_bytes,omitempty"`

	// How many records of one type a name can have. Default: 1000.
	RRsetRecords *int `json:"rrset_records,omitempty"`

	// How many values of challenges one domain can have at a time, those at the names
	// with an account's label (dns-account-01) included, of all clients together.
	// Default: 100.
	DomainChallenges *int `json:"domain_challenges,omitempty"`
}

// The defaults.
const (
	defaultClientRecords    = 10_000
	defaultClientBytes      = 16 << 20
	defaultNameTypes        = 64
	defaultNameBytes        = 65_535
	defaultRRsetRecords     = 1000
	defaultDomainChallenges = 100
)

// maxTouched is how much may be at the names of one change. A change of a thousand
// names stays below it as long as they have some twenty records each, and a change that
// reaches it takes the committer a few milliseconds.
const maxTouched = 2 << 20

// limit is one setting of a configuration.
type limit struct {
	name  string
	value *int
}

// all are the settings by their names in a configuration.
func (l *Limits) all() []limit {
	return []limit{
		{"client_records", l.ClientRecords}, {"client_bytes", l.ClientBytes},
		{"name_types", l.NameTypes}, {"name_bytes", l.NameBytes}, {"rrset_records", l.RRsetRecords},
		{"domain_challenges", l.DomainChallenges},
	}
}

func checkLimits(limits ...limit) error {
	for _, l := range limits {
		if l.value != nil && *l.value < 0 {
			return fmt.Errorf("%s %d: a limit is a number from 0, which is no limit", l.name, *l.value)
		}
	}
	return nil
}

// either returns a setting, or what stands in its place.
func either(value *int, otherwise int) int {
	if value == nil {
		return otherwise
	}
	return *value
}

// provisionLimits works out what each client may have, and checks the rest.
func (a *App) provisionLimits(config *hosting.Config) error {
	if a.Limits == nil {
		a.Limits = new(Limits)
	}
	if err := checkLimits(a.Limits.all()...); err != nil {
		return fmt.Errorf("limits: %w", err)
	}
	records, bytes := either(a.Limits.ClientRecords, defaultClientRecords), either(a.Limits.ClientBytes, defaultClientBytes)
	config.Room = make(map[string]nameserver.Use, len(a.Clients))
	for _, c := range a.Clients {
		if err := checkLimits(limit{"max_records", c.MaxRecords}, limit{"max_bytes", c.MaxBytes}); err != nil {
			return fmt.Errorf("client %q: %w", c.Name, err)
		}
		config.Room[c.Name] = nameserver.Use{Records: either(c.MaxRecords, records), Bytes: either(c.MaxBytes, bytes)}
	}
	config.Limits = record.Limits{
		Types:   either(a.Limits.NameTypes, defaultNameTypes),
		Records: either(a.Limits.RRsetRecords, defaultRRsetRecords),
		Bytes:   either(a.Limits.NameBytes, defaultNameBytes),
		Touched: maxTouched,
	}
	config.DomainChallenges = either(a.Limits.DomainChallenges, defaultDomainChallenges)
	return nil
}
