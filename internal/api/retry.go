package api

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/caddy-dns/bestdns/internal/text"
)

// Error is a call that failed: the problem that the service answered, or what
// came in the way of an answer.
type Error struct {
	// Problem is as answered, but that Unchanged holds for all tries of the
	// call: it is true only when none of them can have changed the zone. Without
	// an answer of the service, Type is empty.
	Problem
	// Err is the cause. It is nil where the service answered.
	Err error
}

func (e *Error) Unwrap() error { return e.Err }

// retryPolicy says how often and how long a call is tried.
type retryPolicy struct {
	tries  int           // at most, the first included
	within time.Duration // no try begins later than this after the first
	first  time.Duration // wait before the second try, doubled for each further one
	sleep  func(context.Context, time.Duration) error
}

// A caller waits for the outcome, and libdns asks that a retry take no more than
// a few seconds. It is enough for a service that is restarted.
var defaultRetry = retryPolicy{tries: 5, within: 5 * time.Second, first: 150 * time.Millisecond, sleep: sleep}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// What of a text of the answering server goes into an error at most, in bytes.
const (
	mostOfDetail = 2000
	mostOfTitle  = 200
)

// shown returns the error of a failure, its texts made safe to show: a server says them, or
// a proxy, or a certificate, and callers log them.
func (f *failure) shown() *Error {
	f.Type, f.Title, f.RequestID = text.Brief(f.Type, mostOfTitle), text.Brief(f.Title, mostOfTitle), text.Brief(f.RequestID, mostOfTitle)
	f.Detail = text.Brief(f.Detail, mostOfDetail)
	return &f.Error
}

// do makes the call, with retries.
func (c *Client) do(ctx context.Context, call *call) error {
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, call.timeout)
		defer cancel()
	}
	waits := backoff.ExponentialBackOff{
		InitialInterval: c.retry.first, Multiplier: 2, MaxInterval: c.retry.within, RandomizationFactor: 0.3,
	}
	start := time.Now()
	unchanged := true
	for try := 1; ; try++ {
		f := c.round(ctx, call)
		if f == nil {
			return nil
		}
		// One try whose outcome is unknown leaves that of the call unknown.
		unchanged = unchanged && f.Unchanged || !call.changes()
		f.Unchanged = unchanged

		wait := max(waits.NextBackOff(), f.retryAfter)
		now := time.Now()
		if !f.temporary || !call.persists && (try == c.retry.tries || now.Add(wait).Sub(start) > c.retry.within) {
			return f.shown()
		}
		if deadline, _ := ctx.Deadline(); now.Add(wait).After(deadline) {
			return f.shown()
		}
		if err := c.retry.sleep(ctx, wait); err != nil {
			f.Detail = fmt.Sprintf("%v, while waiting to try again after: %v", err, f.Error.Error())
			f.Err = err
			return f.shown()
		}
	}
}

// failure is a try that failed.
type failure struct {
	Error
	temporary  bool          // another try may succeed
	elsewhere  bool          // another endpoint may do it
	retryAfter time.Duration // the service asked for so long a wait
}

// try makes the call once, at one endpoint. It returns nil for success.
func (c *Client) try(ctx context.Context, e *endpoint, call *call) *failure {
	// Only without a connection it is certain that nothing was sent. The flag is
	// atomic because the transport may go on after the request is cancelled.
	var connected atomic.Bool
	next := e.first.wait(ctx)
	defer next()
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GotConn: func(httptrace.GotConnInfo) {
			connected.Store(true)
			e.first.connected()
			next()
		},
	})
	req, err := c.newRequest(ctx, e, call)
	if err != nil {
		return &failure{Error: Error{Problem: Problem{Title: "The request cannot be made", Unchanged: true}, Err: err}}
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return e.noAnswer(ctx, err, !connected.Load())
	}
	defer resp.Body.Close()

	mediaType, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	switch {
	case resp.StatusCode == http.StatusOK && mediaType == "application/json":
		if err := call.decode(http.MaxBytesReader(nil, resp.Body, call.limit)); err != nil {
			return e.badAnswer(ctx, resp, err)
		}
		return nil
	case resp.StatusCode >= 300 && resp.StatusCode <= 399:
		return e.redirected(resp)
	case mediaType == ProblemContentType:
		if f := problem(resp); f != nil {
			return f
		}
	}
	return e.foreignAnswer(resp, mediaType)
}

