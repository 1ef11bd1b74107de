package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/caddyserver/caddy/v2"
	_ "github.com/caddyserver/caddy/v2/modules/standard"
	"github.com/google/go-cmp/cmp"
	"github.com/libdns/libdns"

	"github.com/caddy-dns/bestdns/e2e/internal/harness"
	"github.com/caddy-dns/bestdns/internal/api"
	_ "github.com/caddy-dns/bestdns/service"
)

func init() {
	for name, err := range map[string]error{
		"fails":       errors.New("no"),
		"unreachable": &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED},
		"slow":        context.DeadlineExceeded,
		"works":       nil,
	} {
		caddy.RegisterModule(failingProvider{"e2e_" + name, err})
	}
}

// failingProvider can append and delete and nothing else, and that in one way each.
type failingProvider struct {
	name string
	err  error
}

func (p failingProvider) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: caddy.ModuleID("dns.providers." + p.name), New: func() caddy.Module { return &p }}
}

func (p failingProvider) AppendRecords(_ context.Context, _ string, records []libdns.Record) ([]libdns.Record, error) {
	return records, p.err
}

func (p failingProvider) DeleteRecords(ctx context.Context, zone string, records []libdns.Record) ([]libdns.Record, error) {
	return p.AppendRecords(ctx, zone, records)
}

