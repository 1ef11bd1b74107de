package service

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

// serverFound is one address of a name server and what it answered.
type serverFound struct {
	name    string
	address netip.Addr // not valid if none could be found
	serial  uint32
	fault   string // "" if the answer is good
	// elsewhere is set where the fault lies with this machine, which has no way there.
	elsewhere bool
}

// mostServers is how many addresses of name servers of a zone are asked.
const mostServers = 32

// askServers asks all name servers of a zone at once.
func (a *App) askServers(ctx context.Context, zone *Zone, stored *storedFound) []serverFound {
	servers := a.serversOf(ctx, zone, stored)
	servers = servers[:min(len(servers), mostServers)]
	var asked sync.WaitGroup
	for i := range servers {
		s := &servers[i]
		if !s.address.IsValid() {
			s.fault = "no address found"
			continue
		}
		asked.Go(func() {
			defer guard(a, "asking a name server of zone "+zone.apex.String())
			s.ask(ctx, zone.apex, a.nameServerPort(s.address))
		})
	}
	asked.Wait()
	return servers
}

// serversOf returns the name servers of a zone, each address by itself: as they are
// configured, as its DNS provider has them, or as DNS does.
func (a *App) serversOf(ctx context.Context, zone *Zone, stored *storedFound) []serverFound {
	var names []string
	for _, ns := range zone.nameServers {
		names = append(names, ns.Name.String())
	}
	if stored != nil {
		names = append(names, stored.servers...)
	}
	if len(names) == 0 {
		answer, _ := lookUp.LookupNS(ctx, zone.apex.String())
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
			defer guard(a, "looking for the addresses of name servers of zone "+zone.apex.String())
			addresses[i] = a.addressesOf(ctx, name, stored)
		})
	}
	found.Wait()
	var servers []serverFound
	for i, name := range names {
		if len(addresses[i]) == 0 {
			servers = append(servers, serverFound{name: name})
		}
		for _, address := range addresses[i] {
			servers = append(servers, serverFound{name: name, address: address})
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
func (a *App) addressesOf(ctx context.Context, server string, stored *storedFound) []netip.Addr {
	name, err := record.ParseName(server)
	if err != nil {
		return nil
	}
	if stored != nil && len(stored.addresses[name]) > 0 {
		return stored.addresses[name]
	}
	for _, zone := range a.Zones {
		for _, ns := range zone.nameServers {
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
func (a *App) nameServerPort(address netip.Addr) uint16 {
	if address.IsLoopback() {
		for _, listen := range a.listen {
			if listen.StartPort != 0 && !listen.IsFdNetwork() {
				return uint16(listen.StartPort)
			}
		}
	}
	return 53
}

const (
	askTries   = 2
	askTimeout = 700 * time.Millisecond // for each
)

// ask asks for the zone's SOA record.
func (s *serverFound) ask(ctx context.Context, apex record.Name, port uint16) {
	question := new(dns.Msg).SetQuestion(apex.String(), dns.TypeSOA)
	question.RecursionDesired = false
	client := dns.Client{Timeout: askTimeout}
	var answer *dns.Msg
	err := errors.New("not asked")
	for try := 0; err != nil && try < askTries && ctx.Err() == nil; try++ {
		answer, _, err = client.ExchangeContext(ctx, question, net.JoinHostPort(s.address.String(), strconv.Itoa(int(port))))
	}
	switch {
	case errors.Is(err, syscall.ENETUNREACH), errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.EADDRNOTAVAIL):
		s.fault, s.elsewhere = "cannot be reached from here", true
	case err != nil:
		s.fault = "no answer"
	case answer.Rcode != dns.RcodeSuccess:
		s.fault = "answers " + rcodeText(answer.Rcode)
	case !answer.Authoritative:
		s.fault = "answers without authority"
	default:
		s.readSOA(answer, apex)
	}
}

func (s *serverFound) readSOA(answer *dns.Msg, apex record.Name) {
	for _, rr := range answer.Answer {
		if soa, ok := rr.(*dns.SOA); ok && strings.EqualFold(soa.Hdr.Name, apex.String()) {
			s.serial = soa.Serial
			return
		}
	}
	s.fault = "has no SOA record of the zone"
}

func rcodeText(rcode int) string {
	if text, ok := dns.RcodeToString[rcode]; ok {
		return text
	}
	return "code " + strconv.Itoa(rcode)
}
