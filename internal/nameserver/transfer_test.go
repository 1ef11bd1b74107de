package nameserver

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"

	"github.com/caddy-dns/bestdns/internal/record"
	"github.com/caddy-dns/bestdns/internal/tsig"
)

// TestWholeZone transfers zones of all sizes, signed and not: all records, each once, between
// two SOA records, in messages that no one refuses.
func TestWholeZone(t *testing.T) {
	for _, names := range []int{0, 1, 3000} {
		for _, key := range []tsig.Key{{}, tsigKey(t, "key.example", "one")} {
			t.Run(fmt.Sprintf("%d names, %s", names, key), func(t *testing.T) {
				zone := zoneConfig(t, "example.org", "ns1.example.org 192.0.2.1 2001:db8::1", "ns.example.net")
				zone.Transfers = transfers(t, key, secondaryPort)
				s := serving(t, zone)
				var all []record.Record
				for i := range names {
					all = append(all, rrs(t, zone.Name,
						fmt.Sprintf("n%d 60 TXT %s", i, strings.Repeat("x", 1+i%200)),
						fmt.Sprintf("n%d 60 A 192.0.2.1", i),
						fmt.Sprintf("n%d 60 CAA 0 issue ca.test", i),
						fmt.Sprintf("mx%d.deep 60 MX 1 n%d.example.org.", i, i))...)
				}
				if names > 1 {
					for i := range 200 { // one name for more than a message
						all = append(all, rr(t, zone.Name, fmt.Sprintf("many 60 TXT %d%s", i, strings.Repeat("y", 200))))
					}
					all = append(all, rr(t, zone.Name, "huge 60 TXT "+strings.Repeat("z", 60_000)), rr(t, zone.Name, "@ 60 TXT apex"))
				}
				if len(all) > 0 {
					apply(t, s, zone.Name, appending(all...))
				}
				z := snapshot(t, s, zone.Name)
				records := client{s, secondaryAddress, key}.transfer(t, zone.Name, dns.TypeAXFR, 0)
				if !isSOA(records[0], z.serial) || !isSOA(records[len(records)-1], z.serial) {
					t.Fatal("it is not between two SOA records")
				}
				if diff := cmp.Diff(stored(t, z), texts(records[1:len(records)-1])); diff != "" {
					t.Errorf("records (-want +got):\n%.2000s", diff)
				}
			})
		}
	}
}

// TestTransferMessages: each message of a transfer can be read, repeats the question as it
// was asked, and has an OPT record if the request had one.
func TestTransferMessages(t *testing.T) {
	zone := zoneConfig(t, "example.org")
	zone.Transfers = transfers(t, tsig.Key{}, secondaryPort)
	s := serving(t, zone)
	var all []record.Record
	for i := range 2000 {
		all = append(all, rr(t, zone.Name, fmt.Sprintf("n%d 60 TXT %s", i, strings.Repeat("x", 60))))
	}
	apply(t, s, zone.Name, appending(all...))
	c := client{server: s, from: secondaryAddress}
	for _, test := range []struct {
		name   string
		change func(*dns.Msg)
	}{
		{"plain", func(*dns.Msg) {}},
		{"EDNS", edns(512)},
		{"in other letters", func(m *dns.Msg) { m.Question[0].Name = "eXample.ORG." }},
	} {
		t.Run(test.name, func(t *testing.T) {
			request, _ := c.request(t, zone.Name, dns.TypeAXFR, 0, test.change)
			want := new(dns.Msg)
			if err := want.Unpack(request); err != nil {
				t.Fatal(err)
			}
			answers := c.exchange(t, request, "")
			if len(answers) < 4 || len(answers) > 10 {
				t.Errorf("%d messages", len(answers))
			}
			for i, m := range answers {
				if m.Id != want.Id || !m.Response || m.Truncated || !slices.Equal(m.Question, want.Question) {
					t.Fatalf("message %d: %v %v", i, m.MsgHdr, m.Question)
				}
				if (m.IsEdns0() != nil) != (want.IsEdns0() != nil) || len(m.Ns) > 0 {
					t.Errorf("message %d: OPT %v, authority %v", i, m.IsEdns0(), m.Ns)
				}
				for _, r := range m.Answer {
					if owner := r.Header().Name; owner != strings.ToLower(owner) {
						t.Fatalf("the owner %q has the letters of the question", owner)
					}
				}
			}
		})
	}
}

