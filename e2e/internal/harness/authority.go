package harness

import (
	"net"
	"testing"

	"github.com/miekg/dns"
)

// Authority is an authoritative name server with zones in memory, which refers to those
// that it delegates. Its zones do not change once it is asked.
type Authority map[string][]dns.RR // the records of each zone, by apex

// Host adds records (presentation format, absolute names) to a zone, and a SOA to one that
// is new.
func (a Authority) Host(t testing.TB, zone string, records ...string) {
	t.Helper()
	zone = dns.CanonicalName(zone)
	if a[zone] == nil {
		records = append(records, zone+" 60 IN SOA ns.invalid. hostmaster.invalid. 1 3600 600 1209600 5")
	}
	for _, s := range records {
		rr, err := dns.NewRR(s)
		if err != nil {
			t.Fatalf("record %q for the zone %s: %v", s, zone, err)
		}
		a[zone] = append(a[zone], rr)
	}
}

// Serve answers by UDP and TCP until the test ends.
func (a Authority) Serve(t testing.TB, addr string) {
	t.Helper()
	tcp, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	udp, err := net.ListenPacket("udp", addr)
	if err != nil {
		t.Fatal(err)
	}
	ServeDNS(t, &dns.Server{Listener: tcp, Handler: a}, &dns.Server{PacketConn: udp, Handler: a})
}

// ServeDNS implements dns.Handler.
func (a Authority) ServeDNS(w dns.ResponseWriter, query *dns.Msg) {
	reply := new(dns.Msg).SetReply(query)
	q := query.Question[0]
	name := dns.CanonicalName(q.Name)
	zone, hosted := a.zoneOf(name)
	if !hosted {
		reply.Rcode = dns.RcodeRefused
	} else if cut := a.cutAbove(zone, name); cut != "" {
		for _, rr := range a[zone] {
			if dns.CanonicalName(rr.Header().Name) == cut {
				reply.Ns = append(reply.Ns, rr)
			}
		}
		reply.Extra = a.addressesOf(zone, reply.Ns)
	} else {
		found := Lookup(q, zone, a[zone])
		reply.Rcode, reply.Answer, reply.Ns, reply.Authoritative = found.Rcode, found.Answer, found.Ns, true
	}
	if opt := query.IsEdns0(); opt != nil {
		reply.SetEdns0(1232, false)
	}
	_ = w.WriteMsg(reply)
}

func (a Authority) zoneOf(name string) (zone string, hosted bool) {
	for off, end := 0, false; !end; off, end = dns.NextLabel(name, off) {
		if _, hosted := a[name[off:]]; hosted {
			return name[off:], true
		}
	}
	_, hosted = a["."]
	return ".", hosted
}

// cutAbove returns the name at or above this one where its part of the zone is delegated.
func (a Authority) cutAbove(zone, name string) (cut string) {
	for _, rr := range a[zone] {
		owner := dns.CanonicalName(rr.Header().Name)
		if rr.Header().Rrtype == dns.TypeNS && owner != zone && dns.IsSubDomain(owner, name) {
			return owner
		}
	}
	return ""
}

// addressesOf returns the addresses that the zone has for name servers.
func (a Authority) addressesOf(zone string, servers []dns.RR) (addresses []dns.RR) {
	for _, server := range servers {
		for _, rr := range a[zone] {
			ns, ok := server.(*dns.NS)
			if ok && rr.Header().Rrtype == dns.TypeA && dns.CanonicalName(rr.Header().Name) == dns.CanonicalName(ns.Ns) {
				addresses = append(addresses, rr)
			}
		}
	}
	return addresses
}
