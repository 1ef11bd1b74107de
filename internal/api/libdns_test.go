package api

import (
	"net/netip"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/libdns/libdns"

	"github.com/caddy-dns/bestdns/internal/record"
)

var ipCmp = cmp.Comparer(func(a, b netip.Addr) bool { return a == b })

// TestRoundTrip holds both directions: what libdns has becomes what the API has,
// and comes back as the same value.
func TestRoundTrip(t *testing.T) {
	const minute = time.Minute
	ttl := new(int64(60))
	for _, tt := range []struct {
		name   string
		libdns libdns.Record
		api    Record
	}{
		{"A", libdns.Address{Name: "www", TTL: minute, IP: netip.MustParseAddr("192.0.2.1")},
			Record{"www", "A", ttl, new("192.0.2.1")}},
		{"AAAA", libdns.Address{Name: "@", TTL: minute, IP: netip.MustParseAddr("2001:db8::1")},
			Record{"@", "AAAA", ttl, new("2001:db8::1")}},
		{"AAAA of a mapped address", libdns.Address{Name: "x", IP: netip.MustParseAddr("::ffff:192.0.2.1")},
			Record{"x", "AAAA", nil, new("::ffff:192.0.2.1")}},
		{"CNAME", libdns.CNAME{Name: "x", TTL: minute, Target: "y.example.org."},
			Record{"x", "CNAME", ttl, new("y.example.org.")}},
		{"NS", libdns.NS{Name: "sub", TTL: minute, Target: "ns1.example.org."},
			Record{"sub", "NS", ttl, new("ns1.example.org.")}},
		{"MX", libdns.MX{Name: "@", TTL: minute, Preference: 10, Target: "mx.example.org."},
			Record{"@", "MX", ttl, new("10 mx.example.org.")}},
		{"null MX", libdns.MX{Name: "@", TTL: minute, Target: "."},
			Record{"@", "MX", ttl, new("0 .")}},
		{"target with an escaped blank", libdns.MX{Name: "@", Preference: 1, Target: `a\ b\;c.example.org.`},
			Record{"@", "MX", nil, new(`1 a\ b\;c.example.org.`)}},

		{"CAA", libdns.CAA{Name: "@", TTL: minute, Flags: 128, Tag: "issue", Value: "ca.example; validationmethods=dns-01"},
			Record{"@", "CAA", ttl, new(`128 issue "ca.example; validationmethods=dns-01"`)}},
		{"CAA with every kind of escape", libdns.CAA{Name: "@", Tag: "iodef", Value: "a\"b\\c\td\x00\xff\u00e9 e"},
			Record{"@", "CAA", nil, new(`0 iodef "a\"b\\c\009d\000\255\195\169 e"`)}},
		{"CAA with an empty value", libdns.CAA{Name: "@", Tag: "issue"},
			Record{"@", "CAA", nil, new(`0 issue ""`)}},

		{"TXT", libdns.TXT{Name: "_acme-challenge", TTL: minute, Text: "LoqXcYV8q5ONbJQxbmR7SCTNo3tiAXDfowyjxAjEuX0"},
			Record{"_acme-challenge", "TXT", ttl, new("LoqXcYV8q5ONbJQxbmR7SCTNo3tiAXDfowyjxAjEuX0")}},
		{"TXT with what zone files escape", libdns.TXT{Name: "x", Text: "\"quoted\" \\ back; (x)\t\u00e9\x00"},
			Record{"x", "TXT", nil, new("\"quoted\" \\ back; (x)\t\u00e9\x00")}},
		{"long TXT", libdns.TXT{Name: "x", Text: strings.Repeat("0123456789", 6500)},
			Record{"x", "TXT", nil, new(strings.Repeat("0123456789", 6500))}},
		{"TXT that is not UTF-8", libdns.TXT{Name: "x", TTL: minute, Text: "a\xff"},
			Record{"x", "TYPE16", ttl, new(`\# 3 0261ff`)}},
		{"long TXT that is not UTF-8", libdns.TXT{Name: "x", Text: strings.Repeat("\xfe", 256)},
			Record{"x", "TYPE16", nil, new(`\# 258 ff` + strings.Repeat("fe", 255) + "01fe")}},

		{"SRV", libdns.SRV{Service: "sip", Transport: "tcp", Name: "x", TTL: minute, Priority: 1, Weight: 2, Port: 5060, Target: "sip.example.org."},
			Record{"_sip._tcp.x", "SRV", ttl, new("1 2 5060 sip.example.org.")}},
		{"SRV at the apex", libdns.SRV{Service: "sip", Transport: "tcp", Name: "@", Port: 1, Target: "."},
			Record{"_sip._tcp", "SRV", nil, new("0 0 1 .")}},
		{"SRV at a plain name", libdns.SRV{Name: "a.b", Port: 1, Target: "."},
			Record{"a.b", "SRV", nil, new("0 0 1 .")}},
		{"SRV of a label with an escaped dot", libdns.SRV{Service: `a\.b`, Transport: "tcp", Name: "x", Port: 1, Target: "."},
			Record{`_a\.b._tcp.x`, "SRV", nil, new("0 0 1 .")}},

		{"HTTPS", libdns.ServiceBinding{Scheme: "https", Name: "www", TTL: minute, Priority: 1, Target: ".", Params: libdns.SvcParams{
			"ipv6hint": {"2001:db8::1"}, "alpn": {"h2", "h3"}, "no-default-alpn": {}, "port": {"8443"},
			"ech": {"AEX+/w=="}, "ipv4hint": {"192.0.2.1", "192.0.2.2"}, "mandatory": {"alpn", "port"},
			"key65400": {"x"}, "ohttp": {}, "dohpath": {"/q{?dns,x}"}, "key12": {}}},
			Record{"www", "HTTPS", ttl, new(`1 . alpn="h2,h3" dohpath="/q{?dns,x}" ech="AEX+/w==" ipv4hint="192.0.2.1,192.0.2.2" ipv6hint="2001:db8::1" ` +
				`key12="" key65400="x" mandatory="alpn,port" no-default-alpn="" ohttp="" port="8443"`)}},
		{"HTTPS in alias mode", libdns.ServiceBinding{Scheme: "https", Name: "@", TTL: minute, Target: "cdn.example.net."},
			Record{"@", "HTTPS", ttl, new("0 cdn.example.net.")}},
		{"HTTPS at a port", libdns.ServiceBinding{Scheme: "https", URLSchemePort: 8443, Name: "www", Priority: 1, Target: "."},
			Record{"_8443._https.www", "HTTPS", nil, new("1 .")}},
		{"HTTPS at a port of the apex", libdns.ServiceBinding{Scheme: "https", URLSchemePort: 8443, Name: "@", Priority: 1, Target: "."},
			Record{"_8443._https", "HTTPS", nil, new("1 .")}},
		{"HTTPS at a name that libdns cannot split", libdns.ServiceBinding{Scheme: "https", Name: "_443._https.www", Priority: 1, Target: "."},
			Record{"_443._https.www", "HTTPS", nil, new("1 .")}},
		{"SVCB", libdns.ServiceBinding{Scheme: "dns", Name: "x", Priority: 1, Target: ".", Params: libdns.SvcParams{"alpn": {"dot"}}},
			Record{"_dns.x", "SVCB", nil, new(`1 . alpn="dot"`)}},
		{"SVCB at a port of the apex", libdns.ServiceBinding{Scheme: "dns", URLSchemePort: 53, Name: "@", Priority: 1, Target: "."},
			Record{"_53._dns", "SVCB", nil, new("1 .")}},
		{"SVCB of two schemes", libdns.ServiceBinding{Scheme: "foo", Name: "_bar.x", Priority: 1, Target: "."},
			Record{"_foo._bar.x", "SVCB", nil, new("1 .")}},
		{"alpn as in RFC 9460 Appendix A.1", libdns.ServiceBinding{Scheme: "https", Name: "x", Priority: 1, Target: ".",
			Params: libdns.SvcParams{"alpn": {`f\oo,bar`, "h2"}}},
			Record{"x", "HTTPS", nil, new(`1 . alpn="f\\\092oo\\\044bar,h2"`)}},
		{"parameters with every kind of escape", libdns.ServiceBinding{Scheme: "https", Name: "x", Priority: 1, Target: ".",
			Params: libdns.SvcParams{"key100": {"a b\"c\\d;(e)\x00\xff"}, "key99": {"\"x"}}},
			Record{"x", "HTTPS", nil, new(`1 . key100="a\ b\"c\\d\;(e)\000\255" key99="\"x"`)}},

		{"type unknown to libdns", libdns.RR{Name: "x", TTL: minute, Type: "TYPE65280", Data: `\# 1 00`},
			Record{"x", "TYPE65280", ttl, new(`\# 1 00`)}},
		{"SOA", libdns.RR{Name: "@", TTL: minute, Type: "SOA", Data: "ns. host. 1 2 3 4 5"},
			Record{"@", "SOA", ttl, new("ns. host. 1 2 3 4 5")}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := FromLibdns(tt.libdns)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.api, got); diff != "" {
				t.Errorf("FromLibdns (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tt.libdns, tt.api.Libdns(), ipCmp, cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("Libdns (-want +got):\n%s", diff)
			}
		})
	}
}

