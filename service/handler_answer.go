package service

import (
	"bufio"
	"encoding/json"
	"iter"
	"net/http"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-dns/bestdns/internal/api"
	"github.com/caddy-dns/bestdns/internal/fair"
	"github.com/caddy-dns/bestdns/internal/hosting"
	"github.com/caddy-dns/bestdns/internal/protocol"
	"github.com/caddy-dns/bestdns/internal/record"
)

// progressTimeout is how long a client may take to take the next few kilobytes of an
// answer. What it does not take keeps memory here: a snapshot of a zone, or a page.
const progressTimeout = 10 * time.Second

// progressWriter writes an answer to a client that takes it, and fails when the client
// no longer does.
type progressWriter struct {
	http.ResponseWriter
	connection http.ResponseController
	perRequest bool // the deadline is the request's own and ends with it
	set        time.Time
}

func newProgressWriter(w http.ResponseWriter, r *http.Request) *progressWriter {
	return &progressWriter{ResponseWriter: w, connection: *http.NewResponseController(w), perRequest: r.ProtoMajor > 1}
}

// Unwrap is for [http.ResponseController].
func (p *progressWriter) Unwrap() http.ResponseWriter { return p.ResponseWriter }

// writePiece is how much is written at once. Systems and HTTP/2 take as much without
// waiting, as a rule.
const writePiece = 16 << 10

// Write writes piece by piece.
func (p *progressWriter) Write(all []byte) (n int, err error) {
	for len(all) > writePiece {
		m, err := p.writePiece(all[:writePiece])
		if n += m; err != nil {
			return n, err
		}
		all = all[writePiece:]
	}
	m, err := p.writePiece(all)
	return n + m, err
}

// writePiece writes a piece. Each deadline costs a turn of an HTTP/2 connection's own
// loop, so one is set a second at most.
func (p *progressWriter) writePiece(piece []byte) (int, error) {
	if now := time.Now(); now.Sub(p.set) > time.Second {
		// An error means that this connection cannot; the server's own limits hold.
		_ = p.connection.SetWriteDeadline(now.Add(progressTimeout))
		p.set = now
	}
	return p.ResponseWriter.Write(piece)
}

// end takes the deadline from a connection that may serve further requests.
func (p *progressWriter) end() {
	if !p.perRequest && !p.set.IsZero() {
		_ = p.connection.SetWriteDeadline(time.Time{})
	}
}

// streamRecords writes records, their names relative to a zone, one by one: a zone may be larger than an answer
// should ever be in memory.
func streamRecords(w http.ResponseWriter, zone record.Name, found iter.Seq[hosting.Entry]) error {
	w.Header().Set("Content-Type", "application/json")
	out := bufio.NewWriter(w)
	out.WriteString(`{"records":[`)
	first := true
	var b fair.Breather
	for e := range found {
		b.Breathe()
		text, err := json.Marshal(e.Record(zone))
		if err != nil {
			return err
		}
		if !first {
			out.WriteByte(',')
		}
		first = false
		if _, err := out.Write(text); err != nil {
			return err
		}
	}
	out.WriteString("]}\n")
	return out.Flush()
}

// writeJSON writes an answer. An error in writing means that the client is gone.
func writeJSON(w http.ResponseWriter, answer any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(answer)
}

// writeError answers a request with an error.
func (h *Handler) writeError(w http.ResponseWriter, r *http.Request, route route, req *request, err error) {
	if r.Method != http.MethodPatch && route.protocol == "api" {
		err = notAllowed(err, req.who.Client)
	}
	e := hosting.AsError(err, "")
	if route.page && e.Denied != nil && e.Denied.Why == hosting.NoToken {
		activity.Deny(hosting.NoToken) // a browser has to be asked for it
	} else {
		req.app.deny(req.who, e)
	}
	if e.Status >= 500 && !e.Quiet && r.Method != http.MethodPatch { // changes have their audit line
		h.logger.Error("request failed", zap.String("request_id", req.who.RequestID), zap.String("path", route.shown(r)),
			zap.String("reason", e.Detail), hosting.CauseField(e.Cause))
	}
	if route.fail != nil && e.Kind() != api.MethodNotAllowed {
		route.fail(w, e)
		return
	}
	protocol.WriteProblem(w, e, req.who.RequestID)
}
