package service

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"syscall"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-dns/bestdns"
	"github.com/caddy-dns/bestdns/internal/api"
	"github.com/caddy-dns/bestdns/internal/nameserver"
	"github.com/caddy-dns/bestdns/internal/record"
	"github.com/caddy-dns/bestdns/internal/text"
)

// problem is an error on its way to the caller: what the caller is told, and
// what only the log is.
type problem struct {
	api.Problem
	cause      error         // for the log; may be nil
	retryAfter time.Duration // zero: not said
	quiet      bool          // it is counted, and has no line in the log: there can be any number
}

// How many bytes of a text go to the log or into an answer at most: callers, and the
// servers of others, decide how long it is.
const (
	mostOfDetail = 2000
	mostOfCause  = 8000 // may hold a stack
	mostOfName   = 1200 // a name with each byte escaped, and its type, fit
	mostOfID     = 100  // an address or a request's id
)

// newProblem makes a problem of a kind that leaves the zone as it was, its
// detail formatted as by [fmt.Errorf] and made safe to show.
func newProblem(kind, format string, args ...any) *problem {
	err := fmt.Errorf(format, args...)
	p := &problem{Problem: *api.NewProblem(kind, text.Brief(err.Error(), mostOfDetail)), cause: errors.Unwrap(err)}
	p.Unchanged = true
	return p
}

// Error says what the caller is told, and the cause where it adds to that.
func (p *problem) Error() string { return p.Problem.Error() }

// reason is what the caller is told, "" where there is no problem.
func (p *problem) reason() string {
	if p == nil {
		return ""
	}
	return p.Detail
}

// loggedCause is the cause of a problem as a field of a line of the log. Loggers leave C1
// and bidi characters as they are; line ends, which they do not, stay for stacks.
func loggedCause(err error) zap.Field {
	if err == nil {
		return zap.Skip()
	}
	lines := strings.Split(text.Clip(err.Error(), mostOfCause), "\n")
	for i, line := range lines {
		indented := strings.TrimLeft(line, "\t")
		lines[i] = line[:len(line)-len(indented)] + text.Visible(indented)
	}
	return zap.String("cause", text.Clip(strings.Join(lines, "\n"), mostOfCause))
}

// isProviderError reports whether it is a zone's DNS provider that failed.
func isProviderError(p *problem) bool {
	var provider providerError
	return p != nil && errors.As(p.cause, &provider)
}

// Unwrap returns the cause.
func (p *problem) Unwrap() error { return p.cause }

// asProblem turns what a backend says into what the caller is told.
func asProblem(err error, zone record.Name) *problem {
	var known *problem
	var rule *record.RuleError
	var over *record.LimitError
	var unsupported notSupportedError
	var provider providerError
	var notReady notReadyError
	var busy busyError
	switch {
	case errors.As(err, &known):
		return known
	case errors.As(err, &rule):
		kind := api.InvalidRecord
		if rule.Conflict {
			kind = api.Conflict
		}
		return newProblem(kind, "%w (zone %q, rule %q)", rule, zone, rule.Rule)
	case errors.As(err, &over):
		kind := api.OverLimit
		if over.Limit == record.LimitTouched { // which is about the request
			kind = api.TooLarge
		}
		return newProblem(kind, "%w (zone %q, limit %q)", over, zone, over.Limit)
	case errors.Is(err, record.ErrUnresolved):
		p := newProblem(api.Unavailable, "zone %q: while data without a type was read, other types have come to its name time and again: give the types, or try again", zone)
		p.retryAfter = time.Second
		return p
	case errors.Is(err, nameserver.ErrBug):
		p := newProblem(api.Internal, "zone %q: the service failed; its log has the cause: please report it", zone)
		p.cause = err
		return p
	case errors.As(err, &unsupported):
		return newProblem(api.NotSupported, "zone %q: %w", zone, unsupported)
	case errors.As(err, &busy):
		p := newProblem(api.Unavailable, "zone %q: its DNS provider is busy with earlier calls, which are made one after the other; nothing was sent", zone)
		p.cause, p.retryAfter = err, time.Second
		p.quiet = !errors.Is(err, context.DeadlineExceeded) // the caller has gone, or Caddy stops
		return p
	case errors.As(err, &provider):
		return providerProblem(provider, zone)
	case errors.As(err, &notReady):
		p := newProblem(api.Unavailable, "zone %q: the name server is not up yet; its log says why if it stays so", zone)
		p.cause, p.retryAfter = err, time.Second
		return p
	case errors.Is(err, nameserver.ErrOutcomeUnknown):
		p := newProblem(api.Unavailable, "zone %q: the change could not be written to disk for certain; look what is there before you repeat it", zone)
		p.cause, p.Unchanged = err, false
		return p
	case errors.Is(err, nameserver.ErrReadOnly), errors.Is(err, nameserver.ErrClosed),
		errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		p := newProblem(api.Unavailable, "zone %q: the name server takes no changes now", zone)
		p.cause, p.retryAfter = err, time.Second
		return p
	}
	p := newProblem(api.Internal, "zone %q: the service failed; its log has the cause under this request id", zone)
	p.cause, p.Unchanged = err, false
	return p
}

// providerProblem tells a provider that could not be reached (nothing was sent)
// from one that failed. What it said may hold its secrets and stays in the log.
func providerProblem(err providerError, zone record.Name) *problem {
	const where = "the service's log has the cause under this request id"
	var dial *net.OpError
	kind, detail, unchanged := api.ProviderFailed, "zone %q: its DNS provider failed; "+where, false
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		kind, detail = api.ProviderTimeout, "zone %q: its DNS provider did not answer in time; "+where
	case errors.As(err, &dial) && dial.Op == "dial", errors.Is(err, syscall.ECONNREFUSED):
		kind, detail, unchanged = api.Unavailable, "zone %q: its DNS provider cannot be reached; "+where, true
	}
	p := newProblem(kind, detail, zone)
	p.cause, p.Unchanged = err, unchanged
	return p
}

// public returns the error for callers in the same process.
func (p *problem) public() *bestdns.Error {
	return &bestdns.Error{
		Type: p.Type, Title: p.Title, Detail: p.Detail, Status: p.Status,
		RequestID: p.RequestID, Unchanged: p.Unchanged, Err: p.cause,
	}
}
