package e2e

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"os"
	"regexp"
	"strconv"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// BenchmarkStart starts Caddy over a store with a TXT record at each of many names: the
// time until DNS answers for one of them, the start of all of Caddy included, and what
// is resident then. The first row is what a start costs without any.
func BenchmarkStart(b *testing.B) {
	for _, names := range []int{0, 100_000, 1_000_000} {
		s := NewService(b)
		s.MustStart()
		s.fill(b, names)
		last := fmt.Sprintf("_acme-challenge.web%07d.%s.", names-1, hostedZone)
		if names == 0 {
			last = "ns1." + hostedZone + "."
		}
		b.Run(fmt.Sprintf("%d names", names), func(b *testing.B) {
			var resident int
			for b.Loop() {
				b.StopTimer()
				s.Stop()
				b.StartTimer()
				s.Launch()
				s.waitAnswer(b, last)
				resident += s.resident(b)
			}
			b.ReportMetric(float64(resident)/float64(b.N)/(1<<20), "MiB-resident")
		})
		s.Stop()
	}
}

// Caddy with BestDNS that has nothing to do takes no more memory than a small machine
// can spare: 10 MB of its own, and some 45 MB that are pages of the program's file, nearly
// all of it Caddy's. How many of those the system maps depends on what else runs the same
// file, as other tests do, so that the limit is for what is the process's own.
func TestIdleMemory(t *testing.T) {
	const limit = 20_000_000 // octets
	s := NewService(t)
	s.MustStart()
	s.patch(t, appending(text("first", "x")))
	own := s.memory(t, ownSize)
	t.Logf("%.1f MB of its own, %.1f MB resident", float64(own)/1e6, float64(s.resident(t))/1e6)
	if own > limit {
		t.Errorf("%d octets are its own, more than %d", own, limit)
	}
}

// resident returns how much memory the process has, its program included, in octets.
func (s *Service) resident(t testing.TB) int {
	t.Helper()
	return s.memory(t, residentSize)
}

// memory returns a figure of the process's status in octets.
func (s *Service) memory(t testing.TB, which *regexp.Regexp) int {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	found := which.FindSubmatch(status)
	if found == nil {
		t.Fatalf("%v is not in %s", which, status)
	}
	kB, err := strconv.Atoi(string(found[1]))
	if err != nil {
		t.Fatal(err)
	}
	return kB * 1024
}

var (
	residentSize = regexp.MustCompile(`VmRSS:\s+(\d+) kB`)
	ownSize      = regexp.MustCompile(`RssAnon:\s+(\d+) kB`)
)

// fill imports a TXT record at each of many names.
func (s *Service) fill(t testing.TB, names int) {
	t.Helper()
	const most = 100_000 // of one import
	for from := 0; from < names; from += most {
		var file bytes.Buffer
		for i := from; i < min(from+most, names); i++ {
			fmt.Fprintf(&file, "_acme-challenge.web%07d 60 TXT %043d\n", i, i)
		}
		resp, err := http.Post("http://"+s.Admin+"/bestdns/zones/"+hostedZone, "text/dns", &file)
		if err != nil {
			t.Fatal(err)
		}
		answer, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			t.Fatalf("filling the zone: %s: %s", resp.Status, answer)
		}
	}
}

// waitAnswer asks DNS until it has an answer for a name.
func (s *Service) waitAnswer(t testing.TB, name string) {
	t.Helper()
	question := new(dns.Msg).SetQuestion(name, dns.TypeANY)
	for deadline := time.Now().Add(startTimeout); ; time.Sleep(time.Millisecond) {
		answer, _, err := (&dns.Client{Timeout: time.Second}).Exchange(question, s.DNS)
		if err == nil && answer.Rcode == dns.RcodeSuccess && len(answer.Answer) > 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("no answer for %s: %v %v; the log:\n%s", name, answer, err, s.log)
		}
	}
}
