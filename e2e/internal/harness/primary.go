package harness

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// NotifyDelay is BIND's default for notify-delay.
const NotifyDelay = 5 * time.Second

// StartKnotPrimary runs Debian's Knot as the only primary of the zone.
func StartKnotPrimary(t testing.TB, z Zone) *Process {
	t.Helper()
	binary, dir := Debian(t, "knotd", "knot"), t.TempDir()
	write(t, dir, "zone", z.masterFile())
	config := write(t, dir, "knot.conf", knotPrimary(z, dir))
	return startProcess(t, "Knot as primary", func() *exec.Cmd { return exec.Command(binary, "-c", config) }, serves(z.Primaries[0], z.Name))
}

func knotPrimary(z Zone, dir string) string {
	var c strings.Builder
	knotServer(&c, z.Primaries[0], dir)
	knotKey(&c, z.Key)
	var remotes []string
	if len(z.Secondaries) > 0 {
		c.WriteString("remote:\n")
	}
	for i, addr := range z.Secondaries {
		remotes = append(remotes, fmt.Sprintf("secondary%d", i))
		fmt.Fprintf(&c, "  - id: %s\n    address: %s\n", remotes[i], strings.Replace(addr, ":", "@", 1))
	}
	fmt.Fprintf(&c, "acl:\n  - id: signed\n    key: %s\n    action: [update, transfer]\n", z.Key.Name)
	acl := "signed"
	if z.Open {
		c.WriteString("  - id: unsigned\n    address: 127.0.0.0/8\n    action: transfer\n")
		acl += ", unsigned"
	}
	fmt.Fprintf(&c, "zone:\n  - domain: %s\n    storage: %q\n    file: zone\n    acl: [%s]\n", z.Name, dir, acl)
	if len(remotes) > 0 {
		fmt.Fprintf(&c, "    notify: [%s]\n", strings.Join(remotes, ", "))
	}
	return c.String()
}

func knotServer(c *strings.Builder, addr, dir string) {
	fmt.Fprintf(c, `
server:
    listen: %[1]s
    rundir: %[2]q
    udp-workers: 1
    background-workers: 2
database:
    storage: %[2]q
log:
  - target: stderr
    any: info
`, strings.Replace(addr, ":", "@", 1), dir)
}

func knotKey(c *strings.Builder, key Key) {
	fmt.Fprintf(c, "key:\n  - id: %s\n    algorithm: hmac-sha256\n    secret: %s\n", key.Name, key.Secret)
}

// StartBINDPrimary runs Debian's BIND as the only primary of the zone, which waits for so
// long after a change before it sends NOTIFY, in whole seconds.
func StartBINDPrimary(t testing.TB, z Zone, notifyDelay time.Duration) *Process {
	t.Helper()
	dir := t.TempDir()
	file := write(t, dir, "zone", z.masterFile())
	var c strings.Builder
	transfer := fmt.Sprintf("key %q;", z.Key.Name)
	if z.Open {
		transfer = "any;"
	}
	fmt.Fprintf(&c, `zone %q {
	type primary;
	file %q;
	allow-update { key %q; };
	allow-transfer { %s };
	notify explicit;
	notify-delay %d;
	also-notify { %s };
};
`, z.Name, file, z.Key.Name, transfer, int(notifyDelay.Seconds()), bindServers(z.Secondaries, Key{}))
	return started(newBIND(t, "BIND as primary", dir, z.Primaries[0], z.Name, z.Key, c.String()))
}

// bindServers is a list of servers as BIND has them, each asked with the key if there is one.
func bindServers(addrs []string, key Key) string {
	var c strings.Builder
	for _, addr := range addrs {
		host, port := splitAddr(addr)
		fmt.Fprintf(&c, "%s port %s", host, port)
		if key != (Key{}) {
			fmt.Fprintf(&c, " key %q", key.Name)
		}
		c.WriteString("; ")
	}
	return c.String()
}

// bindConfig is the beginning of each named.conf, with more options: BIND listens at a port of
// 127.0.0.1, and neither its files nor its control channel are in the way of another.
func bindConfig(dir, port, options string) string {
	return fmt.Sprintf(`
options {
	directory %q;
	listen-on port %s { 127.0.0.1; };
	listen-on-v6 { none; };
	pid-file none;
	session-keyfile none;
	lock-file none;
	dnssec-validation no;
	empty-zones-enable no;
	%s
};
controls { };
`, dir, port, strings.TrimSpace(options))
}

// newBIND prepares BIND with a zone, and with what tests need that it refuses by default: names
// with "_" of addresses, MX records without the address of the target, more than 100 records
// of a name and type. It listens at a port of 127.0.0.1, and is relayed to from any other
// address, where its end therefore looks like lost packets.
func newBIND(t testing.TB, name, dir, addr, zone string, key Key, config string) *Process {
	t.Helper()
	binary, listen := Debian(t, "named", "bind9"), addr
	if host, _ := splitAddr(addr); host != "127.0.0.1" {
		listen = FreeAddr(t)
		Relay(t, addr, listen)
	}
	var c strings.Builder
	c.WriteString(bindConfig(dir, Port(t, listen), `
	recursion no;
	check-names primary ignore;
	check-names secondary ignore;
	check-integrity no;
	max-records-per-type 1000;
`))
	if key != (Key{}) {
		fmt.Fprintf(&c, "key %q { algorithm hmac-sha256; secret %q; };\n", key.Name, key.Secret)
	}
	c.WriteString(config)
	write(t, dir, "named.conf", c.String())
	return newProcess(t, name, func() *exec.Cmd {
		return exec.Command(binary, "-g", "-n", "1", "-c", filepath.Join(dir, "named.conf"))
	}, serves(listen, zone))
}
