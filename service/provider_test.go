package service

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/google/go-cmp/cmp"
	"github.com/libdns/libdns"

	"github.com/caddy-dns/bestdns"
)

func init() {
	caddy.RegisterModule(new(memoryProvider))
	caddy.RegisterModule(new(plainProvider))
	caddy.RegisterModule(new(scriptedProvider))
}

// memoryProvider is a DNS provider that keeps its records in this process, as
// text, and fails when told to.
type memoryProvider struct {
	mu      sync.Mutex
	records []libdns.Record
	fail    error
	panics  bool
	lists   int // calls of GetRecords
}

// memory is the one that each configuration gets.
var memory = new(memoryProvider)

func (m *memoryProvider) reset(records ...libdns.Record) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.records, m.fail, m.panics, m.lists = records, nil, false, 0
}

func (*memoryProvider) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "dns.providers.test_memory", New: func() caddy.Module { return memory }}
}

func (*memoryProvider) UnmarshalCaddyfile(*caddyfile.Dispenser) error { return nil }

func (m *memoryProvider) GetRecords(context.Context, string) ([]libdns.Record, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.lists++
	return slices.Clone(m.records), m.fail
}

func (m *memoryProvider) AppendRecords(_ context.Context, _ string, records []libdns.Record) ([]libdns.Record, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.panics {
		panic("hunter2")
	}
	if m.fail != nil {
		return nil, m.fail
	}
	m.records = append(m.records, records...)
	return records, nil
}

func (m *memoryProvider) SetRecords(ctx context.Context, zone string, records []libdns.Record) ([]libdns.Record, error) {
	m.mu.Lock()
	m.records = slices.DeleteFunc(m.records, func(old libdns.Record) bool {
		return slices.ContainsFunc(records, func(r libdns.Record) bool {
			return r.RR().Name == old.RR().Name && r.RR().Type == old.RR().Type
		})
	})
	m.mu.Unlock()
	return m.AppendRecords(ctx, zone, records)
}

func (m *memoryProvider) DeleteRecords(_ context.Context, _ string, records []libdns.Record) ([]libdns.Record, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.fail != nil {
		return nil, m.fail
	}
	var deleted []libdns.Record
	m.records = slices.DeleteFunc(m.records, func(old libdns.Record) bool {
		gone := slices.ContainsFunc(records, func(r libdns.Record) bool { return r.RR() == old.RR() })
		if gone {
			deleted = append(deleted, old)
		}
		return gone
	})
	return deleted, nil
}

// plainProvider can append and delete and nothing else.
type plainProvider struct{}

func (*plainProvider) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "dns.providers.test_plain", New: func() caddy.Module { return new(plainProvider) }}
}

func (*plainProvider) UnmarshalCaddyfile(*caddyfile.Dispenser) error { return nil }

func (*plainProvider) AppendRecords(_ context.Context, _ string, records []libdns.Record) ([]libdns.Record, error) {
	return records, nil
}

func (*plainProvider) DeleteRecords(_ context.Context, _ string, records []libdns.Record) ([]libdns.Record, error) {
	return records, nil
}

func startWithProvider(t *testing.T, provider string) *service {
	t.Helper()
	memory.reset()
	s := newService(t)
	s.load(t, fmt.Sprintf("zone example.test {\nprovider %s\n}\nclient ops {\ntoken %s\nallow under example.test\nallow example.test NS\n}\n", provider, s.digest("ops")))
	return s
}

