// Package bestdnstest starts a BestDNS service within a test: a real one, with its name server, on free
// ports of the loopback interface, until the test ends. Nothing needs to be installed, and nothing of
// Caddy's runs.
//
//	server := bestdnstest.Start(t, "example.org")
//	provider := server.Provider() // a *bestdns.Provider that may change all of the zone
//	resolver := server.DNS        // the address of its name server, as "127.0.0.1:PORT"
//
// With certmagic, the solver asks the name server of the test which zone a name is in:
//
//	solver := &certmagic.DNS01Solver{DNSManager: certmagic.DNSManager{
//		DNSProvider:        server.Provider(),
//		Resolvers:          []string{server.DNS},
//		PropagationTimeout: -1,
//	}}
//
// With lego v4, lego itself has to ask it too, and not the name servers of the zone, since the test's is not
// at port 53:
//
//	config := bestdns.NewDefaultConfig()
//	config.Endpoint, config.APIToken = server.URL, server.Token()
//	provider, err := bestdns.NewDNSProviderConfig(config)
//	err = client.Challenge.SetDNS01Provider(provider,
//		dns01.AddRecursiveNameservers([]string{server.DNS}),
//		dns01.DisableAuthoritativeNssPropagationRequirement())
//
// A CA in the test needs the same address as its resolver: with Pebble, -dnsserver.
package bestdnstest

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http/httptest"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-dns/bestdns"
	"github.com/caddy-dns/bestdns/internal/access"
	"github.com/caddy-dns/bestdns/internal/api"
	"github.com/caddy-dns/bestdns/internal/hosting"
	"github.com/caddy-dns/bestdns/internal/nameserver"
	"github.com/caddy-dns/bestdns/internal/record"
)

// Server is a service with zones of its own. Its methods may be called concurrently.
type Server struct {
	// URL is the endpoint of its API, over HTTP on a loopback address.
	URL string
	// DNS is the address of its name server, UDP and TCP, as "127.0.0.1:PORT".
	DNS string

	t     testing.TB
	zones []record.Name
	names *nameserver.Server

	mu      sync.Mutex // guards what follows
	clients []access.Config
	service *hosting.Service // with these clients
	seen    *hosting.Activity
}

// Start starts a service that hosts the zones, absolute names whose final dot is optional. The first
// one takes the challenges of domains hosted elsewhere too. It fails the test if that is not possible, and
// the service ends with the test.
func Start(t testing.TB, zones ...string) *Server {
	t.Helper()
	s := &Server{t: t, seen: hosting.NewActivity()}
	for _, zone := range zones {
		apex, err := record.ParseName(zone)
		if err != nil {
			t.Fatalf("bestdnstest: zone %q: %v", zone, err)
		}
		s.zones = append(s.zones, apex)
	}
	if len(s.zones) == 0 {
		t.Fatal("bestdnstest: a service without a zone can do nothing: name one")
	}
	if err := s.start(); err != nil {
		t.Fatalf("bestdnstest: starting the service: %v", err)
	}
	return s
}

func (s *Server) start() error {
	var err error
	s.names, err = nameserver.Open(nameserver.Options{Path: filepath.Join(s.t.TempDir(), "records.db"), Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return err
	}
	s.t.Cleanup(func() { s.names.Close() })
	var settings nameserver.Settings
	for _, zone := range s.hosted() {
		settings.Zones = append(settings.Zones, zone.NameServerConfig())
	}
	if err := s.names.Serve(settings); err != nil {
		return err
	}
	tcp, udp, err := listen()
	if err != nil {
		return err
	}
	s.DNS = tcp.Addr().String()
	log := slog.New(slog.DiscardHandler)
	for _, socket := range []*nameserver.Socket{nameserver.NewTCPSocket(tcp, "tcp", log), nameserver.NewUDPSocket(udp, "udp", log)} {
		socket.Serve(s.names)
		s.t.Cleanup(socket.Close)
	}
	if err := s.begin(nil); err != nil {
		return err
	}
	api := httptest.NewServer(s.handler())
	s.t.Cleanup(api.Close)
	s.URL = api.URL
	return nil
}

// listen opens sockets of TCP and UDP at one port.
func listen() (*net.TCPListener, *net.UDPConn, error) {
	const tries = 100 // the port that TCP gives may be taken for UDP
	for range tries {
		tcp, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
		if err != nil {
			return nil, nil, err
		}
		at := tcp.Addr().(*net.TCPAddr)
		udp, err := net.ListenUDP("udp", &net.UDPAddr{IP: at.IP, Port: at.Port})
		if err == nil {
			return tcp, udp, nil
		}
		tcp.Close()
	}
	return nil, nil, fmt.Errorf("no port of 127.0.0.1 is free for TCP and UDP")
}

// hosted returns the zones as a new service needs them.
func (s *Server) hosted() (zones []*hosting.Zone) {
	for i, apex := range s.zones {
		const ttl = 60
		zone := &hosting.Zone{Apex: apex, Name: apex.Plain(), TTL: ttl, CNAMETarget: i == 0, ChallengeLifetime: time.Hour}
		if ns, err := apex.Child("ns1"); err == nil {
			zone.NameServers = []nameserver.NameServer{{Name: ns, Addresses: []netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1})}}}
		}
		zones = append(zones, zone)
	}
	return zones
}

// begin has the service know one client more, if it is not nil.
func (s *Server) begin(client *access.Config) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	clients := s.clients
	if client != nil {
		client.Name = fmt.Sprintf("test %d", len(clients)+1)
		clients = append(slices.Clip(clients), *client)
	}
	service, err := hosting.New(hosting.Config{
		Zones: s.hosted(), Clients: clients, Activity: s.seen, Statuses: hosting.NewStatusCache(1),
		Logger: zap.NewNop(), Audit: zap.NewNop(), ProcessLog: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		return err
	}
	service.Begin(s.names)
	if s.service != nil {
		s.service.Close()
	}
	s.clients, s.service = clients, service
	return nil
}

// Provider returns a client of the service with a new token, which has rights as the configuration of a
// service writes them:
//
//	server.Provider("certificates web1.example.org", "allow www.example.org A AAAA")
//
// Without any, it may change and read everything in the zones. It fails the test if a right is not valid.
func (s *Server) Provider(rights ...string) *bestdns.Provider {
	s.t.Helper()
	return &bestdns.Provider{Endpoint: s.URL, APIToken: s.Token(rights...)}
}

// Token returns a new token with rights as [Server.Provider] has them.
func (s *Server) Token(rights ...string) string {
	s.t.Helper()
	if len(rights) == 0 {
		for _, zone := range s.zones {
			rights = append(rights, "allow under "+zone.String())
		}
	}
	token := api.NewToken()
	client := access.Config{Digests: []access.Digest{access.DigestOf(token)}}
	for _, text := range rights {
		rule, err := access.ParseRight(text)
		if err != nil {
			s.t.Fatalf("bestdnstest: %v", err)
		}
		client.Rules = append(client.Rules, rule)
	}
	if err := s.begin(&client); err != nil {
		s.t.Fatalf("bestdnstest: a token for %s: %v", strings.Join(rights, "; "), err)
	}
	return token
}

// Resolver returns a resolver that asks the name server of the test, and no other.
func (s *Server) Resolver() *net.Resolver {
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, s.DNS)
	}}
}
