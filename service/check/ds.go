package check

import (
	"context"
	"fmt"
	"strings"

	"github.com/miekg/dns"
)

// checkDS reports whether the zone above says that the zone is signed, and whether
// it is: a DS record over an unsigned zone makes every validating resolver, and so
// every CA, refuse all that is in it (RFC 4035 §5.2).
func (c *checker) checkDS(ctx context.Context, d *delegation, answers []serverAnswer) {
	step := Step{Name: "ds", Zone: plain(d.zone), Status: OK}
	records, err := c.dsRecords(ctx, d)
	if ctx.Err() != nil {
		return
	}
	defer func() { c.emit(step) }()
	switch {
	case err != nil:
		step.Status, step.Found = Unknown, fmt.Sprintf("the DS records at %s could not be read: %s", plain(d.parent), err)
		return
	case len(records) == 0:
		step.Found = fmt.Sprintf("%s has no DS record of it, so nobody expects it to be signed", plain(d.parent))
		return
	}
	keys, err := c.keys(ctx, d.zone, authoritative(answers))
	if err != nil {
		step.Status, step.Found = Unknown, fmt.Sprintf("%s has a DS record of it, and its DNSKEY records could not be read: %s", plain(d.parent), err)
		return
	}
	for _, ds := range records {
		for _, key := range keys {
			if made := key.ToDS(ds.DigestType); made != nil && made.KeyTag == ds.KeyTag && strings.EqualFold(made.Digest, ds.Digest) {
				step.Found = fmt.Sprintf("it is signed, and %s has the DS record of its key %d", plain(d.parent), ds.KeyTag)
				return
			}
		}
	}
	step.Status = Wrong
	step.Do = fmt.Sprintf("remove from the zone %s (or at the registrar of the domain):", plain(d.parent))
	for _, ds := range records {
		step.Lines = append(step.Lines, fmt.Sprintf("%s DS %d %d %d %s", d.zone, ds.KeyTag, ds.Algorithm, ds.DigestType, strings.ToUpper(ds.Digest)))
	}
	if len(keys) == 0 {
		step.Found = fmt.Sprintf("%s has a DS record of it, and it is not signed: validating resolvers and CAs refuse all that is in it", plain(d.parent))
		return
	}
	step.Found = fmt.Sprintf("no key of the zone fits the DS records at %s: validating resolvers and CAs refuse all that is in it", plain(d.parent))
	step.Do = fmt.Sprintf("in the zone %s (or at the registrar of the domain), replace these by the DS records of the zone's present keys:", plain(d.parent))
}

// dsRecords asks the zone above, to which DS records belong.
func (c *checker) dsRecords(ctx context.Context, d *delegation) (records []*dns.DS, err error) {
	for _, s := range d.answered {
		var answer *dns.Msg
		if answer, err = c.Dial.ask(ctx, s.address(), query{name: d.zone, typ: dns.TypeDS}); err != nil {
			continue
		}
		if isFailure(answer) { // it says nothing of whether there are any
			err = fmt.Errorf("%s answers %s", s, rcode(answer))
			continue
		}
		for _, rr := range answer.Answer {
			if ds, ok := rr.(*dns.DS); ok && dns.CanonicalName(ds.Hdr.Name) == d.zone {
				records = append(records, ds)
			}
		}
		return records, nil
	}
	return nil, err
}

func (c *checker) keys(ctx context.Context, zone string, servers []server) (keys []*dns.DNSKEY, err error) {
	err = fmt.Errorf("no name server answers for it")
	for _, s := range servers {
		var answer *dns.Msg
		if answer, err = c.Dial.ask(ctx, s.address(), query{name: zone, typ: dns.TypeDNSKEY}); err != nil {
			continue
		}
		if isFailure(answer) { // it says nothing of whether there are any
			err = fmt.Errorf("%s answers %s", s, rcode(answer))
			continue
		}
		for _, rr := range answer.Answer {
			if key, ok := rr.(*dns.DNSKEY); ok && dns.CanonicalName(key.Hdr.Name) == zone {
				keys = append(keys, key)
			}
		}
		return keys, nil
	}
	return nil, err
}
