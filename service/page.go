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
	"github.com/caddy-dns/bestdns/internal/fair"
	"github.com/caddy-dns/bestdns/internal/hosting"
	"github.com/caddy-dns/bestdns/internal/record"
	"github.com/caddy-dns/bestdns/service/page"
)

// The page for people: what they would have to ask the API, the log and each name
// server for. A client sees of it what its rights let it read and nothing else:
//
//   - a zone if it may use it;
//   - a challenge or a change if it may read all names in it, and its own changes;
//   - another client, and why a change of it was refused, if it may read whatever that
//     client has a right to. The reason can list the rights.

// What fits on the page.
const (
	pageZones      = 200
	pageChallenges = 200
	pageClients    = 500
	// pageWalk is how many names with challenges are looked at for a page, those that the
	// visitor may not see among them. Of what is beyond, the page says nothing.
	pageWalk = 100_000
)

// pageTimeout is how long the page waits for name servers.
const pageTimeout = 2 * time.Second

func (h *Handler) getPage(w http.ResponseWriter, r *http.Request, req request) error {
	text, err := renderPage(r.Context(), req)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	if _, err := w.Write(text); err != nil {
		h.logger.Debug("the client went away", zap.String("request_id", req.who.RequestID), hosting.CauseField(err))
	}
	return nil
}

// renderPage makes the page, when the visitor has no other one in the making and there is room for
// one.
func renderPage(ctx context.Context, req request) ([]byte, error) {
	for _, gate := range []*gate{req.gates.page, pages} {
		if err := gate.enter(ctx); err != nil {
			return nil, err
		}
		defer gate.leave()
	}
	ctx, cancel := context.WithTimeout(ctx, pageTimeout)
	defer cancel()
	text, err := page.Render(req.app.view(ctx, req.who.Client))
	if err != nil {
		e := hosting.Errorf(hosting.Internal, "the page could not be made; the service's log has the cause under this request id")
		e.Cause = err
		return nil, e
	}
	return text, nil
}

// view returns what a client may see. It waits for name servers as long as the context
// lives.
func (a *App) view(ctx context.Context, visitor *access.Client) page.View {
	zones, more := first(a.hosting.ZonesOf(visitor), pageZones)
	found := a.hosting.Inspect(ctx, zones)
	now := time.Now()
	v := page.View{Now: now, MoreZones: more}
	for i, zone := range zones {
		v.Zones = append(v.Zones, viewZone(zone, found[i]))
		if !zone.Builtin() && found[i].Unread() {
			v.Unread = append(v.Unread, shown(zone.Apex))
		}
	}
	v.Challenges, v.MoreChallenges = a.challengesFor(visitor, zones, found)
	for _, c := range activity.Recent() {
		if change, ok := a.viewChange(visitor, c); ok {
			v.Changes = append(v.Changes, change)
		}
	}
	v.Clients, v.MoreClients = first(a.clientsFor(visitor), pageClients)
	v.Visitor = viewClient(visitor)
	return v
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

func viewZone(zone *hosting.Zone, found hosting.Findings) page.Zone {
	v := page.Zone{Name: shown(zone.Apex), Provider: page.Text(zone.ProviderName), CNAMETarget: zone.CNAMETarget, Asked: found.Asked}
	for _, s := range found.Servers {
		server := page.Server{Name: page.Text(strings.TrimSuffix(s.Name, ".")), Serial: s.Serial, Fault: page.Text(s.Fault)}
		if s.Address.IsValid() {
			server.Address = page.Text(s.Address.String())
		}
		v.Servers = append(v.Servers, server)
	}
	v.State = stateOf(found)
	return v
}

// stateOf is what the answers of name servers come to. One that this machine has no way
// to, such as those with IPv6 addresses where there is no IPv6, says nothing either way.
func stateOf(f hosting.Findings) page.State {
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
		case !s.Elsewhere:
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

// challengesFor returns the names that a client may read at which challenges are
// answered, as many as fit on the page, and how many there are more. The name server
// knows those that expire; of others it shows by their name and form.
func (a *App) challengesFor(client *access.Client, zones []*hosting.Zone, found []hosting.Findings) (list []page.Challenge, more int) {
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
			zone := a.hosting.Zone(e.Zone)
			if zone != nil && zone.Builtin() && client.MayUse(e.Zone) && a.hosting.MayRead(client, e.Zone, e.Name) {
				add(page.Challenge{Name: shown(e.Name), Zone: shown(e.Zone), Expires: e.At})
			}
		}
	}
	for i, zone := range zones {
		for _, name := range found[i].Challenges() {
			if a.hosting.MayRead(client, zone.Apex, name) {
				add(page.Challenge{Name: shown(name), Zone: shown(zone.Apex)})
			}
		}
	}
	return list, more
}

