package check

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"

	"github.com/caddy-dns/bestdns/internal/api"
)

// zoneSteps are the steps about the zone of the setup, all right.
var zoneSteps = []Step{
	{Name: "delegation", Found: "example.com delegates it to ns1.acme.example.com and ns2.acme.example.com"},
	{Name: "glue", Found: "the addresses at the zone above are right: ns1.acme.example.com. A 192.0.2.5, ns1.acme.example.com. AAAA 2001:db8::5 and ns2.acme.example.com. A 192.0.2.6"},
	{Name: "ns", Found: "the zone names the same name servers as the zone above"},
	{Name: "server", Found: "ns1.acme.example.com (192.0.2.5) answers over UDP and TCP"},
	{Name: "server", Found: "ns1.acme.example.com (2001:db8::5) answers over UDP and TCP"},
	{Name: "server", Found: "ns2.acme.example.com (192.0.2.6) answers over UDP and TCP"},
	{Name: "soa", Found: "all servers have serial 1, primary ns1.primary"},
	{Name: "redundancy", Found: "2 name servers at 3 addresses"},
	{Name: "ds", Found: "example.com has no DS record of it, so no one expects it to be signed"},
}

var (
	resolverStep = Step{Name: "resolver", Found: "192.0.2.53:53 answers"}
	seenStep     = Step{Name: "seen", Zone: "acme.example.com", Found: "every name server has what was written (3 addresses)"}
	removedStep  = Step{Name: "removed", Found: "what was written is removed again"}
)

