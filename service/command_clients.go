package service

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/caddy-dns/bestdns/internal/text"
)

// clientsOptions are the flags of "caddy bestdns clients".
type clientsOptions struct {
	may   string
	json  bool
	admin adminFlags
}

func clientsCommand() *cobra.Command {
	var options clientsOptions
	cmd := &cobra.Command{
		Use:   "clients [--may OPERATION NAME [TYPE]]",
		Short: "Lists the clients of the service, or those that may do something",
		Long: `Asks the running Caddy for its clients, with their rights, when each was last used
since that Caddy started, and when it expires.

With --may, it lists those that may append, set, delete or read records at NAME, of
TYPE (TXT if none is given), and ends with 1 if no client may.`,
		Example: `  caddy bestdns clients
  caddy bestdns clients --may append _acme-challenge.host7.example.org TXT`,
		Args: func(cmd *cobra.Command, args []string) error {
			switch {
			case options.may == "":
				return needs()(cmd, args)
			case len(args) == 2:
				return nil
			}
			return needs("NAME")(cmd, args)
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			found, err := options.find(args)
			if err != nil {
				return err
			}
			out := cmd.OutOrStdout()
			if options.json {
				encoder := json.NewEncoder(out)
				encoder.SetIndent("", "  ")
				err = encoder.Encode(found)
			} else {
				err = printClients(out, found, time.Now())
			}
			if err == nil && options.may != "" && len(found) == 0 {
				fmt.Fprintf(cmd.ErrOrStderr(), "No client may %s %s.\n", options.may, strings.Join(args, " "))
				return exitWith(cmd, 1)
			}
			return err
		},
	}
	cmd.Flags().StringVar(&options.may, "may", "", "Only those that may append, set, delete or read records of the name and type that follow")
	cmd.Flags().BoolVar(&options.json, "json", false, "Print JSON")
	options.admin.register(cmd)
	return cmd
}

// find returns the clients of the running Caddy for which the flags ask.
func (o *clientsOptions) find(args []string) (found []clientSeen, err error) {
	path := adminClients
	if o.may != "" {
		query := url.Values{clientsMay: {o.may}}
		name, err := toASCII(args[0])
		if err != nil {
			return nil, err
		}
		query.Set(clientsName, name)
		if len(args) > 1 {
			query.Set(clientsType, args[1])
		}
		path += "?" + query.Encode()
	}
	response, err := o.admin.request(http.MethodGet, path, nil)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	if err := json.NewDecoder(response.Body).Decode(&found); err != nil {
		return nil, fmt.Errorf("reading what the running Caddy says of its clients: %w", err)
	}
	return found, nil
}

// printClients writes a table: a line for each right.
func printClients(out io.Writer, clients []clientSeen, now time.Time) error {
	if len(clients) == 0 {
		return nil
	}
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "CLIENT\tRIGHTS\tLAST USED\tEXPIRES")
	for _, c := range clients {
		used, expires := "never", "never"
		if c.LastUsed != nil {
			used = c.LastUsed.UTC().Format("2006-01-02 15:04 UTC")
		}
		if c.Expires != nil {
			if expires = c.Expires.Add(-time.Second).UTC().Format(time.DateOnly); !now.Before(*c.Expires) { // its last day
				expires = "expired " + expires
			}
		}
		name := text.Brief(c.Client, text.MaxName)
		for _, right := range append(c.Rights, "")[:max(len(c.Rights), 1)] {
			fmt.Fprintf(table, "%s\t%s\t%s\t%s\n", name, cmp.Or(text.Brief(right, text.MaxName), "none"), used, expires)
			name, used, expires = "", "", ""
		}
	}
	return table.Flush()
}
