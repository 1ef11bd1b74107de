package check

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/miekg/dns"

	"github.com/caddy-dns/bestdns/internal/nsquery"
	"github.com/caddy-dns/bestdns/internal/record"
)

// serverAnswer is what one name server says at one of its addresses, when it is
// asked for the zone's SOA record.
type serverAnswer struct {
	nsquery.Server
	udp, tcp nsquery.Answer
}

// soa returns the SOA record that the server answers with, nil if it does not.
func (a serverAnswer) soa() *dns.SOA { return cmp.Or(a.udp.SOA(), a.tcp.SOA()) }

// fault says what is wrong with an answer about the zone's SOA record, "" if nothing is.
func fault(a nsquery.Answer) string {
	switch {
	case a.SOA() != nil:
		return ""
	case a.Err != nil || a.Rcode != dns.RcodeSuccess:
		return a.Failure()
	case !a.Authoritative:
		return "answers, but not as an authority for the zone"
	}
	return "answers without the zone's SOA record"
}

// askServers asks each server over UDP and TCP for the zone's SOA record.
func (c *checker) askServers(ctx context.Context, zone record.Name, servers []nsquery.Server) []serverAnswer {
	q := nsquery.Question{Name: zone, Type: dns.TypeSOA}
	var udp, tcp []nsquery.Answer
	var asking sync.WaitGroup
	asking.Go(func() { udp = c.client.AskAllOver(ctx, "udp", servers, q) })
	asking.Go(func() { tcp = c.client.AskAllOver(ctx, "tcp", servers, q) })
	asking.Wait()
	answers := make([]serverAnswer, len(servers))
	for i, s := range servers {
		answers[i] = serverAnswer{s, udp[i], tcp[i]}
	}
	return answers
}

// authoritative returns the servers that answer for the zone over UDP or TCP.
func authoritative(answers []serverAnswer) []nsquery.Server {
	var servers []nsquery.Server
	for _, a := range answers {
		if a.soa() != nil {
			servers = append(servers, a.Server)
		}
	}
	return servers
}

// reportServers says of each server whether it answers as it should.
func (c *checker) reportServers(ctx context.Context, zone record.Name, answers []serverAnswer, d *nsquery.Delegation) {
	if len(answers) == 0 {
		c.emit(Step{Name: "server", Zone: zone.Plain(), Status: Skipped, Found: "no address of a name server is known"})
		return
	}
	ipv6 := sync.OnceValue(func() bool { return c.reachesIPv6(ctx, d) })
	for _, a := range answers {
		c.emit(c.serverStep(zone, a, ipv6))
	}
}

func (c *checker) serverStep(zone record.Name, a serverAnswer, ipv6 func() bool) Step {
	step := Step{Name: "server", Zone: zone.Plain(), Status: OK}
	udp, tcp := fault(a.udp), fault(a.tcp)
	if udp == "" && tcp == "" {
		step.Found = fmt.Sprintf("%s answers over UDP and TCP", a.Server)
		return step
	}
	if a.Addr().Is6() && mayBeUnreachable(a.udp.Err) && mayBeUnreachable(a.tcp.Err) && !ipv6() {
		step.Status = Skipped
		step.Found = fmt.Sprintf("%s could not be checked: this machine does not reach IPv6 addresses", a.Server)
		return step
	}
	step.Status = Wrong
	port53 := fmt.Sprintf("port %d of %s", nsquery.Port, a.Addr())
	switch {
	case udp == tcp && a.udp.Err == nil:
		step.Found = fmt.Sprintf("%s %s", a.Server, udp)
		step.Do = fmt.Sprintf("it does not serve the zone %s: see that the right program listens on %s, and that its configuration has the zone; for the built-in name server:", zone.Plain(), port53)
		step.Lines = []string{"zone " + zone.Plain() + " {", "\tns " + a.Name.Plain() + " " + a.Addr().String(), "}"}
		if !a.Name.In(zone) {
			step.Lines[1] = "\tns " + a.Name.Plain()
		}
	case udp != "" && tcp != "":
		step.Found = fmt.Sprintf("%s: %s over UDP; %s over TCP", a.Server, udp, tcp)
		step.Do = fmt.Sprintf("start the name server there, have it listen on that address, and let UDP and TCP to %s through every firewall (for the built-in name server, the option below); or take the server out of the zone's NS records", port53)
		step.Lines = []string{"listen :53"}
	case tcp != "":
		step.Found = fmt.Sprintf("%s answers over UDP, but over TCP: %s", a.Server, tcp)
		step.Do = fmt.Sprintf("let TCP to %s through every firewall, and have the server listen on it: CAs and resolvers come by TCP where an answer was cut", port53)
		step.Lines = []string{"listen :53"}
	default:
		step.Found = fmt.Sprintf("%s answers over TCP, but over UDP: %s", a.Server, udp)
		step.Do = fmt.Sprintf("let UDP to %s through every firewall, and have the server listen on it", port53)
		step.Lines = []string{"listen :53"}
	}
	if elsewhere := c.listensElsewhere(zone, a.Addr()); len(elsewhere) > 0 && len(step.Lines) == 1 {
		step.Do = fmt.Sprintf("the built-in name server listens on %s, and CAs and resolvers come to %s: forward UDP and TCP from there to it, on this machine or at the router before it", joinWords(elsewhere), port53)
		step.Lines = nil
	}
	return step
}

// listensElsewhere returns where the name server listens, if the zone is a built-in one and the server is
// reached at no port 53, or on a loopback address only.
func (c *checker) listensElsewhere(zone record.Name, at netip.Addr) []string {
	hosted, ok := c.hostedZone(zone)
	if !ok || len(hosted.NameServers) == 0 {
		return nil
	}
	all := c.Listen
	if len(hosted.Listen) > 0 {
		all = hosted.Listen
	}
	if slices.ContainsFunc(all, func(listen string) bool {
		host, port, _ := net.SplitHostPort(listen) // they were written as such
		address, err := netip.ParseAddr(host)
		return port == strconv.Itoa(nsquery.Port) && (err != nil || !address.IsLoopback() || at.IsLoopback())
	}) {
		return nil
	}
	return all
}

