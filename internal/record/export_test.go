package record

import (
	"bytes"
	"encoding/hex"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/miekg/dns"
)

// storableTypes are those of which miekg/dns knows a form, and one of which it does not.
func storableTypes() []Type {
	types := []Type{65280}
	for n := range dns.TypeToString {
		if unstorable(Type(n)) == "" {
			types = append(types, Type(n))
		}
	}
	slices.Sort(types)
	return types
}

// checkReadsBack has a record written to a file between two others, and read; and as the API
// has it, written and read. It reports whether the data can be stored at all.
func checkReadsBack(t *testing.T, typ Type, wire string) (storable bool) {
	t.Helper()
	data, err := CanonicalData(typ, wire)
	if err != nil {
		return false
	}
	const zone = Name("\x07example\x04test\x00")
	r := Record{Name: zone, Type: typ, TTL: 60, Data: data}
	address := Record{Name: zone, Type: TypeA, TTL: 60, Data: "\xc0\x00\x02\x01"}
	text := Record{Name: zone, Type: TypeTXT, TTL: 60, Data: "\x01a"}
	for _, records := range [][]Record{{r}, {address, r, text}, {text, r, r, address}} {
		var file bytes.Buffer
		if _, err := WriteMasterFile(&file, zone, 60, slices.Values(records)); err != nil {
			t.Fatal(err)
		}
		written := file.String()
		read, err := ReadMasterFile(&file, "zone.test", zone, 60, nil)
		if err != nil || !slices.Equal(read, records) {
			t.Errorf("%s %x: written as\n%s\nand read as %v, %v", typ, data, written, read, err)
			return true
		}
	}
	name, data := r.Text()
	if again, err := At(zone, name, 60, data); err != nil || !again.Same(r) {
		t.Errorf("%s %x: in the API %s %q, which is read as %v, %v", typ, r.Data, name, data, again, err)
	}
	return true
}

// oddData is data that some reader or printer has taken for other data, and shapes that
// chance does not find.
var oddData = []struct {
	typ  uint16
	data string // hexadecimal
}{
	{dns.TypeSSHFP, "0101"},
	{dns.TypeSSHFP, "010101"},
	{dns.TypeDS, "00010801"},
	{dns.TypeCDS, "00010801"},
	{dns.TypeTLSA, "030101"},
	{dns.TypeCERT, "0001000108"},
	{dns.TypeDNSKEY, "01000308"},
	{dns.TypeZONEMD, "000000010101"},
	{dns.TypeAAAA, "00000000000000000000ffffc0000201"},
	{dns.TypeAAAA, "000000000000000000000000c0000201"},
	{dns.TypeCAA, "00056973737565" + "63612e746573743b20783d5c303635"}, // ca.test; x=\065
	{dns.TypeCAA, "0000"},
	{dns.TypeCAA, "00012d5c"},
	{dns.TypeCAA, "00012d5c22"},
	{dns.TypeCAA, "00016100ff20223b"},
	{dns.TypeURI, "000100025c30363522"},
	{dns.TypeURI, "00010002"},
	{dns.TypeAPL, "00011804c0000200"},
	{dns.TypeAPL, "00010000"},
	{dns.TypeAPL, "00011883c0000200024001205c"},
	{dns.TypeIPSECKEY, "0a000201ff"},
	{dns.TypeIPSECKEY, "0a0102c0000201aa"},
	{dns.TypeIPSECKEY, "0a030201610000"},
	{dns.TypeIPSECKEY, "0a0300000100"},
	{dns.TypeAMTRELAY, "0a01c0000201"},
	{dns.TypeAMTRELAY, "0a830161620000"},
	{dns.TypeAMTRELAY, "0a80"},
	{dns.TypeCSYNC, "000000010003000740000000000080"},
	{dns.TypeCSYNC, "000000010003000100"},
	{dns.TypeHIP, "0401000101020304ff"},
	{dns.TypeLOC, "00121613" + "8000000080000000" + "00989680"},
	{dns.TypeLOC, "00000000" + "0000000000000000" + "00000000"},
	{dns.TypeHTTPS, "0001000001000302683200030002208d"},
	{dns.TypeSVCB, "000100" + "00000002000100020000"},
	{dns.TypeSVCB, "000100" + "ff0000035c2c22"},
	{dns.TypeSVCB, "000100" + "000100050322005c2c"},
	{dns.TypeNAPTR, "0001000201750345325501215c00"},
	{dns.TypeHINFO, "015c0122"},
	{dns.TypeTXT, "00"},
	{dns.TypeTXT, "000000"},
	{dns.TypeX25, "015c"},
	{dns.TypeGPOS, "013001300130"},
	{dns.TypeNULL, ""},
	{dns.TypeOPENPGPKEY, "00"},
	{dns.TypeDHCID, "00"},
	{dns.TypeKEY, "00000000"},
	{dns.TypeRKEY, "00000000"},
	{dns.TypeEUI48, "010203040506"},
	{dns.TypeEID, "00"},
	{dns.TypeNIMLOC, "00"},
}

// TestAllDataReadsBack writes and reads data of each type, short and random.
func TestAllDataReadsBack(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(1, 2))
	for _, odd := range oddData {
		data, err := hex.DecodeString(odd.data)
		if err != nil {
			t.Fatal(err)
		}
		checkReadsBack(t, Type(odd.typ), string(data))
	}
	var never []string
	for _, typ := range storableTypes() {
		found := 0
		for n := range 350 {
			if checkReadsBack(t, typ, randomData(random, n)) {
				found++
			}
		}
		if found == 0 {
			never = append(never, typ.String())
		}
	}
	if len(never) > 0 {
		t.Errorf("no data was found of the types %v", never)
	}
}

// randomData makes RDATA that some types can hold: numbers, names, strings, octets.
func randomData(random *rand.Rand, n int) string {
	if n < 150 { // short ones first
		data := make([]byte, n%12)
		for i := range data {
			data[i] = byte(random.IntN([]int{1, 2, 4, 256}[n/12%4]))
		}
		return string(data)
	}
	const special = "\"\\;()@$. \t\n\x00\xff#aA0*-_=,"
	text := func(most int) string {
		b := make([]byte, random.IntN(most+1))
		for i := range b {
			b[i] = byte(random.IntN(256))
			if random.IntN(2) == 0 {
				b[i] = special[random.IntN(len(special))]
			}
		}
		return string(b)
	}
	var data strings.Builder
	for range random.IntN(6) {
		switch random.IntN(6) {
		case 0:
			data.WriteByte(byte(random.IntN(4)))
		case 1:
			data.WriteString("\x00\x01")
		case 2: // a name
			for range random.IntN(3) {
				if label := text(6); label != "" {
					data.WriteString(string([]byte{byte(len(label))}) + label)
				}
			}
			data.WriteByte(0)
		case 3: // a string
			s := text(8)
			data.WriteString(string([]byte{byte(len(s))}) + s)
		case 4:
			data.WriteString(text(20))
		case 5:
			data.WriteString(string(make([]byte, []int{2, 4, 6, 8, 16}[random.IntN(5)])))
		}
	}
	return data.String()
}

func FuzzDataReadsBack(f *testing.F) {
	for _, typ := range storableTypes() {
		f.Add(uint16(typ), []byte("\x00\x01\x02\x01a"))
	}
	for _, seed := range oddData {
		data, _ := hex.DecodeString(seed.data)
		f.Add(seed.typ, data)
	}
	f.Fuzz(func(t *testing.T, n uint16, data []byte) {
		if unstorable(Type(n)) != "" {
			return
		}
		checkReadsBack(t, Type(n), string(data))
	})
}
