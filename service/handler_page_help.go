package service

import (
	"strings"

	"github.com/caddy-dns/bestdns/internal/access"
	"github.com/caddy-dns/bestdns/internal/hosting"
	"github.com/caddy-dns/bestdns/internal/record"
	"github.com/caddy-dns/bestdns/service/page"
)

// The commands on the page that help with what is wrong.

// checkHelp returns the command that finds out what is wrong with a domain.
func checkHelp(domain record.Name) page.Command {
	return page.CommandOf(string(shown(domain)), "caddy", "bestdns", "check")
}

// changeHelp returns the command that finds out why a change was not made: about its domain if it was
// for a challenge, else about its zone if that is hosted here and failed.
func (a *App) changeHelp(c *hosting.ChangeSeen) page.Command {
	for _, text := range c.Records {
		owner, _, _ := strings.Cut(text, " ")
		name, err := record.ParseName(owner)
		if err != nil {
			continue
		}
		if challenge, ok := record.ChallengeOf(name); ok {
			return checkHelp(challenge.Domain)
		}
	}
	zone, err := record.ParseName(c.Zone)
	if err != nil || c.Outcome != hosting.Failed.String() || a.hosting.Zone(zone) == nil {
		return ""
	}
	return checkHelp(zone)
}

// renewHelp returns the command that lets a client go on.
func renewHelp(client *access.Client) page.Command {
	return page.CommandOf(client.Name(), "caddy", "bestdns", "renew")
}
