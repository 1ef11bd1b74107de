package nameserver

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/caddy-dns/bestdns/internal/record"
)

// This file is which configuration is served. The server knows one, the last that it was
// told of. Which ones there are, and which of them follows one that has gone, the caller
// knows.

// Settings are what one configuration wants to have served.
type Settings struct {
	Zones []ZoneConfig
	// RateLimit is how many answers over UDP a network gets in a second, and how many
	// more that only say to come again over TCP; 0 is any number.
	RateLimit int
	// Clients are those that have keys; nil: none has. Claimed are zones that are hosted elsewhere
	// and that they can change here.
	Clients Clients
	Claimed []record.Name
}

// Validate returns why the settings cannot be served, whatever is in the store.
func (s Settings) Validate() error {
	_, err := newConfiguration(s)
	return err
}

// configuration is Settings that have been checked. It never changes.
type configuration struct {
	zones     map[record.Name]*configRecords
	lifetimes map[record.Name]time.Duration // of challenges, by zone
	price     int64                         // of an answer over UDP
	transfers *transferRules                // nil if there are none
	clients   Clients                       // nil if none has a key
	claimed   map[record.Name]*zone
}

func newConfiguration(settings Settings) (*configuration, error) {
	c := &configuration{
		zones:     make(map[record.Name]*configRecords, len(settings.Zones)),
		lifetimes: make(map[record.Name]time.Duration, len(settings.Zones)),
		price:     price(settings.RateLimit),
	}
	for _, zone := range settings.Zones {
		if c.zones[zone.Name] != nil {
			return nil, fmt.Errorf("zone %q: it is configured twice", zone.Name)
		}
		records, err := newConfigRecords(zone)
		if err != nil {
			return nil, fmt.Errorf("zone %q: %w", zone.Name, err)
		}
		c.zones[zone.Name], c.lifetimes[zone.Name] = records, zone.ChallengeLifetime
	}
	var err error
	if c.transfers, err = newTransferRules(settings.Zones); err != nil {
		return nil, err
	}
	if c.clients = settings.Clients; c.clients != nil {
		c.claimed = make(map[record.Name]*zone, len(settings.Claimed))
		for _, name := range settings.Claimed {
			c.claimed[name] = claimedZone(name)
		}
	}
	return c, nil
}

// records returns those that the configuration makes in a zone, nil if it does not have it.
func (c *configuration) records(zone record.Name) *configRecords {
	if c == nil {
		return nil
	}
	return c.zones[zone]
}

// configure has the zones hold the records that the configuration makes in them. It plans
// a job that is alone.
func (c *configuration) configure(b *batch) error {
	for name, records := range c.zones {
		if err := b.configure(name, records); err != nil {
			return fmt.Errorf("zone %q: %w", name, err)
		}
	}
	return nil
}

// Rehearse does what [Server.Serve] does, except serving it: an error is what Serve
// would return, and if Serve would write to the store, that can be written. So a
// configuration can be refused that turns out not to work, and one that works
// be served when nothing else can fail.
func (s *Server) Rehearse(settings Settings) error {
	c, err := s.check(settings)
	if err != nil {
		return err
	}
	if err := s.submit(context.Background(), &job{alone: true, rehearsal: true, plan: c.configure}); err != nil {
		return fmt.Errorf("rehearsing a new configuration: %w", err)
	}
	return nil
}

// Serve has the zones of a configuration be served when it returns, instead of those
// of the one before. A zone that the store does not have is created; the serial of one whose
// NS records, server addresses or TTL are others than the store remembers rises. Zones
// that the configuration does not have keep their records, and can still be changed.
//
// After an error the configuration before is served as it was.
func (s *Server) Serve(settings Settings) error {
	c, err := s.check(settings)
	if err != nil {
		return err
	}
	err = s.submit(context.Background(), &job{alone: true, plan: c.configure, published: func() { s.serve(c, true) }})
	if err != nil {
		return fmt.Errorf("serving a new configuration: %w", err)
	}
	return nil
}

// Revert serves a configuration that was served before again, because the newer one must
// not be served any longer. It cannot fail: while the store cannot be written, the records
// that the newer one has made in zones that both have remain, and the committer replaces
// them when it can.
func (s *Server) Revert(settings Settings) {
	c, err := s.check(settings)
	if err == nil {
		err = s.submit(context.Background(), &job{alone: true, plan: c.configure, published: func() { s.serve(c, true) }})
	}
	if err == nil || c == nil || errors.Is(err, ErrClosed) {
		return
	}
	s.log.Error("going back to the configuration before: its NS records are not back yet", "error", err)
	_ = s.submit(context.Background(), &job{alone: true, plan: func(*batch) error { return nil }, published: func() { s.serve(c, false) }})
}

func (s *Server) check(settings Settings) (*configuration, error) {
	if err := s.Load(); err != nil {
		return nil, err
	}
	return newConfiguration(settings)
}

// serve serves a configuration. finished reports whether the zones hold its records. The
// committer calls it.
func (s *Server) serve(c *configuration, finished bool) {
	s.served, s.unfinished = c, !finished
	s.sweep = sweep{} // its zones may have other lifetimes
	s.publishView()
	s.serveTransfers()
}

// serveTransfers has the secondaries of the configuration notified, and no others, and
// forgets what other zones were before.
func (s *Server) serveTransfers() {
	for name, z := range *s.zones.Load() {
		if len(s.served.transfers.secondariesOf(name)) == 0 {
			s.histories.reset(z)
		}
	}
	s.notifier.configure(s.served.transfers, *s.zones.Load())
}

// finishRevert has the zones hold the records of the configuration that is served, if they
// do not yet and the store can be written.
func (s *Server) finishRevert() {
	if !s.unfinished || s.refused.Load() != nil {
		return
	}
	j := &job{alone: true, plan: s.served.configure, done: make(chan struct{})}
	if s.commit(inTurn(j)); j.err == nil {
		s.unfinished = false
		s.log.Info("the NS records of the configuration before are back")
	}
}

// publishView has DNS serve what the configuration wants.
func (s *Server) publishView() {
	if s.served == nil {
		return
	}
	v := newView(s.served.price)
	v.transfers, v.clients, v.claimed = s.served.transfers, s.served.clients, s.served.claimed
	for name := range s.served.zones {
		v.add(name, (*s.zones.Load())[name])
	}
	s.view.Store(v)
}

func (s *Server) warnHidden(name record.Name) {
	s.log.Warn("records at the name of a name server give way to those that the configuration makes there; the store keeps them", "name", name.String())
}