// viewChange returns what a client is shown of a change, if it may see it.
func (a *App) viewChange(visitor *access.Client, c *hosting.ChangeSeen) (v page.Change, ok bool) {
	by := a.hosting.Clients().ByName(c.Client) // nil: in process, or not configured any more
	local := by == nil && c.Client == access.LocalName
	known := by != nil && visitor.Sees(by)
	if by != visitor && !a.mayReadChange(visitor, c, known) {
		return page.Change{}, false
	}
	v = page.Change{Time: c.Time, Zone: page.Text(strings.TrimSuffix(c.Zone, ".")), Op: page.Text(c.Op), Outcome: c.Outcome}
	for _, text := range c.Records {
		v.Records = append(v.Records, shownRecord(text))
	}
	if known || local {
		v.Client, v.Address, v.Reason = page.Text(c.Client), page.Text(c.Address), page.Text(c.Reason)
		if c.Reason != "" {
			v.RequestID = page.Text(c.RequestID)
		}
	}
	return v, true
}

// mayReadChange reports whether a client may read at all names of a change. known tells
// whether it may know of the one who made it.
func (a *App) mayReadChange(visitor *access.Client, c *hosting.ChangeSeen, known bool) bool {
	if a.hosting.Zone(c.Apex) == nil || !visitor.MayUse(c.Apex) || len(c.Records) == 0 {
		return false
	}
	records := c.Records
	if records[len(records)-1] == hosting.MoreRecords {
		// Names that are not remembered: known is who made them, and that it had a right to each.
		if !known || c.Outcome != hosting.Changed.String() {
			return false
		}
		records = records[:len(records)-1]
	}
	for _, text := range records {
		owner, ok := ownerOf(text)
		if !ok || !a.hosting.MayReadAsked(visitor, c.Apex, owner) {
			return false
		}
	}
	return true
}

// shownRecord is owner and type of a record as people write them.
func shownRecord(text string) page.Text {
	end := max(strings.LastIndexByte(text, ' '), 0)
	return page.Text(strings.TrimSuffix(text[:end], ".") + text[end:])
}

// ownerOf reads the owner of a record as changes are remembered: behind it a blank and
// the type, which may be missing.
func ownerOf(text string) (record.Name, bool) {
	end := strings.LastIndexByte(text, ' ')
	if end < 0 || !strings.HasSuffix(text[:end], ".") {
		return "", false
	}
	owner, err := record.ParseName(text[:end])
	return owner, err == nil
}

// clientsFor returns the clients that one may know of, the last used first.
func (a *App) clientsFor(visitor *access.Client) []page.Client {
	var list []page.Client
	for client := range a.hosting.Clients().All() {
		if visitor.Sees(client) {
			v := viewClient(client)
			v.Visitor = client == visitor
			list = append(list, v)
		}
	}
	slices.SortStableFunc(list, func(x, y page.Client) int {
		return cmp.Or(y.LastUsed.Compare(x.LastUsed), strings.Compare(string(x.Name), string(y.Name)))
	})
	return list
}

func viewClient(client *access.Client) page.Client {
	return page.Client{
		Name: page.Text(client.Name()), Description: page.Text(client.Description()),
		LastUsed: activity.LastUse(client.Name()), Expires: client.Expires(),
	}
}
