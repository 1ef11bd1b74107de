package service

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/caddyserver/caddy/v2"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/miekg/dns"
	"github.com/spf13/cobra"

	"github.com/caddy-dns/bestdns/internal/api"
	"github.com/caddy-dns/bestdns/internal/persist"
	"github.com/caddy-dns/bestdns/service/check"
)

// checkOptions are the flags of "caddy bestdns check".
type checkOptions struct {
	domain    string
	admin     adminFlags
	endpoint  string
	tokenFile string
	roots     []string
	resolvers []string
	ca        string
	accounts  []string
	json      bool
	other     otherClient
	// dnsAlone is set if no service is asked.
	dnsAlone bool
}

func checkCommand() *cobra.Command { return checkCommandWith(new(checkOptions)) }

func checkCommandWith(options *checkOptions) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "check [DOMAIN]",
		Short: "Diagnoses why a certificate is not issued, and says what to change",
		Long: `Checks everything that a DNS-01 challenge for DOMAIN (or *.DOMAIN) depends on,
and says at each step what is right, what is wrong, and which record or setting
to write: the API, its certificate, the token and its rights, the CNAME of
_acme-challenge, the zone's delegation, each of its name servers, DNSSEC, CAA. It
writes a challenge, looks whether every name server and a resolver have it, and
removes it again, also when it is interrupted.

It asks as a client of the service does, with the token that its configuration, the
environment or --token-file has; with --httpreq it also checks that the service speaks
that. With --tsig-key it asks as a client does that sends dynamic updates (RFC 2136), with
--acme-dns as an account of acme-dns; what it sends leaves nothing behind. Without
DOMAIN it checks all zones of the service. Where the configuration has the service itself and no endpoint for DOMAIN, or no endpoint is
named anywhere, the running Caddy is asked at its admin endpoint.

It ends with 0 if all is right (a warning is no fault), with 1 if something is
wrong, and with 2 if it could not be checked, or the service cannot be reached.`,
		Example: `  caddy bestdns check www.example.org --config Caddyfile
  caddy bestdns check '*.example.org' --endpoint https://dns.example.net --token-file /run/secrets/bestdns
  caddy bestdns check --config /etc/caddy/Caddyfile

  caddy bestdns check www.example.org --tsig-key bestdns.key --nameserver 203.0.113.5
  caddy bestdns check www.example.org --acme-dns /etc/lego/acme-dns.json`,
		Args: func(cmd *cobra.Command, args []string) error {
			if err := cobra.MaximumNArgs(1)(cmd, args); err != nil {
				return couldNotCheck(cmd, err)
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 1 {
				options.domain = args[0]
				if strings.Trim(args[0], ".") == "" { // of a variable that is not set
					return couldNotCheck(cmd, fmt.Errorf("%q is not a domain; leave it out to check the service", args[0]))
				}
			}
			code, err := options.run(cmd)
			if err != nil {
				return couldNotCheck(cmd, err)
			}
			return exitWith(cmd, code)
		},
	}
	options.bind(cmd)
	cmd.SetFlagErrorFunc(couldNotCheck)
	return cmd
}

// bind registers the flags.
func (o *checkOptions) bind(cmd *cobra.Command) {
	flags := cmd.Flags()
	o.admin.register(cmd)
	flags.Lookup("config").Usage = "The client's or the service's configuration file"
	flags.StringVar(&o.endpoint, "endpoint", "", "The URL of the service; by default that of the configuration or of BESTDNS_ENDPOINT")
	flags.StringVar(&o.tokenFile, "token-file", "", "A file with the token; by default that of the configuration or of BESTDNS_API_TOKEN")
	flags.StringArrayVar(&o.roots, "trusted-roots", nil, "A PEM file with the root certificate of the endpoint's CA")
	flags.StringArrayVar(&o.resolvers, "resolver", nil, "The address of a resolver, with its port if it is not 53; by default the system's")
	flags.StringVar(&o.ca, "ca", defaultIssuer, "The CA's domain name, as its CAA records have it")
	flags.StringArrayVar(&o.accounts, "account-uri", nil, "The URI of the ACME account; by default those in Caddy's storage")
	o.other.bind(cmd)
	flags.BoolVar(&o.json, "json", false, "Print one JSON document at the end")
}

// exitUnknown is what the command ends with when it could not check.
const exitUnknown = 2

// errSomethingWrong ends the command with 1. It is not printed: the report is.
var errSomethingWrong = errors.New("something is wrong")

// couldNotCheck tells why, and ends the command with exitUnknown.
func couldNotCheck(cmd *cobra.Command, err error) error {
	fmt.Fprintln(cmd.ErrOrStderr(), "Error:", err)
	return exitWith(cmd, exitUnknown)
}

// exitWith has the program end with a code, and says no more.
func exitWith(cmd *cobra.Command, code int) error {
	cmd.SilenceErrors, cmd.SilenceUsage = true, true
	switch code {
	case caddy.ExitCodeSuccess:
		return nil
	case 1:
		return errSomethingWrong // an exit code of 1 is Caddy's own for any error
	}
	return caddycmd.WrapCommandFuncForCobra(func(caddycmd.Flags) (int, error) { return code, nil })(cmd, nil)
}

// run checks and prints, and returns the exit code.
func (o *checkOptions) run(cmd *cobra.Command) (code int, err error) {
	ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second interrupt ends it at once

	options, err := o.prepare(ctx)
	if err != nil {
		return 0, err
	}
	out := cmd.OutOrStdout()
	printer := &check.Printer{Out: out, Signs: isTerminal(out)}
	if !o.json {
		options.Report = printer.Step
	}
	report, err := check.Run(ctx, options)
	if err != nil {
		return 0, err
	}
	if o.json {
		encoder := json.NewEncoder(out)
		encoder.SetIndent("", "  ")
		encoder.SetEscapeHTML(false)
		return report.ExitCode(), encoder.Encode(report)
	}
	printer.Summary(report)
	return report.ExitCode(), nil
}

