package service

import (
	"cmp"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/caddy-dns/bestdns/internal/access"
	"github.com/caddy-dns/bestdns/internal/acmednsdump"
	"github.com/caddy-dns/bestdns/internal/record"
	"github.com/caddy-dns/bestdns/internal/text"
)

// acmeDNSOptions are the flags of "caddy bestdns import-acme-dns".
type acmeDNSOptions struct {
	output      string
	force       bool
	domain      string
	skipInvalid bool
}

func importAcmeDNSCommand() *cobra.Command {
	var options acmeDNSOptions
	cmd := &cobra.Command{
		Use:   "import-acme-dns FILE",
		Short: "Makes a file of accounts out of a dump of acme-dns' database",
		Long: `Reads the accounts in a dump of acme-dns' database, and writes them as the file
that a client's option "accounts" reads. They keep their user names, passwords,
subdomains and networks. FILE "-" is the standard input. The dump is that of
"sqlite3 acme-dns.db .dump" or "pg_dump acmedns", of 256 MiB at most.

It prints what it has read, and the lines for the configuration, to the standard
error. The values of challenges are not taken over: they are short-lived.

An account is skipped if, for example, its password is not a bcrypt hash, it is
bound to an invalid network, or another one has its user name or subdomain; the
reason is printed. Then nothing is written, unless --skip-invalid is given.`,
		Example: `  sqlite3 acme-dns.db .dump > dump.sql
  caddy bestdns import-acme-dns dump.sql --output acme-dns.json --domain auth.example.org

  pg_dump acmedns | caddy bestdns import-acme-dns - > acme-dns.json`,
		Args: needs("FILE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return importAcmeDNS(cmd, args[0], options)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&options.output, "output", "", "The file to write, readable for its owner alone; by default the standard output")
	flags.BoolVar(&options.force, "force", false, "Overwrite the file")
	flags.StringVar(&options.domain, "domain", "", "acme-dns' domain, below which the accounts have their names")
	flags.BoolVar(&options.skipInvalid, "skip-invalid", false, "Write the other accounts if some cannot be taken over")
	return cmd
}

func importAcmeDNS(cmd *cobra.Command, name string, options acmeDNSOptions) error {
	if _, err := os.Lstat(options.output); err == nil && !options.force {
		return fmt.Errorf("%s exists already; --force overwrites it", options.output)
	}
	under := record.Root
	if options.domain != "" {
		rule, err := parseRule(access.Register, "under "+options.domain)
		if err != nil {
			return fmt.Errorf("--domain %q: %w", options.domain, err)
		}
		under = rule.Name
	}
	dump, err := openInput(cmd, name)
	if err != nil {
		return err
	}
	defer dump.Close()
	accounts, err := acmednsdump.Read(dump, func(a acmednsdump.Account) error {
		imported := importedAccount(a)
		return imported.Check(under)
	})
	if err != nil {
		if name == "-" {
			name = "standard input"
		}
		return fmt.Errorf("%s: %w", name, err)
	}
	tellRead(cmd.ErrOrStderr(), accounts)
	if accounts.SkippedInAll > 0 && !options.skipInvalid {
		return fmt.Errorf("%d of %d accounts cannot be taken over, so nothing was written; --skip-invalid writes the others", accounts.SkippedInAll, accounts.SkippedInAll+len(accounts.Taken))
	}
	imported := make([]access.ImportedAccount, len(accounts.Taken))
	for i, a := range accounts.Taken {
		imported[i] = importedAccount(a)
	}
	write := func(out io.Writer) error { return writeAccountsFile(out, imported) }
	if options.output == "" {
		err = write(cmd.OutOrStdout())
	} else {
		err = writeWhole(options.output, write)
	}
	if err != nil {
		return fmt.Errorf("writing the accounts: %w", err)
	}
	tellNext(cmd, options, len(imported))
	if options.output == "" {
		warnOfReaders(cmd.ErrOrStderr(), cmd.OutOrStdout(), "the hashes of the passwords are")
	}
	return nil
}

func importedAccount(a acmednsdump.Account) access.ImportedAccount {
	return access.ImportedAccount{Username: a.Username, Hash: a.Password, Label: a.Subdomain, Networks: a.Networks}
}

// tellRead prints how many accounts there are, and why some of them were not taken.
func tellRead(out io.Writer, accounts acmednsdump.Accounts) {
	fmt.Fprintf(out, "Accounts in the dump: %d\n", accounts.SkippedInAll+len(accounts.Taken))
	if accounts.SkippedInAll == 0 {
		return
	}
	fmt.Fprintf(out, "Skipped: %d\n\n", accounts.SkippedInAll)
	for _, s := range accounts.Skipped {
		fmt.Fprintf(out, "\tline %d: account %q: %s\n", s.Line, text.Clip(s.Username, text.MaxID), text.Brief(s.Why.Error(), text.MaxDetail))
	}
	if more := accounts.SkippedInAll - len(accounts.Skipped); more > 0 {
		fmt.Fprintf(out, "\tand %d more\n", more)
	}
	fmt.Fprintln(out)
}

// tellNext prints what was written, and what to do with it.
func tellNext(cmd *cobra.Command, options acmeDNSOptions, accounts int) {
	domain := cmp.Or(options.domain, "<your acme-dns domain>")
	client := Client{Name: "acme-dns", Register: []string{"under " + domain}, Accounts: []string{"FILE"}}
	if options.output != "" {
		path, err := filepath.Abs(options.output)
		if err != nil {
			path = options.output
		}
		client.Accounts[0] = path
	} else if file, ok := cmd.OutOrStdout().(*os.File); ok {
		if info, err := file.Stat(); err == nil && info.Mode().IsRegular() {
			client.Accounts[0] = pathOf(file)
		}
	}
	out := cmd.ErrOrStderr()
	fmt.Fprintf(out, "Written: %d\n\nThe values of challenges (table txt) were not taken over: they are short-lived.\n\n", accounts)
	fmt.Fprint(out, "For the service, into its global option bestdns. The user that runs Caddy must be able to read the\nfile. Leave the zone out if the domain is in one that is there already:\n\n")
	fmt.Fprintf(out, "\tzone %s {\n\t\tns <its name server> <address of that>\n\t}\n%s\n", domain, client.caddyfile("\t"))
	fmt.Fprintf(out, "For the service, its site; into the one that is there, the option acme_dns:\n\n\t%s {\n\t\tbestdns {\n\t\t\tacme_dns\n\t\t}\n\t}\n\n", domain)
}
