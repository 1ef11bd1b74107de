package hosting

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/libdns/libdns"
	"github.com/miekg/dns"

	"github.com/caddy-dns/bestdns/internal/nameserver"
	"github.com/caddy-dns/bestdns/internal/nsquery"
	"github.com/caddy-dns/bestdns/internal/record"
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
	for _, test := range []struct {
		name   string
		answer func(q *dns.Msg) *dns.Msg
		want   ServerStatus
	}{
		{"good", func(q *dns.Msg) *dns.Msg { return soaAnswer(q, 7) }, ServerStatus{Serial: 7}},
		{"refused", func(q *dns.Msg) *dns.Msg { return new(dns.Msg).SetRcode(q, dns.RcodeRefused) }, ServerStatus{Fault: "answers REFUSED"}},
		{"a code without a name", func(q *dns.Msg) *dns.Msg { return new(dns.Msg).SetRcode(q, 14) }, ServerStatus{Fault: "answers code 14"}},
		{"no authority", func(q *dns.Msg) *dns.Msg { a := soaAnswer(q, 7); a.Authoritative = false; return a }, ServerStatus{Fault: "answers without authority"}},
		{"nothing in it", func(q *dns.Msg) *dns.Msg { a := soaAnswer(q, 7); a.Answer = nil; return a }, ServerStatus{Fault: "has no SOA record of the zone"}},
		{"another zone", func(q *dns.Msg) *dns.Msg { a := soaAnswer(q, 7); a.Answer[0].Header().Name = "test."; return a }, ServerStatus{Fault: "has no SOA record of the zone"}},
		{"silence", nil, ServerStatus{Fault: "no answer"}},
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
			app, zone := askedZone(t, port, "asked.test")
			got := app.askServers(t.Context(), zone, nil)[0]
			got.Name, got.Address, got.at = "", netip.Addr{}, netip.AddrPort{}
			if got != test.want {
				t.Errorf("%+v, want %+v", got, test.want)
			}
		})
	}
}

