package bestdns_test

import (
	"context"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddyserver/certmagic"
	"github.com/go-acme/lego/v4/lego"
	"github.com/google/go-cmp/cmp"
	"github.com/libdns/libdns"

	"github.com/caddy-dns/bestdns"
	"github.com/caddy-dns/bestdns/internal/api"
)

func ExampleProvider() {
	provider := &bestdns.Provider{
		Endpoint: "https://dns.example.net",
		APIToken: os.Getenv("BESTDNS_API_TOKEN"),
	}
	_, err := provider.AppendRecords(context.Background(), "example.org.", []libdns.Record{
		libdns.TXT{Name: "hello", TTL: time.Minute, Text: "world"},
	})
	var e *bestdns.Error
	if errors.As(err, &e) && e.Unchanged {
		log.Printf("nothing has changed: %v", err)
	}
}

func ExampleProvider_certmagic() {
	certmagic.DefaultACME.DNS01Solver = &certmagic.DNS01Solver{DNSManager: certmagic.DNSManager{
		DNSProvider: &bestdns.Provider{
			Endpoint: "https://dns.example.net",
			APIToken: os.Getenv("BESTDNS_API_TOKEN"),
		},
		PropagationTimeout: -1, // the record is live when the service has answered
	}}
	if err := certmagic.ManageSync(context.Background(), []string{"*.example.org"}); err != nil {
		log.Print(err)
	}
}

func ExampleNewDNSProvider() {
	var client *lego.Client // as lego's documentation makes it

	provider, err := bestdns.NewDNSProvider() // BESTDNS_API_TOKEN, BESTDNS_ENDPOINT
	if err != nil {
		log.Print(err)
		return
	}
	if err := client.Challenge.SetDNS01Provider(provider); err != nil {
		log.Print(err)
	}
}

func ExampleNewDNSProviderBestDNS() {
	var client *lego.Client // as lego's documentation makes it

	bestDNS, err := bestdns.NewDNSProviderBestDNS("my-auth-token") // endpoint from BESTDNS_ENDPOINT
	if err != nil {
		log.Print(err)
		return
	}
	if err := client.Challenge.SetDNS01Provider(bestDNS); err != nil {
		log.Print(err)
	}
}

// fakeService keeps the records of one zone and answers the API's calls.
type fakeService struct {
	token string
	// fault, if set, may answer in place of the service, and reports whether it did.
	fault func(w http.ResponseWriter, r *http.Request, c api.Change) bool

	mu      sync.Mutex
	records []api.Record
	seen    []string // what was asked, one for each request
}

// startService serves f, over TLS where roots asks for a file with the certificate.
func startService(t testing.TB, f *fakeService) *bestdns.Provider {
	t.Helper()
	f.token = api.NewToken()
	srv := httptest.NewUnstartedServer(f)
	srv.EnableHTTP2 = true
	srv.StartTLS()
	t.Cleanup(srv.Close)
	roots := filepath.Join(t.TempDir(), "roots.pem")
	cert := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw})
	if err := os.WriteFile(roots, cert, 0o600); err != nil {
		t.Fatal(err)
	}
	return &bestdns.Provider{Endpoint: srv.URL, APIToken: f.token, TrustedRoots: []string{roots}}
}

func (f *fakeService) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var c api.Change
	if r.Method == http.MethodPatch {
		dec := json.NewDecoder(r.Body)
		dec.DisallowUnknownFields()
		if err := dec.Decode(&c); err != nil {
			answer(w, 400, api.NewProblem(api.BadRequest, err.Error()))
			return
		}
	}
	f.mu.Lock()
	f.seen = append(f.seen, strings.TrimSpace(r.Method+" "+kindOf(c)+" "+r.URL.Path))
	f.mu.Unlock()
	switch {
	case r.Header.Get("Authorization") != "Bearer "+f.token:
		answer(w, 401, api.NewProblem(api.Unauthorized, "another token"))
	case f.fault != nil && f.fault(w, r, c):
	case r.URL.Path == "/v1/zones":
		answer(w, 200, api.Zones{Zones: []api.Zone{{Name: "example.org."}}})
	case r.Method == http.MethodPatch:
		answer(w, 200, api.Records{Records: f.change(c), CNAMEs: []api.CNAME{{Name: "_acme-challenge.example.com.", Target: "example.com.acme.example.org."}}})
	default:
		answer(w, 200, api.Records{Records: f.all()})
	}
}

