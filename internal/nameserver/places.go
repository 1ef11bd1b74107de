package nameserver

import (
	"net/netip"
	"slices"
	"sync"
)

// How many transfers of more than a few kilobytes are under way at the same time, of one
// IPv4 address or /64 of IPv6 addresses and in all. Each takes a message, 32 kB, and keeps
// the snapshot that it is of, and a difference the list of its RRsets, which difference
// bounds. The connections allow more than either, 64 and 1,000.
//
// More wait, and are not refused: a secondary that is refused a transfer tries again after
// the SOA's retry time, ten minutes. So many clients at once, each as slow as they may be,
// must there be for another to wait for them, as one may have a part of all only.
const (
	maxTransfers      = 256
	maxTransfersOfOne = 8
)

// places are the transfers, or long updates, that are under way, and the connections that wait for
// theirs, in the order in which they came.
type places struct {
	max, maxOfOne int

	mu      sync.Mutex // guards what follows
	taken   int
	byAddr  map[netip.Addr]int
	waiting []*placeRequest
}

// placeRequest is a connection that waits for a place.
type placeRequest struct {
	from    netip.Addr
	granted chan struct{} // closed when it has one
}

func newPlaces(most, mostOfOne int) *places {
	return &places{max: most, maxOfOne: mostOfOne, byAddr: make(map[netip.Addr]int)}
}

// take waits for a place. It returns false if the connection has to make room for another
// before, or its listener stops.
func (p *places) take(c *connection) bool {
	p.mu.Lock()
	if p.hasRoom(c.from) {
		p.grant(c.from)
		p.mu.Unlock()
		return true
	}
	r := &placeRequest{from: c.from, granted: make(chan struct{})}
	p.waiting = append(p.waiting, r)
	p.mu.Unlock()
	c.setIdle()
	select {
	case <-r.granted:
		c.setBusy()
		return true
	case <-c.evicted:
	case <-c.stopping:
	}
	p.withdraw(r)
	return false
}

// count returns how many are taken.
func (p *places) count() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.taken
}

func (p *places) hasRoom(from netip.Addr) bool {
	return p.taken < p.max && p.byAddr[from] < p.maxOfOne
}

func (p *places) grant(from netip.Addr) {
	p.taken++
	p.byAddr[from]++
}

// withdraw gives up a request, and its place if it has got one meanwhile.
func (p *places) withdraw(r *placeRequest) {
	p.mu.Lock()
	i := slices.Index(p.waiting, r)
	if i >= 0 {
		p.waiting = slices.Delete(p.waiting, i, i+1)
	}
	p.mu.Unlock()
	if i < 0 {
		p.release(r.from)
	}
}

// release gives up a place, to the first that waits and may have it.
func (p *places) release(from netip.Addr) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.taken--
	if p.byAddr[from]--; p.byAddr[from] == 0 {
		delete(p.byAddr, from)
	}
	p.waiting = slices.DeleteFunc(p.waiting, func(r *placeRequest) bool {
		if !p.hasRoom(r.from) {
			return false
		}
		p.grant(r.from)
		close(r.granted)
		return true
	})
}
