package e2e

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"

	"github.com/miekg/dns"
	"golang.org/x/sys/unix"
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

// Caddy with BestDNS, as make builds it, that has nothing to do takes no more memory
// than a small machine can spare. (Some 43 of 54 MB are pages of the program's file, and
// nearly all is Caddy's.)
func TestIdleMemory(t *testing.T) {
	const limit = 60_000_000 // octets
	s := NewService(t)
	s.binary = filepath.Join(t.TempDir(), "caddy")
	out, err := exec.Command("go", "build", "-C", "../cmd/caddy", "-trimpath", "-ldflags", "-s -w", "-o", s.binary, ".").CombinedOutput()
	if err != nil {
		t.Fatalf("building cmd/caddy: %v\n%s", err, out)
	}
	forget(t, s.binary)
	s.MustStart()
	s.patch(t, appending(text("first", "x")))
	got := s.resident(t)
	t.Logf("%.1f MB are resident", float64(got)/1e6)
	if got > limit {
		t.Errorf("%d octets are resident, more than %d", got, limit)
	}
}

// forget has the system read a file anew when it is run, as behind a start of the
// machine. How it maps what was just written depends on how that was: by large pages,
// an idle Caddy is 16 MB larger.
func forget(t *testing.T, path string) {
	t.Helper()
	file, err := os.Open(path)
	noError(t, err)
	defer file.Close()
	noError(t, file.Sync())
	noError(t, unix.Fadvise(int(file.Fd()), 0, 0, unix.FADV_DONTNEED))
}

// resident returns how much memory the process has, its program included, in octets.
func (s *Service) resident(t testing.TB) int {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	found := residentSize.FindSubmatch(status)
	if found == nil {
		t.Fatalf("%v is not in %s", residentSize, status)
	}
	kB, err := strconv.Atoi(string(found[1]))
	if err != nil {
		t.Fatal(err)
	}
	return kB * 1024
}

var residentSize = regexp.MustCompile(`VmRSS:\s+(\d+) kB`)

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

// waitAnswer waits until DNS is up, and asks for a name, which has to be there.
func (s *Service) waitAnswer(t testing.TB, name string) {
	t.Helper()
	if err := s.log.Wait(1, startTimeout, message("the name server is up")); err != nil {
		t.Fatal(err)
	}
	answer, _, err := new(dns.Client).Exchange(new(dns.Msg).SetQuestion(name, dns.TypeANY), s.DNS)
	if err != nil || answer.Rcode != dns.RcodeSuccess || len(answer.Answer) == 0 {
		t.Fatalf("no answer for %s: %v %v; the log:\n%s", name, answer, err, s.log)
	}
}
