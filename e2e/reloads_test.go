package e2e

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/libdns/libdns"
	"github.com/miekg/dns"

	"github.com/caddy-dns/bestdns"
	"github.com/caddy-dns/bestdns/e2e/internal/harness"
	"github.com/caddy-dns/bestdns/internal/api"
)

// failedZone is in the configs that fail only, and so is the client of failedToken.
const failedZone = "failed.example"

var failedToken = api.NewToken()

// reloadConfig is a config that a running service is to take, or not to.
type reloadConfig struct {
	name string
	// change makes it out of durable.caddyfile; taken is a port that is taken.
	change func(caddyfile, taken string) string
	fails  bool
}

const addedZone = `
		zone %s {
			ns ns1.%[1]s 127.0.0.1
		}
		client writer {`

// withFailed adds what must never be served.
func withFailed(caddyfile string) string {
	client := fmt.Sprintf("client intruder {\n token %s\n allow under hosted.example\n }\n client writer {", harness.Digest(failedToken))
	return strings.Replace(withZone(caddyfile, failedZone), "client writer {", client, 1)
}

func withZone(caddyfile, zone string) string {
	return strings.Replace(caddyfile, "client writer {", strings.TrimSpace(fmt.Sprintf(addedZone, zone)), 1)
}

var reloadConfigs = []reloadConfig{
	{name: "the same", change: func(c, _ string) string { return c }},
	{name: "one more zone", change: func(c, _ string) string { return withZone(c, "more.example") }},
	{name: "the zone with another TTL", change: func(c, _ string) string {
		return strings.Replace(c, "zone hosted.example {", "zone hosted.example {\n ttl 2m", 1)
	}},
	{name: "wrong in itself", fails: true, change: func(c, _ string) string {
		return strings.Replace(withFailed(c), "ns ns1.hosted.example 127.0.0.1", "ns ns1.hosted.example", 1)
	}},
	{name: "an address for DNS that is taken", fails: true, change: func(c, taken string) string {
		return strings.Replace(withFailed(c), "listen {$DNS}", "listen {$DNS} 127.0.0.1:"+taken, 1)
	}},
	{name: "another app that cannot start", fails: true, change: func(c, taken string) string {
		return withFailed(c) + "\nhttp://127.0.0.1:" + taken + " {\n respond ok\n}\n"
	}},
}

// A service is reloaded a thousand times while questions are asked and changes are
// made, with configs some of which fail. No question and no change is lost, no config
// that failed is served, and nothing is left behind. It is not parallel: it measures what
// is in use.
func TestThousandReloads(t *testing.T) {
	reloads := 1000
	if testing.Short() {
		reloads = 60
	}
	s := harness.NewService(t)
	s.MustStart()
	s.MustPatch(t, harness.Appending(harness.Text("stable", "x")))
	caddyfile, err := os.ReadFile(harness.Testdata(t, "durable.caddyfile"))
	harness.NoError(t, err)
	occupied, err := net.Listen("tcp", "127.0.0.1:0")
	harness.NoError(t, err)
	defer occupied.Close()
	reload := func(i int) {
		config := reloadConfigs[i%len(reloadConfigs)]
		status, answer := reload(t, s, config.change(string(caddyfile), harness.Port(t, occupied.Addr().String())))
		if config.fails == (status == http.StatusOK) {
			t.Errorf("reload %d, %s: %d %s", i, config.name, status, answer)
		}
	}
	const warmUp = 60
	for i := range warmUp {
		reload(i)
	}
	before := settled(t, s, usage{})

	load := newReloadLoad(t, s)
	began := time.Now()
	for i := range reloads {
		reload(i)
		if t.Failed() && i%50 == 0 {
			break
		}
	}
	took := time.Since(began)
	load.end(t)
	t.Logf("%d reloads in %v, beside %d questions by UDP, %d by TCP connections of their own, %d changes", reloads, took.Round(time.Millisecond), load.udp.Load(), load.tcp.Load(), load.changes.Load())

	after := settled(t, s, before)
	t.Logf("before: %v", before)
	t.Logf("after:  %v", after)
	if after.exceeds(before) {
		t.Errorf("something is left behind: before %v, after %v", before, after)
	}
}

