package nameserver

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"

	"github.com/caddy-dns/bestdns/internal/record"
	"github.com/caddy-dns/bestdns/internal/tsig"
)

func tsigKey(t testing.TB, name, secret string) tsig.Key {
	t.Helper()
	key, err := tsig.NewKey(name, dns.HmacSHA256, base64.StdEncoding.EncodeToString([]byte("secret octets "+secret)))
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// transfers reads secondaries from "ADDRESS:PORT", each with a key if there is one.
func transfers(t testing.TB, key tsig.Key, addresses ...string) (list []Transfer) {
	t.Helper()
	for _, a := range addresses {
		list = append(list, Transfer{Address: netip.MustParseAddrPort(a), Key: key})
	}
	return list
}

const (
	secondaryAddress = "127.0.2.7"
	secondaryPort    = "127.0.2.7:9"
)

// client is a secondary as the tests have it.
type client struct {
	server *Server
	from   string
	key    tsig.Key
}

// request returns a message that asks for a transfer, signed if there is a key.
func (c client) request(t testing.TB, zone record.Name, qtype uint16, serial uint32, change ...func(*dns.Msg)) (message []byte, mac string) {
	t.Helper()
	m := new(dns.Msg)
	if qtype == dns.TypeIXFR {
		m.SetIxfr(zone.String(), serial, "ns.", "hostmaster.")
	} else {
		m.SetQuestion(zone.String(), qtype)
	}
	for _, f := range change {
		f(m)
	}
	if c.key.IsZero() {
		return packed(t, m), ""
	}
	m.SetTsig(c.key.Name.String(), c.key.Algorithm, 300, time.Now().Unix())
	message, mac, err := dns.TsigGenerate(m, c.key.Secret(), "", false)
	if err != nil {
		t.Fatal(err)
	}
	return message, mac
}

// exchange returns all messages of the answer over TCP, each with a signature that the DNS
// library has verified.
func (c client) exchange(t testing.TB, request []byte, mac string) (answers []*dns.Msg) {
	t.Helper()
	r := &responder{server: c.server, from: netip.MustParseAddr(c.from)}
	_, _, transfer := r.answerTCP(request, true)
	for more := true; more; {
		var message []byte
		if transfer == nil {
			message, _, _ = r.answerTCP(request, true)
			more = false
		} else if message, _, more = transfer.next(r, true); message == nil {
			t.Fatal("the transfer ends without a message")
		}
		answers = append(answers, c.verify(t, slices.Clone(message), &mac, len(answers) > 0))
	}
	return answers
}

func (c client) verify(t testing.TB, message []byte, mac *string, later bool) *dns.Msg {
	t.Helper()
	m := new(dns.Msg)
	if err := m.Unpack(message); err != nil {
		t.Fatalf("%d bytes cannot be read: %v", len(message), err)
	}
	signed := m.IsTsig()
	if !c.key.IsZero() && m.Rcode == dns.RcodeSuccess {
		if err := dns.TsigVerify(message, c.key.Secret(), *mac, later); err != nil {
			t.Fatalf("an answer is not signed: %v", err)
		}
		*mac = signed.MAC
	}
	if c.key.IsZero() && signed != nil {
		t.Error("an answer is signed, and the request was not")
	}
	return m
}

// transfer returns the records of a transfer.
func (c client) transfer(t testing.TB, zone record.Name, qtype uint16, serial uint32) (records []dns.RR) {
	t.Helper()
	request, mac := c.request(t, zone, qtype, serial)
	for _, m := range c.exchange(t, request, mac) {
		if m.Rcode != dns.RcodeSuccess || !m.Authoritative {
			t.Fatalf("answer: %v", m)
		}
		records = append(records, m.Answer...)
	}
	return records
}

// texts returns records as text, in order.
func texts(records []dns.RR) (lines []string) {
	for _, r := range records {
		lines = append(lines, r.String())
	}
	slices.Sort(lines)
	return lines
}

// stored returns what a transfer of a zone has, but for the SOA record.
func stored(t testing.TB, z *Snapshot) (lines []string) {
	t.Helper()
	for r := range z.Records(z.zone) {
		if r.Type == record.TypeSOA {
			continue
		}
		typ, data := r.Text()
		rr, err := dns.NewRR(fmt.Sprintf("%s %d IN %s %s", r.Name, r.TTL, typ, data))
		if err != nil {
			t.Fatal(err)
		}
		lines = append(lines, rr.String())
	}
	slices.Sort(lines)
	return lines
}

func isSOA(r dns.RR, serial uint32) bool {
	soa, ok := r.(*dns.SOA)
	return ok && soa.Serial == serial
}

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

// TestWhoMayTransfer: who may not gets REFUSED, whatever else there is; what is wrong with a
// signature is said as RFC 8945 §5.2 has it.
func TestWhoMayTransfer(t *testing.T) {
	one, two, unknown, none := tsigKey(t, "one.key", "one"), tsigKey(t, "two.key", "two"), tsigKey(t, "unknown.key", "x"), tsig.Key{}
	wrong := tsigKey(t, "one.key", "wrong")
	zone := zoneConfig(t, "example.org")
	zone.Transfers = slices.Concat(
		transfers(t, one, "127.0.2.1:9", "127.0.2.3:9"),
		transfers(t, two, "127.0.2.2:9", "127.0.2.3:9"),
		transfers(t, none, "127.0.2.4:9", "[::1]:9"))
	other, plain := zoneConfig(t, "other.test"), zoneConfig(t, "plain.test")
	other.Transfers = transfers(t, two, "127.0.2.1:9")
	s := serving(t, zone, other, plain)
	for _, test := range []struct {
		name, zone, from string
		key              tsig.Key
		want             string
	}{
		{"the key of the address", "example.org", "127.0.2.1", one, "NOERROR"},
		{"not signed", "example.org", "127.0.2.1", none, "REFUSED"},
		{"another one's key", "example.org", "127.0.2.1", two, "REFUSED"},
		{"either key", "example.org", "127.0.2.3", one, "NOERROR"},
		{"or the other", "example.org", "127.0.2.3", two, "NOERROR"},
		{"no key is needed", "example.org", "127.0.2.4", none, "NOERROR"},
		{"and one that is known does no harm", "example.org", "127.0.2.4", two, "NOERROR"},
		{"one that is not does", "example.org", "127.0.2.4", unknown, "NOTAUTH BADKEY"},
		{"IPv6", "example.org", "::1", none, "NOERROR"},
		{"IPv4 by an IPv6 socket", "example.org", "::ffff:127.0.2.4", none, "NOERROR"},
		{"another address", "example.org", "127.0.2.9", none, "REFUSED"},
		{"another address with a key", "example.org", "127.0.2.9", one, "REFUSED"},
		{"another zone's", "other.test", "127.0.2.4", none, "REFUSED"},
		{"another zone's key", "other.test", "127.0.2.1", one, "REFUSED"},
		{"a zone without secondaries", "plain.test", "127.0.2.4", none, "REFUSED"},
		{"a zone that is not here", "nowhere.test", "127.0.2.4", none, "REFUSED"},
		{"a name in the zone", "ns1.example.org", "127.0.2.4", none, "REFUSED"},
		{"an unknown key", "example.org", "127.0.2.1", unknown, "NOTAUTH BADKEY"},
		{"a wrong secret", "example.org", "127.0.2.1", wrong, "NOTAUTH BADSIG"},
	} {
		for _, qtype := range []uint16{dns.TypeAXFR, dns.TypeIXFR} {
			for _, udp := range []bool{false, true} {
				c := client{s, test.from, test.key}
				request, _ := c.request(t, name(t, test.zone), qtype, 1)
				want := test.want
				if udp && qtype == dns.TypeAXFR && want == "NOERROR" {
					want = "REFUSED" // RFC 5936 §4.2
				}
				if got := c.outcome(t, request, udp); got != want {
					t.Errorf("%s, type %d, UDP %v: %s, want %s", test.name, qtype, udp, got, want)
				}
			}
		}
	}
	counts := s.TransferCounts()
	if len(counts) != 2 || counts[1].Zone != zone.Name || counts[1].Refused != 23 || counts[1].AXFR == 0 {
		t.Errorf("counts: %+v", counts)
	}
	if got := (client{serving(t, plain), "127.0.2.4", none}).outcome(t, packed(t, question("plain.test.", dns.TypeAXFR)), false); got != "REFUSED" {
		t.Errorf("without any secondary: %s", got)
	}
}

// outcome returns the RCODE of an answer's first message, and its TSIG error.
func (c client) outcome(t testing.TB, request []byte, udp bool) string {
	t.Helper()
	m := new(dns.Msg)
	r := &responder{server: c.server, from: netip.MustParseAddr(c.from)}
	answer := []byte(nil)
	if udp {
		answer = r.answer(c.server.view.Load(), request, nil)
	} else {
		var transfer *transfer
		if answer, _, transfer = r.answerTCP(request, true); transfer != nil {
			answer, _, _ = transfer.next(r, true)
		}
	}
	if err := m.Unpack(answer); err != nil {
		t.Fatalf("answer %x: %v", answer, err)
	}
	got := dns.RcodeToString[m.Rcode]
	if signed := m.IsTsig(); signed != nil && signed.Error != 0 {
		got += " " + map[uint16]string{dns.RcodeBadSig: "BADSIG", dns.RcodeBadKey: "BADKEY", dns.RcodeBadTime: "BADTIME", dns.RcodeBadTrunc: "BADTRUNC"}[signed.Error]
		unsigned := signed.Error == dns.RcodeBadSig || signed.Error == dns.RcodeBadKey
		if unsigned != (signed.MACSize == 0) {
			t.Errorf("%s: the MAC has %d octets", got, signed.MACSize)
		}
	}
	return got
}

// TestSignedQueries: whatever is signed with a known key is answered so, over UDP and TCP,
// since secondaries sign their SOA queries, and an error says what is wrong.
func TestSignedQueries(t *testing.T) {
	key := tsigKey(t, "key.example", "one")
	zone := zoneConfig(t, "example.org")
	zone.Transfers = transfers(t, key, secondaryPort)
	s := serving(t, zone)
	apply(t, s, zone.Name, appending(rr(t, zone.Name, "long 60 TXT "+strings.Repeat("x", 400)), rr(t, zone.Name, "longer 60 TXT "+strings.Repeat("x", 2000)), rr(t, zone.Name, "alias 60 CNAME longer.example.org.")))
	sign := func(m *dns.Msg, when time.Time, change func([]byte) []byte) (message []byte, mac string) {
		m.SetTsig(key.Name.String(), key.Algorithm, 300, when.Unix())
		message, mac, err := dns.TsigGenerate(m, key.Secret(), "", false)
		if err != nil {
			t.Fatal(err)
		}
		return change(message), mac
	}
	same := func(m []byte) []byte { return m }
	now := time.Now()
	shortMAC := func(m []byte) []byte { // to 16 octets
		out := new(dns.Msg)
		if err := out.Unpack(m); err != nil {
			t.Fatal(err)
		}
		out.IsTsig().MAC, out.IsTsig().MACSize = out.IsTsig().MAC[:32], 16
		return packed(t, out)
	}
	notLast := func(m []byte) []byte {
		m[11]++
		return append(m, "\x00\x00\x29\x04\xd0\x00\x00\x00\x00\x00\x00"...)
	}
	twice := func(m []byte) []byte {
		start, _ := tsig.Find(m)
		m[11]++
		return append(m, m[start:]...)
	}
	cut := func(m []byte) []byte { // the MAC's length says more than there is
		m[len(m)-6-32-1]++
		return m
	}
	for _, test := range []struct {
		name, question string
		when           time.Time
		change         func([]byte) []byte
		udp            bool
		want           string
		signed         bool
	}{
		{"SOA over UDP", "example.org. SOA", now, same, true, "NOERROR 1", true},
		{"SOA over TCP", "example.org. SOA", now, same, false, "NOERROR 1", true},
		{"what is missing", "missing.example.org. A", now, same, true, "NXDOMAIN 0", true},
		{"elsewhere", "example.net. A", now, same, true, "REFUSED 0", true},
		{"what does not fit with its signature", "long.example.org. TXT", now, same, true, "NOERROR 0 TC", true},
		{"what does not fit at all", "longer.example.org. TXT", now, same, true, "NOERROR 0 TC", true},
		{"what fits in part", "alias.example.org. TXT", now, same, true, "NOERROR 0 TC", true},
		{"the same over TCP", "longer.example.org. TXT", now, same, false, "NOERROR 1", true},
		{"signed an hour ago", "example.org. SOA", now.Add(-time.Hour), same, true, "NOTAUTH 0 BADTIME", false},
		{"a short MAC", "example.org. SOA", now, shortMAC, true, "NOTAUTH 0 BADTRUNC", false},
		{"not the last record", "example.org. SOA", now, notLast, true, "FORMERR 0", false},
		{"two signatures", "example.org. SOA", now, twice, true, "FORMERR 0", false},
		{"a MAC that is cut short", "example.org. SOA", now, cut, true, "FORMERR 0", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			qname, qtype, _ := strings.Cut(test.question, " ")
			message, mac := sign(question(qname, dns.StringToType[qtype]), test.when, test.change)
			answer := slices.Clone(exchangePacked(s, message, test.udp))
			m := new(dns.Msg)
			if err := m.Unpack(answer); err != nil {
				t.Fatal(err)
			}
			got := fmt.Sprintf("%s %d", dns.RcodeToString[m.Rcode], len(m.Answer))
			if m.Truncated {
				got += " TC"
			}
			if r := m.IsTsig(); r != nil && r.Error != 0 {
				got += " " + map[uint16]string{dns.RcodeBadTime: "BADTIME", dns.RcodeBadTrunc: "BADTRUNC"}[r.Error]
				start, _ := tsig.Find(answer)
				record, err := tsig.Read(answer, start)
				if err != nil {
					t.Fatal(err)
				}
				requestMAC, _ := hex.DecodeString(mac)
				if test.name == "a short MAC" {
					requestMAC = requestMAC[:16]
				}
				if err := key.Verify(answer, &record, requestMAC, time.Unix(int64(record.Time), 0)); err != nil {
					t.Errorf("the error is not signed: %v", err)
				}
			}
			if got != test.want {
				t.Errorf("got %s, want %s", got, test.want)
			}
			if test.signed {
				if err := dns.TsigVerify(answer, key.Secret(), mac, false); err != nil {
					t.Error(err)
				}
			}
			if test.udp && len(answer) > dns.MinMsgSize {
				t.Errorf("%d bytes over UDP", len(answer))
			}
		})
	}
}