// TestGood checks setups in which all is right.
func TestGood(t *testing.T) {
	account := func(domain string) Step {
		return Step{
			Name: "account", Status: Note,
			Found: "CAA can bind issuance for " + domain + " and all below it to DNS-01 and to the ACME account",
			Do:    "to have that, create where the domain is hosted, instead of other issue records:",
			Lines: []string{domain + `. CAA 0 issue "letsencrypt.org; accounturi=https://acme.example/acct/1; validationmethods=dns-01"`},
		}
	}
	noCAA := Step{Name: "caa", Found: "there are no CAA records, so any CA may issue"}
	for _, test := range []struct {
		name  string
		setup func(t *testing.T, s *setup)
		want  [][]Step // with OK where they have no status, and the zone where there is one
	}{
		{"by the API, hosted elsewhere", func(*testing.T, *setup) {}, [][]Step{
			{
				resolverStep,
				{Name: "api", Found: "https://dns.example.net answers, without TLS on this machine"},
				{Name: "token", Found: `it is that of client "web", which may: certificates www.example.org; certificates under acme.example.com`},
				{Name: "right", Found: `client "web" may write challenges at _acme-challenge.www.example.org`},
				{Name: "write", Found: "a challenge was written at www.example.org.acme.example.com, to which a CNAME has to lead"},
				{Name: "cname", Found: "_acme-challenge.www.example.org → www.example.org.acme.example.com, where the service writes"},
				noCAA,
			},
			zoneSteps,
			{seenStep, {Name: "resolved", Found: "a resolver finds it at _acme-challenge.www.example.org, as a CA would"}, account("www.example.org"), removedStep},
		}},
		{"in the running Caddy, a wildcard of a hosted domain, with CAA", func(t *testing.T, s *setup) {
			s.local()
			s.options.Domain = "*.host.acme.example.com"
			s.com.add(t, `example.com. 300 CAA 0 issuewild "letsencrypt.org; accounturi=https://acme.example/acct/1"`, `example.com. 300 CAA 0 issue ";"`)
		}, [][]Step{
			{
				resolverStep,
				{Name: "service", Found: "the Caddy at localhost:2019 serves acme.example.com (built in)"},
				{Name: "write", Found: "a challenge was written at _acme-challenge.host.acme.example.com"},
				{Name: "cname", Found: "_acme-challenge.host.acme.example.com is hosted by the service and needs no CNAME"},
				{Name: "caa", Found: "the CAA records at example.com allow letsencrypt.org, for the ACME account https://acme.example/acct/1"},
			},
			zoneSteps,
			{seenStep, {Name: "resolved", Found: "a resolver finds it at _acme-challenge.host.acme.example.com, as a CA would"}, account("host.acme.example.com"), removedStep},
		}},
		{"DNS alone", func(_ *testing.T, s *setup) { s.options.Endpoint = Endpoint{} }, [][]Step{
			{
				resolverStep,
				{
					Name: "api", Status: Skipped, Found: "no service is named, so DNS alone is checked",
					Do: "for the rest of the chain, give the client's configuration with --config, or --endpoint with the token in BESTDNS_API_TOKEN; on the machine of the service, run it where its Caddy runs",
				},
				{Name: "write", Status: Skipped, Found: "no challenge is written: there is no service to write to"},
				{Name: "cname", Found: "_acme-challenge.www.example.org → www.example.org.acme.example.com: challenges are looked for there"},
				noCAA,
			},
			zoneSteps,
			{account("www.example.org")},
		}},
		{"the service", func(_ *testing.T, s *setup) {
			s.local()
			s.options.Domain = ""
		}, [][]Step{
			{resolverStep, {Name: "service", Found: "the Caddy at localhost:2019 serves acme.example.com (built in)"}},
			zoneSteps,
			serviceSteps("_acme-challenge.bestdns-check.acme.example.com", Step{Name: "read back", Found: "both values are read again"}),
		}},
		{"the service by its API, of which the token may use a part", func(_ *testing.T, s *setup) {
			s.options.Domain = ""
			s.service.who.Rights = []string{"certificates www.acme.example.com"}
		}, [][]Step{
			{
				resolverStep,
				{Name: "api", Found: "https://dns.example.net answers, without TLS on this machine"},
				{Name: "token", Found: `it is that of client "web", which may: certificates www.acme.example.com`},
			},
			zoneSteps,
			serviceSteps("_acme-challenge.www.acme.example.com", Step{Name: "read back", Found: "both values are read again"}),
		}},
		{"a provider that cannot read", func(_ *testing.T, s *setup) {
			s.local()
			s.options.Domain, s.service.cannotRead, s.service.hosted[0].Provider = "", true, "writeonly"
		}, [][]Step{
			{resolverStep, {Name: "service", Found: "the Caddy at localhost:2019 serves acme.example.com (writeonly)"}},
			zoneSteps,
			serviceSteps("_acme-challenge.bestdns-check.acme.example.com",
				Step{Name: "read back", Status: Skipped, Found: "its DNS provider cannot read records, so deletes need to name the data, as certificates' do"}),
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := newSetup(t)
			s.options.Accounts = []string{"https://acme.example/acct/1"}
			test.setup(t, s)
			var streamed []Step
			s.options.Report = func(step Step) { streamed = append(streamed, step) }
			report := s.run(t)
			want := &Report{Domain: s.options.Domain, Outcome: OK}
			for i, part := range test.want {
				for _, step := range part {
					if step.Status == "" {
						step.Status = OK
					}
					if i == 1 && len(part) == len(zoneSteps) {
						step.Zone = "acme.example.com"
					}
					want.Steps = append(want.Steps, step)
				}
			}
			if diff := cmp.Diff(streamed, report.Steps); diff != "" {
				t.Errorf("what was reported step by step and at the end differs:\n%s", diff)
			}
			for i := range report.Steps {
				report.Steps[i] = s.stable(report.Steps[i])
			}
			if diff := cmp.Diff(want, report); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if code := report.ExitCode(); code != 0 {
				t.Errorf("exit code %d", code)
			}
		})
	}
}

func serviceSteps(owner string, read Step) []Step {
	steps := []Step{
		{Name: "write", Found: "two values were written at " + owner}, read, seenStep, removedStep,
	}
	for i := range steps {
		steps[i].Zone = "acme.example.com"
	}
	return steps
}

