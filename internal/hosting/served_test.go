package hosting

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/libdns/libdns"
	"github.com/miekg/dns"

	"github.com/caddy-dns/bestdns/internal/access"
	"github.com/caddy-dns/bestdns/internal/nsquery"
	"github.com/caddy-dns/bestdns/internal/record"
	"github.com/caddy-dns/bestdns/internal/rfc2136"
)

// provided is a zone at a DNS provider that does all at once, and its name servers.
type provided struct {
	service  *Service
	provider *mergingProvider
	who      Caller
}

const servedZone = "served.test."

func newProvided(t *testing.T, answers ...dns.HandlerFunc) *provided {
	t.Helper()
	p := &provided{provider: newMergingProvider(func() {})}
	zone := &Zone{Apex: mustName(t, servedZone), Name: servedZone, Provider: p.provider, Wait: DefaultWait}
	for _, answer := range answers {
		port := serveDNS(t, "127.0.0.1:0", answer)
		zone.Servers = append(zone.Servers, nsquery.Server{Name: mustName(t, "ns.test"), Address: netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), port)})
	}
	p.service = serviceOf(t, []*Zone{zone}, "someone")
	p.service.Begin(nil)
	p.who = Caller{Client: p.service.Clients().ByName("someone"), RequestID: "some-id"}
	return p
}

// change makes a change of a TXT record at x.
func (p *provided) change(t *testing.T, op record.Op) Result {
	t.Helper()
	r, err := record.At(mustName(t, "x."+servedZone), "TXT", 60, "mine")
	if err != nil {
		t.Fatal(err)
	}
	c := Change{Zone: mustName(t, servedZone), Change: record.Change{Op: op, Records: []record.Record{r}}}
	if op == record.Delete {
		c.Records, c.Matches = nil, []record.Match{record.MatchOf(r)}
	}
	made, err := p.service.Change(t.Context(), p.who, c)
	if err != nil {
		t.Fatal(err)
	}
	return made
}

// texts returns the values that the provider has at x.
func (p *provided) texts() (values []string) {
	p.provider.mu.Lock()
	defer p.provider.mu.Unlock()
	for _, r := range p.provider.rrsets[rrsetKey{servedZone, "x", "TXT"}] {
		values = append(values, r.RR().Data)
	}
	return values
}

// answering is a name server that answers with records, or none.
func answering(records func() []string) dns.HandlerFunc {
	return func(w dns.ResponseWriter, q *dns.Msg) {
		m := new(dns.Msg).SetReply(q)
		m.Authoritative = true
		for _, text := range records() {
			rr, err := dns.NewRR(text)
			if err != nil {
				panic(err)
			}
			if rr.Header().Rrtype == dns.TypeNS {
				m.Ns, m.Authoritative = append(m.Ns, rr), false
				continue
			}
			m.Answer = append(m.Answer, rr)
		}
		w.WriteMsg(m)
	}
}

func always(records ...string) dns.HandlerFunc {
	return answering(func() []string { return records })
}

const there = "x." + servedZone + ` 60 IN TXT "mi" "ne"` // cut in another way

// follows answers with what is at the provider.
func (p *provided) follows() dns.HandlerFunc {
	return answering(func() (records []string) {
		for _, value := range p.texts() {
			records = append(records, "x."+servedZone+" 60 IN TXT "+value)
		}
		return records
	})
}

func deaf(dns.ResponseWriter, *dns.Msg) {}

// TestServed waits for each kind of server.
func TestServed(t *testing.T) {
	t.Parallel()
	var asked atomic.Int32
	late := answering(func() []string {
		if asked.Add(1) < 5 {
			return []string{"x." + servedZone + " 60 IN TXT other"}
		}
		return []string{there}
	})
	for _, test := range []struct {
		name            string
		servers         []dns.HandlerFunc
		within          time.Duration
		pending, silent []string
	}{
		{"all have it", []dns.HandlerFunc{always(there), always(there)}, ZoneWait, nil, nil},
		{"late", []dns.HandlerFunc{always(there), late}, ZoneWait, nil, nil},
		{"one lags", []dns.HandlerFunc{always(there), always()}, time.Second, []string{"ns.test 127.0.0.1"}, nil},
		{"one is dead", []dns.HandlerFunc{deaf, always(there)}, ZoneWait, nil, []string{"ns.test 127.0.0.1"}},
		{"no time", []dns.HandlerFunc{always()}, 0, nil, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			p := newProvided(t, test.servers...)
			made := p.change(t, record.Append)
			if err := p.service.Served(t.Context(), p.who, &made, test.within); err != nil {
				t.Fatal(err)
			}
			withoutPort := func(names []string) (short []string) {
				for _, name := range names {
					short = append(short, name[:strings.LastIndex(name, ":")])
				}
				return short
			}
			if !slices.Equal(withoutPort(made.Pending), test.pending) || !slices.Equal(withoutPort(made.Silent), test.silent) {
				t.Errorf("pending %q, silent %q", made.Pending, made.Silent)
			}
		})
	}
}

