package service

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/spf13/cobra"

	"github.com/caddy-dns/bestdns/internal/access"
	"github.com/caddy-dns/bestdns/internal/api"
	"github.com/caddy-dns/bestdns/internal/record"
	"github.com/caddy-dns/bestdns/internal/text"
)

// tokenOptions are the flags of "caddy bestdns token".
type tokenOptions struct {
	client     Client
	endpoint   string
	nameserver string
	recipe     string
	json       bool
	write      bool
	admin      adminFlags
	secrets    secrets
}

func tokenCommand() *cobra.Command { return tokenCommandWith(randomSecrets) }

func tokenCommandWith(secrets secrets) *cobra.Command {
	options := tokenOptions{secrets: secrets}
	cmd := &cobra.Command{
		Use:   "token CLIENT",
		Short: "Makes a token for a client of the service",
		Long: `Makes a token for a client and prints it once, with the lines to paste into the
configuration of the service (which keeps the token's hash only) and of the
client, and the CNAME records to create for domains that are hosted elsewhere.

A right is a name, with "under" before it for that name and all below it, and
after it the record types to which it is limited.

With --for, the client's lines are those for a client of another project, with
the secret in them. The lines for the service then switch on what it speaks. For
dynamic updates (RFC 2136), a TSIG key is made instead of a token.

The service's configuration is read, if --config names it or a Caddyfile is in this
folder: its zones, to tell which CNAME records are needed, its URL, where its name
server is, what its handler speaks, and what of it does not go with the client.

With --write, the client is added to that Caddyfile, or as a file of its own where
the global option bestdns has a line such as "import clients/*.caddy", and to the
running Caddy through its admin endpoint. Nothing else is changed.`,
		Example: `  caddy bestdns token web1 --certificates web1.example.org --config Caddyfile --write
  caddy bestdns token ops --allow "under example.org" --allow "www.example.net A AAAA"
  caddy bestdns token web1 --certificates web1.example.org --for certbot`,
		Args: needs("CLIENT"),
		RunE: func(cmd *cobra.Command, args []string) error {
			options.client.Name = args[0]
			if err := makeToken(cmd.OutOrStdout(), cmd.ErrOrStderr(), options); err != nil {
				return err
			}
			warnOfReaders(cmd.ErrOrStderr(), cmd.OutOrStdout(), "the token is")
			return nil
		},
	}
	flags := cmd.Flags()
	for verb := range access.Verbs() {
		list, flag := options.client.right(verb)
		if flag != nil {
			cmd.Use += fmt.Sprintf(" [--%s]", verb)
			flags.BoolVar(flag, verb.String(), false, verb.Help())
			continue
		}
		cmd.Use += fmt.Sprintf(" [--%s RIGHT]...", verb)
		flags.StringArrayVar(list, verb.String(), nil, verb.Help()+": "+verb.Arguments())
	}
	flags.StringArrayVar(&options.client.ClientIP, "client-ip", nil, "A network from which the token is accepted, or private_ranges")
	flags.StringVar(&options.client.Expires, "expires", "", "The last day on which the token is accepted, such as 2027-06-30")
	flags.StringVar(&options.client.Description, "description", "", "Whose client it is, for people")
	flags.StringVar(&options.recipe, "for", "", "Print the lines for a client of another project: "+listRecipes())
	flags.StringVar(&options.endpoint, "endpoint", "", "The URL of the service, for the client's lines; by default that of --config, if it is plain")
	flags.StringVar(&options.nameserver, "nameserver", "", "The IP address of the service's name server, for lines of clients that send dynamic updates; by default that of --config")
	flags.BoolVar(&options.write, "write", false, "Add the client to the service's Caddyfile and to the running Caddy")
	options.admin.register(cmd)
	flags.Lookup("config").Usage = "The service's configuration file; by default the Caddyfile in this folder"
	flags.BoolVar(&options.json, "json", false, "Print JSON")
	return cmd
}