func kindOf(c api.Change) string {
	switch {
	case c.Append != nil:
		return "append"
	case c.Set != nil:
		return "set"
	case c.Delete != nil:
		return "delete"
	}
	return ""
}

func answer(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	if _, ok := v.(*api.Problem); ok {
		w.Header().Set("Content-Type", api.ProblemContentType)
	}
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(v)
}

func (f *fakeService) change(c api.Change) []api.Record {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := []api.Record{}
	for _, d := range c.Delete {
		f.records = slices.DeleteFunc(f.records, func(r api.Record) bool {
			match := r.Name == d.Name && (d.Type == "" || r.Type == d.Type) &&
				(d.Data == nil || *r.Data == *d.Data) && (d.TTL == nil || *r.TTL == *d.TTL)
			if match {
				out = append(out, r)
			}
			return match
		})
	}
	for _, s := range c.Set {
		f.records = slices.DeleteFunc(f.records, func(r api.Record) bool { return r.Name == s.Name && r.Type == s.Type })
	}
	for _, r := range append(c.Append, c.Set...) {
		if r.TTL == nil {
			r.TTL = new(int64(60))
		}
		f.records = append(f.records, r)
		out = append(out, r)
	}
	return out
}

func (f *fakeService) all() []api.Record {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]api.Record{}, f.records...)
}

func (f *fakeService) requests() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.seen)
}

// TestMethods makes the five calls, each with one request.
func TestMethods(t *testing.T) {
	f := new(fakeService)
	p := startService(t, f)
	ctx := t.Context()
	const zone = "example.org."

	zones, err := p.ListZones(ctx)
	check(t, err, []libdns.Zone{{Name: zone}}, zones)

	out, err := p.AppendRecords(ctx, zone, []libdns.Record{
		libdns.TXT{Name: "x", Text: "one"},
		libdns.TXT{Name: "x", TTL: 5 * time.Minute, Text: ""},
		libdns.TXT{Name: "x", TTL: time.Millisecond, Text: "\xff"},
		libdns.RR{Name: "y", Type: "TXT", Data: `"quoted"`},
	})
	check(t, err, []libdns.Record{
		libdns.TXT{Name: "x", TTL: time.Minute, Text: "one"},
		libdns.TXT{Name: "x", TTL: 5 * time.Minute},
		libdns.TXT{Name: "x", Text: "\xff"},
		libdns.TXT{Name: "y", TTL: time.Minute, Text: `"quoted"`},
	}, out)

	out, err = p.SetRecords(ctx, zone, []libdns.Record{libdns.MX{Name: "@", TTL: time.Hour, Preference: 1, Target: "mx.example.org."}})
	check(t, err, []libdns.Record{libdns.MX{Name: "@", TTL: time.Hour, Preference: 1, Target: "mx.example.org."}}, out)

	out, err = p.DeleteRecords(ctx, zone, []libdns.Record{libdns.TXT{Name: "x", Text: "one"}, libdns.RR{Name: "y"}})
	check(t, err, []libdns.Record{
		libdns.TXT{Name: "x", TTL: time.Minute, Text: "one"},
		libdns.TXT{Name: "y", TTL: time.Minute, Text: `"quoted"`},
	}, out)

	// One that does not parse does no harm to the others.
	f.change(api.Change{Append: []api.Record{{Name: "odd", Type: "A", Data: new("somewhere")}}})
	out, err = p.GetRecords(ctx, zone)
	check(t, err, []libdns.Record{
		libdns.TXT{Name: "x", TTL: 5 * time.Minute},
		libdns.TXT{Name: "x", Text: "\xff"},
		libdns.MX{Name: "@", TTL: time.Hour, Preference: 1, Target: "mx.example.org."},
		libdns.RR{Name: "odd", TTL: time.Minute, Type: "A", Data: "somewhere"},
	}, out)

	want := []string{
		"GET  /v1/zones",
		"PATCH append /v1/zones/example.org./records",
		"PATCH set /v1/zones/example.org./records",
		"PATCH delete /v1/zones/example.org./records",
		"GET  /v1/zones/example.org./records",
	}
	if diff := cmp.Diff(want, f.requests()); diff != "" {
		t.Errorf("requests (-want +got):\n%s", diff)
	}
}

