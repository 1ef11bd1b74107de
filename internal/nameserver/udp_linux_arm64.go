package nameserver

// Numbers of system calls that package syscall does not have for all.
const (
	sysRecvmmsg = 243
	sysSendmmsg = 269
)