// TestProviderZone is the life of records in a zone with a provider.
func TestProviderZone(t *testing.T) {
	s := startWithProvider(t, "test_memory")
	added := s.must(t, "ops", "example.test", `{"append":[{"name":"x","type":"TXT","data":"a"},{"name":"x","type":"TXT","ttl":300,"data":"b"}]}`)
	if diff := cmp.Diff([]any{rec("x", "TXT", 60, "a"), rec("x", "TXT", 300, "b")}, []any{added.records[0], added.records[1]}); diff != "" {
		t.Errorf("appended (-want +got):\n%s", diff)
	}
	// All given: no look at the zone. One left open: one look.
	s.must(t, "ops", "example.test", `{"delete":[{"name":"x","type":"TXT","ttl":60,"data":"a"}]}`)
	if memory.lists != 0 {
		t.Errorf("a whole record was looked up %d times", memory.lists)
	}
	gone := s.must(t, "ops", "example.test", `{"delete":[{"name":"x","type":"TXT"}]}`)
	if memory.lists != 1 || len(gone.records) != 1 || *gone.records[0].Data != "b" {
		t.Errorf("deleted %s after %d looks", gone.body, memory.lists)
	}
	if len(memory.records) != 0 {
		t.Errorf("left: %v", memory.records)
	}
	s.must(t, "ops", "example.test", `{"set":[{"name":"@","type":"CAA","data":"0 issue \"ca.example.net; validationmethods=dns-01\""}]}`)
	want := libdns.CAA{Name: "@", TTL: 60e9, Tag: "issue", Value: "ca.example.net; validationmethods=dns-01"}
	if diff := cmp.Diff([]libdns.Record{want}, memory.records); diff != "" {
		t.Errorf("the provider got (-want +got):\n%s", diff)
	}
}

// TestProviderOddRecord checks that a record which does not parse neither hides
// the others nor is lost.
func TestProviderOddRecord(t *testing.T) {
	s := startWithProvider(t, "test_memory")
	memory.reset(
		libdns.RR{Name: "odd", Type: "A", TTL: 60e9, Data: "not an address"},
		libdns.RR{Name: "odd", Type: "FLATTENED", TTL: 60e9, Data: "??"},
		libdns.TXT{Name: "good", TTL: 60e9, Text: "good"},
		libdns.TXT{Name: "www.sub", TTL: 60e9, Text: "below"},
	)
	got := s.call(t, "ops", "GET", "/v1/zones/example.test/records", "")
	if len(got.records) != 4 {
		t.Errorf("listed %s", got.body)
	}
	below := s.call(t, "ops", "GET", "/v1/zones/sub.example.test/records", "")
	if diff := cmp.Diff(rec("www", "TXT", 60, "below"), below.records[0]); diff != "" || len(below.records) != 1 {
		t.Errorf("below sub: %s", below.body)
	}
	gone := s.must(t, "ops", "example.test", `{"delete":[{"name":"odd"}]}`)
	if len(gone.records) != 2 || len(memory.records) != 2 {
		t.Errorf("deleted %s, left %v", gone.body, memory.records)
	}
}

// TestProviderApex checks that a delete by name alone spares the apex's SOA and
// NS records, and that the last NS record stays.
func TestProviderApex(t *testing.T) {
	s := startWithProvider(t, "test_memory")
	memory.reset(
		libdns.RR{Name: "@", Type: "SOA", TTL: 60e9, Data: "ns1.example.net. x. 1 2 3 4 5"},
		libdns.NS{Name: "@", TTL: 60e9, Target: "ns1.example.net."},
		libdns.TXT{Name: "@", TTL: 60e9, Text: "x"},
	)
	if gone := s.must(t, "ops", "example.test", `{"delete":[{"name":"@"}]}`); len(gone.records) != 1 || gone.records[0].Type != "TXT" {
		t.Errorf("deleted %s", gone.body)
	}
	if a := s.patch(t, "ops", "example.test", `{"delete":[{"name":"@","type":"NS","ttl":60,"data":"ns1.example.net."}]}`); a.status != 409 || !strings.Contains(a.problem.Detail, "last NS") {
		t.Errorf("the last NS record: %d %s", a.status, a.body)
	}
	if len(memory.records) != 2 {
		t.Errorf("left: %v", memory.records)
	}
}

