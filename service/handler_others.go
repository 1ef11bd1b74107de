package service

import (
	"net/http"
	"path"
	"strings"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-dns/bestdns/internal/api"
	"github.com/caddy-dns/bestdns/internal/hosting"
	"github.com/caddy-dns/bestdns/internal/protocol"
)

// serveOthers has the next handler serve a request that is not one of ours. Where that is one of a
// protocol that is not switched on, and no one serves it, Caddy would answer with an empty 200, which
// clients of those protocols take for success.
func (h *Handler) serveOthers(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	option := optionOf(r.URL.Path)
	if h.ACMEDNS && (r.Header.Get("X-Api-Key") != "" || option == "acme_dns") {
		skipAccessLog(r) // a slip in the path leaves the secret what it is
	}
	if option == "" {
		return next.ServeHTTP(w, r)
	}
	watched := &touchedWriter{ResponseWriterWrapper: &caddyhttp.ResponseWriterWrapper{ResponseWriter: w}}
	if err := next.ServeHTTP(watched, r); err != nil || watched.touched {
		return err
	}
	skipAccessLog(r)
	protocol.WriteProblem(w, hosting.Errorf(api.ZoneNotFound, "there is nothing at this path: if a client is to use it, write %s in the block of the handler bestdns", option), requestID(r))
	return nil
}

// optionOf returns the option of the handler that would have it serve a path, "" if none would.
func optionOf(urlPath string) string {
	switch p := strings.ToLower(path.Clean(urlPath)); {
	case p == "/present", p == "/cleanup":
		return "httpreq"
	case p == "/update", p == "/register", strings.HasPrefix(p, "/r/"):
		return "acme_dns"
	case p == "/nic/update":
		return "dyndns2"
	}
	return ""
}

// touchedWriter notes whether anything was answered.
type touchedWriter struct {
	*caddyhttp.ResponseWriterWrapper
	touched bool
}

func (w *touchedWriter) WriteHeader(status int) {
	w.touched = true
	w.ResponseWriterWrapper.WriteHeader(status)
}

func (w *touchedWriter) Write(b []byte) (int, error) {
	w.touched = true
	return w.ResponseWriterWrapper.Write(b)
}

// Unwrap is for what needs the connection itself, and will have answered.
func (w *touchedWriter) Unwrap() http.ResponseWriter {
	w.touched = true
	return w.ResponseWriterWrapper.Unwrap()
}

// skipAccessLog keeps a request out of Caddy's access log.
func skipAccessLog(r *http.Request) { caddyhttp.SetVar(r.Context(), caddyhttp.LogSkipVar, true) }

// isFromBrowser reports whether a page in a browser may have caused a request. Browsers remember the
// password of a site, and send it with what another site has them send.
func isFromBrowser(r *http.Request) bool {
	return len(r.Header.Values("Origin")) > 0 || len(r.Header.Values("Sec-Fetch-Site")) > 0
}
