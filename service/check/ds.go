package check

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/miekg/dns"

	"github.com/caddy-dns/bestdns/internal/nsquery"
)

// checkDS reports whether the zone above says that the zone is signed, and whether
// it is: a DS record over an unsigned zone makes every validating resolver, and so
// every CA, refuse all that is in it (RFC 4035 §5.2).
func (c *checker) checkDS(ctx context.Context, d *nsquery.Delegation, answers []serverAnswer) {
	step := Step{Name: "ds", Zone: d.Zone.Plain(), Status: OK}
	records, err := recordsOf[*dns.DS](ctx, c.client, d.Answered, nsquery.Question{Name: d.Zone, Type: dns.TypeDS})
	if ctx.Err() != nil {
		return
	}
	defer func() { c.emit(step) }()
	switch {
	case err != nil:
		step.Status, step.Found = Unknown, fmt.Sprintf("the DS records at %s could not be read: %s", d.Parent.Plain(), err)
		return
	case len(records) == 0:
		step.Found = fmt.Sprintf("%s has no DS record of it, so no one expects it to be signed", d.Parent.Plain())
		return
	}
	keys, err := recordsOf[*dns.DNSKEY](ctx, c.client, authoritative(answers), nsquery.Question{Name: d.Zone, Type: dns.TypeDNSKEY})
	if err != nil {
		step.Status, step.Found = Unknown, fmt.Sprintf("%s has a DS record of it, and its DNSKEY records could not be read: %s", d.Parent.Plain(), err)
		return
	}
	for _, ds := range records {
		for _, key := range keys {
			if made := key.ToDS(ds.DigestType); made != nil && made.KeyTag == ds.KeyTag && strings.EqualFold(made.Digest, ds.Digest) {
				step.Found = fmt.Sprintf("it is signed, and %s has the DS record of its key %d", d.Parent.Plain(), ds.KeyTag)
				return
			}
		}
	}
	step.Status = Wrong
	step.Do = fmt.Sprintf("remove from the zone %s (or at the registrar of the domain):", d.Parent.Plain())
	for _, ds := range records {
		step.Lines = append(step.Lines, fmt.Sprintf("%s DS %d %d %d %s", d.Zone, ds.KeyTag, ds.Algorithm, ds.DigestType, strings.ToUpper(ds.Digest)))
	}
	if len(keys) == 0 {
		step.Found = fmt.Sprintf("%s has a DS record of it, and it is not signed: validating resolvers and CAs refuse all that is in it", d.Parent.Plain())
		return
	}
	step.Found = fmt.Sprintf("no key of the zone fits the DS records at %s: validating resolvers and CAs refuse all that is in it", d.Parent.Plain())
	step.Do = fmt.Sprintf("in the zone %s (or at the registrar of the domain), replace these by the DS records of the zone's present keys:", d.Parent.Plain())
}

// recordsOf returns the records of the first server that does not fail. DS records belong to
// the zone above, keys to the zone itself.
func recordsOf[T dns.RR](ctx context.Context, client *nsquery.Client, servers []nsquery.Server, q nsquery.Question) ([]T, error) {
	err := errors.New("no name server answers for it")
	for i, answer := range client.AskAll(ctx, servers, q) {
		switch {
		case answer.Err != nil:
			err = answer.Err
		case answer.Failed():
			err = fmt.Errorf("%s %s", servers[i], answer.Failure())
		default:
			return nsquery.Of[T](answer.Records, q.Name), nil
		}
	}
	return nil, err
}
