//go:build linux && (amd64 || arm64)

package nameserver

import (
	"encoding/binary"
	"net"
	"net/netip"
	"os"
	"strconv"
	"syscall"
	"unsafe"
)

// udpBatch is how many messages are read, and how many written, with one system call.
const udpBatch = 32

// batchPackets reads and writes a socket by recvmmsg(2) and sendmmsg(2). All that
// they need is allocated once: a query costs nothing but its bytes.
type batchPackets struct {
	conn  syscall.RawConn
	udp   *net.UDPConn
	slots [udpBatch]slot
	in    [udpBatch]mmsghdr
	out   [udpBatch]mmsghdr

	// What the functions below need and return: as methods with values they would be
	// allocated for each call.
	wildcard            bool
	queued, sent, got   int
	errno               syscall.Errno
	tryReceive, trySend func(fd uintptr) bool
}

// mmsghdr is struct mmsghdr.
type mmsghdr struct {
	header syscall.Msghdr
	length uint32
	_      [4]byte
}

// slot is what belongs to one message.
type slot struct {
	query             [maxQuery]byte
	answer            [writerBuffer]byte
	from              syscall.RawSockaddrInet6 // the longer of the two
	control           [controlLen]byte
	queryAt, answerAt syscall.Iovec
}

// controlLen has room for one control message with struct in6_pktinfo, and one with
// struct in_pktinfo.
const controlLen = 40 + 32

func newPackets(conn *net.UDPConn, wildcard bool) (packets, error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return nil, err
	}
	p := &batchPackets{conn: raw, udp: conn, wildcard: wildcard}
	p.tryReceive, p.trySend = p.recvmmsg, p.sendmmsg
	for i := range p.slots {
		s := &p.slots[i]
		s.queryAt.Base = &s.query[0]
		s.queryAt.SetLen(len(s.query))
		h := &p.in[i].header
		h.Name = (*byte)(unsafe.Pointer(&s.from))
		h.Iov, h.Iovlen = &s.queryAt, 1
	}
	return p, nil
}

func (p *batchPackets) receive() (int, error) {
	for i := range p.got { // what the system has changed
		p.prepare(i)
	}
	if p.got == 0 {
		for i := range p.slots {
			p.prepare(i)
		}
	}
	p.got, p.queued = 0, 0
	if err := p.conn.Read(p.tryReceive); err != nil {
		return 0, err
	}
	if p.errno != 0 {
		return 0, os.NewSyscallError("recvmmsg", p.errno)
	}
	return p.got, nil
}

// prepare says how much room there is for a message.
func (p *batchPackets) prepare(i int) {
	h := &p.in[i].header
	h.Namelen = syscall.SizeofSockaddrInet6
	if p.wildcard {
		h.Control = &p.slots[i].control[0]
		h.SetControllen(controlLen)
	}
}

func (p *batchPackets) recvmmsg(fd uintptr) (done bool) {
	p.got, p.errno = mmsg(sysRecvmmsg, fd, p.in[:])
	return p.errno != syscall.EAGAIN
}

// mmsg calls recvmmsg or sendmmsg and returns how many messages it did. (By
// RawSyscall6, which does not tell Go's scheduler, a query took an eighth less CPU
// time; but then one thread does everything, and on a busy machine got so little of
// it that a seventh fewer queries were answered, in 14 of 18 pairs of measurements.)
func mmsg(call, fd uintptr, messages []mmsghdr) (int, syscall.Errno) {
	for {
		n, _, errno := syscall.Syscall6(call, fd, uintptr(unsafe.Pointer(&messages[0])), uintptr(len(messages)), syscall.MSG_DONTWAIT, 0, 0)
		switch errno {
		case 0:
			return int(n), 0
		case syscall.EINTR:
		default:
			return 0, errno
		}
	}
}

