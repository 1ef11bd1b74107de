package service

import (
	"github.com/caddy-dns/bestdns/internal/access"
	"github.com/caddy-dns/bestdns/internal/fair"
	"github.com/caddy-dns/bestdns/internal/hosting"
	"github.com/caddy-dns/bestdns/internal/record"
	"github.com/caddy-dns/bestdns/service/page"
)

// The challenges on the page.

// challengesSeenBy returns the names at which challenges are answered and which a client may
// see, as many as fit on the page, and how many there are more. The name server knows which
// records expire; others are recognized as challenges by their name and value.
func (a *App) challengesSeenBy(client *access.Client, zones []*hosting.Zone, found []hosting.ZoneStatus) (list []page.Challenge, more int) {
	add := func(c page.Challenge) {
		if len(list) < pageChallenges {
			list = append(list, c)
		} else {
			more++
		}
	}
	var b fair.Breather
	if server := a.hosting.NameServer(); server != nil {
		for e := range server.Expiries() {
			if b.Breathe(); b > pageWalk {
				break
			}
			if zone := a.hosting.Zone(e.Zone); zone != nil && zone.Builtin() && a.seesChallenge(client, e.Zone, e.Name) {
				add(viewChallenge(client, e.Zone, hosting.HeldChallenge{Name: e.Name, Expires: e.At, Written: e.Written, Client: e.Client}))
			}
		}
	}
	for i, zone := range zones {
		for _, c := range found[i].Challenges() {
			if a.seesChallenge(client, zone.Apex, c.Name) {
				add(viewChallenge(client, zone.Apex, c))
			}
		}
	}
	return list, more
}

// seesChallenge reports whether a challenge is answered at a name in the zone, rather than
// hidden by a nested zone, and the client may see it.
func (a *App) seesChallenge(client *access.Client, zone, name record.Name) bool {
	own := client.MayUse(zone) && client.MayRead(zone, name)
	return a.hosting.Holds(zone, name) && (own || client.MayWatch())
}

// viewChallenge returns a challenge as a client sees it, which is told who wrote it if that is itself
// or it watches.
func viewChallenge(client *access.Client, zone record.Name, c hosting.HeldChallenge) page.Challenge {
	v := page.Challenge{Name: shown(c.Name), Zone: shown(zone), Expires: c.Expires, Written: c.Written}
	if c.Client == client.Name() || client.MayWatch() {
		v.Writer = page.Text(c.Client)
	} else {
		v.Another = c.Client != ""
	}
	return v
}
