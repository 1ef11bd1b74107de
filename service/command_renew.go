package service

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"
)

func renewCommand() *cobra.Command {
	var admin adminFlags
	var expires string
	cmd := &cobra.Command{
		Use:   "renew CLIENT [--expires DATE]",
		Short: "Sets a later day on which a client of the service expires",
		Long: `Sets the last day on which a client is accepted, in the service's Caddyfile and in
the running Caddy. Its token stays the same; "rotate" makes a new one.

The Caddyfile is that of --config, or the one in this folder. Without either, the
running Caddy alone is changed.`,
		Example: `  caddy bestdns renew web1 --config /etc/caddy/Caddyfile
  caddy bestdns renew web1 --expires 2027-06-30 --config /etc/caddy/Caddyfile`,
		Args: needs("CLIENT"),
		RunE: func(cmd *cobra.Command, args []string) error {
			now := time.Now()
			if expires == "" {
				expires = now.UTC().AddDate(1, 0, 0).Format(time.DateOnly)
			}
			end, err := parseExpiry(expires)
			switch {
			case err != nil:
				return fmt.Errorf("--expires: %w", err)
			case !end.After(now):
				return fmt.Errorf("--expires: %s has passed already", expires)
			}
			done, err := clientEdit{args[0], func(old *Client) (*Client, error) {
				if old == nil {
					return nil, noSuchClient(args[0])
				}
				if old.Expires == "" {
					return nil, fmt.Errorf("client %q does not expire", args[0])
				}
				changed := *old
				changed.Expires = expires
				return &changed, nil
			}}.apply(admin)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s\n\nThe last day of %s was %s, and is %s.\n", done, args[0], done.old.Expires, expires)
			return err
		},
	}
	cmd.Flags().StringVar(&expires, "expires", "", "The last day on which the client is accepted, such as 2027-06-30; by default in a year")
	admin.register(cmd)
	cmd.Flags().Lookup("config").Usage = "The service's Caddyfile; by default the one in this folder"
	return cmd
}

func noSuchClient(name string) error {
	return fmt.Errorf("there is no client %q; \"caddy bestdns clients\" lists them", name)
}
