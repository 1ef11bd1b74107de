package service

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/google/go-cmp/cmp"
	"github.com/libdns/libdns"
	"github.com/miekg/dns"

	"github.com/caddy-dns/bestdns/internal/nameserver"
	"github.com/caddy-dns/bestdns/internal/record"
	"github.com/caddy-dns/bestdns/service/page"
)

// serveDNS answers by a function until the test ends, and returns the port.
func serveDNS(t *testing.T, address string, handle dns.HandlerFunc) uint16 {
	t.Helper()
	conn, err := net.ListenPacket("udp", address)
	if err != nil {
		t.Fatal(err)
	}
	started := make(chan struct{})
	server := &dns.Server{PacketConn: conn, Handler: handle, NotifyStartedFunc: func() { close(started) }}
	go server.ActivateAndServe()
	<-started
	t.Cleanup(func() { server.Shutdown() })
	return netip.MustParseAddrPort(conn.LocalAddr().String()).Port()
}

// soaAnswer answers with authority and a serial.
func soaAnswer(q *dns.Msg, serial uint32) *dns.Msg {
	answer := new(dns.Msg).SetReply(q)
	answer.Authoritative = true
	answer.Answer = []dns.RR{&dns.SOA{
		Hdr: dns.RR_Header{Name: strings.ToUpper(q.Question[0].Name), Rrtype: dns.TypeSOA, Class: dns.ClassINET},
		Ns:  "ns.", Mbox: "m.", Serial: serial,
	}}
	return answer
}

func TestAskServer(t *testing.T) {
	apex, _ := record.ParseName("asked.test")
	for _, test := range []struct {
		name   string
		answer func(q *dns.Msg) *dns.Msg
		want   serverFound
	}{
		{"good", func(q *dns.Msg) *dns.Msg { return soaAnswer(q, 7) }, serverFound{serial: 7}},
		{"refused", func(q *dns.Msg) *dns.Msg { return new(dns.Msg).SetRcode(q, dns.RcodeRefused) }, serverFound{fault: "answers REFUSED"}},
		{"a code without a name", func(q *dns.Msg) *dns.Msg { return new(dns.Msg).SetRcode(q, 14) }, serverFound{fault: "answers code 14"}},
		{"no authority", func(q *dns.Msg) *dns.Msg { a := soaAnswer(q, 7); a.Authoritative = false; return a }, serverFound{fault: "answers without authority"}},
		{"nothing in it", func(q *dns.Msg) *dns.Msg { a := soaAnswer(q, 7); a.Answer = nil; return a }, serverFound{fault: "has no SOA record of the zone"}},
		{"another zone", func(q *dns.Msg) *dns.Msg { a := soaAnswer(q, 7); a.Answer[0].Header().Name = "test."; return a }, serverFound{fault: "has no SOA record of the zone"}},
		{"silence", nil, serverFound{fault: "no answer"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			port := serveDNS(t, "127.0.0.1:0", func(w dns.ResponseWriter, q *dns.Msg) {
				if q.RecursionDesired {
					t.Error("recursion was asked for")
				}
				if test.answer != nil {
					w.WriteMsg(test.answer(q))
				}
			})
			got := serverFound{address: netip.MustParseAddr("127.0.0.1")}
			got.ask(t.Context(), apex, port)
			got.address = netip.Addr{}
			if got != test.want {
				t.Errorf("%+v, want %+v", got, test.want)
			}
		})
	}
}

// fakeLookUp is what DNS has to say to names that are not hosted here.
type fakeLookUp map[string][]string

func (f fakeLookUp) LookupNS(_ context.Context, name string) (found []*net.NS, err error) {
	for _, host := range f[name] {
		found = append(found, &net.NS{Host: host})
	}
	return found, nil
}

func (f fakeLookUp) LookupNetIP(_ context.Context, _, host string) (found []netip.Addr, err error) {
	for _, address := range f[host] {
		found = append(found, netip.MustParseAddr(address))
	}
	if found == nil {
		return nil, errors.New("no such host")
	}
	return found, nil
}

