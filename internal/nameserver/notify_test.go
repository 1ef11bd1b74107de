package nameserver

import (
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"

	"github.com/caddy-dns/bestdns/internal/record"
	"github.com/caddy-dns/bestdns/internal/tsig"
)

// fakeSecondary takes NOTIFY from a server and answers as it is told to.
type fakeSecondary struct {
	mu      sync.Mutex // guards what follows
	away    bool
	rcode   int
	key     tsig.Key // that it signs with
	got     []gotNotify
	holding []func() // answers that it keeps for later, if hold
	hold    bool
}

// gotNotify is a message that came.
type gotNotify struct {
	zone   string
	serial uint32
	at     time.Time
	signed bool
}

// take returns what came since the last time, each as "ZONE SERIAL".
func (f *fakeSecondary) take() (all []gotNotify) {
	synctest.Wait()
	f.mu.Lock()
	defer f.mu.Unlock()
	all, f.got = f.got, nil
	return all
}

// zonesOf returns the zones of messages, sorted.
func zonesOf(all []gotNotify) (zones []string) {
	for _, n := range all {
		zones = append(zones, n.zone)
	}
	slices.Sort(zones)
	return zones
}

func (f *fakeSecondary) set(change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change()
}

// release sends what it has kept.
func (f *fakeSecondary) release() {
	f.mu.Lock()
	held := f.holding
	f.holding, f.hold = nil, false
	f.mu.Unlock()
	for _, answer := range held {
		answer()
	}
}

// dial is a notifier's dial.
func (f *fakeSecondary) dial(netip.AddrPort) (net.Conn, error) {
	return &fakeConn{to: f, answers: make(chan []byte, 100), closed: make(chan struct{})}, nil
}

type fakeConn struct {
	net.Conn // nil: there are no other methods
	to       *fakeSecondary
	answers  chan []byte
	once     sync.Once
	closed   chan struct{}
}

func (c *fakeConn) Close() error {
	c.once.Do(func() { close(c.closed) })
	return nil
}

func (c *fakeConn) Read(b []byte) (int, error) {
	select {
	case answer := <-c.answers:
		return copy(b, answer), nil
	case <-c.closed:
		return 0, net.ErrClosed
	}
}

func (c *fakeConn) Write(message []byte) (int, error) {
	m := new(dns.Msg)
	if err := m.Unpack(message); err != nil {
		return 0, fmt.Errorf("NOTIFY cannot be read: %w", err)
	}
	soa, ok := m.Answer[0].(*dns.SOA)
	if !ok || m.Opcode != dns.OpcodeNotify || !m.Authoritative || m.Response || soa.Hdr.Name != m.Question[0].Name || m.Question[0].Qtype != dns.TypeSOA {
		return 0, fmt.Errorf("not a NOTIFY: %v", m)
	}
	f := c.to
	f.mu.Lock()
	defer f.mu.Unlock()
	f.got = append(f.got, gotNotify{soa.Hdr.Name, soa.Serial, time.Now(), m.IsTsig() != nil})
	if f.away {
		return len(message), nil
	}
	answer, err := f.answer(m, message)
	if err != nil {
		return 0, err
	}
	if f.hold {
		f.holding = append(f.holding, func() { c.answers <- answer })
	} else {
		c.answers <- answer
	}
	return len(message), nil
}

func (f *fakeSecondary) answer(m *dns.Msg, message []byte) ([]byte, error) {
	a := new(dns.Msg).SetRcode(m, f.rcode)
	signed := m.IsTsig()
	if f.key.IsZero() || signed == nil {
		return a.Pack()
	}
	if err := dns.TsigVerify(message, f.key.Secret(), "", false); err != nil {
		return a.SetRcode(m, dns.RcodeNotAuth).Pack()
	}
	a.SetTsig(f.key.Name.String(), f.key.Algorithm, 300, time.Now().Unix())
	answer, _, err := dns.TsigGenerate(a, f.key.Secret(), signed.MAC, false)
	return answer, err
}

