package service

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/google/uuid"

	"github.com/caddy-dns/bestdns/internal/api"
	"github.com/caddy-dns/bestdns/internal/hosting"
	"github.com/caddy-dns/bestdns/internal/protocol"
	"github.com/caddy-dns/bestdns/internal/record"
	"github.com/caddy-dns/bestdns/internal/text"
)

func init() {
	caddy.RegisterModule(adminAPI{})
}

// adminAPI serves, at Caddy's admin endpoint, what the commands export, import
// and backup do: the store's lock lets no second process in, so the process that
// has it does the work.
//
//	GET  /bestdns/zones/{zone}            the zone as a master file
//	POST /bestdns/zones/{zone}            adds the records of a master file; with "true" for
//	                                      replace, dry_run, without_dnssec in the query
//	GET  /bestdns/backup                  a new store file
//	GET  /bestdns/activity                clients, and the last changes and refused requests
//	GET  /bestdns/clients                 clients; with may, name and type in the query, those that may
//	                                      do that
//
// and what the command check asks for, in admin_records.go.
type adminAPI struct{}

// CaddyModule returns the Caddy module information.
func (adminAPI) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "admin.api.bestdns",
		New: func() caddy.Module { return new(adminAPI) },
	}
}

// Where the endpoints are.
const (
	adminZones    = "/bestdns/zones/"
	adminBackup   = "/bestdns/backup"
	adminActivity = "/bestdns/activity"
	adminClients  = "/bestdns/clients"
)

// Options of an import.
const (
	importReplace       = "replace"
	importDryRun        = "dry_run"
	importWithoutDNSSEC = "without_dnssec"
)

// masterFileType is the media type of master files (RFC 4027).
const masterFileType = "text/dns"

// Routes returns the admin routes.
func (adminAPI) Routes() []caddy.AdminRoute {
	return []caddy.AdminRoute{
		{Pattern: adminZones, Handler: caddy.AdminHandlerFunc(serveAdminZone)},
		{Pattern: adminBackup, Handler: caddy.AdminHandlerFunc(serveAdminBackup)},
		{Pattern: adminActivity, Handler: adminGet((*App).activityAnswer)},
		{Pattern: adminClients, Handler: adminGet((*App).clientsAnswer)},
		{Pattern: adminHosting, Handler: adminGet((*App).hostedZones)},
		{Pattern: adminRecords, Handler: caddy.AdminHandlerFunc(serveAdminRecords)},
	}
}

// runningApp returns the app of the newest configuration.
func runningApp() (*App, error) {
	app := liveApps.newest(nil)
	if app == nil {
		return nil, adminError(http.StatusServiceUnavailable, "the app bestdns is not running in this Caddy")
	}
	return app, nil
}

// adminGet answers GET with what an app says, in JSON.
func adminGet(answer func(*App, *http.Request) (any, error)) caddy.AdminHandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) error {
		app, err := runningApp()
		switch {
		case r.Method != http.MethodGet:
			return adminMethodError(r)
		case err != nil:
			return err
		}
		value, err := answer(app, r)
		if err != nil {
			return err
		}
		writeJSON(w, value)
		return nil
	}
}

// adminError is what Caddy answers, and logs: the reason, formatted as by [fmt.Errorf] and
// made safe to show.
func adminError(status int, format string, args ...any) error {
	reason := fmt.Errorf(format, args...).Error()
	return caddy.APIError{HTTPStatus: status, Err: errors.New(text.Brief(reason, text.MaxDetail))}
}

// adminProblem is an error of hosting as it is told at the admin endpoint, with the status that it has
// in the API. Why nothing can be changed now, such as a full disk, is told too: the API
// leaves that to the log, and the user of the admin endpoint is the one to mend it.
func adminProblem(err error) error {
	e := hosting.AsError(err, "")
	reason := e.Detail
	if e.Kind() == api.Unavailable && e.Cause != nil {
		reason += ": " + e.Cause.Error()
	}
	return adminError(e.Status, "%s", reason)
}

