package nameserver

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"log/slog"
	"net"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"
)

// listen serves DNS on a UDP and a TCP socket.
func listen(t *testing.T, s *Server, host string) (udp *net.UDPConn, tcp net.Listener) {
	t.Helper()
	u, l := sockets(t, s, host)
	return u.reader.(*udpListener).conn, l.reader.(*tcpListener).listener
}

// sockets returns the sockets that listen makes.
func sockets(t *testing.T, s *Server, host string) (udp, tcp *Socket) {
	t.Helper()
	listener, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
	if err != nil {
		cannot(t, "this machine has no %q: %v", host, err)
	}
	conn, err := net.ListenPacket("udp", net.JoinHostPort(host, "0"))
	if err != nil {
		t.Fatal(err)
	}
	udp, tcp = NewUDPSocket(conn.(*net.UDPConn), "udp", s.log), NewTCPSocket(listener, "tcp", s.log)
	for _, socket := range []*Socket{udp, tcp} {
		socket.Serve(s)
		t.Cleanup(func() {
			socket.Close()
			if err := socket.Err(); err != nil {
				t.Error(err)
			}
		})
	}
	return udp, tcp
}

// dialSocket connects to a socket.
func dialSocket(t *testing.T, s *Socket) net.Conn {
	t.Helper()
	if tcp, ok := s.reader.(*tcpListener); ok {
		return dial(t, "tcp", tcp.listener.Addr().String())
	}
	return dial(t, "udp", s.reader.(*udpListener).conn.LocalAddr().String())
}

