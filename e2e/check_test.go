package e2e

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
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

	"github.com/caddy-dns/bestdns/internal/api"
)

// checkWorld is a world for "caddy bestdns check", which asks name servers where
// those are: at port 53. So each has an address of its own.
type checkWorld struct {
	*World
	first, second, parent string // addresses
	caddy                 *Caddy
}

// newCheckWorld starts a service that is delegated as it should be, and a domain
// elsewhere with its CNAME, unless that is to be missing.
func newCheckWorld(t *testing.T, cname bool) *checkWorld {
	t.Helper()
	net53 := newLoopbackNet(t)
	w := &checkWorld{World: NewWorld(t), first: net53 + ".5", second: net53 + ".6", parent: net53 + ".2"}
	if !cname {
		w.Resolver = NewResolver(t)
	}
	w.Resolver.Delegate(hostedZone, w.first+":53")
	w.Resolver.Host(t, "example", "example. 60 IN NS ns.example.", "ns.example. 60 IN A "+w.parent)
	w.Resolver.Host(t, elsewhereZone, elsewhereZone+". 60 IN NS ns.example.")

	parent := parentServer{resolver: w.Resolver, referral: []string{
		hostedZone + ". 60 IN NS ns1." + hostedZone + ".", hostedZone + ". 60 IN NS ns2." + hostedZone + ".",
		"ns1." + hostedZone + ". 60 IN A " + w.first, "ns2." + hostedZone + ". 60 IN A " + w.second,
	}}
	tcp, err := net.Listen("tcp", w.parent+":53")
	if err != nil {
		t.Fatal(err)
	}
	udp, err := net.ListenPacket("udp", w.parent+":53")
	if err != nil {
		t.Fatal(err)
	}
	serveDNS(t, &dns.Server{Listener: tcp, Handler: parent}, &dns.Server{PacketConn: udp, Handler: parent})
	w.caddy = StartCaddy(t, caddyBinary, "check.caddyfile", w.Env(t))
	return w
}

// Env adds the addresses.
func (w *checkWorld) Env(t testing.TB) Env {
	env := w.World.Env(t)
	env["DNS"], env["DNS2"] = w.first, w.second
	return env
}

var (
	loopbackNetMu sync.Mutex
	loopbackNets  int
)

// newLoopbackNet returns the beginning of loopback addresses that no other test
// has, also of another process, and at whose port 53 one may listen.
func newLoopbackNet(t *testing.T) string {
	t.Helper()
	loopbackNetMu.Lock()
	defer loopbackNetMu.Unlock()
	loopbackNets++
	beginning := fmt.Sprintf("127.%d.%d", 64+loopbackNets, 1+os.Getpid()%250)
	listener, err := net.Listen("tcp", beginning+".1:53")
	if err != nil {
		cannot(t, fmt.Sprintf("name servers are at port 53 of addresses in 127.0.0.0/8, where this user cannot have any: %v", err))
	}
	listener.Close()
	return beginning
}

// parentServer is the name server of the zones that the resolver hosts, and refers
// to those of the service's zone.
type parentServer struct {
	resolver *Resolver
	referral []string
}