// TestServedKnowsSilent waits once for a server that is dead, and not again.
func TestServedKnowsSilent(t *testing.T) {
	t.Parallel()
	p := newProvided(t, deaf, always(there))
	for i := range 3 {
		made := p.change(t, record.Append)
		began := time.Now()
		if err := p.service.Served(t.Context(), p.who, &made, ZoneWait); err != nil || len(made.Silent) != 1 || len(made.Pending) > 0 {
			t.Errorf("pending %q, silent %q, %v", made.Pending, made.Silent, err)
		}
		if took := time.Since(began); i > 0 && took > 1500*time.Millisecond {
			t.Errorf("it was waited for again: %s", took)
		}
	}
	counts := p.service.config.Activity.Counts().Zones[mustName(t, servedZone)]
	if diff := cmp.Diff([...]uint64{0, 3, 0, 0}, counts.Waits); diff != "" {
		t.Errorf("waits (-want +got):\n%s", diff)
	}
}

// TestServedWaitsAgain has a server that was silent come back: it is waited for a second later, and not
// only after the minute for which a dead one is not.
func TestServedWaitsAgain(t *testing.T) {
	t.Parallel()
	var back atomic.Bool
	lags := always()
	p := newProvided(t, func(w dns.ResponseWriter, q *dns.Msg) {
		switch {
		case !back.Load():
		case q.Question[0].Qtype == dns.TypeSOA:
			w.WriteMsg(soaAnswer(q, 1))
		default:
			lags(w, q)
		}
	})
	made := p.change(t, record.Append)
	if err := p.service.Served(t.Context(), p.who, &made, ZoneWait); err != nil || len(made.Silent) != 1 {
		t.Fatalf("pending %q, silent %q, %v", made.Pending, made.Silent, err)
	}
	back.Store(true)
	for began := time.Now(); time.Since(began) < 20*time.Second; {
		made = p.change(t, record.Append)
		if err := p.service.Served(t.Context(), p.who, &made, time.Second); err != nil {
			t.Fatal(err)
		}
		if len(made.Pending) == 1 {
			return
		}
	}
	t.Errorf("it is not waited for: pending %q, silent %q", made.Pending, made.Silent)
}

// TestServedEnds ends a wait from outside.
func TestServedEnds(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(p *provided, cancel func()){
		"the caller goes":         func(_ *provided, cancel func()) { cancel() },
		"the configuration ends":  func(p *provided, _ func()) { p.service.EndWaits() },
		"the service was stopped": func(p *provided, _ func()) { p.service.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var once sync.Once
			asked := make(chan struct{})
			p := newProvided(t, answering(func() []string {
				once.Do(func() { close(asked) })
				return nil
			}))
			made := p.change(t, record.Append)
			ctx, cancel := context.WithCancel(t.Context())
			go func() {
				<-asked
				end(p, cancel)
			}()
			began := time.Now()
			if err := p.service.Served(ctx, p.who, &made, LocalWait); err != nil || len(made.Pending) != 1 {
				t.Errorf("pending %q, %v", made.Pending, err)
			}
			if took := time.Since(began); took > 5*time.Second {
				t.Errorf("it took %s", took)
			}
			// And who comes now is answered at once, without being told that all is well.
			if err := p.service.Served(ctx, p.who, &made, LocalWait); err != nil || len(made.Pending) != 1 {
				t.Errorf("afterwards: pending %q, %v", made.Pending, err)
			}
		})
	}
}

