package nameserver

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-dns/bestdns/internal/record"
	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"
)

func TestApplyIsServedAndStored(t *testing.T) {
	path := storePath(t)
	s := open(t, path)
	zone := zoneConfig(t, "example.org")
	serve(t, s, zone)
	text := rr(t, zone.Name, "www 60 TXT hello")

	before := snapshot(t, s, zone.Name)
	result := apply(t, s, zone.Name, appending(text))
	if diff := cmp.Diff([]record.Record{text}, result.Records); diff != "" {
		t.Errorf("records (-want +got):\n%s", diff)
	}
	if result.Serial == before.Serial() || result.Serial != snapshot(t, s, zone.Name).Serial() {
		t.Errorf("serial %d, before %d, served %d", result.Serial, before.Serial(), snapshot(t, s, zone.Name).Serial())
	}
	if got := readReply(ask(t, s, "www.example.org", "TXT")).Answer; !slices.Equal(got, []string{`www.example.org. 60 TXT "hello"`}) {
		t.Errorf("served: %q", got)
	}
	if len(before.At(text.Name)) != 0 {
		t.Error("the snapshot taken before has changed")
	}

	again := apply(t, s, zone.Name, appending(text))
	if diff := cmp.Diff(result, again); diff != "" {
		t.Errorf("a change that changes nothing (-first +again):\n%s", diff)
	}

	want := lines(snapshot(t, s, zone.Name))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, path)
	serve(t, s, zone)
	if diff := cmp.Diff(want, lines(snapshot(t, s, zone.Name))); diff != "" {
		t.Errorf("after opening again (-want +got):\n%s", diff)
	}
	if got := snapshot(t, s, zone.Name).Serial(); got != result.Serial {
		t.Errorf("serial after opening again %d, want %d", got, result.Serial)
	}
	if got := apply(t, s, zone.Name, deleting(text)).Records; len(got) != 1 {
		t.Errorf("deleted: %v", got)
	}
}

func TestApplyErrors(t *testing.T) {
	zone := zoneConfig(t, "example.org")
	s := serving(t, zone)
	apply(t, s, zone.Name, appending(rr(t, zone.Name, "www 60 A 192.0.2.1")))
	cancelled, cancel := context.WithCancel(context.Background())
	cancel()
	isRule := func(rule record.Rule) func(error) bool {
		return func(err error) bool {
			ruleErr := (*record.RuleError)(nil)
			return errors.As(err, &ruleErr) && ruleErr.Rule == rule
		}
	}
	is := func(target error) func(error) bool { return func(err error) bool { return errors.Is(err, target) } }
	tests := []struct {
		name   string
		ctx    context.Context
		zone   string
		record string
		want   func(error) bool
	}{
		{"unknown zone", context.Background(), "example.net", "www 60 A 192.0.2.1", is(ErrUnknownZone)},
		{"CNAME beside other data", context.Background(), "example.org", "www 60 CNAME a.example.", isRule(record.RuleCNAME)},
		{"CNAME beside a made address", context.Background(), "example.org", "ns1 60 CNAME a.example.", isRule(record.RuleCNAME)},
		{"CNAME at the apex", context.Background(), "example.org", "@ 60 CNAME a.example.", isRule(record.RuleCNAME)},
		{"SOA", context.Background(), "example.org", "@ 60 SOA a. b. 1 2 3 4 5", isRule(record.RuleSOA)},
		{"apex NS", context.Background(), "example.org", "@ 60 NS a.example.", isRule(record.RuleApexNS)},
		{"a name server's address", context.Background(), "example.org", "ns1 60 A 192.0.2.1", isRule(record.RuleApexNS)},
		{"name outside the zone", context.Background(), "example.org", "www.example.net. 60 A 192.0.2.1",
			func(err error) bool { return strings.Contains(err.Error(), "is not in the zone") }},
		{"context over before it began", cancelled, "example.org", "new 60 A 192.0.2.1", is(context.Canceled)},
	}
	want := lines(snapshot(t, s, zone.Name))
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			z := name(t, test.zone)
			_, err := s.Apply(test.ctx, z, appending(rr(t, z, test.record)))
			if err == nil || !test.want(err) {
				t.Errorf("error: %v", err)
			} else if !strings.Contains(err.Error(), `append in zone "`+test.zone+`."`) {
				t.Errorf("error does not say what and where: %v", err)
			}
			if diff := cmp.Diff(want, lines(snapshot(t, s, zone.Name))); diff != "" {
				t.Errorf("the zone has changed (-want +got):\n%s", diff)
			}
		})
	}
}

