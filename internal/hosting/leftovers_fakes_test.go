package hosting

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/libdns/libdns"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/caddy-dns/bestdns/internal/access"
	"github.com/caddy-dns/bestdns/internal/record"
)

// memoryStorage is a storage that copies of the service share.
type memoryStorage struct {
	mu     sync.Mutex
	values map[string][]byte
	locks  map[string]time.Time // when each was taken; stale after a while, as a file's is
}

func newMemoryStorage() *memoryStorage {
	return &memoryStorage{values: make(map[string][]byte), locks: make(map[string]time.Time)}
}

func (s *memoryStorage) Store(_ context.Context, key string, value []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.values[key] = value
	return nil
}

func (s *memoryStorage) Load(_ context.Context, key string) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	value, ok := s.values[key]
	if !ok {
		return nil, fmt.Errorf("%s: %w", key, fs.ErrNotExist)
	}
	return value, nil
}

func (s *memoryStorage) Delete(_ context.Context, key string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.values, key)
	return nil
}

// List returns folders too, as that of files does.
func (s *memoryStorage) List(_ context.Context, folder string, recursive bool) ([]string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	found := make(map[string]bool)
	for key := range s.values {
		rest, ok := strings.CutPrefix(key, folder+"/")
		if !ok {
			continue
		}
		parts := strings.Split(rest, "/")
		for i := range parts {
			if i == 0 || recursive {
				found[folder+"/"+strings.Join(parts[:i+1], "/")] = true
			}
		}
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("%s: %w", folder, fs.ErrNotExist)
	}
	return slices.Sorted(maps.Keys(found)), nil
}

func (s *memoryStorage) TryLock(_ context.Context, name string) (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if taken, ok := s.locks[name]; ok && time.Since(taken) < 10*time.Second {
		return false, nil
	}
	s.locks[name] = time.Now()
	return true, nil
}

func (s *memoryStorage) Lock(context.Context, string) error {
	return errors.New("TryLock is there")
}

func (s *memoryStorage) Unlock(_ context.Context, name string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.locks, name)
	return nil
}

func (s *memoryStorage) keys() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Sorted(maps.Keys(s.values))
}

// hookedStorage calls a function before each call, which fails with its error.
type hookedStorage struct {
	*memoryStorage
	before func(ctx context.Context, call string) error
}

func (s *hookedStorage) Store(ctx context.Context, key string, value []byte) error {
	if err := s.before(ctx, "store"); err != nil {
		return err
	}
	return s.memoryStorage.Store(ctx, key, value)
}

func (s *hookedStorage) Load(ctx context.Context, key string) ([]byte, error) {
	if err := s.before(ctx, "load"); err != nil {
		return nil, err
	}
	return s.memoryStorage.Load(ctx, key)
}

func (s *hookedStorage) Delete(ctx context.Context, key string) error {
	if err := s.before(ctx, "delete"); err != nil {
		return err
	}
	return s.memoryStorage.Delete(ctx, key)
}

func (s *hookedStorage) List(ctx context.Context, folder string, recursive bool) ([]string, error) {
	if err := s.before(ctx, "list"); err != nil {
		return nil, err
	}
	return s.memoryStorage.List(ctx, folder, recursive)
}

func (s *hookedStorage) TryLock(ctx context.Context, name string) (bool, error) {
	if err := s.before(ctx, "lock"); err != nil {
		return false, err
	}
	return s.memoryStorage.TryLock(ctx, name)
}

func (s *hookedStorage) Unlock(ctx context.Context, name string) error {
	if err := s.before(ctx, "unlock"); err != nil {
		return err
	}
	return s.memoryStorage.Unlock(ctx, name)
}

// hookedProvider calls a function before each call that changes something.
type hookedProvider struct {
	*mergingProvider
	before func(ctx context.Context, call string, records []libdns.Record) error
}

func (p *hookedProvider) AppendRecords(ctx context.Context, zone string, records []libdns.Record) ([]libdns.Record, error) {
	if err := p.before(ctx, "append", records); err != nil {
		return nil, err
	}
	return p.mergingProvider.AppendRecords(ctx, zone, records)
}

func (p *hookedProvider) SetRecords(ctx context.Context, zone string, records []libdns.Record) ([]libdns.Record, error) {
	if err := p.before(ctx, "set", records); err != nil {
		return nil, err
	}
	p.mu.Lock()
	for _, r := range records {
		delete(p.rrsets, rrsetKey{zone, r.RR().Name, r.RR().Type})
	}
	p.mu.Unlock()
	return p.mergingProvider.AppendRecords(ctx, zone, records)
}

func (p *hookedProvider) DeleteRecords(ctx context.Context, zone string, records []libdns.Record) ([]libdns.Record, error) {
	if err := p.before(ctx, "delete", records); err != nil {
		return nil, err
	}
	return p.mergingProvider.DeleteRecords(ctx, zone, records)
}

