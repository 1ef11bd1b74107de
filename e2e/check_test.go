package e2e

import (
	"bytes"
	"encoding/json"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"

	"github.com/caddy-dns/bestdns/e2e/internal/harness"
	"github.com/caddy-dns/bestdns/internal/api"
)

// checkWorld is a world for "caddy bestdns check", which asks name servers where
// those are: at port 53. So each has an address of its own.
type checkWorld struct {
	*harness.World
	first, second, parent string // addresses
	caddy                 *harness.Caddy
}

// newCheckWorld starts a service that is delegated as it should be, and a domain
// elsewhere with its CNAME, unless that is to be missing.
func newCheckWorld(t *testing.T, cname bool) *checkWorld {
	t.Helper()
	net53 := harness.NewLoopbackNet(t)
	w := &checkWorld{World: harness.NewWorld(t), first: net53 + ".5", second: net53 + ".6", parent: net53 + ".2"}
	if !cname {
		w.Resolver = harness.NewResolver(t)
	}
	w.Resolver.Delegate(harness.HostedZone, w.first+":53")
	w.Resolver.Host(t, "example", "example. 60 IN NS ns.example.", "ns.example. 60 IN A "+w.parent)
	w.Resolver.Host(t, harness.ElsewhereZone, harness.ElsewhereZone+". 60 IN NS ns.example.")

	parent := parentServer{resolver: w.Resolver, referral: []string{
		harness.HostedZone + ". 60 IN NS ns1." + harness.HostedZone + ".", harness.HostedZone + ". 60 IN NS ns2." + harness.HostedZone + ".",
		"ns1." + harness.HostedZone + ". 60 IN A " + w.first, "ns2." + harness.HostedZone + ". 60 IN A " + w.second,
	}}
	tcp, err := net.Listen("tcp", w.parent+":53")
	if err != nil {
		t.Fatal(err)
	}
	udp, err := net.ListenPacket("udp", w.parent+":53")
	if err != nil {
		t.Fatal(err)
	}
	harness.ServeDNS(t, &dns.Server{Listener: tcp, Handler: parent}, &dns.Server{PacketConn: udp, Handler: parent})
	w.caddy = harness.StartCaddy(t, harness.CaddyBinary, "check.caddyfile", w.Env(t))
	return w
}

// Env adds the addresses.
func (w *checkWorld) Env(t testing.TB) harness.Env {
	env := w.World.Env(t)
	env["DNS"], env["DNS2"] = w.first, w.second
	return env
}

// parentServer is the name server of the zones that the resolver hosts, and refers
// to those of the service's zone.
type parentServer struct {
	resolver *harness.Resolver
	referral []string
}

// ServeDNS implements dns.Handler.
func (p parentServer) ServeDNS(w dns.ResponseWriter, query *dns.Msg) {
	reply := new(dns.Msg).SetReply(query)
	q := query.Question[0]
	if dns.IsSubDomain(harness.HostedZone+".", q.Name) && q.Qtype != dns.TypeDS {
		for _, text := range p.referral {
			rr, err := dns.NewRR(text)
			switch {
			case err != nil:
				reply.Rcode = dns.RcodeServerFailure
			case rr.Header().Rrtype == dns.TypeNS:
				reply.Ns = append(reply.Ns, rr)
			default:
				reply.Extra = append(reply.Extra, rr)
			}
		}
		w.WriteMsg(reply)
		return
	}
	zone, _, records := p.resolver.Zone(q.Name)
	if q.Qtype == dns.TypeDS {
		zone, _, records = p.resolver.Zone("example.")
	}
	part := harness.Lookup(q, zone, records)
	reply.Rcode, reply.Answer, reply.Ns, reply.Authoritative = part.Rcode, part.Answer, part.Ns, true
	w.WriteMsg(reply)
}

// command makes the command of a check, with the environment of the client.
func (w *checkWorld) command(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(harness.CaddyBinary, append([]string{"bestdns", "check", "--resolver", w.Resolver.Addr}, args...)...)
	cmd.Dir = t.TempDir()
	cmd.Env = []string{
		"HOME=" + cmd.Dir, "XDG_DATA_HOME=" + cmd.Dir, "XDG_CONFIG_HOME=" + cmd.Dir,
		"HTTP_PORT=8080", "HTTPS_PORT=8443", "ADMIN=" + w.caddy.Admin, "SITES=" + harness.Elsewhere,
	}
	for name, value := range w.Env(t) {
		cmd.Env = append(cmd.Env, name+"="+value)
	}
	return cmd
}

// check runs a check and returns what it printed and its exit code.
func (w *checkWorld) check(t *testing.T, args ...string) (out string, code int) {
	t.Helper()
	cmd := w.command(t, args...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	printed, err := cmd.Output()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	if strings.Contains(string(printed)+stderr.String(), w.Token) {
		t.Error("the token was printed")
	}
	if t.Logf("%s%s", printed, stderr.String()); err != nil {
		return string(printed), exit.ExitCode()
	}
	return string(printed), 0
}

// checkReport is what --json prints.
type checkReport struct {
	Domain, Outcome string
	Steps           []checkStep
}

type checkStep struct {
	Step, Zone, Status, Found, Do string
	Lines                         []string
}

func (w *checkWorld) checkJSON(t *testing.T, args ...string) (report checkReport, code int) {
	t.Helper()
	out, code := w.check(t, append(args, "--json")...)
	decoder := json.NewDecoder(strings.NewReader(out))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&report); err != nil {
		t.Fatal(err)
	}
	return report, code
}

