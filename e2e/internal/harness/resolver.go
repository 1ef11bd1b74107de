package harness

import (
	"fmt"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// Resolver is the recursive resolver of a test's small Internet: the one that
// the CA and the ACME clients ask. It sends questions for delegated zones to
// their name server, answers for other zones from records of its own, and
// follows CNAMEs from any zone into any other. Nothing is cached.
type Resolver struct {
	// Addr answers UDP and TCP.
	Addr string

	mu sync.Mutex
	// servers has the addresses of the name servers of each delegated zone.
	servers map[string][]string
	// hosted has the records of each zone that the resolver holds itself.
	hosted Authority
	// asked counts the questions of clients, not those that follow from a CNAME.
	asked map[dns.Question]int
}

// upstreamTimeout is how long a delegated name server may take. It is shorter
// than what the clients allow for, so that they learn of a silent one.
const upstreamTimeout = 2 * time.Second

// NewResolver starts a resolver that ends with the test.
func NewResolver(t testing.TB) *Resolver {
	t.Helper()
	r := &Resolver{
		servers: make(map[string][]string),
		hosted:  make(Authority),
		asked:   make(map[dns.Question]int),
	}
	tcp, udp := ListenBoth(t)
	r.Addr = tcp.Addr().String()
	ServeDNS(t, &dns.Server{Listener: tcp, Handler: r}, &dns.Server{PacketConn: udp, Handler: r})
	return r
}

// ListenBoth listens on one free port by TCP and UDP.
func ListenBoth(t testing.TB) (net.Listener, net.PacketConn) {
	t.Helper()
	for range 100 {
		tcp, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		udp, err := net.ListenPacket("udp", tcp.Addr().String())
		if err == nil {
			return tcp, udp
		}
		tcp.Close()
	}
	t.Fatal("no port is free for both TCP and UDP")
	return nil, nil
}

// Delegate says that the zone is served at these addresses, any of which is asked.
func (r *Resolver) Delegate(zone string, addrs ...string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.servers[dns.CanonicalName(zone)] = addrs
}

// Host makes the resolver the name server of the zone, with a SOA and the
// given records (presentation format, absolute names), and adds to it when
// called again.
func (r *Resolver) Host(t testing.TB, zone string, records ...string) {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.hosted.Host(t, zone, records...)
}

// Asked returns how often clients have asked for this name and type.
func (r *Resolver) Asked(name string, qtype uint16) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.asked[dns.Question{Name: dns.CanonicalName(name), Qtype: qtype, Qclass: dns.ClassINET}]
}

// ServeDNS implements dns.Handler.
func (r *Resolver) ServeDNS(w dns.ResponseWriter, query *dns.Msg) {
	reply := new(dns.Msg).SetReply(query)
	reply.RecursionAvailable = true
	if len(query.Question) == 1 {
		q := query.Question[0]
		r.count(q)
		r.resolve(reply, q, w.LocalAddr().Network())
	} else {
		reply.Rcode = dns.RcodeFormatError
	}
	size := dns.MaxMsgSize
	if w.LocalAddr().Network() == "udp" {
		size = dns.MinMsgSize
		if opt := query.IsEdns0(); opt != nil {
			size = int(opt.UDPSize())
			reply.SetEdns0(uint16(size), false)
		}
	}
	reply.Truncate(size)
	w.WriteMsg(reply)
}

func (r *Resolver) count(q dns.Question) {
	r.mu.Lock()
	defer r.mu.Unlock()
	q.Name = dns.CanonicalName(q.Name)
	r.asked[q]++
}

// resolve puts the answer to q into reply, following CNAMEs.
func (r *Resolver) resolve(reply *dns.Msg, q dns.Question, network string) {
	const longestChain = 8
	for range longestChain {
		part := r.ask(q, network)
		reply.Rcode = part.Rcode
		reply.Answer = append(reply.Answer, part.Answer...)
		reply.Ns = part.Ns
		target := danglingTarget(part.Answer, q)
		if target == "" {
			return
		}
		q.Name = target
	}
	reply.Rcode = dns.RcodeServerFailure
}

// danglingTarget returns the name at which a chain of CNAMEs leaves off without
// an answer to q, or "".
func danglingTarget(answer []dns.RR, q dns.Question) string {
	if q.Qtype == dns.TypeCNAME || len(answer) == 0 {
		return ""
	}
	if cname, ok := answer[len(answer)-1].(*dns.CNAME); ok {
		return cname.Target
	}
	return ""
}

