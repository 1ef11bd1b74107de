package nameserver

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/caddy-dns/bestdns/internal/record"
	"github.com/miekg/dns"
)

// open opens a server on a store in a folder of the test's own.
func open(t testing.TB, path string) *Server {
	t.Helper()
	s, err := Open(Options{Path: path, Logger: testLogger(t)})
	if err != nil {
		t.Fatalf("opening: %v", err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("closing: %v", err)
		}
	})
	return s
}

// testLogger writes what is logged into the test's output.
func testLogger(t testing.TB) *slog.Logger {
	return slog.New(slog.NewTextHandler(testWriter{t}, &slog.HandlerOptions{Level: slog.LevelWarn}))
}

type testWriter struct{ t testing.TB }

func (w testWriter) Write(b []byte) (int, error) {
	w.t.Logf("%s", b)
	return len(b), nil
}

// cannot skips a test that this machine cannot run. Where BESTDNS_PEERS=required says
// that the machine has all that tests need, as in CI, it fails.
func cannot(t testing.TB, format string, args ...any) {
	t.Helper()
	if os.Getenv("BESTDNS_PEERS") == "required" {
		t.Fatalf(format, args...)
	}
	t.Skipf(format, args...)
}

func storePath(t testing.TB) string { return filepath.Join(t.TempDir(), "folder", "records.db") }

// serving returns a server with the zones in its configuration.
func serving(t testing.TB, zones ...ZoneConfig) *Server {
	t.Helper()
	s := open(t, storePath(t))
	serve(t, s, zones...)
	return s
}

func serve(t testing.TB, s *Server, zones ...ZoneConfig) {
	t.Helper()
	if err := s.Serve(Settings{Zones: zones}); err != nil {
		t.Fatalf("serving: %v", err)
	}
}

func name(t testing.TB, s string) record.Name {
	t.Helper()
	n, err := record.ParseName(s)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// zoneConfig returns a zone whose name servers are given as "NAME ADDRESS…".
func zoneConfig(t testing.TB, zone string, servers ...string) ZoneConfig {
	t.Helper()
	c := ZoneConfig{Name: name(t, zone), TTL: 60}
	if len(servers) == 0 {
		servers = []string{"ns1." + zone + " 192.0.2.53"}
	}
	for _, server := range servers {
		fields := strings.Fields(server)
		ns := NameServer{Name: name(t, fields[0])}
		for _, addr := range fields[1:] {
			ns.Addresses = append(ns.Addresses, netip.MustParseAddr(addr))
		}
		c.NameServers = append(c.NameServers, ns)
	}
	return c
}

// rr reads a record from "NAME TTL TYPE DATA", the name relative to the zone.
func rr(t testing.TB, zone record.Name, line string) record.Record {
	t.Helper()
	f := strings.SplitN(line, " ", 4)
	var ttl uint32
	if _, err := fmt.Sscan(f[1], &ttl); err != nil {
		t.Fatalf("%q: %v", line, err)
	}
	r, err := record.New(zone, f[0], f[2], ttl, f[3])
	if err != nil {
		t.Fatalf("%q: %v", line, err)
	}
	return r
}

func rrs(t testing.TB, zone record.Name, lines ...string) []record.Record {
	t.Helper()
	var records []record.Record
	for _, line := range lines {
		records = append(records, rr(t, zone, line))
	}
	return records
}

func appending(records ...record.Record) record.Change {
	return record.Change{Op: record.Append, Records: records}
}

func deleting(records ...record.Record) record.Change {
	c := record.Change{Op: record.Delete}
	for _, r := range records {
		typ, data := r.Text()
		ttl := r.TTL
		m, err := record.MatchAt(r.Name, typ, &ttl, &data)
		if err != nil {
			panic(err)
		}
		c.Matches = append(c.Matches, m)
	}
	return c
}

func apply(t testing.TB, s *Server, zone record.Name, change record.Change) Result {
	t.Helper()
	result, err := s.Apply(context.Background(), zone, change)
	if err != nil {
		t.Fatalf("applying: %v", err)
	}
	return result
}

func snapshot(t testing.TB, s *Server, zone record.Name) *Snapshot {
	t.Helper()
	z, ok := s.Snapshot(zone)
	if !ok {
		t.Fatalf("no snapshot of %q", zone)
	}
	return z
}

// lines prints all records of a zone but its SOA, whose serial differs each time.
func lines(z *Snapshot) []string {
	var all []string
	for r := range z.Records(z.zone) {
		if r.Type != record.TypeSOA {
			all = append(all, r.String())
		}
	}
	return all
}

// reply is an answer in a form that can be read and compared.
type reply struct {
	Rcode                         string
	AA, TC                        bool
	Answer, Authority, Additional []string
}

func readReply(m *dns.Msg) reply {
	r := reply{Rcode: dns.RcodeToString[m.Rcode], AA: m.Authoritative, TC: m.Truncated}
	for _, section := range []struct {
		from []dns.RR
		to   *[]string
	}{{m.Answer, &r.Answer}, {m.Ns, &r.Authority}, {m.Extra, &r.Additional}} {
		for _, rr := range section.from {
			switch rr := rr.(type) {
			case *dns.OPT:
			case *dns.SOA:
				*section.to = append(*section.to, fmt.Sprintf("%s %d SOA", rr.Hdr.Name, rr.Hdr.Ttl))
			default:
				text := strings.Join(slices.DeleteFunc(strings.Fields(rr.String()), func(f string) bool { return f == "IN" || f == "CLASS1" }), " ")
				*section.to = append(*section.to, text)
			}
		}
	}
	return r
}

// ask answers a question without a socket.
func ask(t testing.TB, s *Server, qname, qtype string) *dns.Msg {
	t.Helper()
	q := new(dns.Msg)
	q.SetQuestion(dns.Fqdn(qname), dns.StringToType[qtype])
	if q.Question[0].Qtype == 0 {
		t.Fatalf("type %q", qtype)
	}
	return exchange(t, s, q, false)
}

// exchange answers a message without a socket, over what would be UDP or TCP.
func exchange(t testing.TB, s *Server, q *dns.Msg, udp bool) *dns.Msg {
	t.Helper()
	m := new(dns.Msg)
	if err := m.Unpack(exchangePacked(s, packed(t, q), udp)); err != nil {
		t.Fatalf("the answer to %v cannot be read: %v", q.Question, err)
	}
	return m
}

func exchangePacked(s *Server, message []byte, udp bool) []byte {
	r := &responder{server: s}
	if udp {
		return r.answer(s.view.Load(), message, make([]byte, 0, writerBuffer))
	}
	return overTCP(r, message)
}

// overTCP answers a message as over TCP, however large the answer is.
func overTCP(r *responder, message []byte) []byte {
	answer, _, _ := r.answerTCP(message, true)
	return answer
}
