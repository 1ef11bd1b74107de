package service

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/caddy-dns/bestdns/internal/persist"
)

// runPersist runs "caddy bestdns persist" with the given arguments.
func runPersist(t *testing.T, args ...string) (out, warnings string, err error) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	cmd := persistCommand()
	cmd.SetOut(&stdout)
	cmd.SetErr(&stderr)
	cmd.SetArgs(args)
	cmd.SetContext(t.Context())
	cmd.SilenceUsage, cmd.SilenceErrors = true, true
	err = cmd.Execute()
	return stdout.String(), stderr.String(), err
}

const someAccount = "https://acme-v02.api.letsencrypt.org/acme/acct/1234"

// TestPersistPrints has what is printed without a service.
func TestPersistPrints(t *testing.T) {
	out, warnings, err := runPersist(t, "example.org", "--account", someAccount)
	want := `To let letsencrypt.org issue certificates for example.org to this account at any time, without a
challenge, create where example.org is hosted:

	_validation-persist.example.org. IN TXT "letsencrypt.org; accounturi=https://acme-v02.api.letsencrypt.org/acme/acct/1234"

It never expires; --until sets a last day. As long as the record is there,
anyone with the account's key can obtain certificates.

With --write, a service that hosts the domain creates it, for a client that has the right:

	persist example.org

To revoke it, delete the record, by hand or with:

	caddy bestdns persist example.org --account https://acme-v02.api.letsencrypt.org/acme/acct/1234 --remove
`
	if diff := cmp.Diff(want, out); diff != "" || warnings != "" || err != nil {
		t.Errorf("%v %q (-want +got):\n%s", err, warnings, diff)
	}

	long := "https://ca.example/" + strings.Repeat("x", 300)
	for _, test := range []struct {
		name string
		args []string
		want []string
	}{
		{
			"all flags", []string{"www.example.org", "--account", "https://localhost:14000/my-account/1?a=b", "--issuer", "Pebble.LetsEncrypt.org.", "--wildcard", "--until", "2099-06-30", "--ttl", "1h"},
			[]string{
				"let pebble.letsencrypt.org issue certificates for www.example.org and *.www.example.org to",
				`_validation-persist.www.example.org. 3600 IN TXT "pebble.letsencrypt.org; accounturi=https://localhost:14000/my-account/1?a=b; policy=wildcard; persistUntil=4086547199"`,
				"It expires after 2099-06-30 (UTC).",
				"--account 'https://localhost:14000/my-account/1?a=b' --issuer pebble.letsencrypt.org --wildcard --until 2099-06-30 --remove\n",
			},
		},
		{"a wildcard", []string{"*.Example.ORG.", "--account", someAccount}, []string{`_validation-persist.example.org. IN TXT "letsencrypt.org; accounturi=` + someAccount + `; policy=wildcard"`}},
		{"an IDN", []string{"*.bücher.example", "--account", someAccount, "--issuer", "bücher.example"}, []string{`_validation-persist.xn--bcher-kva.example. IN TXT "xn--bcher-kva.example; accounturi=`}},
		{
			"longer than a string", []string{"example.org", "--account", long},
			[]string{`TXT "` + ("letsencrypt.org; accounturi=" + long)[:255] + `" "` + ("letsencrypt.org; accounturi=" + long)[255:] + `"`},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			out, _, err := runPersist(t, test.args...)
			if err != nil {
				t.Fatal(err)
			}
			for _, part := range test.want {
				if !strings.Contains(out, part) {
					t.Errorf("not there: %q\n%s", part, out)
				}
			}
		})
	}
}

func TestPersistUntil(t *testing.T) {
	now := time.Date(2027, 6, 30, 12, 0, 0, 0, time.UTC)
	for _, test := range []struct {
		until  string
		remove bool
		want   time.Time
		err    string
	}{
		{"", false, time.Time{}, ""},
		{"2027-06-30", false, time.Date(2027, 6, 30, 23, 59, 59, 0, time.UTC), ""},
		{"2027-06-29", false, time.Time{}, "2027-06-29 is over"},
		{"2027-06-29", true, time.Date(2027, 6, 29, 23, 59, 59, 0, time.UTC), ""},
		{"30.6.2027", false, time.Time{}, "not a day in the form"},
	} {
		o := persistOptions{domain: "example.org", account: someAccount, issuer: defaultIssuer, until: test.until, remove: test.remove}
		s, err := o.standing(now)
		if (err == nil) != (test.err == "") || err != nil && !strings.Contains(err.Error(), test.err) || err == nil && !s.Until.Equal(test.want) {
			t.Errorf("%+v: %s, %v", test, s.Until, err)
		}
	}
}