// ServeDNS implements dns.Handler.
func (p parentServer) ServeDNS(w dns.ResponseWriter, query *dns.Msg) {
	reply := new(dns.Msg).SetReply(query)
	q := query.Question[0]
	if dns.IsSubDomain(hostedZone+".", q.Name) && q.Qtype != dns.TypeDS {
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
	zone, _, records := p.resolver.zone(q.Name)
	if q.Qtype == dns.TypeDS {
		zone, _, records = p.resolver.zone("example.")
	}
	part := lookup(q, zone, records)
	reply.Rcode, reply.Answer, reply.Ns, reply.Authoritative = part.Rcode, part.Answer, part.Ns, true
	w.WriteMsg(reply)
}

// command makes the command of a check, with the environment of the client.
func (w *checkWorld) command(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(caddyBinary, append([]string{"bestdns", "check", "--resolver", w.Resolver.Addr}, args...)...)
	cmd.Dir = t.TempDir()
	cmd.Env = []string{
		"HOME=" + cmd.Dir, "XDG_DATA_HOME=" + cmd.Dir, "XDG_CONFIG_HOME=" + cmd.Dir,
		"HTTP_PORT=8080", "HTTPS_PORT=8443", "ADMIN=" + w.caddy.admin, "SITES=" + elsewhere,
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
	Steps           []struct {
		Step, Zone, Status, Found, Do string
		Lines                         []string
	}
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
	byAPI := []string{elsewhere, "--config", testdata(t, "client.caddyfile"), "--account-uri", account}

	report, code := w.checkJSON(t, byAPI...)
	want := slices.Concat([]string{"resolver: ok", "api: ok", "token: ok", "right: ok", "write: ok", "cname: ok", "caa: ok"}, checkedZone,
		[]string{"seen: ok", "resolved: ok", "account: note", "removed: ok"})
	if diff := cmp.Diff(want, report.summary()); diff != "" || code != 0 || report.Outcome != "ok" {
		t.Errorf("exit code %d, outcome %s (-want +got):\n%s", code, report.Outcome, diff)
	}
	writes := make(map[string]int)
	for _, req := range w.Recorder.Requests() {
		if kind, records := req.kind(); len(records) > 0 {
			writes[kind+" "+absolute(records[0].Name, req.Zone)] += len(records)
		}
	}
	owner := "_acme-challenge." + elsewhere + "."
	if diff := cmp.Diff(map[string]int{"append " + owner: 1, "delete " + owner: 1}, writes); diff != "" {
		t.Errorf("what was written (-want +got):\n%s", diff)
	}

	out, code := w.check(t, byAPI...)
	for _, part := range []string{
		"ok           write        a challenge was written at " + elsewhere + "." + hostedZone + ", to which a CNAME has to lead\n",
		"\nzone " + hostedZone + "\nok           delegation   example delegates it to ns1." + hostedZone + " and ns2." + hostedZone + "\n",
		"    " + elsewhere + `. CAA 0 issue "letsencrypt.org; accounturi=` + account + `; validationmethods=dns-01"` + "\n",
		"\nAll that was checked is right.\n",
	} {
		if code != 0 || !strings.Contains(out, part) || strings.ContainsAny(out, "✓✗\x1b") {
			t.Errorf("exit code %d, and not there, or not plain: %q", code, part)
		}
	}

	report, code = w.checkJSON(t, "--config", testdata(t, "check.caddyfile"))
	want = slices.Concat([]string{"resolver: ok", "service: ok"}, checkedZone, []string{"write: ok", "read back: ok", "seen: ok", "removed: ok"})
	if diff := cmp.Diff(want, report.summary()); diff != "" || code != 0 {
		t.Errorf("the service: exit code %d (-want +got):\n%s", code, diff)
	}
	report, code = w.checkJSON(t, "*."+hostedZone, "--address", w.caddy.admin)
	want = slices.Concat([]string{"resolver: ok", "service: ok", "write: ok", "cname: ok", "caa: ok"}, checkedZone,
		[]string{"seen: ok", "resolved: ok", "account: note", "removed: ok"})
	if diff := cmp.Diff(want, report.summary()); diff != "" || code != 0 {
		t.Errorf("a hosted domain in process: exit code %d (-want +got):\n%s", code, diff)
	}
	w.AssertNoChallenge(t, hostedZone, elsewhere, hostedZone)
}

// TestCheckFindsWhatIsWrong has the CNAME missing, the CA forbidden, and a token
// for another domain.
func TestCheckFindsWhatIsWrong(t *testing.T) {
	t.Parallel()
	w := newCheckWorld(t, false)
	w.Resolver.Host(t, elsewhereZone, elsewhereZone+`. 60 IN CAA 0 issue "ca.example.net"`)
	report, code := w.checkJSON(t, elsewhere, "--config", testdata(t, "client.caddyfile"))
	want := map[string][]string{
		"cname":    {"_acme-challenge." + elsewhere + ". CNAME " + elsewhere + "." + hostedZone + "."},
		"caa":      {elsewhereZone + `. CAA 0 issue "letsencrypt.org"`},
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
	report, code = w.checkJSON(t, "mail."+elsewhereZone, "--config", testdata(t, "client.caddyfile"))
	if i := slices.Index(report.summary(), "right: wrong"); i < 0 || code != 1 ||
		!cmp.Equal(report.Steps[i].Lines, []string{"client web {", "\tcertificates mail." + elsewhereZone, "}"}) {
		t.Errorf("exit code %d: %v", code, report)
	}
	if _, code := w.check(t, "localhost"); code != 2 {
		t.Errorf("exit code %d for a domain that is none", code)
	}
	w.AssertNoChallenge(t, hostedZone, elsewhere)
}

// TestCheckInterrupted ends a check when it has written its challenge.
func TestCheckInterrupted(t *testing.T) {
	t.Parallel()
	w := newCheckWorld(t, true)
	cmd := w.command(t, elsewhere, "--config", testdata(t, "client.caddyfile"))
	var out bytes.Buffer
	cmd.Stdout = &out
	written, signalled := make(chan struct{}), make(chan struct{})
	var once sync.Once
	w.Recorder.OnAnswer(func(req Request) {
		if kind, _ := req.kind(); kind == "append" {
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
	case <-time.After(startTimeout):
		t.Error("nothing was written")
	}
	close(signalled)
	stuck := time.AfterFunc(time.Minute, func() { cmd.Process.Kill() })
	defer stuck.Stop()
	var exit *exec.ExitError
	if err := cmd.Wait(); !errors.As(err, &exit) || exit.ExitCode() != 2 {
		t.Errorf("it ended with %v:\n%s", err, out.String())
	}
	w.AssertNoChallenge(t, hostedZone, elsewhere)
	var left []api.Record
	for _, r := range w.Records(t, hostedZone) {
		if r.Type == "TXT" {
			left = append(left, r)
		}
	}
	if left != nil || !strings.Contains(out.String(), "interrupted") {
		t.Errorf("left: %v\n%s", left, out.String())
	}
}

// TestCheckBelowWildcard checks a host that only a wildcard stands for, which is without
// an address during a challenge, and one that has an address of its own.
func TestCheckBelowWildcard(t *testing.T) {
	t.Parallel()
	w := newCheckWorld(t, true)
	file := filepath.Join(t.TempDir(), "zone")
	if err := os.WriteFile(file, []byte("*."+hostedZone+". 60 A 192.0.2.7\nown."+hostedZone+". 60 A 192.0.2.8\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(caddyBinary, "bestdns", "import", hostedZone, file, "--address", w.caddy.admin).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	report, code := w.checkJSON(t, "host."+hostedZone, "--address", w.caddy.admin)
	last := report.Steps[len(report.Steps)-1]
	found := "host." + hostedZone + " has its A record from the wildcard *." + hostedZone + ", which does not answer for it while a challenge is there (RFC 4592)"
	if last.Step != "wildcard" || last.Status != "warning" || last.Found != found || !slices.Equal(last.Lines, []string{"host." + hostedZone + ". A …"}) || code != 0 {
		t.Errorf("exit code %d, the last step is %+v", code, last)
	}
	report, _ = w.checkJSON(t, "deep.down."+hostedZone, "--address", w.caddy.admin)
	if last := report.Steps[len(report.Steps)-1]; !strings.Contains(last.Found, "from the wildcard *."+hostedZone+",") {
		t.Errorf("below a name that the wildcard stands for too: %+v", last)
	}
	w.AssertNoChallenge(t, hostedZone, "host."+hostedZone)
	if err := os.WriteFile(file, []byte("_acme-challenge.left."+hostedZone+". 0 TXT x\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(caddyBinary, "bestdns", "import", hostedZone, file, "--address", w.caddy.admin).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	report, _ = w.checkJSON(t, "left."+hostedZone, "--address", w.caddy.admin)
	if last := report.Steps[len(report.Steps)-1]; last.Step != "wildcard" || !strings.Contains(last.Found, "left."+hostedZone+" has no address, and the wildcard *."+hostedZone) {
		t.Errorf("a host that a record below it has taken from the wildcard: %+v", last)
	}
	report, _ = w.checkJSON(t, "own."+hostedZone, "--address", w.caddy.admin)
	if slices.Contains(report.summary(), "wildcard: warning") {
		t.Errorf("a host of its own: %v", report.summary())
	}
}
