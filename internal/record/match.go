package record

import (
	"fmt"
	"slices"
)

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
	// Own is set if only records of the client are taken whose change it is.
	Own bool
}

// MatchData is the data of a [Match]. Without a type it means whatever the text
// means in the type of the record that it is held against.
type MatchData struct {
	typ  Type
	wire string      // of typ
	text string      // where typ is zero
	read []typedData // of text
}

// typedData is a text read as the data of a type; ok is false if it is not valid there.
type typedData struct {
	typ  Type
	wire string
	ok   bool
}

// MatchAt makes a match out of its owner name and its parts in text. An empty typ is any
// type; ttl and data are nil for any.
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

// MatchOf makes the match of one record, its TTL included.
func MatchOf(r Record) Match {
	return Match{Name: r.Name, Type: r.Type, TTL: &r.TTL, Data: &MatchData{typ: r.Type, wire: r.Data}}
}

// Matches reports whether the delete takes r, if that is the client's where Own is set.
func (m Match) Matches(r Record) bool {
	return m.Name == r.Name &&
		(m.Type == 0 || m.Type == r.Type) &&
		(m.TTL == nil || *m.TTL == r.TTL) &&
		(m.Data == nil || m.Data.matches(r))
}

// in returns the data as that of a type, and whether the type can have it. known is
// false where the text has to be parsed for that first (see [Match.Resolve]).
func (d *MatchData) in(t Type) (wire string, ok, known bool) {
	if d.typ != 0 {
		return d.wire, d.typ == t, true
	}
	for i := range d.read {
		if d.read[i].typ == t {
			return d.read[i].wire, d.read[i].ok, true
		}
	}
	return "", false, false
}

func (d *MatchData) matches(r Record) bool {
	wire, ok, known := d.in(r.Type)
	if !known {
		parsed, err := ParseData(r.Type, d.text)
		wire, ok = parsed, err == nil
	}
	return ok && sameData(r.Type, wire, r.Data)
}

// Resolve returns the match with its data parsed as that of some types, where it has
// data and no type. [Plan] parses little by itself: it runs where others wait.
func (m Match) Resolve(types []Type) Match {
	if !m.untyped() {
		return m
	}
	data := *m.Data
	data.read = slices.Clone(data.read)
	for _, t := range types {
		if _, _, known := data.in(t); !known {
			wire, err := ParseData(t, data.text)
			data.read = append(data.read, typedData{t, wire, err == nil})
		}
	}
	m.Data = &data
	return m
}

// untyped reports whether the match has data and no type.
func (m Match) untyped() bool { return m.Data != nil && m.Data.typ == 0 }

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

// Matcher finds the first of many matches that takes a record. The time that it takes
// depends neither on their number nor on what they have in common, but that data
// without a type is parsed once for each type that it is held against.
type Matcher struct {
	matches []Match
	// at has the matches by owner name; nil while there are so few that looking at
	// each is faster.
	at map[Name]*matchesAt
	// parses is how much data without a type may still be parsed; negative: any.
	parses int
	client uint32 // whose records Match.Own is about; zero: no one's
}

// matchesAt are the matches at one owner name: by what they give, the number of the
// first that gives just that.
type matchesAt struct {
	byKey   map[matchKey]int
	shapes  [16]bool // of the keys, that there are
	untyped []int    // the numbers of the matches with data and no type
	read    []Type   // for which those are in byKey too
}

// matchKey is what a match gives: the parts that the shape has, the others being zero.
type matchKey struct {
	shape int
	typ   Type
	ttl   uint32
	data  string // comparable
}

const (
	shapeType, shapeTTL, shapeData, shapeOwn = 1, 2, 4, 8
)

// NewMatcher returns a matcher that parses any amount of data. It knows no client: matches that
// take only a client's own records take none.
func NewMatcher(matches []Match) *Matcher { return newMatcher(matches, -1) }