// Reloads that change the store while questions are asked lose none, since the sockets
// stay: a question that waits in one is answered out of the new store. It is not parallel:
// a connection on which nothing is asked for seconds is closed.
func TestReloadsThatChangeStore(t *testing.T) {
	reloads := 1000
	if testing.Short() {
		reloads = 150
	}
	s := harness.NewService(t)
	s.MustStart()
	load := &reloadLoad{service: s, stop: make(chan struct{})}
	provider := &bestdns.Provider{Endpoint: "http://" + s.API, APIToken: s.Token} // which tries again
	addStable := func() {
		t.Helper()
		harness.NoError(t, load.ask(load.dial("udp"), "stable."+harness.HostedZone, dns.TypeTXT, dns.RcodeNameError))
		_, err := provider.AppendRecords(context.Background(), harness.HostedZone+".", []libdns.Record{libdns.TXT{Name: "stable", TTL: time.Minute, Text: "x"}})
		harness.NoError(t, err)
	}
	addStable()
	caddyfile, err := os.ReadFile(harness.Testdata(t, "durable.caddyfile"))
	harness.NoError(t, err)
	other := filepath.Join(t.TempDir(), "other.db")
	reload := func(i int) {
		t.Helper()
		config := string(caddyfile)
		if i%2 == 0 {
			config = strings.Replace(config, "store {$STORE}", fmt.Sprintf("store %q", other), 1)
		}
		if status, answer := reload(t, s, config); status != http.StatusOK {
			t.Fatalf("reload %d: %d %s", i, status, answer)
		}
	}
	reload(0)
	addStable() // there is nothing in the other one

	const askers = 4
	for range askers {
		load.repeat(&load.udp, 200*time.Microsecond, load.byUDP(t))
		load.repeat(&load.tcp, 2*time.Millisecond, load.stableBy("tcp"))
	}
	load.repeat(&load.tcp, time.Millisecond, load.onOneConnection(t))
	for i := range reloads {
		reload(i + 1)
	}
	load.stopAndReport(t)
	t.Logf("%d reloads beside %d questions by UDP and %d by TCP", reloads, load.udp.Load(), load.tcp.Load())
	if load.udp.Load() == 0 || load.tcp.Load() == 0 {
		t.Error("too little was asked")
	}
}

// reload posts a config, and returns what Caddy answers. Each config has an admin
// endpoint of its own, and connections that wait for the old one when it is closed
// are lost with it, so who loads has to come again.
func reload(t *testing.T, s *harness.Service, config string) (status int, answer string) {
	t.Helper()
	const tries = 5
	var err error
	for range tries {
		if status, answer, err = post(s, "/load", config); err == nil {
			return status, answer
		}
	}
	t.Fatalf("reloading: %v", err)
	return 0, ""
}

// post sends a config to the admin endpoint on a connection of its own.
func post(s *harness.Service, path, config string) (status int, answer string, err error) {
	req, err := http.NewRequest(http.MethodPost, "http://"+s.Admin+path, strings.NewReader(config))
	if err != nil {
		return 0, "", err
	}
	req.Header.Set("Content-Type", "text/caddyfile")
	req.Header.Set("Cache-Control", "must-revalidate") // reload even if nothing changed
	req.Close = true
	resp, err := s.Client.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(body), err
}

// reloadLoad asks and writes until it is ended, and counts what went well.
type reloadLoad struct {
	service           *harness.Service
	udp, tcp, changes atomic.Int64
	stop              chan struct{}
	running           sync.WaitGroup

	mu   sync.Mutex
	errs []error
}

func newReloadLoad(t *testing.T, s *harness.Service) *reloadLoad {
	t.Helper()
	l := &reloadLoad{service: s, stop: make(chan struct{})}
	const askers, writers = 2, 4
	for range askers {
		l.repeat(&l.udp, time.Millisecond, l.byUDP(t))
		l.repeat(&l.tcp, 5*time.Millisecond, l.stableBy("tcp"))
	}
	failed, err := net.Dial("udp", s.DNS)
	harness.NoError(t, err)
	l.repeat(new(atomic.Int64), 200*time.Microsecond, func() error {
		return l.ask(func() (net.Conn, bool, error) { return failed, false, nil }, failedZone, dns.TypeSOA, dns.RcodeRefused)
	})
	l.repeat(new(atomic.Int64), time.Millisecond, l.intrude)
	for i := range writers {
		p := &bestdns.Provider{Endpoint: "http://" + s.API, APIToken: s.Token}
		n := 0
		l.repeat(&l.changes, time.Millisecond, func() error {
			n++
			return l.change(p, fmt.Sprintf("w%d", i), n)
		})
	}
	return l
}

