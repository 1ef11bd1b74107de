package nameserver

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/caddy-dns/bestdns/internal/tsig"
)

// exchangeBy sends a message over UDP or TCP and returns the answer.
func exchangeBy(t *testing.T, conn net.Conn, message []byte) []byte {
	t.Helper()
	if conn.LocalAddr().Network() == "udp" {
		return sendUDP(t, conn, string(message))
	}
	writeTCP(t, conn, string(message))
	return readTCP(t, conn)
}

// TestUpdates: updates of a client with a key are made, over UDP and TCP. The answer is signed, has the
// update's ID, and a reason where the client can read one.
func TestUpdates(t *testing.T) {
	key := tsigKey(t, "client.example", "one")
	type outcome struct {
		rcode int
		text  string
	}
	var next atomic.Pointer[outcome]
	clients := &fakeClients{keys: []tsig.Key{key}, update: func(context.Context, Update) (int, string) {
		o := next.Load()
		return o.rcode, o.text
	}}
	s := servingClients(t, clients)
	udp, tcp := listen(t, s, "127.0.0.1")
	for network, addr := range map[string]net.Addr{"udp": udp.LocalAddr(), "tcp": tcp.Addr()} {
		for _, test := range []struct {
			rcode      int
			text       string
			edns       uint16 // 0: none
			wantReason bool
		}{
			{dns.RcodeSuccess, "", 0, false},
			{dns.RcodeSuccess, "", 1232, false},
			{dns.RcodeRefused, "it is not yours", 0, false},
			{dns.RcodeRefused, "it is not yours", 1232, true},
			{dns.RcodeNotZone, strings.Repeat("long ", 400), 1232, true},
			{dns.RcodeYXRrset, "", 512, false},
		} {
			next.Store(&outcome{test.rcode, test.text})
			m := updateOf("example.org")
			if test.edns > 0 {
				m.SetEdns0(test.edns, false)
			}
			m.SetTsig(key.Name.String(), key.Algorithm, 300, time.Now().Unix())
			client := byKey(network, key)
			answer, _, err := client.Exchange(m, addr.String())
			if err != nil {
				t.Errorf("%s %+v: %v", network, test, err)
				continue
			}
			if answer.Rcode != test.rcode || answer.Id != m.Id || answer.Opcode != dns.OpcodeUpdate || !answer.Response || answer.IsTsig() == nil {
				t.Errorf("%s %+v: %v", network, test, answer)
			}
			if len(answer.Question) != 1 || answer.Question[0] != m.Question[0] || len(answer.Answer)+len(answer.Ns) > 0 {
				t.Errorf("%s %+v: sections %v", network, test, answer)
			}
			if reason := reasonIn(answer); (reason != "") != test.wantReason || !strings.HasPrefix(test.text, strings.TrimSuffix(reason, "…")) || len(reason) > maxReason {
				t.Errorf("%s %+v: reason %q", network, test, reason)
			}
			if (answer.IsEdns0() != nil) != (test.edns > 0) {
				t.Errorf("%s %+v: EDNS %v", network, test, answer.IsEdns0())
			}
		}
	}
	waitNoUpdates(t, s)
	for _, u := range clients.taken() {
		if u.Key != key.Name || u.From != netip.MustParseAddr("127.0.0.1") || len(u.Message) < headerLen {
			t.Errorf("update %+v", u)
		}
	}
	if n := len(clients.refusals()); n > 0 || clients.made() != 12 {
		t.Errorf("%d were made, %d refused", clients.made(), n)
	}
}