func newMatcher(matches []Match, parses int) *Matcher {
	const few = 4
	m := &Matcher{matches: matches, parses: parses}
	if slices.ContainsFunc(matches, Match.untyped) {
		m.matches = slices.Clone(matches) // it notes there what it has parsed
	}
	if len(matches) <= few {
		return m
	}
	m.at = make(map[Name]*matchesAt)
	for i, match := range matches {
		at := m.at[match.Name]
		if at == nil {
			at = &matchesAt{byKey: make(map[matchKey]int)}
			m.at[match.Name] = at
		}
		at.add(i, match)
	}
	return m
}

func (at *matchesAt) add(i int, m Match) {
	if m.untyped() {
		at.untyped = append(at.untyped, i)
		return
	}
	data := ""
	if m.Data != nil {
		data = comparableData(m.Type, m.Data.wire)
	}
	at.enter(i, m, m.Type, data)
}

// enter enters a match as that of a type, and of data if it has any.
func (at *matchesAt) enter(i int, m Match, t Type, data string) {
	key := matchKey{typ: t, data: data}
	if t != 0 {
		key.shape |= shapeType
	}
	if m.TTL != nil {
		key.shape, key.ttl = key.shape|shapeTTL, *m.TTL
	}
	if m.Data != nil {
		key.shape |= shapeData
	}
	if m.Own {
		key.shape |= shapeOwn
	}
	at.shapes[key.shape] = true
	if first, there := at.byKey[key]; !there || i < first {
		at.byKey[key] = i
	}
}

// comparableData returns the form of RDATA in which the same data is equal.
func comparableData(t Type, data string) string {
	if t == TypeTXT {
		return JoinStrings(data)
	}
	return data
}

// First returns the number of the first match that takes r, or -1.
func (m *Matcher) First(r Record) int {
	i, _ := m.first(r)
	return i
}

// first is First, and returns ErrUnresolved where more would have to be parsed than
// it may.
func (m *Matcher) first(r Record) (int, error) {
	if m.at == nil {
		return m.firstOfFew(r)
	}
	at := m.at[r.Name]
	if at == nil {
		return -1, nil
	}
	if len(at.untyped) > 0 && !slices.Contains(at.read, r.Type) {
		if err := m.readAs(at, r.Type); err != nil {
			return -1, err
		}
	}
	first := -1
	var data string
	for shape, there := range at.shapes {
		if there && shape&shapeData != 0 {
			data = comparableData(r.Type, r.Data)
			break
		}
	}
	for shape, there := range at.shapes {
		if !there || shape&shapeOwn != 0 && !m.isOwn(r) {
			continue
		}
		key := matchKey{shape: shape}
		if shape&shapeType != 0 {
			key.typ = r.Type
		}
		if shape&shapeTTL != 0 {
			key.ttl = r.TTL
		}
		if shape&shapeData != 0 {
			key.data = data
		}
		if i, takes := at.byKey[key]; takes && (first < 0 || i < first) {
			first = i
		}
	}
	return first, nil
}

func (m *Matcher) firstOfFew(r Record) (int, error) {
	for i := range m.matches {
		match := &m.matches[i]
		if match.untyped() && match.Name == r.Name {
			if err := m.read(match, r.Type); err != nil {
				return -1, err
			}
		}
		if match.Matches(r) && (!match.Own || m.isOwn(r)) {
			return i, nil
		}
	}
	return -1, nil
}

func (m *Matcher) isOwn(r Record) bool { return m.client != 0 && r.Client == m.client }

// read has the data of a match, which is the matcher's own copy, parsed for a type.
func (m *Matcher) read(match *Match, t Type) error {
	if _, _, known := match.Data.in(t); known {
		return nil
	}
	if m.parses == 0 {
		return ErrUnresolved
	}
	m.parses--
	*match = match.Resolve([]Type{t})
	return nil
}

// readAs enters what the matches without a type mean in a type.
func (m *Matcher) readAs(at *matchesAt, t Type) error {
	for _, i := range at.untyped {
		match := &m.matches[i]
		if err := m.read(match, t); err != nil {
			return err
		}
		wire, ok, _ := match.Data.in(t)
		if ok {
			at.enter(i, *match, t, comparableData(t, wire))
		}
	}
	at.read = append(at.read, t)
	return nil
}
