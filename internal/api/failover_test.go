package api

import (
	"context"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestParseEndpoints(t *testing.T) {
	token := NewToken()
	const a, b = "https://a.example", "https://b.example/dns"
	for _, tt := range []struct{ name, given, want, err string }{
		{"one", a, a, ""},
		{"two", a + " " + b, a + "," + b, ""},
		{"blanks and tabs", "  " + a + " \t " + b + "\t", a + "," + b, ""},
		{"two on loopback", "http://127.0.0.1:1 http://[::1]:1", "http://127.0.0.1:1,http://[::1]:1", ""},
		{"paths of one host", a + "/1 " + a + "/2", a + "/1," + a + "/2", ""},
		{"eight", a + "/1 " + a + "/2 " + a + "/3 " + a + "/4 " + a + "/5 " + a + "/6 " + a + "/7 " + a + "/8",
			a + "/1," + a + "/2," + a + "/3," + a + "/4," + a + "/5," + a + "/6," + a + "/7," + a + "/8", ""},
		{"none", "", "", "the endpoint is empty"},
		{"blanks alone", " \t", "", "the endpoint is empty"},
		{"nine", strings.Repeat(a+" ", 9), "", "there are 9 endpoints, and a client takes 8 at most"},
		{"the same", a + " " + b + " " + a + "/", "", `the endpoint "https://a.example/" is given twice`},
		{"the second without a scheme", a + " b.example", "", `the endpoint "b.example" has no scheme: write it as https://HOST`},
		{"the second over http", a + " http://b.example", "", `the endpoint "http://b.example" is over http, which would send the token in the clear: use https (http is for loopback addresses only)`},
		{"a comma", a + ", " + b, "", `the endpoint "https://a.example," has a comma in its host: several endpoints are separated by blanks`},
		{"commas alone", a + "," + b, "", `the endpoint "https://a.example,https://b.example/dns" has a comma in its host: several endpoints are separated by blanks`},
		{"a password in the second", a + " https://user:hunter2@b.example", "", `the endpoint "https://…@b.example" has a user name or password in it: the token is given by itself`},
		{"a placeholder", a + " {env.B}", "", `the endpoint "{env.B}" has braces in it: is it a placeholder that nothing replaced?`},
		{"a line break", a + "\n" + b, "", `the endpoint "https://a.example\nhttps://b.example/dns" is not a URL (net/url: invalid control character in URL): write it as https://HOST`},
		{"the token after it", a + " " + token, "", errTokenInEndpoint.Error()},
		{"the token in two parts", a + "/" + token[:12] + " " + token[12:], "", errTokenInEndpoint.Error()},
	} {
		t.Run(tt.name, func(t *testing.T) {
			urls, err := ParseEndpoints(tt.given)
			var got []string
			for _, u := range urls {
				got = append(got, u.String())
			}
			if tt.err != "" {
				if err == nil || err.Error() != tt.err {
					t.Errorf("error\n%v, want\n%s", err, tt.err)
				}
			} else if err != nil || strings.Join(got, ",") != tt.want {
				t.Errorf("%q, error %v, want %q", got, err, tt.want)
			}
		})
	}
	if _, err := NewClient(a+" http://127.0.0.1:1", Identity{Certificate: CertificateIn("", "")}, nil); err == nil || !strings.Contains(err.Error(), "needs an endpoint with https") {
		t.Errorf("a client certificate for an endpoint without TLS: error %v", err)
	}
}

// closedPort returns the URL of an address at which no one listens.
func closedPort(t testing.TB) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return "http://" + ln.Addr().String()
}

// redirect is a fault that points elsewhere.
func redirect(to string) fault {
	return func(w http.ResponseWriter, r *http.Request, _ http.Handler) {
		http.Redirect(w, r, to, http.StatusTemporaryRedirect)
	}
}

