package check

import (
	"strings"
	"testing"

	"github.com/miekg/dns"
)

// brokenServers is what is wrong with the name servers and with DNSSEC.
var brokenServers = []breakage{
	{
		name:    "name server down",
		breakIt: func(_ *testing.T, s *setup) { s.second.noUDP, s.second.noTCP = true, true },
		want:    []Step{serverDown("ns2", "192.0.2.6", "refused the connection")},
	},
	{
		name: "all name servers down, DNS alone",
		breakIt: func(_ *testing.T, s *setup) {
			s.options.Endpoint = Endpoint{}
			for _, server := range []*nameserver{s.first, s.second} {
				server.noUDP, server.noTCP = true, true
			}
			s.servers["2001:db8::5"] = nil
			s.com.remove(s.t, "ns1.acme.example.com. 300 IN AAAA")
		},
		want: []Step{
			serverDown("ns1", "192.0.2.5", "refused the connection"),
			serverDown("ns2", "192.0.2.6", "refused the connection"),
		},
	},
	{
		name:    "no TCP",
		breakIt: func(_ *testing.T, s *setup) { s.second.noTCP = true },
		want: []Step{
			{
				Name: "server", Zone: "acme.example.com", Status: Wrong,
				Found: "ns2.acme.example.com (192.0.2.6) answers over UDP, but over TCP: refused the connection",
				Do:    "let TCP to port 53 of 192.0.2.6 through every firewall, and have the server listen on it: CAs and resolvers come by TCP where an answer was cut",
				Lines: []string{"listen :53"},
			},
		},
	},
	{
		name:    "no UDP",
		breakIt: func(_ *testing.T, s *setup) { s.second.noUDP = true },
		want: []Step{
			{
				Name: "server", Zone: "acme.example.com", Status: Wrong,
				Found: "ns2.acme.example.com (192.0.2.6) answers over TCP, but over UDP: refused the connection",
				Do:    "let UDP to port 53 of 192.0.2.6 through every firewall, and have the server listen on it",
				Lines: []string{"listen :53"},
			},
		},
	},
	{
		name:    "silent",
		breakIt: func(_ *testing.T, s *setup) { s.second.silent = true },
		want:    []Step{serverDown("ns2", "192.0.2.6", "no answer")},
	},
	{
		name:    "another server there",
		breakIt: func(_ *testing.T, s *setup) { s.second.zones = nil },
		want:    []Step{notServed("answers REFUSED")},
	},
	{
		name:    "a resolver there",
		breakIt: func(_ *testing.T, s *setup) { s.second.lame = true },
		want:    []Step{notServed("answers, but not as an authority for the zone")},
	},
	{
		name:    "IPv6 address wrong",
		breakIt: func(_ *testing.T, s *setup) { delete(s.servers, "2001:db8::5") },
		want:    []Step{serverDown("ns1", "2001:db8::5", "refused the connection")},
	},
	{
		name: "IPv6 address silent, where others answer",
		breakIt: func(_ *testing.T, s *setup) {
			s.nameserver("2001:db8::5").silent = true
		},
		want: []Step{serverDown("ns1", "2001:db8::5", "no answer")},
	},
	{
		name: "all IPv6 addresses silent",
		breakIt: func(_ *testing.T, s *setup) {
			s.nameserver("2001:db8::2 2001:db8::3 2001:db8::5").silent = true
		},
	},
	{
		name:    "no IPv6 on this machine",
		breakIt: func(_ *testing.T, s *setup) { s.ipv6 = false },
	},
	{
		name:    "serials differ",
		breakIt: func(_ *testing.T, s *setup) { s.second.serial = 7 },
		want: []Step{
			{
				Name: "soa", Zone: "acme.example.com", Status: Wrong,
				Found: "the servers have the zone at different serials, so a challenge may be at one and not at another: ns1.acme.example.com (192.0.2.5) has 1, ns1.acme.example.com (2001:db8::5) has 1, ns2.acme.example.com (192.0.2.6) has 7",
				Do:    "see that the primary notifies the others (NOTIFY) and lets them copy the zone (AXFR); until that is quick, let clients wait, beside propagation_timeout -1:",
				Lines: []string{"propagation_delay 30s"},
			},
		},
	},
	{
		name:    "primaries differ",
		breakIt: func(_ *testing.T, s *setup) { s.second.primary = "ns2.primary." },
		want: []Step{
			{
				Name: "soa", Zone: "acme.example.com", Status: Wrong,
				Found: "the servers name different primaries in the SOA record, so they do not serve the same zone: ns1.acme.example.com (192.0.2.5) has ns1.primary, ns1.acme.example.com (2001:db8::5) has ns1.primary, ns2.acme.example.com (192.0.2.6) has ns2.primary",
				Do:    "let one server be the primary and the others copy from it, or take those out of the NS records that do not belong to it",
			},
		},
	},
	{
		name: "single name server",
		breakIt: func(t *testing.T, s *setup) {
			for _, z := range []*zonefile{s.com, s.acme} {
				z.remove(t, "acme.example.com. 300 IN NS ns2")
			}
		},
		want: []Step{singleServer},
	},
	{
		name: "two names of one machine",
		breakIt: func(t *testing.T, s *setup) {
			for _, z := range []*zonefile{s.com, s.acme} {
				z.remove(t, "ns2.acme")
				z.add(t, "ns2.acme.example.com. 300 A 192.0.2.5")
			}
		},
		want: []Step{
			{
				Name: "redundancy", Zone: "acme.example.com", Status: Warning,
				Found: "its name servers ns1.acme.example.com and ns2.acme.example.com are one machine: while that is down, no certificate of it can be had",
				Do:    "this is enough to begin with; for more, host the zone with DNS servers of which there are two (provider in its block), or add one in both zones:",
				Lines: []string{"acme.example.com. NS <second name server>"},
			},
		},
	},
	{
		name: "DS over an unsigned zone",
		breakIt: func(t *testing.T, s *setup) {
			s.com.add(t, "acme.example.com. 300 DS 12345 13 2 "+strings.Repeat("AB", 32))
		},
		want: []Step{
			{
				Name: "ds", Zone: "acme.example.com", Status: Wrong,
				Found: "example.com has a DS record of it, and it is not signed: validating resolvers and CAs refuse all that is in it",
				Do:    "remove from the zone example.com (or at the registrar of the domain):",
				Lines: []string{"acme.example.com. DS 12345 13 2 ABABABABABABABABABABABABABABABABABABABABABABABABABABABABABABABAB"},
			},
			{
				Name: "resolved", Status: Wrong,
				Found: "the resolver answers SERVFAIL for _acme-challenge.www.example.org TXT, and an answer where it is told not to validate: DNSSEC is broken on the way there",
				Do:    "if the step ds is right, it is another zone on that way, such as the domain's own: find it, and have its DS record removed or its keys mended; this shows where it breaks:",
				Lines: []string{"delv +vtrace _acme-challenge.www.example.org TXT"},
			},
		},
	},
	{
		name: "DS of another key",
		breakIt: func(t *testing.T, s *setup) {
			s.com.add(t, "acme.example.com. 300 DS 12345 13 2 "+strings.Repeat("AB", 32))
			s.acme.add(t, "acme.example.com. 300 DNSKEY 257 3 13 mdsswUyr3DPW132mOi8V9xESWE8jTo0dxCjjnopKl+GqJxpVXckHAeF+KkxLbxILfDLUT0rAK9iUzy1L53eKGQ==")
		},
		want: []Step{
			{
				Name: "ds", Zone: "acme.example.com", Status: Wrong,
				Found: "no key of the zone fits the DS records at example.com: validating resolvers and CAs refuse all that is in it",
				Do:    "in the zone example.com (or at the registrar of the domain), replace these by the DS records of the zone's present keys:",
				Lines: []string{"acme.example.com. DS 12345 13 2 ABABABABABABABABABABABABABABABABABABABABABABABABABABABABABABABAB"},
			},
		},
	},
	{
		name: "DS records that the zone above does not tell",
		breakIt: func(t *testing.T, s *setup) {
			s.company.failing = dns.TypeDS
		},
		want: []Step{
			{
				Name: "ds", Zone: "acme.example.com", Status: Unknown,
				Found: "the DS records at example.com could not be read: ns.example.com (192.0.2.3) answers SERVFAIL",
			},
		},
	},
	{
		name: "DNSKEY records that no server tells",
		breakIt: func(t *testing.T, s *setup) {
			s.com.add(t, "acme.example.com. 300 DS 12345 13 2 "+strings.Repeat("AB", 32))
			s.first.failing, s.second.failing = dns.TypeDNSKEY, dns.TypeDNSKEY
		},
		want: []Step{
			{
				Name: "ds", Zone: "acme.example.com", Status: Unknown,
				Found: "example.com has a DS record of it, and its DNSKEY records could not be read: ns2.acme.example.com (192.0.2.6) answers SERVFAIL",
			},
			{
				Name: "resolved", Status: Wrong,
				Found: "the resolver answers SERVFAIL for _acme-challenge.www.example.org TXT, and an answer where it is told not to validate: DNSSEC is broken on the way there",
				Do:    "if the step ds is right, it is another zone on that way, such as the domain's own: find it, and have its DS record removed or its keys mended; this shows where it breaks:",
				Lines: []string{"delv +vtrace _acme-challenge.www.example.org TXT"},
			},
		},
	},
}
