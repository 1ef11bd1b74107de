package rfc2136

import (
	"cmp"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/miekg/dns"

	"github.com/caddy-dns/bestdns/internal/record"
)

// This file makes of a change what is sent for it.

// job is a change on its way.
type job struct {
	client   string
	begun    func() // nil, or to be called when it is taken
	deadline time.Time

	op      record.Op
	given   []record.Record // to append or set, each once
	matches []record.Match  // to delete
	apexNS  bool            // it concerns the NS records of the apex
	// prerequisites are those of the change, in required as they are sent.
	prerequisites []record.Prerequisite
	required      []dns.RR
	// needsTransfer is set where the zone has to be read to know what a delete takes.
	needsTransfer bool
	// before are the RRsets to be asked for before the update is composed, after those to be
	// asked for when it has been answered.
	before, after []question

	// Composed, at once where there is nothing to be asked for before, and then its size in
	// bytes, without what compression saves.
	update  []dns.RR
	size    int
	existed map[question]look // the answers to before

	records []record.Record // what it did, if err is nil
	err     error
	done    chan struct{} // is closed when both are final

	finished bool // of the sender, once it has taken the job
}

func newJob(client string, deadline time.Time) *job {
	return &job{client: client, deadline: deadline, done: make(chan struct{})}
}

// errNeedsTransfer is the error of a delete of which questions cannot tell what it takes.
var errNeedsTransfer = errors.New("the zone has to be read first")

// mostQuestions is how many RRsets are asked for one delete, or one message. A zone transfer
// tells more at once.
const mostQuestions = 512

// prepare makes a job of a change.
func (z *Zone) prepare(client string, change record.Change, deadline time.Time) (*job, error) {
	switch { // what does one thing only can share a message, and is mended
	case change.OnlyAppends():
		change.Op = record.Append
	case change.OnlyDeletes():
		change.Op = record.Delete
	}
	j := newJob(client, deadline)
	j.op, j.matches = change.Op, change.Matches
	for _, r := range change.Records {
		if r.Type == record.TypeSOA {
			return nil, record.SOAError(r.Name)
		}
	}
	for _, m := range change.Matches {
		if m.Type == record.TypeSOA {
			return nil, record.SOAError(m.Name)
		}
	}
	switch change.Op {
	case record.Append, record.Set:
		return j, z.prepareWrite(j, change.Records)
	case record.Delete:
		z.prepareDelete(j)
		return j, nil
	case record.Update:
		return j, z.prepareUpdate(j, change)
	}
	return nil, fmt.Errorf("zone %q: unknown kind of change %d", z.Zone.Plain(), change.Op)
}

func (z *Zone) prepareWrite(j *job, records []record.Record) error {
	j.given = distinct(records)
	for _, r := range j.given {
		j.apexNS = j.apexNS || z.isApexNS(r.Name, r.Type)
		j.after = append(j.after, question{r.Name, r.Type})
	}
	j.after = distinct(j.after)
	if j.op == record.Set && j.apexNS || len(j.after) > 1 {
		// What was there before: to replace it by data, or to know what to take back.
		j.before = j.after
		return nil
	}
	return z.compose(j, nil)
}

// prepareDelete finds out what has to be asked for.
func (z *Zone) prepareDelete(j *job) {
	j.matches = slices.Clone(j.matches)
	for i := range j.matches {
		m := &j.matches[i]
		if _, whole := m.Record(); whole {
			m.TTL = nil
		} else if m.Type != 0 {
			j.after = append(j.after, question{m.Name, m.Type})
		}
		j.before = append(j.before, question{m.Name, m.Type})
		j.apexNS = j.apexNS || z.isApexNS(m.Name, m.Type)
		j.needsTransfer = j.needsTransfer || m.Type == 0
	}
	j.before, j.after = distinct(j.before), distinct(j.after)
	j.needsTransfer = j.needsTransfer || len(j.before) > mostQuestions
}

// distinct returns a list without repetitions, in order.
func distinct[T comparable](list []T) []T {
	if len(list) < 2 {
		return slices.Clone(list)
	}
	seen := make(map[T]bool, len(list))
	return slices.DeleteFunc(slices.Clone(list), func(v T) bool {
		was := seen[v]
		seen[v] = true
		return was
	})
}

