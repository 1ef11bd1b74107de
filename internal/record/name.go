// Package record holds domain names and resource records in the one parsed,
// canonical form that placing, rights, delete-matching and the name server
// speak: names as wire-form labels in lower case, data as wire-form RDATA.
// Strings are parsed once, at the border, and printed once, on the way out.
//
// It also says what append, set and delete do to the records of a zone ([Plan]).
// All of its values are immutable and safe for concurrent use.
package record

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"github.com/caddy-dns/bestdns/internal/text"
)

// Name is an absolute domain name in uncompressed wire form (RFC 1035 §3.1),
// ASCII letters in lower case, the root label at its end. Two names are the same
// name exactly when they are equal. The zero value is not a name.
type Name string

// Root is the name of the root zone.
const Root Name = "\x00"

// Limits of a name and of one of its labels in octets (RFC 1035 §2.3.4).
const (
	maxNameLen  = 255
	maxLabelLen = 63
)

// ParseName reads an absolute name in presentation format (RFC 1035 §5.1); its
// final dot is optional.
//
// Octets that a master file gives a meaning of its own (white space, quotes,
// ";", "(", ")", "@", "$"), control characters and octets beyond ASCII are
// accepted only as escapes, so that no name can be mistaken for text around it.
func ParseName(s string) (Name, error) {
	if s == "." {
		return Root, nil
	}
	labels := s
	if endsWithDot(s) {
		labels = s[:len(s)-1]
	}
	wire, err := parseLabels(labels, s)
	if err != nil {
		return "", err
	}
	if len(wire)+1 > maxNameLen {
		return "", fmt.Errorf("name %q: longer than %d octets", shorten(s), maxNameLen)
	}
	return Name(append(wire, 0)), nil
}

// ParseOwner reads an owner name as libdns and the API give it: relative to the
// zone, "@" or nothing for the zone itself, or absolute with a final dot.
func ParseOwner(s string, zone Name) (Name, error) {
	if s == "@" || s == "" {
		return zone, nil
	}
	if endsWithDot(s) {
		return ParseName(s)
	}
	wire, err := parseLabels(s, s)
	if err != nil {
		return "", err
	}
	if len(wire)+len(zone) > maxNameLen {
		return "", fmt.Errorf("name %q in zone %q: longer than %d octets", shorten(s), zone, maxNameLen)
	}
	return Name(wire) + zone, nil
}

// IsDoubled reports whether s, which ParseOwner reads as owner, is relative and ends in the
// labels of the zone, so that owner has those twice. No relative name of the root is.
func IsDoubled(s string, owner, zone Name) bool {
	if len(owner) < 2*len(zone)-1 || zone == Root || endsWithDot(s) {
		return false
	}
	relative := owner[:len(owner)-len(zone)]
	if !strings.HasSuffix(string(relative), string(zone[:len(zone)-1])) {
		return false
	}
	return (relative + Root).In(zone) // it ends between two labels
}

