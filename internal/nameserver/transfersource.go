package nameserver

import (
	"github.com/caddy-dns/bestdns/internal/record"
)

// recordSet is records of one type at one name, which all have one TTL.
type recordSet struct {
	owner record.Name
	typ   record.Type
	ttl   uint32
	set   rrset // whose own TTLs do not count
}

// source is where the records of a transfer come from, in their order.
type source interface {
	// next returns the next records, of which there may be none, and false after the last.
	next() (recordSet, bool)
}

// newRecordSet returns the records of an RRset with the lowest of their TTLs, as answers
// have them (RFC 2181 §5.2).
func newRecordSet(owner record.Name, t record.Type, set rrset) recordSet {
	return recordSet{owner: owner, typ: t, ttl: lowestTTL(set), set: set}
}

func lowestTTL(set rrset) (lowest uint32) {
	first := true
	for set != "" {
		var r packedRecord
		if r, set = set.next(); first || r.ttl < lowest {
			lowest, first = r.ttl, false
		}
	}
	return lowest
}

func soaOf(z *Snapshot) recordSet { return newRecordSet(z.zone, record.TypeSOA, z.soa.cacheable) }

// wholeZone is all of a zone, between two copies of its SOA record (RFC 5936 §2.2).
type wholeZone struct {
	zone  *Snapshot
	stage uint8 // 0: the first SOA record, 1: names, 2: nothing

	// batch are names that were taken from the tree at once, which spares the search for
	// each; last is the key of the last one of them.
	batch  [64]entry
	taken  int // of the batch
	filled int
	last   string

	owner record.Name
	rest  node // of it
}

func (w *wholeZone) next() (recordSet, bool) {
	switch w.stage {
	case 0:
		w.stage = 1
		return soaOf(w.zone), true
	case 1:
		if w.rest == "" && !w.takeName() {
			w.stage = 2
			return soaOf(w.zone), true
		}
		var (
			t   record.Type
			set rrset
		)
		t, set, w.rest = w.rest.next()
		return newRecordSet(w.owner, t, set), true
	}
	return recordSet{}, false
}

// takeName goes on to the next name.
func (w *wholeZone) takeName() bool {
	if w.taken == w.filled {
		began := w.filled > 0
		w.taken, w.filled = 0, 0
		w.zone.tree.order.Ascend(w.last, func(key string, e entry) bool {
			if !began || key != w.last {
				w.batch[w.filled] = e
				w.filled++
			}
			return w.filled < len(w.batch)
		})
		if w.filled == 0 {
			return false
		}
		w.last = w.batch[w.filled-1].key()
	}
	e := w.batch[w.taken]
	w.taken++
	w.owner, w.rest = record.NameFromKey(e.key()), e.node()
	return true
}

// difference is what has changed in a zone since some commits, as one step: what is gone
// after the old SOA record, what has come after the new one, between two copies of the new
// one (RFC 1995 §4).
//
// It keeps the list of its RRsets, 80 bytes for each that is not what it was, and of the
// history what was there before. The history bounds at how many names those are: 1.2 MB are
// the list after as many changes of a challenge each as that remembers of a zone.
type difference struct {
	from []past
	to   *Snapshot
	sets []recordSet // nil until compute has made them
	n    int         // of them that have been returned
}

func (d *difference) next() (recordSet, bool) {
	if d.sets == nil {
		d.sets = d.compute()
		d.from = nil
	}
	if d.n == len(d.sets) {
		return recordSet{}, false
	}
	d.n++
	return d.sets[d.n-1], true
}

func (d *difference) compute() []recordSet {
	gone := []recordSet{soaOf(d.to), newRecordSet(d.to.zone, record.TypeSOA, d.from[0].soa)}
	come := []recordSet{soaOf(d.to)}
	seen := make(map[string]struct{})
	for i := range d.from {
		for _, before := range d.from[i].names {
			key := before.key()
			if _, again := seen[key]; again {
				continue // the first is how it was
			}
			seen[key] = struct{}{}
			owner := record.NameFromKey(key)
			after, _ := d.to.tree.Get(key)
			diffSets(before.node(), after, func(t record.Type, now rrset) {
				was := before.node().find(t)
				deleted, added := diffRecords(newRecordSet(owner, t, was), newRecordSet(owner, t, now))
				gone, come = append(gone, deleted), append(come, added)
			})
		}
	}
	return append(append(gone, come...), soaOf(d.to))
}

// diffRecords returns what is in one set alone, and what is in the other alone.
func diffRecords(was, now recordSet) (deleted, added recordSet) {
	if was.ttl != now.ttl || was.set == "" || now.set == "" {
		return was, now
	}
	old, young := dataOf(was.set), dataOf(now.set)
	deleted, added = was, now
	deleted.set, added.set = without(was.set, young), without(now.set, old)
	return deleted, added
}

// dataOf returns the data of the records of an RRset.
func dataOf(set rrset) map[string]struct{} {
	all := make(map[string]struct{})
	for set != "" {
		var r packedRecord
		r, set = set.next()
		all[r.data] = struct{}{}
	}
	return all
}

// without returns the records of an RRset whose data is not among others.
func without(set rrset, others map[string]struct{}) rrset {
	var left []byte
	for set != "" {
		var r packedRecord
		r, set = set.next()
		if _, both := others[r.data]; !both {
			left = appendRecord(left, record.Record{TTL: r.ttl, Data: r.data})
		}
	}
	return rrset(left)
}
