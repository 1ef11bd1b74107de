package e2e

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"

	"github.com/caddy-dns/bestdns/e2e/internal/harness"
)

// edgeServer is a name server for the corpus that listens at an address.
type edgeServer struct {
	name string
	// ask are the addresses, with port, by which it can be reached.
	udp, tcp []string
}

// edgeServers starts name servers with all of the corpus that listen at addresses of
// each kind, as far as this machine has them.
func edgeServers(t *testing.T) []edgeServer {
	t.Helper()
	zones := corpusZones(t, *corpusSeed)
	server, _ := serveCorpus(t, zones)
	var servers []edgeServer
	for _, at := range []struct {
		network, listen string
		ask             []string
	}{
		{"4", "127.0.0.1", []string{"127.0.0.1"}},
		{"6", "::1", []string{"::1"}},
		{"4", "0.0.0.0", []string{"127.0.0.1", "127.0.0.2", "127.200.0.1"}},
		{"6", "::", []string{"::1"}},
		{"", "::", []string{"::1", "127.0.0.1", "127.0.0.2"}},
	} {
		name := at.listen + " udp" + at.network
		udp, err := net.ListenPacket("udp"+at.network, net.JoinHostPort(at.listen, "0"))
		if err != nil {
			t.Logf("%s: this machine does not have it: %v", name, err)
			continue
		}
		tcp, err := net.Listen("tcp"+at.network, net.JoinHostPort(at.listen, "0"))
		harness.NoError(t, err)
		serveSockets(t, server, udp.(*net.UDPConn), tcp)
		s := edgeServer{name: name}
		for _, ip := range at.ask {
			s.udp = append(s.udp, net.JoinHostPort(ip, harness.Port(t, udp.LocalAddr().String())))
			s.tcp = append(s.tcp, net.JoinHostPort(ip, harness.Port(t, tcp.Addr().String())))
		}
		servers = append(servers, s)
	}
	if len(servers) < 2 {
		t.Fatal("nothing could be listened at")
	}
	return servers
}

// exchangeUDP sends octets from a connected socket, which takes an answer only from
// the address and port that it asked.
func exchangeUDP(t *testing.T, addr string, message []byte) []byte {
	t.Helper()
	conn, err := net.Dial("udp", addr)
	harness.NoError(t, err)
	defer conn.Close()
	harness.NoError(t, conn.SetDeadline(time.Now().Add(harness.ExchangeTimeout)))
	_, err = conn.Write(message)
	harness.NoError(t, err)
	buf := make([]byte, 65536)
	n, err := conn.Read(buf)
	if err != nil {
		t.Fatalf("asking %s by UDP: %v", addr, err)
	}
	return buf[:n]
}

func exchangeTCP(t *testing.T, addr string, message []byte) []byte {
	t.Helper()
	answers := make([][]byte, 1)
	if err := harness.AskOver(addr, [][]byte{message}, answers); err != nil {
		t.Fatalf("asking %s by TCP: %v", addr, err)
	}
	return answers[0]
}

// rawQuery makes a message: ID 0x4711, flags, the numbers of the four sections, and
// what follows.
func rawQuery(flags uint16, counts [4]uint16, rest string) []byte {
	m := binary.BigEndian.AppendUint16([]byte{0x47, 0x11}, flags)
	for _, n := range counts {
		m = binary.BigEndian.AppendUint16(m, n)
	}
	return append(m, rest...)
}

// opt returns an OPT record.
func opt(size uint16, version byte, do bool, options string) string {
	flags := uint16(0)
	if do {
		flags = 0x8000
	}
	b := append([]byte{0, 0, 41}, byte(size>>8), byte(size), 0, version, byte(flags>>8), byte(flags))
	return string(binary.BigEndian.AppendUint16(b, uint16(len(options)))) + options
}

// edge is a message and what comes back for it, over UDP and TCP alike.
type edge struct {
	name string
	send []byte
	want edgeAnswer
}

type edgeAnswer struct {
	// Flags are the header's second word.
	Flags uint16
	// Sections are the numbers of questions and records, an OPT among the last.
	Sections [4]int
	// EDNS tells of the OPT record, if there is one.
	EDNS string
}

