package api

import (
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/libdns/libdns"
)

// type16 is TXT by number (RFC 3597 §5). JSON carries Unicode only, so text that
// is none travels under this type, as hexadecimal RDATA.
const type16 = "TYPE16"

// maxRDATA is the length of RDATA at most, in octets.
const maxRDATA = 65535

// maxTTL is the highest TTL, in seconds (RFC 2181 §8).
const maxTTL = 1<<31 - 1

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
	if target == "" && numbers || !oneToken(target) {
		return Record{}, fmt.Errorf("the %s record at %q has %q for a target, which is no name", rr.Type, rr.Name, target)
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
	if c.Tag == "" || strings.ContainsFunc(c.Tag, func(b rune) bool { return !isAlphanumeric(b) }) {
		return Record{}, fmt.Errorf("the CAA record at %q has the tag %q: it must be letters and digits (RFC 8659 §4.1)", c.Name, c.Tag)
	}
	data := make([]byte, 0, len("255 ")+len(c.Tag)+len(` ""`)+len(c.Value))
	data = strconv.AppendUint(data, uint64(c.Flags), 10)
	data = append(data, ' ')
	data = append(data, c.Tag...)
	data = append(data, ' ')
	r.Data = new(string(appendQuoted(data, c.Value)))
	return r, nil
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
	if s.Target == "" || !oneToken(s.Target) {
		return Record{}, fmt.Errorf(`the %s record at %q has %q for a target, which is no name: the owner itself is "."`, typ, name, s.Target)
	}
	data := strconv.AppendUint(nil, uint64(s.Priority), 10)
	data = append(data, ' ')
	data = append(data, s.Target...)
	if data, err = appendSvcParams(data, s.Params); err != nil {
		return Record{}, fmt.Errorf("the %s record at %q: %w", typ, name, err)
	}
	r.Data = new(string(data))
	return r, nil
}

// fromRawText writes text that is not UTF-8 as RDATA of unknown format.
func fromRawText(r Record, text string) (Record, error) {
	length := len(text) + (len(text)+254)/255
	if length > maxRDATA {
		return Record{}, fmt.Errorf("the text of the TXT record at %q has %d octets, more than a record can hold", r.Name, len(text))
	}
	rdata := make([]byte, 0, length)
	for len(text) > 0 {
		n := min(len(text), 255)
		rdata = append(append(rdata, byte(n)), text[:n]...)
		text = text[n:]
	}
	r.Type = type16
	r.Data = new(fmt.Sprintf(`\# %d %X`, length, rdata))
	return r, nil
}

func newRecord(name, typ string, ttl time.Duration) (Record, error) {
	r := Record{Name: name, Type: strings.ToUpper(typ)}
	switch {
	case strings.ContainsFunc(typ, func(b rune) bool { return b >= utf8.RuneSelf }):
		return Record{}, fmt.Errorf("the record at %q has the type %q, which is none", name, typ)
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
	if r.TTL == nil || *r.TTL < 0 || *r.TTL > maxTTL {
		return 0
	}
	return time.Duration(*r.TTL) * time.Second
}

func toRawText(rr libdns.RR) libdns.Record {
	fields := strings.Fields(rr.Data)
	if len(fields) < 2 || fields[0] != `\#` {
		return rr
	}
	rdata, err := hex.DecodeString(strings.Join(fields[2:], ""))
	if err != nil || strconv.Itoa(len(rdata)) != fields[1] || len(rdata) > maxRDATA {
		return rr
	}
	text := make([]byte, 0, len(rdata))
	for len(rdata) > 0 {
		n := 1 + int(rdata[0])
		if n > len(rdata) {
			return rr
		}
		text = append(text, rdata[1:n]...)
		rdata = rdata[n:]
	}
	if len(text) == 0 {
		return rr // as a TXT, it would mean any text
	}
	return libdns.TXT{Name: rr.Name, TTL: rr.TTL, Text: string(text)}
}

func toAddress(rr libdns.RR) libdns.Record {
	ip, err := netip.ParseAddr(rr.Data)
	if err != nil || ip.Zone() != "" || ip.Is4() != (rr.Type == "A") {
		return rr
	}
	return libdns.Address{Name: rr.Name, TTL: rr.TTL, IP: ip}
}

func toCAA(rr libdns.RR) libdns.Record {
	flags, rest, ok := nextUint(rr.Data, 8)
	tag, rest := nextToken(rest)
	value, rest, valid := nextString(rest)
	if !ok || !valid || rest != "" || strings.ContainsFunc(tag, func(b rune) bool { return !isAlphanumeric(b) }) {
		return rr
	}
	return libdns.CAA{Name: rr.Name, TTL: rr.TTL, Flags: uint8(flags), Tag: tag, Value: value}
}

// toTarget reads CNAME, NS, MX and SRV: zero, one or three numbers and a name.
func toTarget(rr libdns.RR) libdns.Record {
	var numbers [3]uint16
	rest := rr.Data
	for i := range map[string]int{"MX": 1, "SRV": 3}[rr.Type] {
		n, r, ok := nextUint(rest, 16)
		if !ok {
			return rr
		}
		numbers[i], rest = uint16(n), r
	}
	target, rest := nextToken(rest)
	if target == "" || rest != "" || !oneToken(target) {
		return rr
	}
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
	priority, rest, ok := nextUint(rr.Data, 16)
	target, rest := nextToken(rest)
	if !ok || target == "" || !oneToken(target) {
		return rr
	}
	params, err := parseSvcParams(rest)
	if err != nil {
		return rr
	}
	s := libdns.ServiceBinding{
		Name: rr.Name, TTL: rr.TTL,
		Priority: uint16(priority), Target: target, Params: params,
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

func isSVCBScheme(s string) bool {
	return s != "" && s != "https" && s != "http" && s != "wss" && s != "ws"
}

// prefixed puts labels before name. At the apex they are the whole name; an
// empty name, which is none, stays one.
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

func isAlphanumeric(b rune) bool {
	return '0' <= b && b <= '9' || 'a' <= b && b <= 'z' || 'A' <= b && b <= 'Z'
}
