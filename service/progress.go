package service

import (
	"net/http"
	"time"
)

// progressTimeout is how long a client may take to take the next few kilobytes of an
// answer. What it does not take keeps memory here: a snapshot of a zone, or a page.
const progressTimeout = 10 * time.Second

// progressWriter writes an answer to a client that takes it, and fails when the client
// no longer does. It is given pieces of a few kilobytes.
type progressWriter struct {
	http.ResponseWriter
	connection *http.ResponseController
	perRequest bool // the deadline is the request's own and ends with it
	set        time.Time
}

func newProgressWriter(w http.ResponseWriter, r *http.Request) *progressWriter {
	return &progressWriter{ResponseWriter: w, connection: http.NewResponseController(w), perRequest: r.ProtoMajor > 1}
}

// Write writes a piece. Over HTTP/2 each deadline costs a turn of the connection's own
// loop, so one is set a second at most.
func (p *progressWriter) Write(piece []byte) (int, error) {
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

// writeWhole writes an answer that is whole in memory.
func writeWhole(w http.ResponseWriter, r *http.Request, body []byte) error {
	const piece = 16 << 10
	if len(body) <= piece { // which systems and HTTP/2 take without waiting
		_, err := w.Write(body)
		return err
	}
	out := newProgressWriter(w, r)
	defer out.end()
	for len(body) > 0 {
		n := min(piece, len(body))
		if _, err := out.Write(body[:n]); err != nil {
			return err
		}
		body = body[n:]
	}
	return nil
}
