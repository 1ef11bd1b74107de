package bestdns_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/libdns/libdns"

	"github.com/caddy-dns/bestdns"
	"github.com/caddy-dns/bestdns/internal/api"
	"github.com/caddy-dns/bestdns/internal/clienttest"
)

// valueOf is *p without go vet's complaint about the copy, which is the point.
func valueOf(p *bestdns.Provider) any { return reflect.ValueOf(p).Elem().Interface() }

// Values that answer challenges.
const (
	challengeOne = "LoqXcYV8q5ONbJQxbmR7SCTNo3tiAXDfowyjxAjEuX0"
	challengeTwo = "9jg46WB3rR_AHD-EBXdN7cBkH1WOu0tA3M9fm21mqTI"
)

const (
	appendRequest = "PATCH append /v1/zones/example.org./records"
	deleteRequest = "PATCH delete /v1/zones/example.org./records"
)

// TestWithdraw: challenge records whose append ended in doubt are deleted again, and
// only those.
func TestWithdraw(t *testing.T) {
	f := new(clienttest.Service)
	f.Fault = func(w http.ResponseWriter, _ *http.Request, c api.Change) bool {
		if c.Append == nil {
			return false
		}
		f.Change(c)
		clienttest.Answer(w, 404, map[string]string{"as": "no service answers"})
		return true
	}
	f.Change(api.Change{Append: []api.Record{{Name: "x", Type: "TXT", Data: new("a neighbour")}}})
	p := f.Start(t)
	_, err := p.AppendRecords(t.Context(), "example.org.", []libdns.Record{
		libdns.TXT{Name: "x", Text: challengeOne},
		libdns.RR{Name: "x", Type: "TXT", TTL: time.Hour, Data: challengeTwo},
		libdns.TXT{Name: "x", Text: ""}, // as a delete, it would take the neighbour
		libdns.TXT{Name: "x", Text: "v=spf1 -all"},
		libdns.CNAME{Name: "c", Target: "x."},
	})
	var e *bestdns.Error
	if !errors.As(err, &e) || e.Unchanged {
		t.Fatalf("error %#v", err)
	}
	want := []api.Record{
		{Name: "x", Type: "TXT", TTL: new(int64(60)), Data: new("a neighbour")},
		{Name: "x", Type: "TXT", TTL: new(int64(60)), Data: new("")},
		{Name: "x", Type: "TXT", TTL: new(int64(60)), Data: new("v=spf1 -all")},
		{Name: "c", Type: "CNAME", TTL: new(int64(60)), Data: new("x.")},
	}
	if diff := cmp.Diff(want, f.All()); diff != "" {
		t.Errorf("records (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{appendRequest, deleteRequest}, f.Requests()); diff != "" {
		t.Errorf("requests (-want +got):\n%s", diff)
	}
}

// TestNoWithdraw has the failures that leave nothing to delete.
func TestNoWithdraw(t *testing.T) {
	for _, tt := range []struct {
		name string
		call func(*bestdns.Provider) change
		rec  libdns.Record
	}{
		{"append of a text that may have been there", func(p *bestdns.Provider) change { return p.AppendRecords }, libdns.TXT{Name: "x", Text: "v=spf1 -all"}},
		{"append of more than a challenge's value", func(p *bestdns.Provider) change { return p.AppendRecords }, libdns.TXT{Name: "x", Text: challengeOne + "\n"}},
		{"append without TXT", func(p *bestdns.Provider) change { return p.AppendRecords }, libdns.CNAME{Name: "x", Target: "y."}},
		{"set", func(p *bestdns.Provider) change { return p.SetRecords }, libdns.TXT{Name: "x", Text: challengeOne}},
		{"delete", func(p *bestdns.Provider) change { return p.DeleteRecords }, libdns.TXT{Name: "x", Text: challengeOne}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := &clienttest.Service{Fault: func(w http.ResponseWriter, _ *http.Request, _ api.Change) bool {
				w.WriteHeader(http.StatusNotFound)
				return true
			}}
			p := f.Start(t)
			if _, err := tt.call(p)(t.Context(), "example.org.", []libdns.Record{tt.rec}); err == nil {
				t.Fatal("no error")
			}
			if reqs := f.Requests(); len(reqs) != 1 {
				t.Errorf("requests %v", reqs)
			}
		})
	}
}