// TestNested has the zone above served by the same name servers, which then answer
// from the zone itself and show neither delegation nor glue.
func TestNested(t *testing.T) {
	t.Parallel()
	s := newSetup(t)
	s.company.zones = append(s.company.zones, s.acme)
	for _, z := range []*zonefile{s.com, s.acme} {
		z.remove(t, "acme.example.com. 300 IN NS", "ns1.acme", "ns2.acme")
		z.add(t, "acme.example.com. 300 NS ns.example.com.")
	}
	var got []string
	for _, step := range s.run(t).Steps {
		if step.Zone != "" {
			got = append(got, step.Name+": "+string(step.Status))
		}
	}
	want := []string{"delegation: ok", "server: ok", "server: ok", "soa: ok", "redundancy: warning", "ds: ok", "seen: ok"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestPrivateNames has a zone of one label, as networks have for names of their own.
func TestPrivateNames(t *testing.T) {
	t.Parallel()
	s := newSetup(t)
	s.options.Domain, s.options.Endpoint = "host.corp", Endpoint{}
	s.company.zones = append(s.company.zones, s.zone("corp.", "corp. 300 NS ns.example.com.", "host.corp. 300 A 192.0.2.81"))
	s.zones["."].add(t, "corp. 300 NS ns.example.com.")
	want := Step{Name: "delegation", Zone: "corp", Status: OK, Found: "the root zone delegates it to ns.example.com"}
	report := s.run(t)
	if step := only(t, report, "delegation"); !cmp.Equal(step, want) || report.count(Wrong) > 0 {
		t.Errorf("%v", report.Steps)
	}
}

// TestZoneBetween has a resolver that does not show the zone above: the servers of
// the one further up refer to it.
func TestZoneBetween(t *testing.T) {
	t.Parallel()
	s := newSetup(t)
	soa, err := dns.NewRR("com. 5 SOA ns.tld. hostmaster.tld. 1 3600 600 1209600 5")
	if err != nil {
		t.Fatal(err)
	}
	s.stale["example.com.SOA"] = &dns.Msg{Ns: []dns.RR{soa}}
	if step := only(t, s.run(t), "delegation"); step.Found != zoneSteps[0].Found {
		t.Errorf("%v", step)
	}
}

// TestNoIPv6 is for the machine that reaches no IPv6 address: that is no fault of
// the domain, and is told.
func TestNoIPv6(t *testing.T) {
	t.Parallel()
	s := newSetup(t)
	s.ipv6 = false
	report := s.run(t)
	want := Step{
		Name: "server", Zone: "acme.example.com", Status: Skipped,
		Found: "ns1.acme.example.com (2001:db8::5) could not be checked: this machine does not reach IPv6 addresses",
	}
	found := false
	for _, step := range report.Steps {
		found = found || cmp.Equal(step, want)
	}
	if !found || report.ExitCode() != 0 {
		t.Errorf("exit code %d, and not there: %v\n%v", report.ExitCode(), want, report.Steps)
	}
}

// TestInterrupt ends a check as soon as it has written: what it wrote goes.
func TestInterrupt(t *testing.T) {
	for name, prepare := range map[string]func(*setup){
		"domain":  func(*setup) {},
		"service": func(s *setup) { s.local(); s.options.Domain = "" },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSetup(t)
			prepare(s)
			ctx, cancel := context.WithCancel(t.Context())
			s.service.onAppend = cancel
			report, err := Run(ctx, s.options)
			if err != nil {
				t.Fatal(err)
			}
			if len(s.service.left) > 0 {
				t.Errorf("%d values were left behind", len(s.service.left))
			}
			var names []string
			for _, step := range report.Steps {
				names = append(names, step.Name)
			}
			if got := strings.Join(names, " "); !strings.HasSuffix(got, "interrupted") || report.ExitCode() != 2 {
				t.Errorf("exit code %d after the steps %s", report.ExitCode(), got)
			}
		})
	}
}

