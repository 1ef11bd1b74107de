package e2e

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/caddy-dns/bestdns/e2e/internal/harness"
)

// check runs "caddy bestdns check" for the service, as its operator does.
func (r *recipe) check(env harness.Env) (report checkReport, code int) {
	r.t.Helper()
	cmd := exec.Command(harness.CaddyBinary, "bestdns", "check", "--config", r.file("Caddyfile"), "--resolver", r.Resolver.Addr, "--json")
	home := r.t.TempDir()
	cmd.Env = []string{
		"HOME=" + home, "XDG_DATA_HOME=" + home, "XDG_CONFIG_HOME=" + home,
		"HTTP_PORT=8080", "HTTPS_PORT=8443", "ADMIN=" + r.service.Admin,
	}
	for name, value := range joined(r.Env(r.t), env) {
		cmd.Env = append(cmd.Env, name+"="+value)
	}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		code = exit.ExitCode()
	} else if err != nil {
		r.t.Fatal(err)
	}
	if err := json.Unmarshal(out, &report); err != nil {
		r.t.Fatalf("reading what check says: %v\n%s%s", err, out, stderr.Bytes())
	}
	for _, secret := range []string{exampleSecret, exampleSecondarySecret, otherSecret} {
		if bytes.Contains(out, []byte(secret)) {
			r.t.Error("a secret was printed")
		}
	}
	return report, code
}

// siteOfExamples is the site of the examples, as their copies have it.
const siteOfExamples = "dns.example.com {\n\ttls {\n\t\tdns bestdns\n\t\tresolvers {$RESOLVER}\n\t\tpropagation_timeout -1\n\t}\n\tbestdns\n}\n"

// otherSecret is a key's secret that no server has.
const otherSecret = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="

// brokenExamples are the examples with one setting that is wrong, and what check says of it.
var brokenExamples = []struct {
	example, name string
	// replace is what makes it wrong.
	replace map[string]string
	secret  string // the service's, if it is another
	// step is the one that finds it, with this status, and says this, of its lines or of what to do.
	// It may be another step that does, if there is one.
	step, orStep, status string
	says                 []string
}{
	{example: "knot", name: "nothing"},
	{
		example: "knot", name: "no notify", replace: map[string]string{"\t\t\tnotify NET53.2\n": ""},
		step: "seen", status: "warning", says: []string{"notify NET53.2"},
	},
	{
		example: "knot", name: "no transfer", replace: map[string]string{"action: [ update, transfer ]": "action: update"},
		step: "read back", status: "wrong", says: []string{"    key: bestdns\n    action: [ update, transfer ]\n"},
	},
	{
		example: "knot", name: "no update", replace: map[string]string{"action: [ update, transfer ]": "action: transfer"},
		step: "write", status: "wrong", says: []string{"    key: bestdns\n    action: [ update, transfer ]\n"},
	},
	{
		example: "knot", name: "another secret", secret: otherSecret,
		step: "write", status: "wrong", says: []string{"the secret there is another than here"},
	},
	{
		example: "knot", name: "NOTIFY not accepted", replace: map[string]string{"    acl: notify\n": ""},
		step: "seen", status: "wrong", says: []string{"action: notify"},
	},
	{example: "bind", name: "nothing"},
	{
		example: "bind", name: "no notify", replace: map[string]string{"\t\t\tnotify NET53.2\n": "", "notify-delay 0;": "notify-delay 5;"},
		step: "seen", status: "warning", says: []string{"notify NET53.2"},
	},
	{
		example: "bind", name: "NSD as it comes", replace: map[string]string{"    xfrd-reload-timeout: 0\n": ""},
		step: "again", orStep: "seen", status: "warning", says: []string{"xfrd-reload-timeout: 0"}, // of the first change, if NSD has just started
	},
	{
		example: "bind", name: "no transfer", replace: map[string]string{"allow-transfer { key bestdns; key secondary; };": "allow-transfer { key secondary; };"},
		step: "read back", status: "wrong", says: []string{"allow-transfer { key bestdns; };"},
	},
	{
		example: "bind", name: "no update", replace: map[string]string{"update-policy { grant bestdns zonesub TXT; };": "allow-update { key secondary; };"},
		step: "write", status: "wrong", says: []string{"update-policy { grant bestdns zonesub TXT; };"},
	},
	{
		example: "bind", name: "another secret", secret: otherSecret,
		step: "write", status: "wrong", says: []string{"the secret there is another than here"},
	},
	{example: "secondaries", name: "nothing"},
	{
		example: "secondaries", name: "NOTIFY not accepted", replace: map[string]string{"    acl: notify\n": ""},
		step: "seen", status: "wrong", says: []string{"action: notify"},
	},
	{
		example: "secondaries", name: "NSD as it comes", replace: map[string]string{"    xfrd-reload-timeout: 0\n": ""},
		step: "again", orStep: "seen", status: "warning", says: []string{"xfrd-reload-timeout: 0"},
	},
	{example: "powerdns", name: "nothing"},
	{
		// It keeps that a name does not exist for as long as the zone's minimum says, too.
		example: "powerdns", name: "a packet cache", replace: map[string]string{"\ncache-ttl=0": "\ncache-ttl=20", "1209600 0": "1209600 60"},
		step: "cache", status: "wrong", says: []string{"cache-ttl=0"},
	},
	{
		example: "powerdns", name: "a negative query cache", replace: map[string]string{"\nnegquery-cache-ttl=0": ""},
		step: "cache", status: "wrong", says: []string{"negquery-cache-ttl=0"},
	},
	{
		example: "powerdns", name: "no TSIG-ALLOW-AXFR", replace: map[string]string{"pdnsutil --config-dir=. set-meta example.com TSIG-ALLOW-AXFR bestdns": ""},
		step: "read back", status: "wrong", says: []string{"pdnsutil set-meta example.com TSIG-ALLOW-AXFR bestdns"},
	},
	{
		example: "powerdns", name: "TSIG-ALLOW-DNSUPDATE of another key",
		replace: map[string]string{"set-meta example.com TSIG-ALLOW-DNSUPDATE bestdns": "set-meta example.com TSIG-ALLOW-DNSUPDATE other"},
		step:    "write", status: "wrong", says: []string{"pdnsutil set-meta example.com TSIG-ALLOW-DNSUPDATE bestdns"},
	},
	{
		example: "powerdns", name: "updates from elsewhere", replace: map[string]string{"allow-dnsupdate-from=127.0.0.1": "allow-dnsupdate-from=192.0.2.10"},
		step: "write", status: "wrong", says: []string{"allow-dnsupdate-from=<address of this machine>"},
	},
	{
		example: "powerdns", name: "no dnsupdate", replace: map[string]string{"dnsupdate=yes": "dnsupdate=no"},
		step: "write", status: "wrong", says: []string{"dnsupdate=yes"},
	},
	{
		example: "powerdns", name: "another secret", secret: otherSecret,
		step: "write", status: "wrong", says: []string{"with the same secret"},
	},
}

