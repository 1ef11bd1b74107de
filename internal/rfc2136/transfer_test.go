package rfc2136

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/miekg/dns"

	"github.com/caddy-dns/bestdns/internal/record"
)

// sendTransfer has a zone be transferred by messages of these records, which are signed where
// signs says so, and returns what was read.
func sendTransfer(t *testing.T, key bool, messages [][]string, signs func(i int) bool) ([]record.Record, error) {
	t.Helper()
	z := New(Config{Zone: testZone, Primaries: primariesOfTest()})
	if key {
		z.Key = testKey
	}
	ours, theirs := net.Pipe()
	z.dial = func(context.Context, string, string) (net.Conn, error) { return ours, nil }
	go func() {
		defer theirs.Close()
		c := newConn(theirs, firstAddr)
		wire, err := c.read()
		if err != nil {
			return
		}
		q := new(dns.Msg)
		if err := q.Unpack(wire); err != nil {
			panic(err)
		}
		mac := ""
		if signature := q.IsTsig(); signature != nil {
			mac = signature.MAC
		}
		var between []byte
		for i, lines := range messages {
			m := new(dns.Msg).SetReply(q)
			m.Compress = true
			if i > 0 {
				m.Question = nil // RFC 5936 §2.2.1
			}
			m.Answer = rrs(t, lines)
			var out []byte
			if key && signs(i) {
				m.SetTsig(testKey.Name.String(), testKey.Algorithm, fudge, time.Now().Unix())
				out, mac, err = dns.TsigGenerateWithProvider(m, betweenSigner{mac, between}, mac, i > 0)
				between = nil
			} else {
				out, err = m.Pack()
				between = append(between, out...)
			}
			if err != nil {
				panic(err)
			}
			if c.write(out) != nil {
				return
			}
		}
	}()
	return z.Records(t.Context(), "")
}

// betweenSigner signs the messages before too that were not signed.
type betweenSigner struct {
	mac     string
	between []byte
}

func (s betweenSigner) Generate(signed []byte, t *dns.TSIG) ([]byte, error) {
	n := 2 + len(s.mac)/2
	all := append(append(append([]byte(nil), signed[:n]...), s.between...), signed[n:]...)
	secret, err := base64.StdEncoding.DecodeString(testKey.Secret())
	if err != nil {
		return nil, err
	}
	sum := hmac.New(sha256.New, secret)
	sum.Write(all)
	return sum.Sum(nil), nil
}

func (s betweenSigner) Verify([]byte, *dns.TSIG) error { panic("not used") }

func TestTransfers(t *testing.T) {
	const (
		soa      = soaLine
		ns       = zoneName + " 60 IN NS ns.test."
		a        = "a.zone.test. 60 IN A 192.0.2.1"
		txt      = `a.zone.test. 60 IN TXT "x"`
		sig      = "a.zone.test. 60 IN RRSIG A 13 3 60 20300101000000 20200101000000 1 zone.test. AAAA"
		otherSOA = zoneName + " 60 IN SOA ns.zone.test. hostmaster.zone.test. 2 3600 600 86400 0"
	)
	all := func(int) bool { return true }
	none := func(int) bool { return false }
	for _, test := range []struct {
		name     string
		key      bool
		signs    func(int) bool
		messages [][]string
		want     int
		says     string
	}{
		{"one message", true, all, [][]string{{soa, ns, a, txt, soa}}, 4, ""},
		{"records of a signed zone", true, all, [][]string{{soa, ns, a, sig, soa}}, 4, ""},
		{"a record in each", true, all, [][]string{{soa}, {ns}, {a}, {txt}, {soa}}, 4, ""},
		{"without a key", false, none, [][]string{{soa, ns}, {soa}}, 2, ""},
		{"the first and last are signed", true, func(i int) bool { return i == 0 || i == 4 }, [][]string{{soa}, {ns}, {a}, {txt}, {soa}}, 4, ""},
		{"each third is signed", true, func(i int) bool { return i%3 == 0 }, [][]string{{soa}, {ns}, {a}, {txt}, {"b." + ns}, {"c." + ns}, {soa}}, 6, ""},
		{"the last is not signed", true, func(i int) bool { return i == 0 }, [][]string{{soa}, {ns}, {soa}}, 0, "last message is not signed"},
		{"the first is not signed", true, func(i int) bool { return i > 0 }, [][]string{{soa}, {ns}, {soa}}, 0, "not signed"},
		{"does not begin", true, all, [][]string{{ns, soa}}, 0, "begin with the SOA"},
		{"does not end", true, all, [][]string{{soa, ns}}, 0, "closed the connection"},
		{"goes on", true, all, [][]string{{soa, ns, soa, a}}, 0, "end with the SOA"},
		{"another SOA", true, all, [][]string{{soa, ns, otherSOA}}, 0, "two SOA"},
		{"another zone", true, all, [][]string{{soa, "a.other.test. 60 IN A 192.0.2.1", soa}}, 0, "not in the zone"},
		{"another class", true, all, [][]string{{soa, `a.zone.test. 60 CH TXT "x"`, soa}}, 0, "class"},
		{"empty", true, all, [][]string{{}}, 0, "closed the connection"},
	} {
		t.Run(test.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				records, err := sendTransfer(t, test.key, test.messages, test.signs)
				if len(records) != test.want || (err == nil) != (test.says == "") || err != nil && !strings.Contains(err.Error(), test.says) {
					t.Errorf("%d records, %v; want %d, %q", len(records), err, test.want, test.says)
				}
			})
		})
	}
	t.Run("100 unsigned", func(t *testing.T) {
		inBubble(t, func(t *testing.T) {
			messages := [][]string{{soa}}
			for i := range mostUnsigned + 1 {
				messages = append(messages, []string{fmt.Sprintf("n%d.zone.test. 60 IN A 192.0.2.1", i)})
			}
			messages = append(messages, []string{soa})
			ends := func(i int) bool { return i == 0 || i == len(messages)-1 }
			if _, err := sendTransfer(t, true, messages, ends); err == nil || !strings.Contains(err.Error(), "not signed") {
				t.Error(err)
			}
			if _, err := sendTransfer(t, true, append(messages[:mostUnsigned], []string{soa}), func(i int) bool { return i == 0 || i == mostUnsigned }); err != nil {
				t.Error(err)
			}
		})
	})
}

