package check

import (
	"context"
	"errors"
	"fmt"
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
		{"a primary on another port", HostedZone{Provider: "primary 192.0.2.5", Primary: []string{"192.0.2.5:5353"}, Notify: []string{"192.0.2.7"}}, Warning, "have the service do so", "notify " + late},
		{"built in", HostedZone{Provider: builtIn}, Warning, "Nothing tells them", "transfer " + late},
		{"built in, told at once", HostedZone{Provider: builtIn, Notify: []string{late}}, Warning, "take their time", "xfrd-reload-timeout: 0"},
		{"told at once", HostedZone{Provider: "primary 192.0.2.5", Primary: []string{"192.0.2.5"}, Notify: []string{late}}, Warning, "take their time", "xfrd-reload-timeout: 0"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := newSetup(t)
			s.options.arrivalTimeout = 10 * time.Second
			s.named["ns2"].late = 50 // answers, of which there are 40 in a second at most
			if test.zone.Name = "acme.example.com."; test.zone.Provider != "" {
				test.zone.Provider = strings.TrimPrefix(test.zone.Provider, builtIn)
				s.options.Hosted = []HostedZone{test.zone}
			}
			step := only(t, s.run(t), "seen")
			if step.Status != test.status || !strings.Contains(step.Do, test.do) || strings.Join(step.Lines, " ") != test.line || !strings.Contains(step.Found, late) {
				t.Errorf("%v", step)
			}
		})
	}
}

// builtIn is the provider of zones of which the configuration is known, and which have none.
const builtIn = "built-in"

// TestOldCopy has a secondary that the service notifies keep its copy of the zone.
func TestOldCopy(t *testing.T) {
	t.Parallel()
	s := newSetup(t)
	s.options.Hosted = []HostedZone{{Name: "acme.example.com.", Provider: "primary 192.0.2.5", Primary: []string{"192.0.2.5:5353", "127.0.0.1"}, Notify: []string{"192.0.2.6"}}}
	s.named["ns2"].old = true
	step := only(t, s.run(t), "seen")
	want := []string{"    address: [ 192.0.2.5, <address of this machine> ]", "    action: notify", "allow-notify { 192.0.2.5; <address of this machine>; };", "allow-notify: 192.0.2.5 NOKEY"}
	for _, line := range want {
		if step.Status != Wrong || !slices.Contains(step.Lines, line) {
			t.Errorf("not there: %q: %v", line, step)
		}
	}
}

// TestSecondChange has a server that is told of changes serve the second one late.
func TestSecondChange(t *testing.T) {
	for _, told := range []bool{true, false} {
		t.Run(fmt.Sprintf("told %v", told), func(t *testing.T) {
			t.Parallel()
			s := newSetup(t)
			s.options.Domain, s.options.Endpoint = "", Endpoint{}
			s.options.Running = fakeRunning{fakeService: s.service}
			s.options.arrivalTimeout = 10 * time.Second
			s.service.hosted[0].Provider = "primary 192.0.2.5"
			if told {
				s.service.hosted[0].Notify = []string{"192.0.2.6"}
			}
			appended := 0
			s.service.onAppend = func() {
				if appended++; appended == 2 {
					s.named["ns2"].late = 50 // answers, of which there are 40 in a second at most
				}
			}
			r := s.run(t)
			found := slices.ContainsFunc(r.Steps, func(step Step) bool {
				return step.Name == "again" && step.Status == Warning && slices.Equal(step.Lines, []string{"xfrd-reload-timeout: 0"})
			})
			if found != told {
				t.Errorf("%v", r.Steps)
			}
			if step := only(t, r, "cache"); step.Status != OK {
				t.Errorf("%v", step)
			}
		})
	}
}

// TestPrimaryRefuses has the primary allow the key one thing and not the other.
func TestPrimaryRefuses(t *testing.T) {
	for _, test := range []struct {
		step   string
		refuse func(*fakeService)
		key    string
		lines  []string
	}{
		{"write", func(f *fakeService) { f.failAppend = api.PrimaryRefuses }, "bestdns", []string{
			"    action: [ update, transfer ]", "update-policy { grant bestdns zonesub TXT; };", "pdnsutil set-meta acme.example.com TSIG-ALLOW-DNSUPDATE bestdns",
		}},
		{"read back", func(f *fakeService) { f.failRead = api.PrimaryRefuses }, "bestdns", []string{
			"    key: bestdns", "allow-transfer { key bestdns; };", "pdnsutil set-meta acme.example.com TSIG-ALLOW-AXFR bestdns",
		}},
		{"write", func(f *fakeService) { f.failAppend = api.PrimaryRefuses }, "", nil},
	} {
		t.Run(test.step+" "+test.key, func(t *testing.T) {
			t.Parallel()
			s := newSetup(t)
			s.options.Domain, s.options.Endpoint = "", Endpoint{}
			s.options.Running = fakeRunning{fakeService: s.service}
			s.service.hosted[0].Provider, s.service.hosted[0].Key = "primary 192.0.2.5", test.key
			test.refuse(s.service)
			step := only(t, s.run(t), test.step)
			if step.Status != Wrong || len(test.lines) == 0 && len(step.Lines) > 0 {
				t.Errorf("%v", step)
			}
			for _, line := range test.lines {
				if !slices.Contains(step.Lines, line) {
					t.Errorf("not there: %q: %v", line, step)
				}
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
