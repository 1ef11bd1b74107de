package check

import (
	"context"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/miekg/dns"
)

// world is a small Internet: name servers with addresses of their own, which the
// dialer finds at ports of the loopback interface, and a resolver that walks down
// from the root as real ones do, so that what is broken is broken for it too.
type world struct {
	t *testing.T

	mu      sync.Mutex             // guards all that follows, the servers and zones included
	servers map[string]*nameserver // by address
	named   map[string]*nameserver
	zones   map[string]*zonefile // by the name of their file
	// ipv6 is whether this machine reaches IPv6 addresses.
	ipv6 bool
	// stale are answers that the resolver remembers, by question.
	stale map[string]*dns.Msg
}

// nameserver is one program with its zones, at any number of addresses.
type nameserver struct {
	zones []*zonefile
	// How it is broken.
	noUDP, noTCP, silent, noAuthority bool
	serial                            uint32          // other than the zone's
	primary                           string          // other than the zone's
	old                               bool            // it has no copy of what was written since
	failing                           uint16          // the type of questions that it answers SERVFAIL
	cache                             map[string]bool // the names that it keeps for missing; nil: it keeps none
	late                              int             // how many more questions for TXT records until it has one

	udp, tcp string
}

// zonefile is the contents of a zone.
type zonefile struct {
	apex    string
	records []dns.RR
	written []dns.RR // by the service
}

const (
	resolverAddress = "192.0.2.53:53"
	rootAddress     = "192.0.2.1" // where the resolver begins
)

func newWorld(t *testing.T) *world {
	w := &world{t: t, servers: make(map[string]*nameserver), named: make(map[string]*nameserver), zones: make(map[string]*zonefile), stale: make(map[string]*dns.Msg), ipv6: true}
	w.serve(dns.HandlerFunc(w.resolver), []string{"192.0.2.53"}, new(nameserver))
	return w
}

// zone makes a zone of a master file. It is that of its first record.
func (w *world) zone(name, text string) {
	z := new(zonefile)
	z.add(w.t, text)
	z.apex = z.records[0].Header().Name
	z.add(w.t, z.apex+" SOA ns1.primary. hostmaster.primary. 1 3600 600 1209600 5")
	w.zones[name] = z
}

func (z *zonefile) add(t *testing.T, text string) {
	t.Helper()
	parser := dns.NewZoneParser(strings.NewReader(text), ".", "")
	parser.SetDefaultTTL(300)
	for rr, ok := parser.Next(); ok; rr, ok = parser.Next() {
		z.records = append(z.records, rr)
	}
	if err := parser.Err(); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
}

// remove takes away the records that begin with a text: name, type, data.
func (z *zonefile) remove(t *testing.T, beginning string) {
	t.Helper()
	before := len(z.records)
	z.records = slices.DeleteFunc(z.records, func(rr dns.RR) bool {
		fields := slices.Delete(strings.Fields(rr.String()), 1, 3)
		return strings.HasPrefix(strings.Join(fields, " "), beginning)
	})
	if len(z.records) == before {
		t.Fatalf("no record begins with %q", beginning)
	}
}

// nameserver starts a name server at some addresses.
func (w *world) nameserver(name string, addresses []string, zones ...*zonefile) {
	s := &nameserver{zones: zones}
	w.named[name] = s
	handler := dns.HandlerFunc(func(rw dns.ResponseWriter, query *dns.Msg) {
		w.mu.Lock()
		reply := s.reply(query)
		w.mu.Unlock()
		if reply != nil {
			rw.WriteMsg(reply)
		}
	})
	w.serve(handler, addresses, s)
}

func (w *world) serve(handler dns.Handler, addresses []string, s *nameserver) {
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		w.t.Fatal(err)
	}
	udp, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		w.t.Fatal(err)
	}
	s.tcp, s.udp = tcp.Addr().String(), udp.LocalAddr().String()
	for _, server := range []*dns.Server{{Listener: tcp, Handler: handler}, {PacketConn: udp, Handler: handler}} {
		started := make(chan struct{})
		server.NotifyStartedFunc = func() { close(started) }
		go server.ActivateAndServe()
		<-started
		w.t.Cleanup(func() { server.Shutdown() })
	}
	for _, address := range addresses {
		w.servers[netip.MustParseAddr(address).String()] = s
	}
}