// TestServedByNoOne has a record where no name server will serve it: it is refused and gone.
func TestServedByNoOne(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, answer, want string
	}{
		{"beside a CNAME", "x." + servedZone + " 60 IN CNAME elsewhere.test.", `CNAME record to "elsewhere.test."`},
		{"below a delegation", "x." + servedZone + " 60 IN NS ns.elsewhere.test.", "delegated to other name servers"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			p := newProvided(t, always(test.answer), always(test.answer), deaf)
			made := p.change(t, record.Append)
			failure := AsError(p.service.Served(t.Context(), p.who, &made, 4*time.Second), "")
			if failure.Status != 409 || !strings.Contains(failure.Detail, test.want) || !failure.Unchanged {
				t.Errorf("%+v", failure)
			}
			if left := p.texts(); left != nil {
				t.Errorf("left: %q", left)
			}
			again, err := p.service.Made(p.who, Change{Zone: mustName(t, servedZone), Change: made.change})
			if err != nil {
				t.Fatal(err)
			}
			if failure = AsError(p.service.Served(t.Context(), p.who, &again, time.Second), ""); failure.Status != 409 {
				t.Errorf("a wait afterwards: %+v", failure)
			}
		})
	}
	// One server that has it is enough for it not to be so.
	p := newProvided(t, always("x."+servedZone+" 60 IN CNAME elsewhere.test."), always(there))
	made := p.change(t, record.Append)
	if err := p.service.Served(t.Context(), p.who, &made, time.Second); err != nil || len(made.Pending) != 1 || len(p.texts()) != 1 {
		t.Errorf("pending %q, %v, left %q", made.Pending, err, p.texts())
	}
}

// TestServedTakesBackOnlyThat appends two records, of which one is never served.
func TestServedTakesBackOnlyThat(t *testing.T) {
	t.Parallel()
	p := newProvided(t, answering(func() []string { return nil }))
	port := serveDNS(t, "127.0.0.1:0", func(w dns.ResponseWriter, q *dns.Msg) {
		if strings.HasPrefix(q.Question[0].Name, "x.") {
			always(there)(w, q)
		} else {
			always(q.Question[0].Name+" 60 IN CNAME elsewhere.test.")(w, q)
		}
	})
	p.service.zones[0].Servers[0].Address = netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), port)
	var records []record.Record
	for _, name := range []string{"x.", "y."} {
		r, err := record.At(mustName(t, name+servedZone), "TXT", 60, "mine")
		if err != nil {
			t.Fatal(err)
		}
		records = append(records, r)
	}
	made, err := p.service.Change(t.Context(), p.who, Change{Zone: mustName(t, servedZone), Change: record.Change{Op: record.Append, Records: records}})
	if err != nil {
		t.Fatal(err)
	}
	failure := AsError(p.service.Served(t.Context(), p.who, &made, time.Second), "")
	if failure.Status != 409 || failure.Unchanged || !strings.Contains(failure.Detail, `"y.served.test."`) {
		t.Errorf("%+v", failure)
	}
	if left := p.texts(); !slices.Equal(left, []string{"mine"}) {
		t.Errorf("at x is %q", left)
	}
	if p.provider.rrsets[rrsetKey{servedZone, "y", "TXT"}] != nil {
		t.Error("what is never served is left")
	}
}

// TestInTheWay tells what keeps a record from being served from a server that is late.
func TestInTheWay(t *testing.T) {
	zone, x := mustName(t, servedZone), mustName(t, "x.sub."+servedZone)
	answer := func(name record.Name, typ uint16, authoritative bool, records ...string) nsquery.Answer {
		a := nsquery.Answer{Question: nsquery.Question{Name: name, Type: typ}, Authoritative: authoritative}
		for _, text := range records {
			rr, err := dns.NewRR(text)
			if err != nil {
				t.Fatal(err)
			}
			if rr.Header().Rrtype == dns.TypeNS {
				a.Authority = append(a.Authority, rr)
			} else {
				a.Records = append(a.Records, rr)
			}
		}
		return a
	}
	const cut, above, alias = "sub." + servedZone + " 60 IN NS ns.test.", "test. 60 IN NS ns.test.", "x.sub." + servedZone + " 60 IN CNAME y.test."
	for _, test := range []struct {
		name   string
		answer nsquery.Answer
		is     bool
	}{
		{"nothing", answer(x, dns.TypeTXT, true), false},
		{"below a delegation", answer(x, dns.TypeTXT, false, cut), true},
		{"a referral upwards", answer(x, dns.TypeTXT, false, above), false},
		{"the old NS records of a delegation", answer(mustName(t, "sub."+servedZone), dns.TypeNS, false, cut), false},
		{"an address of its servers", answer(x, dns.TypeA, false, cut), false},
		{"beside a CNAME", answer(x, dns.TypeTXT, true, alias), true},
		{"the old CNAME", answer(x, dns.TypeCNAME, true, alias), false},
	} {
		for range 2 { // to look changes nothing
			test.answer.RRset()
			if why := inTheWay(zone, test.answer); (why != "") != test.is {
				t.Errorf("%s: %q", test.name, why)
			}
		}
	}
}

