package hosting

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/miekg/dns"

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
	mu    sync.Mutex
	zones map[record.Name]*zoneServers // the hosted ones
}

// zoneServers are those of one zone.
type zoneServers struct {
	servers []nsquery.Server
	looked  time.Time     // when they were last looked for
	first   chan struct{} // closed when they were found, or not, for the first time
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

// look looks for the servers of a zone. Where that fails, those that were known remain; of a zone on
// a primary, those in the configuration are known at least.
func (f *foundServers) look(s *Service, zone *Zone, of *zoneServers) {
	defer s.reportPanic("looking for the name servers of zone " + zone.Apex.String())
	ctx, cancel := context.WithTimeout(context.Background(), serversTimeout)
	defer cancel()
	servers, err := s.findServers(ctx, zone)
	f.mu.Lock()
	defer f.mu.Unlock()
	if err == nil {
		of.servers = servers
	} else {
		if of.servers == nil {
			of.servers = zone.configuredServers()
		}
		s.config.Logger.Warn("the name servers of a zone were not found by its NS records; name them by servers, or set resolvers that find them, or set wait off",
			zap.String("zone", zone.Apex.String()), zap.Strings("changes_wait_for", namesOfServers(of.servers)), CauseField(err))
	}
	select {
	case <-of.first:
	default:
		close(of.first)
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

// findServers returns the name servers of a zone by its NS records, each address by itself.
func (s *Service) findServers(ctx context.Context, zone *Zone) ([]nsquery.Server, error) {
	names, err := s.nameServers(ctx, zone)
	if err != nil {
		return nil, err
	}
	var servers []nsquery.Server
	for _, server := range nsquery.Servers(ctx, names, s.addressesFor(zone)) {
		if server.Address.IsValid() && len(servers) < MostServers {
			servers = append(servers, server)
		}
	}
	if len(servers) == 0 {
		return nil, fmt.Errorf("none of the %d name servers of zone %q has an address", len(names), zone.Apex)
	}
	return servers, nil
}

// lookUp is what finds the addresses of names that are not hosted here, where the configuration names no
// resolvers.
var lookUp interface {
	LookupNS(ctx context.Context, name string) ([]*net.NS, error)
	LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error)
} = net.DefaultResolver

// resolver returns the resolvers of a zone, nil for the system's.
func (s *Service) resolver(zone *Zone) *nsquery.Resolver {
	if len(zone.Resolvers) == 0 {
		return nil
	}
	return &nsquery.Resolver{Client: &s.watch.client, Addresses: zone.Resolvers}
}

// nameServers returns the names in the NS records of a zone, as its resolvers have them.
func (s *Service) nameServers(ctx context.Context, zone *Zone) (names []record.Name, err error) {
	if resolver := s.resolver(zone); resolver != nil {
		answer, err := resolver.Find(ctx, zone.Apex, dns.TypeNS)
		names, _ = answer.NameServers()
		return names, err
	}
	answer, err := lookUp.LookupNS(ctx, zone.Apex.String())
	for _, ns := range answer {
		if name, err := record.ParseName(ns.Host); err == nil {
			names = append(names, name)
		}
	}
	return names, err
}

// addressesFor returns what finds the addresses of a zone's name servers, by its resolvers.
func (s *Service) addressesFor(zone *Zone) func(context.Context, record.Name) []netip.Addr {
	if resolver := s.resolver(zone); resolver != nil {
		return resolver.AddressesOf
	}
	return func(ctx context.Context, name record.Name) []netip.Addr {
		addresses, _ := lookUp.LookupNetIP(ctx, "ip", name.String())
		for i := range addresses {
			addresses[i] = addresses[i].Unmap()
		}
		slices.SortFunc(addresses, netip.Addr.Compare)
		return slices.Compact(addresses)
	}
}
