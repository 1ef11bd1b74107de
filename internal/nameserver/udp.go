package nameserver

import (
	"errors"
	"net"
	"net/netip"

	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
)

// udpBuffer is how much a UDP socket holds for us in bytes, as far as the system
// lets us: its default loses bursts.
const udpBuffer = 4 << 20

// packets is a UDP socket that is read and written in batches. (In golang.org/x/net,
// which has batches too, each message read costs two allocations, for its address.)
type packets interface {
	// receive waits for messages and returns their number. It forgets those before.
	receive() (int, error)
	// message returns the ith message, and where it is from.
	message(i int) ([]byte, netip.Addr)
	// buffer is where the answer to the ith message can be made.
	buffer(i int) []byte
	// reply has the ith message answered when send is called.
	reply(i int, answer []byte)
	send()
	// origin returns where an answer to the ith message goes that is made later.
	origin(i int) datagram
	// sendLater sends such an answer. It may be called by any goroutine.
	sendLater(answer []byte, to datagram)
}

// udpListener is a UDP socket that is being served.
type udpListener struct {
	conn   *net.UDPConn
	socket *Socket
	ready  packets // nil before the first read, and after a panic
}

func (l *udpListener) serve() error {
	p := l.ready
	l.ready = nil
	if p == nil {
		var err error
		if p, err = l.prepare(); err != nil {
			return err
		}
	}
	err := l.socket.answerPackets(p)
	l.ready = p
	return err
}

func (l *udpListener) prepare() (packets, error) {
	// Where the system does not let us, its own size has to do.
	_ = l.conn.SetReadBuffer(udpBuffer)
	wildcard := l.conn.LocalAddr().(*net.UDPAddr).IP.IsUnspecified()
	if wildcard {
		if err := askDestination(l.conn); err != nil {
			return nil, err
		}
	}
	return newPackets(l.conn, wildcard)
}

// shutdown closes the socket. The answers of the batch at hand are lost with it,
// as are the queries that wait in it.
func (l *udpListener) shutdown() { l.conn.Close() }

// askDestination has the system tell which of our addresses each message came to.
// A socket for IPv6 addresses takes IPv4 ones too, and one of them may be missing.
func askDestination(conn *net.UDPConn) error {
	err4 := ipv4.NewPacketConn(conn).SetControlMessage(ipv4.FlagDst|ipv4.FlagInterface, true)
	err6 := ipv6.NewPacketConn(conn).SetControlMessage(ipv6.FlagDst|ipv6.FlagInterface, true)
	if err4 != nil && err6 != nil {
		return errors.Join(err4, err6)
	}
	return nil
}

// answerPackets answers what comes by a socket until reading fails, each batch by
// the server of that moment.
//
// One goroutine does it for each socket. Of the 5 µs of CPU time that a query takes
// (docs/performance.md), nine tenths are the system's, most of them to send the
// answer. A second reader of the same socket had each query take 6.9 µs, for the two
// wait for each other; who has more cores to spend listens on several addresses. To
// give way to the client (sched_yield) before waiting for it cost 0.8 µs a query and
// gave a quarter fewer of them. Batches of 16, 32 and 64 messages took the same.
func (s *Socket) answerPackets(p packets) error {
	r := &responder{}
	receive := p.receive // which makes a function, once
	for {
		n, err := readOn(receive)
		if err != nil {
			return err
		}
		s.errors.succeeded()
		server := s.current.Load()
		if r.server != server {
			r.server, r.shard = server, server.takeShard()
		}
		v := server.view.Load()
		now := server.limiter.since(v.now())
		for i := range n {
			message, from := p.message(i)
			r.from = from
			var answer []byte
			if isUpdate(message) && v.clients != nil {
				answer = r.updateByUDP(v, message, p.buffer(i), func() datagram { return p.origin(i) }, p.sendLater)
				if answer != nil && server.limiter.charge(from, now, v.price) == answerIt {
					p.reply(i, answer)
				}
				continue
			}
			switch server.limiter.charge(from, now, v.price) {
			case answerIt:
				answer = r.answer(v, message, p.buffer(i))
			case cutShort:
				answer = r.cut(message, p.buffer(i))
			}
			if answer != nil {
				p.reply(i, answer)
			}
		}
		p.send()
	}
}

// takeShard returns the number of a shard of the counters, another one each time as
// far as there are.
func (s *Server) takeShard() int {
	return 1 + int(s.readers.Add(1)-1)%(counterShards-1)
}