// mayBeUnreachable reports whether an error may come from this machine having no route to
// the address.
func mayBeUnreachable(err error) bool {
	return err != nil && (nsquery.IsTimeout(err) || nsquery.IsUnreachable(err))
}

// reachesIPv6 reports whether this machine reaches any of the parent's name servers
// over IPv6. If not, what it says about an IPv6 address is worth nothing.
func (c *checker) reachesIPv6(ctx context.Context, d *nsquery.Delegation) bool {
	if d == nil {
		return false
	}
	const enough = 4
	var others []nsquery.Server
	for _, s := range d.Parents {
		if s.Addr().Is6() && len(others) < enough {
			others = append(others, s)
		}
	}
	answers := c.client.AskAllOver(ctx, "udp", others, nsquery.Question{Name: d.Parent, Type: dns.TypeSOA})
	return slices.ContainsFunc(answers, func(a nsquery.Answer) bool { return !mayBeUnreachable(a.Err) })
}

// How long servers have that copy from one another.
const (
	copyTries = 3 // after the first answers
	copyWait  = 700 * time.Millisecond
)

// checkSOA reports whether all servers have the same zone. A change that is on its
// way between them gets a little time.
func (c *checker) checkSOA(ctx context.Context, zone record.Name, answers []serverAnswer) {
	servers := authoritative(answers)
	if len(servers) == 0 {
		return
	}
	first := make(map[nsquery.Server]*dns.SOA)
	for _, a := range answers {
		if soa := a.soa(); soa != nil {
			first[a.Server] = soa
		}
	}
	soas := first
	for try := 0; try < copyTries && len(distinct(soas, serial)) > 1; try++ {
		if !nsquery.Sleep(ctx, copyWait) {
			return
		}
		soas = c.askSOA(ctx, zone, servers)
	}
	if step, ok := compareSOA(zone, servers, first, soas); ok {
		c.emit(step)
	}
}

// compareSOA compares the SOA records of the servers, as they are and as they were a
// few seconds before.
func compareSOA(zone record.Name, servers []nsquery.Server, before, soas map[nsquery.Server]*dns.SOA) (step Step, ok bool) {
	step = Step{Name: "soa", Zone: zone.Plain(), Status: OK}
	switch {
	case len(distinct(soas, primary)) > 1:
		step.Status = Wrong
		step.Found = "the servers name different primaries in the SOA record, so they do not serve the same zone: " + differing(servers, soas, primary)
		step.Do = "let one server be the primary and the others copy from it, or take those out of the NS records that do not belong to it"
	case len(distinct(soas, serial)) > 1 && !stuck(before, soas):
		step.Status = Warning
		step.Found = "the zone changes faster than its servers follow: " + differing(servers, soas, serial)
		step.Do, step.Lines = "let clients wait for the last of them, beside propagation_timeout -1:", []string{"propagation_delay 30s"}
	case len(distinct(soas, serial)) > 1:
		step.Status = Wrong
		step.Found = "the servers have the zone at different serials, so a challenge may be at one and not at another: " + differing(servers, soas, serial)
		step.Do = "see that the primary notifies the others (NOTIFY) and lets them copy the zone (AXFR); until that is quick, let clients wait, beside propagation_timeout -1:"
		step.Lines = []string{"propagation_delay 30s"}
	default:
		for _, soa := range soas {
			step.Found = fmt.Sprintf("all servers have serial %d, primary %s", soa.Serial, primary(soa))
		}
	}
	return step, len(soas) > 0
}

// primary returns the primary that a SOA record names.
func primary(soa *dns.SOA) string { return strings.TrimSuffix(dns.CanonicalName(soa.Ns), ".") }

func serial(soa *dns.SOA) string { return fmt.Sprint(soa.Serial) }

// stuck reports whether a server stays at another serial than the last.
func stuck(before, after map[nsquery.Server]*dns.SOA) bool {
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

func (c *checker) askSOA(ctx context.Context, zone record.Name, servers []nsquery.Server) map[nsquery.Server]*dns.SOA {
	soas := make(map[nsquery.Server]*dns.SOA)
	for i, answer := range c.client.AskAll(ctx, servers, nsquery.Question{Name: zone, Type: dns.TypeSOA}) {
		if soa := answer.SOA(); soa != nil {
			soas[servers[i]] = soa
		}
	}
	return soas
}

// distinct returns the different values that the SOA records have.
func distinct(soas map[nsquery.Server]*dns.SOA, what func(*dns.SOA) string) map[string]bool {
	found := make(map[string]bool)
	for _, soa := range soas {
		found[what(soa)] = true
	}
	return found
}

// differing lists what each server has.
func differing(servers []nsquery.Server, soas map[nsquery.Server]*dns.SOA, what func(*dns.SOA) string) string {
	var texts []string
	for _, s := range servers {
		if soa := soas[s]; soa != nil {
			texts = append(texts, fmt.Sprintf("%s has %s", s, what(soa)))
		}
	}
	return strings.Join(texts, ", ")
}

// addressRecord is the record that gives a name server its address.
func addressRecord(s nsquery.Server) string {
	typ := "AAAA"
	if s.Addr().Is4() {
		typ = "A"
	}
	return fmt.Sprintf("%s %s %s", s.Name, typ, s.Addr())
}

func joinServers(servers []nsquery.Server) string {
	return joinWords(textsOf(servers, nsquery.Server.String))
}
