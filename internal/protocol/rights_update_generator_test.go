package protocol

import (
	"fmt"
	"slices"
	"strings"

	"github.com/miekg/dns"
)

// Updates as messages, out of what they mean.

// naiveUpdate is what an update wants.
type naiveUpdate struct {
	client   string
	zone     labels
	focus    labels // the name that it is mostly about
	requires []requirement
	steps    []step
	fault    string // of the message; "" if it has none
}

// requirement is a prerequisite.
type requirement struct {
	owner  labels
	typ    string // "" for the name
	exists bool
	data   []string // nil: any
	fault  string
}

// step is one update of many.
type step struct {
	op    string // add, delete, clear (an RRset) or empty (a name)
	owner labels
	typ   string // "" to empty a name
	data  string // as a listing has it
	ttl   uint32
	fault string // formerr, or invalid
}

// What makes a record a fault.
const (
	formErr = "formerr"
	invalid = "invalid"
)

var typeNumbers = map[string]uint16{
	"": dns.TypeANY, "TXT": dns.TypeTXT, "A": dns.TypeA, "NS": dns.TypeNS, "CNAME": dns.TypeCNAME, "DS": dns.TypeDS, "SOA": dns.TypeSOA, "TYPE65280": 65280, "DNAME": dns.TypeDNAME,
}

// dataOf makes data for a type, as a listing has it.
func (w *rightsWorld) dataOf(typ string) string {
	switch typ {
	case "TXT":
		return w.says()
	case "A":
		return fmt.Sprintf("192.0.2.%d", w.IntN(4))
	}
	return map[string]string{
		"NS": "ns.example.", "CNAME": "target.example.", "DS": "1 1 1 0000000000000000000000000000000000000000",
		"SOA": "ns.example. h.example. 1 2 3 4 5", "TYPE65280": `\# 1 00`,
	}[typ]
}

// wire returns data in wire form, in hexadecimal digits.
func (w *rightsWorld) wire(typ, data string) string {
	switch typ {
	case "TXT":
		if len(data) > 0 && len(data) < 256 && w.chance(15) { // in two strings
			cut := w.IntN(len(data))
			return fmt.Sprintf("%02x%x%02x%x", cut, data[:cut], len(data)-cut, data[cut:])
		}
		return fmt.Sprintf("%02x%x", len(data), data)
	case "A":
		return fmt.Sprintf("c00002%02x", data[len(data)-1]-'0')
	case "NS":
		return fmt.Sprintf("%x", dnsName(data))
	}
	return map[string]string{
		"CNAME": "06746172676574076578616d706c6500", "DS": "00010101" + "0000000000000000000000000000000000000000",
		"SOA": "026e73076578616d706c6500" + "0168076578616d706c6500" + "0000000100000002000000030000000400000005", "TYPE65280": "00", "DNAME": "00",
	}[typ]
}

// dnsName returns a name of plain labels in wire form.
func dnsName(name string) (wire []byte) {
	for _, label := range strings.Split(name, ".") { // the last is empty
		wire = append(append(wire, byte(len(label))), label...)
	}
	return wire
}

// update makes an update of a client, mostly about one name.
func (w *rightsWorld) update(client string) naiveUpdate {
	focus := w.owned(client)
	u := naiveUpdate{client: client, zone: w.name(), focus: focus.owner}
	switch zone := w.naive[client].zoneOf(focus.owner); {
	case w.chance(10):
	case zone != nil:
		u.zone = zone.name
	case len(focus.owner) > 1: // of a domain hosted elsewhere
		u.zone = focus.owner[1:]
	}
	for n := 1 + w.IntN(3); n > 0 || w.chance(25); n-- {
		u.steps = append(u.steps, w.step(u))
	}
	if w.chance(5) {
		u.steps = nil
	}
	for w.chance(20) {
		u.requires = append(u.requires, w.requirement(u))
	}
	if w.chance(2) {
		u.fault = formErr
	}
	return u
}

// near makes a name in the zone of an update, mostly the one that it is about.
func (w *rightsWorld) near(u naiveUpdate) labels {
	if w.chance(88) {
		return u.focus
	}
	owner := w.owned(u.client).owner
	for i := 0; i < 8 && !owner.in(u.zone); i++ {
		owner = w.owned(u.client).owner
	}
	return owner
}

