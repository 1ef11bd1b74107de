package hosting

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/libdns/libdns"
	"go.uber.org/zap"

	"github.com/caddy-dns/bestdns/internal/access"
	"github.com/caddy-dns/bestdns/internal/api"
	"github.com/caddy-dns/bestdns/internal/record"
)

// notingProvider keeps the records of one zone, and notes each call that changes it.
type notingProvider struct {
	mu      sync.Mutex
	records []libdns.RR
	calls   []string
	// fails has, for a kind of call, how many succeed; all later ones fail.
	fails map[string]int
}

func (p *notingProvider) note(call string, records []libdns.Record) error {
	if left, ok := p.fails[call]; ok && left == 0 {
		p.calls = append(p.calls, call+" fails")
		return errors.New("the provider's secret")
	} else if ok {
		p.fails[call]--
	}
	var lines []string
	for _, r := range records {
		lines = append(lines, lineOf(r.RR()))
	}
	slices.Sort(lines)
	if call != "get" {
		call += " " + strings.Join(lines, ", ")
	}
	p.calls = append(p.calls, call)
	return nil
}

func (p *notingProvider) GetRecords(context.Context, string) (records []libdns.Record, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, r := range p.records {
		records = append(records, r)
	}
	return records, p.note("get", nil)
}

func (p *notingProvider) AppendRecords(_ context.Context, _ string, records []libdns.Record) ([]libdns.Record, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.note("append", records); err != nil {
		return nil, err
	}
	for _, r := range records {
		if !slices.Contains(p.records, r.RR()) {
			p.records = append(p.records, r.RR())
		}
	}
	return records, nil
}

func (p *notingProvider) DeleteRecords(_ context.Context, _ string, records []libdns.Record) ([]libdns.Record, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.note("delete", records); err != nil {
		return nil, err
	}
	p.records = slices.DeleteFunc(p.records, func(old libdns.RR) bool {
		return slices.ContainsFunc(records, func(r libdns.Record) bool { return r.RR() == old })
	})
	return records, nil
}

func (p *notingProvider) lines() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	lines := []string{}
	for _, rr := range p.records {
		lines = append(lines, lineOf(rr))
	}
	slices.Sort(lines)
	return lines
}

// settingProvider can replace RRsets too.
type settingProvider struct{ *notingProvider }

func (p settingProvider) SetRecords(_ context.Context, _ string, records []libdns.Record) ([]libdns.Record, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.note("set", records); err != nil {
		return nil, err
	}
	p.records = slices.DeleteFunc(p.records, func(old libdns.RR) bool {
		return slices.ContainsFunc(records, func(r libdns.Record) bool { return r.RR().Name == old.Name && r.RR().Type == old.Type })
	})
	for _, r := range records {
		p.records = append(p.records, r.RR())
	}
	return records, nil
}

const updatedZone = "example.test"

// lineOf writes a record as "NAME TTL TYPE DATA".
func lineOf(rr libdns.RR) string {
	return fmt.Sprintf("%s %d %s %s", rr.Name, int(rr.TTL/time.Second), rr.Type, rr.Data)
}

// rrAt reads a record from "NAME TTL TYPE DATA".
func rrAt(t testing.TB, line string) libdns.RR {
	t.Helper()
	f := strings.SplitN(line, " ", 4)
	var ttl int
	if _, err := fmt.Sscan(f[1], &ttl); err != nil {
		t.Fatalf("%q: %v", line, err)
	}
	return libdns.RR{Name: f[0], TTL: time.Duration(ttl) * time.Second, Type: f[2], Data: f[3]}
}

// updateOf reads an update from steps: "add NAME TTL TYPE DATA", "delete NAME TYPE DATA", "clear NAME
// TYPE", "empty NAME", and prerequisites: "if NAME TYPE", "unless NAME TYPE".
func updateOf(t testing.TB, steps ...string) Change {
	t.Helper()
	apex := mustParse(updatedZone)
	c := Change{Zone: apex, Change: record.Change{Op: record.Update}}
	for _, step := range steps {
		op, rest, _ := strings.Cut(step, " ")
		f := append(strings.SplitN(rest, " ", 2), "")
		owner, err := record.ParseOwner(f[0], apex)
		if err != nil {
			t.Fatal(err)
		}
		typ, data, whole := strings.Cut(f[1], " ")
		switch op {
		case "add":
			rr := rrAt(t, rest)
			r, err := record.At(owner, rr.Type, uint32(rr.TTL/time.Second), rr.Data)
			if err != nil {
				t.Fatal(err)
			}
			c.Order, c.Records = append(c.Order, record.Append), append(c.Records, r)
		case "if", "unless":
			parsed, err := record.ParseType(typ)
			if err != nil {
				t.Fatal(err)
			}
			c.Prerequisites = append(c.Prerequisites, record.Prerequisite{Name: owner, Type: parsed, Exists: op == "if"})
		default:
			var given *string
			if whole {
				given = &data
			}
			m, err := record.MatchAt(owner, typ, nil, given)
			if err != nil {
				t.Fatal(err)
			}
			c.Order, c.Matches = append(c.Order, record.Delete), append(c.Matches, m)
		}
	}
	return c
}