// isTerminal reports whether a person is watching.
func isTerminal(out io.Writer) bool {
	file, ok := out.(*os.File)
	if !ok {
		return false
	}
	info, err := file.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0 && os.Getenv("TERM") != "dumb"
}

// prepare reads what there is to read: the configuration, the environment, the
// token, the system's resolvers.
func (o *checkOptions) prepare(ctx context.Context) (options check.Options, err error) {
	// Anything but a domain name would be compared with CAA records, and go into those that are
	// advised, none of which it fits.
	if options.CA, err = persist.ParseIssuer(o.ca); err != nil {
		return options, fmt.Errorf("%w, such as --ca letsencrypt.org", err)
	}
	if options.Domain, err = toASCII(strings.TrimSuffix(strings.ToLower(o.domain), ".")); err != nil {
		return options, err
	}
	if options.Resolvers, err = resolverAddresses(o.resolvers); err != nil {
		return options, err
	}
	config, err := readCheckedConfig(o.admin.config, o.admin.adapter)
	if err != nil {
		return options, err
	}
	zones, err := config.zones()
	if err != nil {
		return options, err
	}
	for _, zone := range zones {
		options.Hosted = append(options.Hosted, hostedZone(zone))
	}
	server, port, err := config.nameServer(zones)
	if err != nil {
		return options, err
	}
	options.Listen, options.Before = config.listens(), config.faults(zones)
	options.Accounts = o.accounts
	found, help := config.accounts(ctx, options.CA)
	if len(o.accounts) == 0 {
		options.Accounts = found
	}
	options.AccountHelp = help
	if options.Endpoint, err = o.apiEndpoint(&config, options.Domain); err != nil {
		return options, err
	}
	if err := o.other.prepare(&options, server, port); err != nil || options.Account != nil || options.Updates != nil {
		return options, err
	}
	if options.Endpoint.URL == "" && !o.dnsAlone {
		options.Running, err = o.running(ctx, &config, options.Domain)
	}
	return options, err
}

// apiEndpoint returns the API to ask: what flags say goes before the
// configuration, and that before the environment. Its URL is empty where the
// service is asked in the running Caddy, or not at all.
func (o *checkOptions) apiEndpoint(config *checkedConfig, domain string) (e check.Endpoint, err error) {
	client := config.client(domain)
	if domain == "" && config.app != nil {
		client = nil // the service is meant, and not its Caddy's own certificates
	}
	if o.admin.address != "" && o.endpoint == "" {
		return e, nil // the Caddy there is meant
	}
	inProcess := client != nil && client.Endpoint == "" && client.APIToken == "" || client == nil && config.app != nil
	if client != nil && !inProcess {
		if e, err = config.endpoint(client); err != nil {
			return e, err
		}
	}
	switch {
	case o.endpoint != "":
		e.URL, e.Source = o.endpoint, "--endpoint"
	case inProcess:
		return check.Endpoint{}, nil
	case e.URL == "":
		e.URL, e.Source = os.Getenv("BESTDNS_ENDPOINT"), "BESTDNS_ENDPOINT"
	}
	if e.URL == "" {
		return check.Endpoint{}, nil
	}
	switch token := os.Getenv("BESTDNS_API_TOKEN"); {
	case o.tokenFile != "":
		e.Identity.TokenSource = o.tokenFile
		e.Identity.Token, e.NoToken = readToken(o.tokenFile)
	case e.Identity.Token == "" && e.Identity.Certificate == nil && token != "":
		e.Identity.Token, e.Identity.TokenSource, e.NoToken = token, "BESTDNS_API_TOKEN", nil
	}
	if len(o.roots) > 0 {
		e.Roots, err = api.ReadRoots(o.roots)
		return e, err
	}
	return e, nil
}

// readToken reads the file of a token. What is wrong with the token itself, the check
// says.
func readToken(file string) (string, error) {
	token, err := api.ReadValue(file)
	if err != nil {
		return "", fmt.Errorf("reading the token: %w", err)
	}
	if token == "" {
		return "", fmt.Errorf("reading the token: the file %s is empty", file)
	}
	return token, nil
}

// running returns the service in the Caddy of this machine. Where no flag or
// configuration says that there is one, it is looked for.
func (o *checkOptions) running(ctx context.Context, config *checkedConfig, domain string) (check.Running, error) {
	address, err := caddycmd.DetermineAdminAPIAddress(o.admin.address, config.text, config.file, o.admin.adapter)
	if err != nil {
		return nil, fmt.Errorf("finding the admin endpoint of the running Caddy: %w", err)
	}
	service := runningService{address}
	if domain == "" || o.admin.address != "" || config.file != "" {
		return service, nil
	}
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	if _, err := service.Hosting(ctx); err != nil {
		return nil, nil
	}
	return service, nil
}

// resolverAddresses completes addresses with the port, and takes the system's
// resolvers where there are none.
func resolverAddresses(given []string) ([]string, error) {
	port := "53"
	if len(given) == 0 {
		const file = "/etc/resolv.conf"
		system, err := dns.ClientConfigFromFile(file)
		if err != nil {
			return nil, fmt.Errorf("finding the system's resolvers (--resolver ADDRESS names another): %w", err)
		}
		given, port = system.Servers, system.Port
	}
	var addresses []string
	for _, address := range given {
		if _, _, err := net.SplitHostPort(address); err != nil {
			address = net.JoinHostPort(strings.Trim(address, "[]"), port)
		}
		addresses = append(addresses, address)
	}
	return addresses, nil
}
