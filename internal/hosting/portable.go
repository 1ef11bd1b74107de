package hosting

import (
	"fmt"
	"strings"

	"github.com/libdns/libdns"

	"github.com/caddy-dns/bestdns/internal/record"
)

// portableTypes are those that libdns has a type of its own for.
var portableTypes = map[string]bool{
	"A": true, "AAAA": true, "CAA": true, "CNAME": true, "HTTPS": true,
	"MX": true, "NS": true, "SRV": true, "SVCB": true, "TXT": true,
}

// check lets through only what every provider can carry. Some of them paste
// names and values into the text of a master file or of a request, and what has
// a meaning of its own there must never reach one.
func (z *providerZone) check(change record.Change) error {
	for name := range change.Names {
		if !portableName(name) {
			return fmt.Errorf("name %q in zone %q: names in a zone with a DNS provider consist of letters, digits, \"-\", \"_\" and \"*\"", name, z.apex)
		}
	}
	for _, r := range change.Records {
		if err := z.portable(r); err != nil {
			return err
		}
	}
	for _, m := range change.Matches {
		if r, ok := m.Record(); ok {
			if err := z.portable(r); err != nil {
				return err
			}
		}
	}
	return nil
}

func (z *providerZone) portable(r record.Record) error {
	typ, data := r.Text()
	if !portableTypes[typ] {
		return fmt.Errorf("%s record at %q in zone %q: a zone with a DNS provider takes only A, AAAA, CAA, CNAME, HTTPS, MX, NS, SRV, SVCB, and TXT of UTF-8", typ, r.Name, z.apex)
	}
	switch typ {
	case "TXT":
		if data == "" {
			return fmt.Errorf("TXT record at %q in zone %q: an empty text does not get through every DNS provider, because libdns has it mean any text", r.Name, z.apex)
		}
		if i := strings.IndexFunc(data, notPortableInText); i >= 0 {
			return fmt.Errorf("TXT record at %q in zone %q: the character %q in its text does not get through every DNS provider unchanged; use printable ASCII without quotes and backslashes", r.Name, z.apex, data[i])
		}
	default:
		if i := strings.IndexFunc(data, notPortableInData); i >= 0 {
			return fmt.Errorf("%s record at %q in zone %q: the character %q in its data does not get through every DNS provider unchanged", typ, r.Name, z.apex, data[i])
		}
	}
	// A provider that reads the zone with libdns' parser fails at the first record
	// that it cannot parse, and with it fails every other client of the zone.
	if _, err := (libdns.RR{Name: r.Name.Relative(z.apex), Type: typ, Data: data}).Parse(); err != nil {
		return fmt.Errorf("%s record at %q in zone %q: libdns, and so the zone's DNS provider, could not read it again: %w", typ, r.Name, z.apex, err)
	}
	return nil
}

func notPortableInText(c rune) bool {
	return c < ' ' || c > '~' || c == '"' || c == '\\'
}

// notPortableInData is for data in presentation format, whose quotes are syntax.
// The printed form has no ";" outside of quotes.
func notPortableInData(c rune) bool {
	return c < ' ' || c > '~' || c == '\\'
}

func portableName(n record.Name) bool {
	for i := 0; i < len(n)-1; i += int(n[i]) + 1 {
		for _, c := range []byte(n[i+1 : i+1+int(n[i])]) {
			ok := 'a' <= c && c <= 'z' || '0' <= c && c <= '9' || c == '-' || c == '_' || c == '*'
			if !ok {
				return false
			}
		}
	}
	return true
}
