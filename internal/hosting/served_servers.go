package hosting

import (
	"context"
	"fmt"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-dns/bestdns/internal/nsquery"
	"github.com/caddy-dns/bestdns/internal/record"
)

const (
	// serversKept is how long the name servers of a zone are taken for those that they were.
	serversKept = time.Minute
	// serversTimeout is how long looking for them takes at most.
	serversTimeout = 5 * time.Second
)

// foundServers has the name servers of zones, as DNS has them.
type foundServers struct {
	mu    *sync.Mutex
	zones map[record.Name]*zoneServers // the hosted ones
}

// zoneServers are those of one zone.
type zoneServers struct {
	servers []nsquery.Server
	looked  time.Time     // when they were last looked for
	first   chan struct{} // closed when they were found, or not, for the first time
}

func newFoundServers() foundServers {
	return foundServers{mu: new(sync.Mutex), zones: make(map[record.Name]*zoneServers)}
}

// serversOf returns the name servers of a zone that are to serve its changes. The first call for
// a zone waits for them, no longer than ctx, after which they are not known yet; later ones have
// those that are known, which are looked for again once a minute.
func (w *watch) serversOf(ctx context.Context, s *Service, zone *Zone) (_ []nsquery.Server, known bool) {
	if len(zone.Servers) > 0 {
		return zone.Servers, true
	}
	f := &w.found
	f.mu.Lock()
	of := f.zones[zone.Apex]
	if of == nil {
		of = &zoneServers{first: make(chan struct{})}
		f.zones[zone.Apex] = of
	}
	if time.Since(of.looked) >= serversKept {
		of.looked = time.Now()
		go f.look(s, zone, of)
	}
	f.mu.Unlock()
	select {
	case <-of.first:
	case <-ctx.Done():
		return nil, false
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return of.servers, true
}

// look looks for the servers of a zone. Where that fails, those that were known remain.
func (f *foundServers) look(s *Service, zone *Zone, known *zoneServers) {
	ctx, cancel := context.WithTimeout(context.Background(), serversTimeout)
	defer cancel()
	servers, err := s.findServers(ctx, zone)
	switch known := zone.configuredServers(); {
	case err == nil:
	case len(known) > 0:
		s.config.Logger.Warn("the name servers of a zone were not found by its NS records, so changes wait for its primary and those that are notified alone; name them all by servers, or by resolvers who finds them",
			zap.String("zone", zone.Apex.String()), CauseField(err))
		servers, err = known, nil
	default:
		s.config.Logger.Warn("the name servers of a zone were not found, so changes do not wait until they serve them; name them by servers, or by resolvers who finds them, or say wait off",
			zap.String("zone", zone.Apex.String()), CauseField(err))
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if err == nil {
		known.servers = servers
	}
	select {
	case <-known.first:
	default:
		close(known.first)
	}
}

// configuredServers returns the name servers that the configuration of a zone on a primary knows of.
func (z *Zone) configuredServers() (servers []nsquery.Server) {
	if z.Primary == nil {
		return nil
	}
	for _, address := range z.Primary.Primaries {
		servers = append(servers, nsquery.Server{Address: address})
	}
	for _, secondary := range z.Primary.Notify {
		servers = append(servers, nsquery.Server{Address: secondary.Address})
	}
	return servers
}

// findServers returns the name servers of a zone by its NS records, as resolvers have them.
func (s *Service) findServers(ctx context.Context, zone *Zone) ([]nsquery.Server, error) {
	if len(zone.Resolvers) > 0 {
		resolver := nsquery.Resolver{Client: &s.watch.client, Addresses: zone.Resolvers}
		servers, err := resolver.NameServers(ctx, zone.Apex)
		return servers[:min(len(servers), MostServers)], err
	}
	answer, err := lookUp.LookupNS(ctx, zone.Apex.String())
	if err != nil {
		return nil, err
	}
	var names []record.Name
	for _, ns := range answer {
		if name, err := record.ParseName(ns.Host); err == nil {
			names = append(names, name)
		}
	}
	var servers []nsquery.Server
	for _, server := range nsquery.Servers(ctx, names, s.lookUpAddresses) {
		if server.Address.IsValid() && len(servers) < MostServers {
			servers = append(servers, server)
		}
	}
	if len(servers) == 0 {
		return nil, fmt.Errorf("none of the %d name servers of zone %q has an address", len(names), zone.Apex)
	}
	return servers, nil
}
