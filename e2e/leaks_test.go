package e2e

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/caddyserver/certmagic"
	"github.com/libdns/libdns"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/caddy-dns/bestdns"
	"github.com/caddy-dns/bestdns/e2e/internal/harness"
	"github.com/caddy-dns/bestdns/internal/api"
)

// What the search is worth: it finds a token in each form that it could have.
func TestTokensAreRecognized(t *testing.T) {
	t.Parallel()
	token := api.NewToken()
	for name, text := range map[string]string{
		"whole":                 token,
		"cut":                   token[:40],
		"in JSON":               `{"Authorization":["Bearer ` + token + `"]}`,
		"Basic authentication":  base64.StdEncoding.EncodeToString([]byte(":" + token)),
		"by itself, in base64":  base64.StdEncoding.EncodeToString([]byte(token)),
		"as fmt shows a struct": fmt.Sprintf("%#v", struct{ T string }{token}),
	} {
		if !harness.Tokens.MatchString(text) {
			t.Errorf("%s: %s is not taken for a token", name, text)
		}
	}
	for _, text := range []string{"bestdns_listen", "{env.BESTDNS_API_TOKEN}", harness.Digest(token), token[:8]} {
		if harness.Tokens.MatchString(text) {
			t.Errorf("%s is taken for a token", text)
		}
	}
}

// faultyEndpoints are those that a client may meet beside the right one.
type faultyEndpoints struct {
	closed, redirecting, notTLS string
	// elsewhere is what came to where the redirect points.
	elsewhere *visitors
}

// visitors keeps what an HTTP server was asked.
type visitors struct {
	mu   sync.Mutex
	seen []string
}

func (v *visitors) ServeHTTP(_ http.ResponseWriter, r *http.Request) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.seen = append(v.seen, fmt.Sprint(r.Method, " ", r.URL, " ", r.Header))
}

func newFaultyEndpoints(t testing.TB, status int) faultyEndpoints {
	t.Helper()
	f := faultyEndpoints{closed: "https://" + harness.FreeAddr(t), elsewhere: new(visitors)}
	other := httptest.NewTLSServer(f.elsewhere)
	t.Cleanup(other.Close)
	redirecting := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, other.URL+r.URL.Path, status)
	}))
	t.Cleanup(redirecting.Close)
	f.redirecting = redirecting.URL
	plain := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(plain.Close)
	f.notTLS = strings.Replace(plain.URL, "http:", "https:", 1)
	return f
}

func (f faultyEndpoints) assertNoVisitors(t testing.TB) {
	t.Helper()
	f.elsewhere.mu.Lock()
	defer f.elsewhere.mu.Unlock()
	if len(f.elsewhere.seen) > 0 {
		t.Errorf("the host that a redirect points to got %q", f.elsewhere.seen)
	}
}

