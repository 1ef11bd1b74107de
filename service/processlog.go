package service

import (
	"context"
	"log/slog"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap/exp/zapslog"
)

// processLog returns a logger for what outlives a configuration. A configuration's
// own logger writes to what is closed with it; this one goes, line by line, to
// the default logger of whichever configuration is in force.
func processLog() *slog.Logger { return slog.New(processHandler{}) }

type processHandler struct{ attrs []slog.Attr }

func (processHandler) current() slog.Handler {
	return zapslog.NewHandler(caddy.Log().Core(), zapslog.WithName("bestdns"), zapslog.AddStacktraceAt(slog.Level(127)))
}

// Enabled asks the logger in force.
func (h processHandler) Enabled(ctx context.Context, level slog.Level) bool {
	return h.current().Enabled(ctx, level)
}

// Handle writes to the logger in force.
func (h processHandler) Handle(ctx context.Context, r slog.Record) error {
	return h.current().WithAttrs(h.attrs).Handle(ctx, r)
}

// WithAttrs keeps the attributes for each later line.
func (h processHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return processHandler{append(h.attrs[:len(h.attrs):len(h.attrs)], attrs...)}
}

// WithGroup leaves attributes where they are: nothing here groups any.
func (h processHandler) WithGroup(string) slog.Handler { return h }
