package nameserver

import (
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/caddy-dns/bestdns/internal/tsig"
)

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

// TestSignaturesWithoutSecondaries: where no zone has a secondary, a signature is skipped
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
