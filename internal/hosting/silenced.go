package hosting

import (
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-dns/bestdns/internal/nameserver"
	"github.com/caddy-dns/bestdns/internal/record"
	"github.com/caddy-dns/bestdns/internal/text"
)

// Silenced is a name for which a wildcard no longer answers, since there is now a record at
// it or below it (RFC 4592).
type Silenced struct{ Name, Wildcard record.Name }

// silencingLifetime is how long the answer to a challenge stays at most where there is a
// wildcard above it: for as long the wildcard does not answer for the host. No order takes
// that long.
const silencingLifetime = 10 * time.Minute

// mostSilencing is how many records of a change are looked at for what they take from
// wildcards.
const mostSilencing = 50

// shorten has the answers to challenges below a wildcard expire early.
func shorten(z *nameserver.Snapshot, records []record.Record) {
	latest := time.Now().Add(silencingLifetime).Unix()
	for i := range records {
		r := &records[i]
		if r.Expires > latest && z.WildcardAbove(hostOf(r.Name)) != "" {
			r.Expires = latest
		}
	}
}

// hostOf returns the name that a challenge's owner name is about, or else the name itself.
func hostOf(owner record.Name) record.Name {
	if !record.AwaitsChallenge(owner) {
		return owner
	}
	if record.IsAccountLabel(owner.FirstLabel()) {
		owner = owner.Parent()
	}
	return owner.Parent()
}

// silenced returns the names that new records take from wildcards of the zone, each once.
// That a record replaces the wildcard's at a name of its own loses nothing, if the
// wildcard has no other types.
func silenced(z *nameserver.Snapshot, records []record.Record) (found []Silenced) {
	for _, r := range records[:min(mostSilencing, len(records))] {
		host, wildcard := z.Silenced(r.Name)
		switch {
		case host == "", record.IsForCA(host): // for which no wildcard answers anyway
			continue
		case host == r.Name && replaces(z, wildcard, r.Name, records):
			continue
		}
		s := Silenced{Name: host, Wildcard: wildcard}
		if !slices.Contains(found, s) {
			found = append(found, s)
		}
	}
	return found
}

// replaces reports whether the records at a name have each type that the wildcard has.
func replaces(z *nameserver.Snapshot, wildcard, name record.Name, records []record.Record) bool {
	return !slices.ContainsFunc(z.At(wildcard), func(old record.Record) bool {
		return !slices.ContainsFunc(records, func(r record.Record) bool {
			return r.Name == name && (r.Type == old.Type || r.Type == record.TypeCNAME)
		})
	})
}

// warnSilenced logs what a change has taken from wildcards, in a bounded number of lines.
func (s *Service) warnSilenced(who Caller, found []Silenced) {
	const most = 3
	for _, taken := range found[:min(most, len(found))] {
		s.config.Logger.Warn("a wildcard does not answer any more for a name, because of a record at it or below it (RFC 4592)",
			zap.String("name", text.Brief(taken.Name.String(), text.MaxName)), zap.String("wildcard", text.Brief(taken.Wildcard.String(), text.MaxName)),
			zap.String("client", text.Visible(who.Client.Name())), zap.String("request_id", who.RequestID))
	}
}
