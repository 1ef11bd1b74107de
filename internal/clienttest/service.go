// Package clienttest has what tests of the client need: a service to talk to, and the tests
// that each adapter for lego has to pass.
package clienttest

import (
	"encoding/json"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/caddy-dns/bestdns"
	"github.com/caddy-dns/bestdns/internal/api"
)

// Service keeps the records of one zone and answers the API's calls. Its fields are set
// before the first call.
type Service struct {
	// Token is the one that it accepts. [Service.Start] and [Service.StartPlain] make it.
	Token string
	// Fault, if set, may answer instead of the service, and reports whether it did.
	Fault func(w http.ResponseWriter, r *http.Request, c api.Change) bool

	mu      sync.Mutex
	records []api.Record
	seen    []string // what was asked, one for each request
}

// Start serves f over TLS until the test ends, and returns a client of it.
func (f *Service) Start(t testing.TB) *bestdns.Provider {
	t.Helper()
	f.Token = api.NewToken()
	srv := httptest.NewUnstartedServer(f)
	srv.EnableHTTP2 = true
	srv.StartTLS()
	t.Cleanup(srv.Close)
	roots := filepath.Join(t.TempDir(), "roots.pem")
	cert := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw})
	if err := os.WriteFile(roots, cert, 0o600); err != nil {
		t.Fatal(err)
	}
	return &bestdns.Provider{Endpoint: srv.URL, APIToken: f.Token, TrustedRoots: []string{roots}}
}

// StartPlain serves f over HTTP on a loopback address until the test ends: lego has no setting
// for roots.
func (f *Service) StartPlain(t testing.TB) (endpoint string) {
	t.Helper()
	f.Token = api.NewToken()
	srv := httptest.NewServer(f)
	t.Cleanup(srv.Close)
	return srv.URL
}

// ServeHTTP answers a call of the API.
func (f *Service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var c api.Change
	if r.Method == http.MethodPatch {
		dec := json.NewDecoder(r.Body)
		dec.DisallowUnknownFields()
		if err := dec.Decode(&c); err != nil {
			Answer(w, 400, api.NewProblem(api.BadRequest, err.Error()))
			return
		}
	}
	f.mu.Lock()
	f.seen = append(f.seen, strings.TrimSpace(r.Method+" "+kindOf(c)+" "+r.URL.Path))
	f.mu.Unlock()
	switch {
	case r.Header.Get("Authorization") != "Bearer "+f.Token:
		Answer(w, 401, api.NewProblem(api.Unauthorized, "another token"))
	case f.Fault != nil && f.Fault(w, r, c):
	case r.URL.Path == "/v1/zones":
		Answer(w, 200, api.Zones{Zones: []api.Zone{{Name: "example.org."}}})
	case r.Method == http.MethodPatch:
		Answer(w, 200, api.Records{Records: f.Change(c), CNAMEs: []api.CNAME{{Name: "_acme-challenge.example.com.", Target: "example.com.acme.example.org."}}})
	default:
		Answer(w, 200, api.Records{Records: f.All()})
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

// Answer writes v, a problem or the answer to a call.
func Answer(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	if _, ok := v.(*api.Problem); ok {
		w.Header().Set("Content-Type", api.ProblemContentType)
	}
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(v)
}

// Change makes a change, and returns the records that it has written or deleted.
func (f *Service) Change(c api.Change) []api.Record {
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

// All returns the records.
func (f *Service) All() []api.Record {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]api.Record{}, f.records...)
}

// Requests returns the calls: the method, what a change does, and the path.
func (f *Service) Requests() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.seen)
}