// ask answers q from the one zone that its name is in.
func (r *Resolver) ask(q dns.Question, network string) *dns.Msg {
	zone, server, records := r.Zone(q.Name)
	switch {
	case server != "":
		return forward(q, server, network)
	case records != nil:
		return Lookup(q, zone, records)
	default:
		return &dns.Msg{MsgHdr: dns.MsgHdr{Rcode: dns.RcodeNameError}}
	}
}

// Zone finds the longest zone that holds name, and one of its servers.
func (r *Resolver) Zone(name string) (zone, server string, records []dns.RR) {
	r.mu.Lock()
	defer r.mu.Unlock()
	name = dns.CanonicalName(name)
	for off, end := 0, false; !end; off, end = dns.NextLabel(name, off) {
		zone = name[off:]
		if servers := r.servers[zone]; len(servers) > 0 {
			return zone, servers[rand.IntN(len(servers))], nil
		}
		if records = r.hosted[zone]; records != nil {
			return zone, "", records
		}
	}
	return "", "", nil
}

// forward asks a name server. One that does not answer makes SERVFAIL, as it
// does with resolvers in the world.
func forward(q dns.Question, server, network string) *dns.Msg {
	m := new(dns.Msg)
	m.Id = dns.Id()
	m.Question = []dns.Question{q}
	m.SetEdns0(1232, false)
	client := &dns.Client{Net: network, Timeout: upstreamTimeout}
	answer, _, err := client.Exchange(m, server)
	if err == nil && answer.Truncated {
		client.Net = "tcp"
		answer, _, err = client.Exchange(m, server)
	}
	if err != nil || answer.Rcode == dns.RcodeRefused {
		return &dns.Msg{MsgHdr: dns.MsgHdr{Rcode: dns.RcodeServerFailure}}
	}
	return answer
}

// Lookup answers q from the records of a zone; zone is used for its SOA.
func Lookup(q dns.Question, zone string, records []dns.RR) *dns.Msg {
	reply := &dns.Msg{MsgHdr: dns.MsgHdr{Rcode: dns.RcodeNameError}}
	var soa dns.RR
	for _, rr := range records {
		owner := dns.CanonicalName(rr.Header().Name)
		if rr.Header().Rrtype == dns.TypeSOA && owner == zone {
			soa = rr
		}
		if !dns.IsSubDomain(q.Name, owner) {
			continue
		}
		reply.Rcode = dns.RcodeSuccess // the name exists, if only as an empty non-terminal
		rrtype := rr.Header().Rrtype
		if strings.EqualFold(owner, q.Name) && (rrtype == q.Qtype || rrtype == dns.TypeCNAME) {
			reply.Answer = append(reply.Answer, dns.Copy(rr))
		}
	}
	if len(reply.Answer) == 0 && soa != nil {
		reply.Ns = []dns.RR{negative(soa)}
	}
	return reply
}

// negative returns a zone's SOA as negative answers have it: resolvers keep them for as long
// as its TTL says (RFC 2308 §3).
func negative(soa dns.RR) dns.RR {
	soa = dns.Copy(soa)
	if s, ok := soa.(*dns.SOA); ok {
		s.Hdr.Ttl = min(s.Hdr.Ttl, s.Minttl)
	}
	return soa
}

// Query asks the resolver as the function Query does.
func (r *Resolver) Query(t testing.TB, name string, qtype uint16) []string {
	t.Helper()
	return Query(t, r.Addr, name, qtype)
}

// Query asks a server by UDP and returns the data of the answers in presentation format.
func Query(t testing.TB, addr, name string, qtype uint16) []string {
	t.Helper()
	m := new(dns.Msg).SetQuestion(dns.Fqdn(name), qtype)
	m.SetEdns0(1232, false)
	answer, _, err := new(dns.Client).Exchange(m, addr)
	if err != nil {
		t.Fatal(fmt.Errorf("asking for %s %s: %w", name, dns.TypeToString[qtype], err))
	}
	if answer.Rcode != dns.RcodeSuccess && answer.Rcode != dns.RcodeNameError {
		t.Fatalf("asking for %s %s: %s", name, dns.TypeToString[qtype], dns.RcodeToString[answer.Rcode])
	}
	var data []string
	for _, rr := range answer.Answer {
		data = append(data, strings.TrimPrefix(rr.String(), rr.Header().String()))
	}
	return data
}
