package nameserver

import "unsafe"

func ptr(p *[2]int64) uintptr { return uintptr(unsafe.Pointer(p)) }
