package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/libdns/libdns"
)

var sent = []Record{{Name: "_acme-challenge", Type: "TXT", Data: new("text")}}

// calls are the client's methods. Each checks its result.
var calls = []struct {
	name    string
	request string
	do      func(context.Context, *Client) error
}{
	{"ListZones", "GET /v1/zones", func(ctx context.Context, c *Client) error {
		zones, err := c.ListZones(ctx)
		return differ(err, []Zone{{Name: "example.org."}}, zones)
	}},
	{"GetToken", "GET /v1/token", func(ctx context.Context, c *Client) error {
		token, err := c.GetToken(ctx)
		return differ(err, Token{Client: "web1", Rights: []string{"certificates example.org"}}, token)
	}},
	{"GetRecords", "GET /v1/zones/example.org./records", func(ctx context.Context, c *Client) error {
		recs, err := c.GetRecords(ctx, "example.org.")
		var rrs []libdns.RR
		for _, rec := range recs {
			rrs = append(rrs, rec.RR())
		}
		return differ(err, []libdns.RR{{Name: "@", Type: "A", TTL: time.Minute, Data: "192.0.2.1"}}, rrs)
	}},
	{"append", "PATCH /v1/zones/example.org./records", func(ctx context.Context, c *Client) error {
		out, err := c.Change(ctx, "example.org.", Change{Append: sent})
		return differ(err, sent, out.Records)
	}},
	{"set", "PATCH /v1/zones/example.org./records", func(ctx context.Context, c *Client) error {
		out, err := c.Change(ctx, "example.org.", Change{Set: sent})
		return differ(err, sent, out.Records)
	}},
	{"delete", "PATCH /v1/zones/example.org./records", func(ctx context.Context, c *Client) error {
		out, err := c.Change(ctx, "example.org.", Change{Delete: sent})
		return differ(err, sent, out.Records)
	}},
}

func differ(err error, want, got any) error {
	if diff := cmp.Diff(want, got); err == nil && diff != "" {
		return errors.New("(-want +got):\n" + diff)
	}
	return err
}

func TestOneRequestPerCall(t *testing.T) {
	for _, call := range calls {
		t.Run(call.name, func(t *testing.T) {
			f := newFakeService()
			c, _ := startHTTP(t, f)
			if err := call.do(t.Context(), c); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff([]string{call.request}, f.sawRequests()); diff != "" {
				t.Errorf("requests (-want +got):\n%s", diff)
			}
		})
	}
}

func TestRequest(t *testing.T) {
	var got *http.Request
	f := newFakeService(func(w http.ResponseWriter, r *http.Request, serve http.Handler) {
		got = r.Clone(context.Background())
		writeJSON(w, 200, Records{Records: []Record{}})
	})
	srv := httptest.NewServer(f)
	defer srv.Close()
	c, _ := newTestClient(t, srv.URL+"/dns%20api/", f.token, nil)
	if _, err := c.GetRecords(t.Context(), "0/25.2.0.192.in-addr.arpa."); err != nil {
		t.Fatal(err)
	}
	if want := "/dns%20api/v1/zones/0%2F25.2.0.192.in-addr.arpa./records"; got.RequestURI != want {
		t.Errorf("path %s, want %s", got.RequestURI, want)
	}
	if got, want := got.UserAgent(), "bestdns-client/"; !strings.HasPrefix(got, want) || got == want {
		t.Errorf("User-Agent %q", got)
	}
	if _, err := c.GetRecords(t.Context(), "."); err != nil {
		t.Fatal(err)
	}
	if want := "/dns%20api/v1/zones/%2E/records"; got.RequestURI != want {
		t.Errorf("path %s, want %s", got.RequestURI, want)
	}
}

func TestRedirectGetsNoToken(t *testing.T) {
	var leaked atomic.Int32
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { leaked.Add(1) }))
	defer other.Close()
	for _, call := range calls {
		f := newFakeService(func(w http.ResponseWriter, r *http.Request, _ http.Handler) {
			http.Redirect(w, r, other.URL+"/secret-path", http.StatusTemporaryRedirect)
		})
		c, _ := startHTTP(t, f)
		err := call.do(t.Context(), c)
		if err == nil {
			t.Fatalf("%s: no error", call.name)
		}
		if want := "redirects to " + strings.TrimPrefix(other.URL, "http://"); !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "secret-path") {
			t.Errorf("%s: error %q does not say %q", call.name, err, want)
		}
		if n := len(f.sawRequests()); n != 1 {
			t.Errorf("%s: %d requests", call.name, n)
		}
	}
	if n := leaked.Load(); n != 0 {
		t.Errorf("the other host got %d requests", n)
	}
}

// TestEndpointOfAnotherSite asks one that is not BestDNS, or not at that path.
func TestEndpointOfAnotherSite(t *testing.T) {
	const hint = "ends in /v1"
	site := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(site.Close)
	for path, hinted := range map[string]bool{"": false, "/dns": false, "/v1": true, "/v1/": true} {
		c, err := NewClient(site.URL+path, Identity{Token: NewToken()}, nil)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(c.CloseIdleConnections)
		_, err = c.ListZones(t.Context())
		if err == nil || !strings.Contains(err.Error(), "as BestDNS does not") || strings.Contains(err.Error(), hint) != hinted {
			t.Errorf("at %q: %v", path, err)
		}
	}
}

func TestAnswerTooLong(t *testing.T) {
	f := newFakeService()
	c, waits := startHTTP(t, f)
	err := c.do(t.Context(), &call{method: "GET", path: "/v1/zones", timeout: callTimeout, limit: 10,
		decode: decodeInto(new(Zones))})
	if !errors.Is(err, errTooLong) || len(*waits) != 0 {
		t.Errorf("error %v, waits %v", err, *waits)
	}
}

