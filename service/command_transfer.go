package service

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"

	"github.com/caddy-dns/bestdns/internal/hosting"
	"github.com/caddy-dns/bestdns/internal/text"
)

// adminFlags say where the running Caddy has its admin endpoint.
type adminFlags struct{ address, config, adapter string }

func (f *adminFlags) register(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.address, "address", "", "The address of the running Caddy's admin endpoint")
	cmd.Flags().StringVarP(&f.config, "config", "c", "", "Its configuration file, to find that address in")
	cmd.Flags().StringVarP(&f.adapter, "adapter", "a", "", "The config adapter for --config; by default Caddy's choice")
}

// request makes a request to the admin endpoint. Its error is what went wrong there.
func (f *adminFlags) request(method, uri string, body io.Reader) (*http.Response, error) {
	address, err := caddycmd.DetermineAdminAPIAddress(f.address, nil, f.config, f.adapter)
	if err != nil {
		return nil, fmt.Errorf("finding the admin endpoint of the running Caddy: %w", err)
	}
	headers := http.Header{"Content-Type": {masterFileType}}
	response, err := caddycmd.AdminAPIRequest(address, method, uri, headers, body)
	if said, ok := refusal(err); ok {
		return nil, fmt.Errorf("the running Caddy says: %s", text.Brief(said, text.MaxDetail))
	}
	if err != nil {
		return nil, fmt.Errorf("asking the running Caddy at its admin endpoint %s (it must be running; --address or --config say where): %w", address, err)
	}
	return response, nil
}

// refusal returns what the admin endpoint has answered, of the error in which Caddy's
// own client wraps that: "caddy responded with error: HTTP 404: {"error":"…"}".
func refusal(err error) (said string, ok bool) {
	if err == nil {
		return "", false
	}
	_, answer, ok := strings.Cut(err.Error(), "caddy responded with error: HTTP ")
	if !ok {
		return "", false
	}
	_, body, _ := strings.Cut(answer, ": ")
	var refused struct {
		Error string `json:"error"`
	}
	if json.Unmarshal([]byte(body), &refused) != nil || refused.Error == "" {
		return "", false
	}
	return refused.Error, true
}

func exportCommand() *cobra.Command {
	var admin adminFlags
	cmd := &cobra.Command{
		Use:   "export ZONE",
		Short: "Writes a built-in zone as a master file",
		Long: `Writes a zone of the built-in name server to the standard output as a master file
(RFC 1035), its SOA and NS records included, through the admin endpoint of the
running Caddy. Records of challenges under way are left out.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			response, err := admin.request(http.MethodGet, adminZones+url.PathEscape(args[0]), nil)
			if err != nil {
				return err
			}
			defer response.Body.Close()
			_, err = io.Copy(cmd.OutOrStdout(), response.Body)
			return err
		},
	}
	admin.register(cmd)
	return cmd
}

func importCommand() *cobra.Command {
	var admin adminFlags
	var replace bool
	cmd := &cobra.Command{
		Use:   "import ZONE FILE",
		Short: "Reads a master file into a built-in zone",
		Long: `Adds the records of a master file (RFC 1035, with $ORIGIN and $TTL; $INCLUDE is
refused) to a zone of the built-in name server, all in one commit or none, through
the admin endpoint of the running Caddy. FILE "-" is the standard input.

SOA records, NS records at the apex and addresses of name servers are passed over:
they are made out of the configuration. With --replace, what is in the zone and
not in the file goes, but for challenges under way.`,
		Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			file, err := openInput(cmd, args[1])
			if err != nil {
				return err
			}
			defer file.Close()
			uri := adminZones + url.PathEscape(args[0])
			if replace {
				uri += "?replace=true"
			}
			response, err := admin.request(http.MethodPost, uri, file)
			if err != nil {
				return err
			}
			defer response.Body.Close()
			var done hosting.Imported
			if err := json.NewDecoder(response.Body).Decode(&done); err != nil {
				return fmt.Errorf("reading the answer of the running Caddy: %w", err)
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%d records are in the zone, %d were passed over since they are made out of the configuration; serial %d\n",
				done.Records, done.Made, done.Serial)
			return err
		},
	}
	admin.register(cmd)
	cmd.Flags().BoolVar(&replace, "replace", false, "Remove what is in the zone and not in the file")
	return cmd
}

func openInput(cmd *cobra.Command, name string) (io.ReadCloser, error) {
	if name == "-" {
		return io.NopCloser(cmd.InOrStdin()), nil
	}
	return os.Open(name)
}

func backupCommand() *cobra.Command {
	var admin adminFlags
	cmd := &cobra.Command{
		Use:   "backup FILE",
		Short: "Writes a back-up of the store",
		Long: `Writes all built-in zones, as they are at one moment, to a new store file, through
the admin endpoint of the running Caddy. To restore it, put it in the place of the
store while Caddy is stopped. FILE must not exist yet.`,
		Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			return saveBackup(&admin, args[0])
		},
	}
	admin.register(cmd)
	return cmd
}

func saveBackup(admin *adminFlags, name string) error {
	if _, err := os.Lstat(name); err == nil {
		return fmt.Errorf("%s exists already; a back-up does not overwrite another one", name)
	}
	response, err := admin.request(http.MethodGet, adminBackup, nil)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	err = writeWhole(name, func(out io.Writer) error {
		_, err := io.Copy(out, response.Body)
		return err
	})
	if err != nil {
		return fmt.Errorf("writing the back-up: %w", err)
	}
	return nil
}

// writeWhole writes a file for its owner alone, and puts it in its place only when it is whole.
func writeWhole(name string, write func(io.Writer) error) error {
	part, err := os.CreateTemp(filepath.Dir(name), filepath.Base(name)+".part-") // for its owner alone
	if err != nil {
		return err
	}
	defer func() {
		part.Close()
		os.Remove(part.Name()) // it is gone if all went well
	}()
	if err := write(part); err != nil {
		return err
	}
	if err := part.Sync(); err != nil {
		return err
	}
	return os.Rename(part.Name(), name)
}