// endsWithDot reports whether s ends in a dot that no backslash escapes.
func endsWithDot(s string) bool {
	if !strings.HasSuffix(s, ".") {
		return false
	}
	s = s[:len(s)-1]
	backslashes := len(s) - len(strings.TrimRight(s, `\`))
	return backslashes%2 == 0
}

// parseLabels reads the labels of s, which has no final dot, into wire form without the
// root's. whole is what the errors show.
func parseLabels(s, whole string) ([]byte, error) {
	wire := make([]byte, 1, 64)
	label := 0 // where the length of the label at hand is to be
	for i := 0; ; i++ {
		if i == len(s) || s[i] == '.' {
			switch n := len(wire) - label - 1; {
			case n == 0:
				return nil, fmt.Errorf("name %q: an empty label", shorten(whole))
			case n > maxLabelLen:
				return nil, fmt.Errorf("name %q: a label longer than %d octets", shorten(whole), maxLabelLen)
			default:
				wire[label] = byte(n)
			}
			if i == len(s) {
				return wire, nil
			}
			label = len(wire)
			wire = append(wire, 0)
			continue
		}
		c := s[i]
		switch {
		case c == '\\':
			var width int
			c, width = unescape(s[i:])
			if width == 0 {
				return nil, fmt.Errorf("name %q: a backslash comes before one character, or before three digits up to 255", shorten(whole))
			}
			i += width - 1
		case c >= 0x80:
			return nil, fmt.Errorf("name %q: not ASCII; write an internationalized name in its A-label form (xn--…)", shorten(whole))
		case needsEscape(c):
			return nil, fmt.Errorf("name %q: the character %q is not allowed in a name unless it is escaped", shorten(whole), c)
		}
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		if wire = append(wire, c); len(wire) > maxNameLen {
			return nil, fmt.Errorf("name %q: longer than %d octets", shorten(whole), maxNameLen)
		}
	}
}

// unescape reads the escape at the start of s, a backslash and what follows it.
// Its width is 0 when it is invalid.
func unescape(s string) (c byte, width int) {
	if len(s) < 2 {
		return 0, 0
	}
	if !isDigit(s[1]) {
		return s[1], 2
	}
	if len(s) < 4 || !isDigit(s[2]) || !isDigit(s[3]) {
		return 0, 0
	}
	n := int(s[1]-'0')*100 + int(s[2]-'0')*10 + int(s[3]-'0')
	if n > 255 {
		return 0, 0
	}
	return byte(n), 4
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

// needsEscape reports whether c has a meaning of its own in a master file.
func needsEscape(c byte) bool {
	if c <= ' ' || c >= 0x7f {
		return true
	}
	return strings.IndexByte(`"();@$\`, c) >= 0
}

// shorten keeps an error readable when what it quotes is not.
func shorten(s string) string { return text.Clip(s, 80) }

// errWire is what NameFromWire says of bytes that are not a name.
var errWire = errors.New("not a domain name in wire form")

// NameFromWire reads an uncompressed name of which wire consists and puts it in
// lower case.
func NameFromWire(wire []byte) (Name, error) {
	if len(wire) == 0 || len(wire) > maxNameLen {
		return "", errWire
	}
	lower := make([]byte, len(wire))
	i := 0
	for i < len(wire) {
		n := int(wire[i])
		lower[i] = wire[i]
		i++
		if n == 0 {
			break
		}
		if n > maxLabelLen || i+n >= len(wire) {
			return "", errWire
		}
		for ; n > 0; n-- {
			c := wire[i]
			if 'A' <= c && c <= 'Z' {
				c += 'a' - 'A'
			}
			lower[i] = c
			i++
		}
	}
	if i != len(wire) {
		return "", errWire
	}
	return Name(lower), nil
}

// String returns the name in presentation format, absolute, with its final dot.
func (n Name) String() string {
	switch n {
	case "":
		return ""
	case Root:
		return "."
	}
	return string(n.appendLabels(make([]byte, 0, len(n)+8), len(n)-1))
}

// Plain returns the name as sentences have it, without its final dot.
func (n Name) Plain() string {
	if n == Root {
		return "the root zone"
	}
	return strings.TrimSuffix(n.String(), ".")
}

// Relative returns the name in presentation format relative to zone: "@" for the
// zone itself, the absolute name where it is not in the zone.
func (n Name) Relative(zone Name) string {
	if n == zone {
		return "@"
	}
	if !n.In(zone) {
		return n.String()
	}
	text := n.appendLabels(make([]byte, 0, len(n)), len(n)-len(zone))
	return string(text[:len(text)-1])
}

// appendLabels appends the labels in the first end octets, a dot after each.
func (n Name) appendLabels(buf []byte, end int) []byte {
	for i := 0; i < end; {
		l := int(n[i])
		i++
		for _, c := range []byte(n[i : i+l]) {
			switch {
			case c <= ' ' || c >= 0x7f:
				buf = append(buf, '\\', '0'+c/100, '0'+c/10%10, '0'+c%10)
			case c == '.' || needsEscape(c):
				buf = append(buf, '\\', c)
			default:
				buf = append(buf, c)
			}
		}
		buf = append(buf, '.')
		i += l
	}
	return buf
}

// In reports whether the name is zone or below it.
func (n Name) In(zone Name) bool {
	cut := len(n) - len(zone)
	if cut < 0 || n[cut:] != zone {
		return false
	}
	// The octets agree; it is a suffix of labels only if a label begins there.
	i := 0
	for i < cut {
		i += int(n[i]) + 1
	}
	return i == cut
}

// Parent returns the name without its first label, and Root for Root.
func (n Name) Parent() Name {
	if len(n) <= 1 {
		return n
	}
	return n[int(n[0])+1:]
}

// FirstLabel returns the octets of the first label, "" for the root.
func (n Name) FirstLabel() string {
	if len(n) <= 1 {
		return ""
	}
	return string(n[1 : 1+int(n[0])])
}

// Labels returns the number of labels, the root's not counted.
func (n Name) Labels() int {
	count := 0
	for i := 0; i < len(n)-1; i += int(n[i]) + 1 {
		count++
	}
	return count
}

// Child returns the name with a label before it. The label is taken as it is,
// octet for octet, in lower case.
func (n Name) Child(label string) (Name, error) {
	if label == "" || len(label) > maxLabelLen {
		return "", fmt.Errorf("label %q below %q: not of 1 to %d octets", shorten(label), n, maxLabelLen)
	}
	if len(label)+1+len(n) > maxNameLen {
		return "", fmt.Errorf("label %q below %q: the name is longer than %d octets", label, n, maxNameLen)
	}
	return NameFromWire([]byte(string(rune(len(label))) + label + string(n)))
}

// Below returns the labels of n above zone moved below target: a name
// x.y in y becomes x.target. n must be in zone.
func (n Name) Below(zone, target Name) (Name, error) {
	moved := n[:len(n)-len(zone)] + target
	if len(moved) > maxNameLen {
		return "", fmt.Errorf("name %q moved below %q: longer than %d octets", n, target, maxNameLen)
	}
	return moved, nil
}

// IsHostName reports whether the name consists of letter-digit-hyphen labels
// (RFC 1123 §2.1), two at least.
func (n Name) IsHostName() bool {
	labels := 0
	for i := 0; i < len(n)-1; i += int(n[i]) + 1 {
		label := n[i+1 : i+1+int(n[i])]
		if label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
		for _, c := range []byte(label) {
			if c != '-' && !isDigit(c) && (c < 'a' || c > 'z') {
				return false
			}
		}
		labels++
	}
	return labels >= 2
}

// IsIPv4 reports whether the name reads as an IPv4 address. No such name is in DNS, and
// addresses are not validated by dns-01 (RFC 8738 §7).
func (n Name) IsIPv4() bool {
	address, err := netip.ParseAddr(strings.TrimSuffix(n.String(), "."))
	return err == nil && address.Is4()
}

// Key returns the name in a form whose order as a string is the canonical order
// of names (RFC 4034 §6.1): a name directly before all names below it. It is
// the labels from the root down, each ended by octet 00; octets 00 and 01 in a
// label are written 01 01 and 01 02.
func (n Name) Key() string {
	var buf [256]byte // on the stack: a key with escapes may need more
	return string(n.AppendKey(buf[:0]))
}

// AppendKey appends the name's [Name.Key] to buf.
func (n Name) AppendKey(buf []byte) []byte {
	var starts [128]uint8
	labels := 0
	for i := 0; i < len(n)-1; i += int(n[i]) + 1 {
		starts[labels] = uint8(i)
		labels++
	}
	for labels--; labels >= 0; labels-- {
		i := int(starts[labels])
		for _, c := range []byte(n[i+1 : i+1+int(n[i])]) {
			switch c {
			case 0:
				buf = append(buf, 1, 1)
			case 1:
				buf = append(buf, 1, 2)
			default:
				buf = append(buf, c)
			}
		}
		buf = append(buf, 0)
	}
	return buf
}

// NameFromKey is the inverse of [Name.Key]. The key must come from it.
func NameFromKey(key string) Name {
	name := make([]byte, 0, len(key)+1)
	for end := len(key); end > 0; {
		start := strings.LastIndexByte(key[:end-1], 0) + 1
		at := len(name)
		name = append(name, 0)
		for i := start; i < end-1; i++ {
			c := key[i]
			if c == 1 {
				i++
				c = key[i] - 1
			}
			name = append(name, c)
		}
		name[at] = byte(len(name) - at - 1)
		end = start
	}
	return Name(append(name, 0))
}

// SkipName returns where the end is of a name in a message, 0 if there is none. What
// a pointer in it leads to is not looked at.
func SkipName(m []byte, at int) int {
	for at < len(m) {
		switch n := int(m[at]); {
		case n == 0:
			return at + 1
		case n >= 0xc0 && at+1 < len(m):
			return at + 2
		case n > 63:
			return 0
		default:
			at += n + 1
		}
	}
	return 0
}
