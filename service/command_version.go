package service

import (
	"fmt"
	"io"
	"runtime"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/spf13/cobra"

	"github.com/caddy-dns/bestdns/internal/api"
)

// providersScope is what the names of Caddy's modules for DNS providers begin with.
const providersScope = "dns.providers"

func versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Prints the versions of BestDNS, Caddy and Go, and the DNS providers that are built in",
		Long: `Prints what this program is built of: the versions of BestDNS, Caddy and Go, the
platform, and the modules for DNS providers, by the names that a configuration has
for them. Without a release the version of BestDNS is "devel" and the commit.`,
		Example: `  caddy bestdns version`,
		Args:    needs(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return printVersion(cmd.OutOrStdout())
		},
	}
}

func printVersion(w io.Writer) error {
	var providers []string
	for _, m := range caddy.GetModules(providersScope) {
		providers = append(providers, m.ID.Name())
	}
	caddyVersion, _ := caddy.Version()
	_, err := fmt.Fprintf(w, "BestDNS    %s\nCaddy      %s\nGo         %s %s/%s\nproviders  %s\n",
		api.Version(), caddyVersion, runtime.Version(), runtime.GOOS, runtime.GOARCH, strings.Join(providers, " "))
	return err
}
