package harness

import (
	"fmt"
	"os/exec"
	"testing"
)

// powerDNS is a process of Debian's PowerDNS that is yet to be started.
type powerDNS struct {
	t         testing.TB
	dir, addr string
	binary    string
	tool      string
}

// powerDNSConfig has what every one is to have: no cache, since another process may change
// the database, or a transfer be seen late.
const powerDNSConfig = `
local-address=%[1]s
local-port=%[2]s
socket-dir=%[3]s
write-pid=no
daemon=no
guardian=no
disable-syslog=yes
loglevel=4
security-poll-suffix=
receiver-threads=1
distributor-threads=3
retrieval-threads=1
cache-ttl=0
query-cache-ttl=0
negquery-cache-ttl=0
`

// newPowerDNS prepares one with a folder of its own, and with these settings besides.
func newPowerDNS(t testing.TB, dir, addr, settings string) powerDNS {
	t.Helper()
	p := powerDNS{t: t, dir: dir, addr: addr, binary: Debian(t, "pdns_server", "pdns-server"), tool: Debian(t, "pdnsutil", "pdns-server")}
	host, port := splitAddr(addr)
	write(t, dir, "pdns.conf", fmt.Sprintf(powerDNSConfig, host, port, dir)+settings)
	return p
}

// util runs a command of PowerDNS' tool on the database.
func (p powerDNS) util(args ...string) {
	p.t.Helper()
	out, err := exec.Command(p.tool, append([]string{"--config-dir=" + p.dir}, args...)...).CombinedOutput()
	if err != nil {
		p.t.Fatalf("pdnsutil %s: %v\n%s", args[0], err, out)
	}
}

func (p powerDNS) process(name, zone string) *Process {
	p.t.Helper()
	return newProcess(p.t, name, func() *exec.Cmd { return exec.Command(p.binary, "--config-dir="+p.dir) }, serves(p.addr, zone))
}

// StartPowerDNSDatabase runs PostgreSQL with the empty tables of PowerDNS, and returns the
// settings of PowerDNS that lead there.
func StartPowerDNSDatabase(t testing.TB) (settings string) {
	t.Helper()
	schema := DebianFile(t, "/usr/share/pdns-backend-pgsql/schema/schema.pgsql.sql", "pdns-backend-pgsql")
	database := startPostgres(t)
	database.run(t, schema)
	return fmt.Sprintf("gpgsql-host=%s\ngpgsql-user=%s\ngpgsql-dbname=%s", database.socket, database.user, database.name)
}

// StartPowerDNSPrimaries runs one process of Debian's PowerDNS for each primary of the
// zone, all with one PostgreSQL database. They have other zones, too, with the same primaries and key.
func StartPowerDNSPrimaries(t testing.TB, z Zone, others ...Zone) (processes []*Process) {
	t.Helper()
	database := StartPowerDNSDatabase(t)
	openTransfers := ""
	if z.Open {
		openTransfers = "127.0.0.0/8"
	}
	for i, addr := range z.Primaries {
		dir := t.TempDir()
		p := newPowerDNS(t, dir, addr, fmt.Sprintf(`
launch=gpgsql
%s
primary=yes
only-notify=
dnsupdate=yes
allow-dnsupdate-from=127.0.0.0/8
allow-axfr-ips=%s
`, database, openTransfers))
		if i == 0 {
			p.util("import-tsig-key", z.Key.Name, "hmac-sha256", z.Key.Secret)
			for _, zone := range append(others, z) {
				p.fill(zone)
			}
		}
		processes = append(processes, started(p.process(fmt.Sprintf("PowerDNS %d of %d", i+1, len(z.Primaries)), z.Name)))
	}
	return processes
}

// fill makes the zone in the database, and lets the key change and transfer it.
func (p powerDNS) fill(z Zone) {
	p.t.Helper()
	p.util("load-zone", z.Name, write(p.t, p.dir, "zone", z.masterFile()))
	p.util("set-kind", z.Name, "primary")
	p.util("set-meta", z.Name, "TSIG-ALLOW-DNSUPDATE", z.Key.Name)
	p.util("set-meta", z.Name, "TSIG-ALLOW-AXFR", z.Key.Name)
	p.util("set-meta", z.Name, "SOA-EDIT-DNSUPDATE", "INCREASE")
	if len(z.Secondaries) > 0 {
		p.util("set-meta", z.Name, "NOTIFY-DNSUPDATE", "1")
		p.util(append([]string{"set-meta", z.Name, "ALSO-NOTIFY"}, z.Secondaries...)...)
	}
}
