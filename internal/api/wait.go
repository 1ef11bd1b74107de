package api

import (
	"context"
	"net/http"
	"strconv"
	"time"
)

// Times of the wait for the name servers of a zone.
const (
	// serviceWait is how long the service waits before it answers. It is less than
	// [headerTimeout], so that the answer comes before a try is given up.
	serviceWait = 8 * time.Second
	// mostWait is how long a call waits, from its start.
	mostWait = 2 * time.Minute
	// answerTime is what is left of a context's time for the answer to arrive: a change
	// whose answer is late counts as failed.
	answerTime = time.Second

	// The pause before the service is asked again doubles from the first to the last one. It
	// does most of the waiting, except while it is being stopped, when it answers at once.
	firstPause = 50 * time.Millisecond
	lastPause  = time.Second
)

// maxWaitAnswer is the size of an answer in bytes at most. It names a few name servers.
const maxWaitAnswer = 64 << 10

// preferWait is the header Prefer (RFC 7240 §4.3) that asks the service to wait, in whole seconds.
func (c *Client) preferWait(ctx context.Context) string {
	wait := serviceWait
	if c.NoWait {
		wait = 0
	}
	if deadline, ok := ctx.Deadline(); ok {
		wait = max(0, min(wait, time.Until(deadline)-answerTime))
	}
	return "wait=" + strconv.Itoa(int(wait/time.Second))
}

// await has the service wait until the name servers that are pending in records have the
// change in body, or until the deadline, or until ctx ends. What is left then is in records.
func (c *Client) await(ctx context.Context, deadline time.Time, zone string, body []byte, records *Records) {
	ctx, cancel := context.WithDeadline(ctx, deadline)
	defer cancel()
	for pause := firstPause; len(records.Pending) > 0 && c.retry.sleep(ctx, pause) == nil; {
		asked := time.Now()
		var answer Wait
		err := c.do(ctx, &call{
			method: http.MethodPost, path: zonePath(zone, "/wait"), body: body, waits: true, persists: true, limit: maxWaitAnswer,
			decode: decodeInto(&answer),
		})
		if err != nil {
			return // the change was answered, so this is not its failure
		}
		records.Wait = answer
		if pause = min(2*pause, lastPause); time.Since(asked) >= lastPause {
			pause = firstPause
		}
	}
}