func (p *batchPackets) message(i int) ([]byte, netip.Addr) {
	s := &p.slots[i]
	query := s.query[:p.in[i].length]
	if s.from.Family == syscall.AF_INET {
		return query, netip.AddrFrom4((*syscall.RawSockaddrInet4)(unsafe.Pointer(&s.from)).Addr)
	}
	return query, netip.AddrFrom16(s.from.Addr)
}

func (p *batchPackets) buffer(i int) []byte { return p.slots[i].answer[:] }

func (p *batchPackets) reply(i int, answer []byte) {
	s, from := &p.slots[i], &p.in[i].header
	s.answerAt.Base = &answer[0]
	s.answerAt.SetLen(len(answer))
	h := &p.out[p.queued].header
	p.queued++
	h.Name, h.Namelen = from.Name, from.Namelen
	h.Iov, h.Iovlen = &s.answerAt, 1
	h.Control = nil
	h.SetControllen(0)
	if p.wildcard {
		h.Control = from.Control
		h.SetControllen(answerFrom(s.control[:from.Controllen]))
	}
}

func (p *batchPackets) origin(i int) datagram {
	s, from := &p.slots[i], &p.in[i].header
	_, addr := p.message(i)
	d := datagram{to: netip.AddrPortFrom(addr, binary.BigEndian.Uint16((*[2]byte)(unsafe.Pointer(&s.from.Port))[:]))}
	if s.from.Family == syscall.AF_INET6 && s.from.Scope_id != 0 {
		d.to = netip.AddrPortFrom(addr.WithZone(strconv.Itoa(int(s.from.Scope_id))), d.to.Port())
	}
	if p.wildcard {
		d.control = append([]byte(nil), s.control[:answerFrom(s.control[:from.Controllen])]...)
	}
	return d
}

func (p *batchPackets) sendLater(answer []byte, to datagram) {
	// A client that cannot be answered has gone; there is no one to tell.
	_, _, _ = p.udp.WriteMsgUDPAddrPort(answer, to.control, to.to)
}

// send sends what was queued. What cannot be sent to its client is left out: there
// is no one to tell.
func (p *batchPackets) send() {
	for p.sent = 0; p.sent < p.queued; {
		if err := p.conn.Write(p.trySend); err != nil {
			return // closed
		}
	}
}

func (p *batchPackets) sendmmsg(fd uintptr) (done bool) {
	n, errno := mmsg(sysSendmmsg, fd, p.out[p.sent:p.queued])
	switch errno {
	case 0:
		p.sent += n
	case syscall.EAGAIN:
		return false
	default:
		p.sent++ // the error is the first message's
	}
	return true
}

// answerFrom makes of the control messages that came with a query those that have
// its answer leave from the address that it came to, and returns their length. Which
// way the answer takes is left to the routes, as for every other packet.
func answerFrom(control []byte) int {
	for at := 0; at+syscall.SizeofCmsghdr <= len(control); {
		h := (*syscall.Cmsghdr)(unsafe.Pointer(&control[at]))
		if h.Len < syscall.SizeofCmsghdr || uint64(at)+h.Len > uint64(len(control)) {
			return 0
		}
		data := control[at+syscall.SizeofCmsghdr : at+int(h.Len)]
		switch {
		case h.Level == syscall.IPPROTO_IP && h.Type == syscall.IP_PKTINFO && len(data) >= syscall.SizeofInet4Pktinfo:
			info := (*syscall.Inet4Pktinfo)(unsafe.Pointer(&data[0]))
			info.Ifindex, info.Spec_dst = 0, info.Addr
		case h.Level == syscall.IPPROTO_IPV6 && h.Type == syscall.IPV6_PKTINFO && len(data) >= syscall.SizeofInet6Pktinfo:
			info := (*syscall.Inet6Pktinfo)(unsafe.Pointer(&data[0]))
			if !isLinkLocal(info.Addr) { // which belongs to one interface
				info.Ifindex = 0
			}
		}
		at += (int(h.Len) + 7) &^ 7
	}
	return len(control)
}

func isLinkLocal(addr [16]byte) bool { return addr[0] == 0xfe && addr[1]&0xc0 == 0x80 }
