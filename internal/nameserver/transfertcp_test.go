package nameserver

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/netip"
	"runtime"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/miekg/dns"

	"github.com/caddy-dns/bestdns/internal/record"
	"github.com/caddy-dns/bestdns/internal/tsig"
)

// This file is transfers over real connections, and their bounds.

// largeZone is a zone with some thousand records, and its configuration.
func largeZone(t testing.TB, records int, key tsig.Key, secondaries ...string) (*Server, ZoneConfig) {
	t.Helper()
	zone := zoneConfig(t, "example.org")
	zone.Transfers = transfers(t, key, secondaries...)
	s := serving(t, zone)
	for at := 0; at < records; at += 10_000 {
		var some []record.Record
		for i := at; i < min(at+10_000, records); i++ {
			some = append(some, rr(t, zone.Name, fmt.Sprintf("_acme-challenge.host%d 60 TXT gfj9Xq...Rg85nM-%032d", i, i)))
		}
		if _, err := s.Apply(t.Context(), zone.Name, appending(some...)); err != nil {
			t.Fatal(err)
		}
	}
	return s, zone
}

// TestTransferByLibrary has the DNS library transfer a zone over a real connection, whole and
// by difference, signed and not, and by the connection of other questions.
func TestTransferByLibrary(t *testing.T) {
	for _, key := range []tsig.Key{{}, tsigKey(t, "key.example", "one")} {
		t.Run(key.String(), func(t *testing.T) {
			s, zone := largeZone(t, 5000, key, "127.0.0.1:9")
			_, tcp := listen(t, s, "127.0.0.1")
			first := snapshot(t, s, zone.Name).serial
			receive := func(m *dns.Msg) (records []dns.RR) {
				t.Helper()
				transfer := new(dns.Transfer)
				if !key.IsZero() {
					transfer.TsigSecret = map[string]string{key.Name.String(): key.Secret()}
					m.SetTsig(key.Name.String(), key.Algorithm, 300, time.Now().Unix())
				}
				envelopes, err := transfer.In(m, tcp.Addr().String())
				if err != nil {
					t.Fatal(err)
				}
				for e := range envelopes {
					if e.Error != nil {
						t.Fatal(e.Error)
					}
					records = append(records, e.RR...)
				}
				return records
			}
			if got, want := receive(new(dns.Msg).SetAxfr(zone.Name.String())), snapshot(t, s, zone.Name).records+2; len(got) != want {
				t.Errorf("%d records, want %d", len(got), want)
			}
			apply(t, s, zone.Name, appending(rr(t, zone.Name, "www 60 TXT x")))
			if got := receive(new(dns.Msg).SetIxfr(zone.Name.String(), first, "ns.", "hostmaster.")); len(got) != 5 {
				t.Errorf("%d records of a difference", len(got))
			}
			conn := dial(t, "tcp", tcp.Addr().String())
			for range 2 { // the SOA record, then a transfer, then again
				for _, qtype := range []uint16{dns.TypeSOA, dns.TypeIXFR} {
					request, _ := client{s, "127.0.0.1", key}.request(t, zone.Name, qtype, first)
					if _, err := conn.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(request))), request...)); err != nil {
						t.Fatal(err)
					}
					answer := new(dns.Msg)
					if err := answer.Unpack(readTCP(t, conn)); err != nil || answer.Rcode != dns.RcodeSuccess || len(answer.Answer) == 0 {
						t.Fatalf("%v, %v", answer, err)
					}
				}
			}
			for began := time.Now(); s.transferPlaces.count() > 0; time.Sleep(time.Millisecond) {
				if time.Since(began) > 10*time.Second {
					t.Fatalf("%d places are still taken", s.transferPlaces.count())
				}
			}
		})
	}
}

