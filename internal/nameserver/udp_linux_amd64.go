package nameserver

// Numbers of system calls that package syscall does not have for all.
const (
	sysRecvmmsg = 299
	sysSendmmsg = 307
)
