package lego5_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/go-acme/lego/v5/challenge/dns01"
	"github.com/go-acme/lego/v5/lego"
	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"

	"github.com/caddy-dns/bestdns/internal/api"
	"github.com/caddy-dns/bestdns/internal/clienttest"
	"github.com/caddy-dns/bestdns/lego5"
)

func ExampleNewDNSProvider() {
	var client *lego.Client // as lego's documentation makes it

	provider, err := lego5.NewDNSProvider() // BESTDNS_API_TOKEN, BESTDNS_ENDPOINT
	if err != nil {
		log.Print(err)
		return
	}
	if err := client.Challenge.SetDNS01Provider(provider); err != nil {
		log.Print(err)
	}
}

// asV4 is a provider without contexts.
type asV4 struct{ *lego5.DNSProvider }

func (p asV4) Present(domain, token, keyAuth string) error {
	return p.DNSProvider.Present(context.Background(), domain, token, keyAuth)
}

func (p asV4) CleanUp(domain, token, keyAuth string) error {
	return p.DNSProvider.CleanUp(context.Background(), domain, token, keyAuth)
}

func TestAdapter(t *testing.T) {
	v4 := func(p *lego5.DNSProvider, err error) (clienttest.LegoProvider, error) { return asV4{p}, err }
	clienttest.LegoAdapter{
		NewDefaultConfig: lego5.NewDefaultConfig,
		NewDNSProvider:   func() (clienttest.LegoProvider, error) { return v4(lego5.NewDNSProvider()) },
		NewDNSProviderBestDNS: func(token string) (clienttest.LegoProvider, error) {
			return v4(lego5.NewDNSProviderBestDNS(token))
		},
		NewDNSProviderConfig: func(c *lego5.Config) (clienttest.LegoProvider, error) {
			return v4(lego5.NewDNSProviderConfig(c))
		},
	}.Test(t)
}

func TestVariables(t *testing.T) {
	got := []string{
		lego5.EnvNamespace, lego5.EnvAPIToken, lego5.EnvEndpoint, lego5.EnvTTL,
		lego5.EnvPropagationTimeout, lego5.EnvPollingInterval, lego5.EnvHTTPTimeout,
	}
	want := []string{
		"BESTDNS_", "BESTDNS_API_TOKEN", "BESTDNS_ENDPOINT", "BESTDNS_TTL",
		"BESTDNS_PROPAGATION_TIMEOUT", "BESTDNS_POLLING_INTERVAL", "BESTDNS_HTTP_TIMEOUT",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// newProvider returns a provider that talks to f.
func newProvider(t *testing.T, f *clienttest.Service) *lego5.DNSProvider {
	t.Helper()
	clienttest.ClearLegoEnv(t)
	t.Setenv(lego5.EnvEndpoint, f.StartPlain(t))
	p, err := lego5.NewDNSProviderBestDNS(f.Token)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// TestContext: the end of the context ends Present, and CleanUp cleans up after it, at the name
// where the CNAME leads.
func TestContext(t *testing.T) {
	const name, target = "_acme-challenge.example.org.", "example.org.acme.example.net."
	f := new(clienttest.Service)
	p := newProvider(t, f)
	t.Setenv("LEGO_DISABLE_CNAME_SUPPORT", "false")
	resolveBy(t, serveCNAME(t, name, target))

	ctx, cancel := context.WithCancel(t.Context())
	if err := p.Present(ctx, "example.org", "token", "key"); err != nil {
		t.Fatal(err)
	}
	cancel()
	if err := p.CleanUp(ctx, "example.org", "token", "key"); err != nil {
		t.Error(err)
	}
	if err := p.Present(ctx, "example.org", "token", "key"); !errors.Is(err, context.Canceled) {
		t.Errorf("Present returns %v after the end of its context", err)
	}
	const records = " /v1/zones/" + target + "/records"
	if diff := cmp.Diff([]string{"PATCH append" + records, "PATCH delete" + records}, f.Requests()); diff != "" {
		t.Errorf("requests (-want +got):\n%s", diff)
	}
	if left := f.All(); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
}

// TestContextCancelsPresent: Present does not wait for an answer after the end of its context.
func TestContextCancelsPresent(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	f := &clienttest.Service{Fault: func(_ http.ResponseWriter, r *http.Request, c api.Change) bool {
		if c.Append == nil {
			return false
		}
		cancel()
		<-r.Context().Done()
		return true
	}}
	start := time.Now()
	err := newProvider(t, f).Present(ctx, "example.org", "token", "key")
	if took := time.Since(start); !errors.Is(err, context.Canceled) || took > 5*time.Second {
		t.Errorf("error %v after %v", err, took)
	}
}

// serveCNAME answers all questions with one CNAME record, and returns its address.
func serveCNAME(t *testing.T, name, target string) (addr string) {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := &dns.Server{PacketConn: conn, Handler: dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		m := new(dns.Msg).SetReply(q)
		m.Answer = []dns.RR{&dns.CNAME{
			Hdr:    dns.RR_Header{Name: name, Rrtype: dns.TypeCNAME, Class: dns.ClassINET},
			Target: target,
		}}
		w.WriteMsg(m)
	})}
	done := make(chan error, 1)
	go func() { done <- srv.ActivateAndServe() }()
	t.Cleanup(func() {
		conn.Close()
		<-done
	})
	return conn.LocalAddr().String()
}

// resolveBy has lego ask the resolver at addr until the test ends.
func resolveBy(t *testing.T, addr string) {
	t.Helper()
	before := dns01.DefaultClient()
	t.Cleanup(func() { dns01.SetDefaultClient(before) })
	dns01.SetDefaultClient(dns01.NewClient(&dns01.Options{RecursiveNameservers: []string{addr}}))
}

func TestPersist(t *testing.T) {
	const value = "authority.example; accounturi=https://ca.example/acct/123; policy=wildcard"
	f := new(clienttest.Service)
	p := newProvider(t, f)
	if err := p.Persist(t.Context(), "_validation-persist.example.org.", value); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"PATCH append /v1/zones/_validation-persist.example.org./records"}, f.Requests()); diff != "" {
		t.Errorf("requests (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]api.Record{{Name: "@", Type: "TXT", TTL: new(int64(60)), Data: new(value)}}, f.All()); diff != "" {
		t.Errorf("records (-want +got):\n%s", diff)
	}
}

// TestPrintsNoToken looks for the token wherever a program might print it.
func TestPrintsNoToken(t *testing.T) {
	f := new(clienttest.Service)
	p := newProvider(t, f)
	for name, v := range map[string]any{
		"provider": p, "value": *p, "within a struct": struct{ P *lego5.DNSProvider }{p}, "copy within a struct": struct{ P lego5.DNSProvider }{*p},
	} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
			out := fmt.Sprintf(verb, v)
			if strings.Contains(out, f.Token[8:50]) || strings.Contains(out, fmt.Sprintf("%x", f.Token[8:50])) {
				t.Errorf("%s of %s holds the token: %s", verb, name, out)
			}
		}
	}
}