// pausedCommit, in a bubble, where working out changes takes no time, holds the
// committer back in its next commit until release is called, so that what is submitted
// meanwhile becomes one batch. It counts commits.
func pausedCommit(t *testing.T, s *Server) (started <-chan struct{}, release func(), commits func() int) {
	t.Helper()
	began, held := make(chan struct{}), make(chan struct{})
	var once sync.Once
	var mu sync.Mutex
	count := 0
	setFailing(t, s, func(at step) error {
		if at == stepCommit {
			mu.Lock()
			count++
			mu.Unlock()
			once.Do(func() {
				close(began)
				<-held
			})
		}
		return nil
	})
	release = sync.OnceFunc(func() { close(held) })
	t.Cleanup(release)
	return began, release, func() int {
		mu.Lock()
		defer mu.Unlock()
		return count
	}
}

// waitPooled waits, in a bubble, until that many jobs wait for the committer.
func waitPooled(t *testing.T, s *Server, n int) {
	t.Helper()
	synctest.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	if got := s.pool.Len(); got != n {
		t.Fatalf("%d jobs wait, want %d", got, n)
	}
}

// applyBehind applies changes, all but the first of which wait for the commit that is
// paused.
func applyBehind(t *testing.T, s *Server, zone ZoneConfig, started <-chan struct{}, changes int) (*sync.WaitGroup, []error) {
	t.Helper()
	wg, errs := new(sync.WaitGroup), make([]error, changes)
	for i := range errs {
		wg.Go(func() {
			_, errs[i] = s.Apply(context.Background(), zone.Name, appending(rr(t, zone.Name, fmt.Sprintf("n%d 60 TXT x", i))))
		})
		if i == 0 {
			<-started
		}
	}
	waitPooled(t, s, len(errs)-1)
	return wg, errs
}

func TestChangesTogetherShareACommit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		zone := zoneConfig(t, "example.org")
		s := serving(t, zone)
		started, release, commits := pausedCommit(t, s)
		wg, errs := applyBehind(t, s, zone, started, 100)
		before := snapshot(t, s, zone.Name).Serial()
		release()
		wg.Wait()
		if err := errors.Join(errs...); err != nil {
			t.Fatal(err)
		}
		if got := commits(); got != 2 {
			t.Errorf("%d commits", got)
		}
		if got := snapshot(t, s, zone.Name).Serial(); int32(got-before) < 2 {
			t.Errorf("serial %d after two commits, before %d", got, before)
		}
	})
}

func TestChangesInABatchSeeEachOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		zone := zoneConfig(t, "example.org")
		s := serving(t, zone)
		started, release, commits := pausedCommit(t, s)
		var wg sync.WaitGroup
		submit := func(change record.Change) *error {
			err := new(error)
			wg.Go(func() { _, *err = s.Apply(context.Background(), zone.Name, change) })
			return err
		}
		at := func(line string) record.Record { return rr(t, zone.Name, line) }

		submit(appending(at("first 60 TXT x")))
		<-started
		var got []*error
		for i, change := range []record.Change{
			appending(at("alias 60 CNAME www.example.org.")),
			appending(at("alias 60 TXT beside")), // breaks the rule that the one before made apply
			deleting(at("alias 60 CNAME www.example.org.")),
			appending(at("alias 60 TXT instead")),
			appending(at("gone 60 TXT x")),
			deleting(at("gone 60 TXT x")),
		} {
			got = append(got, submit(change))
			waitPooled(t, s, i+1)
		}
		release()
		wg.Wait()

		for i, err := range got {
			ruleErr := (*record.RuleError)(nil)
			if broken := errors.As(*err, &ruleErr); broken != (i == 1) || !broken && *err != nil {
				t.Errorf("change %d: %v", i, *err)
			}
		}
		if n := commits(); n != 2 {
			t.Errorf("%d commits", n)
		}
		want := []string{"example.org. 60 IN NS ns1.example.org.", `alias.example.org. 60 IN TXT "instead"`, `first.example.org. 60 IN TXT "x"`, "ns1.example.org. 60 IN A 192.0.2.53"}
		if diff := cmp.Diff(want, lines(snapshot(t, s, zone.Name))); diff != "" {
			t.Errorf("zone (-want +got):\n%s", diff)
		}
	})
}

func TestContextWithdrawsWaitingChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		zone := zoneConfig(t, "example.org")
		s := serving(t, zone)
		started, release, _ := pausedCommit(t, s)
		var wg sync.WaitGroup
		ctx, cancel := context.WithCancel(context.Background())
		var taken, waiting error
		wg.Go(func() {
			_, taken = s.Apply(ctx, zone.Name, appending(rr(t, zone.Name, "taken 60 TXT x")))
		})
		<-started
		withdrawn := make(chan struct{})
		go func() {
			defer close(withdrawn)
			_, waiting = s.Apply(ctx, zone.Name, appending(rr(t, zone.Name, "waiting 60 TXT x")))
		}()
		waitPooled(t, s, 1)
		cancel()
		<-withdrawn // although the committer is still held back
		if !errors.Is(waiting, context.Canceled) {
			t.Errorf("the waiting change: %v", waiting)
		}
		release()
		wg.Wait()
		if taken != nil {
			t.Errorf("the change that had begun: %v", taken)
		}
		if z := snapshot(t, s, zone.Name); len(z.At(name(t, "taken.example.org"))) != 1 || len(z.At(name(t, "waiting.example.org"))) != 0 {
			t.Errorf("zone: %q", lines(z))
		}
	})
}

func TestCloseFinishesWhatWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := storePath(t)
		s := open(t, path)
		zone := zoneConfig(t, "example.org")
		serve(t, s, zone)
		started, release, _ := pausedCommit(t, s)
		wg, errs := applyBehind(t, s, zone, started, 10)
		closed := make(chan error)
		go func() { closed <- s.Close() }()
		synctest.Wait()
		if _, err := s.Apply(context.Background(), zone.Name, appending(rr(t, zone.Name, "late 60 TXT x"))); !errors.Is(err, ErrClosed) {
			t.Errorf("a change after Close: %v", err)
		}
		release()
		wg.Wait()
		if err := errors.Join(append(errs, <-closed)...); err != nil {
			t.Fatal(err)
		}
		if err := s.Serve(Settings{Zones: []ZoneConfig{zone}}); !errors.Is(err, ErrClosed) {
			t.Errorf("a push after Close: %v", err)
		}
		s = open(t, path)
		if err := s.Load(); err != nil {
			t.Fatal(err)
		}
		if n := len(lines(snapshot(t, s, zone.Name))); n != len(errs) {
			t.Errorf("%d records are stored", n)
		}
	})
}

func TestNextSerial(t *testing.T) {
	at := func(unix int64) time.Time { return time.Unix(unix, 0) }
	tests := []struct {
		name string
		last uint32
		now  time.Time
		want uint32
	}{
		{"first", 0, at(1_800_000_000), 1_800_000_000},
		{"in the same second", 1_800_000_000, at(1_800_000_000), 1_800_000_001},
		{"ahead of time", 1_800_000_500, at(1_800_000_000), 1_800_000_501},
		{"later", 1_800_000_000, at(1_800_000_009), 1_800_000_009},
		{"around the end", 1<<32 - 1, at(1_000), 1_000},
		{"around the end, in the same second", 1<<32 - 1, at(1 << 32), 0},
		{"time after 2106", 5, at(1<<32 + 7), 7},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if got := nextSerial(test.last, test.now); got != test.want {
				t.Errorf("got %d, want %d", got, test.want)
			}
		})
	}
}

