package service

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2/caddyconfig"
	_ "github.com/caddyserver/caddy/v2/modules/standard"
	"github.com/miekg/dns"

	"github.com/caddy-dns/bestdns/internal/access"
	"github.com/caddy-dns/bestdns/internal/api"
)

// service is a Caddy with the service in it, in this process. There is one at a time.
type service struct {
	dns   string // address of the name server
	admin string // address of Caddy's admin endpoint, "off" for none
	api   string // URL of the API
	store string
	token map[string]string // by client
	dir   string
	// certificate and key are PEM files of the API, should it be served over TLS.
	certificate, key string
}

// newService picks free ports and tokens; nothing runs yet.
func newService(t testing.TB) *service {
	t.Helper()
	dir := t.TempDir()
	s := &service{
		dns:   freeAddress(t),
		admin: "off",
		api:   "http://" + freeAddress(t),
		store: filepath.Join(dir, "records.db"),
		token: make(map[string]string),
		dir:   dir,
	}
	s.certificate, s.key = serverCertificate(t)
	for _, name := range []string{"web1", "ops", "expired", "far", "devices", "stranger"} {
		s.token[name] = api.NewToken()
	}
	t.Setenv("XDG_DATA_HOME", dir)
	t.Setenv("XDG_CONFIG_HOME", dir)
	return s
}

// standard is what most tests run on: two zones, one nested, and clients.
func (s *service) standard() string {
	return fmt.Sprintf(`
		listen %s
		store %q
		zone example.test {
			ns ns1.example.test 127.0.0.1
			cname_target
		}
		zone nested.example.test {
			ns ns1.example.test
			ttl 5m
		}
		zone secret.test {
			ns ns1.secret.test 127.0.0.1
		}
		client web1 {
			token %s
			certificates web1.example.test
			certificates under elsewhere.test
		}
		client ops {
			token %s
			allow under example.test
			allow under nested.example.test
		}
		client expired {
			token %s
			allow under example.test
			expires 2020-01-01
		}
		client far {
			token %s
			allow under example.test
			client_ip 192.0.2.0/24
		}`,
		s.dns, s.store, s.digest("web1"), s.digest("ops"), s.digest("expired"), s.digest("far"))
}

func (s *service) digest(client string) string {
	return access.DigestOf(s.token[client]).String()
}

// caddyfile puts the app's options into a whole Caddyfile with the API in it.
func (s *service) caddyfile(options string) string {
	return fmt.Sprintf(`{
		admin %s
		persist_config off
		auto_https disable_redirects
		skip_install_trust
		storage file_system %q
		log {
			output file %q
		}
		bestdns {
			%s
		}
	}
	%s {
		bind 127.0.0.1
		%s
		bestdns
		respond "next" 299
	}`, s.admin, s.dir, filepath.Join(s.dir, "caddy.log"), options, s.api, s.tlsLine())
}

// tlsLine gives Caddy a certificate where the API is served over TLS.
func (s *service) tlsLine() string {
	if strings.HasPrefix(s.api, "https:") {
		return fmt.Sprintf("tls %q %q", s.certificate, s.key)
	}
	return ""
}

// load runs Caddy with the given options of the app, until the test ends.
func (s *service) load(t testing.TB, options string) {
	t.Helper()
	if err := s.tryLoad(t, options); err != nil {
		t.Fatal(err)
	}
}

func (s *service) tryLoad(t testing.TB, options string) error {
	t.Helper()
	return s.tryLoadText(t, s.caddyfile(options))
}

func startStandard(t testing.TB) *service {
	t.Helper()
	s := newService(t)
	s.load(t, s.standard())
	return s
}

func adapt(caddyfile string) ([]byte, error) {
	config, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(caddyfile), map[string]any{"filename": "Caddyfile"})
	return config, err
}

