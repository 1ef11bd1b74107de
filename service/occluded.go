package service

import (
	"go.uber.org/zap"

	"github.com/caddy-dns/bestdns/internal/access"
	"github.com/caddy-dns/bestdns/internal/record"
)

// holds reports whether what a zone has at a name is its own. Records from before another
// zone was made within it are occluded by that one (RFC 5936 §3.5), in DNS and in the
// API; the apex of that one is a name of both.
func (a *App) holds(zone, name record.Name) bool {
	apex, _ := a.apexes.Of(name)
	if name == apex && apex != zone {
		apex, _ = a.apexes.Of(name.Parent())
	}
	return apex == zone
}

// mayRead reports whether the client may see what a hosted zone has at a name.
func (a *App) mayRead(client *access.Client, zone, name record.Name) bool {
	return a.holds(zone, name) && client.MayRead(zone, name)
}

// warnOccluded tells of built-in zones that hide records of the zone around them:
// whoever made one may have expected to find them in it.
func (a *App) warnOccluded() {
	server := a.nameServer()
	if server == nil {
		return
	}
	for _, zone := range a.Zones {
		around, nested := a.apexes.Of(zone.apex.Parent())
		if !nested {
			continue
		}
		snapshot, ok := server.Snapshot(around)
		if !ok {
			continue // with a DNS provider
		}
		for r := range snapshot.Records(zone.apex) {
			if !a.holds(around, r.Name) {
				a.logger.Warn("a zone hides records of the zone around it, which has them still: export that one to move them",
					zap.String("zone", zone.apex.String()), zap.String("around", around.String()), zap.String("first", r.Name.String()))
				break
			}
		}
	}
}
