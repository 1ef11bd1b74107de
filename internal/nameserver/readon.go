package nameserver

import (
	"errors"
	"slices"
	"syscall"
	"time"
)

// Errors about one message follow each other without a pause, since the next read may
// have a query; but a system that gave nothing else must not keep a core busy.
const (
	restEvery = 100
	rest      = time.Millisecond
)

// errorsAboutOne are those by which reading a socket tells of one message, sent or
// received, or of one connection that was not to be (accept(2), "Error handling").
// They are no reason to wait, or to take the socket for failing: strangers can cause
// them.
var errorsAboutOne = []syscall.Errno{
	syscall.ECONNABORTED, syscall.ECONNREFUSED, syscall.ECONNRESET, syscall.EHOSTDOWN, syscall.EHOSTUNREACH,
	syscall.EMSGSIZE, syscall.ENETDOWN, syscall.ENETUNREACH, syscall.ENOPROTOOPT, syscall.EOPNOTSUPP, syscall.EPROTO, syscall.ETIMEDOUT,
	// The same in Windows, where package syscall has other numbers for these names.
	10053, 10061, 10054, 10064, 10065, 10040, 10050, 10051, 10042, 10045, 10052, 10060,
}

// readOn reads a socket, again after errors that are about one message or connection.
func readOn[T any](read func() (T, error)) (T, error) {
	for i := 1; ; i++ {
		got, err := read()
		if errno, ok := errors.AsType[syscall.Errno](err); !ok || !slices.Contains(errorsAboutOne, errno) {
			return got, err
		}
		if i%restEvery == 0 {
			time.Sleep(rest)
		}
	}
}
