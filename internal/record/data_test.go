package record_test

import (
	"encoding/hex"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"

	"github.com/caddy-dns/bestdns/internal/record"
)

// make1 makes a record at a name of no interest.
func make1(t testing.TB, typ, data string) record.Record {
	t.Helper()
	r, err := record.New(name(t, "example.org"), "x", typ, 60, data)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestParseType(t *testing.T) {
	for _, test := range []struct {
		name, in, want string
	}{
		{"mnemonic", "A", "A"},
		{"lower case", "https", "HTTPS"},
		{"with hyphen", "nsap-ptr", "NSAP-PTR"},
		{"number of a known type", "TYPE16", "TXT"},
		{"number of an unknown type", "type65280", "TYPE65280"},
		{"leading zeros", "TYPE0001", "A"},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := record.ParseType(test.in)
			if err != nil {
				t.Fatal(err)
			}
			if got.String() != test.want {
				t.Errorf("ParseType(%q) = %s, want %s", test.in, got, test.want)
			}
		})
	}
	for _, in := range []string{
		"", " A", "A ", "A\n", "A;", "ANY", "*", "AXFR", "IXFR", "OPT", "TSIG", "RRSIG", "NSEC", "NSEC3", "NSEC3PARAM", "DNAME",
		"TYPE", "TYPE0", "TYPE-1", "TYPE+1", "TYPE65536", "TYPE1_0", "TYPE0x1", "TYPE1 ", "TYPE41", "TYPE255", "TYPE128", "TYPE65535",
		"Reserved", "None", "IN", "CLASS1", "60", "$ORIGIN", "А", // the last is Cyrillic
	} {
		if got, err := record.ParseType(in); err == nil {
			t.Errorf("ParseType(%q) = %s", in, got)
		}
	}
}

func TestTypeNamesAreRead(t *testing.T) {
	for number := range 1 << 16 {
		typ := record.Type(number)
		read, err := record.ParseType("TYPE" + strconv.Itoa(number))
		named, namedErr := record.ParseType(typ.String())
		if read != named || (err == nil) != (namedErr == nil) || err == nil && read != typ {
			t.Errorf("type %d is read as %s, %v; as %s, %s, %v", number, read, err, typ, named, namedErr)
		}
	}
}

