package service

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/caddy-dns/bestdns/internal/access"
	"github.com/caddy-dns/bestdns/internal/api"
	"github.com/caddy-dns/bestdns/internal/hosting"
)

// activity asks the admin endpoint.
func (s *service) activity(t *testing.T) activityAnswer {
	t.Helper()
	response, err := http.Get("http://" + s.admin + adminActivity)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	var answer activityAnswer
	if err := json.NewDecoder(response.Body).Decode(&answer); err != nil || response.StatusCode != http.StatusOK {
		t.Fatalf("%s: %v", response.Status, err)
	}
	return answer
}

// logged returns the lines of the log with a message, as far as these fields go.
func (s *service) logged(t *testing.T, message string, fields ...string) [][]string {
	t.Helper()
	var lines [][]string
	for line := range strings.Lines(s.log(t)) {
		var entry map[string]any
		if json.Unmarshal([]byte(line), &entry) != nil || entry["msg"] != message {
			continue
		}
		var values []string
		for _, field := range fields {
			values = append(values, fmt.Sprint(entry[field]))
		}
		lines = append(lines, values)
	}
	return lines
}

// TestDescription checks that what a configuration says of a client to people comes
// back where the client itself is spoken of.
func TestDescription(t *testing.T) {
	s := newService(t)
	s.load(t, s.standard()+fmt.Sprintf(`
		client rack4 {
			description "The web server in \"rack 4\" <ops@example.test>"
			user rack4
			token %s
			read example.test
		}`, access.DigestOf("of-rack4")))
	s.token["rack4"] = "of-rack4"
	a := s.call(t, "rack4", "GET", "/v1/token", "")
	var token api.Token
	if err := json.Unmarshal([]byte(a.body), &token); err != nil {
		t.Fatalf("%v: %s", err, a.body)
	}
	const description = `The web server in "rack 4" <ops@example.test>`
	want := api.Token{Client: "rack4", Description: description, Rights: []string{"read example.test"}}
	if diff := cmp.Diff(want, token); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	first := s.logged(t, "a client is here for the first time since this process started", "logger", "client", "description", "remote_ip", "request_id")
	if diff := cmp.Diff([][]string{{"bestdns", "rack4", description, "127.0.0.1", a.header.Get("X-Request-Id")}}, first); diff != "" {
		t.Errorf("in the log (-want +got):\n%s", diff)
	}
}

// TestActivity checks what is remembered of changes and of clients, across a reload,
// and that what a configuration no longer has is forgotten.
func TestActivity(t *testing.T) {
	s := startWithAdmin(t)
	started := time.Now().Add(-time.Second)
	done := s.must(t, "ops", "example.test", `{"append":[{"name":"www","type":"A","data":"192.0.2.1"},{"name":"www","type":"TXT","data":"a value"}]}`)
	refused := s.patch(t, "web1", "example.test", `{"delete":[{"name":"www"}]}`)
	nowhere := s.patch(t, "web1", "nowhere.test", `{"set":[{"name":"`+strings.Repeat("x", 5000)+`","type":"A","data":"192.0.2.1"}]}`)
	denied := s.call(t, "expired", "GET", "/v1/token", "")
	s.load(t, s.standard()+"\nrate_limit 50")

	got := s.activity(t)
	want := activityAnswer{
		Clients: []clientSeen{
			{Client: "web1", Rights: []string{"certificates web1.example.test", "certificates under elsewhere.test"}, LastUsed: new(time.Time)},
			{Client: "ops", Rights: []string{"allow under example.test", "allow under nested.example.test"}, LastUsed: new(time.Time)},
			{Client: "expired", Rights: []string{"allow under example.test"}, Expires: new(time.Date(2020, 1, 2, 0, 0, 0, 0, time.UTC))},
			{Client: "far", Rights: []string{"allow under example.test"}},
		},
		Changes: []*hosting.ChangeSeen{
			{RequestID: nowhere.header.Get("X-Request-Id"), Client: "web1", Address: "127.0.0.1", Protocol: "api", Zone: "nowhere.test.", Op: "set",
				Records: []string{strings.Repeat("x", 1200) + "…"}, Outcome: "refused", Reason: nowhere.problem.Detail},
			{RequestID: refused.header.Get("X-Request-Id"), Client: "web1", Address: "127.0.0.1", Protocol: "api", Zone: "example.test.", Op: "delete",
				Records: []string{"www.example.test. "}, Outcome: "refused", Reason: refused.problem.Detail},
			{RequestID: done.header.Get("X-Request-Id"), Client: "ops", Address: "127.0.0.1", Protocol: "api", Zone: "example.test.", Op: "append",
				Records: []string{"www.example.test. A", "www.example.test. TXT"}, Outcome: "changed", Serial: s.serial(t)},
		},
		Denials: []*hosting.DenialSeen{
			{RequestID: denied.header.Get("X-Request-Id"), Client: "expired", Address: "127.0.0.1", Protocol: "api", Why: "expired", Reason: denied.problem.Detail},
		},
	}
	// Those of other tests follow.
	got.Changes = got.Changes[:min(len(got.Changes), len(want.Changes))]
	got.Denials = got.Denials[:min(len(got.Denials), len(want.Denials))]
	for _, c := range got.Changes {
		if c.Time.Before(started) || c.Time.After(time.Now()) {
			t.Errorf("a change at %s", c.Time)
		}
	}
	for _, c := range got.Clients {
		if c.LastUsed != nil && (c.LastUsed.Before(started) || c.LastUsed.After(time.Now())) {
			t.Errorf("%s used at %s", c.Client, c.LastUsed)
		}
	}
	sometime := cmpopts.IgnoreTypes(time.Time{})
	if diff := cmp.Diff(want, got, sometime); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}

	s.load(t, fmt.Sprintf(`
		listen %s
		store %q
		zone nested.example.test {
			ns ns1.example.test
		}
		client ops {
			token %s
			allow under nested.example.test
		}`, s.dns, s.store, s.digest("ops")))
	if activity.LastUse("ops").IsZero() {
		t.Error("the client that stayed was forgotten")
	}
	if clients, zones := activity.Remembered(); clients != 1 || zones > 1 {
		t.Errorf("remembered: %d clients, %d zones", clients, zones)
	}
}
