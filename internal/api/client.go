package api

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/libdns/libdns"
)

// Time limits of a call, all tries together, where the context has no deadline.
const (
	callTimeout = 30 * time.Second
	readTimeout = 5 * time.Minute // for a zone's records, of which there may be many
)

// Sizes of answers at most, in bytes, so that a strange server cannot fill the memory.
const (
	maxChangeAnswer  = 64 << 20
	maxRecordsAnswer = 1 << 30
	maxProblem       = 64 << 10
)

// Client calls the API of one service. It is safe for concurrent use. Its calls
// share their connections: one to each endpoint with HTTP/2.
//
// Each call is one request, tried again within a few seconds where it failed in
// a way that may pass, at the other endpoints first and at once: a change is an operation
// on sets, so that a repeat does no harm. A failed call returns an [*Error].
type Client struct {
	// NoWait has changes answered when they are made, before name servers serve them. It is to be
	// set before the first call.
	NoWait bool

	endpoints endpoints
	// header is sent with each request: who the client is, and what it reads. It is never
	// changed.
	header http.Header
	http   *http.Client
	retry  retryPolicy
}

// Identity is by what the service knows a client: a token, a TLS client
// certificate, or both.
type Identity struct {
	Token string
	// TokenSource names the file or variable that the token is from, for errors about
	// it. It may be empty.
	TokenSource string
	// Certificate returns the certificate to present, at each handshake. It may be
	// nil.
	Certificate func(*tls.CertificateRequestInfo) (*tls.Certificate, error)
}