// summary is each step with its status.
func (r checkReport) summary() []string {
	var all []string
	for _, step := range r.Steps {
		all = append(all, step.Step+": "+step.Status)
	}
	return all
}

var checkedZone = []string{
	"delegation: ok", "glue: ok", "ns: ok", "server: ok", "server: ok", "soa: ok", "redundancy: ok", "ds: ok",
}

// TestCheck checks a domain and the service by the real program, with nothing wrong.
func TestCheck(t *testing.T) {
	t.Parallel()
	w := newCheckWorld(t, true)
	const account = "https://acme.letsencrypt.org/acct/1"
	byAPI := []string{harness.Elsewhere, "--config", harness.Testdata(t, "client.caddyfile"), "--account-uri", account}

	report, code := w.checkJSON(t, byAPI...)
	want := slices.Concat([]string{"resolver: ok", "api: ok", "token: ok", "right: ok", "write: ok", "cname: ok", "caa: ok", "permission: ok"}, checkedZone,
		[]string{"seen: ok", "resolved: ok", "account: note", "removed: ok"})
	if diff := cmp.Diff(want, report.summary()); diff != "" || code != 0 || report.Outcome != "ok" {
		t.Errorf("exit code %d, outcome %s (-want +got):\n%s", code, report.Outcome, diff)
	}
	writes := make(map[string]int)
	for _, req := range w.Recorder.Requests() {
		if kind, records := req.Kind(); len(records) > 0 {
			writes[kind+" "+harness.Absolute(records[0].Name, req.Zone)] += len(records)
		}
	}
	owner := "_acme-challenge." + harness.Elsewhere + "."
	if diff := cmp.Diff(map[string]int{"append " + owner: 1, "delete " + owner: 1}, writes); diff != "" {
		t.Errorf("what was written (-want +got):\n%s", diff)
	}

	out, code := w.check(t, byAPI...)
	for _, part := range []string{
		"ok           write        a challenge was written at " + harness.Elsewhere + "." + harness.HostedZone + ", to which a CNAME has to lead\n",
		"\nzone " + harness.HostedZone + "\nok           delegation   example delegates it to ns1." + harness.HostedZone + " and ns2." + harness.HostedZone + "\n",
		"    " + harness.Elsewhere + `. CAA 0 issue "letsencrypt.org; accounturi=` + account + `; validationmethods=dns-01"` + "\n",
		"\nAll that was checked is right.\n",
	} {
		if code != 0 || !strings.Contains(out, part) || strings.ContainsAny(out, "✓✗\x1b") {
			t.Errorf("exit code %d, and not there, or not plain: %q", code, part)
		}
	}

	report, code = w.checkJSON(t, "--config", harness.Testdata(t, "check.caddyfile"))
	want = slices.Concat([]string{"resolver: ok", "service: ok"}, checkedZone, []string{"write: ok", "read back: ok", "seen: ok", "removed: ok"})
	if diff := cmp.Diff(want, report.summary()); diff != "" || code != 0 {
		t.Errorf("the service: exit code %d (-want +got):\n%s", code, diff)
	}
	report, code = w.checkJSON(t, "*."+harness.HostedZone, "--address", w.caddy.Admin)
	want = slices.Concat([]string{"resolver: ok", "service: ok", "write: ok", "cname: ok", "caa: ok", "permission: ok"}, checkedZone,
		[]string{"read back: ok", "seen: ok", "resolved: ok", "account: note", "removed: ok"})
	if diff := cmp.Diff(want, report.summary()); diff != "" || code != 0 {
		t.Errorf("a hosted domain in process: exit code %d (-want +got):\n%s", code, diff)
	}
	w.AssertNoChallenge(t, harness.HostedZone, harness.Elsewhere, harness.HostedZone)
}