// TestNextEndpoint makes each call where the first endpoint has a fault: the second one
// does it at once, where it may do better than the first.
func TestNextEndpoint(t *testing.T) {
	var strangers atomic.Int32
	stranger := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { strangers.Add(1) }))
	defer stranger.Close()
	for _, tt := range []struct {
		name  string
		fault fault
		next  bool
	}{
		{"dropped before the answer", dropFirst, true},
		{"dropped after the change", dropAfter, true},
		{"dropped within the answer", dropWithin, true},
		{"500", answer(Internal, false), true},
		{"502", answer(ProviderFailed, false), true},
		{"503", retryAfterHeader("60", answer(Unavailable, true)), true},
		{"504", answer(ProviderTimeout, false), true},
		{"a proxy's 502", page(502, "text/html"), true},
		{"a page with status 200", page(200, "text/html"), true},
		{"another site's 404", page(404, "text/html"), true},
		{"redirected", redirect(stranger.URL), true},
		{"400", answer(BadRequest, true), false},
		{"401", answer(Unauthorized, true), false},
		{"403", answer(Forbidden, true), false},
		{"404", answer(ZoneNotFound, true), false},
		{"409", answer(Conflict, true), false},
		{"422", answer(InvalidRecord, true), false},
		{"501", answer(NotSupported, true), false},
	} {
		for _, call := range calls {
			t.Run(tt.name+"/"+call.name, func(t *testing.T) {
				first, second := newFakeService(tt.fault), newFakeService()
				second.token = first.token
				one, two := httptest.NewServer(first), httptest.NewServer(second)
				t.Cleanup(one.Close)
				t.Cleanup(two.Close)
				c, waits := newTestClient(t, one.URL+" "+two.URL, first.token, nil)
				err := call.do(t.Context(), c)
				got := []int{len(first.sawRequests()), len(second.sawRequests()), len(*waits)}
				want := []int{1, 0, 0}
				if tt.next {
					want = []int{1, 1, 0}
				}
				if (err == nil) != tt.next || !slices.Equal(got, want) {
					t.Errorf("error %v; requests of each and pauses %v, want %v", err, got, want)
				}
			})
		}
	}
	if n := strangers.Load(); n != 0 {
		t.Errorf("where the redirect points got %d requests", n)
	}
}

// TestNoEndpoint has all endpoints fail. The error names each, and what it says of the
// zone and of the cause holds for all of them.
func TestNoEndpoint(t *testing.T) {
	forbidden := answer(Forbidden, true)
	for _, tt := range []struct {
		name      string
		faults    []fault // of each endpoint; nil: no one listens
		unchanged bool
		status    int
		rounds    int
		requests  int // at the last endpoint at which someone listens
		want      []string
	}{
		{"no one listens", []fault{nil, nil}, true, 0, 5, 0, []string{"cannot connect to HOST0", "; cannot connect to HOST1"}},
		{"no one listens, and 503", []fault{nil, answer(Unavailable, true)}, true, 503, 5, 5, []string{"cannot connect to HOST0", "; HOST1 answers: the detail"}},
		{"503, and no one listens", []fault{answer(Unavailable, true), nil}, true, 0, 5, 5, []string{"HOST0 answers: the detail; cannot connect to HOST1"}},
		{"dropped, and 503", []fault{dropAfter, answer(Unavailable, true)}, false, 503, 5, 5, []string{"to HOST0 ended before an answer", "HOST1 answers: the detail"}},
		{"dropped, and forbidden", []fault{dropAfter, forbidden}, false, 403, 1, 1, []string{"to HOST0 ended before an answer", "HOST1 answers: the detail"}},
		{"no one listens, and forbidden", []fault{nil, forbidden}, true, 403, 1, 1, []string{"cannot connect to HOST0", "HOST1 answers: the detail"}},
		{"no one listens, and another site", []fault{nil, page(404, "text/html")}, false, 0, 5, 5, []string{"cannot connect to HOST0", "HOST1 answers with status 404"}},
		{"other sites", []fault{page(404, "text/html"), page(403, "text/html")}, false, 404, 1, 1, []string{"HOST0 answers with status 404", "HOST1 answers with status 403"}},
		{"three", []fault{nil, dropFirst, answer(Unavailable, true)}, false, 503, 5, 5, []string{"HOST0", "HOST1", "HOST2"}},
		{"eight that say much", slices.Repeat([]fault{redirect("https://" + strings.Repeat("x", 3000))}, 8), false, 307, 1, 1, []string{"HOST0", "HOST3", "HOST7"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var urls []string
			var last *fakeService
			token := NewToken()
			for _, fault := range tt.faults {
				if fault == nil {
					urls = append(urls, closedPort(t))
					continue
				}
				last = newFakeService(fault)
				last.token = token
				srv := httptest.NewServer(last)
				t.Cleanup(srv.Close)
				urls = append(urls, srv.URL)
			}
			c, waits := newTestClient(t, strings.Join(urls, " "), token, nil)
			_, err := c.Change(t.Context(), "example.org.", Change{Append: sent})
			var e *Error
			if !errors.As(err, &e) {
				t.Fatalf("error %v", err)
			}
			if e.Unchanged != tt.unchanged || e.Status != tt.status {
				t.Errorf("Unchanged is %v, want %v; the status %d, want %d", e.Unchanged, tt.unchanged, e.Status, tt.status)
			}
			for i, u := range urls {
				for _, want := range tt.want {
					if want = strings.ReplaceAll(want, "HOST"+string(rune('0'+i)), strings.TrimPrefix(u, "http://")); !strings.Contains(want, "HOST") && !strings.Contains(err.Error(), want) {
						t.Errorf("error %q does not say %q", err, want)
					}
				}
			}
			if len(err.Error()) > mostOfDetail+10 {
				t.Errorf("an error of %d bytes", len(err.Error()))
			}
			if len(*waits) != tt.rounds-1 {
				t.Errorf("%d pauses, want %d", len(*waits), tt.rounds-1)
			}
			if last != nil && len(last.sawRequests()) != tt.requests {
				t.Errorf("%d requests, want %d", len(last.sawRequests()), tt.requests)
			}
		})
	}
}