// warnOfReaders warns if something secret has been written to a file that others can read. The
// shell creates it with the permissions that the umask leaves.
func warnOfReaders(warnings, out io.Writer, secretIs string) {
	file, ok := out.(*os.File)
	if !ok || runtime.GOOS == "windows" { // where these bits mean nothing
		return
	}
	info, err := file.Stat()
	if err != nil || !info.Mode().IsRegular() || info.Mode().Perm()&0o077 == 0 {
		return
	}
	fmt.Fprintf(warnings, "Warning: %s in a file that other users of this machine can read (mode %04o). To keep them out:\n\n\tchmod 600 %s\n",
		secretIs, info.Mode().Perm(), shellQuote(pathOf(file)))
}

// pathOf returns the path of an open file, if the system has it.
func pathOf(file *os.File) string {
	path, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", file.Fd()))
	if err != nil {
		path = file.Name() // /dev/stdout, where the shell opened it
	}
	if path == os.Stdout.Name() {
		return "FILE"
	}
	return path
}

// shellQuote writes a path so that a shell reads it as one argument.
func shellQuote(path string) string {
	const plain = "/._-+,:@%ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
	path = text.Visible(path)
	if strings.Trim(path, plain) == "" && !strings.HasPrefix(path, "-") {
		return path
	}
	return "'" + strings.ReplaceAll(path, "'", `'\''`) + "'"
}

// newToken is what the command prints.
type newToken struct {
	Client string `json:"client"`
	// Token is empty for a client that is known by a TSIG key instead.
	Token  string `json:"token,omitempty"`
	Config Client `json:"config"`
	// Environment has the secrets to which the configuration refers by the names of variables.
	Environment map[string]string `json:"environment,omitempty"`
	// Handler is the option of the handler that has to be switched on.
	Handler string      `json:"handler,omitempty"`
	Paste   []piece     `json:"paste,omitempty"`
	CNAMEs  []api.CNAME `json:"cnames,omitempty"`
	// Written says where the client was written.
	Written *edited `json:"written,omitempty"`

	// file is the service's configuration file, which the command leaves as it is.
	file string
	// label is the client's name in letters, digits and hyphens.
	label string
	// note says why CNAMEs are missing, or when they are needed.
	note string
	// handlerNote says when Handler has to be switched on.
	handlerNote string
}

// write adds the client to the service's configuration.
func (t newToken) write(admin adminFlags) (*edited, error) {
	if len(t.Environment) > 0 {
		return nil, fmt.Errorf("--write cannot give the running Caddy the variable %s, which it needs for this client: do without it, and restart Caddy with what is printed then",
			strings.Join(slices.Sorted(maps.Keys(t.Environment)), " or "))
	}
	done, err := clientEdit{t.Client, func(old *Client) (*Client, error) {
		if old != nil {
			return nil, fmt.Errorf("there is a client %q already: \"caddy bestdns rotate %s\" gives it a new token; or choose another name", t.Client, shellQuote(t.Client))
		}
		return &t.Config, nil
	}}.apply(admin)
	return &done, err
}

func makeToken(out, warnings io.Writer, options tokenOptions) error {
	recipe, err := findRecipe(options.recipe)
	if err != nil {
		return err
	}
	hosted, err := options.findHosting()
	if err != nil {
		return err
	}
	result, err := options.make(recipe, hosted)
	if err != nil {
		return err
	}
	config, err := result.Config.access()
	if err != nil {
		return err
	}
	if !config.Expires.IsZero() && !config.Expires.After(time.Now()) {
		return fmt.Errorf("expires: %s has passed already, and the token would never be accepted", options.client.Expires)
	}
	if len(config.Rules) == 0 {
		return fmt.Errorf("a token that may do nothing is of no use: give it rights, with the flags %s", listVerbs("--"))
	}
	if result.CNAMEs, result.note, err = hosted.cnames(config.Rules); err != nil {
		return err
	}
	if options.endpoint == "" {
		options.endpoint = hosted.endpoint
	}
	if recipe != nil {
		if err := result.follow(recipe, options, hosted, config.Rules); err != nil {
			return err
		}
	}
	result.hideSecrets()
	if options.write {
		if result.Written, err = result.write(options.admin); err != nil {
			return err
		}
	} else {
		result.file = options.admin.config
	}
	defer func() {
		for _, warning := range hosted.warnings(config) {
			fmt.Fprintf(warnings, "Warning: %s.\n", warning)
		}
	}()
	if options.json {
		encoder := json.NewEncoder(out)
		encoder.SetIndent("", "  ")
		encoder.SetEscapeHTML(false) // "<your zone>"
		return encoder.Encode(result)
	}
	return result.print(out, options.endpoint)
}

