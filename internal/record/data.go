package record

import (
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"strconv"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/miekg/dns"
)

// Type is a resource record type (RFC 1035 §3.2.2). Zero stands for any type
// where a pattern is meant.
type Type uint16

// Types that have rules of their own.
const (
	TypeA     = Type(dns.TypeA)
	TypeNS    = Type(dns.TypeNS)
	TypeCNAME = Type(dns.TypeCNAME)
	TypeSOA   = Type(dns.TypeSOA)
	TypeTXT   = Type(dns.TypeTXT)
	TypeAAAA  = Type(dns.TypeAAAA)
	TypeDS    = Type(dns.TypeDS)
)

// String returns the mnemonic, or the form of RFC 3597 §5 for a type without one.
func (t Type) String() string {
	if s, ok := dns.TypeToString[uint16(t)]; ok && s != "" && t != 0 {
		return s
	}
	return "TYPE" + strconv.Itoa(int(t))
}

// ParseType reads a type that a zone can hold: a mnemonic, or TYPE and a number
// (RFC 3597 §5), in any case.
func ParseType(s string) (Type, error) {
	upper := strings.ToUpper(s)
	t, ok := dns.StringToType[upper]
	if !ok {
		number, isNumber := strings.CutPrefix(upper, "TYPE")
		n, err := strconv.ParseUint(number, 10, 16)
		if !isNumber || err != nil {
			return 0, fmt.Errorf("type %q: not a record type; a type without a name is written TYPE and its number", shorten(s))
		}
		t = uint16(n)
	}
	if reason := unstorable(Type(t)); reason != "" {
		return 0, fmt.Errorf("type %s: %s", Type(t), reason)
	}
	return Type(t), nil
}

// unstorable says why no record of the type can be written, "" if one can.
func unstorable(t Type) string {
	switch uint16(t) {
	case 0, dns.TypeOPT, dns.TypeReserved:
		return "it is never in a zone"
	case dns.TypeRRSIG, dns.TypeNSEC, dns.TypeNSEC3, dns.TypeNSEC3PARAM, dns.TypeSIG, dns.TypeNXT:
		return "it is made when a zone is signed, not written by hand"
	case dns.TypeDNAME:
		return "not supported"
	}
	if 128 <= t && t <= 255 { // RFC 6895 §3.1
		return "it is for questions and messages and is never in a zone"
	}
	return ""
}

// ParseData reads RDATA in presentation format into wire form, names in lower
// case. For TXT, text is the text itself, without quotes or escapes, and is split
// into strings of 255 bytes; that form alone has no room for several strings
// of other lengths, so such data is written as type "TYPE16" (rfc3597 true).
//
// The text must be one record's data and nothing else: line ends, comments,
// parentheses and names without a final dot are refused rather than interpreted.
func ParseData(t Type, text string) (string, error) {
	switch {
	case t == TypeTXT:
		return textData(text)
	case strings.HasPrefix(strings.TrimLeft(text, " "), `\#`):
		return ParseGenericData(t, text)
	case t == TypeA || t == TypeAAAA:
		return addressData(t, text)
	}
	return parsePresentation(t, text)
}

// ParseGenericData reads RDATA in the form of RFC 3597 §5, \# LENGTH HEX, which
// any type can have.
func ParseGenericData(t Type, text string) (string, error) {
	text = strings.TrimLeft(text, " ")
	if err := checkPresentation(text); err != nil {
		return "", fmt.Errorf("%s data %q: %w", t, shorten(text), err)
	}
	fields := strings.Fields(text)
	if len(fields) < 2 || fields[0] != `\#` {
		return "", fmt.Errorf(`%s data %q: the form of an unknown type is \# LENGTH HEX (RFC 3597)`, t, shorten(text))
	}
	length, err := strconv.ParseUint(fields[1], 10, 16)
	if err != nil {
		return "", fmt.Errorf("%s data: the length %q is not a number up to 65535", t, shorten(fields[1]))
	}
	data, err := hex.DecodeString(strings.Join(fields[2:], ""))
	if err != nil {
		return "", fmt.Errorf("%s data: not hexadecimal: %w", t, err)
	}
	if uint64(len(data)) != length {
		return "", fmt.Errorf("%s data: %d octets announced, %d given", t, length, len(data))
	}
	return CanonicalData(t, string(data))
}