// TestCheckFindsWhatIsWrong has the CNAME missing, the CA forbidden, and a token
// for another domain.
func TestCheckFindsWhatIsWrong(t *testing.T) {
	t.Parallel()
	w := newCheckWorld(t, false)
	w.Resolver.Host(t, harness.ElsewhereZone, harness.ElsewhereZone+`. 60 IN CAA 0 issue "ca.example.net"`)
	report, code := w.checkJSON(t, harness.Elsewhere, "--config", harness.Testdata(t, "client.caddyfile"))
	want := map[string][]string{
		"cname":    {"_acme-challenge." + harness.Elsewhere + ". CNAME " + harness.Elsewhere + "." + harness.HostedZone + "."},
		"caa":      {harness.ElsewhereZone + `. CAA 0 issue "letsencrypt.org"`},
		"resolved": nil,
	}
	got := make(map[string][]string)
	for _, step := range report.Steps {
		if step.Status == "wrong" {
			got[step.Step] = step.Lines
		}
	}
	if diff := cmp.Diff(want, got); diff != "" || code != 1 || report.Outcome != "wrong" {
		t.Errorf("exit code %d, outcome %s; what is wrong, and the lines to write (-want +got):\n%s", code, report.Outcome, diff)
	}
	report, code = w.checkJSON(t, "mail."+harness.ElsewhereZone, "--config", harness.Testdata(t, "client.caddyfile"))
	if i := slices.Index(report.summary(), "right: wrong"); i < 0 || code != 1 ||
		!cmp.Equal(report.Steps[i].Lines, []string{"client web {", "\tcertificates mail." + harness.ElsewhereZone, "}"}) {
		t.Errorf("exit code %d: %v", code, report)
	}
	if _, code := w.check(t, "localhost"); code != 2 {
		t.Errorf("exit code %d for an invalid domain", code)
	}
	w.AssertNoChallenge(t, harness.HostedZone, harness.Elsewhere)
}

// TestCheckInterrupted ends a check when it has written its challenge.
func TestCheckInterrupted(t *testing.T) {
	t.Parallel()
	w := newCheckWorld(t, true)
	cmd := w.command(t, harness.Elsewhere, "--config", harness.Testdata(t, "client.caddyfile"))
	var out bytes.Buffer
	cmd.Stdout = &out
	written, signalled := make(chan struct{}), make(chan struct{})
	var once sync.Once
	w.Recorder.OnAnswer(func(req harness.Request) {
		if kind, _ := req.Kind(); kind == "append" {
			once.Do(func() {
				close(written)
				<-signalled // before the answer is out
			})
		}
	})
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	select {
	case <-written:
		cmd.Process.Signal(os.Interrupt)
	case <-time.After(harness.StartTimeout):
		t.Error("nothing was written")
	}
	close(signalled)
	stuck := time.AfterFunc(time.Minute, func() { cmd.Process.Kill() })
	defer stuck.Stop()
	var exit *exec.ExitError
	if err := cmd.Wait(); !errors.As(err, &exit) || exit.ExitCode() != 2 {
		t.Errorf("it ended with %v:\n%s", err, out.String())
	}
	w.AssertNoChallenge(t, harness.HostedZone, harness.Elsewhere)
	var left []api.Record
	for _, r := range w.Records(t, harness.HostedZone) {
		if r.Type == "TXT" {
			left = append(left, r)
		}
	}
	if left != nil || !strings.Contains(out.String(), "interrupted") {
		t.Errorf("left: %v\n%s", left, out.String())
	}
}

// TestCheckBelowWildcard checks a host that only a wildcard matches, which is without
// an address during a challenge, and one that has an address of its own.
func TestCheckBelowWildcard(t *testing.T) {
	t.Parallel()
	w := newCheckWorld(t, true)
	file := filepath.Join(t.TempDir(), "zone")
	if err := os.WriteFile(file, []byte("*."+harness.HostedZone+". 60 A 192.0.2.7\nown."+harness.HostedZone+". 60 A 192.0.2.8\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(harness.CaddyBinary, "bestdns", "import", harness.HostedZone, file, "--address", w.caddy.Admin).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	report, code := w.checkJSON(t, "host."+harness.HostedZone, "--address", w.caddy.Admin)
	last := report.Steps[len(report.Steps)-1]
	found := "host." + harness.HostedZone + " has its A record from the wildcard *." + harness.HostedZone + ", which does not answer for it while a challenge is there (RFC 4592)"
	if last.Step != "wildcard" || last.Status != "warning" || last.Found != found || !slices.Equal(last.Lines, []string{"host." + harness.HostedZone + ". A …"}) || code != 0 {
		t.Errorf("exit code %d, the last step is %+v", code, last)
	}
	report, _ = w.checkJSON(t, "deep.down."+harness.HostedZone, "--address", w.caddy.Admin)
	if last := report.Steps[len(report.Steps)-1]; !strings.Contains(last.Found, "from the wildcard *."+harness.HostedZone+",") {
		t.Errorf("below a name that the wildcard matches too: %+v", last)
	}
	w.AssertNoChallenge(t, harness.HostedZone, "host."+harness.HostedZone)
	if err := os.WriteFile(file, []byte("_acme-challenge.left."+harness.HostedZone+". 0 TXT x\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(harness.CaddyBinary, "bestdns", "import", harness.HostedZone, file, "--address", w.caddy.Admin).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	report, _ = w.checkJSON(t, "left."+harness.HostedZone, "--address", w.caddy.Admin)
	if last := report.Steps[len(report.Steps)-1]; last.Step != "wildcard" || !strings.Contains(last.Found, "left."+harness.HostedZone+" has no address, and the wildcard *."+harness.HostedZone) {
		t.Errorf("a host that a record below it has taken from the wildcard: %+v", last)
	}
	report, _ = w.checkJSON(t, "own."+harness.HostedZone, "--address", w.caddy.Admin)
	if slices.Contains(report.summary(), "wildcard: warning") {
		t.Errorf("a host of its own: %v", report.summary())
	}
}
