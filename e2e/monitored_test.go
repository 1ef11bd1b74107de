package e2e

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	random "math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/caddy-dns/bestdns/e2e/internal/harness"
	"github.com/caddy-dns/bestdns/internal/api"
)

// Monitored is a service with something to see for each metric.
type Monitored struct {
	*harness.Caddy
	DNS, API string
	// PartnerFails has the DNS provider of partner.example fail.
	PartnerFails *atomic.Bool
	tokens       map[string]string // by client
}

// StartMonitored starts the service, and the DNS server that one of its zones is hosted by.
func StartMonitored(t testing.TB) *Monitored {
	t.Helper()
	m := &Monitored{DNS: harness.FreeAddr(t), API: harness.FreeAddr(t), PartnerFails: new(atomic.Bool), tokens: make(map[string]string)}
	partner, key := startPartner(t, m.PartnerFails)
	day := func(days int) string { return time.Now().UTC().AddDate(0, 0, days).Format(time.DateOnly) }
	env := harness.Env{
		"DNS": m.DNS, "API_PORT": harness.Port(t, m.API), "STORE": filepath.Join(t.TempDir(), "records.db"),
		"PARTNER": partner, "PARTNER_KEY": key,
		"SOON": day(8), "LATER": day(200), "OVER": day(-3),
	}
	for client, variable := range map[string]string{"web": "WEB", "inside": "INSIDE", "partner": "PARTNER", "left": "LEFT"} {
		m.tokens[client] = api.NewToken()
		env[variable+"_DIGEST"] = harness.Digest(m.tokens[client])
	}
	m.Caddy = harness.StartCaddy(t, harness.CaddyBinary, "monitoring.caddyfile", env)
	m.Accept(func(e harness.Entry) bool { return e.Logger == "bestdns.audit" && e.Message == "failed" })
	return m
}

// startPartner runs a DNS server that takes updates, and serves the last TXT record that one had. As
// long as it is told to fail it answers SERVFAIL.
func startPartner(t testing.TB, fails *atomic.Bool) (addr, key string) {
	t.Helper()
	secret := make([]byte, 32)
	rand.Read(secret)
	key = base64.StdEncoding.EncodeToString(secret)
	listener, packets := harness.ListenBoth(t)
	var last atomic.Pointer[dns.TXT]
	handle := func(w dns.ResponseWriter, q *dns.Msg) {
		answer := new(dns.Msg).SetReply(q)
		answer.Authoritative = true
		for _, rr := range q.Ns {
			if txt, ok := rr.(*dns.TXT); ok && q.Opcode == dns.OpcodeUpdate {
				last.Store(txt)
			}
		}
		if txt := last.Load(); txt != nil && q.Opcode == dns.OpcodeQuery && txt.Hdr.Name == q.Question[0].Name {
			answer.Answer = []dns.RR{txt}
		}
		if fails.Load() {
			answer.Rcode = dns.RcodeServerFailure
		}
		if q.IsTsig() != nil && w.TsigStatus() == nil {
			answer.SetTsig("partner.", dns.HmacSHA256, 300, time.Now().Unix())
		}
		w.WriteMsg(answer)
	}
	secrets := map[string]string{"partner.": key}
	harness.ServeDNS(t,
		&dns.Server{Listener: listener, Handler: dns.HandlerFunc(handle), TsigSecret: secrets, MsgAcceptFunc: acceptUpdates},
		&dns.Server{PacketConn: packets, Handler: dns.HandlerFunc(handle), TsigSecret: secrets, MsgAcceptFunc: acceptUpdates})
	return listener.Addr().String(), key
}

func acceptUpdates(dns.Header) dns.MsgAcceptAction { return dns.MsgAccept }

// change sends a change as a client and returns the status of the answer.
func (m *Monitored) change(t testing.TB, client, zone string, change api.Change) int {
	t.Helper()
	body, err := json.Marshal(change)
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequest(http.MethodPatch, "http://"+m.API+"/v1/zones/"+zone+"/records", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	token := m.tokens[client]
	if token == "" {
		token = client
	}
	req.Header.Set("Authorization", "Bearer "+token)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Error(err)
		return 0
	}
	defer resp.Body.Close()
	io.Copy(io.Discard, resp.Body)
	return resp.StatusCode
}

// ask asks the name server.
func (m *Monitored) ask(name string, qtype uint16) {
	dns.Exchange(new(dns.Msg).SetQuestion(dns.Fqdn(name), qtype), m.DNS) // that it is asked is all that matters
}

// renew is what a certificate's renewal asks of the service: the client's change, the
// CA's questions after some time, and the client's change back.
func (m *Monitored) renew(t testing.TB, client, domain, zone string, takes time.Duration) {
	value := make([]byte, 32)
	rand.Read(value)
	challenge := []api.Record{harness.Text("_acme-challenge."+domain+"."+zone+".", base64.RawURLEncoding.EncodeToString(value))}
	m.change(t, client, zone, api.Change{Append: challenge})
	<-time.After(takes)
	for range 3 { // perspectives
		m.ask("_acme-challenge."+domain+"."+zone, dns.TypeTXT)
		m.ask(domain+"."+zone, dns.TypeCAA)
	}
	m.change(t, client, zone, api.Change{Delete: challenge})
}

