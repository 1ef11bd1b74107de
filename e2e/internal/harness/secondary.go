package harness

import (
	"fmt"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// Secondary is how a name server of others transfers a zone from a primary.
type Secondary struct {
	Zone string
	// Addr is where it serves the zone, and with whose host it asks Primary for it.
	Addr, Primary string
	// Key signs the transfers. Without one they are not signed.
	Key Key
	// NotifyFrom are the addresses from which NOTIFY is taken, without a key or with that
	// of the transfers. Any address of this machine is one if there are none: servers that
	// send to one of its addresses do that from 127.0.0.1.
	NotifyFrom []string
}

func (s Secondary) notifyFrom() []string {
	if len(s.NotifyFrom) == 0 {
		return []string{"127.0.0.0/8"}
	}
	return s.NotifyFrom
}

func (s Secondary) signed() bool { return s.Key != Key{} }

// Secondary returns how the zone's secondary with this number, from 0 on, transfers it from
// the first primary.
func (z Zone) Secondary(n int) Secondary {
	s := Secondary{Zone: z.Name, Addr: z.Secondaries[n], Primary: z.Primaries[0], Key: z.Key}
	if z.Open {
		s.Key = Key{}
	}
	return s
}

// StartKnotSecondary runs Debian's Knot, and returns when it has the zone.
func StartKnotSecondary(t testing.TB, s Secondary) *Process {
	t.Helper()
	return started(newKnotSecondary(t, s))
}

func started(p *Process) *Process {
	p.t.Helper()
	p.Start()
	return p
}

func newKnotSecondary(t testing.TB, s Secondary) *Process {
	t.Helper()
	binary, dir := Debian(t, "knotd", "knot"), t.TempDir()
	var c strings.Builder
	knotServer(&c, s.Addr, dir)
	host, _ := splitAddr(s.Addr)
	remote, acls := "\n    via: "+host, "address"
	if s.signed() {
		knotKey(&c, s.Key)
		remote += "\n    key: " + s.Key.Name
		acls = "address, key"
	}
	fmt.Fprintf(&c, "remote:\n  - id: primary\n    address: %s%s\n", strings.Replace(s.Primary, ":", "@", 1), remote)
	from := strings.Join(s.notifyFrom(), ", ")
	fmt.Fprintf(&c, "acl:\n  - id: address\n    address: [%s]\n    action: notify\n", from)
	if s.signed() {
		fmt.Fprintf(&c, "  - id: key\n    address: [%s]\n    key: %s\n    action: notify\n", from, s.Key.Name)
	}
	fmt.Fprintf(&c, "zone:\n  - domain: %s\n    storage: %q\n    zonefile-sync: -1\n    zonefile-load: none\n    journal-content: all\n    master: primary\n    acl: [%s]\n", s.Zone, dir, acls)
	config := write(t, dir, "knot.conf", c.String())
	return newProcess(t, "Knot as secondary", func() *exec.Cmd { return exec.Command(binary, "-c", config) }, serves(s.Addr, s.Zone))
}

// NSDReload is NSD's default for xfrd-reload-timeout.
const NSDReload = time.Second

// StartNSDSecondary runs Debian's NSD, and returns when it has the zone. It serves what it
// has transferred at most once in so long, in whole seconds.
func StartNSDSecondary(t testing.TB, s Secondary, reload time.Duration) *Process {
	t.Helper()
	return started(newNSDSecondary(t, s, reload))
}

func newNSDSecondary(t testing.TB, s Secondary, reload time.Duration) *Process {
	t.Helper()
	binary, dir := Debian(t, "nsd", "nsd"), t.TempDir()
	var c strings.Builder
	fmt.Fprintf(&c, `
server:
    ip-address: %[1]s
    server-count: 1
    username: ""
    chroot: ""
    database: ""
    pidfile: ""
    zonesdir: %[2]q
    xfrdfile: "%[2]s/xfrd.state"
    xfrdir: %[2]q
    zonelistfile: "%[2]s/zone.list"
    xfrd-reload-timeout: %[3]d
    rrl-ratelimit: 0
remote-control:
    control-enable: no
`, strings.Replace(s.Addr, ":", "@", 1), dir, int(reload.Seconds()))
	key := "NOKEY"
	if s.signed() {
		key = s.Key.Name
		fmt.Fprintf(&c, "key:\n    name: %q\n    algorithm: hmac-sha256\n    secret: %q\n", key, s.Key.Secret)
	}
	fmt.Fprintf(&c, "zone:\n    name: %q\n    zonefile: \"zone\"\n    request-xfr: %s %s\n", s.Zone, strings.Replace(s.Primary, ":", "@", 1), key)
	host, _ := splitAddr(s.Addr)
	fmt.Fprintf(&c, "    outgoing-interface: %s\n", host)
	for _, from := range s.notifyFrom() {
		fmt.Fprintf(&c, "    allow-notify: %s NOKEY\n", from)
		if s.signed() {
			fmt.Fprintf(&c, "    allow-notify: %s %s\n", from, key)
		}
	}
	config := write(t, dir, "nsd.conf", c.String())
	return newProcess(t, "NSD as secondary", func() *exec.Cmd { return exec.Command(binary, "-d", "-c", config) }, serves(s.Addr, s.Zone))
}

// StartBINDSecondary runs Debian's BIND, and returns when it has the zone.
func StartBINDSecondary(t testing.TB, s Secondary) *Process {
	t.Helper()
	return started(newBINDSecondary(t, s))
}

func newBINDSecondary(t testing.TB, s Secondary) *Process {
	t.Helper()
	dir := t.TempDir()
	host, _ := splitAddr(s.Addr)
	return newBIND(t, "BIND as secondary", dir, s.Addr, s.Zone, s.Key, fmt.Sprintf(`zone %q {
	type secondary;
	file "zone";
	primaries { %s };
	allow-notify { %s; };
	transfer-source %s;
	notify no;
};
`, s.Zone, bindServers([]string{s.Primary}, s.Key), strings.Join(s.notifyFrom(), "; "), host))
}

// StartPowerDNSSecondary runs Debian's PowerDNS with an SQLite database, and returns when
// it has the zone.
func StartPowerDNSSecondary(t testing.TB, s Secondary) *Process {
	t.Helper()
	return started(newPowerDNSSecondary(t, s))
}

func newPowerDNSSecondary(t testing.TB, s Secondary) *Process {
	t.Helper()
	sqlite, dir := Debian(t, "sqlite3", "sqlite3"), t.TempDir()
	schema := DebianFile(t, "/usr/share/pdns-backend-sqlite3/schema/schema.sqlite3.sql", "pdns-backend-sqlite3")
	create := exec.Command(sqlite, "-bail", dir+"/pdns.sqlite3", ".read "+schema)
	if out, err := create.CombinedOutput(); err != nil {
		t.Fatalf("making the database of PowerDNS: %v\n%s", err, out)
	}
	from := strings.Join(s.notifyFrom(), ",")
	own, _ := splitAddr(s.Addr)
	p := newPowerDNS(t, dir, s.Addr, fmt.Sprintf(`
launch=gsqlite3
gsqlite3-database=%s/pdns.sqlite3
secondary=yes
allow-notify-from=%s
trusted-notification-proxy=%s
query-local-address=%s
`, dir, from, from, own))
	host, port := splitAddr(s.Primary)
	p.util("create-secondary-zone", s.Zone, host+":"+port)
	p.util("set-meta", s.Zone, "IXFR", "1")
	if s.signed() {
		p.util("import-tsig-key", s.Key.Name, "hmac-sha256", s.Key.Secret)
		p.util("activate-tsig-key", s.Zone, s.Key.Name, "secondary")
	}
	return p.process("PowerDNS as secondary", s.Zone)
}
