package harness_test

import (
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/caddy-dns/bestdns/e2e/internal/harness"
)

// A laggard has each change as late as it should, also if another one follows, and says
// what is not there like the primary.
func TestLaggard(t *testing.T) {
	t.Parallel()
	const lag, apart = 2 * time.Second, 700 * time.Millisecond
	z := harness.NewZone(t, "zone.example", 1, 0)
	harness.StartKnotPrimary(t, z)
	addr := harness.FreeAddr(t)
	harness.StartLaggard(t, z, addr, lag)
	first, firstText := record(0)
	second, secondText := record(1)

	begin := time.Now()
	z.Update(t, z.Primaries[0], []string{firstText}, nil)
	harness.Eventually(t, lag, "some time is between the changes, in which the first is not served", func() bool {
		if texts, _, err := harness.TextsAt(addr, first); err != nil || len(texts) > 0 {
			t.Fatalf("%s after the first change: %q, %v", time.Since(begin), texts, err)
		}
		return time.Since(begin) >= apart
	})
	change := time.Now()
	z.Update(t, z.Primaries[0], []string{secondText}, nil)
	assertLate(t, addr, first, begin, lag)
	assertLate(t, addr, second, change, lag)

	for question, rcode := range map[dns.Question]int{
		{Name: first, Qtype: dns.TypeA, Qclass: dns.ClassINET}:                       dns.RcodeSuccess,
		{Name: "host0.zone.example.", Qtype: dns.TypeTXT, Qclass: dns.ClassINET}:     dns.RcodeSuccess,
		{Name: "nothing.zone.example.", Qtype: dns.TypeTXT, Qclass: dns.ClassINET}:   dns.RcodeNameError,
		{Name: "x." + first, Qtype: dns.TypeTXT, Qclass: dns.ClassINET}:              dns.RcodeNameError,
		{Name: "zone.elsewhere.example.", Qtype: dns.TypeTXT, Qclass: dns.ClassINET}: dns.RcodeRefused,
	} {
		m := new(dns.Msg)
		m.Id, m.Question = dns.Id(), []dns.Question{question}
		answer, _, err := new(dns.Client).Exchange(m, addr)
		harness.NoError(t, err)
		negative := rcode == dns.RcodeRefused ||
			len(answer.Ns) == 1 && answer.Ns[0].Header().Rrtype == dns.TypeSOA && answer.Ns[0].Header().Ttl == 0
		if answer.Rcode != rcode || len(answer.Answer) > 0 || !negative {
			t.Errorf("%s: %v", question.Name, answer)
		}
	}
}

// assertLate waits for a record that was made at this time, and must not be there before
// the lag is over.
func assertLate(t *testing.T, addr, owner string, made time.Time, lag time.Duration) {
	t.Helper()
	asked := 0
	var age time.Duration
	harness.Eventually(t, lag+15*time.Second, owner+" is served", func() bool {
		asked++
		texts, _, err := harness.TextsAt(addr, owner)
		harness.NoError(t, err)
		age = time.Since(made)
		return len(texts) == 1
	})
	if age < lag {
		t.Errorf("%s is served after %s", owner, age)
	}
	t.Logf("%s is served after %s, and was not %d times before", owner, age, asked-1)
}
