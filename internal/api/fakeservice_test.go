package api

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"
)

// fakeService answers the API's calls with what it was sent. Faults come first, one
// for each request, the last for all that follow; nil is no fault.
type fakeService struct {
	http.Handler
	token  string
	faults []fault

	mu       sync.Mutex
	requests []string
}

// fault spoils an answer; serve gives the right one.
type fault func(w http.ResponseWriter, r *http.Request, serve http.Handler)

func newFakeService(faults ...fault) *fakeService {
	f := &fakeService{token: NewToken(), faults: faults}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/zones", func(w http.ResponseWriter, r *http.Request) {
		writeJSON(w, 200, Zones{Zones: []Zone{{Name: "example.org."}}})
	})
	mux.HandleFunc("GET /v1/token", func(w http.ResponseWriter, r *http.Request) {
		writeJSON(w, 200, Token{Client: "web1", Rights: []string{"certificates example.org"}})
	})
	mux.HandleFunc("GET /v1/zones/{zone}/records", func(w http.ResponseWriter, r *http.Request) {
		writeJSON(w, 200, Records{Records: []Record{{Name: "@", Type: "A", TTL: new(int64(60)), Data: new("192.0.2.1")}}})
	})
	mux.HandleFunc("PATCH /v1/zones/{zone}/records", func(w http.ResponseWriter, r *http.Request) {
		var c Change
		if err := json.NewDecoder(r.Body).Decode(&c); err != nil {
			writeProblem(w, NewProblem(BadRequest, err.Error()))
			return
		}
		writeJSON(w, 200, Records{
			Records: append(append(c.Append, c.Set...), c.Delete...),
			CNAMEs:  []CNAME{{Name: "_acme-challenge.example.com.", Target: "example.com.acme.example.org."}},
		})
	})
	f.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f.mu.Lock()
		i := len(f.requests)
		f.requests = append(f.requests, r.Method+" "+r.URL.EscapedPath())
		f.mu.Unlock()
		switch {
		case r.Header.Get("Authorization") != "Bearer "+f.token:
			writeProblem(w, NewProblem(Unauthorized, "another token"))
		case len(f.faults) == 0 || f.faults[min(i, len(f.faults)-1)] == nil:
			mux.ServeHTTP(w, r)
		default:
			f.faults[min(i, len(f.faults)-1)](w, r, mux)
		}
	})
	return f
}

func (f *fakeService) sawRequests() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]string(nil), f.requests...)
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(v)
}

func writeProblem(w http.ResponseWriter, p *Problem) {
	w.Header().Set("Content-Type", ProblemContentType)
	w.WriteHeader(p.Status)
	json.NewEncoder(w).Encode(p)
}

// Faults.
var (
	dropFirst fault = func(w http.ResponseWriter, _ *http.Request, _ http.Handler) { panic(http.ErrAbortHandler) }
	dropAfter fault = func(_ http.ResponseWriter, r *http.Request, serve http.Handler) {
		serve.ServeHTTP(httptest.NewRecorder(), r)
		panic(http.ErrAbortHandler)
	}
	dropWithin fault = func(w http.ResponseWriter, r *http.Request, serve http.Handler) {
		rec := httptest.NewRecorder()
		serve.ServeHTTP(rec, r)
		w.Header().Set("Content-Type", "application/json")
		w.Write(rec.Body.Bytes()[:rec.Body.Len()/2])
		http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}
)

// answer is a fault that answers a problem of the service.
func answer(kind string, unchanged bool) fault {
	return func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
		p := NewProblem(kind, "the detail")
		p.RequestID, p.Unchanged = "r1", unchanged
		writeProblem(w, p)
	}
}

// page is a fault that answers what no service does.
func page(status int, contentType string) fault {
	return func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
		w.Header().Set("Content-Type", contentType)
		w.WriteHeader(status)
		io.WriteString(w, "<html>Sorry</html>")
	}
}

func retryAfterHeader(value string, then fault) fault {
	return func(w http.ResponseWriter, r *http.Request, serve http.Handler) {
		w.Header().Set("Retry-After", value)
		then(w, r, serve)
	}
}

// startHTTP serves f and returns a client that does not wait between tries. What
// it would wait goes to waits.
func startHTTP(t testing.TB, f *fakeService) (c *Client, waits *[]time.Duration) {
	t.Helper()
	srv := httptest.NewServer(f)
	t.Cleanup(srv.Close)
	return newTestClient(t, srv.URL, f.token, nil)
}

func newTestClient(t testing.TB, endpoint, token string, roots *x509.CertPool) (*Client, *[]time.Duration) {
	t.Helper()
	c, err := NewClient(endpoint, Identity{Token: token}, roots)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.CloseIdleConnections)
	waits := new([]time.Duration)
	c.retry.sleep = func(ctx context.Context, d time.Duration) error {
		*waits = append(*waits, d)
		return ctx.Err()
	}
	return c, waits
}
