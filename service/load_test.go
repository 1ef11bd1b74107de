package service

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// loader is one client of a benchmark: a connection on which it sends one change
// after the other. It does the least that the protocol asks for, since it runs on the
// cores that it measures, and net/http's client costs more than what is measured.
type loader interface {
	// patch sends a change and waits for the answer, which has to be 200.
	patch(body []byte) error
	Close() error
}

// newLoader connects to the API of the service, by HTTP/2 where it is served over TLS.
func (s *service) newLoader(client, zone string) (loader, error) {
	api, err := url.Parse(s.api)
	if err != nil {
		return nil, err
	}
	path, token := "/v1/zones/"+zone+"/records", "Bearer "+s.token[client]
	if api.Scheme == "https" {
		return newHTTP2Loader(api.Host, path, token)
	}
	return newHTTP1Loader(api.Host, "PATCH "+path, "Authorization: "+token)
}

// connect returns a client that has made a change already, so that handshakes are not
// measured.
func (s *service) connect(t testing.TB, zone string) loader {
	t.Helper()
	l, err := s.newLoader("ops", zone)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	if err := l.patch([]byte(`{"append":[]}`)); err != nil {
		t.Fatal(err)
	}
	return l
}

// connectAll returns clients of a zone.
func (s *service) connectAll(t testing.TB, zone string, clients int) []loader {
	t.Helper()
	loaders := make([]loader, clients)
	for i := range loaders {
		loaders[i] = s.connect(t, zone)
	}
	return loaders
}

// http1Loader speaks HTTP/1.1 (RFC 9112).
type http1Loader struct {
	net.Conn
	in   *bufio.Reader
	head []byte // of each request, up to the length of its body
	out  []byte
}

// newHTTP1Loader connects to a host. All requests have one method with its path, and the headers.
func newHTTP1Loader(host, request string, headers ...string) (*http1Loader, error) {
	conn, err := net.Dial("tcp", host)
	if err != nil {
		return nil, err
	}
	return &http1Loader{
		Conn: conn,
		in:   bufio.NewReader(conn),
		head: fmt.Appendf(nil, "%s HTTP/1.1\r\nHost: %s\r\nUser-Agent: bench\r\n%s\r\nContent-Type: application/json\r\nContent-Length: ", request, host, strings.Join(headers, "\r\n")),
	}, nil
}

func (c *http1Loader) patch(body []byte) error {
	c.out = append(c.out[:0], c.head...)
	c.out = strconv.AppendInt(c.out, int64(len(body)), 10)
	c.out = append(append(c.out, "\r\n\r\n"...), body...)
	if _, err := c.Write(c.out); err != nil {
		return err
	}
	status, err := c.in.ReadSlice('\n')
	if err != nil {
		return err
	}
	ok := bytes.HasPrefix(status, []byte("HTTP/1.1 200 "))
	length := -1
	for {
		line, err := c.in.ReadSlice('\n')
		if err != nil {
			return err
		}
		if len(line) == len("\r\n") {
			break
		}
		if value, found := bytes.CutPrefix(line, []byte("Content-Length: ")); found {
			if length, err = strconv.Atoi(string(bytes.TrimSpace(value))); err != nil {
				return err
			}
		}
	}
	if length < 0 {
		return errors.New("an answer without a Content-Length")
	}
	answer, err := c.in.Peek(length)
	if err != nil {
		return err
	}
	if !ok {
		return fmt.Errorf("not 200: %s", answer)
	}
	_, err = c.in.Discard(length)
	return err
}

// http2Loader speaks HTTP/2 (RFC 9113) over TLS, one stream at a time.
type http2Loader struct {
	*tls.Conn
	framer *http2.Framer
	header []hpack.HeaderField
	stream uint32

	out     bytes.Buffer // frames that go out in one write
	block   bytes.Buffer // the header block of a request
	encoder *hpack.Encoder
	decoder *hpack.Decoder
	status  string // of the answer that comes in
}

