package harness

import (
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// Key is a TSIG key with hmac-sha256 (RFC 8945).
type Key struct{ Name, Secret string }

// NewKey makes a key that no other test has.
func NewKey() Key {
	secret := make([]byte, 32)
	_, _ = rand.Read(secret) // it never fails
	return Key{Name: "bestdns", Secret: base64.StdEncoding.EncodeToString(secret)}
}

// secrets is the form that the DNS library has.
func (k Key) secrets() map[string]string { return map[string]string{dns.Fqdn(k.Name): k.Secret} }

// Zone is a zone on name servers of others. Addresses are host:port; the port is 53 for
// those that are found by NS and address records.
type Zone struct {
	Name string
	// Key signs changes and transfers.
	Key Key
	// Primaries take changes: one, or several with one database.
	Primaries []string
	// Secondaries are sent NOTIFY by the primaries, and may transfer the zone with the key.
	Secondaries []string
	// Hidden leaves the primaries out of the NS records.
	Hidden bool
	// Open lets everyone transfer the zone without a key.
	Open bool
}

// NewZone returns a zone with as many servers of each kind, at port 53 of addresses of its
// own, which are yet to be started.
func NewZone(t testing.TB, name string, primaries, secondaries int) Zone {
	t.Helper()
	z := Zone{Name: name, Key: NewKey()}
	net53 := NewLoopbackNet(t)
	for i := range primaries + secondaries {
		addr := fmt.Sprintf("%s.%d:53", net53, 1+i)
		if i < primaries {
			z.Primaries = append(z.Primaries, addr)
		} else {
			z.Secondaries = append(z.Secondaries, addr)
		}
	}
	return z
}

// NameServer is a name server of a zone: its name, absolute, and the host of its address.
type NameServer struct{ Name, Host string }

// NameServers returns those of the zone's NS records: the primaries, if they are not
// hidden, and after them the secondaries.
func (z Zone) NameServers() (servers []NameServer) {
	addrs := z.Secondaries
	if !z.Hidden {
		addrs = append(z.Primaries[:len(z.Primaries):len(z.Primaries)], addrs...)
	}
	for i, addr := range addrs {
		host, _ := splitAddr(addr)
		servers = append(servers, NameServer{fmt.Sprintf("ns%d.%s.", i+1, strings.TrimSuffix(z.Name, ".")), host})
	}
	return servers
}

// Delegation returns the NS records of the zone and the addresses, in presentation format.
func (z Zone) Delegation() (records []string) {
	for _, server := range z.NameServers() {
		records = append(records,
			fmt.Sprintf("%s 3600 IN NS %s", dns.Fqdn(z.Name), server.Name),
			fmt.Sprintf("%s 3600 IN A %s", server.Name, server.Host))
	}
	return records
}

// masterFile is the zone before it is changed. Negative answers are kept by no resolver.
func (z Zone) masterFile() string {
	apex := dns.Fqdn(z.Name)
	lines := append([]string{fmt.Sprintf("%s 60 IN SOA ns1.%s hostmaster.%s 1 3600 600 1209600 0", apex, apex, apex)}, z.Delegation()...)
	return strings.Join(lines, "\n") + "\n"
}

// Update changes the zone at a primary by dynamic update (RFC 2136): it adds and removes
// records in presentation format.
func (z Zone) Update(t testing.TB, primary string, add, remove []string) {
	t.Helper()
	m := new(dns.Msg).SetUpdate(dns.Fqdn(z.Name))
	m.Remove(parseRecords(t, remove))
	m.Insert(parseRecords(t, add))
	m.SetTsig(dns.Fqdn(z.Key.Name), dns.HmacSHA256, 300, time.Now().Unix())
	client := &dns.Client{Net: "tcp", Timeout: ExchangeTimeout, TsigSecret: z.Key.secrets()}
	answer, _, err := client.Exchange(m, primary)
	if err != nil {
		t.Fatalf("updating %s at %s: %v", z.Name, primary, err)
	}
	if answer.Rcode != dns.RcodeSuccess {
		t.Fatalf("updating %s at %s: %s", z.Name, primary, dns.RcodeToString[answer.Rcode])
	}
}

func parseRecords(t testing.TB, texts []string) (records []dns.RR) {
	t.Helper()
	for _, text := range texts {
		rr, err := dns.NewRR(text)
		if err != nil {
			t.Fatalf("record %q: %v", text, err)
		}
		records = append(records, rr)
	}
	return records
}

// Transfer returns all records of the zone as a server has them (RFC 5936).
func (z Zone) Transfer(t testing.TB, addr string) []dns.RR {
	t.Helper()
	records, err := z.transfer(addr)
	if err != nil {
		t.Fatal(err)
	}
	return records
}

// transfer returns the SOA first, and once.
func (z Zone) transfer(addr string) (records []dns.RR, err error) {
	m := new(dns.Msg).SetAxfr(dns.Fqdn(z.Name))
	transfer := &dns.Transfer{DialTimeout: ExchangeTimeout, ReadTimeout: ExchangeTimeout}
	if !z.Open {
		m.SetTsig(dns.Fqdn(z.Key.Name), dns.HmacSHA256, 300, time.Now().Unix())
		transfer.TsigSecret = z.Key.secrets()
	}
	envelopes, err := transfer.In(m, addr)
	if err != nil {
		return nil, fmt.Errorf("transferring %s from %s: %w", z.Name, addr, err)
	}
	for envelope := range envelopes {
		if envelope.Error != nil {
			err = envelope.Error
		}
		records = append(records, envelope.RR...)
	}
	if err != nil {
		return nil, fmt.Errorf("transferring %s from %s: %w", z.Name, addr, err)
	}
	return records[:len(records)-1], nil
}

// TextsAt returns the TXT records at a name as a server answers by UDP, each as one text,
// and the whole answer.
func TextsAt(addr, name string) (texts []string, answer *dns.Msg, err error) {
	answer, _, err = new(dns.Client).Exchange(new(dns.Msg).SetQuestion(dns.Fqdn(name), dns.TypeTXT), addr)
	if err != nil {
		return nil, nil, fmt.Errorf("asking %s for %s TXT: %w", addr, name, err)
	}
	for _, rr := range answer.Answer {
		if txt, ok := rr.(*dns.TXT); ok {
			texts = append(texts, strings.Join(txt.Txt, ""))
		}
	}
	return texts, answer, nil
}

// WaitTexts waits until a server has as many TXT records at a name, and returns how long
// that took.
func WaitTexts(t testing.TB, addr, name string, n int, within time.Duration) time.Duration {
	t.Helper()
	start := time.Now()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for {
		texts, _, err := TextsAt(addr, name)
		took := time.Since(start)
		if err == nil && len(texts) == n {
			return took
		}
		if took > within {
			t.Fatalf("%s after the change, %s has %q at %s, and not %d records: %v", took, addr, texts, name, n, err)
		}
		<-tick.C
	}
}
