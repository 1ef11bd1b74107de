package check

import "fmt"

// Steps with which setups end that are broken in different ways.
var (
	notResolved = Step{
		Name: "resolved", Status: Wrong,
		Found: "the resolver answers NXDOMAIN for _acme-challenge.www.example.org TXT, and what was written is not in it",
		Do:    "mend what is wrong above, from which this follows",
	}
	resolverFails = Step{
		Name: "resolved", Status: Wrong,
		Found: "the resolver answers SERVFAIL for _acme-challenge.www.example.org TXT",
		Do:    "mend what is wrong above; if nothing is, look at the zone's name servers from where the resolver is",
	}
	noRight = Step{
		Name: "right", Status: Wrong,
		Found: `client "web" has no right to certificates of www.example.org`,
		Do:    "add the right to the client's block in the service's configuration, and reload:",
		Lines: []string{"client web {", "\tcertificates www.example.org", "}"},
	}
	noCNAME = Step{
		Name: "cname", Status: Wrong,
		Found: "_acme-challenge.www.example.org has no CNAME, so no one finds the challenges that the service writes at www.example.org.acme.example.com",
		Do:    "create this record where www.example.org is hosted:",
		Lines: []string{"_acme-challenge.www.example.org. CNAME www.example.org.acme.example.com."},
	}
	singleServer = Step{
		Name: "redundancy", Zone: "acme.example.com", Status: Warning,
		Found: "it has a single name server, ns1.acme.example.com: while that is down, no certificate of it can be had",
		Do:    "this is enough to begin with; for more, host the zone with DNS servers of which there are two (provider in its block), or add one in both zones:",
		Lines: []string{"acme.example.com. NS <second name server>"},
	}
)

func notDelegated(lines ...string) Step {
	return Step{
		Name: "delegation", Zone: "acme.example.com", Status: Wrong,
		Found: "the zone above, example.com, does not delegate it, so no one finds its name servers",
		Do:    "create these records in the zone example.com:",
		Lines: lines,
	}
}

func glueMissing(lines ...string) Step {
	return Step{
		Name: "glue", Zone: "acme.example.com", Status: Wrong,
		Found: "its name servers are in the zone itself, and the zone above, example.com, has no address (glue) for them, so no one finds the way in",
		Do:    "add this glue in example.com, beside the NS records:",
		Lines: lines,
	}
}

// serverDown is the step about a name server of the zone that says nothing, over
// UDP and TCP for the same reason.
func serverDown(label, address, why string) Step {
	return Step{
		Name: "server", Zone: "acme.example.com", Status: Wrong,
		Found: fmt.Sprintf("%s.acme.example.com (%s): %s over UDP; %s over TCP", label, address, why, why),
		Do:    fmt.Sprintf("start the name server there, have it listen on that address, and let UDP and TCP to port 53 of %s through every firewall (for the built-in name server, the option below); or take the server out of the zone's NS records", address),
		Lines: []string{"listen :53"},
	}
}

// notServed is the step about a second name server that does not have the zone.
func notServed(answers string) Step {
	return Step{
		Name: "server", Zone: "acme.example.com", Status: Wrong,
		Found: "ns2.acme.example.com (192.0.2.6) " + answers,
		Do:    "it does not serve the zone acme.example.com: see that the right program listens on port 53 of 192.0.2.6, and that its configuration has the zone; for the built-in name server:",
		Lines: []string{"zone acme.example.com {", "\tns ns2.acme.example.com 192.0.2.6", "}"},
	}
}
