package rfc2136

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"syscall"
	"time"

	"github.com/miekg/dns"

	"github.com/caddy-dns/bestdns/internal/record"
	"github.com/caddy-dns/bestdns/internal/tsig"
)

const (
	// dialTimeout is the time that opening a connection may take: a SYN that was lost is
	// sent again after one second, and the next primary is to have time too.
	dialTimeout = 2 * time.Second
	// idleTimeout is how long a connection is kept that has nothing to do. It is less than
	// servers keep it (PowerDNS 5 s, Knot 10 s, BIND 30 s), or a change would often find it closed.
	idleTimeout = 3 * time.Second
	// window is how many messages are under way at once. Questions of a window fit in the
	// buffers of any socket, so that neither side waits for the other to read.
	window = 64
)

// conn is a connection to a primary.
type conn struct {
	net.Conn
	server netip.AddrPort
	in     *bufio.Reader
	buf    []byte // for one message
	heard  bool   // since the last exchange began, something was read
	proven bool   // it has carried an answer
}

func newConn(c net.Conn, server netip.AddrPort) *conn {
	return &conn{Conn: c, server: server, in: bufio.NewReaderSize(c, 16<<10)}
}

// request is a message to be sent, signed with the key unless that is zero.
type request struct {
	*dns.Msg
	key tsig.Key
}

// reply is an answer. invalid says what is wrong with its signature, nil if it is as it is to
// be.
type reply struct {
	*dns.Msg
	invalid error
}

// errAnswer is what is not an answer to the question.
var errAnswer = errors.New("what came is not an answer to what was sent")

// exchange sends requests and returns the answers, in the order of the requests. It sets their
// IDs.
func (c *conn) exchange(deadline time.Time, requests []request) ([]reply, error) {
	c.heard = false
	if err := c.SetDeadline(deadline); err != nil {
		return nil, err
	}
	replies := make([]reply, 0, len(requests))
	for len(requests) > 0 {
		n := min(window, len(requests))
		some, err := c.exchangeWindow(requests[:n])
		if err != nil {
			return nil, err
		}
		replies, requests = append(replies, some...), requests[n:]
	}
	return replies, nil
}

// exchangeWindow sends requests at once. The answers may come in any order (RFC 7766 §7).
func (c *conn) exchangeWindow(requests []request) ([]reply, error) {
	first := dns.Id()
	verifiers := make([]*tsig.Verifier, len(requests))
	var out []byte
	for i, r := range requests {
		r.Id = first + uint16(i)
		wire, verifier, err := pack(r.Msg, r.key)
		if err != nil {
			return nil, fmt.Errorf("packing a message: %w", err)
		}
		verifiers[i] = verifier
		out = binary.BigEndian.AppendUint16(out, uint16(len(wire)))
		out = append(out, wire...)
	}
	if _, err := c.Write(out); err != nil {
		return nil, err
	}
	replies := make([]reply, len(requests))
	for range requests {
		if len(requests) > 1 {
			ackAtOnce(c.Conn)
		}
		wire, err := c.read()
		if err != nil {
			return nil, err
		}
		m := new(dns.Msg)
		unread := m.Unpack(wire) // header and question are there all the same
		if unread != nil && m.Opcode != dns.OpcodeQuery {
			return nil, fmt.Errorf("reading an answer: %w", unread)
		}
		i := int(m.Id - first)
		if i >= len(requests) || replies[i].Msg != nil || !answers(m, requests[i].Msg) {
			return nil, errAnswer
		}
		if unread != nil { // what is at one name must not end the changes of all
			replies[i] = reply{m, unread}
			continue
		}
		replies[i] = reply{m, verify(wire, m, verifiers[i])}
	}
	return replies, nil
}

// answers reports whether a message is an answer to another.
func answers(answer, m *dns.Msg) bool {
	if !answer.Response || answer.Opcode != m.Opcode || len(answer.Question) > 1 {
		return false
	}
	if len(answer.Question) == 0 { // updates may be answered without (RFC 2136 §3.8), and failures
		return m.Opcode == dns.OpcodeUpdate || answer.Rcode != dns.RcodeSuccess
	}
	a, q := answer.Question[0], m.Question[0]
	return a.Qtype == q.Qtype && a.Qclass == q.Qclass && nameOf(a.Name) == nameOf(q.Name)
}

// nameOf returns a name as the DNS library has it, "" if it is invalid.
func nameOf(text string) record.Name {
	name, _ := record.NameFromLibrary(text)
	return name
}

// write sends one message.
func (c *conn) write(wire []byte) error {
	_, err := c.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(wire))), wire...))
	return err
}

// read returns the next message, which is good until the next call.
func (c *conn) read() ([]byte, error) {
	var length [2]byte
	n, err := io.ReadFull(c.in, length[:])
	c.heard = c.heard || n > 0
	if err != nil {
		return nil, err
	}
	size := int(binary.BigEndian.Uint16(length[:]))
	if cap(c.buf) < size {
		c.buf = make([]byte, size)
	}
	c.buf = c.buf[:size]
	if _, err := io.ReadFull(c.in, c.buf); err != nil {
		return nil, err
	}
	return c.buf, nil
}

// isClosed reports whether an error is that the other side has closed the connection.
func isClosed(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.ErrClosedPipe) ||
		errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

// connect opens a connection to the first primary that can be reached.
func (z *Zone) connect(ctx context.Context) (*conn, error) {
	servers := z.primaries()
	failures := make([]error, 0, len(servers))
	for _, server := range servers {
		dialing, cancel := context.WithTimeout(ctx, dialTimeout)
		c, err := z.dial(dialing, "tcp", server.String())
		cancel()
		if err == nil {
			return newConn(c, server), nil
		}
		failures = append(failures, err)
		if ctx.Err() != nil {
			break
		}
	}
	return nil, z.unreachable(servers, failures)
}
