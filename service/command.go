package service

import (
	"os"
	"os/signal"
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
		Short: "Makes tokens and standing permissions, finds what is wrong, moves zones and accounts, backs up, and shows BestDNS at work",
		Long: `BestDNS keeps DNS records for ACME DNS challenges on behalf of clients that each
may change what they need and no more. The service is configured in Caddy's own
configuration; these commands are for what is around it.`,
		CobraFunc: func(cmd *cobra.Command) {
			cmd.RunE = caddycmd.WrapCommandFuncForCobra(func(caddycmd.Flags) (int, error) {
				return caddy.ExitCodeSuccess, cmd.Help()
			})
			cmd.AddCommand(tokenCommand(), persistCommand(), checkCommand(), exportCommand(), importCommand(), importAcmeDNSCommand(), backupCommand(), demoCommand())
		},
	})
}

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
		Args: cobra.NoArgs,
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