// TestFromLibdns has what goes one way only.
func TestFromLibdns(t *testing.T) {
	for _, tt := range []struct {
		name   string
		libdns libdns.Record
		want   Record
	}{
		{"TTL below a second", libdns.TXT{Name: "x", TTL: time.Millisecond, Text: "y"}, Record{"x", "TXT", new(int64(0)), new("y")}},
		{"TTL with a fraction", libdns.TXT{Name: "x", TTL: 1999 * time.Millisecond, Text: "y"}, Record{"x", "TXT", new(int64(1)), new("y")}},
		{"name alone", libdns.RR{Name: "x"}, Record{Name: "x"}},
		{"no address", libdns.Address{Name: "x"}, Record{Name: "x", Type: "A"}},
		{"no text", libdns.TXT{Name: "x"}, Record{Name: "x", Type: "TXT"}},
		{"no CAA fields", libdns.CAA{Name: "x"}, Record{Name: "x", Type: "CAA"}},
		{"no MX fields", libdns.MX{Name: "x"}, Record{Name: "x", Type: "MX"}},
		{"no NS fields", libdns.NS{Name: "x"}, Record{Name: "x", Type: "NS"}},
		{"no CNAME fields", libdns.CNAME{Name: "x"}, Record{Name: "x", Type: "CNAME"}},
		{"no SRV fields", libdns.SRV{Name: "x", Service: "a", Transport: "b"}, Record{Name: "_a._b.x", Type: "SRV"}},
		{"no HTTPS fields", libdns.ServiceBinding{Name: "x", Scheme: "https"}, Record{Name: "x", Type: "HTTPS"}},
		{"no SVCB fields", libdns.ServiceBinding{Name: "x", Scheme: "dns"}, Record{Name: "_dns.x", Type: "SVCB"}},
		{"type in lower case", libdns.RR{Name: "x", Type: "txt", Data: "y\xff"}, Record{"x", "TYPE16", nil, new(`\# 3 0279ff`)}},
		{"generic TXT", libdns.RR{Name: "x", Type: "TXT", Data: `a "b"`}, Record{"x", "TXT", nil, new(`a "b"`)}},
		{"generic CAA", libdns.RR{Name: "x", Type: "CAA", Data: `0 issue "a"`}, Record{"x", "CAA", nil, new(`0 issue "a"`)}},
		{"a pointer", &libdns.CAA{Name: "x", Tag: "issue", Value: "\u00e9"}, Record{"x", "CAA", nil, new(`0 issue "\195\169"`)}},
		{"https at its default port", libdns.ServiceBinding{Name: "x", Scheme: "https", URLSchemePort: 443, Priority: 1, Target: "."},
			Record{"x", "HTTPS", nil, new("1 .")}},
		{"scheme mapped to HTTPS", libdns.ServiceBinding{Name: "x", Scheme: "wss", URLSchemePort: 8443, Priority: 1, Target: "."},
			Record{"_8443._https.x", "HTTPS", nil, new("1 .")}},
		{"list for a key that has none", libdns.ServiceBinding{Name: "x", Scheme: "https", Priority: 1, Target: ".", Params: libdns.SvcParams{"dohpath": {"/a", "b"}}},
			Record{"x", "HTTPS", nil, new(`1 . dohpath="/a,b"`)}},
		{"key without a number", libdns.ServiceBinding{Name: "x", Scheme: "https", Priority: 1, Target: ".", Params: libdns.SvcParams{"unknown": {"y"}}},
			Record{"x", "HTTPS", nil, new(`1 . unknown="y"`)}},
		{"key in upper case", libdns.ServiceBinding{Name: "x", Scheme: "https", Priority: 1, Target: ".", Params: libdns.SvcParams{"ALPN": {"h2"}}},
			Record{"x", "HTTPS", nil, new(`1 . alpn="h2"`)}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := FromLibdns(tt.libdns)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestFromLibdnsRefuses(t *testing.T) {
	binding := func(target string, params libdns.SvcParams) libdns.ServiceBinding {
		return libdns.ServiceBinding{Name: "x", Scheme: "https", Priority: 1, Target: target, Params: params}
	}
	for _, tt := range []struct {
		name string
		rec  libdns.Record
		want string
	}{
		{"nil", nil, "is nil"},
		{"no name", libdns.TXT{Text: "x"}, "no name"},
		{"no name below prefixes", libdns.SRV{Service: "a", Transport: "b", Port: 1, Target: "."}, "no name"},
		{"negative TTL", libdns.TXT{Name: "x", TTL: -1}, "negative"},
		{"name not UTF-8", libdns.TXT{Name: "x\xff"}, "not UTF-8"},
		{"type not ASCII", libdns.RR{Name: "x", Type: "\xff"}, "which is invalid"},
		{"data not UTF-8", libdns.RR{Name: "x", Type: "HINFO", Data: "\xff"}, "not UTF-8"},
		{"address with a zone", libdns.Address{Name: "x", IP: netip.MustParseAddr("fe80::1%eth0")}, "zone"},
		{"MX target of two tokens", libdns.MX{Name: "x", Target: "a b"}, "not a name"},
		{"MX without target", libdns.MX{Name: "x", Preference: 1}, "not a name"},
		{"SRV without target", libdns.SRV{Name: "x", Port: 1}, "not a name"},
		{"CNAME target with a line break", libdns.CNAME{Name: "x", Target: "a\n"}, "not a name"},
		{"NS target with a comment", libdns.NS{Name: "x", Target: "a;b"}, "not a name"},
		{"NS target that ends in a backslash", libdns.NS{Name: "x", Target: `a\`}, "not a name"},
		{"CAA tag with a blank", libdns.CAA{Name: "x", Tag: "issue x"}, "letters and digits"},
		{"CAA without tag", libdns.CAA{Name: "x", Value: "x"}, "letters and digits"},
		{"SVCB target that is a parameter", binding(". alpn=h2", nil), "not a name"},
		{"SVCB without target", binding("", nil), "not a name"},
		{"SVCB without scheme", libdns.ServiceBinding{Name: "x", Target: "."}, "no scheme"},
		{"key with an equals sign", binding(".", libdns.SvcParams{"a=b": {"c"}}), "not a key"},
		{"key twice", binding(".", libdns.SvcParams{"alpn": {"h2"}, "Alpn": {"h3"}}), "twice"},
		{"binary text beyond RDATA", libdns.TXT{Name: "x", Text: strings.Repeat("\xff", 65300)}, "more than a record can hold"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := FromLibdns(tt.rec)
			if err == nil {
				t.Fatalf("got %+v", got)
			}
			if !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %q does not say %q", err, tt.want)
			}
		})
	}
}

// TestLibdns has what goes the other way only, and what stays generic.
func TestLibdns(t *testing.T) {
	rr := func(name, typ, data string) (Record, libdns.Record) {
		return Record{name, typ, new(int64(1)), &data}, libdns.RR{Name: name, TTL: time.Second, Type: typ, Data: data}
	}
	type row struct {
		name string
		api  Record
		want libdns.Record
	}
	rows := []row{
		{"TTL zero", Record{"x", "TXT", new(int64(0)), new("y")}, libdns.TXT{Name: "x", Text: "y"}},
		{"TTL out of range", Record{"x", "TXT", new(int64(1 << 40)), new("y")}, libdns.TXT{Name: "x", Text: "y"}},
		{"empty TXT", Record{"x", "TXT", nil, new("")}, libdns.TXT{Name: "x"}},
		{"TYPE16 in small pieces", Record{"x", "TYPE16", nil, new(`\# 4 01 61 01 62`)}, libdns.TXT{Name: "x", Text: "ab"}},
		{"quoted parameters", Record{"x", "HTTPS", nil, new(`1 . alpn="h2,h3" no-default-alpn=""  port="443"`)},
			libdns.ServiceBinding{Scheme: "https", Name: "x", Priority: 1, Target: ".", Params: libdns.SvcParams{"alpn": {"h2", "h3"}, "no-default-alpn": {}, "port": {"443"}}}},
		{"alpn escaped as in RFC 9460 Appendix A.1", Record{"x", "HTTPS", nil, new(`1 . alpn=f\\\\oo\\,bar,h2`)},
			libdns.ServiceBinding{Scheme: "https", Name: "x", Priority: 1, Target: ".", Params: libdns.SvcParams{"alpn": {`f\oo,bar`, "h2"}}}},
		{"CAA without quotes", Record{"x", "CAA", nil, new("0 issue ca.example")}, libdns.CAA{Name: "x", Tag: "issue", Value: "ca.example"}},
		{"no data", Record{Name: "x", Type: "MX"}, libdns.RR{Name: "x", Type: "MX"}},
	}
	for name, args := range map[string][3]string{
		"A of IPv6":                      {"x", "A", "::1"},
		"A that is invalid":              {"x", "A", "192.0.2"},
		"AAAA with a zone":               {"x", "AAAA", "fe80::1%eth0"},
		"TYPE16 without strings":         {"x", "TYPE16", `\# 0`},
		"TYPE16 with an empty string":    {"x", "TYPE16", `\# 1 00`},
		"TYPE16 of another length":       {"x", "TYPE16", `\# 2 00`},
		"TYPE16 that ends within":        {"x", "TYPE16", `\# 2 0261`},
		"TYPE16 not in that form":        {"x", "TYPE16", `"abc"`},
		"CAA with open quotes":           {"x", "CAA", `0 issue "a`},
		"CAA with a number too high":     {"x", "CAA", `256 issue "a"`},
		"CAA with more after it":         {"x", "CAA", `0 issue "a" "b"`},
		"CAA with a bad escape":          {"x", "CAA", `0 issue "\999"`},
		"MX of one token":                {"x", "MX", "mx."},
		"MX of three tokens":             {"x", "MX", "1 mx. mx."},
		"SRV with a port too high":       {"_a._b.x", "SRV", "1 2 65536 x."},
		"CNAME of two tokens":            {"x", "CNAME", "a b"},
		"SVCB at a plain name":           {"x", "SVCB", "1 ."},
		"SVCB at a scheme of HTTPS":      {"_https.x", "SVCB", "1 ."},
		"HTTPS without target":           {"x", "HTTPS", "1"},
		"HTTPS with a key twice":         {"x", "HTTPS", "1 . alpn=h2 alpn=h3"},
		"HTTPS with open quotes":         {"x", "HTTPS", `1 . alpn="h2`},
		"HTTPS with a comment":           {"x", "HTTPS", `1 . alpn=h2;x`},
		"HTTPS with no key":              {"x", "HTTPS", `1 . =x`},
		"HTTPS with one pair on another": {"x", "HTTPS", `1 . alpn="h2"port=1`},
		"HTTPS with an unknown key":      {"x", "HTTPS", `1 . unknown=y`},
		"HTTPS with a target cut short":  {"x", "HTTPS", `1 host`},
		"HTTPS with a bad alpn":          {"x", "HTTPS", `1 . alpn=a\\b`},
	} {
		api, want := rr(args[0], args[1], args[2])
		rows = append(rows, row{name, api, want})
	}
	for _, tt := range rows {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, tt.api.Libdns(), ipCmp); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// FuzzLibdns converts whatever a service may answer: it comes back as the
// record that it was, and the second round changes nothing.
func FuzzLibdns(f *testing.F) {
	for _, seed := range [][3]string{
		{"www", "A", "192.0.2.1"},
		{"www", "AAAA", "2001:DB8::1"},
		{"@", "CAA", `0 issue "a\"\\\009"`},
		{"x", "CNAME", `a\ b.example.`},
		{"x", "MX", "10  mx.example."},
		{"_sip._tcp.x", "SRV", "1 2 3 ."},
		{"_._._", "SRV", "1 2 3 ."},
		{"_8443._https.x", "HTTPS", `1 . alpn="a\\,b,c" ech="x=="`},
		{"_53._dns", "SVCB", "0 x."},
		{"x", "TXT", "a\u00e9"},
		{"x", "TYPE16", `\# 3 0261FF`},
		{"x", "SOA", "a b 1 2 3 4 5"},
	} {
		f.Add(seed[0], seed[1], seed[2], int64(60))
	}
	f.Fuzz(func(t *testing.T, name, typ, data string, ttl int64) {
		if name == "" || !utf8.ValidString(name) || !utf8.ValidString(data) || strings.ContainsFunc(typ, func(b rune) bool { return b > 0x7f || b != unicode.ToUpper(b) }) {
			t.Skip("no answer of the API")
		}
		if ttl <= 0 || ttl > record.MaxTTL || data == "" {
			t.Skip("libdns cannot say it")
		}
		r := Record{Name: name, Type: typ, TTL: &ttl, Data: &data}
		rec := r.Libdns()
		again, err := FromLibdns(rec)
		if err != nil {
			t.Fatalf("%#v, of %q %q %q: %v", rec, name, typ, data, err)
		}
		if _, generic := rec.(libdns.RR); generic || typ == "TXT" {
			if diff := cmp.Diff(r, again); diff != "" {
				t.Fatalf("(-want +got):\n%s", diff)
			}
			return
		}
		if again.Name != name || *again.TTL != ttl || again.Data == nil || again.Type != typ && typ != type16 {
			t.Fatalf("%#v became %#v", r, again)
		}
		if diff := cmp.Diff(rec, again.Libdns(), ipCmp); diff != "" {
			t.Fatalf("second round (-want +got):\n%s", diff)
		}
	})
}

// FuzzFromLibdns converts whatever a program may hand over: what is accepted comes back as
// the same data, and apart from those of SVCB as the same values.
func FuzzFromLibdns(f *testing.F) {
	f.Add("x", "issue", "v", "t.", "alpn", "h2", uint16(1))
	f.Add("@", "a", "\xff\x00\"\\", `a\ b.`, "key7", "a,b\\;", uint16(0))
	f.Fuzz(func(t *testing.T, name, tag, value, target, key, item string, n uint16) {
		for _, rec := range []libdns.Record{
			libdns.CAA{Name: name, Flags: uint8(n), Tag: tag, Value: value},
			libdns.CNAME{Name: name, Target: target},
			libdns.MX{Name: name, Preference: n, Target: target},
			libdns.TXT{Name: name, Text: value},
			libdns.ServiceBinding{Scheme: "https", Name: name, Priority: n, Target: target, Params: libdns.SvcParams{"alpn": {item, value}}},
			libdns.ServiceBinding{Scheme: "dns", Name: name, Priority: n, Target: target, Params: libdns.SvcParams{key: {value}, "port": {"1"}}},
		} {
			r, err := FromLibdns(rec)
			if err != nil || r.Data == nil {
				continue
			}
			again, err := FromLibdns(r.Libdns())
			if err != nil {
				t.Fatalf("%#v became %#v: %v", rec, r.Libdns(), err)
			}
			if diff := cmp.Diff(stored(r), stored(again)); diff != "" {
				t.Fatalf("%#v (-want +got):\n%s", rec, diff)
			}
			switch rec.(type) {
			case libdns.CAA, libdns.CNAME, libdns.MX, libdns.TXT:
				if diff := cmp.Diff(rec, r.Libdns()); diff != "" {
					t.Fatalf("(-want +got):\n%s", diff)
				}
			}
		}
	})
}

// stored returns a record with its data as a name server keeps them, or as they are where
// it refuses them.
func stored(r Record) Record {
	if s, err := record.At(record.Root, r.Type, 0, *r.Data); err == nil {
		_, data := s.Text()
		r.Data = &data
	}
	return r
}