func TestRefusedBeforeSending(t *testing.T) {
	f := newFakeService()
	c, _ := startHTTP(t, f)
	long := strings.Repeat("x", MaxBodyBytes)
	for name, do := range map[string]func() error{
		"GET without zone":    func() error { _, err := c.GetRecords(t.Context(), ""); return err },
		"change without zone": func() error { _, err := c.Change(t.Context(), "", Change{Append: sent}); return err },
		"too many records": func() error {
			_, err := c.Change(t.Context(), "x.", Change{Append: make([]Record, MaxRecords+1)})
			return err
		},
		"too many bytes": func() error {
			_, err := c.Change(t.Context(), "x.", Change{Append: []Record{{Name: "x", Type: "TXT", Data: &long}}})
			return err
		},
	} {
		var e *Error
		if err := do(); !errors.As(err, &e) || !e.Unchanged || e.Status != 0 || e.Kind() == "" {
			t.Errorf("%s: error %#v", name, err)
		}
	}
	if reqs := f.sawRequests(); len(reqs) != 0 {
		t.Errorf("requests %v", reqs)
	}
}

func TestDecodeRecords(t *testing.T) {
	want := []libdns.Record{libdns.TXT{Name: "x", Text: "y"}}
	for name, body := range map[string]string{
		"plain":                `{"records":[{"name":"x","type":"TXT","data":"y"}]}`,
		"with unknown members": `{"later":{"a":[1]},"records":[{"name":"x","type":"TXT","data":"y","later":1}],"more":null} ` + "\n",
	} {
		got, err := decodeRecords(strings.NewReader(body))
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	for _, body := range []string{
		``, `{`, `[]`, `{}`, `null`, `{"records":null}`, `{"records":[`, `{"records":[]`, `{"records":[{"name":"x"}`,
		`{"records":[{"name":1}]}`, `{"records":[]}x`, `{"records":[]}{}`,
	} {
		if got, err := decodeRecords(strings.NewReader(body)); err == nil {
			t.Errorf("%q gave %v", body, got)
		}
	}
}

func TestNewClientRefuses(t *testing.T) {
	token := NewToken()
	for _, tt := range []struct{ name, endpoint, token, want string }{
		{"no endpoint", "", token, "the endpoint is empty"},
		{"no scheme", "dns.example.net", token, "no scheme"},
		{"no scheme but a port", "dns.example.net:443", token, "no scheme"},
		{"no host", "https://", token, "not a URL"},
		{"no host but a port", "https://:443", token, "not a URL"},
		{"no URL", "https://[::1", token, "not a URL"},
		{"another scheme", "ftp://dns.example.net", token, "another scheme"},
		{"http to another host", "http://dns.example.net", token, "in the clear"},
		{"http to a private address", "http://10.0.0.1", token, "in the clear"},
		{"a name that begins like a loopback address", "http://127.0.0.1.example.net", token, "in the clear"},
		{"a password", "https://user:secret-pw@dns.example.net", token, "user name or password"},
		{"a query", "https://dns.example.net/?a=b", token, "query"},
		{"a placeholder", "https://{env.HOST}", token, "braces"},
		{"the token in its place", token, token, "no scheme"},
		{"the token for a host", "https://" + token, token, "there is a token in the endpoint"},
		{"no token", "https://dns.example.net", "", "empty"},
		{"a URL for a token", "https://dns.example.net", "https://dns.example.net", "URL"},
		{"a placeholder for a token", "https://dns.example.net", "{env.X}", "braces"},
		{"another token", "https://dns.example.net", "ghp_0123456789", "begins with"},
		{"a cut token", "https://dns.example.net", token[:40], "cut"},
		{"a token with a line break", "https://dns.example.net", token + "\n", "what follows it"},
		{"a mistyped token", "https://dns.example.net", mistype(token), "check digits"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := NewClient(tt.endpoint, Identity{Token: tt.token}, nil)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("error %v does not say %q", err, tt.want)
			}
			for _, secret := range []string{token, "secret-pw", token[:40], mistype(token)} {
				if strings.Contains(err.Error(), secret) {
					t.Errorf("error %q holds a secret", err)
				}
			}
		})
	}
	for _, endpoint := range []string{
		"https://dns.example.net", "https://dns.example.net:8443/a/b/", "https://192.0.2.1", "HTTPS://dns.example.net",
		"http://localhost:8080", "http://127.8.9.10", "http://[::1]:80/x",
	} {
		if _, err := NewClient(endpoint, Identity{Token: token}, nil); err != nil {
			t.Errorf("%s: %v", endpoint, err)
		}
	}
}

// mistype changes one character of a token.
func mistype(token string) string {
	c := byte('a')
	if token[20] == c {
		c = 'b'
	}
	return token[:20] + string(c) + token[21:]
}

func BenchmarkClient(b *testing.B) {
	for _, call := range calls {
		b.Run(call.name, func(b *testing.B) {
			c, _ := startHTTP(b, newFakeService())
			b.ReportAllocs()
			for b.Loop() {
				if err := call.do(b.Context(), c); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkDecodeRecords reads a zone of 10,000 names.
func BenchmarkDecodeRecords(b *testing.B) {
	var zone strings.Builder
	zone.WriteString(`{"records":[`)
	for i := range 10_000 {
		if i > 0 {
			zone.WriteByte(',')
		}
		fmt.Fprintf(&zone, `{"name":"host-%d","type":"A","ttl":60,"data":"192.0.2.%d"}`, i, i%256)
	}
	zone.WriteString(`]}`)
	b.SetBytes(int64(zone.Len()))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := decodeRecords(strings.NewReader(zone.String())); err != nil {
			b.Fatal(err)
		}
	}
}
