package service

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/libdns/libdns"
	"github.com/miekg/dns"
	"github.com/spf13/cobra"

	"github.com/caddy-dns/bestdns"
	"github.com/caddy-dns/bestdns/internal/nsquery"
	"github.com/caddy-dns/bestdns/internal/persist"
	"github.com/caddy-dns/bestdns/internal/record"
	"github.com/caddy-dns/bestdns/internal/text"
)

// clientFlags say where a service is, and as which of its clients it is asked.
type clientFlags struct {
	endpoint, token, tokenFile string
	roots                      []string
}

func (f *clientFlags) register(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&f.endpoint, "endpoint", "", "The URL of the service; by default that of BESTDNS_ENDPOINT")
	flags.StringVar(&f.token, "token", "", "The token of the client, which other users of this machine can see while this runs: better in --token-file, or in BESTDNS_API_TOKEN, the default")
	flags.StringVar(&f.tokenFile, "token-file", "", "A file with the token")
	flags.StringArrayVar(&f.roots, "trusted-roots", nil, "A PEM file with the root certificate of the endpoint's CA")
	cmd.MarkFlagsMutuallyExclusive("token", "token-file")
}

// provider returns the client.
func (f *clientFlags) provider() (*bestdns.Provider, error) {
	p := &bestdns.Provider{
		Endpoint:     cmp.Or(f.endpoint, os.Getenv("BESTDNS_ENDPOINT")),
		APIToken:     f.token,
		TrustedRoots: f.roots,
	}
	if f.tokenFile != "" {
		token, err := readToken(f.tokenFile)
		if err != nil {
			return nil, err
		}
		p.APIToken = token
	}
	p.APIToken = cmp.Or(p.APIToken, os.Getenv("BESTDNS_API_TOKEN"))
	switch {
	case p.Endpoint == "":
		return nil, errors.New("which service? Give its URL with --endpoint or in BESTDNS_ENDPOINT")
	case p.APIToken == "":
		return nil, errors.New("as which client of the service? Give its token with --token-file or in BESTDNS_API_TOKEN")
	}
	return p, nil
}

// writeRecord writes a permission, and looks whether it is seen.
func (o *persistOptions) writeRecord(ctx context.Context, out, warnings io.Writer, s standing) error {
	service, err := o.api.provider()
	if err != nil {
		return err
	}
	// The owner is given as the zone: the service finds out which zone holds it.
	written, err := service.AppendRecords(ctx, s.owner.String(), []libdns.Record{libdns.TXT{
		Name: "@", TTL: time.Duration(s.record.TTL) * time.Second, Text: s.Value(),
	}})
	if err != nil {
		return notHosted(err, service, s.domain, "create it by hand where the domain is hosted:\n\n\t"+masterLine(s.record))
	}
	for _, r := range written { // with the TTL that the zone gave it
		s.record.TTL = uint32(r.RR().TTL / time.Second)
	}
	where := ""
	if zone, ok := zoneOf(ctx, service, s.owner); ok {
		where = fmt.Sprintf(", in the zone %s", zone.Plain())
	}
	fmt.Fprintf(out, "Written at %s%s of %s:\n\n\t%s\n", s.owner.Plain(), where, text.Visible(service.Endpoint), masterLine(s.record))
	if err := o.see(ctx, s); err != nil {
		fmt.Fprintf(warnings, "Warning: a resolver does not have it yet (%s), and so a CA may not see it. To find out why:\n\n\tcaddy bestdns check %s\n",
			text.Brief(err.Error(), text.MaxDetail), s.domain.Plain())
	} else {
		fmt.Fprintf(out, "\nA resolver has it, as a CA would see it.\n")
	}
	_, err = fmt.Fprintf(out, "\n%s can issue certificates for %s to the account from now on. To revoke that:\n\n\t%s\n",
		s.Issuer, s.names(), s.command("--remove"))
	return err
}

// notHosted returns an error that says what to do about a domain for which the service has no zone, and others
// as they are.
func notHosted(err error, service *bestdns.Provider, domain record.Name, otherwise string) error {
	var problem *bestdns.Error
	if !errors.As(err, &problem) || problem.Status != http.StatusNotFound {
		return err
	}
	return fmt.Errorf("%s has no zone that holds %s, or its client no right \"persist %[2]s\" (request %s); "+
		"a service writes and deletes the records of its own zones only, and follows no CNAME for that: %s",
		text.Visible(service.Endpoint), domain.Plain(), text.Visible(problem.RequestID), otherwise)
}