// TestProviderGetsOnlyWhatItCanCarry sends what a provider's text could be
// tricked by. None of it may reach one.
func TestProviderGetsOnlyWhatItCanCarry(t *testing.T) {
	s := startWithProvider(t, "test_memory")
	for name, body := range map[string]string{
		"escaped space in a name":   `{"append":[{"name":"x\\032y","type":"TXT","data":"x"}]}`,
		"escaped line end":          `{"append":[{"name":"x\\010y","type":"TXT","data":"x"}]}`,
		"escaped dot":               `{"append":[{"name":"x\\.y","type":"TXT","data":"x"}]}`,
		"escaped $":                 `{"append":[{"name":"\\$ORIGIN","type":"TXT","data":"x"}]}`,
		"quote in text":             `{"append":[{"name":"x","type":"TXT","data":"a\"b"}]}`,
		"backslash in text":         `{"append":[{"name":"x","type":"TXT","data":"a\\b"}]}`,
		"line end in text":          `{"append":[{"name":"x","type":"TXT","data":"a\n$INCLUDE /etc/passwd"}]}`,
		"Unicode in text":           `{"append":[{"name":"x","type":"TXT","data":"ü"}]}`,
		"octets":                    `{"append":[{"name":"x","type":"TYPE16","data":"\\# 2 01ff"}]}`,
		"type without a libdns one": `{"append":[{"name":"x","type":"SSHFP","data":"1 1 00"}]}`,
		"escape in a target":        `{"append":[{"name":"x","type":"CNAME","data":"a\\032b."}]}`,
		// libdns' parser, which providers read a zone with, does not take these.
		"SVCB without a scheme": `{"append":[{"name":"x","type":"SVCB","data":"1 . alpn=h2"}]}`,
		"SRV with one label":    `{"append":[{"name":"x","type":"SRV","data":"1 2 3 a."}]}`,
		// To libdns, this is any text, and it would take its neighbours.
		"empty text":             `{"append":[{"name":"x","type":"TXT","data":""}]}`,
		"empty text in a delete": `{"delete":[{"name":"x","type":"TXT","ttl":60,"data":""}]}`,
		"quote in a CAA value":   `{"append":[{"name":"x","type":"CAA","data":"0 issue \"a\\\"b\""}]}`,
		"in a delete":            `{"delete":[{"name":"x\\032y","type":"TXT"}]}`,
		"SOA":                    `{"delete":[{"name":"@","type":"SOA"}]}`,
	} {
		if a := s.patch(t, "ops", "example.test", body); a.status != 422 && a.status != 403 || !a.problem.Unchanged {
			t.Errorf("%s: %d %s", name, a.status, a.body)
		}
	}
	if len(memory.records) != 0 || memory.lists != 0 {
		t.Errorf("the provider was asked: %v", memory.records)
	}
}

func TestProviderCannot(t *testing.T) {
	s := startWithProvider(t, "test_plain")
	s.must(t, "ops", "example.test", `{"append":[{"name":"x","type":"TXT","data":"x"}]}`)
	s.must(t, "ops", "example.test", `{"delete":[{"name":"x","type":"TXT","ttl":60,"data":"x"}]}`)
	for name, a := range map[string]answer{
		"set":             s.patch(t, "ops", "example.test", `{"set":[{"name":"x","type":"TXT","data":"x"}]}`),
		"delete any data": s.patch(t, "ops", "example.test", `{"delete":[{"name":"x","type":"TXT"}]}`),
		"list":            s.call(t, "ops", "GET", "/v1/zones/example.test/records", ""),
	} {
		if a.status != 501 || !a.problem.Unchanged {
			t.Errorf("%s: %d %s", name, a.status, a.body)
		}
	}
}

// TestProviderPanics checks that a provider's panic ends one request and not the
// process.
func TestProviderPanics(t *testing.T) {
	s := startWithProvider(t, "test_memory")
	memory.panics = true
	a := s.patch(t, "ops", "example.test", `{"append":[{"name":"x","type":"TXT","data":"x"}]}`)
	if a.status != 502 || a.problem.Unchanged || strings.Contains(a.body, "hunter2") {
		t.Errorf("%d %s", a.status, a.body)
	}
	if !strings.Contains(s.log(t), "hunter2") {
		t.Error("the log does not have the cause")
	}
}

