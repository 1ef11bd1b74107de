//go:build !linux || !(amd64 || arm64)

package nameserver

import (
	"net"
	"net/netip"

	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
)

// singlePackets reads and writes a socket message by message, where this package
// knows no batches.
type singlePackets struct {
	conn     *net.UDPConn
	wildcard bool
	query    [maxQuery]byte
	answer   [writerBuffer]byte
	control  [controlLen]byte

	n, nn  int
	from   netip.AddrPort
	queued []byte
}

// controlLen has room for the control messages of both versions of IP.
const controlLen = 128

func newPackets(conn *net.UDPConn, wildcard bool) (packets, error) {
	return &singlePackets{conn: conn, wildcard: wildcard}, nil
}

func (p *singlePackets) receive() (int, error) {
	p.queued = nil
	var err error
	p.n, p.nn, _, p.from, err = p.conn.ReadMsgUDPAddrPort(p.query[:], p.control[:])
	if err != nil {
		return 0, err
	}
	return 1, nil
}

func (p *singlePackets) message(int) ([]byte, netip.Addr) { return p.query[:p.n], p.from.Addr() }

func (p *singlePackets) buffer(int) []byte { return p.answer[:] }

func (p *singlePackets) reply(_ int, answer []byte) { p.queued = answer }

func (p *singlePackets) send() {
	if p.queued == nil {
		return
	}
	var control []byte
	if p.wildcard {
		control = answerFrom(p.control[:p.nn])
	}
	// A client that cannot be answered has gone; there is no one to tell.
	_, _, _ = p.conn.WriteMsgUDPAddrPort(p.queued, control, p.from)
}

func (p *singlePackets) origin(int) datagram {
	d := datagram{to: p.from}
	if p.wildcard {
		d.control = answerFrom(p.control[:p.nn])
	}
	return d
}

func (p *singlePackets) sendLater(answer []byte, to datagram) {
	_, _, _ = p.conn.WriteMsgUDPAddrPort(answer, to.control, to.to)
}

// answerFrom makes of the control messages that came with a query those that have
// its answer leave from the address that it came to.
func answerFrom(control []byte) []byte {
	var in4 ipv4.ControlMessage
	var in6 ipv6.ControlMessage
	dst := net.IP(nil)
	switch {
	case in4.Parse(control) == nil && in4.Dst != nil:
		dst = in4.Dst
	case in6.Parse(control) == nil && in6.Dst != nil:
		dst = in6.Dst
	}
	if dst.To4() != nil { // which IPv6 sockets have too
		return (&ipv4.ControlMessage{Src: dst}).Marshal()
	}
	return (&ipv6.ControlMessage{Src: dst}).Marshal()
}
