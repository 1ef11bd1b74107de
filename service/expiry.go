package service

import (
	"time"

	"go.uber.org/zap"

	"github.com/caddy-dns/bestdns/internal/access"
	"github.com/caddy-dns/bestdns/internal/api"
	"github.com/caddy-dns/bestdns/internal/text"
)

// announceExpiry warns of clients whose access ends soon or has ended: now, and then
// at each midnight in UTC, which is when access ends, until the app is cleaned up.
func (a *App) announceExpiry() {
	now := time.Now()
	a.warnOfExpiry(now)
	go a.announceDaily(midnightAfter(now))
}

func (a *App) announceDaily(next time.Time) {
	for {
		// At most an hour at a time, for timers do not follow when the clock is set.
		timer := time.NewTimer(min(time.Until(next), time.Hour))
		select {
		case <-timer.C:
		case <-a.hosting.Closed():
			timer.Stop()
			return
		}
		if now := time.Now(); !now.Before(next) {
			a.warnOfExpiry(now)
			next = midnightAfter(now)
		}
	}
}

func midnightAfter(now time.Time) time.Time {
	year, month, day := now.UTC().Date()
	return time.Date(year, month, day+1, 0, 0, 0, 0, time.UTC)
}

// warnOfExpiry warns of the clients that are to be announced at that time.
func (a *App) warnOfExpiry(now time.Time) {
	for client := range a.hosting.Clients().All() {
		end := client.Expires()
		if end.IsZero() || end.Sub(now) > api.ExpiryNotice {
			continue
		}
		fields := []zap.Field{
			zap.String("client", text.Visible(client.Name())),
			zap.String("description", text.Visible(client.Description())),
			zap.Time("expires", end.UTC()),
		}
		if end.After(now) {
			left := end.Sub(now)
			a.logger.Warn("a client's access ends soon: "+access.RenewAdvice,
				append(fields, zap.Int("days_left", int(left/(24*time.Hour))))...)
			continue
		}
		a.logger.Warn("a client's access has ended: "+access.RenewAdvice, fields...)
	}
}