// A Caddy with every way to have a token, and every way in which a call can fail,
// at level debug; and the service that it comes to, with an access log.
func TestLogsHoldNoToken(t *testing.T) {
	t.Parallel()
	w := harness.NewWorld(t)
	faulty := newFaultyEndpoints(t, http.StatusPermanentRedirect)
	tokenFile := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(tokenFile, []byte(w.Token+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	providers := []struct {
		label           string
		token, endpoint string
		// says is in the error in the log; empty for a certificate.
		says string
	}{
		{"env", "{env.TOKEN}", w.Recorder.URL, ""},
		{"file", "{file." + tokenFile + "}", w.Recorder.URL, ""},
		{"literal", w.Token, w.Recorder.URL, ""},
		{"stranger", api.NewToken(), w.Recorder.URL, "no client of this service has it"},
		{"forbidden", w.Token, w.Recorder.URL, "it may: certificates env."},
		{"closed", w.Token, faulty.closed, "cannot connect to"},
		{"redirecting", w.Token, faulty.redirecting, "redirects to"},
		{"plain", w.Token, faulty.notTLS, "does not speak TLS"},
	}
	var certificates, failures []string
	var blocks strings.Builder
	for _, p := range providers {
		name := p.label + "." + harness.HostedZone
		fmt.Fprintf(&blocks, "%s {\n tls {\n dns bestdns %s %s {\n trusted_roots %s\n }\n resolvers %s\n propagation_timeout -1\n }\n}\n",
			name, p.token, p.endpoint, w.Recorder.TLSRoot, w.Resolver.Addr)
		if p.says == "" {
			certificates = append(certificates, name)
		} else {
			failures = append(failures, name)
		}
	}
	service := harness.StartCaddy(t, harness.CaddyBinary, "rights.caddyfile", w.Env(t), certificatesFor(certificates...))
	client := harness.StartCaddy(t, harness.ClientBinary, "any.caddyfile", w.Env(t), harness.Env{"OPTIONS": "", "BLOCKS": blocks.String()})
	client.Accept(func(e harness.Entry) bool {
		for _, name := range failures {
			if strings.Contains(e.Line, name) {
				return true
			}
		}
		return false
	})
	client.WaitCertificates(certificates...)
	if err := client.Log.Wait(len(failures), harness.ObtainTimeout, harness.Message("will retry")); err != nil {
		t.Fatalf("waiting for the other certificates to fail: %v", err)
	}
	for _, p := range providers {
		said := client.Log.Entries(func(e harness.Entry) bool {
			return e.Message == "will retry" && strings.Contains(e.Error, p.says) && strings.Contains(e.Error, p.label+"."+harness.HostedZone)
		})
		if p.says != "" && len(said) == 0 {
			t.Errorf("%s: no error in the log says %q, so nothing is proved", p.label, p.says)
		}
	}
	if len(service.Log.Entries(harness.Message("handled request"))) == 0 {
		t.Error("the service has no access log, so nothing is proved")
	}
	client.Stop()
	service.Stop()
	harness.AssertNoToken(t, "the client's log", client.Log.String())
	harness.AssertNoToken(t, "the service's log", service.Log.String())
	faulty.assertNoVisitors(t)
}

// Mistakes in a Caddyfile around a token that is in it.
func TestConfigErrorsHoldNoToken(t *testing.T) {
	t.Parallel()
	token := api.NewToken()
	mistakes := map[string]string{
		"token alone":             "dns bestdns " + token,
		"three arguments":         "dns bestdns " + token + " https://dns.example.net " + token,
		"swapped":                 "dns bestdns https://dns.example.net " + token,
		"cut":                     "dns bestdns " + token[:40] + " https://dns.example.net",
		"mistyped":                "dns bestdns " + token[:40] + "0" + token[41:56] + "!" + " https://dns.example.net",
		"without scheme":          "dns bestdns " + token + " dns.example.net",
		"in the clear":            "dns bestdns " + token + " http://dns.example.net",
		"user in the URL":         "dns bestdns " + token + " https://" + token + "@dns.example.net",
		"in the URL":              "dns bestdns " + token + " https://dns.example.net/?token=" + token,
		"for a host":              "dns bestdns " + token + " https://" + token,
		"for an option":           "dns bestdns {\n " + token + "\n }",
		"after another option":    "dns bestdns {\n token " + token + "\n }",
		"twice":                   "dns bestdns {\n api_token " + token + " " + token + "\n }",
		"in braces":               "dns bestdns {" + token + "} https://dns.example.net",
		"in a placeholder's name": "dns bestdns {env." + token + " https://dns.example.net",
		"no such roots":           "dns bestdns " + token + " https://dns.example.net {\n trusted_roots /nonexistent\n }",
	}
	for name, mistake := range mistakes {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "Caddyfile")
			if err := os.WriteFile(file, []byte("www.example.org {\n tls {\n "+mistake+"\n }\n}\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			cmd := exec.CommandContext(t.Context(), harness.CaddyBinary, "validate", "--adapter", "caddyfile", "--config", file)
			cmd.Env = []string{"HOME=" + filepath.Dir(file)}
			out, err := cmd.CombinedOutput()
			var exit *exec.ExitError
			if !errors.As(err, &exit) {
				t.Errorf("Caddy takes it, or does not run: %v\n%s", err, out)
			}
			if !strings.Contains(string(out), "bestdns") {
				t.Errorf("the error is about something else: %s", out)
			}
			harness.AssertNoToken(t, "the error", string(out))
		})
	}
}

// lego with all that it can log about HTTP, when it succeeds and when it fails.
func TestLegoLogsHoldNoToken(t *testing.T) {
	t.Parallel()
	w := harness.NewWorld(t)
	faulty := newFaultyEndpoints(t, http.StatusPermanentRedirect)
	harness.StartCaddy(t, harness.CaddyBinary, "rights.caddyfile", w.Env(t), certificatesFor(web))
	for name, tt := range map[string]struct {
		env    harness.Env
		domain string
		says   string
	}{
		"success":      {nil, web, "The server validated our request"},
		"forbidden":    {nil, "other." + harness.HostedZone, "it may: certificates"},
		"stranger":     {harness.Env{"BESTDNS_API_TOKEN": api.NewToken()}, web, "no client of this service has it"},
		"cut":          {harness.Env{"BESTDNS_API_TOKEN": w.Token[:40]}, web, "was it cut"},
		"swapped":      {harness.Env{"BESTDNS_API_TOKEN": w.Recorder.PlainURL, "BESTDNS_ENDPOINT": w.Token}, web, "no scheme"},
		"closed":       {harness.Env{"BESTDNS_ENDPOINT": "http" + strings.TrimPrefix(faulty.closed, "https")}, web, "cannot connect"},
		"in the clear": {harness.Env{"BESTDNS_ENDPOINT": "http://192.0.2.1"}, web, "in the clear"},
	} {
		debug := harness.Env{"LEGO_DEBUG_ACME_HTTP_CLIENT": "true", "LEGO_DEBUG_CLIENT_VERBOSE_ERROR": "true", "LEGO_DEBUG_DNS_API_HTTP_CLIENT": "true"}
		for name, value := range tt.env {
			debug[name] = value
		}
		_, log, err := w.RunLego(t, debug, tt.domain)
		if !strings.Contains(log, tt.says) {
			t.Errorf("%s: lego ends with %v and says\n%swhich does not hold %q", name, err, log, tt.says)
		}
		harness.AssertNoToken(t, "lego's log, "+name, log)
	}
}

// The plain Go value: certmagic's log at level debug, what each call reports, and
// the value and its errors in every form that fmt has. A redirect, of any kind,
// is followed by no method.
func TestGoValueHoldsNoToken(t *testing.T) {
	t.Parallel()
	w := harness.NewWorld(t)
	harness.StartCaddy(t, harness.CaddyBinary, "rights.caddyfile", w.Env(t), certificatesFor(web))

	t.Run("certmagic", func(t *testing.T) {
		var log harness.LockedBuffer
		logger := zap.New(zapcore.NewCore(zapcore.NewJSONEncoder(zap.NewProductionEncoderConfig()), zapcore.AddSync(&log), zap.DebugLevel))
		provider := w.Provider(w.Recorder.URL)
		issuer := w.Issuer()
		issuer.DNS01Solver = &certmagic.DNS01Solver{DNSManager: certmagic.DNSManager{
			DNSProvider: provider, PropagationTimeout: -1, Resolvers: []string{w.Resolver.Addr}, Logger: logger,
		}}
		config := harness.NewCertmagic(t, issuer)
		config.Logger = logger
		if err := config.ObtainCertSync(t.Context(), web); err != nil {
			t.Fatal(err)
		}
		err := config.ObtainCertSync(t.Context(), "other."+harness.HostedZone)
		if err == nil {
			t.Error("there is a certificate that the token is not for")
		}
		logger.Debug("the provider", zap.Any("as a field", formats(provider)), zap.Error(err))
		if !strings.Contains(log.String(), "creating DNS record") {
			t.Error("there is no log, so nothing is proved")
		}
		harness.AssertNoToken(t, "certmagic's log", log.String())
		harness.AssertNoToken(t, "the error", formats(err))
	})

	for _, status := range []int{301, 302, 303, 307, 308} {
		faulty := newFaultyEndpoints(t, status)
		provider := w.Provider(faulty.redirecting)
		for name, err := range callAll(t, provider) {
			if err == nil || !strings.Contains(err.Error(), "redirects to") {
				t.Errorf("%s, %d: error %v, want one about the redirect", name, status, err)
			}
			harness.AssertNoToken(t, "the error of "+name, formats(err))
		}
		harness.AssertNoToken(t, "the provider", formats(provider))
		faulty.assertNoVisitors(t)
	}
}

// callAll calls each method of libdns and returns what it reports.
func callAll(t testing.TB, p *bestdns.Provider) map[string]error {
	ctx, zone := t.Context(), harness.HostedZone+"."
	records := []libdns.Record{libdns.CNAME{Name: "alias", Target: "web." + zone}}
	_, list := p.ListZones(ctx)
	_, get := p.GetRecords(ctx, zone)
	_, appending := p.AppendRecords(ctx, zone, records)
	_, set := p.SetRecords(ctx, zone, records)
	_, deleting := p.DeleteRecords(ctx, zone, records)
	return map[string]error{
		"ListZones": list, "GetRecords": get, "AppendRecords": appending, "SetRecords": set, "DeleteRecords": deleting,
	}
}

// formats returns v as every verb of fmt shows it.
func formats(v any) string { return fmt.Sprintf("%v\n%+v\n%#v\n%s\n%q", v, v, v, v, v) }