// updated is a service with one zone at a provider.
type updated struct {
	*Service
	log *bytes.Buffer
}

func updating(t testing.TB, provider Provider, change ...func(*Config)) updated {
	t.Helper()
	u := updated{log: new(bytes.Buffer)}
	config := Config{
		Zones:    []*Zone{{Apex: mustParse(updatedZone), Provider: provider, TTL: 60, ChallengeTTL: 30, ChallengeLifetime: challengeLifetime}},
		Activity: NewActivity(), Logger: zap.NewNop(), Audit: zap.NewNop(), ProcessLog: slog.New(slog.NewTextHandler(u.log, nil)),
		Clients: []access.Config{
			{Name: "web", Users: []string{"web"}, Rules: []access.Rule{{Verb: access.Certificates, Under: true, Name: mustParse(updatedZone)}}},
			{Name: "other", Users: []string{"other"}, Rules: []access.Rule{{Verb: access.Certificates, Under: true, Name: mustParse(updatedZone)}}},
			{Name: "ops", Users: []string{"ops"}, Rules: []access.Rule{{Verb: access.Allow, Under: true, Name: mustParse(updatedZone)}, {Verb: access.Certificates, Under: true, Name: mustParse(updatedZone)}}},
		},
	}
	for _, f := range change {
		f(&config)
	}
	var err error
	if u.Service, err = New(config); err != nil {
		t.Fatal(err)
	}
	u.Begin(nil)
	t.Cleanup(u.Close)
	return u
}

// update has a client make an update, "" for the modules of the same process.
func (u updated) update(t testing.TB, client string, steps ...string) error {
	t.Helper()
	who := Caller{Client: u.Local()}
	if client != "" {
		who.Client = u.Clients().ByName(client)
	}
	_, err := u.Change(t.Context(), who, updateOf(t, steps...))
	return err
}

// TestProviderUpdates: the difference is appended, set and deleted, by at most one call each, in this
// order.
func TestProviderUpdates(t *testing.T) {
	before := []string{"@ 3600 NS ns1.provider.", "@ 3600 NS ns2.provider.", "a 60 TXT one", "a 60 TXT two", "b 60 A 192.0.2.1", "c 60 CNAME a." + updatedZone + ".", "odd 60 ALIAS elsewhere."}
	for _, test := range []struct {
		name            string
		steps           []string
		setter, without []string // the calls, without that to list the zone
		want            string   // of the error; "" for none
	}{
		{"an append is one", []string{"add x 60 TXT new"}, []string{"append x 60 TXT new"}, []string{"append x 60 TXT new"}, ""},
		{"a deletion is one", []string{"clear a TXT"}, []string{"get", "delete a 60 TXT one, a 60 TXT two"}, []string{"get", "delete a 60 TXT one, a 60 TXT two"}, ""},
		{"a deletion of nothing", []string{"delete a TXT three"}, []string{"get"}, []string{"get"}, ""},
		{"replaces an RRset", []string{"clear a TXT", "add a 60 TXT new"},
			[]string{"get", "set a 60 TXT new"}, []string{"get", "append a 60 TXT new", "delete a 60 TXT one, a 60 TXT two"}, ""},
		{"replaces one record", []string{"delete a TXT one", "add a 60 TXT new"},
			[]string{"get", "set a 60 TXT new, a 60 TXT two"}, []string{"get", "append a 60 TXT new", "delete a 60 TXT one"}, ""},
		{"adds here, deletes there", []string{"empty b", "add x 60 A 192.0.2.2"},
			[]string{"get", "append x 60 A 192.0.2.2", "delete b 60 A 192.0.2.1"}, []string{"get", "append x 60 A 192.0.2.2", "delete b 60 A 192.0.2.1"}, ""},
		{"all three", []string{"add x 60 A 192.0.2.2", "clear a TXT", "add a 60 TXT new", "empty b"},
			[]string{"get", "append x 60 A 192.0.2.2", "set a 60 TXT new", "delete b 60 A 192.0.2.1"},
			[]string{"get", "append a 60 TXT new, x 60 A 192.0.2.2", "delete a 60 TXT one, a 60 TXT two, b 60 A 192.0.2.1"}, ""},
		{"another TTL", []string{"add a 300 TXT one", "clear x TXT"}, []string{"get", "set a 300 TXT one, a 60 TXT two"}, []string{"get"}, ""},
		{"another type instead of a CNAME", []string{"clear c CNAME", "add c 60 A 192.0.2.1"},
			[]string{"get", "append c 60 A 192.0.2.1", "delete c 60 CNAME a." + updatedZone + "."}, []string{"get", "append c 60 A 192.0.2.1", "delete c 60 CNAME a." + updatedZone + "."}, ""},
		{"beside a CNAME", []string{"add c 60 A 192.0.2.1", "clear a TXT"}, []string{"get"}, []string{"get"}, "cname"},
		{"back and forth", []string{"clear a TXT", "add a 60 TXT two", "add a 60 TXT one"}, []string{"get"}, []string{"get"}, ""},
		{"a prerequisite that is met", []string{"if a TXT", "unless x TXT", "add x 60 TXT new"}, []string{"get", "append x 60 TXT new"}, []string{"get", "append x 60 TXT new"}, ""},
		{"one that is not", []string{"if x TXT", "add x 60 TXT new"}, []string{"get"}, []string{"get"}, "prerequisite"},
		{"one that is not, and a deletion", []string{"unless a TXT", "clear a TXT"}, []string{"get"}, []string{"get"}, "prerequisite"},
		{"a prerequisite alone", []string{"if a TXT"}, []string{"get"}, []string{"get"}, ""},
		{"the last NS record", []string{"clear @ NS", "add x 60 TXT new"}, []string{"get"}, []string{"get"}, "apex-ns"},
		{"other NS records", []string{"clear @ NS", "add @ 60 NS ns3.provider."},
			[]string{"get", "set @ 60 NS ns3.provider."}, []string{"get", "append @ 60 NS ns3.provider.", "delete @ 3600 NS ns1.provider., @ 3600 NS ns2.provider."}, ""},
		{"all at the apex but its NS records", []string{"add @ 60 TXT new", "empty @", "add @ 60 A 192.0.2.1"}, []string{"get", "append @ 60 A 192.0.2.1"}, []string{"get", "append @ 60 A 192.0.2.1"}, ""},
		{"all at a name that has what cannot be read", []string{"empty odd", "add odd 60 TXT new"}, []string{"get", "append odd 60 TXT new"}, []string{"get", "append odd 60 TXT new"}, ""},
		{"nothing", nil, nil, nil, ""},
	} {
		for _, sets := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, can set: %t", test.name, sets), func(t *testing.T) {
				noting := &notingProvider{}
				for _, line := range before {
					noting.records = append(noting.records, rrAt(t, line))
				}
				var provider Provider = noting
				want := test.without
				if sets {
					provider, want = settingProvider{noting}, test.setter
				}
				err := updating(t, provider).update(t, "", test.steps...)
				if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
					t.Errorf("error %v, want %q", err, test.want)
				}
				if diff := cmp.Diff(want, noting.calls); diff != "" {
					t.Errorf("calls (-want +got):\n%s", diff)
				}
			})
		}
	}
}

