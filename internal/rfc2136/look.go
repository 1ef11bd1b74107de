package rfc2136

import (
	"fmt"
	"time"

	"github.com/miekg/dns"

	"github.com/caddy-dns/bestdns/internal/record"
	"github.com/caddy-dns/bestdns/internal/tsig"
)

// This file reads what a primary says about RRsets.

// question is an RRset that is asked for.
type question struct {
	name record.Name
	typ  record.Type
}

func (q question) message() *dns.Msg {
	m := new(dns.Msg).SetQuestion(q.name.String(), uint16(q.typ))
	m.RecursionDesired = false
	return m
}

// look is what the primary serves of an RRset. The zero value is a look at a server that does
// not tell.
type look struct {
	// answered is set if the server has told what there is.
	answered bool
	records  []record.Record
	// alias is set if there is a CNAME instead.
	alias bool
	// cut is the zone below this one to which the server refers, "" if it does not.
	cut record.Name
	// exists is set if there is the name.
	exists bool
}

// serves reports whether a record is served.
func (l *look) serves(r record.Record) bool {
	for i := range l.records {
		if l.records[i].Same(r) {
			return true
		}
	}
	return false
}

// missing returns those of some records that are of this RRset and not served, none if the
// server does not tell.
func (l *look) missing(q question, records []record.Record) (missing []record.Record) {
	for _, r := range records {
		if l.answered && r.Name == q.name && r.Type == q.typ && !l.serves(r) {
			missing = append(missing, r)
		}
	}
	return missing
}

// readLook reads the answer to a question about a zone.
func readLook(zone record.Name, q question, m *dns.Msg) look {
	l := look{answered: m.Rcode == dns.RcodeSuccess || m.Rcode == dns.RcodeNameError, exists: m.Rcode == dns.RcodeSuccess}
	if !l.answered || m.Truncated { // of what fits in no message, only a transfer tells all
		return look{}
	}
	for _, rr := range m.Answer {
		if r, ok := recordOf(rr); ok && r.Name == q.name {
			l.alias = l.alias || r.Type == record.TypeCNAME && q.typ != record.TypeCNAME
			l.take(q, r)
		}
	}
	if len(m.Answer) > 0 {
		return l
	}
	return readReferral(zone, q, m, l)
}

// take adds a record if it is of the RRset.
func (l *look) take(q question, r record.Record) {
	if r.Name == q.name && r.Type == q.typ {
		l.records = append(l.records, r)
	}
}

// readReferral finds the zone below to which an answer without records refers: by a referral,
// or, where the server has that zone too, by its SOA record.
func readReferral(zone record.Name, q question, m *dns.Msg, l look) look {
	glue := false
	for _, rr := range m.Ns {
		r, ok := recordOf(rr)
		if !ok || r.Name == zone || !r.Name.In(zone) || !q.name.In(r.Name) {
			continue
		}
		switch r.Type {
		case record.TypeSOA:
			l.cut = r.Name
		case record.TypeNS:
			l.cut = r.Name
			l.take(q, r)
			glue = glue || record.Name(r.Data) == q.name
		}
	}
	if l.cut == "" || q.typ == record.TypeNS && q.name == l.cut && len(l.records) > 0 {
		l.cut = "" // the NS records of a delegation are what is asked for
		return l
	}
	if !glue || q.typ != record.TypeA && q.typ != record.TypeAAAA {
		return l
	}
	// The addresses of the name servers of a delegation are of use below it.
	l.cut = ""
	for _, rr := range m.Extra {
		if r, ok := recordOf(rr); ok {
			l.take(q, r)
		}
	}
	// A server may leave some out.
	l.answered = len(l.records) > 0
	return l
}

// recordOf returns a record of a message; ok is false if no zone can hold it.
func recordOf(rr dns.RR) (r record.Record, ok bool) {
	if rr.Header().Class != dns.ClassINET || rr.Header().Rrtype == dns.TypeTSIG {
		return record.Record{}, false
	}
	r, err := record.FromRR(rr)
	return r, err == nil
}

// ask asks for RRsets, each once. It is called by the sender.
func (z *Zone) ask(deadline time.Time, questions []question) (map[question]look, error) {
	questions = distinct(questions)
	looks := make(map[question]look, len(questions))
	if len(questions) == 0 {
		return looks, nil
	}
	key, err := z.questionKey(deadline)
	if err != nil {
		return nil, err
	}
	requests := make([]request, len(questions))
	for i, q := range questions {
		requests[i] = request{q.message(), key}
	}
	replies, _, err := z.exchange(deadline, requests...)
	if err != nil {
		return nil, err
	}
	for i, q := range questions {
		if replies[i].invalid == nil {
			looks[q] = readLook(z.Zone, q, replies[i].Msg)
		}
	}
	return looks, nil
}

// signing is whether questions are signed, and for how long that is known.
type signing struct {
	questions bool
	until     time.Time
}

// signingTime is how long it is known whether questions have to be signed.
const signingTime = time.Minute

// questionKey returns the key with which questions are signed. Servers need no signature on questions: Knot takes
// signed questions only of keys with an action query, and PowerDNS reads the key from its
// database each time. But the key may choose the view that is asked, and is changed, or who
// may ask at all. So both ways are tried: if the SOA record is the same, the key is not needed.
func (z *Zone) questionKey(deadline time.Time) (tsig.Key, error) {
	if z.Key.IsZero() {
		return noKey, nil
	}
	if now := time.Now(); !now.Before(z.signs.until) {
		soa := question{z.Zone, record.TypeSOA}
		replies, _, err := z.exchange(deadline, request{soa.message(), z.Key}, request{soa.message(), noKey})
		if err != nil {
			return noKey, err
		}
		signed, unsigned := soaOf(replies[0]), soaOf(replies[1])
		z.signs = signing{signed != "" && signed != unsigned, now.Add(signingTime)}
	}
	if z.signs.questions {
		return z.Key, nil
	}
	return noKey, nil
}

// soaOf returns the SOA record in an answer, "" if there is none.
func soaOf(r reply) string {
	if r.invalid == nil && len(r.Answer) == 1 && r.Answer[0].Header().Rrtype == dns.TypeSOA {
		return r.Answer[0].String()
	}
	return ""
}

// conflict returns why records of an RRset that was added to are not served, "" if no reason
// is known.
func (l *look) conflict(q question) string {
	switch {
	case l.alias:
		return fmt.Sprintf("there is a CNAME at %q, which must be alone at its name (RFC 2136 section 3.4.2.2), so %s records were ignored: delete the CNAME first, or write at its target", q.name.Plain(), q.typ)
	case l.cut != "":
		return fmt.Sprintf("%q is in %q, which is delegated to other name servers, so %s records there are not served: write them in that zone", q.name.Plain(), l.cut.Plain(), q.typ)
	case q.typ == record.TypeCNAME && l.answered && l.exists && len(l.records) == 0:
		return fmt.Sprintf("there are other records at or below %q, and a CNAME must be alone at its name (RFC 2136 section 3.4.2.2), so it was ignored: delete the others first", q.name.Plain())
	}
	return ""
}
