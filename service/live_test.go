package service

import (
	"net/netip"
	"path/filepath"
	"testing"

	"github.com/miekg/dns"
	"go.uber.org/zap"

	"github.com/caddy-dns/bestdns/internal/hosting"
	"github.com/caddy-dns/bestdns/internal/nameserver"
	"github.com/caddy-dns/bestdns/internal/record"
)

// TestWhatIsServedWhenAppsGo has apps go in any order: the newest of those that are left is
// served, by its own store.
func TestWhatIsServedWhenAppsGo(t *testing.T) {
	address := freeAddress(t)
	listen, err := parseListen("udp/" + address)
	if err != nil {
		t.Fatal(err)
	}
	apex, err := record.ParseName("example.test")
	if err != nil {
		t.Fatal(err)
	}
	start := func(ns, store string) *App {
		t.Helper()
		server, err := record.ParseName(ns)
		if err != nil {
			t.Fatal(err)
		}
		zone := &hosting.Zone{Apex: apex, NameServers: []nameserver.NameServer{
			{Name: server, Addresses: []netip.Addr{netip.MustParseAddr("127.0.0.1")}},
		}}
		hosted, err := hosting.New(hosting.Config{Zones: []*hosting.Zone{zone}, Logger: zap.NewNop()})
		if err != nil {
			t.Fatal(err)
		}
		a := &App{Zones: []*Zone{{hosted: zone}}, logger: zap.NewNop(), listen: listen, storePath: store, hosting: hosted}
		if err := a.Start(); err != nil {
			t.Fatal(err)
		}
		return a
	}
	serves := func(when, want string) {
		t.Helper()
		answer, err := dns.Exchange(new(dns.Msg).SetQuestion("example.test.", dns.TypeNS), address)
		if err != nil {
			t.Fatalf("%s: %v", when, err)
		}
		if len(answer.Answer) != 1 || answer.Answer[0].(*dns.NS).Ns != want {
			t.Errorf("%s: %v, want %s", when, answer.Answer, want)
		}
	}
	publish := func(a *App, want string) *App {
		t.Helper()
		if a.publish(); liveApps.newest(nil) != a {
			t.Fatal("it is not live")
		}
		serves("when it is published", want)
		return a
	}
	stop := func(a *App) {
		t.Helper()
		if err := a.Cleanup(); err != nil {
			t.Error(err)
		}
	}
	one, two := filepath.Join(t.TempDir(), "one.db"), filepath.Join(t.TempDir(), "two.db")

	first := publish(start("ns1.example.test", one), "ns1.example.test.")
	second := publish(start("ns2.example.test", one), "ns2.example.test.")
	stop(start("ns3.example.test", one))
	serves("after one that was never published", "ns2.example.test.")
	stop(second)
	serves("when the newer one has gone", "ns1.example.test.")
	third := publish(start("ns3.example.test", one), "ns3.example.test.")
	stop(first)
	serves("when the older one has gone", "ns3.example.test.")
	other := publish(start("ns4.example.test", two), "ns4.example.test.")
	stop(other)
	serves("when one with another store has gone", "ns3.example.test.")
	other = publish(start("ns4.example.test", two), "ns4.example.test.")
	stop(third)
	serves("when the one before it has gone", "ns4.example.test.")
	stop(other)
	if left := liveApps.services(); len(left) != 0 {
		t.Errorf("%d apps are live", len(left))
	}
}
