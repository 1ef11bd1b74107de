package service

import (
	"encoding/json"
	"errors"
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
	address, err := f.endpoint(nil)
	if err != nil {
		return nil, err
	}
	return askAdmin(address, method, uri, http.Header{"Content-Type": {masterFileType}}, body)
}

// endpoint returns the address of the admin endpoint. config is the configuration, if it was read before.
func (f *adminFlags) endpoint(config []byte) (string, error) {
	address, err := caddycmd.DetermineAdminAPIAddress(f.address, config, f.config, f.adapter)
	if err != nil {
		return "", fmt.Errorf("finding the admin endpoint of the running Caddy: %w", err)
	}
	return address, nil
}

// errNotRunning is that of an admin endpoint that does not answer.
var errNotRunning = errors.New("it must be running; --address or --config say where")

// askAdmin makes a request to an admin endpoint.
func askAdmin(address, method, uri string, headers http.Header, body io.Reader) (*http.Response, error) {
	response, err := caddycmd.AdminAPIRequest(address, method, uri, headers, body)
	if said, ok := refusal(err); ok {
		return nil, fmt.Errorf("the running Caddy says: %s", text.Brief(said, text.MaxDetail))
	}
	if err != nil {
		return nil, fmt.Errorf("asking the running Caddy at its admin endpoint %s (%w): %w", address, errNotRunning, err)
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

// zonePath returns the path of a zone at the admin endpoint, whose name may be internationalized.
func zonePath(name string) (string, error) {
	ascii, err := toASCII(name)
	return adminZones + url.PathEscape(ascii), err
}

func exportCommand() *cobra.Command {
	var admin adminFlags
	cmd := &cobra.Command{
		Use:   "export ZONE",
		Short: "Writes a built-in zone as a master file",
		Long: `Writes a zone of the built-in name server to the standard output as a master file
(RFC 1035), its SOA and NS records included, through the admin endpoint of the
running Caddy. Records of challenges under way are left out.`,
		Example: `  caddy bestdns export example.org > example.org.zone`,
		Args:    needs("ZONE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			path, err := zonePath(args[0])
			if err != nil {
				return err
			}
			response, err := admin.request(http.MethodGet, path, nil)
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
	var how hosting.Import
	cmd := &cobra.Command{
		Use:   "import ZONE FILE",
		Short: "Reads a master file into a built-in zone",
		Long: `Adds the records of a master file (RFC 1035, with $ORIGIN and $TTL; $INCLUDE is
refused) to a zone of the built-in name server, all in one commit or none, through
the admin endpoint of the running Caddy. FILE "-" is the standard input.

SOA records, NS records at the apex and addresses of name servers are skipped: the
configuration sets them. With --replace, records that are in the zone and not in the
file are deleted, except those of challenges under way.`,
		Example: `  caddy bestdns import example.org example.org.zone --dry-run
  caddy bestdns import example.org example.org.zone --replace

  dig @192.0.2.1 example.org AXFR | caddy bestdns import example.org - --without-dnssec`,
		Args: needs("ZONE", "FILE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			path, err := zonePath(args[0])
			if err != nil {
				return err
			}
			file, err := openInput(cmd, args[1])
			if err != nil {
				return err
			}
			defer file.Close()
			response, err := admin.request(http.MethodPost, path+importQuery(how), file)
			if err != nil {
				return err
			}
			defer response.Body.Close()
			var done hosting.Imported
			if err := json.NewDecoder(response.Body).Decode(&done); err != nil {
				return fmt.Errorf("reading the answer of the running Caddy: %w", err)
			}
			return printImported(cmd.OutOrStdout(), how, done)
		},
	}
	admin.register(cmd)
	cmd.Flags().BoolVar(&how.Replace, "replace", false, "Delete what is in the zone and not in the file")
	cmd.Flags().BoolVar(&how.DryRun, "dry-run", false, "Change nothing, and print what would be")
	cmd.Flags().BoolVar(&how.WithoutDNSSEC, "without-dnssec", false, "Skip the records that a zone has because it is signed, such as RRSIG, NSEC and DNSKEY")
	return cmd
}

// importQuery is what readImport reads.
func importQuery(how hosting.Import) string {
	query := make(url.Values)
	for option, on := range map[string]bool{importReplace: how.Replace, importDryRun: how.DryRun, importWithoutDNSSEC: how.WithoutDNSSEC} {
		if on {
			query.Set(option, "true")
		}
	}
	return "?" + query.Encode()
}

// printImported prints what an import did, or would do.
func printImported(out io.Writer, how hosting.Import, done hosting.Imported) error {
	var b strings.Builder
	if how.DryRun {
		fmt.Fprintf(&b, "Nothing was changed. The zone has %d records, and would have %d with the %d of the file.\n", done.Before, done.After, done.Records)
	} else {
		fmt.Fprintf(&b, "The zone had %d records, and has %d with the %d of the file (serial %d).\n", done.Before, done.After, done.Records, done.Serial)
	}
	if done.DNSSEC > 0 {
		fmt.Fprintf(&b, "Skipped, since a signed zone made them: %d\n", done.DNSSEC)
	}
	if done.Made > 0 {
		fmt.Fprintf(&b, "Skipped, since the configuration sets them: %d\n", done.Made)
		for _, record := range done.Skipped {
			fmt.Fprintf(&b, "\t%s\n", record)
		}
		if more := done.Made - len(done.Skipped); more > 0 {
			fmt.Fprintf(&b, "\tand %d more\n", more)
		}
	}
	_, err := io.WriteString(out, b.String())
	return err
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
		Short: "Writes a backup of the store",
		Long: `Writes a consistent snapshot of all built-in zones to a new store file, through
the admin endpoint of the running Caddy. It does not block writes. To restore it, copy
it over the store file while Caddy is stopped. FILE must not exist yet.`,
		Example: `  caddy bestdns backup /var/backups/bestdns/2027-06-30.db`,
		Args:    needs("FILE"),
		RunE: func(_ *cobra.Command, args []string) error {
			return saveBackup(&admin, args[0])
		},
	}
	admin.register(cmd)
	return cmd
}

func saveBackup(admin *adminFlags, name string) error {
	if _, err := os.Lstat(name); err == nil {
		return fmt.Errorf("%s exists already; a backup does not overwrite another one", name)
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
		return fmt.Errorf("writing the backup: %w", err)
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
