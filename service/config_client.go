package service

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-dns/bestdns/internal/access"
)

// Client is a user of the API. It may do what its rights say; they add up, and
// nothing else is allowed.
//
// A right is a name, with `under` before it for that name and all below it, and
// after it the record types to which it is limited. Names are absolute. The right
// `watch` has no name.
type Client struct {
	// The client's name, for the log.
	Name string `json:"name,omitempty"`

	// Whose client it is, or what it is for. It appears beside the name where the log
	// speaks of the client itself, on the page, and in the answer to `GET /v1/token`.
	Description string `json:"description,omitempty"`

	// The hashes of the client's token, `sha256:` and 64 hexadecimal digits, as
	// `caddy bestdns token` prints them. List two while rotating the token: add
	// the new one's, give out the new token, remove the old one's.
	Tokens []string `json:"token,omitempty"`

	// The hashes of TLS client certificates by which the client is known without a
	// token, `sha256:` and 64 hexadecimal digits of the SHA-256 of the certificate
	// in DER. Caddy has to ask for client certificates (`client_auth`); that the
	// client has the key is proven by the handshake. It does not matter whether a CA has issued the
	// certificate.
	TLSClientCertificates []string `json:"tls_client_certificate,omitempty"`

	// The users by which the client is known without a token: what an earlier
	// authentication handler, such as `basic_auth`, sets as `{http.auth.user.id}`.
	Users []string `json:"user,omitempty"`

	// The TSIG keys by which DNS messages of the client are known (RFC 8945): dynamic
	// updates (RFC 2136), and transfers if it may read the whole zone. The name server
	// takes them at `listen`, also of zones that are not built in.
	Keys []*TSIGKey `json:"tsig,omitempty"`

	// The domains for which the client may obtain certificates: it may add and
	// remove exactly the TXT records that DNS-01 challenges for them (wildcards
	// included) need.
	Certificates []string `json:"certificates,omitempty"`

	// The names at which the client may add, set, delete and read records:
	// `www.example.org A AAAA`, `under apps.example.org`.
	Allow []string `json:"allow,omitempty"`

	// The names at which the client may read records, beyond those at which it
	// has another right; or `all`, which is all that the service has.
	Read []string `json:"read,omitempty"`

	// Whether the client sees the whole service on the page: all zones, challenges,
	// changes with their reasons, and clients. It gives no right to read or change a
	// record. Default: a client sees there what is its own.
	Watch bool `json:"watch,omitempty"`

	// The name below which the client may register accounts, as `under auth.example.org`,
	// for clients of acme-dns: each account answers challenges at a name of its own. The
	// zone that holds the name has to be hosted here.
	Register []string `json:"register,omitempty"`

	// The secret from which accounts are computed, 16 bytes at least. Have a placeholder
	// such as `{env.ACCOUNT_SECRET}` bring it. No account is stored; with another secret,
	// none of those that were registered is accepted any more.
	AccountSecret string `json:"account_secret,omitempty"`

	// Files with accounts of acme-dns, as `caddy bestdns import-acme-dns` writes them.
	Accounts []string `json:"accounts,omitempty"`

	// The user names or subdomains of accounts that are not accepted any more.
	Revoked []string `json:"revoked,omitempty"`

	// The domains for which the client may permit an ACME account to obtain certificates
	// at any time, without a challenge (dns-persist-01): the TXT records at
	// `_validation-persist.` and the domain.
	Persist []string `json:"persist,omitempty"`

	// The networks from which the client's token is accepted, in CIDR notation
	// or as single addresses; `private_ranges` means all private ones.
	// Default: any.
	ClientIP []string `json:"client_ip,omitempty"`

	// How many records the client can have in all built-in zones together; 0 is no
	// limit. Default: `client_records` of `limits`.
	MaxRecords *int `json:"max_records,omitempty"`

	// How many bytes these records can have; 0 is no limit. Default: `client_bytes` of
	// `limits`.
	MaxBytes *int `json:"max_bytes,omitempty"`

	// The last day on which the token is accepted, as `2006-01-02` in UTC.
	// Default: it does not expire.
	Expires string `json:"expires,omitempty"`
}

// renamedOption is an earlier spelling of tls_client_certificate. It differs in one letter
// from the right certificates, and each was mistaken for the other.
const renamedOption = "certificate"

var errRenamed = fmt.Errorf("the option %q of a client is written tls_client_certificate: the hash of a TLS client certificate by which the client is known; a right to obtain certificates for a domain is written certificates", renamedOption)

// UnmarshalJSON reads the client as Caddy reads a module. Its error for the renamed option
// has the new name.
func (c *Client) UnmarshalJSON(text []byte) error {
	type plain Client
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(text, &fields); err != nil {
		return err
	}
	if _, given := fields[renamedOption]; given {
		return errRenamed
	}
	return caddy.StrictUnmarshalJSON(text, (*plain)(c))
}

