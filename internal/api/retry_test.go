package api

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptrace"
	"strings"
	"testing"
	"time"
)

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
		{"invalid JSON", page(200, "application/json"), true, false, "cannot be read"},
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
	for name, tt := range map[string]struct {
		fault fault
		watch func(c *Client, waits func()) // for the client to wait there
	}{
		"without answer": {hang, func(c *Client, waits func()) {
			c.http.Transport = watchedTransport{Transport: c.http.Transport.(*http.Transport), sent: waits}
		}},
		"within the answer": {hangWithin, func(c *Client, waits func()) {
			c.http.Transport = watchedTransport{Transport: c.http.Transport.(*http.Transport), readAgain: waits}
		}},
		"between tries": {retryAfterHeader("3", answer(Unavailable, false)), func(c *Client, waits func()) {
			c.retry.sleep = func(ctx context.Context, d time.Duration) error {
				waits()
				return sleep(ctx, d)
			}
		}},
	} {
		for _, call := range calls {
			t.Run(name+"/"+call.name, func(t *testing.T) {
				f := newFakeService(tt.fault)
				c, _ := startHTTP(t, f)
				c.retry.sleep = sleep
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				cancelled := make(chan time.Time, 1)
				tt.watch(c, func() {
					go func() { // while the client goes on to wait
						cancelled <- time.Now()
						cancel()
					}()
				})
				err := call.do(ctx, c)
				select {
				case at := <-cancelled:
					if took := time.Since(at); took > 100*time.Millisecond {
						t.Errorf("returned %v after the cancellation", took)
					}
				default:
					t.Fatalf("returned before it was cancelled: %v", err)
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

// watchedTransport calls sent, if there, when a request has been written, and readAgain
// when the body of its answer is read a second time.
type watchedTransport struct {
	*http.Transport
	sent, readAgain func()
}

func (w watchedTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	if w.sent != nil {
		r = r.WithContext(httptrace.WithClientTrace(r.Context(), &httptrace.ClientTrace{
			WroteRequest: func(httptrace.WroteRequestInfo) { w.sent() },
		}))
	}
	resp, err := w.Transport.RoundTrip(r)
	if err == nil && w.readAgain != nil {
		resp.Body = &watchedBody{ReadCloser: resp.Body, readAgain: w.readAgain}
	}
	return resp, err
}

type watchedBody struct {
	io.ReadCloser
	reads     int
	readAgain func()
}

func (b *watchedBody) Read(p []byte) (int, error) {
	if b.reads++; b.reads == 2 {
		b.readAgain()
	}
	return b.ReadCloser.Read(p)
}
