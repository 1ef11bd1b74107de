package check

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/miekg/dns"
)

// serverAnswer is what one name server says at one of its addresses, when it is
// asked for the zone's SOA record.
type serverAnswer struct {
	server
	udp, tcp reply
}

// reply is an answer over one network.
type reply struct {
	answer *dns.Msg
	err    error
}

// soa returns the zone's SOA record if the answer is the authority's.
func (r reply) soa() *dns.SOA {
	if r.err != nil || !r.answer.Authoritative || r.answer.Rcode != dns.RcodeSuccess {
		return nil
	}
	for _, rr := range r.answer.Answer {
		if soa, ok := rr.(*dns.SOA); ok && dns.CanonicalName(soa.Hdr.Name) == dns.CanonicalName(r.answer.Question[0].Name) {
			return soa
		}
	}
	return nil
}

// fault says what is wrong with the reply, "" if nothing is.
func (r reply) fault() string {
	switch {
	case r.err != nil:
		return reason(r.err)
	case r.soa() != nil:
		return ""
	case r.answer.Rcode != dns.RcodeSuccess:
		return "answers " + rcode(r.answer)
	case !r.answer.Authoritative:
		return "answers, but not as an authority for the zone"
	}
	return "answers without the zone's SOA record"
}

// askServers asks each server over UDP and TCP for the zone's SOA record.
func (c *checker) askServers(ctx context.Context, zone string, servers []server) []serverAnswer {
	answers := make([]serverAnswer, len(servers))
	inParallel(len(servers), func(i int) {
		q := query{name: zone, typ: dns.TypeSOA}
		a := serverAnswer{server: servers[i]}
		var wg sync.WaitGroup
		wg.Go(func() { a.udp.answer, a.udp.err = c.Dial.over(ctx, "udp", a.address(), q) })
		wg.Go(func() { a.tcp.answer, a.tcp.err = c.Dial.over(ctx, "tcp", a.address(), q) })
		wg.Wait()
		answers[i] = a
	})
	return answers
}

// authoritative returns the servers that answer for the zone over UDP or TCP.
func authoritative(answers []serverAnswer) []server {
	var servers []server
	for _, a := range answers {
		if a.udp.soa() != nil || a.tcp.soa() != nil {
			servers = append(servers, a.server)
		}
	}
	return servers
}

// reportServers says of each server whether it answers as it should.
func (c *checker) reportServers(ctx context.Context, zone string, answers []serverAnswer, d *delegation) {
	if len(answers) == 0 {
		c.emit(Step{Name: "server", Zone: plain(zone), Status: Skipped, Found: "no address of a name server is known"})
		return
	}
	ipv6 := sync.OnceValue(func() bool { return c.reachesIPv6(ctx, d) })
	for _, a := range answers {
		c.emit(c.serverStep(zone, a, ipv6))
	}
}

func (c *checker) serverStep(zone string, a serverAnswer, ipv6 func() bool) Step {
	step := Step{Name: "server", Zone: plain(zone), Status: OK}
	udp, tcp := a.udp.fault(), a.tcp.fault()
	if udp == "" && tcp == "" {
		step.Found = fmt.Sprintf("%s answers over UDP and TCP", a.server)
		return step
	}
	if a.addr.Is6() && noWay(a.udp.err) && noWay(a.tcp.err) && !ipv6() {
		step.Status = Skipped
		step.Found = fmt.Sprintf("%s could not be checked: this machine does not reach IPv6 addresses", a.server)
		return step
	}
	step.Status = Wrong
	port53 := fmt.Sprintf("port %d of %s", dnsPort, a.addr)
	switch {
	case udp == tcp && a.udp.err == nil:
		step.Found = fmt.Sprintf("%s %s", a.server, udp)
		step.Do = fmt.Sprintf("it does not serve the zone %s: see that the right program listens on %s, and that its configuration has the zone; for the built-in name server:", plain(zone), port53)
		step.Lines = []string{"zone " + plain(zone) + " {", "\tns " + plain(a.name) + " " + a.addr.String(), "}"}
		if !dns.IsSubDomain(zone, a.name) {
			step.Lines[1] = "\tns " + plain(a.name)
		}
	case udp != "" && tcp != "":
		step.Found = fmt.Sprintf("%s: %s over UDP; %s over TCP", a.server, udp, tcp)
		step.Do = fmt.Sprintf("start the name server there, have it listen on that address, and let UDP and TCP to %s through every firewall (for the built-in name server, the option below); or take the server out of the zone's NS records", port53)
		step.Lines = []string{"listen :53"}
	case tcp != "":
		step.Found = fmt.Sprintf("%s answers over UDP, but over TCP: %s", a.server, tcp)
		step.Do = fmt.Sprintf("let TCP to %s through every firewall, and have the server listen on it: CAs and resolvers come by TCP where an answer was cut", port53)
		step.Lines = []string{"listen :53"}
	default:
		step.Found = fmt.Sprintf("%s answers over TCP, but over UDP: %s", a.server, udp)
		step.Do = fmt.Sprintf("let UDP to %s through every firewall, and have the server listen on it", port53)
		step.Lines = []string{"listen :53"}
	}
	return step
}

// noWay reports whether an error may come from there being no way to the address.
func noWay(err error) bool { return err != nil && (isTimeout(err) || isUnreachable(err)) }

