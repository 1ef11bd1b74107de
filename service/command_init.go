package service

import (
	"bufio"
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"
)

// initOptions are the flags of "caddy bestdns init".
type initOptions struct {
	setup
	output    string
	force     bool
	dryRun    bool
	noCheck   bool
	resolvers []string
}

func initCommand() *cobra.Command {
	var options initOptions
	cmd := &cobra.Command{
		Use:   "init",
		Short: "Writes a first configuration of one's own service",
		Long: `Writes a Caddyfile for one of three uses, with the first client and its token, and
prints the records to create where the domain is hosted. Then it checks what can be
checked of them.

  one-server  this server obtains certificates for its own sites
  fleet       other hosts obtain certificates, each with a token for its own names
  provider    as fleet, for a zone that stays with a DNS provider

On a terminal it asks for what no flag says.

Files with secrets have the mode 600. A secret to which the configuration of a
DNS provider refers is taken from the environment, or left empty for you to fill in.`,
		Example: `  caddy bestdns init --for one-server --domain example.com --domain '*.example.com' --address 203.0.113.5
  caddy bestdns init --for fleet --domain web1.example.com --zone acme.example.com --address 203.0.113.5 --output /etc/bestdns
  CLOUDFLARE_API_TOKEN=... caddy bestdns init --for provider --provider cloudflare --zone example.com --domain web1.example.com --api dns.example.com`,
		Args: needs(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if in := cmd.InOrStdin(); isPerson(in) {
				if err := options.ask(in, cmd.OutOrStdout()); err != nil {
					return err
				}
			}
			return options.run(cmd)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&options.use, "for", "", "What the service is for: one-server, fleet or provider")
	flags.StringArrayVar(&options.domains, "domain", nil, "A domain that is to have certificates: of this server, or of the first host of a fleet")
	flags.StringVar(&options.zone, "zone", "", "The zone that holds the challenges and is delegated to this machine, by default acme. and the domain; or the one at the provider")
	flags.StringArrayVar(&options.addresses, "address", nil, "A public address of this machine")
	flags.StringVar(&options.api, "api", "", "The name of the API's site; by default that of the name server")
	flags.StringVar(&options.client, "client", "", "The name of the first client; by default the first label of its domain")
	flags.StringVar(&options.provider, "provider", "", "The module of the DNS provider, such as cloudflare, and what follows it if that is not a token alone")
	flags.StringArrayVar(&options.listen, "listen", nil, "Where the name server listens, by default :53")
	flags.StringVar(&options.email, "email", "", "The mail address of the ACME account")
	flags.StringVar(&options.acmeCA, "acme-ca", "", "The directory URL of the ACME CA, by default Caddy's choice")
	flags.StringVar(&options.acmeRoot, "acme-ca-root", "", "A PEM file with the root certificate of that CA's server")
	flags.StringVar(&options.output, "output", ".", "The folder for the files")
	flags.BoolVar(&options.force, "force", false, "Overwrite files that exist")
	flags.BoolVar(&options.dryRun, "dry-run", false, "Print the files, and write nothing")
	flags.BoolVar(&options.noCheck, "no-check", false, "Do not ask DNS for the records")
	flags.StringArrayVar(&options.resolvers, "resolver", nil, "The address of a resolver for the check; by default the system's")
	return cmd
}

// isPerson reports whether someone can answer questions.
func isPerson(in io.Reader) bool {
	file, ok := in.(*os.File)
	if !ok || !isTerminal(file) {
		return false
	}
	this, err := file.Stat()
	null, err2 := os.Stat(os.DevNull) // a character device too
	return err == nil && err2 == nil && !os.SameFile(this, null)
}

// run writes the files, and prints what is left to do.
func (o *initOptions) run(cmd *cobra.Command) error {
	o.complete()
	p, err := o.plan(randomSecrets)
	if err == nil {
		err = p.check()
	}
	if err != nil {
		return err
	}
	files, err := p.files()
	if err != nil {
		return err
	}
	out := cmd.OutOrStdout()
	if o.dryRun {
		if p.client != nil {
			fmt.Fprint(out, "# Nothing is written. The token is an example: another one is made each time.\n\n")
		}
		for _, f := range files {
			fmt.Fprintf(out, "# %s (mode %04o)\n\n%s\n", filepath.Join(o.output, f.name), f.mode, f.text)
		}
		return o.printRecords(out, p)
	}
	if err := o.write(files); err != nil {
		return err
	}
	fmt.Fprint(out, "Written:\n\n")
	for _, f := range files {
		fmt.Fprintf(out, "\t%-40s %s\n", filepath.Join(o.output, f.name), f.what)
	}
	fmt.Fprintln(out)
	if err := o.printRecords(out, p); err != nil {
		return err
	}
	o.printNext(out, p)
	if o.noCheck {
		return nil
	}
	fmt.Fprintf(out, "\nWhat DNS says already of %s:\n\n", p.Sites[0])
	return o.checkDNS(cmd, p)
}

// complete fills in what follows from the rest.
func (o *initOptions) complete() {
	if o.use == "" {
		return // which is an error of its own
	}
	if o.zone == "" && o.use != forProvider && len(o.domains) > 0 {
		o.zone = "acme." + baseOf(o.domains[0])
	}
	if o.api == "" && o.zone != "" {
		o.api = map[string]string{forFleet: "ns1." + o.zone, forProvider: "dns." + o.zone}[o.use]
	}
}

// baseOf returns the domain that a host is probably in: of three labels or more, all but the first.
func baseOf(domain string) string {
	domain = strings.TrimPrefix(strings.TrimSuffix(domain, "."), "*.")
	if _, rest, ok := strings.Cut(domain, "."); ok && strings.Contains(rest, ".") {
		return rest
	}
	return domain
}

// questions asks a person. After an error it asks nothing more.
type questions struct {
	in  *bufio.Scanner
	out io.Writer
	err error
}

// ask asks for what no flag has said. An empty answer is the usual one.
func (q *questions) ask(text, usual string, answer *string) {
	if *answer != "" || q.err != nil {
		return
	}
	if usual != "" {
		text += " [" + usual + "]"
	}
	fmt.Fprint(q.out, text+": ")
	if !q.in.Scan() {
		q.err = cmp.Or(q.in.Err(), errors.New("the answers ended before the questions"))
		return
	}
	*answer = cmp.Or(strings.TrimSpace(q.in.Text()), usual)
}

// askList is ask for several answers, with blanks or commas between them.
func (q *questions) askList(text, usual string, answers *[]string) {
	if len(*answers) > 0 {
		return
	}
	var answer string
	q.ask(text, usual, &answer)
	*answers = strings.FieldsFunc(answer, func(c rune) bool { return c == ' ' || c == ',' })
}

// ask asks for what no flag says.
func (o *initOptions) ask(in io.Reader, out io.Writer) error {
	q := questions{in: bufio.NewScanner(in), out: out}
	q.ask("What is it for: one-server, fleet or provider (--help explains)", forOneServer, &o.use)
	usual := *o
	if o.use == forProvider {
		q.ask("The DNS provider's module", "cloudflare", &o.provider)
		q.ask("The zone there", "", &o.zone)
		q.askList("The domain of the first host", "", &o.domains)
	} else {
		q.askList("The domains that are to have certificates (of the first host, in a fleet)", "", &o.domains)
		usual = *o
		usual.complete()
		q.ask("The zone for challenges, which is delegated to this machine", usual.zone, &o.zone)
	}
	address := ""
	if local := outboundAddress(); local.IsValid() {
		address = local.String()
	}
	q.askList("The public addresses of this machine", address, &o.addresses)
	if o.use != forOneServer {
		usual = *o
		usual.complete()
		q.ask("The name of the API's site", usual.api, &o.api)
	}
	q.ask("The mail address of the ACME account (may be empty)", "", &o.email)
	return q.err
}

// outboundAddress returns the address from which this machine reaches the Internet, if that is a public one. Nothing
// is sent.
func outboundAddress() netip.Addr {
	conn, err := net.Dial("udp", "192.0.2.1:53") // of documentation (RFC 5737)
	if err != nil {
		return netip.Addr{}
	}
	defer conn.Close()
	local, ok := conn.LocalAddr().(*net.UDPAddr)
	if !ok || local.AddrPort().Addr().Unmap().IsPrivate() || local.AddrPort().Addr().IsLoopback() {
		return netip.Addr{}
	}
	return local.AddrPort().Addr().Unmap()
}

// write writes the files, or none of them.
func (o *initOptions) write(files []plannedFile) (err error) {
	for _, f := range files {
		path := filepath.Join(o.output, f.name)
		if _, err := os.Lstat(path); err == nil && !o.force {
			return fmt.Errorf("%s exists: --output names another folder, --force overwrites it, --dry-run prints what would be written", path)
		} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	var parts []string
	defer func() {
		for _, part := range parts {
			os.Remove(part) // it is gone where it was renamed
		}
	}()
	for _, f := range files {
		path := filepath.Join(o.output, f.name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		part := path + ".new"
		if err := os.Remove(part); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err // of a command that was killed
		}
		file, err := os.OpenFile(part, os.O_CREATE|os.O_EXCL|os.O_WRONLY, f.mode)
		if err != nil {
			return err
		}
		parts = append(parts, part)
		_, err = file.WriteString(f.text)
		if err := errors.Join(err, file.Close()); err != nil {
			return err
		}
	}
	for i, part := range parts {
		if err := os.Rename(part, filepath.Join(o.output, files[i].name)); err != nil {
			return err
		}
	}
	return nil
}

// printRecords prints the records to create elsewhere.
func (o *initOptions) printRecords(out io.Writer, p plan) error {
	records, err := p.parents()
	if err != nil || len(records) == 0 {
		return err
	}
	fmt.Fprint(out, "Create these records, once, each where its domain is hosted:\n\n")
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for _, r := range records {
		fmt.Fprintf(table, "\t%s\t%s\t%s\n", r.Name, r.Type, r.Data)
	}
	return table.Flush()
}

// printNext prints the commands that come next.
func (o *initOptions) printNext(out io.Writer, p plan) {
	ports := "TCP port 443 from your hosts"
	switch p.Use {
	case forOneServer:
		ports = "UDP and TCP port 53 from anywhere, and TCP port 443 for its sites,"
	case forFleet:
		ports = "UDP and TCP port 53 from anywhere, and " + ports
	}
	fmt.Fprintf(out, "\nLet %s through to this machine. Then start it:\n\n", ports)
	config := shellQuote(filepath.Join(o.output, "Caddyfile"))
	fmt.Fprintf(out, "\tcaddy run --config %s", config)
	if len(p.variables) > 0 {
		fmt.Fprintf(out, " --envfile %s", shellQuote(filepath.Join(o.output, "bestdns.env")))
	}
	subject := ""
	if p.Use == forOneServer {
		subject = " " + shellQuote(p.Sites[0])
	}
	fmt.Fprintf(out, "\n\tcaddy bestdns check%s --config %s\n", subject, config)
	for _, name := range p.variables {
		if os.Getenv(name) == "" {
			fmt.Fprintf(out, "\nBefore that, write the value of %s into bestdns.env.\n", name)
		}
	}
	if p.client != nil {
		fmt.Fprintf(out, "\nThe host %s has the variables of %s.env in its environment, and this in its Caddyfile:\n\n", p.client.Client, p.client.label)
		for line := range strings.Lines(p.forClient()) {
			fmt.Fprint(out, "\t"+line)
		}
		fmt.Fprintf(out, "\nThe next host: caddy bestdns token web2 --certificates web2.example.com --config %s --write\n", config)
	}
}

// checkDNS runs "caddy bestdns check" for the first domain. What is wrong then is no error: the records are to be created.
func (o *initOptions) checkDNS(cmd *cobra.Command, p plan) error {
	check := checkCommandWith(&checkOptions{dnsAlone: true}) // a Caddy that runs here is another
	check.SetOut(cmd.OutOrStdout())
	check.SetErr(cmd.ErrOrStderr())
	check.SilenceErrors, check.SilenceUsage = true, true
	args := []string{p.Sites[0], "--config", filepath.Join(o.output, "Caddyfile")}
	for _, resolver := range o.resolvers {
		args = append(args, "--resolver", resolver)
	}
	check.SetArgs(args)
	_ = check.ExecuteContext(cmd.Context())
	return nil
}