// zoneOf returns the zone of the service in which a name is.
func zoneOf(ctx context.Context, service *bestdns.Provider, owner record.Name) (record.Name, bool) {
	list, err := service.ListZones(ctx)
	if err != nil {
		return "", false // the record is written, which is what matters
	}
	zones := record.NewZones()
	for _, zone := range list {
		if apex, err := record.ParseName(zone.Name); err == nil {
			zones[apex] = struct{}{}
		}
	}
	return zones.Of(owner)
}

// How long a resolver is asked for a record, since it may remember that there was none, and how
// often.
const (
	defaultSeenTimeout = 10 * time.Second
	seenPause          = 300 * time.Millisecond
)

// see waits until a resolver has the record, or returns why it has not.
func (o *persistOptions) see(ctx context.Context, s standing) error {
	addresses, err := resolverAddresses(o.resolvers)
	if err != nil {
		return err
	}
	resolver := &nsquery.Resolver{Client: &nsquery.Client{AlsoTCP: true}, Addresses: addresses}
	ctx, cancel := context.WithTimeout(ctx, o.seenTimeout)
	defer cancel()
	for {
		answer, err := resolver.Find(ctx, s.owner, dns.TypeTXT)
		switch {
		case err == nil && slices.Contains(answer.Texts(), s.Value()):
			return nil
		case err == nil:
			err = fmt.Errorf("it is not in the answer of %s", strings.Join(addresses, ", "))
		}
		if !nsquery.Sleep(ctx, seenPause) {
			return err
		}
	}
}

// afterwards is what holds for certificates when a permission is deleted.
const afterwards = "Certificates that were issued stay valid until they expire or are revoked. A CA may rely on an earlier\nvalidation for a while; deactivating the account ends that too.\n"

// removeRecord deletes one permission.
func (o *persistOptions) removeRecord(ctx context.Context, out io.Writer, s standing) error {
	service, err := o.api.provider()
	if err != nil {
		return err
	}
	deleted, err := service.DeleteRecords(ctx, s.owner.String(), []libdns.Record{libdns.TXT{Name: "@", Text: s.Value()}})
	if err != nil {
		return notHosted(err, service, s.domain, "delete it by hand where the domain is hosted")
	}
	s.record.TTL = 0 // whatever it was
	if len(deleted) == 0 {
		return fmt.Errorf("there is no such record, so none was deleted: %s\n(--remove without --account lists and deletes all permissions of %s)", masterLine(s.record), s.domain.Plain())
	}
	_, err = fmt.Fprintf(out, "Deleted:\n\n\t%s\n\n%s", masterLine(s.record), afterwards)
	return err
}

// removeAll lists all permissions of a domain, and deletes them.
func (o *persistOptions) removeAll(ctx context.Context, out io.Writer, domain record.Name) error {
	service, err := o.api.provider()
	if err != nil {
		return err
	}
	owner, err := record.PersistOwner(domain)
	if err != nil {
		return err
	}
	all, err := service.GetRecords(ctx, owner.String())
	if err != nil {
		return notHosted(err, service, domain, "delete them by hand where the domain is hosted")
	}
	var found []libdns.Record
	var list strings.Builder
	for _, r := range all {
		rr := r.RR()
		if rr.Type != "TXT" || rr.Name != "@" {
			continue // below it
		}
		found = append(found, libdns.TXT{Name: "@", Text: rr.Data})
		fmt.Fprintf(&list, "\t%s\n", text.Brief(rr.Data, text.MaxDetail))
		if _, err := persist.Parse(rr.Data); err != nil {
			fmt.Fprintf(&list, "\t\t(not readable: %s)\n", err)
		}
	}
	if len(found) == 0 {
		_, err := fmt.Fprintf(out, "There is no standing permission at %s.\n", owner.Plain())
		return err
	}
	fmt.Fprintf(out, "Deleting the TXT records at %s:\n\n%s\n", owner.Plain(), list.String())
	deleted, err := service.DeleteRecords(ctx, owner.String(), found)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(out, "Deleted: %d.\n\n%s", len(deleted), afterwards)
	return err
}
