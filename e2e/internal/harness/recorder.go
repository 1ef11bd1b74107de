package harness

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"

	"github.com/caddy-dns/bestdns/internal/api"
)

// Recorder is in front of the API, sees every request of the clients, and hands
// it on.
type Recorder struct {
	// URL is an endpoint over HTTPS, and TLSRoot a PEM file that verifies it.
	URL, TLSRoot string
	// PlainURL is the same endpoint over HTTP.
	PlainURL string

	mu       sync.Mutex
	requests []Request
	answered func(Request)
}

// Request is what a client sent, and how it was answered.
type Request struct {
	Method, Path string
	Status       int
	// Zone is the zone in the path, Change the body of a PATCH.
	Zone   string
	Change api.Change
}

// NewRecorder starts a recorder before the API at the address target.
func NewRecorder(t testing.TB, target string) *Recorder {
	t.Helper()
	r := new(Recorder)
	proxy := &httputil.ReverseProxy{
		// No connection is kept: one that is dialed for a client which has gone by then
		// would never be used, and Caddy, when it is stopped, gives such a one five
		// seconds to begin.
		Transport: DefinedTransport(t, &http.Transport{DisableKeepAlives: true}),
		Rewrite: func(p *httputil.ProxyRequest) {
			p.SetURL(&url.URL{Scheme: "http", Host: target})
		},
		ErrorHandler: func(w http.ResponseWriter, req *http.Request, err error) {
			http.Error(w, err.Error(), http.StatusBadGateway)
		},
	}
	handler := http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		body, err := io.ReadAll(req.Body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		req.Body = io.NopCloser(bytes.NewReader(body))
		kept := Request{Method: req.Method, Path: req.URL.EscapedPath(), Zone: zoneOf(req.URL.Path)}
		json.Unmarshal(body, &kept.Change)
		proxy.ServeHTTP(&statusWriter{ResponseWriter: w, answering: func(status int) {
			kept.Status = status
			r.keep(kept)
		}}, req)
	})
	plain := httptest.NewServer(handler)
	t.Cleanup(plain.Close)
	secure := httptest.NewTLSServer(handler)
	t.Cleanup(secure.Close)
	r.PlainURL = plain.URL
	r.URL, r.TLSRoot = secure.URL, WriteCertificate(t, secure.Certificate())
	return r
}

// statusWriter tells of an answer before the client has it.
type statusWriter struct {
	http.ResponseWriter
	answering func(status int)
}

func (w *statusWriter) WriteHeader(status int) {
	w.answering(status)
	w.ResponseWriter.WriteHeader(status)
}

// Unwrap is for http.ResponseController.
func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func zoneOf(path string) string {
	zone, _ := strings.CutPrefix(path, "/v1/zones/")
	zone, _ = strings.CutSuffix(zone, "/records")
	return dns.CanonicalName(zone)
}

func (r *Recorder) keep(req Request) {
	r.mu.Lock()
	r.requests = append(r.requests, req)
	answered := r.answered
	r.mu.Unlock()
	if answered != nil {
		answered(req)
	}
}

// OnAnswer has f called with each request when the service has answered it and
// before the client has the answer.
func (r *Recorder) OnAnswer(f func(Request)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.answered = f
}

// Requests returns all requests so far.
func (r *Recorder) Requests() []Request {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]Request(nil), r.requests...)
}

// writes is what a client did with one name: for each TXT value in turn, the
// kinds of its changes.
type writes map[string][]string

// AssertWrites fails the test unless the clients made no other request than
// these: for each certificate one append and one delete of one and the same
// record. want has how many certificates were proved at each owner name.
func (r *Recorder) AssertWrites(t testing.TB, want map[string]int) {
	t.Helper()
	perValue := make(map[string]writes)
	var others []string
	for _, req := range r.Requests() {
		kind, recs := req.Kind()
		if kind == "" || req.Status != http.StatusOK || len(recs) != 1 || recs[0].Data == nil {
			others = append(others, req.Method+" "+req.Path)
			continue
		}
		owner := Absolute(recs[0].Name, req.Zone)
		if perValue[owner] == nil {
			perValue[owner] = make(writes)
		}
		perValue[owner][*recs[0].Data] = append(perValue[owner][*recs[0].Data], kind)
	}
	if len(others) > 0 {
		t.Errorf("the API saw other requests than appends and deletes of one record: %q", others)
	}
	got := make(map[string]int)
	for owner, values := range perValue {
		got[owner] = len(values)
		for _, kinds := range values {
			if diff := cmp.Diff([]string{"append", "delete"}, kinds); diff != "" {
				t.Errorf("the changes of a value at %s (-want +got):\n%s", owner, diff)
			}
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the number of values at each name (-want +got):\n%s", diff)
	}
}

// Kind returns the kind of change that the request asks for, and its records.
func (req Request) Kind() (string, []api.Record) {
	switch {
	case req.Method != http.MethodPatch:
		return "", nil
	case req.Change.Append != nil:
		return "append", req.Change.Append
	case req.Change.Delete != nil:
		return "delete", req.Change.Delete
	default:
		return "", nil
	}
}

func Absolute(name, zone string) string {
	switch {
	case name == "@":
		return zone
	case dns.IsFqdn(name):
		return dns.CanonicalName(name)
	default:
		return dns.CanonicalName(name + "." + zone)
	}
}
