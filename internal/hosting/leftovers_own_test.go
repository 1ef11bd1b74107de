package hosting

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/libdns/libdns"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/caddy-dns/bestdns/internal/api"
)

const ownName = "_acme-challenge.www"

// inBubble runs a subtest in a time of its own. The first sweep is over when everything is blocked.
func inBubble(t *testing.T, name string, test func(*testing.T)) {
	t.Run(name, func(t *testing.T) { synctest.Test(t, test) })
}

// own returns the numbers of the values at ownName.
func (p *notingProvider) own() []int {
	numbers := []int{}
	for _, line := range p.lines() {
		var n int
		if _, err := fmt.Sscanf(line[strings.LastIndexByte(line, ' ')+1:], "%d", &n); err == nil && strings.HasPrefix(line, ownName+" ") {
			numbers = append(numbers, n)
		}
	}
	slices.Sort(numbers)
	return numbers
}

// ownRecord returns the record with a value, as rrAt reads it and the step "add" of updateOf.
func ownRecord(n int) string { return ownName + " 60 TXT " + value(n) }

// lowestTTL is a provider that raises TTLs.
type lowestTTL struct{ settingProvider }

func (p lowestTTL) AppendRecords(ctx context.Context, zone string, records []libdns.Record) ([]libdns.Record, error) {
	for i, r := range records {
		rr := r.RR()
		rr.TTL = max(rr.TTL, 10*time.Minute)
		records[i] = rr
	}
	return p.settingProvider.AppendRecords(ctx, zone, records)
}

// TestOwnAtProviders: an update that deletes everything at the name of a challenge deletes what the client
// has added, and nothing else, in each of its forms.
func TestOwnAtProviders(t *testing.T) {
	for _, test := range []struct {
		name  string
		steps []string
		want  []int // web has added 1 and 2, other 3; 4 was there before; 5 is new
		isMet bool  // false: a prerequisite is not met
	}{
		{"the RRset", []string{"clear " + ownName + " TXT"}, []int{3, 4}, true},
		{"the name", []string{"empty " + ownName}, []int{3, 4}, true},
		{"twice", []string{"clear " + ownName + " TXT", "empty " + ownName}, []int{3, 4}, true},
		{"before an addition, as lego does", []string{"clear " + ownName + " TXT", "add " + ownRecord(5)}, []int{3, 4, 5}, true},
		{"after one", []string{"add " + ownRecord(5), "clear " + ownName + " TXT"}, []int{3, 4}, true},
		{"between two", []string{"add " + ownRecord(5), "clear " + ownName + " TXT", "add " + ownRecord(2)}, []int{2, 3, 4}, true},
		{"at another name", []string{"clear _acme-challenge.elsewhere TXT", "add " + ownRecord(5)}, []int{1, 2, 3, 4, 5}, true},
		{"what is named is no one's own", []string{"delete " + ownName + " TXT " + value(3)}, []int{1, 2, 4}, true},
		{"with a prerequisite", []string{"if " + ownName + " TXT", "clear " + ownName + " TXT"}, []int{3, 4}, true},
		{"with one that is not met", []string{"unless " + ownName + " TXT", "clear " + ownName + " TXT"}, []int{1, 2, 3, 4}, false},
	} {
		for kind, provide := range map[string]func(*notingProvider) Provider{
			"a provider":                  func(p *notingProvider) Provider { return settingProvider{p} },
			"one that cannot set":         func(p *notingProvider) Provider { return p },
			"one that chooses other TTLs": func(p *notingProvider) Provider { return lowestTTL{settingProvider{p}} },
		} {
			inBubble(t, test.name+", at "+kind, func(t *testing.T) {
				p := &notingProvider{records: []libdns.RR{rrAt(t, ownRecord(4))}}
				storage := newMemoryStorage()
				u := updating(t, provide(p), func(c *Config) { c.Storage = storage })
				synctest.Wait()
				for client, numbers := range map[string][]int{"web": {1, 2}, "other": {3}} {
					for _, n := range numbers {
						if err := u.update(t, client, "add "+ownRecord(n)); err != nil {
							t.Fatal(err)
						}
					}
				}
				if err := u.update(t, "web", test.steps...); (err == nil) != test.isMet {
					t.Fatal(err)
				}
				if diff := cmp.Diff(test.want, p.own()); diff != "" {
					t.Errorf("-want +got:\n%s", diff)
				}
				known := len(slices.DeleteFunc(p.own(), func(n int) bool { return n == 4 }))
				if keys := storage.keys(); len(keys) != known {
					t.Errorf("%d are remembered, want %d: %q", len(keys), known, keys)
				}
			})
		}
	}
}

