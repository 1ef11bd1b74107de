package e2e

import (
	"fmt"
	"slices"
	"strings"

	"github.com/miekg/dns"

	"github.com/caddy-dns/bestdns/internal/record"
)

// answer is a DNS message in a form that can be compared: without what RFCs leave
// to the server. That is the order of records within an RRset (RFC 1034 §3.6), the
// order of RRsets in the authority and additional sections (none is given anywhere;
// in the answer section aliases come first, RFC 1034 §4.3.2), compression, and the
// case of letters in names (RFC 4343 §4.1; compression changes it).
type answer struct {
	Header                        string
	Question                      string
	Answer, Authority, Additional []rrset
	EDNS                          string
}

// String returns the answer in one line.
func (a answer) String() string {
	return fmt.Sprintf("%s; answer %s, authority %s, additional %s; EDNS %s", a.Header, a.Answer, a.Authority, a.Additional, a.EDNS)
}

// rrset is an RRset of an answer.
type rrset struct {
	Owner string
	Type  string
	// Records have TTL and data each, sorted. Repetitions stay.
	Records []string
}

// String returns the RRset in one line.
func (s rrset) String() string {
	return s.Owner + " " + s.Type + " " + strings.Join(s.Records, " | ")
}

// readAnswer reads a message.
func readAnswer(message []byte) (answer, error) {
	m := new(dns.Msg)
	if err := m.Unpack(message); err != nil {
		return answer{}, fmt.Errorf("reading an answer: %w", err)
	}
	a := answer{Header: headerText(m)}
	for _, q := range m.Question {
		a.Question += q.Name + " " + dns.Class(q.Qclass).String() + " " + record.Type(q.Qtype).String()
	}
	var err error
	if a.Answer, err = gatherSets(m.Answer); err != nil {
		return answer{}, err
	}
	if a.Authority, err = gatherSets(m.Ns); err != nil {
		return answer{}, err
	}
	var extra []dns.RR
	for _, rr := range m.Extra {
		if opt, ok := rr.(*dns.OPT); ok {
			a.EDNS += fmt.Sprintf("version %d, size %d, DO %v", opt.Version(), opt.UDPSize(), opt.Do())
			for _, o := range opt.Option {
				a.EDNS += fmt.Sprintf(", option %d %s", o.Option(), o)
			}
			a.EDNS += ";"
			continue
		}
		extra = append(extra, rr)
	}
	if a.Additional, err = gatherSets(extra); err != nil {
		return answer{}, err
	}
	slices.SortFunc(a.Authority, compareSets)
	slices.SortFunc(a.Additional, compareSets)
	return a, nil
}

func compareSets(a, b rrset) int { return strings.Compare(a.String(), b.String()) }

func headerText(m *dns.Msg) string {
	text := dns.RcodeToString[m.Rcode]
	if m.Opcode != dns.OpcodeQuery {
		text += " " + dns.OpcodeToString[m.Opcode]
	}
	for _, flag := range []struct {
		set  bool
		name string
	}{
		{m.Response, "QR"}, {m.Authoritative, "AA"}, {m.Truncated, "TC"}, {m.RecursionDesired, "RD"},
		{m.RecursionAvailable, "RA"}, {m.Zero, "Z"}, {m.AuthenticatedData, "AD"}, {m.CheckingDisabled, "CD"},
	} {
		if flag.set {
			text += " " + flag.name
		}
	}
	return text
}

// gatherSets gathers the records of a section that follow each other and have the same
// owner and type.
func gatherSets(section []dns.RR) ([]rrset, error) {
	var sets []rrset
	for _, rr := range section {
		data, err := dataText(rr)
		if err != nil {
			return nil, err
		}
		owner, err := ownerText(rr)
		if err != nil {
			return nil, err
		}
		typ := record.Type(rr.Header().Rrtype).String()
		if len(sets) == 0 || sets[len(sets)-1].Owner != owner || sets[len(sets)-1].Type != typ {
			sets = append(sets, rrset{Owner: owner, Type: typ})
		}
		last := &sets[len(sets)-1]
		last.Records = append(last.Records, fmt.Sprintf("%d %s %s", rr.Header().Ttl, dns.Class(rr.Header().Class), data))
	}
	for i := range sets {
		slices.Sort(sets[i].Records)
	}
	return sets, nil
}

// ownerText returns a record's owner in lower case.
func ownerText(rr dns.RR) (string, error) {
	var wire [256]byte
	n, err := dns.PackDomainName(rr.Header().Name, wire[:], 0, nil, false)
	if err != nil {
		return "", fmt.Errorf("record %s: %w", rr, err)
	}
	name, err := record.NameFromWire(wire[:n])
	if err != nil {
		return "", fmt.Errorf("record %s: %w", rr, err)
	}
	return name.String(), nil
}

// dataText returns a record's data with its names in lower case.
func dataText(rr dns.RR) (string, error) {
	wire := make([]byte, dns.Len(rr)+1)
	end, err := dns.PackRR(rr, wire, 0, nil, false)
	if err != nil {
		return "", fmt.Errorf("record %s: %w", rr, err)
	}
	const fixed = 2 + 2 + 4 + 2 // between owner and data
	owner, err := dns.PackDomainName(rr.Header().Name, make([]byte, 256), 0, nil, false)
	if err != nil {
		return "", fmt.Errorf("record %s: %w", rr, err)
	}
	t := record.Type(rr.Header().Rrtype)
	data, err := record.CanonicalData(t, string(wire[owner+fixed:end]))
	if err != nil {
		return "", fmt.Errorf("record %s: %w", rr, err)
	}
	if t == record.TypeTXT {
		return fmt.Sprintf("%q", data), nil // how the text is cut into strings counts
	}
	_, text := record.Record{Type: t, Data: data}.Text()
	return text, nil
}