// TestProviderRepeats checks that what a provider reports twice is listed once: a
// zone transfer begins and ends with the same record.
func TestProviderRepeats(t *testing.T) {
	s := startWithProvider(t, "test_memory")
	soa := libdns.RR{Name: "@", Type: "SOA", TTL: 60e9, Data: "ns1.example.net. x. 1 2 3 4 5"}
	memory.reset(soa, libdns.TXT{Name: "x", TTL: 60e9, Text: "x"}, libdns.TXT{Name: "x", TTL: 61e9, Text: "x"}, soa)
	if got := s.call(t, "ops", "GET", "/v1/zones/example.test/records", ""); len(got.records) != 3 {
		t.Errorf("listed %s", got.body)
	}
}

// TestProviderFails checks what becomes of a provider's errors: the status says
// who failed, the answer holds nothing of what the provider said.
func TestProviderFails(t *testing.T) {
	s := startWithProvider(t, "test_memory")
	refused := &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}
	for name, test := range map[string]struct {
		err       error
		status    int
		unchanged bool
	}{
		"failed":      {errors.New("https://api.example.net/?key=hunter2: 500"), 502, false},
		"unreachable": {fmt.Errorf("update: %w", refused), 503, true},
		"too slow":    {context.DeadlineExceeded, 504, false},
	} {
		memory.reset()
		memory.fail = test.err
		a := s.patch(t, "ops", "example.test", `{"append":[{"name":"x","type":"TXT","data":"x"}]}`)
		if a.status != test.status || a.problem.Unchanged != test.unchanged || strings.Contains(a.body, "hunter2") {
			t.Errorf("%s: %d %s", name, a.status, a.body)
		}
		if !strings.Contains(s.log(t), a.problem.RequestID) {
			t.Errorf("%s: the log does not have the request's id", name)
		}
	}
}

// scriptedProvider does in each call what the test that runs says.
type scriptedProvider struct {
	get    func(ctx context.Context) ([]libdns.Record, error)
	change func(ctx context.Context) ([]libdns.Record, error)
}

// scripted is the one that each configuration gets.
var scripted = new(scriptedProvider)

func (*scriptedProvider) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "dns.providers.test_scripted", New: func() caddy.Module { return scripted }}
}

func (*scriptedProvider) UnmarshalCaddyfile(*caddyfile.Dispenser) error { return nil }

func (p *scriptedProvider) GetRecords(ctx context.Context, _ string) ([]libdns.Record, error) {
	return p.get(ctx)
}

func (p *scriptedProvider) AppendRecords(ctx context.Context, _ string, _ []libdns.Record) ([]libdns.Record, error) {
	return p.change(ctx)
}

func (p *scriptedProvider) DeleteRecords(ctx context.Context, _ string, _ []libdns.Record) ([]libdns.Record, error) {
	return p.change(ctx)
}

// TestProviderReportsNothing has a provider report records that are none, which must
// not end Caddy where no server's guard stands around the call: for the page and for
// callers in process.
func TestProviderReportsNothing(t *testing.T) {
	forgetStatuses(t, 8)
	startWithProvider(t, "test_scripted")
	none := func(context.Context) ([]libdns.Record, error) { return []libdns.Record{nil}, nil }
	scripted.get, scripted.change = none, none
	app := newestApp(t)
	record := []libdns.Record{libdns.TXT{Name: "x", Text: "x"}}
	_, appendErr := app.AppendRecords(t.Context(), "example.test.", record)
	_, deleteErr := app.DeleteRecords(t.Context(), "example.test.", record)
	_, getErr := app.GetRecords(t.Context(), "example.test.")
	for _, err := range []error{appendErr, deleteErr, getErr} {
		var failure *bestdns.Error
		if !errors.As(err, &failure) || failure.Status != http.StatusBadGateway {
			t.Errorf("error: %v", err)
		}
	}
	if found := app.hosting.Statuses(t.Context(), app.hosting.Zones()); !found[0].Unread() {
		t.Errorf("the page found %v", found)
	}
}