func check(t *testing.T, err error, want, got any) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestNothingToChange(t *testing.T) {
	f := new(fakeService)
	p := startService(t, f)
	for name, call := range changes(p) {
		if out, err := call(t.Context(), "example.org.", nil); err != nil || len(out) != 0 {
			t.Errorf("%s: %v, %v", name, out, err)
		}
	}
	if reqs := f.requests(); len(reqs) != 0 {
		t.Errorf("requests %v", reqs)
	}
}

type change = func(context.Context, string, []libdns.Record) ([]libdns.Record, error)

func changes(p *bestdns.Provider) map[string]change {
	return map[string]change{"append": p.AppendRecords, "set": p.SetRecords, "delete": p.DeleteRecords}
}

func TestServiceError(t *testing.T) {
	f := &fakeService{fault: func(w http.ResponseWriter, _ *http.Request, _ api.Change) bool {
		p := api.NewProblem(api.Forbidden, "the client web1 may not do this: it has certificates for web1.example.org")
		p.RequestID, p.Unchanged = "r7", true
		answer(w, p.Status, p)
		return true
	}}
	p := startService(t, f)
	_, err := p.AppendRecords(t.Context(), "example.org.", []libdns.Record{libdns.TXT{Name: "www", Text: "x"}, libdns.TXT{Name: "y", Text: "x"}})
	var e *bestdns.Error
	if !errors.As(err, &e) {
		t.Fatalf("error %v", err)
	}
	const text = `appending "www" TXT and 1 more to zone "example.org.": ` +
		`the client web1 may not do this: it has certificates for web1.example.org (request r7)`
	if err.Error() != text {
		t.Errorf("error %q\nwant  %q", err, text)
	}
	got := []any{e.Type, e.Title, e.Detail, e.Status, e.RequestID, e.Unchanged, e.Err}
	want := []any{"urn:bestdns:forbidden", "The token may not do this",
		"the client web1 may not do this: it has certificates for web1.example.org", 403, "r7", true, nil}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	// Nothing was appended, so nothing is to be deleted.
	if diff := cmp.Diff([]string{"PATCH append /v1/zones/example.org./records"}, f.requests()); diff != "" {
		t.Errorf("requests (-want +got):\n%s", diff)
	}
}

// TestPrintsNoToken looks for the token wherever a program might print it.
func TestPrintsNoToken(t *testing.T) {
	f := new(fakeService)
	p := startService(t, f)
	if _, err := p.ListZones(t.Context()); err != nil {
		t.Fatal(err)
	}
	lego, err := bestdns.NewDNSProviderConfig(&bestdns.Config{Endpoint: p.Endpoint, APIToken: f.token, HTTPTimeout: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	config := bestdns.Config{APIToken: f.token}
	_, noAnswer := (&bestdns.Provider{Endpoint: "http://127.0.0.1:1", APIToken: f.token}).ListZones(t.Context())
	_, noURL := (&bestdns.Provider{Endpoint: f.token, APIToken: f.token}).ListZones(t.Context())
	_, cut := (&bestdns.Provider{Endpoint: p.Endpoint, APIToken: f.token[:50]}).ListZones(t.Context())
	for name, v := range map[string]any{
		"provider": p, "value": reflectCopy(p), "within a struct": struct{ P *bestdns.Provider }{p},
		"lego provider": lego, "lego provider's value": *lego, "config": config, "pointer to a config": &config,
		"error without an answer": noAnswer, "error of a token for a URL": noURL, "error of a cut token": cut,
	} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
			out := fmt.Sprintf(verb, v)
			if strings.Contains(out, f.token[8:50]) || strings.Contains(out, fmt.Sprintf("%x", f.token[8:50])) {
				t.Errorf("%s of %s holds the token: %s", verb, name, out)
			}
		}
	}
}