// TestAskServersLag has servers with different serials, across the end of their numbers too.
func TestAskServersLag(t *testing.T) {
	zone := &Zone{Apex: mustName(t, "asked.test"), Provider: new(scriptedProvider)}
	for _, serial := range []uint32{1, 1<<32 - 1, 1} {
		port := serveDNS(t, "127.0.0.1:0", func(w dns.ResponseWriter, q *dns.Msg) { w.WriteMsg(soaAnswer(q, serial)) })
		zone.Servers = append(zone.Servers, nsquery.Server{Address: netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), port)})
	}
	zone.Servers = append(zone.Servers, nsquery.Server{Address: netip.MustParseAddrPort("127.0.0.1:1")})
	var lags []bool
	for _, server := range serviceOf(t, []*Zone{zone}).askServers(t.Context(), zone, nil) {
		lags = append(lags, server.Lags)
	}
	if want := []bool{false, true, false, false}; !slices.Equal(lags, want) {
		t.Errorf("lag: %v, want %v", lags, want)
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
	name := func(text string) record.Name { return mustName(t, text) }
	apex := name("asked.test")
	builtin := &Zone{Apex: apex, NameServers: []nameserver.NameServer{
		{Name: name("ns1.asked.test"), Addresses: []netip.Addr{netip.MustParseAddr("192.0.2.1")}},
		{Name: name("a.elsewhere.test")},
	}}
	asking := serviceOf(t, []*Zone{builtin})
	for _, test := range []struct {
		name     string
		zone     *Zone
		contents *zoneContents
		want     []string
	}{
		{"as configured", builtin, nil, []string{"a.elsewhere.test. 192.0.2.7", "a.elsewhere.test. 2001:db8::7", "ns1.asked.test. 192.0.2.1"}},
		{"as DNS has them", &Zone{Apex: apex}, nil, []string{"a.elsewhere.test. 192.0.2.7", "a.elsewhere.test. 2001:db8::7", "b.elsewhere.test. 192.0.2.8", "lost.test. invalid IP"}},
		{"as the provider has them", &Zone{Apex: apex}, &zoneContents{
			servers:   []string{"ns.asked.test.", "ns1.asked.test.", `\`},
			addresses: map[record.Name][]netip.Addr{name("ns.asked.test"): {netip.MustParseAddr("192.0.2.9")}},
		}, []string{`\ invalid IP`, "ns.asked.test. 192.0.2.9", "ns1.asked.test. 192.0.2.1"}},
		{"provider without", &Zone{Apex: name("nowhere.test")}, &zoneContents{}, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			var got []string
			for _, s := range asking.serversOf(t.Context(), test.zone, test.contents) {
				got = append(got, s.Name+" "+s.Address.String())
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestNameServerPort(t *testing.T) {
	for _, test := range []struct {
		name    string
		port    uint16
		address string
		want    uint16
	}{
		{"the world", 5353, "192.0.2.1", 53},
		{"this machine", 5353, "127.0.0.2", 5353},
		{"this machine by IPv6", 5353, "::1", 5353},
		{"not listening", 0, "127.0.0.1", 53},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := &Service{config: Config{Port: test.port}}
			if got := s.nameServerPort(netip.MustParseAddr(test.address)); got != test.want {
				t.Errorf("%d, want %d", got, test.want)
			}
		})
	}
}

// TestAskOnce checks that many visitors at the same time, and one that comes again,
// have a server asked once.
func TestAskOnce(t *testing.T) {
	// By their ids, which a second try has too.
	var questions sync.Map
	release := make(chan struct{})
	port := serveDNS(t, "127.0.0.1:0", func(w dns.ResponseWriter, q *dns.Msg) {
		questions.Store(q.Id, true)
		<-release
		w.WriteMsg(soaAnswer(q, 7))
	})
	app, zone := askedZone(t, port, "once.test")
	cache := NewStatusCache(8)
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if found := cache.get(ended, app, []*Zone{zone}); !found[0].Asked.IsZero() {
		t.Errorf("without waiting: %+v", found)
	}
	close(release)
	var looking sync.WaitGroup
	for range 20 {
		looking.Go(func() {
			found := cache.get(t.Context(), app, []*Zone{zone, zone})
			for _, f := range found {
				if len(f.Servers) != 1 || f.Servers[0].Serial != 7 {
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
	cache.zones[zone.Apex].begun = time.Now().Add(-refreshInterval)
	cache.get(t.Context(), app, []*Zone{zone})
	if n := count(); n != 2 {
		t.Errorf("%d questions, want 2", n)
	}
}

// askedZone is a built-in zone with a name server at a port of this machine.
func askedZone(t *testing.T, port uint16, apex string) (*Service, *Zone) {
	t.Helper()
	zone := &Zone{Apex: mustName(t, apex), NameServers: []nameserver.NameServer{
		{Name: mustName(t, "ns."+apex), Addresses: []netip.Addr{netip.MustParseAddr("127.0.0.1")}},
	}}
	s := serviceOf(t, []*Zone{zone})
	s.config.Port = port
	return s, zone
}

// TestStatusCacheForgets checks that memory is bounded, and that what was just asked for
// stays.
func TestStatusCacheForgets(t *testing.T) {
	cache := NewStatusCache(8)
	now := time.Now()
	fill := func(begun time.Time) {
		for i := range mostStatuses {
			apex, err := record.ParseName(fmt.Sprintf("z%d.test", i))
			if err != nil {
				t.Fatal(err)
			}
			cache.zones[apex] = &statusEntry{begun: begun, done: closedChannel}
		}
	}
	port := serveDNS(t, "127.0.0.1:0", func(w dns.ResponseWriter, q *dns.Msg) { w.WriteMsg(soaAnswer(q, 7)) })
	app, zone := askedZone(t, port, "more.test")
	fill(now)
	if found := cache.get(t.Context(), app, []*Zone{zone}); !found[0].Asked.IsZero() || len(cache.zones) != mostStatuses {
		t.Errorf("%+v, %d zones are remembered", found, len(cache.zones))
	}
	fill(now.Add(-refreshInterval))
	if found := cache.get(t.Context(), app, []*Zone{zone}); len(found[0].Servers) != 1 || found[0].Servers[0].Serial != 7 || len(cache.zones) != 1 {
		t.Errorf("%+v, %d zones are remembered", found, len(cache.zones))
	}
}

// TestReadProvider checks what counts of the records at a DNS provider, and that one which
// fails counts as unread.
func TestReadProvider(t *testing.T) {
	var stored []libdns.Record
	var failure error
	zone := &Zone{CNAMETarget: true, Apex: mustName(t, "stored.test"), Provider: &scriptedProvider{
		get: func(context.Context) ([]libdns.Record, error) { return stored, failure },
	}}
	s := serviceOf(t, []*Zone{zone})
	const challengeValue = "LPJNul-wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ"
	text := func(name, text string) libdns.Record { return libdns.TXT{Name: name, Text: text} }
	stored = []libdns.Record{
		text("_acme-challenge.www", challengeValue), text("_acme-challenge.www", challengeValue[1:]+"x"),
		text("_acme-challenge.left", "by hand"), text("www", challengeValue), text("www.elsewhere.test", challengeValue),
		libdns.NS{Name: "@", Target: "ns.stored.test."}, libdns.NS{Name: "sub", Target: "ns.sub.stored.test."},
		libdns.Address{Name: "ns", IP: netip.MustParseAddr("192.0.2.1")},
		libdns.Address{Name: "www", IP: netip.MustParseAddr("192.0.2.2")},
	}
	found := s.readProvider(t.Context(), zone)
	if found == nil {
		t.Fatal("nothing")
	}
	var got []string
	for _, c := range found.challenges {
		got = append(got, c.Name.String())
	}
	for name, addresses := range found.addresses {
		got = append(got, fmt.Sprint(name, addresses))
	}
	got = append(got, found.servers...)
	want := []string{"www.elsewhere.test.stored.test.", "_acme-challenge.www.stored.test.", "ns.stored.test.[192.0.2.1]", "ns.stored.test."}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	failure = errors.New("down")
	if found := s.readProvider(t.Context(), zone); found != nil {
		t.Errorf("%+v", found)
	}
}
