package api

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/libdns/libdns"
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

var sent = []Record{{Name: "_acme-challenge", Type: "TXT", Data: new("text")}}

// calls are the client's methods. Each checks its result.
var calls = []struct {
	name    string
	request string
	do      func(context.Context, *Client) error
}{
	{"ListZones", "GET /v1/zones", func(ctx context.Context, c *Client) error {
		zones, err := c.ListZones(ctx)
		return differ(err, []Zone{{Name: "example.org."}}, zones)
	}},
	{"GetToken", "GET /v1/token", func(ctx context.Context, c *Client) error {
		token, err := c.GetToken(ctx)
		return differ(err, Token{Client: "web1", Rights: []string{"certificates example.org"}}, token)
	}},
	{"GetRecords", "GET /v1/zones/example.org./records", func(ctx context.Context, c *Client) error {
		recs, err := c.GetRecords(ctx, "example.org.")
		var rrs []libdns.RR
		for _, rec := range recs {
			rrs = append(rrs, rec.RR())
		}
		return differ(err, []libdns.RR{{Name: "@", Type: "A", TTL: time.Minute, Data: "192.0.2.1"}}, rrs)
	}},
	{"append", "PATCH /v1/zones/example.org./records", func(ctx context.Context, c *Client) error {
		out, err := c.Change(ctx, "example.org.", Change{Append: sent})
		return differ(err, sent, out.Records)
	}},
	{"set", "PATCH /v1/zones/example.org./records", func(ctx context.Context, c *Client) error {
		out, err := c.Change(ctx, "example.org.", Change{Set: sent})
		return differ(err, sent, out.Records)
	}},
	{"delete", "PATCH /v1/zones/example.org./records", func(ctx context.Context, c *Client) error {
		out, err := c.Change(ctx, "example.org.", Change{Delete: sent})
		return differ(err, sent, out.Records)
	}},
}

func differ(err error, want, got any) error {
	if diff := cmp.Diff(want, got); err == nil && diff != "" {
		return errors.New("(-want +got):\n" + diff)
	}
	return err
}

func TestOneRequestPerCall(t *testing.T) {
	for _, call := range calls {
		t.Run(call.name, func(t *testing.T) {
			f := newFakeService()
			c, _ := startHTTP(t, f)
			if err := call.do(t.Context(), c); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff([]string{call.request}, f.sawRequests()); diff != "" {
				t.Errorf("requests (-want +got):\n%s", diff)
			}
		})
	}
}

func TestRequest(t *testing.T) {
	var got *http.Request
	f := newFakeService(func(w http.ResponseWriter, r *http.Request, serve http.Handler) {
		got = r.Clone(context.Background())
		writeJSON(w, 200, Records{Records: []Record{}})
	})
	srv := httptest.NewServer(f)
	defer srv.Close()
	c, _ := newTestClient(t, srv.URL+"/dns%20api/", f.token, nil)
	if _, err := c.GetRecords(t.Context(), "0/25.2.0.192.in-addr.arpa."); err != nil {
		t.Fatal(err)
	}
	if want := "/dns%20api/v1/zones/0%2F25.2.0.192.in-addr.arpa./records"; got.RequestURI != want {
		t.Errorf("path %s, want %s", got.RequestURI, want)
	}
	if got, want := got.UserAgent(), "bestdns-client/"; !strings.HasPrefix(got, want) || got == want {
		t.Errorf("User-Agent %q", got)
	}
	if _, err := c.GetRecords(t.Context(), "."); err != nil {
		t.Fatal(err)
	}
	if want := "/dns%20api/v1/zones/%2E/records"; got.RequestURI != want {
		t.Errorf("path %s, want %s", got.RequestURI, want)
	}
}