// edges are the messages that are no plain questions.
func edges() []edge {
	const (
		in, ch, none, any_ = "\x00\x01", "\x00\x03", "\x00\xfe", "\x00\xff"
		a, txt, axfr, ixfr = "\x00\x01", "\x00\x10", "\x00\xfc", "\x00\xfb"
		text               = "\x04tExT\x03RFC\x04test\x00"
		versionBind        = "\x07version\x04bind\x00"
		qr, rd, cd, tc, ad = 1 << 15, 1 << 8, 1 << 4, 1 << 9, 1 << 5

		good, refused = 0x8400, 0x8005
		formErr       = 0x8001
		ednsOurs      = "version 0, size 1232, DO false"
		ednsDO        = "version 0, size 1232, DO true"
		question      = 1
	)
	q := text + txt + in
	one, oneOPT := [4]uint16{1}, [4]uint16{1, 0, 0, 1}
	bare := func(flags uint16) edgeAnswer { return edgeAnswer{flags, [4]int{0, 0, 0, 0}, ""} }
	repeated := edgeAnswer{formErr, [4]int{1}, ""} // the question could be read
	found := edgeAnswer{good, [4]int{1, 1, 0, 0}, ""}
	foundEDNS := edgeAnswer{good, [4]int{1, 1, 0, 1}, ednsOurs}
	foundDO := edgeAnswer{good, [4]int{1, 1, 0, 1}, ednsDO}
	long := strings.Repeat("\x3f"+strings.Repeat("x", 63), 4)

	list := []edge{
		{"a question (0x20)", rawQuery(0, one, q), found},
		{"RD and CD come back, RA does not come", rawQuery(rd|cd, one, q), edgeAnswer{good | rd | cd, found.Sections, ""}},
		{"AD, TC and an RCODE mean nothing", rawQuery(ad|tc|2, one, q), found},

		{"EDNS version 0", rawQuery(0, oneOPT, q+opt(1232, 0, false, "")), foundEDNS},
		{"EDNS version 1", rawQuery(0, oneOPT, q+opt(1232, 1, false, "")), edgeAnswer{0x8000, [4]int{1, 0, 0, 1}, "BADVERS, " + ednsOurs}},
		{"EDNS version 255", rawQuery(0, oneOPT, q+opt(1232, 255, true, "")), edgeAnswer{0x8000, [4]int{1, 0, 0, 1}, "BADVERS, " + ednsDO}},
		{"DO without DNSSEC", rawQuery(0, oneOPT, q+opt(1232, 0, true, "")), foundDO},
		{"an unknown option", rawQuery(0, oneOPT, q+opt(1232, 0, false, "\xfd\xe9\x00\x03abc")), foundEDNS},
		{"NSID, cookie, padding, subnet, keepalive", rawQuery(0, oneOPT, q+opt(1232, 0, false,
			"\x00\x03\x00\x00"+"\x00\x0a\x00\x0812345678"+"\x00\x0c\x00\x04\x00\x00\x00\x00"+"\x00\x08\x00\x07\x00\x01\x18\x00\xc0\x00\x02"+"\x00\x0b\x00\x00")), foundEDNS},
		{"two OPT records", rawQuery(0, [4]uint16{1, 0, 0, 2}, q+opt(1232, 0, false, "")+opt(1232, 0, false, "")), edgeAnswer{formErr, [4]int{1, 0, 0, 1}, ednsOurs}},

		{"no question", rawQuery(0, [4]uint16{}, ""), bare(formErr)},
		{"two questions", rawQuery(0, [4]uint16{2}, q+q), bare(formErr)},
		{"65,535 questions", rawQuery(0, [4]uint16{65535}, q), bare(formErr)},

		{"opcode IQUERY", rawQuery(1<<11, one, q), bare(0x8804)},
		{"opcode STATUS", rawQuery(2<<11, one, q), bare(0x9004)},
		{"an opcode that no one has", rawQuery(3<<11, one, q), bare(0x9804)},
		{"opcode NOTIFY", rawQuery(4<<11, one, q), bare(0xa004)},
		{"opcode UPDATE", rawQuery(5<<11, one, q), bare(0xa804)},
		{"opcode DSO", rawQuery(6<<11, [4]uint16{}, ""), bare(0xb004)},
		{"opcode 15", rawQuery(15<<11, one, q), bare(0xf804)},

		{"class CH", rawQuery(0, one, text+txt+ch), edgeAnswer{refused, [4]int{question}, ""}},
		{"class NONE", rawQuery(0, one, text+txt+none), edgeAnswer{refused, [4]int{question}, ""}},
		{"class ANY", rawQuery(0, one, text+txt+any_), edgeAnswer{refused, [4]int{question}, ""}},
		{"version.bind", rawQuery(0, one, versionBind+txt+ch), edgeAnswer{refused, [4]int{question}, ""}},
		{"version.server", rawQuery(0, one, "\x07version\x06server\x00"+txt+ch), edgeAnswer{refused, [4]int{question}, ""}},
		{"hostname.bind", rawQuery(0, one, "\x08hostname\x04bind\x00"+txt+ch), edgeAnswer{refused, [4]int{question}, ""}},
		{"id.server", rawQuery(0, one, "\x02id\x06server\x00"+txt+ch), edgeAnswer{refused, [4]int{question}, ""}},
		{"AXFR", rawQuery(0, one, "\x03rfc\x04test\x00"+axfr+in), edgeAnswer{refused, [4]int{question}, ""}},
		{"IXFR", rawQuery(0, [4]uint16{1, 0, 1}, "\x03rfc\x04test\x00"+ixfr+in+
			"\x03rfc\x04test\x00\x00\x06\x00\x01\x00\x00\x00\x00\x00\x16\x00\x00"+strings.Repeat("\x00\x00\x00\x01", 5)), edgeAnswer{refused, [4]int{question}, ""}},
		{"a name that is not ours", rawQuery(0, one, "\x03www\x09elsewhere\x07example\x00"+a+in), edgeAnswer{refused, [4]int{question}, ""}},
		{"the root", rawQuery(0, one, "\x00\x00\x02"+in), edgeAnswer{refused, [4]int{question}, ""}},

		{"a pointer to itself", rawQuery(0, one, "\xc0\x0c"+a+in), bare(formErr)},
		{"two pointers to each other", rawQuery(0, one, "\xc0\x0e\xc0\x0c"+a+in), bare(formErr)},
		{"a pointer behind a label to that label", rawQuery(0, one, "\x01x\xc0\x0c"+a+in), bare(formErr)},
		{"a pointer out of the message", rawQuery(0, one, "\xff\xff"+a+in), bare(formErr)},
		{"a name over 255 octets", rawQuery(0, one, long+"\x00"+a+in), bare(formErr)},
		{"a label of 64 octets", rawQuery(0, one, "\x40"+strings.Repeat("x", 64)+"\x00"+a+in), bare(formErr)},
		{"a label type of old (RFC 6891 §5)", rawQuery(0, one, "\x41\x08\xff\x00"+a+in), bare(formErr)},
		{"nothing after the header", rawQuery(0, one, ""), bare(formErr)},
		{"half a name", rawQuery(0, one, "\x3fabc"), bare(formErr)},
		{"no type", rawQuery(0, one, "\x04text\x03rfc\x04test\x00"), bare(formErr)},
		{"half a class", rawQuery(0, one, text+txt+"\x00"), bare(formErr)},
		{"an OPT record that is not there", rawQuery(0, oneOPT, q), repeated},
		{"half an OPT record", rawQuery(0, oneOPT, q+opt(1232, 0, false, "")[:7]), repeated},
		{"an option longer than the OPT record", rawQuery(0, oneOPT, q+opt(1232, 0, false, "\x00\x0a\x00\x09123")), repeated},
		{"an OPT record that does not belong to the root", rawQuery(0, oneOPT, q+"\x01x"+opt(1232, 0, false, "")), edgeAnswer{formErr, [4]int{1, 0, 0, 1}, ednsOurs}},
		{"octets after the question", rawQuery(0, one, q+"garbage"), found},
	}
	for _, size := range []uint16{0, 1, 511, 512, 513, 1231, 1232, 1233, 4096, 65535} {
		list = append(list, edge{fmt.Sprintf("buffer size %d", size), rawQuery(0, oneOPT, q+opt(size, 0, false, "")), foundEDNS})
	}
	return list
}

