package service

import (
	"context"
	"errors"
	"net/http"
	"net/netip"
	"net/url"
	"path"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/google/uuid"
	"go.uber.org/zap"

	"github.com/caddy-dns/bestdns/internal/access"
	"github.com/caddy-dns/bestdns/internal/api"
	"github.com/caddy-dns/bestdns/internal/hosting"
	"github.com/caddy-dns/bestdns/internal/protocol"
	"github.com/caddy-dns/bestdns/internal/text"
	"github.com/caddy-dns/bestdns/service/page"
)

func init() {
	caddy.RegisterModule(Handler{})
}

// Handler serves the BestDNS API, version 1, below `/v1/`, for the clients that
// the `bestdns` app configures, and at `/` a page for people, which shows each client
// what its token may see; browsers ask for the token as a password. Requests for other
// paths go to the next handler; a matcher for `/v1/*` before this one leaves `/` to it too.
//
// The API is meant for HTTPS: a token that travels over plain HTTP is anyone's.
// `GET /v1/openapi.yaml` is its definition.
//
// It can speak protocols of other services beside it, each with its own paths, so that
// clients of those need no change. They are off by default.
type Handler struct {
	// Serve lego's httpreq protocol, which is that of acmeproxy too, at `/present` and
	// `/cleanup`. The token is the password of Basic authentication, with any user name.
	HTTPReq bool `json:"httpreq,omitempty"`

	// Serve acme-dns' protocol at `/update`, `/register` and `/health`. A client of
	// acme-dns sends the user name, password and subdomain of an account that a client
	// with the right `register` has made or brought along; or of a client of the
	// configuration any user name, the token as the password, and a domain as the subdomain.
	// Accounts are registered at `/register` with the client's token in the header, or, for
	// clients that know no credential for it, at `/r/TOKEN/register`: then
	// `https://HOST/r/TOKEN` is the server that they are told. Requests of this protocol are left out
	// of Caddy's access log, which would have the passwords; the log of changes has them.
	ACMEDNS bool `json:"acme_dns,omitempty"`

	// Serve the dyndns2 protocol at `/nic/update`, by which routers and ddclient set A and
	// AAAA records. The token is the password of Basic authentication, with any user name.
	DynDNS2 bool `json:"dyndns2,omitempty"`

	app    *App
	logger *zap.Logger
}

// CaddyModule returns the Caddy module information.
func (Handler) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.handlers.bestdns",
		New: func() caddy.Module { return new(Handler) },
	}
}

// Provision finds the app.
func (h *Handler) Provision(ctx caddy.Context) error {
	h.logger = ctx.Logger()
	module, err := ctx.AppIfConfigured("bestdns")
	if errors.Is(err, caddy.ErrNotConfigured) {
		return errors.New("the handler bestdns serves the API of the app bestdns, which is not configured: write a global option \"bestdns { … }\" with its zones and clients")
	}
	if err != nil {
		return err
	}
	h.app = module.(*App)
	return nil
}

// route is one path of the API.
type route struct {
	get, patch, post serve  // nil where there is no such method; patch and post leave the gate
	zone, token      string // from the path, decoded
	open             bool   // needs no token, or asks for one itself
	page             bool   // for people
	missing          bool   // it is a path of the API at which there is nothing
	// fail answers with an error; nil: as the API does. For the answer when the error is about
	// this request, and for nothing else.
	fail func(w http.ResponseWriter, e *hosting.Error)
	// secret is set if the access log must not have the request.
	secret bool
	// protocol is what the log calls it.
	protocol string
}

// shown returns the path of a request for messages, without the token that it may have.
func (r route) shown(req *http.Request) string {
	if r.secret && strings.HasPrefix(req.URL.Path, "/r/") {
		return "/r/…"
	}
	return text.Brief(req.URL.Path, text.MaxName)
}

// serve answers one request. An error of hosting is answered as a problem.
type serve func(h *Handler, w http.ResponseWriter, r *http.Request, req *request) error

// request is what all of the calls need to know of one.
type request struct {
	app   *App
	who   hosting.Caller
	zone  string
	token string // "" where it is not in the path
	gates *gates // of the client, nil without one
}

