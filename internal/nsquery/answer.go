package nsquery

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/miekg/dns"

	"github.com/caddy-dns/bestdns/internal/record"
)

// Answer is what a name server or resolver answers.
type Answer struct {
	Question Question
	// Err says why there is no answer; what follows is then empty.
	Err           error
	Rcode         int
	Authoritative bool
	// The sections of the answer.
	Records, Authority, Additional []dns.RR

	truncated bool
}

// Failed reports whether the server did not say whether there are such records: it did not
// answer, or could or would not tell.
func (a Answer) Failed() bool {
	return a.Err != nil || a.Rcode != dns.RcodeSuccess && a.Rcode != dns.RcodeNameError
}

// Failure says what came instead of an answer, for a sentence about the server.
func (a Answer) Failure() string {
	if a.Err != nil {
		return Reason(a.Err)
	}
	return "answers " + RcodeText(a.Rcode)
}

// SOA returns the SOA record of the zone that was asked about, if the server answers for the
// zone; nil if not.
func (a Answer) SOA() *dns.SOA {
	if a.Err != nil || !a.Authoritative || a.Rcode != dns.RcodeSuccess {
		return nil
	}
	return first(Of[*dns.SOA](a.Records, a.Question.Name))
}

// CNAME returns the target of the CNAME at the name that was asked about, "" if there is none.
func (a Answer) CNAME() record.Name {
	if cname := first(Of[*dns.CNAME](a.Records, a.Question.Name)); cname != nil {
		return nameOf(cname.Target)
	}
	return ""
}

// Texts returns the sorted texts of the TXT records in the answer, at the end of CNAMEs too.
func (a Answer) Texts() (texts []string) {
	for _, rr := range a.Records {
		txt, ok := rr.(*dns.TXT)
		if !ok {
			continue
		}
		if r, err := record.FromRR(dns.Copy(txt)); err == nil { // which resolves the library's escapes
			texts = append(texts, record.JoinStrings(r.Data))
		}
	}
	slices.Sort(texts)
	return slices.Compact(texts)
}

// RRset returns the records at the name and of the type that was asked about, as the server has
// them: of a delegation, and of the addresses that go with it, it tells in a referral.
func (a Answer) RRset() (records []record.Record) {
	sections := a.Records
	switch a.Question.Type {
	case dns.TypeNS:
		sections = slices.Concat(sections, a.Authority)
	case dns.TypeA, dns.TypeAAAA:
		sections = slices.Concat(sections, a.Additional)
	}
	for _, rr := range sections {
		if rr.Header().Rrtype != a.Question.Type || nameOf(rr.Header().Name) != a.Question.Name {
			continue
		}
		if r, err := record.FromRR(dns.Copy(rr)); err == nil { // which changes what it reads
			records = append(records, r)
		}
	}
	return records
}

// Referral returns the zone to which the server refers instead of an answer, "" if it does not.
func (a Answer) Referral() record.Name {
	if a.Err != nil || a.Authoritative || len(a.Records) > 0 || a.Rcode != dns.RcodeSuccess {
		return ""
	}
	for _, rr := range a.Authority {
		if cut := nameOf(rr.Header().Name); rr.Header().Rrtype == dns.TypeNS && cut != "" && a.Question.Name.In(cut) {
			return cut
		}
	}
	return ""
}

// NameServers returns the sorted names in the NS records of the zone that was asked about: its
// own, or those of a referral to it.
func (a Answer) NameServers() (own, referral []record.Name) {
	return targets(a.Records, a.Question.Name), targets(a.Authority, a.Question.Name)
}

// cutAbove returns the zone below parent to which the answer refers, the name that was asked
// about or one above it; "" if there is none.
func (a Answer) cutAbove(parent record.Name) record.Name {
	for _, rr := range a.Authority {
		cut := nameOf(rr.Header().Name)
		if rr.Header().Rrtype == dns.TypeNS && cut != parent && cut != "" && cut.In(parent) && a.Question.Name.In(cut) {
			return cut
		}
	}
	return ""
}

// zone returns the zone that the answer shows its question's name to be in, "" if it shows
// none. An alias shows the zone of its target.
func (a Answer) zone() record.Name {
	for _, rr := range slices.Concat(a.Records, a.Authority) {
		switch owner := nameOf(rr.Header().Name); rr.Header().Rrtype {
		case dns.TypeCNAME, dns.TypeDNAME:
			return ""
		case dns.TypeSOA:
			if owner != "" && a.Question.Name.In(owner) {
				return owner
			}
		}
	}
	return ""
}

// How many name servers of a zone are looked at, addresses of one of them, and addresses of
// all. The root has 13 with two each.
const (
	mostNames     = 32
	mostAddresses = 8
	mostServers   = 64
)

func targets(rrs []dns.RR, owner record.Name) (names []record.Name) {
	for _, ns := range Of[*dns.NS](rrs, owner) {
		if name := nameOf(ns.Ns); name != "" && len(names) < mostNames && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	sortNames(names)
	return names
}

func sortNames(names []record.Name) {
	slices.SortFunc(names, func(a, b record.Name) int { return strings.Compare(a.String(), b.String()) })
}

// addresses returns the addresses in A and AAAA records; of one name alone, unless it is "".
func addresses(rrs []dns.RR, name record.Name) (found []netip.Addr) {
	for _, rr := range rrs {
		var addr netip.Addr
		switch rr := rr.(type) {
		case *dns.A:
			addr, _ = netip.AddrFromSlice(rr.A)
		case *dns.AAAA:
			addr, _ = netip.AddrFromSlice(rr.AAAA)
		}
		if addr = addr.Unmap(); addr.IsValid() && (name == "" || nameOf(rr.Header().Name) == name) &&
			len(found) < mostAddresses && !slices.Contains(found, addr) {
			found = append(found, addr)
		}
	}
	return found
}

// Of returns the records of a type at a name.
func Of[T dns.RR](rrs []dns.RR, owner record.Name) (found []T) {
	for _, rr := range rrs {
		if r, ok := rr.(T); ok && nameOf(rr.Header().Name) == owner {
			found = append(found, r)
		}
	}
	return found
}

func first[T any](list []*T) *T {
	if len(list) == 0 {
		return nil
	}
	return list[0]
}

// nameOf returns a name as the DNS library has it, "" if it is invalid.
func nameOf(text string) record.Name {
	name, _ := record.NameFromLibrary(text)
	return name
}
