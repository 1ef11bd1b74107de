package clienttest

import (
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/caddy-dns/bestdns"
	"github.com/caddy-dns/bestdns/internal/api"
)

// LegoAdapter is the adapter for one version of lego.
type LegoAdapter struct {
	NewDefaultConfig      func() *bestdns.Config
	NewDNSProvider        func() (LegoProvider, error)
	NewDNSProviderBestDNS func(apiAuthToken string) (LegoProvider, error)
	NewDNSProviderConfig  func(*bestdns.Config) (LegoProvider, error)
}

// LegoProvider is what lego v4 calls.
type LegoProvider interface {
	Present(domain, token, keyAuth string) error
	CleanUp(domain, token, keyAuth string) error
	Timeout() (timeout, interval time.Duration)
}

// Test runs the tests that the adapter for each version has to pass.
func (a LegoAdapter) Test(t *testing.T) {
	for _, tt := range []struct {
		name string
		test func(*testing.T)
	}{
		{"defaults", a.testDefaults},
		{"challenge", a.testChallenge},
		{"timeouts", a.testTimeouts},
		{"wait", a.testWait},
		{"endpoints", a.testEndpoints},
		{"errors", a.testErrors},
		{"TTL", a.testTTL},
		{"names of variables", a.testNamesVariables},
	} {
		t.Run(tt.name, func(t *testing.T) {
			ClearLegoEnv(t)
			tt.test(t)
		})
	}
}

