//go:build !linux

package rfc2136

import "net"

// ackAtOnce does nothing: only Linux can be told.
func ackAtOnce(net.Conn) {}
