package check

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/miekg/dns"

	"github.com/caddy-dns/bestdns/internal/record"
)

// caaCritical is the flag of a property that a CA must understand (RFC 8659 §4.1).
const caaCritical = 128

// caaKnown are the properties that CAs understand.
var caaKnown = []string{"issue", "issuewild", "issuemail", "iodef"}

// issuer is the value of an issue or issuewild property (RFC 8659 §4.2).
type issuer struct {
	domain string // in lower case; empty: no one
	params map[string]string
}

// parseIssuer reads such a value. One that is malformed lets no one issue.
func parseIssuer(value string) (i issuer, ok bool) {
	domain, rest, more := strings.Cut(value, ";")
	i.domain = strings.ToLower(strings.Trim(domain, " \t"))
	if strings.ContainsAny(i.domain, " \t") {
		return issuer{}, false
	}
	i.params = make(map[string]string)
	for more && strings.Trim(rest, " \t") != "" {
		var param string
		param, rest, more = strings.Cut(rest, ";")
		tag, value, isParam := strings.Cut(param, "=")
		tag, value = strings.ToLower(strings.Trim(tag, " \t")), strings.Trim(value, " \t")
		if !isParam || tag == "" || strings.ContainsAny(tag+value, " \t") {
			return issuer{}, false
		}
		if _, twice := i.params[tag]; twice {
			return issuer{}, false // it would be open which one holds
		}
		i.params[tag] = value
	}
	return i, true
}

// The parameters of RFC 8657.
const (
	paramAccount = "accounturi"
	paramMethods = "validationmethods"
	methodDNS    = "dns-01"
)

// String writes the value again, its known parameters in a fixed order.
func (i issuer) String() string {
	var text strings.Builder
	text.WriteString(i.domain)
	for _, tag := range slices.Sorted(maps.Keys(i.params)) {
		text.WriteString("; " + tag + "=" + i.params[tag])
	}
	return text.String()
}

// caaSet is the set of CAA records that counts for a domain.
type caaSet struct {
	owner   string // where it was found; empty: nowhere, and any CA may issue
	records []*dns.CAA
}

// findCAA climbs from the domain towards the root, to the first name with CAA
// records (RFC 8659 §3).
func (c *checker) findCAA(ctx context.Context, domain record.Name) (caaSet, error) {
	for at := domain; at != record.Root; at = at.Parent() {
		answer, err := c.resolver.Find(ctx, at, dns.TypeCAA)
		if err != nil {
			return caaSet{}, err
		}
		set := caaSet{owner: at.String()}
		for _, rr := range answer.Records {
			if caa, ok := rr.(*dns.CAA); ok { // at the target of an alias too
				set.records = append(set.records, caa)
				set.owner = dns.CanonicalName(caa.Hdr.Name)
			}
		}
		if len(set.records) > 0 {
			return set, nil
		}
	}
	return caaSet{}, nil
}

// decide says whether the CA may issue by dns-01, and what to change if not. accounts are the
// ACME accounts that are known to be in use; with none, any account is taken to be right.
// bound are those to which issuance is limited.
func (s caaSet) decide(ca string, wildcard bool, accounts []string) (step Step, bound []string) {
	step = Step{Name: "caa", Status: OK}
	if len(s.records) == 0 {
		step.Found = "there are no CAA records, so any CA may issue"
		return step, nil
	}
	at := strings.TrimSuffix(s.owner, ".")
	for _, r := range s.records {
		if r.Flag&caaCritical != 0 && !slices.Contains(caaKnown, strings.ToLower(r.Tag)) {
			step.Status = Wrong
			step.Found = fmt.Sprintf("the CAA records at %s have a critical property %q that CAs do not know, and so none may issue", at, r.Tag)
			step.Do, step.Lines = fmt.Sprintf("remove this record at %s, or its critical flag:", at), []string{s.line(r.Flag, r.Tag, r.Value)}
			return step, nil
		}
	}
	tag, relevant := s.relevant(wildcard)
	if len(relevant) == 0 {
		step.Found = fmt.Sprintf("the CAA records at %s limit no CA", at)
		return step, nil
	}
	limits := limitsFor(ca, relevant, accounts)
	switch {
	case limits.free:
		step.Found = fmt.Sprintf("the CAA records at %s allow %s", at, ca)
		return step, nil
	case len(limits.bound) > 0:
		step.Found = fmt.Sprintf("the CAA records at %s allow %s, for the ACME account %s", at, ca, joinWords(limits.bound))
		return step, limits.bound
	}
	step.Status = Wrong
	value := ca
	switch {
	case limits.otherMethod != nil:
		limits.otherMethod.params[paramMethods] += "," + methodDNS
		value = limits.otherMethod.String()
		step.Found = fmt.Sprintf("the CAA records at %s let %s issue, but not by %s", at, ca, methodDNS)
		step.Do = fmt.Sprintf("change the record at %s to:", at)
	case limits.otherAccount != nil:
		other := limits.otherAccount.params[paramAccount]
		limits.otherAccount.params[paramAccount] = accounts[0]
		value = limits.otherAccount.String()
		step.Found = fmt.Sprintf("the CAA records at %s let %s issue for the ACME account %s only, and the account in use is %s", at, ca, other, joinWords(accounts))
		step.Do = fmt.Sprintf("add this record at %s (or replace the other with it):", at)
	default:
		values := textsOf(relevant, func(r *dns.CAA) string { return fmt.Sprintf("%s %q", r.Tag, r.Value) })
		step.Found = fmt.Sprintf("the CAA records at %s do not let %s issue: there is %s", at, ca, joinWords(values))
		step.Do = fmt.Sprintf("add this record at %s, beside the others:", at)
	}
	step.Lines = []string{s.line(0, tag, value)}
	return step, nil
}