func readEdge(t *testing.T, message []byte) edgeAnswer {
	t.Helper()
	m := new(dns.Msg)
	if err := m.Unpack(message); err != nil {
		t.Fatalf("the answer %q cannot be read: %v", message, err)
	}
	got := edgeAnswer{Flags: binary.BigEndian.Uint16(message[2:]), Sections: [4]int{len(m.Question), len(m.Answer), len(m.Ns), len(m.Extra)}}
	if opt := m.IsEdns0(); opt != nil {
		got.EDNS = fmt.Sprintf("version %d, size %d, DO %v", opt.Version(), opt.UDPSize(), opt.Do())
		if len(opt.Option) > 0 {
			got.EDNS += fmt.Sprintf(", %d options", len(opt.Option))
		}
		if opt.ExtendedRcode() != 0 {
			got.EDNS = "BADVERS, " + got.EDNS
			if opt.ExtendedRcode() != dns.RcodeBadVers {
				got.EDNS = fmt.Sprintf("RCODE %d, %s", opt.ExtendedRcode(), got.EDNS)
			}
		}
	}
	return got
}

// Whatever comes, what goes back has its ID and, where it repeats the question, its
// letters; and it comes from the address that was asked, at listeners of all kinds.
func TestProtocolEdges(t *testing.T) {
	t.Parallel()
	servers := edgeServers(t)
	for _, e := range edges() {
		t.Run(e.name, func(t *testing.T) {
			for _, s := range servers {
				for i := range s.udp {
					for how, answer := range map[string][]byte{
						"UDP " + s.udp[i]: exchangeUDP(t, s.udp[i], e.send),
						"TCP " + s.tcp[i]: exchangeTCP(t, s.tcp[i], e.send),
					} {
						got := readEdge(t, answer)
						if diff := cmp.Diff(e.want, got); diff != "" {
							t.Errorf("%s, %s (-want +got):\n%s", s.name, how, diff)
						}
						if string(answer[:2]) != string(e.send[:2]) {
							t.Errorf("%s, %s: ID %x", s.name, how, answer[:2])
						}
						if got.Sections[0] == 1 && !strings.HasPrefix(string(answer[12:]), questionOf(e.send)) {
							t.Errorf("%s, %s: the question comes back as %q", s.name, how, answer[12:])
						}
					}
				}
			}
		})
	}
}

