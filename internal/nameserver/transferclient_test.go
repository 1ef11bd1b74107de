package nameserver

import (
	"encoding/base64"
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/caddy-dns/bestdns/internal/record"
	"github.com/caddy-dns/bestdns/internal/tsig"
)

const (
	secondaryAddress = "127.0.2.7"
	secondaryPort    = "127.0.2.7:9"
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
