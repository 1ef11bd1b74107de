package protocol

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
)

// ParseQuery reads the query of a request, of which only these parameters are known. What
// others could read in another way is refused: a parameter given twice, of which the first
// or the last could count, one without a value, and what Go's own reader leaves out without
// a word.
func ParseQuery(raw string, known ...string) (map[string]string, error) {
	all, err := url.ParseQuery(raw)
	if err != nil {
		return nil, fmt.Errorf("the query of the URL cannot be read (parameters are separated by \"&\"): %w", err)
	}
	query := make(map[string]string, len(all))
	for key, values := range all {
		switch {
		case !slices.Contains(known, key):
			return nil, fmt.Errorf("unknown query parameter %q; known: %s", key, strings.Join(known, ", "))
		case len(values) > 1:
			return nil, fmt.Errorf("the query parameter %s is given %d times", key, len(values))
		case values[0] == "":
			return nil, fmt.Errorf("the query parameter %s has no value; leave it out to have it mean any", key)
		}
		query[key] = values[0]
	}
	return query, nil
}
