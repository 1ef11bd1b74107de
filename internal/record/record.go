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

// Same tells whether both are the same member of the same RRset: owner, type and
// data agree. The strings of a TXT record count joined, since how a text is cut
// carries no meaning for those who read it as one.
func (r Record) Same(other Record) bool {
	return r.Name == other.Name && r.Type == other.Type && sameData(r.Type, r.Data, other.Data)
}

func sameData(t Type, a, b string) bool {
	if a == b {
		return true
	}
	return t == TypeTXT && joinStrings(a) == joinStrings(b)
}

// String returns the record as a line of a master file, for logs and tests.
func (r Record) String() string {
	typ, data := r.Text()
	if typ == "TXT" {
		data = fmt.Sprintf("%q", data)
	}
	return fmt.Sprintf("%s %d IN %s %s", r.Name, r.TTL, typ, data)
}

// Match describes the records that a delete takes: those at a name that agree
// in everything that is given.
type Match struct {
	Name Name
	// Type is zero for any.
	Type Type
	// TTL is in seconds, nil for any.
	TTL *uint32
	// Data is nil for any.
	Data *MatchData
}

// MatchData is the data of a [Match]. Without a type it means whatever the text
// means in the type of the record that it is held against.
type MatchData struct {
	typ  Type
	wire string // of typ
	text string // where typ is zero
}

// NewMatch makes a match out of its parts in text. An empty typ is any type; ttl
// and data are nil for any.
func NewMatch(zone Name, name, typ string, ttl *uint32, data *string) (Match, error) {
	owner, err := ParseOwner(name, zone)
	if err != nil {
		return Match{}, err
	}
	return MatchAt(owner, typ, ttl, data)
}

// MatchAt is [NewMatch] for an owner name that is parsed already.
func MatchAt(owner Name, typ string, ttl *uint32, data *string) (m Match, err error) {
	m = Match{Name: owner, TTL: ttl}
	if typ != "" {
		if m.Type, err = ParseType(typ); err != nil {
			return Match{}, fmt.Errorf("record at %q: %w", owner, err)
		}
	}
	if data == nil {
		return m, nil
	}
	if m.Type == 0 {
		m.Data = &MatchData{text: *data}
		return m, nil
	}
	wire, err := parseTyped(m.Type, typ, *data)
	if err != nil {
		return Match{}, fmt.Errorf("record at %q: %w", owner, err)
	}
	m.Data = &MatchData{typ: m.Type, wire: wire}
	return m, nil
}

// Matches tells whether the delete takes r.
func (m Match) Matches(r Record) bool {
	return m.Name == r.Name &&
		(m.Type == 0 || m.Type == r.Type) &&
		(m.TTL == nil || *m.TTL == r.TTL) &&
		(m.Data == nil || m.Data.matches(r))
}

func (d *MatchData) matches(r Record) bool {
	if d.typ != 0 {
		return sameData(d.typ, d.wire, r.Data)
	}
	wire, err := ParseData(r.Type, d.text)
	return err == nil && sameData(r.Type, wire, r.Data)
}

// Record returns the record that the match describes, when it gives type and
// data; its TTL is zero where the match has none.
func (m Match) Record() (r Record, ok bool) {
	if m.Type == 0 || m.Data == nil {
		return Record{}, false
	}
	r = Record{Name: m.Name, Type: m.Type, Data: m.Data.wire}
	if m.TTL != nil {
		r.TTL = *m.TTL
	}
	return r, true
}