// notifying opens a server whose secondaries are all one.
func notifying(t *testing.T, log io.Writer) (*Server, *fakeSecondary) {
	t.Helper()
	if log == nil {
		log = io.Discard
	}
	s, err := Open(Options{Path: storePath(t), Logger: slog.New(slog.NewTextHandler(log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	f := new(fakeSecondary)
	s.notifier.dial = f.dial
	return s, f
}

// notifiedZones are zones of one secondary.
func notifiedZones(t *testing.T, key tsig.Key, names ...string) (zones []ZoneConfig) {
	for _, n := range names {
		zone := zoneConfig(t, n)
		zone.Transfers = transfers(t, key, secondaryPort)
		zones = append(zones, zone)
	}
	return zones
}

func change(t *testing.T, s *Server, zone record.Name, text string) uint32 {
	t.Helper()
	return apply(t, s, zone, record.Change{Op: record.Set, Records: rrs(t, zone, "www 60 TXT "+text)}).Serial
}

// TestNotify: a secondary is told of a zone when that begins to be served and at each change,
// at once, with the serial, and what it has accepted is known.
func TestNotify(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, f := notifying(t, nil)
		zones := notifiedZones(t, tsig.Key{}, "example.org", "other.test")
		serve(t, s, append(zones, zoneConfig(t, "alone.test"))...)
		if got := zonesOf(f.take()); !slices.Equal(got, []string{"example.org.", "other.test."}) {
			t.Errorf("at the begin: %v", got)
		}
		began := time.Now()
		serial := change(t, s, zones[0].Name, "x")
		change(t, s, name(t, "alone.test"), "x")
		got := f.take()
		if diff := cmp.Diff([]gotNotify{{"example.org.", serial, began, false}}, got, cmp.AllowUnexported(gotNotify{})); diff != "" {
			t.Errorf("after a change (-want +got):\n%s", diff)
		}
		want := []SecondaryStatus{{Address: netip.MustParseAddrPort(secondaryPort), Acknowledged: serial, Known: true}}
		if diff := cmp.Diff(want, s.Secondaries(zones[0].Name), cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })); diff != "" {
			t.Errorf("status (-want +got):\n%s", diff)
		}
		apply(t, s, zones[0].Name, appending(rr(t, zones[0].Name, "www 60 TXT x")))
		if got := f.take(); len(got) > 0 {
			t.Errorf("without a change: %v", got)
		}
		time.Sleep(time.Hour)
		if got := f.take(); len(got) > 0 {
			t.Errorf("while nothing happens: %v", got)
		}
		apply(t, s, zones[0].Name, appending(expiring(rr(t, zones[0].Name, "soon 60 TXT x"), time.Minute)))
		f.take()
		time.Sleep(2 * time.Minute)
		if got := zonesOf(f.take()); !slices.Equal(got, []string{"example.org."}) {
			t.Errorf("of what has expired: %v", got)
		}
		counts := s.TransferCounts()
		if len(counts) != 2 || counts[1].Notified != 4 || counts[1].Unanswered != 0 {
			t.Errorf("counts: %+v", counts)
		}
	})
}

// TestNotifyIsCoalesced: changes during a NOTIFY that is not answered yet make one more, with
// the last serial.
func TestNotifyIsCoalesced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, f := notifying(t, nil)
		zones := notifiedZones(t, tsig.Key{}, "example.org")
		serve(t, s, zones...)
		f.take()
		f.set(func() { f.hold = true })
		var last uint32
		for i := range 10 {
			last = change(t, s, zones[0].Name, fmt.Sprint(i))
		}
		if got := f.take(); len(got) != 1 || got[0].serial == last {
			t.Errorf("before the answer: %v", got)
		}
		if status := s.Secondaries(zones[0].Name)[0]; status.Waiting.IsZero() || !status.Silent.IsZero() {
			t.Errorf("status: %+v", status)
		}
		f.release()
		if got := f.take(); len(got) != 1 || got[0].serial != last {
			t.Errorf("after it: %v, want serial %d", got, last)
		}
		if status := s.Secondaries(zones[0].Name)[0]; !status.Waiting.IsZero() || status.Acknowledged != last {
			t.Errorf("status: %+v", status)
		}
	})
}

