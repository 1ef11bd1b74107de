package neighbour

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"strconv"
	"time"
)

// maxStreams is how many streams an attacker opens on a connection at once: as many as
// Go's server takes.
const maxStreams = 250

// http2Client returns a client of HTTP/2 on one connection, which comes from the address
// of connection i. It takes a byte of an answer that no one reads. close closes the
// connection, whatever is under way on it.
func (a *Attacker) http2Client(i int) (client *http.Client, close func()) {
	ctx, cancel := context.WithCancel(a.ctx)
	transport := &http.Transport{
		DialContext: func(context.Context, string, string) (net.Conn, error) {
			conn, err := a.dialTCP(i, a.TLS)
			if err == nil {
				context.AfterFunc(ctx, func() { conn.Close() })
			}
			return conn, err
		},
		TLSClientConfig:   tlsOf("h2"),
		ForceAttemptHTTP2: true,
		MaxConnsPerHost:   1,
		HTTP2:             &http.HTTP2Config{StrictMaxConcurrentRequests: true, MaxReceiveBufferPerStream: 1},
	}
	return &http.Client{Transport: transport}, cancel
}

// onStreams calls send again and again on as many streams of connection i at once as the
// server takes, until the attack ends.
func (a *Attacker) onStreams(i int, send func(*http.Client) error) {
	client, close := a.http2Client(i)
	defer close()
	times(maxStreams, func() {
		for a.ctx.Err() == nil {
			if err := send(client); err != nil {
				wait(a.ctx, 10*time.Millisecond)
			}
		}
	})
}

// send sends a request and reads the answer, or keeps it open until the attack ends.
func (a *Attacker) send(ctx context.Context, client *http.Client, method, target string, body io.Reader, length int64, read bool) error {
	req, err := http.NewRequestWithContext(ctx, method, "https://"+noisyHost+target, body)
	if err != nil {
		return err
	}
	req.ContentLength = length
	req.Header.Set("Authorization", "Bearer "+a.Noisy)
	req.Header.Set("Content-Type", "application/json")
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	a.note(strconv.Itoa(resp.StatusCode))
	if !read {
		<-a.ctx.Done()
	}
	_, err = io.Copy(io.Discard, resp.Body)
	return err
}

// changes sends PATCHes with a body. With abandoned, each is reset as soon as it is sent.
func (a *Attacker) changes(i int, body []byte, abandoned bool) {
	a.onStreams(i, func(client *http.Client) error {
		ctx, cancel := context.WithCancel(a.ctx)
		defer cancel()
		if abandoned {
			ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{WroteRequest: func(httptrace.WroteRequestInfo) {
				a.note("abandoned")
				cancel()
			}})
		}
		return a.send(ctx, client, http.MethodPatch, recordsPath, bytes.NewReader(body), int64(len(body)), true)
	})
}

// gets sends GETs, and reads their answers or lets them wait.
func (a *Attacker) gets(i int, target string, read bool) {
	a.onStreams(i, func(client *http.Client) error {
		return a.send(a.ctx, client, http.MethodGet, target, nil, 0, read)
	})
}

// unfinished opens PATCHes on so many streams of connection i, sends a part of each of
// their bodies, and closes the connection after a time, again and again.
func (a *Attacker) unfinished(i, count int, part []byte, after time.Duration) {
	for a.ctx.Err() == nil {
		ctx, cancel := context.WithTimeout(a.ctx, after)
		trace := &httptrace.ClientTrace{WroteHeaders: func() { a.note("opened") }}
		client, close := a.http2Client(i)
		context.AfterFunc(ctx, close)
		times(count, func() {
			pipe, _ := io.Pipe() // nothing more comes until the connection is closed
			body := struct {
				io.Reader
				io.Closer
			}{io.MultiReader(bytes.NewReader(part), pipe), pipe}
			_ = a.send(httptrace.WithClientTrace(a.ctx, trace), client, http.MethodPatch, recordsPath, body, 1<<20, true)
		})
		<-ctx.Done()
		cancel()
	}
}
