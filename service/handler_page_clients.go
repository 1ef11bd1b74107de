package service

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/caddy-dns/bestdns/internal/access"
	"github.com/caddy-dns/bestdns/service/page"
)

// The clients on the page, and their rights.

// clientsSeenBy returns the clients that one may see, as many as fit on the page, and how many there are
// more. Those that have expired or expire soon come first, the nearest to now first, and then the last
// used.
func (a *App) clientsSeenBy(visitor *access.Client, v page.View) (list []page.Client, more int) {
	var seen []*access.Client
	for client := range a.hosting.Clients().All() {
		if client == visitor || visitor.MayWatch() {
			seen = append(seen, client)
		}
	}
	order := make(map[*access.Client]clientOrder, len(seen))
	for _, client := range seen {
		order[client] = orderOf(client, v)
	}
	slices.SortStableFunc(seen, func(x, y *access.Client) int { return order[x].compare(order[y]) })
	seen, more = first(seen, pageClients)
	for _, client := range seen {
		shown := viewClient(client)
		shown.Visitor = client == visitor
		if visitor.MayWatch() && v.Notice(shown) != nil {
			shown.Help = renewHelp(client)
		}
		list = append(list, shown)
	}
	return list, more
}

// clientOrder is what the order of a client follows from.
type clientOrder struct {
	isUrgent bool
	distance time.Duration // of its end from now
	lastUsed time.Time
	name     string
}

func orderOf(client *access.Client, v page.View) clientOrder {
	return clientOrder{
		isUrgent: v.Notice(page.Client{Expires: client.Expires()}) != nil,
		distance: client.Expires().Sub(v.Now).Abs(),
		lastUsed: activity.LastUse(client.Name()), name: client.Name(),
	}
}

func (o clientOrder) compare(other clientOrder) int {
	switch {
	case o.isUrgent && other.isUrgent:
		return cmp.Or(cmp.Compare(o.distance, other.distance), strings.Compare(o.name, other.name))
	case o.isUrgent:
		return -1
	case other.isUrgent:
		return 1
	}
	return cmp.Or(other.lastUsed.Compare(o.lastUsed), strings.Compare(o.name, other.name))
}

func viewClient(client *access.Client) page.Client {
	v := page.Client{
		Name: page.Text(client.Name()), Description: page.Text(client.Description()),
		LastUsed: activity.LastUse(client.Name()), Expires: client.Expires(),
	}
	var rules []access.Rule
	rules, v.MoreRights = first(client.Rules(), pageRights)
	for _, rule := range rules {
		v.Rights = append(v.Rights, page.Text(rule.String()))
	}
	return v
}