// CanonicalData checks RDATA in uncompressed wire form and puts the names in it
// in lower case (RFC 4034 §6.2, here for all types whose names are known).
func CanonicalData(t Type, wire string) (string, error) {
	rr, err := unpack(t, wire)
	if err != nil {
		return "", fmt.Errorf("%s data of %d octets: not what the type holds: %w", t, len(wire), err)
	}
	data, err := packData(t, rr)
	if err != nil {
		return "", err
	}
	// miekg/dns takes data that ends early as if zeros followed, follows compression
	// pointers, and clears what an APL prefix has set beyond its length.
	if !isLowered(data, wire) {
		return "", fmt.Errorf("%s data of %d octets: not what the type holds: cut short, a name in it is compressed, or bits are set that mean nothing", t, len(wire))
	}
	if least := leastData[uint16(t)]; len(wire) < least {
		return "", fmt.Errorf("%s data of %d octets: digest or key is missing, and other name servers refuse the whole zone for that", t, len(wire))
	}
	return data, nil
}

// leastData is how many octets there are before what must not be empty, and one more, in types whose
// last field miekg/dns takes empty.
var leastData = map[uint16]int{
	dns.TypeDS: 5, dns.TypeCDS: 5, dns.TypeDLV: 5, dns.TypeTA: 5,
	dns.TypeDNSKEY: 5, dns.TypeCDNSKEY: 5, dns.TypeKEY: 5, dns.TypeRKEY: 5,
	dns.TypeSSHFP: 3, dns.TypeTLSA: 4, dns.TypeSMIMEA: 4,
}

// isLowered reports whether lower is s but for letters in lower case.
func isLowered(lower, s string) bool {
	if len(lower) != len(s) {
		return false
	}
	for i := range len(s) {
		if c := s[i]; lower[i] != c && (c < 'A' || c > 'Z' || lower[i] != c+'a'-'A') {
			return false
		}
	}
	return true
}

// textData splits a text into the strings of a TXT record.
func textData(text string) (string, error) {
	const most = 255
	pieces := max(1, (len(text)+most-1)/most)
	if len(text)+pieces > 65535 {
		return "", fmt.Errorf("TXT text of %d bytes: does not fit a record", len(text))
	}
	data := make([]byte, 0, len(text)+pieces)
	for {
		n := min(most, len(text))
		data = append(append(data, byte(n)), text[:n]...)
		text = text[n:]
		if text == "" {
			return string(data), nil
		}
	}
}

func addressData(t Type, text string) (string, error) {
	ip, err := netip.ParseAddr(text)
	switch {
	case err != nil || ip.Zone() != "":
		return "", fmt.Errorf("%s data %q: not an IP address", t, shorten(text))
	case t == TypeA && !ip.Is4():
		return "", fmt.Errorf("%s data %q: not an IPv4 address", t, shorten(text))
	case t == TypeAAAA && !ip.Is6():
		return "", fmt.Errorf("%s data %q: not an IPv6 address", t, shorten(text))
	}
	return string(ip.AsSlice()), nil
}

// parsePresentation has miekg/dns parse the data of all other types, once it is
// certain that the text cannot be taken for more than data.
func parsePresentation(t Type, text string) (string, error) {
	if err := checkPresentation(text); err != nil {
		return "", fmt.Errorf("%s data %q: %w", t, shorten(text), err)
	}
	// Without an origin, a name that is not absolute is refused.
	rr, err := parseWithOrigin(t, text, "")
	if err != nil {
		if _, other := parseWithOrigin(t, text, "."); other == nil {
			err = fmt.Errorf("%s data %q: a name in it is not absolute; write it in full, with a dot at its end", t, shorten(text))
		}
		return "", err
	}
	return packParsed(t, rr)
}

