package service

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"
)

// metrics returns the service's metrics from Caddy's own endpoint, values by series.
func (s *service) metrics(t testing.TB) map[string]float64 {
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
	values := make(map[string]float64)
	for line := range strings.Lines(string(body)) {
		if !strings.HasPrefix(line, "bestdns_") {
			continue
		}
		i := strings.LastIndexByte(line, ' ')
		value, err := strconv.ParseFloat(strings.TrimSpace(line[i+1:]), 64)
		if err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		values[line[:i]] = value
	}
	if len(values) == 0 {
		t.Fatalf("no metrics of the service:\n%s", body)
	}
	return values
}

// grown returns by how much series grew; those that did not grow are left out.
func grown(before, after map[string]float64, prefixes ...string) map[string]float64 {
	diff := make(map[string]float64)
	for series, value := range after {
		for _, prefix := range prefixes {
			if strings.HasPrefix(series, prefix) && value != before[series] {
				diff[series] = value - before[series]
			}
		}
	}
	return diff
}

// withProvider is the standard configuration and a zone with a provider.
func (s *service) withProvider() string {
	return s.standard() + fmt.Sprintf(`
		zone hosted.test {
			provider test_memory
		}
		client hosted {
			description "the one of the provider's zone"
			token %s
			allow under hosted.test
			expires 2027-06-30
		}`, s.digest("hosted"))
}

// TestMetrics lets things happen, with a reload in between, and checks what is
// counted of them.
func TestMetrics(t *testing.T) {
	memory.reset()
	t.Cleanup(func() { clear(wrongTokens.limiters) })
	s := newService(t)
	s.admin = freeAddress(t)
	s.token["hosted"] = "of-hosted"
	s.load(t, s.withProvider())
	before := s.metrics(t)

	const records = "/v1/zones/hosted.test/records"
	happen := func() {
		s.must(t, "ops", "example.test", `{"append":[{"name":"www","type":"A","data":"192.0.2.1"}]}`)
		s.must(t, "ops", "example.test", `{"delete":[{"name":"www","type":"A","data":"192.0.2.1"}]}`)
		s.patch(t, "ops", "example.test", `{"append":[{"name":"x","type":"A","data":"no address"}]}`)
		s.patch(t, "ops", "example.test", `{"append":[{"name":"@","type":"SOA","data":"a. b. 1 2 3 4 5"}]}`)
		s.patch(t, "ops", "nowhere.test", `{"append":[{"name":"x","type":"A","data":"192.0.2.1"}]}`)
		s.must(t, "hosted", "hosted.test", `{"append":[{"name":"x","type":"A","data":"192.0.2.1"}]}`)
		memory.reset()
		memory.fail = errors.New("no")
		s.patch(t, "hosted", "hosted.test", `{"append":[{"name":"x","type":"A","data":"192.0.2.1"}]}`)
		s.call(t, "hosted", "GET", records, "")
		memory.reset()
		s.call(t, "", "GET", records, "")
		s.call(t, "stranger", "GET", records, "")
		s.call(t, "expired", "GET", records, "")
		s.call(t, "far", "GET", records, "")
		s.ask(t, "example.test.", dns.TypeSOA)
		s.ask(t, "missing.example.test.", dns.TypeTXT)
		s.ask(t, "example.net.", dns.TypeA)
	}
	s.token["stranger"] = "of-a-stranger"
	happen()
	s.load(t, s.withProvider()+"\nrate_limit 50")
	happen()

	after := s.metrics(t)
	want := map[string]float64{
		`bestdns_changes_total{outcome="changed",zone="example.test."}`:              4,
		`bestdns_changes_total{outcome="refused",zone="example.test."}`:              4,
		`bestdns_changes_total{outcome="refused",zone=""}`:                           2,
		`bestdns_changes_total{outcome="changed",zone="hosted.test."}`:               2,
		`bestdns_changes_total{outcome="failed",zone="hosted.test."}`:                2,
		`bestdns_change_duration_seconds_count{zone="example.test."}`:                4,
		`bestdns_change_duration_seconds_count{zone="hosted.test."}`:                 2,
		`bestdns_provider_errors_total{kind="failed",zone="hosted.test."}`:           4,
		`bestdns_denied_requests_total{reason="no_token"}`:                           2,
		`bestdns_denied_requests_total{reason="wrong_token"}`:                        2,
		`bestdns_denied_requests_total{reason="expired"}`:                            2,
		`bestdns_denied_requests_total{reason="network"}`:                            2,
		`bestdns_dns_queries_total{rcode="NOERROR",type="SOA",zone="example.test."}`: 2,
		`bestdns_dns_queries_total{rcode="NOERROR",type="TXT",zone="example.test."}`: 2,
		`bestdns_dns_queries_total{rcode="REFUSED",type="A",zone=""}`:                2,
	}
	got := grown(before, after, "bestdns_changes", "bestdns_change_duration_seconds_count", "bestdns_provider", "bestdns_denied", "bestdns_dns")
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("counted (-want +got):\n%s", diff)
	}
	if le := after[`bestdns_change_duration_seconds_bucket{zone="example.test.",le="10"}`]; le != after[`bestdns_change_duration_seconds_count{zone="example.test."}`] {
		t.Errorf("%v changes took 10 s at most", le)
	}
	for series, want := range map[string]float64{
		`bestdns_healthy`: 1,
		`bestdns_dns_limited_total{action="dropped",limit="rate"}`:                  0,
		`bestdns_denied_requests_total{reason="throttled"}`:                         before[`bestdns_denied_requests_total{reason="throttled"}`],
		`bestdns_changes_total{outcome="failed",zone="secret.test."}`:               0,
		`bestdns_dns_queries_total{rcode="NOERROR",type="TXT",zone="secret.test."}`: 0,
		`bestdns_client_expires_timestamp_seconds{client="hosted"}`:                 float64(time.Date(2027, 7, 1, 0, 0, 0, 0, time.UTC).Unix()),
		`bestdns_client_expires_timestamp_seconds{client="expired"}`:                float64(time.Date(2020, 1, 2, 0, 0, 0, 0, time.UTC).Unix()),
		`bestdns_provider_errors_total{kind="timeout",zone="hosted.test."}`:         0,
	} {
		if got, there := after[series]; !there || got != want {
			t.Errorf("%s is %v (there: %v), want %v", series, got, there, want)
		}
	}
	for range 2 * wrongTokens.burst {
		s.call(t, "stranger", "GET", records, "")
	}
	guessed := grown(after, s.metrics(t), `bestdns_denied_requests_total`)
	wrong, throttled := guessed[`bestdns_denied_requests_total{reason="wrong_token"}`], guessed[`bestdns_denied_requests_total{reason="throttled"}`]
	if wrong == 0 || throttled == 0 || wrong+throttled != float64(2*wrongTokens.burst) {
		t.Errorf("of %d wrong tokens %v were answered and %v throttled", 2*wrongTokens.burst, wrong, throttled)
	}
	for client, want := range map[string]bool{"ops": true, "hosted": true, "expired": false, "far": false, "web1": false} {
		used, there := after[fmt.Sprintf("bestdns_client_last_used_timestamp_seconds{client=%q}", client)]
		if there != want || there && time.Since(time.Unix(int64(used), 0)) > time.Minute {
			t.Errorf("last use of %s: %v, %v", client, there, used)
		}
	}
}

