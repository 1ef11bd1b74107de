package bestdns_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	legochallenge "github.com/go-acme/lego/v4/challenge"
	"github.com/go-acme/lego/v4/challenge/dns01"
	"github.com/google/go-cmp/cmp"

	"github.com/caddy-dns/bestdns"
	"github.com/caddy-dns/bestdns/internal/api"
)

var _ legochallenge.ProviderTimeout = (*bestdns.DNSProviderBestDNS)(nil)

// clearEnv unsets every variable of the adapter and keeps lego from asking resolvers.
func clearEnv(t *testing.T) {
	t.Helper()
	for _, name := range []string{
		bestdns.EnvAPIToken, bestdns.EnvEndpoint, bestdns.EnvTTL,
		bestdns.EnvPropagationTimeout, bestdns.EnvPollingInterval, bestdns.EnvHTTPTimeout,
	} {
		t.Setenv(name, "")
		t.Setenv(name+"_FILE", "")
	}
	t.Setenv("LEGO_DISABLE_CNAME_SUPPORT", "true")
}

func TestLegoVariables(t *testing.T) {
	for _, tt := range []struct{ got, want string }{
		{bestdns.EnvNamespace, "BESTDNS_"},
		{bestdns.EnvAPIToken, "BESTDNS_API_TOKEN"},
		{bestdns.EnvEndpoint, "BESTDNS_ENDPOINT"},
		{bestdns.EnvTTL, "BESTDNS_TTL"},
		{bestdns.EnvPropagationTimeout, "BESTDNS_PROPAGATION_TIMEOUT"},
		{bestdns.EnvPollingInterval, "BESTDNS_POLLING_INTERVAL"},
		{bestdns.EnvHTTPTimeout, "BESTDNS_HTTP_TIMEOUT"},
	} {
		if tt.got != tt.want {
			t.Errorf("%s, want %s", tt.got, tt.want)
		}
	}
}