// reachesIPv6 reports whether this machine reaches any of the parent's name servers
// over IPv6. If not, what it says about an IPv6 address is worth nothing.
func (c *checker) reachesIPv6(ctx context.Context, d *delegation) bool {
	if d == nil {
		return false
	}
	const enough = 4
	var others []server
	for _, s := range d.parents {
		if s.addr.Is6() && len(others) < enough {
			others = append(others, s)
		}
	}
	reached := make([]bool, len(others))
	inParallel(len(others), func(i int) {
		_, err := c.Dial.over(ctx, "udp", others[i].address(), query{name: d.parent, typ: dns.TypeSOA})
		reached[i] = err == nil || !noWay(err)
	})
	return slices.Contains(reached, true)
}

// Patience with servers that copy from one another.
const (
	copyTries = 3 // after the first answers
	copyWait  = 700 * time.Millisecond
)

// checkSOA reports whether all servers have the same zone. A change that is on its
// way between them gets a little time.
func (c *checker) checkSOA(ctx context.Context, zone string, answers []serverAnswer) {
	servers := authoritative(answers)
	if len(servers) == 0 {
		return
	}
	first := make(map[server]*dns.SOA)
	for _, a := range answers {
		if soa := cmp.Or(a.udp.soa(), a.tcp.soa()); soa != nil {
			first[a.server] = soa
		}
	}
	soas := first
	for try := 0; try < copyTries && len(serials(soas)) > 1; try++ {
		if !sleep(ctx, copyWait) {
			return
		}
		soas = c.askSOA(ctx, zone, servers)
	}
	if step, ok := judgeSOA(zone, servers, first, soas); ok {
		c.emit(step)
	}
}

// judgeSOA compares the SOA records of the servers, as they are and as they were a
// few seconds before.
func judgeSOA(zone string, servers []server, before, soas map[server]*dns.SOA) (step Step, ok bool) {
	step = Step{Name: "soa", Zone: plain(zone), Status: OK}
	primaries := make(map[string][]server)
	for _, s := range servers {
		if soa := soas[s]; soa != nil {
			primaries[dns.CanonicalName(soa.Ns)] = append(primaries[dns.CanonicalName(soa.Ns)], s)
		}
	}
	switch {
	case len(primaries) > 1:
		step.Status = Wrong
		step.Found = "the servers name different primaries in the SOA record, so they do not serve the same zone: " + differing(servers, soas, func(s *dns.SOA) string { return plain(dns.CanonicalName(s.Ns)) })
		step.Do = "let one server be the primary and the others copy from it, or take those out of the NS records that do not belong to it"
	case len(serials(soas)) > 1 && !stuck(before, soas):
		step.Status = Warning
		step.Found = "the zone changes faster than its servers follow: " + differing(servers, soas, func(s *dns.SOA) string { return fmt.Sprint(s.Serial) })
		step.Do, step.Lines = "let clients wait for the last of them, beside propagation_timeout -1:", []string{"propagation_delay 30s"}
	case len(serials(soas)) > 1:
		step.Status = Wrong
		step.Found = "the servers have the zone at different serials, so a challenge may be at one and not at another: " + differing(servers, soas, func(s *dns.SOA) string { return fmt.Sprint(s.Serial) })
		step.Do = "see that the primary notifies the others (NOTIFY) and lets them copy the zone (AXFR); until that is quick, let clients wait, beside propagation_timeout -1:"
		step.Lines = []string{"propagation_delay 30s"}
	default:
		for _, soa := range soas {
			step.Found = fmt.Sprintf("all servers have serial %d, primary %s", soa.Serial, plain(dns.CanonicalName(soa.Ns)))
			break
		}
	}
	return step, len(soas) > 0
}

// stuck reports whether a server stands still at another serial than the last.
func stuck(before, after map[server]*dns.SOA) bool {
	var last uint32
	for _, soa := range after {
		if last == 0 || int32(soa.Serial-last) > 0 { // RFC 1982
			last = soa.Serial
		}
	}
	for s, soa := range after {
		if old := before[s]; old != nil && old.Serial == soa.Serial && soa.Serial != last {
			return true
		}
	}
	return false
}

func (c *checker) askSOA(ctx context.Context, zone string, servers []server) map[server]*dns.SOA {
	found := make([]*dns.SOA, len(servers))
	inParallel(len(servers), func(i int) {
		answer, err := c.Dial.ask(ctx, servers[i].address(), query{name: zone, typ: dns.TypeSOA})
		found[i] = reply{answer, err}.soa()
	})
	soas := make(map[server]*dns.SOA)
	for i, soa := range found {
		if soa != nil {
			soas[servers[i]] = soa
		}
	}
	return soas
}

func serials(soas map[server]*dns.SOA) map[uint32]struct{} {
	found := make(map[uint32]struct{})
	for _, soa := range soas {
		found[soa.Serial] = struct{}{}
	}
	return found
}

// differing lists what each server has.
func differing(servers []server, soas map[server]*dns.SOA, what func(*dns.SOA) string) string {
	var texts []string
	for _, s := range servers {
		if soa := soas[s]; soa != nil {
			texts = append(texts, fmt.Sprintf("%s has %s", s, what(soa)))
		}
	}
	return strings.Join(texts, ", ")
}

// sleep waits, and reports whether it could to the end.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