// TestFaults makes each call against each fault: once, then for ever.
func TestFaults(t *testing.T) {
	for _, tt := range []struct {
		name      string
		fault     fault
		once      bool // one such answer does no harm
		unchanged bool // what a change reports when all tries fail so
		want      string
	}{
		{"dropped before the answer", dropFirst, true, false, "ended before an answer"},
		{"dropped after the change", dropAfter, true, false, "ended before an answer"},
		{"dropped within the answer", dropWithin, true, false, "cannot be read to its end"},
		{"429", retryAfterHeader("1", answer(TooManyRequests, false)), true, true, "the detail"},
		{"429 for long", retryAfterHeader("60", answer(TooManyRequests, false)), false, true, "the detail"},
		{"425", answer(TooEarly, false), true, true, "the detail"},
		{"500", answer(Internal, false), true, false, "the detail"},
		{"502", answer(ProviderFailed, false), true, false, "the detail"},
		{"502, unchanged", answer(ProviderFailed, true), true, true, "the detail"},
		{"503", retryAfterHeader("1", answer(Unavailable, true)), true, true, "the detail"},
		{"504", answer(ProviderTimeout, false), true, false, "the detail"},
		{"501", answer(NotSupported, true), false, true, "the detail"},
		{"403", answer(Forbidden, false), false, true, "the detail"},
		{"422", answer(InvalidRecord, false), false, true, "the detail"},
		{"a proxy's 502", page(502, "text/html"), true, false, "status 502 and text/html"},
		{"a proxy's 429", page(429, "text/plain"), true, false, "status 429"},
		{"a proxy's 404", page(404, "text/html"), false, false, "is the endpoint right"},
		{"another server's problem", page(404, ProblemContentType), false, false, "is the endpoint right"},
		{"a page with status 200", page(200, "text/html; charset=utf-8"), true, false, "status 200 and text/html"},
		{"JSON that is none", page(200, "application/json"), true, false, "cannot be read"},
		{"JSON that means nothing", func(w http.ResponseWriter, _ *http.Request, _ http.Handler) { writeJSON(w, 200, []int{1}) }, true, false, "cannot be read"},
	} {
		for _, call := range calls {
			t.Run(tt.name+"/"+call.name, func(t *testing.T) {
				f := newFakeService(tt.fault, nil)
				c, waits := startHTTP(t, f)
				err := call.do(t.Context(), c)
				if tt.once {
					if err != nil {
						t.Fatalf("one fault: %v", err)
					}
					if n := len(f.sawRequests()); n != 2 || len(*waits) != 1 {
						t.Errorf("%d requests with waits %v, want 2 and one wait", n, *waits)
					}
				} else if n := len(f.sawRequests()); err == nil || n != 1 {
					t.Errorf("%d requests, error %v: want one and an error", n, err)
				}

				f = newFakeService(tt.fault)
				c, _ = startHTTP(t, f)
				err = call.do(t.Context(), c)
				var e *Error
				if !errors.As(err, &e) {
					t.Fatalf("error %v, want an *Error", err)
				}
				if !strings.Contains(err.Error(), tt.want) {
					t.Errorf("error %q does not say %q", err, tt.want)
				}
				if want := tt.unchanged || strings.HasPrefix(call.request, "GET"); e.Unchanged != want {
					t.Errorf("Unchanged is %v, want %v", e.Unchanged, want)
				}
				if n := len(f.sawRequests()); tt.once && n != defaultRetry.tries && n < 2 {
					t.Errorf("%d requests", n)
				}
			})
		}
	}
}

// TestUnchangedOfAllTries: what one try may have done, the answer to the next
// cannot undo.
func TestUnchangedOfAllTries(t *testing.T) {
	for _, tt := range []struct {
		name   string
		faults []fault
		want   bool
	}{
		{"refused, then forbidden", []fault{answer(TooManyRequests, true), answer(Forbidden, true)}, true},
		{"dropped, then forbidden", []fault{dropAfter, answer(Forbidden, true)}, false},
		{"503, dropped, then 503", []fault{answer(Unavailable, true), dropFirst, answer(Unavailable, true)}, false},
		{"a proxy's page, then conflict", []fault{page(504, "text/html"), answer(Conflict, true)}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c, _ := startHTTP(t, newFakeService(tt.faults...))
			_, err := c.Change(t.Context(), "example.org.", Change{Append: sent})
			var e *Error
			if !errors.As(err, &e) || e.Unchanged != tt.want {
				t.Errorf("error %#v, want Unchanged %v", err, tt.want)
			}
		})
	}
}

func TestWaits(t *testing.T) {
	c, waits := startHTTP(t, newFakeService(answer(Unavailable, true)))
	c.ListZones(t.Context())
	if n := len(*waits); n != defaultRetry.tries-1 {
		t.Fatalf("waits %v", *waits)
	}
	for i, w := range *waits {
		mean := defaultRetry.first << i
		if w < mean*6/10 || w > mean*14/10 {
			t.Errorf("wait %d is %v, want about %v", i, w, mean)
		}
	}

	c, waits = startHTTP(t, newFakeService(retryAfterHeader("2", answer(Unavailable, true)), nil))
	if _, err := c.ListZones(t.Context()); err != nil || len(*waits) != 1 || (*waits)[0] != 2*time.Second {
		t.Errorf("error %v, waits %v: want one of 2s", err, *waits)
	}

	date := time.Now().Add(4 * time.Second).UTC().Format(http.TimeFormat)
	c, waits = startHTTP(t, newFakeService(retryAfterHeader(date, answer(Unavailable, true)), nil))
	if _, err := c.ListZones(t.Context()); err != nil || len(*waits) != 1 || (*waits)[0] < time.Second {
		t.Errorf("error %v, waits %v: want one until %s", err, *waits, date)
	}

	// A context that would not live to see the next try ends the call at once.
	c, waits = startHTTP(t, newFakeService(retryAfterHeader("2", answer(Unavailable, true)), nil))
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if _, err := c.ListZones(ctx); err == nil || len(*waits) != 0 {
		t.Errorf("error %v, waits %v: want an error at once", err, *waits)
	}
}

