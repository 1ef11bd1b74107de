package check

import (
	"testing"

	"github.com/miekg/dns"
)

// brokenDomain is what is wrong with the domain and the view of it.
var brokenDomain = []breakage{
	{
		name: "CAA for another CA",
		breakIt: func(t *testing.T, s *setup) {
			s.org.add(t, `example.org. 300 CAA 0 issue "ca.example.net"`)
		},
		want: []Step{
			{
				Name: "caa", Status: Wrong,
				Found: `the CAA records at example.org do not let letsencrypt.org issue: there is issue "ca.example.net"`,
				Do:    "add this record at example.org, beside the others:",
				Lines: []string{`example.org. CAA 0 issue "letsencrypt.org"`},
			},
		},
	},
	{
		name: "CAA by another method",
		breakIt: func(t *testing.T, s *setup) {
			s.org.add(t, `example.org. 300 CAA 0 issue "letsencrypt.org; validationmethods=http-01"`)
		},
		want: []Step{
			{
				Name: "caa", Status: Wrong,
				Found: "the CAA records at example.org let letsencrypt.org issue, but not by dns-01",
				Do:    "change the record at example.org to:",
				Lines: []string{`example.org. CAA 0 issue "letsencrypt.org; validationmethods=http-01,dns-01"`},
			},
		},
	},
	{
		name: "CAA for another account",
		breakIt: func(t *testing.T, s *setup) {
			s.org.add(t, `www.example.org. 300 CAA 0 issue "letsencrypt.org; accounturi=https://acme.example/acct/1"`)
			s.options.Accounts = []string{"https://acme.example/acct/2"}
		},
		want: []Step{
			{
				Name: "caa", Status: Wrong,
				Found: "the CAA records at www.example.org let letsencrypt.org issue for the ACME account https://acme.example/acct/1 only, and the account in use is https://acme.example/acct/2",
				Do:    "add this record at www.example.org (or replace the other with it):",
				Lines: []string{`www.example.org. CAA 0 issue "letsencrypt.org; accounturi=https://acme.example/acct/2"`},
			},
		},
	},
	{
		name: "CAA for an account, ours unknown",
		breakIt: func(t *testing.T, s *setup) {
			s.org.add(t, `www.example.org. 300 CAA 0 issue "letsencrypt.org; accounturi=https://acme.example/acct/1"`)
		},
		want: []Step{
			{
				Name: "caa", Status: Warning,
				Found: "the CAA records at www.example.org allow letsencrypt.org, for the ACME account https://acme.example/acct/1",
				Do:    "see that it is the account in use (--account-uri has it compared): find it in the log",
			},
		},
	},
	{
		name: "CAA against wildcards",
		breakIt: func(t *testing.T, s *setup) {
			s.options.Domain = "*.www.example.org"
			s.org.add(t, `example.org. 300 CAA 0 issue "letsencrypt.org"`, `example.org. 300 CAA 0 issuewild ";"`)
		},
		want: []Step{
			{
				Name: "caa", Status: Wrong,
				Found: `the CAA records at example.org do not let letsencrypt.org issue: there is issuewild ";"`,
				Do:    "add this record at example.org, beside the others:",
				Lines: []string{`example.org. CAA 0 issuewild "letsencrypt.org"`},
			},
		},
	},
	{
		name: "CAA with a critical property",
		breakIt: func(t *testing.T, s *setup) {
			s.org.add(t, `example.org. 300 CAA 0 issue "letsencrypt.org"`, `example.org. 300 CAA 128 tbs "unknown"`)
		},
		want: []Step{
			{
				Name: "caa", Status: Wrong,
				Found: `the CAA records at example.org have a critical property "tbs" that CAs do not know, and so none may issue`,
				Do:    "remove this record at example.org, or its critical flag:",
				Lines: []string{`example.org. CAA 128 tbs "unknown"`},
			},
		},
	},
	{
		name: "CAA cannot be looked up",
		breakIt: func(_ *testing.T, s *setup) {
			s.stale["www.example.org.CAA"] = &dns.Msg{MsgHdr: dns.MsgHdr{Rcode: dns.RcodeServerFailure}}
		},
		want: []Step{
			{
				Name: "caa", Status: Wrong,
				Found: "the CAA records cannot be looked up, and a CA that cannot either issues nothing: the resolver answers SERVFAIL for www.example.org CAA",
				Do:    "see that the name servers of the domain, and of the zones above it, answer questions of type CAA (NOERROR or NXDOMAIN, where there are none)",
			},
		},
	},
	{
		name:    "CNAME missing",
		breakIt: func(t *testing.T, s *setup) { s.org.remove(t, "_acme-challenge.www") },
		want: []Step{
			noCNAME,
			notResolved,
		},
	},
	{
		name: "CNAME elsewhere",
		breakIt: func(t *testing.T, s *setup) {
			s.org.remove(t, "_acme-challenge.www")
			s.org.add(t, "_acme-challenge.www.example.org. 300 CNAME www.example.org.old.example.com.")
		},
		want: []Step{
			{
				Name: "cname", Status: Wrong,
				Found: "_acme-challenge.www.example.org → www.example.org.old.example.com: that is elsewhere than at www.example.org.acme.example.com, where the service writes",
				Do:    "replace the CNAME, where www.example.org is hosted, by:",
				Lines: []string{"_acme-challenge.www.example.org. CNAME www.example.org.acme.example.com."},
			},
			notResolved,
		},
	},
	{
		name: "CNAMEs in a circle",
		breakIt: func(t *testing.T, s *setup) {
			s.org.remove(t, "_acme-challenge.www")
			s.org.add(t, "_acme-challenge.www.example.org. 300 CNAME other.example.org.", "other.example.org. 300 CNAME _acme-challenge.www.example.org.")
		},
		want: []Step{
			{
				Name: "cname", Status: Wrong,
				Found: "the CNAMEs from _acme-challenge.www.example.org lead in a circle, or too far, by _acme-challenge.www.example.org",
				Do:    "this is the record to create where www.example.org is hosted:",
				Lines: []string{"_acme-challenge.www.example.org. CNAME www.example.org.acme.example.com."},
			},
			resolverFails,
		},
	},
	{
		name: "CNAME at a hosted name",
		breakIt: func(t *testing.T, s *setup) {
			s.options.Domain = "host.acme.example.com"
			s.acme.add(t, "_acme-challenge.host.acme.example.com. 300 CNAME elsewhere.example.org.")
		},
		want: []Step{
			{
				Name: "cname", Status: Wrong,
				Found: "_acme-challenge.host.acme.example.com → elsewhere.example.org: the CA looks there, and the service writes at _acme-challenge.host.acme.example.com itself",
				Do:    "remove this record, for the service hosts the name:",
				Lines: []string{"_acme-challenge.host.acme.example.com. CNAME elsewhere.example.org."},
			},
		},
	},
	{
		name: "CNAME missing, token without the right",
		breakIt: func(t *testing.T, s *setup) {
			s.org.remove(t, "_acme-challenge.www")
			s.service.who.Rights = nil
			s.options.Hosted = s.service.hosted
		},
		want: []Step{
			noRight,
			noCNAME,
		},
	},
	{
		name: "no such domain",
		breakIt: func(_ *testing.T, s *setup) {
			s.options.Domain, s.options.Endpoint = "www.exmaple.org", Endpoint{}
		},
		want: []Step{
			{
				Name: "delegation", Status: Wrong,
				Found: "no zone holds _acme-challenge.www.exmaple.org: the first that exists above it is org",
				Do:    "see that the domain is written right, registered, and delegated to name servers by its registrar",
			},
		},
	},
	{
		name:    "no resolver",
		breakIt: func(_ *testing.T, s *setup) { s.options.Resolvers = []string{"192.0.2.254:53"} },
		want: []Step{
			{
				Name: "resolver", Status: Unknown,
				Found: "no answer from 192.0.2.254:53",
				Do:    "name a resolver that this machine can reach with --resolver ADDRESS",
			},
		},
	},
}