// repeat calls f again and again, with a pause between.
func (l *reloadLoad) repeat(count *atomic.Int64, pause time.Duration, f func() error) {
	l.running.Go(func() {
		tick := time.NewTicker(pause)
		defer tick.Stop()
		for {
			select {
			case <-l.stop:
				return
			case <-tick.C:
			}
			if err := f(); err != nil {
				l.mu.Lock()
				l.errs = append(l.errs, err)
				l.mu.Unlock()
				continue
			}
			count.Add(1)
		}
	})
}

// byUDP asks on one socket.
func (l *reloadLoad) byUDP(t *testing.T) func() error { return l.on(t, "udp") }

// onOneConnection asks by TCP on one connection, which no reload may close.
func (l *reloadLoad) onOneConnection(t *testing.T) func() error { return l.on(t, "tcp") }

// stableBy asks on a connection of its own each time.
func (l *reloadLoad) stableBy(network string) func() error {
	return func() error {
		return l.ask(l.dial(network), "stable."+harness.HostedZone, dns.TypeTXT, dns.RcodeSuccess)
	}
}

func (l *reloadLoad) on(t *testing.T, network string) func() error {
	t.Helper()
	conn, err := net.Dial(network, l.service.DNS)
	harness.NoError(t, err)
	return func() error {
		return l.ask(func() (net.Conn, bool, error) { return conn, false, nil }, "stable."+harness.HostedZone, dns.TypeTXT, dns.RcodeSuccess)
	}
}

// intrude tries the token of a config that failed.
func (l *reloadLoad) intrude() error {
	req, err := http.NewRequest(http.MethodGet, "http://"+l.service.API+"/v1/token", nil)
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+failedToken)
	resp, err := l.service.Client.Do(req)
	if err != nil {
		return nil // of a server that is going
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusUnauthorized && resp.StatusCode != http.StatusTooManyRequests {
		return fmt.Errorf("the token of a config that failed: %s", resp.Status)
	}
	return nil
}

// dial opens a connection for one question.
func (l *reloadLoad) dial(network string) func() (net.Conn, bool, error) {
	return func() (net.Conn, bool, error) {
		conn, err := net.Dial(network, l.service.DNS)
		return conn, true, err
	}
}

// ask asks once: an answer that does not come is lost.
func (l *reloadLoad) ask(connect func() (conn net.Conn, ours bool, err error), name string, qtype uint16, rcode int) error {
	conn, ours, err := connect()
	if err != nil {
		return err
	}
	if ours {
		defer conn.Close()
	}
	const timeout = 5 * time.Second
	client := dns.Client{Timeout: timeout}
	answer, _, err := client.ExchangeWithConn(new(dns.Msg).SetQuestion(dns.Fqdn(name), qtype), &dns.Conn{Conn: conn})
	switch {
	case err != nil:
		return fmt.Errorf("asking for %s by %s: %w", name, conn.LocalAddr().Network(), err)
	case answer.Rcode != rcode:
		return fmt.Errorf("asking for %s by %s: %s", name, conn.LocalAddr().Network(), dns.RcodeToString[answer.Rcode])
	case rcode == dns.RcodeSuccess && len(answer.Answer) != 1:
		return fmt.Errorf("asking for %s: %d records", name, len(answer.Answer))
	}
	return nil
}

