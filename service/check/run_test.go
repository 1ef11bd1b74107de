package check

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddy-dns/bestdns/internal/api"
)

// TestInterrupt ends a check as soon as it has written: what it wrote goes.
func TestInterrupt(t *testing.T) {
	for name, prepare := range map[string]func(*setup){
		"domain":  func(*setup) {},
		"service": func(s *setup) { s.changeService("running"); s.options.Domain = "" },
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
				t.Errorf("%d values were left over", len(s.service.left))
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
	s.changeService("running")
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

// TestNoDomain gives what may be taken for a domain.
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

// TestLateArrival has a record arrive late: the step says so, and what to write.
func TestLateArrival(t *testing.T) {
	t.Parallel()
	const late = "192.0.2.6" // of ns2
	for _, test := range []struct {
		name   string
		zone   HostedZone
		status Status
		do     string
		line   string
	}{
		{"nothing is known of the zone", HostedZone{}, Warning, "changes wait for that. Their primary tells them late", "notify-delay 0;"},
		{"rfc2136", HostedZone{Provider: "rfc2136"}, Warning, "BIND 5 s", "notify-delay 0;"},
		{"an API", HostedZone{Provider: "cloudflare"}, OK, "", ""},
		{"no wait", HostedZone{Provider: "cloudflare", NoWait: true}, Warning, "certificates fail at the first try", "notify-delay 0;"},
		{"primary", HostedZone{Provider: "primary 192.0.2.5", Primary: []string{"192.0.2.5"}}, Warning, "have the service do so", "notify " + late},
		{"told at once", HostedZone{Provider: "primary 192.0.2.5", Primary: []string{"192.0.2.5"}, Notify: []string{late}}, Warning, "take their time", "xfrd-reload-timeout: 0"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := newSetup(t)
			s.options.arrivalTimeout = 10 * time.Second
			s.named["ns2"].late = 50 // answers, of which there are 40 in a second at most
			if test.zone.Name = "acme.example.com."; test.zone.Provider != "" {
				s.options.Hosted = []HostedZone{test.zone}
			}
			step := only(t, s.run(t), "seen")
			if step.Status != test.status || !strings.Contains(step.Do, test.do) || strings.Join(step.Lines, " ") != test.line || !strings.Contains(step.Found, late) {
				t.Errorf("%v", step)
			}
		})
	}
}

// TestCache has a server keep that a name was not there.
func TestCache(t *testing.T) {
	t.Parallel()
	s := newSetup(t)
	s.options.Domain, s.options.Endpoint = "", Endpoint{}
	s.service.hosted[0].Provider = "rfc2136"
	s.options.Running = fakeRunning{fakeService: s.service}
	s.named["ns2"].cache = make(map[string]bool)
	r := s.run(t)
	if step := only(t, r, "cache"); step.Status != Wrong || !strings.Contains(step.Found, "ns2") || strings.Contains(step.Found, "ns1") || !slices.Contains(step.Lines, "negquery-cache-ttl=0") {
		t.Errorf("%v", step)
	}
	if step := only(t, r, "seen"); step.Status != OK {
		t.Errorf("%v", step)
	}
	for _, z := range s.zones {
		if len(z.written) > 0 {
			t.Errorf("left: %v", z.written)
		}
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
