package service

import (
	"context"
	"iter"
	"slices"
	"strings"

	"github.com/caddy-dns/bestdns/internal/api"
	"github.com/caddy-dns/bestdns/internal/record"
)

// filter says which records of a zone are asked for.
type filter struct {
	name string // relative to the zone of the request; empty: all
	typ  string // empty: all
}

// list returns the records at or below a zone that the caller may read, names
// relative to it.
func (a *App) list(ctx context.Context, who caller, zone string, want filter) (iter.Seq[api.Record], *problem) {
	asked, err := parseZone(zone)
	if err != nil {
		return nil, asProblem(err, "")
	}
	hosted, err := a.placeZone(who.client, asked)
	if err != nil {
		return nil, asProblem(err, asked)
	}
	selected := selection{under: asked, exact: want.name != "", visible: func(owner record.Name) bool {
		return owner.In(asked) && a.mayRead(who.client, hosted.apex, owner)
	}}
	if want.name != "" {
		if selected.under, err = record.ParseOwner(want.name, asked); err != nil {
			return nil, newProblem(api.InvalidRecord, "%w", err)
		}
	}
	if want.typ != "" {
		if selected.typ, err = record.ParseType(want.typ); err != nil {
			return nil, newProblem(api.InvalidRecord, "%w", err)
		}
	}
	ctx, cancel := context.WithTimeout(ctx, changeTimeout)
	defer cancel()
	entries, err := hosted.records.list(ctx, who.client.Name(), selected)
	if err != nil {
		failure := asProblem(err, hosted.apex)
		failure.Unchanged = true
		seen.providerError(hosted, failure)
		return nil, failure
	}
	return func(yield func(api.Record) bool) {
		for e := range entries {
			if !yield(e.api(asked)) {
				return
			}
		}
	}, nil
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
func (e entry) hasType(t record.Type) bool {
	if e.typ == t.String() {
		return true
	}
	if !strings.HasPrefix(e.typ, "TYPE") {
		return false
	}
	other, err := record.ParseType(e.typ)
	return err == nil && other == t
}

// zones returns the zones in which the caller may do something.
func (a *App) zones(who caller) api.Zones {
	zones := api.Zones{Zones: []api.Zone{}}
	for apex := range a.hosted {
		if who.client.MayUse(apex) {
			zones.Zones = append(zones.Zones, api.Zone{Name: apex.String()})
		}
	}
	slices.SortFunc(zones.Zones, func(x, y api.Zone) int { return strings.Compare(x.Name, y.Name) })
	return zones
}
