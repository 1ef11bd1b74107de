package protocol

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/caddy-dns/bestdns/internal/api"
	"github.com/caddy-dns/bestdns/internal/hosting"
)

// ReadChange reads a change out of the body of a PATCH.
func ReadChange(text []byte) (api.Change, error) {
	if n := countObjects(text); n > 1+api.MaxRecords {
		return api.Change{}, hosting.Errorf(api.TooLarge, "%d records in one change, and %d are the most", n-1, api.MaxRecords)
	}
	change, err := parseChange(text)
	if err != nil {
		return api.Change{}, hosting.Errorf(api.BadRequest, "the body is not a change in JSON: %s", jsonReason(err))
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

// parseChange reads a change as openapi.yaml defines it. encoding/json would take what
// others read in another way: duplicate fields and those in another case, and half of a
// surrogate pair (RFC 8259 §8.2).
func parseChange(text []byte) (change api.Change, err error) {
	if !utf8.Valid(text) {
		return change, errors.New("it is not UTF-8; " + otherText)
	}
	if err := json.Unmarshal(text, &change, json.RejectUnknownMembers(true)); err != nil {
		return change, err
	}
	if bytes.Contains(text, []byte("null")) && hasNull(text) { // which in a delete would mean anything
		return change, errors.New("null is not a value: leave out what is not given")
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

// otherText says how to send what JSON cannot hold.
const otherText = "a text that is not UTF-8 travels as type TYPE16"

// hasNull reports whether JSON has a null in it.
func hasNull(text []byte) bool {
	tokens := jsontext.NewDecoder(bytes.NewReader(text))
	for {
		token, err := tokens.ReadToken()
		if err != nil {
			return false
		}
		if token.Kind() == 'n' {
			return true
		}
	}
}

var typeNames = map[jsontext.Kind]string{'[': "array", '{': "object", '"': "string", '0': "number", 't': "boolean", 'f': "boolean"}

// jsonReason says what is wrong with a body in terms of JSON, not of Go.
func jsonReason(err error) string {
	var syntax *jsontext.SyntacticError
	var meaning *json.SemanticError
	switch {
	case errors.Is(err, jsontext.ErrDuplicateName) && errors.As(err, &syntax):
		return fmt.Sprintf("duplicate field %q%s", syntax.JSONPointer.LastToken(), within(syntax.JSONPointer.Parent()))
	case errors.Is(err, json.ErrUnknownName) && errors.As(err, &meaning):
		return fmt.Sprintf("unknown field %q%s", meaning.JSONPointer.LastToken(), within(meaning.JSONPointer.Parent()))
	case errors.As(err, &meaning):
		what := "a value of type " + typeNames[meaning.JSONKind]
		if meaning.JSONPointer.LastToken() == "ttl" && len(meaning.JSONValue) > 0 {
			what = string(meaning.JSONValue) // a number that does not fit
		}
		return what + " is not of the right type" + within(meaning.JSONPointer)
	}
	reason := strings.TrimPrefix(err.Error(), "jsontext: ")
	switch isSyntax := errors.As(err, &syntax); {
	// The decoder's words have some of the data after the escape in them.
	case isSyntax && strings.Contains(reason, "surrogate"):
		return "half of a character, a surrogate without its other half (RFC 8259 §8.2)" + within(syntax.JSONPointer) + "; " + otherText
	case isSyntax && strings.Contains(reason, "escape sequence"):
		return "an invalid escape sequence" + within(syntax.JSONPointer)
	case errors.Is(err, io.ErrUnexpectedEOF):
		return strings.Replace(reason, "EOF", "end", 1)
	}
	return reason
}

// within names a place in a change, if it is not the whole.
func within(place jsontext.Pointer) string {
	if place == "" {
		return ""
	}
	return fmt.Sprintf(" in %q", place)
}