// With one setting of an example wrong, check names the step and has what to write.
func TestExamplesBroken(t *testing.T) {
	t.Parallel()
	for _, test := range brokenExamples {
		t.Run(test.example+"/"+test.name, func(t *testing.T) {
			t.Parallel()
			r, env := startBroken(t, test.example, test.replace, test.secret)
			r.service.Accept(func(e harness.Entry) bool {
				return test.step != "" && (e.Logger == "bestdns.audit" || e.Message == "reading failed")
			})
			if test.step == "" {
				r.assertChecksOK(env)
				return
			}
			report, _ := r.check(env)
			i := slices.IndexFunc(report.Steps, func(s checkStep) bool {
				return (s.Step == test.step || s.Step == test.orStep) && s.Status == test.status
			})
			if i < 0 {
				t.Fatalf("no step %q is %q: %v", test.step, test.status, report)
			}
			step := report.Steps[i]
			said := strings.Join(append(step.Lines, step.Found, step.Do), "\n")
			for _, want := range test.says {
				if want = strings.ReplaceAll(want, "NET53", r.net53); !strings.Contains(said, want) {
					t.Errorf("it does not say %q: %v", want, step)
				}
			}
		})
	}
}

// startBroken runs an example with changes and without its site, which would obtain a
// certificate, and with another secret in the service's environment unless that is "".
func startBroken(t testing.TB, example string, changes map[string]string, secret string) (r *recipe, env harness.Env) {
	t.Helper()
	secretOr := func(right string) string { return cmp.Or(secret, right) }
	edits := joined(changes, map[string]string{siteOfExamples: ""})
	if example == "secondaries" {
		r, env = newRecipe(t, 2), harness.Env{"TRANSFER_KEY": secretOr(exampleSecondarySecret)}
		r.edits = edits
		r.startSecondariesExample()
		return r, env
	}
	r = newRecipe(t, 1)
	r.edits = edits
	switch example {
	case "knot":
		r.startKnotExample()
		env = harness.Env{"KNOT_KEY": secretOr(exampleSecret)}
	case "bind":
		r.startBINDExample()
		env = harness.Env{"BIND_KEY": secretOr(exampleSecret)}
	case "powerdns":
		r.startPowerDNSExample()
		env = harness.Env{"POWERDNS_KEY": secretOr(exampleSecret)}
	}
	r.startService(env)
	return r, env
}

// assertChecksOK fails the test unless check finds nothing to say, at one of some tries: on
// a busy machine, a server may be late by itself.
func (r *recipe) assertChecksOK(env harness.Env) {
	r.t.Helper()
	const tries = 3
	for try := 1; ; try++ {
		report, code := r.check(env)
		found := slices.DeleteFunc(report.Steps, func(s checkStep) bool { return s.Status == "ok" || s.Status == "not checked" })
		if code == 0 && len(found) == 0 {
			return
		}
		if try == tries {
			r.t.Errorf("exit code %d: %v", code, found)
			return
		}
	}
}
