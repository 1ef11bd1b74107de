package service

import (
	"errors"
	"io"
	"net/http"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/caddy-dns/bestdns/internal/api"
	"github.com/caddy-dns/bestdns/internal/fair"
	"github.com/caddy-dns/bestdns/internal/hosting"
)

// bodyTimeout is the time in which the body of a request has to come.
const bodyTimeout = 10 * time.Second

// limitBodyTime ends the wait for a body that trickles in and that no one reads: over
// HTTP/1.1, Go's server waits for the rest of a short one before it lets an answer
// go, a 401 too.
func limitBodyTime(w http.ResponseWriter, r *http.Request) {
	if r.ProtoMajor == 1 && r.Body != nil && r.Body != http.NoBody {
		// An error means that this connection cannot; the server's own limits hold.
		_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(bodyTimeout))
	}
}

// readBody reads a body within bodyTimeout. The deadline is set when it is over and
// not before, since Caddy's server sets one of its own at each read.
func readBody(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	deadline := newBodyDeadline(w)
	text, err := readLength(http.MaxBytesReader(w, r.Body, api.MaxBodyBytes), r.ContentLength)
	deadline.end()
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return nil, hosting.Errorf(api.TooLarge, "the body is larger than %d bytes", api.MaxBodyBytes)
	case errors.Is(err, os.ErrDeadlineExceeded):
		return nil, hosting.Errorf(api.BadRequest, "the body did not come within %s", bodyTimeout)
	case err != nil && r.Context().Err() != nil:
		return nil, errGone()
	case err != nil:
		return nil, hosting.Errorf(api.BadRequest, "the body cannot be read: %w", err)
	}
	if r.ProtoMajor == 1 {
		// Or the client would count as gone while its change is under way. A stream of
		// HTTP/2 is not its connection, and each deadline there costs a turn of the
		// connection's own loop.
		_ = deadline.connection.SetReadDeadline(time.Time{})
	}
	return text, nil
}

// maxSmall is how long a body may be that is read before it is known who sends it.
const maxSmall = 4 << 10

// readSmall reads such a body.
func readSmall(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	if r.ContentLength > maxSmall {
		return nil, hosting.Errorf(api.TooLarge, "the body is larger than %d bytes", maxSmall)
	}
	r.Body = http.MaxBytesReader(w, r.Body, maxSmall)
	return readBody(w, r)
}

// bodyDeadline ends the reading of a body when its time is over.
type bodyDeadline struct {
	connection http.ResponseController
	timer      *time.Timer
	expiring   sync.WaitGroup // until the call of the timer has ended
}

func newBodyDeadline(w http.ResponseWriter) *bodyDeadline {
	d := &bodyDeadline{connection: *http.NewResponseController(w)}
	d.expiring.Add(1)
	d.timer = time.AfterFunc(bodyTimeout, d.expire)
	return d
}

// expire is called by the timer. Nothing else recovers a panic there.
func (d *bodyDeadline) expire() {
	defer d.expiring.Done()
	defer func() { _ = recover() }() // the request ends without its deadline
	_ = d.connection.SetReadDeadline(time.Now())
}

// end takes the deadline back. When it has returned, the timer touches nothing of the
// request: a ResponseWriter of HTTP/2 must not be used after its handler has returned,
// and a timer's own Stop does not wait for a call that has begun.
func (d *bodyDeadline) end() {
	if !d.timer.Stop() {
		d.expiring.Wait()
	}
}

// readLength reads a body of the length that its header says, -1 where it says none.
// A usual one comes in one read: another to see its end would have Caddy set another
// deadline.
func readLength(body io.Reader, length int64) ([]byte, error) {
	const usual = 16 << 10
	if length < 0 || length > usual {
		return readAll(body)
	}
	text := make([]byte, length)
	_, err := io.ReadFull(body, text)
	return text, err
}

// readAll is [io.ReadAll] which gives way to other requests: the client decides in how
// many pieces the body comes, down to a byte each.
func readAll(body io.Reader) ([]byte, error) {
	text := make([]byte, 0, 4096)
	var b fair.Breather
	for {
		b.Breathe()
		text = slices.Grow(text, 512)
		n, err := body.Read(text[len(text):cap(text)])
		text = text[:len(text)+n]
		switch {
		case err == io.EOF:
			return text, nil
		case err != nil:
			return text, err
		}
	}
}