// freeAddress returns an address of the loopback interface that is free for UDP
// and TCP. Its port is below Linux's range of ephemeral ports (32768 and up): until
// Caddy listens there, no connection and no other package's test is given it.
func freeAddress(t testing.TB) string {
	t.Helper()
	for range 1000 {
		address := fmt.Sprintf("127.0.0.1:%d", 10000+rand.IntN(10000))
		if handedOut[address] {
			continue
		}
		tcp, err := net.Listen("tcp", address)
		if err != nil {
			continue
		}
		udp, err := net.ListenPacket("udp", address)
		tcp.Close()
		if err != nil {
			continue
		}
		udp.Close()
		handedOut[address] = true
		return address
	}
	t.Fatal("no port is free for UDP and TCP")
	return ""
}

// handedOut are the addresses that freeAddress returned: a server of an earlier
// test's configuration may be on its way out on one of them.
var handedOut = make(map[string]bool)

// answer is what came back over HTTP.
type answer struct {
	status  int
	header  http.Header
	body    string
	records []api.Record
	cnames  []api.CNAME
	problem api.Problem
}

// call makes one request with a client's token ("" sends none).
func (s *service) call(t testing.TB, client, method, path, body string) answer {
	t.Helper()
	request, err := http.NewRequest(method, s.api+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if client != "" {
		request.Header.Set("Authorization", "Bearer "+s.token[client])
	}
	return do(t, request)
}

func do(t testing.TB, request *http.Request) answer {
	t.Helper()
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	a := answer{status: response.StatusCode, header: response.Header, body: string(text)}
	if request.Method == http.MethodHead {
		return a
	}
	switch response.Header.Get("Content-Type") {
	case "application/json":
		var records api.Records
		if err := json.Unmarshal(text, &records); err == nil {
			a.records, a.cnames = records.Records, records.CNAMEs
		}
	case api.ProblemContentType:
		if err := json.Unmarshal(text, &a.problem); err != nil {
			t.Fatalf("problem %s: %v", text, err)
		}
	}
	return a
}

// patch sends a change.
func (s *service) patch(t testing.TB, client, zone, body string) answer {
	t.Helper()
	return s.call(t, client, http.MethodPatch, "/v1/zones/"+url.PathEscape(zone)+"/records", body)
}

// must is patch for a change that has to succeed.
func (s *service) must(t testing.TB, client, zone, body string) answer {
	t.Helper()
	a := s.patch(t, client, zone, body)
	if a.status != http.StatusOK {
		t.Fatalf("PATCH %s %s: %d %s", zone, body, a.status, a.body)
	}
	return a
}

// ask asks the name server.
func (s *service) ask(t testing.TB, name string, qtype uint16) *dns.Msg {
	t.Helper()
	client := dns.Client{Net: "tcp"}
	reply, _, err := client.Exchange(new(dns.Msg).SetQuestion(name, qtype), s.dns)
	if err != nil {
		t.Fatalf("asking for %s: %v", name, err)
	}
	return reply
}

// texts returns the TXT records that DNS has at a name.
func (s *service) texts(t testing.TB, name string) []string {
	t.Helper()
	var texts []string
	for _, rr := range s.ask(t, name, dns.TypeTXT).Answer {
		if txt, ok := rr.(*dns.TXT); ok {
			texts = append(texts, strings.Join(txt.Txt, ""))
		}
	}
	return texts
}

// serial returns the serial of example.test.
func (s *service) serial(t testing.TB) uint32 {
	t.Helper()
	reply := s.ask(t, "example.test.", dns.TypeSOA)
	if len(reply.Answer) != 1 {
		t.Fatalf("no SOA record: %v", reply)
	}
	return reply.Answer[0].(*dns.SOA).Serial
}

// log returns Caddy's log so far.
func (s *service) log(t testing.TB) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(s.dir, "caddy.log"))
	if err != nil {
		t.Fatal(err)
	}
	return string(bytes.TrimSpace(text))
}

// challengeValue has the form of the answer to a DNS-01 challenge.
const challengeValue = "LPJNul-wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ"
