package service

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/google/uuid"

	"github.com/caddy-dns/bestdns/internal/api"
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
//	POST /bestdns/zones/{zone}?replace=   adds the records of a master file
//	GET  /bestdns/backup                  a new store file
//	GET  /bestdns/activity                clients by last use, and the last changes
//
// and what the command check asks for, in adminlocal.go.
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
)

// masterFileType is the media type of master files (RFC 4027).
const masterFileType = "text/dns"

// Routes returns the admin routes.
func (adminAPI) Routes() []caddy.AdminRoute {
	return []caddy.AdminRoute{
		{Pattern: adminZones, Handler: caddy.AdminHandlerFunc(serveAdminZone)},
		{Pattern: adminBackup, Handler: caddy.AdminHandlerFunc(serveAdminBackup)},
		{Pattern: adminActivity, Handler: caddy.AdminHandlerFunc(serveAdminActivity)},
		{Pattern: adminHosting, Handler: caddy.AdminHandlerFunc(serveAdminHosting)},
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

// adminError is what Caddy answers, and logs: the reason, formatted as by [fmt.Errorf] and
// made safe to show.
func adminError(status int, format string, args ...any) error {
	reason := fmt.Errorf(format, args...).Error()
	return caddy.APIError{HTTPStatus: status, Err: errors.New(text.Brief(reason, mostOfDetail))}
}

// adminProblem is a problem as it is told at the admin endpoint, with the status that it has
// in the API. Why nothing can be changed now, such as a full disk, is told too: the API
// leaves that to the log, and who uses the admin endpoint is the one to mend it.
func adminProblem(p *problem) error {
	reason := p.Detail
	if p.Kind() == api.Unavailable && p.cause != nil {
		reason += ": " + p.cause.Error()
	}
	return adminError(p.Status, "%s", reason)
}

func adminMethodError(r *http.Request) error {
	return adminError(http.StatusMethodNotAllowed, "%s is not a method of %s", r.Method, r.URL.Path)
}

func serveAdminZone(w http.ResponseWriter, r *http.Request) error {
	zone, err := adminZone(strings.TrimPrefix(r.URL.Path, adminZones))
	if err != nil {
		return err
	}
	switch r.Method {
	case http.MethodGet:
		return zone.export(w)
	case http.MethodPost:
		replace, err := wantsReplace(r)
		if err != nil {
			return err
		}
		started := time.Now()
		done, failure := zone.importFile(r.Context(), r.Body, replace)
		zone.logImport(r, replace, done, time.Since(started), failure)
		if failure != nil {
			return adminProblem(failure)
		}
		writeJSON(w, done)
		return nil
	}
	return adminMethodError(r)
}

// wantsReplace reads the query of an import. One that is misread would add records to those
// that were to go.
func wantsReplace(r *http.Request) (bool, error) {
	query, err := parseQuery(r.URL.RawQuery, "replace")
	if err != nil {
		return false, adminError(http.StatusBadRequest, "%w", err)
	}
	switch value := query["replace"]; value {
	case "true":
		return true, nil
	case "", "false":
		return false, nil
	default:
		return false, adminError(http.StatusBadRequest, "replace is true or false, and not %q", value)
	}
}

// adminZone finds a built-in zone by its name.
func adminZone(name string) (builtinZone, error) {
	app, err := runningApp()
	if err != nil {
		return builtinZone{}, err
	}
	apex, err := record.ParseName(name)
	if err != nil {
		return builtinZone{}, adminError(http.StatusBadRequest, "%w", err)
	}
	zone := app.hosted[apex]
	if zone == nil {
		return builtinZone{}, adminError(http.StatusNotFound, "the zone %q is not in the configuration of this Caddy", apex)
	}
	builtin, ok := zone.records.(builtinZone)
	if !ok {
		return builtinZone{}, adminError(http.StatusConflict, "the zone %q is hosted by its DNS provider and not by the built-in name server; that provider moves it", apex)
	}
	return builtin, nil
}

// export writes the zone as a master file.
func (z builtinZone) export(w http.ResponseWriter) error {
	snapshot, ok := z.app.shared.Snapshot(z.apex)
	if !ok {
		return adminError(http.StatusNotFound, "the name server does not have the zone %q", z.apex)
	}
	w.Header().Set("Content-Type", masterFileType)
	left, err := record.WriteMasterFile(w, z.apex, z.app.hosted[z.apex].ttl, snapshot.Records(z.apex))
	if err == nil && left > 0 {
		_, err = fmt.Fprintf(w, "; left out: %d records of challenges under way\n", left)
	}
	return err
}

// importDone is the answer to an import.
type importDone struct {
	// Records is the number of those that were read and are in the zone now.
	Records int `json:"records"`
	// Made is the number of those that were passed over, because the server makes
	// them itself: SOA, NS at the apex, addresses of name servers.
	Made   int    `json:"made"`
	Serial uint32 `json:"serial"`
}

// adminName stands in the audit log for who uses the admin endpoint: nobody tells it
// who that is, and it may do everything.
const adminName = "(admin endpoint)"

// adminAddress returns the address of who uses the admin endpoint, "" where it is a
// Unix socket.
func adminAddress(r *http.Request) string {
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return ""
	}
	return peer.Addr().String()
}

// logImport writes the audit line of an import, which is one change however many
// records it has.
func (z builtinZone) logImport(r *http.Request, replace bool, done importDone, took time.Duration, failure *problem) {
	c := changeSeen{
		RequestID: uuid.NewString(), Client: adminName, Zone: z.apex.String(), Op: "import", Serial: done.Serial,
		Address: adminAddress(r), Records: []string{fmt.Sprintf("%d of a master file", done.Records)},
	}
	if replace {
		c.Op = "replace"
	}
	z.app.logOutcome(z.app.hosted[z.apex], c, took, failure)
}

// importFile adds the records of a master file to the zone, or puts them in the
// place of all that is there, in one commit.
func (z builtinZone) importFile(ctx context.Context, file io.Reader, replace bool) (importDone, *problem) {
	snapshot, ok := z.app.shared.Snapshot(z.apex)
	if !ok {
		return importDone{}, newProblem(api.ZoneNotFound, "the name server does not have the zone %q", z.apex)
	}
	records, err := record.ReadMasterFile(file, "the master file", z.apex, z.app.hosted[z.apex].ttl)
	if err != nil {
		return importDone{}, newProblem(api.InvalidRecord, "%w", err)
	}
	var done importDone
	var ours []record.Record
	for _, r := range records {
		if snapshot.Made(r.Name, r.Type) {
			done.Made++
			continue
		}
		ours = append(ours, r)
	}
	done.Records = len(ours)
	done.Serial, err = z.write(ctx, ours, replace)
	if err != nil {
		return done, asProblem(err, z.apex)
	}
	return done, nil
}

// write makes one commit of the records of a master file.
func (z builtinZone) write(ctx context.Context, records []record.Record, replace bool) (serial uint32, err error) {
	if replace {
		result, err := z.app.shared.Replace(ctx, z.apex, records)
		return result.Serial, err
	}
	result, err := z.app.shared.Apply(ctx, z.apex, record.Change{Op: record.Append, Records: records})
	return result.Serial, err
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
		return fmt.Errorf("making a back-up beside the store: %w", err)
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, filepath.Base(app.storePath))
	if err := app.shared.Backup(r.Context(), path); err != nil {
		return err
	}
	http.ServeFile(w, r, path)
	return nil
}