// ServeHTTP answers the requests of the API.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	route, known := h.findRoute(r.Method, r.URL.EscapedPath())
	if !known {
		return h.serveOthers(w, r, next)
	}
	if route.secret {
		skipAccessLog(r)
	}
	// A server that is still draining the requests of an old configuration goes
	// by the newest one: what a reload revokes is revoked at once.
	req := &request{app: liveApps.newest(h.app), zone: route.zone, token: route.token}
	req.who = hosting.Caller{Address: clientAddress(r), RequestID: requestID(r), Protocol: route.protocol}
	w.Header().Set("X-Request-Id", req.who.RequestID)
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff") // values are any text, HTML too
	if route.page {
		page.SetHeaders(w.Header()) // for an error in its place too
	}
	limitBodyTime(w, r)
	out := newProgressWriter(w, r)
	defer out.end()
	if r.Method != http.MethodPatch { // whose answers are small; see patchRecords
		w = out
	}
	if err := h.serve(w, r, route, req); err != nil {
		h.writeError(out, r, route, req, err)
	}
	return nil
}

// serve serves a request, and makes of a panic an error like any other. (net/http
// keeps one from ending the process, but leaves the caller without an answer.)
func (h *Handler) serve(w http.ResponseWriter, r *http.Request, route route, req *request) (err error) {
	defer func() {
		switch recovered := recover(); recovered {
		case nil:
		case http.ErrAbortHandler: // which is how handlers and proxies give up
			panic(recovered)
		default:
			err = hosting.Recovered(recovered)
		}
	}()
	if route.protocol != "api" && isFromBrowser(r) {
		return hosting.Errorf(api.Forbidden, "this protocol is for programs, and the request is a browser's: a page of another site may have sent it in your name")
	}
	if route.missing {
		return hosting.Errorf(api.ZoneNotFound, "the API has nothing at %s; GET /v1/openapi.yaml says what there is", route.shown(r))
	}
	var serve serve
	switch r.Method {
	case http.MethodGet, http.MethodHead:
		serve = route.get
	case http.MethodPatch:
		serve = route.patch
	case http.MethodPost:
		serve = route.post
	}
	if serve == nil {
		w.Header().Set("Allow", route.allowed())
		return hosting.Errorf(api.MethodNotAllowed, "%s is not a method of %s", r.Method, route.shown(r))
	}
	if !route.open {
		client, err := req.app.authenticate(r, req.who)
		if err != nil {
			return err
		}
		if err := req.enter(r.Context(), client); err != nil {
			return err
		}
		if r.Method != http.MethodPatch && r.Method != http.MethodPost {
			defer req.gates.requests.leave()
		}
	}
	return serve(h, w, r, req)
}

// enter has a request be that of a client that was let in, in its turn. requests.leave ends that.
func (r *request) enter(ctx context.Context, client *access.Client) error {
	r.who.Client, r.gates = client, r.app.gates[client.Registrar()]
	return r.gates.requests.enter(ctx)
}

// allowed lists the methods of a route, as the header Allow does.
func (r route) allowed() string {
	var methods []string
	for _, m := range []struct {
		serve serve
		names string
	}{{r.get, "GET, HEAD"}, {r.patch, http.MethodPatch}, {r.post, http.MethodPost}} {
		if m.serve != nil {
			methods = append(methods, m.names)
		}
	}
	return strings.Join(methods, ", ")
}

// findRoute returns the route of a path, of the API or of another protocol. Of the latter, a path with
// superfluous slashes is the same: clients append theirs to a URL that may end in one.
func (h *Handler) findRoute(method, escaped string) (route, bool) {
	if found, known := findRoute(method, escaped); known {
		found.protocol = "api"
		return found, true
	}
	if strings.HasPrefix(escaped, "/v1/") {
		return route{missing: true, protocol: "api"}, true
	}
	path := path.Clean(escaped)
	for _, p := range []struct {
		on   bool
		name string
		find func(path string) (route, bool)
	}{{h.HTTPReq, "httpreq", httpreqRoute}, {h.ACMEDNS, "acme-dns", acmeDNSRoute}, {h.DynDNS2, "dyndns2", dynDNSRoute}} {
		if found, known := p.find(path); p.on && known {
			found.protocol = p.name
			return found, true
		}
	}
	return route{}, false
}

