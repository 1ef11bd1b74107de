package hosting

import (
	"context"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/miekg/dns"

	"github.com/caddy-dns/bestdns/internal/nsquery"
	"github.com/caddy-dns/bestdns/internal/record"
)

// ServerStatus is one address of a name server and what it answered.
type ServerStatus struct {
	Name    string     // as it is configured or stored, and so it may be invalid
	Address netip.Addr // not valid if none could be found
	Serial  uint32
	Fault   string // "" if the answer is good
	// Unreachable is set where the fault is this machine's, which has no route there.
	Unreachable bool
	// Lags is set where the serial is older than another server's.
	Lags bool

	at netip.AddrPort // where it is asked
}

// MostServers is how many addresses of name servers of a zone are asked.
const MostServers = 32

// statusClient has little time: someone waits for the page.
var statusClient = &nsquery.Client{UDPTimeout: 700 * time.Millisecond}

// askServers asks all name servers of a zone for its SOA record.
func (s *Service) askServers(ctx context.Context, zone *Zone, contents *zoneContents) []ServerStatus {
	statuses := s.serversOf(ctx, zone, contents)
	servers := make([]nsquery.Server, len(statuses))
	for i, status := range statuses {
		servers[i].Address = status.at
	}
	var newest *uint32
	if snapshot := s.snapshot(zone.Apex); snapshot != nil && zone.Builtin() {
		newest = new(snapshot.Serial()) // before they are asked
	}
	for i, answer := range statusClient.AskAll(ctx, servers, nsquery.Question{Name: zone.Apex, Type: dns.TypeSOA}) {
		statuses[i].read(answer)
		if statuses[i].Fault == "" && (newest == nil || isOlder(*newest, statuses[i].Serial)) {
			newest = &statuses[i].Serial
		}
	}
	for i := range statuses {
		statuses[i].Lags = statuses[i].Fault == "" && isOlder(statuses[i].Serial, *newest)
	}
	return statuses
}

// isOlder compares serials (RFC 1982 §3.2).
func isOlder(serial, than uint32) bool { return int32(serial-than) < 0 }

// read takes over what a server answered about the zone's SOA record.
func (s *ServerStatus) read(answer nsquery.Answer) {
	soa := answer.SOA()
	switch {
	case soa != nil:
		s.Serial = soa.Serial
	case !s.Address.IsValid():
		s.Fault = answer.Err.Error()
	case nsquery.IsUnreachable(answer.Err):
		s.Fault, s.Unreachable = answer.Failure(), true
	case answer.Err != nil:
		s.Fault = "no answer"
	case answer.Rcode != dns.RcodeSuccess:
		s.Fault = answer.Failure()
	case !answer.Authoritative:
		s.Fault = "answers without authority"
	default:
		s.Fault = "has no SOA record of the zone"
	}
}

// serversOf returns the name servers of a zone, each address by itself: those that are waited
// for, or as they are configured, as its DNS provider has them, or as DNS does.
func (s *Service) serversOf(ctx context.Context, zone *Zone, contents *zoneContents) []ServerStatus {
	var texts []string
	if len(zone.Servers) > 0 && !zone.Builtin() {
		var statuses []ServerStatus
		for _, server := range zone.Servers {
			statuses = append(statuses, ServerStatus{Address: server.Addr(), at: server.Address})
		}
		return statuses
	}
	for _, ns := range zone.NameServers {
		texts = append(texts, ns.Name.String())
	}
	if contents != nil {
		texts = append(texts, contents.servers...)
	}
	if len(texts) == 0 {
		names, _ := s.nameServers(ctx, zone)
		for _, name := range names {
			texts = append(texts, name.String())
		}
	}
	slices.Sort(texts)
	var names []record.Name
	var statuses []ServerStatus
	for _, text := range slices.Compact(texts) {
		if name, err := record.ParseName(text); err == nil {
			names = append(names, name)
		} else {
			statuses = append(statuses, ServerStatus{Name: text})
		}
	}
	for _, server := range nsquery.Servers(ctx, names, func(ctx context.Context, name record.Name) []netip.Addr {
		return s.addressesOf(ctx, zone, name, contents)
	}) {
		status := ServerStatus{Name: server.Name.String(), Address: server.Addr()}
		if status.Address.IsValid() {
			status.at = netip.AddrPortFrom(status.Address, s.nameServerPort(status.Address))
		}
		statuses = append(statuses, status)
	}
	slices.SortStableFunc(statuses, func(x, y ServerStatus) int { return strings.Compare(x.Name, y.Name) })
	return statuses[:min(len(statuses), MostServers)]
}

// addressesOf returns the addresses of a name server. What is known here needs no question.
func (s *Service) addressesOf(ctx context.Context, zone *Zone, name record.Name, contents *zoneContents) []netip.Addr {
	if contents != nil && len(contents.addresses[name]) > 0 {
		return contents.addresses[name]
	}
	for _, other := range s.config.Zones {
		for _, ns := range other.NameServers {
			if ns.Name == name && len(ns.Addresses) > 0 {
				return ns.Addresses
			}
		}
	}
	return s.addressesFor(zone)(ctx, name)
}

// nameServerPort returns the port at which to ask: 53, as all the world does. Only this
// machine sees an address of its loopback interface, and there this service may listen on
// another port.
func (s *Service) nameServerPort(address netip.Addr) uint16 {
	if address.IsLoopback() && s.config.Port != 0 {
		return s.config.Port
	}
	return nsquery.Port
}
