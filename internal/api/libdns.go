package api

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/libdns/libdns"
	"github.com/miekg/dns"

	"github.com/caddy-dns/bestdns/internal/record"
)

// type16 is TXT by number (RFC 3597 §5). JSON carries Unicode only, so text that
// is not UTF-8 travels under this type, as hexadecimal RDATA.
const type16 = "TYPE16"

// NewChange returns the change that libdns' method of the same name makes with recs.
func NewChange(op record.Op, recs []libdns.Record) (Change, error) {
	list := make([]Record, len(recs))
	for i, rec := range recs {
		var err error
		if list[i], err = FromLibdns(rec); err != nil {
			return Change{}, err
		}
		if op != record.Delete && list[i].Type == "TXT" && list[i].Data == nil {
			list[i].Data = new("") // to libdns, an empty text is one, except in a delete
		}
	}
	switch op {
	case record.Append:
		return Change{Append: list}, nil
	case record.Set:
		return Change{Set: list}, nil
	}
	return Change{Delete: list}, nil
}

// Libdns returns the records as [Record.Libdns] does.
func (r Records) Libdns() []libdns.Record {
	list := make([]libdns.Record, len(r.Records))
	for i, rec := range r.Records {
		list[i] = rec.Libdns()
	}
	return list
}

// FromLibdns returns rec as the API carries it.
//
// What libdns calls empty is absent: TTL 0, a type of "", and the data of a
// record whose fields are all zero. A TTL above zero and below a second is zero.
// The result is the same at each call. CAA, SVCB and HTTPS are written from their
// fields, because libdns' RR method escapes their values as Go does and puts
// parameters in random order.
//
// An error means that rec cannot be said in presentation format without
// becoming another record.
func FromLibdns(rec libdns.Record) (Record, error) {
	r, err := fromLibdns(rec)
	if err != nil {
		return Record{}, err
	}
	switch {
	case r.Name == "":
		return Record{}, errors.New(`a record has no name: that of the zone itself is "@"`)
	case !utf8.ValidString(r.Name):
		return Record{}, fmt.Errorf("the name %q is not UTF-8: write other bytes as \\DDD", r.Name)
	case r.Data != nil && !utf8.ValidString(*r.Data):
		return Record{}, fmt.Errorf("the data of the %s record at %q are not UTF-8: write other bytes as \\DDD", r.Type, r.Name)
	}
	return r, nil
}

func fromLibdns(rec libdns.Record) (Record, error) {
	switch rec := rec.(type) {
	case nil:
		return Record{}, errors.New("a record is nil")
	case libdns.Address:
		if rec.IP.Zone() != "" {
			return Record{}, fmt.Errorf("the address of the record at %q has a zone, which DNS cannot hold", rec.Name)
		}
	case libdns.CAA:
		return fromCAA(rec)
	case libdns.MX:
		return fromTarget(rec.RR(), rec.Target, rec.Preference != 0)
	case libdns.SRV:
		return fromSRV(rec)
	case libdns.CNAME:
		return fromTarget(rec.RR(), rec.Target, false)
	case libdns.NS:
		return fromTarget(rec.RR(), rec.Target, false)
	case libdns.ServiceBinding:
		return fromServiceBinding(rec)
	case *libdns.CAA:
		return fromCAA(*rec)
	case *libdns.ServiceBinding:
		return fromServiceBinding(*rec)
	}
	return fromRR(rec.RR())
}

// fromRR converts a record whose data libdns writes as the API does.
func fromRR(rr libdns.RR) (Record, error) {
	r, err := newRecord(rr.Name, rr.Type, rr.TTL)
	if err != nil {
		return Record{}, err
	}
	switch {
	case rr.Data == "":
		return r, nil
	case r.Type == "TXT" && !utf8.ValidString(rr.Data):
		return fromRawText(r, rr.Data)
	}
	r.Data = &rr.Data
	return r, nil
}

// fromTarget converts a record whose data are numbers, if any, and a name.
// numbers reports whether one of them is set, so that the name may not be empty.
func fromTarget(rr libdns.RR, target string, numbers bool) (Record, error) {
	if target == "" && numbers || !isWord(target) {
		return Record{}, fmt.Errorf("the %s record at %q has %q for a target, which is not a name", rr.Type, rr.Name, target)
	}
	return fromRR(rr)
}