// dial is the dialer of the checks.
func (w *world) dial(ctx context.Context, network, address string) (net.Conn, error) {
	refused := func(number syscall.Errno) error {
		return &net.OpError{Op: "dial", Net: network, Err: os.NewSyscallError("connect", number)}
	}
	at := netip.MustParseAddrPort(address)
	w.mu.Lock()
	defer w.mu.Unlock()
	s := w.servers[at.Addr().String()]
	switch {
	case at.Port() != 53:
		w.t.Errorf("port %d is dialed, not 53", at.Port())
		return nil, refused(syscall.ECONNREFUSED)
	case at.Addr().Is6() && !w.ipv6:
		return nil, refused(syscall.ENETUNREACH)
	case s == nil, network == "udp" && s.noUDP, network == "tcp" && s.noTCP:
		return nil, refused(syscall.ECONNREFUSED)
	}
	address = map[string]string{"udp": s.udp, "tcp": s.tcp}[network]
	return new(net.Dialer).DialContext(ctx, network, address)
}

// reply is what the name server answers; nil is silence.
func (s *nameserver) reply(query *dns.Msg) *dns.Msg {
	reply := new(dns.Msg).SetReply(query)
	q := query.Question[0]
	name := dns.CanonicalName(q.Name)
	if s.silent {
		return nil
	}
	if s.failing != 0 && q.Qtype == s.failing {
		reply.Rcode = dns.RcodeServerFailure
		return reply
	}
	z := s.zoneFor(name, q.Qtype)
	if z == nil {
		reply.Rcode = dns.RcodeRefused
		return reply
	}
	if cut := z.cut(name, q.Qtype); cut != "" {
		reply.Ns = z.at(cut, dns.TypeNS)
		for _, target := range targetsOf(reply.Ns, cut) {
			reply.Extra = append(reply.Extra, z.at(target, dns.TypeA)...)
			reply.Extra = append(reply.Extra, z.at(target, dns.TypeAAAA)...)
		}
		return reply
	}
	reply.Authoritative = !s.noAuthority
	reply.Answer = s.own(z, name, q.Qtype)
	if len(reply.Answer) == 0 {
		reply.Ns = s.own(z, z.apex, dns.TypeSOA)
		if !z.has(name) {
			reply.Rcode = dns.RcodeNameError
		}
	}
	return reply
}

// own returns the records of the server's copy of a zone.
func (s *nameserver) own(z *zonefile, name string, typ uint16) (records []dns.RR) {
	records = z.at(name, typ)
	defer func() {
		if s.cache != nil && typ == dns.TypeTXT && len(records) == 0 {
			s.cache[name] = true
		}
	}()
	switch {
	case typ == dns.TypeTXT && s.late > 0:
		s.late--
	case s.cache[name]:
	case !s.old:
		for _, rr := range z.written {
			if dns.CanonicalName(rr.Header().Name) == name && rr.Header().Rrtype == typ {
				records = append(records, rr)
			}
		}
	}
	for i, rr := range records {
		soa, ok := rr.(*dns.SOA)
		if !ok {
			continue
		}
		soa = dns.Copy(soa).(*dns.SOA)
		if s.serial != 0 {
			soa.Serial = s.serial
		}
		if s.primary != "" {
			soa.Ns = s.primary
		}
		records[i] = soa
	}
	return records
}

func (s *nameserver) zoneFor(name string, typ uint16) (found *zonefile) {
	for _, z := range s.zones {
		if typ == dns.TypeDS && z.apex == name && name != "." {
			continue // it belongs to the zone above, if that is here
		}
		if dns.IsSubDomain(z.apex, name) && (found == nil || len(z.apex) > len(found.apex)) {
			found = z
		}
	}
	return found
}

// cut returns the delegated name above the question's, or at it.
func (z *zonefile) cut(name string, typ uint16) (cut string) {
	for at := name; at != z.apex; at = parentOf(at) {
		if len(targetsOf(z.records, at)) > 0 && !(typ == dns.TypeDS && at == name) {
			cut = at
		}
	}
	return cut
}

// at returns the records of a type at a name, or the CNAME there.
func (z *zonefile) at(name string, typ uint16) (records []dns.RR) {
	for _, rr := range z.records {
		if t := rr.Header().Rrtype; dns.CanonicalName(rr.Header().Name) == name && (t == typ || t == dns.TypeCNAME) {
			records = append(records, rr)
		}
	}
	return records
}

func (z *zonefile) has(name string) bool {
	return slices.ContainsFunc(slices.Concat(z.records, z.written), func(rr dns.RR) bool {
		return dns.IsSubDomain(name, dns.CanonicalName(rr.Header().Name))
	})
}

