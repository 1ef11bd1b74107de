package bestdns_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	_ "github.com/caddyserver/caddy/v2/modules/logging"
	"github.com/google/go-cmp/cmp"
	"github.com/libdns/libdns"

	"github.com/caddy-dns/bestdns"
	"github.com/caddy-dns/bestdns/internal/api"
	"github.com/caddy-dns/bestdns/internal/clienttest"
)

func TestUnmarshalCaddyfile(t *testing.T) {
	token := api.NewToken()
	for _, tt := range []struct{ name, caddyfile, json string }{
		{"in process", `bestdns`, `{}`},
		{"in process, with an empty block", "bestdns {\n}", `{}`},
		{"one line", `bestdns ` + token + ` https://dns.example.net`,
			`{"api_token":"` + token + `","endpoint":"https://dns.example.net"}`},
		{"placeholders", `bestdns {env.TOKEN} {env.ENDPOINT}`,
			`{"api_token":"{env.TOKEN}","endpoint":"{env.ENDPOINT}"}`},
		{"block", "bestdns {\n api_token {file./run/secrets/bestdns}\n endpoint https://dns.example.net/a\n trusted_roots a.pem {env.B}\n}",
			`{"api_token":"{file./run/secrets/bestdns}","endpoint":"https://dns.example.net/a","trusted_roots":["a.pem","{env.B}"]}`},
		{"several endpoints", "bestdns {\n api_token {env.TOKEN}\n endpoint https://a.example https://b.example/x \"{file./run/my secrets/x}\"\n}",
			`{"api_token":"{env.TOKEN}","endpoint":"https://a.example https://b.example/x {file./run/my secrets/x}"}`},
		{"several endpoints in one line", `bestdns {env.TOKEN} "https://a.example https://b.example"`,
			`{"api_token":"{env.TOKEN}","endpoint":"https://a.example https://b.example"}`},
		{"one line and a block", "bestdns {env.TOKEN} https://dns.example.net {\n trusted_roots a.pem\n}",
			`{"api_token":"{env.TOKEN}","endpoint":"https://dns.example.net","trusted_roots":["a.pem"]}`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := new(bestdns.Provider)
			if err := p.UnmarshalCaddyfile(caddyfile.NewTestDispenser(tt.caddyfile)); err != nil {
				t.Fatal(err)
			}
			got, err := json.Marshal(p)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.json, string(got)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// TestUnmarshalCaddyfileRefuses: every error says in which line, and holds no token.
func TestUnmarshalCaddyfileRefuses(t *testing.T) {
	token := api.NewToken()
	for _, tt := range []struct{ name, caddyfile, want, line string }{
		{"token alone", `bestdns ` + token, "one argument", ":1"},
		{"endpoint alone", `bestdns https://dns.example.net`, "use {env.VAR}", ":1"},
		{"empty token alone", `bestdns ""`, "token is empty", ":1"},
		{"empty quoted token", `bestdns "" https://dns.example.net`, "use {env.VAR}", ":1"},
		{"a URL for a token", `bestdns https://a.example https://b.example`, "the token is a URL", ":1"},
		{"swapped", `bestdns https://dns.example.net ` + token, "the token is a URL", ":1"},
		{"three arguments", `bestdns ` + token + ` https://dns.example.net ` + token, "too many arguments", ":1"},
		{"cut token", `bestdns ` + token[:50] + ` https://dns.example.net`, "cut", ":1"},
		{"endpoint without scheme", `bestdns ` + token + ` dns.example.net`, "no scheme", ":1"},
		{"http to another host", `bestdns ` + token + ` http://dns.example.net`, "in the clear", ":1"},
		{"empty token in a block", "bestdns {\n endpoint https://dns.example.net\n api_token \"\"\n}", "use {env.VAR}", ":3"},
		{"endpoint with an invalid port", `bestdns ` + token + ` https://dns.example.net:https`, `"https://dns.example.net:…" is not a URL (its port is not a number)`, ":1"},
		{"token with its variable", `bestdns BESTDNS_API_TOKEN=` + token + ` https://dns.example.net`, `what precedes it is "BESTDNS_API_TOKEN="`, ":1"},
		{"no token in a block", "bestdns {\n api_token\n}", "one argument", ":2"},
		{"two tokens", "bestdns {\n api_token " + token + " " + token + "\n}", "one argument", ":2"},
		{"no endpoint in a block", "bestdns {\n endpoint\n}", "one or more", ":2"},
		{"several endpoints in one line", `bestdns {env.X} https://a.example https://b.example`, "several endpoints in a block", ":1"},
		{"the second endpoint without scheme", "bestdns {\n endpoint https://a.example b.example\n}", `the endpoint "b.example" has no scheme`, ":2"},
		{"an endpoint beside a placeholder", "bestdns {\n endpoint {env.A} b.example\n}", `the endpoint "b.example" has no scheme`, ":2"},
		{"the second endpoint over http", "bestdns {\n endpoint https://a.example http://b.example\n}", `the endpoint "http://b.example" is over http`, ":2"},
		{"the same endpoint twice", "bestdns {\n endpoint https://a.example https://a.example/\n}", `the endpoint "https://a.example/" is given twice`, ":2"},
		{"a token for the second endpoint", "bestdns {\n endpoint https://a.example " + token + "\n}", "there is a token in the endpoint", ":2"},
		{"endpoints with a comma", "bestdns {\n endpoint https://a.example, https://b.example\n}", "separated by blanks", ":2"},
		{"no roots", "bestdns {\n trusted_roots\n}", "one or more", ":2"},
		{"unknown option", "bestdns {\n api_token {env.X}\n api_key {env.X}\n}", "no option api_key", ":3"},
		{"a token for an option", "bestdns {\n " + token + "\n}", "no option of that name", ":2"},
		{"repeated token", "bestdns {\n api_token {env.X}\n endpoint https://dns.example.net\n api_token {env.Y}\n}", "duplicate option api_token", ":4"},
		{"repeated endpoint", "bestdns {\n endpoint https://a.example\n endpoint https://b.example\n}", "duplicate option endpoint", ":3"},
		{"repeated roots", "bestdns {\n trusted_roots a.pem\n trusted_roots b.pem\n}", "duplicate option trusted_roots", ":3"},
		{"token in line and block", "bestdns {env.X} https://dns.example.net {\n api_token {env.X}\n}", "duplicate option api_token", ":2"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := new(bestdns.Provider).UnmarshalCaddyfile(caddyfile.NewTestDispenser(tt.caddyfile))
			if err == nil {
				t.Fatal("no error")
			}
			for _, want := range []string{tt.want, "at Testfile" + tt.line} {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("error %q does not say %q", err, want)
				}
			}
			if strings.Contains(err.Error(), token[:50]) {
				t.Errorf("error %q holds the token", err)
			}
		})
	}
}

// host is an app with a DNS provider. Provision hands it to the test.
type host struct {
	ProviderRaw json.RawMessage `json:"provider" caddy:"namespace=dns.providers inline_key=name"`
}

var provisioned func(*bestdns.Provider)

func (host) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "bestdnshost", New: func() caddy.Module { return new(host) }}
}

