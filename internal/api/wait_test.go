package api

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

const (
	laggard = "ns2.example.net 192.0.2.2"
	mute    = "ns3.example.net 192.0.2.3"
)

// laggingService waits as the service does for one name server that has the change after
// lag, and reports another one that is silent. It answers without a network, so that the
// time of a synctest bubble passes.
type laggingService struct {
	lag time.Duration
	// stopping says that it ends all waits at once.
	stopping bool
	// way is how long each answer is on its way.
	way time.Duration
	// faults are for the first requests to wait.
	faults []fault

	begun time.Time
	seen  []string // method, path and preference of each request
	body  string   // of the change
	odd   []string // bodies of requests to wait for anything else
}

func (s *laggingService) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if s.begun.IsZero() {
		s.begun = time.Now()
	}
	s.seen = append(s.seen, strings.TrimSpace(r.Method+" "+r.URL.Path+" "+r.Header.Get("Prefer")))
	body, _ := io.ReadAll(r.Body)
	if r.Method == http.MethodPost {
		if string(body) != s.body {
			s.odd = append(s.odd, string(body))
		}
		if len(s.faults) > 0 {
			fault := s.faults[0]
			s.faults = s.faults[1:]
			fault(w, r, nil)
			return
		}
	}
	var answer Records
	if r.Method == http.MethodPatch {
		s.body = string(body)
		answer.Records = sent
	}
	if preference, ok := strings.CutPrefix(r.Header.Get("Prefer"), "wait="); ok && !s.stopping {
		seconds, _ := strconv.Atoi(preference)
		select {
		case <-time.After(min(time.Duration(seconds)*time.Second, time.Until(s.begun.Add(s.lag)))):
		case <-r.Context().Done():
			return
		}
	}
	answer.Silent = []string{mute}
	if time.Since(s.begun) < s.lag {
		answer.Pending = []string{laggard}
	}
	if r.Method == http.MethodPatch {
		writeJSON(w, 200, answer)
	} else {
		writeJSON(w, 200, answer.Wait)
	}
}

// RoundTrip has the service answer a request.
func (s *laggingService) RoundTrip(r *http.Request) (resp *http.Response, err error) {
	defer func() {
		if recover() != nil { // as [http.ErrAbortHandler] ends a connection
			err = io.ErrUnexpectedEOF
		}
	}()
	answer := httptest.NewRecorder()
	s.ServeHTTP(answer, r)
	time.Sleep(s.way)
	if r.Context().Err() != nil {
		return nil, r.Context().Err()
	}
	return answer.Result(), nil
}

