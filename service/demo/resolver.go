package demo

import (
	"fmt"
	"net"
	"strings"
	"sync"

	"github.com/miekg/dns"
)

// resolver is the resolver of the CA and of certmagic. It is the name server of
// foreignZone too, which holds one CNAME, and asks BestDNS for all else. Like a
// real resolver, and unlike the CA, it follows CNAMEs.
type resolver struct {
	servers    []*dns.Server
	nameServer string // of BestDNS

	mu       sync.Mutex // guards watching
	watching map[string]chan string
}

// startResolver listens on a port of the loopback interface.
func startResolver(port int, nameServer string) (*resolver, error) {
	r := &resolver{nameServer: nameServer, watching: make(map[string]chan string)}
	packets, err := net.ListenPacket("udp", loopback(port))
	if err != nil {
		return nil, fmt.Errorf("starting the resolver: %w", err)
	}
	listener, err := net.Listen("tcp", loopback(port))
	if err != nil {
		packets.Close()
		return nil, fmt.Errorf("starting the resolver: %w", err)
	}
	r.servers = []*dns.Server{{PacketConn: packets, Handler: r}, {Listener: listener, Handler: r}}
	for _, server := range r.servers {
		ready := make(chan struct{})
		server.NotifyStartedFunc = func() { close(ready) }
		go func() { _ = server.ActivateAndServe() }() // until close
		<-ready
	}
	return r, nil
}

func (r *resolver) close() {
	for _, server := range r.servers {
		_ = server.Shutdown()
	}
}

// watch returns a channel that gets the first TXT record found at a name.
func (r *resolver) watch(name string) <-chan string {
	seen := make(chan string, 1)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.watching[dns.Fqdn(name)] = seen
	return seen
}

// ServeDNS answers one question.
func (r *resolver) ServeDNS(w dns.ResponseWriter, query *dns.Msg) {
	reply := new(dns.Msg).SetReply(query)
	reply.RecursionAvailable = true
	if len(query.Question) != 1 {
		reply.Rcode = dns.RcodeFormatError
	} else {
		r.resolve(reply, query.Question[0])
	}
	w.WriteMsg(reply)
}

// resolve fills in the answer, following CNAMEs.
func (r *resolver) resolve(reply *dns.Msg, question dns.Question) {
	const longestChain = 8
	for range longestChain {
		found := r.ask(question)
		reply.Answer = append(reply.Answer, found.Answer...)
		reply.Ns, reply.Rcode = found.Ns, found.Rcode
		r.report(found.Answer)
		target := ""
		for _, rr := range found.Answer {
			if alias, ok := rr.(*dns.CNAME); ok && question.Qtype != dns.TypeCNAME {
				target = alias.Target
			} else {
				target = ""
			}
		}
		if target == "" {
			return
		}
		question.Name = target
	}
	reply.Rcode = dns.RcodeServerFailure
}

// ask asks the name server of the zone that a name is in.
func (r *resolver) ask(question dns.Question) *dns.Msg {
	if dns.IsSubDomain(foreignZone+".", question.Name) {
		return askForeign(question)
	}
	query := new(dns.Msg).SetQuestion(question.Name, question.Qtype)
	reply, err := dns.Exchange(query, r.nameServer)
	if err != nil {
		reply = new(dns.Msg).SetRcode(query, dns.RcodeServerFailure)
	}
	return reply
}

// askForeign answers for foreignZone.
func askForeign(question dns.Question) *dns.Msg {
	soa, _ := dns.NewRR(foreignZone + ". 5 IN SOA ns1." + foreignZone + ". hostmaster." + foreignZone + ". 1 3600 600 1209600 5")
	alias, _ := dns.NewRR("_acme-challenge." + foreignDomain + ". 60 IN CNAME " + foreignTarget + ".")
	reply := new(dns.Msg)
	switch {
	case strings.EqualFold(question.Name, alias.Header().Name):
		reply.Answer = []dns.RR{alias}
	case strings.EqualFold(question.Name, soa.Header().Name) && question.Qtype == dns.TypeSOA:
		reply.Answer = []dns.RR{soa}
	default:
		if !dns.IsSubDomain(question.Name, alias.Header().Name) { // not even an empty non-terminal
			reply.Rcode = dns.RcodeNameError
		}
		reply.Ns = []dns.RR{soa}
	}
	return reply
}

// report tells those who watch the names of an answer.
func (r *resolver) report(answer []dns.RR) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, rr := range answer {
		txt, ok := rr.(*dns.TXT)
		seen := r.watching[dns.CanonicalName(rr.Header().Name)]
		if !ok || seen == nil {
			continue
		}
		select {
		case seen <- strings.Join(txt.Txt, ""):
		default: // told already
		}
	}
}
