package service

import (
	"cmp"
	"fmt"

	"github.com/spf13/cobra"
)

func revokeCommand() *cobra.Command {
	var admin adminFlags
	cmd := &cobra.Command{
		Use:   "revoke CLIENT",
		Short: "Takes a client out of the service",
		Long: `Removes a client from the service's Caddyfile and from the running Caddy, which does
not accept it any more when the command ends. It prints the lines that it removed.
Records that the client wrote stay; its challenges expire as always.

The Caddyfile is that of --config, or the one in this folder. Without either, the
running Caddy alone is changed.`,
		Example: `  caddy bestdns revoke web1 --config /etc/caddy/Caddyfile`,
		Args:    needs("CLIENT"),
		RunE: func(cmd *cobra.Command, args []string) error {
			name := args[0]
			done, err := clientEdit{name, func(old *Client) (*Client, error) {
				if old == nil {
					return nil, noSuchClient(name)
				}
				return nil, nil
			}}.apply(admin)
			if err != nil {
				return err
			}
			if len(done.old.Register) > 0 || len(done.old.Accounts) > 0 {
				fmt.Fprintf(cmd.ErrOrStderr(), "Warning: the accounts of acme-dns that belong to %s are not accepted any more.\n", name)
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s Removed:\n\n%s", done, cmp.Or(done.cut, done.old.caddyfile("\t")))
			return err
		},
	}
	admin.register(cmd)
	cmd.Flags().Lookup("config").Usage = "The service's Caddyfile; by default the one in this folder"
	return cmd
}
