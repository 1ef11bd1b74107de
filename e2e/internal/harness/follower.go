package harness

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// Follower is a name server of others that has one zone from a primary. It can be stopped
// and started again.
type Follower struct {
	Name, Addr string

	t       testing.TB
	program secondaryProgram
	zone    secondaryZone
	config  string
	cmd     *exec.Cmd
	ended   chan struct{}
	log     LockedBuffer
}

// FollowerKey is a TSIG key of hmac-sha256; the zero value is none.
type FollowerKey struct{ Name, Secret string }

// secondaryZone is what a configuration is made of.
type secondaryZone struct {
	dir, addr     string
	zone, primary string // name without a final dot, address
	key           FollowerKey
}

// secondaryProgram is how one kind of server is run.
type secondaryProgram struct {
	binary    func(t testing.TB) string
	configure func(t testing.TB, z secondaryZone) string
	args      func(z secondaryZone, config string) []string
}

// FollowerKinds are the servers that can be secondaries.
var FollowerKinds = []string{"Knot", "NSD", "BIND", "PowerDNS"}

var secondaryPrograms = map[string]secondaryProgram{
	"Knot": {
		binary:    func(t testing.TB) string { return Debian(t, "knotd", "knot") },
		configure: knotSecondary,
		args:      func(_ secondaryZone, config string) []string { return []string{"-c", config} },
	},
	"NSD": {
		binary:    func(t testing.TB) string { return Debian(t, "nsd", "nsd") },
		configure: nsdSecondary,
		args:      func(_ secondaryZone, config string) []string { return []string{"-d", "-c", config} },
	},
	"BIND": {
		binary:    func(t testing.TB) string { return Debian(t, "named", "bind9") },
		configure: bindSecondary,
		args:      func(_ secondaryZone, config string) []string { return []string{"-g", "-n", "1", "-c", config} },
	},
	"PowerDNS": {
		binary:    func(t testing.TB) string { return Debian(t, "pdns_server", "pdns-server") },
		configure: powerDNSSecondary,
		args: func(z secondaryZone, _ string) []string {
			return []string{"--config-dir=" + z.dir, "--daemon=no", "--guardian=no", "--disable-syslog"}
		},
	},
}

// NewFollower prepares a secondary of a kind for a zone of the primary at an address. It is
// yet to be started.
func NewFollower(t testing.TB, kind, addr, zone, primary string, key FollowerKey) *Follower {
	t.Helper()
	program := secondaryPrograms[kind]
	s := &Follower{
		Name: kind, Addr: addr, t: t, program: program,
		zone: secondaryZone{dir: t.TempDir(), addr: addr, zone: strings.TrimSuffix(zone, "."), primary: primary, key: key},
	}
	program.binary(t) // or skip
	s.config = filepath.Join(s.zone.dir, "config")
	if text := program.configure(t, s.zone); text != "" {
		if err := os.WriteFile(s.config, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() {
		s.Stop()
		if t.Failed() {
			t.Logf("the log of the secondary %s:\n%s", kind, s.log.String())
		}
	})
	return s
}

// Start starts it, and returns before it answers.
func (s *Follower) Start() {
	s.t.Helper()
	s.cmd = exec.Command(s.program.binary(s.t), s.program.args(s.zone, s.config)...)
	s.cmd.Dir = s.zone.dir
	s.cmd.Stdout, s.cmd.Stderr = &s.log, &s.log
	// NSD is several processes, which are to be paused and ended together.
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := s.cmd.Start(); err != nil {
		s.t.Fatalf("starting %s: %v", s.Name, err)
	}
	cmd, ended := s.cmd, make(chan struct{})
	s.ended = ended
	go func() { cmd.Wait(); close(ended) }()
}

// Stop ends it, if it runs.
func (s *Follower) Stop() {
	if s.cmd == nil {
		return
	}
	s.signal(syscall.SIGCONT)
	s.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-s.ended:
	case <-time.After(stopTimeout):
		s.t.Errorf("%s does not end", s.Name)
	}
	s.signal(syscall.SIGKILL) // whatever is left of it
	<-s.ended
	s.cmd = nil
}