// TestServersOf checks where the name servers of a zone are taken from.
func TestServersOf(t *testing.T) {
	old := lookUp
	t.Cleanup(func() { lookUp = old })
	lookUp = fakeLookUp{
		"asked.test.": {"b.elsewhere.test.", "a.elsewhere.test.", "lost.test."},
		// As the system's resolver has IPv4 addresses.
		"a.elsewhere.test.": {"::ffff:192.0.2.7", "2001:db8::7"},
		"b.elsewhere.test.": {"192.0.2.8"},
	}
	name := func(text string) record.Name {
		n, err := record.ParseName(text)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	apex := name("asked.test")
	builtin := &Zone{builtin: true, apex: apex, nameServers: []nameserver.NameServer{
		{Name: name("ns1.asked.test"), Addresses: []netip.Addr{netip.MustParseAddr("192.0.2.1")}},
		{Name: name("a.elsewhere.test")},
	}}
	app := &App{Zones: []*Zone{builtin}}
	for _, test := range []struct {
		name   string
		zone   *Zone
		stored *storedFound
		want   []string
	}{
		{"as configured", builtin, nil, []string{"a.elsewhere.test. 192.0.2.7", "a.elsewhere.test. 2001:db8::7", "ns1.asked.test. 192.0.2.1"}},
		{"as DNS has them", &Zone{apex: apex}, nil, []string{"a.elsewhere.test. 192.0.2.7", "a.elsewhere.test. 2001:db8::7", "b.elsewhere.test. 192.0.2.8", "lost.test. invalid IP"}},
		{"as the provider has them", &Zone{apex: apex}, &storedFound{
			servers:   []string{"ns.asked.test.", "ns1.asked.test.", `\`},
			addresses: map[record.Name][]netip.Addr{name("ns.asked.test"): {netip.MustParseAddr("192.0.2.9")}},
		}, []string{`\ invalid IP`, "ns.asked.test. 192.0.2.9", "ns1.asked.test. 192.0.2.1"}},
		{"provider without", &Zone{apex: name("nowhere.test")}, &storedFound{}, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			var got []string
			for _, s := range app.serversOf(t.Context(), test.zone, test.stored) {
				got = append(got, s.name+" "+s.address.String())
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestNameServerPort(t *testing.T) {
	listen, err := parseListen("127.0.0.1:5353")
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name    string
		listen  []caddy.NetworkAddress
		address string
		want    uint16
	}{
		{"the world", listen, "192.0.2.1", 53},
		{"this machine", listen, "127.0.0.2", 5353},
		{"this machine by IPv6", listen, "::1", 5353},
		{"not listening", nil, "127.0.0.1", 53},
	} {
		t.Run(test.name, func(t *testing.T) {
			app := &App{listen: test.listen}
			if got := app.nameServerPort(netip.MustParseAddr(test.address)); got != test.want {
				t.Errorf("%d, want %d", got, test.want)
			}
		})
	}
}

func TestState(t *testing.T) {
	good, other := serverFound{serial: 1}, serverFound{serial: 2}
	bad, unreachable := serverFound{fault: "no answer"}, serverFound{fault: "cannot be reached from here", elsewhere: true}
	asked := time.Now()
	for _, test := range []struct {
		name  string
		found findings
		want  page.State
	}{
		{"not asked", findings{}, page.NotAsked},
		{"none", findings{asked: asked}, page.Unknown},
		{"one", findings{asked: asked, servers: []serverFound{good}}, page.Agree},
		{"two", findings{asked: asked, servers: []serverFound{good, good}}, page.Agree},
		{"two serials", findings{asked: asked, servers: []serverFound{good, other}}, page.Differ},
		{"one silent", findings{asked: asked, servers: []serverFound{good, bad}}, page.Faulty},
		{"one silent among two serials", findings{asked: asked, servers: []serverFound{good, other, bad}}, page.Faulty},
		{"no way to one", findings{asked: asked, servers: []serverFound{unreachable, good}}, page.Agree},
		{"no way to any", findings{asked: asked, servers: []serverFound{unreachable}}, page.Faulty},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := test.found.state(); got != test.want {
				t.Errorf("%v, want %v", got, test.want)
			}
		})
	}
}

// TestInquireOnce checks that many who look at the same time, and one who looks again,
// have a server asked once.
func TestInquireOnce(t *testing.T) {
	// By their ids, which a second try has too.
	var questions sync.Map
	release := make(chan struct{})
	port := serveDNS(t, "127.0.0.1:0", func(w dns.ResponseWriter, q *dns.Msg) {
		questions.Store(q.Id, true)
		<-release
		w.WriteMsg(soaAnswer(q, 7))
	})
	app, zone := inquiredZone(t, port, "once.test")
	q := newInquirer()
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if found := q.look(ended, app, []*Zone{zone}); !found[0].asked.IsZero() {
		t.Errorf("who does not wait has %+v", found)
	}
	close(release)
	var looking sync.WaitGroup
	for range 20 {
		looking.Go(func() {
			found := q.look(t.Context(), app, []*Zone{zone, zone})
			for _, f := range found {
				if len(f.servers) != 1 || f.servers[0].serial != 7 {
					t.Errorf("%+v", f)
				}
			}
		})
	}
	looking.Wait()
	count := func() (n int) {
		questions.Range(func(any, any) bool { n++; return true })
		return n
	}
	if n := count(); n != 1 {
		t.Errorf("%d questions, want 1", n)
	}
	// The interval over, it is asked again.
	q.zones[zone.apex].begun = time.Now().Add(-inquiryInterval)
	q.look(t.Context(), app, []*Zone{zone})
	if n := count(); n != 2 {
		t.Errorf("%d questions, want 2", n)
	}
}

// inquiredZone is a built-in zone with a name server at a port of this machine.
func inquiredZone(t *testing.T, port uint16, apex string) (*App, *Zone) {
	t.Helper()
	name, err := record.ParseName(apex)
	if err != nil {
		t.Fatal(err)
	}
	ns, err := name.Child("ns")
	if err != nil {
		t.Fatal(err)
	}
	zone := &Zone{builtin: true, apex: name, nameServers: []nameserver.NameServer{{Name: ns, Addresses: []netip.Addr{netip.MustParseAddr("127.0.0.1")}}}}
	listen, err := parseListen(fmt.Sprintf("udp/127.0.0.1:%d", port))
	if err != nil {
		t.Fatal(err)
	}
	return &App{Zones: []*Zone{zone}, listen: listen, ready: make(chan struct{})}, zone
}

// TestInquirerForgets checks that memory is bounded, and that what was just asked for
// stays.
func TestInquirerForgets(t *testing.T) {
	q := newInquirer()
	now := time.Now()
	fill := func(begun time.Time) {
		for i := range rememberedInquiries {
			apex, err := record.ParseName(fmt.Sprintf("z%d.test", i))
			if err != nil {
				t.Fatal(err)
			}
			q.zones[apex] = &inquiry{begun: begun, done: closedChannel}
		}
	}
	port := serveDNS(t, "127.0.0.1:0", func(w dns.ResponseWriter, q *dns.Msg) { w.WriteMsg(soaAnswer(q, 7)) })
	app, zone := inquiredZone(t, port, "more.test")
	fill(now)
	if found := q.look(t.Context(), app, []*Zone{zone}); !found[0].asked.IsZero() || len(q.zones) != rememberedInquiries {
		t.Errorf("%+v, %d zones are remembered", found, len(q.zones))
	}
	fill(now.Add(-inquiryInterval))
	if found := q.look(t.Context(), app, []*Zone{zone}); found[0].state() != page.Agree || len(q.zones) != 1 {
		t.Errorf("%+v, %d zones are remembered", found, len(q.zones))
	}
}

// TestReadStored checks what counts of the records at a DNS provider, and that one which
// fails is said to have told nothing.
func TestReadStored(t *testing.T) {
	zone := &Zone{CNAMETarget: true}
	zone.apex, _ = record.ParseName("stored.test")
	zone.records = &providerZone{apex: zone.apex, zone: "stored.test.", provider: memory, getter: memory}
	text := func(name, text string) libdns.Record { return libdns.TXT{Name: name, Text: text} }
	memory.reset(
		text("_acme-challenge.www", challengeValue), text("_acme-challenge.www", challengeValue[1:]+"x"),
		text("_acme-challenge.left", "by hand"), text("www", challengeValue), text("www.elsewhere.test", challengeValue),
		libdns.NS{Name: "@", Target: "ns.stored.test."}, libdns.NS{Name: "sub", Target: "ns.sub.stored.test."},
		libdns.Address{Name: "ns", IP: netip.MustParseAddr("192.0.2.1")},
		libdns.Address{Name: "www", IP: netip.MustParseAddr("192.0.2.2")},
	)
	found := readStored(t.Context(), zone)
	if found == nil {
		t.Fatal("nothing")
	}
	var got []string
	for _, name := range found.challenges {
		got = append(got, name.String())
	}
	for name, addresses := range found.addresses {
		got = append(got, fmt.Sprint(name, addresses))
	}
	got = append(got, found.servers...)
	want := []string{"www.elsewhere.test.stored.test.", "_acme-challenge.www.stored.test.", "ns.stored.test.[192.0.2.1]", "ns.stored.test."}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	memory.reset()
	memory.fail = errors.New("down")
	if found := readStored(t.Context(), zone); found != nil {
		t.Errorf("%+v", found)
	}
	memory.reset()
}