func adminMethodError(r *http.Request) error {
	return adminError(http.StatusMethodNotAllowed, "%s is not a method of %s", r.Method, r.URL.Path)
}

func serveAdminZone(w http.ResponseWriter, r *http.Request) error {
	app, zone, err := adminZone(strings.TrimPrefix(r.URL.Path, adminZones))
	if err != nil {
		return err
	}
	switch r.Method {
	case http.MethodGet:
		w.Header().Set("Content-Type", masterFileType)
		err := app.hosting.Export(w, zone)
		if _, ok := errors.AsType[*hosting.Error](err); ok {
			return adminProblem(err)
		}
		return err
	case http.MethodPost:
		how, err := readImport(r)
		if err != nil {
			return err
		}
		who := hosting.Caller{Name: adminName, Address: adminAddress(r), RequestID: uuid.NewString()}
		done, err := app.hosting.Import(r.Context(), who, zone, r.Body, how)
		if err != nil {
			return adminProblem(err)
		}
		writeJSON(w, done)
		return nil
	}
	return adminMethodError(r)
}

// readImport reads the query of an import. One that is misread would add records to those that were to
// go, or change what was only to be tried.
func readImport(r *http.Request) (how hosting.Import, err error) {
	options := map[string]*bool{importReplace: &how.Replace, importDryRun: &how.DryRun, importWithoutDNSSEC: &how.WithoutDNSSEC}
	query, err := protocol.ParseQuery(r.URL.RawQuery, slices.Collect(maps.Keys(options))...)
	if err != nil {
		return how, adminError(http.StatusBadRequest, "%w", err)
	}
	for option, value := range query {
		switch value {
		case "true":
			*options[option] = true
		case "", "false":
		default:
			return how, adminError(http.StatusBadRequest, "%s is true or false, and not %q", option, value)
		}
	}
	return how, nil
}

// adminZone finds a built-in zone by its name.
func adminZone(name string) (*App, *hosting.Zone, error) {
	app, err := runningApp()
	if err != nil {
		return nil, nil, err
	}
	apex, err := record.ParseName(name)
	if err != nil {
		return nil, nil, adminError(http.StatusBadRequest, "%w", err)
	}
	zone := app.hosting.Zone(apex)
	if zone == nil {
		return nil, nil, adminError(http.StatusNotFound, "the zone %q is not in the configuration of this Caddy", apex)
	}
	if !zone.Builtin() {
		return nil, nil, adminError(http.StatusConflict, "the zone %q is hosted by its DNS provider and not by the built-in name server; that provider moves it", apex)
	}
	return app, zone, nil
}

// adminName is the audit log's name for the user of the admin endpoint: no one tells it
// who that is, and it may do everything.
const adminName = "(admin endpoint)"

// adminAddress returns the address of the user of the admin endpoint, "" where it is a
// Unix socket.
func adminAddress(r *http.Request) string {
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return ""
	}
	return peer.Addr().String()
}

// serveAdminBackup sends a new store file. It is made beside the store, where
// there is room for its like, and removed again.
func serveAdminBackup(w http.ResponseWriter, r *http.Request) error {
	if r.Method != http.MethodGet {
		return adminMethodError(r)
	}
	app := liveApps.newest(nil)
	if app == nil || app.shared == nil {
		return adminError(http.StatusServiceUnavailable, "the app bestdns is not running in this Caddy, or has no zone of its own to back up")
	}
	dir, err := os.MkdirTemp(filepath.Dir(app.storePath), ".backup-")
	if err != nil {
		return fmt.Errorf("making a backup beside the store: %w", err)
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, filepath.Base(app.storePath))
	if err := app.shared.Backup(r.Context(), path); err != nil {
		return err
	}
	http.ServeFile(w, r, path)
	return nil
}