// TestSlowSecondary: a secondary that takes nothing of its transfer holds up neither changes
// nor other secondaries, of the same address neither, and is not waited for for ever. The
// zone may change meanwhile: it gets what there was.
func TestSlowSecondary(t *testing.T) {
	s, zone := largeZone(t, 200_000, tsig.Key{}, "127.0.0.1:9")
	_, tcp := listen(t, s, "127.0.0.1")
	request, _ := client{s, "127.0.0.1", tsig.Key{}}.request(t, zone.Name, dns.TypeAXFR, 0)
	request = append(binary.BigEndian.AppendUint16(nil, uint16(len(request))), request...)
	slow := dial(t, "tcp", tcp.Addr().String())
	if err := slow.(*net.TCPConn).SetReadBuffer(4096); err != nil {
		t.Fatal(err)
	}
	if _, err := slow.Write(request); err != nil {
		t.Fatal(err)
	}
	readTCP(t, slow) // it has begun
	serial := change(t, s, zone.Name, "while it takes nothing")
	quick := dial(t, "tcp", tcp.Addr().String())
	if _, err := quick.Write(request); err != nil {
		t.Fatal(err)
	}
	soas, records := 0, 0
	for soas < 2 {
		m := new(dns.Msg)
		if err := m.Unpack(readTCP(t, quick)); err != nil {
			t.Fatal(err)
		}
		for _, r := range m.Answer {
			records++
			if isSOA(r, serial) {
				soas++
			}
		}
	}
	if want := snapshot(t, s, zone.Name).records + 2; records != want {
		t.Errorf("%d records, want %d", records, want)
	}
	for began := time.Now(); s.transferPlaces.count() > 0; time.Sleep(10 * time.Millisecond) {
		if time.Since(began) > 10*tcpWrite {
			t.Fatal("it is still waited for")
		}
	}
}

// TestTransferPlaces: beyond so many transfers of one client, and in all, others wait, in
// their order, and whose connection has to make room waits no more.
func TestTransferPlaces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPlaces(3, 2)
		all := newConnections(20, 20)
		var order []int
		connections := make(map[int]*connection)
		var granted atomic.Int32
		take := func(n int, from string) {
			here, there := net.Pipe()
			t.Cleanup(func() { here.Close(); there.Close() })
			c := &connection{Conn: here, from: netip.MustParseAddr(from), evicted: make(chan struct{})}
			all.add(c)
			c.setBusy()
			connections[n] = c
			go func() {
				if p.take(c) {
					order = append(order, n) // one at a time, by synctest.Wait
					granted.Add(1)
				}
			}()
			synctest.Wait()
		}
		expect := func(want ...int) {
			t.Helper()
			synctest.Wait()
			if !slices.Equal(order, want) {
				t.Fatalf("places were taken by %v, want %v", order, want)
			}
		}
		for n, from := range []string{"192.0.2.1", "192.0.2.1", "192.0.2.1", "192.0.2.2", "192.0.2.2", "192.0.2.1"} {
			take(n, from)
		}
		expect(0, 1, 3)
		if connections[2].waiting == nil || connections[0].waiting != nil {
			t.Error("who waits does not count as idle, or who does not wait does")
		}
		close(connections[2].evicted)
		synctest.Wait()
		p.release(netip.MustParseAddr("192.0.2.1"))
		expect(0, 1, 3, 4)
		p.release(netip.MustParseAddr("192.0.2.2"))
		expect(0, 1, 3, 4, 5)
		for _, from := range []string{"192.0.2.1", "192.0.2.1", "192.0.2.2"} {
			p.release(netip.MustParseAddr(from))
		}
		if p.taken != 0 || len(p.byAddr) != 0 || len(p.waiting) != 0 {
			t.Errorf("what is left: %+v", p)
		}
	})
}

