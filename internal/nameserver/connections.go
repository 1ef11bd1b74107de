package nameserver

import (
	"container/list"
	"net"
	"net/netip"
	"sync"
)

// Limits of TCP connections. Resolvers need one or a few; each takes some 10 kB
// here and a file descriptor that Caddy may need for something else.
const (
	maxConnections           = 1000
	maxConnectionsOfOneGroup = 64 // of an IPv4 address or a /64 of IPv6 addresses
)

// connections are the TCP connections of a server. Where there are too many, from
// one address or in all, the one that has been idle the longest makes room, since
// a client that has a question can connect again (RFC 7766 §6.2.3); if none
// is idle, the new one is refused.
type connections struct {
	max, maxOfOne int

	mu       sync.Mutex // guards all of the following, and the fields of each connection
	open     map[*connection]struct{}
	byAddr   map[netip.Addr]int
	idle     *list.List // of *connection, the longest idle first
	refused  uint64
	replaced uint64
}

// connection is an open TCP connection.
type connection struct {
	net.Conn
	all     *connections  // changed by the goroutine that serves it alone
	address netip.Addr    // where it is from
	from    netip.Addr    // the address of all that count as one with it
	waiting *list.Element // in connections.idle; nil while a query is being answered
	evicted chan struct{} // closed when it had to make room
	// stopping is closed when its listener stops; nil: it has none.
	stopping <-chan struct{}

	transferring bool    // what is being answered is a transfer that needs a place
	places       *places // in which it has one
	updatePlaces *places // in which it has one for an update that is being read or made
}

func newConnections(most, mostOfOne int) *connections {
	return &connections{
		max: most, maxOfOne: mostOfOne,
		open:   make(map[*connection]struct{}),
		byAddr: make(map[netip.Addr]int),
		idle:   list.New(),
	}
}

// admit takes in a new connection, or returns false if there is no room.
func (c *connections) admit(conn net.Conn) (*connection, bool) {
	admitted := &connection{Conn: conn, evicted: make(chan struct{})}
	if tcp, ok := conn.RemoteAddr().(*net.TCPAddr); ok {
		admitted.address = tcp.AddrPort().Addr()
	}
	admitted.from = groupOf(admitted.address)
	return admitted, c.add(admitted)
}

// add takes in a connection that no others have, or returns false if there is no room.
func (c *connections) add(admitted *connection) bool {
	from := admitted.from
	c.mu.Lock()
	defer c.mu.Unlock()
	room := (c.byAddr[from] < c.maxOfOne || c.closeIdle(func(other *connection) bool { return other.from == from })) &&
		(len(c.open) < c.max || c.closeIdle(func(*connection) bool { return true }))
	if !room {
		c.refused++
		return false
	}
	admitted.all = c
	admitted.waiting = c.idle.PushBack(admitted)
	c.open[admitted] = struct{}{}
	c.byAddr[from]++
	return true
}

// groupOf returns the address of all that count as one.
func groupOf(addr netip.Addr) netip.Addr {
	from := plainAddress(addr)
	if from.Is4() {
		return from
	}
	prefix, err := from.Prefix(64)
	if err != nil {
		return from
	}
	return prefix.Addr()
}

// closeIdle closes the connection that has been idle the longest among some.
func (c *connections) closeIdle(among func(*connection) bool) bool {
	for e := c.idle.Front(); e != nil; e = e.Next() {
		if conn := e.Value.(*connection); among(conn) {
			c.remove(conn)
			conn.Close()
			close(conn.evicted)
			c.replaced++
			return true
		}
	}
	return false
}

func (c *connections) remove(conn *connection) {
	if _, open := c.open[conn]; !open {
		return
	}
	delete(c.open, conn)
	if c.byAddr[conn.from]--; c.byAddr[conn.from] == 0 {
		delete(c.byAddr, conn.from)
	}
	conn.leaveIdle()
}

// leaveIdle takes the connection from those that may be closed. The lock is held.
func (c *connection) leaveIdle() {
	if c.waiting != nil {
		c.all.idle.Remove(c.waiting)
		c.waiting = nil
	}
}

// join moves a connection to those of the server that answers it from now on. It returns
// false if there is no room.
func (c *connection) join(all *connections) bool {
	if c.all == all {
		return true
	}
	c.all.mu.Lock()
	c.all.remove(c)
	c.all.mu.Unlock()
	return all.add(c)
}

// setBusy notes that a query is being answered.
func (c *connection) setBusy() {
	c.all.mu.Lock()
	defer c.all.mu.Unlock()
	c.leaveIdle()
}

// setIdle notes that a query is being waited for.
func (c *connection) setIdle() {
	c.all.mu.Lock()
	defer c.all.mu.Unlock()
	if _, open := c.all.open[c]; open && c.waiting == nil {
		c.waiting = c.all.idle.PushBack(c)
	}
}

// joinTransfers waits for a place among the transfers of a server, if a transfer is being
// answered that has none. It returns false if the connection has to make room for another, or
// its listener stops.
func (c *connection) joinTransfers(server *Server) bool {
	if !c.transferring || c.places != nil {
		return true
	}
	if !server.transferPlaces.take(c) {
		return false
	}
	c.places = server.transferPlaces
	return true
}

// leaveTransfers gives up the place among the transfers.
func (c *connection) leaveTransfers() {
	c.transferring = false
	if c.places != nil {
		c.places.release(c.from)
		c.places = nil
	}
}

// leaveUpdates gives up the place among the long updates.
func (c *connection) leaveUpdates() {
	if c.updatePlaces != nil {
		c.updatePlaces.release(c.from)
		c.updatePlaces = nil
	}
}

// release closes the connection and gives up its place.
func (c *connection) release() {
	c.Close()
	c.all.mu.Lock()
	defer c.all.mu.Unlock()
	c.all.remove(c)
}

func (c *connections) counts() (refused, replaced uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.refused, c.replaced
}
