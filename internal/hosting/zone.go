package hosting

import (
	"context"
	"iter"
	"slices"
	"time"

	"github.com/libdns/libdns"

	"github.com/caddy-dns/bestdns/internal/access"
	"github.com/caddy-dns/bestdns/internal/api"
	"github.com/caddy-dns/bestdns/internal/nameserver"
	"github.com/caddy-dns/bestdns/internal/nsquery"
	"github.com/caddy-dns/bestdns/internal/record"
	"github.com/caddy-dns/bestdns/internal/rfc2136"
)

// Zone is a hosted zone. It is not changed once it is given to [New].
type Zone struct {
	Apex record.Name
	// Name is how the configuration writes the apex, for errors about it.
	Name string
	// TTL is that of records that are written without one, ChallengeTTL that of answers to
	// challenges. In seconds.
	TTL, ChallengeTTL uint32
	// CNAMETarget is set for the zone to which challenges of domains hosted elsewhere go.
	CNAMETarget bool
	// accounts are names in the zone below which clients may register accounts. [New] sets it.
	accounts []record.Name
	// ChallengeLifetime is how long a record stays that was written under a right to
	// certificates. With a DNS provider it needs a [Config.Storage].
	ChallengeLifetime time.Duration

	// Wait is how long changes wait by default until name servers serve them; zero: they do not,
	// whatever the caller says.
	Wait time.Duration
	// Servers are the name servers that are waited for. Without any, they are found by the zone's
	// NS records; for a built-in zone no one is then waited for.
	Servers []nsquery.Server
	// Resolvers find the name servers, as "host:port"; without any, the system's do.
	Resolvers []string

	// Of a built-in zone:

	NameServers []nameserver.NameServer
	// Transfers are its secondaries.
	Transfers []nameserver.Transfer
	// NegativeTTL in seconds is how long resolvers may keep that something does not exist.
	NegativeTTL uint32
	// MaxRecords and MaxBytes are how much may be in the zone; zero is no limit.
	MaxRecords, MaxBytes int

	// Primary says on which external primary name server the zone is; nil: on none.
	Primary *rfc2136.Config

	// Provider hosts the zone; nil: the primary or the built-in name server does. ProviderName is
	// what people call it.
	Provider     Provider
	ProviderName string

	backend backend
}

// Provider is what the service needs of a DNS provider at least. It uses
// [libdns.RecordGetter] and [libdns.RecordSetter] where the provider has them.
type Provider interface {
	libdns.RecordAppender
	libdns.RecordDeleter
}

// Builtin reports whether the built-in name server hosts the zone.
func (z *Zone) Builtin() bool { return z.Provider == nil && z.Primary == nil }

// Waits reports whether changes can wait until name servers serve them. Of a built-in zone that
// names none there is one name server, which serves them when they are answered.
func (z *Zone) Waits() bool { return z.Wait > 0 && (!z.Builtin() || len(z.Servers) > 0) }

// NameServerConfig returns the zone as the built-in name server has it.
func (z *Zone) NameServerConfig() nameserver.ZoneConfig {
	return nameserver.ZoneConfig{
		Name: z.Apex, NameServers: z.NameServers, TTL: z.TTL, NegativeTTL: z.NegativeTTL,
		Transfers: z.Transfers, Awaiting: z.awaiting(), ChallengeLifetime: z.ChallengeLifetime,
	}
}

// awaiting returns the names of the zone at or below which challenges are answered at any name.
func (z *Zone) awaiting() []record.Name {
	if z.CNAMETarget {
		return []record.Name{z.Apex}
	}
	return z.accounts
}

// answers reports whether a name of the zone is one at which challenges are answered.
func (z *Zone) answers(name record.Name) bool {
	if _, ok := record.ChallengeAtTarget(name, z.Apex); z.CNAMETarget && ok {
		return true
	}
	return record.AwaitsChallenge(name) || z.isAccount(name)
}

// isAccount reports whether a name is one that an account can have.
func (z *Zone) isAccount(name record.Name) bool {
	return len(z.accounts) > 0 && slices.Contains(z.accounts, name.Parent())
}

// accountLifetime is how long the answer of an account stays at most. Its client never deletes it, and one
// account may answer for all names of a certificate, of which each run adds as many values.
const accountLifetime = time.Hour

// lifetimeFor returns how long a challenge record of a client stays.
func (z *Zone) lifetimeFor(client *access.Client) time.Duration {
	if client.IsAccount() {
		return min(z.ChallengeLifetime, accountLifetime)
	}
	return z.ChallengeLifetime
}

// defaultTTL returns the TTL in seconds of a record that is appended or set without one.
// A resolver must not keep what is at the name of a challenge, or a CA that asks through it
// would not see the next one there: that of a wildcard, or of a renewal.
func (z *Zone) defaultTTL(r record.Record) uint32 {
	if r.Type == record.TypeTXT && z.answers(r.Name) {
		return z.ChallengeTTL
	}
	return z.TTL
}

// isChallenge reports whether a record of the zone looks like the answer to a challenge.
func (z *Zone) isChallenge(r record.Record) bool {
	if r.Type != record.TypeTXT {
		return false
	}
	_, ok := record.ChallengeOf(r.Name)
	if !ok && z.CNAMETarget {
		_, ok = record.ChallengeAtTarget(r.Name, z.Apex)
	}
	return (ok || z.isAccount(r.Name)) && record.IsChallengeValue(r)
}

// backend is where the records of a zone are.
type backend interface {
	// change applies a change of a client and returns what was appended, set or
	// deleted, and the zone's serial where it is known. ctx may end before the change
	// has begun (see begun), which leaves the zone as it is; one that has begun runs to
	// its end or to its own deadline. A delete asks lastLook directly before it deletes, and
	// returns its error.
	change(ctx context.Context, client string, change record.Change) (outcome, error)
	// list returns the selected records. The client "" is the service itself.
	list(ctx context.Context, client string, s selection) (iter.Seq[Entry], error)
}

// outcome is what a change did in a zone.
type outcome struct {
	entries  []Entry
	serial   uint32     // zero: not known
	silenced []Silenced // where it is known
}

// Entry is a record on its way out. Its data stays text, since a provider may
// report what cannot be parsed, and one odd record must not hide the others.
type Entry struct {
	Owner record.Name
	Type  string
	Data  string // in presentation format, or the text itself for TXT
	TTL   int64  // seconds
}

// Record returns the entry as the API and libdns have it, its name relative to a zone.
func (e Entry) Record(zone record.Name) api.Record {
	return api.Record{Name: e.Owner.Relative(zone), Type: e.Type, TTL: &e.TTL, Data: &e.Data}
}

func newEntry(r record.Record) Entry {
	typ, data := r.Text()
	return Entry{Owner: r.Name, Type: typ, Data: data, TTL: int64(r.TTL)}
}
