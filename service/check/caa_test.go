package check

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"
)

func TestCAA(t *testing.T) {
	const (
		ca    = "letsencrypt.org"
		ours  = "https://acme.example/acct/1"
		other = "https://acme.example/acct/2"
	)
	for name, test := range map[string]struct {
		records  string // separated by "|"
		wildcard bool
		accounts []string
		allowed  bool
		line     string
	}{
		"none":                        {allowed: true},
		"the CA":                      {records: `0 issue "letsencrypt.org"`, allowed: true},
		"the CA, in capitals":         {records: `0 ISSUE "LetsEncrypt.ORG"`, allowed: true},
		"the CA, spaced":              {records: `0 issue " letsencrypt.org ; "`, allowed: true},
		"one of two":                  {records: `0 issue "ca.example"|0 issue "letsencrypt.org"`, allowed: true},
		"another":                     {records: `0 issue "ca.example"`, line: `example.org. CAA 0 issue "letsencrypt.org"`},
		"a name above":                {records: `0 issue "org"`, line: `example.org. CAA 0 issue "letsencrypt.org"`},
		"no one":                      {records: `0 issue ";"`, line: `example.org. CAA 0 issue "letsencrypt.org"`},
		"malformed":                   {records: `0 issue "letsencrypt.org; what"`, line: `example.org. CAA 0 issue "letsencrypt.org"`},
		"a report address alone":      {records: `0 iodef "mailto:a@example.org"`, allowed: true},
		"issuewild for no wildcard":   {records: `0 issuewild ";"`, allowed: true},
		"issuewild for a wildcard":    {records: `0 issue "letsencrypt.org"|0 issuewild "ca.example"`, wildcard: true, line: `example.org. CAA 0 issuewild "letsencrypt.org"`},
		"issue for a wildcard":        {records: `0 issue "letsencrypt.org"`, wildcard: true, allowed: true},
		"issuewild goes before issue": {records: `0 issue ";"|0 issuewild "letsencrypt.org"`, wildcard: true, allowed: true},
		"critical, known":             {records: `128 issue "letsencrypt.org"`, allowed: true},
		"critical, unknown":           {records: `0 issue "letsencrypt.org"|128 tbs "x"`, line: `example.org. CAA 128 tbs "x"`},
		"not critical, unknown":       {records: `0 issue "letsencrypt.org"|0 tbs "x"`, allowed: true},
		"method":                      {records: `0 issue "letsencrypt.org; validationmethods=http-01,dns-01"`, allowed: true},
		"another method":              {records: `0 issue "letsencrypt.org; validationmethods=http-01"`, line: `example.org. CAA 0 issue "letsencrypt.org; validationmethods=http-01,dns-01"`},
		"another method beside ours":  {records: `0 issue "letsencrypt.org; validationmethods=http-01"|0 issue "letsencrypt.org; validationmethods=dns-01"`, allowed: true},
		"methods twice":               {records: `0 issue "letsencrypt.org; validationmethods=dns-01; validationmethods=dns-01"`, line: `example.org. CAA 0 issue "letsencrypt.org"`},
		"our account":                 {records: `0 issue "letsencrypt.org; accounturi=` + ours + `"`, accounts: []string{ours}, allowed: true},
		"an account, ours unknown":    {records: `0 issue "letsencrypt.org; accounturi=` + other + `"`, allowed: true},
		"another account":             {records: `0 issue "letsencrypt.org; accounturi=` + other + `; validationmethods=dns-01"`, accounts: []string{ours}, line: `example.org. CAA 0 issue "letsencrypt.org; accounturi=` + ours + `; validationmethods=dns-01"`},
	} {
		t.Run(name, func(t *testing.T) {
			set := caaSet{owner: "example.org."}
			for text := range strings.SplitSeq(test.records, "|") {
				if text == "" {
					continue
				}
				rr, err := dns.NewRR("example.org. 300 CAA " + text)
				if err != nil {
					t.Fatal(err)
				}
				set.records = append(set.records, rr.(*dns.CAA))
			}
			step, _ := set.decide(ca, test.wildcard, test.accounts)
			allowed := step.Status == OK
			if line := strings.Join(step.Lines, "|"); allowed != test.allowed || line != test.line || (step.Do == "") != allowed {
				t.Errorf("%s: %s\n%s %s", step.Status, step.Found, step.Do, line)
			}
		})
	}
}

// FuzzIssuer holds that what is read from a CAA record is written as the same again.
func FuzzIssuer(f *testing.F) {
	for _, value := range []string{"", ";", "letsencrypt.org", " ca.example ; a=b;c = d ; ", "ca.example; =", "ca.example; a=b; a=c", "; a=b"} {
		f.Add(value)
	}
	f.Fuzz(func(t *testing.T, value string) {
		first, ok := parseIssuer(value)
		if !ok {
			return
		}
		again, ok := parseIssuer(first.String())
		if diff := cmp.Diff(first, again, cmp.AllowUnexported(issuer{})); !ok || diff != "" {
			t.Errorf("%q is written as %q (-first +again):\n%s", value, first, diff)
		}
	})
}