// reflectCopy returns what a careless caller would print: the value itself.
func reflectCopy(p *bestdns.Provider) any {
	return struct {
		Provider *bestdns.Provider
		Copy     any
	}{p, valueOf(p)}
}

func TestBadConfiguration(t *testing.T) {
	token := api.NewToken()
	noCert := filepath.Join(t.TempDir(), "none.pem")
	if err := os.WriteFile(noCert, []byte("no certificate"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name string
		p    *bestdns.Provider
		want string
	}{
		{"nothing", &bestdns.Provider{}, "no endpoint"},
		{"no token", &bestdns.Provider{Endpoint: "https://dns.example.net"}, "no API token"},
		{"no endpoint", &bestdns.Provider{APIToken: token}, "no endpoint"},
		{"no scheme", &bestdns.Provider{APIToken: token, Endpoint: "dns.example.net"}, "no scheme"},
		{"http to another host", &bestdns.Provider{APIToken: token, Endpoint: "http://dns.example.net"}, "in the clear"},
		{"cut token", &bestdns.Provider{APIToken: token[:50], Endpoint: "https://dns.example.net"}, "cut"},
		{"no such file", &bestdns.Provider{APIToken: token, Endpoint: "https://dns.example.net", TrustedRoots: []string{noCert + "x"}}, "no such file"},
		{"no certificate", &bestdns.Provider{APIToken: token, Endpoint: "https://dns.example.net", TrustedRoots: []string{noCert}}, "no certificate"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			recs := []libdns.Record{libdns.TXT{Name: "x", Text: "y"}}
			_, zones := tt.p.ListZones(t.Context())
			_, get := tt.p.GetRecords(t.Context(), "example.org.")
			errs := []error{zones, get}
			for _, call := range changes(tt.p) {
				_, err := call(t.Context(), "example.org.", recs)
				errs = append(errs, err)
			}
			for _, err := range errs {
				var e *bestdns.Error
				if !errors.As(err, &e) || !e.Unchanged || !strings.Contains(err.Error(), tt.want) {
					t.Errorf("error %v, want one that is certain that nothing changed and says %q", err, tt.want)
				}
			}
		})
	}
}

func TestBadRecord(t *testing.T) {
	f := new(fakeService)
	p := startService(t, f)
	for name, call := range changes(p) {
		_, err := call(t.Context(), "example.org.", []libdns.Record{libdns.TXT{Name: "x", TTL: -1, Text: "y"}})
		var e *bestdns.Error
		if !errors.As(err, &e) || !e.Unchanged || !strings.Contains(err.Error(), "negative") || !strings.Contains(err.Error(), "example.org.") {
			t.Errorf("%s: error %v", name, err)
		}
	}
	if reqs := f.requests(); len(reqs) != 0 {
		t.Errorf("requests %v", reqs)
	}
}

// TestConcurrentUse shares one provider from its first call on.
func TestConcurrentUse(t *testing.T) {
	f := new(fakeService)
	p := startService(t, f)
	var wg sync.WaitGroup
	for i := range 100 {
		wg.Go(func() {
			ctx, name := t.Context(), fmt.Sprintf("n%d", i)
			rec := []libdns.Record{libdns.TXT{Name: name, Text: "x"}}
			if out, err := p.AppendRecords(ctx, "example.org.", rec); err != nil || len(out) != 1 || out[0].RR().Name != name {
				t.Errorf("append: %v, %v", out, err)
			}
			fmt.Fprintf(io.Discard, "%+v", p)
			if _, err := p.GetRecords(ctx, "example.org."); err != nil {
				t.Error(err)
			}
			if out, err := p.DeleteRecords(ctx, "example.org.", rec); err != nil || len(out) != 1 || out[0].RR().Name != name {
				t.Errorf("delete: %v, %v", out, err)
			}
		})
	}
	wg.Wait()
	if left := f.all(); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
	if n := len(f.requests()); n != 300 {
		t.Errorf("%d requests", n)
	}
}