func TestNobodyListens(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := ln.Addr().String()
	ln.Close()
	c, waits := newTestClient(t, "http://"+addr, NewToken(), nil)
	_, err = c.Change(t.Context(), "example.org.", Change{Append: sent})
	var e *Error
	if !errors.As(err, &e) || !e.Unchanged || e.Status != 0 {
		t.Fatalf("error %#v", err)
	}
	if want := "cannot connect to " + addr; !strings.Contains(err.Error(), want) {
		t.Errorf("error %q does not say %q", err, want)
	}
	if len(*waits) != defaultRetry.tries-1 {
		t.Errorf("waits %v", *waits)
	}
}

func TestRedirectGetsNoToken(t *testing.T) {
	var leaked atomic.Int32
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { leaked.Add(1) }))
	defer other.Close()
	for _, call := range calls {
		f := newFakeService(func(w http.ResponseWriter, r *http.Request, _ http.Handler) {
			http.Redirect(w, r, other.URL+"/secret-path", http.StatusTemporaryRedirect)
		})
		c, _ := startHTTP(t, f)
		err := call.do(t.Context(), c)
		if err == nil {
			t.Fatalf("%s: no error", call.name)
		}
		if want := "redirects to " + strings.TrimPrefix(other.URL, "http://"); !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "secret-path") {
			t.Errorf("%s: error %q does not say %q", call.name, err, want)
		}
		if n := len(f.sawRequests()); n != 1 {
			t.Errorf("%s: %d requests", call.name, n)
		}
	}
	if n := leaked.Load(); n != 0 {
		t.Errorf("the other host got %d requests", n)
	}
}

func TestCancelledContextReturnsSoon(t *testing.T) {
	// A server sees that the client is gone only when it has read the body.
	hang := func(w http.ResponseWriter, r *http.Request, _ http.Handler) {
		io.Copy(io.Discard, r.Body)
		<-r.Context().Done()
	}
	hangWithin := func(w http.ResponseWriter, r *http.Request, _ http.Handler) {
		io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", "application/json")
		io.WriteString(w, `{"records":[`)
		http.NewResponseController(w).Flush()
		<-r.Context().Done()
	}
	for name, fault := range map[string]fault{
		"without answer":    hang,
		"within the answer": hangWithin,
		"between tries":     retryAfterHeader("3", answer(Unavailable, false)),
	} {
		for _, call := range calls {
			t.Run(name+"/"+call.name, func(t *testing.T) {
				f := newFakeService(fault)
				c, _ := startHTTP(t, f)
				c.retry.sleep = sleep
				ctx, cancel := context.WithCancel(t.Context())
				cancelled := make(chan time.Time, 1)
				time.AfterFunc(50*time.Millisecond, func() { cancelled <- time.Now(); cancel() })
				err := call.do(ctx, c)
				if took := time.Since(<-cancelled); took > 100*time.Millisecond {
					t.Errorf("returned %v after the cancellation", took)
				}
				var e *Error
				if !errors.Is(err, context.Canceled) || !errors.As(err, &e) {
					t.Fatalf("error %v", err)
				}
				if want := strings.HasPrefix(call.request, "GET"); e.Unchanged != want {
					t.Errorf("Unchanged is %v, want %v", e.Unchanged, want)
				}
			})
		}
	}
}

