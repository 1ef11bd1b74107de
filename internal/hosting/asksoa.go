package hosting

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/miekg/dns"

	"github.com/caddy-dns/bestdns/internal/record"
)

// ServerFound is one address of a name server and what it answered.
type ServerFound struct {
	Name    string
	Address netip.Addr // not valid if none could be found
	Serial  uint32
	Fault   string // "" if the answer is good
	// Elsewhere is set where the fault is this machine's, which has no way there.
	Elsewhere bool
}

// mostServers is how many addresses of name servers of a zone are asked.
const mostServers = 32

// askServers asks all name servers of a zone at once.
func (s *Service) askServers(ctx context.Context, zone *Zone, stored *storedFound) []ServerFound {
	servers := s.serversOf(ctx, zone, stored)
	servers = servers[:min(len(servers), mostServers)]
	var asked sync.WaitGroup
	for i := range servers {
		server := &servers[i]
		if !server.Address.IsValid() {
			server.Fault = "no address found"
			continue
		}
		asked.Go(func() {
			defer guard(s, "asking a name server of zone "+zone.Apex.String())
			server.ask(ctx, zone.Apex, s.nameServerPort(server.Address))
		})
	}
	asked.Wait()
	return servers
}

// serversOf returns the name servers of a zone, each address by itself: as they are
// configured, as its DNS provider has them, or as DNS does.
func (s *Service) serversOf(ctx context.Context, zone *Zone, stored *storedFound) []ServerFound {
	var names []string
	for _, ns := range zone.NameServers {
		names = append(names, ns.Name.String())
	}
	if stored != nil {
		names = append(names, stored.servers...)
	}
	if len(names) == 0 {
		answer, _ := lookUp.LookupNS(ctx, zone.Apex.String())
		for _, ns := range answer {
			names = append(names, ns.Host)
		}
	}
	slices.Sort(names)
	names = slices.Compact(names)
	addresses := make([][]netip.Addr, len(names))
	var found sync.WaitGroup
	for i, name := range names {
		found.Go(func() {
			defer guard(s, "looking for the addresses of name servers of zone "+zone.Apex.String())
			addresses[i] = s.addressesOf(ctx, name, stored)
		})
	}
	found.Wait()
	var servers []ServerFound
	for i, name := range names {
		if len(addresses[i]) == 0 {
			servers = append(servers, ServerFound{Name: name})
		}
		for _, address := range addresses[i] {
			servers = append(servers, ServerFound{Name: name, Address: address})
		}
	}
	return servers
}

// lookUp is what finds the addresses of names that are not hosted here.
var lookUp interface {
	LookupNS(ctx context.Context, name string) ([]*net.NS, error)
	LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error)
} = net.DefaultResolver

// addressesOf returns the addresses of a name server. What is known here needs nobody to
// be asked.
func (s *Service) addressesOf(ctx context.Context, server string, stored *storedFound) []netip.Addr {
	name, err := record.ParseName(server)
	if err != nil {
		return nil
	}
	if stored != nil && len(stored.addresses[name]) > 0 {
		return stored.addresses[name]
	}
	for _, zone := range s.config.Zones {
		for _, ns := range zone.NameServers {
			if ns.Name == name && len(ns.Addresses) > 0 {
				return ns.Addresses
			}
		}
	}
	addresses, _ := lookUp.LookupNetIP(ctx, "ip", name.String())
	for i := range addresses {
		addresses[i] = addresses[i].Unmap()
	}
	slices.SortFunc(addresses, netip.Addr.Compare)
	return slices.Compact(addresses)
}

// nameServerPort returns the port at which to ask: 53, as all the world does. An address
// of the loopback interface is for nobody else in the world, and there this service may
// listen on another one.
func (s *Service) nameServerPort(address netip.Addr) uint16 {
	if address.IsLoopback() && s.config.Port != 0 {
		return s.config.Port
	}
	return 53
}

const (
	askTries   = 2
	askTimeout = 700 * time.Millisecond // for each
)

// ask asks for the zone's SOA record.
func (s *ServerFound) ask(ctx context.Context, apex record.Name, port uint16) {
	question := new(dns.Msg).SetQuestion(apex.String(), dns.TypeSOA)
	question.RecursionDesired = false
	client := dns.Client{Timeout: askTimeout}
	var answer *dns.Msg
	err := errors.New("not asked")
	for try := 0; err != nil && try < askTries && ctx.Err() == nil; try++ {
		answer, _, err = client.ExchangeContext(ctx, question, net.JoinHostPort(s.Address.String(), strconv.Itoa(int(port))))
	}
	switch {
	case errors.Is(err, syscall.ENETUNREACH), errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.EADDRNOTAVAIL):
		s.Fault, s.Elsewhere = "cannot be reached from here", true
	case err != nil:
		s.Fault = "no answer"
	case answer.Rcode != dns.RcodeSuccess:
		s.Fault = "answers " + rcodeText(answer.Rcode)
	case !answer.Authoritative:
		s.Fault = "answers without authority"
	default:
		s.readSOA(answer, apex)
	}
}

func (s *ServerFound) readSOA(answer *dns.Msg, apex record.Name) {
	for _, rr := range answer.Answer {
		if soa, ok := rr.(*dns.SOA); ok && strings.EqualFold(soa.Hdr.Name, apex.String()) {
			s.Serial = soa.Serial
			return
		}
	}
	s.Fault = "has no SOA record of the zone"
}

func rcodeText(rcode int) string {
	if text, ok := dns.RcodeToString[rcode]; ok {
		return text
	}
	return "code " + strconv.Itoa(rcode)
}