// print writes the token and what to paste where.
func (t newToken) print(out io.Writer, endpoint string) error {
	if endpoint == "" {
		endpoint = noEndpoint
	}
	var b strings.Builder
	if t.Paste == nil {
		fmt.Fprintf(&b, "For the client %s, into its environment (with systemd, a file of mode 600 that EnvironmentFile= names). The\ntoken is shown this once:\n\n", t.Client)
		fmt.Fprintf(&b, "\tBESTDNS_API_TOKEN=%s\n\tBESTDNS_ENDPOINT=%s\n\n", t.Token, endpoint)
	}
	if t.Written != nil {
		fmt.Fprintf(&b, "%s\n\n", t.Written)
	}
	if t.Written == nil || t.Written.File == "" {
		fmt.Fprintf(&b, "For the service, into its global option bestdns:\n\n%s\n", t.Config.caddyfile("\t"))
	}
	if len(t.Environment) > 0 {
		b.WriteString("For the service, into the environment of its Caddy, which has to be restarted for it (with systemd,\na file of mode 600 that EnvironmentFile= of its unit names); shown this once:\n\n")
		for _, name := range slices.Sorted(maps.Keys(t.Environment)) {
			fmt.Fprintf(&b, "\t%s=%s\n", name, t.Environment[name])
		}
		b.WriteString("\n")
	}
	if t.Handler != "" {
		fmt.Fprintf(&b, "For the service, into its site%s:\n\n\tbestdns {\n\t\t%s\n\t}\n\n", t.handlerNote, t.Handler)
	}
	if t.Written == nil && len(t.Environment) == 0 {
		b.WriteString(t.loading())
	}
	for i, p := range t.Paste {
		if i > 0 {
			b.WriteString("\n")
		}
		fmt.Fprintf(&b, "%s\n\n%s", p.Where, p.Text) // not indented, for files in which that means something
	}
	if t.Paste == nil {
		b.WriteString(t.forClient(endpoint))
	}
	if t.Paste == nil && len(t.Config.Persist) > 0 {
		b.WriteString("\nTo write a standing permission, with the token in the environment as BESTDNS_API_TOKEN:\n\n")
		for _, domain := range t.Config.Persist {
			fmt.Fprintf(&b, "\tcaddy bestdns persist %s --account <URI of the ACME account> --endpoint %s --write\n", shellQuote(domain), endpoint)
		}
	}
	if len(t.CNAMEs) > 0 {
		b.WriteString("\nTo create once, where the domains are hosted:\n\n")
		for _, c := range t.CNAMEs {
			fmt.Fprintf(&b, "\t%s CNAME %s\n", c.Name, c.Target)
		}
	}
	if t.note != "" {
		fmt.Fprintf(&b, "\n%s\n", t.note)
	}
	_, err := io.WriteString(out, b.String())
	return err
}

// loading says how the service gets to know what was pasted.
func (t newToken) loading() string {
	if t.file == "" {
		return "Then reload its Caddy. (--write does both.)\n\n"
	}
	return fmt.Sprintf("Then load it (--write does both):\n\n\tcaddy reload --config %s\n\n", shellQuote(t.file))
}