func TestPersistBadInput(t *testing.T) {
	t.Setenv("BESTDNS_ENDPOINT", "")
	t.Setenv("BESTDNS_API_TOKEN", "")
	for name, test := range map[string]struct {
		args []string
		want string
	}{
		"no domain":             {nil, "DOMAIN is missing"},
		"no account":            {[]string{"example.org"}, "--account"},
		"no URL":                {[]string{"example.org", "--account", "1234"}, "not an https URL"},
		"no https":              {[]string{"example.org", "--account", "http://ca.example/1"}, "http URL"},
		"no CA":                 {[]string{"example.org", "--account", someAccount, "--issuer", "Let's Encrypt"}, "domain name of a CA"},
		"no day":                {[]string{"example.org", "--account", someAccount, "--until", "soon"}, "soon"},
		"a day that is over":    {[]string{"example.org", "--account", someAccount, "--until", "2020-01-01"}, "2020-01-01 is over"},
		"one label":             {[]string{"localhost", "--account", someAccount}, "two labels or more"},
		"an address":            {[]string{"192.0.2.1", "--account", someAccount}, "two labels or more"},
		"the record's own name": {[]string{"_validation-persist.example.org", "--account", someAccount}, "two labels or more"},
		"two wildcards":         {[]string{"*.*.example.org", "--account", someAccount}, "two labels or more"},
		"too long":              {[]string{strings.Repeat("a.", 120) + "org", "--account", someAccount}, "255"},
		"a negative TTL":        {[]string{"example.org", "--account", someAccount, "--ttl", "-1s"}, "TTL"},
		"a part of a second":    {[]string{"example.org", "--account", someAccount, "--ttl", "1500ms"}, "TTL"},
		"both":                  {[]string{"example.org", "--account", someAccount, "--write", "--remove"}, "write"},
		"no service":            {[]string{"example.org", "--account", someAccount, "--write"}, "BESTDNS_ENDPOINT"},
		"no token":              {[]string{"example.org", "--account", someAccount, "--remove", "--endpoint", "http://127.0.0.1:1"}, "--token-file"},
		"no token's file":       {[]string{"example.org", "--remove", "--endpoint", "http://127.0.0.1:1", "--token-file", "/nonexistent/token"}, "/nonexistent/token"},
		"one CA of all":         {[]string{"example.org", "--remove", "--issuer", "ca.example"}, "--issuer says that one is meant"},
		"wildcards of all":      {[]string{"*.example.org", "--remove"}, "write example.org without *."},
	} {
		t.Run(name, func(t *testing.T) {
			out, _, err := runPersist(t, test.args...)
			if err == nil || !strings.Contains(err.Error(), test.want) || out != "" {
				t.Errorf("got %v, want it to say %q\n%s", err, test.want, out)
			}
		})
	}
}

