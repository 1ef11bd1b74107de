package protocol

import (
	"encoding/binary"
	"errors"
	"strings"
	"testing"

	"github.com/miekg/dns"
)

// hip returns an update with a HIP record of so many names. If compressed, each is a pointer to a long
// name; otherwise each is written out.
func hip(t testing.TB, names int, compressed bool) []byte {
	t.Helper()
	long := strings.Repeat(strings.Repeat("x", 63)+".", 3) + "example.org."
	m := new(dns.Msg).SetUpdate("example.org.")
	m.Ns = []dns.RR{&dns.TXT{Hdr: dns.RR_Header{Name: long, Rrtype: dns.TypeTXT, Class: dns.ClassINET}, Txt: []string{"x"}}}
	packed, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	data := []byte{1, 2, 0, 1, 0xff, 0xff}
	for range names {
		if compressed {
			data = append(data, 0xc0, 12+13+4)
		} else {
			data = append(data, 1, 'a', 0)
		}
	}
	packed = append(packed, 0xc0, 12, 0, byte(dns.TypeHIP), 0, 1, 0, 0, 0, 60)
	packed = append(binary.BigEndian.AppendUint16(packed, uint16(len(data))), data...)
	binary.BigEndian.PutUint16(packed[8:], 2)
	return packed
}

func TestCompressedHIP(t *testing.T) {
	_, err := ReadUpdate(hip(t, 30000, true))
	var of *UpdateError
	if !errors.As(err, &of) || of.Rcode != dns.RcodeFormatError || !strings.Contains(err.Error(), "HIP") {
		t.Errorf("compressed names: %v", err)
	}
	if c, err := ReadUpdate(hip(t, 3, false)); err != nil || c.Invalid != nil || len(c.Records) != 2 {
		t.Errorf("names as they are: %v, %+v", err, c)
	}
}