func parseWithOrigin(t Type, text, origin string) (dns.RR, error) {
	zp := dns.NewZoneParser(strings.NewReader(". 0 IN "+t.String()+" "+text+"\n"), origin, "")
	rr, ok := zp.Next()
	if !ok {
		reason := errors.New("no data")
		if parseErr := (*dns.ParseError)(nil); errors.As(zp.Err(), &parseErr) {
			reason = errors.New(parserReason(parseErr))
		}
		return nil, fmt.Errorf("%s data %q: %w", t, shorten(text), reason)
	}
	if _, more := zp.Next(); more || zp.Err() != nil {
		return nil, fmt.Errorf("%s data %q: more than one record", t, shorten(text))
	}
	if Type(rr.Header().Rrtype) != t {
		return nil, fmt.Errorf("%s data %q: parsed as type %s", t, shorten(text), Type(rr.Header().Rrtype))
	}
	return rr, nil
}

// parserReason takes the sentence out of the parser's error, whose line and
// column are those of a file that the caller never wrote.
func parserReason(err *dns.ParseError) string {
	reason := strings.TrimPrefix(err.Error(), "dns: ")
	if i := strings.LastIndex(reason, ` at line: `); i >= 0 {
		reason = reason[:i]
	}
	return reason
}

// checkPresentation refuses what would end the data, begin a comment or open a
// group, in or out of quotes.
func checkPresentation(text string) error {
	quoted := false
	for i := 0; i < len(text); i++ {
		c := text[i]
		switch {
		case c == '\\':
			if text[i:] == `\` {
				return errors.New("a backslash at the end")
			}
			if strings.HasPrefix(text[i:], `\#`) && i == 0 {
				continue
			}
			if _, width := unescape(text[i:]); width == 0 {
				return errors.New("a backslash comes before one character, or before three digits up to 255")
			}
			i++
			if text[i] < ' ' || text[i] == 0x7f {
				return fmt.Errorf("the control character %q is not allowed", text[i])
			}
		case c == '"':
			quoted = !quoted
		case c < ' ' || c == 0x7f:
			return fmt.Errorf("the control character %q is not allowed", c)
		case !quoted && c >= 0x80:
			return errors.New("not ASCII outside quotes; write an internationalized name in its A-label form (xn--…)")
		case !quoted && (c == ';' || c == '(' || c == ')'):
			return fmt.Errorf("the character %q is not allowed outside quotes unless it is escaped", c)
		}
	}
	if quoted {
		return errors.New("a quote is not closed")
	}
	if strings.TrimSpace(text) == "" {
		return errors.New("empty")
	}
	return nil
}

// Text returns RDATA in the form that [ParseData] or [ParseGenericData] reads,
// and the type's name with it: the text itself for TXT, the form of RFC 3597
// under the name TYPE16 where a TXT record's bytes are not UTF-8. Data of other
// types that has no presentation format is in the form of RFC 3597 too.
func (r Record) Text() (typ, data string) {
	switch r.Type {
	case TypeTXT:
		text := JoinStrings(r.Data)
		if utf8.ValidString(text) {
			return "TXT", text
		}
		return "TYPE16", genericText(r.Data)
	case TypeA, TypeAAAA:
		if ip, ok := netip.AddrFromSlice([]byte(r.Data)); ok {
			return r.Type.String(), ip.String()
		}
	}
	return r.Type.String(), presentationText(r.Type, r.Data)
}

// presentationText has miekg/dns print data, and falls back on the form of RFC
// 3597 where that prints what does not mean the data: strings without their
// quotes, numbers out of the range of their format, NULL data as a comment.
func presentationText(t Type, data string) string {
	rr, err := unpack(t, data)
	if err != nil {
		return genericText(data)
	}
	if _, unknown := rr.(*dns.RFC3597); unknown {
		return genericText(data)
	}
	text := strings.TrimSpace(strings.TrimPrefix(rr.String(), rr.Header().String()))
	if isPlain(t) {
		return text
	}
	if again, err := ParseData(t, text); err != nil || again != data {
		return genericText(data)
	}
	return text
}