// TestPersistWrites has a service write permissions and delete them.
func TestPersistWrites(t *testing.T) {
	s := newService(t)
	s.load(t, strings.Replace(s.standard(), "certificates web1.example.test", "persist web1.example.test\n\t\t\tcertificates web1.example.test", 1))
	t.Setenv("BESTDNS_ENDPOINT", s.api)
	t.Setenv("BESTDNS_API_TOKEN", s.token["web1"])
	const owner = "_validation-persist.web1.example.test"
	texts := func() []string {
		var all []string
		for _, r := range s.call(t, "ops", "GET", "/v1/zones/"+owner+"/records?type=TXT", "").records {
			all = append(all, *r.Data)
		}
		return all
	}
	value := persist.Permission{Issuer: "letsencrypt.org", Account: someAccount, Wildcard: true}.Value()

	args := []string{"*.web1.example.test", "--account", someAccount, "--resolver", s.dns}
	out, warnings, err := runPersist(t, append(args, "--write", "--ttl", "5m")...)
	if err != nil || warnings != "" {
		t.Fatalf("%v %s", err, warnings)
	}
	want := "Written at " + owner + ", in the zone example.test of " + s.api + ":\n\n\t" + owner + `. 300 IN TXT "` + value + `"

A resolver has it, as a CA would see it.

letsencrypt.org can issue certificates for web1.example.test and *.web1.example.test to the account from now on. To revoke that:

	caddy bestdns persist web1.example.test --account ` + someAccount + " --wildcard --remove\n"
	if diff := cmp.Diff(want, out); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{value}, texts()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}

	// One that is not exactly the same is another one.
	if out, _, err := runPersist(t, "web1.example.test", "--account", someAccount, "--remove"); err == nil || !strings.Contains(err.Error(), "there is no such record") {
		t.Errorf("%v\n%s", err, out)
	}
	file := write(t, s.token["web1"]+"\n")
	t.Setenv("BESTDNS_API_TOKEN", "")
	out, _, err = runPersist(t, append(args, "--remove", "--endpoint", s.api, "--token-file", file)...)
	if err != nil || !strings.HasPrefix(out, "Deleted:\n\n\t"+owner+`. IN TXT "`+value+"\"\n") || texts() != nil {
		t.Errorf("%v, left %q\n%s", err, texts(), out)
	}

	// All, those that cannot be read included. What is at names below stays.
	body := `{"append":[{"name":"@","type":"TXT","data":"ca.example; accounturi=https://ca.example/1"},{"name":"@","type":"TXT","data":"é"},
		{"name":"below","type":"TXT","data":"x"}]}`
	if a := s.call(t, "ops", "PATCH", "/v1/zones/"+owner+"/records", body); a.status != 200 {
		t.Fatalf("%+v", a)
	}
	all := []string{"web1.example.test", "--remove", "--token", s.token["web1"]}
	out, _, err = runPersist(t, all...)
	if err != nil || !strings.Contains(out, "\tca.example; accounturi=https://ca.example/1\n") || !strings.Contains(out, "\té\n\t\t(not readable: it does not begin with the domain name of a CA)\n") || !strings.Contains(out, "\nDeleted: 2.\n") {
		t.Errorf("%v\n%s", err, out)
	}
	if diff := cmp.Diff([]string{"x"}, texts()); diff != "" {
		t.Errorf("what is left (-want +got):\n%s", diff)
	}
	if out, _, err = runPersist(t, all...); err != nil || out != "There is no standing permission at "+owner+".\n" {
		t.Errorf("%v\n%s", err, out)
	}

	// Without the right.
	if _, _, err = runPersist(t, "elsewhere.test", "--account", someAccount, "--write", "--token", s.token["web1"]); err == nil || strings.Contains(err.Error(), "appending") ||
		!strings.Contains(err.Error(), s.api+` has no zone that holds elsewhere.test, or its client no right "persist elsewhere.test" (request `) ||
		!strings.HasSuffix(err.Error(), "follows no CNAME for that: create it by hand where the domain is hosted:\n\n\t_validation-persist.elsewhere.test. IN TXT \"letsencrypt.org; accounturi="+someAccount+"\"") {
		t.Errorf("in a zone that is not hosted: %v", err)
	}
	for _, args := range [][]string{{"--account", someAccount}, nil} {
		_, _, err := runPersist(t, append([]string{"elsewhere.test", "--remove", "--token", s.token["web1"]}, args...)...)
		if err == nil || !strings.Contains(err.Error(), "by hand where the domain is hosted") {
			t.Errorf("removing %v from a zone that is not hosted: %v", args, err)
		}
	}
	if _, _, err = runPersist(t, "example.test", "--account", someAccount, "--write", "--token", s.token["web1"]); err == nil || !strings.Contains(err.Error(), "may not") {
		t.Errorf("without the right: %v", err)
	}
	if err != nil && strings.Contains(err.Error(), s.token["web1"]) {
		t.Error("the token is in the error")
	}
}

// TestPersistUnseen has a resolver that does not have what is written.
func TestPersistUnseen(t *testing.T) {
	s := newService(t)
	s.load(t, s.standard())
	o := persistOptions{domain: "web1.example.test", account: someAccount, issuer: defaultIssuer, seenTimeout: time.Millisecond}
	o.api = clientFlags{endpoint: s.api, token: s.token["ops"]}
	p, err := o.standing(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	o.resolvers = []string{freeAddress(t)}
	var out, warnings bytes.Buffer
	if err := o.writeRecord(t.Context(), &out, &warnings, p); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(warnings.String(), "a resolver does not have it yet (") || !strings.Contains(warnings.String(), "caddy bestdns check web1.example.test") || strings.Contains(out.String(), "as a CA would") {
		t.Errorf("%s\n%s", out.String(), warnings.String())
	}
}
