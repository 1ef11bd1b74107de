package service

import (
	"net/http"

	"github.com/caddy-dns/bestdns/internal/hosting"
	"github.com/caddy-dns/bestdns/internal/protocol"
)

// httpreqRoute returns the route of a path of lego's httpreq protocol.
func httpreqRoute(path string) (route, bool) {
	switch path {
	case "/present":
		return route{post: (*Handler).postPresent}, true
	case "/cleanup":
		return route{post: (*Handler).postCleanup}, true
	}
	return route{}, false
}

func (h *Handler) postPresent(w http.ResponseWriter, r *http.Request, req *request) error {
	return h.serveHTTPReq(w, r, req, true)
}

func (h *Handler) postCleanup(w http.ResponseWriter, r *http.Request, req *request) error {
	return h.serveHTTPReq(w, r, req, false)
}

func (h *Handler) serveHTTPReq(w http.ResponseWriter, r *http.Request, req *request, present bool) error {
	var answer []byte
	err := h.changeBy(w, r, req, func(text []byte) (c hosting.Change, err error) {
		c, answer, err = protocol.HTTPReq(text, present)
		return c, err
	})
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	w.Write(answer)
	return nil
}