func port(t *testing.T, addr net.Addr) string {
	t.Helper()
	_, p, err := net.SplitHostPort(addr.String())
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func dial(t *testing.T, network, addr string) net.Conn {
	t.Helper()
	conn, err := net.Dial(network, addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return conn
}

func TestServesUDPAndTCP(t *testing.T) {
	s := questionServer(t)
	for _, host := range []string{"127.0.0.1", "::1"} {
		udp, tcp := listen(t, s, host)
		for network, addr := range map[string]net.Addr{"udp": udp.LocalAddr(), "tcp": tcp.Addr()} {
			client := dns.Client{Net: network, Timeout: 10 * time.Second}
			m, _, err := client.Exchange(question("text.example.org.", dns.TypeTXT), addr.String())
			if err != nil {
				t.Errorf("%s %s: %v", network, addr, err)
				continue
			}
			want := reply{Rcode: "NOERROR", AA: true, Answer: []string{`text.example.org. 60 TXT "hello"`}}
			if diff := cmp.Diff(want, readReply(m)); diff != "" {
				t.Errorf("%s %s (-want +got):\n%s", network, addr, diff)
			}
		}
	}
}

// A socket for all addresses answers from the one that was asked: a connected
// client gets nothing from another.
func TestAnswersComeFromTheAddressThatWasAsked(t *testing.T) {
	s := questionServer(t)
	tests := []struct{ listen, ask string }{
		{"0.0.0.0", "127.0.0.1"},
		{"0.0.0.0", "127.0.0.2"},
		{"::", "127.0.0.2"},
		{"::", "::1"},
	}
	for _, test := range tests {
		t.Run(test.listen+" "+test.ask, func(t *testing.T) {
			if runtime.GOOS != "linux" && test.ask == "127.0.0.2" {
				cannot(t, "only Linux has all of 127.0.0.0/8 on its loopback interface")
			}
			udp, _ := listen(t, s, test.listen)
			client := dns.Client{Timeout: 10 * time.Second}
			if _, _, err := client.Exchange(question("text.example.org.", dns.TypeTXT), net.JoinHostPort(test.ask, port(t, udp.LocalAddr()))); err != nil {
				t.Error(err)
			}
		})
	}
}

// What cannot be a query gets the right answer, or none.
func TestRawMessages(t *testing.T) {
	s := questionServer(t)
	header := func(flags, questions uint16) string {
		b := binary.BigEndian.AppendUint16([]byte{0x12, 0x34}, flags)
		return string(append(binary.BigEndian.AppendUint16(b, questions), make([]byte, 6)...))
	}
	const (
		www = "\x03wWw\x07example\x03org\x00\x00\x01\x00\x01"
		all = 0x02 | 0x04 // TC and AA in the first byte of the flags
	)
	long := strings.Repeat("\x3f"+strings.Repeat("a", 63), 4) + "\x00\x00\x01\x00\x01"
	tests := []struct {
		name  string
		send  string
		id    string
		flags uint16
		rest  string // what follows the header, at its beginning
	}{
		{"a question", header(0, 1) + www, "\x12\x34", 0x8400, www},
		{"no question", header(0, 0), "\x12\x34", 0x8001, ""},
		{"no question although one was announced", header(0, 1), "\x12\x34", 0x8001, ""},
		{"two questions", header(0, 2) + www + www, "\x12\x34", 0x8001, ""},
		{"flags of an answer that is not a query", header(all<<8|0x80, 2) + www + www, "\x12\x34", 0x8001, ""},
		{"opcode IQUERY", header(1<<11, 1) + www, "\x12\x34", 0x8804, ""},
		{"opcode STATUS", header(2<<11, 1) + www, "\x12\x34", 0x9004, ""},
		{"opcode NOTIFY", header(4<<11, 1) + www, "\x12\x34", 0xa004, ""},
		{"opcode UPDATE", header(5<<11, 1) + www, "\x12\x34", 0xa804, ""},
		{"opcode 15, all flags", header(15<<11|all<<8|0xff, 1) + www, "\x12\x34", 0xf814, ""},
		{"a name over 255 bytes", header(0, 1) + long, "\x12\x34", 0x8001, ""},
		{"a pointer to itself", header(0, 1) + "\xc0\x0c\x00\x01\x00\x01", "\x12\x34", 0x8001, ""},
		{"a pointer ahead, where nothing may be pointed to", header(0, 1) + "\xc0\x20\x00\x01\x00\x01" + strings.Repeat("\x00", 40), "\x12\x34", 0x8001, ""},
		{"a reserved label type", header(0, 1) + "\x80abc\x00\x00\x01\x00\x01", "\x12\x34", 0x8001, ""},
		{"a cut name", header(0, 1) + "\x3fabc", "\x12\x34", 0x8001, ""},
		{"a cut type", header(0, 1) + "\x03abc\x00\x00", "\x12\x34", 0x8001, ""},
		{"bytes after the question", header(0, 1) + www + "garbage", "\x12\x34", 0x8400, www},
	}
	// Nothing may come back for these; the question after them shows that it did not.
	silent := []struct{ name, send string }{
		{"an answer", header(0x8000, 1) + www},
		{"an answer with an unknown opcode", header(0xf800, 1) + www},
		{"less than a header", "\x12\x34\x00\x00"},
		{"nothing", ""},
	}
	udp, tcp := listen(t, s, "127.0.0.1")
	check := func(t *testing.T, got []byte, id string, flags uint16, rest string) {
		t.Helper()
		if len(got) < 12 || string(got[:2]) != id || binary.BigEndian.Uint16(got[2:]) != flags || !strings.HasPrefix(string(got[12:]), rest) {
			t.Errorf("got %q, want ID %q, flags %04x, then %q", got, id, flags, rest)
		}
		m := new(dns.Msg)
		if err := m.Unpack(got); err != nil {
			t.Errorf("the answer cannot be read: %v", err)
		}
	}
	for _, test := range tests {
		t.Run("UDP, "+test.name, func(t *testing.T) {
			conn := dial(t, "udp", udp.LocalAddr().String())
			check(t, sendUDP(t, conn, test.send), test.id, test.flags, test.rest)
		})
		t.Run("TCP, "+test.name, func(t *testing.T) {
			conn := dial(t, "tcp", tcp.Addr().String())
			writeTCP(t, conn, test.send)
			check(t, readTCP(t, conn), test.id, test.flags, test.rest)
		})
	}
	for _, test := range silent {
		t.Run("UDP, "+test.name, func(t *testing.T) {
			conn := dial(t, "udp", udp.LocalAddr().String())
			if _, err := io.WriteString(conn, test.send); err != nil {
				t.Fatal(err)
			}
			check(t, sendUDP(t, conn, "\x56\x78"+header(0, 1)[2:]+www), "\x56\x78", 0x8400, www)
		})
	}
}

func sendUDP(t *testing.T, conn net.Conn, message string) []byte {
	t.Helper()
	if _, err := io.WriteString(conn, message); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 65536)
	n, err := conn.Read(buf)
	if err != nil {
		t.Fatal(err)
	}
	return buf[:n]
}

func writeTCP(t *testing.T, conn net.Conn, message string) {
	t.Helper()
	if _, err := conn.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(message))), message...)); err != nil {
		t.Fatal(err)
	}
}

func readTCP(t *testing.T, conn net.Conn) []byte {
	t.Helper()
	var length [2]byte
	if _, err := io.ReadFull(conn, length[:]); err != nil {
		t.Fatal(err)
	}
	m := make([]byte, binary.BigEndian.Uint16(length[:]))
	if _, err := io.ReadFull(conn, m); err != nil {
		t.Fatal(err)
	}
	return m
}

// Many queries on one connection, all sent before the first answer is read, and a
// half-close after them (RFC 7766 §6.2.1.1).
func TestQueriesOnOneConnection(t *testing.T) {
	s := questionServer(t)
	_, tcp := listen(t, s, "127.0.0.1")
	conn := dial(t, "tcp", tcp.Addr().String())
	const queries = 300
	for i := range queries {
		q := question("text.example.org.", dns.TypeTXT)
		q.Id = uint16(i)
		packed, err := q.Pack()
		if err != nil {
			t.Fatal(err)
		}
		writeTCP(t, conn, string(packed))
	}
	if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	for i := range queries {
		m := new(dns.Msg)
		if err := m.Unpack(readTCP(t, conn)); err != nil {
			t.Fatal(err)
		}
		if int(m.Id) != i || len(m.Answer) != 1 {
			t.Fatalf("answer %d: %v", i, m)
		}
	}
	if n, err := conn.Read(make([]byte, 1)); n != 0 || !errors.Is(err, io.EOF) {
		t.Errorf("after the last answer: %d bytes, %v", n, err)
	}
}