// isPlain reports whether data of a type is names, numbers and addresses alone, of which
// nothing is read in another way than it is printed.
func isPlain(t Type) bool {
	switch t {
	case TypeA, TypeAAAA, TypeNS, TypeCNAME, TypeDS, Type(dns.TypePTR), Type(dns.TypeMX), Type(dns.TypeSRV):
		return true
	}
	return false
}

func genericText(data string) string {
	return strings.TrimSuffix(fmt.Sprintf(`\# %d %x`, len(data), data), " ")
}

// JoinStrings joins the strings of TXT RDATA.
func JoinStrings(data string) string {
	if len(data) > 0 && int(data[0]) == len(data)-1 {
		return data[1:]
	}
	var text strings.Builder
	for len(data) > 0 {
		n := min(int(data[0]), len(data)-1)
		text.WriteString(data[1 : 1+n])
		data = data[1+n:]
	}
	return text.String()
}

// packData returns the wire form of rr's RDATA, names in lower case.
func packData(t Type, rr dns.RR) (string, error) {
	rr.Header().Name = "."
	if err := lowerNames(rr); err != nil {
		return "", fmt.Errorf("%s data: %w", t, err)
	}
	if addressMissing(rr) {
		return "", fmt.Errorf("%s data: an address is missing", t)
	}
	buf := make([]byte, dns.Len(rr)+1)
	end, err := dns.PackRR(rr, buf, 0, nil, false)
	if err != nil {
		return "", fmt.Errorf("%s data: %w", t, err)
	}
	const header = 1 + 10 // the root as owner; type, class, TTL, length
	return string(buf[header:end]), nil
}

// packParsed is packData for a record that miekg/dns has parsed out of text. What
// it parses it does not always pack as a whole (AMTRELAY with the discovery flag
// loses its relay, and a line may have no data at all).
func packParsed(t Type, rr dns.RR) (string, error) {
	data, err := packData(t, rr)
	if err != nil {
		return "", err
	}
	if again, err := CanonicalData(t, data); err != nil || again != data {
		return "", fmt.Errorf("%s data: missing, or not supported in this form", t)
	}
	return data, nil
}

// unpack is the inverse of packData.
func unpack(t Type, data string) (dns.RR, error) {
	header := dns.RR_Header{Name: ".", Rrtype: uint16(t), Class: dns.ClassINET, Rdlength: uint16(len(data))}
	rr, end, err := dns.UnpackRRWithHeader(header, []byte(data), 0)
	if err != nil {
		return nil, err
	}
	if end != len(data) || len(data) > 65535 {
		return nil, errors.New("octets left over")
	}
	if len(data) == 0 {
		if _, ok := rr.(*dns.RFC3597); !ok {
			return nil, errors.New("empty")
		}
	}
	escapeOctets(rr)
	return rr, nil
}

