package api

import (
	"context"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"github.com/caddy-dns/bestdns/internal/text"
)

// endpoint is one URL of the service.
type endpoint struct {
	base  string // without its last slash, escaped
	host  string // for error messages
	first firstConnection
}

func newEndpoint(u *url.URL) *endpoint {
	return &endpoint{base: baseOf(u), host: u.Host, first: newFirstConnection()}
}

// stay is how long calls begin with another endpoint after the first one failed. Then one
// call tries the first again, and the others follow if it works: all clients of several
// copies should use the same one, because two of them lose records at a DNS provider that
// reads and writes whole RRsets. Only that one call is late if the first fails again.
const stay = time.Minute

// endpoints are the URLs of the service in the order in which they are tried. It is safe
// for concurrent use.
type endpoints struct {
	list    []*endpoint  // at least one; never changed
	current atomic.Int32 // the index of the one that last worked
	back    atomic.Int64 // Unix time in nanoseconds at which a call begins with the first again
}

// order returns the indexes of all endpoints in the order in which a call tries them.
func (e *endpoints) order() []int {
	begin := int(e.current.Load())
	if begin != 0 {
		due, now := e.back.Load(), time.Now()
		if now.UnixNano() >= due && e.back.CompareAndSwap(due, now.Add(stay).UnixNano()) {
			begin = 0
		}
	}
	order := []int{begin}
	for index := range e.list {
		if index != begin {
			order = append(order, index)
		}
	}
	return order
}

// worked notes that the endpoint at an index has done what it was asked for.
func (e *endpoints) worked(index int) {
	if e.current.Load() != int32(index) {
		e.back.Store(time.Now().Add(stay).UnixNano())
		e.current.Store(int32(index))
	}
}

// round tries the call at one endpoint after the other, at each once, until one of them
// does what it asks for or refuses it. It returns nil for success.
func (c *Client) round(ctx context.Context, call *call) *failure {
	list := c.endpoints.list
	if len(list) == 1 {
		return c.try(ctx, list[0], call)
	}
	var failed []*failure
	for _, index := range c.endpoints.order() {
		f := c.try(ctx, list[index], call)
		if f == nil {
			c.endpoints.worked(index)
			return nil
		}
		if f.Kind() != "" { // otherwise it has the host in it
			f.Detail = list[index].host + " answers: " + f.Problem.Error()
		}
		if failed = append(failed, f); !f.elsewhere {
			break
		}
	}
	return joined(failed)
}

// joined makes one failure of those of a call at several endpoints. It is the last of them
// that is worth another try, or that ended the round, with what all of them say.
func joined(failed []*failure) *failure {
	all := *failed[0]
	details := make([]string, len(failed))
	unchanged, pause := true, failed[0].retryAfter
	for i, f := range failed {
		if f.temporary || !f.elsewhere {
			all = *f
		}
		details[i] = text.Brief(f.Problem.Error(), mostOfDetail/len(failed)-len("…; "))
		unchanged = unchanged && f.Unchanged
		pause = min(pause, f.retryAfter) // the one that is to be asked first
	}
	all.Detail, all.Unchanged, all.retryAfter = strings.Join(details, "; "), unchanged, pause
	return &all
}