func TestAwait(t *testing.T) {
	const patch, post = "PATCH /v1/zones/example.org./records", "POST /v1/zones/example.org./wait"
	for _, tt := range []struct {
		name     string
		service  laggingService
		change   Change
		deadline time.Duration // of the caller's context; 0: none
		cancel   time.Duration // when the caller ends it; 0: never
		noWait   bool
		pending  bool          // in the result
		took     time.Duration // with 5 % more for pauses
		requests []string
		// most is how many requests there are at most, where it depends on pauses.
		most int
	}{
		{name: "all have it", took: 0, requests: []string{patch + " wait=8"}},
		{name: "all have it within the first wait", service: laggingService{lag: 5 * time.Second},
			took: 5 * time.Second, requests: []string{patch + " wait=8"}},
		{name: "one has it after 20 s", service: laggingService{lag: 20 * time.Second},
			took: 20 * time.Second, requests: []string{patch + " wait=8", post + " wait=8", post + " wait=8"}},
		{name: "set", service: laggingService{lag: 9 * time.Second}, change: Change{Set: sent},
			took: 9 * time.Second, requests: []string{patch + " wait=8", post + " wait=8"}},
		{name: "delete", service: laggingService{lag: time.Hour}, change: Change{Delete: sent},
			pending: true, took: 0, requests: []string{patch}},
		{name: "no wait", service: laggingService{lag: time.Hour}, noWait: true,
			pending: true, took: 0, requests: []string{patch + " wait=0"}},
		{name: "one never has it", service: laggingService{lag: time.Hour},
			pending: true, took: 2 * time.Minute, most: 25},
		{name: "the service is being stopped", service: laggingService{lag: time.Hour, stopping: true},
			pending: true, took: 2 * time.Minute, most: 125},
		{name: "the context has a deadline", service: laggingService{lag: time.Hour}, deadline: 12500 * time.Millisecond,
			pending: true, took: 12500 * time.Millisecond, most: 40},
		{name: "the context's deadline is near", service: laggingService{lag: time.Hour}, deadline: 4500 * time.Millisecond,
			pending: true, took: 4500 * time.Millisecond, most: 40},
		{name: "the answer arrives before the context's deadline", service: laggingService{lag: time.Hour, way: 700 * time.Millisecond}, deadline: 4500 * time.Millisecond,
			pending: true, took: 4500 * time.Millisecond, most: 40},
		{name: "the context's deadline leaves no time to wait", service: laggingService{lag: 200 * time.Millisecond}, deadline: 900 * time.Millisecond,
			took: 350 * time.Millisecond, requests: []string{patch + " wait=0", post + " wait=0", post + " wait=0", post + " wait=0"}},
		{name: "the caller ends its context", service: laggingService{lag: time.Hour}, cancel: 10 * time.Second,
			pending: true, took: 10 * time.Second, requests: []string{patch + " wait=8", post + " wait=8"}},
		{name: "an older service", service: laggingService{lag: time.Hour, faults: []fault{answer(ZoneNotFound, true)}},
			pending: true, took: 8 * time.Second, requests: []string{patch + " wait=8", post + " wait=8"}},
		{name: "another site answers the wait", service: laggingService{lag: time.Hour, faults: []fault{page(405, "text/html")}},
			pending: true, took: 8 * time.Second, requests: []string{patch + " wait=8", post + " wait=8"}},
		{name: "the service is restarted", service: laggingService{lag: 20 * time.Second,
			faults: []fault{dropFirst, dropFirst, answer(Unavailable, true), page(502, "text/html"), answer(Internal, false), dropFirst}},
			took: 20 * time.Second, requests: append([]string{patch + " wait=8"}, slices.Repeat([]string{post + " wait=8"}, 7)...)},
		{name: "the service asks for a pause", service: laggingService{lag: 20 * time.Second, faults: []fault{retryAfterHeader("30", answer(Unavailable, true))}},
			took: 38 * time.Second, requests: []string{patch + " wait=8", post + " wait=8", post + " wait=8"}},
		{name: "the service does not come back", service: laggingService{lag: time.Hour, faults: slices.Repeat([]fault{dropFirst}, 1000)},
			pending: true, took: 2 * time.Minute, most: 60},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c, err := NewClient("https://dns.example.net", Identity{Token: NewToken()}, nil)
				if err != nil {
					t.Fatal(err)
				}
				c.http.Transport = &tt.service
				c.NoWait = tt.noWait
				change := tt.change
				if cmp.Equal(change, Change{}) {
					change = Change{Append: sent}
				}
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				if tt.cancel > 0 {
					time.AfterFunc(tt.cancel, cancel)
				}
				if tt.deadline > 0 {
					ctx, cancel = context.WithTimeout(ctx, tt.deadline)
					defer cancel()
				}
				start := time.Now()
				got, err := c.Change(ctx, "example.org.", change)
				if err != nil {
					t.Fatal(err)
				}
				if took := time.Since(start); took < tt.took*95/100 || took > tt.took*105/100 {
					t.Errorf("took %v, want %v", took, tt.took)
				}
				want := Records{Records: sent, Wait: Wait{Silent: []string{mute}}}
				if tt.pending {
					want.Pending = []string{laggard}
				}
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("result (-want +got):\n%s", diff)
				}
				if tt.most > 0 && len(tt.service.seen) > tt.most {
					t.Errorf("%d requests, want at most %d", len(tt.service.seen), tt.most)
				} else if diff := cmp.Diff(tt.requests, tt.service.seen); tt.most == 0 && diff != "" {
					t.Errorf("requests (-want +got):\n%s", diff)
				}
				if len(tt.service.odd) > 0 {
					t.Errorf("waits for %q, want %s", tt.service.odd, tt.service.body)
				}
			})
		})
	}
}

// TestLagJSON: what is empty is absent, as it is for older clients.
func TestLagJSON(t *testing.T) {
	for _, tt := range []struct {
		v    any
		want string
	}{
		{Records{Records: []Record{}}, `{"records":[]}`},
		{Records{Records: []Record{}, Wait: Wait{Pending: []string{laggard}, Silent: []string{mute}}},
			`{"records":[],"pending":["ns2.example.net 192.0.2.2"],"silent":["ns3.example.net 192.0.2.3"]}`},
		{Wait{}, `{}`},
		{Wait{Pending: []string{laggard}, Silent: []string{mute}}, `{"pending":["ns2.example.net 192.0.2.2"],"silent":["ns3.example.net 192.0.2.3"]}`},
	} {
		got, err := json.Marshal(tt.v)
		if err != nil || string(got) != tt.want {
			t.Errorf("%s, %v, want %s", got, err, tt.want)
		}
	}
}
