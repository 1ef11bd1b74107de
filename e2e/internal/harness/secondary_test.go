package harness_test

import (
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/caddy-dns/bestdns/e2e/internal/harness"
)

// secondaries are all of the kinds.
var secondaries = []struct {
	name  string
	start func(testing.TB, harness.Secondary) *harness.Process
}{
	{"Knot", harness.StartKnotSecondary},
	{"NSD", func(t testing.TB, s harness.Secondary) *harness.Process {
		return harness.StartNSDSecondary(t, s, 0)
	}},
	{"BIND", harness.StartBINDSecondary},
	{"PowerDNS", harness.StartPowerDNSSecondary},
}

// A secondary that is sent NOTIFY by the test has the change of its primary, which sends
// none itself so soon, whether the transfer needs a key or not.
func TestSecondaries(t *testing.T) {
	t.Parallel()
	for _, s := range secondaries {
		for name, open := range map[string]bool{"signed": false, "unsigned": true} {
			t.Run(s.name+"/"+name, func(t *testing.T) {
				t.Parallel()
				z := harness.NewZone(t, "zone.example", 1, 1)
				z.Open = open
				addr, told := z.Secondaries[0], z
				told.Secondaries = nil
				harness.StartKnotPrimary(t, told)
				server := s.start(t, z.Secondary(0))
				for n := range 3 {
					owner, text := record(n)
					assertTexts(t, addr, owner, 0)
					z.Update(t, z.Primaries[0], []string{text}, nil)
					notify(t, z.Name, addr)
					t.Logf("%s serves a change after %s", s.name, harness.WaitTexts(t, addr, owner, 1, 15*time.Second))
				}
				owner, text := record(0)
				z.Update(t, z.Primaries[0], nil, []string{text})
				notify(t, z.Name, addr)
				harness.WaitTexts(t, addr, owner, 0, 15*time.Second)

				server.Kill()
				server.Start()
				owner, _ = record(2)
				harness.WaitTexts(t, addr, owner, 1, 15*time.Second)
			})
		}
	}
}

// notify tells a secondary of a change (RFC 1996).
func notify(t *testing.T, zone, addr string) {
	t.Helper()
	answer, _, err := new(dns.Client).Exchange(new(dns.Msg).SetNotify(dns.Fqdn(zone)), addr)
	if err != nil || answer.Rcode != dns.RcodeSuccess {
		t.Errorf("NOTIFY is not taken: %v, %v", answer, err)
	}
}

// NOTIFY from an address that is not said is refused.
func TestSecondariesNeedTheAddress(t *testing.T) {
	t.Parallel()
	for _, s := range secondaries {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			z := harness.NewZone(t, "zone.example", 1, 1)
			harness.StartKnotPrimary(t, z)
			secondary := z.Secondary(0)
			secondary.NotifyFrom = []string{"127.1.2.3"}
			s.start(t, secondary)
			answer, _, err := new(dns.Client).Exchange(new(dns.Msg).SetNotify(dns.Fqdn(z.Name)), secondary.Addr)
			if err == nil && answer.Rcode == dns.RcodeSuccess {
				t.Errorf("NOTIFY is taken: %v", answer)
			}
		})
	}
}

// Primaries send NOTIFY by themselves, each after its own delay: what waits for all servers
// of a zone has something to wait for.
func TestPrimariesNotify(t *testing.T) {
	t.Parallel()
	for _, p := range []struct {
		name  string
		least time.Duration // that the first change takes, with room for a timer's second
		start func(testing.TB, harness.Zone)
	}{
		{"Knot", 500 * time.Millisecond, func(t testing.TB, z harness.Zone) { harness.StartKnotPrimary(t, z) }},
		{"BIND at once", 0, func(t testing.TB, z harness.Zone) { harness.StartBINDPrimary(t, z, 0) }},
		{"BIND as installed", time.Second, func(t testing.TB, z harness.Zone) { harness.StartBINDPrimary(t, z, harness.NotifyDelay) }},
		{"PowerDNS", 0, func(t testing.TB, z harness.Zone) { harness.StartPowerDNSPrimaries(t, z) }},
	} {
		t.Run(p.name, func(t *testing.T) {
			t.Parallel()
			z := harness.NewZone(t, "zone.example", 1, 1)
			p.start(t, z)
			harness.StartKnotSecondary(t, z.Secondary(0))
			for n := range 3 {
				owner, text := record(n)
				z.Update(t, z.Primaries[0], []string{text}, nil)
				took := harness.WaitTexts(t, z.Secondaries[0], owner, 1, 15*time.Second)
				t.Logf("the secondary of %s serves a change after %s", p.name, took)
				if took < p.least {
					t.Errorf("sooner than %s", p.least)
				}
			}
		})
	}
}