func TestParseData(t *testing.T) {
	for _, test := range []struct {
		name, typ, in string
		wire          string // hexadecimal
		text          string // "" if as in
	}{
		{"A", "A", "192.0.2.1", "c0000201", ""},
		{"AAAA", "AAAA", "2001:DB8:0::1", "20010db8000000000000000000000001", "2001:db8::1"},
		{"AAAA of a mapped address", "AAAA", "::ffff:192.0.2.1", "00000000000000000000ffffc0000201", ""},
		{"CNAME", "CNAME", "WWW.Example.org.", "03777777076578616d706c65036f726700", "www.example.org."},
		{"NS", "NS", "ns1.org.", "036e7331036f726700", ""},
		{"PTR to the root", "PTR", ".", "00", ""},
		{"letter written as an escape", "PTR", `\065.org.`, "0161036f726700", "a.org."},
		{"dollar sign in a name", "PTR", `\$a.org.`, "022461036f726700", "$a.org."},
		{"MX", "MX", "10 Mail.org.", "000a046d61696c036f726700", "10 mail.org."},
		{"null MX", "MX", "0 .", "000000", ""},
		{"blanks around", "MX", "  10   mail.org. ", "000a046d61696c036f726700", "10 mail.org."},
		{"SRV", "SRV", "0 5 443 Host.org.", "0000000501bb04686f7374036f726700", "0 5 443 host.org."},
		{"CAA", "CAA", `0 issue "ca.example"`, "000569737375" + "65" + "63612e6578616d706c65", ""},
		{"CAA with parameters", "CAA", `128 issuewild "ca.example; validationmethods=dns-01"`,
			"800969737375657769" + "6c64" + hexOf("ca.example; validationmethods=dns-01"), ""},
		{"CAA with quote and backslash", "CAA", `0 iodef "a\"b\\c"`, "0005696f646566" + hexOf(`a"b\c`), ""},
		{"URI with a backslash", "URI", `1 2 "http://x/\\y"`, "00010002" + hexOf(`http://x/\y`), ""},
		{"DS", "DS", "60485 5 1 2BB183AF5F22588179A53B0A98631FAD1A292118", "ec4505012bb183af5f22588179a53b0a98631fad1a292118", ""},
		{"TLSA", "TLSA", "3 1 1 0a0b", "0301010a0b", ""},
		{"SSHFP", "SSHFP", "4 2 0A0B", "04020a0b", ""},
		{"HINFO", "HINFO", `"a b" "c"`, "0361206201" + "63", ""},
		{"SPF", "SPF", `"a" "b"`, "01610162", ""},
		{"SVCB in alias form", "SVCB", "0 Foo.org.", "000003666f6f036f726700", "0 foo.org."},
		{"HTTPS, parameters in order", "HTTPS", `1 . alpn="h2,h3" port="8443"`, "000100" + "00010006" + "0268320268" + "33" + "00030002" + "20fb", ""},
		{"HTTPS, parameters out of order", "HTTPS", `1 . port=8443 alpn=h2,h3`, "000100" + "00010006" + "0268320268" + "33" + "00030002" + "20fb", `1 . alpn="h2,h3" port="8443"`},
		{"HTTPS, an unknown parameter before known ones", "HTTPS", `1 . key65280=x no-default-alpn alpn=h2`,
			"000100" + "00010003" + "026832" + "00020000" + "ff000001" + "78", `1 . alpn="h2" no-default-alpn="" key65280="x"`},
		{"NAPTR", "NAPTR", `100 10 "u" "sip+E2U" "!^.*$!sip:x@example.org!" .`, "0064000a0175077369702b4532551821" + hexOf(`^.*$!sip:x@example.org!`) + "00", ""},
		{"known type in generic form", "A", `\# 4 C0 000201`, "c0000201", "192.0.2.1"},
		{"generic form behind a blank", "MX", ` \# 7 000A 0361 4243 00`, "000a0361626300", "10 abc."},
		{"number of a known type", "TYPE15", `\# 7 000a0341424300`, "000a0361626300", "10 abc."},
		{"unknown type", "TYPE65280", `\# 3 0aFF00`, "0aff00", `\# 3 0aff00`},
		{"unknown type, empty", "TYPE65280", `\# 0`, "", ""},
		{"NULL", "NULL", `\# 2 3b0a`, "3b0a", ""},
		{"unknown type without its number's name", "ATMA", `\# 1 00`, "00", ""},
		{"string that miekg/dns prints without quotes", "X25", `\# 4 03312032`, "03312032", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := make1(t, test.typ, test.in)
			if got := hexOf(r.Data); got != test.wire {
				t.Errorf("%s %q is %s, want %s", test.typ, test.in, got, test.wire)
			}
			_, text := r.Text()
			want := test.text
			if want == "" {
				want = test.in
			}
			if text != want {
				t.Errorf("%s %q is printed as %q, want %q", test.typ, test.in, text, want)
			}
			checkData(t, r)
		})
	}
}