// TestServedAppendsOnceMore loses a value to another writer.
func TestServedAppendsOnceMore(t *testing.T) {
	t.Parallel()
	p := newProvided(t, always())
	port := serveDNS(t, "127.0.0.1:0", p.follows())
	p.service.zones[0].Servers[0].Address = netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), port)
	made := p.change(t, record.Append)
	p.provider.mu.Lock()
	p.provider.rrsets = map[rrsetKey][]libdns.Record{} // another writer read before and writes after
	p.provider.mu.Unlock()
	if err := p.service.Served(t.Context(), p.who, &made, ZoneWait); err != nil || len(made.Pending) > 0 {
		t.Errorf("pending %q, %v", made.Pending, err)
	}
	if got := p.texts(); !slices.Equal(got, []string{"mine"}) {
		t.Errorf("the provider has %q", got)
	}
	last := p.service.config.Activity.Recent()[0]
	if last.Op != "append again" || last.Outcome != "changed" || last.RequestID != "some-id" {
		t.Errorf("remembered as %+v", last)
	}
}

// TestWaitsAreCountedOnce waits for one change several times.
func TestWaitsAreCountedOnce(t *testing.T) {
	t.Parallel()
	p := newProvided(t, always("x."+servedZone+" 60 IN TXT other"))
	made := p.change(t, record.Append)
	for i := range 3 {
		if i > 0 {
			var err error
			if made, err = p.service.Made(p.who, Change{Zone: mustName(t, servedZone), Change: made.change}); err != nil {
				t.Fatal(err)
			}
		}
		if err := p.service.Served(t.Context(), p.who, &made, 100*time.Millisecond); err != nil || len(made.Pending) != 1 {
			t.Errorf("pending %q, %v", made.Pending, err)
		}
	}
	counts := p.service.config.Activity.Counts().Zones[mustName(t, servedZone)]
	if want := [...]uint64{WaitPending: 1, WaitUnknown: 0}; counts.Waits != want {
		t.Errorf("waits %v, want %v", counts.Waits, want)
	}
}

// TestServedFinds finds the servers by NS records, once.
func TestServedFinds(t *testing.T) {
	p := newProvided(t)
	zone := p.service.zones[0]
	old := lookUp
	t.Cleanup(func() { lookUp = old })
	looks := &countingLookUp{fakeLookUp: fakeLookUp{
		servedZone: {"a.elsewhere.test.", "lost.test."}, "a.elsewhere.test.": {"192.0.2.7", "2001:db8::7"},
	}}
	lookUp = looks
	want := []string{"a.elsewhere.test 192.0.2.7", "a.elsewhere.test 2001:db8::7"}
	for range 3 {
		got, known := p.service.watch.serversOf(t.Context(), p.service, zone)
		if diff := cmp.Diff(want, namesOfServers(got)); diff != "" || !known {
			t.Errorf("known %v (-want +got):\n%s", known, diff)
		}
	}
	if n := looks.n.Load(); n != 1 {
		t.Errorf("%d look-ups", n)
	}
	// A look-up that fails takes nothing away.
	lookUp = fakeLookUp{}
	p.service.watch.found.mu.Lock()
	of := p.service.watch.found.zones[zone.Apex]
	p.service.watch.found.mu.Unlock()
	p.service.watch.found.look(p.service, zone, of)
	if got, _ := p.service.watch.serversOf(t.Context(), p.service, zone); len(got) != 2 {
		t.Errorf("after a failure: %v", got)
	}
	// Of a zone on a primary, the configuration knows some servers, which count until better are found.
	primary := &Zone{Apex: zone.Apex, Wait: DefaultWait, Primary: &rfc2136.Config{
		Primaries: []netip.AddrPort{netip.MustParseAddrPort("192.0.2.1:53")},
		Notify:    []rfc2136.Secondary{{Address: netip.MustParseAddrPort("192.0.2.2:5353")}},
	}}
	found := &zoneServers{first: make(chan struct{})}
	for _, step := range []struct {
		lookUp fakeLookUp
		want   []string
	}{{fakeLookUp{}, []string{"192.0.2.1", "192.0.2.2:5353"}}, {looks.fakeLookUp, want}, {fakeLookUp{}, want}} {
		lookUp = step.lookUp
		p.service.watch.found.look(p.service, primary, found)
		if diff := cmp.Diff(step.want, namesOfServers(found.servers)); diff != "" {
			t.Errorf("on a primary (-want +got):\n%s", diff)
		}
	}
	// Before the first has ended, nothing is known.
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	block := make(chan struct{})
	lookUp = blockingLookUp{fakeLookUp{}, block}
	q := newProvided(t)
	defer func() {
		close(block)
		q.service.watch.serversOf(t.Context(), q.service, q.service.zones[0]) // waits for the look to end
	}()
	if _, known := q.service.watch.serversOf(ended, q.service, q.service.zones[0]); known {
		t.Error("known")
	}
	made := q.change(t, record.Append)
	if err := q.service.Served(ended, q.who, &made, ZoneWait); err != nil || !slices.Equal(made.Pending, []string{"the name servers of served.test"}) {
		t.Errorf("pending %q, %v", made.Pending, err)
	}
}