// TestPauseOfSeveral: a round is made again when the first endpoint is to be asked again.
func TestPauseOfSeveral(t *testing.T) {
	one, two := newFakeService(retryAfterHeader("60", answer(Unavailable, true))), newFakeService(retryAfterHeader("2", answer(Unavailable, true)), nil)
	two.token = one.token
	first, second := httptest.NewServer(one), httptest.NewServer(two)
	defer first.Close()
	defer second.Close()
	c, waits := newTestClient(t, first.URL+" "+second.URL, one.token, nil)
	if _, err := c.ListZones(t.Context()); err != nil || len(*waits) != 1 || (*waits)[0] != 2*time.Second {
		t.Errorf("error %v, pauses %v, want one of 2s", err, *waits)
	}
}

// TestEndInRound: when the context ends, no further endpoint is tried, and the error is the
// context's.
func TestEndInRound(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	hang := newFakeService(func(_ http.ResponseWriter, r *http.Request, _ http.Handler) {
		io.Copy(io.Discard, r.Body)
		cancel()
		<-r.Context().Done()
	})
	third := newFakeService()
	two, three := httptest.NewServer(hang), httptest.NewServer(third)
	defer two.Close()
	defer three.Close()
	one := closedPort(t)
	c, _ := newTestClient(t, one+" "+two.URL+" "+three.URL, hang.token, nil)
	_, err := c.Change(ctx, "example.org.", Change{Append: sent})
	var e *Error
	if !errors.Is(err, context.Canceled) || !errors.As(err, &e) || e.Unchanged || !strings.Contains(err.Error(), "cannot connect to "+strings.TrimPrefix(one, "http://")) {
		t.Errorf("error %#v", err)
	}
	if n := len(third.sawRequests()); n != 0 {
		t.Errorf("the third endpoint got %d requests", n)
	}
}

// brokenOff is a fault that breaks off an answer after all of its JSON.
func brokenOff(v any) fault {
	return func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
		writeJSON(w, 200, v)
		http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}
}

