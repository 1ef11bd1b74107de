package rfc2136

import (
	"encoding/hex"
	"errors"

	"github.com/miekg/dns"

	"github.com/caddy-dns/bestdns/internal/record"
)

// This file passes an update on as it is: the primary goes by its prerequisites, and has its
// steps done in order.

// prepareUpdate makes the message of an update, which no other change shares.
func (z *Zone) prepareUpdate(j *job, change record.Change) error {
	j.given, j.prerequisites = distinct(change.Left()), change.Prerequisites
	for _, r := range j.given {
		j.after = append(j.after, question{r.Name, r.Type})
	}
	j.after = distinct(j.after)
	j.records = j.given
	records, matches := change.Records, change.Matches
	for _, op := range change.Order {
		if op == record.Append {
			j.update = append(j.update, addRR(records[0]))
			records = records[1:]
			continue
		}
		j.update = append(j.update, deleteMatch(matches[0]))
		matches = matches[1:]
	}
	for _, q := range change.Prerequisites {
		j.required = append(j.required, prerequisiteRRs(q)...)
	}
	return z.measure(j)
}

// deleteMatch deletes a record, an RRset or all RRsets of a name (RFC 2136 §2.5.2 to §2.5.4). The
// apex's SOA and NS records are for the primary to keep.
func deleteMatch(m record.Match) dns.RR {
	if r, whole := m.Record(); whole {
		return deleteRR(r)
	}
	typ := dns.TypeANY
	if m.Type != 0 {
		typ = uint16(m.Type)
	}
	return deleteRRset(question{m.Name, record.Type(typ)})
}

// prerequisiteRRs writes a prerequisite (RFC 2136 §2.4).
func prerequisiteRRs(q record.Prerequisite) (list []dns.RR) {
	header := dns.RR_Header{Name: q.Name.String(), Rrtype: uint16(q.Type), Class: dns.ClassANY}
	if q.Type == 0 {
		header.Rrtype = dns.TypeANY
	}
	if !q.Exists {
		header.Class = dns.ClassNONE
	}
	if q.Data == nil {
		return []dns.RR{&dns.ANY{Hdr: header}}
	}
	header.Class = dns.ClassINET
	for _, data := range q.Data {
		list = append(list, &dns.RFC3597{Hdr: header, Rdata: hex.EncodeToString([]byte(data))})
	}
	return list
}

// notMet returns the error of an update whose prerequisites are not met, nil if another error is why.
func (j *job) notMet(err error) error {
	var e *Error
	if !errors.As(err, &e) || !e.Unchanged {
		return nil
	}
	for _, q := range j.prerequisites {
		if q.Rcode() == e.Rcode {
			return &record.PrerequisiteError{Prerequisite: q}
		}
	}
	return nil
}
