package e2e

import (
	"context"
	"flag"
	"fmt"
	"net"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/miekg/dns"

	"github.com/caddy-dns/bestdns/e2e/internal/harness"
	"github.com/caddy-dns/bestdns/internal/nameserver"
	"github.com/caddy-dns/bestdns/internal/record"
)

// corpusSeed chooses the zones that are made by chance. What another seed finds gets a
// place in testdata/zones.
var corpusSeed = flag.Uint64("corpus-seed", 1, "seed of the zones that are made by chance for comparing name servers")

// serveCorpus serves the zones in this process, on one port by UDP and TCP.
func serveCorpus(t testing.TB, zones []corpusZone) (*nameserver.Server, string) {
	t.Helper()
	s, err := nameserver.Open(nameserver.Options{Path: t.TempDir() + "/records.db"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	var configs []nameserver.ZoneConfig
	for _, z := range zones {
		configs = append(configs, z.config)
	}
	if err := s.Serve(nameserver.Settings{Zones: configs}); err != nil {
		t.Fatal(err)
	}
	for _, z := range zones {
		change := record.Change{Op: record.Append, Records: z.records}
		if _, err := s.Apply(context.Background(), z.config.Name, change); err != nil {
			t.Fatal(err)
		}
	}
	tcp, udp := harness.ListenBoth(t)
	serveSockets(t, s, udp.(*net.UDPConn), tcp)
	return s, tcp.Addr().String()
}

// serveSockets serves two sockets until the test ends.
func serveSockets(t testing.TB, s *nameserver.Server, udp *net.UDPConn, tcp net.Listener) {
	t.Helper()
	for _, socket := range []*nameserver.Socket{nameserver.NewUDPSocket(udp, "udp", nil), nameserver.NewTCPSocket(tcp, "tcp", nil)} {
		socket.Serve(s)
		t.Cleanup(func() {
			if err := socket.Err(); err != nil {
				t.Error(err)
			}
			socket.Close()
		})
	}
}

// masterFiles returns the zones of a server as it has them, its own SOA and NS
// records included, by name.
func masterFiles(t testing.TB, s *nameserver.Server, zones []corpusZone) map[string]string {
	t.Helper()
	files := make(map[string]string)
	for _, z := range zones {
		snapshot, ok := s.Snapshot(z.config.Name)
		if !ok {
			t.Fatalf("zone %s is not served", z.config.Name)
		}
		var file strings.Builder
		if _, err := record.WriteMasterFile(&file, z.config.Name, corpusTTL, snapshot.Records(z.config.Name)); err != nil {
			t.Fatal(err)
		}
		files[strings.TrimSuffix(z.config.Name.String(), ".")] = file.String()
	}
	return files
}

// From the same zone files, BestDNS, Knot, NSD and BIND give the same answers to
// the corpus, but for the agreedDifferences.
func TestSameAnswersAsOthers(t *testing.T) {
	t.Parallel()
	const atLeast = 20_000 // questions
	zones := corpusZones(t, *corpusSeed)
	server, addr := serveCorpus(t, zones)
	peers := harness.StartPeers(t, masterFiles(t, server, zones))
	questions := corpusQuestions(t, zones)
	if t.Logf("%d questions", len(questions)); len(questions) < atLeast {
		t.Errorf("fewer questions than %d", atLeast)
	}

	messages := questionMessages(questions)
	ours := readAnswers(t, "BestDNS", questions, harness.AskAll(t, addr, messages))
	world := newCorpusWorld(zones)
	for _, p := range peers {
		theirs := readAnswers(t, p.Name, questions, harness.AskAll(t, p.Addr, messages))
		used := compareAnswers(t, p.Name, world, questions, ours, theirs)
		for _, d := range agreedDifferences {
			if !d.of(p.Name) {
				continue
			}
			t.Logf("%-5s %6d  %s", p.Name, used[d.name], d.name)
			if used[d.name] == 0 {
				t.Errorf("no answer of %s differs any more by %q", p.Name, d.name)
			}
		}
	}
}

// The answer to a question comes back to it whole over UDP if it fits, octet for
// octet as over TCP, and otherwise as much of it as may be left.
func TestSameAnswersByUDPAndTCP(t *testing.T) {
	t.Parallel()
	zones := corpusZones(t, *corpusSeed)
	_, addr := serveCorpus(t, zones)
	questions := corpusQuestions(t, zones)
	messages := questionMessages(questions)
	byTCP := harness.AskAll(t, addr, messages)
	byUDP := harness.AskAllUDP(t, addr, messages)
	for i, q := range questions {
		limit := dns.MinMsgSize
		if q.edns {
			limit = 1232
		}
		if err := sameOrCut(byUDP[i], byTCP[i], limit); err != nil {
			t.Errorf("%s: %v", q, err)
		}
		if asked := messages[i][12 : 12+len(q.wire)+4]; string(byUDP[i][12:12+len(asked)]) != string(asked) {
			t.Errorf("%s: the answer repeats another question: %q", q, byUDP[i][12:])
		}
	}
}

// sameOrCut compares an answer over UDP with the one over TCP.
func sameOrCut(udp, tcp []byte, limit int) error {
	if len(tcp) <= limit {
		if string(udp) != string(tcp) {
			return fmt.Errorf("by UDP %q, by TCP %q", udp, tcp)
		}
		return nil
	}
	if len(udp) > limit {
		return fmt.Errorf("%d octets by UDP, %d allowed", len(udp), limit)
	}
	part, err := readAnswer(udp)
	if err != nil {
		return err
	}
	whole, err := readAnswer(tcp)
	if err != nil {
		return err
	}
	if strings.Contains(part.Header, "TC") {
		part.Header = strings.Replace(part.Header, " TC", "", 1)
		whole.Answer = whole.Answer[:min(len(part.Answer), len(whole.Answer))]
		whole.Authority = keep(whole.Authority, part.Authority)
	}
	whole.Additional = keep(whole.Additional, part.Additional)
	if diff := cmp.Diff(whole, part, cmpopts.EquateEmpty()); diff != "" {
		return fmt.Errorf("what is left by UDP is no part of what comes by TCP (-TCP +UDP):\n%s", diff)
	}
	return nil
}

// keep returns the RRsets that are in some.
func keep(all, some []rrset) []rrset {
	return slices.DeleteFunc(slices.Clone(all), func(s rrset) bool { return !has(some, s) })
}

// The page says why, under the same names, and has no others.
func TestDifferencesAreDocumented(t *testing.T) {
	page, err := os.ReadFile("../docs/name-server.md")
	if err != nil {
		t.Fatal(err)
	}
	var documented, agreed []string
	for _, row := range regexp.MustCompile(`(?m)^\| \*\*(.+)\*\* \| ([^|]+) \|`).FindAllStringSubmatch(string(page), -1) {
		documented = append(documented, row[1]+": "+row[2])
	}
	for _, d := range agreedDifferences {
		agreed = append(agreed, d.name+": "+strings.Join(d.peers, ", "))
	}
	if diff := cmp.Diff(agreed, documented); diff != "" {
		t.Errorf("differences (-agreed +documented):\n%s", diff)
	}
}

func questionMessages(questions []corpusQuestion) [][]byte {
	messages := make([][]byte, len(questions))
	for i, q := range questions {
		messages[i] = q.message(uint16(i))
	}
	return messages
}

func readAnswers(t testing.TB, name string, questions []corpusQuestion, messages [][]byte) []answer {
	t.Helper()
	answers := make([]answer, len(messages))
	for i, m := range messages {
		var err error
		if answers[i], err = readAnswer(m); err != nil {
			t.Errorf("%s on %s: %v", name, questions[i], err)
		}
	}
	return answers
}

// compareAnswers reports the answers that differ without an agreed difference that
// explains it, and returns how many each of those explains.
func compareAnswers(t *testing.T, peer string, world *corpusWorld, questions []corpusQuestion, ours, theirs []answer) map[string]int {
	t.Helper()
	const shown = 20
	used := make(map[string]int)
	unexplained := 0
	for i, q := range questions {
		explained, diff := comparison{q, ours[i], theirs[i], world}.explain(peer)
		for _, name := range explained {
			used[name]++
		}
		if diff == "" {
			continue
		}
		if unexplained++; unexplained <= shown {
			t.Errorf("%s, %s:\n%s", peer, q, diff)
		}
	}
	if unexplained > shown {
		t.Errorf("%d more answers of %s differ", unexplained-shown, peer)
	}
	return used
}

// explain compares two answers, with their differences by agreement taken out of
// them, and returns the names of those and what is left.
func (c comparison) explain(peer string) (explained []string, diff string) {
	if diff = c.diff(); diff == "" {
		return nil, ""
	}
	for _, d := range agreedDifferences {
		if !d.of(peer) || !d.reconcile(&c) {
			continue
		}
		explained = append(explained, d.name)
		if c.diff() == "" {
			return explained, ""
		}
	}
	return nil, diff
}

func (c *comparison) diff() string {
	if cmp.Equal(c.ours, c.theirs, cmpopts.EquateEmpty()) {
		return ""
	}
	return fmt.Sprintf("BestDNS: %s\nother:   %s", c.ours, c.theirs)
}
