package e2e

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/quic-go/qpack"
	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/quicvarint"

	"github.com/caddy-dns/bestdns/e2e/internal/harness"
)

const earlyHost = "api.hosted.example"

// TestEarlyDataOverHTTP3 sends a change as TLS early data, which Caddy accepts over
// HTTP/3 by default, and then does what makes early data dangerous: it sends the same
// datagrams again from somewhere else. Each time the change is refused. (Over TCP, Go's
// TLS server has no early data.)
func TestEarlyDataOverHTTP3(t *testing.T) {
	t.Parallel()
	w := harness.NewWorld(t)
	caddy := harness.StartCaddy(t, harness.CaddyBinary, "earlydata.caddyfile", w.Env(t))
	caddy.Accept(func(e harness.Entry) bool { // the handshake that no one goes on with holds it up
		return e.Logger == "http" && strings.Contains(e.Error, "graceful shutdown")
	})
	caddy.WaitCertificates(earlyHost)
	server, err := net.ResolveUDPAddr("udp", caddy.HTTPS)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	sessions := &sessionCache{cache: tls.NewLRUClientSessionCache(1), put: make(chan struct{}, 1)}
	config := &tls.Config{ServerName: earlyHost, InsecureSkipVerify: true, NextProtos: []string{"h3"}, ClientSessionCache: sessions}
	tooEarly := func(e harness.Entry) bool { return strings.Contains(e.Line, `"status":425`) }
	records := func() int { return len(w.Records(t, harness.HostedZone)) }
	before := records()

	// Once the handshake is over, the same request is a change.
	conn := newHeldConn(t)
	conn.release()
	transport := &quic.Transport{Conn: conn}
	defer transport.Close()
	first, err := transport.Dial(ctx, server, config, nil)
	if err != nil {
		t.Fatal(err)
	}
	beginHTTP3(t, first)
	if status := patchOverHTTP3(t, first, w.Token, "late"); status() != "200" {
		t.Errorf("after the handshake: %s", status())
	}
	if got := records(); got != before+1 {
		t.Fatalf("after the handshake: %d records, want %d", got, before+1)
	}
	select {
	case <-sessions.put:
	case <-ctx.Done():
		t.Fatal("the server gives out no session ticket")
	}
	first.CloseWithError(0x100, "") // H3_NO_ERROR

	// Nothing of the server's arrives, so the handshake does not go on.
	held := newHeldConn(t)
	early := &quic.Transport{Conn: held}
	defer early.Close()
	defer held.release() // or Close would wait for it
	second, err := early.DialEarly(ctx, server, config, nil)
	if err != nil {
		t.Fatal(err)
	}
	beginHTTP3(t, second)
	status := patchOverHTTP3(t, second, w.Token, "early")
	if err := caddy.Log.Wait(1, 10*time.Second, tooEarly); err != nil {
		t.Fatalf("waiting for the refusal of early data: %v", err)
	}
	flight := held.sent()
	held.release()
	if got := status(); got != "425" {
		t.Errorf("in early data: %s", got)
	}
	if !second.ConnectionState().Used0RTT {
		t.Error("no early data was accepted, so nothing was tried")
	}
	// The client comes again when the handshake is over, as RFC 8470 has it.
	if status := patchOverHTTP3(t, second, w.Token, "again"); status() != "200" {
		t.Errorf("again after the handshake: %s", status())
	}
	second.CloseWithError(0x100, "")

	replay, err := net.DialUDP("udp", nil, server)
	if err != nil {
		t.Fatal(err)
	}
	defer replay.Close()
	for deadline := time.Now().Add(15 * time.Second); ; {
		for _, datagram := range flight {
			if _, err := replay.Write(datagram); err != nil {
				t.Fatal(err)
			}
		}
		// As long as the server remembers the connection, it takes them for its.
		if err := caddy.Log.Wait(2, time.Second, tooEarly); err == nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the server did not take the datagrams sent again for a connection")
		}
	}
	if got := records(); got != before+2 {
		t.Errorf("%d records in the end, want %d: early data made a change", got, before+2)
	}
}