// TestClosingWhileTransfersWait: a socket that is closed does not wait for the transfers that
// wait for a place, which may take as long as others' clients do.
func TestClosingWhileTransfersWait(t *testing.T) {
	s, zone := largeZone(t, 200, tsig.Key{}, "127.0.0.1:9")
	s.transferPlaces = newPlaces(1, 1)
	elsewhere := &connection{from: netip.MustParseAddr("192.0.2.1")}
	if !s.transferPlaces.take(elsewhere) {
		t.Fatal("there is no place")
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	socket := NewTCPSocket(listener, "tcp", nil)
	socket.Serve(s)
	conn := dial(t, "tcp", listener.Addr().String())
	request, _ := client{s, "127.0.0.1", tsig.Key{}}.request(t, zone.Name, dns.TypeAXFR, 0)
	if _, err := conn.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(request))), request...)); err != nil {
		t.Fatal(err)
	}
	waiting := func() int {
		s.transferPlaces.mu.Lock()
		defer s.transferPlaces.mu.Unlock()
		return len(s.transferPlaces.waiting)
	}
	for began := time.Now(); waiting() == 0; time.Sleep(time.Millisecond) {
		if time.Since(began) > 10*time.Second {
			t.Fatal("the transfer does not wait")
		}
	}
	closed := make(chan struct{})
	go func() {
		socket.Close()
		socket.Close() // once more is not an error
		close(closed)
	}()
	select {
	case <-closed:
	case <-time.After(10 * time.Second):
		t.Error("the socket is not closed while a transfer waits for a place")
		s.transferPlaces.release(elsewhere.from)
		<-closed
		return
	}
	if n, taken := waiting(), s.transferPlaces.count(); n != 0 || taken != 1 {
		t.Errorf("%d wait after the end, and %d places are taken", n, taken)
	}
}

// sizeOfPasts returns what pasts take, counted one by one.
func sizeOfPasts(pasts []past) (bytes int) {
	for i := range pasts {
		bytes += pastSize + len(pasts[i].soa) + len(pasts[i].names)*entrySize
		for _, e := range pasts[i].names {
			bytes += len(e)
		}
	}
	return bytes
}

// TestHistoryIsBounded: what is remembered of a zone, and of all, takes no more than it may,
// the oldest is forgotten first, and a change that is too large is not remembered.
func TestHistoryIsBounded(t *testing.T) {
	const most, mostOfZone = 25_000, 10_000
	var zones []ZoneConfig
	for i := range 4 {
		zone := zoneConfig(t, fmt.Sprintf("z%d.test", i))
		zone.Transfers = transfers(t, tsig.Key{}, "127.0.0.1:9")
		zones = append(zones, zone)
	}
	s := open(t, storePath(t))
	s.histories.most, s.histories.mostOfZone = most, mostOfZone
	serve(t, s, zones...)
	check := func() {
		t.Helper()
		sum, steps := 0, 0
		for _, z := range *s.zones.Load() {
			counted, size := z.history.bytesFrom(0), sizeOfPasts(z.history.pasts)
			if counted != size || counted > mostOfZone {
				t.Fatalf("%s: %d bytes, counted as %d", z.name, size, counted)
			}
			sum, steps = sum+counted, steps+len(z.history.pasts)
		}
		if sum != s.histories.bytes || sum > most || steps != s.histories.order.Len() {
			t.Fatalf("%d bytes in %d pasts, counted as %d in %d", sum, steps, s.histories.bytes, s.histories.order.Len())
		}
	}
	for i := range 400 {
		zone := zones[i%4].Name
		before := snapshot(t, s, zone).serial
		change(t, s, zone, fmt.Sprint(i))
		check()
		if _, pasts, bytes, ok := (*s.zones.Load())[zone].since(before, most); !ok || len(pasts) != 1 || bytes != sizeOfPasts(pasts) {
			t.Fatalf("the last change is not remembered: %v", pasts)
		}
	}
	if n := len((*s.zones.Load())[zones[0].Name].history.pasts); n < 5 {
		t.Errorf("%d changes are remembered", n)
	}
	var many []record.Record
	for i := range 1000 {
		many = append(many, rr(t, zones[0].Name, fmt.Sprintf("n%d 60 TXT x", i)))
	}
	before := snapshot(t, s, zones[0].Name).serial
	apply(t, s, zones[0].Name, appending(many...))
	check()
	if _, _, _, ok := (*s.zones.Load())[zones[0].Name].since(before, most); ok {
		t.Error("a change that is too large is remembered")
	}
}