// TestWithdrawAfterReturn: an append whose context ends returns at once. Its records
// are deleted after it, even if the append arrives after the first delete.
func TestWithdrawAfterReturn(t *testing.T) {
	t.Parallel()
	f := new(clienttest.Service)
	deleted := make(chan int, 9)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	cancelled := make(chan time.Time, 1)
	var late api.Change
	f.Fault = func(w http.ResponseWriter, r *http.Request, c api.Change) bool {
		switch {
		case c.Append != nil:
			late = c
			cancelled <- time.Now()
			cancel()
			<-r.Context().Done()
		case len(f.Requests()) == 2:
			n := f.Change(c)
			clienttest.Answer(w, 200, api.Records{Records: n})
			f.Change(late)
			deleted <- len(n)
		default:
			n := f.Change(c)
			clienttest.Answer(w, 200, api.Records{Records: n})
			deleted <- len(n)
		}
		return true
	}
	p := f.Start(t)
	_, err := p.AppendRecords(ctx, "example.org.", []libdns.Record{libdns.TXT{Name: "x", Text: challengeOne}})
	if took := sinceCancelled(t, cancelled); took > 100*time.Millisecond {
		t.Errorf("returned %v after the cancellation", took)
	}
	var e *bestdns.Error
	if !errors.Is(err, context.Canceled) || !errors.As(err, &e) || e.Unchanged {
		t.Errorf("error %#v", err)
	}
	for _, want := range []int{0, 1} {
		select {
		case n := <-deleted:
			if n != want {
				t.Errorf("%d records deleted, want %d", n, want)
			}
		case <-time.After(5 * time.Second):
			t.Fatal("no delete within 5 s")
		}
	}
	if left := f.All(); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
}

// sinceCancelled returns how long ago the context of an append was cancelled.
func sinceCancelled(t *testing.T, cancelled <-chan time.Time) time.Duration {
	t.Helper()
	select {
	case at := <-cancelled:
		return time.Since(at)
	default:
		t.Fatal("returned before its context ended")
		return 0
	}
}

// TestWithdrawIsBounded: a service that answers nothing holds up an append no
// longer than until its context ends.
func TestWithdrawIsBounded(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	cancelled := make(chan time.Time, 1)
	f := &clienttest.Service{Fault: func(w http.ResponseWriter, r *http.Request, c api.Change) bool {
		if c.Append != nil {
			w.WriteHeader(http.StatusNotFound)
			return true
		}
		cancelled <- time.Now()
		cancel()
		<-r.Context().Done()
		return true
	}}
	p := f.Start(t)
	_, err := p.AppendRecords(ctx, "example.org.", []libdns.Record{libdns.TXT{Name: "x", Text: challengeOne}})
	if err == nil || !strings.Contains(err.Error(), "status 404") {
		t.Errorf("error %v", err)
	}
	if took := sinceCancelled(t, cancelled); took > 100*time.Millisecond {
		t.Errorf("returned %v after the end of its context", took)
	}
}

// TestWithdrawSparesRepetition: what a caller appends again after a failure is not
// deleted after it, and the rest is.
func TestWithdrawSparesRepetition(t *testing.T) {
	t.Parallel()
	f := new(clienttest.Service)
	deletes := make(chan []api.Record, 9)
	f.Fault = func(w http.ResponseWriter, _ *http.Request, c api.Change) bool {
		switch {
		case c.Delete != nil:
			clienttest.Answer(w, 200, api.Records{Records: f.Change(c)})
			deletes <- c.Delete
		case len(f.Requests()) == 1:
			w.WriteHeader(http.StatusNotFound)
		default:
			return false
		}
		return true
	}
	p := f.Start(t)
	recs := []libdns.Record{libdns.TXT{Name: "x", Text: challengeOne}, libdns.TXT{Name: "x", Text: challengeTwo}}
	if _, err := p.AppendRecords(t.Context(), "example.org.", recs); err == nil {
		t.Fatal("no error")
	}
	if _, err := p.AppendRecords(t.Context(), "org", []libdns.Record{libdns.RR{Name: "X.Example", Type: "txt", Data: challengeOne}}); err != nil {
		t.Fatal(err)
	}
	for _, want := range [][]api.Record{
		{{Name: "x", Type: "TXT", Data: new(challengeOne)}, {Name: "x", Type: "TXT", Data: new(challengeTwo)}},
		{{Name: "x", Type: "TXT", Data: new(challengeTwo)}},
	} {
		select {
		case got := <-deletes:
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("deleted (-want +got):\n%s", diff)
			}
		case <-time.After(5 * time.Second):
			t.Fatal("no delete within 5 s")
		}
	}
}