// beginHTTP3 opens the control stream that each side of a connection has.
func beginHTTP3(t *testing.T, conn *quic.Conn) {
	t.Helper()
	control, err := conn.OpenUniStream()
	if err != nil {
		t.Fatal(err)
	}
	// Its type 0x00, and a SETTINGS frame with none (RFC 9114 §6.2.1).
	if _, err := control.Write([]byte{0x00, 0x04, 0x00}); err != nil {
		t.Fatal(err)
	}
}

// patchOverHTTP3 sends a change on a connection without waiting for its handshake, as
// no HTTP library would. What it returns waits for the status of the answer.
func patchOverHTTP3(t *testing.T, conn *quic.Conn, token, name string) func() string {
	t.Helper()
	body := fmt.Sprintf(`{"append":[{"name":%q,"type":"TXT","data":"x"}]}`, name)
	var fields bytes.Buffer
	encoder := qpack.NewEncoder(&fields)
	for _, f := range []qpack.HeaderField{
		{Name: ":method", Value: "PATCH"},
		{Name: ":scheme", Value: "https"},
		{Name: ":authority", Value: earlyHost},
		{Name: ":path", Value: "/v1/zones/" + harness.HostedZone + "/records"},
		{Name: "authorization", Value: "Bearer " + token},
		{Name: "content-length", Value: fmt.Sprint(len(body))},
	} {
		if err := encoder.WriteField(f); err != nil {
			t.Fatal(err)
		}
	}
	stream, err := conn.OpenStream()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Write(append(frame(0x01, fields.Bytes()), frame(0x00, []byte(body))...)); err != nil {
		t.Fatal(err)
	}
	stream.Close()
	return sync.OnceValue(func() string {
		stream.SetReadDeadline(time.Now().Add(10 * time.Second))
		answer, err := io.ReadAll(stream)
		if err != nil {
			return err.Error()
		}
		return statusOf(answer)
	})
}

// frame is an HTTP/3 frame.
func frame(kind uint64, payload []byte) []byte {
	f := quicvarint.Append(nil, kind)
	f = quicvarint.Append(f, uint64(len(payload)))
	return append(f, payload...)
}

// statusOf reads the status from the first frame of an answer.
func statusOf(answer []byte) string {
	in := bytes.NewReader(answer)
	kind, err := quicvarint.Read(in)
	if err != nil || kind != 0x01 {
		return fmt.Sprintf("the answer begins with a frame of type %d (%v)", kind, err)
	}
	length, err := quicvarint.Read(in)
	if err != nil || length > uint64(in.Len()) {
		return "the answer is cut off"
	}
	fields := make([]byte, length)
	in.Read(fields)
	next := qpack.NewDecoder().Decode(fields)
	for {
		f, err := next()
		if err != nil {
			return err.Error()
		}
		if f.Name == ":status" {
			return f.Value
		}
	}
}

// heldConn is a UDP socket on which nothing arrives before it is released, and which
// remembers what was sent until then.
type heldConn struct {
	net.PacketConn
	open chan struct{}
	once sync.Once

	mu        sync.Mutex
	datagrams [][]byte
}

func newHeldConn(t *testing.T) *heldConn {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	h := &heldConn{PacketConn: conn, open: make(chan struct{})}
	t.Cleanup(func() { conn.Close() })
	return h
}

func (h *heldConn) release() { h.once.Do(func() { close(h.open) }) }

func (h *heldConn) ReadFrom(p []byte) (int, net.Addr, error) {
	<-h.open
	return h.PacketConn.ReadFrom(p)
}

func (h *heldConn) WriteTo(p []byte, addr net.Addr) (int, error) {
	h.mu.Lock()
	h.datagrams = append(h.datagrams, bytes.Clone(p))
	h.mu.Unlock()
	return h.PacketConn.WriteTo(p, addr)
}

func (h *heldConn) sent() [][]byte {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.datagrams
}

// sessionCache tells when it was given a ticket.
type sessionCache struct {
	cache tls.ClientSessionCache
	put   chan struct{}
}

func (c *sessionCache) Get(key string) (*tls.ClientSessionState, bool) { return c.cache.Get(key) }

func (c *sessionCache) Put(key string, state *tls.ClientSessionState) {
	c.cache.Put(key, state)
	select {
	case c.put <- struct{}{}:
	default:
	}
}