func (h *host) Provision(ctx caddy.Context) error {
	val, err := ctx.LoadModule(h, "ProviderRaw")
	if err != nil {
		return err
	}
	if provisioned != nil {
		provisioned(val.(*bestdns.Provider))
	}
	return nil
}

func (*host) Start() error { return nil }
func (*host) Stop() error  { return nil }

// app is the app bestdns of the same Caddy. It notes what is asked of it.
type app struct{ asked *[]string }

var appAsked []string

func (app) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "bestdns", New: func() caddy.Module { return &app{asked: &appAsked} }}
}
func (*app) Start() error { return nil }
func (*app) Stop() error  { return nil }

var errInApp = errors.New("in doubt")

func (a *app) note(what, zone string, recs []libdns.Record) ([]libdns.Record, error) {
	*a.asked = append(*a.asked, what+" "+zone)
	if zone == "doubt." && what == "append" {
		return nil, errInApp
	}
	if zone == "certain." && what == "append" {
		return nil, &bestdns.Error{Detail: "refused", Unchanged: true}
	}
	return recs, nil
}

func (a *app) ListZones(context.Context) ([]libdns.Zone, error) {
	return []libdns.Zone{{Name: "in.process."}}, nil
}
func (a *app) GetRecords(_ context.Context, zone string) ([]libdns.Record, error) {
	return a.note("get", zone, nil)
}
func (a *app) AppendRecords(_ context.Context, zone string, recs []libdns.Record) ([]libdns.Record, error) {
	return a.note("append", zone, recs)
}
func (a *app) SetRecords(_ context.Context, zone string, recs []libdns.Record) ([]libdns.Record, error) {
	return a.note("set", zone, recs)
}
func (a *app) DeleteRecords(_ context.Context, zone string, recs []libdns.Record) ([]libdns.Record, error) {
	return a.note("delete", zone, recs)
}

