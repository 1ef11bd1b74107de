package check

import "testing"

// brokenDelegation is what is wrong with the way from the zone above.
var brokenDelegation = []breakage{
	{
		name: "not delegated",
		breakIt: func(t *testing.T, s *setup) {
			s.com.remove(t, "acme.example.com. 300 IN NS", "ns1.acme", "ns2.acme")
			s.options.Hosted = s.service.hosted
		},
		want: []Step{
			notDelegated("acme.example.com. NS ns1.acme.example.com.", "acme.example.com. NS ns2.acme.example.com.", "ns1.acme.example.com. A 192.0.2.5", "ns1.acme.example.com. AAAA 2001:db8::5", "ns2.acme.example.com. A 192.0.2.6"),
			notResolved,
		},
	},
	{
		name: "not delegated, name server where the API is",
		breakIt: func(t *testing.T, s *setup) {
			s.com.remove(t, "acme.example.com. 300 IN NS", "ns1.acme", "ns2.acme")
			s.servers["127.0.0.1"] = s.first
		},
		want: []Step{notDelegated("acme.example.com. NS ns1.acme.example.com.", "acme.example.com. NS ns2.acme.example.com.", "ns1.acme.example.com. A 192.0.2.5", "ns1.acme.example.com. AAAA 2001:db8::5", "ns2.acme.example.com. A 192.0.2.6")},
	},
	{
		name: "not delegated, and nothing known",
		breakIt: func(t *testing.T, s *setup) {
			s.com.remove(t, "acme.example.com. 300 IN NS", "ns1.acme", "ns2.acme")
		},
		want: []Step{notDelegated("acme.example.com. NS <name server of the zone, from its ns lines or its DNS provider>")},
	},
	{
		name: "one parent server without the delegation",
		breakIt: func(t *testing.T, s *setup) {
			old := *s.com
			old.remove(t, "acme.example.com. 300 IN NS")
			s.com.add(t, "example.com. 300 NS ns-old.example.com.", "ns-old.example.com. 300 A 192.0.2.4")
			s.nameserver("192.0.2.4", &old)
		},
		want: []Step{
			{
				Name: "delegation", Zone: "acme.example.com", Status: Wrong,
				Found: "it is delegated to ns1.acme.example.com and ns2.acme.example.com, but ns-old.example.com (192.0.2.4) of the zone above, example.com, does not know of it",
				Do:    "if the delegation is new, wait for it to reach all servers of example.com; else see why that one has an old copy of the zone",
			},
		},
	},
	{
		name: "glue missing",
		breakIt: func(t *testing.T, s *setup) {
			s.com.remove(t, "ns1.acme", "ns2.acme")
			s.options.Hosted = s.service.hosted
		},
		want: []Step{
			glueMissing("ns1.acme.example.com. A 192.0.2.5", "ns1.acme.example.com. AAAA 2001:db8::5", "ns2.acme.example.com. A 192.0.2.6"),
			resolverFails,
		},
	},
	{
		name: "glue missing, and nothing known",
		breakIt: func(t *testing.T, s *setup) {
			s.com.remove(t, "ns1.acme", "ns2.acme")
		},
		want: []Step{glueMissing("ns1.acme.example.com. A <public address of ns1.acme.example.com>", "ns2.acme.example.com. A <public address of ns2.acme.example.com>")},
	},
	{
		name: "glue incomplete",
		breakIt: func(t *testing.T, s *setup) {
			s.com.remove(t, "ns1.acme.example.com. 300 IN AAAA")
		},
		want: []Step{
			{
				Name: "glue", Zone: "acme.example.com", Status: Warning,
				Found: "the zone above, example.com, does not have all addresses of its name servers",
				Do:    "add this glue in example.com:",
				Lines: []string{"ns1.acme.example.com. AAAA 2001:db8::5"},
			},
		},
	},
	{
		name: "glue of another machine",
		breakIt: func(t *testing.T, s *setup) {
			s.com.remove(t, "ns2.acme.example.com. 300 IN A ")
			s.com.add(t, "ns2.acme.example.com. 300 A 192.0.2.99")
		},
		want: []Step{
			{
				Name: "glue", Zone: "acme.example.com", Status: Wrong,
				Found: "the zone above, example.com, has an address for its name server that the zone itself does not: ns2.acme.example.com. A 192.0.2.99",
				Do:    "replace that glue in example.com by these records:",
				Lines: []string{"ns1.acme.example.com. A 192.0.2.5", "ns1.acme.example.com. AAAA 2001:db8::5", "ns2.acme.example.com. A 192.0.2.6"},
			},
			serverDown("ns2", "192.0.2.99", "refused the connection"),
		},
	},
	{
		name: "other name servers at the parent",
		breakIt: func(t *testing.T, s *setup) {
			s.com.remove(t, "acme.example.com. 300 IN NS ns2")
		},
		want: []Step{
			{
				Name: "ns", Zone: "acme.example.com", Status: Warning,
				Found: "the zone above, example.com, names ns1.acme.example.com, and the zone itself ns1.acme.example.com and ns2.acme.example.com",
				Do:    "make the NS records in example.com those of the zone (or change the zone's ns lines):",
				Lines: []string{"acme.example.com. NS ns1.acme.example.com.", "acme.example.com. NS ns2.acme.example.com."},
			},
			singleServer,
		},
	},
	{
		name: "name server without an address",
		breakIt: func(t *testing.T, s *setup) {
			for _, z := range []*zonefile{s.com, s.acme} {
				z.add(t, "acme.example.com. 300 NS ns3.example.org.")
			}
		},
		want: []Step{
			{
				Name: "server", Zone: "acme.example.com", Status: Wrong,
				Found: "the name server ns3.example.org has no address",
				Do:    "create its address record where that name is hosted, or take its NS record out of both zones:",
				Lines: []string{"ns3.example.org. A <address>"},
			},
		},
	},
}