// TestMetricsOfRecords checks what is said of a zone's contents.
func TestMetricsOfRecords(t *testing.T) {
	s := newService(t)
	s.admin = freeAddress(t)
	s.load(t, s.standard())
	gauges := func() map[string]float64 {
		return grown(nil, s.metrics(t), `bestdns_records{zone="example.`, `bestdns_challenge_records{zone="example.`, "bestdns_oldest")
	}
	empty := map[string]float64{`bestdns_records{zone="example.test."}`: 3} // SOA, NS, the server's address
	if diff := cmp.Diff(empty, gauges()); diff != "" {
		t.Errorf("empty (-want +got):\n%s", diff)
	}
	started := float64(time.Now().Unix())
	challenge := fmt.Sprintf(`[{"name":"_acme-challenge.web1","type":"TXT","data":%q}]`, challengeValue)
	s.must(t, "web1", "example.test", `{"append":`+challenge+`}`)
	s.must(t, "ops", "example.test", `{"append":[{"name":"www","type":"A","data":"192.0.2.1"},{"name":"www","type":"A","data":"192.0.2.2"}]}`)
	s.load(t, s.standard()+"\nrate_limit 50")

	got := gauges()
	const oldest = `bestdns_oldest_challenge_timestamp_seconds{zone="example.test."}`
	for _, lifetime := range []string{"24h", "1h", "168h"} { // which has no part in it
		zone := "zone example.test {\n"
		s.load(t, strings.Replace(s.standard(), zone, zone+"challenge_lifetime "+lifetime+"\n", 1))
		got = gauges()
		if at := got[oldest]; at < started || at > float64(time.Now().Unix()) {
			t.Errorf("challenge_lifetime %s: the oldest challenge was written at %f, and the test began at %f", lifetime, at, started)
		}
	}
	delete(got, oldest)
	want := map[string]float64{`bestdns_records{zone="example.test."}`: 6, `bestdns_challenge_records{zone="example.test."}`: 1}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	s.must(t, "web1", "example.test", `{"delete":`+challenge+`}`)
	s.must(t, "ops", "example.test", `{"delete":[{"name":"www"}]}`)
	if diff := cmp.Diff(empty, gauges()); diff != "" {
		t.Errorf("emptied (-want +got):\n%s", diff)
	}
}

// TestMetricsAreBounded checks that what a configuration does not have any longer has
// no series any longer, and that strangers cannot make any.
func TestMetricsAreBounded(t *testing.T) {
	memory.reset()
	s := newService(t)
	s.admin = freeAddress(t)
	s.token["hosted"] = "of-hosted"
	s.load(t, s.withProvider())
	s.must(t, "hosted", "hosted.test", `{"append":[{"name":"x","type":"A","data":"192.0.2.1"}]}`)
	for i := range 20 {
		s.patch(t, "hosted", fmt.Sprintf("nowhere%d.test", i), `{"append":[{"name":"x","type":"A","data":"192.0.2.1"}]}`)
	}
	s.load(t, s.standard())
	for series := range s.metrics(t) {
		if strings.Contains(series, "hosted") || strings.Contains(series, "nowhere") {
			t.Errorf("there is %s", series)
		}
	}
}

// TestMetricsWithoutNameServer checks that a service of provider zones alone has metrics.
func TestMetricsWithoutNameServer(t *testing.T) {
	s := newService(t)
	s.admin = freeAddress(t)
	s.load(t, "zone hosted.test {\nprovider test_memory\n}")
	want := map[string]float64{"bestdns_healthy": 1, `bestdns_changes_total{outcome="changed",zone="hosted.test."}`: 0}
	got := s.metrics(t)
	for series, value := range want {
		if v, there := got[series]; !there || v != value {
			t.Errorf("%s: %v (there: %v), want %v", series, v, there, value)
		}
	}
}
