package record

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestMasterFileRoundTrip(t *testing.T) {
	zone, err := ParseName("example.test")
	if err != nil {
		t.Fatal(err)
	}
	var records []Record
	for _, r := range [][3]string{
		{"@", "NS", "ns1.example.test."},
		{"*", "A", "192.0.2.1"},
		{"a", "AAAA", "2001:db8::1"},
		{`a\.b`, "CNAME", `c\;d.example.net.`},
		{"caa", "CAA", `0 issue "ca.example.net; validationmethods=dns-01"`},
		{"https", "HTTPS", `1 . alpn="h2,h3" port="8443" ipv4hint="192.0.2.1"`},
		{"mx", "MX", "10 mx.example.net."},
		{"_sip._tcp", "SRV", "1 2 3 sip.example.net."},
		{"text", "TXT", `with "quotes", \ and ; and ünïcode`},
		{"text", "TXT", strings.Repeat("long ", 200)},
		{"text", "TXT", ""},
		{"text", "TYPE16", `\# 6 02ff0002000a`},
		{"unknown", "TYPE65280", `\# 3 010203`},
		{"empty", "TYPE65281", `\# 0`},
		{"keys", "SSHFP", "1 2 0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"},
	} {
		record, err := New(zone, r[0], r[1], 300, r[2])
		if err != nil {
			t.Fatal(err)
		}
		records = append(records, record)
	}
	expiring := records[0]
	expiring.Expires = 1
	var file bytes.Buffer
	left, err := WriteMasterFile(&file, zone, 60, slices.Values(append(records, expiring)))
	if err != nil || left != 1 {
		t.Fatalf("left out %d, %v", left, err)
	}
	read, err := ReadMasterFile(&file, "zone.test", zone, 60, nil)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(records, read); diff != "" {
		t.Errorf("(-written +read):\n%s", diff)
	}
}

func TestReadMasterFile(t *testing.T) {
	const zone = Name("\x07example\x04test\x00")
	read, err := ReadMasterFile(strings.NewReader("$ORIGIN sub.example.test.\nWWW IN A 192.0.2.1 ; a comment\n$TTL 2h\n@ TXT ( \"a\"\n \"b\" )\n"), "x", zone, 60, nil)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{`www.sub.example.test. 60 IN A 192.0.2.1`, `sub.example.test. 7200 IN TXT "ab"`}
	var got []string
	for _, r := range read {
		got = append(got, r.String())
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}

	for name, test := range map[string]struct{ file, want string }{
		"include":                {"@ A 192.0.2.1\n$INCLUDE /etc/passwd\n", "INCLUDE"},
		"outside":                {"www.example.net. A 192.0.2.1\n", `"www.example.net." is not in zone "example.test."`},
		"class":                  {"@ CH TXT x\n", "class"},
		"signature":              {"@ NSEC a. A\n", "signed"},
		"nonsense":               {"@ A 192.0.2.1\n@ NONSENSE\n", "line: 2"},
		"bad data":               {"@ A 192.0.2.256\n", "line: 1"},
		"UTF-16":                 {"\xff\xfe@\x00 \x00A\x00", "zone.test is text in UTF-16: write it in UTF-8, without a byte order mark"},
		"UTF-16, big-endian":     {"\xfe\xff\x00@\x00 \x00A", "zone.test is text in UTF-16"},
		"UTF-16 without a mark":  {"@\x00 \x00A\x00", "zone.test is text in UTF-16"},
		"byte order mark inside": {"@ A 192.0.2.1\n\ufeffwww A 192.0.2.1\n", "line 2: name \"\\ufeffwww.example.test.\": not ASCII"},
		"owner":                  {"bücher A 192.0.2.1\n", "line 1: name \"bücher.example.test.\": not ASCII; write an internationalized name in its A-label form (xn--…)"},
		"origin":                 {"$ORIGIN bücher.example.test.\n@ A 192.0.2.1\n", "not ASCII"},
		"not UTF-8":              {"b\xfccher A 192.0.2.1\n", "not ASCII"},
		"target":                 {"www CNAME bücher.example.net.\n", "line 1: name \"bücher.example.net.\": not ASCII"},
		"service":                {"www HTTPS 1 bücher.example.net. alpn=h2\n", "not ASCII"},
		"mail":                   {"@ MX 10 bücher\n", "not ASCII"},
		"gateway":                {"@ IPSECKEY 10 3 2 bücher.example.net. AQNRU3mG7TVTO2BkR47usntb102uFJtugbo6BSGvgqt4AQ==\n", "not ASCII"},
		"rendezvous servers":     {"@ HIP 2 200100107B1A74DF365639CC39F1D578 AwEAAbdxyhNuSutc5EMzxTs9LBPCIkOFH8cIvM4p9+LrV4e19WzK00+CI6zBCQTdtWsuxKbWIy87UOoJTwkUs7lBu+Upr1gsNrut79ryra+bSRGQb1slImA8YVJyuIDsj7kwzG7jnERNqnWxZ48AWkskmdHaVDP4BcelrTI3rMXdXF5D bücher.example.net.\n", "not ASCII"},
	} {
		_, err := ReadMasterFile(strings.NewReader(test.file), "zone.test", zone, 60, nil)
		if test.want == "" {
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want it to say %q", name, err, test.want)
		}
	}
}

// TestReadMasterFileTakes what is not plain ASCII and means what it says.
func TestReadMasterFileTakes(t *testing.T) {
	const zone = Name("\x07example\x04test\x00")
	for name, test := range map[string]struct{ file, want string }{
		"byte order mark": {"\ufeffexample.test. A 192.0.2.1\n", `example.test. 60 IN A 192.0.2.1`},
		"mark alone":      {"\ufeff", ""},
		"one byte":        {"\n", ""},
		"nothing":         {"", ""},
		"escapes":         {`b\195\188cher CNAME \195\188.` + "\n", `b\195\188cher.example.test. 60 IN CNAME \195\188.`},
		"text":            {"@ TXT \"bücher\"\n", `example.test. 60 IN TXT "bücher"`},
		"comment":         {"@ A 192.0.2.1 ; bücher\n", `example.test. 60 IN A 192.0.2.1`},
	} {
		read, err := ReadMasterFile(strings.NewReader(test.file), "x", zone, 60, nil)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		var got []string
		for _, r := range read {
			got = append(got, r.String())
		}
		if strings.Join(got, " ") != test.want {
			t.Errorf("%s: %s, want %s", name, got, test.want)
		}
	}
}

func FuzzReadMasterFile(f *testing.F) {
	f.Add("$ORIGIN sub.example.test.\n$TTL 1h\n@ IN TXT \"a\" \"b\"\nwww 60 A 192.0.2.1\n")
	f.Add("@ TYPE65280 \\# 3 010203\n")
	const zone = Name("\x07example\x04test\x00")
	f.Fuzz(func(t *testing.T, text string) {
		if strings.Contains(strings.ToUpper(text), "$GENERATE") {
			t.Skip("makes records out of few octets, by design")
		}
		read, err := ReadMasterFile(strings.NewReader(text), "zone.test", zone, 60, nil)
		if err != nil {
			return
		}
		var file bytes.Buffer
		if _, err := WriteMasterFile(&file, zone, 60, slices.Values(read)); err != nil {
			t.Fatal(err)
		}
		again, err := ReadMasterFile(bytes.NewReader(file.Bytes()), "zone.test", zone, 60, nil)
		if err != nil {
			t.Fatalf("what was written does not read: %v\n%s", err, &file)
		}
		if diff := cmp.Diff(read, again); diff != "" {
			t.Errorf("(-read +read again):\n%s", diff)
		}
	})
}