// TestBrokenOffAnswer: nothing of an answer that broke off is in the result of a call, which
// is what the next endpoint, or the same one, answers to the repeat.
func TestBrokenOffAnswer(t *testing.T) {
	for _, tt := range []struct {
		name   string
		broken any
		call   func(c *Client) (got any, err error)
		want   any
	}{
		{
			"a change", Records{Records: sent, Wait: Wait{Pending: []string{laggard}}, Silenced: []Silenced{{Name: "a.example.org.", Wildcard: "*.example.org."}}},
			func(c *Client) (any, error) {
				return c.Change(t.Context(), "example.org.", Change{Append: sent})
			},
			Records{Records: sent, CNAMEs: []CNAME{{Name: "_acme-challenge.example.com.", Target: "example.com.acme.example.org."}}},
		},
		{
			"the token", Token{Client: "web2", ClientIP: []string{"192.0.2.0/24"}, Expires: "2027-01-01T00:00:00Z"},
			func(c *Client) (any, error) { return c.GetToken(t.Context()) },
			Token{Client: "web1", Rights: []string{"certificates example.org"}},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			broken, next := newFakeService(brokenOff(tt.broken)), newFakeService()
			next.token = broken.token
			one, two := httptest.NewServer(broken), httptest.NewServer(next)
			defer one.Close()
			defer two.Close()
			several, _ := newTestClient(t, one.URL+" "+two.URL, broken.token, nil)
			single, _ := startHTTP(t, newFakeService(brokenOff(tt.broken), nil))
			for name, c := range map[string]*Client{"two endpoints": several, "one endpoint": single} {
				c.NoWait = true // for a server that is pending would have it ask again for two minutes
				got, err := tt.call(c)
				if err != nil {
					t.Fatalf("%s: %v", name, err)
				}
				if diff := cmp.Diff(tt.want, got); diff != "" {
					t.Errorf("%s: (-want +got):\n%s", name, diff)
				}
			}
			if n := len(broken.sawRequests()); n != 1 {
				t.Errorf("the first endpoint got %d requests", n)
			}
		})
	}
}

// hosts answers for several endpoints without a network, so that the time of a synctest
// bubble passes.
type hosts struct {
	mu   sync.Mutex
	down map[string]time.Duration // how long a host that is down takes to say so
	seen []string                 // the hosts that were asked
}

func (h *hosts) RoundTrip(r *http.Request) (*http.Response, error) {
	h.mu.Lock()
	h.seen = append(h.seen, r.URL.Host)
	after, down := h.down[r.URL.Host]
	h.mu.Unlock()
	if down {
		time.Sleep(after)
		return nil, errors.New("connection refused")
	}
	answer := httptest.NewRecorder()
	writeJSON(answer, 200, Zones{})
	return answer.Result(), nil
}

// asked returns the hosts that were asked since the last call.
func (h *hosts) asked() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	defer func() { h.seen = nil }()
	return strings.Join(h.seen, " ")
}

// TestStays follows a client from one endpoint to the next and back.
func TestStays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, err := NewClient("https://a https://b https://c", Identity{Token: NewToken()}, nil)
		if err != nil {
			t.Fatal(err)
		}
		h := &hosts{down: make(map[string]time.Duration)}
		c.http.Transport = h
		expect := func(what, want string) {
			t.Helper()
			if _, err := c.ListZones(t.Context()); err != nil {
				t.Fatalf("%s: %v", what, err)
			}
			if got := h.asked(); got != want {
				t.Errorf("%s: asked %s, want %s", what, got, want)
			}
		}
		expect("all are up", "a")
		h.down["a"] = 0
		expect("the first is down", "a b")
		time.Sleep(stay - time.Second)
		expect("it stays with the second", "b")
		h.down["b"] = 0
		expect("the second is down too", "b a c")
		expect("it stays with the third", "c")
		time.Sleep(stay)
		delete(h.down, "b")
		expect("a minute later", "a b")
		expect("it is with the second again", "b")
		delete(h.down, "a")
		expect("it does not look for the first at each call", "b")
		time.Sleep(stay)
		expect("a minute later, the first is up", "a")
		expect("it stays with the first", "a")

		// One call alone finds out that the first is still down.
		h.down["a"] = 5 * time.Second
		if _, err := c.ListZones(t.Context()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(stay)
		h.asked()
		began := time.Now()
		var late atomic.Int32
		var wg sync.WaitGroup
		for range 50 {
			wg.Go(func() {
				if _, err := c.ListZones(t.Context()); err != nil {
					t.Error(err)
				}
				if time.Since(began) >= 5*time.Second {
					late.Add(1)
				}
			})
		}
		wg.Wait()
		if n := strings.Count(h.asked(), "a"); n != 1 || late.Load() != 1 {
			t.Errorf("%d of 50 calls asked the first endpoint, and %d were late: want one", n, late.Load())
		}
	})
}