// questionOf returns the first question of a message without compression.
func questionOf(m []byte) string {
	i := 12
	for i < len(m) && m[i] != 0 {
		i += int(m[i]) + 1
	}
	return string(m[12:min(i+5, len(m))])
}

// These get no answer, and the question after them gets its own.
func TestNoAnswer(t *testing.T) {
	t.Parallel()
	const q = "\x04text\x03rfc\x04test\x00\x00\x10\x00\x01"
	servers := edgeServers(t)
	for _, test := range []struct {
		name string
		send []byte
	}{
		{"an answer", rawQuery(1<<15, [4]uint16{1}, q)},
		{"an answer of another opcode", rawQuery(1<<15|5<<11, [4]uint16{1}, q)},
		{"half a header", []byte{0x47, 0x11, 0, 0, 0}},
		{"an octet", []byte{0}},
		{"nothing", nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			for _, s := range servers {
				conn, err := net.Dial("udp", s.udp[0])
				harness.NoError(t, err)
				defer conn.Close()
				harness.NoError(t, conn.SetDeadline(time.Now().Add(harness.ExchangeTimeout)))
				_, err = conn.Write(test.send)
				harness.NoError(t, err)
				next := rawQuery(0, [4]uint16{1}, q)
				next[0], next[1] = 0xaf, 0xfe
				_, err = conn.Write(next)
				harness.NoError(t, err)
				buf := make([]byte, 512)
				n, err := conn.Read(buf)
				harness.NoError(t, err)
				if n < 12 || string(buf[:2]) != "\xaf\xfe" {
					t.Errorf("%s: got %q", s.name, buf[:n])
				}
			}
		})
	}
}