func TestParseDataRefuses(t *testing.T) {
	for _, test := range []struct{ name, typ, in, want string }{
		{"A: not an address", "A", "example.org.", "not an IP address"},
		{"A: IPv6", "A", "2001:db8::1", "not an IPv4 address"},
		{"A: octet too large", "A", "192.0.2.256", "not an IP address"},
		{"A: leading zero", "A", "192.0.2.01", "not an IP address"},
		{"A: two", "A", "192.0.2.1 192.0.2.2", "not an IP address"},
		{"A: comment", "A", "192.0.2.1 ; x", "not an IP address"},
		{"AAAA: IPv4", "AAAA", "192.0.2.1", "not an IPv6 address"},
		{"AAAA: with an interface", "AAAA", "fe80::1%eth0", "not an IP address"},
		{"nothing", "MX", "", "empty"},
		{"blanks", "MX", "   ", "empty"},
		{"too little", "MX", "10", "bad MX"},
		{"too much", "MX", "10 a. b.", "garbage"},
		{"out of range", "MX", "65536 a.", "bad MX"},
		{"label of 64", "CNAME", strings.Repeat("a", 64) + ".", "bad CNAME"},
		{"quote left open", "HINFO", `"a" "b`, "a quote is not closed"},
		{"escaped end of the quote", "HINFO", `"a" "b\"`, "a quote is not closed"},
		{"backslash at the end", "HINFO", `a b\`, "a backslash at the end"},
		{"escaped line end", "HINFO", "\"a\" \"b\\\nc\"", "control character"},
		{"escaped NUL", "CNAME", "a\\\x00b.", "control character"},
		{"bad escape", "HINFO", `a \999`, "a backslash comes before"},
		{"not ASCII", "CNAME", "bücher.example.", "A-label"},
		{"generic: wrong length", "MX", `\# 4 000a00`, "4 octets announced, 3 given"},
		{"generic: not hexadecimal", "MX", `\# 3 000a0g`, "not hexadecimal"},
		{"generic: no length", "MX", `\#`, "LENGTH HEX"},
		{"generic: length too large", "MX", `\# 65536 00`, "not a number up to 65535"},
		{"generic: not that type", "A", `\# 3 c00002`, "not what the type holds"},
		{"generic under the type's number: not that type", "TYPE1", `\# 3 c00002`, "not what the type holds"},
		{"generic: cut short", "SOA", `\# 2 0000`, "not what the type holds"},
		{"generic: bits beyond the prefix", "APL", `\# 5 00010101d7`, "not what the type holds"},
		{"generic: name missing", "MX", `\# 2 000a`, "a name is missing"},
		{"generic: address missing", "L32", `\# 2 000a`, "an address is missing"},
		{"generic: compressed name", "MX", `\# 4 0000c001`, "not what the type holds"},
		{"generic: empty where nothing cannot be", "TYPE16", `\# 0`, "empty"},
		{"generic: behind a line end", "TYPE65280", "\\# 1\n00", "control character"},
		{"number of a known type with its own form", "TYPE1", "192.0.2.1", "RFC 3597"},
		{"unknown type without the generic form", "TYPE65280", "00", "RFC 3597"},
		{"same parameter twice", "HTTPS", "1 . port=1 port=2", "repeated"},
		{"AMTRELAY with the discovery flag, which miekg/dns cuts", "AMTRELAY", "10 1 3 relay.example.", "missing, or not supported in this form"},
		{"type that is no type", "ANY", `\# 0`, "never in a zone"},
	} {
		t.Run(test.name, func(t *testing.T) {
			r, err := record.New(name(t, "example.org"), "x", test.typ, 60, test.in)
			if err == nil {
				t.Fatalf("%s %q is read as %q", test.typ, test.in, r.Data)
			}
			if !strings.Contains(err.Error(), test.want) {
				t.Errorf("%v; want %q in it", err, test.want)
			}
			if strings.Contains(err.Error(), "line:") {
				t.Errorf("%v: tells of a line in no file", err)
			}
		})
	}
}

// validData is data of each type that has a form of its own and names in it.
var validData = map[string]string{
	"AFSDB":    "1 %s",
	"CNAME":    "%s",
	"HIP":      "2 200100107B1A74DF365639CC39F1D578 AwEA %s",
	"HTTPS":    `1 %s alpn="h2"`,
	"IPSECKEY": "10 3 2 %s AQNR",
	"KX":       "1 %s",
	"LP":       "1 %s",
	"MB":       "%s",
	"MD":       "%s",
	"MF":       "%s",
	"MG":       "%s",
	"MINFO":    "%s b.example.",
	"MR":       "%s",
	"MX":       "10 %s",
	"NAPTR":    `1 1 "s" "x" "" %s`,
	"NS":       "%s",
	"NSAP-PTR": "%s",
	"PTR":      "%s",
	"PX":       "1 %s b.example.",
	"RP":       "b.example. %s",
	"RT":       "1 %s",
	"SOA":      "%s b.example. 1 2 3 4 5",
	"SRV":      "1 2 3 %s",
	"SVCB":     "0 %s",
	"TALINK":   "a.example. %s",
	"AMTRELAY": "10 0 3 %s",
}

// TestTypesWithNames finds in miekg/dns which types have names in their data, so
// that a new one is not forgotten.
func TestTypesWithNames(t *testing.T) {
	tested := slices.Sorted(maps.Keys(validData))
	var found []string
	for number, makeRR := range dns.TypeToRR {
		typ := record.Type(number)
		if _, err := record.ParseType(typ.String()); err != nil {
			continue
		}
		fields := reflect.TypeOf(makeRR()).Elem()
		if embedded := fields.Field(0).Type; fields.NumField() == 1 && embedded.Kind() == reflect.Struct && embedded.NumField() > 1 && embedded.Name() == "SVCB" {
			fields = embedded // HTTPS
		}
		for i := range fields.NumField() {
			switch fields.Field(i).Tag.Get("dns") {
			case "domain-name", "cdomain-name", "ipsechost", "amtrelayhost":
				if !slices.Contains(found, typ.String()) {
					found = append(found, typ.String())
				}
			}
		}
	}
	slices.Sort(found)
	if !slices.Equal(found, tested) {
		t.Errorf("types with names in their data:\n%q, tested are\n%q", found, tested)
	}
}

func TestNamesInData(t *testing.T) {
	for typ, form := range validData {
		t.Run(typ, func(t *testing.T) {
			with := func(target string) string { return strings.Replace(form, "%s", target, 1) }
			lower := make1(t, typ, with("target.example.org."))
			for _, upper := range []string{"TARGET.Example.ORG.", `\084\065rget.example.org.`} {
				r := make1(t, typ, with(upper))
				if !r.Same(lower) || r.Data != lower.Data {
					t.Errorf("%q is not the same as %q", with(upper), with("target.example.org."))
				}
			}
			mixed := []byte(strings.Replace(lower.Data, "target", "TarGet", 1))
			if data, err := record.CanonicalData(lower.Type, string(mixed)); err != nil || data != lower.Data {
				t.Errorf("CanonicalData(%q) = %q, %v; want %q", mixed, data, err, lower.Data)
			}
			if other := make1(t, typ, with("other.example.org.")); other.Same(lower) {
				t.Errorf("%q is the same as %q", other, lower)
			}
			checkData(t, lower)
			for _, relative := range []string{"target", "target.example.org", "@", `target\.`} {
				if r, err := record.New(name(t, "example.org"), "x", typ, 60, with(relative)); err == nil {
					t.Errorf("relative name %q is read: %q", relative, r)
				} else if !strings.Contains(err.Error(), "not absolute") {
					t.Errorf("relative name %q: %v", relative, err)
				}
			}
		})
	}
}

func TestZoneFileTextInData(t *testing.T) {
	injections := []struct{ name, text string }{
		{"record behind a line end", "\nevil.example.org. 60 IN A 192.0.2.66"},
		{"record behind a carriage return", "\r\nevil.example.org. 60 IN A 192.0.2.66"},
		{"$ORIGIN", "\n$ORIGIN example.net."},
		{"$INCLUDE", "\n$INCLUDE /etc/passwd"},
		{"$GENERATE", "\n$GENERATE 1-9 a$ A 192.0.2.$"},
		{"comment", " ; hidden"},
		{"comment at once", ";hidden"},
		{"parenthesis", " ("},
		{"group", " ( )"},
		{"group over lines", " (\nx )"},
		{"closing parenthesis", " )"},
		{"NUL", "\x00"},
		{"tab", "\t"},
		{"vertical tab", "\v"},
		{"line end only", "\n"},
		{"line end behind a backslash", "\\\n"},
		{"another record", " x 60 IN A 192.0.2.66 ;"},
	}
	data := map[string]string{
		"A": "192.0.2.1", "AAAA": "2001:db8::1", "CAA": `0 issue "ca.example"`, "HINFO": "a b", "DS": "1 1 1 00",
		"TLSA": "3 1 1 00", "TYPE65280": `\# 1 00`, "TYPE16": `\# 2 0161`,
	}
	for typ, form := range validData {
		data[typ] = strings.Replace(form, "%s", "target.example.org.", 1)
	}
	for typ, valid := range data {
		make1(t, typ, valid)
		for _, injection := range injections {
			t.Run(typ+"/"+injection.name, func(t *testing.T) {
				for _, text := range []string{valid + injection.text, injection.text + valid, strings.Replace(valid, " ", injection.text+" ", 1)} {
					if text == valid {
						continue
					}
					if r, err := record.New(name(t, "example.org"), "x", typ, 60, text); err == nil {
						t.Errorf("%q is read as %q", text, r)
					}
				}
			})
		}
	}
	// Within quotes they are text, and stay within quotes.
	for _, inside := range []string{`; hidden`, `( )`, `x 60 IN A 192.0.2.66 ;`, `$INCLUDE /etc/passwd`} {
		r := make1(t, "CAA", `0 iodef "`+inside+`"`)
		if _, text := r.Text(); text != `0 iodef "`+inside+`"` {
			t.Errorf("CAA with %q is printed as %q", inside, text)
		}
	}
}

func TestTXT(t *testing.T) {
	for _, test := range []struct {
		name, text string
		strings    []int // their lengths
	}{
		{"empty", "", []int{0}},
		{"one character", "a", []int{1}},
		{"quotes", `"a" "b"`, []int{7}},
		{"backslashes", `a\b\\\n\"\065`, []int{13}},
		{"zone-file text", "x 60 IN A 192.0.2.66 ;\n$ORIGIN .\n$INCLUDE /etc/passwd (", []int{55}},
		{"generic form is text", `\# 1 00`, []int{7}},
		{"NUL and control characters", "a\x00b\x1f\x7f", []int{5}},
		{"UTF-8", "bücher 書", []int{11}},
		{"8-bit", "a\xffb\x80", []int{4}},
		{"blanks at both ends", "  a  ", []int{5}},
		{"255 octets", strings.Repeat("a", 255), []int{255}},
		{"256 octets", strings.Repeat("a", 256), []int{255, 1}},
		{"510 octets", strings.Repeat("a", 510), []int{255, 255}},
		{"65,000 octets", strings.Repeat("0123456789", 6500), append(slices.Repeat([]int{255}, 254), 230)},
		{"65,279 octets, the most there can be", strings.Repeat("a", 65279), append(slices.Repeat([]int{255}, 255), 254)},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := make1(t, "TXT", test.text)
			var lengths []int
			var joined strings.Builder
			for rest := r.Data; rest != ""; {
				n := int(rest[0])
				lengths = append(lengths, n)
				joined.WriteString(rest[1 : 1+n])
				rest = rest[1+n:]
			}
			if joined.String() != test.text || !slices.Equal(lengths, test.strings) {
				t.Errorf("strings of %v octets, want %v; the text is %.60q", lengths, test.strings, joined.String())
			}
			wantType := "TXT"
			if !utf8.ValidString(test.text) {
				wantType = "TYPE16"
			}
			typ, text := r.Text()
			if typ != wantType || typ == "TXT" && text != test.text {
				t.Errorf("printed as %s %.60q", typ, text)
			}
			checkData(t, r)
		})
	}
	for _, most := range []int{65280, 65535, 1 << 20} {
		if _, err := record.New(record.Root, "x", "TXT", 60, strings.Repeat("a", most)); err == nil {
			t.Errorf("a text of %d octets is read", most)
		}
	}
}