// live lets things happen until ctx ends, as they do in a day of a service: clients
// renew, hosts and strangers ask, and some do what they may not.
func (m *Monitored) live(ctx context.Context, t testing.TB) {
	const hosts = 300
	var there []api.Record
	for i := range hosts {
		there = append(there, api.Record{Name: fmt.Sprintf("host%d", i), Type: "A", Data: new("192.0.2.1")})
	}
	m.change(t, "inside", "internal.example", api.Change{Append: there})
	var all sync.WaitGroup
	begin := time.Now()
	every := func(mean time.Duration, do func()) {
		all.Go(func() {
			for {
				// More now and less then.
				wave := 1.3 + 0.8*wave(time.Since(begin))
				select {
				case <-ctx.Done():
					return
				case <-time.After(time.Duration(random.ExpFloat64() * float64(mean) * wave)):
					do()
				}
			}
		})
	}
	host := func(n int) string { return fmt.Sprintf("host%d", random.IntN(n)) }
	renew := func(client, zone string) {
		takes := time.Duration(random.ExpFloat64() * float64(2*time.Second))
		all.Go(func() { m.renew(t, client, host(500), zone, min(takes, 10*time.Second)) })
	}
	every(400*time.Millisecond, func() { renew("web", "acme.example") })
	every(900*time.Millisecond, func() { renew("inside", "internal.example") })
	every(1500*time.Millisecond, func() {
		m.change(t, "partner", "partner.example", api.Change{Append: []api.Record{harness.Text(host(50), "x")}})
	})
	every(2*time.Second, func() {
		m.change(t, "inside", "internal.example", api.Change{Set: []api.Record{
			{Name: host(hosts + hosts/2), Type: "A", Data: new(fmt.Sprintf("10.0.%d.%d", random.IntN(256), random.IntN(256)))},
		}})
	})
	for range 4 {
		every(20*time.Millisecond, func() {
			zone := []string{"acme.example", "internal.example", "internal.example", "internal.example"}[random.IntN(4)]
			m.ask(host(hosts+hosts/10)+"."+zone, []uint16{dns.TypeA, dns.TypeA, dns.TypeAAAA, dns.TypeHTTPS}[random.IntN(4)])
		})
	}
	every(150*time.Millisecond, func() { m.ask("ns1.acme.example", dns.TypeA) })
	every(time.Second, func() { m.ask("stranger.example", dns.TypeANY) })
	every(5*time.Second, func() {
		m.change(t, "web", "acme.example", api.Change{Set: []api.Record{{Name: "www", Type: "A", Data: new("192.0.2.1")}}})
	})
	every(5*time.Second, func() { m.change(t, "left", "acme.example", api.Change{Append: []api.Record{harness.Text("x", "x")}}) })
	every(8*time.Second, func() {
		m.change(t, "of nobody", "acme.example", api.Change{Append: []api.Record{harness.Text("x", "x")}})
	})
	all.Wait()
}

// wave goes up and down between 0 and 1 every two minutes.
func wave(at time.Duration) float64 {
	phase := float64(at%(2*time.Minute)) / float64(time.Minute)
	if phase > 1 {
		phase = 2 - phase
	}
	return phase
}

// StartPrometheus runs Debian's Prometheus, which asks the service every second and
// goes by the alert rules of docs/monitoring. It returns its URL.
func StartPrometheus(t testing.TB, m *Monitored) (url string) {
	t.Helper()
	binary := harness.Debian(t, "prometheus", "prometheus")
	dir, addr := t.TempDir(), harness.FreeAddr(t)
	rules, err := filepath.Abs("../docs/monitoring/alerts.yaml")
	if err != nil {
		t.Fatal(err)
	}
	config := fmt.Sprintf(`
global:
  scrape_interval: 1s
  evaluation_interval: 1s
rule_files: [%q]
scrape_configs:
  - job_name: bestdns
    static_configs:
      - targets: [%q]
`, rules, m.Admin)
	if err := os.WriteFile(filepath.Join(dir, "prometheus.yml"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(binary, "--config.file="+filepath.Join(dir, "prometheus.yml"), "--storage.tsdb.path="+dir, "--web.listen-address="+addr)
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	log := harness.NewLog()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	read := make(chan struct{})
	go func() { log.Read(stderr); close(read) }()
	t.Cleanup(func() {
		cmd.Process.Kill()
		<-read
		cmd.Wait()
		if t.Failed() {
			t.Logf("Prometheus' log:\n%s", log)
		}
	})
	ready := func(e harness.Entry) bool { return strings.Contains(e.Line, "Server is ready to receive web requests") }
	if err := log.Wait(1, harness.StartTimeout, ready); err != nil {
		t.Fatalf("Prometheus does not come up: %v", err)
	}
	return "http://" + addr
}
