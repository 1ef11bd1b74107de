package bestdns_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddyserver/certmagic"
	"github.com/go-acme/lego/v4/lego"
	"github.com/google/go-cmp/cmp"
	"github.com/libdns/libdns"

	"github.com/caddy-dns/bestdns"
	"github.com/caddy-dns/bestdns/internal/api"
	"github.com/caddy-dns/bestdns/internal/clienttest"
)

func ExampleProvider() {
	provider := &bestdns.Provider{
		Endpoint: "https://dns.example.net",
		APIToken: os.Getenv("BESTDNS_API_TOKEN"),
	}
	_, err := provider.AppendRecords(context.Background(), "example.org.", []libdns.Record{
		libdns.TXT{Name: "hello", TTL: time.Minute, Text: "world"},
	})
	var e *bestdns.Error
	if errors.As(err, &e) && e.Unchanged {
		log.Printf("nothing has changed: %v", err)
	}
}

func ExampleProvider_certmagic() {
	certmagic.DefaultACME.DNS01Solver = &certmagic.DNS01Solver{DNSManager: certmagic.DNSManager{
		DNSProvider: &bestdns.Provider{
			Endpoint: "https://dns.example.net",
			APIToken: os.Getenv("BESTDNS_API_TOKEN"),
		},
		PropagationTimeout: -1, // the record is live when the service has answered
	}}
	if err := certmagic.ManageSync(context.Background(), []string{"*.example.org"}); err != nil {
		log.Print(err)
	}
}

func ExampleNewDNSProvider() {
	var client *lego.Client // as lego's documentation makes it

	provider, err := bestdns.NewDNSProvider() // BESTDNS_API_TOKEN, BESTDNS_ENDPOINT
	if err != nil {
		log.Print(err)
		return
	}
	if err := client.Challenge.SetDNS01Provider(provider); err != nil {
		log.Print(err)
	}
}

func ExampleNewDNSProviderBestDNS() {
	var client *lego.Client // as lego's documentation makes it

	bestDNS, err := bestdns.NewDNSProviderBestDNS("my-auth-token") // endpoint from BESTDNS_ENDPOINT
	if err != nil {
		log.Print(err)
		return
	}
	if err := client.Challenge.SetDNS01Provider(bestDNS); err != nil {
		log.Print(err)
	}
}

// TestMethods makes the five calls, each with one request.
func TestMethods(t *testing.T) {
	f := new(clienttest.Service)
	p := f.Start(t)
	ctx := t.Context()
	const zone = "example.org."

	zones, err := p.ListZones(ctx)
	check(t, err, []libdns.Zone{{Name: zone}}, zones)

	out, err := p.AppendRecords(ctx, zone, []libdns.Record{
		libdns.TXT{Name: "x", Text: "one"},
		libdns.TXT{Name: "x", TTL: 5 * time.Minute, Text: ""},
		libdns.TXT{Name: "x", TTL: time.Millisecond, Text: "\xff"},
		libdns.RR{Name: "y", Type: "TXT", Data: `"quoted"`},
	})
	check(t, err, []libdns.Record{
		libdns.TXT{Name: "x", TTL: time.Minute, Text: "one"},
		libdns.TXT{Name: "x", TTL: 5 * time.Minute},
		libdns.TXT{Name: "x", Text: "\xff"},
		libdns.TXT{Name: "y", TTL: time.Minute, Text: `"quoted"`},
	}, out)

	out, err = p.SetRecords(ctx, zone, []libdns.Record{libdns.MX{Name: "@", TTL: time.Hour, Preference: 1, Target: "mx.example.org."}})
	check(t, err, []libdns.Record{libdns.MX{Name: "@", TTL: time.Hour, Preference: 1, Target: "mx.example.org."}}, out)

	out, err = p.DeleteRecords(ctx, zone, []libdns.Record{libdns.TXT{Name: "x", Text: "one"}, libdns.RR{Name: "y"}})
	check(t, err, []libdns.Record{
		libdns.TXT{Name: "x", TTL: time.Minute, Text: "one"},
		libdns.TXT{Name: "y", TTL: time.Minute, Text: `"quoted"`},
	}, out)

	// One that does not parse does no harm to the others.
	f.Change(api.Change{Append: []api.Record{{Name: "odd", Type: "A", Data: new("somewhere")}}})
	out, err = p.GetRecords(ctx, zone)
	check(t, err, []libdns.Record{
		libdns.TXT{Name: "x", TTL: 5 * time.Minute},
		libdns.TXT{Name: "x", Text: "\xff"},
		libdns.MX{Name: "@", TTL: time.Hour, Preference: 1, Target: "mx.example.org."},
		libdns.RR{Name: "odd", TTL: time.Minute, Type: "A", Data: "somewhere"},
	}, out)

	want := []string{
		"GET  /v1/zones",
		"PATCH append /v1/zones/example.org./records",
		"PATCH set /v1/zones/example.org./records",
		"PATCH delete /v1/zones/example.org./records",
		"GET  /v1/zones/example.org./records",
	}
	if diff := cmp.Diff(want, f.Requests()); diff != "" {
		t.Errorf("requests (-want +got):\n%s", diff)
	}
}