func TestTXTSplitInStrings(t *testing.T) {
	one := make1(t, "TXT", "ab")
	for _, data := range []string{`\# 4 01610162`, `\# 5 0002616200`, `\# 3 026162`} {
		split := make1(t, "TYPE16", data)
		if !split.Same(one) || !one.Same(split) {
			t.Errorf("%s is not the same as TXT \"ab\"", data)
		}
		if typ, text := split.Text(); typ != "TXT" || text != "ab" {
			t.Errorf("%s is printed as %s %q", data, typ, text)
		}
	}
	for _, data := range []string{`\# 4 01620161`, `\# 2 0161`, `\# 1 00`, `\# 3 024162`} {
		if other := make1(t, "TYPE16", data); other.Same(one) {
			t.Errorf("%s is the same as TXT \"ab\"", data)
		}
	}
}

// checkData checks what holds for all data: it is canonical, and its text is
// read as the same record.
func checkData(t *testing.T, r record.Record) {
	t.Helper()
	again, err := record.CanonicalData(r.Type, r.Data)
	if err != nil || again != r.Data {
		t.Fatalf("%s data %.200q is not canonical: %.200q, %v", r.Type, r.Data, again, err)
	}
	typ, text := r.Text()
	back, err := record.New(record.Root, r.Name.String(), typ, r.TTL, text)
	if err != nil {
		t.Fatalf("%s data %.200q is printed as %s %.200q, which is not read: %v", r.Type, r.Data, typ, text, err)
	}
	if !back.Same(r) {
		t.Fatalf("%s data %.200q is printed as %s %.200q, which is read as %.200q", r.Type, r.Data, typ, text, back.Data)
	}
	if r.Type != record.TypeTXT {
		if back != r {
			t.Fatalf("%q is printed and read as %q", r, back)
		}
		if strings.ContainsFunc(text, func(c rune) bool { return c < ' ' || c >= 0x7f }) {
			t.Fatalf("%s data is printed as %q", r.Type, text)
		}
	}
	if wire := typeNumber(r.Type); typ != "TXT" || r.Type != record.TypeTXT {
		generic, err := record.New(record.Root, r.Name.String(), wire, r.TTL, genericForm(r.Data))
		if err != nil || generic != r {
			t.Fatalf("%s %s is read as %q, %v", wire, genericForm(r.Data), generic, err)
		}
	}
}