// Index, store and what is kept beside the index agree after any changes.
func TestIndexAndStoreAgree(t *testing.T) {
	t.Parallel()
	seed := rand.Uint64()
	random := rand.New(rand.NewPCG(seed, 0))
	path := storePath(t)
	s := open(t, path)
	zone := zoneConfig(t, "example.org", "ns1.example.org 192.0.2.53", "ns.sub.example.org 192.0.2.54")
	other := zoneConfig(t, "example.org", "a.example.org 192.0.2.53")
	serve(t, s, zone)

	labels := []string{"a", "b", "*", "sub", "ns1", `\000`, `\001`, "c.d"}
	expiry := time.Now().Unix() + 3600
	randomRecord := func() record.Record {
		var owner []string
		for range random.IntN(3) {
			owner = append(owner, labels[random.IntN(len(labels))])
		}
		data := []string{"TXT x", "TXT y", "A 192.0.2.1", "A 192.0.2.2", "NS ns.example.", "NS ns2.example.", "CNAME a.example.", `CAA 0 issue "x"`, `TYPE65280 \# 1 00`}
		r := rr(t, zone.Name, strings.Join(append(owner, ""), ".")+"example.org. "+fmt.Sprint(60+random.IntN(2))+" "+data[random.IntN(len(data))])
		if random.IntN(2) == 0 {
			r.Expires = expiry + random.Int64N(10)
		}
		return r
	}
	changed := 0
	for i := range 600 {
		change := record.Change{Op: []record.Op{record.Append, record.Append, record.Set, record.Delete}[random.IntN(4)]}
		for range 1 + random.IntN(3) {
			if r := randomRecord(); change.Op == record.Delete {
				m := record.Match{Name: r.Name}
				if random.IntN(2) == 0 {
					m.Type = r.Type
				}
				change.Matches = append(change.Matches, m)
			} else {
				change.Records = append(change.Records, r)
			}
		}
		client := []string{"", "web", "ops"}[random.IntN(3)]
		_, err := s.ApplyFor(context.Background(), zone.Name, change, Account{Client: client})
		if ruleErr := (*record.RuleError)(nil); err != nil && !errors.As(err, &ruleErr) {
			t.Fatal(err)
		}
		if err == nil {
			changed++
		}
		switch i % 50 {
		case 10:
			serve(t, s, []ZoneConfig{zone, other}[random.IntN(2)])
		case 40:
			s.Revert(Settings{Zones: []ZoneConfig{[]ZoneConfig{zone, other}[random.IntN(2)]}})
		}
	}
	if changed < 100 {
		t.Errorf("seed %d: only %d changes were valid", seed, changed)
	}

	z := snapshot(t, s, zone.Name)
	fresh := newSnapshot(zone.Name)
	expected := newDeadlines()
	z.tree.Scan(func(key string, n node) bool {
		if n == "" {
			t.Errorf("seed %d: an empty node at %q", seed, record.NameFromKey(key))
		}
		fresh.load(key, n)
		expected.move((*s.zones.Load())[zone.Name], key, "", n)
		return true
	})
	if fresh.cuts != z.cuts || fresh.wildcards != z.wildcards || fresh.depths != z.depths {
		t.Errorf("seed %d: %d cuts, %d wildcards and names %v by labels are counted, there are %d, %d and %v",
			seed, z.cuts, z.wildcards, z.depths, fresh.cuts, fresh.wildcards, fresh.depths)
	}
	if fresh.bytes != z.bytes {
		t.Errorf("seed %d: %d bytes are counted, there are %d", seed, z.bytes, fresh.bytes)
	}
	ledger := newLedger(map[uint32]string{1: "", 2: ""})
	z.tree.Scan(func(key string, n node) bool {
		ledger.add((*s.zones.Load())[zone.Name], key, n, +1)
		return true
	})
	if got := s.ledger.Load(); !slices.Equal(got.used, ledger.used) || !maps.Equal(got.domains, ledger.domains) || ledger.used[1].Records == 0 || ledger.used[2].Records == 0 {
		t.Errorf("seed %d: on accounts there are %v and %v, want %v and %v", seed, got.used, got.domains, ledger.used, ledger.domains)
	}
	if fresh.records != z.records || fresh.expiring != z.expiring || fresh.expiring == 0 {
		t.Errorf("seed %d: %d records are counted, %d of which expire; there are %d and %d", seed, z.records, z.expiring, fresh.records, fresh.expiring)
	}
	times := func(d deadlines) []deadline {
		items := d.order.Items()
		for i := range items {
			items[i].since, items[i].stored = 0, false // which is no matter of what is there
		}
		return items
	}
	if want, got := times(expected), times(s.deadlines); len(want) == 0 || !slices.Equal(want, got) {
		t.Errorf("seed %d: deadlines %v, want %v", seed, got, want)
	}

	newest := zone
	if s.served.records(zone.Name).fingerprint != configRecordsOf(t, zone).fingerprint {
		newest = other
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, path)
	serve(t, s, newest)
	again := snapshot(t, s, zone.Name)
	if diff := cmp.Diff(slices.Collect(z.Records(zone.Name)), slices.Collect(again.Records(zone.Name))); diff != "" {
		t.Errorf("seed %d: opened again (-index +store):\n%s", seed, diff)
	}
	if again.cuts != z.cuts || again.wildcards != z.wildcards || again.depths != z.depths {
		t.Errorf("seed %d: opened again: %d cuts, %d wildcards and names %v by labels, not %d, %d and %v",
			seed, again.cuts, again.wildcards, again.depths, z.cuts, z.wildcards, z.depths)
	}
}

