package service

import (
	"context"
	"errors"
	"maps"
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

// inquiries are what name servers and DNS providers last said of the hosted zones. They
// outlive configurations and are shared by all who look, so that nobody is asked more
// often because more people look, or one more often.
var inquiries = newInquirer()

const (
	// inquiryInterval is the time from one inquiry about a zone to the next, at least.
	inquiryInterval = 10 * time.Second
	// readInterval is the same for the records at a DNS provider: they cost more.
	readInterval = time.Minute
	// inquiryTimeout ends an inquiry, with the answers that have come by then.
	inquiryTimeout = 8 * time.Second
	// readTimeout ends reading at a DNS provider, which comes first.
	readTimeout = 5 * time.Second
	// rememberedInquiries is how many zones are remembered.
	rememberedInquiries = 1024
	// inquiriesAtOnce is how many zones are inquired about at the same time.
	inquiriesAtOnce = 64
)

// inquirer asks, and remembers, in bounded memory.
type inquirer struct {
	slots chan struct{} // one in it for each inquiry under way

	mu    sync.Mutex // guards what follows
	zones map[record.Name]*inquiry
}

// inquiry is what is known of one zone. Its inquirer's lock guards it.
type inquiry struct {
	begun time.Time     // the last one; zero if none was
	done  chan struct{} // closed when it has ended
	found findings
}

// findings are what an inquiry has brought. They never change.
type findings struct {
	asked   time.Time // zero: not yet
	servers []serverFound
	// stored is what is in the zone; nil if its DNS provider did not tell when it was
	// asked last.
	stored *storedFound
	read   time.Time // when the provider was asked last
}

// serverFound is one address of a name server and what it answered.
type serverFound struct {
	name    string
	address netip.Addr // not valid if none could be found
	serial  uint32
	fault   string // "" if the answer is good
	// elsewhere is set where the fault lies with this machine, which has no way there.
	elsewhere bool
}

// storedFound is what of the records of a zone counts here.
type storedFound struct {
	// challenges are the names of those that do not expire by themselves; the name
	// server knows the others at any time.
	challenges []record.Name
	// Of a zone with a DNS provider:
	servers   []string                     // of the NS records at the apex
	addresses map[record.Name][]netip.Addr // of those servers in the zone
}

func newInquirer() *inquirer {
	return &inquirer{slots: make(chan struct{}, inquiriesAtOnce), zones: make(map[record.Name]*inquiry)}
}

// look returns what is known of zones of an app, in their order. It has those asked that
// were not lately, and waits for them as long as the context lives and no longer.
func (q *inquirer) look(ctx context.Context, app *App, zones []*Zone) []findings {
	now := time.Now()
	list := make([]*inquiry, len(zones))
	waits := make([]<-chan struct{}, len(zones))
	for i, zone := range zones {
		list[i], waits[i] = q.begin(app, zone, now)
	}
	for _, done := range waits {
		select {
		case <-done:
		case <-ctx.Done():
		}
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	found := make([]findings, len(zones))
	for i, known := range list {
		if known != nil {
			found[i] = known.found
		}
	}
	return found
}

var closedChannel = func() chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}()

// begin begins an inquiry about a zone if the last one is old, and returns what is
// known with what to wait for. It returns nil if there is no room for another zone.
func (q *inquirer) begin(app *App, zone *Zone, now time.Time) (*inquiry, <-chan struct{}) {
	q.mu.Lock()
	defer q.mu.Unlock()
	known := q.zones[zone.apex]
	if known == nil {
		if len(q.zones) >= rememberedInquiries && !q.forget(now) {
			return nil, closedChannel
		}
		known = new(inquiry)
		q.zones[zone.apex] = known
	}
	if now.Sub(known.begun) >= inquiryInterval {
		known.begun, known.done = now, make(chan struct{})
		go q.inquire(app, zone, known, known.found, known.done)
	}
	return known, known.done
}

// forget makes room, by the zones that nobody has looked at for a while.
func (q *inquirer) forget(now time.Time) bool {
	for apex, known := range q.zones {
		if now.Sub(known.begun) >= inquiryInterval {
			delete(q.zones, apex)
		}
	}
	return len(q.zones) < rememberedInquiries
}

func (q *inquirer) inquire(app *App, zone *Zone, known *inquiry, before findings, done chan struct{}) {
	defer close(done)
	ctx, cancel := context.WithTimeout(context.Background(), inquiryTimeout)
	defer cancel()
	select {
	case q.slots <- struct{}{}:
		defer func() { <-q.slots }()
	case <-ctx.Done():
		return
	}
	found := findings{stored: before.stored, read: before.read}
	if now := time.Now(); zone.builtin {
		found.stored = app.readBuiltin(zone)
	} else if now.Sub(found.read) >= readInterval {
		found.stored, found.read = readStored(ctx, zone), now
	}
	found.asked = time.Now()
	found.servers = app.askServers(ctx, zone, found.stored)
	q.mu.Lock()
	defer q.mu.Unlock()
	known.found = found
}

// hasLast tells whether the last challenge that was found is at a name: records come in
// the order of names.
func (f *storedFound) hasLast(name record.Name) bool {
	n := len(f.challenges)
	return n > 0 && f.challenges[n-1] == name
}

// readBuiltin finds challenges that do not expire: a client that may write more than them
// need not have said that they are some.
func (a *App) readBuiltin(zone *Zone) *storedFound {
	found := new(storedFound)
	server := a.nameServer()
	if server == nil {
		return found
	}
	snapshot, ok := server.Snapshot(zone.apex)
	if !ok {
		return found
	}
	for r := range snapshot.Records(zone.apex) {
		if r.Expires == 0 && zone.isChallenge(r) && !found.hasLast(r.Name) {
			found.challenges = append(found.challenges, r.Name)
		}
	}
	return found
}

// readStored reads a zone at its DNS provider; nil if that fails.
func readStored(ctx context.Context, zone *Zone) *storedFound {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	entries, err := zone.records.list(ctx, zone.apex)
	if err != nil {
		seen.providerError(zone, asProblem(err, zone.apex))
		return nil
	}
	found := &storedFound{addresses: make(map[record.Name][]netip.Addr)}
	for e := range entries {
		switch {
		case e.typ == "NS" && e.owner == zone.apex:
			found.servers = append(found.servers, e.data)
		case e.typ == "A" || e.typ == "AAAA":
			if address, err := netip.ParseAddr(e.data); err == nil {
				found.addresses[e.owner] = append(found.addresses[e.owner], address)
			}
		case zone.holdsChallenge(e) && !found.hasLast(e.owner):
			found.challenges = append(found.challenges, e.owner)
		}
	}
	// This is remembered, and most addresses in a zone are not those of name servers.
	maps.DeleteFunc(found.addresses, func(name record.Name, _ []netip.Addr) bool {
		return !slices.Contains(found.servers, name.String())
	})
	return found
}

// holdsChallenge tells whether an entry of the zone looks like the answer to a challenge.
func (z *Zone) holdsChallenge(e entry) bool {
	if e.typ != "TXT" {
		return false
	}
	r, err := record.At(e.owner, e.typ, 0, e.data)
	return err == nil && z.isChallenge(r)
}

// isChallenge tells whether a record of the zone looks like the answer to a challenge.
func (z *Zone) isChallenge(r record.Record) bool {
	if r.Type != record.TypeTXT {
		return false
	}
	_, ok := record.ChallengeOf(r.Name)
	if !ok && z.CNAMETarget {
		_, ok = record.ChallengeAtTarget(r.Name, z.apex)
	}
	return ok && record.IsChallengeValue(r)
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
		asked.Go(func() { s.ask(ctx, zone.apex, a.nameServerPort(s.address)) })
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
		found.Go(func() { addresses[i] = a.addressesOf(ctx, name, stored) })
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
