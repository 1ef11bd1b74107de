package service

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/miekg/dns"
)

// metrics returns the lines of the name server's metrics.
func (s *service) metrics(t *testing.T) []string {
	t.Helper()
	response, err := http.Get("http://" + s.admin + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for line := range strings.Lines(string(body)) {
		if strings.HasPrefix(line, "bestdns_dns_") {
			lines = append(lines, strings.TrimSpace(line))
		}
	}
	return lines
}

// TestMetrics checks that queries are counted, and that a new configuration goes on
// where the one before was.
func TestMetrics(t *testing.T) {
	s := newService(t)
	s.admin = freeAddress(t)
	s.load(t, s.standard())
	s.ask(t, "example.test.", dns.TypeSOA)
	s.ask(t, "missing.example.test.", dns.TypeTXT)
	s.ask(t, "example.net.", dns.TypeA)
	s.load(t, s.standard()+"\nrate_limit 50")
	s.ask(t, "example.test.", dns.TypeSOA)
	all := strings.Join(s.metrics(t), "\n")
	for _, want := range []string{
		`bestdns_dns_queries_total{rcode="NOERROR",type="SOA",zone="example.test."} 2`,
		`bestdns_dns_queries_total{rcode="NXDOMAIN",type="TXT",zone="example.test."} 1`,
		`bestdns_dns_queries_total{rcode="REFUSED",type="A",zone=""} 1`,
		`bestdns_dns_limited_total{action="dropped",limit="rate"} 0`,
	} {
		if !strings.Contains(all, want) {
			t.Errorf("no %q in\n%s", want, all)
		}
	}
}
