package service

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"net/http"
	"net/url"
	"slices"
	"strings"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/libdns/libdns"

	"github.com/caddy-dns/bestdns/internal/api"
	"github.com/caddy-dns/bestdns/internal/hosting"
	"github.com/caddy-dns/bestdns/internal/nsquery"
	"github.com/caddy-dns/bestdns/internal/protocol"
	"github.com/caddy-dns/bestdns/service/check"
)

// A user of Caddy's admin endpoint has all of Caddy. So it may also change records
// there as the modules of the same process may, without a token: "caddy bestdns
// check" does.
//
//	GET   /bestdns/hosting           the zones and their name servers
//	GET   /bestdns/records/{zone}    as GET /v1/zones/{zone}/records of the API
//	PATCH /bestdns/records/{zone}    as PATCH there
const (
	adminHosting = "/bestdns/hosting"
	adminRecords = "/bestdns/records/"
)

// adminAnswer is what comes back from there: records, or the problem that there
// was. (An HTTP error would reach the command as a text.)
type adminAnswer struct {
	api.Records
	Problem *api.Problem `json:"problem,omitempty"`
}

func (a *App) hostedZones(*http.Request) (any, error) {
	zones := []check.HostedZone{}
	for _, zone := range a.hosting.Zones() {
		hosted := hostedZone(zone)
		if zone.Builtin() {
			hosted.Listen = hostPorts(a.listen)
		}
		zones = append(zones, hosted)
	}
	return zones, nil
}

// hostedZone describes a zone for a check.
func hostedZone(zone *hosting.Zone) check.HostedZone {
	hosted := check.HostedZone{Name: zone.Apex.String(), Provider: zone.ProviderName, CNAMETarget: zone.CNAMETarget}
	if zone.Primary != nil {
		hosted.Provider = "primary " + zone.Primary.Primaries[0].Addr().String()
		hosted.Key = zone.Primary.Key.Name.Plain()
		for _, address := range zone.Primary.Primaries {
			hosted.Primary = append(hosted.Primary, nsquery.AddressText(address))
		}
		for _, secondary := range zone.Primary.Notify {
			hosted.Notify = append(hosted.Notify, nsquery.AddressText(secondary.Address))
			hosted.NotifyKey = cmp.Or(hosted.NotifyKey, secondary.Key.Name.Plain())
		}
	}
	for _, secondary := range zone.Transfers {
		hosted.Notify = append(hosted.Notify, nsquery.AddressText(secondary.Address))
		hosted.NotifyKey = cmp.Or(hosted.NotifyKey, secondary.Key.Name.Plain())
	}
	for _, server := range zone.Servers {
		hosted.Servers = append(hosted.Servers, nsquery.AddressText(server.Address))
	}
	hosted.NoWait = zone.Wait == 0
	for _, ns := range zone.NameServers {
		server := check.NameServer{Name: ns.Name.String()}
		for _, address := range ns.Addresses {
			server.Addresses = append(server.Addresses, address.String())
		}
		hosted.NameServers = append(hosted.NameServers, server)
	}
	return hosted
}

func serveAdminRecords(w http.ResponseWriter, r *http.Request) error {
	app, err := runningApp()
	if err != nil {
		return err
	}
	zone := strings.TrimPrefix(r.URL.Path, adminRecords)
	who := app.localCaller()
	who.Address = adminAddress(r)
	var answer adminAnswer
	switch r.Method {
	case http.MethodGet:
		var found iter.Seq[api.Record]
		if found, err = app.localList(r.Context(), who, zone); err == nil {
			answer.Records.Records = slices.Collect(found)
		}
	case http.MethodPatch:
		answer.Records, err = app.adminChange(w, r, who, zone)
	default:
		return adminMethodError(r)
	}
	if err != nil {
		answer.Problem = protocol.Problem(hosting.AsError(err, ""), who.RequestID)
	}
	writeJSON(w, answer)
	return nil
}

// adminChange carries out the change in a request, in the name of who is in process.
func (a *App) adminChange(w http.ResponseWriter, r *http.Request, who hosting.Caller, zone string) (api.Records, error) {
	var change api.Change
	text, err := readBody(w, r)
	if err == nil {
		change, err = protocol.ReadChange(text)
	}
	if err != nil {
		a.hosting.Unread(who, zone, err)
		return api.Records{}, err
	}
	asked, err := protocol.ParseZone(zone)
	if err != nil {
		return api.Records{}, err
	}
	made, err := a.hosting.Change(r.Context(), who, protocol.Change(asked, change)) // the caller asks the name servers
	if err != nil {
		return api.Records{}, err
	}
	return protocol.Records(asked, made), nil
}

// runningService is the service in a running Caddy, through its admin endpoint.
type runningService struct{ address string }

func (s runningService) String() string { return "the Caddy at " + s.address }

// Hosting implements [check.Running].
func (s runningService) Hosting(ctx context.Context) ([]check.HostedZone, error) {
	var zones []check.HostedZone
	err := s.request(ctx, http.MethodGet, adminHosting, nil, &zones)
	return zones, err
}

// GetRecords implements [check.Service].
func (s runningService) GetRecords(ctx context.Context, zone string) ([]libdns.Record, error) {
	answer, err := s.records(ctx, http.MethodGet, zone, nil)
	if err != nil {
		return nil, err
	}
	return answer.Libdns(), nil
}

// Change implements [check.Service].
func (s runningService) Change(ctx context.Context, zone string, change api.Change) (api.Records, error) {
	return s.records(ctx, http.MethodPatch, zone, change)
}

func (s runningService) records(ctx context.Context, method, zone string, body any) (api.Records, error) {
	var answer adminAnswer
	if err := s.request(ctx, method, adminRecords+url.PathEscape(zone), body, &answer); err != nil {
		return api.Records{}, err
	}
	if answer.Problem != nil {
		return api.Records{}, &api.Error{Problem: *answer.Problem}
	}
	return answer.Records, nil
}

// request makes a request to the admin endpoint, and leaves it to itself when ctx
// ends: Caddy's own client knows no context.
func (s runningService) request(ctx context.Context, method, uri string, body, answer any) error {
	var sent strings.Builder
	if body != nil {
		if err := json.NewEncoder(&sent).Encode(body); err != nil {
			return err
		}
	}
	done := make(chan error, 1)
	var received json.RawMessage
	go func() {
		response, err := caddycmd.AdminAPIRequest(s.address, method, uri, http.Header{"Content-Type": {"application/json"}}, strings.NewReader(sent.String()))
		if err != nil {
			done <- err
			return
		}
		defer response.Body.Close()
		done <- json.NewDecoder(response.Body).Decode(&received)
	}()
	select {
	case err := <-done:
		if err != nil {
			return err
		}
		return json.Unmarshal(received, answer)
	case <-ctx.Done():
		return fmt.Errorf("waiting for the admin endpoint: %w", context.Cause(ctx))
	}
}

// Interface guard
var _ check.Running = runningService{}