// TestOutcomeUnknown loses the answer to an append: the record may be there, and
// must not stay.
func TestOutcomeUnknown(t *testing.T) {
	t.Parallel()
	s := newSetup(t)
	s.local()
	s.options.Running = lossy{fakeRunning{fakeService: s.service}}
	if report := s.run(t); report.Outcome != Wrong {
		t.Errorf("outcome %s", report.Outcome)
	}
}

// lossy is a service whose answers to appends are lost.
type lossy struct{ fakeRunning }

func (l lossy) Change(ctx context.Context, zone string, change api.Change) (api.Records, error) {
	answer, err := l.fakeRunning.Change(ctx, zone, change)
	if change.Append != nil {
		return api.Records{}, errors.New("unexpected EOF")
	}
	return answer, err
}

// TestLeftBehind says what to remove by hand.
func TestLeftBehind(t *testing.T) {
	t.Parallel()
	s := newSetup(t)
	s.service.failDelete = true
	report, err := Run(t.Context(), s.options)
	if err != nil {
		t.Fatal(err)
	}
	last := report.Steps[len(report.Steps)-1]
	want := Step{
		Name: "removed", Status: Wrong,
		Found: "what was written could not be removed: its DNS provider failed",
		Do:    "remove it by hand (the built-in name server removes it by itself, after the zone's challenge_lifetime):",
	}
	for value := range s.service.left {
		want.Lines = append(want.Lines, `www.example.org.acme.example.com. TXT "`+value+`"`)
	}
	if diff := cmp.Diff(want, last); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestCannotBegin has options with which nothing can be checked.
func TestCannotBegin(t *testing.T) {
	for name, options := range map[string]Options{
		"no resolver":       {Domain: "www.example.org"},
		"one label":         {Domain: "localhost", Resolvers: []string{resolverAddress}},
		"no host name":      {Domain: "_dmarc.example.org", Resolvers: []string{resolverAddress}},
		"two wildcards":     {Domain: "*.*.example.org", Resolvers: []string{resolverAddress}},
		"an empty label":    {Domain: "www..example.org", Resolvers: []string{resolverAddress}},
		"too long a domain": {Domain: strings.Repeat("a23456789.", 25) + "org", Resolvers: []string{resolverAddress}},
	} {
		if report, err := Run(t.Context(), options); err == nil {
			t.Errorf("%s: %v", name, report)
		}
	}
}

// TestNoDomain gives what is no domain and what somebody may take for one.
func TestNoDomain(t *testing.T) {
	for text, want := range map[string]string{
		"192.0.2.1":                       "is an address",
		"2001:db8::1":                     "is an address",
		"_acme-challenge.www.example.org": `give the domain, "www.example.org"`,
		"https://www.example.org":         "two labels or more",
	} {
		if _, err := Run(t.Context(), Options{Domain: text, Resolvers: []string{resolverAddress}}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", text, err)
		}
	}
}

// TestPatience has a record arrive late: that is told, with the delay to set.
func TestPatience(t *testing.T) {
	t.Parallel()
	s := newSetup(t)
	s.options.arrivalTimeout = 10 * time.Second
	s.second.late = int(2*time.Second/(300*time.Millisecond)) + 1
	if step := only(t, s.run(t), "seen"); step.Status != Warning || !strings.HasPrefix(step.Lines[0], "propagation_delay ") {
		t.Errorf("%v", step)
	}
}

// only returns the step of that name, of which there has to be one.
func only(t *testing.T, r *Report, name string) (found Step) {
	t.Helper()
	n := 0
	for _, step := range r.Steps {
		if step.Name == name {
			found = step
			n++
		}
	}
	if n != 1 {
		t.Fatalf("%d steps %q in %v", n, name, r.Steps)
	}
	return found
}