func (w *rightsWorld) step(u naiveUpdate) step {
	s := step{op: pick(w, "add", "add", "add", "delete", "clear", "clear", "empty"), owner: w.near(u), typ: "TXT"}
	challenge := slices.Contains(s.owner, "_acme-challenge") || w.zones[0].target && s.owner.in(w.zones[0].name)
	if !challenge && w.chance(60) || w.chance(8) {
		s.typ = pick(w, "TXT", "A", "A", "NS", "NS", "CNAME", "DS", "SOA", "TYPE65280")
	}
	switch s.op {
	case "add":
		s.data, s.ttl = w.dataOf(s.typ), pick(w, uint32(0), 60, 300)
	case "delete":
		s.data = w.dataOf(s.typ)
	case "empty":
		s.typ = ""
	}
	switch {
	case w.chance(1):
		s.fault = formErr
	case s.op == "add" && w.chance(1):
		s.fault, s.typ = invalid, "DNAME"
	}
	return s
}

func (w *rightsWorld) requirement(u naiveUpdate) requirement {
	r := requirement{owner: w.near(u), typ: pick(w, "", "TXT", "TXT", "A", "SOA", "NS"), exists: w.chance(50)}
	if w.chance(20) {
		r.owner = append(labels{pick(w, "a", "b", "x")}, u.zone...)
	}
	if r.typ != "" && r.typ != "SOA" && w.chance(40) {
		r.exists, r.data = true, []string{w.dataOf(r.typ)}
		zone := w.naive[u.client].zoneOf(r.owner)
		if zone != nil && w.chance(70) { // what is there
			r.data = nil
			for _, h := range w.state[zone.name.slashed()] {
				if slices.Equal(h.owner, r.owner) && h.typ == r.typ {
					r.data = append(r.data, h.data)
				}
			}
			slices.Sort(r.data)
		}
	}
	if w.chance(2) {
		r.fault = formErr
	}
	return r
}

// message writes an update.
func (w *rightsWorld) message(u naiveUpdate) []byte {
	w.t.Helper()
	m := new(dns.Msg)
	m.SetUpdate(w.absolute(u.zone))
	m.Compress = w.chance(30)
	for _, r := range u.requires {
		m.Answer = append(m.Answer, w.requirementRRs(r)...)
	}
	for _, s := range u.steps {
		m.Ns = append(m.Ns, w.stepRR(s))
	}
	switch {
	case u.fault == "":
	case w.chance(30):
		m.Question[0].Qtype = dns.TypeA
	case w.chance(50):
		m.Question[0].Qclass = dns.ClassCHAOS
	default:
		m.Question = append(m.Question, m.Question[0])
	}
	message, err := m.Pack()
	if err != nil {
		w.t.Fatalf("%+v: %v", u, err)
	}
	return message
}

// absolute writes a name as the library has it.
func (w *rightsWorld) absolute(name labels) string {
	if len(name) == 0 {
		return "."
	}
	return w.text(name) + "."
}

func (w *rightsWorld) rr(owner labels, typ string, class uint16, ttl uint32, rdata string) dns.RR {
	return &dns.RFC3597{Hdr: dns.RR_Header{Name: w.absolute(owner), Rrtype: typeNumbers[typ], Class: class, Ttl: ttl}, Rdata: rdata}
}

func (w *rightsWorld) stepRR(s step) dns.RR {
	switch s.op {
	case "add":
		if s.fault == formErr {
			return w.rr(s.owner, "A", dns.ClassCHAOS, s.ttl, "c0000201")
		}
		return w.rr(s.owner, s.typ, dns.ClassINET, s.ttl, w.wire(s.typ, s.data))
	case "delete":
		if s.fault == formErr {
			return w.rr(s.owner, s.typ, dns.ClassNONE, 60, w.wire(s.typ, s.data))
		}
		return w.rr(s.owner, s.typ, dns.ClassNONE, 0, w.wire(s.typ, s.data))
	}
	switch {
	case s.fault == "":
		return w.rr(s.owner, s.typ, dns.ClassANY, 0, "")
	case w.chance(50):
		return w.rr(s.owner, "A", dns.ClassANY, 0, "c0000201")
	}
	return w.rr(s.owner, s.typ, dns.ClassANY, 60, "")
}

func (w *rightsWorld) requirementRRs(r requirement) (list []dns.RR) {
	class := uint16(dns.ClassANY)
	if !r.exists {
		class = dns.ClassNONE
	}
	switch {
	case r.fault != "" && w.chance(30):
		return []dns.RR{w.rr(r.owner, r.typ, class, 60, "")}
	case r.fault != "" && w.chance(50):
		return []dns.RR{w.rr(r.owner, "A", class, 0, "c0000201")}
	case r.fault != "":
		return []dns.RR{w.rr(r.owner, "", dns.ClassINET, 0, "")}
	case r.data == nil:
		return []dns.RR{w.rr(r.owner, r.typ, class, 0, "")}
	}
	for _, data := range r.data {
		list = append(list, w.rr(r.owner, r.typ, dns.ClassINET, 0, w.wire(r.typ, data)))
	}
	return list
}