// startInThisProcess runs the service in the process of the test, where a zone can have
// a provider of the test's own, and returns the URL of its API.
func startInThisProcess(t *testing.T, token string) string {
	t.Helper()
	dir, addr := t.TempDir(), harness.FreeAddr(t)
	t.Setenv("XDG_DATA_HOME", dir)
	t.Setenv("XDG_CONFIG_HOME", dir)
	type object = map[string]any
	zones := []object{
		{"name": harness.HostedZone, "ns": []object{{"name": "ns1.elsewhere.example"}}, "cname_target": true},
		{"name": "25.2.0.192.in-addr.arpa", "ns": []object{{"name": "ns1.elsewhere.example"}}},
	}
	allowed := []string{"under " + harness.HostedZone, "under 25.2.0.192.in-addr.arpa"}
	for _, name := range []string{"fails", "unreachable", "slow", "works"} {
		zones = append(zones, object{"name": name + ".example", "provider": object{"name": "e2e_" + name}})
		allowed = append(allowed, "under "+name+".example")
	}
	others, othersAt := make(harness.Authority), harness.FreeAddr(t)
	others.Host(t, "lags.example")
	others.Serve(t, othersAt)
	zones = append(zones,
		object{"name": "lags.example", "provider": object{"name": "e2e_works"}, "servers": []string{othersAt}, "wait": "1s"},
		object{"name": "refuses.example", "primary": object{"addresses": []string{othersAt}}})
	allowed = append(allowed, "under lags.example", "under refuses.example")
	config, err := json.Marshal(object{
		"admin":   object{"disabled": true, "config": object{"persist": false}},
		"logging": object{"logs": object{"default": object{"writer": object{"output": "discard"}}}},
		"apps": object{
			"bestdns": object{
				"listen": []string{harness.FreeAddr(t)}, "store": filepath.Join(dir, "records.db"), "zones": zones,
				"clients": []object{{
					"name": "all", "description": "has every right", "token": []string{harness.Digest(token)}, "allow": allowed,
					"certificates": []string{harness.Elsewhere}, "client_ip": []string{"127.0.0.0/8"}, "expires": "2999-12-31",
				}},
			},
			"http": object{"servers": object{"api": object{
				"listen": []string{addr}, "automatic_https": object{"disable": true},
				"routes": []object{{"handle": []object{{"handler": "bestdns"}}}},
			}}},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := caddy.Load(config, true); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { caddy.Stop() })
	return "http://" + addr
}

// TestDefinition walks all routes, all statuses that openapi.yaml has for them, and
// all kinds of problems, and checks each request and answer against it. It is the one
// check of the definition, and the tests whose requests pass a [DefinedTransport] add
// to it.
func TestDefinition(t *testing.T) {
	if ok, errs := harness.Definition(t).ValidateDocument(); !ok {
		t.Errorf("openapi.yaml is not an OpenAPI document: %q", harness.ValidationTexts(errs))
	}
	token := api.NewToken()
	url := startInThisProcess(t, token)
	client := &http.Client{Transport: harness.DefinedTransport(t, &http.Transport{DisableKeepAlives: true})}
	const txt = `[{"name":"x","type":"TXT","ttl":60,"data":"a"}]`
	records := func(zone string) string { return "/v1/zones/" + zone + "/records" }
	type header = map[string]string
	right := header{"Authorization": "Bearer " + token, "Content-Type": "application/json"}
	early := header{"Authorization": right["Authorization"], "Content-Type": "application/json", "Early-Data": "1"}
	hurry := header{"Authorization": right["Authorization"], "Content-Type": "application/json", "Prefer": "wait=0"}
	steps := []struct {
		method, path, body string
		header             header
		want               string // status, and kind of a problem
	}{
		{"GET", "/v1/health", "", nil, "200"},
		{"GET", "/v1/openapi.yaml", "", nil, "200"},
		{"GET", "/v1/zones", "", right, "200"},
		{"GET", "/v1/token", "", right, "200"},
		{"PATCH", records(harness.HostedZone), `{"append":` + txt + `}`, right, "200"},
		{"PATCH", records(harness.HostedZone), `{"set":[{"name":"*.x","type":"type65280","data":"\\# 1 00"}]}`, right, "200"},
		{"GET", records(harness.HostedZone), "", right, "200"},
		{"GET", records("x."+harness.HostedZone+".") + "?name=@&type=txt", "", right, "200"},
		{"HEAD", records(harness.HostedZone), "", right, "200"},
		{"PATCH", records("0%2F25.2.0.192.in-addr.arpa"), `{"append":[{"name":"1.25.2.0.192.in-addr.arpa.","type":"PTR","ttl":0,"data":"a."}]}`, right, "200"},
		{"PATCH", records(harness.Elsewhere), `{"append":[{"name":"_acme-challenge","type":"TXT","data":"LPJNul-wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ"}]}`, right, "200"},
		{"PATCH", records(harness.HostedZone), `{"delete":[{"name":"x"},{"name":"y","data":"z"}]}`, right, "200"},
		{"PATCH", records("works.example"), `{"append":` + txt + `}`, right, "200"},
		{"PATCH", records("lags.example"), `{"append":` + txt + `}`, right, "200"},
		{"PATCH", records("lags.example"), `{"append":` + txt + `}`, hurry, "200"},
		{"POST", "/v1/zones/lags.example/wait", `{"append":` + txt + `}`, hurry, "200"},
		{"POST", "/v1/zones/works.example/wait", `{"set":` + txt + `}`, right, "200"},
		{"POST", "/v1/zones/works.example/wait", `{}`, right, "400 bad-request"},
		{"POST", "/v1/zones/example.net/wait", `{"append":` + txt + `}`, right, "404 zone-not-found"},
		{"POST", "/v1/zones/works.example/wait", `{"append":` + txt + `}`, nil, "401 unauthorized"},
		{"PATCH", records("refuses.example"), `{"append":` + txt + `}`, right, "502 primary-refuses"},
		{"GET", records(harness.HostedZone) + "?colour=blue", "", right, "400 bad-request"},
		{"PATCH", records(harness.HostedZone), `{"Append":` + txt + `}`, right, "400 bad-request"},
		{"PATCH", records(harness.HostedZone), `{"append":` + txt + `,"delete":[]}`, right, "400 bad-request"},
		{"PATCH", records(harness.HostedZone), `{"append":[]}`, right, "200"},
		{"PATCH", records(harness.HostedZone), `{}`, right, "400 bad-request"},
		{"PATCH", records(harness.HostedZone), `{"delete":[{}]}`, right, "400 bad-request"},
		{"GET", "/v1/zones", "", nil, "401 unauthorized"},
		{"GET", "/v1/token", "", header{"Authorization": "Bearer x"}, "401 unauthorized"},
		{"PATCH", records(harness.HostedZone), `{"append":[{"name":"@","type":"NS","data":"a."}]}`, right, "403 forbidden"},
		{"GET", records("example.net"), "", right, "404 zone-not-found"},
		{"PATCH", records("example.net"), `{"append":` + txt + `}`, right, "404 zone-not-found"},
		{"POST", records(harness.HostedZone), `{}`, right, "405 method-not-allowed"},
		{"DELETE", "/v1/token", "", right, "405 method-not-allowed"},
		{"PATCH", records(harness.HostedZone), `{"append":[{"name":"x","type":"A","data":"192.0.2.1"}]}`, right, "200"},
		{"PATCH", records(harness.HostedZone), `{"append":[{"name":"x","type":"CNAME","data":"a."}]}`, right, "409 conflict"},
		{"PATCH", records(harness.HostedZone), `{"append":[` + strings.Join(addresses(1000), ",") + `]}`, right, "409 over-limit"},
		{"PATCH", records(harness.HostedZone), `{"append":[` + strings.Repeat(`{"name":"x","type":"A","data":"192.0.2.1"},`, 1000) + `{"name":"x"}]}`, right, "413 too-large"},
		{"PATCH", records(harness.HostedZone), `{"append":[{"name":"x","type":"TXT","data":"` + strings.Repeat("x", 1<<20) + `"}]}`, right, "413 too-large"},
		{"GET", records(harness.HostedZone) + "?type=NONE", "", right, "422 invalid-record"},
		{"PATCH", records(harness.HostedZone), `{"append":[{"name":"x","type":"A","data":"x"}]}`, right, "422 invalid-record"},
		{"PATCH", records(harness.HostedZone), `{"append":[{"name":"x","type":"A","data":"192.0.2.1"},{"name":"x.works.example.","type":"A","data":"192.0.2.1"}]}`, right, "422 several-zones"},
		{"PATCH", records(harness.HostedZone), `{"append":` + txt + `}`, early, "425 too-early"},
		{"GET", records("works.example"), "", right, "501 not-supported"},
		{"PATCH", records("works.example"), `{"set":` + txt + `}`, right, "501 not-supported"},
		{"PATCH", records("fails.example"), `{"append":` + txt + `}`, right, "502 provider-failed"},
		{"PATCH", records("unreachable.example"), `{"append":` + txt + `}`, right, "503 unavailable"},
		{"PATCH", records("slow.example"), `{"append":` + txt + `}`, right, "504 provider-timeout"},
	}
	for range 30 { // guesses
		steps = append(steps, steps[0])
		steps[len(steps)-1].path = "/v1/zones"
		steps[len(steps)-1].header = header{"Authorization": "Bearer " + api.NewToken()}
		steps[len(steps)-1].want = "401 unauthorized|429 too-many-requests"
	}
	seen := make(map[string]bool)
	for _, step := range steps {
		req, err := http.NewRequest(step.method, url+step.path, strings.NewReader(step.body))
		if err != nil {
			t.Fatal(err)
		}
		for name, value := range step.header {
			req.Header.Set(name, value)
		}
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		got := fmt.Sprint(resp.StatusCode)
		var p api.Problem
		if resp.StatusCode >= 400 && json.Unmarshal(body, &p) == nil {
			got += " " + p.Kind()
		}
		if !slices.Contains(strings.Split(step.want, "|"), got) {
			t.Errorf("%s %s %.100s: %s %.300s, want %s", step.method, step.path, step.body, got, body, step.want)
		}
		seen[got] = true
	}
	// What no request brings about at will: a failure of the service's own.
	seen["500 internal"] = true
	if diff := cmp.Diff(definedKinds(t), kindsOf(seen)); diff != "" {
		t.Errorf("kinds of problems (-defined +met):\n%s", diff)
	}
}

// addresses returns A records at the name x, all different.
func addresses(n int) []string {
	list := make([]string, n)
	for i := range list {
		list[i] = fmt.Sprintf(`{"name":"x","type":"A","data":"10.0.%d.%d"}`, i>>8, i&255)
	}
	return list
}

// definedKinds returns the kinds of problems that the definition has.
func definedKinds(t *testing.T) (kinds []string) {
	t.Helper()
	for _, m := range regexp.MustCompile(`(?m)^ +- urn:bestdns:([a-z-]+)$`).FindAllSubmatch(api.OpenAPI, -1) {
		kinds = append(kinds, string(m[1]))
	}
	slices.Sort(kinds)
	return kinds
}

func kindsOf(seen map[string]bool) (kinds []string) {
	for status := range seen {
		if _, kind, ok := strings.Cut(status, " "); ok {
			kinds = append(kinds, kind)
		}
	}
	slices.Sort(kinds)
	return kinds
}
