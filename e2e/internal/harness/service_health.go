package harness

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

// Probes is in what time a service has probed a store that cannot be written.
const Probes = 12 * time.Second

// health returns what GET /v1/health answers, and the metric that tells the same.
func (s *Service) health(t *testing.T) (status int, answer string, metric float64) {
	t.Helper()
	get := func(url string) (int, string) {
		t.Helper()
		resp, err := s.Client.Get(url)
		NoError(t, err)
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		NoError(t, err)
		return resp.StatusCode, string(body)
	}
	status, answer = get("http://" + s.API + "/v1/health")
	_, metrics := get("http://" + s.Admin + "/metrics")
	found := healthyMetric.FindStringSubmatch(metrics)
	if found == nil {
		t.Fatal("the metric bestdns_healthy is not there")
	}
	metric, err := strconv.ParseFloat(found[1], 64)
	NoError(t, err)
	return status, answer, metric
}

var healthyMetric = regexp.MustCompile(`(?m)^bestdns_healthy (\S+)$`)

// WantHealth holds a service's health to a reason that it has to name, "" for none.
func (s *Service) WantHealth(t *testing.T, when, reason string) {
	t.Helper()
	status, answer, metric := s.health(t)
	want, wantMetric := http.StatusOK, 1.0
	if reason != "" {
		want, wantMetric = http.StatusServiceUnavailable, 0
	}
	if status != want || metric != wantMetric || !strings.Contains(answer, reason) {
		t.Errorf("%s, health is %d %s and bestdns_healthy %v; want %d, %v and %q", when, status, answer, metric, want, wantMetric, reason)
	}
}

// WaitHealthy waits until a service says in its log that what it complained of is over,
// and holds its health to that.
func (s *Service) WaitHealthy(t *testing.T, line string) {
	t.Helper()
	NoError(t, s.Log.Wait(1, 4*Probes, Message(line)))
	s.WantHealth(t, "after "+line, "")
}

// Resident returns how much memory the process has, its program included, in bytes.
func (s *Service) Resident(t testing.TB) int {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.Cmd.Process.Pid))
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
