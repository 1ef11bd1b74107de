package service

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/caddy-dns/bestdns/internal/persist"
	"github.com/caddy-dns/bestdns/internal/record"
	"github.com/caddy-dns/bestdns/internal/text"
)

// persistOptions are the flags of "caddy bestdns persist".
type persistOptions struct {
	domain   string
	account  string
	issuer   string
	wildcard bool
	until    string
	ttl      time.Duration

	write, remove bool
	api           clientFlags
	resolvers     []string
	// seenTimeout is how long a resolver may take to have the record.
	seenTimeout time.Duration
}

// defaultIssuer is the CA that is meant where no flag names one.
const defaultIssuer = "letsencrypt.org"

func persistCommand() *cobra.Command {
	options := persistOptions{seenTimeout: defaultSeenTimeout}
	cmd := &cobra.Command{
		Use:   "persist DOMAIN --account URI",
		Short: "Permits an ACME account to obtain certificates for a domain at any time",
		Long: `Makes the TXT record of dns-persist-01 (draft-ietf-acme-dns-persist), a standing
permission: as long as it is in DNS, the ACME account of that URI can obtain
certificates for DOMAIN without a challenge and without any change in DNS.

Without --write and --remove it prints the record. --write writes it through a service that hosts DOMAIN
(it follows no CNAME), as the client whose token is given, which needs the right
"persist DOMAIN". --remove deletes exactly that record; without --account it lists
all standing permissions of DOMAIN and deletes them. "*.DOMAIN" is the same as
--wildcard.

The URI is that of the account at the CA. For a CA that follows draft -02 it is the
hashed URI that the ACME client shows for the account and DOMAIN. Both the CA and the
ACME client have to support dns-persist-01, which few do.`,
		Example: `  caddy bestdns persist www.example.org --account https://acme-v02.api.letsencrypt.org/acme/acct/1234
  caddy bestdns persist example.org --account … --wildcard --until 2027-06-30 --write
  caddy bestdns persist example.org --account … --wildcard --until 2027-06-30 --remove
  caddy bestdns persist example.org --remove`,
		Args: needs("DOMAIN"),
		RunE: func(cmd *cobra.Command, args []string) error {
			options.domain = args[0]
			return options.run(cmd)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&options.account, "account", "", "The URI of the ACME account")
	flags.StringVar(&options.issuer, "issuer", defaultIssuer, "The CA's domain name, as its CAA records have it")
	flags.BoolVar(&options.wildcard, "wildcard", false, "Include *.DOMAIN, and all names below DOMAIN where the CA allows that")
	flags.StringVar(&options.until, "until", "", "The last day on which it holds (UTC), such as 2027-06-30; by default it never expires")
	flags.DurationVar(&options.ttl, "ttl", 0, "The TTL of the record, such as 1h; by default that of its zone")
	flags.BoolVar(&options.write, "write", false, "Write the record through a service")
	flags.BoolVar(&options.remove, "remove", false, "Delete the record through a service")
	options.api.register(cmd)
	flags.StringArrayVar(&options.resolvers, "resolver", nil, "The address of a resolver that is asked for the record after --write; by default the system's")
	cmd.MarkFlagsMutuallyExclusive("write", "remove")
	return cmd
}

func (o *persistOptions) run(cmd *cobra.Command) error {
	ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if o.account == "" && o.remove {
		domain, err := o.subject(cmd)
		if err != nil {
			return err
		}
		cmd.SilenceUsage = true
		return o.removeAll(ctx, cmd.OutOrStdout(), domain)
	}
	s, err := o.standing(time.Now())
	if err != nil {
		return err
	}
	cmd.SilenceUsage = true // what goes wrong from here on is not about flags
	switch {
	case o.write:
		return o.writeRecord(ctx, cmd.OutOrStdout(), cmd.ErrOrStderr(), s)
	case o.remove:
		return o.removeRecord(ctx, cmd.OutOrStdout(), s)
	}
	return s.print(cmd.OutOrStdout())
}

// standing is a permission with the domain that it is for.
type standing struct {
	persist.Permission
	domain record.Name
	// owner is where its record is.
	owner record.Name
	// record has a TTL of 0 where that is left to the zone.
	record record.Record
	// until is the day that was given, "" for none.
	until string
}

// standing reads what the flags ask for.
func (o *persistOptions) standing(now time.Time) (s standing, err error) {
	if o.account == "" {
		return s, errors.New("whose permission is it? Give the URI of the ACME account with --account")
	}
	domain, wildcard, err := parseSubject(o.domain)
	if err != nil {
		return s, err
	}
	s.domain, s.Wildcard = domain, wildcard || o.wildcard
	issuer, err := toASCII(o.issuer)
	if err != nil {
		return s, err
	}
	if s.Issuer, err = persist.ParseIssuer(issuer); err != nil {
		return s, fmt.Errorf("%w, such as --issuer letsencrypt.org", err)
	}
	if err = persist.CheckAccount(o.account); err != nil {
		return s, err
	}
	s.Account = o.account
	if o.until != "" {
		next, err := parseExpiry(o.until)
		if err != nil {
			return s, err
		}
		s.Until, s.until = next.Add(-time.Second), o.until
		if s.IsExpired(now) && !o.remove {
			return s, fmt.Errorf("%s is over: no CA would use the permission", o.until)
		}
	}
	if o.ttl < 0 || o.ttl%time.Second != 0 || o.ttl > record.MaxTTL*time.Second {
		return s, fmt.Errorf("the TTL %s is not a number of seconds from 0 to %d", o.ttl, record.MaxTTL)
	}
	if s.owner, err = record.PersistOwner(domain); err != nil {
		return s, err
	}
	s.record, err = record.At(s.owner, "TXT", uint32(o.ttl/time.Second), s.Value())
	return s, err
}

// parseSubject reads a domain, or its wildcard.
func parseSubject(given string) (domain record.Name, wildcard bool, err error) {
	base, wildcard := strings.CutPrefix(strings.TrimSuffix(strings.ToLower(given), "."), "*.")
	ascii, err := toASCII(base)
	if err != nil {
		return "", false, err
	}
	if domain, err = record.ParseName(ascii); err != nil {
		return "", false, err
	}
	if !domain.IsHostName() || domain.IsIPv4() {
		return "", false, fmt.Errorf("%q is not a domain that a certificate can be obtained for: it needs two labels or more, of letters, digits and hyphens",
			text.Brief(given, text.MaxName))
	}
	return domain, wildcard, nil
}

// subject reads the domain whose permissions are all meant.
func (o *persistOptions) subject(cmd *cobra.Command) (record.Name, error) {
	domain, wildcard, err := parseSubject(o.domain)
	if err != nil {
		return "", err
	}
	for _, flag := range []string{"issuer", "wildcard", "until", "ttl"} {
		if cmd.Flags().Changed(flag) {
			return "", fmt.Errorf("--remove without --account deletes all permissions of the domain, and --%s says that one is meant: give its --account too", flag)
		}
	}
	if wildcard {
		return "", fmt.Errorf("--remove without --account deletes all permissions of a domain: write %s without *., or give --account", domain.Plain())
	}
	return domain, nil
}

// names says for which names the permission is.
func (s standing) names() string {
	if s.Wildcard {
		return fmt.Sprintf("%s and *.%[1]s", s.domain.Plain())
	}
	return s.domain.Plain()
}

// masterLine returns a record as a line of a master file.
func masterLine(r record.Record) string {
	ttl := ""
	if r.TTL > 0 {
		ttl = fmt.Sprintf("%d ", r.TTL)
	}
	return fmt.Sprintf("%s %sIN %s", r.Name, ttl, strings.Replace(r.Presentation(), "\t", " ", 1))
}

// command returns the command line about the permission, with one more flag.
func (s standing) command(flag string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "caddy bestdns persist %s --account %s", s.domain.Plain(), shellQuote(s.Account))
	if s.Issuer != defaultIssuer {
		fmt.Fprintf(&b, " --issuer %s", s.Issuer)
	}
	if s.Wildcard {
		b.WriteString(" --wildcard")
	}
	if s.until != "" {
		fmt.Fprintf(&b, " --until %s", s.until)
	}
	return b.String() + " " + flag
}

// print writes the record, and what to do with it.
func (s standing) print(out io.Writer) error {
	end := "It never expires; --until sets a last day."
	if s.until != "" {
		end = fmt.Sprintf("It expires after %s (UTC).", s.until)
	}
	_, err := fmt.Fprintf(out, `To let %s issue certificates for %s to this account at any time, without a
challenge, create where %s is hosted:

	%s

%s As long as the record is there,
anyone with the account's key can obtain certificates.

With --write, a service that hosts the domain creates it, for a client that has the right:

	persist %[3]s

To revoke it, delete the record, by hand or with:

	%[6]s
`, s.Issuer, s.names(), s.domain.Plain(), masterLine(s.record), end, s.command("--remove"))
	return err
}
