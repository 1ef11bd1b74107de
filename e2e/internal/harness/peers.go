package harness

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// A peer is a name server that others have written, and that answers from the
// same zone files as ours.
type peer struct {
	Name string
	Addr string
}

// StartPeers runs Debian's Knot, NSD and BIND, each with all of the zones, which
// are given as master files by name.
func StartPeers(t testing.TB, zones map[string]string) []peer {
	t.Helper()
	return []peer{
		startPeer(t, zones, peerProgram{
			name: "Knot", binary: Debian(t, "knotd", "knot"), configure: configureKnot,
			args: func(config string) []string { return []string{"-c", config} },
		}),
		startPeer(t, zones, peerProgram{
			name: "NSD", binary: Debian(t, "nsd", "nsd"), configure: configureNSD,
			args: func(config string) []string { return []string{"-d", "-c", config} },
		}),
		startPeer(t, zones, peerProgram{
			name: "BIND", binary: Debian(t, "named", "bind9"), configure: configureBIND,
			args: func(config string) []string { return []string{"-g", "-n", "1", "-c", config} },
		}),
	}
}

// peerProgram is how one of them is run.
type peerProgram struct {
	name, binary string
	// configure makes the configuration for a folder of the program's own, a port of
	// 127.0.0.1, and the files of the zones by name.
	configure func(dir, port string, zones map[string]string) string
	args      func(config string) []string
}

func startPeer(t testing.TB, zones map[string]string, p peerProgram) peer {
	t.Helper()
	dir, addr := t.TempDir(), FreeAddr(t)
	files := make(map[string]string, len(zones))
	write := func(file, text string) string {
		path := filepath.Join(dir, file)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	var some string
	for zone, text := range zones {
		files[zone] = write(fmt.Sprintf("zone%d", len(files)), text)
		some = zone
	}
	config := write("config", p.configure(dir, Port(t, addr), files))

	cmd := exec.Command(p.binary, p.args(config)...)
	cmd.Dir = dir
	ended := runProgram(t, p.name, cmd)
	waitServes(t, addr, some, ended)
	for zone := range zones {
		waitServes(t, addr, zone, ended)
	}
	return peer{Name: p.name, Addr: addr}
}

func configureKnot(dir, port string, zones map[string]string) string {
	var c strings.Builder
	fmt.Fprintf(&c, `
server:
    listen: 127.0.0.1@%s
    rundir: %q
    udp-workers: 1
    tcp-workers: 1
    background-workers: 1
    tcp-idle-timeout: 60
    udp-max-payload: 1232
    version: ""
    identity: ""
database:
    storage: %q
log:
  - target: stderr
    any: info
template:
  - id: default
    storage: %q
    semantic-checks: off
    journal-content: none
    zonefile-load: whole
    zonefile-sync: -1
zone:
`, port, dir, dir, dir)
	for zone, file := range zones {
		fmt.Fprintf(&c, "  - domain: %q\n    file: %q\n", zone, file)
	}
	return c.String()
}

func configureNSD(dir, port string, zones map[string]string) string {
	var c strings.Builder
	fmt.Fprintf(&c, `
server:
    ip-address: 127.0.0.1@%s
    server-count: 1
    username: ""
    chroot: ""
    database: ""
    pidfile: ""
    zonesdir: %q
    xfrdfile: "%s/xfrd.state"
    xfrdir: %q
    zonelistfile: "%s/zone.list"
    rrl-ratelimit: 0
    tcp-timeout: 60
    ipv4-edns-size: 1232
    hide-version: yes
    hide-identity: yes
remote-control:
    control-enable: no
`, port, dir, dir, dir, dir)
	for zone, file := range zones {
		fmt.Fprintf(&c, "zone:\n    name: %q\n    zonefile: %q\n", zone, file)
	}
	return c.String()
}

// BIND leaves the choice between full and minimal answers to the operator. The
// others do not put NS records beside an answer.
func configureBIND(dir, port string, zones map[string]string) string {
	var c strings.Builder
	c.WriteString(bindConfig(dir, port, `
	recursion no;
	notify no;
	allow-transfer { none; };
	minimal-responses no-auth;
	zero-no-soa-ttl no;
	minimal-any no;
	max-udp-size 1232;
	check-names primary ignore;
	check-integrity no;
	zone-statistics none;
	version none;
	hostname none;
	server-id none;
`))
	for zone, file := range zones {
		fmt.Fprintf(&c, "zone %q { type primary; file %q; check-names ignore; };\n", zone, file)
	}
	return c.String()
}