// TestSecondaryIsAway: a secondary that does not answer gets one message each second, however
// many zones change, and knows of all within a second after it is back.
func TestSecondaryIsAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := new(logged)
		s, f := notifying(t, log)
		var names []string
		for i := range 100 {
			names = append(names, fmt.Sprintf("z%d.test", i))
		}
		zones := notifiedZones(t, tsig.Key{}, names...)
		serve(t, s, zones...)
		if n := len(f.take()); n != 100 {
			t.Errorf("%d messages at the begin", n)
		}
		f.set(func() { f.away = true })
		gone := time.Now()
		last := make(map[string]uint32)
		for range 20 { // an hour
			for i, zone := range zones[:20] {
				last[zone.Name.String()] = change(t, s, zone.Name, fmt.Sprint(time.Now(), i))
			}
			time.Sleep(3 * time.Minute)
		}
		away := f.take()
		perSecond := make(map[time.Duration]int)
		for _, n := range away {
			perSecond[n.at.Sub(gone)/time.Second]++
		}
		for second, n := range perSecond {
			if second > 1 && n > 1 {
				t.Errorf("%d messages in second %d", n, second)
			}
		}
		if len(away) < 3000 || len(away) > 3700 {
			t.Errorf("%d messages in an hour", len(away))
		}
		status := s.Secondaries(zones[0].Name)[0]
		if status.Silent.Sub(gone).Abs() > time.Second || status.Waiting.Sub(gone).Abs() > time.Second {
			t.Errorf("away since %v, and the status is %+v", gone, status)
		}
		f.set(func() { f.away = false })
		time.Sleep(time.Second + 50*time.Millisecond)
		back := f.take()
		for zone, serial := range last {
			if !slices.ContainsFunc(back, func(n gotNotify) bool { return n.zone == zone && n.serial == serial }) {
				t.Errorf("a second after it is back, it has not been told of %s", zone)
			}
		}
		if len(back) > 25 {
			t.Errorf("%d messages when it is back", len(back))
		}
		for _, zone := range zones {
			if status := s.Secondaries(zone.Name)[0]; !status.Waiting.IsZero() || !status.Silent.IsZero() {
				t.Fatalf("when it is back: %+v", status)
			}
		}
		if n := len(log.lines("does not answer NOTIFY")); n != 1 {
			t.Errorf("%d lines say that it is away", n)
		}
		if n := len(log.lines("answers NOTIFY again")); n != 1 {
			t.Errorf("%d lines say that it is back", n)
		}
	})
}

// TestSecondaryRefuses: a zone that a secondary does not want to know of is tried again, one
// each second, and when it has accepted one, all are.
func TestSecondaryRefuses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := new(logged)
		s, f := notifying(t, log)
		f.rcode = dns.RcodeNotAuth
		zones := notifiedZones(t, tsig.Key{}, "a.test", "b.test", "c.test")
		serve(t, s, zones...)
		f.take()
		for i := range 300 {
			change(t, s, zones[0].Name, fmt.Sprint(i))
			time.Sleep(100 * time.Millisecond)
		}
		if n := len(f.take()); n < 28 || n > 32 {
			t.Errorf("%d messages in 30 s", n)
		}
		if status := s.Secondaries(zones[0].Name)[0]; status.Refused != "NOTAUTH" || status.Waiting.IsZero() || status.Known {
			t.Errorf("status: %+v", status)
		}
		if n := len(log.lines("does not accept NOTIFY")); n < 1 || n > 4 {
			t.Errorf("%d lines about it", n)
		}
		f.set(func() { f.rcode = dns.RcodeSuccess })
		time.Sleep(time.Second + 50*time.Millisecond)
		for _, zone := range zones {
			if status := s.Secondaries(zone.Name)[0]; status.Refused != "" || !status.Known || !status.Waiting.IsZero() {
				t.Errorf("status: %+v", status)
			}
		}
	})
}