// texts returns the TXT records of a zone as "name text", without those that are another's.
func (p *mergingProvider) texts(zone record.Name) []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	var texts []string
	for key, set := range p.rrsets {
		for _, r := range set {
			if key.zone == zone.String() {
				texts = append(texts, key.name+" "+r.RR().Data)
			}
		}
	}
	slices.Sort(texts)
	return texts
}

// forgetful is a place with clients that forget to delete: zones at a provider, a storage, and
// copies of the service.
type forgetful struct {
	t        *testing.T
	stored   *memoryStorage
	at       *mergingProvider
	zone     record.Name
	lifetime time.Duration
	others   record.Name // another zone at the same provider
	foreign  string      // a record of someone else's in zone
}

const challengeLifetime = 24 * time.Hour

// value returns a challenge's value.
func value(n int) string { return fmt.Sprintf("%043d", n) }

func newForgetful(t *testing.T) *forgetful {
	f := &forgetful{
		t: t, stored: newMemoryStorage(), at: newMergingProvider(func() {}),
		zone: mustName(t, "example.test"), lifetime: challengeLifetime, others: mustName(t, "others.test"),
	}
	const name = "_acme-challenge.web1"
	f.foreign = name + " " + value(999)
	f.at.AppendRecords(t.Context(), f.zone.String(), []libdns.Record{libdns.TXT{Name: name, TTL: time.Minute, Text: value(999)}})
	return f
}

// copyOf is a copy of the service and its log.
type copyOf struct {
	*Service
	log, audit *observer.ObservedLogs
}

// lines returns how many lines of the log contain a text.
func (c copyOf) lines(part string) (n int) {
	for _, e := range c.log.All() {
		if strings.Contains(e.Message, part) {
			n++
		}
	}
	return n
}

// start starts a copy with a storage and a provider, nil for those that all share, until the test ends.
func (f *forgetful) start(storage Storage, provider Provider, more ...*Zone) copyOf {
	f.t.Helper()
	if storage == nil {
		storage = f.stored
	}
	if provider == nil {
		provider = f.at
	}
	zones := append([]*Zone{{Apex: f.zone, Provider: provider, TTL: 60, ChallengeTTL: 60, ChallengeLifetime: f.lifetime}}, more...)
	c := copyOf{}
	var core, audit zapcore.Core
	core, c.log = observer.New(zap.InfoLevel)
	audit, c.audit = observer.New(zap.InfoLevel)
	under := func(verb access.Verb) (rules []access.Rule) {
		for _, zone := range zones {
			rules = append(rules, access.Rule{Verb: verb, Under: true, Name: zone.Apex})
		}
		return rules
	}
	var err error
	c.Service, err = New(Config{
		Zones: zones, Storage: storage, Activity: NewActivity(),
		Logger: zap.New(core), Audit: zap.New(audit), ProcessLog: slog.New(slog.DiscardHandler),
		Clients: []access.Config{
			{Name: "web", Users: []string{"web"}, Rules: under(access.Certificates)},
			{Name: "other", Users: []string{"other"}, Rules: under(access.Certificates)},
			{Name: "ops", Users: []string{"ops"}, Rules: under(access.Allow)},
		},
	})
	if err != nil {
		f.t.Fatal(err)
	}
	c.Begin(nil)
	f.t.Cleanup(func() { c.stop() })
	return c
}

// stop closes a copy, if it is not closed yet.
func (c copyOf) stop() {
	select {
	case <-c.closed:
	default:
		c.Close()
	}
}

func (c copyOf) try(client string, op record.Op, name, typ string, data *string) error {
	apex, _ := c.apexes.Of(mustParse(name))
	change := Change{Zone: apex, Change: record.Change{Op: op}}
	if op == record.Delete {
		m, err := record.MatchAt(mustParse(name), typ, nil, data)
		if err != nil {
			return err
		}
		change.Matches = []record.Match{m}
	} else {
		r, err := record.At(mustParse(name), typ, 60, *data)
		if err != nil {
			return err
		}
		change.Records = []record.Record{r}
	}
	_, err := c.Change(context.Background(), Caller{Client: c.Clients().ByName(client)}, change)
	return err
}

func mustParse(text string) record.Name {
	name, err := record.ParseName(text)
	if err != nil {
		panic(err)
	}
	return name
}

// appendTXT has a client append a value that it should delete later.
func (f *forgetful) appendTXT(c copyOf, client, name, text string) {
	f.t.Helper()
	if err := c.try(client, record.Append, name, "TXT", &text); err != nil {
		f.t.Fatal(err)
	}
}

// expect compares what is in the zone, the foreign record aside, and how much is remembered.
func (f *forgetful) expect(remembered int, texts ...string) {
	f.t.Helper()
	synctest.Wait()
	want := append([]string{f.foreign}, texts...)
	slices.Sort(want)
	if got := f.at.texts(f.zone); !slices.Equal(got, want) {
		f.t.Errorf("%s: in the zone is %q, want %q", time.Now().Format(time.TimeOnly), got, want)
	}
	if keys := f.stored.keys(); len(keys) != remembered {
		f.t.Errorf("%s: remembered: %q, want %d", time.Now().Format(time.TimeOnly), keys, remembered)
	}
}
