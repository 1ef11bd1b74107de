package service

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"github.com/caddy-dns/bestdns/internal/access"
	"github.com/caddy-dns/bestdns/internal/record"
)

// This file reads the service's configuration for a client that is to be added to it.

// hosted is what a configuration says about the service. The zero value is no configuration.
type hosted struct {
	known  bool
	config checkedConfig
	zones  record.Zones
	target record.Name // the zone marked cname_target, "" if there is none
	// server and port are where the first of the zones' name servers is that has an address, and
	// endpoint is the API's URL. Each is "" where that is not known.
	server, port, endpoint string
	// speaks has the options that are on in a handler of the API.
	speaks map[string]bool
	// keys are the names of TSIG keys that callers have.
	keys []string
}

// findHosting reads the service's configuration: the file that the flags name or, if none is named, a Caddyfile in
// this folder. Without either, nothing is known; but a client that is to be written is asked of the running Caddy.
func (o *tokenOptions) findHosting() (hosted, error) {
	given := o.admin.config != ""
	file, err := o.admin.file()
	if err != nil {
		return hosted{}, err
	}
	var config checkedConfig
	switch {
	case file != "":
		config, err = readCheckedConfig(file, o.admin.adapter)
	case o.write:
		config, err = o.admin.live()
	default:
		return hosted{}, nil
	}
	if !given && !o.write && (err != nil || config.app == nil) {
		o.admin.config = ""
		return hosted{}, nil // a Caddyfile that no one has named is another's
	}
	if err != nil {
		return hosted{}, err
	}
	return readHosting(config)
}

// readHosting reads what a configuration says of the service.
func readHosting(config checkedConfig) (h hosted, err error) {
	if config.app == nil {
		return hosted{}, fmt.Errorf("reading the zones from %s: it has no global option bestdns", config.file)
	}
	zones, err := config.zones()
	if err != nil {
		return hosted{}, err
	}
	h = hosted{known: true, config: config}
	h.zones, h.target = apexes(zones)
	h.endpoint, h.speaks = handlersIn(config.text)
	if h.server, h.port, err = config.nameServer(zones); err != nil {
		return hosted{}, err
	}
	for _, zone := range zones {
		for _, t := range zone.Transfers {
			if !t.Key.IsZero() {
				h.keys = append(h.keys, t.Key.Name.Plain())
			}
		}
	}
	for _, client := range config.app.Clients {
		for _, key := range client.Keys {
			if key != nil { // which the service refuses
				h.keys = append(h.keys, strings.ToLower(strings.TrimSuffix(key.Name, ".")))
			}
		}
	}
	return h, nil
}

// Variables that have the secrets of a client, after which its label comes in capitals.
const (
	tsigVariable     = "BESTDNS_TSIG_"
	accountsVariable = "BESTDNS_ACCOUNTS_"
)

func variable(prefix, label string) string {
	return prefix + strings.ToUpper(strings.ReplaceAll(label, "-", "_"))
}

// free returns the label of a client, with a number after it if the configuration has a key or a variable of that
// name: "web-1" and "web.1" have the same label.
func (h hosted) free(label string) string {
	taken := func(label string) bool {
		refersTo := func(prefix string) bool {
			return bytes.Contains(h.config.text, []byte("{env."+variable(prefix, label)+"}"))
		}
		return slices.Contains(h.keys, label) || refersTo(tsigVariable) || refersTo(accountsVariable)
	}
	free := label
	for n := 2; taken(free); n++ {
		free = fmt.Sprintf("%s-%d", label, n)
	}
	return free
}

// warnings returns what the configuration has that does not go with a new client.
func (h hosted) warnings(client access.Config) (warnings []string) {
	if !h.known {
		return nil
	}
	for _, other := range h.config.app.Clients {
		if other.Name != client.Name {
			continue
		}
		text := fmt.Sprintf("the configuration has a client %q already, and two of one name are refused: add the new lines to its block, give it a new token with \"caddy bestdns rotate %s\", or choose another name", client.Name, shellQuote(client.Name))
		if other.AccountSecret != "" && len(client.Accounts.Secret) > 0 {
			text += "; keep its account_secret, without which none of its accounts is accepted any more"
		}
		warnings = append(warnings, text)
	}
	clients, err := access.New(h.zones, h.target, []access.Config{client})
	if err != nil {
		return append(warnings, "Caddy will refuse this: "+err.Error())
	}
	for _, rule := range clients.ByName(client.Name).IdleRules() {
		if rule.Verb == access.Certificates {
			continue // the note about CNAMEs says so
		}
		text := fmt.Sprintf("no zone of the configuration holds the name of this right, which can never be used: %s", rule)
		if rule.Verb == access.Persist {
			text += fmt.Sprintf("; create the record that \"caddy bestdns persist %s\" prints where the domain is hosted", rule.Name.Plain())
		}
		warnings = append(warnings, text)
	}
	return warnings
}