// An answer that does not fit is marked, and comes whole over TCP.
func TestTruncationAndRetry(t *testing.T) {
	t.Parallel()
	s := edgeServers(t)[0]
	for _, name := range []string{"big.rfc.test.", "tobig.rfc.test."} {
		for _, size := range []uint16{0, 512, 1232, 4096} { // 0: no EDNS
			t.Run(fmt.Sprintf("%s %d", name, size), func(t *testing.T) {
				q := new(dns.Msg).SetQuestion(name, dns.TypeTXT)
				if size > 0 {
					q.SetEdns0(size, false)
				}
				limit := 512
				if size > 512 {
					limit = 1232
				}
				packed, err := q.Pack()
				harness.NoError(t, err)
				raw := exchangeUDP(t, s.udp[0], packed)
				cut := new(dns.Msg)
				harness.NoError(t, cut.Unpack(raw))
				if !cut.Truncated || len(raw) > limit || cut.Rcode != dns.RcodeSuccess || len(cut.Answer) > 1 || (cut.IsEdns0() != nil) != (size > 0) {
					t.Errorf("by UDP, in %d octets: %v", len(raw), cut)
				}
				whole := new(dns.Msg)
				harness.NoError(t, whole.Unpack(exchangeTCP(t, s.tcp[0], packed)))
				texts := 0
				for _, rr := range whole.Answer {
					if rr.Header().Rrtype == dns.TypeTXT {
						texts++
					}
				}
				if whole.Truncated || texts != 5 {
					t.Errorf("by TCP: %v", whole)
				}
			})
		}
	}
}

// Queries that come in pieces, all at once, or with a half-close after them get all
// their answers (RFC 7766 §6.2.1.1, §8); who says nothing is disconnected.
func TestTCPConnections(t *testing.T) {
	t.Parallel()
	s := edgeServers(t)[0]
	const queries = 20
	var stream []byte
	for i := range queries {
		m := rawQuery(0, [4]uint16{1}, "\x04text\x03rfc\x04test\x00\x00\x10\x00\x01")
		m[0], m[1] = 0, byte(i)
		stream = append(binary.BigEndian.AppendUint16(stream, uint16(len(m))), m...)
	}
	// answered reads the answers, whose order is free, and returns what ends them.
	answered := func(t *testing.T, conn net.Conn, want int) error {
		t.Helper()
		seen := make(map[byte]bool)
		for range want {
			m, err := harness.ReadMessage(conn)
			if err != nil {
				t.Fatalf("after %d of %d answers: %v", len(seen), want, err)
			}
			if readEdge(t, m).Flags != 0x8400 || seen[m[1]] {
				t.Errorf("answer %q", m)
			}
			seen[m[1]] = true
		}
		_, err := harness.ReadMessage(conn)
		return err
	}
	dial := func(t *testing.T) *net.TCPConn {
		t.Helper()
		conn, err := net.Dial("tcp", s.tcp[0])
		harness.NoError(t, err)
		t.Cleanup(func() { conn.Close() })
		harness.NoError(t, conn.SetDeadline(time.Now().Add(harness.ExchangeTimeout)))
		return conn.(*net.TCPConn)
	}
	write := func(t *testing.T, conn net.Conn, b []byte) {
		t.Helper()
		_, err := conn.Write(b)
		harness.NoError(t, err)
	}

	t.Run("all at once, then a half-close", func(t *testing.T) {
		t.Parallel()
		conn := dial(t)
		write(t, conn, stream)
		harness.NoError(t, conn.CloseWrite())
		if err := answered(t, conn, queries); !errors.Is(err, io.EOF) {
			t.Errorf("after the last answer: %v", err)
		}
	})
	t.Run("octet by octet", func(t *testing.T) {
		t.Parallel()
		conn := dial(t)
		for i := range stream {
			write(t, conn, stream[i:i+1])
		}
		harness.NoError(t, conn.CloseWrite())
		if err := answered(t, conn, queries); !errors.Is(err, io.EOF) {
			t.Errorf("after the last answer: %v", err)
		}
	})
	t.Run("a half-close in the middle of a query", func(t *testing.T) {
		t.Parallel()
		conn := dial(t)
		write(t, conn, stream[:len(stream)-3])
		harness.NoError(t, conn.CloseWrite())
		if err := answered(t, conn, queries-1); !errors.Is(err, io.EOF) {
			t.Errorf("after the last answer: %v", err)
		}
	})
	t.Run("a length without a message", func(t *testing.T) {
		t.Parallel()
		conn := dial(t)
		write(t, conn, []byte{0xff, 0xff})
		if _, err := harness.ReadMessage(conn); !errors.Is(err, io.EOF) && !isReset(err) {
			t.Errorf("the connection stays open: %v", err)
		}
	})
	t.Run("nothing", func(t *testing.T) {
		t.Parallel()
		if _, err := harness.ReadMessage(dial(t)); !errors.Is(err, io.EOF) && !isReset(err) {
			t.Errorf("the connection stays open: %v", err)
		}
	})
	t.Run("nothing more after an answer", func(t *testing.T) {
		t.Parallel()
		conn := dial(t)
		write(t, conn, stream[:len(stream)/queries])
		if err := answered(t, conn, 1); !errors.Is(err, io.EOF) && !isReset(err) {
			t.Errorf("the connection stays open: %v", err)
		}
	})
	t.Run("slow connections hold up no one", func(t *testing.T) {
		t.Parallel()
		for range 50 {
			write(t, dial(t), stream[:5])
		}
		began := time.Now()
		exchangeTCP(t, s.tcp[0], rawQuery(0, [4]uint16{1}, "\x04text\x03rfc\x04test\x00\x00\x10\x00\x01"))
		if took := time.Since(began); took > time.Second {
			t.Errorf("a question beside them took %v", took)
		}
	})
}