// TestLateAnswers: a secondary that answers late, and not always the same, makes the lists of
// what it is to be sent no longer than its zones are many, however often it does.
func TestLateAnswers(t *testing.T) {
	for _, test := range []struct {
		name   string
		rcodes []int
	}{
		{"errors", []int{dns.RcodeNotAuth}},
		{"no errors", []int{dns.RcodeSuccess}},
		{"both", []int{dns.RcodeNotAuth, dns.RcodeSuccess, dns.RcodeNotAuth, dns.RcodeNotAuth}},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, f := notifying(t, nil)
				zones := notifiedZones(t, tsig.Key{}, "a.test", "b.test", "c.test")
				serve(t, s, zones...)
				f.take()
				told := s.notifier.secondaries[netip.MustParseAddrPort(secondaryPort)]
				for i := range 300 {
					f.set(func() { f.hold, f.rcode = true, test.rcodes[i%len(test.rcodes)] })
					for range 4 {
						for _, zone := range zones {
							change(t, s, zone.Name, fmt.Sprint(time.Now()))
						}
						time.Sleep(time.Second)
					}
					f.release()
					synctest.Wait()
					told.mu.Lock()
					queued, refused := len(told.queue.all), len(told.refused.all)
					told.mu.Unlock()
					if most := len(zones); queued > most || refused > most {
						t.Fatalf("after %d times, %d are queued and %d refused, of %d zones", i+1, queued, refused, most)
					}
				}
				f.set(func() { f.rcode = dns.RcodeSuccess })
				time.Sleep(time.Minute)
				for _, zone := range zones {
					if status := s.Secondaries(zone.Name)[0]; !status.Waiting.IsZero() || status.Refused != "" {
						t.Errorf("status at the end: %+v", status)
					}
				}
			})
		})
	}
}

// TestSignedNotify: NOTIFY is signed with the key, and an answer counts only if it is too.
func TestSignedNotify(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := new(logged)
		s, f := notifying(t, log)
		key := tsigKey(t, "key", "one")
		zones := notifiedZones(t, key, "example.org")
		serve(t, s, zones...)
		if got := f.take(); len(got) != 1 || !got[0].signed {
			t.Errorf("got %v", got)
		}
		time.Sleep(time.Minute)
		status := s.Secondaries(zones[0].Name)[0]
		if status.Known || status.Silent.IsZero() {
			t.Errorf("an answer that is not signed counts: %+v", status)
		}
		if len(log.lines("is ignored")) == 0 {
			t.Error("no line says why")
		}
		f.set(func() { f.key = tsigKey(t, "key", "wrong") })
		time.Sleep(2 * time.Second)
		if status := s.Secondaries(zones[0].Name)[0]; status.Known || status.Refused != "NOTAUTH" {
			t.Errorf("with another secret: %+v", status)
		}
		f.set(func() { f.key = key })
		time.Sleep(2 * time.Second)
		if status := s.Secondaries(zones[0].Name)[0]; !status.Known || !status.Silent.IsZero() || status.Refused != "" {
			t.Errorf("with the same: %+v", status)
		}
	})
}

// TestNotifyFollowsConfigurations: secondaries that a configuration does not have are told no
// more, those that it has are told of all when it begins, and nothing is sent after Close.
func TestNotifyFollowsConfigurations(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, f := notifying(t, nil)
		zones := notifiedZones(t, tsig.Key{}, "a.test", "b.test")
		without := slices.Clone(zones)
		without[0].Transfers = nil
		both := slices.Clone(zones)
		both[0].Transfers = transfers(t, tsig.Key{}, secondaryPort, "127.0.2.8:9", secondaryPort)
		expect := func(what string, want ...string) {
			t.Helper()
			if diff := cmp.Diff(want, zonesOf(f.take())); diff != "" {
				t.Errorf("%s (-want +got):\n%s", what, diff)
			}
		}
		serve(t, s, zones...)
		expect("at the begin", "a.test.", "b.test.")
		if err := s.Rehearse(Settings{Zones: both}); err != nil {
			t.Fatal(err)
		}
		expect("a rehearsal")
		serve(t, s, without...)
		expect("one zone less", "b.test.")
		change(t, s, zones[0].Name, "x")
		expect("a change of a zone that has no secondary")
		if got := s.Secondaries(zones[0].Name); len(got) > 0 {
			t.Errorf("secondaries: %v", got)
		}
		serve(t, s, both...)
		expect("one more, and another secondary", "a.test.", "a.test.", "b.test.")
		s.Revert(Settings{Zones: without})
		expect("the configuration before", "b.test.")
		f.set(func() { f.away = true })
		change(t, s, zones[1].Name, "x")
		f.take()
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		expect("after the end")
	})
}

