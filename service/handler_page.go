package service

import (
	"cmp"
	"context"
	"net/http"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-dns/bestdns/internal/access"
	"github.com/caddy-dns/bestdns/internal/api"
	"github.com/caddy-dns/bestdns/internal/hosting"
	"github.com/caddy-dns/bestdns/internal/record"
	"github.com/caddy-dns/bestdns/service/page"
)

// The page for people: what they would have to ask the API, the log and each name
// server for. A visitor sees what is its own:
//
//   - the zones in which it has a right;
//   - the challenges at names that it may read;
//   - the changes that it made or tried, and its requests that were not let in;
//   - itself, among the clients, and its rights;
//   - whether the service is healthy, as anyone may ask.
//
// A visitor with the right watch sees all zones, challenges with who wrote them, changes and
// clients, with the rights and addresses of clients and the reasons for refusals, and since when the
// service is healthy.

// What fits on the page.
const (
	pageZones      = 200
	pageChallenges = 200
	pageClients    = 500
	// pageRights is how many rights of one client are shown.
	pageRights = 20
	// pageWalk is how many names with challenges are examined for a page, including those
	// that the visitor may not see. The page does not mention the names after them.
	pageWalk = 100_000
)

// pageTimeout is how long the page waits for name servers.
const pageTimeout = 2 * time.Second

func (h *Handler) getPage(w http.ResponseWriter, r *http.Request, req *request) error {
	text, err := renderPage(r, req)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	if _, err := w.Write(text); err != nil {
		h.logger.Debug("the client went away", zap.String("request_id", req.who.RequestID), hosting.CauseField(err))
	}
	return nil
}

// renderPage makes the page, once no other one is being made for the visitor and not too many are
// for others.
func renderPage(r *http.Request, req *request) ([]byte, error) {
	ctx := r.Context()
	for _, gate := range []*gate{req.gates.page, pages} {
		if err := gate.enter(ctx); err != nil {
			return nil, err
		}
		defer gate.leave()
	}
	ctx, cancel := context.WithTimeout(ctx, pageTimeout)
	defer cancel()
	v := req.app.view(ctx, req.who.Client)
	v.Host = page.Text(r.Host)
	text, err := page.Render(v)
	if err != nil {
		e := hosting.Errorf(api.Internal, "the page could not be made; the service's log has the cause under this request id")
		e.Cause = err
		return nil, e
	}
	return text, nil
}

// view returns what a client may see. It waits for name servers until the context ends.
func (a *App) view(ctx context.Context, visitor *access.Client) page.View {
	zones, more := first(a.zonesSeenBy(visitor), pageZones)
	found := a.hosting.Statuses(ctx, zones)
	v := page.View{
		Now: time.Now(), Visitor: viewClient(visitor), Watches: visitor.MayWatch(), ExpiryNotice: api.ExpiryNotice,
		Version: page.Text(api.Version()), MoreZones: more,
	}
	a.viewHealth(&v)
	for i, zone := range zones {
		v.Zones = append(v.Zones, viewZone(zone, found[i]))
		if !zone.Builtin() && !found[i].Asked.IsZero() && found[i].Unread() {
			v.Unread = append(v.Unread, shown(zone.Apex))
		}
	}
	slices.SortStableFunc(v.Zones, func(x, y page.Zone) int { return cmp.Compare(x.State.Rank(), y.State.Rank()) })
	v.Challenges, v.MoreChallenges = a.challengesSeenBy(visitor, zones, found)
	for _, c := range activity.Recent() {
		if c.Client == visitor.Name() || visitor.MayWatch() {
			v.Changes = append(v.Changes, a.viewChange(c))
		}
	}
	for _, d := range activity.Denials() {
		if d.Client == visitor.Name() || visitor.MayWatch() {
			v.Denials = append(v.Denials, viewDenial(d))
		}
	}
	v.Clients, v.MoreClients = a.clientsSeenBy(visitor, v)
	return v
}

// viewHealth has a view say whether the service is healthy.
func (a *App) viewHealth(v *page.View) {
	if err := a.health(); err != nil {
		v.Unhealthy = page.Text(err.Error())
	} else if v.Watches {
		v.HealthySince = a.healthySince()
	}
}

// first returns the first most of a list, and how many there are more.
func first[T any](list []T, most int) ([]T, int) {
	kept := list[:min(len(list), most)]
	return kept, len(list) - len(kept)
}

// shown is a name as people write it.
func shown(name record.Name) page.Text {
	return page.Text(strings.TrimSuffix(name.String(), "."))
}

// zonesSeenBy returns the zones that a client may see, by name.
func (a *App) zonesSeenBy(client *access.Client) []*hosting.Zone {
	if client.MayWatch() {
		return a.hosting.Zones()
	}
	return a.hosting.ZonesOf(client)
}

func viewZone(zone *hosting.Zone, found hosting.ZoneStatus) page.Zone {
	v := page.Zone{Name: shown(zone.Apex), Provider: page.Text(zone.ProviderName), CNAMETarget: zone.CNAMETarget, Asked: found.Asked}
	if zone.Primary != nil {
		v.Primary = page.Text(zone.Primary.Primaries[0].Addr().String())
	}
	for _, s := range found.Servers {
		server := page.Server{Name: page.Text(strings.TrimSuffix(s.Name, ".")), Serial: s.Serial, Lags: s.Lags, Fault: page.Text(s.Fault)}
		if s.Address.IsValid() {
			server.Address = page.Text(s.Address.String())
		}
		v.Servers = append(v.Servers, server)
	}
	if v.State = stateOf(found); v.State.IsTrouble() {
		v.Help = checkHelp(zone.Apex)
	}
	return v
}

// stateOf sums up the answers of name servers. Those that this machine cannot reach, such as
// those with IPv6 addresses where there is no IPv6, are ignored.
func stateOf(f hosting.ZoneStatus) page.State {
	switch {
	case f.Asked.IsZero():
		return page.NotAsked
	case len(f.Servers) == 0:
		return page.Unknown
	}
	serials := make(map[uint32]bool)
	for _, s := range f.Servers {
		switch {
		case s.Fault == "":
			serials[s.Serial] = true
		case !s.Unreachable:
			return page.Faulty
		}
	}
	switch len(serials) {
	case 0:
		return page.Faulty
	case 1:
		return page.Agree
	}
	return page.Differ
}

func (a *App) viewChange(c *hosting.ChangeSeen) page.Change {
	v := page.Change{
		Time: c.Time, Client: page.Text(c.Client), Address: page.Text(c.Address), Zone: page.Text(strings.TrimSuffix(c.Zone, ".")),
		Op: page.Text(c.Op), Outcome: c.Outcome, Reason: page.Text(c.Reason),
	}
	for _, text := range c.Records {
		v.Records = append(v.Records, shownRecord(text))
	}
	if c.Reason != "" {
		v.RequestID = page.Text(c.RequestID)
		v.Help = a.changeHelp(c)
	}
	return v
}

func viewDenial(d *hosting.DenialSeen) page.Denial {
	return page.Denial{
		Time: d.Time, Client: page.Text(d.Client), Address: page.Text(d.Address), Protocol: page.Text(d.Protocol),
		Reason: page.Text(d.Reason), RequestID: page.Text(d.RequestID),
	}
}

// shownRecord is owner and type of a record as people write them.
func shownRecord(text string) page.Text {
	end := max(strings.LastIndexByte(text, ' '), 0)
	return page.Text(strings.TrimSuffix(text[:end], ".") + text[end:])
}