func isReset(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && !op.Timeout()
}

// Any octets get one legal answer or none, and the server goes on. What is like a
// question never fails with SERVFAIL.
func TestGarbage(t *testing.T) {
	t.Parallel()
	s := edgeServers(t)[0]
	random := rand.New(rand.NewPCG(1, 2))
	conn, err := net.Dial("udp", s.udp[0])
	harness.NoError(t, err)
	defer conn.Close()
	valid := rawQuery(0x0100, [4]uint16{1, 0, 0, 1}, "\x04text\x03rfc\x04test\x00\x00\x10\x00\x01"+opt(1232, 0, true, "\x00\x0a\x00\x0812345678"))
	buf := make([]byte, 65536)
	for i := range 20_000 {
		m := append([]byte(nil), valid...)
		if i%2 == 0 {
			m = make([]byte, 12+random.IntN(100))
			for j := range m {
				m[j] = byte(random.Uint32())
			}
		}
		for range 1 + random.IntN(4) {
			m[2+random.IntN(len(m)-2)] = byte(random.Uint32())
		}
		m = m[:max(12, len(m)-random.IntN(2)*random.IntN(20))]
		m[0], m[1], m[2] = byte(i>>8), byte(i), m[2]&^0x80
		harness.NoError(t, conn.SetDeadline(time.Now().Add(harness.ExchangeTimeout)))
		_, err := conn.Write(m)
		harness.NoError(t, err)
		n, err := conn.Read(buf)
		if err != nil {
			t.Fatalf("message %d, %q: %v", i, m, err)
		}
		answer := new(dns.Msg)
		if err := answer.Unpack(buf[:n]); err != nil {
			t.Fatalf("the answer %q to %q cannot be read: %v", buf[:n], m, err)
		}
		if buf[0] != m[0] || buf[1] != m[1] || !answer.Response || answer.RecursionAvailable || answer.Zero || answer.AuthenticatedData || answer.Rcode == dns.RcodeServerFailure || n > 1232 {
			t.Errorf("to %q: %v", m, answer)
		}
	}
}