// TestNotifyCannotBeSent: a machine without a way to the secondary tries each second.
func TestNotifyCannotBeSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, f := notifying(t, nil)
		var dials int
		var down = true
		s.notifier.dial = func(to netip.AddrPort) (net.Conn, error) {
			f.mu.Lock()
			defer f.mu.Unlock()
			if dials++; down {
				return nil, &net.OpError{Op: "dial", Err: fmt.Errorf("network is unreachable")}
			}
			return f.dial(to)
		}
		zones := notifiedZones(t, tsig.Key{}, "a.test", "b.test")
		serve(t, s, zones...)
		time.Sleep(time.Minute)
		synctest.Wait()
		f.set(func() {
			if dials < 50 || dials > 65 {
				t.Errorf("%d tries in a minute", dials)
			}
			down = false
		})
		time.Sleep(time.Second + 50*time.Millisecond)
		if got := zonesOf(f.take()); !slices.Equal(got, []string{"a.test.", "b.test."}) {
			t.Errorf("when there is a way: %v", got)
		}
	})
}

// TestStrangeAnswers: what is not an answer to what was sent is ignored.
func TestStrangeAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _ := notifying(t, nil)
		conn := &fakeConn{to: &fakeSecondary{away: true}, answers: make(chan []byte, 100), closed: make(chan struct{})}
		s.notifier.dial = func(netip.AddrPort) (net.Conn, error) { return conn, nil }
		zones := notifiedZones(t, tsig.Key{}, "a.test")
		serve(t, s, zones...)
		sent := new(dns.Msg).SetNotify("a.test.")
		for _, strange := range [][]byte{nil, {0}, make([]byte, headerLen), packed(t, sent), packed(t, new(dns.Msg).SetRcode(sent, 0)),
			packed(t, new(dns.Msg).SetReply(question("a.test.", dns.TypeSOA))), []byte(strings.Repeat("\xff", 500))} {
			conn.answers <- strange
		}
		synctest.Wait()
		if status := s.Secondaries(zones[0].Name)[0]; status.Known || status.Refused != "" || len(conn.answers) > 0 {
			t.Errorf("status: %+v", status)
		}
	})
}

// TestNotifySource: NOTIFY comes from the address on which the server answers, where that is
// one, and otherwise from the usual one.
func TestNotifySource(t *testing.T) {
	for _, test := range []struct{ listen, want string }{
		{"127.0.0.53", "127.0.0.53"},
		{"127.0.0.1", "127.0.0.1"},
		{"0.0.0.0", "127.0.0.1"},
		{"::1", "127.0.0.1"},
	} {
		t.Run(test.listen, func(t *testing.T) {
			there, err := net.ListenPacket("udp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer there.Close()
			s := open(t, storePath(t))
			zone := zoneConfig(t, "example.org")
			zone.Transfers = transfers(t, tsig.Key{}, there.LocalAddr().String())
			next := func() string {
				t.Helper()
				_ = there.SetReadDeadline(time.Now().Add(10 * time.Second))
				_, from, err := there.ReadFrom(make([]byte, 512))
				if err != nil {
					t.Fatal(err)
				}
				return from.(*net.UDPAddr).IP.String()
			}
			serve(t, s, zone)
			if got := next(); got != "127.0.0.1" {
				t.Errorf("before it answers anywhere: from %s", got)
			}
			udp, _ := sockets(t, s, test.listen)
			if got := next(); got != test.want { // again, since there was no answer
				t.Errorf("from %s, want %s", got, test.want)
			}
			udp.Close()
			if n := len(s.notifier.sources); n > 0 {
				t.Errorf("%d sources after the end of the socket", n)
			}
		})
	}
}