// plenty is a flow-control window larger than all answers of a benchmark together.
const plenty = 1 << 30

func newHTTP2Loader(host, path, token string) (*http2Loader, error) {
	name, _, err := net.SplitHostPort(host)
	if err != nil {
		return nil, err
	}
	conn, err := tls.Dial("tcp", host, &tls.Config{InsecureSkipVerify: true, ServerName: name, NextProtos: []string{"h2"}})
	if err != nil {
		return nil, err
	}
	c := &http2Loader{
		Conn:   conn,
		stream: 1,
		header: []hpack.HeaderField{
			{Name: ":method", Value: http.MethodPatch},
			{Name: ":scheme", Value: "https"},
			{Name: ":authority", Value: host},
			{Name: ":path", Value: path},
			{Name: "user-agent", Value: "bench"},
			{Name: "authorization", Value: token},
			{Name: "content-type", Value: "application/json"},
			{Name: "content-length"}, // is set with each request
		},
	}
	c.framer = http2.NewFramer(&c.out, bufio.NewReader(conn))
	c.framer.SetReuseFrames()
	c.encoder = hpack.NewEncoder(&c.block)
	c.decoder = hpack.NewDecoder(4096, func(f hpack.HeaderField) {
		if f.Name == ":status" {
			c.status = f.Value
		}
	})
	c.out.WriteString(http2.ClientPreface)
	err = errors.Join(
		c.framer.WriteSettings(http2.Setting{ID: http2.SettingEnablePush, Val: 0}),
		c.framer.WriteWindowUpdate(0, plenty))
	if err != nil {
		conn.Close()
		return nil, err
	}
	return c, nil // what is in out goes with the first request
}

// patch relies on the server to give back its flow-control window: what is under way
// of one request is far less than that.
func (c *http2Loader) patch(body []byte) error {
	c.block.Reset()
	c.header[len(c.header)-1].Value = strconv.Itoa(len(body))
	for _, f := range c.header {
		if err := c.encoder.WriteField(f); err != nil {
			return err
		}
	}
	err := errors.Join(
		c.framer.WriteHeaders(http2.HeadersFrameParam{StreamID: c.stream, BlockFragment: c.block.Bytes(), EndHeaders: true}),
		c.framer.WriteData(c.stream, true, body),
		c.flush())
	if err != nil {
		return err
	}
	c.status = ""
	var failed []byte
	for ended := false; !ended; {
		frame, err := c.framer.ReadFrame()
		if err != nil {
			return err
		}
		switch f := frame.(type) {
		case *http2.HeadersFrame:
			if !f.HeadersEnded() {
				return errors.New("an answer with more than one frame of headers")
			}
			if _, err := c.decoder.Write(f.HeaderBlockFragment()); err != nil {
				return err
			}
			ended = f.StreamEnded()
		case *http2.DataFrame:
			if c.status != "200" {
				failed = append(failed, f.Data()...)
			}
			ended = f.StreamEnded()
		case *http2.SettingsFrame:
			if !f.IsAck() {
				err = errors.Join(c.framer.WriteSettingsAck(), c.flush())
			}
		case *http2.PingFrame:
			if !f.IsAck() {
				err = errors.Join(c.framer.WritePing(true, f.Data), c.flush())
			}
		case *http2.RSTStreamFrame, *http2.GoAwayFrame:
			err = fmt.Errorf("the server gives up: %v", f)
		}
		if err != nil {
			return err
		}
	}
	c.stream += 2
	if c.status != "200" {
		return fmt.Errorf("not 200 but %q: %s", c.status, failed)
	}
	return nil
}

func (c *http2Loader) flush() error {
	_, err := c.out.WriteTo(c.Conn)
	return err
}

// Interface guards
var (
	_ loader = (*http1Loader)(nil)
	_ loader = (*http2Loader)(nil)
)