// change adds a record and removes it, and looks each time whether DNS has it.
func (l *reloadLoad) change(p *bestdns.Provider, name string, n int) error {
	record := libdns.TXT{Name: name, TTL: time.Minute, Text: strconv.Itoa(n)}
	for _, step := range []struct {
		do    func(context.Context, string, []libdns.Record) ([]libdns.Record, error)
		rcode int
	}{{p.AppendRecords, dns.RcodeSuccess}, {p.DeleteRecords, dns.RcodeNameError}} {
		got, err := step.do(context.Background(), harness.HostedZone+".", []libdns.Record{record})
		if err != nil {
			return fmt.Errorf("changing %s: %w", name, err)
		}
		if len(got) > 1 { // a repeated delete may find nothing
			return fmt.Errorf("changing %s: %d records", name, len(got))
		}
		if err := l.ask(l.dial("udp"), name+"."+harness.HostedZone, dns.TypeTXT, step.rcode); err != nil {
			return err
		}
	}
	return nil
}

// end ends the load and reports what went wrong.
func (l *reloadLoad) end(t *testing.T) {
	t.Helper()
	l.stopAndReport(t)
	for kind, n := range map[string]int64{"questions by UDP": l.udp.Load(), "questions by TCP": l.tcp.Load(), "changes": l.changes.Load()} {
		if n == 0 {
			t.Errorf("no %s were made", kind)
		}
	}
	texts := l.service.Texts()
	if len(texts) != 1 {
		t.Errorf("records are left: %v", texts)
	}
}

// stopAndReport ends the load and reports what was lost.
func (l *reloadLoad) stopAndReport(t *testing.T) {
	t.Helper()
	close(l.stop)
	l.running.Wait()
	const shown = 10
	for i, err := range l.errs {
		if i == shown {
			t.Errorf("%d more", len(l.errs)-shown)
			break
		}
		t.Error(err)
	}
}

// usage is what a process holds.
type usage struct {
	goroutines, files int
	heap, resident    int // bytes
}

// String returns it as words.
func (u usage) String() string {
	return fmt.Sprintf("%d goroutines, %d open files, %.1f MB of heap, %.1f MB resident", u.goroutines, u.files, float64(u.heap)/1e6, float64(u.resident)/1e6)
}

// exceeds reports whether there is more than chance explains: a goroutine, a file or
// 100 kB for each of a thousand reloads would be far more.
func (u usage) exceeds(before usage) bool {
	return u.goroutines > before.goroutines+20 || u.files > before.files+20 ||
		u.heap > before.heap+20e6 || u.resident > before.resident+100e6
}

// settled returns what the service holds when it no longer drains what configs left,
// or, if it never gets down to what was before, what it holds then.
func settled(t *testing.T, s *harness.Service, before usage) usage {
	t.Helper()
	s.Client.CloseIdleConnections()
	last := usage{}
	// No one says that a goroutine of another process has ended: it is to be asked.
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(20 * time.Second)
	for {
		now := usageOf(t, s)
		calm := now.goroutines == last.goroutines && now.files == last.files
		if before == (usage{}) && calm || before != (usage{}) && !now.exceeds(before) {
			return now
		}
		last = now
		select {
		case <-tick.C:
		case <-deadline:
			return now
		}
	}
}

var (
	goroutineTotal = regexp.MustCompile(`goroutine profile: total (\d+)`)
	heapInUse      = regexp.MustCompile(`# HeapAlloc = (\d+)`)
)

func usageOf(t *testing.T, s *harness.Service) usage {
	t.Helper()
	number := func(from string, pattern *regexp.Regexp) int {
		t.Helper()
		found := pattern.FindStringSubmatch(from)
		if found == nil {
			t.Fatalf("%v is not in %.200q", pattern, from)
		}
		n, err := strconv.Atoi(found[1])
		harness.NoError(t, err)
		return n
	}
	heap := number(profile(t, s, "heap?gc=1&debug=1"), heapInUse)
	files, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", s.Cmd.Process.Pid))
	harness.NoError(t, err)
	return usage{
		goroutines: number(profile(t, s, "goroutine?debug=1"), goroutineTotal),
		files:      len(files),
		heap:       heap,
		resident:   s.Resident(t),
	}
}

// profile reads one of the profiles that Caddy's admin endpoint has.
func profile(t *testing.T, s *harness.Service, which string) string {
	t.Helper()
	resp, err := s.Client.Get("http://" + s.Admin + "/debug/pprof/" + which)
	harness.NoError(t, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	harness.NoError(t, err)
	return string(body)
}