func fromSRV(s libdns.SRV) (Record, error) {
	rr := s.RR()
	rr.Name = s.Name // libdns would take ".@" off the end of any name
	if s.Service != "" || s.Transport != "" {
		rr.Name = prefixed("_"+s.Service+"._"+s.Transport, s.Name)
	}
	return fromTarget(rr, s.Target, s.Priority != 0 || s.Weight != 0 || s.Port != 0)
}

func fromCAA(c libdns.CAA) (Record, error) {
	r, err := newRecord(c.Name, "CAA", c.TTL)
	if err != nil || c.Flags == 0 && c.Tag == "" && c.Value == "" {
		return r, err
	}
	if !isTag(c.Tag) {
		return Record{}, fmt.Errorf("the CAA record at %q has the tag %q: it must be letters and digits (RFC 8659 §4.1)", c.Name, c.Tag)
	}
	caa := &dns.CAA{Flag: c.Flags, Tag: c.Tag, Value: strings.ReplaceAll(c.Value, `\`, `\\`)}
	r.Data = new(strings.TrimPrefix(caa.String(), caa.Hdr.String()))
	return r, nil
}

// isTag reports whether s can be the tag of a CAA record.
func isTag(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(b rune) bool {
		return !('0' <= b && b <= '9' || 'a' <= b && b <= 'z' || 'A' <= b && b <= 'Z')
	})
}

func fromServiceBinding(s libdns.ServiceBinding) (Record, error) {
	name, typ := s.Name, "HTTPS"
	switch s.Scheme {
	case "":
		return Record{}, fmt.Errorf("the service binding at %q has no scheme, so its type and owner are unknown", s.Name)
	case "https", "http", "wss", "ws":
		// RFC 9460 §9.1: the owner has no prefix at the default port. libdns
		// takes port 80 for a default too, and forgets the scheme label.
		if s.URLSchemePort != 0 && s.URLSchemePort != 443 && s.URLSchemePort != 80 {
			name = prefixed("_"+strconv.Itoa(int(s.URLSchemePort))+"._https", name)
		}
	default:
		typ = "SVCB"
		name = prefixed("_"+s.Scheme, name)
		if s.URLSchemePort != 0 {
			name = prefixed("_"+strconv.Itoa(int(s.URLSchemePort)), name)
		}
	}
	r, err := newRecord(name, typ, s.TTL)
	if err != nil || s.Priority == 0 && s.Target == "" && len(s.Params) == 0 {
		return r, err
	}
	if s.Target == "" || !isWord(s.Target) {
		return Record{}, fmt.Errorf(`the %s record at %q has %q for a target, which is not a name: the owner itself is "."`, typ, name, s.Target)
	}
	params, err := svcParams(s.Params)
	if err != nil {
		return Record{}, fmt.Errorf("the %s record at %q: %w", typ, name, err)
	}
	r.Data = new(fmt.Sprintf("%d %s%s", s.Priority, s.Target, params))
	return r, nil
}

// svcParams returns parameters in presentation format (RFC 9460 §2.1), in the order of
// their keys, each after a blank.
func svcParams(params libdns.SvcParams) (string, error) {
	values := make(map[string]dns.SVCBKeyValue, len(params))
	for key, items := range params {
		key = strings.ToLower(key)
		switch {
		case !isSvcParamKey(key):
			return "", fmt.Errorf("%q is not a key of a service parameter (RFC 9460 §2.1)", key)
		case values[key] != nil:
			return "", fmt.Errorf("the service parameter %s is given twice", key)
		case key == "alpn": // has items with commas in them
			values[key] = &dns.SVCBAlpn{Alpn: items}
		default:
			values[key] = &dns.SVCBLocal{Data: []byte(strings.Join(items, ","))}
		}
	}
	var text strings.Builder
	for _, key := range slices.Sorted(maps.Keys(values)) {
		fmt.Fprintf(&text, ` %s="%s"`, key, values[key])
	}
	return text.String(), nil
}

func isSvcParamKey(s string) bool {
	return s != "" && len(s) <= 63 && !strings.ContainsFunc(s, func(b rune) bool {
		return b != '-' && !('a' <= b && b <= 'z') && !('0' <= b && b <= '9')
	})
}

// fromRawText writes text that is not UTF-8 as RDATA of unknown format.
func fromRawText(r Record, text string) (Record, error) {
	stored, err := record.At(record.Root, "TXT", 0, text)
	if err != nil {
		return Record{}, fmt.Errorf("the text of the TXT record at %q has %d bytes, more than a record can hold", r.Name, len(text))
	}
	typ, data := stored.Text()
	r.Type, r.Data = typ, &data
	return r, nil
}

func newRecord(name, typ string, ttl time.Duration) (Record, error) {
	r := Record{Name: name, Type: strings.ToUpper(typ)}
	switch {
	case strings.ContainsFunc(typ, func(b rune) bool { return b >= utf8.RuneSelf }):
		return Record{}, fmt.Errorf("the record at %q has the type %q, which is invalid", name, typ)
	case ttl < 0:
		return Record{}, fmt.Errorf("the TTL of the record at %q is negative", name)
	case ttl > 0:
		r.TTL = new(int64(ttl / time.Second))
	}
	return r, nil
}

// Libdns returns the record as the type that libdns has for it, or as
// [libdns.RR] where there is none or its data do not parse. It is the inverse of
// [FromLibdns], but that libdns cannot tell a TTL of zero or an empty text from
// an absent one.
func (r Record) Libdns() libdns.Record {
	rr := libdns.RR{Name: r.Name, Type: r.Type, TTL: r.ttl()}
	if r.Data != nil {
		rr.Data = *r.Data
	}
	if rr.Data == "" && r.Type != "TXT" {
		return rr
	}
	switch r.Type {
	case "TXT":
		return libdns.TXT{Name: rr.Name, TTL: rr.TTL, Text: rr.Data}
	case type16:
		return toRawText(rr)
	case "A", "AAAA":
		return toAddress(rr)
	case "CAA":
		return toCAA(rr)
	case "SVCB", "HTTPS":
		return toServiceBinding(rr)
	case "CNAME", "NS", "MX", "SRV":
		return toTarget(rr)
	}
	return rr
}

// ttl is the TTL as libdns has it. One that no server may answer is as good as
// none; without this, seconds could overflow to a negative duration.
func (r Record) ttl() time.Duration {
	if r.TTL == nil || *r.TTL < 0 || *r.TTL > record.MaxTTL {
		return 0
	}
	return time.Duration(*r.TTL) * time.Second
}

func toRawText(rr libdns.RR) libdns.Record {
	data, err := record.ParseGenericData(record.TypeTXT, rr.Data)
	text := record.JoinStrings(data)
	if err != nil || text == "" { // as a TXT, it would mean any text
		return rr
	}
	return libdns.TXT{Name: rr.Name, TTL: rr.TTL, Text: text}
}

func toAddress(rr libdns.RR) libdns.Record {
	ip, err := netip.ParseAddr(rr.Data)
	if err != nil || ip.Zone() != "" || ip.Is4() != (rr.Type == "A") {
		return rr
	}
	return libdns.Address{Name: rr.Name, TTL: rr.TTL, IP: ip}
}

// parse reads the data of a record, nil where that fails.
func parse(rr libdns.RR) dns.RR {
	r, err := record.At(record.Root, rr.Type, 0, rr.Data)
	if err != nil {
		return nil
	}
	header := dns.RR_Header{Name: ".", Rrtype: uint16(r.Type), Class: dns.ClassINET, Rdlength: uint16(len(r.Data))}
	parsed, _, err := dns.UnpackRRWithHeader(header, []byte(r.Data), 0)
	if err != nil {
		return nil
	}
	return parsed
}

func toCAA(rr libdns.RR) libdns.Record {
	caa, ok := parse(rr).(*dns.CAA)
	if !ok || !isTag(caa.Tag) {
		return rr
	}
	return libdns.CAA{Name: rr.Name, TTL: rr.TTL, Flags: caa.Flag, Tag: caa.Tag, Value: caa.Value}
}

// toTarget reads CNAME, NS, MX and SRV: zero, one or three numbers and a name.
func toTarget(rr libdns.RR) libdns.Record {
	var numbers [3]uint16
	count := map[string]int{"MX": 1, "SRV": 3}[rr.Type]
	words := splitWords(rr.Data)
	if len(words) != count+1 || !isWord(words[count]) {
		return rr
	}
	for i, word := range words[:count] {
		n, err := strconv.ParseUint(word, 10, 16)
		if err != nil {
			return rr
		}
		numbers[i] = uint16(n)
	}
	target := words[count]
	switch rr.Type {
	case "CNAME":
		return libdns.CNAME{Name: rr.Name, TTL: rr.TTL, Target: target}
	case "NS":
		return libdns.NS{Name: rr.Name, TTL: rr.TTL, Target: target}
	case "MX":
		return libdns.MX{Name: rr.Name, TTL: rr.TTL, Preference: numbers[0], Target: target}
	}
	srv := libdns.SRV{
		Name: rr.Name, TTL: rr.TTL,
		Priority: numbers[0], Weight: numbers[1], Port: numbers[2], Target: target,
	}
	// An owner without these labels stays whole: libdns then takes the name as it is.
	if service, name, ok := cutPrefixed(rr.Name); ok {
		if transport, name, ok := cutPrefixed(name); ok && service+transport != "" {
			srv.Service, srv.Transport, srv.Name = service, transport, name
		}
	}
	return srv
}

func toServiceBinding(rr libdns.RR) libdns.Record {
	var svcb *dns.SVCB
	switch parsed := parse(rr).(type) {
	case *dns.SVCB:
		svcb = parsed
	case *dns.HTTPS:
		svcb = &parsed.SVCB
	default:
		return rr
	}
	s := libdns.ServiceBinding{
		Name: rr.Name, TTL: rr.TTL,
		Priority: svcb.Priority, Target: svcb.Target, Params: toSvcParams(svcb.Value),
	}
	if rr.Type == "HTTPS" {
		s.Scheme = "https"
		if port, name, ok := cutPort(rr.Name); ok && port != 443 && port != 80 {
			if scheme, name, ok := cutPrefixed(name); ok && scheme == "https" {
				s.URLSchemePort, s.Name = port, name
			}
		}
		return s
	}
	// SVCB: libdns needs a scheme, and gives these schemes the type HTTPS.
	if port, name, ok := cutPort(rr.Name); ok {
		if scheme, name, ok := cutPrefixed(name); ok && isSVCBScheme(scheme) {
			s.URLSchemePort, s.Scheme, s.Name = port, scheme, name
			return s
		}
	}
	if scheme, name, ok := cutPrefixed(rr.Name); ok && isSVCBScheme(scheme) {
		s.Scheme, s.Name = scheme, name
		return s
	}
	return rr
}

func toSvcParams(pairs []dns.SVCBKeyValue) libdns.SvcParams {
	params := make(libdns.SvcParams, len(pairs))
	for _, pair := range pairs {
		var items []string
		switch pair := pair.(type) {
		case *dns.SVCBAlpn:
			items = pair.Alpn
		case *dns.SVCBDoHPath:
			items = []string{pair.Template}
		case *dns.SVCBLocal:
			items = []string{string(pair.Data)}
		default:
			items = strings.Split(pair.String(), ",")
		}
		if len(items) == 1 && items[0] == "" {
			items = []string{}
		}
		params[pair.Key().String()] = items
	}
	return params
}

func isSVCBScheme(s string) bool {
	return s != "" && s != "https" && s != "http" && s != "wss" && s != "ws"
}

// prefixed puts labels before name. At the apex they are the whole name; an
// empty name stays empty, and so invalid.
func prefixed(labels, name string) string {
	switch name {
	case "":
		return ""
	case "@":
		return labels
	}
	return labels + "." + name
}

// cutPrefixed takes a label with an underscore off the front of name. It
// reports false where putting it back would not give the same name.
func cutPrefixed(name string) (label, rest string, ok bool) {
	if !strings.HasPrefix(name, "_") {
		return "", name, false
	}
	for i := 1; i < len(name); i++ {
		switch name[i] {
		case '\\':
			i++ // an escaped dot ends no label
		case '.':
			rest = name[i+1:]
			return name[1:i], rest, rest != "" && rest != "@"
		}
	}
	return name[1:], "@", true
}

// cutPort takes a label of an underscore and a port off the front of name.
func cutPort(name string) (port uint16, rest string, ok bool) {
	label, rest, ok := cutPrefixed(name)
	n, err := strconv.ParseUint(label, 10, 16)
	if !ok || err != nil || n == 0 || strconv.FormatUint(n, 10) != label {
		return 0, name, false
	}
	return uint16(n), rest, true
}
