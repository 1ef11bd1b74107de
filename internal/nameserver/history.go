package nameserver

import (
	"container/list"
	"slices"
	"sync"
	"unsafe"
)

// This file is what zones were before the last commits, for IXFR (RFC 1995).
//
// Each commit leaves the names that it changed, as they were. From them and from what the
// zone is now follows the difference from any serial that is remembered. They are the very
// strings of the trees, so that they cost no copy, and no tree is kept for them.
//
// Only zones with secondaries have a history, and a restart forgets it: then the whole zone
// is transferred once.

// What is remembered in bytes, as draft.past counts them: of one zone, about 13,000 changes
// of one challenge, and of all zones. Beyond, the oldest is forgotten, and a change of more is
// not remembered at all. A usual change counts 320 bytes, and takes 360 (BenchmarkHistory).
const (
	mostHistoryOfZone = 4 << 20
	mostHistory       = 64 << 20
)

// past is what a zone was before a commit, as far as that has changed it.
type past struct {
	serial uint32
	soa    rrset
	names  []entry
	before int // history.total before it
	// place is in histories.order.
	place *list.Element
}

const (
	pastSize  = int(unsafe.Sizeof(past{})) + int(unsafe.Sizeof(list.Element{}))
	entrySize = int(unsafe.Sizeof(entry("")))
)

// history is the last pasts of a zone, the oldest first, without a gap up to its snapshot.
type history struct {
	mu    sync.Mutex // guards what follows; only the committer changes it
	pasts []past
	total int // bytes of all pasts that there ever were
}

// bytesFrom returns what the pasts from a number on take.
func (h *history) bytesFrom(i int) int {
	if i == len(h.pasts) {
		return 0
	}
	return h.total - h.pasts[i].before
}

// since returns the zone as it is, the pasts from a serial to there, and their bytes. With
// more than most bytes it returns no pasts: to copy all takes half a millisecond, for which
// commits wait. ok is false if they are not remembered.
func (z *zone) since(serial uint32, most int) (current *Snapshot, pasts []past, bytes int, ok bool) {
	h := &z.history
	h.mu.Lock()
	defer h.mu.Unlock()
	current = z.current.Load()
	i, ok := slices.BinarySearchFunc(h.pasts, serial, func(s past, serial uint32) int {
		return int(int32(s.serial - serial)) // RFC 1982
	})
	if !ok {
		return current, nil, 0, false
	}
	if bytes = h.bytesFrom(i); bytes > most {
		return current, nil, bytes, true
	}
	return current, slices.Clone(h.pasts[i:]), bytes, true
}

// histories are those of all zones. It is the committer's own.
type histories struct {
	most, mostOfZone int

	order list.List // of *zone, one for each past, the oldest first
	bytes int
}

// replace replaces the snapshot of a zone, and remembers what the commit has changed if the
// zone has secondaries.
func (hs *histories) replace(d *draft, remember bool) {
	z := d.zone
	var (
		last  past
		bytes int
		ok    bool
	)
	if remember && d.next.serial != d.base.serial {
		last, bytes, ok = d.past(hs.mostOfZone)
	}
	h := &z.history
	h.mu.Lock()
	defer h.mu.Unlock()
	z.current.Store(d.next)
	switch {
	case ok:
		last.place, last.before = hs.order.PushBack(z), h.total
		h.pasts = append(h.pasts, last)
		h.total += bytes
		hs.bytes += bytes
		for h.bytesFrom(0) > hs.mostOfZone {
			hs.dropOldest(h)
		}
	case d.next.serial != d.base.serial:
		hs.forget(h)
	}
}

// load replaces the snapshot of a zone by what was read from the store, and returns what it
// was. What has changed in between is not known.
func (hs *histories) load(z *zone, next *Snapshot) (before *Snapshot) {
	h := &z.history
	h.mu.Lock()
	defer h.mu.Unlock()
	before = z.current.Swap(next)
	if before == nil || before.serial != next.serial {
		hs.forget(h)
	}
	return before
}

// trim forgets the oldest pasts of all zones that are too much.
func (hs *histories) trim() {
	for hs.bytes > hs.most {
		h := &hs.order.Front().Value.(*zone).history
		h.mu.Lock()
		hs.dropOldest(h)
		h.mu.Unlock()
	}
}

// reset forgets the history of a zone.
func (hs *histories) reset(z *zone) {
	z.history.mu.Lock()
	defer z.history.mu.Unlock()
	hs.forget(&z.history)
}

func (hs *histories) forget(h *history) {
	for len(h.pasts) > 0 {
		hs.dropOldest(h)
	}
	h.pasts = nil
}

func (hs *histories) dropOldest(h *history) {
	oldest := &h.pasts[0]
	hs.order.Remove(oldest.place)
	hs.bytes -= h.bytesFrom(0) - h.bytesFrom(1)
	*oldest = past{} // the slice stays for a while
	h.pasts = h.pasts[1:]
}

// past returns what the draft changes, as it was, and the bytes that it takes. It returns
// false where there is nothing before that a secondary could have, or more than so many bytes.
func (d *draft) past(most int) (s past, bytes int, ok bool) {
	if d.isNew || d.base.config == nil {
		return past{}, 0, false
	}
	s = past{serial: d.base.serial, soa: d.base.soa.cacheable}
	bytes = pastSize + len(s.soa) + len(d.touched)*entrySize
	if bytes > most {
		return past{}, 0, false
	}
	s.names = make([]entry, 0, len(d.touched))
	for key := range d.touched {
		before := d.base.tree.exact.get(key)
		if before == "" {
			before = newEntry(key, "")
		}
		s.names = append(s.names, before)
		if bytes += len(before); bytes > most {
			return past{}, 0, false
		}
	}
	return s, bytes, true
}
