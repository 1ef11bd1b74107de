package service

import (
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-dns/bestdns/internal/api"
	"github.com/caddy-dns/bestdns/internal/hosting"
)

// TestSlowBody: a body that trickles in holds no one up, with a right token or
// with none.
func TestSlowBody(t *testing.T) {
	s := newService(t)
	s.api = "https://localhost:" + s.api[strings.LastIndexByte(s.api, ':')+1:]
	s.load(t, s.standard())
	tests := []struct {
		name, token string
		http2       bool
		status      int
		detail      string
	}{
		{"without a token", "", false, http.StatusUnauthorized, "no token"},
		{"with a token", s.token["ops"], false, http.StatusBadRequest, "did not come"},
		{"by HTTP2, without a token", "", true, http.StatusUnauthorized, "no token"},
		{"by HTTP2, with a token", s.token["ops"], true, http.StatusBadRequest, "did not come"},
	}
	var group sync.WaitGroup // they wait most of the time: more at once than Parallel allows
	for _, test := range tests {
		group.Go(func() {
			p, err := s.trickle(test.token, test.http2)
			if err != nil {
				t.Errorf("%s: no answer: %v", test.name, err)
			} else if p.Status != test.status || !strings.Contains(p.Detail, test.detail) {
				t.Errorf("%s: %+v", test.name, p)
			}
		})
	}
	group.Wait()
}

// trickle sends the first byte of a body and no more, and returns the answer.
func (s *service) trickle(token string, byHTTP2 bool) (p api.Problem, err error) {
	transport := &http.Transport{
		TLSClientConfig:   &tls.Config{InsecureSkipVerify: true},
		ForceAttemptHTTP2: byHTTP2,
	}
	defer transport.CloseIdleConnections()
	body, first := io.Pipe()
	defer first.Close()
	go first.Write([]byte("{"))
	request, err := http.NewRequest(http.MethodPatch, s.api+"/v1/zones/example.test/records", body)
	if err != nil {
		return p, err
	}
	request.ContentLength = 1000
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	response, err := (&http.Client{Transport: transport, Timeout: bodyTimeout + 5*time.Second}).Do(request)
	if err != nil {
		return p, err
	}
	defer response.Body.Close()
	if (response.ProtoMajor == 2) != byHTTP2 {
		return p, fmt.Errorf("the answer came by %s", response.Proto)
	}
	return p, json.NewDecoder(response.Body).Decode(&p)
}

// lateWriter is a ResponseWriter whose read deadline ends the reading of the body at
// once, and is busy for a while after that, as the one of HTTP/2 can be.
type lateWriter struct {
	*httptest.ResponseRecorder
	ended    chan struct{} // closed when the body ends
	returned atomic.Bool   // the handler has
	touched  atomic.Bool   // after that
}

func (w *lateWriter) SetReadDeadline(time.Time) error {
	close(w.ended)
	time.Sleep(time.Second)
	w.touched.Store(w.returned.Load())
	return nil
}

// endlessBody is a body that never comes.
type endlessBody struct{ ended chan struct{} }

func (b endlessBody) Read([]byte) (int, error) {
	<-b.ended
	return 0, os.ErrDeadlineExceeded
}

func (endlessBody) Close() error { return nil }

// TestNoDeadlineAfterHandler: a handler that gives up its body does not return while
// the timer that made it do so still has the ResponseWriter. net/http takes that away
// from a handler of HTTP/2 that has returned, and the timer would end the process.
func TestNoDeadlineAfterHandler(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ended := make(chan struct{})
		w := &lateWriter{ResponseRecorder: httptest.NewRecorder(), ended: ended}
		r := httptest.NewRequest(http.MethodPatch, "/", endlessBody{ended})
		r.ProtoMajor, r.ContentLength = 2, -1
		if _, err := readBody(w, r); err == nil || hosting.AsError(err, "").Kind() != api.BadRequest {
			t.Errorf("reading ended with %v", err)
		}
		w.returned.Store(true)
		time.Sleep(time.Minute)
		if w.touched.Load() {
			t.Error("the ResponseWriter was touched after the handler had returned")
		}
	})
}

// brokenWriter is a ResponseWriter with a bug.
type brokenWriter struct{ http.ResponseWriter }

func (brokenWriter) SetReadDeadline(time.Time) error { panic("a bug") }

// TestTimerPanic: a panic in what the timer calls ends with it.
func TestTimerPanic(t *testing.T) {
	synctest.Test(t, func(*testing.T) {
		d := newBodyDeadline(brokenWriter{httptest.NewRecorder()})
		time.Sleep(time.Minute)
		d.end()
	})
}
