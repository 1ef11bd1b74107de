package service

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"time"

	"github.com/caddy-dns/bestdns/internal/api"
	"github.com/caddy-dns/bestdns/internal/hosting"
	"github.com/caddy-dns/bestdns/internal/protocol"
)

// dynDNSRoute returns the route of a path of dyndns2.
func dynDNSRoute(path string) (route, bool) {
	if path != "/nic/update" {
		return route{}, false
	}
	return route{get: (*Handler).getNICUpdate, fail: func(w http.ResponseWriter, e *hosting.Error) {
		protocol.WriteDynDNS(w, []string{protocol.DynDNSWord(e)}, e)
	}}, true
}

// getNICUpdate has hosts have addresses, each by a change of its own.
func (h *Handler) getNICUpdate(w http.ResponseWriter, r *http.Request, req *request) error {
	if r.Method != http.MethodGet {
		return hosting.Errorf(api.MethodNotAllowed, "%s is not a method of /nic/update, which changes records", r.Method)
	}
	if err := h.refuseEarly(r, req); err != nil {
		return err
	}
	wanted, err := protocol.ReadDynDNS(r.URL.RawQuery, addressOf(req.who))
	if err != nil {
		req.app.hosting.Unread(req.who, "", err)
		return err
	}
	started := time.Now()
	var lines []string
	var failure *hosting.Error
	for _, host := range wanted.Hosts {
		word, err := h.setAddresses(r.Context(), req, wanted, host, hosting.DefaultWait-time.Since(started))
		var e *hosting.Error
		if errors.As(err, &e) {
			word = protocol.DynDNSWord(e)
			if failure == nil {
				failure = e
			}
		}
		lines = append(lines, word)
	}
	protocol.WriteDynDNS(w, lines, failure)
	return nil
}

// setAddresses has a host have addresses, and returns the line of the answer. For name servers it waits
// no longer than wait, which all hosts of a request share. The error is a
// *[hosting.Error].
func (h *Handler) setAddresses(ctx context.Context, req *request, wanted protocol.DynDNS, host string, wait time.Duration) (line string, err error) {
	change, err := wanted.Change(host)
	if err != nil {
		req.app.hosting.Unread(req.who, host, err)
		return "", hosting.AsError(err, "")
	}
	if err := ctx.Err(); err != nil {
		return "", errGone()
	}
	// A failure to find out is not one to change, which says more.
	found, err := req.app.hosting.Records(ctx, req.who.Client, hosting.Query{Zone: change.Zone, Name: change.Zone})
	if err == nil && wanted.Has(slices.Collect(found)) && req.app.hosting.MayChange(req.who, change) {
		return "nochg " + wanted.Addresses(), nil
	}
	made, err := req.app.hosting.Change(ctx, req.who, change)
	if err == nil {
		err = req.app.hosting.Served(ctx, req.who, &made, wait)
	}
	if err != nil {
		return "", hosting.AsError(err, "")
	}
	return "good " + wanted.Addresses(), nil
}