// TestWithdrawHoldsUpRepetition: an append waits for the deletion of the same
// record, until its context ends, and for no other.
func TestWithdrawHoldsUpRepetition(t *testing.T) {
	t.Parallel()
	f := new(clienttest.Service)
	f.Fault = func(w http.ResponseWriter, r *http.Request, c api.Change) bool {
		switch {
		case c.Delete != nil:
			<-r.Context().Done()
		case len(f.Requests()) == 1:
			w.WriteHeader(http.StatusNotFound)
		default:
			return false
		}
		return true
	}
	p := f.Start(t)
	withTimeout := func(text string) error {
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		defer cancel()
		_, err := p.AppendRecords(ctx, "example.org.", []libdns.Record{libdns.TXT{Name: "x", Text: text}})
		return err
	}
	if err := withTimeout(challengeOne); err == nil {
		t.Fatal("no error")
	}
	if err := withTimeout(challengeTwo); err != nil {
		t.Errorf("another record: %v", err)
	}
	var e *bestdns.Error
	if err := withTimeout(challengeOne); !errors.Is(err, context.DeadlineExceeded) || !errors.As(err, &e) || !e.Unchanged {
		t.Errorf("the same record: %#v", err)
	}
}

// staticService answers every change with the same bytes, so that what is measured is
// the client.
func staticService(tb testing.TB) (*bestdns.Provider, *httptest.Server, string) {
	tb.Helper()
	const body = `{"records":[{"name":"_acme-challenge.www","type":"TXT","ttl":60,"data":"LoqXcYV8q5ONbJQxbmR7SCTNo3tiAXDfowyjxAjEuX0"}]}` + "\n"
	const zones = `{"zones":[{"name":"example.org."}]}` + "\n"
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		w.Header()["Content-Type"] = []string{"application/json"}
		if r.URL.Path == "/v1/zones" {
			io.WriteString(w, zones)
			return
		}
		io.WriteString(w, body)
	}))
	tb.Cleanup(srv.Close)
	return &bestdns.Provider{Endpoint: srv.URL, APIToken: api.NewToken()}, srv, body
}

var challenge = []libdns.Record{libdns.TXT{Name: "_acme-challenge.www", TTL: time.Minute, Text: "LoqXcYV8q5ONbJQxbmR7SCTNo3tiAXDfowyjxAjEuX0"}}

// bareAppend sends an append with nothing but net/http, as the least that it can cost.
func bareAppend(tb testing.TB, url, body string) {
	req, err := http.NewRequestWithContext(tb.Context(), http.MethodPatch, url+"/v1/zones/example.org./records", strings.NewReader(body))
	if err != nil {
		tb.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Authorization", "Bearer x")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		tb.Fatal(err)
	}
	defer resp.Body.Close()
	if _, err := io.ReadAll(resp.Body); err != nil {
		tb.Fatal(err)
	}
}

// TestAllocations holds an append to 60 allocations beyond those of net/http.
func TestAllocations(t *testing.T) {
	p, srv, body := staticService(t)
	bare := testing.AllocsPerRun(200, func() { bareAppend(t, srv.URL, body) })
	all := testing.AllocsPerRun(200, func() {
		if _, err := p.AppendRecords(t.Context(), "example.org.", challenge); err != nil {
			t.Fatal(err)
		}
	})
	t.Logf("%v allocations, of them %v of net/http on both sides", all, bare)
	if all-bare > 60 {
		t.Errorf("an append makes %v allocations beyond the %v of net/http", all-bare, bare)
	}
}

func BenchmarkProvider(b *testing.B) {
	p, srv, body := staticService(b)
	for name, call := range map[string]func() error{
		"ListZones":  func() error { _, err := p.ListZones(b.Context()); return err },
		"GetRecords": func() error { _, err := p.GetRecords(b.Context(), "example.org."); return err },
		"AppendRecords": func() error {
			_, err := p.AppendRecords(b.Context(), "example.org.", challenge)
			return err
		},
		"SetRecords":    func() error { _, err := p.SetRecords(b.Context(), "example.org.", challenge); return err },
		"DeleteRecords": func() error { _, err := p.DeleteRecords(b.Context(), "example.org.", challenge); return err },
		"net/http only": func() error { bareAppend(b, srv.URL, body); return nil },
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if err := call(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