func (z *Zone) isApexNS(name record.Name, t record.Type) bool {
	return name == z.Zone && t == record.TypeNS
}

// isEmpty reports whether nothing has to be sent for a job.
func (j *job) isEmpty() bool {
	return len(j.before)+len(j.update)+len(j.required) == 0
}

// finish ends a job, if that has not been done.
func (j *job) finish(err error) {
	if j.finished {
		return
	}
	j.finished, j.err = true, err
	close(j.done)
}

// compose makes the update of a job out of the answers to its questions.
func (z *Zone) compose(j *job, looks map[question]look) error {
	j.existed = looks
	switch j.op {
	case record.Append:
		j.records = j.given
		for _, r := range j.given {
			j.update = append(j.update, addRR(r))
		}
	case record.Set:
		j.records = j.given
		if err := z.composeSet(j, looks); err != nil {
			return err
		}
	case record.Delete:
		found := make([]record.Record, 0, len(j.before))
		for _, q := range j.before {
			l := looks[q]
			open := slices.Contains(j.after, q) || z.isApexNS(q.name, q.typ)
			if open && (!l.answered || l.cut != "") {
				return errNeedsTransfer
			}
			found = append(found, l.records...)
		}
		if err := z.composeDelete(j, found, func(q question) bool { return looks[q].answered && looks[q].cut == "" }); err != nil {
			return err
		}
	}
	return z.measure(j)
}

// composeSet deletes each RRset and adds the records of the new one. The apex's NS RRset
// cannot be deleted as such, nor its last record (RFC 2136 §3.4.2.3, §3.4.2.4), so there the
// new records are added before the others are deleted.
func (z *Zone) composeSet(j *job, looks map[question]look) error {
	for _, q := range j.after {
		if !z.isApexNS(q.name, q.typ) {
			j.update = append(j.update, deleteRRset(q))
		}
	}
	for _, r := range j.given {
		j.update = append(j.update, addRR(r))
	}
	if !j.apexNS {
		return nil
	}
	l := looks[question{z.Zone, record.TypeNS}]
	if !l.answered {
		return &Error{
			Kind: Failed, Zone: z.Zone, Unchanged: true,
			Reason: "its primary name server does not tell the zone's NS records, which have to be known to be replaced: see whether it answers queries from here",
		}
	}
	for _, old := range l.records {
		if !slices.ContainsFunc(j.given, old.Same) {
			j.update = append(j.update, deleteRR(old))
		}
	}
	return nil
}

// composeDelete deletes those of the records found that a match takes. A match that gives
// type and data is sent also where its record was not found, as it may be where questions do
// not reach, below a delegation; knows reports whether what was found is all that there is.
// If it is not, such a match counts as having deleted its record.
func (z *Zone) composeDelete(j *job, found []record.Record, knows func(question) bool) error {
	type taken struct {
		match int
		record.Record
	}
	var all []taken
	servers, deleted := 0, 0
	takes := z.taker(j.matches)
	had := make(map[record.Record]bool)
	services := make(map[question][]record.Record) // that go
	left := make(map[question]bool)                // of which some stay
	for _, r := range found {
		apexNS := z.isApexNS(r.Name, r.Type)
		if apexNS {
			servers++
		}
		i := takes(r)
		if i < 0 {
			left[question{r.Name, r.Type}] = true
			continue
		}
		if apexNS {
			deleted++
		}
		all = append(all, taken{i, r})
		if q := (question{r.Name, r.Type}); isService(r.Type) {
			services[q] = append(services[q], r)
		} else {
			j.update = append(j.update, deleteRR(r))
		}
		r.TTL = 0
		had[r] = true
	}
	if deleted > 0 && deleted == servers {
		return &record.RuleError{
			Rule: record.RuleApexNS, Conflict: true, Name: z.Zone, Type: record.TypeNS,
			Reason: "this would delete the zone's last NS record; append the new ones first",
		}
	}
	for q, records := range services {
		if !left[q] {
			j.update = append(j.update, deleteRRset(q))
			continue
		}
		for _, r := range records {
			j.update = append(j.update, deleteRR(r))
		}
	}
	for i, m := range j.matches {
		r, whole := m.Record()
		if !whole || had[r] || z.isApexNS(r.Name, r.Type) {
			continue
		}
		had[r] = true
		j.update = append(j.update, deleteRR(r))
		if !knows(question{r.Name, r.Type}) {
			all = append(all, taken{i, r})
		}
	}
	// As if each match had taken its own, one after the other.
	slices.SortStableFunc(all, func(a, b taken) int { return cmp.Compare(a.match, b.match) })
	for i := range all {
		j.records = append(j.records, all[i].Record)
	}
	return nil
}

