package nameserver

import (
	"iter"
	"strings"
	"sync/atomic"

	"github.com/caddy-dns/bestdns/internal/record"
)

// zone is a zone of the store. It is known by its pointer for as long as the
// server exists; what is in it changes by replacing the snapshot.
type zone struct {
	name    record.Name
	current atomic.Pointer[Snapshot] // stored by the committer only
	counts  queryCounts

	// notifications are what its secondaries are to be told. The committer's own.
	notifications []*notification
	history       history
	transferred   transferCounts
}

// Snapshot is a zone as it was after one commit. It never changes, so that reading
// it blocks no one and needs no lock, however long it takes.
type Snapshot struct {
	zone record.Name
	key  string // of zone
	// tree is shared: it may be read, but never written to, and only the committer
	// copies it (two concurrent copies race).
	tree   *tree
	serial uint32
	// config are the records that a configuration adds to the store's. They are in tree
	// with them, except for the SOA. Nil until a configuration names the zone.
	config *configRecords
	// soa is apart from the tree because it changes with each commit.
	soa soaSets
	// depths spare most questions for missing names a search.
	depths depths
	// configured is the fingerprint of the configuration that the store remembers.
	configured fingerprint
	// cuts and wildcards count the names that delegate a part of the zone, and
	// those with a label "*". Zones without, that is most, are spared the search for
	// them.
	cuts      depths
	wildcards int
	// records and expiring count the records in tree, and those that expire; bytes is
	// what they take, by recordSize.
	records, expiring, bytes int
}

// Serial returns the serial of the zone's SOA.
func (z *Snapshot) Serial() uint32 { return z.serial }

// At returns all records at a name, those that the server makes included: SOA, NS
// at the apex, addresses of name servers within the zone.
func (z *Snapshot) At(name record.Name) []record.Record {
	var records []record.Record
	if name == z.zone {
		records = z.soa.cacheable.appendRecords(records, name, record.TypeSOA)
	}
	n, _ := z.tree.Get(name.Key())
	return n.appendRecords(records, name)
}

// Made reports whether an RRset is made by the server and so out of a change's reach.
func (z *Snapshot) Made(name record.Name, t record.Type) bool {
	return t == record.TypeSOA || t == record.TypeNS && name == z.zone || z.config.has(name, t)
}

// types returns the types of the RRsets at a name.
func (z *Snapshot) types(name record.Name) (types []record.Type) {
	n, _ := z.tree.Get(name.Key())
	for n != "" {
		var t record.Type
		t, _, n = n.next()
		types = append(types, t)
	}
	return types
}

// Records yields all records at or below a name in the canonical order of names
// (RFC 4034 §6.1), those that the server makes included. A name outside the zone
// has none.
func (z *Snapshot) Records(under record.Name) iter.Seq[record.Record] {
	return func(yield func(record.Record) bool) {
		if under == z.zone {
			for _, r := range z.soa.cacheable.appendRecords(nil, under, record.TypeSOA) {
				if !yield(r) {
					return
				}
			}
		}
		if !under.In(z.zone) {
			return
		}
		var buf []record.Record
		prefix := under.Key()
		z.tree.Ascend(prefix, func(key string, n node) bool {
			if !strings.HasPrefix(key, prefix) {
				return false
			}
			buf = n.appendRecords(buf[:0], record.NameFromKey(key))
			for _, r := range buf {
				if !yield(r) {
					return false
				}
			}
			return true
		})
	}
}

// awaits reports whether a name of the zone is one at which a challenge may be answered, or a
// permission be written, at any time.
func (z *Snapshot) awaits(name record.Name) bool {
	if z.config != nil {
		for _, below := range z.config.awaiting {
			if name.In(below) {
				return true
			}
		}
	}
	return record.IsForCA(name)
}

// newSnapshot returns an empty zone.
func newSnapshot(name record.Name) *Snapshot {
	return &Snapshot{zone: name, key: name.Key(), tree: newTree()}
}

// put sets the node of a name, "" for none, and keeps the counts right. The tree
// must be the caller's own.
func (z *Snapshot) put(key string, n node) {
	var old node
	if n == "" {
		old = z.tree.Delete(key)
	} else {
		old = z.tree.Set(key, n)
	}
	z.count(key, old, -1)
	z.count(key, n, +1)
}

// load adds a node that follows all others in the tree, which makes it cheap.
func (z *Snapshot) load(key string, n node) {
	z.tree.Load(key, n)
	z.count(key, n, +1)
}

func (z *Snapshot) count(key string, n node, by int) {
	if n == "" {
		return
	}
	sum := n.sum(key)
	z.records += by * sum.records
	z.expiring += by * sum.expiring
	z.bytes += by * sum.bytes
	if key == z.key {
		return
	}
	labels := labelsOf(key)
	if n.find(record.TypeNS) != "" {
		z.cuts.count(labels, by)
	}
	if hasWildcard(key[len(z.key):]) {
		z.wildcards += by
	}
	z.depths.count(labels, by)
}

// hasWildcard reports whether a label of a key, or of its end, is "*".
func hasWildcard(key string) bool {
	return strings.HasPrefix(key, "*\x00") || strings.Contains(key, "\x00*\x00")
}
