package harness

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// cache is a recursive resolver of Debian's that keeps what it has seen.
type cache struct {
	Name, program, debianPackage string
	// configure returns the program's configuration, and args its arguments, both with
	// their settings but for listening as Debian has them.
	configure func(setup cacheSetup) string
	args      func(setup cacheSetup) []string
}

// cacheSetup is what a resolver is told.
type cacheSetup struct {
	dir, port string
	hints     string // a file with the root's name server
	config    string // the file that configure's text is in
	forwarder string // a resolver that keeps nothing, for one that cannot walk down from the root
}

var Caches = []cache{
	{
		Name: "unbound", program: "unbound", debianPackage: "unbound",
		// As Let's Encrypt has it.
		configure: func(s cacheSetup) string {
			return fmt.Sprintf(`
server:
    interface: 127.0.0.1
    port: %s
    directory: %q
    username: ""
    chroot: ""
    pidfile: ""
    use-syslog: no
    do-daemonize: no
    root-hints: %q
    do-not-query-localhost: no
    use-caps-for-id: yes
    edns-buffer-size: 512
    qname-minimisation: yes
    qname-minimisation-strict: yes
    harden-below-nxdomain: yes
    incoming-num-tcp: 500
remote-control:
    control-enable: no
`, s.port, s.dir, s.hints)
		},
		args: func(s cacheSetup) []string { return []string{"-d", "-c", s.config} },
	},
	{
		Name: "BIND", program: "named", debianPackage: "bind9",
		configure: func(s cacheSetup) string {
			return bindConfig(s.dir, s.port, "recursion yes;") + fmt.Sprintf("zone \".\" { type hint; file %q; };\n", s.hints)
		},
		args: func(s cacheSetup) []string { return []string{"-g", "-n", "1", "-c", s.config} },
	},
	{
		Name: "dnsmasq", program: "dnsmasq", debianPackage: "dnsmasq-base",
		configure: func(s cacheSetup) string {
			host, port := splitAddr(s.forwarder)
			return fmt.Sprintf(`
port=%s
listen-address=127.0.0.1
bind-interfaces
no-resolv
no-hosts
server=%s#%s
user=root
pid-file=
log-facility=-
`, s.port, host, port)
		},
		args: func(s cacheSetup) []string { return []string{"--keep-in-foreground", "--conf-file=" + s.config} },
	},
	{
		Name: "PowerDNS Recursor", program: "pdns_recursor", debianPackage: "pdns-recursor",
		// By default it keeps everything for a second, whatever the TTL.
		configure: func(s cacheSetup) string {
			return fmt.Sprintf(`
local-address=127.0.0.1
local-port=%s
socket-dir=%s
hint-file=%s
dont-query=
security-poll-suffix=
write-pid=no
daemon=no
threads=1
minimum-ttl-override=0
`, s.port, s.dir, s.hints)
		},
		args: func(s cacheSetup) []string { return []string{"--config-dir=" + s.dir} },
	},
}

// Start runs a resolver that knows the root's name server, and returns where it answers.
// It is up when it can say where the zone begins.
func (c cache) Start(t testing.TB, root, forwarder, zone string) (addr string) {
	t.Helper()
	addr = FreeAddr(t)
	s := cacheSetup{dir: t.TempDir(), port: Port(t, addr), forwarder: forwarder}
	s.hints, s.config = filepath.Join(s.dir, "root.hints"), filepath.Join(s.dir, "recursor.conf")
	for file, text := range map[string]string{
		s.hints:  fmt.Sprintf(". 3600000 NS root.invalid.\nroot.invalid. 3600000 A %s\n", root),
		s.config: c.configure(s),
	} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command(Debian(t, c.program, c.debianPackage), c.args(s)...)
	cmd.Dir = s.dir
	waitResolves(t, addr, zone, runProgram(t, c.Name, cmd))
	return addr
}