// TestSignaturesWithoutSecondaries: where no zone has a secondary, a signature is passed over
// like any record.
func TestSignaturesWithoutSecondaries(t *testing.T) {
	s := serving(t, zoneConfig(t, "example.org"))
	m := question("example.org.", dns.TypeSOA)
	m.SetTsig("key.", dns.HmacSHA256, 300, time.Now().Unix())
	message, _, err := dns.TsigGenerate(m, base64.StdEncoding.EncodeToString([]byte("secret octets")), "", false)
	if err != nil {
		t.Fatal(err)
	}
	answer := new(dns.Msg)
	if err := answer.Unpack(exchangePacked(s, message, true)); err != nil || answer.Rcode != dns.RcodeSuccess || len(answer.Answer) != 1 || answer.IsTsig() != nil {
		t.Errorf("answer: %v, %v", answer, err)
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

// TestTransfersChangeNoZone: another secondary is no change of a zone, and asks for no commit.
func TestTransfersChangeNoZone(t *testing.T) {
	zone := zoneConfig(t, "example.org")
	s := serving(t, zone)
	before := snapshot(t, s, zone.Name)
	zone.Transfers = transfers(t, tsig.Key{}, "127.0.0.1:9")
	serve(t, s, zone)
	if after := snapshot(t, s, zone.Name); after != before {
		t.Errorf("the zone was replaced, serial %d by %d", before.serial, after.serial)
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
	if got := c.outcome(t, request, false); got != "FORMERR" {
		t.Errorf("without a serial: %s", got)
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

// FuzzSecondaryMessages answers whatever comes from a secondary, signed and not, over UDP and
// TCP: the answer can be read, and is no longer than it may be.
func FuzzSecondaryMessages(f *testing.F) {
	key := tsigKey(f, "key.example", "one")
	zone := zoneConfig(f, "example.org")
	zone.Transfers = slices.Concat(transfers(f, tsig.Key{}, secondaryPort), transfers(f, key, secondaryPort))
	s, err := Open(Options{Path: storePath(f)}) // which logs nothing
	if err != nil {
		f.Fatal(err)
	}
	defer s.Close()
	serve(f, s, zone)
	first := snapshot(f, s, zone.Name).serial
	apply(f, s, zone.Name, appending(rr(f, zone.Name, "www 60 TXT x")))
	for _, c := range []client{{s, secondaryAddress, key}, {s, secondaryAddress, tsig.Key{}}} {
		for _, qtype := range []uint16{dns.TypeAXFR, dns.TypeIXFR, dns.TypeSOA} {
			for _, change := range [][]func(*dns.Msg){nil, {edns(1232)}} {
				message, _ := c.request(f, zone.Name, qtype, first, change...)
				f.Add(message)
			}
		}
	}
	f.Fuzz(func(t *testing.T, message []byte) {
		r := &responder{server: s, from: netip.MustParseAddr(secondaryAddress)}
		check := func(answer []byte, most int) {
			if answer == nil {
				return
			}
			if err := new(dns.Msg).Unpack(answer); err != nil && len(message) < 600 {
				t.Errorf("answer %x: %v", answer, err)
			}
			if len(answer) > max(most, len(message)+100) {
				t.Errorf("%d bytes", len(answer))
			}
		}
		check(r.answer(s.view.Load(), message, nil), maxUDPSize)
		answer, _, transfer := r.answerTCP(message, true)
		check(answer, dns.MaxMsgSize)
		for more := transfer != nil; more; {
			answer, _, more = transfer.next(r, true)
			check(answer, dns.MaxMsgSize)
		}
	})
}