func TestBadTransfers(t *testing.T) {
	s := serving(t)
	one, other := tsigKey(t, "key", "one"), tsigKey(t, "key", "other")
	for _, test := range []struct {
		name      string
		transfers []Transfer
		want      string
	}{
		{"no address", []Transfer{{}}, "the address of one secondary"},
		{"no port", transfers(t, tsig.Key{}, "192.0.2.1:0"), "the port on which that takes NOTIFY"},
		{"any address", transfers(t, tsig.Key{}, "0.0.0.0:53"), "the address of one secondary"},
		{"two keys of one name", slices.Concat(transfers(t, one, "192.0.2.1:53"), transfers(t, other, "192.0.2.2:53")), "there is another key of that name"},
	} {
		zone := zoneConfig(t, "example.org")
		zone.Transfers = test.transfers
		err := s.Rehearse(Settings{Zones: []ZoneConfig{zone}})
		if err == nil || !strings.Contains(err.Error(), test.want) || !strings.Contains(err.Error(), "example.org") || strings.Contains(err.Error(), other.Secret()) {
			t.Errorf("%s: %v", test.name, err)
		}
	}
}

// TestDifferences applies the difference from each serial that is remembered to what the zone
// was then: that makes what it is now, and is what a transfer of the whole zone has. Changes
// are random, of a few names so that they undo each other, and configurations change too.
func TestDifferences(t *testing.T) {
	for seed := range uint64(8) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			random := rand.New(rand.NewPCG(seed, 1))
			zone := zoneConfig(t, "example.org")
			var key tsig.Key
			if seed%2 == 1 {
				key = tsigKey(t, "key", "one")
			}
			zone.Transfers = transfers(t, key, secondaryPort)
			s := serving(t, zone)
			c := client{s, secondaryAddress, key}
			old := make(map[uint32][]string)
			for range 60 {
				z := snapshot(t, s, zone.Name)
				old[z.serial] = texts(c.transfer(t, zone.Name, dns.TypeAXFR, 0)[1:])
				changeSomething(t, s, &zone, random)
			}
			z := snapshot(t, s, zone.Name)
			whole := c.transfer(t, zone.Name, dns.TypeAXFR, 0)
			want := texts(whole[1:])
			for serial, records := range old {
				answer := c.transfer(t, zone.Name, dns.TypeIXFR, serial)
				if serial == z.serial {
					if len(answer) != 1 || !isSOA(answer[0], serial) {
						t.Errorf("up to date: %v", answer)
					}
					continue
				}
				if diff := cmp.Diff(want, applyDifference(t, records, answer, serial, z.serial)); diff != "" {
					t.Fatalf("from %d to %d (-want +got):\n%s", serial, z.serial, diff)
				}
			}
			counts := s.TransferCounts()[0]
			if counts.IXFR < 30 || counts.AXFR != 61 {
				t.Errorf("counts: %+v", counts)
			}
		})
	}
}

// changeSomething commits a random change, which may be none.
func changeSomething(t *testing.T, s *Server, zone *ZoneConfig, random *rand.Rand) {
	t.Helper()
	if random.IntN(10) == 0 {
		zone.TTL = uint32(30 + random.IntN(3))
		zone.NegativeTTL = uint32(random.IntN(3))
		zone.NameServers[0].Addresses = []netip.Addr{netip.AddrFrom4([4]byte{192, 0, 2, byte(random.IntN(3))})}
		serve(t, s, *zone)
		return
	}
	var change record.Change
	for range 1 + random.IntN(4) {
		r := rr(t, zone.Name, fmt.Sprintf("n%d %d TXT v%d", random.IntN(6), 60+random.IntN(2), random.IntN(4)))
		if random.IntN(4) == 0 {
			r = rr(t, zone.Name, fmt.Sprintf("n%d 60 A 192.0.2.%d", random.IntN(6), random.IntN(4)))
		}
		change.Records = append(change.Records, r)
	}
	switch random.IntN(3) {
	case 0:
		change.Op = record.Append
	case 1:
		change.Op = record.Set
	default:
		change = deleting(change.Records...)
	}
	if _, err := s.Apply(context.Background(), zone.Name, change); err != nil {
		t.Fatal(err)
	}
}