// TestAnswersToUpdatesFit: no answer over UDP is longer than the client can take, whatever its names are
// and its reason is.
func TestAnswersToUpdatesFit(t *testing.T) {
	long := strings.Repeat("a.", 120) + "example"
	key := tsigKey(t, long, "one")
	s := servingClients(t, &fakeClients{keys: []tsig.Key{key}, update: func(context.Context, Update) (int, string) {
		return dns.RcodeRefused, strings.Repeat("why ", 200)
	}})
	udp, tcp := listen(t, s, "127.0.0.1")
	for network, addr := range map[string]net.Addr{"udp": udp.LocalAddr(), "tcp": tcp.Addr()} {
		for _, size := range []uint16{0, 512, 700, 1232, 4096} {
			m := new(dns.Msg)
			m.SetUpdate(strings.Repeat("b.", 120) + "org.")
			if size > 0 {
				m.SetEdns0(size, false)
			}
			message, mac := signed(t, m, key, time.Now())
			answer := exchangeBy(t, dial(t, network, addr.String()), message)
			// What has to be there, at the least: the question, EDNS, and the signature.
			least := headerLen + (2*120 + 5) + 4 + optLen + key.NewSigner(nil).Size()
			if most := max(int(size), dns.MinMsgSize, least); network == "udp" && len(answer) > most {
				t.Errorf("%d bytes for a client that takes %d", len(answer), size)
			}
			if err := verifies(answer, key, mac, time.Now()); err != nil {
				t.Errorf("%s, %d: %v", network, size, err)
			}
		}
	}
}

// TestRefusedUpdates: an update without the valid signature of a client is refused as RFC 8945 says, and
// not made.
func TestRefusedUpdates(t *testing.T) {
	key, sha512, secondary := tsigKey(t, "client.example", "one"), keyOf(t, "sha512.example", "hmac-sha512", "secret octets"), tsigKey(t, "secondary.example", "two")
	clients := &fakeClients{keys: []tsig.Key{key, sha512}}
	zone := zoneConfig(t, "example.org")
	zone.Transfers = transfers(t, secondary, secondaryPort)
	s := open(t, storePath(t))
	if err := s.Serve(Settings{Zones: []ZoneConfig{zone}, Clients: clients}); err != nil {
		t.Fatal(err)
	}
	udp, tcp := listen(t, s, "127.0.0.1")
	m := updateOf("example.org", func(m *dns.Msg) { m.SetEdns0(1232, false) })
	now := time.Now()
	by := func(key tsig.Key, when time.Time) []byte {
		message, _ := signed(t, m, key, when)
		return message
	}
	changed := by(key, now)
	changed[len(packed(t, m))-20] ^= 1
	notLast, _ := signed(t, updateOf("example.org"), key, now)
	notLast = append(notLast, "\x00\x00\x29\x04\xd0\x00\x00\x00\x00\x00\x00"...)
	notLast[11]++
	const yes, no = true, false
	for _, test := range []struct {
		name     string
		message  []byte
		want     string
		isSigned bool
		reason   string
		isNoted  bool // the clients are told of it; not if the message is malformed
	}{
		{"unsigned", packed(t, m), "REFUSED", no, "has to be signed", true},
		{"by a key that no one has", by(tsigKey(t, "stranger.example", "one"), now), "NOTAUTH BADKEY", no, "no client", true},
		{"with another secret", by(tsigKey(t, "client.example", "other"), now), "NOTAUTH BADSIG", no, "the secrets differ", true},
		{"with another algorithm", by(keyOf(t, "client.example", "hmac-sha512", "secret octets one"), now), "NOTAUTH BADKEY", no, "algorithm", true},
		{"with MD5", signedMD5(t, m, key), "NOTAUTH BADKEY", no, "HMAC-MD5", true},
		{"with MD5, by no one", signedMD5(t, m, tsigKey(t, "stranger.example", "one")), "NOTAUTH BADKEY", no, "HMAC-MD5", true},
		{"an hour ago", by(key, now.Add(-time.Hour)), "NOTAUTH BADTIME", yes, "clocks", true},
		{"in an hour", by(key, now.Add(time.Hour)), "NOTAUTH BADTIME", yes, "clocks", true},
		{"changed", changed, "NOTAUTH BADSIG", no, "was changed", true},
		{"with half of the MAC", shortened(t, by(sha512, now), 32), "NOTAUTH BADTRUNC", yes, "truncated", true},
		{"with less than half of it", shortened(t, by(sha512, now), 31), "FORMERR", no, "invalid length", true},
		{"by a secondary", by(secondary, now), "REFUSED", yes, "has to be signed with the TSIG key of a client", true},
		{"not at the end", notLast, "FORMERR", no, "not the last one", true},
		{"of another type of zone", packed(t, updateOf("example.org", func(m *dns.Msg) { m.Question[0].Qtype = dns.TypeA })), "FORMERR", no, "", false},
		{"of another class", packed(t, updateOf("example.org", func(m *dns.Msg) { m.Question[0].Qclass = dns.ClassCHAOS })), "REFUSED", no, "", false},
		{"of two zones", packed(t, updateOf("example.org", func(m *dns.Msg) { m.Question = append(m.Question, m.Question[0]) })), "FORMERR", no, "", false},
		{"cut short", packed(t, m)[:30], "FORMERR", no, "", false},
	} {
		for network, addr := range map[string]net.Addr{"udp": udp.LocalAddr(), "tcp": tcp.Addr()} {
			t.Run(test.name+" over "+network, func(t *testing.T) {
				message := exchangeBy(t, dial(t, network, addr.String()), test.message)
				answer := new(dns.Msg)
				if err := answer.Unpack(message); err != nil {
					t.Fatal(err)
				}
				got := dns.RcodeToString[answer.Rcode]
				r := answer.IsTsig()
				if r != nil && r.Error != 0 {
					got += " " + map[uint16]string{dns.RcodeBadSig: "BADSIG", dns.RcodeBadKey: "BADKEY", dns.RcodeBadTime: "BADTIME", dns.RcodeBadTrunc: "BADTRUNC"}[r.Error]
				}
				if got != test.want || !answer.Response || answer.Opcode != dns.OpcodeUpdate || string(message[:2]) != string(test.message[:2]) {
					t.Errorf("%s, want %s: %v", got, test.want, answer)
				}
				if isSigned := r != nil && r.MACSize > 0; isSigned != test.isSigned {
					t.Errorf("the answer is signed: %t", isSigned)
				}
				// Over UDP the answer may go to someone else, and is short.
				if reason := reasonIn(answer); !strings.Contains(reason, test.reason) && network == "tcp" || (test.reason == "" || network == "udp") && reason != "" {
					t.Errorf("reason %q", reason)
				}
				if r != nil && r.Error == dns.RcodeBadTime {
					other, err := hex.DecodeString(r.OtherData)
					if err != nil || len(other) != 6 {
						t.Fatalf("BADTIME with %q", r.OtherData)
					}
					ours := int64(other[2])<<24 | int64(other[3])<<16 | int64(other[4])<<8 | int64(other[5])
					if away := ours - now.Unix(); away < -1 || away > 600 {
						t.Errorf("the server's time is %d seconds away", away)
					}
				}
				refused := clients.refusals()
				if want := map[bool]int{true: 1}[test.isNoted]; len(refused) != want {
					t.Errorf("%d refusals, want %d", len(refused), want)
				}
				for _, of := range refused {
					if of.tcp != (network == "tcp") || of.from != netip.MustParseAddr("127.0.0.1") || of.why == nil {
						t.Errorf("refused: %+v", of)
					}
				}
			})
		}
	}
	if n := clients.made(); n > 0 {
		t.Errorf("%d were made", n)
	}
}

