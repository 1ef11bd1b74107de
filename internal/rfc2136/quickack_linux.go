package rfc2136

import (
	"net"
	"syscall"
)

// ackAtOnce has what comes next on a connection be acknowledged at once. Servers that have
// several answers send each after the acknowledgement of the one before (RFC 1122 §4.2.3.4),
// which the system delays by 40 ms to send it along with data (§4.2.3.2). It holds for a few
// segments, so that it is called before each read.
func ackAtOnce(c net.Conn) {
	tcp, ok := c.(*net.TCPConn)
	if !ok {
		return
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return
	}
	// Without it answers are as right, and later.
	_ = raw.Control(func(fd uintptr) { _ = syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, syscall.TCP_QUICKACK, 1) })
}