// Pause has it do nothing until Resume.
func (s *Follower) Pause()  { s.signal(syscall.SIGSTOP) }
func (s *Follower) Resume() { s.signal(syscall.SIGCONT) }

func (s *Follower) signal(sig syscall.Signal) { _ = syscall.Kill(-s.cmd.Process.Pid, sig) }

// WaitSerial waits until it serves the zone with a serial, or a later one, and returns how long
// that took.
func (s *Follower) WaitSerial(serial uint32) time.Duration {
	s.t.Helper()
	question := new(dns.Msg).SetQuestion(dns.Fqdn(s.zone.zone), dns.TypeSOA)
	return s.wait(question, func(m *dns.Msg) bool {
		if len(m.Answer) != 1 || !m.Authoritative {
			return false
		}
		soa, ok := m.Answer[0].(*dns.SOA)
		return ok && int32(soa.Serial-serial) >= 0
	})
}

// WaitText waits until it serves a text at a name of the zone, and returns how long that took.
func (s *Follower) WaitText(name, text string) time.Duration {
	s.t.Helper()
	question := new(dns.Msg).SetQuestion(dns.Fqdn(name+"."+s.zone.zone), dns.TypeTXT)
	return s.wait(question, func(m *dns.Msg) bool {
		for _, rr := range m.Answer {
			if txt, ok := rr.(*dns.TXT); ok && strings.Join(txt.Txt, "") == text {
				return true
			}
		}
		return false
	})
}

// Serial returns that of the zone as it serves it.
func (s *Follower) Serial() uint32 {
	s.t.Helper()
	question := new(dns.Msg).SetQuestion(dns.Fqdn(s.zone.zone), dns.TypeSOA)
	answer, _, err := new(dns.Client).Exchange(question, s.Addr)
	if err != nil || len(answer.Answer) != 1 {
		s.t.Fatalf("%s: %v, %v", s.Name, answer, err)
	}
	return answer.Answer[0].(*dns.SOA).Serial
}

// Answers reports whether it answers for the zone, right or wrong.
func (s *Follower) Answers() bool {
	question := new(dns.Msg).SetQuestion(dns.Fqdn(s.zone.zone), dns.TypeSOA)
	_, _, err := (&dns.Client{Timeout: time.Second}).Exchange(question, s.Addr)
	return err == nil
}

func (s *Follower) wait(question *dns.Msg, good func(*dns.Msg) bool) time.Duration {
	s.t.Helper()
	began := time.Now()
	client := &dns.Client{Timeout: 500 * time.Millisecond}
	for pause := time.Millisecond / 2; ; pause = min(2*pause, 5*time.Millisecond) {
		answer, _, err := client.Exchange(question, s.Addr)
		if err == nil && good(answer) {
			return time.Since(began)
		}
		select {
		case <-s.ended:
			s.t.Fatalf("%s has ended", s.Name)
		case <-time.After(pause):
		}
		if time.Since(began) > StartTimeout {
			s.t.Fatalf("%s does not serve it: %v, %v", s.Name, answer, err)
		}
	}
}

func (z secondaryZone) atPort() string { return strings.Replace(z.primary, ":", "@", 1) }

func knotSecondary(_ testing.TB, z secondaryZone) string {
	keys, by := "", ""
	if z.key.Name != "" {
		keys = fmt.Sprintf("key:\n  - id: %s\n    algorithm: hmac-sha256\n    secret: %s\n", z.key.Name, z.key.Secret)
		by = "    key: " + z.key.Name + "\n"
	}
	return fmt.Sprintf(`
server:
    listen: %s
    rundir: %q
    udp-workers: 1
    tcp-workers: 1
    background-workers: 1
database:
    storage: %q
log:
  - target: stderr
    any: info
%sremote:
  - id: primary
    address: %s
%sacl:
  - id: notify
    address: 127.0.0.1
    action: notify
%szone:
  - domain: %s
    storage: %q
    master: primary
    acl: notify
    # Or Knot writes the whole zone to a file for each change.
    zonefile-sync: -1
    zonefile-load: none
    journal-content: all
`, strings.Replace(z.addr, ":", "@", 1), z.dir, z.dir, keys, z.atPort(), by, by, z.zone, z.dir)
}

