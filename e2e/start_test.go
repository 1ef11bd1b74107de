package e2e

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/miekg/dns"
	"golang.org/x/sys/unix"

	"github.com/caddy-dns/bestdns/e2e/internal/harness"
)

// BenchmarkStart starts Caddy over a store with a TXT record at each of many names: the
// time until DNS answers for one of them, the start of all of Caddy included, and what
// is resident then. The first row is what a start costs without any.
func BenchmarkStart(b *testing.B) {
	for _, names := range []int{0, 100_000, 1_000_000} {
		s := harness.NewService(b)
		s.MustStart()
		fill(b, s, names)
		last := fmt.Sprintf("_acme-challenge.web%07d.%s.", names-1, harness.HostedZone)
		if names == 0 {
			last = "ns1." + harness.HostedZone + "."
		}
		b.Run(fmt.Sprintf("%d names", names), func(b *testing.B) {
			var resident int
			for b.Loop() {
				b.StopTimer()
				s.Stop()
				b.StartTimer()
				s.Launch()
				waitAnswer(b, s, last)
				resident += s.Resident(b)
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
	t.Parallel()
	const limit = 60_000_000 // bytes
	s := harness.NewService(t)
	s.Binary = filepath.Join(t.TempDir(), "caddy")
	out, err := exec.Command("go", "build", "-C", "../cmd/caddy", "-trimpath", "-ldflags", "-s -w", "-o", s.Binary, ".").CombinedOutput()
	if err != nil {
		t.Fatalf("building cmd/caddy: %v\n%s", err, out)
	}
	forget(t, s.Binary)
	s.MustStart()
	s.MustPatch(t, harness.Appending(harness.Text("first", "x")))
	got := s.Resident(t)
	t.Logf("%.1f MB are resident", float64(got)/1e6)
	if got > limit {
		t.Errorf("%d bytes are resident, more than %d", got, limit)
	}
}

// forget has the system read a file anew when it is run, as after a start of the
// machine. How it maps what was just written depends on how that was: by large pages,
// an idle Caddy is 16 MB larger.
func forget(t *testing.T, path string) {
	t.Helper()
	file, err := os.Open(path)
	harness.NoError(t, err)
	defer file.Close()
	harness.NoError(t, file.Sync())
	harness.NoError(t, unix.Fadvise(int(file.Fd()), 0, 0, unix.FADV_DONTNEED))
}

// fill imports a TXT record at each of many names.
func fill(t testing.TB, s *harness.Service, names int) {
	t.Helper()
	const most = 100_000 // of one import
	for from := 0; from < names; from += most {
		var file bytes.Buffer
		for i := from; i < min(from+most, names); i++ {
			fmt.Fprintf(&file, "_acme-challenge.web%07d 60 TXT %043d\n", i, i)
		}
		resp, err := http.Post("http://"+s.Admin+"/bestdns/zones/"+harness.HostedZone, "text/dns", &file)
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
func waitAnswer(t testing.TB, s *harness.Service, name string) {
	t.Helper()
	if err := s.Log.Wait(1, harness.StartTimeout, harness.Message("the name server is up")); err != nil {
		t.Fatal(err)
	}
	answer, _, err := new(dns.Client).Exchange(new(dns.Msg).SetQuestion(name, dns.TypeANY), s.DNS)
	if err != nil || answer.Rcode != dns.RcodeSuccess || len(answer.Answer) == 0 {
		t.Fatalf("no answer for %s: %v %v; the log:\n%s", name, answer, err, s.Log)
	}
}