// taker returns what reports which of the matches takes a record, -1 for none. No match takes
// the SOA record, or what a server makes when it signs the zone; the apex's NS records are
// taken only where they are named.
func (z *Zone) taker(matches []record.Match) func(record.Record) int {
	typed := slices.DeleteFunc(slices.Clone(matches), func(m record.Match) bool { return m.Type == 0 })
	all, named := record.NewMatcher(matches), record.NewMatcher(typed)
	return func(r record.Record) int {
		switch {
		case r.Type == record.TypeSOA, isSignature(r.Type):
			return -1
		case (z.isApexNS(r.Name, r.Type) || isSigningKey(r.Type)) && named.First(r) < 0:
			return -1
		}
		return all.First(r)
	}
}

// isService reports whether a type is SVCB or HTTPS. PowerDNS (4.7) ignores the deletion of one of
// their records by its data, and deletes them by RRset.
func isService(t record.Type) bool { return uint16(t) == dns.TypeSVCB || uint16(t) == dns.TypeHTTPS }

// isSignature reports whether records of a type are made by what signs a zone, at each change.
func isSignature(t record.Type) bool {
	switch uint16(t) {
	case dns.TypeRRSIG, dns.TypeNSEC, dns.TypeNSEC3, dns.TypeNSEC3PARAM:
		return true
	}
	return false
}

// isSigningKey reports whether records of a type are those of the keys that sign a zone.
func isSigningKey(t record.Type) bool {
	switch uint16(t) {
	case dns.TypeDNSKEY, dns.TypeCDNSKEY, dns.TypeCDS:
		return true
	}
	return false
}

// updateRoom is how many bytes of a message are for updates: the others of 65,535 are for
// header, zone section (RFC 2136 §2.3) and signature (RFC 8945 §4.2), with names of 255.
const updateRoom = 65535 - 12 - (255 + 4) - (255 + 10 + 255 + 16 + 64)

// measure sets the size of a job, and refuses one that does not fit in a message.
func (z *Zone) measure(j *job) error {
	j.size = 0
	for _, rr := range slices.Concat(j.required, j.update) {
		j.size += dns.Len(rr)
	}
	if j.size <= updateRoom {
		return nil
	}
	m := &dns.Msg{Answer: j.required, Ns: j.update, Compress: true}
	if m.Len() <= updateRoom {
		return nil
	}
	return &Error{
		Kind: TooLarge, Zone: z.Zone, Unchanged: true,
		Reason: fmt.Sprintf("the change does not fit in one DNS message of 65,535 bytes with its %d updates: send it in parts", len(j.update)),
	}
}

// addRR adds a record to an RRset (RFC 2136 §2.5.1). Data is passed on octet by octet, in the
// form of RFC 3597.
func addRR(r record.Record) dns.RR { return newRR(r, dns.ClassINET, r.TTL) }

// deleteRR deletes a record (RFC 2136 §2.5.4).
func deleteRR(r record.Record) dns.RR { return newRR(r, dns.ClassNONE, 0) }

func newRR(r record.Record, class uint16, ttl uint32) dns.RR {
	return &dns.RFC3597{
		Hdr:   dns.RR_Header{Name: r.Name.String(), Rrtype: uint16(r.Type), Class: class, Ttl: ttl},
		Rdata: hex.EncodeToString([]byte(r.Data)),
	}
}

// deleteRRset deletes an RRset (RFC 2136 §2.5.2).
func deleteRRset(q question) dns.RR {
	return &dns.ANY{Hdr: dns.RR_Header{Name: q.name.String(), Rrtype: uint16(q.typ), Class: dns.ClassANY}}
}
