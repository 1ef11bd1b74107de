package service

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// limited is standard with limits that a test can reach.
func (s *service) limited() string {
	return strings.Replace(s.standard(), "zone example.test {", `limits {
			client_records 5
			client_bytes 4KiB
			name_types 2
			name_bytes 1000
			rrset_records 3
			domain_challenges 2
		}
		zone example.test {
			max_records 12`, 1)
}

// TestLimits: what is over a limit gets 409 that names it, a count and a line in the
// audit log, and changes nothing; and it is so after a restart.
func TestLimits(t *testing.T) {
	s := newService(t)
	s.admin = freeAddress(t)
	s.load(t, s.limited())
	before := s.metrics(t)
	a := func(names ...string) string {
		var records []string
		for _, name := range names {
			records = append(records, fmt.Sprintf(`{"name":%q,"type":"A","data":"192.0.2.1"}`, name))
		}
		return `{"append":[` + strings.Join(records, ",") + `]}`
	}
	challenge := func(label, value string) string {
		return fmt.Sprintf(`{"append":[{"name":"%s_acme-challenge.web1","type":"TXT","data":%q}]}`, label, value+challengeValue[len(value):])
	}
	account := "_" + strings.Repeat("a", 16) + "."
	refused := func(client, body, limit string) {
		t.Helper()
		serial := s.serial(t)
		got := s.patch(t, client, "example.test", body)
		if got.status != http.StatusConflict || got.problem.Kind() != "over-limit" || !got.problem.Unchanged || !strings.Contains(got.problem.Detail, fmt.Sprintf("limit %q", limit)) {
			t.Errorf("%s: %d %s, want limit %q", body, got.status, got.body, limit)
		}
		if s.serial(t) != serial {
			t.Errorf("%s: the zone has changed", body)
		}
		if line := fmt.Sprintf(`limit \"%s\")`, limit); !strings.Contains(s.log(t), line) {
			t.Errorf("no line of the log has %s", line)
		}
	}
	s.must(t, "ops", "example.test", a("a", "b", "c", "d"))
	refused("ops", a("e", "f"), "client-records")
	s.must(t, "ops", "example.test", a("a", "b", "e"))
	s.must(t, "web1", "example.test", challenge("", "1"))
	s.must(t, "web1", "example.test", challenge(account, "2"))
	refused("web1", challenge("", "3"), "domain-challenges")
	refused("web1", challenge("_"+strings.Repeat("b", 16)+".", "3"), "domain-challenges")
	s.must(t, "ops", "example.test", `{"delete":[{"name":"a"},{"name":"b"},{"name":"c"}]}`)
	s.must(t, "ops", "example.test", `{"append":[{"name":"d","type":"AAAA","data":"::1"}]}`)
	refused("ops", `{"append":[{"name":"d","type":"TXT","data":"x"}]}`, "name-types")
	refused("ops", `{"append":[{"name":"d","type":"A","data":"192.0.2.2"},{"name":"d","type":"A","data":"192.0.2.3"},{"name":"d","type":"A","data":"192.0.2.4"}]}`, "rrset-records")
	refused("ops", fmt.Sprintf(`{"append":[{"name":"g","type":"TXT","data":%q}]}`, strings.Repeat("x", 1000)), "name-bytes")
	for _, name := range []string{"g", "h"} { // d has two, e one
		s.must(t, "ops", "example.test", fmt.Sprintf(`{"append":[{"name":%q,"type":"TXT","data":%q}]}`, name, strings.Repeat("x", 900)))
	}

	// Another Caddy on the same store knows what is whose.
	s.load(t, strings.Replace(s.limited(), "client_bytes 4KiB", "client_bytes 2KiB", 1))
	refused("ops", a("i"), "client-records")
	s.must(t, "ops", "example.test", `{"delete":[{"name":"e"}]}`)
	refused("ops", fmt.Sprintf(`{"append":[{"name":"i","type":"TXT","data":%q}]}`, strings.Repeat("x", 300)), "client-bytes")
	s.load(t, strings.Replace(s.limited(), "max_records 12", "max_records 9", 1))
	s.must(t, "ops", "example.test", a("i"))
	refused("web1", `{"append":[{"name":"_acme-challenge.x.elsewhere.test.","type":"TXT","data":"`+challengeValue+`"}]}`, "zone-records")

	after := s.metrics(t)
	want := map[string]float64{
		`bestdns_over_limit_total{limit="client-records"}`:    2,
		`bestdns_over_limit_total{limit="client-bytes"}`:      1,
		`bestdns_over_limit_total{limit="domain-challenges"}`: 2,
		`bestdns_over_limit_total{limit="name-types"}`:        1,
		`bestdns_over_limit_total{limit="name-bytes"}`:        1,
		`bestdns_over_limit_total{limit="rrset-records"}`:     1,
		`bestdns_over_limit_total{limit="zone-records"}`:      1,
	}
	if diff := cmp.Diff(want, grown(before, after, "bestdns_over_limit_total")); diff != "" {
		t.Errorf("refusals counted (-want +got):\n%s", diff)
	}
	if got := after[`bestdns_client_records{client="ops"}`]; got != 5 {
		t.Errorf("the metrics say that ops has %v records", got)
	}
	if got := after[`bestdns_client_bytes{client="web1"}`]; got < 2*(43+10) {
		t.Errorf("the metrics say that the records of web1 have %v bytes", got)
	}
}

// TestGatesOfOneClient: what one client has under way beyond its number waits, and its
// waiting holds no other client up.
func TestGatesOfOneClient(t *testing.T) {
	s := startStandard(t)
	app := liveApps.newest(nil)
	busy := app.gates[app.hosting.Clients().ByName("ops")]
	for range walksAtOnce {
		if p := busy.walks.enter(t.Context()); p != nil {
			t.Fatal(p)
		}
	}
	done := make(chan answer)
	go func() { done <- s.call(t, "ops", http.MethodGet, "/v1/zones/example.test/records", "") }()
	if got := s.call(t, "web1", http.MethodGet, "/v1/zones/example.test/records", ""); got.status != http.StatusOK {
		t.Errorf("another client: %d %s", got.status, got.body)
	}
	s.must(t, "ops", "example.test", `{"append":[{"name":"x","type":"TXT","data":"x"}]}`) // is no walk
	select {
	case got := <-done:
		t.Errorf("it did not wait: %d %s", got.status, got.body)
	case <-time.After(50 * time.Millisecond):
	}
	busy.walks.leave()
	if got := <-done; got.status != http.StatusOK {
		t.Errorf("after its turn has come: %d %s", got.status, got.body)
	}
}

// TestManyObjects: memory for records is not taken before their number is known.
func TestManyObjects(t *testing.T) {
	s := startStandard(t)
	for name, body := range map[string]string{
		"objects":             `{"append":[` + strings.Repeat("{},", 300_000) + `{}]}`,
		"one too many":        `{"append":[` + strings.Repeat(`{"name":"x"},`, 1000) + `{"name":"x"}]}`,
		"in a text of braces": `{"append":[{"name":"x","type":"TXT","data":"` + strings.Repeat("{", 1001) + `"}]}`,
		"escaped":             `{"append":[{"name":"x","type":"TXT","data":"` + strings.Repeat(`\"{`, 1001) + `"}]}`,
	} {
		want := http.StatusRequestEntityTooLarge
		if strings.Contains(body, `"data"`) {
			want = http.StatusOK
		}
		if got := s.patch(t, "ops", "example.test", body); got.status != want {
			t.Errorf("%s: %d %.200s", name, got.status, got.body)
		}
	}
}
