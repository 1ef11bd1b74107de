package record

import (
	"fmt"
	"strings"
)

// MaxTTL is the highest TTL in seconds (RFC 2181 §8).
const MaxTTL = 1<<31 - 1

// Record is one resource record of class IN in canonical form. Records are
// comparable; two of the same owner, type and data are the same record, whatever
// their TTL (see [Record.Same]).
type Record struct {
	Name Name
	Type Type
	// TTL is in seconds.
	TTL uint32
	// Data is the RDATA in uncompressed wire form, names in it in lower case.
	Data string
	// Expires is the Unix time in seconds from which the name server drops the
	// record by itself; zero: it stays.
	Expires int64
	// Client is the number by which the name server knows the client whose record
	// it is; zero: it is no client's.
	Client uint32
}

// New makes a record out of its parts in text, as libdns and the API have them:
// name relative to zone, data in presentation format, or for TXT the text itself.
func New(zone Name, name, typ string, ttl uint32, data string) (Record, error) {
	owner, err := ParseOwner(name, zone)
	if err != nil {
		return Record{}, err
	}
	return At(owner, typ, ttl, data)
}

// At is [New] for an owner name that is parsed already.
func At(owner Name, typ string, ttl uint32, data string) (Record, error) {
	t, err := ParseType(typ)
	if err != nil {
		return Record{}, fmt.Errorf("record at %q: %w", owner, err)
	}
	if ttl > MaxTTL {
		return Record{}, fmt.Errorf("record at %q: TTL %d: not from 0 to %d seconds", owner, ttl, MaxTTL)
	}
	wire, err := parseTyped(t, typ, data)
	if err != nil {
		return Record{}, fmt.Errorf("record at %q: %w", owner, err)
	}
	return Record{Name: owner, Type: t, TTL: ttl, Data: wire}, nil
}

// parseTyped reads data in the form that the type's name asks for: under a
// TYPEnnn name it is that of RFC 3597 always.
func parseTyped(t Type, typ, data string) (string, error) {
	if len(typ) > 4 && strings.EqualFold(typ[:4], "TYPE") {
		return ParseGenericData(t, data)
	}
	return ParseData(t, data)
}

// Same reports whether both are the same member of the same RRset: owner, type and
// data agree. The strings of a TXT record count joined, since how a text is cut
// carries no meaning for those who read it as one.
func (r Record) Same(other Record) bool {
	return r.Name == other.Name && r.Type == other.Type && sameData(r.Type, r.Data, other.Data)
}

func sameData(t Type, a, b string) bool {
	if a == b {
		return true
	}
	return t == TypeTXT && JoinStrings(a) == JoinStrings(b)
}

// String returns the record as a line of a master file, for logs and tests.
func (r Record) String() string {
	typ, data := r.Text()
	if typ == "TXT" {
		data = fmt.Sprintf("%q", data)
	}
	return fmt.Sprintf("%s %d IN %s %s", r.Name, r.TTL, typ, data)
}