func typeNumber(t record.Type) string { return "TYPE" + strconv.Itoa(int(t)) }

func genericForm(data string) string { return `\# ` + strconv.Itoa(len(data)) + " " + hexOf(data) }

func hexOf(s string) string { return hex.EncodeToString([]byte(s)) }

// TestMasterFileKeepsData writes data that has no or no safe presentation format
// to a master file and reads it again.
func TestMasterFileKeepsData(t *testing.T) {
	var records []record.Record
	for _, data := range [][2]string{
		{"NULL", `\# 2 3b0a`},
		{"NULL", genericForm("\nevil 60 IN A 192.0.2.66\n")},
		{"X25", `\# 4 03312032`},
		{"CAA", `0 iodef "a\"b\\c;("`},
		{"TXT", "a\"b\\c;\n$ORIGIN x."},
		{"TYPE16", `\# 5 0161020062`},
		{"TYPE65280", `\# 0`},
		{"HTTPS", `1 . alpn="h2,h3" port="8443"`},
	} {
		records = append(records, make1(t, data[0], data[1]))
	}
	for typ, form := range validData {
		if typ != "SOA" {
			records = append(records, make1(t, typ, strings.Replace(form, "%s", `a\.b\032\$.example.org.`, 1)))
		}
	}
	var file strings.Builder
	if _, err := record.WriteMasterFile(&file, name(t, "example.org"), 60, slices.Values(records)); err != nil {
		t.Fatal(err)
	}
	got, err := record.ReadMasterFile(strings.NewReader(file.String()), "example.org.zone", name(t, "example.org"), 60, nil)
	if err != nil {
		t.Fatalf("%v\n%s", err, file.String())
	}
	if diff := gocmp.Diff(records, got); diff != "" {
		t.Errorf("%s\n%s", diff, file.String())
	}
}

