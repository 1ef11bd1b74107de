package harness_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/caddy-dns/bestdns/e2e/internal/harness"
)

func record(n int) (owner, text string) {
	owner = fmt.Sprintf("_acme-challenge.host%d.zone.example.", n)
	return owner, fmt.Sprintf(`%s 0 IN TXT "value %d"`, owner, n)
}

// primaries are all of the kinds, each with as many processes as it takes.
var primaries = []struct {
	name      string
	processes int
	start     func(testing.TB, harness.Zone) []*harness.Process
}{
	{"Knot", 1, func(t testing.TB, z harness.Zone) []*harness.Process {
		return []*harness.Process{harness.StartKnotPrimary(t, z)}
	}},
	{"BIND", 1, func(t testing.TB, z harness.Zone) []*harness.Process {
		return []*harness.Process{harness.StartBINDPrimary(t, z, 0)}
	}},
	{"PowerDNS", 1, startPowerDNS},
	{"PowerDNS twice", 2, startPowerDNS},
}

func startPowerDNS(t testing.TB, z harness.Zone) []*harness.Process {
	return harness.StartPowerDNSPrimaries(t, z)
}

// A primary takes a signed change and serves it at once, at each of its processes, lets it
// be transferred with the key, and has it after its end.
func TestPrimaries(t *testing.T) {
	t.Parallel()
	for _, p := range primaries {
		t.Run(p.name, func(t *testing.T) {
			t.Parallel()
			z := harness.NewZone(t, "zone.example", p.processes, 0)
			processes := p.start(t, z)
			for n, addr := range slices.Repeat(z.Primaries, 5) {
				owner, text := record(n)
				for _, other := range z.Primaries { // what a cache would remember
					harness.WaitTexts(t, other, owner, 0, time.Second)
				}
				z.Update(t, addr, []string{text}, nil)
				for _, other := range z.Primaries {
					assertTexts(t, other, owner, 1)
				}
			}
			owner, text := record(0)
			z.Update(t, z.Primaries[len(z.Primaries)-1], nil, []string{text})
			for _, addr := range z.Primaries {
				assertTexts(t, addr, owner, 0)
				assertTransfer(t, z, addr)
			}
			owner, _ = record(1)
			processes[0].Kill()
			if texts, _, err := harness.TextsAt(z.Primaries[0], owner); err == nil {
				t.Errorf("a server that was killed answers %q", texts)
			}
			processes[0].Start()
			assertTexts(t, z.Primaries[0], owner, 1)
		})
	}
}

func assertTexts(t *testing.T, addr, owner string, want int) {
	t.Helper()
	texts, answer, err := harness.TextsAt(addr, owner)
	switch {
	case err != nil:
		t.Error(err)
	case len(texts) != want || !answer.Authoritative:
		t.Errorf("%s has not %d texts with authority at %s:\n%v", addr, want, owner, answer)
	case want == 0 && answer.Rcode != dns.RcodeNameError:
		t.Errorf("%s does not say of %s that there is no such name:\n%v", addr, owner, answer)
	}
}

// assertTransfer looks for the records that TestPrimaries leaves, and that one without a
// key has no transfer.
func assertTransfer(t *testing.T, z harness.Zone, addr string) {
	t.Helper()
	texts := 0
	for _, rr := range z.Transfer(t, addr) {
		if rr.Header().Rrtype == dns.TypeTXT {
			texts++
		}
	}
	if want := 5*len(z.Primaries) - 1; texts != want {
		t.Errorf("the transfer has %d texts, want %d", texts, want)
	}
	answer, _, err := (&dns.Client{Net: "tcp"}).Exchange(new(dns.Msg).SetAxfr(dns.Fqdn(z.Name)), addr)
	if err == nil && len(answer.Answer) > 0 {
		t.Errorf("a transfer without a key is answered: %v", answer)
	}
}

// A change without the key, or with another one, changes nothing: the tests are of zones
// that need it.
func TestPrimariesNeedTheKey(t *testing.T) {
	t.Parallel()
	for _, p := range primaries[:3] {
		t.Run(p.name, func(t *testing.T) {
			t.Parallel()
			z := harness.NewZone(t, "zone.example", 1, 0)
			p.start(t, z)
			owner, text := record(0)
			rr, err := dns.NewRR(text)
			harness.NoError(t, err)
			update := new(dns.Msg).SetUpdate("zone.example.")
			update.Insert([]dns.RR{rr})
			answer, _, err := new(dns.Client).Exchange(update, z.Primaries[0])
			if err == nil && answer.Rcode != dns.RcodeRefused && answer.Rcode != dns.RcodeNotAuth {
				t.Errorf("without a key: %v", answer)
			}
			other := harness.NewKey()
			update.SetTsig(other.Name+".", dns.HmacSHA256, 300, time.Now().Unix())
			client := &dns.Client{TsigSecret: map[string]string{other.Name + ".": other.Secret}}
			if answer, _, err = client.Exchange(update, z.Primaries[0]); err == nil && answer.Rcode == dns.RcodeSuccess {
				t.Errorf("with another key: %v", answer)
			}
			assertTexts(t, z.Primaries[0], owner, 0)
		})
	}
}
