package nameserver

import (
	"encoding/binary"
	"errors"
	"iter"
	"math"
	"slices"

	"github.com/caddy-dns/bestdns/internal/record"
)

// rrset is the records of one type at one name, packed one after the other:
//
//	TTL      uint32, seconds
//	client   uint32, whose record it is, 0 for no one's
//	expires  uint32, Unix seconds, 0 for never
//	length   uint16, of the data
//	data     RDATA in uncompressed wire form
//
// all in network byte order. The store holds exactly these bytes, so that a load
// is a copy, and an answer is written straight from them. An rrset is never empty;
// "" is none.
type rrset string

// node is all that is at one name, RRset after RRset in ascending order of
// type, each as
//
//	type  uint16
//	size  uint32, of the rrset
//	rrset
//
// in one string, because a record then costs one allocation and no pointers: with
// key and tree, a name with one challenge TXT takes 131 bytes beyond name and text.
type node string

const (
	setHeader    = 2 + 4
	recordHeader = 4 + 4 + 4 + 2
)

// packedRecord is a record of an rrset, its data still a part of it.
type packedRecord struct {
	ttl     uint32
	client  uint32
	expires int64
	data    string
}

// record returns the record of a type at a name.
func (r packedRecord) record(name record.Name, t record.Type) record.Record {
	return record.Record{Name: name, Type: t, TTL: r.ttl, Data: r.data, Expires: r.expires, Client: r.client}
}

// next splits off the first record.
func (s rrset) next() (packedRecord, rrset) {
	end := recordHeader + int(uint16At(string(s), 12))
	return packedRecord{
		ttl:     uint32At(string(s), 0),
		client:  uint32At(string(s), 4),
		expires: int64(uint32At(string(s), 8)),
		data:    string(s[recordHeader:end]),
	}, s[end:]
}

func appendRecord(buf []byte, r record.Record) []byte {
	buf = binary.BigEndian.AppendUint32(buf, r.TTL)
	buf = binary.BigEndian.AppendUint32(buf, r.Client)
	buf = binary.BigEndian.AppendUint32(buf, uint32(min(r.Expires, math.MaxUint32)))
	buf = binary.BigEndian.AppendUint16(buf, uint16(len(r.Data)))
	return append(buf, r.Data...)
}

// errPacked is what checkSet says of bytes that no rrset consists of.
var errPacked = errors.New("not a packed RRset")

// checkSet reports whether b can be used as an rrset: the methods of rrset trust
// what they are given, and what comes from disk may be anything.
func checkSet(b []byte) error {
	if len(b) == 0 {
		return errPacked
	}
	for len(b) > 0 {
		if len(b) < recordHeader {
			return errPacked
		}
		end := recordHeader + int(binary.BigEndian.Uint16(b[12:]))
		if len(b) < end || binary.BigEndian.Uint32(b) > record.MaxTTL {
			return errPacked
		}
		b = b[end:]
	}
	return nil
}

// next splits off the first RRset.
func (n node) next() (record.Type, rrset, node) {
	end := setHeader + int(uint32At(string(n), 2))
	return record.Type(uint16At(string(n), 0)), rrset(n[setHeader:end]), n[end:]
}

// find returns the RRset of a type, "" if there is none.
func (n node) find(t record.Type) rrset {
	for n != "" {
		var (
			typ record.Type
			set rrset
		)
		if typ, set, n = n.next(); typ == t {
			return set
		}
	}
	return ""
}

// appendSet appends an RRset to a node in the making; the caller sees to the order.
func appendSet(buf []byte, t record.Type, set rrset) []byte {
	buf = binary.BigEndian.AppendUint16(buf, uint16(t))
	buf = binary.BigEndian.AppendUint32(buf, uint32(len(set)))
	return append(buf, set...)
}

// packNode packs the records of one name. Within an RRset they stay in the order
// given. It sorts records in place.
func packNode(records []record.Record) node {
	slices.SortStableFunc(records, func(a, b record.Record) int { return int(a.Type) - int(b.Type) })
	size := 0
	for i := range records {
		size += setHeader + recordHeader + len(records[i].Data)
	}
	buf := make([]byte, 0, size)
	for len(records) > 0 {
		start := len(buf)
		t := records[0].Type
		buf = appendSet(buf, t, "")
		for len(records) > 0 && records[0].Type == t {
			buf = appendRecord(buf, records[0])
			records = records[1:]
		}
		binary.BigEndian.PutUint32(buf[start+2:], uint32(len(buf)-start-setHeader))
	}
	return node(buf)
}

// appendRecords appends the records of an RRset at a name.
func (s rrset) appendRecords(list []record.Record, name record.Name, t record.Type) []record.Record {
	for s != "" {
		var r packedRecord
		r, s = s.next()
		list = append(list, r.record(name, t))
	}
	return list
}

// records iterates over all records at a name.
func (n node) records() iter.Seq2[record.Type, packedRecord] {
	return func(yield func(record.Type, packedRecord) bool) {
		for n != "" {
			var (
				t   record.Type
				set rrset
			)
			t, set, n = n.next()
			for set != "" {
				var r packedRecord
				if r, set = set.next(); !yield(t, r) {
					return
				}
			}
		}
	}
}

// appendRecords appends all records at a name.
func (n node) appendRecords(list []record.Record, name record.Name) []record.Record {
	for t, r := range n.records() {
		list = append(list, r.record(name, t))
	}
	return list
}

// sum is how much is at a name.
type sum struct {
	records, expiring int
	bytes             int   // by recordSize
	first, last       int64 // when the first and the last record expire in Unix seconds, 0 for never
}

// recordSize is what a record counts, in bytes: its wire form with its owner name in
// full (RFC 1035 §3.2.1).
func recordSize(key string, data int) int { return len(key) + 1 + 10 + data }

// sum returns how much is at the name with a key.
func (n node) sum(key string) (s sum) {
	for _, r := range n.records() {
		s.records++
		s.bytes += recordSize(key, len(r.data))
		if r.expires == 0 {
			continue
		}
		s.expiring++
		if s.first == 0 || r.expires < s.first {
			s.first = r.expires
		}
		s.last = max(s.last, r.expires)
	}
	return s
}

// expiries returns when the first and the last of the records at the name that expire do
// so in Unix seconds, 0 where none does.
func (n node) expiries() (first, last int64) {
	s := n.sum("")
	return s.first, s.last
}

// diffSets calls differs for each RRset that is not the same in both nodes, with
// what it is in b, "" where b has none.
func diffSets(a, b node, differs func(t record.Type, inB rrset)) {
	for a != "" || b != "" {
		var (
			ta, tb       = record.Type(0xffff), record.Type(0xffff)
			sa, sb       rrset
			restA, restB node
		)
		if a != "" {
			ta, sa, restA = a.next()
		}
		if b != "" {
			tb, sb, restB = b.next()
		}
		switch {
		case a != "" && (b == "" || ta < tb):
			differs(ta, "")
			a = restA
		case b != "" && (a == "" || tb < ta):
			differs(tb, sb)
			b = restB
		default:
			if sa != sb {
				differs(tb, sb)
			}
			a, b = restA, restB
		}
	}
}

func uint16At(s string, i int) uint16 { return uint16(s[i])<<8 | uint16(s[i+1]) }

func uint32At(s string, i int) uint32 {
	return uint32(s[i])<<24 | uint32(s[i+1])<<16 | uint32(s[i+2])<<8 | uint32(s[i+3])
}
