package nameserver

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"runtime"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"
)

// flood is a socket at which queries arrive, in batches, and which notes what leaves.
type flood struct {
	batches int // left
	query   func(i int) ([]byte, netip.Addr)
	sent    func(to netip.Addr, answer []byte)

	next    int // number of the first query of the batch
	buffers [floodBatch][writerBuffer]byte
}

const floodBatch = 32

func (f *flood) receive() (int, error) {
	if f.batches == 0 {
		return 0, net.ErrClosed
	}
	f.batches--
	f.next += floodBatch
	return floodBatch, nil
}

// answer has a server answer all that there is.
func (f *flood) answer(s *Server) error {
	socket := newSocket("flood", nil)
	socket.current.Store(s)
	return socket.answerPackets(f)
}

func (f *flood) message(i int) ([]byte, netip.Addr) { return f.query(f.next + i) }
func (f *flood) buffer(i int) []byte                { return f.buffers[i][:] }
func (f *flood) send()                              {}
func (f *flood) origin(int) datagram                { return datagram{} }
func (f *flood) sendLater([]byte, datagram)         {}

func (f *flood) reply(i int, answer []byte) {
	_, to := f.query(f.next + i)
	f.sent(to, answer)
}

func packed(t testing.TB, m *dns.Msg) []byte {
	t.Helper()
	b, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// A burst of queries in the name of one network gets back what the limit allows and
// not more, while others are answered.
func TestBurstFromOneNetwork(t *testing.T) {
	const (
		queries = 100_000
		rate    = 50
	)
	s := crowded(t)
	if err := s.Serve(Settings{Zones: []ZoneConfig{zoneConfig(t, "example.org")}, RateLimit: rate}); err != nil {
		t.Fatal(err)
	}
	large := packed(t, question("fewtxt.example.org.", dns.TypeTXT, edns(4096)))
	other := netip.MustParseAddr("198.51.101.1")
	var whole, cut, octets, toOther int
	began := time.Now()
	f := &flood{
		batches: queries / floodBatch,
		query: func(i int) ([]byte, netip.Addr) {
			if i%(queries/20) == 0 {
				return large, other
			}
			return large, netip.AddrFrom4([4]byte{198, 51, 100, byte(i)})
		},
		sent: func(to netip.Addr, answer []byte) {
			switch {
			case to == other:
				toOther++
				return
			case answer[2]&flagTC == 0:
				whole++
			case len(answer) > len(large) || unpacked(answer).IsEdns0() == nil:
				t.Fatalf("an answer cut short: %v", unpacked(answer))
			default:
				cut++
			}
			octets += len(answer)
		},
	}
	if err := f.answer(s); !errors.Is(err, net.ErrClosed) {
		t.Fatal(err)
	}
	seconds := 1 + time.Since(began).Seconds() // one of them is credit
	if most := int(rate*seconds) + 1; whole > most || cut > most || octets > most*(maxUDPSize+len(large)) {
		t.Errorf("%d answers, %d cut short, %d bytes in %.1f s", whole, cut, octets, seconds)
	}
	if whole < rate || cut < rate {
		t.Errorf("%d answers, %d cut short", whole, cut)
	}
	if toOther != 20 {
		t.Errorf("another network got %d answers to 20 queries", toOther)
	}
	counts := s.LimitCounts()
	if want := (LimitCounts{Truncated: uint64(cut), Dropped: uint64(queries - whole - cut - toOther)}); counts != want {
		t.Errorf("counted %+v, want %+v", counts, want)
	}
	t.Logf("%d answers, %d cut short, %d bytes", whole, cut, octets)
}

func TestCharge(t *testing.T) {
	const rate = 2
	second := int64(time.Second)
	type query struct {
		from string
		at   int64
		want verdict
	}
	tests := []struct {
		name    string
		rate    int
		queries []query
	}{
		{"a network", rate, []query{
			{"192.0.2.1", 0, answerIt}, {"192.0.2.255", 0, answerIt},
			{"192.0.2.2", 0, cutShort}, {"192.0.2.3", 0, cutShort}, {"192.0.2.1", 0, dropIt},
			{"192.0.2.1", second / 2, answerIt}, {"192.0.2.1", second / 2, cutShort}, {"192.0.2.1", second / 2, dropIt},
			{"192.0.2.1", 9 * second, answerIt}, {"192.0.2.1", 9 * second, answerIt}, {"192.0.2.1", 9 * second, cutShort},
		}},
		{"IPv6 addresses of one /56", rate, []query{
			{"2001:db8:0:1::1", 0, answerIt}, {"2001:db8:0:ff::2", 0, answerIt}, {"2001:db8::3", 0, cutShort},
		}},
		{"an IPv4 address on an IPv6 socket", rate, []query{
			{"192.0.2.1", 0, answerIt}, {"::ffff:192.0.2.2", 0, answerIt}, {"::ffff:192.0.2.1", 0, cutShort},
		}},
		{"loopback", 1, []query{{"127.0.0.1", 0, answerIt}, {"127.0.0.1", 0, answerIt}, {"::1", 0, answerIt}, {"::1", 0, answerIt}, {"::ffff:127.0.0.1", 0, answerIt}}},
		{"no limit", 0, []query{{"192.0.2.1", 0, answerIt}, {"192.0.2.1", 0, answerIt}}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			l := newLimiter()
			for i, q := range test.queries {
				if got := l.charge(netip.MustParseAddr(q.from), q.at, price(test.rate)); got != q.want {
					t.Errorf("query %d from %s: %d, want %d", i, q.from, got, q.want)
				}
			}
		})
	}
}

