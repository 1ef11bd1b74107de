package service

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/caddy-dns/bestdns/internal/api"
)

// bodyTimeout is the time in which the body of a request has to come.
const bodyTimeout = 10 * time.Second

// limitBodyTime ends the wait for a body that trickles in and that nobody reads: over
// HTTP/1.1, Go's server waits for the rest of a short one before it lets an answer
// go, a 401 too.
func limitBodyTime(w http.ResponseWriter, r *http.Request) {
	if r.Body != nil && r.Body != http.NoBody {
		// An error means that this connection cannot; the server's own limits hold.
		_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(bodyTimeout))
	}
}

// readBody reads a body within bodyTimeout. The deadline is set when it is over and
// not before, since Caddy's server sets one of its own at each read.
func readBody(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	connection := http.NewResponseController(w)
	over := time.AfterFunc(bodyTimeout, func() { _ = connection.SetReadDeadline(time.Now()) })
	text, err := io.ReadAll(http.MaxBytesReader(w, r.Body, api.MaxBodyBytes))
	over.Stop()
	if err == nil {
		// Or the client would count as gone while its change is under way.
		_ = connection.SetReadDeadline(time.Time{})
	}
	return text, err
}

// readChange reads the body of a PATCH.
func readChange(w http.ResponseWriter, r *http.Request) (api.Change, *problem) {
	text, err := readBody(w, r)
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return api.Change{}, newProblem(api.TooLarge, "the body is larger than %d octets", api.MaxBodyBytes)
	case errors.Is(err, os.ErrDeadlineExceeded):
		return api.Change{}, newProblem(api.BadRequest, "the body did not come within %s", bodyTimeout)
	case err != nil:
		return api.Change{}, newProblem(api.BadRequest, "the body cannot be read: %w", err)
	}
	change, err := parseChange(text)
	if err != nil {
		return api.Change{}, newProblem(api.BadRequest, "the body is not a change in JSON: %s", jsonReason(err))
	}
	return change, nil
}

// parseChange reads a change as openapi.yaml defines it, and nothing that Go's
// decoder would make one of.
func parseChange(text []byte) (change api.Change, err error) {
	if err := checkJSON(text); err != nil {
		return change, err
	}
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&change); err != nil {
		return change, err
	}
	kinds := 0
	for _, records := range [][]api.Record{change.Append, change.Set, change.Delete} {
		if records != nil {
			kinds++
		}
	}
	if kinds != 1 {
		return change, fmt.Errorf("a change has exactly one of append, set and delete, and this one has %d of them", kinds)
	}
	for _, records := range [][]api.Record{change.Append, change.Set, change.Delete} {
		for i, r := range records {
			if r.Name == "" { // as one that is forgotten would be, and a delete takes the whole apex
				return change, fmt.Errorf("record %d has no name; that of the zone itself is \"@\"", i+1)
			}
		}
	}
	return change, nil
}

// changeKeys are the keys of a change and of its records.
var changeKeys = []string{"append", "set", "delete", "name", "type", "ttl", "data"}

// checkJSON refuses what Go's decoder lets pass: a key in another case, or a second
// time, of which others may read the first; null, which would be nothing at all,
// and in a delete that means anything; octets that are not UTF-8 and half of a
// surrogate pair, which would be replaced; and text behind the value.
func checkJSON(text []byte) error {
	if !utf8.Valid(text) {
		return errors.New("it is not UTF-8; a text that is not travels as type TYPE16")
	}
	if escape, ok := halfSurrogate(text); ok {
		return fmt.Errorf("%s is half of a character: a surrogate without its other half (RFC 8259 §8.2); a text that is not UTF-8 travels as type TYPE16", escape)
	}
	decoder := json.NewDecoder(bytes.NewReader(text))
	if err := checkKeys(decoder); err != nil {
		return err
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return errors.New("something follows the JSON object")
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

// checkKeys reads one value of JSON. It keeps the keys of each object that is open,
// nil for an array, and does not recurse: how deep the value is, its sender says.
func checkKeys(decoder *json.Decoder) error {
	var open []map[string]bool
	key := false // a key comes next, or the end of its object
	for {
		token, err := decoder.Token()
		if err != nil {
			return err
		}
		switch name, isString := token.(string); {
		case token == json.Delim('{'):
			open = append(open, make(map[string]bool))
		case token == json.Delim('['):
			open = append(open, nil)
		case token == json.Delim('}'), token == json.Delim(']'):
			open = open[:len(open)-1]
		case token == nil:
			return errors.New("null is no value: leave out what is not given")
		case key && isString:
			if !slices.Contains(changeKeys, name) {
				return fmt.Errorf("unknown field %q", name)
			}
			keys := open[len(open)-1]
			if keys[name] {
				return fmt.Errorf("%q stands there twice in one object", name)
			}
			keys[name] = true
			key = false
			continue
		}
		if len(open) == 0 {
			return nil
		}
		key = open[len(open)-1] != nil
	}
}

// jsonReason says what is wrong with a body in terms of JSON, not of Go.
func jsonReason(err error) string {
	var wrongType *json.UnmarshalTypeError
	switch {
	case errors.As(err, &wrongType):
		return fmt.Sprintf("%s is not of the right type for %q, at octet %d", wrongType.Value, wrongType.Field, wrongType.Offset)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "it ends too early"
	}
	return strings.TrimPrefix(err.Error(), "json: ")
}