func nsdSecondary(t testing.TB, z secondaryZone) string {
	key, by := "", "NOKEY"
	if z.key.Name != "" {
		key = fmt.Sprintf("key:\n    name: %q\n    algorithm: hmac-sha256\n    secret: %q\n", z.key.Name, z.key.Secret)
		by = z.key.Name
	}
	return fmt.Sprintf(`
server:
    ip-address: 127.0.0.1@%[1]s
    server-count: 1
    username: ""
    chroot: ""
    database: ""
    pidfile: ""
    zonesdir: %[2]q
    xfrdfile: "%[2]s/xfrd.state"
    xfrdir: %[2]q
    zonelistfile: "%[2]s/zone.list"
    xfrd-reload-timeout: 0
    rrl-ratelimit: 0
    verbosity: 1
remote-control:
    control-enable: no
%[3]szone:
    name: %[4]q
    zonefile: "zone"
    request-xfr: %[5]s %[6]s
    allow-notify: 127.0.0.1 %[6]s
`, Port(t, z.addr), z.dir, key, z.zone, z.atPort(), by)
}

func bindSecondary(t testing.TB, z secondaryZone) string {
	host, port := splitAddr(z.primary)
	key, by := "", ""
	if z.key.Name != "" {
		key = fmt.Sprintf("key %q { algorithm hmac-sha256; secret %q; };\n", z.key.Name, z.key.Secret)
		by = fmt.Sprintf(" key %q", z.key.Name)
	}
	return fmt.Sprintf(`
options {
	directory %q;
	listen-on port %s { 127.0.0.1; };
	listen-on-v6 { none; };
	pid-file none;
	session-keyfile none;
	lock-file none;
	recursion no;
	notify no;
	dnssec-validation no;
	empty-zones-enable no;
};
controls { };
%szone %q { type secondary; file "zone"; primaries { %s port %s%s; }; };
`, z.dir, Port(t, z.addr), key, z.zone, host, port, by)
}

// powerDNSSecondary writes PowerDNS' configuration, with a database, to where it is found.
func powerDNSSecondary(t testing.TB, z secondaryZone) string {
	t.Helper()
	schema, err := os.Open("/usr/share/pdns-backend-sqlite3/schema/schema.sqlite3.sql")
	if err != nil {
		Cannot(t, fmt.Sprintf("PowerDNS has no SQLite backend: it comes with Debian's package pdns-backend-sqlite3: %v", err))
	}
	defer schema.Close()
	database := filepath.Join(z.dir, "pdns.db")
	create := exec.Command(Debian(t, "sqlite3", "sqlite3"), database)
	create.Stdin = schema
	if out, err := create.CombinedOutput(); err != nil {
		t.Fatalf("making PowerDNS' database: %v: %s", err, out)
	}
	config := fmt.Sprintf(`
launch=gsqlite3
gsqlite3-database=%s
local-address=127.0.0.1
local-port=%s
socket-dir=%s
secondary=yes
allow-notify-from=127.0.0.1
cache-ttl=0
query-cache-ttl=0
negquery-cache-ttl=0
version-string=anonymous
security-poll-suffix=
setuid=
setgid=
loglevel=6
`, database, Port(t, z.addr), z.dir)
	if err := os.WriteFile(filepath.Join(z.dir, "pdns.conf"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	commands := [][]string{{"create-secondary-zone", z.zone, z.primary}, {"set-meta", z.zone, "IXFR", "1"}}
	if z.key.Name != "" {
		commands = append(commands, []string{"import-tsig-key", z.key.Name, "hmac-sha256", z.key.Secret},
			[]string{"activate-tsig-key", z.zone, z.key.Name, "secondary"})
	}
	for _, args := range commands {
		util := exec.Command(Debian(t, "pdnsutil", "pdns-server"), append([]string{"--config-dir=" + z.dir}, args...)...)
		if out, err := util.CombinedOutput(); err != nil {
			t.Fatalf("pdnsutil %s: %v: %s", args[0], err, out)
		}
	}
	return ""
}