// Networks have accounts of their own, but for the few that share one.
func TestAccounts(t *testing.T) {
	l := newLimiter()
	taken := make(map[uint64]bool)
	const networks = 1000
	for i := range networks {
		taken[l.account(netip.AddrFrom4([4]byte{10, byte(i >> 8), byte(i), 1}))] = true
		taken[l.account(netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, byte(i >> 8), byte(i), 0, 1}))] = true
	}
	if len(taken) < 2*networks-100 {
		t.Errorf("%d networks have %d accounts", 2*networks, len(taken))
	}
}

// The credit of a network comes back by the clock of what is served.
func TestCreditByTheClock(t *testing.T) {
	const rate = 50
	s := open(t, storePath(t))
	if err := s.Serve(Settings{Zones: []ZoneConfig{zoneConfig(t, "example.org")}, RateLimit: rate}); err != nil {
		t.Fatal(err)
	}
	clock := time.Now()
	turned := *s.view.Load()
	turned.now = func() time.Time { return clock }
	s.view.Store(&turned)
	message := packed(t, question("example.org.", dns.TypeSOA))
	for _, later := range []time.Duration{0, time.Second, time.Second / 2} {
		clock = clock.Add(later)
		whole := 0
		f := &flood{
			batches: 4 * rate / floodBatch,
			query:   func(int) ([]byte, netip.Addr) { return message, netip.MustParseAddr("198.51.100.1") },
			sent: func(_ netip.Addr, answer []byte) {
				if answer[2]&flagTC == 0 {
					whole++
				}
			},
		}
		if err := f.answer(s); !errors.Is(err, net.ErrClosed) {
			t.Fatal(err)
		}
		want := rate
		if later > 0 {
			want = int(rate * later / time.Second)
		}
		if whole != want {
			t.Errorf("after %v more, %d answers, want %d", later, whole, want)
		}
	}
}

// The limit is that of the configuration that is served.
func TestRateLimitOfConfigurations(t *testing.T) {
	s := open(t, storePath(t))
	zones := []ZoneConfig{zoneConfig(t, "example.org")}
	var rates []int64
	note := func() { rates = append(rates, s.view.Load().price) }
	for _, rate := range []int{1000, 0, 10} {
		if err := s.Serve(Settings{Zones: zones, RateLimit: rate}); err != nil {
			t.Fatal(err)
		}
		note()
	}
	s.Revert(Settings{Zones: zones})
	note()
	want := []int64{1e6, 0, 1e8, 0}
	if diff := cmp.Diff(want, rates); diff != "" {
		t.Errorf("prices (-want +got):\n%s", diff)
	}
}

// Names and addresses that were never seen before leave nothing behind.
func TestMemoryUnderFlood(t *testing.T) {
	const queries = 200_000
	s := crowded(t)
	if err := s.Serve(Settings{Zones: []ZoneConfig{zoneConfig(t, "example.org")}, RateLimit: DefaultRateLimit}); err != nil {
		t.Fatal(err)
	}
	heap := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	template := packed(t, question("0123456789abcdef.example.org.", dns.TypeTXT, edns(1232)))
	answered := 0
	f := &flood{
		batches: queries / floodBatch,
		query: func(i int) ([]byte, netip.Addr) {
			copy(template[headerLen+1:], fmt.Sprintf("%016x", i))
			binary.BigEndian.PutUint16(template[len(template)-optLen-4:], uint16(i)) // QTYPE
			return template, netip.AddrFrom4([4]byte{byte(i >> 16), byte(i >> 8), byte(i), 1})
		},
		sent: func(netip.Addr, []byte) { answered++ },
	}
	before := heap()
	if err := f.answer(s); !errors.Is(err, net.ErrClosed) {
		t.Fatal(err)
	}
	if grown := int64(heap()) - int64(before); grown > 1<<20 {
		t.Errorf("%d queries left %d bytes behind", queries, grown)
	}
	if answered < queries*9/10 {
		t.Errorf("%d answers", answered)
	}
	if n := len(s.QueryCounts()); n > len(typeLabels)*len(rcodeLabels) {
		t.Errorf("%d counters", n)
	}
}