// noAnswer is a request to which there was none.
func (e *endpoint) noAnswer(ctx context.Context, err error, unsent bool) *failure {
	// The URL that net/http puts before the cause says nothing that the message
	// does not.
	var u *url.Error
	if errors.As(err, &u) {
		err = u.Err
	}
	f := &failure{temporary: ctx.Err() == nil, elsewhere: ctx.Err() == nil}
	f.Err, f.Unchanged = err, unsent
	var cert *tls.CertificateVerificationError
	var header tls.RecordHeaderError
	switch {
	case ctx.Err() != nil:
		f.Title = "The call was cut short"
		f.Err = ctx.Err()
		f.Detail = fmt.Sprintf("no answer from %s before the call's end: %v", e.host, f.Err)
	case errors.As(err, &cert):
		f.temporary = false
		f.Title = "The service's certificate is not trusted"
		f.Detail = fmt.Sprintf("%v: if %s has its certificate from a CA of your own, name that in trusted_roots", err, e.host)
	case errors.As(err, &header), errors.Is(err, http.ErrSchemeMismatch): // the latter where it speaks HTTP
		f.temporary = false
		f.Title = "The service does not speak TLS"
		f.Detail = fmt.Sprintf("%s does not speak TLS there: %v", e.host, err)
	case unsent:
		f.Title = "The service cannot be reached"
		f.Detail = fmt.Sprintf("cannot connect to %s: %v: is the endpoint right, and is the service running?", e.host, err)
	default:
		f.Title = "The service did not answer"
		f.Detail = fmt.Sprintf("the connection to %s ended before an answer: %v", e.host, err)
	}
	return f
}

// badAnswer is one that looks right but cannot be read to its end.
func (e *endpoint) badAnswer(ctx context.Context, resp *http.Response, err error) *failure {
	if ctx.Err() != nil {
		return e.noAnswer(ctx, err, false)
	}
	_, tooLong := errors.AsType[*http.MaxBytesError](err)
	if tooLong {
		err = errTooLong
	}
	return &failure{temporary: !tooLong, elsewhere: !tooLong, Error: Error{
		Problem: Problem{
			Title:  "The answer cannot be read",
			Status: resp.StatusCode,
			Detail: fmt.Sprintf("the answer of %s cannot be read to its end: %v", e.host, err),
		},
		Err: err,
	}}
}

// redirected is an answer that points elsewhere. The token is not sent there.
func (e *endpoint) redirected(resp *http.Response) *failure {
	to := "nowhere"
	if u, err := resp.Location(); err == nil {
		to = u.Host
	}
	return &failure{elsewhere: true, Error: Error{Problem: Problem{
		Title:  "The service redirects",
		Status: resp.StatusCode,
		Detail: fmt.Sprintf("%s redirects to %s, and a token goes to no other place than its endpoint: correct the endpoint", e.host, to),
	}}}
}

// foreignAnswer is one that the service does not give: of a proxy, mostly, or of
// another server.
func (e *endpoint) foreignAnswer(resp *http.Response, mediaType string) *failure {
	// The start of the body is read so that the connection may be used again;
	// what it says is for browsers.
	_, _ = io.CopyN(io.Discard, resp.Body, maxProblem)
	if mediaType == "" {
		mediaType = "nothing readable"
	}
	f := &failure{
		temporary:  resp.StatusCode < 300 || isTemporary(resp.StatusCode),
		elsewhere:  true,
		retryAfter: retryAfter(resp.Header),
	}
	f.Title = "Something else than the service answered"
	f.Status = resp.StatusCode
	f.Detail = fmt.Sprintf("%s answers with status %d and %s, as BestDNS does not: is the endpoint right, and what is in front of it?", e.host, resp.StatusCode, mediaType)
	if strings.HasSuffix(e.base, "/v1") {
		f.Detail += " It ends in /v1, which the client adds by itself."
	}
	return f
}

// problem reads the problem that the service answered, or returns nil for one
// of another server.
func problem(resp *http.Response) *failure {
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxProblem))
	if err != nil {
		return nil
	}
	temporary := isTemporary(resp.StatusCode)
	f := &failure{temporary: temporary, elsewhere: temporary && resp.StatusCode >= 500, retryAfter: retryAfter(resp.Header)}
	if err := json.Unmarshal(body, &f.Problem); err != nil || f.Kind() == "" {
		return nil
	}
	f.Status = resp.StatusCode
	if f.Kind() == PrimaryRefuses {
		f.temporary = false
	}
	if f.Status < 500 && f.Status != http.StatusConflict { // which may be found only when it was made
		f.Unchanged = true // it refuses before it begins
	}
	return f
}

func isTemporary(status int) bool {
	switch status {
	case http.StatusRequestTimeout, http.StatusTooEarly, http.StatusTooManyRequests,
		http.StatusInternalServerError, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return true
	}
	return false
}

// retryAfter reads the header of that name (RFC 9110 §10.2.3); 0 means none.
func retryAfter(h http.Header) time.Duration {
	value := strings.TrimSpace(h.Get("Retry-After"))
	if seconds, err := strconv.ParseUint(value, 10, 31); err == nil {
		return time.Duration(seconds) * time.Second
	}
	if date, err := http.ParseTime(value); err == nil {
		return max(0, time.Until(date))
	}
	return 0
}

var errTooLong = errors.New("it is too long")
