package acmednsdump

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"
	"unicode/utf8"

	texts "github.com/caddy-dns/bestdns/internal/text"
)

// take takes the row of an account: user name, password, subdomain and networks.
func (r *reader) take(row []value, line int) {
	account := Account{Line: line}
	var errs [6]error
	account.Username, errs[0] = row[0].string("user name")
	account.Subdomain, errs[1] = row[2].string("subdomain")
	account.Password, errs[2] = row[1].string("password")
	account.Networks, errs[3] = networks(row[3])
	// The first of duplicates counts even if it is skipped: the other one could be accepted from
	// more networks.
	errs[4] = first(r.usernames, account.Username, "user name", line)
	errs[5] = first(r.labels, account.Subdomain, "subdomain", line)
	for _, err := range errs {
		if err != nil {
			r.skip(account, err)
			return
		}
	}
	if err := r.check(account); err != nil {
		r.skip(account, err)
		return
	}
	r.accounts.Taken = append(r.accounts.Taken, account)
}

func (r *reader) skip(account Account, why error) {
	if r.accounts.SkippedInAll++; r.accounts.SkippedInAll <= maxSkipped {
		r.accounts.Skipped = append(r.accounts.Skipped, Skipped{Line: account.Line, Username: account.Username, Why: why})
	}
}

// first notes in which line a text is, and returns an error if it was in an earlier one.
func first(lines map[string]int, text, what string, line int) error {
	if earlier := lines[text]; earlier > 0 && text != "" {
		return fmt.Errorf("duplicate %s, also in line %d", what, earlier)
	}
	lines[text] = line
	return nil
}

// string returns a value that must be a text. SQLite has some texts as bytes: acme-dns writes
// hashes so.
func (v value) string(what string) (string, error) {
	switch {
	case v.bad != nil:
		return "", fmt.Errorf("its %s %w", what, v.bad)
	case v.isNull:
		return "", fmt.Errorf("its %s is NULL", what)
	case !utf8.ValidString(v.text):
		return "", fmt.Errorf("its %s is not UTF-8", what)
	}
	return v.text, nil
}

// networks returns the networks of an account, none for one that may call from anywhere. It fails
// where acme-dns itself would ignore a network.
func networks(v value) ([]netip.Prefix, error) {
	if v.isNull {
		return nil, nil
	}
	const what = "list of networks"
	list, err := v.string(what)
	if err != nil {
		return nil, err
	}
	var entries []string
	if err := json.Unmarshal([]byte(list), &entries); err != nil {
		return nil, fmt.Errorf("its %s is not a list of texts in JSON: %.80q", what, list)
	}
	var networks []netip.Prefix
	for _, entry := range entries {
		if entry == "" {
			continue
		}
		network, err := parseNetwork(entry)
		if err != nil {
			return nil, err
		}
		networks = append(networks, network)
	}
	if len(networks) > maxNetworks {
		return nil, fmt.Errorf("its %s has %d networks, and %d are the most", what, len(networks), maxNetworks)
	}
	return networks, nil
}

// parseNetwork reads a network as acme-dns does, which permits brackets around IPv6 addresses.
func parseNetwork(entry string) (netip.Prefix, error) {
	network, err := netip.ParsePrefix(strings.NewReplacer("[", "", "]", "").Replace(entry))
	switch {
	case err != nil:
		return netip.Prefix{}, fmt.Errorf("it is bound to %q, which is not a network in CIDR notation", texts.Clip(entry, 80))
	case network.Addr().Is4In6():
		return netip.Prefix{}, fmt.Errorf("it is bound to %q, IPv4 addresses in the form of IPv6: write the network as IPv4", entry)
	}
	return network.Masked(), nil
}