// TestStrangersWhoAreNotAnswered: over UDP they get nothing, and over TCP the connection is closed.
func TestStrangersWhoAreNotAnswered(t *testing.T) {
	clients := &fakeClients{mute: true}
	s := servingClients(t, clients)
	udp, tcp := listen(t, s, "127.0.0.1")
	message := string(packed(t, updateOf("example.org")))
	conn := dial(t, "tcp", tcp.Addr().String())
	writeTCP(t, conn, message)
	if n, err := conn.Read(make([]byte, 1)); n > 0 || !errors.Is(err, io.EOF) {
		t.Errorf("%d bytes, %v", n, err)
	}
	conn = dial(t, "udp", udp.LocalAddr().String())
	if _, err := io.WriteString(conn, message); err != nil {
		t.Fatal(err)
	}
	if id := answeredNext(t, conn); id != barrierID {
		t.Errorf("an answer with ID %d", id)
	}
	if n := len(clients.refusals()); n != 2 {
		t.Errorf("%d were refused, want 2", n)
	}
}

const barrierID = 0xbbbb

// answeredNext sends a query, and returns the ID of the next answer: what came by the socket before has
// been read when there is one.
func answeredNext(t testing.TB, conn net.Conn) uint16 {
	t.Helper()
	q := question("example.org.", dns.TypeSOA, func(m *dns.Msg) { m.Id = barrierID })
	if _, err := conn.Write(packed(t, q)); err != nil {
		t.Fatal(err)
	}
	return nextID(t, conn)
}