// TestConnections counts the connections of 100 concurrent calls, three times.
// None is answered before all of them are there.
func TestConnections(t *testing.T) {
	const concurrent, rounds = 100, 3
	for _, tt := range []struct {
		name  string
		http2 bool
		most  int32
	}{
		{"HTTP/1.1", false, maxConns},
		{"HTTP/2", true, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := newFakeService()
			srv := httptest.NewUnstartedServer(f)
			srv.EnableHTTP2 = tt.http2
			// Those that brought a request: on a busy machine, a handshake may take too
			// long, and is made again.
			var used sync.Map
			var connections, proto2 atomic.Int32
			srv.Config.ConnState = func(conn net.Conn, s http.ConnState) {
				if s != http.StateActive {
					return
				}
				if _, known := used.LoadOrStore(conn, true); !known {
					connections.Add(1)
				}
			}
			var arrived atomic.Int32
			var all [rounds]chan struct{}
			for i := range all {
				all[i] = make(chan struct{})
			}
			h := srv.Config.Handler
			srv.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.ProtoMajor == 2 {
					proto2.Add(1)
				}
				n := arrived.Add(1)
				round := all[(n-1)/concurrent]
				if n%concurrent == 0 {
					close(round)
				}
				select {
				case <-round:
				case <-r.Context().Done():
				}
				h.ServeHTTP(w, r)
			})
			srv.StartTLS()
			defer srv.Close()
			roots := x509.NewCertPool()
			roots.AddCert(srv.Certificate())
			c, _ := newTestClient(t, srv.URL, f.token, roots)
			for range rounds {
				var wg sync.WaitGroup
				for i := range concurrent {
					wg.Go(func() {
						if err := calls[i%len(calls)].do(t.Context(), c); err != nil {
							t.Error(err)
						}
					})
				}
				wg.Wait()
			}
			if n := connections.Load(); n == 0 || n > tt.most {
				t.Errorf("%d connections, want at most %d", n, tt.most)
			}
			if got := proto2.Load() == concurrent*rounds; got != tt.http2 {
				t.Errorf("%d requests with HTTP/2", proto2.Load())
			}
			t.Logf("%d connections", connections.Load())
		})
	}
}

func TestCertificateNotTrusted(t *testing.T) {
	f := newFakeService()
	srv := httptest.NewTLSServer(f)
	defer srv.Close()
	srv.Config.ErrorLog = nil
	c, waits := newTestClient(t, srv.URL, f.token, x509.NewCertPool())
	_, err := c.Change(t.Context(), "example.org.", Change{Append: sent})
	var e *Error
	if !errors.As(err, &e) || !e.Unchanged || !strings.Contains(err.Error(), "trusted_roots") || len(*waits) != 0 {
		t.Errorf("error %#v, waits %v", err, *waits)
	}
}

// TestNoTLS meets servers that speak something else at once. None is asked twice.
func TestNoTLS(t *testing.T) {
	f := newFakeService()
	plain := httptest.NewServer(f)
	defer plain.Close()
	greeting, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer greeting.Close()
	go func() {
		for {
			conn, err := greeting.Accept()
			if err != nil {
				return
			}
			defer conn.Close()
			io.WriteString(conn, "220 mail.example.net ESMTP\r\n")
		}
	}()
	for name, addr := range map[string]string{"HTTP": plain.Listener.Addr().String(), "SMTP": greeting.Addr().String()} {
		c, waits := newTestClient(t, "https://"+addr, f.token, nil)
		_, err := c.Change(t.Context(), "example.org.", Change{Append: sent})
		var e *Error
		if !errors.As(err, &e) || !e.Unchanged || !strings.Contains(err.Error(), addr+" does not speak TLS") || len(*waits) != 0 {
			t.Errorf("%s: error %#v, waits %v", name, err, *waits)
		}
	}
}

func TestAnswerTooLong(t *testing.T) {
	f := newFakeService()
	c, waits := startHTTP(t, f)
	err := c.do(t.Context(), &call{method: "GET", path: "/v1/zones", timeout: callTimeout, limit: 10,
		decode: func(r io.Reader) error { return decode(r, new(Zones)) }})
	if !errors.Is(err, errTooLong) || len(*waits) != 0 {
		t.Errorf("error %v, waits %v", err, *waits)
	}
}

func TestRefusedBeforeSending(t *testing.T) {
	f := newFakeService()
	c, _ := startHTTP(t, f)
	long := strings.Repeat("x", MaxBodyBytes)
	for name, do := range map[string]func() error{
		"GET without zone":    func() error { _, err := c.GetRecords(t.Context(), ""); return err },
		"change without zone": func() error { _, err := c.Change(t.Context(), "", Change{Append: sent}); return err },
		"too many records": func() error {
			_, err := c.Change(t.Context(), "x.", Change{Append: make([]Record, MaxRecords+1)})
			return err
		},
		"too many bytes": func() error {
			_, err := c.Change(t.Context(), "x.", Change{Append: []Record{{Name: "x", Type: "TXT", Data: &long}}})
			return err
		},
	} {
		var e *Error
		if err := do(); !errors.As(err, &e) || !e.Unchanged || e.Status != 0 || e.Kind() == "" {
			t.Errorf("%s: error %#v", name, err)
		}
	}
	if reqs := f.sawRequests(); len(reqs) != 0 {
		t.Errorf("requests %v", reqs)
	}
}

