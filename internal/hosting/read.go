package hosting

import (
	"context"
	"iter"
	"strings"

	"github.com/caddy-dns/bestdns/internal/access"
	"github.com/caddy-dns/bestdns/internal/record"
)

// Query says which records are wanted.
type Query struct {
	// Zone is a name at or below which they are, within one hosted zone.
	Zone record.Name
	// Name is the one owner name that they have; "" is any.
	Name record.Name
	// Type is zero for any.
	Type record.Type
	// Invalid is why the rest could not be read. It is reported to callers that may use the zone.
	Invalid error
}

// Records returns the records that a caller wants and may read. Those of a built-in zone are
// read while they are taken, from a snapshot. ctx is for the time until Records returns.
//
// The error, if any, is an *[Error].
func (s *Service) Records(ctx context.Context, client *access.Client, want Query) (iter.Seq[Entry], error) {
	zone, err := s.placeZone(client, want.Zone)
	if err != nil {
		return nil, AsError(err, want.Zone)
	}
	if want.Invalid != nil {
		return nil, want.Invalid
	}
	selected := selection{under: want.Zone, typ: want.Type, visible: func(owner record.Name) bool {
		return owner.In(want.Zone) && s.MayRead(client, zone.Apex, owner)
	}}
	if want.Name != "" {
		selected.under, selected.exact = want.Name, true
	}
	ctx, cancel := context.WithTimeout(ctx, ChangeTimeout)
	defer cancel()
	entries, err := zone.backend.list(ctx, client.Name(), selected)
	if err != nil {
		failure := AsError(err, zone.Apex)
		failure.Unchanged = true
		s.config.Activity.providerError(zone, failure)
		return nil, failure
	}
	return entries, nil
}

// selection says which records of a zone are listed. Backends go by it before they make
// anything of a record: a client may read one name of a million.
type selection struct {
	under   record.Name                  // at this name, and below it
	exact   bool                         // not below it
	typ     record.Type                  // 0: any
	visible func(owner record.Name) bool // nil: all are
}

// wants reports whether the records at a name are among those selected.
func (s *selection) wants(owner record.Name) bool {
	if s.exact && owner != s.under || !owner.In(s.under) {
		return false
	}
	return s.visible == nil || s.visible(owner)
}

// hasType reports whether an entry is of a type, which can have two names: TXT that is not
// UTF-8 travels as TYPE16.
func (e Entry) hasType(t record.Type) bool {
	if e.Type == t.String() {
		return true
	}
	if !strings.HasPrefix(e.Type, "TYPE") {
		return false
	}
	other, err := record.ParseType(e.Type)
	return err == nil && other == t
}