// findRoute takes an escaped path apart, so that a zone may hold a slash (RFC 2317).
func findRoute(method, path string) (route, bool) {
	switch path {
	case "/":
		// With another method it is for the next handler.
		return route{get: (*Handler).getPage, page: true}, method == http.MethodGet || method == http.MethodHead
	case "/v1/zones":
		return route{get: (*Handler).getZones}, true
	case "/v1/token":
		return route{get: (*Handler).getToken}, true
	case "/v1/health":
		return route{get: (*Handler).getHealth, open: true}, true
	case "/v1/openapi.yaml":
		return route{get: (*Handler).getOpenAPI, open: true}, true
	}
	zone, ok := strings.CutPrefix(path, "/v1/zones/")
	if !ok {
		return route{}, false
	}
	zone, what, _ := strings.Cut(zone, "/")
	var found route
	switch what {
	case "records":
		found = route{get: (*Handler).getRecords, patch: (*Handler).patchRecords}
	case "wait":
		found = route{post: (*Handler).postWait}
	default:
		return route{}, false
	}
	var err error
	found.zone, err = url.PathUnescape(zone)
	return found, zone != "" && err == nil
}

func (h *Handler) getZones(w http.ResponseWriter, _ *http.Request, req *request) error {
	zones := api.Zones{Zones: []api.Zone{}}
	for _, zone := range req.app.hosting.ZonesOf(req.who.Client) {
		zones.Zones = append(zones.Zones, api.Zone{Name: zone.Apex.String()})
	}
	writeJSON(w, zones)
	return nil
}

func (h *Handler) getRecords(w http.ResponseWriter, r *http.Request, req *request) error {
	query, err := protocol.ParseQuery(r.URL.RawQuery, "name", "type")
	if err != nil {
		return hosting.Errorf(api.BadRequest, "%w", err)
	}
	if err := req.gates.walks.enter(r.Context()); err != nil {
		return err
	}
	defer req.gates.walks.leave()
	want, err := protocol.Query(req.zone, query["name"], query["type"])
	if err != nil {
		return err
	}
	found, err := req.app.hosting.Records(r.Context(), req.who.Client, want)
	if err != nil {
		return err
	}
	if r.Method == http.MethodHead {
		w.Header().Set("Content-Type", "application/json")
		return nil
	}
	if err := streamRecords(w, want.Zone, found); err != nil {
		h.logger.Debug("the client went away", zap.String("request_id", req.who.RequestID), hosting.CauseField(err))
	}
	return nil
}

func (h *Handler) getToken(w http.ResponseWriter, _ *http.Request, req *request) error {
	client := req.who.Client
	token := api.Token{Client: client.Name(), Description: client.Description(), Rights: []string{}}
	for _, rule := range client.Rules() {
		token.Rights = append(token.Rights, rule.String())
	}
	for _, network := range client.Networks() {
		token.ClientIP = append(token.ClientIP, network.String())
	}
	if end := client.Expires(); !end.IsZero() {
		token.Expires = end.Add(-time.Second).UTC().Format(time.RFC3339)
	}
	writeJSON(w, token)
	return nil
}

func (h *Handler) getHealth(w http.ResponseWriter, _ *http.Request, req *request) error {
	if err := req.app.healthProblem(); err != nil {
		return err
	}
	writeJSON(w, api.Health{Status: "ok"})
	return nil
}

// healthProblem is health as an error for a caller.
func (a *App) healthProblem() error {
	if err := a.health(); err != nil {
		e := hosting.Errorf(api.Unavailable, "%w", err)
		// Anyone may ask; what is wrong has its line where it was found.
		e.RetryAfter, e.Quiet = time.Second, true
		return e
	}
	return nil
}

func (h *Handler) getOpenAPI(w http.ResponseWriter, _ *http.Request, _ *request) error {
	w.Header().Set("Content-Type", "application/yaml")
	w.Write(api.OpenAPI)
	return nil
}

// requestID returns the id that Caddy gives the request, which its access log
// can show as {http.request.uuid}.
func requestID(r *http.Request) string {
	if id := placeholder(r, "http.request.uuid"); id != "" {
		return id
	}
	return uuid.NewString()
}

// placeholder returns what a placeholder stands for in a request, "" if for nothing.
func placeholder(r *http.Request, name string) string {
	repl, ok := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
	if !ok {
		return ""
	}
	value, _ := repl.GetString(name)
	return value
}

// clientAddress returns the address of the client as Caddy determines it, after
// trusted proxies too.
func clientAddress(r *http.Request) string {
	if address, ok := caddyhttp.GetVar(r.Context(), caddyhttp.ClientIPVarKey).(string); ok && address != "" {
		return text.Brief(address, text.MaxID) // the zone of an IPv6 address can be any text
	}
	if peer, err := netip.ParseAddrPort(r.RemoteAddr); err == nil {
		return peer.Addr().String()
	}
	return r.RemoteAddr
}

// Interface guards
var (
	_ caddy.Provisioner           = (*Handler)(nil)
	_ caddyhttp.MiddlewareHandler = (*Handler)(nil)
)
