package protocol

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/caddy-dns/bestdns/internal/api"
	"github.com/caddy-dns/bestdns/internal/hosting"
)

// ReadChange reads a change out of the body of a PATCH.
func ReadChange(text []byte) (api.Change, error) {
	if n := countObjects(text); n > 1+api.MaxRecords {
		return api.Change{}, hosting.Errorf(hosting.TooLarge, "%d records in one change, and %d are the most", n-1, api.MaxRecords)
	}
	change, err := parseChange(text)
	if err != nil {
		return api.Change{}, hosting.Errorf(BadRequest, "the body is not a change in JSON: %s", jsonReason(err))
	}
	return change, nil
}

// countObjects counts the objects in a text of JSON, before memory is taken for them: of
// the smallest there can be half a million in a body. Of a text that is not JSON the
// count has no meaning.
func countObjects(text []byte) (n int) {
	for i := 0; i < len(text); i++ {
		switch text[i] {
		case '{':
			n++
		case '"':
			for i++; i < len(text) && text[i] != '"'; i++ {
				if text[i] == '\\' {
					i++
				}
			}
		}
	}
	return n
}

// parseChange reads a change as openapi.yaml defines it, and nothing that Go's
// decoder would make one of.
func parseChange(text []byte) (change api.Change, err error) {
	if !utf8.Valid(text) {
		return change, errors.New("it is not UTF-8; a text that is not travels as type TYPE16")
	}
	if escape, ok := halfSurrogate(text); ok {
		return change, fmt.Errorf("%s is half of a character: a surrogate without its other half (RFC 8259 §8.2); a text that is not UTF-8 travels as type TYPE16", escape)
	}
	if err := json.Unmarshal(text, &change); err != nil {
		return change, err
	}
	if err := checkKeys(text); err != nil {
		return change, err
	}
	kinds := 0
	for _, records := range [...][]api.Record{change.Append, change.Set, change.Delete} {
		if records != nil {
			kinds++
		}
		for i := range records {
			if records[i].Name == "" { // as one that is forgotten would be, and a delete takes the whole apex
				return change, fmt.Errorf("record %d has no name; that of the zone itself is \"@\"", i+1)
			}
		}
	}
	if kinds != 1 {
		return change, fmt.Errorf("a change has exactly one of append, set and delete, and this one has %d of them", kinds)
	}
	return change, nil
}

// The keys of a change and of its records.
var (
	changeKeys = []string{"append", "set", "delete"}
	recordKeys = []string{"name", "type", "ttl", "data"}
)

// checkKeys refuses what Go's decoder lets pass: a key that is unknown, in another
// case, or there a second time, of which others may read the first; and null, which
// would be nothing at all, and in a delete that means anything. The text has to be
// what the decoder takes for a change, so that objects stand in no others than the
// one of the change. (A decoder of tokens would do the same at five times the cost.)
func checkKeys(text []byte) error {
	depth := 0       // of objects that are open
	var seen [2]uint // a bit for each key of the change, and of the record
	for i := 0; i < len(text); i++ {
		switch text[i] {
		case 'n':
			return errors.New("null is no value: leave out what is not given")
		case '{':
			if depth > 0 {
				seen[1] = 0
			}
			depth++
		case '}':
			depth--
		case '"':
			begin := i
			i = endOfString(text, begin)
			if !isKey(text[i+1:]) {
				continue
			}
			known, level := changeKeys, 0
			if depth > 1 {
				known, level = recordKeys, 1
			}
			name, err := unquote(text[begin : i+1])
			if err != nil {
				return err
			}
			bit := slices.Index(known, name)
			if bit < 0 {
				return fmt.Errorf("unknown field %q", name)
			}
			if seen[level]&(1<<bit) != 0 {
				return fmt.Errorf("%q stands there twice in one object", name)
			}
			seen[level] |= 1 << bit
		}
	}
	return nil
}

// halfSurrogate finds the escape of a surrogate that is no part of a pair. JSON that
// has a backslash outside of a string is none, so it need not know where strings are.
func halfSurrogate(text []byte) (escape string, found bool) {
	const length = len(`\u0000`)
	unit := func(at int) rune {
		if at+length > len(text) || text[at] != '\\' || text[at+1] != 'u' {
			return 0
		}
		n, err := strconv.ParseUint(string(text[at+2:at+length]), 16, 16)
		if err != nil {
			return 0 // the decoder says what is wrong with it
		}
		return rune(n)
	}
	for i := 0; i < len(text); i++ {
		if text[i] != '\\' {
			continue
		}
		r := unit(i)
		if !utf16.IsSurrogate(r) {
			i++ // what follows is escaped, another backslash too
			continue
		}
		if utf16.DecodeRune(r, unit(i+length)) == utf8.RuneError {
			return string(text[i : i+length]), true
		}
		i += 2*length - 1
	}
	return "", false
}

// endOfString returns where the string of JSON ends that begins at i.
func endOfString(text []byte, i int) int {
	for i++; text[i] != '"'; i++ {
		if text[i] == '\\' {
			i++
		}
	}
	return i
}

// isKey tells by what follows a string of JSON whether it is a key.
func isKey(rest []byte) bool {
	return bytes.HasPrefix(bytes.TrimLeft(rest, " \t\r\n"), []byte(":"))
}

func unquote(text []byte) (string, error) {
	if !bytes.ContainsRune(text, '\\') {
		return string(text[1 : len(text)-1]), nil
	}
	var s string
	err := json.Unmarshal(text, &s)
	return s, err
}

// jsonReason says what is wrong with a body in terms of JSON, not of Go.
func jsonReason(err error) string {
	var wrongType *json.UnmarshalTypeError
	if errors.As(err, &wrongType) {
		return fmt.Sprintf("%s is not of the right type for %q, at octet %d", wrongType.Value, wrongType.Field, wrongType.Offset)
	}
	return strings.TrimPrefix(err.Error(), "json: ")
}
