package rfc2136

import (
	"encoding/binary"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/caddy-dns/bestdns/internal/record"
	"github.com/caddy-dns/bestdns/internal/tsig"
)

func primariesOfTest() []netip.AddrPort { return []netip.AddrPort{firstAddr} }

// seeds are messages of all kinds.
func seeds(t testing.TB) (wires [][]byte) {
	t.Helper()
	for _, lines := range [][3][]string{
		{{`a.zone.test. 60 IN TXT "x"`}, {soaLine}, nil},
		{{"a.zone.test. 60 IN CNAME b.zone.test."}, nil, nil},
		{{soaLine, `a.zone.test. 60 IN CAA 0 issue "ca\\.test"`, soaLine}, nil, nil},
		{nil, {"sub.zone.test. 60 IN NS ns.sub.zone.test."}, {"ns.sub.zone.test. 60 IN A 192.0.2.1"}},
	} {
		m := new(dns.Msg).SetQuestion("a.zone.test.", dns.TypeTXT)
		m.Response, m.Compress = true, true
		m.Answer, m.Ns, m.Extra = rrs(t, lines[0]), rrs(t, lines[1]), rrs(t, lines[2])
		wire, err := m.Copy().Pack()
		if err != nil {
			t.Fatal(err)
		}
		signed, _, err := pack(m, testKey)
		if err != nil {
			t.Fatal(err)
		}
		wires = append(wires, wire, signed)
	}
	return wires
}

// FuzzAnswer reads any octets as an answer to a question: no record comes out of it that was
// not asked for, and nothing counts as signed.
func FuzzAnswer(f *testing.F) {
	for _, wire := range seeds(f) {
		f.Add(wire, true)
		f.Add(wire, false)
	}
	q := question{matching("a", "TXT", "").Name, record.TypeTXT}
	f.Fuzz(func(t *testing.T, wire []byte, signed bool) {
		if len(wire) < 12 || len(wire) > 65535 {
			return
		}
		ours, theirs := net.Pipe()
		defer ours.Close()
		go func() {
			defer theirs.Close()
			c := newConn(theirs, firstAddr)
			request, err := c.read()
			if err != nil {
				return
			}
			copy(wire, request[:2])
			_, _ = theirs.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(wire))), wire...))
		}()
		key := tsig.Key{}
		if signed {
			key = testKey
		}
		replies, err := newConn(ours, firstAddr).exchange(time.Now().Add(10*time.Second), []request{{q.message(), key}})
		if err != nil {
			return
		}
		if signed && replies[0].invalid == nil {
			t.Error("it is taken for signed")
		}
		l := readLook(testZone, q, replies[0].Msg)
		for _, r := range l.records {
			if r.Name != q.name || r.Type != q.typ {
				t.Errorf("%s was not asked for", r)
			}
		}
		if l.cut != "" && (l.cut == testZone || !l.cut.In(testZone) || !q.name.In(l.cut)) {
			t.Errorf("%q is not a zone below with the name in it", l.cut)
		}
		_ = l.conflict(q)
		_ = New(Config{Zone: testZone, Key: key}).refused(firstAddr, forUpdate, replies[0].Msg, replies[0].invalid)
	})
}

// FuzzTransfer reads any octets as messages of a transfer: all records that come out of it are
// in the zone.
func FuzzTransfer(f *testing.F) {
	for _, wire := range seeds(f) {
		f.Add(wire, wire, true)
		f.Add(wire, wire, false)
	}
	f.Fuzz(func(t *testing.T, first, second []byte, signed bool) {
		tr := &transfer{zone: testZone, wanted: func(record.Record) bool { return true }}
		if signed {
			tr.verifier = testKey.NewVerifier(nil)
		}
		for _, wire := range [][]byte{first, second} {
			if len(wire) < 12 || len(wire) > 65535 {
				return
			}
			tr.id = binary.BigEndian.Uint16(wire)
			if tr.take(append([]byte(nil), wire...)) != nil || tr.ended {
				break
			}
		}
		for i, r := range tr.records {
			if !r.Name.In(testZone) || (r.Type == record.TypeSOA) != (i == 0) {
				t.Errorf("record %d: %s", i, r)
			}
		}
	})
}