func check(t *testing.T, err error, want, got any) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestNothingToChange(t *testing.T) {
	f := new(clienttest.Service)
	p := f.Start(t)
	for name, call := range changes(p) {
		if out, err := call(t.Context(), "example.org.", nil); err != nil || len(out) != 0 {
			t.Errorf("%s: %v, %v", name, out, err)
		}
	}
	if reqs := f.Requests(); len(reqs) != 0 {
		t.Errorf("requests %v", reqs)
	}
}

type change = func(context.Context, string, []libdns.Record) ([]libdns.Record, error)

func changes(p *bestdns.Provider) map[string]change {
	return map[string]change{"append": p.AppendRecords, "set": p.SetRecords, "delete": p.DeleteRecords}
}

func TestServiceError(t *testing.T) {
	f := &clienttest.Service{Fault: func(w http.ResponseWriter, _ *http.Request, _ api.Change) bool {
		p := api.NewProblem(api.Forbidden, "the client web1 may not do this: it has certificates for web1.example.org")
		p.RequestID, p.Unchanged = "r7", true
		clienttest.Answer(w, p.Status, p)
		return true
	}}
	p := f.Start(t)
	_, err := p.AppendRecords(t.Context(), "example.org.", []libdns.Record{libdns.TXT{Name: "www", Text: "x"}, libdns.TXT{Name: "y", Text: "x"}})
	var e *bestdns.Error
	if !errors.As(err, &e) {
		t.Fatalf("error %v", err)
	}
	const text = `appending "www" TXT and 1 more to zone "example.org.": ` +
		`the client web1 may not do this: it has certificates for web1.example.org (request r7)`
	if err.Error() != text {
		t.Errorf("error %q\nwant  %q", err, text)
	}
	got := []any{e.Type, e.Title, e.Detail, e.Status, e.RequestID, e.Unchanged, e.Err}
	want := []any{"urn:bestdns:forbidden", "The token may not do this",
		"the client web1 may not do this: it has certificates for web1.example.org", 403, "r7", true, nil}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	// Nothing was appended, so nothing is to be deleted.
	if diff := cmp.Diff([]string{"PATCH append /v1/zones/example.org./records"}, f.Requests()); diff != "" {
		t.Errorf("requests (-want +got):\n%s", diff)
	}
}

// TestPrintsNoToken looks for the token wherever a program might print it.
func TestPrintsNoToken(t *testing.T) {
	f := new(clienttest.Service)
	p := f.Start(t)
	if _, err := p.ListZones(t.Context()); err != nil {
		t.Fatal(err)
	}
	lego, err := bestdns.NewDNSProviderConfig(&bestdns.Config{Endpoint: p.Endpoint, APIToken: f.Token, HTTPTimeout: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	config := bestdns.Config{APIToken: f.Token}
	_, noAnswer := (&bestdns.Provider{Endpoint: "http://127.0.0.1:1", APIToken: f.Token}).ListZones(t.Context())
	_, noURL := (&bestdns.Provider{Endpoint: f.Token, APIToken: f.Token}).ListZones(t.Context())
	_, cut := (&bestdns.Provider{Endpoint: p.Endpoint, APIToken: f.Token[:50]}).ListZones(t.Context())
	for name, v := range map[string]any{
		"provider": p, "value": reflectCopy(p), "within a struct": struct{ P *bestdns.Provider }{p},
		"lego provider": lego, "lego provider's value": *lego, "config": config, "pointer to a config": &config,
		"error without an answer": noAnswer, "error of a token for a URL": noURL, "error of a cut token": cut,
	} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
			out := fmt.Sprintf(verb, v)
			if strings.Contains(out, f.Token[8:50]) || strings.Contains(out, fmt.Sprintf("%x", f.Token[8:50])) {
				t.Errorf("%s of %s holds the token: %s", verb, name, out)
			}
		}
	}
}

