package e2e

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/caddy-dns/bestdns/e2e/internal/harness"
)

// A client is killed in the middle of its challenge, and so is the service. When that is back, it
// deletes the client's record in Knot after its lifetime, and leaves that of another ACME client at the
// same name.
func TestKilledClientsLeaveNothingInKnot(t *testing.T) {
	t.Parallel()
	const (
		domain   = "web." + knotZoneName
		name     = "_acme-challenge." + domain
		lifetime = 8 * time.Second // the client and the service are dead by then
		foreign  = "a-value-of-another-client-of-43-characters_"
	)
	knot := harness.StartKnot(t, knotZoneName)
	w := harness.NewWorld(t)
	w.Resolver.Delegate(knotZoneName, knot.Addr)
	updateKnot(t, knot, name+`. 60 IN TXT "`+foreign+`"`)
	storage := harness.Env{"XDG_DATA_HOME": t.TempDir()}
	start := func() *harness.Caddy {
		return harness.StartCaddy(t, harness.CaddyBinary, "knot.caddyfile", w.Env(t), storage, harness.Env{
			"KNOT": knot.Addr, "KNOT_KEY_NAME": knot.KeyName, "KNOT_KEY": knot.Key, "CHALLENGE_LIFETIME": lifetime.String(),
		})
	}
	service := start()

	gate := w.Pebble.HoldChallenges()
	client := harness.StartCaddy(t, harness.ClientBinary, "client.caddyfile", w.Env(t), sites(domain))
	w.AtChallenge(t, gate)
	client.Kill()
	service.Kill()
	gate.Open()
	there := textsAt(t, knot.Addr, name)
	if len(there) != 2 || !slices.Contains(there, foreign) {
		t.Fatalf("in Knot is %q, want the record of the client and the one of another", there)
	}

	again := start()
	gone := harness.Message("records of challenges have expired and are gone")
	if err := again.Log.Wait(1, harness.StartTimeout, gone); err != nil {
		t.Fatal(err)
	}
	if left := textsAt(t, knot.Addr, name); !slices.Equal(left, []string{foreign}) {
		t.Errorf("in Knot is %q, want the record of another alone", left)
	}
}

// updateKnot adds a record as a program other than BestDNS would.
func updateKnot(t *testing.T, knot *harness.Knot, line string) {
	t.Helper()
	rr, err := dns.NewRR(line)
	harness.NoError(t, err)
	m := new(dns.Msg).SetUpdate(dns.Fqdn(knotZoneName))
	m.Insert([]dns.RR{rr})
	m.SetTsig(dns.Fqdn(knot.KeyName), dns.HmacSHA256, 300, time.Now().Unix())
	c := dns.Client{Net: "tcp", TsigSecret: map[string]string{dns.Fqdn(knot.KeyName): knot.Key}}
	answer, _, err := c.Exchange(m, knot.Addr)
	harness.NoError(t, err)
	if answer.Rcode != dns.RcodeSuccess {
		t.Fatalf("Knot answers an update with %s", dns.RcodeToString[answer.Rcode])
	}
}

// textsAt returns the TXT records that a name server has at a name.
func textsAt(t *testing.T, server, name string) (texts []string) {
	t.Helper()
	c := dns.Client{Net: "tcp"}
	answer, _, err := c.Exchange(new(dns.Msg).SetQuestion(dns.Fqdn(name), dns.TypeTXT), server)
	harness.NoError(t, err)
	for _, rr := range answer.Answer {
		if txt, ok := rr.(*dns.TXT); ok {
			texts = append(texts, strings.Join(txt.Txt, ""))
		}
	}
	return texts
}
