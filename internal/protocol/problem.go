// Package protocol has the protocols that clients speak: each reads its requests into what
// package hosting does, and writes what comes of it. It knows neither zones nor the
// configuration.
package protocol

import (
	"encoding/json"
	"net/http"
	"strconv"
	"time"

	"github.com/caddy-dns/bestdns/internal/api"
	"github.com/caddy-dns/bestdns/internal/hosting"
)

// Problem is an error as the API tells it (RFC 9457). RequestID is what the log has it under.
func Problem(e *hosting.Error, requestID string) *api.Problem {
	p := e.Problem
	p.RequestID = requestID
	return &p
}

const basicChallenge = `Basic realm="bestdns", charset="UTF-8"`

// WriteProblem answers a request with an error.
func WriteProblem(w http.ResponseWriter, e *hosting.Error, requestID string) {
	if e.RetryAfter > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(max(1, int(e.RetryAfter.Round(time.Second)/time.Second))))
	}
	if e.Status == http.StatusUnauthorized {
		w.Header().Add("WWW-Authenticate", `Bearer realm="bestdns"`)
		w.Header().Add("WWW-Authenticate", basicChallenge)
	}
	w.Header().Set("Content-Type", api.ProblemContentType)
	w.WriteHeader(e.Status)
	_ = json.NewEncoder(w).Encode(Problem(e, requestID))
}