// reflectCopy returns what a careless caller would print: the value itself.
func reflectCopy(p *bestdns.Provider) any {
	return struct {
		Provider *bestdns.Provider
		Copy     any
	}{p, valueOf(p)}
}

func TestBadConfiguration(t *testing.T) {
	token := api.NewToken()
	noCert := filepath.Join(t.TempDir(), "none.pem")
	if err := os.WriteFile(noCert, []byte("no certificate"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name string
		p    *bestdns.Provider
		want string
	}{
		{"nothing", &bestdns.Provider{}, "no endpoint"},
		{"no token", &bestdns.Provider{Endpoint: "https://dns.example.net"}, "no API token"},
		{"no endpoint", &bestdns.Provider{APIToken: token}, "no endpoint"},
		{"no scheme", &bestdns.Provider{APIToken: token, Endpoint: "dns.example.net"}, "no scheme"},
		{"http to another host", &bestdns.Provider{APIToken: token, Endpoint: "http://dns.example.net"}, "in the clear"},
		{"cut token", &bestdns.Provider{APIToken: token[:50], Endpoint: "https://dns.example.net"}, "cut"},
		{"no such file", &bestdns.Provider{APIToken: token, Endpoint: "https://dns.example.net", TrustedRoots: []string{noCert + "x"}}, "no such file"},
		{"no certificate", &bestdns.Provider{APIToken: token, Endpoint: "https://dns.example.net", TrustedRoots: []string{noCert}}, "no certificate"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			recs := []libdns.Record{libdns.TXT{Name: "x", Text: "y"}}
			_, zones := tt.p.ListZones(t.Context())
			_, get := tt.p.GetRecords(t.Context(), "example.org.")
			errs := []error{zones, get}
			for _, call := range changes(tt.p) {
				_, err := call(t.Context(), "example.org.", recs)
				errs = append(errs, err)
			}
			for _, err := range errs {
				var e *bestdns.Error
				if !errors.As(err, &e) || !e.Unchanged || !strings.Contains(err.Error(), tt.want) {
					t.Errorf("error %v, want one that is certain that nothing changed and says %q", err, tt.want)
				}
			}
		})
	}
}

func TestBadRecord(t *testing.T) {
	f := new(clienttest.Service)
	p := f.Start(t)
	for name, call := range changes(p) {
		_, err := call(t.Context(), "example.org.", []libdns.Record{libdns.TXT{Name: "x", TTL: -1, Text: "y"}})
		var e *bestdns.Error
		if !errors.As(err, &e) || !e.Unchanged || !strings.Contains(err.Error(), "negative") || !strings.Contains(err.Error(), "example.org.") {
			t.Errorf("%s: error %v", name, err)
		}
	}
	if reqs := f.Requests(); len(reqs) != 0 {
		t.Errorf("requests %v", reqs)
	}
}

// TestConcurrentUse shares one provider from its first call on.
func TestConcurrentUse(t *testing.T) {
	f := new(clienttest.Service)
	p := f.Start(t)
	var wg sync.WaitGroup
	for i := range 100 {
		wg.Go(func() {
			ctx, name := t.Context(), fmt.Sprintf("n%d", i)
			rec := []libdns.Record{libdns.TXT{Name: name, Text: "x"}}
			if out, err := p.AppendRecords(ctx, "example.org.", rec); err != nil || len(out) != 1 || out[0].RR().Name != name {
				t.Errorf("append: %v, %v", out, err)
			}
			fmt.Fprintf(io.Discard, "%+v", p)
			if _, err := p.GetRecords(ctx, "example.org."); err != nil {
				t.Error(err)
			}
			if out, err := p.DeleteRecords(ctx, "example.org.", rec); err != nil || len(out) != 1 || out[0].RR().Name != name {
				t.Errorf("delete: %v, %v", out, err)
			}
		})
	}
	wg.Wait()
	if left := f.All(); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
	if n := len(f.Requests()); n != 300 {
		t.Errorf("%d requests", n)
	}
}
