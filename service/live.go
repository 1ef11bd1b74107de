package service

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyevents"
	"go.uber.org/zap"

	"github.com/caddy-dns/bestdns/internal/hosting"
	"github.com/caddy-dns/bestdns/internal/nameserver"
	"github.com/caddy-dns/bestdns/internal/owed"
)

// subscribe has Caddy tell the app of three events.
//
// "started" comes when all apps of a configuration have started, before the old
// configuration is stopped. Only then are its zones served and its tokens taken:
// Caddy starts its apps in random order, and what one before a failing app had
// published would have been served for a moment.
//
// "cert_obtaining" makes certmagic wait for the name server. It looks up a zone's
// SOA record before it asks for the challenge record to be written, and after a
// failure waits a minute. No Start in Caddy waits for a certificate, so holding one
// up cannot deadlock.
//
// "stopping" comes before Caddy stops its apps, while the API still answers the sites of
// this Caddy that use it. Servers that end wait for their requests, which do not wait for name
// servers from then on.
func (a *App) subscribe(ctx caddy.Context) error {
	module, err := ctx.App("events")
	if err != nil {
		return fmt.Errorf("subscribing to events: %w", err)
	}
	events := module.(*caddyevents.App)
	return errors.Join(
		events.On("started", onEvent{func(context.Context) { a.publish() }}),
		events.On("stopping", onEvent{func(context.Context) {
			a.hosting.EndWaits()
			a.deleteOwed()
		}}),
		// An error has no use: should the name server never come, the attempt that
		// follows says more about why.
		events.On("cert_obtaining", onEvent{func(ctx context.Context) { _ = a.hosting.WaitReady(ctx) }}),
	)
}

// deleteOwed deletes the challenge records that this process owes, if Caddy exits and not only
// this configuration ends.
func (a *App) deleteOwed() {
	if !caddy.Exiting() {
		return
	}
	if err := owed.Process.Settle(); err != nil {
		a.logger.Warn("Caddy exits in the middle of challenges", zap.Error(err))
	}
}

// onEvent is a handler of Caddy's events. It is a struct because Caddy logs it as JSON,
// in which there are no functions.
type onEvent struct{ do func(context.Context) }

// Handle calls the function.
func (h onEvent) Handle(ctx context.Context, _ caddy.Event) error {
	h.do(ctx)
	return nil
}

// publishRetry is the pause between tries to serve a configuration.
const publishRetry = 5 * time.Second

// publish begins to serve, and accepts records once DNS serves them. Start has
// seen all of it work, so that a failure is that of a store which has become
// unwritable in between; it is tried again until the app goes.
func (a *App) publish() {
	a.mu.Lock()
	defer a.mu.Unlock()
	select {
	case <-a.hosting.Closed():
		return
	default:
	}
	if err := a.serve(); err != nil {
		a.logger.Error("this configuration's zones are not served yet; trying again", zap.Duration("in", publishRetry), zap.Error(err))
		time.AfterFunc(publishRetry, a.publish)
		return
	}
	a.live = true
	a.announceExpiry()
	var server *nameserver.Server
	if a.shared != nil {
		server = a.shared.Server
	}
	a.hosting.Begin(server)
}

// serving is held while what is served changes, so that it is always what the newest of
// the live apps has.
var serving sync.Mutex

// serve makes the app the newest of the live apps.
func (a *App) serve() error {
	serving.Lock()
	defer serving.Unlock()
	if a.hasServer() {
		if err := a.serveZones(); err != nil {
			return err
		}
	}
	liveApps.push(a)
	return nil
}

// stopServing takes the app from the live apps. Its sockets and its store then serve the
// newest of those that are left. If there is none, they go on, until they are closed: what
// they answer to clients that still ask is better than silence.
func (a *App) stopServing() {
	serving.Lock()
	defer serving.Unlock()
	sameStore := func(other *App) bool { return other.shared == a.shared }
	wasNewest := liveApps.newestOf(sameStore) == a
	liveApps.remove(a)
	for _, s := range a.sockets {
		if next := liveApps.newestOf(func(other *App) bool { return slices.Contains(other.sockets, s) }); next != nil {
			s.Serve(next.shared.Server)
		}
	}
	if next := liveApps.newestOf(sameStore); next != nil && wasNewest && a.shared != nil {
		a.shared.Revert(next.nameServerSettings())
	}
}

// serveZones publishes the zones, and only then reads the first question.
func (a *App) serveZones() error {
	settings := a.nameServerSettings()
	if err := a.shared.Serve(settings); err != nil {
		return err
	}
	for _, s := range a.sockets {
		s.Serve(a.shared.Server)
	}
	a.logger.Info("the name server is up", zap.Stringers("listen", a.listen), zap.Int("zones", len(settings.Zones)), zap.String("store", a.storePath))
	return nil
}

// liveApps are the apps that serve, the newest last.
var liveApps appStack

// appStack says what is served, and lets a server that is still draining see the newest
// configuration, so that what a reload revokes is revoked there too.
type appStack struct {
	mu   sync.RWMutex
	apps []*App
	// since is when an app began to serve after none did, or one that was unhealthy.
	since time.Time
}

func (s *appStack) push(a *App) {
	before := s.newest(nil)
	s.mu.Lock()
	defer s.mu.Unlock()
	if before == nil || before.health() != nil {
		s.since = time.Now()
	}
	s.apps = append(s.apps, a)
}

// healthySince returns since when an app that was healthy then serves.
func (s *appStack) healthySince() time.Time {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.since
}

func (s *appStack) remove(a *App) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.apps = slices.DeleteFunc(slices.Clone(s.apps), func(other *App) bool { return other == a })
}

// services returns what the apps that serve host.
func (s *appStack) services() []*hosting.Service {
	s.mu.RLock()
	defer s.mu.RUnlock()
	var services []*hosting.Service
	for _, a := range s.apps {
		services = append(services, a.hosting)
	}
	return services
}

// newest returns the newest app that serves, or own if there is none.
func (s *appStack) newest(own *App) *App {
	if newest := s.newestOf(func(*App) bool { return true }); newest != nil {
		return newest
	}
	return own
}

// newestOf returns the newest app that serves among some, nil if there is none.
func (s *appStack) newestOf(some func(*App) bool) *App {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, a := range slices.Backward(s.apps) {
		if some(a) {
			return a
		}
	}
	return nil
}
