package check

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"
	"golang.org/x/tools/txtar"

	"github.com/caddy-dns/bestdns/internal/api"
)

var update = flag.Bool("update", false, "write what is printed into the files of testdata")

// TestFiles runs a check for each file in testdata, in the world of testdata/world.txt with
// what the lines at the beginning of the file change in it, and compares what is printed. A
// section "not right" has only the steps that are not ok, not checked, or a note.
func TestFiles(t *testing.T) {
	files, err := filepath.Glob("testdata/*/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, file := range files {
		name := strings.TrimSuffix(strings.TrimPrefix(filepath.ToSlash(file), "testdata/"), ".txt")
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSetup(t)
			archive := s.change(file)
			want := &archive.Files[len(archive.Files)-1]
			got := s.printed(t, strings.HasPrefix(want.Name, "all steps"))
			if diff := cmp.Diff(*want, got); diff != "" && !*update {
				t.Errorf("(-want +got):\n%s\n%s", diff, got.Data)
			}
			if *want = got; *update {
				if err := os.WriteFile(file, txtar.Format(archive), 0o644); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

// printed checks, and returns what is printed as the section of a file.
func (s *setup) printed(t *testing.T, all bool) txtar.File {
	var streamed []Step
	s.options.Report = func(step Step) { streamed = append(streamed, step) }
	report := s.run(t)
	if diff := cmp.Diff(streamed, report.Steps); diff != "" {
		t.Errorf("what was reported step by step and at the end differs:\n%s", diff)
	}
	if report.Domain != s.options.Domain {
		t.Errorf("the domain is %q", report.Domain)
	}
	section := "not right"
	if all {
		section = "all steps"
	}
	var out strings.Builder
	printer := &Printer{Out: &out}
	for _, step := range report.Steps {
		if all || step.Status != OK && step.Status != Skipped && step.Status != Note {
			printer.Step(s.stable(step))
		}
	}
	printer.Summary(report)
	return txtar.File{
		Name: fmt.Sprintf("%s, exit %d", section, report.ExitCode()),
		Data: []byte(strings.TrimLeft(out.String(), "\n")),
	}
}

// stable takes out of a step what differs from run to run.
func (s *setup) stable(step Step) Step {
	step.Found, _, _ = strings.Cut(step.Found, ": current time")
	var pairs []string
	for _, url := range []string{s.options.Endpoint.URL, s.api.URL} {
		if url != "" {
			pairs = append(pairs, url, "https://dns.example.net")
		}
	}
	for value := range s.service.left {
		pairs = append(pairs, value, "<value>")
	}
	shown := func(text string) string {
		return times.ReplaceAllString(strings.NewReplacer(pairs...).Replace(text), "<time>")
	}
	step.Found, step.Do = shown(step.Found), shown(step.Do)
	for i := range step.Lines {
		step.Lines[i] = shown(step.Lines[i])
	}
	return step
}

// times are dates and durations.
var times = regexp.MustCompile(`\b(\d{4}-\d\d-\d\d(T[0-9:]+Z)?|\d+s later)\b`)

// setup is a world with a service in it, and what is checked.
type setup struct {
	*world
	service *fakeService
	options Options
	api     *httptest.Server
}

// newSetup makes the world in which all is right.
func newSetup(t *testing.T) *setup {
	w := newWorld(t)
	s := &setup{world: w}
	s.service = &fakeService{
		world: w, token: api.NewToken(), target: "acme.example.com.", left: make(map[string]bool),
		who: api.Token{Client: "web", Rights: []string{"certificates www.example.org", "certificates under acme.example.com"}},
		hosted: []HostedZone{{
			Name: "acme.example.com.", CNAMETarget: true,
			NameServers: []NameServer{{"ns1.acme.example.com.", []string{"192.0.2.5", "2001:db8::5"}}, {"ns2.acme.example.com.", []string{"192.0.2.6"}}},
		}},
	}
	s.api = httptest.NewServer(s.service)
	t.Cleanup(s.api.Close)
	s.options = Options{
		Domain: "www.example.org", Resolvers: []string{resolverAddress}, CA: "letsencrypt.org", AccountHelp: "find it in the log",
		Endpoint: Endpoint{URL: s.api.URL, Identity: api.Identity{Token: s.service.token}, Source: "Caddyfile"},
		Dial:     w.dial, arrivalTimeout: 500 * time.Millisecond,
	}
	s.change("testdata/world.txt")
	return s
}

func (s *setup) run(t *testing.T) *Report {
	t.Helper()
	report, err := Run(t.Context(), s.options)
	if err != nil {
		t.Fatal(err)
	}
	if len(s.service.left) > 0 && !s.service.failDelete {
		t.Errorf("%d values were left over", len(s.service.left))
	}
	return report
}

// change makes the zones in a file and does what its lines say.
func (s *setup) change(file string) *txtar.Archive {
	archive, err := txtar.ParseFile(file)
	if err != nil {
		s.t.Fatal(err)
	}
	for _, f := range archive.Files {
		if !strings.Contains(f.Name, ", exit ") {
			s.zone(f.Name, string(f.Data))
		}
	}
	for line := range strings.Lines(string(archive.Comment)) {
		line = strings.TrimSpace(line)
		if line != "" && !strings.HasPrefix(line, "#") && !s.changeServer(line) && !s.changeWorld(line) && !s.changeService(line) {
			s.t.Fatalf("%s: what is %q?", file, line)
		}
	}
	return archive
}

// changeServer does a line about a name server: its name, what is changed, and to what.
func (s *setup) changeServer(line string) (ok bool) {
	name, change, _ := strings.Cut(line, " ")
	change, value, _ := strings.Cut(change, " ")
	server, ok := s.named[name]
	if !ok {
		return false
	}
	switch change {
	case "without-udp":
		server.noUDP = true
	case "without-tcp":
		server.noTCP = true
	case "silent":
		server.silent = true
	case "without-authority":
		server.noAuthority = true
	case "old-copy":
		server.old = true
	case "without-zones":
		server.zones = nil
	case "serves":
		server.zones = append(server.zones, s.zones[value])
	case "at":
		s.servers[value] = server
	case "serial":
		serial, err := strconv.ParseUint(value, 10, 32)
		server.serial, ok = uint32(serial), err == nil
	case "primary":
		server.primary = value
	case "fails":
		server.failing = dns.StringToType[value]
	default:
		return false
	}
	return ok
}

// changeWorld does a line about DNS.
func (s *setup) changeWorld(line string) (ok bool) {
	what, rest, _ := strings.Cut(line, " ")
	words := strings.Fields(rest)
	switch what {
	case "server": // NAME ADDRESS … serves ZONE …
		addresses, zones, _ := strings.Cut(rest, " serves ")
		var files []*zonefile
		for name := range strings.FieldsSeq(zones) {
			files = append(files, s.zones[name])
		}
		s.nameserver(words[0], strings.Fields(addresses)[1:], files...)
	case "add", "remove": // ZONE RECORD, or how it begins
		zone, text, _ := strings.Cut(rest, " ")
		if what == "add" {
			s.zones[zone].add(s.t, text)
		} else {
			s.zones[zone].remove(s.t, text)
		}
	case "nothing-at": // ADDRESS
		delete(s.servers, netip.MustParseAddr(rest).String())
	case "no-ipv6":
		s.ipv6 = false
	case "resolver": // ADDRESS
		s.options.Resolvers = words
	case "resolver-answers": // NAME TYPE RCODE, and the SOA record with it
		rr, err := dns.NewRR(strings.Join(words[3:], " "))
		if err != nil {
			s.t.Fatal(err)
		}
		answer := &dns.Msg{MsgHdr: dns.MsgHdr{Rcode: dns.StringToRcode[words[2]]}}
		if rr != nil {
			answer.Ns = []dns.RR{rr}
		}
		s.stale[words[0]+words[1]] = answer
	default:
		return false
	}
	return true
}

// changeService does a line about the service, and what is checked.
func (s *setup) changeService(line string) (ok bool) {
	what, rest, _ := strings.Cut(line, " ")
	words := strings.Fields(rest)
	endpoint := &s.options.Endpoint
	switch what {
	case "check": // DOMAIN
		s.options.Domain = rest
	case "account": // URI
		s.options.Accounts = append(s.options.Accounts, rest)
	case "with-configuration": // of the service
		s.options.Hosted = s.service.hosted
	case "without-endpoint":
		*endpoint = Endpoint{}
	case "endpoint": // URL, or what follows that of the API
		if endpoint.URL = rest; strings.HasPrefix(rest, "/") {
			endpoint.URL = s.api.URL + rest
		}
	case "endpoint-before": // URL of a copy that is tried first
		endpoint.URL = rest + " " + endpoint.URL
	case "endpoint-https":
		endpoint.URL = strings.Replace(s.api.URL, "http:", "https:", 1)
	case "endpoint-down":
		s.api.Close()
	case "certificate": // ADDRESS, for how long it is valid, whether it is trusted
		valid, err := time.ParseDuration(words[1])
		if err != nil {
			s.t.Fatal(err)
		}
		s.serveTLS(time.Now().Add(valid), words[0], words[2] == "trusted")
	case "without-token": // and why
		if endpoint.Identity = (api.Identity{}); rest != "" {
			endpoint.NoToken = errors.New(rest)
		}
	case "token-of-no-client":
		s.service.token = api.NewToken()
	case "token-refused": // how
		s.service.turnsAway = `client "web" ` + rest
	case "token-cut": // the file that it is from
		endpoint.Identity.Token, endpoint.Identity.TokenSource = s.service.token[:20], rest
	case "token-expires-in":
		left, err := time.ParseDuration(rest)
		if err != nil {
			s.t.Fatal(err)
		}
		s.service.who.Expires = time.Now().UTC().Add(left).Format(time.RFC3339)
	case "rights": // of the client
		s.service.who.Rights = nil
		if rest != "" {
			s.service.who.Rights = []string{rest}
		}
	case "running": // in the Caddy of this machine; why that is down
		running := fakeRunning{fakeService: s.service}
		if rest != "" {
			running.down = errors.New(rest)
		}
		s.options.Endpoint, s.options.Running = Endpoint{}, running
	case "unhealthy": // why
		s.service.unhealthy = rest
	case "append-fails": // the kind of problem
		s.service.failAppend = rest
	case "delete-fails":
		s.service.failDelete = true
	case "without-cname-target":
		s.service.target = ""
	case "without-zones":
		s.service.hosted, s.service.target = nil, ""
	case "provider": // its name, and what it cannot do
		s.service.hosted[0].Provider = words[0]
		s.service.keepOne = rest == words[0]+" keeps one value"
		s.service.cannotRead = rest == words[0]+" cannot read"
	default:
		return false
	}
	return true
}

// serveTLS has the API served with a certificate that ends then, for that address.
func (s *setup) serveTLS(end time.Time, address string, trusted bool) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		s.t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"},
		NotBefore: end.Add(-90 * 24 * time.Hour), NotAfter: end,
		IPAddresses: []net.IP{net.ParseIP(address)}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		s.t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		s.t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(s.service)
	server.TLS = &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
	server.Config.ErrorLog = log.New(io.Discard, "", 0) // it would tell of what is meant to fail
	server.StartTLS()
	s.t.Cleanup(server.Close)
	s.options.Endpoint.URL, s.options.Endpoint.Roots = server.URL, x509.NewCertPool()
	if trusted {
		s.options.Endpoint.Roots.AddCert(leaf)
	}
}