// TestOwnWithoutStorage: without it, the service does not know whose a record is, and deletes only what
// the update has added itself.
func TestOwnWithoutStorage(t *testing.T) {
	p := settingProvider{&notingProvider{}}
	u := updating(t, p)
	for _, steps := range [][]string{{"add " + ownRecord(1)}, {"clear " + ownName + " TXT"}, {"clear " + ownName + " TXT", "add " + ownRecord(2)}, {"add " + ownRecord(3), "empty " + ownName}} {
		if err := u.update(t, "web", steps...); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff([]int{1, 2}, p.own()); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	// A client with the right to all of it deletes all of it.
	if err := u.update(t, "ops", "clear "+ownName+" TXT"); err != nil || len(p.own()) > 0 {
		t.Errorf("%v, %v", p.own(), err)
	}
}

// TestOwnWhileTheStorageFails: nothing is deleted that is not known to be the client's, the rest of the
// update is made, and the log says so.
func TestOwnWhileTheStorageFails(t *testing.T) {
	for _, failing := range []string{"list", "load"} {
		inBubble(t, failing, func(t *testing.T) {
			p := settingProvider{&notingProvider{}}
			fails := false
			storage := &hookedStorage{newMemoryStorage(), func(_ context.Context, call string) error {
				if fails && call == failing {
					return errors.New("the disk is full")
				}
				return nil
			}}
			var core zapcore.Core
			core, logged := observer.New(zap.WarnLevel)
			u := updating(t, p, func(c *Config) { c.Storage, c.Logger = storage, zap.New(core) })
			synctest.Wait()
			if err := u.update(t, "web", "add "+ownRecord(1)); err != nil {
				t.Fatal(err)
			}
			fails = true
			if err := u.update(t, "web", "clear "+ownName+" TXT", "add a._acme-challenge.www 60 TXT x"); AsError(err, "").Kind() != api.Forbidden {
				t.Errorf("error %v", err)
			}
			if err := u.update(t, "web", "clear "+ownName+" TXT", "add "+ownRecord(2)); err != nil {
				t.Error(err)
			}
			if diff := cmp.Diff([]int{1, 2}, p.own()); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
			if logged.FilterMessageSnippet("what a client has added is not known").Len() == 0 {
				t.Errorf("log: %v", logged.All())
			}
		})
	}
}

// TestOwnIsCountedOnce: what an update replaces does not count against the limit of a name.
func TestOwnIsCountedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := settingProvider{&notingProvider{}}
		u := updating(t, p, func(c *Config) { c.Storage, c.DomainChallenges = newMemoryStorage(), 2 })
		synctest.Wait()
		for _, test := range []struct {
			client string
			steps  []string
			want   []int
			over   bool
		}{
			{"web", []string{"add " + ownRecord(1), "add " + ownRecord(1)}, []int{1}, false},
			{"web", []string{"add " + ownRecord(2)}, []int{1, 2}, false},
			{"web", []string{"add " + ownRecord(3)}, []int{1, 2}, true},
			{"web", []string{"clear " + ownName + " TXT", "add " + ownRecord(3), "add " + ownRecord(4)}, []int{3, 4}, false},
			{"web", []string{"delete " + ownName + " TXT " + value(3), "add " + ownRecord(5)}, []int{4, 5}, false},
			{"web", []string{"delete " + ownName + " TXT " + value(4), "add " + ownRecord(6), "add " + ownRecord(7)}, []int{4, 5}, true},
			{"other", []string{"clear " + ownName + " TXT", "add " + ownRecord(8)}, []int{4, 5}, true},
			{"ops", []string{"clear " + ownName + " TXT", "add " + ownRecord(8)}, []int{8}, false},
			{"web", []string{"add " + ownRecord(9), "delete " + ownName + " TXT " + value(9), "add " + ownRecord(10)}, []int{8, 10}, false},
			{"ops", []string{"add x 60 A 192.0.2.1", "empty " + ownName}, []int{}, false},
			{"web", []string{"add " + ownRecord(1), "add " + ownRecord(2)}, []int{1, 2}, false},
		} {
			err := u.update(t, test.client, test.steps...)
			if over := err != nil && AsError(err, "").Kind() == api.OverLimit; over != test.over || err != nil && !over {
				t.Errorf("%s %q: %v", test.client, test.steps, err)
			}
			if diff := cmp.Diff(test.want, p.own()); diff != "" {
				t.Errorf("%s %q (-want +got):\n%s", test.client, test.steps, diff)
			}
		}
	})
}