type countingLookUp struct {
	fakeLookUp
	n atomic.Int32
}

func (l *countingLookUp) LookupNS(ctx context.Context, name string) ([]*net.NS, error) {
	l.n.Add(1)
	return l.fakeLookUp.LookupNS(ctx, name)
}

// blockingLookUp does not answer before the test ends.
type blockingLookUp struct {
	fakeLookUp
	until <-chan struct{}
}

func (l blockingLookUp) LookupNS(context.Context, string) ([]*net.NS, error) {
	<-l.until
	return nil, errors.New("given up")
}

// TestWaitsAreBounded has clients wait for more than they may at the same time.
func TestWaitsAreBounded(t *testing.T) {
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	const servers = 4
	for _, test := range []struct {
		name                 string
		large, local         bool
		servers              int
		most, queued, beyond int
	}{
		{"usual", false, false, servers, mostAsked / servers, mostQueued, 10},
		{"of many servers", false, false, 3 * mostAsked, 1, mostQueued, 10},
		{"large", true, false, servers, mostLargeWaits, 0, 10},
		{"of the same process", true, true, servers, mostAsked / servers, 2 * mostQueued, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWatch()
				var client *access.Client
				if !test.local {
					w.local = new(access.Client)
				}
				var leaves []func()
				for range test.most {
					leave, ok := w.enter(t.Context(), client, test.servers, test.large)
					if !ok {
						t.Fatalf("%d did not get in", len(leaves))
					}
					leaves = append(leaves, leave)
				}
				if _, ok := w.enter(ended, client, test.servers, test.large); ok {
					t.Errorf("more than %d got in", test.most)
				}
				var in, out atomic.Int32
				var all sync.WaitGroup
				for range test.queued + test.beyond {
					all.Go(func() {
						if leave, ok := w.enter(t.Context(), client, test.servers, test.large); ok {
							in.Add(1)
							leave()
						} else {
							out.Add(1)
						}
					})
				}
				synctest.Wait()
				if got := int(out.Load()); got != test.beyond || in.Load() > 0 {
					t.Errorf("%d were turned away, %d are in", got, in.Load())
				}
				for _, leave := range leaves {
					leave()
				}
				all.Wait()
				if got := int(in.Load()); got != test.queued {
					t.Errorf("%d came in from the queue", got)
				}
				leave, ok := w.enter(t.Context(), client, mostAsked, false)
				if !ok {
					t.Fatal("places are lost")
				}
				leave()
			})
		})
	}
	r := record.Record{Data: strings.Repeat("x", 200)}
	for n, want := range map[int]bool{1: false, 50: false, 65: true} {
		if got := isLarge(slices.Repeat([]record.Record{r}, n)); got != want {
			t.Errorf("%d records: large %v", n, got)
		}
	}
	if wanted := wantedOf("", slices.Repeat([]record.Record{r}, 1000)); len(wanted) != 1 {
		t.Errorf("%d RRsets of one", len(wanted))
	}
	var many []record.Record
	for i := range 100 {
		many = append(many, record.Record{Type: record.Type(i + 1)})
	}
	if wanted := wantedOf("", many); len(wanted) != mostWanted || wanted[0].Question.Type != 1 || wanted[mostWanted-1].Question.Type != 100 {
		t.Errorf("%d RRsets of 100", len(wanted))
	}
}