// limits are what the records that name a CA demand of it. One that is met is
// enough.
type limits struct {
	free  bool     // there is a record that demands nothing that is not met
	bound []string // accounts, each of a record that demands no more than that
	// otherMethod and otherAccount are records that demand something else.
	otherMethod, otherAccount *issuer
}

func limitsFor(ca string, records []*dns.CAA, accounts []string) (l limits) {
	for _, r := range records {
		i, ok := parseIssuer(r.Value)
		if !ok || i.domain != ca {
			continue
		}
		methods, limited := i.params[paramMethods]
		account, bound := i.params[paramAccount]
		switch {
		case limited && !slices.Contains(strings.Split(strings.ToLower(methods), ","), methodDNS):
			l.otherMethod = &i
		case bound && len(accounts) > 0 && !slices.Contains(accounts, account):
			l.otherAccount = &i
		case bound:
			l.bound = append(l.bound, account)
		default:
			l.free = true
		}
	}
	return l
}

// relevant returns the records that count: for a wildcard, issuewild if there is any.
func (s caaSet) relevant(wildcard bool) (tag string, records []*dns.CAA) {
	for _, tag = range []string{"issuewild", "issue"} {
		for _, r := range s.records {
			if strings.EqualFold(r.Tag, tag) && (wildcard || tag == "issue") {
				records = append(records, r)
			}
		}
		if len(records) > 0 {
			break
		}
	}
	return tag, records
}

func (s caaSet) line(flag uint8, tag, value string) string {
	return fmt.Sprintf("%s CAA %d %s %q", s.owner, flag, tag, value)
}

// checkCAA reports whether the domain's CAA records let the CA issue.
func (c *checker) checkCAA(ctx context.Context, s subject) {
	set, err := c.findCAA(ctx, s.domain)
	if ctx.Err() != nil {
		return
	}
	step, bound := set.decide(c.CA, s.wildcard, c.Accounts)
	if len(set.records) == 0 && err == nil && c.unknown != "" {
		step.Status = Unknown
		step.Found = "whether there are CAA records is not known: " + c.unknown
		step.Do = "ask a resolver that knows the zone with --resolver ADDRESS"
	}
	if err != nil {
		step.Status = Wrong
		step.Found = fmt.Sprintf("the CAA records cannot be looked up, and a CA that cannot either issues nothing: %s", err)
		step.Do = "see that the name servers of the domain, and of the zones above it, answer questions of type CAA (NOERROR or NXDOMAIN, where there are none)"
	}
	if len(bound) > 0 && len(c.Accounts) == 0 {
		step.Status = Warning
		step.Do = "see that it is the account in use (--account-uri has it compared): " + c.AccountHelp
	}
	c.emit(step)
}

// showAccount prints the CAA record that lets only the ACME account in use have
// certificates, by DNS-01 alone (RFC 8657): without it, an attacker who takes over any one
// of the domain's addresses for a moment can have one too.
func (c *checker) showAccount(s subject) {
	step := Step{Name: "account", Status: Note}
	step.Found = fmt.Sprintf("CAA can bind issuance for %s and all below it to DNS-01 and to the ACME account", s.domain.Plain())
	step.Do = "to have that, create where the domain is hosted, instead of other issue records:"
	accounts := c.Accounts
	if len(accounts) == 0 {
		step.Found += ", whose URI is not known here"
		step.Do, accounts = c.AccountHelp, []string{"<account URI>"}
	}
	for _, account := range accounts {
		value := c.CA + "; " + paramAccount + "=" + account + "; " + paramMethods + "=" + methodDNS
		step.Lines = append(step.Lines, fmt.Sprintf("%s CAA 0 issue %q", s.domain, value))
	}
	c.emit(step)
}