// access returns the client as package access has it.
func (c *Client) access() (access.Config, error) {
	config := access.Config{Name: c.Name}
	if c.Name == "" {
		return config, errors.New("it needs a name, by which the log refers to it")
	}
	if c.Name == adminName || c.Name == access.LocalName {
		return config, errors.New("the log has that name for what this Caddy itself does: give the client another one")
	}
	var err error
	if config.Description, err = replace(c.Description); err != nil {
		return config, fmt.Errorf("description: %w", err)
	}
	if config.Digests, err = readEach(c.Tokens, access.ParseDigest); err != nil {
		return config, fmt.Errorf("token: %w", err)
	}
	if config.Certificates, err = readEach(c.TLSClientCertificates, access.ParseDigest); err != nil {
		return config, fmt.Errorf("tls_client_certificate: %w", err)
	}
	if config.Users, err = readEach(c.Users, asIs); err != nil {
		return config, fmt.Errorf("user: %w", err)
	}
	if config.Keys, err = c.keysOf(); err != nil {
		return config, err
	}
	if config.Rules, err = c.rules(); err != nil {
		return config, err
	}
	if config.Accounts, err = c.readAccounts(); err != nil {
		return config, err
	}
	networks, err := readEach(c.ClientIP, parseNetworks)
	if err != nil {
		return config, fmt.Errorf("client_ip: %w", err)
	}
	config.Networks = slices.Concat(networks...)
	if config.Expires, err = parseExpiry(c.Expires); err != nil {
		return config, fmt.Errorf("expires: %w", err)
	}
	return config, nil
}

// right returns the field that has the client's rights of a verb: a list with what follows
// the verb in each, or a flag for a verb that nothing follows.
func (c *Client) right(verb access.Verb) (list *[]string, flag *bool) {
	switch verb {
	case access.Certificates:
		return &c.Certificates, nil
	case access.Allow:
		return &c.Allow, nil
	case access.Read:
		return &c.Read, nil
	case access.Watch:
		return nil, &c.Watch
	case access.Register:
		return &c.Register, nil
	case access.Persist:
		return &c.Persist, nil
	}
	panic(fmt.Sprintf("no field of a client has the right %s", verb))
}

// written returns what follows a verb in each of the client's rights of it.
func (c *Client) written(verb access.Verb) []string {
	list, flag := c.right(verb)
	switch {
	case flag == nil:
		return *list
	case *flag:
		return []string{""}
	}
	return nil
}

// listVerbs lists all verbs for people, each after the prefix.
func listVerbs(prefix string) string {
	var words []string
	for verb := range access.Verbs() {
		words = append(words, prefix+verb.String())
	}
	return strings.Join(words, ", ")
}

func (c *Client) rules() ([]access.Rule, error) {
	var rules []access.Rule
	for verb := range access.Verbs() {
		for _, text := range c.written(verb) {
			rule, err := parseRule(verb, text)
			if err != nil {
				return nil, fmt.Errorf("%s %q: %w", verb, text, err)
			}
			rules = append(rules, rule)
		}
	}
	return rules, nil
}

// parseRule reads a right, internationalized names included.
func parseRule(verb access.Verb, text string) (access.Rule, error) {
	text, err := replace(text)
	if err != nil {
		return access.Rule{}, err
	}
	words := strings.Fields(text)
	for i := range words {
		if words[i], err = toASCII(words[i]); err != nil {
			return access.Rule{}, err
		}
	}
	return access.ParseRule(verb, strings.Join(words, " "))
}

func parseNetworks(text string) ([]netip.Prefix, error) {
	if text == "private_ranges" {
		return readEach(caddyhttp.PrivateRangesCIDR(), parseNetwork)
	}
	network, err := parseNetwork(text)
	return []netip.Prefix{network}, err
}

// parseNetwork reads an address or a network. One with a zone is refused, because
// addresses are compared without one: it would match the address on all interfaces.
func parseNetwork(text string) (netip.Prefix, error) {
	address, zone, hasZone := strings.Cut(text, "%")
	_, length, hasLength := strings.Cut(zone, "/")
	if hasLength {
		address += "/" + length
	}
	network, err := caddyhttp.CIDRExpressionToPrefix(address)
	switch {
	case err != nil:
		return network, fmt.Errorf("%q is neither an address nor a network in CIDR notation", text)
	case hasZone:
		return network, fmt.Errorf("%q has a zone, the part from the %% on, and a client's address is compared without one: write %s for the address on any interface", text, address)
	}
	return network, nil
}

// parseExpiry returns the first instant after the day that is named.
func parseExpiry(text string) (time.Time, error) {
	text, err := replace(text)
	if err != nil || text == "" {
		return time.Time{}, err
	}
	day, err := time.Parse(time.DateOnly, text)
	if err != nil {
		return time.Time{}, fmt.Errorf("%q is not a day in the form 2027-06-30", text)
	}
	return day.AddDate(0, 0, 1), nil
}