// A transfer has no more bytes and records than it may.
func TestTransferIsBounded(t *testing.T) {
	m := &dns.Msg{Answer: rrs(t, []string{soaLine, "a.zone.test. 60 IN A 192.0.2.1"})}
	m.Id, m.Response = 7, true
	wire, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	newTransfer := func() *transfer {
		return &transfer{zone: testZone, id: 7, wanted: func(record.Record) bool { return true }}
	}
	for _, test := range []struct {
		bytes, read int
		says        string
	}{
		{0, 0, ""},
		{mostTransferBytes - len(wire), 0, ""},
		{mostTransferBytes - len(wire) + 1, 0, "256 MB"},
		{0, mostTransferRecords - 1, "5000000 records"},
	} {
		tr := newTransfer()
		tr.bytes = test.bytes
		if tr.read = test.read; test.read > 0 {
			tr.soa = record.Record{Name: testZone}
		}
		if err := tr.take(wire); (err == nil) != (test.says == "") || err != nil && test.read == 0 && !strings.Contains(err.Error(), test.says) {
			t.Errorf("%+v: %v", test, err)
		}
	}
}

func TestTransferFails(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		f := (&fake{key: testKey}).lines(soaLine)
		z := f.zone(t, Config{})
		f.answers = nil
		f.spoil = func(_ *dns.Msg, wire []byte) []byte { time.Sleep(time.Minute); return nil }
		began := time.Now()
		_, err := z.Records(t.Context(), "")
		assertError(t, err, Timeout, true, "did not answer")
		if took := time.Since(began); took != transferPause {
			t.Errorf("it took %v", took)
		}
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		_, err = z.Records(ctx, "")
		assertError(t, err, Busy, true, "has gone")
		// One runs at a time, and others wait for as long as they like.
		go z.Records(t.Context(), "")
		synctest.Wait()
		ctx, cancel = context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err = z.Records(ctx, "")
		assertError(t, err, Busy, true, "earlier transfers")
		time.Sleep(2 * time.Minute) // the fake wakes up
	})
	for _, test := range []struct {
		rcode int
		kind  Kind
		says  string
	}{
		{dns.RcodeRefused, KeyRefused, "TSIG-ALLOW-AXFR key.test"},
		{dns.RcodeNotAuth, Refused, "not a primary"},
		{dns.RcodeServerFailure, Failed, "SERVFAIL"},
	} {
		inBubble(t, func(t *testing.T) {
			f := (&fake{key: testKey}).lines(soaLine)
			f.spoil = func(answer *dns.Msg, _ []byte) []byte {
				answer.Rcode, answer.Answer = test.rcode, nil
				wire, err := answer.Pack()
				if err != nil {
					panic(err)
				}
				return wire
			}
			_, err := f.zone(t, Config{}).Records(t.Context(), "")
			assertError(t, err, test.kind, true, test.says)
		})
	}
}

// BenchmarkTransfer reads messages of 200 records.
func BenchmarkTransfer(b *testing.B) {
	lines := []string{soaLine}
	for i := range 100 {
		lines = append(lines, fmt.Sprintf("_acme-challenge.n%d.zone.test. 60 IN TXT %q", i, strings.Repeat("x", 43)), fmt.Sprintf("n%d.zone.test. 60 IN CNAME target.zone.test.", i))
	}
	m := &dns.Msg{Answer: rrs(b, lines), Compress: true}
	m.Id, m.Response = 7, true
	wire, err := m.Pack()
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		tr := &transfer{zone: testZone, id: 7, wanted: func(record.Record) bool { return true }}
		if err := tr.take(wire); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N)/200, "µs/record")
}