var registerHost = sync.OnceFunc(func() { caddy.RegisterModule(host{}) })

// load provisions a Caddy whose host app has the given provider. Other apps follow.
func load(t *testing.T, provider string, apps ...string) error {
	t.Helper()
	registerHost()
	var cfg caddy.Config
	all := append([]string{`"bestdnshost":{"provider":` + provider + `}`}, apps...)
	if err := json.Unmarshal([]byte(`{"admin":{"disabled":true},"apps":{`+strings.Join(all, ",")+`}}`), &cfg); err != nil {
		t.Fatal(err)
	}
	return caddy.Validate(&cfg)
}

// TestProvisionInProcess goes from a Caddy without the app to one that has it. The
// order matters: a module cannot be unregistered.
func TestProvisionInProcess(t *testing.T) {
	if _, err := caddy.GetModule("bestdns"); err != nil {
		err := load(t, `{"name":"bestdns"}`)
		if err == nil || !strings.Contains(err.Error(), "--with github.com/caddy-dns/bestdns/service") {
			t.Errorf("not built in: error %v", err)
		}
		caddy.RegisterModule(app{})
	}

	err := load(t, `{"name":"bestdns"}`)
	if err == nil || !strings.Contains(err.Error(), "not configured") || !strings.Contains(err.Error(), "{env.VAR}") {
		t.Errorf("not configured: error %v", err)
	}

	appAsked = nil
	provisioned = func(p *bestdns.Provider) {
		ctx, recs := t.Context(), []libdns.Record{libdns.TXT{Name: "x", Text: challengeOne}}
		zones, err := p.ListZones(ctx)
		check(t, err, []libdns.Zone{{Name: "in.process."}}, zones)
		for _, call := range []change{p.AppendRecords, p.SetRecords, p.DeleteRecords} {
			out, err := call(ctx, "example.org.", recs)
			check(t, err, recs, out)
		}
		if _, err := p.GetRecords(ctx, "example.org."); err != nil {
			t.Error(err)
		}
		if _, err := p.AppendRecords(ctx, "doubt.", recs); !errors.Is(err, errInApp) {
			t.Errorf("error %v", err)
		}
		if _, err := p.AppendRecords(ctx, "certain.", recs); err == nil || err.Error() != "refused" {
			t.Errorf("error %v", err)
		}
	}
	defer func() { provisioned = nil }()
	if err := load(t, `{"name":"bestdns"}`, `"bestdns":{}`); err != nil {
		t.Fatal(err)
	}
	want := []string{
		"append example.org.", "set example.org.", "delete example.org.", "get example.org.",
		"append doubt.", "delete doubt.", // withdrawn
		"append certain.",
	}
	if diff := cmp.Diff(want, appAsked); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestProvisionRefuses(t *testing.T) {
	token := api.NewToken()
	t.Setenv("BESTDNS_TEST_EMPTY", "")
	t.Setenv("BESTDNS_TEST_CUT", token[:50])
	t.Setenv("BESTDNS_TEST_URL", "https://dns.example.net")
	t.Setenv("BESTDNS_TEST_BRACES", "{"+token+"}")
	secret := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(secret, []byte("\ufeff"+token+"\r\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("BESTDNS_TEST_QUOTED", `"`+token+`"`)
	t.Setenv("BESTDNS_TEST_HOST", "dns.example.net")
	const endpoint = `"endpoint":"https://dns.example.net"`
	for _, tt := range []struct{ name, provider, want string }{
		{"empty variable", `{"name":"bestdns","api_token":"{env.BESTDNS_TEST_EMPTY}",` + endpoint + `}`, "there is nothing in {env.BESTDNS_TEST_EMPTY}"},
		{"no such file", `{"name":"bestdns","api_token":"{file./nonexistent/token}",` + endpoint + `}`, "there is nothing in {file./nonexistent/token}"},
		{"empty endpoint", `{"name":"bestdns","api_token":"` + token + `","endpoint":"{env.BESTDNS_TEST_EMPTY}"}`, "the endpoint is empty: there is nothing in {env.BESTDNS_TEST_EMPTY}"},
		{"empty name of a file", `{"name":"bestdns","api_token":"` + token + `",` + endpoint + `,"trusted_roots":["{env.BESTDNS_TEST_EMPTY}"]}`, "trusted_roots is empty"},
		{"token in braces", `{"name":"bestdns","api_token":"{` + token + `}",` + endpoint + `}`, "not a placeholder"},
		{"variable with braces", `{"name":"bestdns","api_token":"{env.BESTDNS_TEST_BRACES}",` + endpoint + `}`, "braces"},
		{"variable with a cut token", `{"name":"bestdns","api_token":"{env.BESTDNS_TEST_CUT}",` + endpoint + `}`, "cut"},
		{"variable with a URL", `{"name":"bestdns","api_token":"{env.BESTDNS_TEST_URL}",` + endpoint + `}`, "URL"},
		{"file with a byte order mark", `{"name":"bestdns","api_token":"{file.` + secret + `}",` + endpoint + `}`, `the token from {file.` + secret + `}: a token begins with "bestdns_": what precedes it is "\ufeff"`},
		{"variable with quotes", `{"name":"bestdns","api_token":"{env.BESTDNS_TEST_QUOTED}",` + endpoint + `}`, `the token from {env.BESTDNS_TEST_QUOTED}: a token begins with "bestdns_" and ends after 57 characters: what precedes it is "\""`},
		{"variable before the token", `{"name":"bestdns","api_token":"{env.BESTDNS_TEST_HOST}` + token + `",` + endpoint + `}`, `the token from {env.BESTDNS_TEST_HOST}: a token begins with "bestdns_": what precedes it is 15 bytes`},
		{"variable with a host for the endpoint", `{"name":"bestdns","api_token":"` + token + `","endpoint":"{env.BESTDNS_TEST_HOST}"}`, `the endpoint "dns.example.net" has no scheme`},
		{"variable with an invalid second endpoint", `{"name":"bestdns","api_token":"` + token + `","endpoint":"https://a.example {env.BESTDNS_TEST_HOST}"}`, `the endpoint "dns.example.net" has no scheme`},
		{"endpoint alone", `{"name":"bestdns",` + endpoint + `}`, "no API token"},
		{"token alone", `{"name":"bestdns","api_token":"` + token + `"}`, "no endpoint"},
		{"roots alone", `{"name":"bestdns","trusted_roots":["a.pem"]}`, "no endpoint and no api_token"},
		{"http to another host", `{"name":"bestdns","api_token":"` + token + `","endpoint":"http://dns.example.net"}`, "in the clear"},
		{"no such roots", `{"name":"bestdns","api_token":"` + token + `",` + endpoint + `,"trusted_roots":["/nonexistent/a.pem"]}`, "trusted_roots"},
		{"unknown field", `{"name":"bestdns","api_key":"x"}`, "api_key"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := load(t, tt.provider)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("error %v does not say %q", err, tt.want)
			}
			if strings.Contains(err.Error(), token[:50]) {
				t.Errorf("error %q holds the token", err)
			}
		})
	}
}

// TestProvision runs a provider with placeholders: it works, logs the CNAMEs that
// must exist, and its JSON keeps the placeholders.
func TestProvision(t *testing.T) {
	f := new(clienttest.Service)
	plain := f.Start(t)
	secret := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(secret, []byte(f.Token+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("BESTDNS_TEST_ENDPOINT", "https://127.0.0.1:1 "+plain.Endpoint) // no one listens at the first
	t.Setenv("BESTDNS_TEST_ROOTS", plain.TrustedRoots[0])
	const fields = `"endpoint":"{env.BESTDNS_TEST_ENDPOINT}","trusted_roots":["{env.BESTDNS_TEST_ROOTS}"]`

	logged := loadLogged(t, `{"name":"bestdns","api_token":"{file.`+secret+`}",`+fields+`}`, func(p *bestdns.Provider) {
		ctx, recs := t.Context(), []libdns.Record{libdns.TXT{Name: "x", Text: "y"}}
		for _, call := range []change{p.AppendRecords, p.SetRecords, p.DeleteRecords} {
			if _, err := call(ctx, "example.org.", recs); err != nil {
				t.Error(err)
			}
		}
		got, err := json.Marshal(p)
		check(t, err, `{"api_token":"{file.`+secret+`}",`+fields+`}`, string(got))
	})
	if strings.Contains(logged, f.Token) {
		t.Errorf("the log holds the token: %s", logged)
	}
	one := logLine{Level: "info", Logger: "dns.providers.bestdns", Msg: "this CNAME record must exist where the domain is hosted, or the CA will not find the challenge",
		Name: "_acme-challenge.example.com.", Target: "example.com.acme.example.org."}
	if diff := cmp.Diff([]logLine{one, one}, linesOf(t, logged, "CNAME")); diff != "" { // of append and set, not of delete
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// loadLogged provisions a Caddy whose host app has the given provider, has the test use
// that, and returns what was logged.
func loadLogged(t *testing.T, provider string, use func(*bestdns.Provider)) string {
	t.Helper()
	logFile := filepath.Join(t.TempDir(), "log")
	provisioned = use
	defer func() { provisioned = nil }()
	registerHost()
	var cfg caddy.Config
	err := json.Unmarshal([]byte(`{"admin":{"disabled":true},
		"logging":{"logs":{"default":{"writer":{"output":"file","filename":"`+logFile+`"},"encoder":{"format":"json"},"level":"DEBUG"}}},
		"apps":{"bestdnshost":{"provider":`+provider+`}}}`), &cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := caddy.Validate(&cfg); err != nil {
		t.Fatal(err)
	}
	logged, err := os.ReadFile(logFile)
	if err != nil {
		t.Fatal(err)
	}
	return string(logged)
}

type logLine struct {
	Level, Logger, Msg, Name, Target, Zone string
	Servers                                []string
}

// linesOf returns the lines of a log whose message has a text in it.
func linesOf(t *testing.T, logged, part string) (found []logLine) {
	t.Helper()
	for l := range strings.Lines(logged) {
		var got logLine
		if err := json.Unmarshal([]byte(l), &got); err != nil {
			t.Fatal(err)
		}
		if strings.Contains(got.Msg, part) {
			found = append(found, got)
		}
	}
	return found
}

// TestLagIsLogged: each change that a server lags behind has a line, and a silent server
// one for all of them. What the service says is safe to show, and does not fill the log.
func TestLagIsLogged(t *testing.T) {
	many := []string{"ns2.example.net 192.0.2.2", "\x1b[2J" + strings.Repeat("x", 5000)}
	for i := range 30 {
		many = append(many, fmt.Sprintf("ns%d.example.net", i+3))
	}
	f := new(clienttest.Service)
	f.Fault = func(w http.ResponseWriter, r *http.Request, c api.Change) bool {
		switch {
		case r.Method == http.MethodPost:
			clienttest.Answer(w, 404, api.NewProblem(api.ZoneNotFound, "this version does not wait"))
		case c.Set != nil:
			clienttest.Answer(w, 200, api.Records{Records: c.Set, Wait: api.Wait{Pending: many}})
		default:
			clienttest.Answer(w, 200, api.Records{Records: c.Append, Wait: api.Wait{Pending: many[:1], Silent: []string{"ns4.example.net 192.0.2.4"}}})
		}
		return true
	}
	plain := f.Start(t)
	logged := loadLogged(t, `{"name":"bestdns","api_token":"`+f.Token+`","endpoint":"`+plain.Endpoint+`","trusted_roots":["`+plain.TrustedRoots[0]+`"]}`,
		func(p *bestdns.Provider) {
			for _, call := range []change{p.AppendRecords, p.AppendRecords, p.SetRecords} {
				out, err := call(t.Context(), "example.org.", []libdns.Record{libdns.TXT{Name: "x", Text: "y"}})
				check(t, err, []libdns.Record{libdns.TXT{Name: "x", Text: "y"}}, out)
			}
		})
	lag := logLine{Level: "warn", Logger: "dns.providers.bestdns", Zone: "example.org.", Servers: many[:1],
		Msg: "the record is written, but not all name servers of the zone have it: a CA that asks one of these will not find it"}
	lags := linesOf(t, logged, "not all name servers")
	if len(lags) != 3 {
		t.Fatalf("%d lines about servers that lag: %s", len(lags), logged)
	}
	if diff := cmp.Diff([]logLine{lag, lag}, lags[:2]); diff != "" {
		t.Errorf("lag (-want +got):\n%s", diff)
	}
	last := lags[2].Servers
	if len(last) != 17 || last[16] != "and 16 more" || !strings.HasPrefix(last[1], "⟨U+001B⟩[2Jxx") || len(last[1]) > 1300 {
		t.Errorf("%d servers: %.200q", len(last), last)
	}
	silent := logLine{Level: "warn", Logger: "dns.providers.bestdns", Zone: "example.org.", Servers: []string{"ns4.example.net 192.0.2.4"},
		Msg: "name servers of the zone do not answer, so that no one waits for them to have a record"}
	if diff := cmp.Diff([]logLine{silent}, linesOf(t, logged, "do not answer")); diff != "" {
		t.Errorf("silent (-want +got):\n%s", diff)
	}
}
