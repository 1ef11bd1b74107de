package service

import (
	"fmt"

	"github.com/caddy-dns/bestdns/internal/hosting"
	"github.com/caddy-dns/bestdns/internal/nameserver"
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

// maxTouched is how much may be at the names of one change. A change of a thousand
// names stays below it as long as they have some twenty records each, and a change that
// reaches it takes the committer a few milliseconds.
const maxTouched = 2 << 20

// limit is a setting that bounds something: a number from 0, which is no limit.
type limit struct {
	name      string
	value     *int
	otherwise int // without a value
	result    *int
}

// readLimits checks limits and works out their results.
func readLimits(limits ...limit) error {
	for _, l := range limits {
		*l.result = l.otherwise
		if l.value == nil {
			continue
		}
		if *l.value < 0 {
			return fmt.Errorf("%s %d: a limit is a number from 0, which is no limit", l.name, *l.value)
		}
		*l.result = *l.value
	}
	return nil
}

// provisionLimits works out what each client may have, and what each change must keep to.
func (a *App) provisionLimits(config *hosting.Config) error {
	if a.Limits == nil {
		a.Limits = new(Limits)
	}
	var usual nameserver.Use
	config.Limits.Touched = maxTouched
	if err := readLimits(
		limit{"client_records", a.Limits.ClientRecords, 10_000, &usual.Records},
		limit{"client_bytes", a.Limits.ClientBytes, 16 << 20, &usual.Bytes},
		limit{"name_types", a.Limits.NameTypes, 64, &config.Limits.Types},
		limit{"name_bytes", a.Limits.NameBytes, 65_535, &config.Limits.Bytes},
		limit{"rrset_records", a.Limits.RRsetRecords, 1000, &config.Limits.Records},
		limit{"domain_challenges", a.Limits.DomainChallenges, 100, &config.DomainChallenges},
	); err != nil {
		return fmt.Errorf("limits: %w", err)
	}
	config.Room = make(map[string]nameserver.Use, len(a.Clients))
	for _, c := range a.Clients {
		var room nameserver.Use
		if err := readLimits(
			limit{"max_records", c.MaxRecords, usual.Records, &room.Records},
			limit{"max_bytes", c.MaxBytes, usual.Bytes, &room.Bytes},
		); err != nil {
			return fmt.Errorf("client %q: %w", c.Name, err)
		}
		config.Room[c.Name] = room
	}
	return nil
}
