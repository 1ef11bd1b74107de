package service

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/caddy-dns/bestdns/internal/access"
)

// rotateOptions are the flags of "caddy bestdns rotate".
type rotateOptions struct {
	now, finish bool
	json        bool
	admin       adminFlags
}

func rotateCommand() *cobra.Command {
	var options rotateOptions
	cmd := &cobra.Command{
		Use:   "rotate CLIENT",
		Short: "Gives a client of the service a new token",
		Long: `Makes a new token for a client and prints it once. Its hash is written into the
service's Caddyfile and given to the running Caddy, before that of the old token,
which is still accepted. (A comment on the line of a token goes with it.) Give the client the new one, then run the command again
with --finish. With --now, the old token is not accepted any more at once.

The Caddyfile is that of --config, or the one in this folder. Without either, the
running Caddy alone is changed.`,
		Example: `  caddy bestdns rotate web1 --config /etc/caddy/Caddyfile
  caddy bestdns rotate web1 --config /etc/caddy/Caddyfile --finish`,
		Args: needs("CLIENT"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := options.run(cmd.OutOrStdout(), args[0]); err != nil {
				return err
			}
			if !options.finish {
				warnOfReaders(cmd.ErrOrStderr(), cmd.OutOrStdout(), "the token is")
			}
			return nil
		},
	}
	flags := cmd.Flags()
	flags.BoolVar(&options.now, "now", false, "Have the old token not be accepted any more")
	flags.BoolVar(&options.finish, "finish", false, "Make no token, and have the last one be the only one that is accepted")
	flags.BoolVar(&options.json, "json", false, "Print JSON")
	options.admin.register(cmd)
	flags.Lookup("config").Usage = "The service's Caddyfile; by default the one in this folder"
	cmd.MarkFlagsMutuallyExclusive("now", "finish")
	return cmd
}

// rotated is what the command prints.
type rotated struct {
	Client string `json:"client"`
	Token  string `json:"token,omitempty"`
	// Accepted are the hashes of the tokens that are accepted now, the newest first.
	Accepted []string `json:"accepted"`
	Written  edited   `json:"written"`

	flags string // with which the command finds the configuration again
}

func (o *rotateOptions) run(out io.Writer, name string) error {
	result := rotated{Client: name}
	if !o.finish {
		result.Token = randomSecrets.token()
	}
	var err error
	if result.Written, err = (clientEdit{name, func(old *Client) (*Client, error) { return o.rotate(old, name, result.Token) }}).apply(o.admin); err != nil {
		return err
	}
	result.Accepted, result.flags = result.Written.new.Tokens, o.admin.written()
	if o.json {
		encoder := json.NewEncoder(out)
		encoder.SetIndent("", "  ")
		return encoder.Encode(result)
	}
	return result.print(out)
}

// rotate returns a client with a new token or, if that is "", with its last one alone.
func (o *rotateOptions) rotate(old *Client, name, token string) (*Client, error) {
	switch {
	case old == nil:
		return nil, noSuchClient(name)
	case len(old.Tokens) == 0:
		return nil, fmt.Errorf("client %q has no token: it is known by a TLS client certificate, a user or a TSIG key, which are changed where they are configured", name)
	case o.finish && len(old.Tokens) == 1:
		return nil, fmt.Errorf("client %q has one token, so there is nothing to finish", name)
	}
	changed := *old
	changed.Tokens = slices.Clone(old.Tokens)
	if token != "" {
		changed.Tokens = slices.Insert(changed.Tokens, 0, access.DigestOf(token).String())
	}
	if o.now || o.finish {
		changed.Tokens = changed.Tokens[:1]
	}
	if len(changed.Tokens) > mostTokens {
		return nil, fmt.Errorf("client %q has %d tokens already: have the last one be the only one with --finish", name, len(old.Tokens))
	}
	return &changed, nil
}

// mostTokens is how many tokens rotating leaves a client, so that none is forgotten.
const mostTokens = 4

func (r rotated) print(out io.Writer) error {
	var err error
	if r.Token != "" {
		_, err = fmt.Fprintf(out, "The new token of %s, shown this once:\n\n\t%s\n\n", r.Client, r.Token)
	}
	_, err2 := fmt.Fprintln(out, r.Written)
	if r.Written.File == "" {
		_, err2 = fmt.Fprintf(out, "\n\ttoken %s\n", strings.Join(r.Accepted, "\n\ttoken "))
	}
	switch {
	case r.Token == "":
		_, err = fmt.Fprintf(out, "\nThe only token that %s has now is that with the hash %s.\n", r.Client, r.Accepted[0])
	case len(r.Accepted) > 1:
		_, err = fmt.Fprintf(out, "\nThe old token is still accepted. Once the client has the new one:\n\n\tcaddy bestdns rotate %s --finish%s\n", shellQuote(r.Client), r.flags)
	}
	return errors.Join(err, err2)
}