func configRecordsOf(t *testing.T, c ZoneConfig) *configRecords {
	t.Helper()
	m, err := newConfigRecords(c)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// Writers, readers of DNS and of snapshots, and reloads at once. A writer sees its
// change in DNS as soon as Apply has returned.
func TestConcurrentUse(t *testing.T) {
	zone := zoneConfig(t, "example.org")
	s := serving(t, zone)
	stop := make(chan struct{})
	var readers, writers sync.WaitGroup
	for range 2 {
		readers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				ask(t, s, "w3.example.org", "TXT")
				if n := len(lines(snapshot(t, s, zone.Name))); n < 2 {
					t.Errorf("%d records", n)
				}
			}
		})
	}
	readers.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			serve(t, s, zone)
		}
	})
	for w := range 16 {
		writers.Go(func() {
			for i := range 25 {
				text := rr(t, zone.Name, fmt.Sprintf("w%d 60 TXT %d", w, i))
				apply(t, s, zone.Name, appending(text))
				if got := ask(t, s, fmt.Sprintf("w%d.example.org", w), "TXT"); len(got.Answer) != 1 {
					t.Errorf("writer %d, round %d, appended: %v", w, i, got.Answer)
				}
				apply(t, s, zone.Name, deleting(text))
				if got := ask(t, s, fmt.Sprintf("w%d.example.org", w), "TXT"); got.Rcode != dns.RcodeNameError {
					t.Errorf("writer %d, round %d, deleted: %v", w, i, got)
				}
			}
		})
	}
	writers.Wait()
	close(stop)
	readers.Wait()
}

// The file as it is at any commit has all that has been answered, and no half change.
func TestFileHasWhatWasAnswered(t *testing.T) {
	path := storePath(t)
	s := open(t, path)
	zone := zoneConfig(t, "example.org")
	serve(t, s, zone)

	type copied struct {
		path     string
		answered []int
	}
	var (
		mu       sync.Mutex
		answered []int
		copies   []copied
	)
	folder := t.TempDir()
	setFailing(t, s, func(step) error { // the committer calls it between its writes
		mu.Lock()
		defer mu.Unlock()
		to := filepath.Join(folder, fmt.Sprint(len(copies)))
		octets, err := os.ReadFile(path)
		if err == nil {
			err = os.WriteFile(to, octets, 0o600)
		}
		copies = append(copies, copied{to, slices.Clone(answered)})
		return err
	})
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			for i := range 5 {
				n := 100*w + i
				apply(t, s, zone.Name, appending(rrs(t, zone.Name, fmt.Sprintf("a%d 60 TXT x", n), fmt.Sprintf("b%d 60 TXT x", n))...))
				mu.Lock()
				answered = append(answered, n)
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	for _, c := range copies {
		s := open(t, c.path)
		if err := s.Load(); err != nil {
			t.Fatal(err)
		}
		z := snapshot(t, s, zone.Name)
		has := func(format string, n int) bool {
			return len(z.At(name(t, fmt.Sprintf(format, n)+".example.org"))) == 1
		}
		for w := range 8 {
			for i := range 5 {
				n := 100*w + i
				a, b := has("a%d", n), has("b%d", n)
				if a != b {
					t.Errorf("%s: half of change %d", c.path, n)
				}
				if !a && slices.Contains(c.answered, n) {
					t.Errorf("%s: change %d was answered and is not there", c.path, n)
				}
			}
		}
		s.Close()
	}
}