// NewClient returns a client of the service at the given endpoints, as [ParseEndpoints]
// reads them. They are copies of one service, and are tried in this order. The token goes
// nowhere else, and only over HTTPS or to a loopback address. The certificate of each is
// verified with roots; nil means the system's. NewClient opens no connection. Its errors
// never hold the token.
func NewClient(given string, id Identity, roots *x509.CertPool) (*Client, error) {
	urls, err := ParseEndpoints(given)
	if err != nil {
		return nil, err
	}
	if id.Token != "" || id.Certificate == nil {
		if err := CheckTokenFrom(id.TokenSource, id.Token); err != nil {
			return nil, err
		}
	}
	isPlain := func(u *url.URL) bool { return u.Scheme != "https" }
	if id.Certificate != nil && slices.ContainsFunc(urls, isPlain) {
		return nil, errors.New("a client certificate needs an endpoint with https: without TLS there is no one to show it to")
	}
	c := &Client{
		http: &http.Client{
			Transport:     NewTransport(roots, id.Certificate),
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		retry: defaultRetry,
		header: http.Header{
			"Accept":     {"application/json, " + ProblemContentType},
			"User-Agent": {userAgent()},
		},
	}
	if id.Token != "" {
		c.header["Authorization"] = []string{"Bearer " + id.Token}
	}
	for _, u := range urls {
		c.endpoints.list = append(c.endpoints.list, newEndpoint(u))
	}
	return c, nil
}

// CloseIdleConnections closes the connections that no call uses. The client
// stays usable.
func (c *Client) CloseIdleConnections() { c.http.CloseIdleConnections() }

// ListZones returns the zones in which the token may do something.
func (c *Client) ListZones(ctx context.Context) ([]Zone, error) {
	zones, err := get[Zones](ctx, c, "/v1/zones")
	return zones.Zones, err
}

// GetToken returns who the caller is to the service, and what it may do.
func (c *Client) GetToken(ctx context.Context) (Token, error) {
	return get[Token](ctx, c, "/v1/token")
}

// get reads an answer of a limited size.
func get[T any](ctx context.Context, c *Client, path string) (answer T, err error) {
	err = c.do(ctx, &call{
		method: http.MethodGet, path: path, timeout: callTimeout, limit: maxChangeAnswer, decode: decodeInto(&answer),
	})
	return answer, err
}

// GetRecords returns the records at or below zone that the token may read.
func (c *Client) GetRecords(ctx context.Context, zone string) ([]libdns.Record, error) {
	if zone == "" {
		return nil, refused(ZoneNotFound, "no zone is named")
	}
	var records []libdns.Record
	err := c.do(ctx, &call{
		method: http.MethodGet, path: zonePath(zone, "/records"), timeout: readTimeout, limit: maxRecordsAnswer,
		decode: func(body io.Reader) (err error) {
			records, err = decodeRecords(body)
			return err
		},
	})
	if err != nil {
		return nil, err
	}
	return records, nil
}

// Change makes one change to the records of zone and returns those that were
// appended, set or deleted.
//
// An append or set returns when every name server of the zone that answers has it, or
// when ctx ends, or two minutes after it began. Once the service has answered the change,
// neither a server that lags nor a failure while waiting is an error: the result's Pending
// and Silent say which servers were not seen to have it. Deletes do not wait.
func (c *Client) Change(ctx context.Context, zone string, change Change) (Records, error) {
	if zone == "" {
		return Records{}, refused(ZoneNotFound, "no zone is named")
	}
	body, err := json.Marshal(change)
	if err != nil {
		return Records{}, refused(BadRequest, err.Error())
	}
	if n := len(change.Append) + len(change.Set) + len(change.Delete); n > MaxRecords || len(body) > MaxBodyBytes {
		// Not left to the service, which may close the connection before it is read.
		return Records{}, refused(TooLarge, fmt.Sprintf("the change has %d records in %d bytes: make several of at most %d records and %d bytes",
			n, len(body), MaxRecords, MaxBodyBytes))
	}
	var records Records
	begun, waits := time.Now(), change.Delete == nil
	err = c.do(ctx, &call{
		method: http.MethodPatch, path: zonePath(zone, "/records"), body: body, waits: waits, timeout: callTimeout, limit: maxChangeAnswer,
		decode: decodeInto(&records),
	})
	if err == nil && waits && !c.NoWait && len(records.Pending) > 0 {
		c.await(ctx, begun.Add(mostWait), zone, body, &records)
	}
	return records, err
}

// refused is the error of a call that is not made.
func refused(kind, detail string) *Error {
	p := NewProblem(kind, detail)
	p.Status, p.Unchanged = 0, true // no one answered
	return &Error{Problem: *p}
}

// zonePath is a path of a zone, which is one segment of it.
func zonePath(zone, below string) string {
	zone = url.PathEscape(zone)
	if strings.Trim(zone, ".") == "" {
		// The root zone: a bare dot would be cleaned away as a step in the path.
		zone = strings.ReplaceAll(zone, ".", "%2E")
	}
	return "/v1/zones/" + zone + below
}

// call is one API call: what is sent and how the answer is read.
type call struct {
	method  string
	path    string // below the endpoint, escaped
	body    []byte // nil: none
	timeout time.Duration
	// waits says that the service may wait for name servers before it answers.
	waits bool
	// persists says that it is tried for as long as its context allows.
	persists bool
	limit    int64                 // size of the answer at most
	decode   func(io.Reader) error // once per try
}

func (call *call) changes() bool { return call.method == http.MethodPatch }

func (c *Client) newRequest(ctx context.Context, e *endpoint, call *call) (*http.Request, error) {
	var body io.Reader
	if call.body != nil {
		body = bytes.NewReader(call.body)
	}
	req, err := http.NewRequestWithContext(ctx, call.method, e.base+call.path, body)
	if err != nil {
		return nil, err
	}
	maps.Copy(req.Header, c.header)
	if body != nil {
		req.Header["Content-Type"] = contentType
	}
	if call.waits {
		req.Header["Prefer"] = []string{c.preferWait(ctx)}
	}
	return req, nil
}

var contentType = []string{"application/json"}

// userAgent names the client and its version.
func userAgent() string { return "bestdns-client/" + Version() }

// decodeInto returns a function that reads one JSON value into v, and leaves the body at its
// end, so that the connection can be used again. Each call begins with an empty value: what a
// try has read of an answer that broke off is not to be seen in that of the next.
func decodeInto[T any](v *T) func(body io.Reader) error {
	return func(body io.Reader) error {
		*v = *new(T)
		dec := json.NewDecoder(body)
		if err := dec.Decode(v); err != nil {
			return err
		}
		return end(dec)
	}
}

// end fails where more than white space follows what dec has read.
func end(dec *json.Decoder) error {
	if _, err := dec.Token(); err == nil {
		return errors.New("more follows the JSON value")
	} else if err != io.EOF {
		return err
	}
	return nil
}

// decodeRecords reads the records of a zone one by one. For one with 500,000 records this
// takes 140 MB, where reading the answer as a whole takes 260 MB.
func decodeRecords(body io.Reader) ([]libdns.Record, error) {
	dec := json.NewDecoder(body)
	if err := expect(dec, json.Delim('{')); err != nil {
		return nil, err
	}
	records := []libdns.Record{}
	found := false
	for dec.More() {
		key, err := dec.Token()
		if err != nil {
			return nil, err
		}
		if key != "records" {
			var ignored json.RawMessage
			if err := dec.Decode(&ignored); err != nil {
				return nil, err
			}
			continue
		}
		found = true
		if err := expect(dec, json.Delim('[')); err != nil {
			return nil, err
		}
		for dec.More() {
			var r Record
			if err := dec.Decode(&r); err != nil {
				return nil, err
			}
			records = append(records, r.Libdns())
		}
		if err := expect(dec, json.Delim(']')); err != nil {
			return nil, err
		}
	}
	if err := expect(dec, json.Delim('}')); err != nil {
		return nil, err
	}
	if !found {
		return nil, errors.New(`"records" is missing`)
	}
	return records, end(dec)
}

func expect(dec *json.Decoder, want json.Delim) error {
	switch got, err := dec.Token(); {
	case err == io.EOF:
		return io.ErrUnexpectedEOF
	case err != nil:
		return err
	case got != want:
		return fmt.Errorf("%v where %v is due", got, want)
	}
	return nil
}