// TestProviderUpdateFails: what a failed update has appended is deleted again, and the log says if the
// update was made in part.
func TestProviderUpdateFails(t *testing.T) {
	steps := []string{"add x 60 TXT new", "clear a TXT", "add a 60 TXT other", "empty b"}
	before := []string{"a 60 TXT one", "b 60 A 192.0.2.1"}
	for _, test := range []struct {
		name  string
		fails map[string]int
		calls []string
		after []string
		log   string
	}{
		{"to list", map[string]int{"get": 0}, []string{"get fails"}, before, ""},
		{"to append", map[string]int{"append": 0}, []string{"get", "append fails"}, before, ""},
		{"to set", map[string]int{"set": 0}, []string{"get", "append x 60 TXT new", "set fails", "delete x 60 TXT new"}, before, ""},
		{"to delete", map[string]int{"delete": 0}, []string{"get", "append x 60 TXT new", "set a 60 TXT other", "delete fails", "delete fails"},
			[]string{"a 60 TXT other", "b 60 A 192.0.2.1", "x 60 TXT new"}, "made in part"},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := settingProvider{&notingProvider{fails: test.fails}}
			for _, line := range before {
				p.records = append(p.records, rrAt(t, line))
			}
			u := updating(t, p)
			err := AsError(u.update(t, "", steps...), "")
			if err.Kind() != api.ProviderFailed || err.Unchanged || strings.Contains(err.Detail, "secret") {
				t.Errorf("error %+v", err)
			}
			if diff := cmp.Diff(test.calls, p.calls); diff != "" {
				t.Errorf("calls (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(test.after, p.lines()); diff != "" {
				t.Errorf("zone (-want +got):\n%s", diff)
			}
			if logged := u.log.String(); (logged != "") != (test.log != "") || !strings.Contains(logged, test.log) {
				t.Errorf("log %q", logged)
			}
		})
	}
}

// TestProviderUpdateOfChallenges: an update of a client that may only answer challenges adds the answers
// with their own TTL, and can neither change nor ask about anything else.
func TestProviderUpdateOfChallenges(t *testing.T) {
	p := settingProvider{&notingProvider{}}
	u := updating(t, p)
	if err := u.update(t, "web", "add _acme-challenge.a 300 TXT "+value(1)); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"_acme-challenge.a 30 TXT " + value(1)}, p.lines()); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	for _, steps := range [][]string{
		{"add a 60 A 192.0.2.1"}, {"add _acme-challenge.a 60 TXT other"}, {"if a A", "add _acme-challenge.a 60 TXT " + value(1)}, {"clear a TXT"}, {"clear _acme-challenge.a A"}, {"empty a"}, {"delete _acme-challenge.a TXT other"},
	} {
		if err := AsError(u.update(t, "web", steps...), ""); err.Kind() != api.Forbidden {
			t.Errorf("%q: %v", steps, err)
		}
	}
}