// ClearLegoEnv unsets every variable of the adapter and keeps lego from asking resolvers.
func ClearLegoEnv(t *testing.T) {
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

// testDefaults: what the variables do not say is the default.
func (a LegoAdapter) testDefaults(t *testing.T) {
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
			tt.set(t)
			if diff := cmp.Diff(&tt.want, a.NewDefaultConfig()); diff != "" {
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

// testChallenge presents two challenges at one name, as for a domain and its
// wildcard, and cleans up one after the other, by each way to make the provider.
func (a LegoAdapter) testChallenge(t *testing.T) {
	for name, make := range map[string]func(t *testing.T, endpoint, token string) (LegoProvider, error){
		"environment": func(t *testing.T, endpoint, token string) (LegoProvider, error) {
			t.Setenv(bestdns.EnvEndpoint, endpoint)
			t.Setenv(bestdns.EnvAPIToken, token)
			return a.NewDNSProvider()
		},
		"files": func(t *testing.T, endpoint, token string) (LegoProvider, error) {
			t.Setenv(bestdns.EnvEndpoint+"_FILE", writeFile(t, endpoint))
			t.Setenv(bestdns.EnvAPIToken+"_FILE", writeFile(t, token+"\n"))
			return a.NewDNSProvider()
		},
		"files with the line ends of Windows": func(t *testing.T, endpoint, token string) (LegoProvider, error) {
			t.Setenv(bestdns.EnvEndpoint+"_FILE", writeFile(t, endpoint+"\r\n"))
			t.Setenv(bestdns.EnvAPIToken+"_FILE", writeFile(t, token+"\r\n"))
			return a.NewDNSProvider()
		},
		"configuration": func(t *testing.T, endpoint, token string) (LegoProvider, error) {
			config := a.NewDefaultConfig()
			config.Endpoint, config.APIToken = endpoint, token
			return a.NewDNSProviderConfig(config)
		},
		"lego's guide": func(t *testing.T, endpoint, token string) (LegoProvider, error) {
			t.Setenv(bestdns.EnvEndpoint, endpoint)
			return a.NewDNSProviderBestDNS(token)
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := new(Service)
			p, err := make(t, f.StartPlain(t), f.Token)
			if err != nil {
				t.Fatal(err)
			}
			record := func(keyAuth string) api.Record {
				sum := sha256.Sum256([]byte(keyAuth)) // RFC 8555 §8.4
				value := base64.RawURLEncoding.EncodeToString(sum[:])
				return api.Record{Name: "@", Type: "TXT", TTL: new(int64(60)), Data: &value}
			}
			step := func(do func(domain, token, keyAuth string) error, keyAuth string, want ...api.Record) {
				t.Helper()
				if err := do("example.org", "token", keyAuth); err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(want, f.All(), cmpopts.EquateEmpty()); diff != "" {
					t.Errorf("records (-want +got):\n%s", diff)
				}
			}
			step(p.Present, "one", record("one"))
			step(p.Present, "two", record("one"), record("two"))
			step(p.CleanUp, "one", record("two"))
			step(p.CleanUp, "two")
			step(p.CleanUp, "two")

			const zone = " /v1/zones/_acme-challenge.example.org./records"
			want := []string{"PATCH append" + zone, "PATCH append" + zone, "PATCH delete" + zone, "PATCH delete" + zone, "PATCH delete" + zone}
			if diff := cmp.Diff(want, f.Requests()); diff != "" {
				t.Errorf("requests (-want +got):\n%s", diff)
			}
		})
	}
}

func (a LegoAdapter) testTimeouts(t *testing.T) {
	f := &Service{Fault: func(_ http.ResponseWriter, r *http.Request, _ api.Change) bool {
		<-r.Context().Done()
		return true
	}}
	config := a.NewDefaultConfig()
	config.Endpoint = f.StartPlain(t)
	config.APIToken = f.Token
	config.PropagationTimeout, config.PollingInterval, config.HTTPTimeout = 3*time.Second, 2*time.Second, 100*time.Millisecond
	p, err := a.NewDNSProviderConfig(config)
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

// testWait: a name server that lags holds up a challenge until the HTTP timeout, and is not
// an error.
func (a LegoAdapter) testWait(t *testing.T) {
	var preferences []string
	f := &Service{Fault: func(w http.ResponseWriter, r *http.Request, c api.Change) bool {
		preferences = append(preferences, r.Header.Get("Prefer"))
		lag := []string{"ns2.example.net 192.0.2.2"}
		if r.Method == http.MethodPost {
			Answer(w, 200, api.Wait{Pending: lag})
		} else {
			Answer(w, 200, api.Records{Records: append(c.Append, c.Delete...), Wait: api.Wait{Pending: lag}})
		}
		return true
	}}
	config := a.NewDefaultConfig()
	config.Endpoint = f.StartPlain(t)
	config.APIToken = f.Token
	config.HTTPTimeout = 1500 * time.Millisecond // of which less than a second is for the service to wait
	p, err := a.NewDNSProviderConfig(config)
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

// testEndpoints: the variable may have several, and errors name the one that is wrong.
func (a LegoAdapter) testEndpoints(t *testing.T) {
	f := new(Service)
	t.Setenv(bestdns.EnvEndpoint, "http://127.0.0.1:1 "+f.StartPlain(t))
	t.Setenv(bestdns.EnvAPIToken, f.Token)
	p, err := a.NewDNSProvider()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Present("example.org", "token", "key"); err != nil {
		t.Fatal(err)
	}
	if n := len(f.All()); n != 1 {
		t.Errorf("%d records at the second endpoint", n)
	}
	t.Setenv(bestdns.EnvEndpoint, "https://a.example b.example")
	if _, err := a.NewDNSProvider(); err == nil || !strings.Contains(err.Error(), `the endpoint "b.example" has no scheme`) {
		t.Errorf("error %v", err)
	}
}

func (a LegoAdapter) testErrors(t *testing.T) {
	token := api.NewToken()
	const endpoint = "https://dns.example.net"
	config := func(change func(*bestdns.Config)) error {
		c := a.NewDefaultConfig()
		c.APIToken, c.Endpoint = token, endpoint
		change(c)
		_, err := a.NewDNSProviderConfig(c)
		return err
	}
	_, noEnv := a.NewDNSProvider()
	_, noEndpoint := a.NewDNSProviderBestDNS(token)
	_, noConfig := a.NewDNSProviderConfig(nil)
	t.Setenv(bestdns.EnvEndpoint, endpoint)
	_, noToken := a.NewDNSProvider()
	_, badToken := a.NewDNSProviderBestDNS("my-auth-token")
	f := &Service{Fault: func(w http.ResponseWriter, _ *http.Request, _ api.Change) bool {
		Answer(w, 403, api.NewProblem(api.Forbidden, "web1 has certificates for web1.example.org"))
		return true
	}}
	t.Setenv(bestdns.EnvEndpoint, f.StartPlain(t))
	p, err := a.NewDNSProviderBestDNS(f.Token)
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

// testTTL: what is configured is what the service is told, zero too; and nothing where
// nothing is.
func (a LegoAdapter) testTTL(t *testing.T) {
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
			var told []*int64
			f := &Service{Fault: func(_ http.ResponseWriter, _ *http.Request, c api.Change) bool {
				for _, r := range append(c.Append, c.Delete...) {
					told = append(told, r.TTL)
				}
				return false
			}}
			t.Setenv(bestdns.EnvEndpoint, f.StartPlain(t))
			t.Setenv(bestdns.EnvTTL, tt.variable)
			p, err := a.NewDNSProviderBestDNS(f.Token)
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

// testNamesVariables: an error says which variable or file it is about.
func (a LegoAdapter) testNamesVariables(t *testing.T) {
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
			t.Setenv(bestdns.EnvEndpoint, "https://dns.example.net")
			for name, value := range tt.variables {
				t.Setenv(name, value)
			}
			if _, err := a.NewDNSProvider(); err == nil || err.Error() != tt.want {
				t.Errorf("error\n%v, want\n%s", err, tt.want)
			}
		})
	}
}
