package service

import (
	"bytes"
	"encoding/json"
	"net/http"

	"go.uber.org/zap"

	"github.com/caddy-dns/bestdns/internal/api"
	"github.com/caddy-dns/bestdns/internal/hosting"
	"github.com/caddy-dns/bestdns/internal/protocol"
)

// patchRecords makes a change, and answers when name servers serve it.
func (h *Handler) patchRecords(w http.ResponseWriter, r *http.Request, req *request) error {
	if err := h.refuseEarly(r, req); err != nil {
		req.gates.requests.leave()
		return err
	}
	made, answer, err := h.change(w, r, req)
	if err != nil {
		return err
	}
	if err := req.app.hosting.Served(r.Context(), req.who, &made, protocol.PreferredWait(r.Header, w.Header())); err != nil {
		return err
	}
	if len(answer) > writePiece || req.gates.requests.isCrowded() {
		out := newProgressWriter(w, r)
		defer out.end()
		w = out
	}
	w.Header().Set("Content-Type", "application/json")
	if _, err := w.Write(withWait(answer, made)); err != nil {
		h.logger.Debug("the client went away", zap.String("request_id", req.who.RequestID), hosting.CauseField(err))
	}
	return nil
}

// refuseEarly refuses a change in early data.
func (h *Handler) refuseEarly(r *http.Request, req *request) error {
	if !isEarlyData(r) {
		return nil
	}
	err := errEarly()
	req.app.hosting.Unread(req.who, req.zone, err)
	return err
}

func errEarly() error {
	return hosting.Errorf(api.TooEarly, "early data can be replayed; send the change again on the finished connection")
}

// changeBy makes the change that another protocol reads out of a body, and returns when name servers
// serve it.
func (h *Handler) changeBy(w http.ResponseWriter, r *http.Request, req *request, read func(text []byte) (hosting.Change, error)) error {
	made, err := func() (made hosting.Result, err error) {
		defer req.gates.requests.leave() // what waits for name servers has bounds of its own
		if err := h.refuseEarly(r, req); err != nil {
			return made, err
		}
		text, leave, err := readInTurn(w, r, req.gates)
		if err != nil {
			return made, err
		}
		defer leave()
		change, err := read(text)
		if err == nil {
			err = h.renew(r, req)
		}
		if err != nil {
			req.app.hosting.Unread(req.who, "", err)
			return made, err
		}
		return req.app.hosting.Change(r.Context(), req.who, change)
	}()
	if err != nil {
		return err
	}
	return req.app.hosting.Served(r.Context(), req.who, &made, hosting.ZoneWait)
}

// postWait waits until name servers serve a change that was made before.
func (h *Handler) postWait(w http.ResponseWriter, r *http.Request, req *request) error {
	made, err := h.made(w, r, req)
	if err != nil {
		return err
	}
	if err := req.app.hosting.Served(r.Context(), req.who, &made, protocol.PreferredWait(r.Header, w.Header())); err != nil {
		return err
	}
	writeJSON(w, protocol.Wait(made))
	return nil
}

// change reads a change and makes it. The answer, which may be large, is encoded while it is its
// client's turn to work; what name servers say of it is not in it yet.
func (h *Handler) change(w http.ResponseWriter, r *http.Request, req *request) (made hosting.Result, answer []byte, err error) {
	defer req.gates.requests.leave() // what waits for name servers has bounds of its own
	body, leave, err := h.readChange(w, r, req)
	if err != nil {
		req.app.hosting.Unread(req.who, req.zone, err)
		return made, nil, err
	}
	defer leave()
	asked, err := protocol.ParseZone(req.zone)
	if err != nil {
		return made, nil, err
	}
	if made, err = req.app.hosting.Change(r.Context(), req.who, protocol.Change(asked, body)); err != nil {
		return made, nil, err
	}
	answer, err = json.Marshal(protocol.Records(asked, made))
	return made, append(answer, '\n'), err
}

// made reads a change that was made before.
func (h *Handler) made(w http.ResponseWriter, r *http.Request, req *request) (made hosting.Result, err error) {
	defer req.gates.requests.leave()
	body, leave, err := h.readChange(w, r, req)
	if err != nil {
		return made, err
	}
	defer leave()
	asked, err := protocol.ParseZone(req.zone)
	if err != nil {
		return made, err
	}
	return req.app.hosting.Made(req.who, protocol.Change(asked, body))
}

// withWait adds to an encoded answer which name servers do not serve the change.
func withWait(answer []byte, made hosting.Result) []byte {
	if len(made.Pending)+len(made.Silent) == 0 {
		return answer
	}
	wait, err := json.Marshal(protocol.Wait(made))
	if err != nil { // of strings
		return answer
	}
	answer = append(bytes.TrimSuffix(answer, []byte("}\n")), ',')
	return append(append(answer, wait[1:]...), '\n')
}

// readChange reads the body of a request, in its client's turn, which leave ends. The request then
// is one of the newest configuration.
func (h *Handler) readChange(w http.ResponseWriter, r *http.Request, req *request) (body api.Change, leave func(), err error) {
	text, leave, err := readInTurn(w, r, req.gates)
	if err != nil {
		return body, nil, err
	}
	switch body, err = protocol.ReadChange(text); {
	case err != nil:
	case r.Context().Err() != nil:
		err = errGone()
	default:
		err = h.renew(r, req)
	}
	if err != nil {
		leave()
	}
	return body, leave, err
}

// renew makes a request one of the newest configuration: the body may have taken its time, and a
// reload in the meantime its right.
func (h *Handler) renew(r *http.Request, req *request) error {
	newest := liveApps.newest(h.app)
	if newest == req.app {
		return nil
	}
	req.app = newest
	client, err := newest.authenticate(r, req.who)
	if err == nil {
		req.who.Client = client
	}
	return err
}

// readInTurn reads a body. A client has few large ones in memory, and fewer that are worked on, until leave.
func readInTurn(w http.ResponseWriter, r *http.Request, g *gates) (text []byte, leave func(), err error) {
	bodies := g.bodies
	switch {
	case r.ContentLength < 0:
		bodies = g.chunked
	case r.ContentLength <= smallBody:
		text, err = readBody(w, r)
		return text, func() {}, err
	}
	if err := bodies.enter(r.Context()); err != nil {
		return nil, nil, err
	}
	text, err = readBody(w, r)
	if err == nil {
		err = g.work.enter(r.Context())
	}
	if err != nil {
		bodies.leave()
		return nil, nil, err
	}
	return text, func() { g.work.leave(); bodies.leave() }, nil
}

// isEarlyData reports whether a request came, or may have come to a proxy before
// this server, before the TLS handshake was finished. Any value of the header
// means that it did (RFC 8470 §5.1).
func isEarlyData(r *http.Request) bool {
	return r.TLS != nil && !r.TLS.HandshakeComplete || len(r.Header.Values("Early-Data")) > 0
}