func nextID(t testing.TB, conn net.Conn) uint16 {
	t.Helper()
	buf := make([]byte, 2048)
	if _, err := conn.Read(buf); err != nil {
		t.Fatal(err)
	}
	return binary.BigEndian.Uint16(buf)
}

// TestUpdatesWithoutClients: where no one has a key, there are no updates.
func TestUpdatesWithoutClients(t *testing.T) {
	s := serving(t, zoneConfig(t, "example.org"))
	udp, tcp := listen(t, s, "127.0.0.1")
	key := tsigKey(t, "client.example", "one")
	message, _ := signed(t, updateOf("example.org"), key, time.Now())
	for network, addr := range map[string]net.Addr{"udp": udp.LocalAddr(), "tcp": tcp.Addr()} {
		for _, m := range [][]byte{message, packed(t, updateOf("example.org"))} {
			answer := exchangeBy(t, dial(t, network, addr.String()), m)
			read := new(dns.Msg)
			if err := read.Unpack(answer); err != nil || read.Rcode != dns.RcodeNotImplemented || read.IsTsig() != nil {
				t.Errorf("%s: %v, %v", network, read, err)
			}
		}
	}
}

// TestRetransmittedUpdates: over UDP, an update that is sent again while it is under way is answered once,
// and afterwards made once more.
func TestRetransmittedUpdates(t *testing.T) {
	key := tsigKey(t, "client.example", "one")
	goOn := make(chan struct{})
	clients := &fakeClients{keys: []tsig.Key{key}, update: func(context.Context, Update) (int, string) {
		<-goOn
		return dns.RcodeSuccess, ""
	}}
	s := servingClients(t, clients)
	udp, _ := listen(t, s, "127.0.0.1")
	conn := dial(t, "udp", udp.LocalAddr().String())
	message, _ := signed(t, updateOf("example.org", func(m *dns.Msg) { m.Id = 7 }), key, time.Now())
	for range 3 {
		if _, err := conn.Write(message); err != nil {
			t.Fatal(err)
		}
		if id := answeredNext(t, conn); id != barrierID {
			t.Fatalf("an answer with ID %d, while the update is under way", id)
		}
	}
	close(goOn)
	expectID(t, conn, 7)
	if id := answeredNext(t, conn); id != barrierID {
		t.Errorf("a second answer with ID %d", id)
	}
	if n := clients.made(); n != 1 {
		t.Errorf("it was made %d times", n)
	}
	waitNoUpdates(t, s)
	if _, err := conn.Write(message); err != nil {
		t.Fatal(err)
	}
	expectID(t, conn, 7)
	if n := clients.made(); n != 2 {
		t.Errorf("sent later, it was made %d times", n)
	}
}

func expectID(t testing.TB, conn net.Conn, want uint16) {
	t.Helper()
	if id := nextID(t, conn); id != want {
		t.Fatalf("an answer with ID %d, want %d", id, want)
	}
}

// waitNoUpdates waits until no update is under way: a client has its answer a moment before.
func waitNoUpdates(t testing.TB, s *Server) {
	t.Helper()
	waitUntil(t, "no update is under way", func() bool {
		s.updates.mu.Lock()
		defer s.updates.mu.Unlock()
		return s.updates.all+len(s.updates.byKey)+len(s.updates.underWay) == 0
	})
}

// TestUpdatesUnderWay: the number of updates under way is bounded, for each client and in all, and one
// that is over may be sent again.
func TestUpdatesUnderWay(t *testing.T) {
	u := new(updates)
	begun := 0
	var all []*signature
	for k := range mostUpdates/mostUpdatesOfKey + 2 {
		key := tsigKey(t, fmt.Sprintf("key%d.example", k), "one")
		for i := range mostUpdatesOfKey + 3 {
			sig := &signature{key: key, mac: fmt.Sprint(k, " ", i)}
			if !u.begin(sig) {
				continue
			}
			if u.begin(sig) {
				t.Fatal("one begins twice")
			}
			begun++
			all = append(all, sig)
		}
		if want := min((k+1)*mostUpdatesOfKey, mostUpdates); begun != want {
			t.Fatalf("%d have begun after %d keys, want %d", begun, k+1, want)
		}
	}
	for _, sig := range all {
		u.end(sig)
	}
	if u.all != 0 || len(u.byKey)+len(u.underWay) > 0 || !u.begin(all[0]) {
		t.Errorf("what is left: %+v", u)
	}
}