// forClient returns the lines for Caddy, lego and curl.
func (t newToken) forClient(endpoint string) string {
	var b strings.Builder
	if len(t.Config.Certificates) > 0 {
		b.WriteString("For the client's site, if it is Caddy:\n\n")
		fmt.Fprintf(&b, "\ttls {\n\t\tdns bestdns {env.BESTDNS_API_TOKEN} %s\n\t\tpropagation_timeout -1\n\t}\n\n", endpoint)
		b.WriteString("For lego, if the handler of the service has the option httpreq:\n\n")
		fmt.Fprintf(&b, "\tHTTPREQ_ENDPOINT=$BESTDNS_ENDPOINT HTTPREQ_USERNAME=%s HTTPREQ_PASSWORD=$BESTDNS_API_TOKEN \\\n\t\tlego --dns httpreq --domains %s run\n\n", t.label, t.Config.Certificates[0])
	}
	b.WriteString("To see what it may do:\n\n")
	b.WriteString("\tcurl -H \"Authorization: Bearer $BESTDNS_API_TOKEN\" $BESTDNS_ENDPOINT/v1/token\n\n")
	fmt.Fprintf(&b, "Lines for other clients: --for %s.\n", strings.ReplaceAll(listRecipes(), ", ", "|"))
	return b.String()
}

// caddyfile returns the client's block, each line after an indent.
func (c Client) caddyfile(indent string) string {
	var b strings.Builder
	line := func(option, value string) {
		b.WriteString(strings.TrimSuffix(indent+"\t"+option+" "+value, " ") + "\n")
	}
	fmt.Fprintf(&b, indent+"client %s {\n", quote(c.Name))
	if c.Description != "" {
		line("description", quote(c.Description))
	}
	for _, token := range c.Tokens {
		line("token", token)
	}
	for _, key := range c.Keys {
		line("tsig", strings.Join([]string{quote(key.Name), key.Algorithm, quote(key.Secret)}, " "))
	}
	for verb := range access.Verbs() {
		for _, right := range c.written(verb) {
			line(verb.String(), right)
		}
	}
	if c.AccountSecret != "" {
		line("account_secret", quote(c.AccountSecret))
	}
	for _, network := range c.ClientIP {
		line("client_ip", network)
	}
	for _, file := range c.Accounts {
		line("accounts", quote(file))
	}
	if c.Expires != "" {
		line("expires", c.Expires)
	}
	b.WriteString(indent + "}\n")
	return b.String()
}

// quote writes an argument so that the Caddyfile reads it as one.
func quote(s string) string {
	if tokens, err := caddyfile.Tokenize([]byte(s), ""); err == nil && len(tokens) == 1 && tokens[0].Text == s {
		return s
	}
	return `"` + strings.ReplaceAll(s, `"`, `\"`) + `"`
}

// cnames returns the CNAME records that the rights to certificates need, and a note about
// those that are missing or not always needed.
func (h hosted) cnames(rules []access.Rule) (cnames []api.CNAME, note string, err error) {
	for _, rule := range rules {
		if rule.Verb != access.Certificates {
			continue
		}
		owner, err := record.Challenge{Domain: rule.Name}.Owner()
		if err != nil {
			return nil, "", err
		}
		if _, hosted := h.zones.Of(owner); hosted {
			continue
		}
		target := "<your zone>."
		if h.known {
			target = h.target.String()
		}
		if h.known && h.target == "" {
			note = fmt.Sprintf("No zone of the service holds %s, and none is marked cname_target: mark one, and run this again for the CNAME to create.", rule.Name)
			continue
		}
		c := api.CNAME{Name: owner.String(), Target: rule.Name.String() + target}
		if rule.Under {
			note = "The CNAME is needed for each name below that gets a certificate, in the same way."
		}
		cnames = append(cnames, c)
	}
	if !h.known && len(cnames) > 0 {
		note = strings.TrimSpace("This is needed only for domains in no zone of the service; give --config to find out. " + note)
	}
	return cnames, note, nil
}
