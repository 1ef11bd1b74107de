package hosting

import (
	"context"
	"errors"
	"fmt"
	"net"
	"runtime/debug"
	"strings"
	"syscall"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-dns/bestdns/internal/access"
	"github.com/caddy-dns/bestdns/internal/api"
	"github.com/caddy-dns/bestdns/internal/nameserver"
	"github.com/caddy-dns/bestdns/internal/record"
	"github.com/caddy-dns/bestdns/internal/rfc2136"
	"github.com/caddy-dns/bestdns/internal/text"
)

// Error is why something was not done: what the caller is told, and what only the log is.
type Error struct {
	// Problem is what the caller is told: safe to show, and without a secret. Its kind is one
	// of package api, for every protocol; its request id is for that to set.
	api.Problem
	// RetryAfter is when to try again; zero: not known.
	RetryAfter time.Duration
	// Quiet is set where the error is counted but has no line in the log, because callers
	// decide how many there are.
	Quiet bool
	// Denied is set where the request was not let in: it is no change, and has a line of its own.
	Denied *Denied
	// Cause is for the log alone: it may hold what a provider said. May be nil.
	Cause error
}

// Errorf returns an error of a kind that leaves the zone unchanged, its detail formatted as
// by [fmt.Errorf] and made safe to show.
func Errorf(kind, format string, args ...any) *Error {
	err := fmt.Errorf(format, args...)
	e := &Error{Problem: *api.NewProblem(kind, text.Brief(err.Error(), text.MaxDetail)), Cause: errors.Unwrap(err)}
	e.Unchanged = true
	return e
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Cause }

// with sets what only the log is told.
func (e *Error) with(cause error) *Error {
	e.Cause = cause
	return e
}

// Denied says that a request was not let in.
type Denied struct {
	Why Denial
	// Client is who it is from, nil if that is not known.
	Client *access.Client
}

// NotLetIn sets that the request was not let in.
func (e *Error) NotLetIn(why Denial, client *access.Client) *Error {
	e.Denied = &Denied{why, client}
	return e
}

// later sets when to try again.
func (e *Error) later(after time.Duration) *Error {
	e.RetryAfter = after
	return e
}

// Recovered returns the error of a panic.
func Recovered(value any) *Error {
	e := Errorf(api.Internal, "the service failed; its log has the cause under this request id: please report it")
	e.Unchanged = false
	return e.with(fmt.Errorf("panic: %v\n%s", value, debug.Stack()))
}

// reportPanic keeps a panic from ending the process, of which it is a part, and logs it. It is to be
// deferred where no one else recovers.
func (s *Service) reportPanic(doing string) {
	if recovered := recover(); recovered != nil {
		s.config.Logger.Error(doing+" failed; please report this", zap.Any("panic", recovered), zap.Stack("stack"))
	}
}

// CauseField is the cause of an error as a field of a line of the log. Loggers leave C1
// and bidi characters as they are; line ends, which they do not, stay for stacks.
func CauseField(err error) zap.Field {
	if err == nil {
		return zap.Skip()
	}
	lines := strings.Split(text.Clip(err.Error(), text.MaxCause), "\n")
	for i, line := range lines {
		indented := strings.TrimLeft(line, "\t")
		lines[i] = line[:len(line)-len(indented)] + text.Visible(indented)
	}
	return zap.String("cause", text.Clip(strings.Join(lines, "\n"), text.MaxCause))
}

// AsError returns what the caller is told of what went wrong in a zone.
func AsError(err error, zone record.Name) *Error {
	var known *Error
	var rule *record.RuleError
	var over *record.LimitError
	var notMet *record.PrerequisiteError
	var unsupported notSupportedError
	var provider providerError
	var primary *rfc2136.Error
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
		return Errorf(kind, "%w (zone %q, rule %q)", rule, zone, rule.Rule)
	case errors.As(err, &notMet):
		return Errorf(api.Conflict, "%w (zone %q)", notMet, zone)
	case errors.As(err, &over):
		kind := api.OverLimit
		if over.Limit == record.LimitTouched { // which is about the change
			kind = api.TooLarge
		}
		return Errorf(kind, "%w (zone %q, limit %q)", over, zone, over.Limit)
	case errors.Is(err, record.ErrUnresolved):
		return Errorf(api.Unavailable, "zone %q: while data without a type was read, other types have come to its name time and again: give the types, or try again", zone).later(time.Second)
	case errors.Is(err, nameserver.ErrBug):
		return Errorf(api.Internal, "zone %q: the service failed; its log has the cause: please report it", zone).with(err)
	case errors.As(err, &unsupported):
		return Errorf(api.NotSupported, "zone %q: %w", zone, unsupported)
	case errors.As(err, &busy):
		e := Errorf(api.Unavailable, "zone %q: its DNS provider is busy with earlier calls, which are made one after the other; nothing was sent", zone).with(err).later(time.Second)
		e.Quiet = !errors.Is(err, context.DeadlineExceeded) // the caller has gone, or Caddy stops
		return e
	case errors.As(err, &primary):
		return primaryFailure(primary)
	case errors.As(err, &provider):
		return providerFailure(provider, zone)
	case errors.As(err, &notReady):
		return Errorf(api.Unavailable, "zone %q: the name server is not up yet; its log says why if it stays so", zone).with(err).later(time.Second)
	case errors.Is(err, nameserver.ErrOutcomeUnknown):
		e := Errorf(api.Unavailable, "zone %q: the change could not be written to disk for certain; look what is there before you repeat it", zone).with(err)
		e.Unchanged = false
		return e
	case errors.Is(err, nameserver.ErrReadOnly), errors.Is(err, nameserver.ErrClosed),
		errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return Errorf(api.Unavailable, "zone %q: the name server takes no changes now", zone).with(err).later(time.Second)
	}
	e := Errorf(api.Internal, "zone %q: the service failed; its log has the cause under this request id", zone).with(err)
	e.Unchanged = false
	return e
}

// providerFailure tells a provider that could not be reached (nothing was sent)
// from one that failed. What it said may hold its secrets and stays in the log.
func providerFailure(err providerError, zone record.Name) *Error {
	const where = "the service's log has the cause under this request id"
	var dial *net.OpError
	kind, detail, unchanged := api.ProviderFailed, "zone %q: its DNS provider failed; "+where, false
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		kind, detail = api.ProviderTimeout, "zone %q: its DNS provider did not answer in time; "+where
	case errors.As(err, &dial) && dial.Op == "dial", errors.Is(err, syscall.ECONNREFUSED):
		kind, detail, unchanged = api.Unavailable, "zone %q: its DNS provider cannot be reached; "+where, true
	}
	e := Errorf(kind, detail, zone).with(err)
	e.Unchanged = unchanged
	return e
}

// isProviderError reports whether it is a zone's DNS provider that failed.
func isProviderError(e *Error) bool {
	var provider providerError
	return e != nil && errors.As(e.Cause, &provider)
}
