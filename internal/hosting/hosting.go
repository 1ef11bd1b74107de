// Package hosting is the service without Caddy and without HTTP: the zones that a
// configuration has, in the built-in name server and with DNS providers, and what clients
// may do in them.
//
// Each protocol brings its changes in by [Service.Change]; [Service.Records] lists what is in
// the zones.
package hosting

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"

	"go.uber.org/zap"

	"github.com/caddy-dns/bestdns/internal/access"
	"github.com/caddy-dns/bestdns/internal/nameserver"
	"github.com/caddy-dns/bestdns/internal/record"
	"github.com/caddy-dns/bestdns/internal/rfc2136"
)

// Config is what a configuration says of zones and clients.
type Config struct {
	Zones   []*Zone
	Clients []access.Config
	// Room is how much clients may have in the built-in zones, by name; zero is no limit.
	Room map[string]nameserver.Use
	// Limits are what each change of a built-in zone must keep to.
	Limits record.Limits
	// DomainChallenges is how many values of challenges one domain may have at a time; zero
	// is no limit.
	DomainChallenges int

	// Storage is where challenge records in zones with a DNS provider are remembered, so that
	// they expire; nil: they do not.
	Storage Storage

	// Port is the one at which the built-in name server listens, zero if it is not known.
	Port uint16

	// Activity is what the process has seen, Statuses what name servers have told it; they
	// outlive configurations.
	Activity *Activity
	Statuses *StatusCache
	// Logger is for what the service does, Audit has a line for each change.
	Logger, Audit *zap.Logger
	// ProcessLog is for what outlives the configuration.
	ProcessLog *slog.Logger
}

// Service is what one configuration hosts, and for whom. Its methods may be called
// concurrently.
type Service struct {
	config      Config
	apexes      record.Zones
	hosted      map[record.Name]*Zone
	zones       []*Zone     // by name
	cnameTarget record.Name // "" if no zone is marked
	clients     *access.Clients
	local       *access.Client
	watch       *watch
	leftovers   *leftovers // nil where none are looked for

	ready  chan struct{}      // closed by Begin
	server *nameserver.Server // set before ready is closed; nil without a built-in zone
	closed chan struct{}      // closed by Close
}

// New returns the service of a configuration. It accepts records from [Service.Begin] on.
// The error names the zone or the client that is invalid.
func New(c Config) (*Service, error) {
	s := &Service{
		config: c,
		apexes: make(record.Zones, len(c.Zones)), hosted: make(map[record.Name]*Zone, len(c.Zones)),
		ready: make(chan struct{}), closed: make(chan struct{}), watch: newWatch(),
	}
	for _, zone := range c.Zones {
		if err := s.add(zone); err != nil {
			return nil, fmt.Errorf("zone %q: %w", zone.Name, err)
		}
	}
	var err error
	if s.clients, err = access.New(s.apexes, s.cnameTarget, c.Clients); err != nil {
		return nil, err
	}
	for client := range s.clients.All() {
		if under := client.Registers(); under != "" {
			zone := s.hosted[client.ZoneOf(under)]
			zone.accounts = append(zone.accounts, under)
		}
	}
	s.local = access.Local(s.apexes, s.cnameTarget)
	s.watch.local = s.local
	s.zones = slices.SortedFunc(maps.Values(s.hosted), func(x, y *Zone) int { return strings.Compare(x.Apex.String(), y.Apex.String()) })
	s.leftovers = newLeftovers(s)
	return s, nil
}

func (s *Service) add(zone *Zone) error {
	if s.hosted[zone.Apex] != nil {
		return errors.New("configured twice")
	}
	s.hosted[zone.Apex] = zone
	s.apexes[zone.Apex] = struct{}{}
	switch {
	case zone.Builtin():
		zone.backend = &builtinZone{service: s, zone: zone}
	case zone.Primary != nil:
		zone.Primary.Log = s.config.ProcessLog
		zone.backend = primaryZone{rfc2136.New(*zone.Primary)}
	default:
		zone.backend = newProviderZone(zone, s.config.ProcessLog)
	}
	if !zone.CNAMETarget {
		return nil
	}
	if s.cnameTarget != "" {
		return fmt.Errorf("cname_target is set for the zone %q already, and one zone at most can be the target", s.cnameTarget)
	}
	s.cnameTarget = zone.Apex
	return nil
}

// Begin has the service accept records, once DNS serves them, and delete left-over challenges
// until Close. server is that of the built-in zones, nil if there are none. It is called once.
func (s *Service) Begin(server *nameserver.Server) {
	s.server = server
	close(s.ready)
	s.warnOccluded()
	if s.leftovers != nil {
		go s.leftovers.run()
	}
}

// Close ends the waiting for a service that will not begin, and the deletion of left-overs. One
// that has begun goes on: clients clean up late. It is called once.
func (s *Service) Close() {
	s.EndWaits()
	close(s.closed)
}

// Closed returns a channel that Close closes.
func (s *Service) Closed() <-chan struct{} { return s.closed }

// Ready reports whether records are accepted.
func (s *Service) Ready() bool {
	select {
	case <-s.ready:
		return true
	default:
		return false
	}
}

// errStopped is what a call gets that waited for a service whose start failed.
var errStopped = errors.New("the service was stopped before it was ready")

// WaitReady waits until records are accepted. Its error is that of ctx, or that the service
// was closed before; an [Error] for the caller is made of it by [Service.Change].
func (s *Service) WaitReady(ctx context.Context) error {
	if s.Ready() { // first, since a call may come after the service was closed
		return nil
	}
	select {
	case <-s.ready:
		return nil
	case <-s.closed:
		return notReadyError{errStopped}
	case <-ctx.Done():
		return notReadyError{fmt.Errorf("waiting for the name server to start: %w", context.Cause(ctx))}
	}
}

// notReadyError is a call that came before the name server was up and did not
// outwait it.
type notReadyError struct{ error }

func (e notReadyError) Unwrap() error { return e.error }

// NameServer returns the server of the built-in zones, nil without any or before Begin.
func (s *Service) NameServer() *nameserver.Server {
	if !s.Ready() {
		return nil
	}
	return s.server
}

// snapshot returns what is in a built-in zone, nil if it is not served.
func (s *Service) snapshot(zone record.Name) *nameserver.Snapshot {
	server := s.NameServer()
	if server == nil {
		return nil
	}
	snapshot, _ := server.Snapshot(zone)
	return snapshot
}

// Clients returns the clients of the configuration.
func (s *Service) Clients() *access.Clients { return s.clients }

// Local returns the client as which the modules of the same process come: it has every
// right in the hosted zones.
func (s *Service) Local() *access.Client { return s.local }

// Zone returns a hosted zone by its apex, nil if it is not hosted.
func (s *Service) Zone(apex record.Name) *Zone { return s.hosted[apex] }

// Zones returns all hosted zones, by name. The list is shared and not to be changed.
func (s *Service) Zones() []*Zone { return s.zones }

// ZonesOf returns the zones in which a client has any right, by name.
func (s *Service) ZonesOf(client *access.Client) []*Zone {
	return slices.DeleteFunc(slices.Clone(s.zones), func(z *Zone) bool { return !client.MayUse(z.Apex) })
}
