package service

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/libdns/libdns"

	"github.com/caddy-dns/bestdns/internal/api"
	"github.com/caddy-dns/bestdns/service/check"
)

// Who has Caddy's admin endpoint has all of Caddy. So it may also change records
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

func serveAdminHosting(w http.ResponseWriter, r *http.Request) error {
	app, err := runningApp()
	if err != nil {
		return err
	}
	if r.Method != http.MethodGet {
		return adminMethodError(r)
	}
	writeJSON(w, app.hosting())
	return nil
}

// hosting describes the hosted zones.
func (a *App) hosting() []check.HostedZone {
	zones := []check.HostedZone{}
	for _, zone := range a.Zones {
		hosted := check.HostedZone{Name: zone.apex.String(), Provider: zone.providerName(), CNAMETarget: zone.CNAMETarget}
		for _, ns := range zone.nameServers {
			server := check.NameServer{Name: ns.Name.String()}
			for _, address := range ns.Addresses {
				server.Addresses = append(server.Addresses, address.String())
			}
			hosted.NameServers = append(hosted.NameServers, server)
		}
		zones = append(zones, hosted)
	}
	slices.SortFunc(zones, func(x, y check.HostedZone) int { return strings.Compare(x.Name, y.Name) })
	return zones
}

func serveAdminRecords(w http.ResponseWriter, r *http.Request) error {
	app, err := runningApp()
	if err != nil {
		return err
	}
	zone := strings.TrimPrefix(r.URL.Path, adminRecords)
	var answer adminAnswer
	var failure *problem
	switch r.Method {
	case http.MethodGet:
		found, p := app.localList(r.Context(), zone)
		if failure = p; p == nil {
			answer.Records.Records = slices.Collect(found)
		}
	case http.MethodPatch:
		answer.Records, failure = app.adminChange(w, r, zone)
	default:
		return adminMethodError(r)
	}
	if failure != nil {
		answer.Problem = &failure.Problem
	}
	writeJSON(w, answer)
	return nil
}

// adminChange carries out the change in a request, in the name of who is in process.
func (a *App) adminChange(w http.ResponseWriter, r *http.Request, zone string) (answer api.Records, failure *problem) {
	who := a.localCaller()
	who.address = adminAddress(r)
	var change api.Change
	text, failure := readBody(w, r)
	if failure == nil {
		change, failure = readChange(text)
	}
	if failure != nil {
		a.logUnread(who, zone, failure)
	} else {
		answer, failure = a.change(r.Context(), who, zone, change)
	}
	if failure != nil {
		failure.RequestID = who.requestID
	}
	return answer, failure
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
	records := make([]libdns.Record, len(answer.Records))
	for i, r := range answer.Records {
		records[i] = r.Libdns()
	}
	return records, nil
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
