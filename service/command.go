package service

import (
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/caddyserver/caddy/v2"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"

	"github.com/caddy-dns/bestdns/service/demo"
)

func init() {
	caddycmd.RegisterCommand(caddycmd.Command{
		Name:  "bestdns",
		Usage: "[command]",
		Short: "Keeps DNS records for ACME challenges: tokens, checks, zones, backups, a demonstration",
		Long: `BestDNS keeps DNS records for ACME DNS challenges on behalf of clients that each
may change what they need and no more. The service is configured in Caddy's own
configuration; these commands are for what is around it.`,
		CobraFunc: setUpCommand,
	})
}

// setUpCommand gives the command "bestdns" its own commands.
func setUpCommand(cmd *cobra.Command) {
	cmd.Args = unknownCommand
	cmd.SuggestionsMinimumDistance = 2 // Cobra's own, where it makes the suggestions
	cmd.RunE = caddycmd.WrapCommandFuncForCobra(func(caddycmd.Flags) (int, error) {
		return caddy.ExitCodeSuccess, cmd.Help()
	})
	cmd.PersistentPreRun = quietLog
	cmd.AddCommand(initCommand(), tokenCommand(), rotateCommand(), renewCommand(), revokeCommand(), clientsCommand(), persistCommand(), checkCommand(), exportCommand(), importCommand(), importAcmeDNSCommand(), backupCommand(), demoCommand(), versionCommand())
}

// unknownCommand refuses arguments, which are commands that do not exist.
func unknownCommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	hint := fmt.Sprintf("%s --help lists the commands", cmd.CommandPath())
	if similar := cmd.SuggestionsFor(args[0]); len(similar) > 0 {
		hint = "did you mean " + strings.Join(similar, ", ") + "?"
	}
	return fmt.Errorf("unknown command %q for %q; %s", args[0], cmd.CommandPath(), hint)
}

// needs is for commands with these arguments. Its error says how the command is used.
func needs(names ...string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		var wrong string
		switch n := len(args); {
		case n < len(names):
			wrong = names[n] + " is missing"
		case n > len(names):
			wrong = fmt.Sprintf("unexpected argument %q", args[len(names)])
		default:
			return nil
		}
		return fmt.Errorf("%s\n\nUsage:\n  %s\n\n%s --help says more", wrong, cmd.UseLine(), cmd.CommandPath())
	}
}

// quietLog keeps Caddy's log off the terminal: it says there, before a command's own output, which file
// it reads. What goes wrong is the command's error. (The demonstration configures a log of its own.)
func quietLog(*cobra.Command, []string) { caddy.BufferedLog() }

// demoCommand is "caddy bestdns demo".
func demoCommand() *cobra.Command {
	var options demo.Options
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Obtains wildcard certificates on this machine with nothing configured",
		Long: `Starts a name server, the BestDNS API over HTTPS and a certificate authority in
one process, on free ports of the loopback interface, and obtains wildcard
certificates through them: for a domain that BestDNS hosts, and for one that is
hosted elsewhere and has only a CNAME. It prints each step as it happens.

Nothing outside a temporary folder is touched.`,
		Example: `  caddy bestdns demo
  caddy bestdns demo --keep`,
		Args: needs(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			// An interrupt ends it as it should, its temporary folder included.
			ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
			defer stop()
			options.Out = cmd.OutOrStdout()
			return demo.Run(ctx, options)
		},
	}
	cmd.Flags().BoolVar(&options.Keep, "keep", false, "Leave everything running, with addresses to try, until interrupted")
	return cmd
}