// TestUpdatesAreAnsweredFromTheAddressAsked: a socket for all addresses answers from the one that was
// asked, also when the answer is late.
func TestUpdatesAreAnsweredFromTheAddressAsked(t *testing.T) {
	key := tsigKey(t, "client.example", "one")
	s := servingClients(t, &fakeClients{keys: []tsig.Key{key}})
	for _, test := range []struct{ listen, ask string }{
		{"0.0.0.0", "127.0.0.1"}, {"0.0.0.0", "127.0.0.2"}, {"::", "127.0.0.2"}, {"::", "::1"}, {"::1", "::1"}, {"127.0.0.2", "127.0.0.2"},
	} {
		t.Run(test.listen+" "+test.ask, func(t *testing.T) {
			if runtime.GOOS != "linux" && strings.Contains(test.ask+test.listen, "127.0.0.2") {
				cannot(t, "only Linux has all of 127.0.0.0/8 on its loopback interface")
			}
			udp, _ := listen(t, s, test.listen)
			m := updateOf("example.org")
			m.SetTsig(key.Name.String(), key.Algorithm, 300, time.Now().Unix())
			client := byKey("udp", key)
			answer, _, err := client.Exchange(m, net.JoinHostPort(test.ask, port(t, udp.LocalAddr())))
			if err != nil || answer.Rcode != dns.RcodeSuccess {
				t.Errorf("%v, %v", answer, err)
			}
		})
	}
}

// TestUpdateThatPanics: a bug costs the answer, and neither the process nor the room of others.
func TestUpdateThatPanics(t *testing.T) {
	key := tsigKey(t, "client.example", "one")
	clients := &fakeClients{keys: []tsig.Key{key}, update: func(context.Context, Update) (int, string) { panic("a bug") }}
	s := servingClients(t, clients)
	udp, tcp := listen(t, s, "127.0.0.1")
	message, _ := signed(t, updateOf("example.org"), key, time.Now())
	conn := dial(t, "udp", udp.LocalAddr().String())
	if _, err := conn.Write(message); err != nil {
		t.Fatal(err)
	}
	if id := answeredNext(t, conn); id != barrierID {
		t.Errorf("an answer with ID %d", id)
	}
	waitNoUpdates(t, s)
	conn = dial(t, "tcp", tcp.Addr().String())
	writeTCP(t, conn, string(message))
	if n, err := conn.Read(make([]byte, 1)); n > 0 || !errors.Is(err, io.EOF) {
		t.Errorf("%d bytes, %v", n, err)
	}
	if n := clients.made(); n != 2 {
		t.Errorf("%d were begun", n)
	}
}

// TestClosingWhileAnUpdateIsMade: over TCP its answer is still sent, and closing waits for that; over UDP
// closing waits for nothing.
func TestClosingWhileAnUpdateIsMade(t *testing.T) {
	key := tsigKey(t, "client.example", "one")
	begun, goOn := make(chan struct{}), make(chan struct{})
	s := servingClients(t, &fakeClients{keys: []tsig.Key{key}, update: func(ctx context.Context, _ Update) (int, string) {
		begun <- struct{}{}
		<-goOn
		return dns.RcodeSuccess, ""
	}})
	udp, tcp := sockets(t, s, "127.0.0.1")
	message, mac := signed(t, updateOf("example.org"), key, time.Now())
	byTCP, byUDP := dialSocket(t, tcp), dialSocket(t, udp)
	writeTCP(t, byTCP, string(message))
	if _, err := byUDP.Write(message); err != nil {
		t.Fatal(err)
	}
	<-begun
	<-begun
	udp.Close()
	closed := make(chan struct{})
	go func() {
		tcp.Close()
		close(closed)
	}()
	waitUntil(t, "the socket is being closed", tcp.reader.(*tcpListener).hasEnded)
	select {
	case <-closed:
		t.Error("it is closed while an update is under way")
	default:
	}
	close(goOn)
	answer := readTCP(t, byTCP)
	<-closed
	if err := verifies(slices.Clone(answer), key, mac, time.Now()); err != nil {
		t.Error(err)
	}
	waitNoUpdates(t, s)
}