// resolver answers as a validating resolver does that remembers nothing.
func (w *world) resolver(rw dns.ResponseWriter, query *dns.Msg) {
	w.mu.Lock()
	defer w.mu.Unlock()
	reply := new(dns.Msg).SetReply(query)
	reply.RecursionAvailable = true
	q := query.Question[0]
	if stale := w.stale[dns.CanonicalName(q.Name)+dns.TypeToString[q.Qtype]]; stale != nil {
		reply.Rcode, reply.Answer, reply.Ns = stale.Rcode, stale.Answer, stale.Ns
	} else {
		w.resolve(reply, dns.CanonicalName(q.Name), q.Qtype, query.CheckingDisabled, 0)
	}
	rw.WriteMsg(reply)
}

func (w *world) resolve(reply *dns.Msg, name string, typ uint16, unchecked bool, depth int) {
	const deepest = 12
	servers := []string{rootAddress}
	for range deepest {
		part := w.askOne(servers, name, typ)
		if part == nil || depth > deepest {
			reply.Rcode = dns.RcodeServerFailure
			return
		}
		if cut := referredTo(part); cut != "" {
			if !unchecked && w.bogus(cut) {
				reply.Rcode = dns.RcodeServerFailure
				return
			}
			servers = w.addressesOf(part, cut, depth)
			continue
		}
		reply.Rcode, reply.Ns = part.Rcode, part.Ns
		reply.Answer = append(reply.Answer, part.Answer...)
		if len(part.Answer) > 0 && typ != dns.TypeCNAME {
			if cname, ok := part.Answer[len(part.Answer)-1].(*dns.CNAME); ok {
				w.resolve(reply, dns.CanonicalName(cname.Target), typ, unchecked, depth+1)
			}
		}
		return
	}
	reply.Rcode = dns.RcodeServerFailure
}

func referredTo(answer *dns.Msg) string {
	if !answer.Authoritative && len(answer.Answer) == 0 && len(answer.Ns) > 0 && answer.Ns[0].Header().Rrtype == dns.TypeNS {
		return dns.CanonicalName(answer.Ns[0].Header().Name)
	}
	return ""
}

// askOne asks one server after the other until one is of use.
func (w *world) askOne(addresses []string, name string, typ uint16) *dns.Msg {
	for _, address := range addresses {
		s := w.servers[address]
		if s == nil || s.noUDP && s.noTCP {
			continue
		}
		answer := s.reply(new(dns.Msg).SetQuestion(name, typ))
		if answer != nil && (answer.Authoritative || referredTo(answer) != "") {
			return answer
		}
	}
	return nil
}

// addressesOf returns the addresses of the servers in a referral.
func (w *world) addressesOf(referral *dns.Msg, cut string, depth int) (addresses []string) {
	for _, name := range targetsOf(referral.Ns, cut) {
		found := referral.Extra
		if !slices.ContainsFunc(found, func(rr dns.RR) bool { return dns.CanonicalName(rr.Header().Name) == name }) && !dns.IsSubDomain(cut, name) {
			part := new(dns.Msg)
			w.resolve(part, name, dns.TypeA, true, depth+1)
			found = part.Answer
		}
		for _, rr := range found {
			switch rr := rr.(type) {
			case *dns.A:
				if rr.Hdr.Name == name {
					addresses = append(addresses, rr.A.String())
				}
			case *dns.AAAA:
				if rr.Hdr.Name == name {
					addresses = append(addresses, rr.AAAA.String())
				}
			}
		}
	}
	return addresses
}

// bogus reports whether a zone has a DS record and no key.
func (w *world) bogus(apex string) bool {
	z := w.zones[apex]
	if z == nil {
		return false
	}
	for _, parent := range w.zones {
		if parent != z && len(parent.at(apex, dns.TypeDS)) > 0 {
			return len(z.at(apex, dns.TypeDNSKEY)) == 0
		}
	}
	return false
}

// targetsOf returns the names in the NS records at owner.
func targetsOf(rrs []dns.RR, owner string) (names []string) {
	for _, rr := range rrs {
		if ns, ok := rr.(*dns.NS); ok && ns.Hdr.Name == owner {
			names = append(names, ns.Ns)
		}
	}
	return names
}

func parentOf(name string) string {
	next, _ := dns.NextLabel(name, 0)
	return dns.Fqdn(name[next:])
}