func TestNewDefaultConfig(t *testing.T) {
	defaults := bestdns.Config{
		TTL: bestdns.DefaultTTL, PropagationTimeout: time.Minute, PollingInterval: 100 * time.Millisecond, HTTPTimeout: 30 * time.Second,
	}
	given := bestdns.Config{
		TTL: 5, PropagationTimeout: 6 * time.Second, PollingInterval: 7 * time.Second, HTTPTimeout: 8 * time.Second,
	}
	values := map[string]string{
		bestdns.EnvTTL: "5", bestdns.EnvPropagationTimeout: "6", bestdns.EnvPollingInterval: "7", bestdns.EnvHTTPTimeout: "8",
	}
	for _, tt := range []struct {
		name string
		set  func(*testing.T)
		want bestdns.Config
	}{
		{"nothing set", func(*testing.T) {}, defaults},
		{"all set", func(t *testing.T) {
			for name, value := range values {
				t.Setenv(name, value)
			}
		}, given},
		{"all in files", func(t *testing.T) {
			for name, value := range values {
				t.Setenv(name+"_FILE", writeFile(t, value+"\n"))
			}
		}, given},
		{"all in files with the line ends of Windows", func(t *testing.T) {
			for name, value := range values {
				t.Setenv(name+"_FILE", writeFile(t, value+"\r\n"))
			}
		}, given},
		{"not numbers", func(t *testing.T) {
			for name := range values {
				t.Setenv(name, "1m")
			}
		}, defaults},
	} {
		t.Run(tt.name, func(t *testing.T) {
			clearEnv(t)
			tt.set(t)
			if diff := cmp.Diff(&tt.want, bestdns.NewDefaultConfig()); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func writeFile(t *testing.T, content string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "value")
	if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

// startPlain serves f over HTTP on a loopback address: lego has no setting for roots.
func startPlain(t *testing.T, f *fakeService) (endpoint string) {
	t.Helper()
	f.token = api.NewToken()
	srv := httptest.NewServer(f)
	t.Cleanup(srv.Close)
	return srv.URL
}

// TestLegoChallenge presents two challenges at one name, as for a domain and its
// wildcard, and cleans up one after the other, by each way to make the provider.
func TestLegoChallenge(t *testing.T) {
	for name, make := range map[string]func(t *testing.T, endpoint, token string) (*bestdns.DNSProvider, error){
		"environment": func(t *testing.T, endpoint, token string) (*bestdns.DNSProvider, error) {
			t.Setenv(bestdns.EnvEndpoint, endpoint)
			t.Setenv(bestdns.EnvAPIToken, token)
			return bestdns.NewDNSProvider()
		},
		"files": func(t *testing.T, endpoint, token string) (*bestdns.DNSProvider, error) {
			t.Setenv(bestdns.EnvEndpoint+"_FILE", writeFile(t, endpoint))
			t.Setenv(bestdns.EnvAPIToken+"_FILE", writeFile(t, token+"\n"))
			return bestdns.NewDNSProvider()
		},
		"files with the line ends of Windows": func(t *testing.T, endpoint, token string) (*bestdns.DNSProvider, error) {
			t.Setenv(bestdns.EnvEndpoint+"_FILE", writeFile(t, endpoint+"\r\n"))
			t.Setenv(bestdns.EnvAPIToken+"_FILE", writeFile(t, token+"\r\n"))
			return bestdns.NewDNSProvider()
		},
		"configuration": func(t *testing.T, endpoint, token string) (*bestdns.DNSProvider, error) {
			config := bestdns.NewDefaultConfig()
			config.Endpoint, config.APIToken = endpoint, token
			return bestdns.NewDNSProviderConfig(config)
		},
		"lego's guide": func(t *testing.T, endpoint, token string) (*bestdns.DNSProvider, error) {
			t.Setenv(bestdns.EnvEndpoint, endpoint)
			return bestdns.NewDNSProviderBestDNS(token)
		},
	} {
		t.Run(name, func(t *testing.T) {
			clearEnv(t)
			f := new(fakeService)
			p, err := make(t, startPlain(t, f), f.token)
			if err != nil {
				t.Fatal(err)
			}
			record := func(keyAuth string) api.Record {
				value := dns01.GetChallengeInfo("example.org", keyAuth).Value
				return api.Record{Name: "@", Type: "TXT", TTL: new(int64(60)), Data: &value}
			}
			step := func(do func(domain, token, keyAuth string) error, keyAuth string, want ...api.Record) {
				t.Helper()
				err := do("example.org", "token", keyAuth)
				check(t, err, append([]api.Record{}, want...), f.all())
			}
			step(p.Present, "one", record("one"))
			step(p.Present, "two", record("one"), record("two"))
			step(p.CleanUp, "one", record("two"))
			step(p.CleanUp, "two")
			step(p.CleanUp, "two")

			const zone = " /v1/zones/_acme-challenge.example.org./records"
			want := []string{"PATCH append" + zone, "PATCH append" + zone, "PATCH delete" + zone, "PATCH delete" + zone, "PATCH delete" + zone}
			if diff := cmp.Diff(want, f.requests()); diff != "" {
				t.Errorf("requests (-want +got):\n%s", diff)
			}
		})
	}
}

func TestLegoTimeouts(t *testing.T) {
	clearEnv(t)
	f := &fakeService{fault: func(_ http.ResponseWriter, r *http.Request, _ api.Change) bool {
		<-r.Context().Done()
		return true
	}}
	config := bestdns.NewDefaultConfig()
	config.Endpoint = startPlain(t, f)
	config.APIToken = f.token
	config.PropagationTimeout, config.PollingInterval, config.HTTPTimeout = 3*time.Second, 2*time.Second, 100*time.Millisecond
	p, err := bestdns.NewDNSProviderConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	if timeout, interval := p.Timeout(); timeout != 3*time.Second || interval != 2*time.Second {
		t.Errorf("Timeout is %v, %v", timeout, interval)
	}
	start := time.Now()
	err = p.CleanUp("example.org", "token", "key")
	if took := time.Since(start); err == nil || took > time.Second {
		t.Errorf("error %v after %v, want one after 100ms", err, took)
	}
}

// TestLegoWait: a name server that lags holds up a challenge until the HTTP timeout, and is not
// an error.
func TestLegoWait(t *testing.T) {
	clearEnv(t)
	var preferences []string
	f := &fakeService{fault: func(w http.ResponseWriter, r *http.Request, c api.Change) bool {
		preferences = append(preferences, r.Header.Get("Prefer"))
		lag := []string{"ns2.example.net 192.0.2.2"}
		if r.Method == http.MethodPost {
			answer(w, 200, api.Wait{Pending: lag})
		} else {
			answer(w, 200, api.Records{Records: append(c.Append, c.Delete...), Wait: api.Wait{Pending: lag}})
		}
		return true
	}}
	config := bestdns.NewDefaultConfig()
	config.Endpoint = startPlain(t, f)
	config.APIToken = f.token
	config.HTTPTimeout = 1500 * time.Millisecond // of which less than a second is for the service to wait
	p, err := bestdns.NewDNSProviderConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	if err := p.Present("example.org", "token", "key"); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(start); took < config.HTTPTimeout*9/10 {
		t.Errorf("returned after %v, want to wait for %v", took, config.HTTPTimeout)
	}
	if n := len(preferences); n < 2 || n > 10 || preferences[0] != "wait=0" {
		t.Errorf("preferences %q, want a few of wait=0", preferences)
	}
	preferences = nil
	if err := p.CleanUp("example.org", "token", "key"); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{""}, preferences); diff != "" {
		t.Errorf("preferences of a delete (-want +got):\n%s", diff)
	}
}

// TestLegoEndpoints: the variable may have several, and errors name the one that is wrong.
func TestLegoEndpoints(t *testing.T) {
	clearEnv(t)
	f := new(fakeService)
	t.Setenv(bestdns.EnvEndpoint, "http://127.0.0.1:1 "+startPlain(t, f))
	t.Setenv(bestdns.EnvAPIToken, f.token)
	p, err := bestdns.NewDNSProvider()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Present("example.org", "token", "key"); err != nil {
		t.Fatal(err)
	}
	if n := len(f.all()); n != 1 {
		t.Errorf("%d records at the second endpoint", n)
	}
	t.Setenv(bestdns.EnvEndpoint, "https://a.example b.example")
	if _, err := bestdns.NewDNSProvider(); err == nil || !strings.Contains(err.Error(), `the endpoint "b.example" has no scheme`) {
		t.Errorf("error %v", err)
	}
}

func TestLegoErrors(t *testing.T) {
	clearEnv(t)
	token := api.NewToken()
	const endpoint = "https://dns.example.net"
	config := func(change func(*bestdns.Config)) error {
		c := bestdns.NewDefaultConfig()
		c.APIToken, c.Endpoint = token, endpoint
		change(c)
		_, err := bestdns.NewDNSProviderConfig(c)
		return err
	}
	_, noEnv := bestdns.NewDNSProvider()
	_, noEndpoint := bestdns.NewDNSProviderBestDNS(token)
	_, noConfig := bestdns.NewDNSProviderConfig(nil)
	t.Setenv(bestdns.EnvEndpoint, endpoint)
	_, noToken := bestdns.NewDNSProvider()
	_, badToken := bestdns.NewDNSProviderBestDNS("my-auth-token")
	f := &fakeService{fault: func(w http.ResponseWriter, _ *http.Request, _ api.Change) bool {
		answer(w, 403, api.NewProblem(api.Forbidden, "web1 has certificates for web1.example.org"))
		return true
	}}
	t.Setenv(bestdns.EnvEndpoint, startPlain(t, f))
	p, err := bestdns.NewDNSProviderBestDNS(f.token)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name string
		err  error
		want string
	}{
		{"nothing set", noEnv, "BESTDNS_API_TOKEN,BESTDNS_ENDPOINT"},
		{"no endpoint", noEndpoint, "BESTDNS_ENDPOINT"},
		{"no token", noToken, "BESTDNS_API_TOKEN"},
		{"no configuration", noConfig, "nil"},
		{"not a token", badToken, "begins with"},
		{"negative TTL", config(func(c *bestdns.Config) { c.TTL = -2 }), "the TTL is -2"},
		{"no HTTP timeout", config(func(c *bestdns.Config) { c.HTTPTimeout = 0 }), "HTTP timeout"},
		{"no scheme", config(func(c *bestdns.Config) { c.Endpoint = "dns.example.net" }), "no scheme"},
		{"forbidden", p.Present("example.org", "token", "key"), "web1 has certificates for web1.example.org"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.err == nil || !strings.HasPrefix(tt.err.Error(), "bestdns: ") || !strings.Contains(tt.err.Error(), tt.want) {
				t.Errorf(`error %v, want "bestdns: … %s …"`, tt.err, tt.want)
			}
		})
	}
}

// TestLegoTTL: what is configured is what the service is told, zero too; and nothing where
// nothing is.
func TestLegoTTL(t *testing.T) {
	for _, tt := range []struct {
		variable string
		want     *int64
	}{
		{"", nil},
		{"-1", nil},
		{"0", new(int64(0))},
		{"5", new(int64(5))},
		{"3600", new(int64(3600))},
	} {
		t.Run("BESTDNS_TTL="+tt.variable, func(t *testing.T) {
			clearEnv(t)
			var told []*int64
			f := &fakeService{fault: func(_ http.ResponseWriter, _ *http.Request, c api.Change) bool {
				for _, r := range append(c.Append, c.Delete...) {
					told = append(told, r.TTL)
				}
				return false
			}}
			t.Setenv(bestdns.EnvEndpoint, startPlain(t, f))
			t.Setenv(bestdns.EnvTTL, tt.variable)
			p, err := bestdns.NewDNSProviderBestDNS(f.token)
			if err != nil {
				t.Fatal(err)
			}
			if err := p.Present("example.org", "token", "key"); err != nil {
				t.Fatal(err)
			}
			if err := p.CleanUp("example.org", "token", "key"); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff([]*int64{tt.want, nil}, told); diff != "" {
				t.Errorf("the TTL of the append and of the delete (-want +got):\n%s", diff)
			}
		})
	}
}

// TestLegoNamesVariables: an error says which variable or file it is about.
func TestLegoNamesVariables(t *testing.T) {
	token := api.NewToken()
	marked := writeFile(t, "\ufeff"+token+"\n")
	for _, tt := range []struct {
		name      string
		variables map[string]string
		want      string
	}{
		{"variable", map[string]string{bestdns.EnvAPIToken: "'" + token},
			`bestdns: the token from BESTDNS_API_TOKEN: a token begins with "bestdns_": what precedes it is "'"; remove that`},
		{"file", map[string]string{bestdns.EnvAPIToken + "_FILE": marked},
			`bestdns: the token from BESTDNS_API_TOKEN_FILE (` + marked + `): a token begins with "bestdns_": what precedes it is "\ufeff", a byte order mark, which editors do not show; remove that`},
		{"no file", map[string]string{bestdns.EnvAPIToken + "_FILE": "/nonexistent/token"},
			`bestdns: reading the file that BESTDNS_API_TOKEN_FILE names: open /nonexistent/token: no such file or directory`},
		{"endpoint", map[string]string{bestdns.EnvAPIToken: token, bestdns.EnvEndpoint: "dns.example.net"},
			`bestdns: the endpoint "dns.example.net" has no scheme: write it as https://HOST`},
		{"empty file", map[string]string{bestdns.EnvAPIToken + "_FILE": writeFile(t, "\r\n")},
			`bestdns: some credentials information are missing: BESTDNS_API_TOKEN`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			clearEnv(t)
			t.Setenv(bestdns.EnvEndpoint, "https://dns.example.net")
			for name, value := range tt.variables {
				t.Setenv(name, value)
			}
			if _, err := bestdns.NewDNSProvider(); err == nil || err.Error() != tt.want {
				t.Errorf("error\n%v, want\n%s", err, tt.want)
			}
		})
	}
}

// TestConfigHidesSecrets: the endpoint may have a password in it by mistake.
func TestConfigHidesSecrets(t *testing.T) {
	c := bestdns.Config{APIToken: api.NewToken(), Endpoint: "https://user:hunter2@dns.example.net"}
	if got := fmt.Sprintf("%+v", c); strings.Contains(got, "hunter2") || strings.Contains(got, c.APIToken) || !strings.Contains(got, "@dns.example.net") {
		t.Error(got)
	}
}