// BenchmarkTransfer transfers a zone of 100,000 challenges to a client that takes what comes.
func BenchmarkTransfer(b *testing.B) {
	for _, key := range []tsig.Key{{}, tsigKey(b, "key.example", "one")} {
		b.Run(key.String(), func(b *testing.B) {
			s, zone := largeZone(b, 100_000, key, "127.0.0.1:9")
			listener, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				b.Fatal(err)
			}
			socket := NewTCPSocket(listener, "tcp", nil)
			socket.Serve(s)
			defer socket.Close()
			size, messages := 0, 0
			b.ReportAllocs()
			for b.Loop() {
				size, messages = readTransfer(b, s, zone.Name, key, listener.Addr().String())
			}
			b.SetBytes(int64(size))
			b.ReportMetric(float64(messages), "messages")
		})
	}
}

// readTransfer returns how many bytes and messages a transfer has.
func readTransfer(b *testing.B, s *Server, zone record.Name, key tsig.Key, address string) (size, messages int) {
	conn, err := net.Dial("tcp", address)
	if err != nil {
		b.Fatal(err)
	}
	defer conn.Close()
	request, _ := client{s, "127.0.0.1", key}.request(b, zone, dns.TypeAXFR, 0)
	if _, err := conn.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(request))), request...)); err != nil {
		b.Fatal(err)
	}
	left := snapshot(b, s, zone).records + 2
	buf := make([]byte, 2+dns.MaxMsgSize)
	for left > 0 {
		if _, err := io.ReadFull(conn, buf[:2]); err != nil {
			b.Fatal(err)
		}
		n := int(binary.BigEndian.Uint16(buf))
		if _, err := io.ReadFull(conn, buf[:n]); err != nil {
			b.Fatal(err)
		}
		left -= int(binary.BigEndian.Uint16(buf[6:]))
		size, messages = size+n, messages+1
	}
	return size, messages
}

// BenchmarkHistory is what it takes to remember changes of a challenge in a zone of 10,000
// names, in time and memory.
func BenchmarkHistory(b *testing.B) {
	for _, secondaries := range [][]string{nil, {"127.0.0.1:9"}} {
		b.Run(fmt.Sprintf("%d secondaries", len(secondaries)), func(b *testing.B) {
			s, zone := largeZone(b, 10_000, tsig.Key{}, secondaries...)
			serve(b, s, zone)
			measure := func() uint64 {
				var m runtime.MemStats
				runtime.GC()
				runtime.ReadMemStats(&m)
				return m.HeapAlloc
			}
			commits := 0
			for b.Loop() {
				text := rr(b, zone.Name, fmt.Sprintf("_acme-challenge.new%d 60 TXT gfj9Xq...Rg85nM-%032d", commits/2, commits))
				if commits%2 == 0 {
					apply(b, s, zone.Name, appending(text))
				} else {
					apply(b, s, zone.Name, record.Change{Op: record.Delete, Matches: []record.Match{{Name: text.Name, Type: text.Type}}})
				}
				commits++
			}
			z := (*s.zones.Load())[zone.Name]
			kept := max(len(z.history.pasts), 1)
			b.ReportMetric(float64(z.history.bytesFrom(0))/float64(kept), "counted-B/kept")
			b.ReportMetric(float64(kept), "kept")
			with := measure()
			s.histories.reset(z)
			b.ReportMetric(float64(int64(with)-int64(measure()))/float64(kept), "B/kept")
		})
	}
}
