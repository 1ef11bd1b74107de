package hosting

import (
	"go.uber.org/zap"

	"github.com/caddy-dns/bestdns/internal/access"
	"github.com/caddy-dns/bestdns/internal/record"
)

// Holds reports whether what a zone has at a name is its own. Records from before another
// zone was made within it are occluded by that one (RFC 5936 §3.5), in DNS and in the
// API; the apex of that one is a name of both.
func (s *Service) Holds(zone, name record.Name) bool {
	apex, _ := s.apexes.Of(name)
	if name == apex && apex != zone {
		apex, _ = s.apexes.Of(name.Parent())
	}
	return apex == zone
}

// MayRead reports whether the client may see what a hosted zone has at a name.
func (s *Service) MayRead(client *access.Client, zone, name record.Name) bool {
	return s.Holds(zone, name) && client.MayRead(zone, name)
}

// warnOccluded tells of built-in zones that hide records of the zone around them:
// the user who made one may have expected to find them in it.
func (s *Service) warnOccluded() {
	for _, zone := range s.Zones() {
		around, nested := s.apexes.Of(zone.Apex.Parent())
		if !nested {
			continue
		}
		snapshot := s.snapshot(around)
		if snapshot == nil {
			continue // with a DNS provider
		}
		for r := range snapshot.Records(zone.Apex) {
			if !s.Holds(around, r.Name) {
				s.config.Logger.Warn("a zone hides records of the zone around it, which has them still: export that one to move them",
					zap.String("zone", zone.Apex.String()), zap.String("around", around.String()), zap.String("first", r.Name.String()))
				break
			}
		}
	}
}