func TestDecodeRecords(t *testing.T) {
	want := []libdns.Record{libdns.TXT{Name: "x", Text: "y"}}
	for name, body := range map[string]string{
		"plain":                `{"records":[{"name":"x","type":"TXT","data":"y"}]}`,
		"with unknown members": `{"later":{"a":[1]},"records":[{"name":"x","type":"TXT","data":"y","later":1}],"more":null} ` + "\n",
	} {
		got, err := decodeRecords(strings.NewReader(body))
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	for _, body := range []string{
		``, `{`, `[]`, `{}`, `null`, `{"records":null}`, `{"records":[`, `{"records":[]`, `{"records":[{"name":"x"}`,
		`{"records":[{"name":1}]}`, `{"records":[]}x`, `{"records":[]}{}`,
	} {
		if got, err := decodeRecords(strings.NewReader(body)); err == nil {
			t.Errorf("%q gave %v", body, got)
		}
	}
}

func TestNewClientRefuses(t *testing.T) {
	token := NewToken()
	for _, tt := range []struct{ name, endpoint, token, want string }{
		{"no endpoint", "", token, "the endpoint is empty"},
		{"no scheme", "dns.example.net", token, "no scheme"},
		{"no scheme but a port", "dns.example.net:443", token, "no scheme"},
		{"no host", "https://", token, "not a URL"},
		{"no host but a port", "https://:443", token, "not a URL"},
		{"no URL", "https://[::1", token, "not a URL"},
		{"another scheme", "ftp://dns.example.net", token, "not https"},
		{"http to another host", "http://dns.example.net", token, "in the clear"},
		{"http to a private address", "http://10.0.0.1", token, "in the clear"},
		{"a name that begins like a loopback address", "http://127.0.0.1.example.net", token, "in the clear"},
		{"a password", "https://user:secret-pw@dns.example.net", token, "user name or password"},
		{"a query", "https://dns.example.net/?a=b", token, "query"},
		{"a placeholder", "https://{env.HOST}", token, "braces"},
		{"the token in its place", token, token, "no scheme"},
		{"the token for a host", "https://" + token, token, "place of the endpoint's host"},
		{"no token", "https://dns.example.net", "", "empty"},
		{"a URL for a token", "https://dns.example.net", "https://dns.example.net", "URL"},
		{"a placeholder for a token", "https://dns.example.net", "{env.X}", "braces"},
		{"another token", "https://dns.example.net", "ghp_0123456789", "begins with"},
		{"a cut token", "https://dns.example.net", token[:40], "cut"},
		{"a token with a line break", "https://dns.example.net", token + "\n", "white space"},
		{"a mistyped token", "https://dns.example.net", mistype(token), "check digits"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := NewClient(tt.endpoint, Identity{Token: tt.token}, nil)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("error %v does not say %q", err, tt.want)
			}
			for _, secret := range []string{token, "secret-pw", token[:40], mistype(token)} {
				if strings.Contains(err.Error(), secret) {
					t.Errorf("error %q holds a secret", err)
				}
			}
		})
	}
	for _, endpoint := range []string{
		"https://dns.example.net", "https://dns.example.net:8443/a/b/", "https://192.0.2.1", "HTTPS://dns.example.net",
		"http://localhost:8080", "http://127.8.9.10", "http://[::1]:80/x",
	} {
		if _, err := NewClient(endpoint, Identity{Token: token}, nil); err != nil {
			t.Errorf("%s: %v", endpoint, err)
		}
	}
}

// mistype changes one character of a token.
func mistype(token string) string {
	c := byte('a')
	if token[20] == c {
		c = 'b'
	}
	return token[:20] + string(c) + token[21:]
}

func BenchmarkClient(b *testing.B) {
	for _, call := range calls {
		b.Run(call.name, func(b *testing.B) {
			c, _ := startHTTP(b, newFakeService())
			b.ReportAllocs()
			for b.Loop() {
				if err := call.do(b.Context(), c); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkDecodeRecords reads a zone of 10,000 names.
func BenchmarkDecodeRecords(b *testing.B) {
	var zone strings.Builder
	zone.WriteString(`{"records":[`)
	for i := range 10_000 {
		if i > 0 {
			zone.WriteByte(',')
		}
		fmt.Fprintf(&zone, `{"name":"host-%d","type":"A","ttl":60,"data":"192.0.2.%d"}`, i, i%256)
	}
	zone.WriteString(`]}`)
	b.SetBytes(int64(zone.Len()))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := decodeRecords(strings.NewReader(zone.String())); err != nil {
			b.Fatal(err)
		}
	}
}
