package service

import (
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/caddy-dns/bestdns/internal/api"
	"github.com/caddy-dns/bestdns/service/check"
)

// TestAdminLocalIsLogged finds in the log what was done, and what failed, by the
// admin endpoint: the answers send their readers there.
func TestAdminLocalIsLogged(t *testing.T) {
	memory.reset()
	s := newService(t)
	s.admin = freeAddress(t)
	s.load(t, "zone example.test {\nprovider test_memory\n}\n")
	running := runningService{s.admin}
	zones, err := running.Hosting(t.Context())
	if diff := cmp.Diff([]check.HostedZone{{Name: "example.test.", Provider: "test_memory"}}, zones); diff != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}

	if _, err := running.Change(t.Context(), "example.test.", api.Change{Append: []api.Record{{Name: "x", Type: "TXT", Data: new("x")}}}); err != nil {
		t.Error(err)
	}
	var bad adminAnswer
	if err := running.request(t.Context(), http.MethodPatch, adminRecords+"example.test.", "no change", &bad); err != nil || bad.Problem == nil || bad.Problem.Kind() != api.BadRequest {
		t.Errorf("a body that is no change: %v %v", bad, err)
	}
	for message, want := range map[string]string{"changed": "append [x.example.test. TXT]", "refused": "unread []"} {
		lines := s.logged(t, message, "logger", "client", "remote_ip", "op", "records")
		want := []string{"bestdns.audit (in process) 127.0.0.1 " + want}
		var got []string
		for _, line := range lines {
			got = append(got, strings.Join(line, " "))
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("in the audit log (-want +got):\n%s", diff)
		}
	}

	memory.reset()
	memory.fail = errors.New("the provider is out of order")
	_, err = running.GetRecords(t.Context(), "example.test.")
	var problem *api.Error
	if !errors.As(err, &problem) || problem.Kind() != api.ProviderFailed {
		t.Fatalf("reading where the provider fails: %v", err)
	}
	want := [][]string{{problem.RequestID, "the provider is out of order"}}
	if diff := cmp.Diff(want, s.logged(t, "reading failed", "request_id", "cause")); diff != "" {
		t.Errorf("what the log has of it (-want +got):\n%s", diff)
	}
}