// escapeOctets escapes the backslashes in values that miekg/dns escapes neither
// when it unpacks nor when it prints them, but takes for escaped in both packing
// and printing.
func escapeOctets(rr dns.RR) {
	switch rr := rr.(type) {
	case *dns.CAA:
		rr.Value = strings.ReplaceAll(rr.Value, `\`, `\\`)
	case *dns.URI:
		rr.Target = strings.ReplaceAll(rr.Target, `\`, `\\`)
	}
}

// addressMissing reports whether an address is missing that miekg/dns would leave
// out of the data without an error.
func addressMissing(rr dns.RR) bool {
	switch rr := rr.(type) {
	case *dns.L32:
		return len(rr.Locator32) == 0
	case *dns.IPSECKEY:
		return isAddressGateway(rr.GatewayType) && len(rr.GatewayAddr) == 0
	case *dns.AMTRELAY:
		return isAddressGateway(rr.GatewayType&^amtDiscovery) && len(rr.GatewayAddr) == 0
	}
	return false
}

func isAddressGateway(t uint8) bool { return t == dns.IPSECGatewayIPv4 || t == dns.IPSECGatewayIPv6 }

// amtDiscovery is the flag that shares an octet with the gateway's type (RFC 8777 §4.2).
const amtDiscovery = 0x80

// lowerNames puts the names in RDATA in lower case, so that data which means the
// same is the same.
func lowerNames(rr dns.RR) error {
	switch rr.(type) {
	case *dns.A, *dns.AAAA, *dns.TXT:
		return nil // most records are these, and have none
	}
	for _, name := range namesIn(reflect.ValueOf(rr).Elem()) {
		if *name == "" && !needsNames(rr) {
			continue
		}
		lower, err := lowerName(*name)
		if err != nil {
			return err
		}
		*name = lower
	}
	return nil
}

// needsNames reports whether all names in a record must be there: that of a gateway is not
// where the gateway is an address.
func needsNames(rr dns.RR) bool {
	switch rr := rr.(type) {
	case *dns.IPSECKEY:
		return rr.GatewayType == dns.IPSECGatewayHost
	case *dns.AMTRELAY:
		return rr.GatewayType&^amtDiscovery == dns.AMTRELAYHost
	}
	return true
}

// namesIn returns the domain names in a record, its owner first.
func namesIn(record reflect.Value) []*string {
	fields := nameFields(record.Type())
	names := make([]*string, 0, len(fields))
	for _, field := range fields {
		switch at := record.FieldByIndex(field).Addr().Interface().(type) {
		case *string:
			names = append(names, at)
		case *[]string:
			for i := range *at {
				names = append(names, &(*at)[i])
			}
		}
	}
	return names
}

// knownNameFields has what findNameFields has found, a [][]int for each [reflect.Type]: reading
// the tags takes longer than all else that is done for a record. There are as many as miekg/dns
// has types of records.
var knownNameFields sync.Map

func nameFields(record reflect.Type) [][]int {
	if known, ok := knownNameFields.Load(record); ok {
		return known.([][]int)
	}
	found := findNameFields(record)
	knownNameFields.Store(record, found)
	return found
}

// findNameFields returns the fields of a struct that hold domain names, which miekg/dns marks
// by a tag, as indexes for [reflect.Value.FieldByIndex].
func findNameFields(record reflect.Type) (fields [][]int) {
	for i := range record.NumField() {
		field := record.Field(i)
		switch field.Tag.Get("dns") {
		case "domain-name", "cdomain-name", "ipsechost", "amtrelayhost":
			fields = append(fields, []int{i})
		case "":
			if field.Type.Kind() == reflect.Struct { // the header, and SVCB in HTTPS
				for _, inner := range findNameFields(field.Type) {
					fields = append(fields, append([]int{i}, inner...))
				}
			}
		}
	}
	return fields
}

// lowerName puts a name in presentation format in lower case. It does so on the
// wire form, for a letter can be written as an escape (\065).
func lowerName(name string) (string, error) {
	if name == "" {
		return "", errors.New("a name is missing")
	}
	if !strings.ContainsAny(name, `\ABCDEFGHIJKLMNOPQRSTUVWXYZ`) {
		return name, nil
	}
	lower, err := NameFromLibrary(name)
	if err != nil {
		return "", fmt.Errorf("name %q: %w", shorten(name), err)
	}
	return lower.String(), nil
}

// NameFromLibrary reads a name as miekg/dns has it, which may be with other escapes than ours. With
// an error, the name is "".
func NameFromLibrary(name string) (Name, error) {
	var wire [maxNameLen + 1]byte
	end, err := dns.PackDomainName(name, wire[:], 0, nil, false)
	if err != nil {
		return "", err
	}
	return NameFromWire(wire[:end])
}