func TestMasterFileRefusesMissingData(t *testing.T) {
	for _, line := range []string{"x 60 IN A", "x 60 IN A ", "x 60 IN TXT", "x 60 IN MX ; 10 a.", "x 60 IN AMTRELAY 10 1 3 relay.example."} {
		got, err := record.ReadMasterFile(strings.NewReader(line+"\n"), "file", name(t, "example.org"), 60, nil)
		if err == nil {
			t.Errorf("%q is read as %q", line, got)
		}
	}
}

func FuzzParseData(f *testing.F) {
	for typ, form := range validData {
		rtype, err := record.ParseType(typ)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(uint16(rtype), strings.Replace(form, "%s", "target.example.org.", 1))
	}
	for _, seed := range []struct {
		typ  uint16
		text string
	}{
		{dns.TypeTXT, "a\"b\\\xff"},
		{dns.TypeTXT, strings.Repeat("a", 256)},
		{dns.TypeA, "192.0.2.1"},
		{dns.TypeAAAA, "::ffff:192.0.2.1"},
		{dns.TypeCAA, `0 issue "a\"b\\c;"`},
		{dns.TypeURI, `1 2 "http://x/\\y"`},
		{dns.TypeLOC, "52 22 23.000 N 4 53 32.000 E -2.00m 0.00m 10000m 10m"},
		{dns.TypeAPL, "1:192.0.2.0/24 !2:2001:db8::/32"},
		{dns.TypeCERT, "PGP 0 0 AQID"},
		{dns.TypeCSYNC, "66 3 A NS AAAA"},
		{dns.TypeHTTPS, `1 . key65280="a\032b" ipv4hint=192.0.2.1 ech=AAAA mandatory=ipv4hint`},
		{dns.TypeX25, `\# 4 03312032`},
		{dns.TypeAMTRELAY, "10 1 3 relay.example."},
		{dns.TypeEUI48, "00-00-5e-00-53-2a"},
		{dns.TypeNULL, `\# 1 0a`},
		{65280, `\# 3 0aff00`},
		{dns.TypeMX, "10 mail\n$ORIGIN x."},
	} {
		f.Add(seed.typ, seed.text)
	}
	f.Fuzz(func(t *testing.T, typ uint16, text string) {
		rtype, err := record.ParseType(record.Type(typ).String())
		if err != nil {
			return
		}
		data, err := record.ParseData(rtype, text)
		if err != nil {
			return
		}
		checkData(t, record.Record{Name: record.Root, Type: rtype, Data: data})
		if rtype != record.TypeTXT && strings.ContainsAny(text, "\n\r\x00\t") {
			t.Fatalf("%s data %q is read", rtype, text)
		}
	})
}

func FuzzCanonicalData(f *testing.F) {
	for typ, form := range validData {
		r := make1(f, typ, strings.Replace(form, "%s", "target.example.org.", 1))
		f.Add(uint16(r.Type), []byte(r.Data))
	}
	f.Add(dns.TypeTXT, []byte("\x01a\x00\x01\xff"))
	f.Add(dns.TypeCAA, []byte("\x00\x05issuea\\b"))
	f.Add(dns.TypeMX, []byte("\x00\x00\xc0\x00"))
	f.Add(dns.TypeNULL, []byte(";"))
	f.Add(dns.TypeX25, []byte("\x031 2"))
	f.Fuzz(func(t *testing.T, typ uint16, wire []byte) {
		rtype, err := record.ParseType(record.Type(typ).String())
		if err != nil {
			return
		}
		data, err := record.CanonicalData(rtype, string(wire))
		if err != nil {
			return
		}
		if lowerASCII(data) != lowerASCII(string(wire)) {
			t.Fatalf("CanonicalData changes %s data %q to %q", rtype, wire, data)
		}
		checkData(t, record.Record{Name: record.Root, Type: rtype, Data: data})
	})
}