// applyDifference does to records, which have an SOA record among them, what an IXFR in one
// step says (RFC 1995 §4). What it deletes must be there, and what it adds must not.
func applyDifference(t *testing.T, records []string, answer []dns.RR, from, to uint32) []string {
	t.Helper()
	if len(answer) < 4 || !isSOA(answer[0], to) || !isSOA(answer[1], from) || !isSOA(answer[len(answer)-1], to) {
		t.Fatalf("not an IXFR from %d to %d: %v", from, to, answer)
	}
	result := slices.Clone(records)
	adding := false
	for i, r := range answer[1 : len(answer)-1] {
		if i > 0 && r.Header().Rrtype == dns.TypeSOA {
			if adding || !isSOA(r, to) {
				t.Fatalf("the SOA record %v is not where it has to be", r)
			}
			adding = true
		}
		at := slices.Index(result, r.String())
		switch {
		case adding && at >= 0:
			t.Fatalf("%v is added, and is there", r)
		case adding:
			result = append(result, r.String())
		case at < 0:
			t.Fatalf("%v is deleted, and is not there", r)
		default:
			result = slices.Delete(result, at, at+1)
		}
	}
	slices.Sort(result)
	return result
}

// TestIXFRFallsBack: what is not remembered is transferred whole, and a secondary that has
// more than there is gets the SOA record (RFC 1995 §2, §4).
func TestIXFRFallsBack(t *testing.T) {
	zone := zoneConfig(t, "example.org")
	zone.Transfers = transfers(t, tsig.Key{}, secondaryPort)
	path := storePath(t)
	s := open(t, path)
	serve(t, s, zone)
	first := snapshot(t, s, zone.Name).serial
	apply(t, s, zone.Name, appending(rr(t, zone.Name, "www 60 TXT x")))
	second := snapshot(t, s, zone.Name).serial
	c := client{server: s, from: secondaryAddress}
	kind := func(serial uint32) string {
		t.Helper()
		switch answer := c.transfer(t, zone.Name, dns.TypeIXFR, serial); {
		case len(answer) == 1:
			return "SOA"
		case answer[1].Header().Rrtype == dns.TypeSOA:
			return "IXFR"
		default:
			return "AXFR"
		}
	}
	for _, test := range []struct {
		name   string
		serial uint32
		want   string
	}{
		{"the one before", first, "IXFR"},
		{"an older one", first - 1, "AXFR"},
		{"the same", second, "SOA"},
		{"a newer one", second + 1, "SOA"},
		{"one that is half the circle away", second + 1<<31 + 1, "AXFR"},
	} {
		if got := kind(test.serial); got != test.want {
			t.Errorf("%s: %s, want %s", test.name, got, test.want)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, path)
	serve(t, s, zone)
	c.server = s
	if got := kind(first); got != "AXFR" {
		t.Errorf("after a restart: %s", got)
	}
	apply(t, s, zone.Name, appending(rr(t, zone.Name, "www 60 TXT y")))
	if got := kind(second); got != "IXFR" {
		t.Errorf("from before the restart, which has changed nothing: %s", got)
	}
	plain := zone
	plain.Transfers = nil
	serve(t, s, plain)
	apply(t, s, zone.Name, appending(rr(t, zone.Name, "www 60 TXT z")))
	serve(t, s, zone)
	if got := kind(second); got != "AXFR" {
		t.Errorf("after a time without secondaries: %s", got)
	}
	request, _ := c.request(t, zone.Name, dns.TypeIXFR, first, func(m *dns.Msg) { m.Ns = nil })
	for _, udp := range []bool{false, true} {
		if got := c.outcome(t, request, udp); got != "FORMERR" {
			t.Errorf("without a serial, UDP %v: %s", udp, got)
		}
	}
	if counts := s.TransferCounts()[0]; counts.Refused != 0 {
		t.Errorf("%d requests without a serial count as refused", counts.Refused)
	}
}

// TestIXFROverUDP: a difference that fits comes whole, and otherwise the SOA record alone says
// to ask over TCP (RFC 1995 §2).
func TestIXFROverUDP(t *testing.T) {
	for _, key := range []tsig.Key{{}, tsigKey(t, "key", "one")} {
		zone := zoneConfig(t, "example.org")
		zone.Transfers = transfers(t, key, secondaryPort)
		s := serving(t, zone)
		first := snapshot(t, s, zone.Name).serial
		apply(t, s, zone.Name, appending(rr(t, zone.Name, "www 60 TXT x")))
		second := snapshot(t, s, zone.Name).serial
		apply(t, s, zone.Name, appending(rr(t, zone.Name, "www 60 TXT "+strings.Repeat("y", 700))))
		third := snapshot(t, s, zone.Name).serial
		apply(t, s, zone.Name, deleting(rr(t, zone.Name, "www 60 TXT "+strings.Repeat("y", 700))))
		for _, test := range []struct {
			name   string
			serial uint32
			size   uint16
			want   int
		}{
			{"fits", first, 0, 5},
			{"does not fit without EDNS", third, 0, 1},
			{"fits with EDNS", third, 1232, 5},
			{"what has come and gone takes nothing", second, 0, 4},
			{"not remembered", first - 1, 1232, 1},
			{"up to date", snapshot(t, s, zone.Name).serial, 1232, 1},
		} {
			c := client{s, secondaryAddress, key}
			var change []func(*dns.Msg)
			if test.size > 0 {
				change = append(change, edns(test.size))
			}
			request, mac := c.request(t, zone.Name, dns.TypeIXFR, test.serial, change...)
			r := &responder{server: s, from: netip.MustParseAddr(c.from)}
			answer := slices.Clone(r.answer(s.view.Load(), request, nil))
			if len(answer) > max(int(test.size), dns.MinMsgSize) {
				t.Errorf("%s, %s: %d bytes", test.name, key, len(answer))
			}
			m := c.verify(t, answer, &mac, false)
			if len(m.Answer) != test.want || m.Truncated || !isSOA(m.Answer[0], snapshot(t, s, zone.Name).serial) {
				t.Errorf("%s, %s: %v", test.name, key, m)
			}
		}
	}
}

// TestLargeDifferenceOverUDP: a difference that is too large for a datagram costs no copy of
// what is remembered, which a question could make the server take again and again. Over TCP
// it is taken when it may be made, and not while it waits.
func TestLargeDifferenceOverUDP(t *testing.T) {
	zone := zoneConfig(t, "example.org")
	zone.Transfers = transfers(t, tsig.Key{}, secondaryPort)
	s := serving(t, zone)
	first := snapshot(t, s, zone.Name).serial
	for i := range 500 {
		change(t, s, zone.Name, fmt.Sprint(i))
	}
	c := client{server: s, from: secondaryAddress}
	request, _ := c.request(t, zone.Name, dns.TypeIXFR, first)
	r, buf := &responder{server: s, from: netip.MustParseAddr(c.from)}, make([]byte, 0, writerBuffer)
	m := new(dns.Msg)
	if err := m.Unpack(r.answer(s.view.Load(), request, buf)); err != nil || len(m.Answer) != 1 {
		t.Errorf("over UDP: %v, %v", m, err)
	}
	least := uint64(math.MaxUint64) // of some tries: others take memory too
	for range 5 {
		const n = 100
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		for range n {
			r.answer(s.view.Load(), request, buf)
		}
		runtime.ReadMemStats(&after)
		least = min(least, (after.TotalAlloc-before.TotalAlloc)/n)
	}
	if most := uint64(4096); least > most {
		t.Errorf("a question over UDP takes %d bytes, want at most %d", least, most)
	}

	_, _, transfer := r.answerTCP(request, true)
	if message, large, _ := transfer.next(r, false); message != nil || !large {
		t.Errorf("before it may be made: %d bytes, large %v", len(message), large)
	}
	last := change(t, s, zone.Name, "while it waits")
	message, _, more := transfer.next(r, true)
	m = new(dns.Msg)
	if err := m.Unpack(message); err != nil || more || len(m.Answer) != 5 || !isSOA(m.Answer[0], last) {
		t.Errorf("over TCP: %v, %v", m, err)
	}
}

// TestUntransferableZoneIsLogged: that a zone cannot be transferred is logged however many
// requests were refused before.
func TestUntransferableZoneIsLogged(t *testing.T) {
	log := new(logged)
	s, _ := notifying(t, log)
	zones := notifiedZones(t, tsig.Key{}, "example.org", "other.test")
	serve(t, s, zones...)
	c := client{server: s, from: secondaryAddress}
	refused, _ := c.request(t, name(t, "elsewhere.test"), dns.TypeAXFR, 0)
	if got := c.outcome(t, refused, false); got != "REFUSED" {
		t.Errorf("of another zone: %s", got)
	}
	for _, zone := range zones {
		request, _ := c.request(t, zone.Name, dns.TypeAXFR, 0)
		r := &responder{server: s, from: netip.MustParseAddr(c.from)}
		_, _, transfer := r.answerTCP(request, true)
		transfer.query.limit = len(request) // has no room for any record
		if message, _, more := transfer.next(r, true); message != nil || more {
			t.Errorf("%d bytes of a record for which there is no room, and more: %v", len(message), more)
		}
	}
	if refused, failed := log.lines("was refused"), log.lines("cannot be transferred"); len(refused) != 1 || len(failed) != 1 {
		t.Errorf("%d lines about requests that were refused, %d about zones that cannot be transferred", len(refused), len(failed))
	}
}