// FuzzMessage sends any bytes through all that a message passes over UDP: at most
// one answer comes back, it is one to that message, whatever was answered before, and
// both ways of answering give the same. Told to come over TCP, a client gets no more
// bytes than it sent.
func FuzzMessage(f *testing.F) {
	s := crowded(f)
	s.log = slog.New(slog.DiscardHandler)
	seed := func(m *dns.Msg) {
		packed, err := m.Pack()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(packed)
	}
	for _, qname := range []string{"wWw.example.org.", "x.wild.example.org.", "host.cut.example.org.", "chain1.example.org.", `sp\032ace\000\001.example.org.`, ".", "example.net."} {
		for _, qtype := range []uint16{dns.TypeA, dns.TypeANY, dns.TypeDS, dns.TypeAXFR, dns.TypeHTTPS} {
			seed(question(qname, qtype))
			seed(question(qname, qtype, edns(512, func(o *dns.OPT) { o.SetDo() })))
		}
	}
	seed(question("example.org.", dns.TypeSOA, func(m *dns.Msg) { m.Opcode = dns.OpcodeUpdate }))
	f.Add([]byte("\x12\x34\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\xc0\x0c\x00\x01\x00\x01"))
	for _, option := range [...]uint16{dns.EDNS0NSID, dns.EDNS0COOKIE, dns.EDNS0PADDING, dns.EDNS0SUBNET, dns.EDNS0TCPKEEPALIVE, 65001} {
		f.Add(packed(f, question("text.example.org.", dns.TypeTXT, edns(1232, func(o *dns.OPT) {
			o.Option = append(o.Option, &dns.EDNS0_LOCAL{Code: option, Data: []byte("four")})
		}))))
	}
	earlier := packed(f, question("manymx.example.org.", dns.TypeMX, edns(1232)))
	f.Fuzz(func(t *testing.T, message []byte) {
		r, buf := &responder{server: s}, make([]byte, 0, writerBuffer)
		r.answer(s.view.Load(), earlier, buf)
		answer := r.answer(s.view.Load(), message, buf)
		for _, udp := range []bool{true, false} {
			want := handler{server: s, udp: udp}.answer(message)
			got := answer
			if !udp {
				got = overTCP(r, message)
			}
			if (got == nil) != (want == nil) || !bytes.Equal(got, want) && readsAlike(message, got) {
				t.Errorf("answer to %x, UDP %v:\n%x, but by the library\n%x", message, udp, got, want)
			}
		}
		checkAnswer(t, message, answer)
		if cut := r.cut(message, buf); cut != nil {
			checkAnswer(t, message, cut)
			if m := unpacked(cut); len(cut) > len(message) || !m.Truncated || len(m.Answer)+len(m.Ns) > 0 {
				t.Errorf("to come over TCP, %x is told %x", message, cut)
			}
		}
	})
}

// readsAlike reports whether the library reads a message as we do. It has a look at data
// that means nothing in a query, and follows pointers in names that no client compresses.
func readsAlike(message, answer []byte) bool {
	if new(dns.Msg).Unpack(message) != nil {
		return false
	}
	pointers := slices.ContainsFunc(message[headerLen:], func(c byte) bool { return c >= 0xc0 })
	return !pointers || answer[3]&0xf != dns.RcodeFormatError
}

func checkAnswer(t *testing.T, query, a []byte) {
	t.Helper()
	if len(query) < 12 || query[2]&0x80 != 0 {
		if a != nil {
			t.Errorf("answer %q to %q", a, query)
		}
		return
	}
	if len(a) < 12 || len(a) > maxUDPSize || string(a[:2]) != string(query[:2]) || a[2]&0x80 == 0 {
		t.Fatalf("answer %q to %q", a, query)
	}
	m := new(dns.Msg)
	if err := m.Unpack(a); err != nil {
		t.Fatalf("the answer cannot be read: %v", err)
	}
	if m.RecursionAvailable || m.AuthenticatedData || m.Zero || m.Rcode == dns.RcodeServerFailure || m.Rcode == dns.RcodeNameError && !m.Authoritative {
		t.Errorf("answer: %v", m)
	}
	q := new(dns.Msg)
	if q.Unpack(query) == nil && len(q.Question) == 1 && len(m.Question) == 1 && q.Question[0] != m.Question[0] {
		t.Errorf("question %v in the answer to %v", m.Question[0], q.Question[0])
	}
}
