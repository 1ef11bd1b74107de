package check

import (
	"net/http/httptest"
	"testing"
	"time"

	"github.com/caddy-dns/bestdns/internal/api"
)

// rootAddress is where resolvers begin.
const rootAddress = "192.0.2.1"

// setup is a domain and all that its certificate depends on, in order: of
// www.example.org, which is hosted with some DNS host, the challenges go to
// acme.example.com, which the service has.
type setup struct {
	*world
	service                     *fakeService
	options                     Options
	org, com, acme              *zonefile
	company, first, second, tld *nameserver
	api                         *httptest.Server
}

func newSetup(t *testing.T) *setup {
	w := newWorld(t)
	s := &setup{world: w}
	root := w.zone(".", ". 300 NS a.root.", "a.root. 300 A "+rootAddress,
		"com. 300 NS ns.tld.", "org. 300 NS ns.tld.", "tld. 300 NS ns.tld.",
		"ns.tld. 300 A 192.0.2.2", "ns.tld. 300 AAAA 2001:db8::2")
	com := w.zone("com.", "com. 300 NS ns.tld.", "example.com. 300 NS ns.example.com.", "ns.example.com. 300 A 192.0.2.3", "ns.example.com. 300 AAAA 2001:db8::3")
	org := w.zone("org.", "org. 300 NS ns.tld.", "example.org. 300 NS ns.example.com.")
	tld := w.zone("tld.", "tld. 300 NS ns.tld.", "ns.tld. 300 A 192.0.2.2", "ns.tld. 300 AAAA 2001:db8::2")
	s.com = w.zone("example.com.", "example.com. 300 NS ns.example.com.", "ns.example.com. 300 A 192.0.2.3", "ns.example.com. 300 AAAA 2001:db8::3",
		"acme.example.com. 300 NS ns1.acme.example.com.", "acme.example.com. 300 NS ns2.acme.example.com.",
		"ns1.acme.example.com. 300 A 192.0.2.5", "ns1.acme.example.com. 300 AAAA 2001:db8::5", "ns2.acme.example.com. 300 A 192.0.2.6")
	s.org = w.zone("example.org.", "example.org. 300 NS ns.example.com.", "www.example.org. 300 A 192.0.2.80",
		"_acme-challenge.www.example.org. 300 CNAME www.example.org.acme.example.com.")
	s.acme = w.zone("acme.example.com.", "acme.example.com. 300 NS ns1.acme.example.com.", "acme.example.com. 300 NS ns2.acme.example.com.",
		"ns1.acme.example.com. 300 A 192.0.2.5", "ns1.acme.example.com. 300 AAAA 2001:db8::5", "ns2.acme.example.com. 300 A 192.0.2.6")
	w.nameserver(rootAddress, root)
	s.tld = w.nameserver("192.0.2.2 2001:db8::2", com, org, tld)
	s.company = w.nameserver("192.0.2.3 2001:db8::3", s.com, s.org)
	s.first = w.nameserver("192.0.2.5 2001:db8::5", s.acme)
	s.second = w.nameserver("192.0.2.6", s.acme)

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
		Endpoint:       Endpoint{URL: s.api.URL, Identity: api.Identity{Token: s.service.token}, Source: "Caddyfile"},
		Dial:           w.dial,
		arrivalTimeout: 500 * time.Millisecond,
	}
	return s
}

// local has the check ask the running Caddy in place of the API.
func (s *setup) local() {
	s.options.Endpoint = Endpoint{}
	s.options.Running = fakeRunning{fakeService: s.service}
}

func (s *setup) run(t *testing.T) *Report {
	t.Helper()
	report, err := Run(t.Context(), s.options)
	if err != nil {
		t.Fatal(err)
	}
	if len(s.service.left) > 0 {
		t.Errorf("%d values were left behind", len(s.service.left))
	}
	return report
}