// TestConnectionsOfSeveral counts the connections of 100 concurrent calls that go on from
// an endpoint at which no one listens.
func TestConnectionsOfSeveral(t *testing.T) {
	f := newFakeService()
	srv := httptest.NewUnstartedServer(f)
	srv.EnableHTTP2 = true
	var used sync.Map
	var connections atomic.Int32
	srv.Config.ConnState = func(conn net.Conn, s http.ConnState) {
		if s != http.StateActive {
			return
		}
		if _, known := used.LoadOrStore(conn, true); !known {
			connections.Add(1)
		}
	}
	srv.StartTLS()
	defer srv.Close()
	roots := x509.NewCertPool()
	roots.AddCert(srv.Certificate())
	c, waits := newTestClient(t, closedPort(t)+" "+srv.URL, f.token, roots)
	var wg sync.WaitGroup
	for i := range 100 {
		wg.Go(func() {
			if err := calls[i%len(calls)].do(t.Context(), c); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n := connections.Load(); n != 1 || len(*waits) != 0 {
		t.Errorf("%d connections and pauses %v, want one and none", n, *waits)
	}
	// That there is a connection to one says nothing of the other.
	if list := c.endpoints.list; list[0].first.exists() || !list[1].first.exists() {
		t.Error("the endpoint with a connection is not the second")
	}
}

// TestEndpointsWithoutTrust: a certificate that is not trusted, or no TLS at all, takes one
// endpoint out and not the others.
func TestEndpointsWithoutTrust(t *testing.T) {
	f := newFakeService()
	trusted, plain := httptest.NewTLSServer(f), httptest.NewServer(f)
	defer trusted.Close()
	defer plain.Close()
	roots := x509.NewCertPool()
	roots.AddCert(trusted.Certificate())
	noTLS := strings.Replace(plain.URL, "http:", "https:", 1)
	byName := strings.Replace(trusted.URL, "127.0.0.1", "localhost", 1) // which is not in the certificate

	c, waits := newTestClient(t, noTLS+" "+byName+" "+trusted.URL, f.token, roots)
	if _, err := c.Change(t.Context(), "example.org.", Change{Append: sent}); err != nil || len(*waits) != 0 {
		t.Errorf("error %v, pauses %v", err, *waits)
	}
	if diff := cmp.Diff([]string{"PATCH /v1/zones/example.org./records"}, f.sawRequests()); diff != "" {
		t.Errorf("requests (-want +got):\n%s", diff)
	}
	c, waits = newTestClient(t, noTLS+" "+byName, f.token, roots)
	_, err := c.Change(t.Context(), "example.org.", Change{Append: sent})
	var e *Error
	if !errors.As(err, &e) || !e.Unchanged || len(*waits) != 0 ||
		!strings.Contains(err.Error(), "does not speak TLS") || !strings.Contains(err.Error(), "trusted_roots") {
		t.Errorf("error %v, pauses %v", err, *waits)
	}
}

// FuzzParseEndpoints: an error about a token that is given instead of an endpoint or beside
// one, in one part or in two, does not hold the token.
func FuzzParseEndpoints(f *testing.F) {
	token := NewToken()
	for _, around := range []string{"", "https://", "https://a.example ", "https://a.example/", " https://b.example", "x=", "@", "{env.A} "} {
		f.Add(around, "", 57)
		f.Add(around, around, 20)
		f.Add("", around, 8)
	}
	f.Fuzz(func(t *testing.T, before, after string, cut int) {
		given := token
		if cut >= 0 && cut < len(token) {
			given = token[:cut] + " " + token[cut:]
		}
		_, err := ParseEndpoints(before + given + after)
		if err == nil {
			t.Skip() // its parts are hosts and paths
		}
		for i := len(tokenPrefix); i+20 <= len(token); i++ {
			if strings.Contains(err.Error(), token[i:i+20]) {
				t.Fatalf("error %q holds a part of the token %q", err, token)
			}
		}
	})
}
